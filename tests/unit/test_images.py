"""Images are opened late, checked before they are decoded, and every damaged one says what is wrong with it."""

import io
import pickle
import struct
import warnings
import zipfile
import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mmaudit as mma
from mmaudit._errors import AuditWarning, ImageReadError, InputError
from mmaudit.classifiers._images import ArrayImages
from mmaudit.data import check_image_share
from mmaudit.images import ImageFiles, ImageSource, read_image, with_window

RAMP = np.linspace(0, 255, 64 * 48).reshape(48, 64).astype(np.uint8)  # 48 high, 64 wide


def save(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return path


def error_of(path, **options):
    with pytest.raises(ImageReadError) as caught:
        read_image(path, **options)
    return caught.value


# What can be read


@pytest.mark.parametrize("ending", ["png", "bmp", "tif"])
def test_eight_bit_grey_is_divided_by_255(tmp_path, ending):
    image = read_image(save(tmp_path / f"a.{ending}", RAMP))
    assert image.pixels.dtype == np.float32
    assert (image.width_px, image.height_px, image.bit_depth) == (64, 48, 8)
    np.testing.assert_array_equal(image.pixels, RAMP.astype(np.float32) / 255)


def test_jpeg_is_read_within_its_loss(tmp_path):
    image = read_image(save(tmp_path / "a.jpg", RAMP, quality=95))
    assert np.abs(image.pixels - RAMP / 255).max() < 0.05


def test_sixteen_bit_is_stretched_between_its_percentiles(tmp_path):
    values = np.arange(10_000, dtype=np.uint16).reshape(100, 100) + 20_000
    image = read_image(save(tmp_path / "a.png", values))
    assert image.bit_depth == 16
    low, high = 20_000 + 0.005 * 9_999, 20_000 + 0.995 * 9_999  # worked by hand: values are an even ramp
    expected = np.clip((values - low) / (high - low), 0, 1)
    np.testing.assert_allclose(image.pixels, expected, atol=1e-4)


def test_a_constant_sixteen_bit_image_is_black_and_finite(tmp_path):
    image = read_image(save(tmp_path / "a.png", np.full((8, 8), 4_000, dtype=np.uint16)))
    np.testing.assert_array_equal(image.pixels, 0)


def test_float_tiff_with_nan_gives_finite_values(tmp_path):
    values = np.linspace(-5, 5, 400, dtype=np.float32).reshape(20, 20)
    values[0, 0] = np.nan
    image = read_image(save(tmp_path / "a.tif", values))
    assert np.isfinite(image.pixels).all()
    assert image.pixels[-1, -1] == 1


def test_transparent_pixels_are_laid_on_black(tmp_path):
    rgba = np.full((4, 4, 4), 255, dtype=np.uint8)
    rgba[:2, :, 3] = 0
    pixels = read_image(save(tmp_path / "a.png", rgba)).pixels
    np.testing.assert_array_equal(pixels[:2], 0)
    np.testing.assert_array_equal(pixels[2:], 1)


def test_colour_is_reduced_to_luma(tmp_path):
    red = np.zeros((4, 4, 3), dtype=np.uint8)
    red[..., 0] = 255
    pixels = read_image(save(tmp_path / "a.png", red)).pixels
    np.testing.assert_allclose(pixels, 0.299, atol=0.003)  # ITU-R 601


def test_palette_colours_are_looked_up(tmp_path):
    image = Image.fromarray(np.array([[0, 1], [1, 0]], dtype=np.uint8))
    image = image.convert("P")
    image.putpalette([0, 0, 0, 255, 255, 255] + [0] * 750)
    image.save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as written:
        assert written.mode == "P"
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").pixels, [[0, 1], [1, 0]])


@pytest.mark.parametrize("max_side_px", [None, 16])
def test_cmyk_jpeg_is_not_inverted(tmp_path, max_side_px):
    grey = np.full((32, 32, 3), 200, dtype=np.uint8)
    grey[:, :16] = 20
    Image.fromarray(grey).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
    pixels = read_image(tmp_path / "a.jpg", max_side_px=max_side_px).pixels
    assert pixels[:, 0].max() < 0.2
    assert pixels[:, -1].min() > 0.7


@pytest.mark.parametrize("max_side_px", [None, 32])
def test_exif_rotation_is_applied(tmp_path, max_side_px):
    values = np.zeros((64, 128), dtype=np.uint8)
    values[:32] = 255  # the upper half is white; turned clockwise it is the right half
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / "a.jpg", values, exif=exif, quality=95)
    image = read_image(tmp_path / "a.jpg", max_side_px=max_side_px)
    assert (image.width_px, image.height_px) == (64, 128)
    assert image.pixels.shape == ((128, 64) if max_side_px is None else (32, 16))
    assert image.pixels[:, -2].min() > 0.9
    assert image.pixels[:, 1].max() < 0.1


@pytest.mark.parametrize("name", ["a.png", "a.jpg"])
@pytest.mark.parametrize(("max_side_px", "shape"), [(32, (24, 32)), (1, (1, 1)), (64, (48, 64)), (500, (48, 64))])
def test_max_side_bounds_the_longer_side_and_never_enlarges(tmp_path, name, max_side_px, shape):
    image = read_image(save(tmp_path / name, RAMP), max_side_px=max_side_px)
    assert image.pixels.shape == shape
    assert (image.width_px, image.height_px) == (64, 48)
    assert image.pixels.dtype == np.float32
    assert 0 <= image.pixels.min() <= image.pixels.max() <= 1


# What numpy must do to the pixels in the file so that they are upright, by the meaning of the EXIF tag: which side of
# the picture the first row of the file is, and which side its first column.
UPRIGHT = {
    1: lambda a: a,  # top, left
    2: lambda a: a[:, ::-1],  # top, right
    3: lambda a: a[::-1, ::-1],  # bottom, right
    4: lambda a: a[::-1],  # bottom, left
    5: lambda a: a.T,  # left, top
    6: lambda a: a.T[:, ::-1],  # right, top
    7: lambda a: a.T[::-1, ::-1],  # right, bottom
    8: lambda a: a.T[::-1],  # left, bottom
}


@pytest.mark.parametrize("max_side_px", [None, 40])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_agrees_with_numpy(tmp_path, orientation, kind, max_side_px):
    values = np.zeros((48, 80), dtype=np.uint8)  # the four quarters differ, so that each orientation does
    values[:24, :40], values[:24, 40:], values[24:, :40] = 250, 170, 80
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 95} if kind == "JPEG" else {}
    path = save(tmp_path / "a", values, format=kind, exif=exif, **options)
    image = read_image(path, max_side_px=max_side_px)
    expected = UPRIGHT[orientation](values) / 255
    assert (image.height_px, image.width_px) == expected.shape
    if max_side_px is not None:
        expected = expected.reshape(expected.shape[0] // 2, 2, expected.shape[1] // 2, 2).mean(axis=(1, 3))
    np.testing.assert_allclose(image.pixels, expected, atol=0.02)


def test_adobe_cmyk_is_stored_inverted_and_shown_right(tmp_path):
    ink = np.zeros((32, 32, 4), dtype=np.uint8)
    ink[:, :16, 3], ink[:, 16:, 3] = 55, 205  # black ink alone: grey values 200 and 50
    Image.fromarray(ink, mode="CMYK").save(tmp_path / "a.jpg", quality=100, subsampling=0)
    with Image.open(tmp_path / "a.jpg") as opened:
        assert opened.info["adobe_transform"] in (0, 2)
        # The samples as they lie in the file, by the raw mode that inverts nothing.
        opened.tile = [(*tile[:3], ("CMYK", "")) for tile in opened.tile]
        stored = np.asarray(opened)
    assert np.abs(stored[:, 2:14, 3].astype(int) - 200).max() <= 1
    pixels = read_image(tmp_path / "a.jpg").pixels
    np.testing.assert_allclose(pixels[:, 2:14], 200 / 255, atol=0.01)
    np.testing.assert_allclose(pixels[:, 18:30], 50 / 255, atol=0.01)


def test_inks_make_the_grey_of_their_colours(tmp_path):
    ink = np.zeros((16, 64, 4), dtype=np.uint8)
    for i in range(3):  # full cyan, magenta, yellow, and none: light without red, green, blue, and all of it
        ink[:, 16 * i : 16 * i + 16, i] = 255
    Image.fromarray(ink, mode="CMYK").save(tmp_path / "a.tif")
    pixels = read_image(tmp_path / "a.tif").pixels
    np.testing.assert_allclose(pixels[0, 8::16], [1 - 0.299, 1 - 0.587, 1 - 0.114, 1], atol=0.005)


def test_a_palette_with_transparency_is_laid_on_black(tmp_path):
    indices = np.array([[0, 1, 2, 3]], dtype=np.uint8)
    image = Image.fromarray(indices, mode="P")
    image.putpalette([255, 255, 255, 200, 200, 200, 255, 0, 0, 80, 80, 80])
    image.save(tmp_path / "a.png", transparency=bytes([0, 255, 255, 128]))
    pixels = read_image(tmp_path / "a.png").pixels
    np.testing.assert_allclose(pixels, [[0, 200 / 255, 0.299, 80 / 255 * 128 / 255]], atol=0.005)


def test_grey_with_transparency(tmp_path):
    values = np.array([[[200, 255], [200, 0], [200, 128]]], dtype=np.uint8)
    Image.fromarray(values, mode="LA").save(tmp_path / "a.png")
    np.testing.assert_allclose(read_image(tmp_path / "a.png").pixels, [[200 / 255, 0, 100 / 255]], atol=0.005)


def test_one_grey_that_is_transparent(tmp_path):
    Image.fromarray(np.array([[10, 200]], dtype=np.uint8)).save(tmp_path / "a.png", transparency=200)
    np.testing.assert_allclose(read_image(tmp_path / "a.png").pixels, [[10 / 255, 0]], atol=0.005)


@pytest.mark.parametrize("ending", ["png", "tif", "bmp"])
def test_one_bit_is_black_and_white(tmp_path, ending):
    Image.fromarray(np.array([[0, 255], [255, 0]], dtype=np.uint8)).convert("1").save(tmp_path / f"a.{ending}")
    image = read_image(tmp_path / f"a.{ending}")
    assert image.pixels.tolist() == [[0, 1], [1, 0]]
    assert image.bit_depth == 8


@pytest.mark.parametrize(("bits", "colour_type"), [(2, 0), (4, 0)])
def test_few_bits_of_grey_span_black_to_white(tmp_path, bits, colour_type):
    values = np.arange(2**bits)
    packed = int("".join(f"{v:0{bits}b}" for v in values), 2).to_bytes(len(values) * bits // 8, "big")
    path = tmp_path / "a.png"
    path.write_bytes(png(len(values), 1, bits, colour_type, b"\0" + packed))
    np.testing.assert_allclose(read_image(path).pixels[0], values / (2**bits - 1), atol=1e-6)


def test_sixteen_bit_colour_is_taken_as_meant_for_display(tmp_path):
    rows = b"\0" + struct.pack(">6H", 65535, 65535, 65535, 65535, 0, 0)
    (tmp_path / "a.png").write_bytes(png(2, 1, 16, 2, rows))
    image = read_image(tmp_path / "a.png")
    np.testing.assert_allclose(image.pixels, [[1, 0.299]], atol=0.003)
    assert image.bit_depth == 8


# Windows for what has none


@pytest.mark.parametrize("ending", ["png", "tif"])
def test_windows_of_sixteen_bits_by_hand(tmp_path, ending):
    values = np.array([[1_000, 2_000, 5_000]], dtype=np.uint16)
    path = save(tmp_path / f"a.{ending}", values)
    assert read_image(path, window="minmax").pixels.tolist() == [[0, 0.25, 1]]
    full = read_image(path, window="full")
    np.testing.assert_allclose(full.pixels, values / 65_535, atol=1e-6)
    assert full.bit_depth == 16
    low, high = np.quantile(values, [0.005, 0.995])  # 1,010 and 4,970
    expected = np.clip((values - low) / (high - low), 0, 1)
    np.testing.assert_allclose(read_image(path, window="percentiles").pixels, expected, atol=1e-6)
    np.testing.assert_array_equal(read_image(path).pixels, read_image(path, window="percentiles").pixels)


def test_full_of_32_bits(tmp_path):
    values = np.array([[0, 2**30, 2**31 - 1]], dtype=np.int32)
    np.testing.assert_allclose(read_image(save(tmp_path / "a.tif", values), window="full").pixels, [[0, 0.5, 1]])


def test_full_of_floats_is_their_own_range(tmp_path):
    values = np.array([[-1, 0, 3]], dtype=np.float32)
    np.testing.assert_allclose(read_image(save(tmp_path / "a.tif", values), window="full").pixels, [[0, 0.25, 1]])


@pytest.mark.parametrize("window", ["minmax", "full"])
def test_eight_bits_need_no_window(tmp_path, window):
    values = np.array([[50, 100]], dtype=np.uint8)
    image = read_image(save(tmp_path / "a.png", values), window=window)
    np.testing.assert_allclose(image.pixels, values / 255)


def test_a_source_without_windows_stays_as_it_is():
    images = ArrayImages([np.zeros((2, 2), dtype=np.uint8)])
    assert with_window(images, "full") is images
    with pytest.raises(InputError, match=r"^window: expected one of percentiles, minmax, full, got 'fall'"):
        with_window(images, "fall")


def test_shrinking_averages_boxes(tmp_path):
    checks = np.indices((8, 8)).sum(axis=0) % 2 * 255
    pixels = read_image(save(tmp_path / "a.png", checks.astype(np.uint8)), max_side_px=4).pixels
    np.testing.assert_allclose(pixels, 0.5, atol=1e-6)


# What cannot be read


def test_a_missing_file(tmp_path):
    error = error_of(tmp_path / "none.png")
    assert error.reason == "missing"
    assert str(error) == "image: expected a file, got a path at which there is none. Check image_root."


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.bmp"])
@pytest.mark.parametrize("max_side_px", [None, 16])
def test_a_file_cut_in_half(tmp_path, name, max_side_px):
    noise = np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8)
    path = save(tmp_path / name, noise)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    error = error_of(path, max_side_px=max_side_px)
    assert error.reason == "truncated or damaged"
    assert str(error).startswith("image: expected a whole image file, got one that is truncated or damaged (")
    assert str(error).endswith("Copy the file again.")


def test_a_zip_file_called_png(tmp_path):
    path = tmp_path / "a.png"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "text")
    error = error_of(path)
    assert error.reason == "not an image"
    assert str(error) == (
        "image: expected a file of one of the formats PNG, JPEG, TIFF, BMP, DICOM, got a file that is none of them. "
        "Convert it to 8- or 16-bit PNG."
    )


def test_an_empty_file(tmp_path):
    (tmp_path / "a.png").touch()
    assert error_of(tmp_path / "a.png").reason == "not an image"


def test_formats_that_were_not_asked_for_stay_closed(tmp_path):
    save(tmp_path / "a.png", RAMP, format="GIF")
    assert error_of(tmp_path / "a.png").reason == "not an image"


def png(width_px, height_px, bits, colour_type, rows):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width_px, height_px, bits, colour_type, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("side_px", "got"), [(60_000, "an image that unpacks to far more"), (9_000, "9000 x 9000 pixels")]
)
def test_a_small_file_that_unpacks_to_gigabytes_is_not_decoded(tmp_path, side_px, got):
    path = tmp_path / "bomb.png"
    path.write_bytes(png(side_px, side_px, 8, 0, b"\0" * 99))
    assert path.stat().st_size < 200
    error = error_of(path)
    assert error.reason == "too large"
    assert str(error) == (
        f"image: expected at most 64 million pixels, got {got}. Make the image smaller before the audit."
    )


def test_a_huge_file_is_not_opened(tmp_path):
    path = tmp_path / "a.png"
    with path.open("wb") as file:
        file.truncate(513 * 1024**2)  # a hole: takes no room on the disk
    error = error_of(path)
    assert error.reason == "too large"
    assert "got a file of more than 512 MB" in str(error)


def test_random_damage_never_escapes_as_another_error(tmp_path):
    rng = np.random.default_rng(0)
    outcomes = set()
    for kind in ("PNG", "JPEG", "TIFF", "BMP"):
        whole = io.BytesIO()
        Image.fromarray(RAMP).save(whole, kind)
        for _ in range(60):
            damaged = bytearray(whole.getvalue())
            for position in rng.integers(0, min(200, len(damaged)), size=4):
                damaged[position] = rng.integers(0, 256)
            path = tmp_path / "damaged"
            path.write_bytes(damaged)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Pillow's own remarks on damaged headers
                try:
                    assert np.isfinite(read_image(path, max_side_px=16).pixels).all()
                    outcomes.add("read")
                except ImageReadError as error:
                    outcomes.add(error.reason)
    assert {"read", "not an image", "truncated or damaged"} <= outcomes


# Folders


def test_files_are_found_below_the_root(tmp_path):
    (tmp_path / "p1").mkdir()
    save(tmp_path / "p1" / "a.png", RAMP)
    files = ImageFiles(["p1/a.png", str(tmp_path / "p1" / "a.png"), "p1/../p1/a.png"], tmp_path)
    assert isinstance(files, ImageSource)
    assert len(files) == 3
    for index in range(3):
        assert files.read(index).pixels.shape == (48, 64)
    assert repr(files) == "ImageFiles(3 files)"


OUTSIDE = (
    "image: expected a path inside image_root, got one that leads outside it. "
    "Set image_root to a folder that holds all images."
)


def leave_by_dots(root):
    return "../secret.png"


def leave_by_absolute_path(root):
    return str(root.parent / "secret.png")


def leave_by_link(root):
    (root / "link.png").symlink_to(root.parent / "secret.png")
    return "link.png"


def leave_by_linked_folder(root):
    (root / "folder").symlink_to(root.parent, target_is_directory=True)
    return "folder/secret.png"


def leave_to_nowhere(root):
    return "../../no/such/file.png"


@pytest.mark.parametrize(
    "leave", [leave_by_dots, leave_by_absolute_path, leave_by_link, leave_by_linked_folder, leave_to_nowhere]
)
def test_no_path_leaves_the_root(tmp_path, leave):
    root = tmp_path / "images"
    root.mkdir()
    save(tmp_path / "secret.png", RAMP)
    with pytest.raises(ImageReadError) as caught:
        ImageFiles([leave(root)], root).read(0)
    assert caught.value.reason == "outside image_root"
    assert str(caught.value) == OUTSIDE


def test_a_folder_that_begins_like_the_root_is_outside(tmp_path):
    (tmp_path / "images").mkdir()
    (tmp_path / "images2").mkdir()
    save(tmp_path / "images2" / "a.png", RAMP)
    with pytest.raises(ImageReadError, match="leads outside it"):
        ImageFiles(["../images2/a.png"], tmp_path / "images").read(0)


def test_the_root_itself_may_be_a_link(tmp_path):
    (tmp_path / "real").mkdir()
    save(tmp_path / "real" / "a.png", RAMP)
    (tmp_path / "root").symlink_to(tmp_path / "real", target_is_directory=True)
    assert ImageFiles(["a.png"], tmp_path / "root").read(0).width_px == 64


def link_to_itself(root):
    (root / "loop").symlink_to(root / "loop")
    return "loop"


@pytest.mark.parametrize("with_root", [True, False])
@pytest.mark.parametrize(
    "make",
    [lambda root: "none.png", lambda root: "", lambda root: "a\0b.png", lambda root: "x" * 5_000, link_to_itself],
    ids=["no such file", "the folder itself", "a NUL", "a long name", "a loop"],
)
def test_a_path_at_which_no_file_can_be_is_missing(tmp_path, make, with_root):
    given = make(tmp_path)
    files = ImageFiles([given], tmp_path) if with_root else ImageFiles([f"{tmp_path}/{given}"])
    with pytest.raises(ImageReadError) as caught:
        files.read(0)
    assert caught.value.reason == "missing"
    assert str(caught.value) == (
        "image: expected a file, got a path at which there is none. Check image_root and the image column."
    )


def test_a_sample_without_a_path():
    with pytest.raises(
        ImageReadError, match=r"^image: expected a path, got none\. Give a path or leave the sample out"
    ):
        ImageFiles([None]).read(0)


def test_an_image_root_that_does_not_exist(tmp_path):
    with pytest.raises(InputError, match=r"^image_root: expected an existing folder, got one that does not exist\."):
        ImageFiles(["a.png"], tmp_path / "none")


def test_take_keeps_order_and_root(tmp_path):
    for name, value in (("a.png", 0), ("b.png", 255)):
        save(tmp_path / name, np.full((2, 2), value, dtype=np.uint8))
    taken = ImageFiles(["a.png", None, "b.png"], tmp_path).take([2, 0])
    assert [taken.read(i).pixels.mean() for i in range(2)] == [1, 0]


@pytest.mark.parametrize("given", ["none.png", "../x.png", None])
def test_image_errors_come_through_a_process_boundary_whole(tmp_path, given):
    with pytest.raises(ImageReadError) as caught:
        ImageFiles([given], tmp_path).read(0)
    back = pickle.loads(pickle.dumps(caught.value))
    assert type(back) is ImageReadError
    assert (str(back), back.reason, back.argument) == (str(caught.value), caught.value.reason, "image")


# Through AuditData


@pytest.fixture
def cases(tmp_path):
    save(tmp_path / "eight.png", RAMP)
    save(tmp_path / "sixteen.png", np.arange(400, dtype=np.uint16).reshape(20, 20) * 100)
    frame = pd.DataFrame(
        {"y": [0, 1, 1], "who": ["a", "b", "c"], "path": ["eight.png", "sixteen.png", "gone.png"]},
        index=["s1", "s2", "s3"],
    )
    return mma.AuditData.from_frame(frame, label="y", patient_id="who", image="path", image_root=tmp_path)


def test_nothing_is_opened_until_asked_for(cases):
    assert len(cases.images) == 3  # one of them does not exist
    with pytest.raises(ImageReadError, match="a path at which there is none"):
        cases.image("s3")


def test_data_image_gives_grey_values(cases):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels = cases.image("s1", max_side_px=32)
    assert pixels.shape == (24, 32)


def test_data_image_warns_of_sixteen_bits(cases):
    with pytest.warns(
        AuditWarning, match=r"^image: expected images of 8 bits or with a display window, got 1 of 1 with more"
    ) as caught:
        pixels = cases.image("s2")
    assert pixels.max() == 1
    assert caught[0].filename == __file__


def test_data_image_of_an_unknown_sample(cases):
    with pytest.raises(InputError, match=r"^sample_id: expected one of data\.sample_id, got another value\."):
        cases.image("s9")


def test_images_follow_a_subset(cases):
    with pytest.raises(ImageReadError, match="a path at which there is none"):
        cases.subset([2, 0]).image("s3")
    assert cases.subset([2, 0]).image("s1").shape == (48, 64)


def failures(reason, n):
    return [ImageReadError("image", "a file", "none", "Check.", reason=reason)] * n


def test_all_images_readable_says_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_image_share([None] * 10)


def test_a_few_unreadable_images_warn():
    with pytest.warns(AuditWarning, match=r"got 5 of 100 that are not \(4 missing, 1 too large\)\."):
        check_image_share([None] * 95 + failures("missing", 4) + failures("too large", 1))


def test_many_unreadable_images_raise():
    expected = r"^image: expected at least 95% of the images to be readable, got 6 of 100 that are not \(6 missing\)\."
    with pytest.raises(ImageReadError, match=expected) as caught:
        check_image_share([None] * 94 + failures("missing", 6))
    assert caught.value.reason == "missing"


def test_a_single_image_outside_the_root_raises():
    with pytest.raises(ImageReadError) as caught:
        check_image_share([None] * 999 + failures("outside image_root", 1))
    assert caught.value.reason == "outside image_root"
