"""Small pictures, counterexamples, and what a grid is told to show."""

import io
import itertools
import threading
import time

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import mmaudit as mma
from mmaudit._errors import ImageReadError, MissingExtraError
from mmaudit.images import GrayImage
from mmaudit.widgets import _pictures
from mmaudit.widgets._cases import MEMBER, Cases
from mmaudit.widgets._pictures import Pictures, counterexamples, thumbs

N = 12


class Job:
    def step(self, *told):
        """Nobody listens."""


class Films:
    """Images in memory: number i is grey i / N; some cannot be read; `slow` ones wait for `gate`."""

    def __init__(self, n=N, slow=()):
        self.n, self.slow, self.gate, self.read_of = n, set(slow), threading.Event(), []

    def __len__(self):
        return self.n

    def take(self, indices):
        raise NotImplementedError

    def read(self, index, *, max_side_px=None):
        self.read_of.append(index)
        if index in self.slow:
            assert self.gate.wait(10)
        if index == 3:
            raise ImageReadError("image", "a file", "none", "Check it.", reason="missing")
        if index == 4:
            raise RuntimeError("/secret/path of Mrs. Example")
        pixels = np.full((400, 200), index / self.n, np.float32)
        if index == 5:
            pixels[:10] = np.nan
            pixels[10:20] = 7
        return GrayImage(pixels, 200, 400, 8)


def make(films, n=N):
    frame = pd.DataFrame({"y": np.arange(n) % 2, "p": np.linspace(0.1, 0.9, n), "patient": np.arange(n)})
    return mma.AuditData.from_frame(frame, label="y", y_proba="p", patient_id="patient", images=films)


@pytest.fixture
def films():
    return Films()


@pytest.fixture
def grid(films):
    return mma.widgets.SliceGrid(make(films))


def ask(widget, positions, side_px=96):
    answer, (blob,) = thumbs(widget, {"positions": positions, "side_px": side_px}, Job())
    ends = answer["offsets"]
    cut = [blob[a:b] for a, b in itertools.pairwise(ends)]
    assert ends[-1] == len(blob)
    return dict(zip(answer["positions"], cut, strict=True)), answer["errors"]


class TestThumbs:
    def test_they_are_grey_jpeg_of_the_asked_size(self, grid):
        found, errors = ask(grid, [11, 6])
        assert sorted(found) == [6, 11]
        assert errors == {}
        for position, data in found.items():
            picture = Image.open(io.BytesIO(data))
            assert (picture.format, picture.mode, picture.size) == ("JPEG", "L", (48, 96))
            assert np.asarray(picture).mean() == pytest.approx(255 * position / N, abs=1.5)

    @pytest.mark.parametrize(("asked", "given"), [(64, 96), (97, 192), (400, 384), (10**9, 384), ("x", 384)])
    def test_sizes_are_few(self, grid, asked, given):
        found, _ = ask(grid, [1], asked)
        assert Image.open(io.BytesIO(found[1])).size == (given // 2, given)

    def test_what_cannot_be_read_says_why_without_the_path(self, grid):
        found, errors = ask(grid, [2, 3, 4])
        assert list(found) == [2]
        assert errors == {"3": "missing", "4": "unreadable (RuntimeError)"}

    def test_a_missing_package_is_named(self, grid, films, monkeypatch):
        def read(index, *, max_side_px=None):
            raise MissingExtraError("Reading DICOM", "pydicom", "dicom")

        monkeypatch.setattr(films, "read", read)
        assert "pydicom" in ask(grid, [0])[1]["0"]

    def test_a_large_film_of_16_bits(self, tmp_path):
        rows = np.linspace(0, 60_000, 4000).astype(np.uint16)
        Image.fromarray(np.tile(rows[:, None], (1, 3000))).save(tmp_path / "film.png", compress_level=1)
        frame = pd.DataFrame({"y": [0, 1], "p": [0.1, 0.9], "patient": [1, 2], "image": ["film.png", None]})
        data = mma.AuditData.from_frame(
            frame, label="y", y_proba="p", patient_id="patient", image="image", image_root=tmp_path
        )
        grid = mma.widgets.SliceGrid(data)
        end, found = time.monotonic() + 30, {}
        while not found:
            assert time.monotonic() < end
            found, errors = ask(grid, [0, 1])
        picture = np.asarray(Image.open(io.BytesIO(found[0])))
        assert picture.shape == (96, 72)
        assert (np.diff(picture.mean(axis=1)) > 1).mean() > 0.95  # from dark to bright, as the film
        assert errors == {"1": "missing"}

    def test_values_out_of_range_are_cut(self, grid):
        found, _ = ask(grid, [5], 384)
        pixels = np.asarray(Image.open(io.BytesIO(found[5])))
        assert pixels[2].mean() < 20
        assert pixels[14].mean() > 235

    def test_each_is_read_once(self, grid, films):
        ask(grid, [1, 2, 3])
        ask(grid, [3, 2, 1, 1])
        assert sorted(films.read_of) == [1, 2, 3]

    def test_slow_ones_come_later_and_are_read_once(self, grid, films):
        films.slow = {7}
        found, errors = ask(grid, [6, 7])
        assert (list(found), errors) == ([6], {})
        ask(grid, [7])
        films.gate.set()
        end = time.monotonic() + 10
        while 7 not in ask(grid, [7])[0]:
            assert time.monotonic() < end
        assert films.read_of.count(7) == 1

    def test_those_not_begun_are_given_up(self, monkeypatch):
        monkeypatch.setattr(_pictures, "ANSWER_S", 0.01)
        n = 60
        films = Films(n, slow=range(n))
        grid = mma.widgets.SliceGrid(make(films, n))
        ask(grid, list(range(n)))
        begun = len(films.read_of)
        films.gate.set()
        assert begun < n
        end = time.monotonic() + 10
        while n - 1 not in ask(grid, [n - 1])[0]:  # what is asked for now does not wait for the others
            assert time.monotonic() < end
        assert len(films.read_of) <= begun + 2

    @pytest.mark.parametrize("positions", [None, "12", [1.5], [True], ["1"], [-1], [N], list(range(12)) * 20, {}])
    def test_other_positions_are_refused(self, grid, films, positions):
        with pytest.raises(mma.InputError, match=r"positions: expected (a list of at most 200|positions below 12)"):
            ask(grid, positions)
        assert films.read_of == []

    def test_the_longest_unused_are_given_up(self, films):
        cases = Cases(None, make(films))
        one = len(Pictures(cases).get([0], 96, wait_s=5)[0])
        pictures = Pictures(cases, kept_bytes=int(3.5 * one))
        for position in (0, 1, 2, 0, 6):
            assert position in pictures.get([position], 96, wait_s=5)
        films.read_of.clear()
        pictures.get([0, 2, 6], 96, wait_s=5)
        assert films.read_of == []
        pictures.get([1], 96, wait_s=5)
        assert films.read_of == [1]
        assert pictures.n_bytes == sum(len(made) for made in pictures._kept.values()) <= 3.5 * one

    def test_data_without_images(self):
        found, errors = ask(mma.widgets.SliceGrid(make(None)), [0, 1])
        assert (found, errors) == ({}, {"0": "no image", "1": "no image"})

    def test_a_result_without_data_has_its_thumbnails(self, audited, tmp_path):
        audited.save(tmp_path / "x.mmaudit.json")
        loaded = mma.load_result(tmp_path / "x.mmaudit.json")  # which does not know the data
        loaded._thumbnails = {loaded.samples.index[2]: b"JPEG"}
        found, errors = ask(mma.widgets.SliceGrid(loaded), [1, 2])
        assert (found, errors) == ({2: b"JPEG"}, {"1": "no image"})

    def test_many_threads(self, grid, films):
        done = []
        threads = [threading.Thread(target=lambda: done.append(ask(grid, [0, 1, 2, 6, 7, 8]))) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(done) == 8
        assert len(ask(grid, [0, 1, 2, 6, 7, 8])[0]) == 6
        assert len(films.read_of) == 6


class TestCounterexamples:
    @pytest.fixture
    def alike(self, cases):
        """Return the cases with embeddings in which those of one patient lie near each other."""
        random = np.random.default_rng(1)
        patient = np.unique(cases.patient_id, return_inverse=True)[1]
        near = random.normal(size=(patient.max() + 1, 8))[patient]
        return cases.with_embeddings({"image": near + random.normal(0, 0.1, near.shape)})

    def pairs(self, widget, slice_id):
        answer, (block,) = counterexamples(widget, {"slice_id": slice_id}, Job())
        return answer["words"], np.frombuffer(block, "<u4").reshape(-1, 2).astype(int)

    def test_they_are_the_nearest_that_may_be(self, audited, alike):
        widget = mma.widgets.SliceGrid(audited, data=alike)
        slice_id = audited.findings["slice_id"].iloc[0]
        words, pairs = self.pairs(widget, slice_id)
        assert words == "alike by the embeddings of image"
        assert len(pairs) > 3
        # The same, case by case, with scikit-learn's cosine.
        from sklearn.metrics.pairwise import cosine_similarity

        likeness = cosine_similarity(alike.embeddings["image"])
        strength, wrong = widget.cases.strength(slice_id), widget.cases.wrong(0)
        y, patient = alike.y_true, alike.patient_id
        taken = set()
        for member, other in pairs:
            assert strength[member] >= MEMBER
            may = [
                j for j in range(len(y))
                if strength[j] < MEMBER and not wrong[j] and y[j] == y[member] and patient[j] != patient[member]
                and j not in taken
            ]  # fmt: skip
            assert other == max(may, key=lambda j: likeness[member, j])
            taken.add(other)

    def test_by_hand(self):
        """Nearest to the first member are a case of its patient, a wrong one, and one of the other label."""
        degrees = np.radians([0, 1, 5, 2, 3, 10, 20])
        frame = pd.DataFrame(
            {
                "y": [1, 1, 1, 1, 0, 1, 1],
                "p": [0.2, 0.9, 0.2, 0.1, 0.1, 0.9, 0.9],
                "patient": ["a", "a", "a", "c", "d", "e", "f"],
            }
        )
        data = mma.AuditData.from_frame(
            frame, label="y", y_proba="p", patient_id="patient",
            embeddings={"image": np.c_[np.cos(degrees), np.sin(degrees)]},
        )  # fmt: skip
        widget = mma.widgets.SliceGrid(data)
        widget.cases.own["own"] = np.array([255, 0, 200, 0, 0, 0, 0], np.uint8)
        assert self.pairs(widget, "own")[1].tolist() == [[0, 5], [2, 6]]  # 5 is nearest to both, and taken once

    def test_the_model_that_is_looked_at_is_right(self, audited, alike):
        right = np.random.default_rng(0).random(alike.n_samples) < 0.5
        other = np.where(right, alike.y_true, 1 - alike.y_true).astype(float)
        widget = mma.widgets.SliceGrid(audited, data=alike, other=other)
        slice_id = audited.findings["slice_id"].iloc[0]
        for model in (0, 1):
            _, (block,) = counterexamples(widget, {"slice_id": slice_id, "model": model}, Job())
            others = np.frombuffer(block, "<u4").reshape(-1, 2)[:, 1].astype(int)
            assert len(others)
            assert not widget.cases.wrong(0, model)[others].any()

    def test_the_strongest_come_first_and_300_at_most(self, audited, alike, monkeypatch):
        widget = mma.widgets.SliceGrid(audited, data=alike)
        slice_id = audited.findings["slice_id"].iloc[0]
        strength = widget.cases.strength(slice_id).astype(int)
        _, pairs = self.pairs(widget, slice_id)
        assert (np.diff(strength[pairs[:, 0]]) <= 0).all()
        monkeypatch.setattr(_pictures, "MOST_PAIRS", 2)
        assert len(self.pairs(widget, slice_id)[1]) == 2

    def test_without_embeddings_those_of_the_explanation(self, audited, cases, tmp_path):
        slice_id = audited.findings["slice_id"].iloc[0]
        audited.save(tmp_path / "x.mmaudit.json")
        loaded = mma.load_result(tmp_path / "x.mmaudit.json")
        words, pairs = self.pairs(mma.widgets.SliceGrid(loaded), slice_id)
        assert "explanation" in words
        told = audited.explain(slice_id).members["counterexamples"]
        ids = loaded.samples.index.astype(str)
        assert [[ids[i], ids[j]] for i, j in pairs] == [list(pair) for pair in told]

    def test_without_both_it_says_what_to_do(self, audited, tmp_path):
        audited.save(tmp_path / "x.mmaudit.json")
        loaded = mma.load_result(tmp_path / "x.mmaudit.json")
        loaded.explanations = {}
        with pytest.raises(mma.InputError, match=r"embeddings: expected data with embeddings.*with_embeddings"):
            self.pairs(mma.widgets.SliceGrid(loaded), loaded.candidates["slice_id"][0])

    def test_no_such_slice(self, audited):
        with pytest.raises(mma.InputError, match=r"slice_id: expected one of result.candidates"):
            self.pairs(mma.widgets.SliceGrid(audited), "s99")


class TestSliceGrid:
    def test_it_begins_with_the_first_finding(self, audited):
        first = audited.findings["slice_id"].iloc[0]
        assert mma.widgets.SliceGrid(audited).selected_slice == first
        last = audited.candidates["slice_id"].iloc[-1]
        assert mma.widgets.SliceGrid(audited, slice_id=last).selected_slice == last
        assert mma.widgets.SliceGrid(audited, ids=[1003, 1001]).selected_slice == ""

    def test_given_cases_keep_their_order(self, audited):
        grid = mma.widgets.SliceGrid(audited, ids=[1003, "1001"])
        assert np.frombuffer(grid._given, "<u4").tolist() == [3, 1]
        assert "1003" not in str({k: v for k, v in grid.get_state().items() if k not in ("_esm", "_css")})

    def test_it_is_set_from_python(self, audited):
        a, b = audited.candidates["slice_id"][:2]
        grid = mma.widgets.SliceGrid(audited, slice_id=a, show="errors", beside=b, tile_px=128)
        assert (grid.show, grid.beside, grid.tile_px, grid.side_by_side) == ("errors", b, 128, False)
        grid.show, grid.tile_px, grid.beside = "all", 64, ""
        assert grid._grid == {"show": "all", "tile_px": 64, "beside": "", "model": 0, "models": False}

    def test_two_models(self, audited, cases):
        grid = mma.widgets.SliceGrid(audited, other=cases.y_proba[::-1], names=("ours", "theirs"))
        grid.side_by_side = True
        assert grid._grid["models"] is True
        assert grid.cases.models == ["ours", "theirs"]

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ({"show": "error"}, r"show: expected one of members, errors.*Did you mean 'errors'\?"),
            ({"tile_px": 10}, r"tile_px: expected a number from 64 to 384, got 10"),
            ({"tile_px": "96"}, r"tile_px: expected a number"),
            ({"beside": "s99"}, r"beside: expected a slice of this audit, or '', got 's99'"),
            ({"slice_id": "s99"}, r"selected_slice: expected a slice of this audit"),
            ({"ids": [1, 2]}, r"selected_ids: expected ids of samples, got 2 that are none"),
            ({"other": [0.5]}, r"y_proba"),
        ],
    )
    def test_what_is_wrong_is_said(self, audited, given, message):
        with pytest.raises(mma.InputError, match=message):
            mma.widgets.SliceGrid(audited, **given)

    def test_one_model_has_no_other(self, audited):
        grid = mma.widgets.SliceGrid(audited)
        with pytest.raises(mma.InputError, match=r"models: expected two models, got one"):
            grid.side_by_side = True
        with pytest.raises(mma.InputError, match=r"models: expected two models"):
            grid._grid = {**grid._grid, "model": 1}

    def test_an_unknown_keyword(self, audited):
        with pytest.raises(TypeError, match=r"tile_size.*Did you mean 'tile_px'"):
            mma.widgets.SliceGrid(audited, tile_size=9)

    def test_data_are_given_once(self, cases):
        with pytest.raises(mma.InputError, match=r"data: expected data once"):
            mma.widgets.SliceGrid(cases, data=cases)
