"""What a source of images is, and what can be asked of any of them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from joblib import Parallel, delayed
from tqdm import tqdm

from mmaudit._errors import ImageReadError, InputError, nearest

__all__ = [
    "WINDOWS",
    "GrayImage",
    "ImageSource",
    "KnownFingerprints",
    "check_window",
    "image_fingerprints",
    "new_hash",
    "prepare_images",
    "with_window",
]

WINDOWS = ("percentiles", "minmax", "full")
AnySource = TypeVar("AnySource", bound="ImageSource")


class GrayImage(NamedTuple):
    """One image: `pixels` (height, width) float32 in [0, 1]; the size is that of the file.

    `bit_depth` is above 8 where the grey values of a file were stretched for want of a display window.
    """

    pixels: np.ndarray
    width_px: int
    height_px: int
    bit_depth: int


@runtime_checkable
class ImageSource(Protocol):
    """Images by position, opened when read. Files, arrays or a generator of phantoms all look like this.

    A source may have three methods more, each asked for through a function of this module that does without where
    it is missing:

    - `prepare(*, n_jobs=None, progress=False)`, if it is quicker when asked for all images at once; `prepare_images`.
    - `fingerprints(*, known=None, n_jobs=None, progress=False)`, if it can tell images apart without decoding them;
      `image_fingerprints`.
    - `with_window(window)`, if it holds grey values that come without a display window; `with_window`.
    """

    def __len__(self) -> int:
        """Return the number of images."""

    def read(self, index: int, *, max_side_px: int | None = None) -> GrayImage:
        """Return image number `index`, made smaller so that its longer side is at most `max_side_px`."""

    def take(self, indices: Sequence[int]) -> ImageSource:
        """Return the images at these positions, still unopened."""


class KnownFingerprints(Protocol):
    """A store of fingerprints found before, such as a table on disk; any object with these two methods."""

    def get_many(self, keys: list[str]) -> Mapping[str, str]:
        """Return the fingerprints of those keys that are known."""

    def put_many(self, found: dict[str, str]) -> None:
        """Keep these fingerprints by key."""


def prepare_images(images: ImageSource, *, n_jobs: int | None = None, progress: bool = False) -> None:
    """Tell a source that all of its images will be read, so that one that draws or fetches them can do so at once.

    Parameters
    ----------
    images : ImageSource
        Nothing happens if it has no method `prepare`.
    n_jobs : int or None
        Processes. None: all cores.
    progress : bool
        Show a progress bar on standard error.
    """
    prepare = getattr(images, "prepare", None)
    if prepare is not None:
        prepare(n_jobs=n_jobs, progress=progress)


def image_fingerprints(
    images: ImageSource,
    *,
    known: KnownFingerprints | None = None,
    n_jobs: int | None = None,
    progress: bool = False,
) -> list[str | None]:
    """Return for each image a name of its content: the same for the same content, another for other content.

    Parameters
    ----------
    images : ImageSource
        Asked by its method `fingerprints`. Without one, every image is read and its pixels are hashed.
    known : object with `get_many` and `put_many`, or None
        Where fingerprints found before are kept, see `KnownFingerprints`; sources whose images are not files have no
        use for it. None: all are worked out anew.
    n_jobs : int or None
        Threads. None: as many as there are cores.
    progress : bool
        Show a progress bar on standard error.

    Returns
    -------
    list of str or None
        Hexadecimal digits; None where an image cannot be read.

    Notes
    -----
    Fingerprints of two kinds of source do not agree, even where their pixels do: a file is named by its bytes.
    """
    fingerprints = getattr(images, "fingerprints", None)
    if fingerprints is not None:
        return fingerprints(known=known, n_jobs=n_jobs, progress=progress)
    prepare_images(images, n_jobs=n_jobs, progress=progress)
    work = in_threads(_of_pixels, [(images, i) for i in range(len(images))], n_jobs)
    return list(tqdm(work, total=len(images), desc="hashing images", unit="image", disable=not progress, leave=False))


def with_window(images: AnySource, window: str) -> AnySource:
    """Return the same images with grey values that have no display window brought into [0, 1] in this way.

    Parameters
    ----------
    images : ImageSource
        Returned as it is if it has no method `with_window`: its grey values need no window.
    window : {"percentiles", "minmax", "full"}
        See `read_image`.

    Raises
    ------
    InputError
        Another window.
    """
    check_window(window)
    change = getattr(images, "with_window", None)
    return images if change is None else change(window)


def check_window(window: Any) -> str:
    """Return `window`, or raise `InputError` if it is none of `WINDOWS`."""
    if window not in WINDOWS:
        hint = nearest(str(window), WINDOWS)
        raise InputError("window", f"one of {', '.join(WINDOWS)}", repr(window), f"Choose one of them.{hint}")
    return window


def new_hash() -> Any:
    """Return the empty hash that fingerprints are made with: BLAKE2b of 160 bits."""
    return hashlib.blake2b(digest_size=20)


def in_threads(one: Any, arguments: Iterable[tuple], n_jobs: int | None) -> Iterable[Any]:
    """Yield `one(*each)` in order, worked out by threads."""
    return Parallel(n_jobs=n_jobs or -1, prefer="threads", return_as="generator")(
        delayed(one)(*each) for each in arguments
    )


def _of_pixels(images: ImageSource, index: int) -> str | None:
    try:
        pixels = images.read(index).pixels
    except ImageReadError:
        return None
    digest = new_hash()
    digest.update(repr(pixels.shape).encode())
    digest.update(np.ascontiguousarray(pixels, dtype="<f4").data)
    return digest.hexdigest()
