"""Phantom films as an image source: what is read, what is kept, and what happens when keeping fails."""

import logging
import pickle
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mmaudit
from mmaudit._errors import InputError
from mmaudit.datasets.phantom import _images
from mmaudit.datasets.phantom._film import draw_film
from mmaudit.datasets.phantom._images import PhantomImages, default_cache_dir
from mmaudit.datasets.phantom._record import DEVICES, FINDINGS, Body, Device, Film, Finding
from mmaudit.images import ImageSource

BODY = Body("F", 57.0, 165.0, 24.0, 0.1, 0.0, -0.2, 0.3, 0.2, (2, 7))
EFFUSION, EDEMA = Finding("pleural effusion", "left", 0.7), Finding("edema", "", 0.5)
LEADS, TUBE = Device("ECG leads", "", (0.1, 0.2, 0.3)), Device("chest tube", "left", (0.5, 0.1, 0.0))


def film(n, findings=(), devices=(), view="AP"):
    return Film(BODY, view, True, "North", "Mobile M1", findings, devices, 0.7, 0, 0, (0, 0), 0, (4, n))


FILMS = (film(0, (EDEMA, EFFUSION), (LEADS, TUBE)), film(1), film(2, (EFFUSION,), (), "AP supine"), film(3))


def images(cache=None, bit_depth=8, films=FILMS):
    return PhantomImages(films, 48, bit_depth=bit_depth, cache=cache)


def files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def no_drawing(monkeypatch):
    """Whoever draws from now on fails."""

    def refuse(*args, **options):
        raise AssertionError("drawn")

    monkeypatch.setattr(_images, "draw_film", refuse)
    monkeypatch.setattr(_images, "film_masks", refuse)


# --- Reading ----------------------------------------------------------------------------------------------------


def test_it_is_an_image_source():
    source = images()
    assert isinstance(source, ImageSource)
    assert len(source) == 4
    assert repr(source) == "PhantomImages(4 images of 48 x 48 pixels, 8 bits)"


@pytest.mark.parametrize(("bits", "full"), [(8, 255), (16, 65535)])
def test_read_gives_the_drawn_values_as_shares(bits, full):
    image = images(bit_depth=bits).read(2)
    drawn = draw_film(FILMS[2], 48, bit_depth=bits)
    assert image.pixels.dtype == np.float32
    assert (image.width_px, image.height_px, image.bit_depth) == (48, 48, 8)
    np.testing.assert_array_equal(image.pixels, (drawn / full).astype(np.float32))
    np.testing.assert_array_equal(images(bit_depth=bits).draw(2), drawn)
    assert 0 <= image.pixels.min() < image.pixels.max() <= 1


def test_smaller_images_are_averages():
    whole, small = images().read(0), images().read(0, max_side_px=16)
    np.testing.assert_allclose(small.pixels, whole.pixels.reshape(16, 3, 16, 3).mean(axis=(1, 3)), atol=1e-6)
    assert small.pixels.dtype == np.float32
    assert (small.width_px, small.height_px) == (48, 48)
    np.testing.assert_array_equal(images().read(0, max_side_px=480).pixels, whole.pixels)


def test_take_keeps_the_order_and_all_options(tmp_path):
    source = images(tmp_path, 16)
    some = source.take(np.array([2, 0]))
    assert some.films == (FILMS[2], FILMS[0])
    assert (some.image_size, some.bit_depth, some.cache) == (48, 16, tmp_path)
    np.testing.assert_array_equal(some.draw(0), source.draw(2))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image_size": 31}, "image_size: expected a whole number of pixels from 32 up, got 31"),
        ({"image_size": 64.0}, "image_size: expected a whole number of pixels from 32 up, got 64.0"),
        ({"bit_depth": 12}, "bit_depth: expected 8 or 16, got 12"),
    ],
)
def test_values_out_of_range(options, message):
    with pytest.raises(InputError, match=re.escape(message)):
        PhantomImages(FILMS, **options)


# --- Masks ------------------------------------------------------------------------------------------------------


def test_masks_are_of_what_is_present_in_the_order_of_the_bits():
    masks = images().masks(0)
    assert list(masks) == ["pleural effusion", "edema", "chest tube", "ECG leads"]
    assert all(mask.dtype == bool and mask.shape == (48, 48) and mask.any() for mask in masks.values())
    assert images().masks(1) == {}


def test_packed_masks_have_a_bit_for_each_kind():
    packed, kinds = images().packed_masks(0), (*FINDINGS, *DEVICES)
    assert packed.dtype == np.uint16
    for kind, mask in images().masks(0).items():
        np.testing.assert_array_equal(packed >> kinds.index(kind) & 1, mask)
    bits = sum(1 << kinds.index(kind) for kind in images().masks(0))
    assert np.bitwise_or.reduce(packed, axis=None) == bits
    assert not images().packed_masks(1).any()


# --- Keeping ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_kept_is_what_was_drawn(tmp_path, bits, request):
    source = images(tmp_path, bits)
    drawn = [(source.draw(i), source.packed_masks(i)) for i in range(2)]
    assert len(files(tmp_path)) == 4
    for path in files(tmp_path):
        assert re.fullmatch(r"[0-9a-f]{64}\.png", path.name)
        assert path.parent == tmp_path / path.name[:2]
    request.getfixturevalue("no_drawing")
    for i, (pixels, masks) in enumerate(drawn):
        for again, once in ((source.draw(i), pixels), (source.packed_masks(i), masks)):
            assert again.dtype == once.dtype
            np.testing.assert_array_equal(again, once)


def test_names_depend_on_film_size_depth_and_code(tmp_path, monkeypatch):
    def names():
        sources = [images(tmp_path), images(tmp_path, 16), PhantomImages(FILMS, 49, cache=tmp_path)]
        found = {source._path(f, str(source.bit_depth)) for source in sources for f in FILMS}
        return found | {images(tmp_path)._path(f, "masks") for f in FILMS}

    before = names()
    assert len(before) == 16
    assert names() == before
    monkeypatch.setattr(_images, "_code_digest", lambda: "edited")
    assert not names() & before


def test_all_code_that_draws_is_in_the_name():
    seen, todo = set(), ["_film"]
    folder = Path(mmaudit.__file__).parent / "datasets" / "phantom"
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            text = (folder / f"{name}.py").read_text(encoding="utf-8")
            todo += re.findall(r"from mmaudit\.datasets\.phantom\.(\w+) import", text)
            for names in re.findall(r"from mmaudit\.datasets\.phantom import \(?([\w, ]+)", text):
                todo += names.replace(" ", "").split(",")
    assert seen == set(_images._DRAWING)


@pytest.mark.parametrize("harm", ["empty", "cut", "one bit", "text", "another size", "another depth"])
def test_a_damaged_file_is_drawn_anew(tmp_path, harm):
    source = images(tmp_path)
    drawn = source.draw(0)
    (path,) = files(tmp_path)
    whole = path.read_bytes()
    if harm == "another size":
        Image.fromarray(drawn[:40]).save(path)
    elif harm == "another depth":
        Image.fromarray(drawn.astype(np.uint16)).save(path)
    else:
        middle = len(whole) // 2
        flipped = whole[:middle] + bytes([whole[middle] ^ 4]) + whole[middle + 1 :]
        path.write_bytes({"empty": b"", "cut": whole[:-200], "one bit": flipped, "text": b"no image"}[harm])
    np.testing.assert_array_equal(source.draw(0), drawn)
    assert path.read_bytes() == whole


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_a_crash_while_writing_leaves_nothing(tmp_path, monkeypatch, error):
    def half(self, file, **options):
        file.write(b"\x89PNG half an image")
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Image.Image, "save", half)
        with pytest.raises(error):
            images(tmp_path).draw(0)
    assert files(tmp_path) == []
    np.testing.assert_array_equal(images(tmp_path).draw(0), images().draw(0))
    assert len(files(tmp_path)) == 1


def test_a_folder_that_cannot_be_written_to_is_said_once(tmp_path, caplog):
    blocked = tmp_path / "a file"
    blocked.write_text("in the way")
    source = images(blocked / "cache")
    with caplog.at_level(logging.WARNING, logger=_images.__name__):
        drawn = [source.draw(i) for i in (0, 1)]
        source.prepare()
    np.testing.assert_array_equal(drawn[1], images().draw(1))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "cannot keep drawn images" in caplog.text


def test_pickled_images_read_the_same(tmp_path):
    source = images(tmp_path)
    back = pickle.loads(pickle.dumps(source))
    assert (back.films, back.image_size, back.bit_depth, back.cache) == (FILMS, 48, 8, tmp_path)
    np.testing.assert_array_equal(back.draw(3), source.draw(3))
    assert len(pickle.dumps(source)) < 5000


# --- Drawing all ------------------------------------------------------------------------------------------------


def test_prepare_draws_each_image_once(tmp_path, capsys, request):
    source = images(tmp_path, films=(*FILMS, FILMS[0]))
    kept = source.draw(1)
    source.prepare(progress=True)
    assert "Drawing" in capsys.readouterr().err
    assert len(files(tmp_path)) == 4
    request.getfixturevalue("no_drawing")
    source.prepare(progress=True)
    assert capsys.readouterr().err == ""
    np.testing.assert_array_equal(source.draw(1), kept)
    np.testing.assert_array_equal(source.draw(4), source.draw(0))


def test_prepare_in_processes_draws_the_same(tmp_path):
    source = PhantomImages([film(n) for n in range(32)], 32, cache=tmp_path)
    source.prepare(n_jobs=2)
    assert len(files(tmp_path)) == 32
    for i in (0, 17, 31):
        np.testing.assert_array_equal(source.draw(i), draw_film(source.films[i], 32))


def test_an_interrupted_prepare_keeps_what_is_done(tmp_path, monkeypatch):
    n_drawn = 0

    def until_third(*args, **options):
        nonlocal n_drawn
        n_drawn += 1
        if n_drawn == 3:
            raise KeyboardInterrupt
        return draw_film(*args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(_images, "draw_film", until_third)
        with pytest.raises(KeyboardInterrupt):
            images(tmp_path).prepare()
    assert len(files(tmp_path)) == 2
    images(tmp_path).prepare()
    assert len(files(tmp_path)) == 4


@pytest.mark.usefixtures("no_drawing")
def test_without_a_cache_there_is_nothing_to_prepare(tmp_path):
    images().prepare()
    images(tmp_path, films=()).prepare(n_jobs=2, progress=True)
    assert files(tmp_path) == []


# --- Where it is kept -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("system", "variables", "expected"),
    [
        ("linux", {"MMAUDIT_CACHE": "/data/kept"}, "/data/kept/phantom"),
        ("win32", {"MMAUDIT_CACHE": "/data/kept", "LOCALAPPDATA": "/local"}, "/data/kept/phantom"),
        ("linux", {"XDG_CACHE_HOME": "/xdg"}, "/xdg/mmaudit/phantom"),
        ("linux", {}, "/home/me/.cache/mmaudit/phantom"),
        ("darwin", {"XDG_CACHE_HOME": "/xdg"}, "/home/me/Library/Caches/mmaudit/phantom"),
        ("win32", {"LOCALAPPDATA": "/local"}, "/local/mmaudit/phantom"),
        ("win32", {}, "/home/me/AppData/Local/mmaudit/phantom"),
    ],
)
def test_default_cache_dir(monkeypatch, system, variables, expected):
    for name in ("MMAUDIT_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(Path, "home", classmethod(lambda cls: cls("/home/me")))
    assert default_cache_dir() == Path(expected)
