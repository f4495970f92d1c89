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
from collections.abc import Mapping, Sequence
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
MARK = b"mmaudit "  # how the comment of such a file begins; a digest of the run and of the names in the file follows
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
        The folder holds a run of other data or settings, and `resume` is asked for; or another program's `run.json`.
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
        if not resume:
            remove_checkpoints(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        for partial in _partials(self.folder):  # of a run that was killed
            partial.unlink(missing_ok=True)
        text = json.dumps(about, indent=1, sort_keys=True)
        self._digest = _digest(text)
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
    return [path for path in folder.glob(FILES) if _ending(path, len(MARK) + 2 * DIGEST_BYTES).startswith(MARK)]


def _partials(folder: Path) -> list[Path]:
    return [*folder.glob(f"{PARTIAL}*"), *folder.glob(f"*/{PARTIAL}*")]


def _ending(path: Path, n_bytes: int) -> bytes:
    with contextlib.suppress(OSError), path.open("rb") as file:
        file.seek(-n_bytes, io.SEEK_END)
        return file.read()
    return b""


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
        try:
            with zipfile.ZipFile(path) as archive:
                members, n_bytes = archive.infolist(), path.stat().st_size
                is_plain = all(member.compress_type == zipfile.ZIP_STORED for member in members)
                # What unpacks to more than it is was not written here.
                names = [member.filename for member in members]
                if archive.comment != self._mark(names) or not is_plain or sum(m.file_size for m in members) > n_bytes:
                    return None
                return dict(_read(member.filename, archive.read(member)) for member in members)
        except Exception:  # zipfile, NumPy, pyarrow and json have none for all that may be damaged: it is made again
            return None

    def put(self, position: int, result: Mapping[str, Any]) -> None:
        """Keep a result."""
        with replacing(self._path(position)) as partial:
            self.folder.mkdir(parents=True, exist_ok=True)  # which may find the disk full too
            with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED) as archive:
                for name, value in result.items():
                    kind, content = _written(value)
                    archive.writestr(f"{name}.{kind}", content)
                archive.comment = self._mark(archive.namelist())

    def _mark(self, names: Sequence[str]) -> bytes:
        """Return the comment of a file with these names in it: one that lost some of them is not whole."""
        return MARK + _digest("\n".join([self._digest, *names])).encode()

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
    if math.prod(shape) * dtype.itemsize != len(content) - stream.tell():  # before memory is asked for
        raise ValueError("array that is not as long as its header says")
    stream.seek(0)
    return np.load(stream, allow_pickle=False)
