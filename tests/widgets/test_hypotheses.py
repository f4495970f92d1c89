"""Groups that the user makes: counted all together, on the patients that the audit held out."""

import threading
import warnings

import numpy as np
import pytest
from scipy.stats import false_discovery_control

import mmaudit as mma
from mmaudit.widgets._base import Cancelled
from mmaudit.widgets._hypotheses import test as ask


class Steps:
    def __init__(self, cancel_at=None):
        self.texts, self.cancel_at = [], cancel_at

    def step(self, done, total, text=""):
        assert 0 <= done <= total
        self.texts.append(text)
        if text == self.cancel_at:
            raise Cancelled


@pytest.fixture
def widget(audited):
    return mma.widgets.SliceExplorer(audited)


def choose(widget, mask):
    widget.selected_ids = widget.cases.ids[np.asarray(mask)].tolist()


def old(cases):
    return (cases.metadata["machine"] == "old").to_numpy()


def label_1(audited):
    """Return the ids of two slices that are compared within label 1."""
    found = audited.candidates
    return found.loc[found["label"] == "1", "slice_id"].tolist()[:2]


class TestSelection:
    def test_as_test_hypothesis_judges_it(self, widget, audited, cases):
        choose(widget, old(cases))
        answer, buffers = ask(widget, {"what": "selection", "name": "old machine"}, Steps())
        assert (answer["ids"], answer["hidden"], answer["n_tested"], buffers) == (["h01", "h02"], [], 1, [])
        expected = mma.test_hypothesis(
            cases, old(cases), beside=audited, n_permutations=audited.settings["n_permutations"], random_state=0
        ).candidates
        rows = [row for row in widget._rows if row["origin"] == "hypothesis"]
        for row, record in zip(rows, expected.to_dict("records"), strict=True):
            assert row["label"] == record["label"]
            for key, column in (("gap", "gap"), ("ci_low", "ci_low"), ("p", "p_value"), ("q", "q_value")):
                assert row[key] == pytest.approx(record[column])
            assert row["n_patients"] == record["n_patients"]

    def test_the_row(self, widget, cases):
        choose(widget, old(cases))
        before = [row["id"] for row in widget._rows]
        ask(widget, {"what": "selection", "name": ' <b>"old"</b>\n'}, Steps())
        assert [row["id"] for row in widget._rows] == [*before, "h01", "h02"]
        row = widget._rows[-2]
        assert row["name"] == '<b>"old"</b>'
        assert row["sentence"].startswith('In a group chosen by hand (<b>"old"</b>), the classifier misses')
        assert "a group that was chosen by looking at predictions has a gap by construction." in row["sentence"]
        assert row["sentence"].endswith("slices and 2 comparisons of groups made by hand.")
        assert row["confirmed"] and row["parents"] == [] and row["rank"] == len(before)
        assert widget.selected_slice == "h01"
        assert widget._cards["h01"]["sentence"] == row["sentence"]
        inside = widget.cases.strength("h01") >= 128
        assert (inside == (old(cases) & (cases.y_true == 1))).all()
        first = widget.cases.strength("s01") >= 128
        shared = round((inside & first).sum() / (inside | first).sum(), 3)
        assert shared > 0.05 and row["overlap"]["s01"] == widget._rows[0]["overlap"]["h01"] == shared

    def test_every_group_counts(self, widget, audited, cases):
        random = np.random.default_rng(0)
        choose(widget, old(cases))
        ask(widget, {"what": "selection"}, Steps())
        first = widget.hypotheses["q_value"].tolist()
        for _ in range(3):
            choose(widget, random.random(cases.n_samples) < 0.5)
            ask(widget, {"what": "selection"}, Steps())
        frame = widget.hypotheses
        assert frame["slice_id"].tolist() == [f"h{k:02d}" for k in range(1, 9)]
        assert frame["name"].tolist()[::2] == ["selection 1", "selection 2", "selection 3", "selection 4"]
        # Benjamini and Hochberg over the audit's candidates and all groups
        p = np.r_[frame["p_value"], audited.candidates["p_value"]]
        assert frame["q_value"].to_numpy() == pytest.approx(false_discovery_control(p)[: len(frame)])
        assert frame["q_value"].tolist()[:2] != first
        assert [row["q"] for row in widget._rows[-8:]] == pytest.approx(frame["q_value"].tolist())

    def test_one_taken_back_still_counts(self, widget, cases):
        choose(widget, old(cases))
        ask(widget, {"what": "selection"}, Steps())
        widget._edits = {"names": {}, "hidden": ["h01", "h02"]}  # as the page does when it is undone
        choose(widget, ~old(cases))
        assert ask(widget, {"what": "selection"}, Steps())[0]["n_tested"] == 2
        assert len(widget.hypotheses) == 4
        assert widget._edits["hidden"] == ["h01", "h02"]

    def test_the_result_counts_not_the_widget(self, widget, audited, cases):
        table = mma.widgets.ExplanationTable(audited)
        choose(widget, old(cases))
        ask(widget, {"what": "selection", "name": "old"}, Steps())
        later = mma.widgets.SliceExplorer(audited)
        for other in (table, later):
            assert other._rows == widget._rows and other._cards["h01"] == widget._cards["h01"]
            assert (other.cases.strength("h02") == widget.cases.strength("h02")).all()
        assert table.selected_slice == "" and later.hypotheses.equals(widget.hypotheses)
        choose(later, ~old(cases))
        answer, _ = ask(later, {"what": "selection"}, Steps())
        assert (answer["ids"], answer["n_tested"]) == (["h03", "h04"], 2)
        assert [row["id"] for row in table._rows] == [row["id"] for row in widget._rows] == [
            *audited.candidates["slice_id"], "h01", "h02", "h03", "h04",
        ]  # fmt: skip
        n = len(audited.candidates)
        assert f"Its q counts the audit's {n} slices and 4 comparisons" in table._rows[-1]["sentence"]

    def test_a_test_that_ends_while_a_widget_is_made(self, widget, audited, cases, monkeypatch):
        choose(widget, old(cases))
        before = mma.widgets.ExplanationTable._read_verdicts

        def late(self, result):
            monkeypatch.undo()
            ask(widget, {"what": "selection"}, Steps())
            before(self, result)

        monkeypatch.setattr(mma.widgets.ExplanationTable, "_read_verdicts", late)
        assert mma.widgets.ExplanationTable(audited)._rows == widget._rows

    def test_within_labels_that_have_patients(self, widget, cases):
        mask = old(cases) & (cases.y_true == 1)
        choose(widget, mask)
        assert ask(widget, {"what": "selection"}, Steps())[0]["ids"] == ["h01"]
        assert widget._rows[-1]["label"] == "1"

    def test_too_few_patients_are_not_tested_and_not_counted(self, widget, cases):
        choose(widget, np.arange(cases.n_samples) < 3)
        with pytest.raises(mma.InputError, match=r"^selection: expected at least 5 held-out patients of one label"):
            ask(widget, {"what": "selection"}, Steps())
        assert len(widget.hypotheses) == 0 and widget.tested.made == []

    @pytest.mark.parametrize(("n", "got"), [(0, "none"), (None, "all of them")])
    def test_nothing_to_compare(self, widget, cases, n, got):
        choose(widget, np.arange(cases.n_samples) < (cases.n_samples if n is None else n))
        with pytest.raises(mma.InputError, match=f"^selection: expected some of the cases, got {got}"):
            ask(widget, {"what": "selection"}, Steps())


class TestMergeAndSplit:
    def test_merge(self, widget, audited):
        parents = label_1(audited)
        answer, _ = ask(widget, {"what": "merge", "slices": [*parents, parents[0]], "name": "both"}, Steps())
        assert answer == {"ids": ["h01"], "hidden": parents, "n_tested": 1, "most": 15}
        union = np.any([widget.cases.strength(one) >= 128 for one in parents], axis=0)
        assert ((widget.cases.strength("h01") >= 128) == union).all()
        row = widget._rows[-1]
        assert (row["origin"], row["parents"], row["label"], row["name"]) == ("merge", parents, "1", "both")
        assert widget._edits["hidden"] == parents

    def test_split(self, widget, audited):
        parent = label_1(audited)[0]
        inside = widget.cases.strength(parent) >= 128
        some = inside & (np.arange(len(inside)) % 3 == 1)
        choose(widget, some)
        answer, _ = ask(widget, {"what": "split", "slices": [parent]}, Steps())
        assert answer == {"ids": ["h01", "h02"], "hidden": [parent], "n_tested": 2, "most": 15}
        assert ((widget.cases.strength("h01") >= 128) == some).all()
        assert ((widget.cases.strength("h02") >= 128) == (inside & ~some)).all()
        assert {row["origin"] for row in widget._rows[-2:]} == {"split"}

    def test_of_groups_made_before(self, widget, audited, cases):
        choose(widget, old(cases))
        ask(widget, {"what": "selection"}, Steps())
        answer, _ = ask(widget, {"what": "merge", "slices": ["h01", label_1(audited)[1]]}, Steps())
        assert answer["ids"] == ["h03"]
        assert widget.hypotheses["parents"].tolist()[-1] == f"h01, {label_1(audited)[1]}"

    @pytest.mark.parametrize(
        ("content", "said"),
        [
            ({"what": "merge", "slices": ["s01"]}, "^slices: expected two or more to merge, got 1"),
            ({"what": "merge", "slices": ["s01", "nobody"]}, "^slice_id: expected one of"),
            ({"what": "split", "slices": []}, "^slices: expected one slice to split, got 0"),
            ({"what": "split", "slices": ["s01"]}, "^selection: expected some of the members of the slice, not all"),
            ({"what": "delete"}, "^what: expected selection, merge or split, got 'delete'"),
            ({}, "^what: expected"),
        ],
    )
    def test_refused(self, widget, content, said):
        with pytest.raises(mma.InputError, match=said):
            ask(widget, content, Steps())

    def test_of_several_labels(self, widget, audited):
        one = label_1(audited)[0]
        other = audited.candidates.loc[audited.candidates["label"] != "1", "slice_id"].iloc[0]
        with pytest.raises(mma.InputError, match=r"^slices: expected slices of one label"):
            ask(widget, {"what": "merge", "slices": [one, other]}, Steps())


class TestHow:
    def test_progress_and_cancel(self, widget, cases):
        choose(widget, old(cases))
        steps = Steps()
        ask(widget, {"what": "selection"}, steps)
        assert steps.texts == ["reading the cases", "testing on held-out patients", "explaining", "describing", ""]
        choose(widget, ~old(cases))
        rows = list(widget._rows)
        with pytest.raises(Cancelled):
            ask(widget, {"what": "selection"}, Steps(cancel_at="explaining"))
        assert widget._rows == rows and len(widget.tested.made) == 1
        ask(widget, {"what": "selection"}, Steps())  # the lock was given back

    def test_one_at_a_time(self, widget, cases):
        choose(widget, old(cases))
        inside, go_on, said = threading.Event(), threading.Event(), []

        class Slow(Steps):
            def step(self, *given):
                inside.set()
                assert go_on.wait(10)

        first = threading.Thread(target=lambda: said.append(ask(widget, {"what": "selection"}, Slow())))
        first.start()
        assert inside.wait(10)
        with pytest.raises(mma.InputError, match=r"^test: expected one test at a time"):
            ask(widget, {"what": "selection"}, Steps())
        go_on.set()
        first.join(30)
        assert said[0][0]["ids"] == ["h01", "h02"]

    def test_an_audit_at_the_same_time_keeps_its_warnings(self, audited, cases):
        """Which warnings are shown is one setting of the whole process."""
        from mmaudit._audit import _Stages
        from mmaudit._meter import Meter

        inside, said = threading.Event(), []
        stages = _Stages(Meter(), None, None, True)
        with pytest.warns(mma.AuditWarning, match="of the cell"):
            with stages.settled():
                widget = mma.widgets.SliceExplorer(audited)
                choose(widget, old(cases))
                steps = Steps()
                steps.step = lambda *given: inside.set()
                other = threading.Thread(target=lambda: said.append(ask(widget, {"what": "selection"}, steps)))
                other.start()
                assert inside.wait(10)
                warnings.warn("of the cell", mma.AuditWarning, stacklevel=1)
                assert other.is_alive() and not said  # it waits
            assert stages.messages == ["of the cell"]
        other.join(60)
        assert said[0][0]["ids"] == ["h01", "h02"]

    def test_at_most_15(self, widget, cases):
        choose(widget, old(cases))
        ask(widget, {"what": "selection"}, Steps())
        widget.tested.made = widget.tested.made * 15
        with pytest.raises(mma.InputError, match=r"^test: expected at most 15 groups tested beside one audit, got 16"):
            ask(widget, {"what": "selection"}, Steps())

    def test_without_data(self, audited, tmp_path):
        loaded = mma.load_result(audited.save(tmp_path / "x.mmaudit.json"))
        widget = mma.widgets.SliceExplorer(loaded)
        with pytest.raises(mma.InputError, match=r"^data: expected an audit and its data.*Give data= too"):
            ask(widget, {"what": "selection"}, Steps())

    def test_loaded_with_data(self, audited, cases, tmp_path):
        loaded = mma.load_result(audited.save(tmp_path / "x.mmaudit.json"))
        turned = cases.subset(np.arange(cases.n_samples)[::-1])
        widget, plain = (
            mma.widgets.SliceExplorer(loaded, data=turned), mma.widgets.SliceExplorer(audited)
        )  # fmt: skip
        for one in (widget, plain):
            choose(one, old(cases))
            ask(one, {"what": "selection"}, Steps())
        assert widget.hypotheses["gap"].tolist() == plain.hypotheses["gap"].tolist()

    def test_an_audit_that_cannot_be_repeated(self, cases):
        result = mma.audit(cases, n_refits=0, n_permutations=99, random_state=None)
        widget = mma.widgets.SliceExplorer(result)
        choose(widget, old(cases))
        with pytest.raises(mma.InputError, match=r"^result: expected an audit with a number as random_state"):
            ask(widget, {"what": "selection"}, Steps())

    def test_images_are_not_read_again(self, audited, cases, monkeypatch):
        widget = mma.widgets.SliceExplorer(audited)
        choose(widget, old(cases))
        reads = []
        monkeypatch.setattr(type(cases.images), "read", lambda *given, **how: reads.append(given))
        ask(widget, {"what": "selection"}, Steps())
        assert reads == []

    def test_no_group_yet(self, widget):
        assert widget.hypotheses.empty
        assert {"slice_id", "name", "origin", "parents", "q_value"} <= set(widget.hypotheses)


class Scatter:
    """Stands for a jscatter.Scatter: its widget has a selection of positions."""

    def __init__(self):
        import traitlets

        class Widget(traitlets.HasTraits):
            selection = traitlets.Any(None, allow_none=True)

        self.widget = Widget()


class TestLink:
    def test_both_ways(self, widget):
        scatter = Scatter()
        end = widget.link(scatter)
        scatter.widget.selection = np.array([2, 0, 10**6], dtype=np.int64)
        assert widget.selected_ids == widget.cases.ids[[2, 0]].tolist()
        widget.selected_ids = widget.cases.ids[[5]].tolist()
        assert scatter.widget.selection.tolist() == [5]
        scatter.widget.selection = None
        assert widget.selected_ids == []
        end()
        scatter.widget.selection = np.array([1])
        assert widget.selected_ids == []

    def test_something_else(self, widget):
        with pytest.raises(TypeError, match=r"^scatter: expected a jscatter.Scatter, got str"):
            widget.link("scatter")
