"""DICOM files to grey values in [0, 1]: one frame, as a viewer would show it.

pydicom parses and decodes. The window itself is applied here: pydicom scales its result to the range of the modality
values, from which [0, 1] would have to be worked back.
"""

from __future__ import annotations

import contextlib
import io
import struct
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from mmaudit._errors import ImageReadError, MissingExtraError
from mmaudit.images._limits import MAX_PIXELS, damaged, too_large
from mmaudit.images._stretch import stretch

__all__ = ["dicom_pixels"]

# Nothing else is parsed: no element that says who the patient is can get into an error of pydicom.
_WANTED = (
    *("Rows", "Columns", "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "NumberOfFrames"),
    *("BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation"),
    *("PixelData", "FloatPixelData", "DoubleFloatPixelData", "ExtendedOffsetTable", "ExtendedOffsetTableLengths"),
    *("RescaleSlope", "RescaleIntercept", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
    *(
        f"{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for part in ("Descriptor", "Data")
    ),
    *(f"Segmented{colour}PaletteColorLookupTableData" for colour in ("Red", "Green", "Blue")),
)
_PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_JPEG_12_BIT = "1.2.840.10008.1.2.4.51"
_RLE = "1.2.840.10008.1.2.5"
_MORE_THAN_GDCM = (_RLE, *(f"1.2.840.10008.1.2.4.{kind}" for kind in (50, 90, 91)))  # RLE, JPEG, JPEG 2000
_SAFE_DECODERS = ("pydicom", "pillow")
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601, as Pillow does

_lock = threading.Lock()
_n_reading = 0  # readers in all threads
_mode_before = 0


@contextlib.contextmanager
def _values_unquoted() -> Iterator[None]:
    """Keep pydicom from warning of values that break a rule, for it quotes them.

    In a damaged file such a value may run on over the name of the patient. The setting belongs to the whole process,
    so the first reader changes it and the last one changes it back; warning filters could not be, from threads.
    """
    global _n_reading, _mode_before
    from pydicom import config

    with _lock:
        if _n_reading == 0:
            _mode_before = config.settings.reading_validation_mode
            config.settings.reading_validation_mode = config.IGNORE
        _n_reading += 1
    try:
        yield
    finally:
        with _lock:
            _n_reading -= 1
            if _n_reading == 0:
                config.settings.reading_validation_mode = _mode_before


def dicom_pixels(data: bytes, *, window: str) -> tuple[np.ndarray, int]:
    """Return the grey values of a DICOM file, (height, width) float32 in [0, 1], and their bit depth.

    The bit depth is above 8 where there was no display window and `window` was used; see `read_image`.

    Raises
    ------
    ImageReadError
        No DICOM, damaged, too large, without pixel data, with several frames, or without a decoder for it.
    MissingExtraError
        Without pydicom.
    """
    try:
        import pydicom
    except ImportError:
        raise MissingExtraError("reading DICOM files", "pydicom", "dicom") from None
    # Such a file is inflated by the parser, to any size, before anything can be checked.
    if _DEFLATED in data:
        raise ImageReadError(
            "image",
            "a DICOM file that is not deflated as a whole",
            "one that is",
            "Export it with another transfer syntax.",
            reason="deflated",
        )
    try:
        with _values_unquoted():
            # The file was told by its preamble or its suffix; some that have the one lack the other.
            dataset = pydicom.dcmread(io.BytesIO(data), force=True, specific_tags=list(_WANTED))
            _check_header(dataset)
            pixels, bit_depth = _shown(dataset, window)
            # A table or a bit depth may say less than the values that are there.
            return np.clip(np.nan_to_num(pixels), 0, 1).astype(np.float32, copy=False), bit_depth
    except ImageReadError:
        raise
    except Exception as error:  # pydicom and its decoders have no error of their own for what is damaged
        raise damaged(error) from None


def _check_header(dataset: Any) -> None:
    """Raise unless this is one frame of a size that may be decoded."""
    if not any(name in dataset for name in ("Rows", *_PIXELS)):
        raise ImageReadError(
            "image",
            "a DICOM file with pixel data",
            "one without",
            "Leave out reports, structure sets and other files that hold no image.",
            reason="no pixel data",
        )
    rows, columns, frames = int(dataset.Rows), int(dataset.Columns), int(dataset.get("NumberOfFrames") or 1)
    if rows * columns * max(1, frames) > MAX_PIXELS:
        raise too_large(f"{columns} x {rows} pixels" + (f" in {frames} frames" if frames > 1 else ""))
    if frames > 1:
        raise ImageReadError(
            "image",
            "a DICOM file with one frame",
            f"one with {frames}",
            "Export the frame to audit as a file of its own.",
            reason="multi-frame",
        )
    if not any(dataset.get(name) for name in _PIXELS):
        raise ImageReadError(
            "image",
            "a DICOM file with pixel data",
            "one whose pixel data are missing",
            "Copy the file again.",
            reason="no pixel data",
        )


def _decoded(dataset: Any) -> np.ndarray:
    """Return the stored values, (height, width), or (height, width, 3) of colours as RGB."""
    from pydicom.pixels import get_decoder, pixel_array
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        plain = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else plain
    syntax = dataset.file_meta.TransferSyntaxUID
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError:
        raise _no_decoder("Export it uncompressed.") from None
    if not decoder.is_available:
        raise _no_decoder('Install decoders, pip install "mmaudit[dicom]", or export it uncompressed.')
    if syntax.is_encapsulated and syntax != _RLE:
        _check_coded_size(dataset)
    try:
        # GDCM, which pydicom would ask first, ends the whole process over some damaged pictures.
        others = [name for name in _SAFE_DECODERS if name in decoder.available_plugins]
        if syntax in _MORE_THAN_GDCM and others:
            return pixel_array(dataset, decoding_plugin=others[0])
        return pixel_array(dataset)
    except RuntimeError:
        if syntax == _JPEG_12_BIT and dataset.BitsStored > 8:
            raise _no_decoder("Install pylibjpeg and pylibjpeg-libjpeg, or export it uncompressed.") from None
        raise


def _no_decoder(action: str) -> ImageReadError:
    return ImageReadError(
        "image",
        "DICOM pixel data that can be decoded",
        "a compression that no installed package reads",
        action,
        reason="no decoder",
    )


def _check_coded_size(dataset: Any) -> None:
    """Raise unless the compressed picture has the size that the header says: decoders believe the picture."""
    from pydicom.encaps import get_frame

    frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
    if _coded_size(frame) != (dataset.Columns, dataset.Rows):
        raise ValueError("the compressed picture has another size than the header says")


def _coded_size(frame: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG, JPEG-LS or JPEG 2000 picture, None if it is none of them."""
    at = frame.find(b"\xff\x4f\xff\x51")  # JPEG 2000: start of codestream, then the marker SIZ
    if at >= 0:
        right, bottom, left, top = struct.unpack_from(">4I", frame, at + 8)
        return right - left, bottom - top
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 9 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:  # filling
            at += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            height, width = struct.unpack_from(">HH", frame, at + 5)
            return width, height
        at += 2 + struct.unpack_from(">H", frame, at + 2)[0]
    return None


def _shown(dataset: Any, window: str) -> tuple[np.ndarray, int]:
    """Return the picture of a checked file, and 8 unless it had to be stretched."""
    interpretation = str(dataset.PhotometricInterpretation).upper()
    stored = _decoded(dataset)
    if interpretation == "PALETTE COLOR":
        from pydicom.pixels import apply_color_lut

        stored = apply_color_lut(stored, dataset)
        return stored[..., :3].astype(np.float32) / np.iinfo(stored.dtype).max @ _LUMA, 8
    if stored.ndim == 3:
        return stored.astype(np.float32) / (2**dataset.BitsStored - 1) @ _LUMA, 8
    if interpretation not in ("MONOCHROME1", "MONOCHROME2"):
        raise ValueError("one sample a pixel, and not said to be grey")

    from pydicom.pixels import apply_rescale

    values = apply_rescale(stored, dataset)
    full = _value_range(dataset)
    bit_depth = 8
    shown = _by_lut(values, dataset)
    if shown is None:
        shown = _by_window(values, dataset)
    if shown is None:
        bits = int(dataset.get("BitsStored") or dataset.BitsAllocated)
        bit_depth = bits if bits > 8 else 8
        shown = stretch(values, window if bits > 8 else "full", full)
    shown = shown.astype(np.float32, copy=False)
    return (1 - shown if interpretation == "MONOCHROME1" else shown), bit_depth


def _value_range(dataset: Any) -> tuple[float, float] | None:
    """Return the least and the greatest value that rescaled pixels can have; None for floats, which have no range."""
    if "PixelData" not in dataset:
        return None
    if dataset.get("ModalityLUTSequence"):
        return 0, 2 ** _lut_bits(dataset.ModalityLUTSequence[0]) - 1
    bits, signed = int(dataset.BitsStored), int(dataset.get("PixelRepresentation") or 0)
    ends = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if dataset.get("RescaleSlope") is not None and dataset.get("RescaleIntercept") is not None:
        slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
        ends = (ends[0] * slope + intercept, ends[1] * slope + intercept)
    return min(ends), max(ends)


def _lut_bits(item: Any) -> int:
    return int(item.LUTDescriptor[2])


def _by_lut(values: np.ndarray, dataset: Any) -> np.ndarray | None:
    """Return `values` through the first VOI lookup table, in [0, 1]; None without one."""
    if not dataset.get("VOILUTSequence") or not dataset.VOILUTSequence[0].get("LUTData"):
        return None
    from pydicom.pixels import apply_voi

    # The table is looked up by whole numbers; a rescale gives floats.
    whole = np.rint(values).astype(np.int64)
    return apply_voi(whole, dataset).astype(np.float32) / (2 ** _lut_bits(dataset.VOILUTSequence[0]) - 1)


def _by_window(values: np.ndarray, dataset: Any) -> np.ndarray | None:
    """Return `values` through the first window, in [0, 1]; None without one of a width that its function allows.

    DICOM PS3.3 C.11.2.1.2 and C.11.2.1.3.
    """
    center, width = (_first(dataset.get(name)) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None or not (np.isfinite(center) and np.isfinite(width)):
        return None
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    if function not in ("LINEAR", "LINEAR_EXACT", "SIGMOID") or width < (1 if function == "LINEAR" else 0):
        return None
    if function == "LINEAR":  # by which a window of width w has w whole values, and one of width 1 is a step
        center, width = center - 0.5, width - 1
    elif width == 0:
        return None
    if function == "SIGMOID":
        with np.errstate(over="ignore"):  # exp of a value far below the window; the result is 0, as it should be
            return 1 / (1 + np.exp(-4 * (values - center) / width))
    low = center - width / 2
    return np.clip((values - low) / max(width, 1e-9), 0, 1)


def _first(value: Any) -> float | None:
    """Return the first number of an element that may hold several, or none."""
    if value is None or value == "":
        return None
    if isinstance(value, (str, int, float)) or not hasattr(value, "__len__"):
        return float(value)
    return float(value[0]) if len(value) else None
