"""Whole images, grey values as they are: the page itself sets window and level."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmaudit._errors import ImageReadError, InputError, MissingExtraError

if TYPE_CHECKING:
    from mmaudit.widgets._base import Answer, AuditWidget, Job

__all__ = ["FIRST_PX", "FULL_PX", "film"]

FIRST_PX, FULL_PX = 1024, 4096  # longer sides: of what is sent first, and at most
NO_DATA = "no images here: give the widget data with images"


def film(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Answer with the grey values of one image, compressed by zlib, row by row from the top left.

    With `full` it is as large as its file, up to `FULL_PX`, else up to `FIRST_PX`. `dtype` is "uint8", or "uint16",
    little-endian, where there are more than 8 bits to show; `width` and `height` are those of the pixels, `file_width`
    and `file_height` of the file. Where there is no image, `reason` says in words why.
    """
    cases = widget.cases
    position = content.get("position")
    if not isinstance(position, int) or isinstance(position, bool) or not 0 <= position < cases.n:
        raise InputError("position", f"a case, 0 to {cases.n - 1}", "another value", "Load the page again.")
    if cases.data is None or cases.data.images is None or cases.rows is None:
        return {"reason": NO_DATA}, []
    side_px = FULL_PX if content.get("full") else FIRST_PX
    job.step(0, 2, "reading the image")
    try:
        read = cases.data.images.read(int(cases.rows[position]), max_side_px=side_px)
    except ImageReadError as error:
        return {"reason": error.reason}, []
    except MissingExtraError as error:
        return {"reason": str(error)}, []
    except Exception as error:  # a source of images is anybody's code
        return {"reason": f"unreadable ({type(error).__name__})"}, []
    pixels = np.asarray(read.pixels, dtype=np.float32)
    step = -(-max(pixels.shape) // side_px)  # a source may give more than it was asked for
    pixels = pixels[::step, ::step]
    job.step(1, 2, "packing the image")
    shrunk = max(pixels.shape) < max(read.width_px, read.height_px)
    values = _grey(pixels, bits=16 if read.bit_depth > 8 else 8 if shrunk else None)
    answer = {
        "dtype": values.dtype.name,
        "width": values.shape[1],
        "height": values.shape[0],
        "file_width": int(read.width_px),
        "file_height": int(read.height_px),
        "bit_depth": int(read.bit_depth),
    }
    return answer, [zlib.compress(values.astype(values.dtype.newbyteorder("<")).tobytes(), 1)]


def _grey(pixels: np.ndarray, *, bits: int | None) -> np.ndarray:
    """Return values in [0, 1] as whole numbers. None: of 16 bits where 8 cannot hold them, as of a windowed DICOM."""
    within = np.clip(np.nan_to_num(pixels), 0, 1)
    if bits is None:
        some = 255 * within[:: max(1, within.shape[0] // 64)]
        bits = 8 if np.abs(some - np.rint(some)).max(initial=0) < 0.01 else 16
    return np.rint((2**bits - 1) * within).astype(np.uint16 if bits == 16 else np.uint8)
