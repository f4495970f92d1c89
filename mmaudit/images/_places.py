"""Where image files lie: in a folder, in a zip file, or behind a URL that fsspec opens.

Each place opens a file by the path that the table of cases gives, and only if it lies inside. `key` names a file and
its state, so that a fingerprint of it can be kept: with the key of a file the same, so is its content.
"""

from __future__ import annotations

import io
import os
import posixpath
import re
import stat
import time
import zipfile
import zlib
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path, PureWindowsPath
from typing import Any, BinaryIO, Protocol
from urllib.parse import unquote
from urllib.request import url2pathname

from mmaudit._errors import ImageReadError, InputError, MissingExtraError
from mmaudit.images._limits import MAX_FILE_BYTES, check_file_size, damaged, missing, outside

__all__ = ["Folder", "Place", "Remote", "ZipArchive", "find_place", "is_url"]

# A file may change again within the resolution of its time, so what is as new as this has no key (as in git's index).
_SETTLED_S = 2.0


class Place(Protocol):
    """Somewhere that files are read from."""

    def open(self, given: str) -> BinaryIO:
        """Return the file at a path, open and of a checked size."""

    def key(self, given: str) -> str | None:
        """Return the name and the state of a file; None where its state is not known or too new."""


def is_url(text: str) -> bool:
    """Return whether `text` is a URL of fsspec, such as https://host/a.png or zip://a.png::s3://bucket/films.zip."""
    # A single letter before it is a drive of Windows.
    return "://" in text and re.match(r"[A-Za-z][A-Za-z0-9+.-]+(://|::)", text) is not None


def find_place(root: str | Path | None, paths: Iterable[str | None]) -> tuple[Place, Path | str | None]:
    """Return the place that `image_root` names, and its name made absolute.

    Raises
    ------
    InputError
        No folder, zip file or URL that can be opened.
    MissingExtraError
        A URL without fsspec.
    """
    if root is None:
        urls = [path for path in paths if path is not None and is_url(path) and not _is_local(path)]
        if urls:
            _check_protocols("image", urls)
        return Anywhere(), None
    if isinstance(root, str) and is_url(root):
        if not _is_local(root):
            _check_protocols("image_root", [root])
            return Remote(root), root
        root = _local_path(root)
    root = Path(root)
    if root.is_dir():
        root = root.resolve()
        return Folder(root), root
    if not root.exists():
        raise InputError("image_root", "an existing folder", "one that does not exist", "Check the path.")
    if not zipfile.is_zipfile(root):
        raise InputError("image_root", "a folder or a zip file", "a file that is no zip", "Check the path.")
    root = root.resolve()
    return ZipArchive(root), root


class Folder:
    """A folder; a path may not leave it, links resolved. Without one, any path of this machine."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = root
        self._below = "" if root is None else os.path.normcase(os.path.join(root, ""))  # noqa: PTH118

    def path(self, given: str) -> Path:
        """Return the checked path of a file."""
        return Path(self._found(given)[0])

    def _found(self, given: str) -> tuple[str, os.stat_result]:
        """Return the checked path of a file and its state. By functions of `os`: a Path costs more than the look."""
        try:
            where = given if self.root is None else os.path.realpath(os.path.join(self.root, given))  # noqa: PTH118
            inside = self.root is None or (os.path.normcase(where) + os.sep).startswith(self._below)
            state = os.stat(where) if inside else None  # noqa: PTH116
        except (OSError, ValueError, RuntimeError):  # none there, a name too long, a NUL in it, a loop of links
            raise missing() from None
        if state is None:
            raise outside()
        if not stat.S_ISREG(state.st_mode):
            raise missing()
        return where, state

    def open(self, given: str) -> BinaryIO:
        """Return the file at a path, open and of a checked size."""
        where, state = self._found(given)
        try:
            check_file_size(state.st_size)
            return Path(where).open("rb")
        except FileNotFoundError:
            raise missing() from None
        except OSError as error:
            raise damaged(error) from None

    def key(self, given: str) -> str | None:
        """Return path, size, time and inode."""
        where, state = self._found(given)
        if not _settled(state.st_mtime):
            return None
        where = where if self.root is not None else os.path.abspath(where)  # noqa: PTH100
        return f"{where}|{state.st_size}|{state.st_mtime_ns}|{state.st_ino}"


class ZipArchive:
    """Members of a zip file, read without unpacking it.

    The file is opened when first needed, once a process, and threads share it (`zipfile` guards the shared file with
    a lock). A copy made by pickling, or a forked process, opens its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._opened: tuple[int, zipfile.ZipFile] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_opened": None}

    def open(self, given: str) -> BinaryIO:
        """Return a member, unpacked into memory after its size was checked."""
        member = self._member(given)
        if member.flag_bits & 1:
            raise ImageReadError(
                "image",
                "a zip member without a password",
                "an encrypted one",
                "Unpack the archive, and give the folder as image_root.",
                reason="encrypted",
            )
        # The other methods can ask for gigabytes of memory before the first byte.
        if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ImageReadError(
                "image",
                "a zip member that is stored or deflated",
                "one that is compressed in another way",
                "Unpack the archive, and give the folder as image_root.",
                reason="no decoder",
            )
        check_file_size(member.file_size)
        try:
            with self._archive().open(member) as file:
                # The size asked for is the one just checked; without it, data that unpack to more are unpacked.
                return io.BytesIO(file.read(member.file_size))
        except (OSError, ValueError, EOFError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
            raise damaged(error) from None

    def key(self, given: str) -> str | None:
        """Return path, size and time of the archive; name, sum and size of the member."""
        member = self._member(given)
        try:
            state = self.path.stat()
        except OSError:
            raise missing() from None
        if not _settled(state.st_mtime):
            return None
        archive = f"{self.path}|{state.st_size}|{state.st_mtime_ns}"
        return f"{archive}|{member.filename}|{member.CRC:08x}|{member.file_size}"

    def _member(self, given: str) -> zipfile.ZipInfo:
        name = _inside(given)
        try:
            return self._archive().getinfo(name)
        except (KeyError, FileNotFoundError):
            raise missing() from None
        except (OSError, ValueError, zipfile.BadZipFile, NotImplementedError) as error:
            raise damaged(error) from None

    def _archive(self) -> zipfile.ZipFile:
        opened = self._opened
        if opened is None or opened[0] != os.getpid():  # a forked process would move the file under its parent
            opened = self._opened = (os.getpid(), zipfile.ZipFile(self.path))
        return opened[1]


class Remote:
    """Files below a URL, or at URLs of their own, as fsspec opens them.

    Nothing is asked of a network before the first file is opened. What a server sends instead of a file (a redirect)
    is up to the file system.
    """

    def __init__(self, root: str | None = None) -> None:
        self.root = root

    def open(self, given: str) -> BinaryIO:
        """Return a file, read into memory, at most as much as a file may have."""
        files, path = self._locate(given)
        try:
            with files.open(path, "rb") as file:
                size = getattr(file, "size", None)  # as the server tells it, if it does
                if size is None or size <= MAX_FILE_BYTES:
                    data = file.read(MAX_FILE_BYTES + 1)
                    size = len(data)
        except FileNotFoundError:
            raise missing() from None
        except Exception as error:  # each file system has errors of its own
            raise _not_reachable(error) from None
        check_file_size(size)
        return io.BytesIO(data)

    def key(self, given: str) -> str | None:
        """Return URL, size, and tag or time, where the file system tells them.

        `ukey` of fsspec will not do: of a web address it is a hash of the address alone.
        """
        files, path = self._locate(given)
        try:
            info = files.info(path)
        except FileNotFoundError:
            raise missing() from None
        except Exception as error:  # each file system has errors of its own
            raise _not_reachable(error) from None
        state = next((info[name] for name in ("ETag", "etag", "md5Hash") if info.get(name)), None)
        if state is None:
            times = (info.get(name) for name in ("mtime", "LastModified", "last_modified"))
            changed = next((t.timestamp() if isinstance(t, datetime) else t for t in times if t is not None), None)
            state = changed if isinstance(changed, (int, float)) and _settled(changed) else None
        if state is None or info.get("size") is None:
            return None
        return f"{self.root or given}|{path}|{info['size']}|{state}"

    def _locate(self, given: str) -> tuple[Any, str]:
        import fsspec.core

        if self.root is None:
            relative, root = "", given
        else:
            root = self.root
            below = _folder_url(root)
            if is_url(given):
                if "::" in root or not given.startswith(below):
                    raise outside()
                given = given[len(below) :]
            relative = _inside(given)
            # A web server takes %2e%2e for dots.
            _inside(unquote(given))
        try:
            files, path = fsspec.core.url_to_fs(root)  # fsspec keeps what it has opened
        except Exception as error:  # a chained URL opens the outer file here, and that may be anywhere
            raise _not_reachable(error) from None
        return files, f"{path.rstrip('/')}/{relative}" if relative else path


class Anywhere:
    """Where no root is given: any path of this machine, and any URL."""

    def __init__(self) -> None:
        self._folder, self._remote = Folder(), Remote()

    def path(self, given: str) -> Path:
        """Return the checked path of a local file."""
        return self._folder.path(self._of(given)[1])

    def open(self, given: str) -> BinaryIO:
        """Return the file at a path or URL, open and of a checked size."""
        place, where = self._of(given)
        return place.open(where)

    def key(self, given: str) -> str | None:
        """Return the name and the state of a file."""
        place, where = self._of(given)
        return place.key(where)

    def _of(self, given: str) -> tuple[Place, str]:
        if not is_url(given):
            return self._folder, given
        return (self._folder, _local_path(given)) if _is_local(given) else (self._remote, given)


def _inside(given: str) -> str:
    """Return a relative path with its dots worked out, parts joined by "/"; raise if it leads outside."""
    path = posixpath.normpath(given)
    windows = PureWindowsPath(given)
    if path.startswith("/") or windows.drive or windows.root or path == ".." or path.startswith("../"):
        raise outside()
    if posixpath.normpath(given.replace("\\", "/")).startswith(".."):
        raise outside()
    return path


def _folder_url(root: str) -> str:
    return root if root.endswith("/") else root + "/"


def _is_local(url: str) -> bool:
    """Return whether a URL names a file or folder of this machine, which needs no fsspec."""
    return url.lower().startswith("file://") and "::" not in url


def _local_path(url: str) -> str:
    # In file:///C:/films the path of Windows begins after the third slash; url2pathname knows.
    return url2pathname(url[len("file://") :])


def _check_protocols(argument: str, urls: Iterable[str]) -> None:
    """Raise unless fsspec is there and opens URLs of these kinds. Asks nothing of any network."""
    try:
        import fsspec
    except ImportError:
        raise MissingExtraError("reading images from URLs", "fsspec", "remote") from None
    kinds = {part.partition("://")[0] for url in urls for part in url.split("::")}
    for kind in sorted(kinds):
        try:
            fsspec.get_filesystem_class(kind)
        except ValueError:
            # What stands before "://" in a table may be anything; a name of a protocol is short and plain.
            shown = f"{kind}://" if re.fullmatch(r"[a-z][a-z0-9+.-]{0,19}", kind) else "another kind"
            raise InputError(
                argument, "a kind of URL that fsspec knows", shown, "See fsspec.available_protocols()."
            ) from None
        except ImportError as error:
            raise InputError(
                argument,
                f"the package that opens {kind}:// to be installed",
                f"none ({str(error).rstrip('.')})",
                "Install it.",
            ) from None


def _not_reachable(error: Exception) -> ImageReadError:
    return ImageReadError(
        "image",
        "a URL that can be read",
        f"one that cannot ({type(error).__name__})",
        "Check the URL, the network and your right to read it.",
        reason="not reachable",
    )


def _settled(changed_s: float) -> bool:
    return changed_s < time.time() - _SETTLED_S
