"""Cases in many files: parquet tables with arrays of embeddings beside them, read by whoever works on them.

A folder of shards holds tables whose names end in .parquet, in the order of their names. Beside `part-00000.parquet`
may lie `part-00000.image.npy`, `part-00000.report.npy` or `part-00000.metadata.npy`, NumPy arrays of embeddings of the
same rows. The folder may be a URL of fsspec with "://".
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import tokenize
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pandas as pd
from pandas.api.types import is_hashable

from mmaudit._engine import map_pieces
from mmaudit._errors import AuditWarning, InputError, MissingExtraError
from mmaudit._files import replacing
from mmaudit._tables import DamagedTableError, error_name, read_parquet, to_numbers

__all__ = [
    "ScannedShards",
    "Shard",
    "ShardedRows",
    "ShardedTexts",
    "column_names",
    "find_shards",
    "scan_shards",
    "write_shards",
]

MODALITIES = ("image", "report", "metadata")
SUFFIX = ".parquet"
ROWS_AT_ONCE = 8192  # of an array that is looked through
BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class Shard:
    """One table and the arrays beside it.

    Attributes
    ----------
    name : str
        File name of the table without its ending.
    table : str
        Path or URL of the table.
    arrays : tuple of (str, str)
        Modality, and path or URL of its array.
    """

    name: str
    table: str
    arrays: tuple[tuple[str, str], ...]


def find_shards(folder: str | Path) -> list[Shard]:
    """Return the shards of a folder, a path or a URL of fsspec, in the order of their names.

    Raises
    ------
    InputError
        No folder, or none with a table that ends in .parquet.
    MissingExtraError
        A URL without fsspec.
    """
    text = str(folder)
    if "://" in text:
        try:
            fs, root = _fsspec().core.url_to_fs(text)
            paths = [fs.unstrip_protocol(path) for path in fs.ls(root, detail=False)] if fs.isdir(root) else []
        except (ValueError, ImportError) as error:  # a protocol that fsspec does not know, or lacks a package for
            if isinstance(error, MissingExtraError):
                raise
            raise InputError("shards", "a URL that fsspec can read", f"{text!r}", f"It says: {error}.") from None
    else:
        root = Path(folder).expanduser()
        paths = [str(path) for path in root.iterdir()] if root.is_dir() else []
    names = {path.rpartition("/")[2] if "://" in path else Path(path).name: path for path in paths}
    shards = []
    for name in sorted(names):
        if name.endswith(SUFFIX) and not name.startswith((".", "_")):
            stem = name.removesuffix(SUFFIX)
            arrays = tuple((m, names[f"{stem}.{m}.npy"]) for m in MODALITIES if f"{stem}.{m}.npy" in names)
            shards.append(Shard(stem, names[name], arrays))
    if not shards:
        raise InputError(
            "shards",
            "a folder with tables that end in .parquet",
            "none" if paths else "an empty folder, or none",
            "Write them with mmaudit.shards.write_shards(folder, frame, embeddings=...).",
        )
    return shards


def column_names(folder: str | Path) -> list[str]:
    """Return the names of the columns of the first table of a folder that can be read."""
    error: Exception | None = None
    for shard in find_shards(folder):
        try:
            return _names(shard.table)
        except (OSError, DamagedTableError) as found:
            error = error or found
    raise InputError(
        "shards", "tables that can be read", f"none ({error_name(error)})" if error else "none", "Write them again."
    )


def write_shards(
    folder: str | Path,
    frame: pd.DataFrame,
    *,
    embeddings: Mapping[str, np.ndarray] | None = None,
    n_rows: int = 10_000,
    first: int = 0,
) -> list[Shard]:
    """Write a table, and arrays of the same rows, as shards; each file appears once it is whole.

    Shards of the same numbers are replaced, arrays of embeddings that are not given included. A warning names shards
    of higher numbers, which belong to another table; there is none where `first` is above 0.

    Parameters
    ----------
    folder : path
        Made if it is not there.
    frame : DataFrame of shape (n_samples, n_columns)
    embeddings : mapping of {"image", "report", "metadata"} to array of shape (n_samples, n_dimensions), or None
        Written as float32.
    n_rows : int
        Rows of a shard. A worker holds the reports of one or two shards at a time.
    first : int
        Number of the first shard, so that a table may be written in several calls.

    Returns
    -------
    list of Shard
        Those that were written.

    Raises
    ------
    InputError
        Embeddings of an unknown name, or of other than n_samples rows; no room on the disk.
    """
    for modality, values in (embeddings or {}).items():
        argument = f"embeddings[{modality!r}]"
        if modality not in MODALITIES:
            raise InputError(argument, f"one of {', '.join(MODALITIES)}", "another name", "Rename it.")
        if np.ndim(values) != 2 or len(values) != len(frame):
            raise InputError(
                argument, f"shape ({len(frame)}, n_dimensions)", f"{np.shape(values)}", "Give one row a sample."
            )
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for k, start in enumerate(range(0, len(frame), n_rows)):
        name = f"part-{first + k:05d}"
        rows = slice(start, start + n_rows)
        arrays = []
        for modality, values in (embeddings or {}).items():
            path = folder / f"{name}.{modality}.npy"
            part = np.ascontiguousarray(values[rows], dtype=np.float32)
            stream = io.BytesIO()
            np.save(stream, part, allow_pickle=False)  # into a file, it says of a full disk only that too little went
            with replacing(path) as partial:
                partial.write_bytes(stream.getbuffer())
            arrays.append((modality, str(path)))
        for modality in set(MODALITIES) - set(embeddings or {}):
            (folder / f"{name}.{modality}.npy").unlink(missing_ok=True)  # of other rows
        path = folder / f"{name}{SUFFIX}"
        table = frame.iloc[rows].reset_index(drop=True)
        with replacing(path) as partial:
            table.to_parquet(partial, index=False)
        written.append(Shard(name, str(path), tuple(arrays)))
    own = {f"{shard.name}{SUFFIX}" for shard in written}
    others = [] if first else sorted({path.name for path in folder.glob(f"part-*{SUFFIX}")} - own)
    if others:
        warnings.warn(
            f"folder: expected no shards but these {len(written)}, got {len(others)} more, from {others[0]} on. They "
            "will be read with them: take them away, or write to a new folder.",
            AuditWarning,
            stacklevel=2,
        )
    return written


# What is read, by whoever works on it


class _Sharded:
    """Rows that lie in several files; only the names of the files are held, and which of their rows.

    Parameters
    ----------
    paths : sequence of str
        One file a shard.
    n_rows : sequence of int
        Rows of each.
    rows : ndarray of int, or None
        Positions among all rows of all files. None: all of them.
    """

    def __init__(self, paths: Sequence[str], n_rows: Sequence[int], rows: np.ndarray | None = None) -> None:
        self.paths = tuple(paths)
        self.edges = np.r_[0, np.cumsum(np.asarray(n_rows, dtype=np.int64))]
        self.rows = rows

    def __len__(self) -> int:
        return int(self.edges[-1]) if self.rows is None else len(self.rows)

    def blocks(self) -> list[slice]:
        """Return row ranges that cover all rows, in order; each lies in one file, unless the rows are shuffled."""
        if len(self) == 0:
            return []
        if self.rows is None:
            ends = self.edges[1:]
        else:
            shard = np.searchsorted(self.edges, self.rows, side="right")
            ends = np.r_[np.flatnonzero(np.diff(shard)) + 1, len(self.rows)]
            if len(ends) > len(self.paths) + len(self.rows) // ROWS_AT_ONCE:
                ends = np.minimum(np.arange(ROWS_AT_ONCE, len(self.rows) + ROWS_AT_ONCE, ROWS_AT_ONCE), len(self.rows))
        return [slice(int(a), int(b)) for a, b in zip(np.r_[0, ends[:-1]], ends, strict=True) if a < b]

    def _positions(self, key: Any) -> np.ndarray:
        """Return positions among all rows of all files."""
        n = len(self)
        if isinstance(key, slice):
            key = np.arange(*key.indices(n))
        key = np.asarray(key)
        if key.dtype == bool:
            if key.shape != (n,):
                raise IndexError(f"mask of shape {key.shape} for {n} rows")
            key = np.flatnonzero(key)
        elif key.size and key.dtype.kind not in "iu":
            raise IndexError("rows are chosen by integers, slices and masks only")
        key = np.where(key < 0, key + n, key).astype(np.int64)
        if key.size and (key.min() < 0 or key.max() >= n):
            raise IndexError(f"position out of range for {n} rows")
        return key if self.rows is None else self.rows[key]

    def _chosen(self, which: Any) -> tuple[tuple[str, ...], np.ndarray, np.ndarray | None]:
        """Return the files that hold some rows, the rows of each, and which rows of these files are meant."""
        positions = self._positions(which)
        shard = np.searchsorted(self.edges, positions, side="right") - 1
        used = np.unique(shard)
        n_rows = np.diff(self.edges)[used]
        moved = np.zeros(len(self.paths), dtype=np.int64)
        moved[used] = np.r_[0, np.cumsum(n_rows)[:-1]] - self.edges[used] if len(used) else 0
        rows = positions + moved[shard]
        whole = len(rows) == n_rows.sum() and bool((np.diff(rows, prepend=-1) == 1).all())
        return tuple(self.paths[k] for k in used), n_rows, None if whole else rows

    def _by_file(self, positions: np.ndarray) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
        """Give each file that holds some of the positions: its path, which of them, and the rows in it."""
        shard = np.searchsorted(self.edges, positions, side="right") - 1
        for k in np.unique(shard):
            which = np.flatnonzero(shard == k)
            yield self.paths[k], which, positions[which] - self.edges[k]


class ShardedTexts(_Sharded):
    """A column of texts in several parquet files, read when it is indexed.

    Behaves as an array of str of shape (n_samples,): integers, slices, masks and lists of positions give texts or
    arrays of them. A process holds the texts of the two shards that it read last.

    Parameters
    ----------
    paths, n_rows, rows
        Files, the rows of each, and which rows are meant; see `take`.
    column : str
        Name of the column.
    """

    ndim = 1
    dtype = np.dtype(object)

    def __init__(self, paths, n_rows, column: str, rows: np.ndarray | None = None) -> None:
        super().__init__(paths, n_rows, rows)
        self.column = column

    @property
    def shape(self) -> tuple[int]:
        """(n_samples,)."""
        return (len(self),)

    def take(self, which: Any) -> ShardedTexts:
        """Return some of the rows, still unread."""
        paths, n_rows, rows = self._chosen(which)
        return ShardedTexts(paths, n_rows, self.column, rows)

    def __getitem__(self, key: Any) -> Any:
        positions = self._positions(key)
        found = np.empty(positions.size, dtype=object)
        for path, which, rows in self._by_file(positions.ravel()):
            with _still_there(path):
                found[which] = _texts_of(path, self.column, _state(path))[rows]
        return found[0] if positions.ndim == 0 else found

    def __iter__(self) -> Iterator[str]:
        for rows in self.blocks():
            yield from self[rows]

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


class ShardedRows(_Sharded):
    """Arrays of embeddings in several .npy files, read when they are indexed.

    Behaves as an array of shape (n_samples, n_dimensions). Files of this machine are mapped into memory; of others,
    runs of rows are fetched.

    Parameters
    ----------
    paths, n_rows, rows
        Files, the rows of each, and which rows are meant; see `take`.
    n_columns : int
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, paths, n_rows, n_columns: int, rows: np.ndarray | None = None) -> None:
        super().__init__(paths, n_rows, rows)
        self.n_columns = n_columns

    @property
    def shape(self) -> tuple[int, int]:
        """(n_samples, n_dimensions)."""
        return len(self), self.n_columns

    @property
    def nbytes(self) -> int:
        """Bytes of the rows as float32."""
        return 4 * len(self) * self.n_columns

    def take(self, which: Any) -> ShardedRows:
        """Return some of the rows, still unread."""
        paths, n_rows, rows = self._chosen(which)
        return ShardedRows(paths, n_rows, self.n_columns, rows)

    def __getitem__(self, key: Any) -> np.ndarray:
        positions = self._positions(key)
        found = np.empty((positions.size, self.n_columns), dtype=np.float32)
        for path, which, rows in self._by_file(positions.ravel()):
            with _still_there(path):
                found[which] = _rows_of(path, rows, self.n_columns)
        return found[0] if positions.ndim == 0 else found

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        return np.asarray(self[:], dtype=dtype)


@contextlib.contextmanager
def _still_there(path: str) -> Iterator[None]:
    """Say of a file that was whole when the shards were looked through, and cannot be read now, what happened."""
    try:
        yield
    except (OSError, ValueError, IndexError, KeyError) as error:
        raise InputError(
            "shards",
            "files that stay as they are while they are worked on",
            f"{path.rpartition('/')[2]}, which cannot be read any more ({error_name(error)})",
            "Put it back, and go on with resume=True.",
        ) from error


def _state(path: str) -> tuple[int, ...]:
    """Return what changes when a file of this machine is written anew."""
    if "://" in path:
        return ()
    found = Path(path).stat()
    return found.st_size, found.st_mtime_ns


@lru_cache(maxsize=2)
def _texts_of(path: str, column: str, state: tuple[int, ...]) -> np.ndarray:
    return np.array([_plain(text) for text in _table(path, [column])[column]], dtype=object)


def _plain(value: Any) -> str:
    return "" if pd.isna(value) else str(value).encode("utf-8", "replace").decode("utf-8")


def _table(path: str, columns: Sequence[str]) -> pd.DataFrame:
    """Return some columns of a table; one that pandas wrote as its index is a column like the others."""
    if "://" not in path:
        frame = read_parquet(Path(path), columns=list(columns))
    else:
        with _open(path) as file:
            frame = read_parquet(file, columns=list(columns))
    if set(frame.index.names) & set(columns):
        frame = frame.reset_index()
    if not set(columns) <= set(frame.columns):
        raise DamagedTableError("columns that it does not hold")
    return frame[list(columns)]


def _rows_of(path: str, rows: np.ndarray, n_columns: int) -> np.ndarray:
    """Return rows of an array file, which were checked to be sorted or few."""
    with _open(path) as file:
        shape, dtype = _header(file)
        if shape[1] != n_columns:
            raise DamagedTableError(f"array of shape {shape}")
        if "://" not in path:
            return np.memmap(file, dtype=dtype, mode="r", offset=file.tell(), shape=shape)[rows]
        start, width = file.tell(), dtype.itemsize * shape[1]
        low, high = int(rows.min()), int(rows.max()) + 1
        file.seek(start + low * width)
        part = np.frombuffer(file.read((high - low) * width), dtype=dtype).reshape(high - low, shape[1])
        return part[rows - low]


def _header(file: BinaryIO) -> tuple[tuple[int, ...], np.dtype]:
    """Return shape and type of an array file; the stream then stands at its first number."""
    version = np.lib.format.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise DamagedTableError("an array file of another version")
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    try:
        shape, by_column, dtype = read(file)
    except (SyntaxError, tokenize.TokenError, MemoryError, RecursionError, TypeError, OverflowError) as error:
        raise DamagedTableError(type(error).__name__) from None
    if by_column or dtype.kind != "f" or len(shape) != 2 or min(shape) < 0:
        raise DamagedTableError("not rows of floating-point numbers, one behind the other")
    return shape, dtype


def _open(path: str) -> BinaryIO:
    if "://" in path:
        return _fsspec().open(path, "rb").open()
    if Path(path).exists() and not Path(path).is_file():  # a pipe or a device has no end
        raise DamagedTableError("no plain file")
    return Path(path).open("rb")


def _fsspec() -> Any:
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError("Shards behind a URL", "fsspec", "remote") from None
    return fsspec


# What is looked at before an audit begins


@dataclass(frozen=True)
class ScannedShards:
    """What a look through all shards gave.

    Attributes
    ----------
    frame : DataFrame of shape (n_samples, n_columns)
        The columns that were asked for, of the samples that are kept; indexed by running number.
    texts : ShardedTexts or None
    n_empty : int
        Texts of kept samples with nothing in them.
    embeddings : dict of modality to ShardedRows
    quarantine : DataFrame with columns sample_id and reason
        Samples and whole shards (under their name) that were left out.
    n_rows : int
        Samples of all shards that could be read, those in quarantine included.
    digest : str
        Of the content of all files.
    """

    frame: pd.DataFrame
    texts: ShardedTexts | None
    n_empty: int
    embeddings: dict[str, ShardedRows]
    quarantine: pd.DataFrame
    n_rows: int
    digest: str


@dataclass(frozen=True)
class _Wanted:
    """What is asked of every shard: columns, the text among them, and which must have a value or a probability."""

    columns: tuple[str, ...]
    text: str | None
    needed: tuple[tuple[str, str], ...]  # column, and what it is
    probabilities: tuple[str, ...]
    sample_id: str | None


def scan_shards(
    folder: str | Path,
    *,
    columns: Sequence[str],
    text: str | None = None,
    needed: Mapping[str, str] | None = None,
    probabilities: Sequence[str] = (),
    sample_id: str | None = None,
    most_bad: float = 0.05,
    n_jobs: int | None = None,
    progress: bool = False,
) -> ScannedShards:
    """Look through all files of a folder of shards, and return what an audit keeps of them in memory.

    Every byte is read once, by the workers: so a damaged file is found before any work is done, and not after a night.

    Parameters
    ----------
    folder : path or str
        See `find_shards`.
    columns : sequence of str
        Columns of the tables to keep in memory.
    text : str or None
        Column of reports, which stay in their files.
    needed : mapping of column to what it is, or None
        Samples without a value there are left out.
    probabilities : sequence of str
        Columns that must hold numbers in [0, 1]; samples where they do not are left out.
    sample_id : str or None
        Column of names. None: samples are numbered through.
    most_bad : float in [0, 1)
        Share of samples, and of shards, that may be left out.
    n_jobs : int or None
        Workers; see `mmaudit._engine.map_pieces`.
    progress : bool
        Show a progress bar on standard error.

    Raises
    ------
    InputError
        No shards; shards that lack a column, or differ in their embeddings; more than `most_bad` left out.
    """
    shards = find_shards(folder)
    wanted = _Wanted(tuple(columns), text, tuple((needed or {}).items()), tuple(probabilities), sample_id)
    looked = list(
        map_pieces(
            _scan,
            shards,
            wanted,
            n_jobs=n_jobs,
            large=len(shards) > 8,
            description="reading shards",
            unit="shard",
            progress=progress,
        )
    )
    bad_shards = [(shard.name, found["damage"]) for shard, found in zip(shards, looked, strict=True) if found["damage"]]
    _refuse(len(bad_shards), len(shards), "shards", bad_shards, most_bad)
    good = [(shard, found) for shard, found in zip(shards, looked, strict=True) if not found["damage"]]
    for shard, found in good:
        missing = found["missing"]
        if missing:
            raise InputError("shards", f"the column {missing[0]!r} in every table", f"{shard.name} without", "Add it.")
    widths = {shard.name: found["widths"] for shard, found in good}
    first = next(iter(widths.values()))
    for name, of_shard in widths.items():
        if of_shard != first:
            raise InputError(
                "shards",
                f"the same embeddings beside every table ({_said(first)})",
                f"{_said(of_shard)} beside {name}",
                "Write the missing arrays, or take the others away.",
            )
    n_rows = [found["n_rows"] for _, found in good]
    edges = np.r_[0, np.cumsum(n_rows)]
    bad = np.concatenate([found["bad"] + edge for (_, found), edge in zip(good, edges[:-1], strict=True)])
    reasons = [reason for _, found in good for reason in found["reasons"]]
    frame = _joined([found["frame"] for _, found in good])
    ids = frame[sample_id] if sample_id is not None else pd.Series(frame.index)
    rows = [{"sample_id": name, "reason": reason} for name, reason in bad_shards]
    rows += [{"sample_id": ids.iloc[k], "reason": reason} for k, reason in zip(bad.tolist(), reasons, strict=True)]
    _refuse(len(bad), len(frame), "samples", [("", reason) for reason in reasons], most_bad)
    kept = None
    if len(bad):
        kept = np.delete(np.arange(len(frame)), bad)
        frame = frame.iloc[kept]
    tables = [shard.table for shard, _ in good]
    arrays = {m: [dict(shard.arrays)[m] for shard, _ in good] for m in first}
    digest = hashlib.blake2b(repr([found["digest"] for found in looked]).encode(), digest_size=20)
    return ScannedShards(
        frame=frame,
        texts=None if text is None else ShardedTexts(tables, n_rows, text, kept),
        n_empty=sum(found["n_empty"] for _, found in good),
        embeddings={m: ShardedRows(paths, n_rows, first[m], kept) for m, paths in arrays.items()},
        quarantine=pd.DataFrame(rows, columns=["sample_id", "reason"]),
        n_rows=int(edges[-1]),
        digest=digest.hexdigest(),
    )


def _joined(frames: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the rows of all tables. A column without a value in one of them has no type there, and takes no part."""
    frames = [frame for frame in frames if len(frame)] or list(frames[:1])
    columns = {}
    for column in frames[0]:
        parts = [frame[column] for frame in frames]
        typed = [part.dtype for part in parts if part.dtype != object or part.notna().any()]
        if typed and len(typed) < len(parts):
            number = all(isinstance(dtype, np.dtype) and dtype.kind in "iuf" for dtype in typed)
            same = np.dtype(float) if number else typed[0] if typed[0].kind == "M" else np.dtype(object)
            parts = [part if part.dtype != object or part.notna().any() else part.astype(same) for part in parts]
        columns[column] = pd.concat(parts, ignore_index=True)
    return pd.DataFrame(columns)


def _said(widths: Mapping[str, int]) -> str:
    return ", ".join(f"{modality}: {n} dimensions" for modality, n in widths.items()) or "none"


def _refuse(n_bad: int, n: int, what: str, reasons: Sequence[tuple[str, str]], most: float) -> None:
    if n_bad and (n_bad > most * n or n_bad == n):
        counts = pd.Series([reason for _, reason in reasons]).value_counts()
        summary = ", ".join(f"{count:,} {reason}" for reason, count in counts.head(5).items())
        names = [name for name, _ in reasons if name][:3]
        raise InputError(
            "shards",
            f"at least {1 - most:.0%} of the {what} to be usable",
            f"{n_bad:,} of {n:,} that are not ({summary})" + (f"; the first are {', '.join(names)}" if names else ""),
            "Write them again, or leave them out of the folder.",
        )


def _scan(shard: Shard, wanted: _Wanted) -> dict[str, Any]:
    """Return what one shard holds: the columns, which rows cannot be used and why, widths of arrays, a digest."""
    found: dict[str, Any] = {"damage": "", "missing": [], "digest": "", "widths": {}, "n_rows": 0}
    try:
        digest = _digest(shard.table)
        names = _names(shard.table)
        columns = [*wanted.columns, *([wanted.text] if wanted.text else [])]
        found["missing"] = [c for c in dict.fromkeys(columns) if c not in names]
        if found["missing"]:
            return found
        frame = _table(shard.table, list(dict.fromkeys(columns)))
        if wanted.text and not all(map(is_hashable, frame[wanted.text])):
            raise DamagedTableError(f"lists or other objects in {wanted.text!r}")
        reasons: dict[int, str] = {}
        for modality, path in shard.arrays:
            width, not_finite, of_array = _look_through(path, len(frame))
            digest += of_array
            found["widths"][modality] = width
            for row in not_finite.tolist():
                reasons.setdefault(row, f"{modality} embedding not finite")
    except (OSError, ValueError, DamagedTableError) as error:
        found["damage"] = f"unreadable ({error_name(error)})"
        return found
    for column, what in wanted.needed:
        values = frame[column]
        blank = values.isna() | np.array([not str(value).strip() for value in values], dtype=bool)
        for row in np.flatnonzero(blank).tolist():
            reasons.setdefault(row, f"no {what}")
    for column in wanted.probabilities:
        numbers = to_numbers(frame[column])
        for row in np.flatnonzero(~numbers.between(-1e-6, 1 + 1e-6)).tolist():
            reasons.setdefault(row, "no probability in [0, 1]")
    found |= {"n_rows": len(frame), "digest": digest, "frame": frame[list(wanted.columns)]}
    found["bad"] = np.array(sorted(reasons), dtype=np.int64)
    found["n_empty"] = 0
    if wanted.text:
        empty = np.array([not _plain(text).strip() for text in frame[wanted.text]], dtype=bool)
        empty[found["bad"]] = False
        found["n_empty"] = int(empty.sum())
    found["reasons"] = [reasons[row] for row in sorted(reasons)]
    return found


def _names(path: str) -> list[str]:
    import pyarrow.parquet as pq

    try:
        with _open(path) as file:
            return pq.ParquetFile(file).schema_arrow.names
    except (OSError, DamagedTableError):
        raise
    except Exception as error:
        raise DamagedTableError(type(error).__name__) from None


def _digest(path: str) -> str:
    total = hashlib.blake2b(digest_size=20)
    with _open(path) as file:
        while block := file.read(BLOCK_BYTES):
            total.update(block)
    return total.hexdigest()


def _look_through(path: str, n_rows: int) -> tuple[int, np.ndarray, str]:
    """Return the columns of an array file, the rows that are not finite, and a digest; each byte is read once."""
    total = hashlib.blake2b(digest_size=20)
    bad = []
    with _open(path) as file:
        shape, dtype = _header(file)
        if shape[0] != n_rows or shape[1] == 0:
            raise DamagedTableError(f"array of shape {shape} beside a table of {n_rows} rows")
        total.update(repr((shape, dtype.str)).encode())
        start, width = file.tell(), dtype.itemsize * shape[1]
        if file.seek(0, io.SEEK_END) != start + n_rows * width:
            raise DamagedTableError("array that ends too early or too late")
        file.seek(start)
        for first in range(0, n_rows, ROWS_AT_ONCE):
            n = min(ROWS_AT_ONCE, n_rows - first)
            content = file.read(n * width)
            if len(content) < n * width:
                raise DamagedTableError("array that ends too early")
            total.update(content)
            with np.errstate(over="ignore"):
                part = np.frombuffer(content, dtype=dtype).reshape(n, shape[1]).astype(np.float32, copy=False)
            bad.append(first + np.flatnonzero(~np.isfinite(part).all(axis=1)))
    return shape[1], np.concatenate([np.empty(0, np.int64), *bad]), total.hexdigest()
