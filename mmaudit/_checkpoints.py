"""Results of finished stages in a folder, so that an interrupted run can go on.

A result is numbers, texts and tables by name. Each is one file, which appears only once it is whole, says by the
checksums of its parts whether it still is, and of which run it is. Nothing is pickled: a checkpoint is data, whoever
wrote it.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import math
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from mmaudit._errors import InputError
from mmaudit._files import PARTIAL, replacing
from mmaudit._tables import read_parquet

__all__ = ["Checkpoints", "Stage", "remove_checkpoints"]

FORMAT = "mmaudit checkpoints 1"
RUN = "run.json"  # what the run is of
FILES = "*/" + 6 * "[0-9]" + ".zip"  # of the stages
MARK = b"mmaudit "  # how the comment of such a file begins; a digest of the run, the place and the names in it follows
DIGEST_BYTES = 16


class Checkpoints:
    """The stages of one run in a folder.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    about : mapping
        What the results depend on: data, settings, version; as JSON can hold it.
    resume : bool
        Whether to go on from what the folder holds. Without, an earlier run in it is removed.

    Raises
    ------
    InputError
        The folder holds a run of other data or settings, and `resume` is asked for; or another program's `run.json`; or
        it cannot be written to.
    """

    def __init__(self, folder: str | Path, about: Mapping[str, Any], *, resume: bool = False) -> None:
        self.folder = Path(folder)
        about = json.loads(json.dumps({"format": FORMAT, **about}, sort_keys=True))
        before = _about(self.folder)
        if before is None and _is_foreign(self.folder):
            raise InputError(
                "checkpoints",
                "a folder for checkpoints alone",
                f"one with a {RUN} of something else",
                "Name another folder.",
            )
        if resume and before is not None and before != about:
            differ = sorted(key for key in {*before, *about} if before.get(key) != about.get(key))
            raise InputError(
                "resume",
                "the data and settings of the interrupted run",
                f"other {', '.join(differ)}",
                "Give the same ones, another folder, or leave resume out to begin anew.",
            )
        text = json.dumps(about, indent=1, sort_keys=True)
        self._digest = _digest(text)
        with _writing():
            if not resume:
                remove_checkpoints(self.folder)
            self.folder.mkdir(parents=True, exist_ok=True)
            for partial in _partials(self.folder):  # of a run that was killed
                partial.unlink(missing_ok=True)
            if _about(self.folder) is None:
                with replacing(self.folder / RUN) as partial:
                    partial.write_text(text, encoding="utf-8")

    def stage(self, name: str) -> Stage:
        """Return the results of one stage."""
        return Stage(self.folder / name, self._digest)


def remove_checkpoints(folder: str | Path) -> None:
    """Remove a run from a folder, and the folder if nothing else is in it."""
    folder = Path(folder)
    if _about(folder) is None:
        return
    for path in [*_files(folder), *_partials(folder), folder / RUN]:  # what says it is ours last
        path.unlink(missing_ok=True)
    for place in [*(path for path in folder.iterdir() if path.is_dir()), folder]:
        with contextlib.suppress(OSError):  # other files are in it
            place.rmdir()


def _about(folder: Path) -> dict[str, Any] | None:
    """Return what the run in a folder is of, or None where there is none."""
    if not (folder / RUN).is_file():  # a pipe or a device has no end
        return None
    try:
        about = json.loads((folder / RUN).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    is_ours = isinstance(about, dict) and str(about.get("format")).startswith(FORMAT.rpartition(" ")[0])
    return about if is_ours else None


def _is_foreign(folder: Path) -> bool:
    """Return whether a file that says of no run of ours what it is of is not one of ours that was damaged."""
    path = folder / RUN
    return path.exists() and (not path.is_file() or path.stat().st_size > 0) and not _files(folder)


def _files(folder: Path) -> list[Path]:
    """Return the files of stages, of whichever run."""
    return [path for path in _inside(folder, FILES) if _ending(path, len(MARK) + 2 * DIGEST_BYTES).startswith(MARK)]


def _partials(folder: Path) -> list[Path]:
    return [path for path in _inside(folder, f"{PARTIAL}*", f"*/{PARTIAL}*") if not path.is_dir()]


def _inside(folder: Path, *patterns: str) -> list[Path]:
    """Return the paths of these patterns; a link to another folder is not followed."""
    found = [path for pattern in patterns for path in folder.glob(pattern)]
    return [path for path in found if path.parent == folder or not path.parent.is_symlink()]


def _ending(path: Path, n_bytes: int) -> bytes:
    if path.is_file():
        with contextlib.suppress(OSError), path.open("rb") as file:
            file.seek(-n_bytes, io.SEEK_END)
            return file.read()
    return b""


@contextlib.contextmanager
def _writing() -> Iterator[None]:
    """Say of a folder in which a file or a folder cannot be made that it cannot be used."""
    try:
        yield
    except OSError as error:
        raise InputError(
            "checkpoints",
            "a folder in which files and folders can be made",
            f"one where that fails ({type(error).__name__})",
            "Name another folder.",
        ) from error


class Stage:
    """The results of one stage by position, each a mapping of names to arrays, tables, or what JSON can hold.

    Parameters
    ----------
    folder : path
    digest : str
        Of what the run is of; results of another are not found.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder
        self._digest = digest

    def get(self, position: int) -> dict[str, Any] | None:
        """Return a result, or None where there is none that is whole."""
        path = self._path(position)
        if self.folder.is_symlink() or not path.is_file():
            return None
        try:
            with zipfile.ZipFile(path) as archive:
                members, n_bytes = archive.infolist(), path.stat().st_size
                is_plain = all(member.compress_type == zipfile.ZIP_STORED for member in members)
                # What unpacks to more than it is was not written here.
                names = [member.filename for member in members]
                is_ours = archive.comment == self._mark(names, position)
                if not is_ours or not is_plain or sum(m.file_size for m in members) > n_bytes:
                    return None
                return dict(_read(member.filename, archive.read(member)) for member in members)
        except Exception:  # zipfile, NumPy, pyarrow and json have none for all that may be damaged: it is made again
            return None

    def put(self, position: int, result: Mapping[str, Any]) -> None:
        """Keep a result."""
        with _writing(), replacing(self._path(position)) as partial:
            if self.folder.is_symlink():
                raise NotADirectoryError(self.folder.name)  # it leads elsewhere
            self.folder.mkdir(parents=True, exist_ok=True)  # which may find the disk full too
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
                for name, value in result.items():
                    kind, content = _written(value)
                    archive.writestr(f"{name}.{kind}", content)
                archive.comment = self._mark(archive.namelist(), position)

    def _mark(self, names: Sequence[str], position: int = 0) -> bytes:
        """Return the comment of a file with these names in it.

        One that lost some of them is not whole, and one in the place of another not the one that is looked for.
        """
        return MARK + _digest("\n".join([self._digest, self.folder.name, str(position), *names])).encode()

    def _path(self, position: int) -> Path:
        return self.folder / f"{position:06d}.zip"


def _digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=DIGEST_BYTES).hexdigest()


def _written(value: Any) -> tuple[str, bytes]:
    """Return the kind and the bytes of an array, a table, or what JSON can hold."""
    stream = io.BytesIO()
    if isinstance(value, np.ndarray):
        np.save(stream, value, allow_pickle=False)
        return "npy", stream.getvalue()
    if isinstance(value, pd.DataFrame):
        value.to_parquet(stream)
        return "parquet", stream.getvalue()
    return "json", json.dumps(value, ensure_ascii=False, default=_plain).encode()


def _plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is nothing that JSON can hold")


def _read(member: str, content: bytes) -> tuple[str, Any]:
    name, _, kind = member.rpartition(".")
    if kind == "npy":
        return name, _array(content)
    if kind == "parquet":
        return name, read_parquet(io.BytesIO(content))
    return name, json.loads(content)


def _array(content: bytes) -> np.ndarray:
    stream = io.BytesIO(content)
    version = np.lib.format.read_magic(stream)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read(stream)
    # Before memory is asked for. Of elements without bytes there can be any number.
    if not dtype.itemsize or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError("array that is not as long as its header says")
    stream.seek(0)
    return np.load(stream, allow_pickle=False)
