"""Files that appear only once they are whole."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from mmaudit._errors import InputError

__all__ = ["PARTIAL", "replacing", "temporary_beside"]

PARTIAL = ".mmaudit-"  # how the names of files begin that are being written
_FULL = {errno.ENOSPC, errno.EDQUOT}


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a temporary path beside `path`, and move it there only when the block has ended well.

    Raises
    ------
    InputError
        No room is left on the disk; nothing is left of the file.
    """
    partial = temporary_beside(path)
    try:
        yield partial
        with partial.open("rb") as file:
            os.fsync(file.fileno())  # a power failure may lose the file, and leaves no half of it
        partial.replace(path)
    except OSError as error:
        if error.errno in _FULL:
            raise InputError(
                "out",
                "room on the disk",
                f"none left while {path.name} was written",
                "Free some and run it again; an audit of shards goes on with --resume (resume=True).",
            ) from error
        raise
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def temporary_beside(path: Path) -> Path:
    """Return a path beside another one, of a name that nobody uses."""
    # No tempfile.mkstemp: who may read the file is what the user's umask says, no more and no less.
    return path.with_name(f"{PARTIAL}{secrets.token_hex(8)}")
