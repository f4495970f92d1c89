"""Image files of a table of cases as an image source."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from mmaudit._errors import ImageReadError, InputError
from mmaudit.images._places import Anywhere, Folder, Place, find_place
from mmaudit.images._read import decode_image
from mmaudit.images._source import GrayImage, KnownFingerprints, check_window, in_threads, new_hash

__all__ = ["ImageFiles"]


class ImageFiles:
    """Image files below a folder, in a zip file or behind a URL, opened one at a time.

    Parameters
    ----------
    paths : sequence of str or None
        Paths relative to `root`, or absolute paths or URLs that lie below it. None where a sample has no image.
    root : path, str or None
        The place that all images must lie in. A folder: links are resolved. A zip file: paths are names of its
        members, which are read without unpacking it. A URL of fsspec with "://", such as "s3://bucket/films",
        "https://host/films", "memory://films" or "zip://films::s3://bucket/films.zip"; the package of that kind of
        URL must be installed. None: paths are taken as they are, relative ones from the current folder, and those
        with "://" as URLs.
    window : {"percentiles", "minmax", "full"}
        How grey values of files with more than 8 bits and no display window become [0, 1]; see `read_image`.

    Raises
    ------
    InputError
        A root that is no folder, zip file or URL that can be opened; a kind of URL that is unknown or whose package
        is not installed; another window.
    MissingExtraError
        A URL without fsspec.

    Notes
    -----
    A network is used only where a URL names one, and not before the first image is read. Files of this machine are
    opened without fsspec, also those of a root that begins with "file://". Below other URLs, links are followed.
    """

    def __init__(
        self,
        paths: Sequence[str | None],
        root: str | Path | None = None,
        *,
        window: str = "percentiles",
    ) -> None:
        self.paths = list(paths)
        self._place, self.root = find_place(root, self.paths)
        self.window = check_window(window)

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"ImageFiles({len(self)} files)"

    def take(self, indices: Sequence[int]) -> ImageFiles:
        """Return the files at these positions."""
        return self._like([self.paths[int(i)] for i in indices], self.window)

    def with_window(self, window: str) -> ImageFiles:
        """Return the same files, read with another window for grey values that come without one."""
        return self._like(self.paths, check_window(window))

    def path(self, index: int) -> Path:
        """Return the checked path of image `index`.

        Raises
        ------
        ImageReadError
            Where there is no path, or the path (links resolved) leaves `root`, or no file is there.
        InputError
            Where the root is no folder.
        """
        if not isinstance(self._place, (Folder, Anywhere)):
            raise InputError("image_root", "a folder", "a zip file or a URL", "Use read(index).")
        return self._place.path(self._given(index))

    def read(self, index: int, *, max_side_px: int | None = None) -> GrayImage:
        """Return image number `index` as grey values; see `read_image`.

        Raises
        ------
        ImageReadError
            Where `read_image` does, and where there is no path, the path leaves `root`, a member of a zip file is
            encrypted, or a URL cannot be read.
        """
        given = self._given(index)
        with self._place.open(given) as file:
            return decode_image(file, name=given, max_side_px=max_side_px, window=self.window)

    def fingerprints(
        self, *, known: KnownFingerprints | None = None, n_jobs: int | None = None, progress: bool = False
    ) -> list[str | None]:
        """Return a hash of each file's bytes: equal for equal files wherever they lie.

        Parameters
        ----------
        known : object with `get_many` and `put_many`, or None
            Where fingerprints found before are kept, so that a file that has not changed is not read again; see
            `KnownFingerprints`. None: all files are read.
        n_jobs : int or None
            Threads. None: as many as there are cores.
        progress : bool
            Show a progress bar on standard error.

        Returns
        -------
        list of str or None
            BLAKE2b of 160 bits, 40 hexadecimal digits; with a window other than "percentiles" its name behind them,
            since the same file then gives other pixels. None where a file cannot be read.

        Notes
        -----
        A file has changed if its path, size, time of change or inode has; one of a zip file, if path, size or time of
        the archive, or sum or size of the member has; one of a URL, if the size and the tag or time that the server
        tells have. A server that tells none, and a file changed within the last 2 seconds, is read each time. A
        change that keeps size, time and inode is not noticed. Keys contain paths, so a store of them is as private
        as the paths are.
        """
        keys: dict[str, str | None] = {}
        for given in dict.fromkeys(p for p in self.paths if p is not None):
            try:
                keys[given] = None if known is None else self._place.key(given)
            except ImageReadError:
                continue
        found = {} if known is None else dict(known.get_many([key for key in keys.values() if key is not None]))
        digests = {given: found.get(key) for given, key in keys.items() if key is not None}
        todo = [given for given in keys if digests.get(given) is None]
        work = in_threads(_hash, [(self._place, given) for given in todo], n_jobs)
        bar = tqdm(work, total=len(todo), desc="hashing images", unit="file", disable=not progress, leave=False)
        new: dict[str, str] = {}
        for given, digest in zip(todo, bar, strict=True):
            digests[given], key = digest, keys[given]
            # The second look finds a file that was written to while it was read.
            if digest is not None and key is not None and _key(self._place, given) == key:
                new[key] = digest
        if known is not None and new:
            known.put_many(new)
        behind = "" if self.window == "percentiles" else f"-{self.window}"
        every = (None if given is None else digests.get(given) for given in self.paths)
        return [None if digest is None else digest + behind for digest in every]

    def _given(self, index: int) -> str:
        given = self.paths[index]
        if given is None:
            raise ImageReadError("image", "a path", "none", "Give a path or leave the sample out.", reason="missing")
        return given

    def _like(self, paths: list[str | None], window: str) -> ImageFiles:
        """Return files of the same place, which is not looked for again."""
        made = ImageFiles.__new__(ImageFiles)
        made.paths, made.root, made.window, made._place = paths, self.root, window, self._place
        return made


def _key(place: Place, given: str) -> str | None:
    try:
        return place.key(given)
    except ImageReadError:
        return None


def _hash(place: Place, given: str) -> str | None:
    try:
        with place.open(given) as file:
            digest = new_hash()
            while block := file.read(1 << 20):
                digest.update(block)
    except (ImageReadError, OSError):
        return None
    return digest.hexdigest()
