"""Traits, answers to the page, selection and verdicts."""

import threading
import zlib

import numpy as np
import pytest

import mmaudit as mma
from mmaudit.widgets import _base


@pytest.fixture
def widget(audited):
    audited.user_verdicts = {}
    return mma.widgets.SliceExplorer(audited)


def unpacked(content, buffers):
    raw = zlib.decompress(buffers[0])
    return {
        s["name"]: np.frombuffer(raw, np.dtype(s["dtype"]).newbyteorder("<"), s["length"], s["offset"])
        for s in content["sections"]
    }


class TestSelection:
    def test_ids_and_positions_follow_each_other(self, widget, cases):
        seen = []
        widget.observe(lambda change: seen.append(change["new"]), "selected_ids")
        widget.selected_ids = [cases.sample_id[5], str(cases.sample_id[2])]
        assert np.frombuffer(widget._selected, "<u4").tolist() == [5, 2]
        assert widget.selected_ids == [1005, 1002]  # the user's own, numbers as numbers
        widget._selected = np.array([7], "<u4").tobytes()
        assert widget.selected_ids == [1007]
        assert seen == [[1005, 1002], [1007]]
        widget.selected_ids = [1005, 1002, "1005"]
        assert widget.selected_ids == [1005, 1002]
        assert len(widget.selection()) == 2

    def test_it_is_a_frame(self, widget, cases, audited):
        widget.selected_ids = [1005]
        frame = widget.selection()
        assert frame.index.tolist() == [1005]
        assert frame["machine"].item() == cases.metadata["machine"].iloc[5]
        assert frame["y_proba"].item() == audited.samples["y_proba"].iloc[5]
        widget.selected_ids = []
        assert len(widget.selection()) == 0

    def test_what_is_none_is_refused(self, widget):
        with pytest.raises(mma.InputError, match=r"selected_ids: expected ids of samples, got 1 that are none"):
            widget.selected_ids = [1005, "nobody"]
        widget._selected = np.array([3, 99_999], "<u4").tobytes()  # as a page might say
        assert widget.selected_ids == [1003]

    def test_slices(self, widget, audited):
        widget.selected_slice = audited.candidates["slice_id"][0]
        with pytest.raises(mma.InputError, match=r"selected_slice: expected a slice of this audit"):
            widget.selected_slice = "s99"


class TestVerdicts:
    def test_both_ways(self, widget, wire, audited):
        page = wire(widget)
        widget.verdicts = {"s01": "accept"}
        widget.image_verdicts = {1004: {"verdict": "radiologist", "note": "lead over the apex?"}}
        assert widget._verdicts == {"slices": {"s01": "accept"}, "samples": {"4": "radiologist"}}
        pushed = [content for content, _ in page.messages if content.get("pushed") == "notes"]
        assert pushed[-1]["notes"] == {"sample:4": "lead over the apex?"}
        widget._verdicts = {"slices": {"s01": "reject"}, "samples": {}}
        assert widget.verdicts == {"s01": {"verdict": "reject", "note": ""}}
        assert widget.image_verdicts == {1004: {"verdict": "", "note": "lead over the apex?"}}

    def test_notes_of_the_page(self, widget, wire):
        page = wire(widget)
        widget.image_verdicts = {1004: {"note": "a tube"}}
        widget._receive(widget, {"id": 1, "kind": "note", "of": "slice:s01", "text": "seen it"}, [])
        assert widget.verdicts == {"s01": {"verdict": "", "note": "seen it"}}
        assert widget.image_verdicts == {1004: {"verdict": "", "note": "a tube"}}  # one note leaves the others alone
        widget._receive(widget, {"id": 2, "kind": "note", "of": "sample:4", "text": ""}, [])
        assert widget.image_verdicts == {}
        widget._receive(widget, {"id": 3, "kind": "notes"}, [])
        assert page.messages[-1] == ({"id": 3, "notes": {"slice:s01": "seen it"}}, [])

    def test_notes_are_in_no_trait(self, widget, wire):
        wire(widget)
        widget.verdicts = {"s01": {"verdict": "accept", "note": "Mrs. Example"}}
        assert "Example" not in str(widget.get_state())

    @pytest.mark.parametrize("name", ["verdicts", "image_verdicts"])
    def test_other_words_are_refused(self, widget, name):
        with pytest.raises(
            mma.InputError, match=rf"{name}: expected verdicts of accept, reject, radiologist, got 'ok'"
        ):
            setattr(widget, name, {1001: "ok"})

    def test_they_are_kept_in_the_result(self, widget, audited):
        widget.verdicts = {"s01": "reject"}
        assert mma.widgets.ExplanationTable(audited).verdicts == {"s01": {"verdict": "reject", "note": ""}}


class TestQuestions:
    def test_what_the_page_is_told_first(self, widget, wire, audited, cases):
        page = wire(widget)
        widget._receive(widget, {"id": 1, "kind": "start"}, [])
        ((content, buffers),) = page.messages
        assert (content["id"], content["n"], content["targets"]) == (1, 240, ["label"])
        arrays = unpacked(content, buffers)
        np.testing.assert_array_equal(arrays["truth:0"], cases.y_true)
        np.testing.assert_allclose(arrays["probability:0:0"] / 254, cases.y_proba, atol=0.5 / 254 + 1e-9)
        np.testing.assert_array_equal(arrays["wrong:0:0"], audited.samples["wrong"])
        np.testing.assert_array_equal(arrays["confirmation"], audited.samples["part"] == "confirmation")
        for slice_id in audited.candidates["slice_id"]:
            members = audited.membership[slice_id] >= 0.5
            np.testing.assert_array_equal(arrays[f"member:{slice_id}"] >= 128, members)

    def test_errors_go_to_the_page(self, widget, wire):
        page = wire(widget)
        widget._receive(widget, {"id": 3, "kind": "members", "slice_id": "s99"}, [])
        widget._receive(widget, {"id": 4, "kind": "nonsense"}, [])
        (first, _), (second, _) = page.messages
        assert first["id"] == 3
        assert "slice_id: expected one of result.candidates['slice_id'], got 's99'" in first["error"]
        assert "kind: expected one of" in second["error"]

    def test_a_fault_of_ours_is_told_without_its_details(self, widget, wire, monkeypatch, caplog):
        def fail(*_):
            raise RuntimeError("a patient's name")

        page = wire(widget)
        monkeypatch.setattr(_base, "start", fail)
        widget._receive(widget, {"id": 1, "kind": "start"}, [])
        ((content, _),) = page.messages
        assert content["error"].startswith("start: it failed (RuntimeError in test_base.py, line ")
        assert "could not answer 'start': RuntimeError in test_base.py" in caplog.text
        assert "patient's name" not in caplog.text

    def test_a_cancelled_question_has_no_answer(self, widget, wire, monkeypatch):
        page, begun, cancelled, ended = wire(widget), threading.Event(), threading.Event(), threading.Event()

        def slow(_widget, _content, job):
            try:
                job.step(1, 3, "working")
                begun.set()
                cancelled.wait(10)
                job.step(2, 3)
            finally:
                ended.set()
            return {}, []

        monkeypatch.setattr(_base, "members", slow)
        monkeypatch.setattr(_base, "LONG", ("members",))
        widget._receive(widget, {"id": 1, "kind": "members"}, [])
        assert begun.wait(10)
        widget._receive(widget, {"id": 1, "kind": "cancel"}, [])
        cancelled.set()
        assert ended.wait(10)
        told = [content for content, _ in page.messages]
        assert told == [{"id": 1, "progress": {"done": 1, "total": 3, "text": "working"}}]

    def test_pings_and_nonsense_are_left_alone(self, widget, wire):
        page = wire(widget)
        for content in ({"kind": "ping"}, {}, "text", None):
            widget._receive(widget, content, [])
        assert page.messages == []


class TestModels:
    def test_a_second_model_for_the_same_cases(self, cases, audited):
        other = np.clip(1 - cases.y_proba, 0, 1)
        for given in (
            other,
            cases.with_predictions(other),
            cases.with_predictions(other).subset(np.arange(239, -1, -1)),
        ):
            widget = mma.widgets.SliceExplorer(audited, other=given, names=("first", "second"))
            content, buffers = _base.start(widget, {}, None)
            arrays = unpacked(content, buffers)
            assert content["models"] == ["first", "second"]
            np.testing.assert_array_equal(arrays["wrong:0:1"], (other >= 0.5) != cases.y_true)

    def test_without_data(self, audited, tmp_path):
        loaded = mma.load_result(audited.save(tmp_path / "x.mmaudit.json"))
        widget = mma.widgets.SliceExplorer(loaded)
        content, _ = _base.start(widget, {}, None)
        assert (content["n"], content["has_reports"]) == (240, False)
        with pytest.raises(mma.InputError, match=r"other: expected a second model beside data"):
            mma.widgets.SliceExplorer(loaded, other=[0.5])

    def test_with_other_data(self, cases, audited):
        with pytest.raises(mma.InputError, match=r"data: expected the data that were audited, got data without 140"):
            mma.widgets.SliceExplorer(audited, data=cases.subset(np.arange(100)))

    def test_cases_that_were_not_audited(self, cases):
        widget = mma.widgets.SliceGrid(cases)
        content, buffers = _base.start(widget, {}, None)
        arrays = unpacked(content, buffers)
        np.testing.assert_array_equal(arrays["wrong:0:0"], (cases.y_proba >= 0.5) != cases.y_true)
        assert "confirmation" not in arrays
