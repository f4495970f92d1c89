"""What need not be computed twice: the cache folder, and rows of numbers kept by key in a SQLite file.

SQLite is what this needs: one file for many small rows, written whole or not at all, safe with several processes, and
part of Python. A row that does not agree with its checksum, and a file that SQLite cannot read, count as not there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import sqlite3
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from mmaudit._errors import InputError, nearest

__all__ = ["CacheEntry", "RowStore", "TextStore", "cache_dir", "clear", "entries", "file_digest"]

AT_ONCE = 500  # keys in one question; SQLite's least limit is 999
PATIENCE_S = 60  # that one process waits for another to finish writing
EMBEDDINGS, PHANTOMS, DIGESTS = "embeddings", "phantom", "digests.sqlite"
_log = logging.getLogger(__name__)
_told: set[str] = set()  # files that cannot be used, each said once


def cache_dir() -> Path:
    """Return the folder for what can be computed again.

    It is the one that the environment variable `MMAUDIT_CACHE` names; where that is not set, `mmaudit` in the user's
    cache folder: `XDG_CACHE_HOME` or `~/.cache`, on macOS `~/Library/Caches`, on Windows `LOCALAPPDATA`. Nothing is
    created.
    """
    given = os.environ.get("MMAUDIT_CACHE")
    if given:
        return Path(given).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "mmaudit"


class _Store:
    """Values by key in one SQLite file. It never raises for what is wrong with the file: it then holds nothing."""

    def __init__(self, path: str | Path, about: Mapping[str, Any] | None = None) -> None:
        self.path = Path(path)
        self.about = dict(about or {})
        self._local = threading.local()  # a connection belongs to the thread and the process that opened it

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "about": self.about}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.__init__(state["path"], state["about"])  # type: ignore[misc]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.path.name!r})"

    def close(self) -> None:
        """Close this thread's connection; it is opened again when needed."""
        connection = self._local.__dict__.pop("connection", None)
        if connection is not None:
            connection[1].close()

    def _read(self, keys: Iterable[str]) -> dict[str, bytes]:
        wanted = list(dict.fromkeys(keys))
        if not wanted or not self.path.exists():
            return {}

        def ask(connection: sqlite3.Connection) -> dict[str, bytes]:
            found = {}
            for start in range(0, len(wanted), AT_ONCE):
                some = wanted[start : start + AT_ONCE]
                marks = ",".join("?" * len(some))
                for key, value, checksum in connection.execute(f"SELECT * FROM rows WHERE key IN ({marks})", some):
                    if isinstance(value, bytes) and zlib.crc32(value) == checksum:
                        found[key] = value
                    else:
                        _log.warning("a row of %s does not agree with its checksum: it is made anew", self.path.name)
            return found

        return self._try(ask) or {}

    def _write(self, rows: Iterable[tuple[str, bytes]]) -> None:
        checked = [(key, value, zlib.crc32(value)) for key, value in rows]

        def keep(connection: sqlite3.Connection) -> None:
            with connection:  # all of them or none
                connection.executemany("INSERT OR REPLACE INTO rows VALUES (?, ?, ?)", checked)

        if checked:
            self._try(keep)

    def _try(self, work: Callable[[sqlite3.Connection], Any]) -> Any:
        """Return what `work` gives, or None where the file cannot be used; a damaged one is begun anew."""
        for _ in range(2):
            try:
                return work(self._connection())
            except (sqlite3.OperationalError, OSError) as error:  # no folder, no permission, a full disk, a long lock
                self._tell(f"cannot be used ({error}); nothing is kept")
                self.close()
                return None
            except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter of a damaged schema
                self._tell(f"is damaged ({error}); it is begun anew")
                self.close()
                _remove(self.path)
        return None

    def _connection(self) -> sqlite3.Connection:
        held = getattr(self._local, "connection", None)
        if held is not None and held[0] == os.getpid() and self.path.exists():
            return held[1]
        if held is not None and held[0] == os.getpid():
            held[1].close()  # the file was removed: `mmaudit cache --clear`
        self.path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(self.path, timeout=PATIENCE_S)
        # A power failure may lose the last rows, which are then made again; it cannot leave half of them.
        connection.execute("PRAGMA synchronous=NORMAL")
        self._local.connection = (os.getpid(), connection)
        columns = [name for _, name, *_ in connection.execute("PRAGMA table_info(rows)")]
        if columns not in ([], ["key", "value", "checksum"]):
            raise sqlite3.DatabaseError("the table has other columns")
        if columns:
            return connection  # nothing is written, so that a folder that can only be read does for reading
        with connection:
            connection.execute("CREATE TABLE IF NOT EXISTS about (about TEXT PRIMARY KEY)")
            connection.execute("INSERT OR IGNORE INTO about VALUES (?)", (json.dumps(self.about, sort_keys=True),))
            connection.execute(
                "CREATE TABLE IF NOT EXISTS rows (key TEXT PRIMARY KEY, value BLOB, checksum INTEGER) WITHOUT ROWID"
            )
        return connection

    def _tell(self, what: str) -> None:
        text = f"the cache {self.path} {what}"
        if text not in _told:
            _told.add(text)
            _log.warning("%s", text)


class RowStore(_Store):
    """Rows of float32 by key, all of one length.

    Parameters
    ----------
    path : path
        The SQLite file; made, with its folder, at the first writing. Several processes may share it.
    about : mapping or None
        What made the rows, as JSON can hold it; for `entries`. None: nothing.
    """

    def get_many(self, keys: Sequence[str]) -> dict[str, np.ndarray]:
        """Return the rows that are there, each of shape (n_columns,), float32."""
        return {key: np.frombuffer(value, dtype="<f4").astype(np.float32) for key, value in self._read(keys).items()}

    def put_many(self, rows: Mapping[str, np.ndarray]) -> None:
        """Keep these rows, all of them or, if that fails, none."""
        self._write((key, np.asarray(row, dtype="<f4").tobytes()) for key, row in rows.items())


class TextStore(_Store):
    """Short texts by key: the digests of files, by path, size and time of change."""

    def get_many(self, keys: Sequence[str]) -> dict[str, str]:
        """Return the texts that are there."""
        return {key: value.decode() for key, value in self._read(keys).items()}

    def put_many(self, texts: Mapping[str, str]) -> None:
        """Keep these texts."""
        self._write((key, text.encode()) for key, text in texts.items())


def file_digest(path: Path, *, known: TextStore | None = None) -> str:
    """Return the BLAKE2b digest of a file's content, 40 hexadecimal digits.

    Parameters
    ----------
    path : path
    known : TextStore or None
        Where digests are kept by path, size, time of change and inode, so that a file is read once. A file that was
        changed in the last two seconds is not kept: another change in the same tick could not be told.

    Raises
    ------
    OSError
        A file that cannot be read.
    """
    about = path.stat()
    key = f"{path.resolve()}|{about.st_size}|{about.st_mtime_ns}|{about.st_ino}"
    if known is not None:
        kept = known.get_many([key]).get(key)
        if kept is not None:
            return kept
    total = hashlib.blake2b(digest_size=20)
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            total.update(block)
    digest = total.hexdigest()
    if known is not None and time.time_ns() - about.st_mtime_ns > 2 * 10**9:
        known.put_many({key: digest})
    return digest


@dataclass(frozen=True)
class CacheEntry:
    """One thing in the cache folder: `name` as `clear` takes it, what it is, and how large."""

    name: str
    description: str
    n_items: int
    n_bytes: int


def entries(folder: str | Path | None = None) -> list[CacheEntry]:
    """Return what the cache folder holds.

    Parameters
    ----------
    folder : path or None
        None: `cache_dir()`.
    """
    folder = cache_dir() if folder is None else Path(folder)
    found = []
    for path in sorted((folder / EMBEDDINGS).glob("*.sqlite")):
        n_items, about = _inspect(path)
        described = ", ".join(str(about[k]) for k in ("encoder", "model", "modality", "revision") if about.get(k))
        found.append(CacheEntry(path.stem, f"embeddings: {described or 'unreadable'}", n_items, _size(path)))
    if (folder / DIGESTS).exists():
        n_items, _ = _inspect(folder / DIGESTS)
        found.append(CacheEntry("digests", "digests of files", n_items, _size(folder / DIGESTS)))
    drawn = [path for path in (folder / PHANTOMS).rglob("*") if path.is_file()]
    if drawn:
        found.append(CacheEntry("phantom", "films of phantoms", len(drawn), sum(map(_size, drawn))))
    return found


def clear(names: Sequence[str] | None = None, folder: str | Path | None = None) -> list[CacheEntry]:
    """Remove entries of the cache folder, and return them. Nothing else in it is touched.

    Parameters
    ----------
    names : sequence of str or None
        As `entries` names them. None: all.
    folder : path or None
        None: `cache_dir()`.

    Raises
    ------
    InputError
        A name that is not there; then nothing is removed.
    """
    folder = cache_dir() if folder is None else Path(folder)
    there = {entry.name: entry for entry in entries(folder)}
    chosen = list(there) if names is None else list(dict.fromkeys(names))
    for name in chosen:
        if name not in there:
            raise InputError(
                "names",
                f"entries of the cache ({', '.join(there) or 'it is empty'})",
                repr(name),
                f"`mmaudit cache` lists them.{nearest(name, there)}",
            )
    for name in chosen:
        if name == "phantom":
            for path in (folder / PHANTOMS).rglob("*"):
                if path.is_file():
                    path.unlink(missing_ok=True)
        else:
            path = folder / DIGESTS if name == "digests" else folder / EMBEDDINGS / f"{name}.sqlite"
            _remove(path)
    return [there[name] for name in chosen]


def _inspect(path: Path) -> tuple[int, dict[str, Any]]:
    """Return the number of rows and what the file says of itself; (0, {}) where it cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)) as connection:
            (n_rows,) = connection.execute("SELECT COUNT(*) FROM rows").fetchone()
            (about,) = connection.execute("SELECT about FROM about").fetchone() or ("{}",)
            return int(n_rows), json.loads(about)
    except (sqlite3.Error, ValueError, TypeError):
        return 0, {}


def _remove(path: Path) -> None:
    """Remove a SQLite file, and the journal of an interrupted writing, which would spoil the next file there."""
    for part in (path, path.with_name(f"{path.name}-journal")):
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _size(path: Path) -> int:
    with contextlib.suppress(OSError):
        return path.stat().st_size
    return 0
