"""Metadata in bins, and the map."""

import zlib

import numpy as np
import pandas as pd
import pytest

import mmaudit as mma
from mmaudit.widgets import _columns
from mmaudit.widgets._base import Cancelled
from mmaudit.widgets._columns import binned, binned_for_others, check_coordinates, place, places


class Steps:
    """Stands for a question of the page: keeps what it is told, and can be cancelled."""

    def __init__(self, cancel_after=None):
        self.told, self.cancel_after = [], cancel_after

    def step(self, done, total, text=""):
        self.told.append((done, total, text))
        if self.cancel_after is not None and len(self.told) > self.cancel_after:
            raise Cancelled


def unpacked(answer):
    content, (block,) = answer
    raw = zlib.decompress(block)
    return {
        s["name"]: np.frombuffer(raw, np.dtype(s["dtype"]).newbyteorder("<"), s["length"], s["offset"])
        for s in content["sections"]
    }


def fits(name, values, whole_ends=True):
    """Return which values are what the name of a bin says; `whole_ends`: the upper end belongs to it if it is whole."""
    if name == "any number":
        return np.isfinite(values)
    if name.startswith("< "):
        return values < float(name[2:])
    if name.startswith("≥ "):
        return values >= float(name[2:])
    if " to " not in name:
        return values == float(name)
    low, high = map(float, name.split(" to "))
    return (values >= low) & ((values < high) | (whole_ends & (values == high) & (values % 1 == 0)))


class TestBinned:
    def test_categories_by_frequency_then_name(self):
        kind, categories, codes = binned(pd.Series(["b", "a", "c", "c", None], dtype=object))
        assert (kind, categories, codes.tolist()) == ("category", ["c", "a", "b"], [2, 1, 0, 0, 255])
        assert codes.dtype == np.uint8

    def test_rare_ones_go_together(self):
        values = [f"v{k:02d}" for k in range(40) for _ in range(41 - k)]
        _, categories, codes = binned(pd.Series(values))
        assert len(categories) == 30
        assert categories[0] == "v00"
        assert categories[-1] == "other (11 values)"
        # v29 to v39 occur 12 down to 2 times
        assert (codes == 29).sum() == sum(range(2, 13))

    def test_long_and_hostile_texts(self):
        _, categories, _ = binned(pd.Series(["<b>'\"", "x" * 500, "شعاع"]))
        assert "<b>'\"" in categories and "شعاع" in categories
        assert max(map(len, categories)) == 80

    def test_few_numbers_are_bins_of_their_own(self):
        kind, categories, codes = binned(pd.Series([2.5, 1.0, np.nan, 2.5]))
        assert (kind, categories, codes.tolist()) == ("number", ["1", "2.5"], [1, 0, 255, 1])

    def test_edges_are_round(self):
        _, categories, codes = binned(pd.Series(np.arange(20.0, 90.0)))
        assert categories == ["20 to 29", "30 to 39", "40 to 49", "50 to 59", "60 to 69", "70 to 79", "80 to 89"]
        assert np.bincount(codes).tolist() == [10] * 7

    def test_outliers_do_not_squeeze_the_rest(self):
        values = np.r_[np.linspace(0, 10, 1001), 1e9, -1e9]
        _, categories, codes = binned(pd.Series(values))
        assert categories[0].startswith("< ") and categories[-1].startswith("≥ ")
        assert np.bincount(codes).max() < 300
        assert codes[-2] == len(categories) - 1 and codes[-1] == 0

    @pytest.mark.parametrize("seed", range(4))
    def test_bins_say_what_is_in_them(self, seed):
        random = np.random.default_rng(seed)
        values = random.normal(random.uniform(-50, 50), 10 ** random.uniform(-2, 3), 500)
        _, categories, codes = binned(pd.Series(values))
        assert 2 <= len(categories) <= 12
        for code, name in enumerate(categories):
            inside = values[codes == code]
            assert " to " in name or name[0] in "<≥"
            assert fits(name, inside, whole_ends=False).all()

    def test_nothing_known(self):
        assert binned(pd.Series([np.nan, np.nan]))[1:][0] == []
        kind, categories, codes = binned(pd.Series([None, None], dtype=object))
        assert (kind, categories, codes.tolist()) == ("category", [], [255, 255])


def patients_of(codes, patients):
    return {code: len(set(patients[codes == code])) for code in np.unique(codes)}


class TestBinnedForOthers:
    def test_rare_categories_are_told_by_none(self):
        values = pd.Series(["PA"] * 6 + ["AP"] * 5 + ["Decubitus"] * 4 + ["Oblique"] + [None], dtype=object)
        kind, categories, codes = binned_for_others(values, np.arange(len(values)))
        assert (kind, categories) == ("category", ["PA", "AP", "other (2 values)"])
        assert codes.tolist() == [0] * 6 + [1] * 5 + [2] * 5 + [255]
        assert codes.dtype == np.uint8

    def test_patients_are_counted_not_rows(self):
        values = pd.Series(["PA"] * 5 + ["AP"] * 50)
        patients = np.array([f"p{k}" for k in range(5)] + ["p5", "p6", "p7", "p8"] * 12 + ["p5"] * 2, dtype=object)
        assert binned_for_others(values, patients)[1] == []
        patients[-1] = "p9"
        assert binned_for_others(values, patients)[1] == ["AP", "PA"]

    def test_one_patient_is_not_singled_out(self):
        kind, categories, codes = binned_for_others(pd.Series([True] + [False] * 599), np.arange(600))
        assert (kind, categories, set(codes)) == ("category", [], {255})
        # Beside enough missing ones the patient cannot be told.
        values = pd.Series(["yes"] + ["no"] * 20 + [None] * 5, dtype=object)
        assert binned_for_others(values, np.arange(26))[1] == ["no"]
        assert binned_for_others(values, np.arange(26))[2].tolist() == [255] + [0] * 20 + [255] * 5

    def test_all_rare(self):
        values = pd.Series([f"Ward of Dr. {k}" for k in range(1200)])
        assert binned_for_others(values, np.arange(1200))[1:][0] == ["other (1,200 values)"]
        assert set(binned_for_others(values, np.arange(1200))[2]) == {0}

    def test_no_more_categories_than_are_shown(self):
        values = pd.Series([f"v{k:02d}" for k in range(40) for _ in range(7)] + ["alone"])
        _, categories, codes = binned_for_others(values, np.arange(len(values)))
        assert len(categories) == 30 and categories[-1] == "other (12 values)"
        assert (codes == 29).sum() == 11 * 7 + 1

    def test_without_rare_ones_it_is_the_same(self):
        random = np.random.default_rng(0)
        for values in (random.choice(["a", "b"], 200), random.integers(0, 5, 200), random.uniform(20, 25, 200)):
            one, two = binned(pd.Series(values)), binned_for_others(pd.Series(values), np.arange(200))
            if one[0] == "category" or min(np.bincount(one[2])) >= 5:
                assert one[:2] == two[:2] and (one[2] == two[2]).all()

    def test_bins_are_joined_with_their_neighbour(self):
        values = pd.Series(np.r_[np.repeat([0.0, 1.0, 2.0], 9), [3.0] * 2, [4.0] * 3])
        kind, categories, codes = binned_for_others(values, np.arange(len(values)))
        assert (kind, categories) == ("number", ["0", "1", "2", "≥ 3"])
        assert codes.tolist() == [0] * 9 + [1] * 9 + [2] * 9 + [3] * 5
        patients = np.r_[np.arange(27), [0, 0, 0, 1, 2]]  # three in the last two bins
        assert binned_for_others(values, patients)[1] == ["0", "1", "≥ 2"]

    def test_a_value_far_out_is_not_told(self):
        values = pd.Series([10.0] * 8 + [13.0] + [20.0] * 8 + [97.0])
        _, categories, codes = binned_for_others(values, np.arange(len(values)))
        assert not [name for name in categories if "13" in name or "97" in name]
        assert categories[-1].startswith("≥ ")
        assert min(patients_of(codes, np.arange(len(values))).values()) >= 5

    @pytest.mark.parametrize("values", [[7.25], [7.25] * 4, [1.5, 2.5, 3.5], [float(k) for k in range(4)] * 3])
    def test_too_few_patients_for_any_bin(self, values):
        patients = np.arange(len(values)) % 4
        _, categories, codes = binned_for_others(pd.Series([*values, np.nan]), np.r_[patients, 9])
        assert categories == ["any number"]
        assert codes.tolist() == [0] * len(values) + [255]

    def test_nothing_known(self):
        assert binned_for_others(pd.Series([np.nan] * 3), np.arange(3))[1] == []
        assert binned_for_others(pd.Series([None] * 3, dtype=object), np.arange(3))[1] == []

    @pytest.mark.parametrize("seed", range(12))
    def test_bins_say_what_is_in_them_and_hold_five_patients(self, seed):
        random = np.random.default_rng(seed)
        n = int(random.integers(20, 400))
        values = random.normal(random.uniform(-50, 50), 10 ** random.uniform(-1, 3), n).round(seed % 3)
        values[: n // 10] *= 50
        patients = random.integers(0, n // 2, n)
        _, categories, codes = binned_for_others(pd.Series(values), patients)
        assert len(categories) <= 12
        counts = patients_of(codes, patients)
        assert sorted(counts) == list(range(len(categories))) and min(counts.values()) >= 5
        for code, name in enumerate(categories):
            inside = values[codes == code]
            assert fits(name, inside).all()


class TestColumns:
    def test_in_the_order_of_the_cases(self, audited, cases):
        widget = mma.widgets.SliceExplorer(audited)
        answer = _columns.columns(widget, {}, Steps())
        told = {column["name"]: column for column in answer[0]["columns"]}
        assert list(told) == ["machine", "age"]
        codes = unpacked(answer)["column:machine"]
        assert [told["machine"]["categories"][c] for c in codes] == cases.metadata["machine"].tolist()

    def test_data_in_another_order(self, audited, cases):
        turned = cases.subset(np.arange(cases.n_samples)[::-1])
        widget = mma.widgets.SliceExplorer(audited, data=turned)
        answer = _columns.columns(widget, {}, Steps())
        categories = answer[0]["columns"][0]["categories"]
        codes = unpacked(answer)["column:machine"]
        assert [categories[c] for c in codes] == cases.metadata["machine"].tolist()
        straight = unpacked(_columns.columns(mma.widgets.SliceExplorer(audited), {"what": "map"}, Steps()))
        turned_map = unpacked(_columns.columns(widget, {"what": "map"}, Steps()))
        # Signs of components may turn with the order; distances may not.
        assert np.ptp(np.abs(np.diff(straight["x"].astype(int))) - np.abs(np.diff(turned_map["x"].astype(int)))) < 700

    def test_without_data(self, audited, tmp_path):
        loaded = mma.load_result(audited.save(tmp_path / "x.mmaudit.json", metadata=False))
        widget = mma.widgets.SliceExplorer(loaded)
        assert _columns.columns(widget, {}, Steps())[0]["columns"] == []
        answer = _columns.columns(widget, {"what": "map"}, Steps())
        assert unpacked(answer) == {}
        assert answer[0]["map_words"] == "There is no map without the data."

    def test_made_once(self, audited, monkeypatch):
        widget = mma.widgets.SliceExplorer(audited)
        first = _columns.columns(widget, {"what": "map"}, Steps())
        monkeypatch.setattr(_columns, "places", None)
        assert _columns.columns(widget, {"what": "map"}, Steps()) is first

    def test_cancelled_is_not_kept(self, audited):
        widget = mma.widgets.SliceExplorer(audited)
        with pytest.raises(Cancelled):
            _columns.columns(widget, {"what": "map"}, Steps(cancel_after=0))
        steps = Steps()
        answer = _columns.columns(widget, {"what": "map"}, steps)
        assert set(unpacked(answer)) == {"x", "y"}
        assert [text for *_, text in steps.told] == ["reading reports for the map", "placing cases on the map"]


class TestMap:
    def test_embeddings_are_principal_components(self, cases):
        random = np.random.default_rng(0)
        image = random.normal(size=(cases.n_samples, 6)) * [9, 4, 1, 1, 1, 1]
        given = cases.with_embeddings({"image": image.astype(np.float32)})
        xy, words = places(given, Steps().step)
        assert words == "Two principal components of the embeddings of images."
        # Against a decomposition of its own
        centred = image - image.mean(axis=0)
        expected = np.linalg.svd(centred, full_matrices=False)[0][:, :2]
        for k in range(2):
            assert abs(np.corrcoef(xy[:, k], expected[:, k])[0, 1]) > 0.9999

    def test_each_modality_has_the_same_say(self, cases):
        random = np.random.default_rng(0)
        n = cases.n_samples
        wide, narrow = random.normal(size=(n, 40)), random.normal(size=(n, 1))
        xy, _ = places(cases.with_embeddings({"image": 1e4 * wide, "report": narrow}), Steps().step)
        assert abs(np.corrcoef(xy[:, 0], narrow[:, 0])[0, 1]) > 0.9

    def test_reports(self, cases):
        xy, words = places(cases, Steps().step)
        assert words == "Two principal components of the words of the reports."
        old = (cases.metadata["machine"] == "old").to_numpy()  # their reports have words of their own
        assert xy[old, 0].max() < xy[~old, 0].min() or xy[old, 0].min() > xy[~old, 0].max()

    def test_metadata(self):
        frame = pd.DataFrame({"y": [0, 1] * 30, "who": range(60), "view": ["PA", "AP", "AP"] * 20})
        data = mma.AuditData.from_frame(frame, label="y", patient_id="who", metadata=["view"])
        xy, words = places(data, Steps().step)
        assert words == "Two principal components of the metadata."
        assert len(np.unique(xy[:, 0].round(6))) == 2

    def test_nothing_to_make_it_from(self):
        frame = pd.DataFrame({"y": [0, 1] * 3, "who": range(6)})
        xy, words = places(mma.AuditData.from_frame(frame, label="y", patient_id="who"), Steps().step)
        assert xy is None and words.startswith("There is no map")

    def test_same_data_same_map(self, cases):
        assert (places(cases, Steps().step)[0] == places(cases, Steps().step)[0]).all()

    def test_given(self, audited, cases):
        xy = np.stack([np.arange(cases.n_samples), -np.arange(cases.n_samples)], axis=1)
        widget = mma.widgets.SliceExplorer(audited, coordinates=xy.tolist())
        found = unpacked(_columns.columns(widget, {"what": "map"}, Steps()))
        assert (np.diff(found["x"].astype(int)) >= 0).all() and (np.diff(found["y"].astype(int)) <= 0).all()
        assert (found["x"].min(), found["x"].max()) == (0, 65_535)

    @pytest.mark.parametrize(
        ("given", "got"),
        [
            (np.zeros((5, 2)), r"an array of shape \(5, 2\)"),
            (np.full((7, 2), np.nan), "values that are not finite"),
            ([["a", "b"]] * 7, r"an array of shape \(0,\)"),
        ],
    )
    def test_refused(self, given, got):
        with pytest.raises(
            mma.InputError, match=rf"^coordinates: expected finite numbers of shape \(7, 2\).* got {got}"
        ):
            check_coordinates(given, 7)

    def test_places_on_an_axis(self):
        assert place(np.array([3.0, 3.0])).tolist() == [32_768, 32_768]
        assert place(np.array([])).tolist() == []
        far = np.r_[np.linspace(0, 1, 5000), 1e6]
        assert place(far)[2500] == pytest.approx(65_535 / 2, rel=0.01)
