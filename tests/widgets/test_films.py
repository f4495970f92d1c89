"""Whole films for the page: grey values as they are, of a size that is told."""

import zlib

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mmaudit as mma
from mmaudit._errors import ImageReadError, InputError, MissingExtraError
from mmaudit.images import GrayImage
from mmaudit.widgets._films import film


class FakeJob:
    def step(self, done, total, text=""):
        pass


class Source:
    """Images that are what a function returns."""

    def __init__(self, read):
        self._read = read

    def __len__(self):
        return 2

    def take(self, indices):
        raise NotImplementedError

    def read(self, index, *, max_side_px=None):
        return self._read(max_side_px)


def widget_of(images=None, paths=None, root=None):
    frame = pd.DataFrame({"y": [0, 1], "who": [1, 2], "path": paths or ["", ""]})
    where = {"images": Source(images)} if images else {"image": "path", "image_root": root} if paths else {}
    return mma.widgets.SliceGrid(mma.AuditData.from_frame(frame, label="y", patient_id="who", **where))


def pixels_of(widget, **asked):
    answer, (block,) = film(widget, {"position": 0, **asked}, FakeJob())
    values = np.frombuffer(zlib.decompress(block), np.dtype(answer["dtype"]).newbyteorder("<"))
    return answer, values.reshape(answer["height"], answer["width"])


def test_an_8_bit_file_comes_as_it_is(tmp_path):
    grey = np.random.default_rng(0).integers(0, 256, (30, 50), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "a.png")
    answer, values = pixels_of(widget_of(paths=["a.png", "b.png"], root=tmp_path))
    assert values.dtype == np.uint8
    assert np.array_equal(values, grey)
    assert (answer["file_width"], answer["file_height"], answer["bit_depth"]) == (50, 30, 8)


def test_a_16_bit_film_of_4000_px_comes_small_and_then_whole(tmp_path):
    ramp = np.linspace(0, 65_535, 4000).astype(np.uint16)
    Image.fromarray(np.tile(ramp, (3000, 1))).save(tmp_path / "a.png")
    widget = widget_of(paths=["a.png", "b.png"], root=tmp_path)
    answer, small = pixels_of(widget)
    assert small.shape == (768, 1024)
    assert (answer["file_width"], answer["file_height"], answer["bit_depth"]) == (4000, 3000, 16)
    _, whole = pixels_of(widget, full=True)
    assert whole.shape == (3000, 4000)
    assert whole.dtype == np.uint16
    # Between the percentiles to which 16-bit films are stretched, which are those of some pixels, the ramp is a line.
    low, high = np.percentile(ramp, (0.5, 99.5))
    expected = 65_535 * np.clip((ramp.astype(float) - low) / (high - low), 0, 1)
    assert np.abs(whole[1500].astype(float) - expected).max() < 0.005 * 65_535
    assert len(np.unique(whole)) > 3000  # far more than 8 bits hold


def test_larger_films_are_made_smaller_even_if_their_source_does_not():
    widget = widget_of(lambda side: GrayImage(np.zeros((100, 9000), np.float32), 9000, 100, 8))
    for full, most in ((False, 1024), (True, 4096)):
        answer, values = pixels_of(widget, full=full)
        assert max(values.shape) <= most
        assert answer["file_width"] == 9000


def test_windowed_values_that_8_bits_cannot_hold_come_as_16():
    line = np.linspace(0, 1, 1000, dtype=np.float32)[None]
    _, values = pixels_of(widget_of(lambda side: GrayImage(line, 1000, 1, 8)))
    assert values.dtype == np.uint16
    assert np.array_equal(values[0], np.rint(65_535 * line[0]).astype(np.uint16))


def test_values_outside_the_range_are_clipped():
    odd = np.array([[np.nan, -1, 2, 0]], np.float32)
    _, values = pixels_of(widget_of(lambda side: GrayImage(odd, 4, 1, 8)))
    assert values.tolist() == [[0, 0, 255, 0]]


def raising(error):
    def read(side):
        raise error

    return read


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (ImageReadError("image", "a file", "none", "Look.", reason="missing"), "missing"),
        (MissingExtraError("Reading DICOM", "pydicom", "dicom"), "pip install"),
        (RuntimeError("/secret/path of a patient"), "unreadable (RuntimeError)"),
    ],
)
def test_why_there_is_no_image_is_said_without_what_is_private(error, words):
    answer, buffers = film(widget_of(raising(error)), {"position": 0}, FakeJob())
    assert words in answer["reason"]
    assert "secret" not in answer["reason"]
    assert buffers == []


def test_data_without_images():
    answer, _ = film(widget_of(), {"position": 0}, FakeJob())
    assert answer["reason"].startswith("no images here")


@pytest.mark.parametrize("position", [-1, 2, None, "0", True])
def test_a_position_that_is_none(position):
    with pytest.raises(InputError, match="position: expected a case, 0 to 1, got another value"):
        film(widget_of(), {"position": position}, FakeJob())
