"""One file to grey values in [0, 1]."""

from __future__ import annotations

from pathlib import Path, PurePath
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mmaudit._errors import ImageReadError
from mmaudit.images._dicom import dicom_pixels
from mmaudit.images._limits import MAX_PIXELS, check_file_size, damaged, missing, too_large
from mmaudit.images._source import GrayImage, check_window
from mmaudit.images._stretch import stretch

__all__ = ["decode_image", "read_image"]

FORMATS = ("PNG", "JPEG", "TIFF", "BMP")
_DICOM_SUFFIXES = (".dcm", ".dicom")
_HIGH_DEPTH = ("I;16", "I;16B", "I;16L", "I;16N", "I", "F")


def read_image(path: str | Path, *, max_side_px: int | None = None, window: str = "percentiles") -> GrayImage:
    """Return the image at `path` as grey values in [0, 1].

    Parameters
    ----------
    path : path
        A PNG, JPEG, TIFF, BMP or DICOM file, told by its content; only a DICOM file without its preamble is told by
        its suffix, .dcm or .dicom. DICOM needs the package pydicom.
    max_side_px : int or None
        The longer side of the result. None keeps the size of the file. JPEG files are then decoded at a reduced
        scale, which is several times faster than decoding them whole.
    window : {"percentiles", "minmax", "full"}
        How grey values become [0, 1] where a file has more than 8 bits and no display window. "percentiles": the
        range between the image's own 0.5 and 99.5 percentiles. "minmax": from its smallest to its largest value.
        "full": all that the bit depth of the file can hold, 0 to 65,535 for 16-bit PNG, the stored bits (rescaled)
        for DICOM; an image of floats has no such range, and its own is taken.

    Returns
    -------
    GrayImage
        Its `bit_depth` is above 8 where `window` was needed.

    Raises
    ------
    ImageReadError
        If the file is missing, no image, damaged, or larger than 64 million pixels or 512 MB; if it is DICOM without
        pixel data, with several frames, or compressed in a way that no installed decoder reads.
    InputError
        Another window.
    MissingExtraError
        A DICOM file without pydicom.

    Notes
    -----
    8-bit values are divided by 255. Colour is reduced to luma (ITU-R BT.601), transparency laid on black, EXIF
    orientation applied. The four inks of a CMYK JPEG are taken as Adobe stores them, inverted. 16-bit colour is taken
    as meant for display, and read with 8 bits.

    DICOM: the modality LUT or rescale is applied, then the VOI LUT, or else the first window, with its function
    (linear, linear_exact or sigmoid; DICOM PS3.3 C.11.2). MONOCHROME1 is inverted, colour reduced to luma. The windows
    of enhanced, multi-frame objects are not read.
    """
    check_window(window)
    try:
        with Path(path).open("rb") as file:
            check_file_size(Path(path).stat().st_size)
            return decode_image(file, name=str(path), max_side_px=max_side_px, window=window)
    except ImageReadError:
        raise
    except FileNotFoundError:
        raise missing("Check image_root.") from None
    except (OSError, ValueError) as error:  # a folder, a file that may not be read, a NUL in the name
        raise damaged(error) from None


def decode_image(file: BinaryIO, *, name: str, max_side_px: int | None, window: str) -> GrayImage:
    """Return the image in an open file of a checked size; see `read_image`. Of `name` only the suffix counts."""
    if file.read(132)[128:] == b"DICM":
        file.seek(0)
        return _of_dicom(file.read(), max_side_px, window)
    file.seek(0)
    try:
        return _of_picture(file, max_side_px, window)
    except ImageReadError as error:
        if error.reason != "not an image" or PurePath(name).suffix.lower() not in _DICOM_SUFFIXES:
            raise
        no_picture = error
    file.seek(0)
    try:
        return _of_dicom(file.read(), max_side_px, window)
    except ImageReadError as error:
        raise no_picture if error.reason == "no pixel data" else error from None


def _of_dicom(data: bytes, max_side_px: int | None, window: str) -> GrayImage:
    pixels, bit_depth = dicom_pixels(data, window=window)
    height, width = pixels.shape
    return GrayImage(_shrunk(pixels, max_side_px), width, height, bit_depth)


def _of_picture(file: BinaryIO, max_side_px: int | None, window: str) -> GrayImage:
    try:
        with Image.open(file, formats=FORMATS) as opened:
            width, height = opened.size
            if width * height > MAX_PIXELS:
                raise too_large(f"{width} x {height} pixels")
            high_depth = opened.mode in _HIGH_DEPTH
            if max_side_px is not None and not high_depth:
                opened.draft("L", (max_side_px, max_side_px))
            opened.load()
            drawn = opened.size  # smaller than in the file where a JPEG was decoded at a reduced scale
            ImageOps.exif_transpose(opened, in_place=True)
            swapped = opened.size != drawn
            pixels = _stretched(opened, window) if high_depth else _luma(opened)
    except ImageReadError:
        raise
    except Image.DecompressionBombError:
        raise too_large("an image that unpacks to far more") from None
    except UnidentifiedImageError:
        raise ImageReadError(
            "image",
            f"a file of one of the formats {', '.join(FORMATS)}, DICOM",
            "a file that is none of them",
            "Convert it to 8- or 16-bit PNG.",
            reason="not an image",
        ) from None
    except Exception as error:  # Pillow has no error of its own for what is damaged: tags of TIFF may be of any type
        raise damaged(error) from None
    if swapped:
        width, height = height, width
    return GrayImage(_shrunk(pixels, max_side_px), width, height, 16 if high_depth else 8)


def _shrunk(pixels: np.ndarray, max_side_px: int | None) -> np.ndarray:
    if max_side_px is None or max(pixels.shape) <= max_side_px:
        return pixels
    scale = max_side_px / max(pixels.shape)
    size = (max(1, round(pixels.shape[1] * scale)), max(1, round(pixels.shape[0] * scale)))
    shrunk = Image.fromarray(pixels).resize(size, Image.Resampling.BOX)
    return np.clip(np.asarray(shrunk, dtype=np.float32), 0, 1)


def _luma(image: Image.Image) -> np.ndarray:
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        image = image if image.mode == "RGBA" else image.convert("RGBA")
        # Laid on black once it is grey: in colour, that takes four times the memory.
        image = Image.composite(image.convert("L"), Image.new("L", image.size), image.getchannel("A"))
    values = np.array(image if image.mode == "L" else image.convert("L"), dtype=np.float32)
    values /= 255
    return values


def _stretched(image: Image.Image, window: str) -> np.ndarray:
    values = np.asarray(image, dtype=np.float32)
    if image.mode == "F":
        return stretch(values, window)
    # Pillow opens some 16-bit files with 32 bits, and does not tell these from files of 32 bits.
    fits_16_bits = image.mode != "I" or (values.size > 0 and values.max() <= 65_535)
    return stretch(values, window, (0, 65_535 if fits_16_bits else 2**31 - 1))
