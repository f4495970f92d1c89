"""Opening images: as 8-bit-looking grey arrays in [0, 1], only when asked for, and only what is safe to open.

A table of cases comes from somewhere else: a path in it may point outside the image folder, name a file that is
missing or cut short, or be a small file that unpacks to gigabytes. Each of these is an `ImageReadError` with a
reason; nothing is decoded before its header has been checked.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol, runtime_checkable

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmaudit._errors import ImageReadError, InputError

__all__ = ["GrayImage", "ImageFiles", "ImageSource", "prepare_images", "read_image"]

MAX_PIXELS = 64_000_000  # a 4,000 x 4,000 film has 16 million; 64 million decode to 256 MB as float32
MAX_FILE_BYTES = 512 * 1024**2
FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
WINDOW_PERCENTILES = (0.5, 99.5)  # 16-bit films are stretched between these, since their range says little
_HIGH_DEPTH = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")


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

    A source that is quicker when asked for all of its images at once may also have a method
    `prepare(*, n_jobs=None, progress=False)`; see `prepare_images`.
    """

    def __len__(self) -> int:
        """Return the number of images."""

    def read(self, index: int, *, max_side_px: int | None = None) -> GrayImage:
        """Return image number `index`, made smaller so that its longer side is at most `max_side_px`."""

    def take(self, indices: Sequence[int]) -> ImageSource:
        """Return the images at these positions, still unopened."""


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


class ImageFiles:
    """Image files below a folder, opened one at a time.

    Parameters
    ----------
    paths : sequence of str or None
        Paths relative to `root`, or absolute paths that lie below it. None where a sample has no image.
    root : path or None
        The folder that all images must lie in, links resolved. None: paths are taken as they are, relative ones
        from the current folder.
    """

    def __init__(self, paths: Sequence[str | None], root: str | Path | None = None) -> None:
        if root is not None and not Path(root).is_dir():
            raise InputError("image_root", "an existing folder", "one that does not exist", "Check the path.")
        self.paths = list(paths)
        self.root = None if root is None else Path(root).resolve()

    def __len__(self) -> int:
        return len(self.paths)

    def __repr__(self) -> str:
        return f"ImageFiles({len(self)} files)"

    def take(self, indices: Sequence[int]) -> ImageFiles:
        """Return the files at these positions."""
        chosen = ImageFiles.__new__(ImageFiles)
        chosen.paths = [self.paths[int(i)] for i in indices]
        chosen.root = self.root
        return chosen

    def path(self, index: int) -> Path:
        """Return the checked path of image `index`.

        Raises
        ------
        ImageReadError
            Where there is no path, or the path (links resolved) leaves `root`, or no file is there.
        """
        given = self.paths[index]
        if given is None:
            raise ImageReadError("image", "a path", "none", "Give a path or leave the sample out.", reason="missing")
        path = Path(given)
        try:
            path = path if self.root is None else (self.root / path).resolve()
            is_file = path.is_file()
        except (OSError, ValueError, RuntimeError):  # a name too long, a NUL in it, a loop of links
            is_file = False
        else:
            if self.root is not None and not path.is_relative_to(self.root):
                raise ImageReadError(
                    "image",
                    "a path inside image_root",
                    "one that leads outside it",
                    "Set image_root to a folder that holds all images.",
                    reason="outside image_root",
                )
        if not is_file:
            raise ImageReadError(
                "image",
                "a file",
                "a path at which there is none",
                "Check image_root and the image column.",
                reason="missing",
            )
        return path

    def read(self, index: int, *, max_side_px: int | None = None) -> GrayImage:
        """Return image number `index` as grey values; see `read_image`."""
        return read_image(self.path(index), max_side_px=max_side_px)


def read_image(path: str | Path, *, max_side_px: int | None = None) -> GrayImage:
    """Return the image at `path` as grey values in [0, 1].

    Parameters
    ----------
    path : path
        A PNG, JPEG, TIFF or BMP file. 8-bit values are divided by 255; 16-bit and float images are stretched
        between their own 0.5 and 99.5 percentiles. Colour is reduced to luma, transparency laid on black, EXIF
        orientation applied.
    max_side_px : int or None
        The longer side of the result. None keeps the size of the file. JPEG files are then decoded at a reduced
        scale, which is several times faster than decoding them whole.

    Raises
    ------
    ImageReadError
        If the file is missing, no image, damaged, or larger than 64 million pixels or 512 MB.
    """
    path = Path(path)
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise _too_large(f"a file of more than {MAX_FILE_BYTES // 1024**2} MB")
        with Image.open(path, formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise _too_large(f"{width} x {height} pixels")
            high_depth = opened.mode in _HIGH_DEPTH
            if max_side_px is not None and not high_depth:
                opened.draft("L", (max_side_px, max_side_px))
            opened.load()
            upright = ImageOps.exif_transpose(opened)
            swapped = upright.size != opened.size
            pixels = _stretch(upright) if high_depth else _luma(upright)
    except ImageReadError:
        raise
    except FileNotFoundError:
        raise ImageReadError(
            "image", "a file", "a path at which there is none", "Check image_root.", reason="missing"
        ) from None
    except Image.DecompressionBombError:
        raise _too_large("an image that unpacks to far more") from None
    except UnidentifiedImageError:
        raise ImageReadError(
            "image",
            f"a file of one of the formats {', '.join(FORMATS)}",
            "a file that is none of them",
            "Convert it (DICOM files too) to 8- or 16-bit PNG.",
            reason="not an image",
        ) from None
    except (OSError, ValueError, SyntaxError, struct.error, EOFError, KeyError, IndexError) as error:
        raise ImageReadError(
            "image",
            "a whole image file",
            f"one that is truncated or damaged ({type(error).__name__})",
            "Copy the file again.",
            reason="truncated or damaged",
        ) from None
    if max_side_px is not None and max(pixels.shape) > max_side_px:
        scale = max_side_px / max(pixels.shape)
        size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
        shrunk = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
        pixels = np.clip(np.asarray(shrunk, dtype=np.float32), 0, 1)
    if swapped:
        width, height = height, width
    return GrayImage(pixels, width, height, 16 if high_depth else 8)


def _too_large(got: str) -> ImageReadError:
    return ImageReadError(
        "image",
        f"at most {MAX_PIXELS // 1_000_000} million pixels",
        got,
        "Make the image smaller before the audit.",
        reason="too large",
    )


def _luma(image: Image.Image) -> np.ndarray:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        on_black = Image.new("RGBA", image.size, (0, 0, 0, 255))
        on_black.alpha_composite(image.convert("RGBA"))
        image = on_black
    return np.asarray(image.convert("L"), dtype=np.float32) / 255


def _stretch(image: Image.Image) -> np.ndarray:
    values = np.asarray(image, dtype=np.float32)
    finite = values[np.isfinite(values)]
    if finite.size == 0:
        return np.zeros_like(values)
    low, high = np.percentile(finite[:: max(1, finite.size // 250_000)], WINDOW_PERCENTILES)
    if high <= low:
        low, high = float(finite.min()), float(finite.max())
    if high <= low:
        return np.zeros_like(values)
    return np.clip(np.nan_to_num(values - low) / (high - low), 0, 1).astype(np.float32)
