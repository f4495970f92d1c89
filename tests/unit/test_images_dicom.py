"""DICOM files as a viewer shows them: rescaled, windowed, the right way round; those that cannot be say why not."""

import io
import struct
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

import mmaudit as mma
from mmaudit._errors import AuditWarning, ImageReadError, InputError, MissingExtraError
from mmaudit.images import ImageFiles, image_fingerprints, read_image, with_window

pydicom = pytest.importorskip("pydicom", reason="the extra dicom is not installed")

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset  # noqa: E402
from pydicom.encaps import encapsulate  # noqa: E402
from pydicom.pixels import apply_rescale, apply_voi_lut  # noqa: E402
from pydicom.uid import (  # noqa: E402
    UID,
    DeflatedExplicitVRLittleEndian,
    DigitalXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLosslessSV1,
    RLELossless,
    generate_uid,
)

PATIENT = "SECRET-4711"
RAMP = np.arange(48 * 64, dtype=np.uint16).reshape(48, 64)  # 0 to 3071, in 12 bits


def dicom(values, *, bits=12, syntax=ExplicitVRLittleEndian, pixel_data=None, **elements):
    """Return a DICOM data set of these stored values, (height, width) or (height, width, 3)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = DigitalXRayImageStorageForPresentation
    meta.MediaStorageSOPInstanceUID = generate_uid()
    meta.TransferSyntaxUID = syntax
    made = FileDataset(None, {}, file_meta=meta, preamble=b"\0" * 128)
    made.SOPClassUID, made.SOPInstanceUID = meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID
    made.PatientID = made.PatientName = PATIENT
    made.Rows, made.Columns = values.shape[:2]
    made.SamplesPerPixel = 3 if values.ndim == 3 else 1
    if values.ndim == 3:
        made.PlanarConfiguration = 0
    made.PhotometricInterpretation = "RGB" if values.ndim == 3 else "MONOCHROME2"
    made.BitsAllocated = values.dtype.itemsize * 8
    made.BitsStored, made.HighBit = bits, bits - 1
    made.PixelRepresentation = int(values.dtype.kind == "i")
    made.PixelData = values.tobytes() if pixel_data is None else pixel_data
    made["PixelData"].VR = "OW" if made.BitsAllocated > 8 else "OB"
    for name, value in elements.items():
        setattr(made, name, value)
    return made


def lut(entries, *, first=0, bits=16):
    table = Dataset()
    table.LUTDescriptor = [len(entries) % 2**16, first, bits]
    table["LUTDescriptor"].VR = "SS" if first < 0 else "US"
    table.LUTData = [int(e) for e in entries]
    table["LUTData"].VR = "US"
    return table


def save(path, made):
    made.save_as(path, enforce_file_format=True)
    return path


def pixels_of(tmp_path, values, *, window="percentiles", **elements):
    return read_image(save(tmp_path / "a.dcm", dicom(values, **elements)), window=window)


def error_of(path):
    with pytest.raises(ImageReadError) as caught:
        read_image(path)
    assert PATIENT not in str(caught.value)
    return caught.value


# Windows


def test_a_linear_window_by_hand(tmp_path):
    # PS3.3 C.11.2.1.2.1: center 3, width 5 shows 2.5 - 2 = 0.5 as black and 4.5 as white; 1 is an eighth above black.
    values = np.array([[0, 1, 2, 3, 4, 5]], dtype=np.uint16)
    image = pixels_of(tmp_path, values, WindowCenter=3, WindowWidth=5)
    np.testing.assert_allclose(image.pixels, [[0, 0.125, 0.375, 0.625, 0.875, 1]], atol=1e-6)
    assert image.bit_depth == 8  # nothing had to be guessed
    assert (image.width_px, image.height_px, image.pixels.dtype) == (6, 1, np.float32)


def test_a_linear_window_of_width_1_is_a_step(tmp_path):
    values = np.array([[98, 99, 100, 101]], dtype=np.uint16)
    image = pixels_of(tmp_path, values, WindowCenter=100, WindowWidth=1)  # above 99.5 white
    np.testing.assert_array_equal(image.pixels, [[0, 0, 1, 1]])


def test_a_linear_exact_window_by_hand(tmp_path):
    values = np.array([[0, 1, 2, 3, 4, 5]], dtype=np.uint16)
    image = pixels_of(tmp_path, values, WindowCenter=2, WindowWidth=4, VOILUTFunction="LINEAR_EXACT")
    np.testing.assert_allclose(image.pixels, [[0, 0.25, 0.5, 0.75, 1, 1]], atol=1e-6)


def test_a_sigmoid_window_by_hand(tmp_path):
    values = np.array([[0, 100, 200]], dtype=np.uint16)
    image = pixels_of(tmp_path, values, WindowCenter=100, WindowWidth=100, VOILUTFunction="SIGMOID")
    np.testing.assert_allclose(image.pixels, [[0.0179862, 0.5, 0.9820138]], atol=1e-6)  # 1 / (1 + e^4), 1 / (1 + e^-4)


def test_a_sigmoid_far_from_its_centre_is_black_without_a_warning(tmp_path):
    values = np.array([[0, 4000]], dtype=np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = pixels_of(tmp_path, values, WindowCenter=4000, WindowWidth=1, VOILUTFunction="SIGMOID")
    np.testing.assert_allclose(image.pixels, [[0, 0.5]], atol=1e-6)


def test_of_several_windows_the_first_is_taken(tmp_path):
    values = np.array([[0, 1, 2, 3, 4, 5]], dtype=np.uint16)
    image = pixels_of(tmp_path, values, WindowCenter=[3, 1000], WindowWidth=[5, 2000])
    np.testing.assert_allclose(image.pixels, [[0, 0.125, 0.375, 0.625, 0.875, 1]], atol=1e-6)


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("bits", [12, 14, 16])
def test_windows_agree_with_pydicom(tmp_path, function, signed, bits):
    rng = np.random.default_rng(0)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1)) if signed else (0, 2**bits)
    values = rng.integers(low, high, (20, 30)).astype(np.int16 if signed else np.uint16)
    given = {"RescaleSlope": 2, "RescaleIntercept": -100, "WindowCenter": high, "WindowWidth": 2 ** (bits - 1)}
    image = pixels_of(tmp_path, values, bits=bits, VOILUTFunction=function, **given)
    theirs = dicom(values, bits=bits, VOILUTFunction=function, **given)
    shown = apply_voi_lut(apply_rescale(values, theirs), theirs)
    # pydicom scales to all that the rescaled bits can hold.
    black, white = low * 2 - 100, (high - 1) * 2 - 100
    np.testing.assert_allclose(image.pixels, (shown - black) / (white - black), atol=1e-5)
    assert image.pixels.std() > 0.1


def test_the_window_is_in_units_of_the_rescaled_values(tmp_path):
    stored = np.array([[0, 1024, 2048]], dtype=np.uint16)  # -1024, 0 and 1024 after the rescale
    image = pixels_of(
        tmp_path,
        stored,
        RescaleSlope=1,
        RescaleIntercept=-1024,
        WindowCenter=0,
        WindowWidth=2048,
        VOILUTFunction="LINEAR_EXACT",
    )
    np.testing.assert_allclose(image.pixels, [[0, 0.5, 1]], atol=1e-6)


def test_a_modality_table_comes_before_the_window(tmp_path):
    stored = np.array([[0, 1, 2, 3]], dtype=np.uint16)
    table = lut([400, 300, 200, 0])  # the first stored value is the brightest
    image = pixels_of(
        tmp_path, stored, ModalityLUTSequence=[table], WindowCenter=200, WindowWidth=400, VOILUTFunction="LINEAR_EXACT"
    )
    np.testing.assert_allclose(image.pixels, [[1, 0.75, 0.5, 0]], atol=1e-6)


@pytest.mark.parametrize("bits", [8, 12, 16])
def test_a_voi_table_is_looked_up(tmp_path, bits):
    top = 2**bits - 1
    table = lut([0, top // 4, top // 2, top], first=10, bits=bits)
    stored = np.array([[0, 10, 11, 12, 13, 14, 4000]], dtype=np.uint16)  # outside the table its ends are repeated
    image = pixels_of(tmp_path, stored, VOILUTSequence=[table], WindowCenter=3, WindowWidth=5)
    expected = np.array([[0, 0, top // 4, top // 2, top, top, top]]) / top
    np.testing.assert_allclose(image.pixels, expected, atol=1e-6)  # the table, not the window beside it
    assert image.bit_depth == 8


def test_a_voi_table_after_a_rescale_says_nothing(tmp_path):
    table = lut([0, 100, 255], first=-1, bits=8)
    stored = np.array([[0, 1, 2]], dtype=np.uint16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = pixels_of(tmp_path, stored, VOILUTSequence=[table], RescaleSlope=1, RescaleIntercept=-1)
    np.testing.assert_allclose(image.pixels, [[0, 100 / 255, 1]], atol=1e-6)


# Without a window


@pytest.mark.parametrize(("bits", "dtype"), [(12, np.uint16), (16, np.uint16), (12, np.int16)])
def test_without_a_window_values_are_stretched_as_a_png_is(tmp_path, bits, dtype):
    values = (RAMP.astype(np.int64) - (1500 if dtype == np.int16 else 0)).astype(dtype)
    image = pixels_of(tmp_path, values, bits=bits)
    assert image.bit_depth == bits
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    np.testing.assert_allclose(image.pixels, read_image(tmp_path / "a.png").pixels, atol=1e-5)
    low, high = 0.005 * 3071, 0.995 * 3071  # by hand: values are an even ramp
    np.testing.assert_allclose(image.pixels, np.clip((RAMP - low) / (high - low), 0, 1), atol=1e-4)


def test_minmax_and_full_by_hand(tmp_path):
    values = np.array([[1000, 2000, 3000]], dtype=np.uint16)
    assert pixels_of(tmp_path, values, window="minmax").pixels.tolist() == [[0, 0.5, 1]]
    np.testing.assert_allclose(pixels_of(tmp_path, values, window="full").pixels, values / 4095, atol=1e-6)
    signed = np.array([[-2048, 0, 2047]], dtype=np.int16)
    image = pixels_of(tmp_path, signed, window="full", RescaleSlope=3, RescaleIntercept=7)
    np.testing.assert_allclose(image.pixels, [[0, 2048 / 4095, 1]], atol=1e-6)
    assert image.bit_depth == 12


def test_full_with_a_falling_rescale_keeps_bright_what_is_large(tmp_path):
    values = np.array([[0, 1024, 4095]], dtype=np.uint16)
    image = pixels_of(tmp_path, values, window="full", RescaleSlope=-1, RescaleIntercept=0)
    np.testing.assert_allclose(image.pixels, 1 - values / 4095, atol=1e-6)


@pytest.mark.parametrize("window", ["percentiles", "minmax", "full"])
def test_eight_bits_without_a_window_are_shown_as_they_are(tmp_path, window):
    values = np.array([[0, 50, 200]], dtype=np.uint8)
    image = pixels_of(tmp_path, values, bits=8, window=window)
    np.testing.assert_allclose(image.pixels, values / 255, atol=1e-6)
    assert image.bit_depth == 8


@pytest.mark.parametrize(
    "broken",
    [
        {"WindowCenter": None, "WindowWidth": None},
        {"WindowCenter": 100},
        {"WindowCenter": 100, "WindowWidth": 0},
        {"WindowCenter": 100, "WindowWidth": -5},
        {"WindowCenter": 100, "WindowWidth": 50, "VOILUTFunction": "MAGIC"},
    ],
)
def test_a_window_that_means_nothing_counts_as_none(tmp_path, broken):
    image = pixels_of(tmp_path, RAMP, **broken)
    assert image.bit_depth == 12
    np.testing.assert_array_equal(image.pixels, pixels_of(tmp_path, RAMP).pixels)


def test_float_pixels_are_stretched(tmp_path):
    made = dicom(np.zeros((1, 3), dtype=np.uint16))
    del made.PixelData, made.BitsStored, made.HighBit, made.PixelRepresentation
    made.BitsAllocated = 32
    made.FloatPixelData = np.array([[-1.5, 0, 1.5]], dtype="<f4").tobytes()
    image = read_image(save(tmp_path / "a.dcm", made), window="full")
    np.testing.assert_allclose(image.pixels, [[0, 0.5, 1]], atol=1e-6)
    assert image.bit_depth == 32


# Which way round, and colours


@pytest.mark.parametrize("with_table", ["window", "table", "none"])
def test_monochrome1_is_inverted(tmp_path, with_table):
    given = {
        "window": {"WindowCenter": 1500, "WindowWidth": 3000},
        "table": {"VOILUTSequence": [lut(np.arange(4096) * 16)]},
        "none": {},
    }[with_table]
    plain = pixels_of(tmp_path, RAMP, **given).pixels
    inverted = pixels_of(tmp_path, RAMP, PhotometricInterpretation="MONOCHROME1", **given).pixels
    np.testing.assert_allclose(inverted, 1 - plain, atol=1e-6)
    assert plain[0, 0] < 0.05 < 0.7 < plain[-1, -1]
    assert inverted.dtype == np.float32


def test_colours_are_reduced_to_luma(tmp_path):
    colours = np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]]], dtype=np.uint8)
    image = pixels_of(tmp_path, colours, bits=8)
    np.testing.assert_allclose(image.pixels, [[0.299, 0.587, 0.114, 1]], atol=1e-6)  # ITU-R BT.601
    assert image.bit_depth == 8
    grey = np.asarray(Image.fromarray(colours).convert("L")) / 255  # Pillow, which rounds
    np.testing.assert_allclose(image.pixels, grey, atol=1 / 255)


def test_ybr_is_luma_already(tmp_path):
    ybr = np.stack([np.array([[0, 60, 255]]), np.full((1, 3), 128), np.full((1, 3), 128)], axis=-1).astype(np.uint8)
    image = pixels_of(tmp_path, ybr, bits=8, PhotometricInterpretation="YBR_FULL")
    np.testing.assert_allclose(image.pixels, [[0, 60 / 255, 1]], atol=1 / 255)


def test_palette_colours_are_looked_up(tmp_path):
    stored = np.array([[0, 1, 2]], dtype=np.uint8)
    made = dicom(stored, bits=8, PhotometricInterpretation="PALETTE COLOR")
    for name, entries in (("Red", [65535, 0, 0]), ("Green", [0, 65535, 0]), ("Blue", [0, 0, 32768])):
        setattr(made, f"{name}PaletteColorLookupTableDescriptor", [3, 0, 16])
        setattr(made, f"{name}PaletteColorLookupTableData", np.array(entries, dtype="<u2").tobytes())
    image = read_image(save(tmp_path / "a.dcm", made))
    np.testing.assert_allclose(image.pixels, [[0.299, 0.587, 0.114 * 32768 / 65535]], atol=1e-6)


def test_one_grey_sample_that_is_said_to_be_colour_is_damaged(tmp_path):
    error = error_of(save(tmp_path / "a.dcm", dicom(RAMP, PhotometricInterpretation="RGB")))
    assert error.reason == "truncated or damaged"


def test_max_side_averages_boxes(tmp_path):
    checks = (np.indices((8, 16)).sum(axis=0) % 2 * 255).astype(np.uint8)
    image = read_image(save(tmp_path / "a.dcm", dicom(checks, bits=8)), max_side_px=8)
    assert (image.width_px, image.height_px) == (16, 8)
    np.testing.assert_allclose(image.pixels, np.full((4, 8), 0.5), atol=1e-6)


# Told by content


@pytest.mark.parametrize("name", ["a.dcm", "a.png", "a", "IM000001"])
def test_a_file_with_a_preamble_is_told_by_it(tmp_path, name):
    image = read_image(save(tmp_path / name, dicom(RAMP, WindowCenter=1500, WindowWidth=3000)))
    assert image.pixels.shape == (48, 64)


def without_preamble(made):
    whole = io.BytesIO()
    made.save_as(whole, enforce_file_format=True)
    whole.seek(0)
    parsed = pydicom.dcmread(whole)
    bare = io.BytesIO()
    body = Dataset(parsed)
    body.save_as(bare, implicit_vr=parsed.original_encoding[0], little_endian=True)
    return bare.getvalue()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])
@pytest.mark.parametrize("name", ["a.dcm", "a.DICOM"])
def test_a_file_without_a_preamble_is_told_by_its_suffix(tmp_path, syntax, name):
    made = dicom(RAMP, syntax=syntax, WindowCenter=1500, WindowWidth=3000)
    expected = read_image(save(tmp_path / "whole.dcm", made)).pixels
    (tmp_path / name).write_bytes(without_preamble(made))
    assert b"DICM" not in (tmp_path / name).read_bytes()
    np.testing.assert_array_equal(read_image(tmp_path / name).pixels, expected)


def test_a_file_without_preamble_and_suffix_is_no_image(tmp_path):
    (tmp_path / "a.bin").write_bytes(without_preamble(dicom(RAMP)))
    assert error_of(tmp_path / "a.bin").reason == "not an image"


def test_a_png_called_dcm_is_a_png(tmp_path):
    values = RAMP.astype(np.uint8)
    Image.fromarray(values).save(tmp_path / "a.dcm", format="PNG")
    np.testing.assert_array_equal(read_image(tmp_path / "a.dcm").pixels, values.astype(np.float32) / 255)


def test_an_empty_file_called_dcm_is_no_image(tmp_path):
    (tmp_path / "a.dcm").touch()
    assert error_of(tmp_path / "a.dcm").reason == "not an image"


@pytest.mark.filterwarnings("ignore:End of file reached:UserWarning")  # what pydicom thinks of it
@pytest.mark.parametrize("text", [b"a text that somebody called dcm\n" * 40, b"\0" * 500, b"\xff" * 500])
def test_any_other_bytes_called_dcm_fail_as_an_image_does(tmp_path, text):
    (tmp_path / "a.dcm").write_bytes(text)
    assert error_of(tmp_path / "a.dcm").reason in ("not an image", "truncated or damaged")


# Compression


def test_run_lengths_are_decoded(tmp_path):
    made = dicom(RAMP, WindowCenter=1500, WindowWidth=3000)
    expected = read_image(save(tmp_path / "a.dcm", made)).pixels
    made.compress(RLELossless)
    np.testing.assert_array_equal(read_image(save(tmp_path / "b.dcm", made)).pixels, expected)


def compressed(values, kind, syntax, **options):
    encoded = io.BytesIO()
    Image.fromarray(values).save(encoded, kind, **options)
    return dicom(values, bits=8, syntax=syntax, pixel_data=encapsulate([encoded.getvalue()]))


@pytest.mark.parametrize("syntax", [JPEGBaseline8Bit, JPEG2000Lossless])
def test_jpeg_is_decoded(tmp_path, syntax):
    values = np.linspace(0, 255, 48 * 64).reshape(48, 64).astype(np.uint8)
    kind, options = ("JPEG", {"quality": 95}) if syntax == JPEGBaseline8Bit else ("JPEG2000", {"no_jp2": True})
    made = compressed(values, kind, syntax, **options)
    made["PixelData"].is_undefined_length = True
    image = read_image(save(tmp_path / "a.dcm", made))
    np.testing.assert_allclose(image.pixels, values / 255, atol=0.03 if kind == "JPEG" else 1e-6)


@pytest.mark.parametrize(("kind", "syntax"), [("JPEG", JPEGBaseline8Bit), ("JPEG2000", JPEG2000Lossless)])
def test_a_compressed_picture_larger_than_the_header_says_is_not_decoded(tmp_path, monkeypatch, kind, syntax):
    made = compressed(np.zeros((900, 900), dtype=np.uint8), kind, syntax)
    made.Rows = made.Columns = 10
    save(tmp_path / "a.dcm", made)
    monkeypatch.setattr("pydicom.pixels.pixel_array", pytest.fail)
    error = error_of(tmp_path / "a.dcm")
    assert error.reason == "truncated or damaged"
    assert "truncated or damaged (ValueError)" in str(error)


def test_a_missing_decoder_says_what_to_install(tmp_path, monkeypatch):
    decoder = type(pydicom.pixels.get_decoder(JPEGLosslessSV1))
    monkeypatch.setattr(decoder, "is_available", property(lambda self: False))
    made = dicom(RAMP, syntax=JPEGLosslessSV1, pixel_data=encapsulate([b"\xff\xd8\xff\xd9"]))
    error = error_of(save(tmp_path / "a.dcm", made))
    assert error.reason == "no decoder"
    assert str(error) == (
        "image: expected DICOM pixel data that can be decoded, got a compression that no installed package reads. "
        'Install decoders, pip install "mmaudit[dicom]", or export it uncompressed.'
    )


def test_twelve_bit_jpeg_says_what_to_install(tmp_path, monkeypatch):
    def no_plugin(dataset):
        raise RuntimeError(f"plugins failed for {PATIENT}")

    # Enough of a JPEG for the size to be read: start, one frame header of 12 bits, end.
    header = struct.pack(">HHBHHB", 0xFFC1, 11, 12, 48, 64, 1) + b"\1\x11\0"
    made = dicom(RAMP, syntax=JPEGExtended12Bit, pixel_data=encapsulate([b"\xff\xd8" + header + b"\xff\xd9"]))
    save(tmp_path / "a.dcm", made)
    monkeypatch.setattr("pydicom.pixels.pixel_array", no_plugin)
    error = error_of(tmp_path / "a.dcm")
    assert error.reason == "no decoder"
    assert str(error).endswith("Install pylibjpeg and pylibjpeg-libjpeg, or export it uncompressed.")


def test_a_video_is_refused(tmp_path):
    made = dicom(RAMP, syntax=UID("1.2.840.10008.1.2.4.102"), pixel_data=encapsulate([b"\0" * 10]))
    error = error_of(save(tmp_path / "a.dcm", made))
    assert error.reason == "no decoder"
    assert str(error).endswith("Export it uncompressed.")


def test_a_deflated_file_is_not_inflated(tmp_path, monkeypatch):
    save(tmp_path / "a.dcm", dicom(np.zeros((3000, 3000), dtype=np.uint16), syntax=DeflatedExplicitVRLittleEndian))
    assert (tmp_path / "a.dcm").stat().st_size < 100_000
    monkeypatch.setattr("pydicom.dcmread", pytest.fail)
    error = error_of(tmp_path / "a.dcm")
    assert error.reason == "deflated"
    assert str(error) == (
        "image: expected a DICOM file that is not deflated as a whole, got one that is. "
        "Export it with another transfer syntax."
    )


# What cannot be read


def test_several_frames_are_refused(tmp_path):
    made = dicom(RAMP, pixel_data=RAMP.tobytes() * 3, NumberOfFrames=3)
    error = error_of(save(tmp_path / "a.dcm", made))
    assert error.reason == "multi-frame"
    assert str(error) == (
        "image: expected a DICOM file with one frame, got one with 3. Export the frame to audit as a file of its own."
    )


def test_one_frame_that_is_counted_is_read(tmp_path):
    assert pixels_of(tmp_path, RAMP, NumberOfFrames=1).pixels.shape == (48, 64)


def test_a_file_without_pixel_data(tmp_path):
    made = dicom(RAMP)
    for name in ("PixelData", "Rows", "Columns"):
        delattr(made, name)
    error = error_of(save(tmp_path / "a.dcm", made))
    assert error.reason == "no pixel data"
    assert str(error) == (
        "image: expected a DICOM file with pixel data, got one without. "
        "Leave out reports, structure sets and other files that hold no image."
    )


def test_a_file_whose_pixel_data_are_missing(tmp_path):
    made = dicom(RAMP)
    del made.PixelData
    error = error_of(save(tmp_path / "a.dcm", made))
    assert error.reason == "no pixel data"
    assert "got one whose pixel data are missing. Copy the file again." in str(error)


@pytest.mark.parametrize(
    ("elements", "got"),
    [
        ({"Rows": 60_000, "Columns": 60_000}, "60000 x 60000 pixels"),
        ({"NumberOfFrames": 1_000_000}, "64 x 48 pixels in 1000000 frames"),
    ],
)
def test_the_header_is_checked_before_anything_is_decoded(tmp_path, monkeypatch, elements, got):
    save(tmp_path / "a.dcm", dicom(RAMP, **elements))
    monkeypatch.setattr("pydicom.pixels.pixel_array", pytest.fail)
    error = error_of(tmp_path / "a.dcm")
    assert error.reason == "too large"
    assert str(error) == (
        f"image: expected at most 64 million pixels, got {got}. Make the image smaller before the audit."
    )


def test_a_huge_file_is_not_opened(tmp_path, monkeypatch):
    with (tmp_path / "a.dcm").open("wb") as file:
        file.truncate(513 * 1024**2)
        file.seek(128)
        file.write(b"DICM")
    monkeypatch.setattr("pydicom.dcmread", pytest.fail)
    assert error_of(tmp_path / "a.dcm").reason == "too large"


@pytest.mark.parametrize("share", [0.5, 0.9, 0.999])
def test_a_file_cut_short(tmp_path, share):
    path = save(tmp_path / "a.dcm", dicom(RAMP))
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    error = error_of(path)
    assert error.reason in ("truncated or damaged", "no pixel data")
    assert "Copy the file again." in str(error)


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, RLELossless, JPEG2000Lossless])
def test_random_damage_never_escapes_as_another_error_and_names_nobody(tmp_path, syntax, caplog):
    made = dicom(RAMP, WindowCenter=1500, WindowWidth=3000)
    if syntax == RLELossless:
        made.compress(syntax)
    if syntax == JPEG2000Lossless:
        made = compressed(RAMP.astype(np.uint8), "JPEG2000", syntax)
    whole = save(tmp_path / "whole.dcm", made).read_bytes()
    rng = np.random.default_rng(0)
    outcomes = set()
    path = tmp_path / "a.dcm"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(80):
            damaged = bytearray(whole)
            for position in rng.integers(132, min(1200, len(damaged)), size=6):
                damaged[position] = rng.integers(0, 256)
            path.write_bytes(damaged)
            try:
                assert np.isfinite(read_image(path).pixels).all()
                outcomes.add("read")
            except ImageReadError as error:
                assert PATIENT not in str(error)
                outcomes.add(error.reason)
    assert {"read", "truncated or damaged"} <= outcomes
    assert not [w for w in caught if PATIENT in str(w.message)]
    assert PATIENT not in caplog.text


def test_the_settings_of_pydicom_are_as_before(tmp_path):
    before = pydicom.config.settings.reading_validation_mode
    path = save(tmp_path / "a.dcm", dicom(RAMP))
    files = ImageFiles([str(path)] * 40)
    assert len(set(image_fingerprints(files))) == 1
    with ThreadPoolExecutor(8) as pool:
        assert len(list(pool.map(files.read, range(40)))) == 40
    path.write_bytes(path.read_bytes()[:900])
    error_of(path)
    assert pydicom.config.settings.reading_validation_mode == before


def test_an_error_holds_no_other_that_could_tell_more(tmp_path):
    path = save(tmp_path / "a.dcm", dicom(RAMP))
    path.write_bytes(path.read_bytes()[:900])
    error = error_of(path)
    assert error.__cause__ is None
    assert error.__suppress_context__


def test_without_pydicom_the_extra_is_named(tmp_path, monkeypatch):
    save(tmp_path / "a.dcm", dicom(RAMP))
    Image.fromarray(RAMP.astype(np.uint8)).save(tmp_path / "a.png")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(MissingExtraError) as caught:
        read_image(tmp_path / "a.dcm")
    assert str(caught.value) == (
        'reading DICOM files needs the package pydicom. Install it with: pip install "mmaudit[dicom]"'
    )
    assert read_image(tmp_path / "a.png").pixels.shape == (48, 64)


# Sources and data


def test_files_with_another_window(tmp_path):
    values = np.array([[1000, 2000, 3000]], dtype=np.uint16)
    save(tmp_path / "a.dcm", dicom(values))
    save(tmp_path / "b.dcm", dicom(values, WindowCenter=2000, WindowWidth=8000))
    files = ImageFiles(["a.dcm", "b.dcm"], tmp_path)
    full = with_window(files, "full")
    assert (files.window, full.window, full.take([1, 0]).window) == ("percentiles", "full", "full")
    np.testing.assert_allclose(full.read(0).pixels, values / 4095, atol=1e-6)
    np.testing.assert_array_equal(full.read(1).pixels, files.read(1).pixels)  # this one has a window
    np.testing.assert_allclose(full.take([1, 0]).read(1).pixels, values / 4095, atol=1e-6)


@pytest.mark.parametrize("ask", [lambda f: f.with_window("Full"), lambda f: with_window(f, "Full")])
def test_an_unknown_window(tmp_path, ask):
    expected = (
        r"^window: expected one of percentiles, minmax, full, got 'Full'\. Choose one of them\. Did you mean 'full'\?$"
    )
    with pytest.raises(InputError, match=expected):
        ask(ImageFiles([], tmp_path))
    with pytest.raises(InputError, match=r"^window: expected one of"):
        read_image(tmp_path / "a.png", window="Full")


def test_data_warn_of_what_had_no_window(tmp_path):
    pd = pytest.importorskip("pandas")
    save(tmp_path / "a.dcm", dicom(RAMP))
    save(tmp_path / "b.dcm", dicom(RAMP, WindowCenter=1500, WindowWidth=3000))
    frame = pd.DataFrame({"y": [0, 1], "who": ["a", "b"], "path": ["a.dcm", "b.dcm"]}, index=["s1", "s2"])
    data = mma.AuditData.from_frame(frame, label="y", patient_id="who", image="path", image_root=tmp_path)
    with pytest.warns(AuditWarning, match=r"^image: expected images of 8 bits or with a display window, got 1 of 1"):
        data.image("s1")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert data.image("s2").shape == (48, 64)
