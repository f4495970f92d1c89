"""Verdicts of the user: from the widget into the result, the file, the folder, the report, and back."""

import json

import numpy as np
import pandas as pd
import pytest

import mmaudit as mma
from mmaudit import load_result
from mmaudit._errors import InputError
from mmaudit.result import MOST_OF_A_NOTE
from mmaudit.widgets import ExplanationTable, SliceExplorer

HOSTILE = '=HYPERLINK("x") <b>&</b> | *star*'


@pytest.fixture
def result(plain_audit):
    """The audit without verdicts; it is shared by all tests."""
    plain_audit.user_verdicts = {"slices": {}, "samples": {}}
    yield plain_audit
    plain_audit.user_verdicts = {"slices": {}, "samples": {}}


@pytest.fixture
def first(result):
    return result.candidates["slice_id"][0]


def said(verdict, note=""):
    return {"verdict": verdict, "note": note}


# The widget and the result


def test_no_verdicts_are_an_empty_frame(result):
    assert result.verdicts.columns.tolist() == ["of", "id", "verdict", "note"]
    assert len(result.verdicts) == 0


def test_a_verdict_given_from_python_is_in_the_result(result, first):
    widget, sample = ExplanationTable(result), result.samples.index[4]
    widget.verdicts = {first: "accept"}
    widget.image_verdicts = {sample: said("radiologist", "blurred")}
    assert result.verdicts.to_dict("records") == [
        {"of": "slice", "id": first, "verdict": "accept", "note": ""},
        {"of": "sample", "id": sample, "verdict": "radiologist", "note": "blurred"},
    ]
    assert widget._verdicts == {"slices": {first: "accept"}, "samples": {"4": "radiologist"}}


def test_a_verdict_given_in_the_page_is_in_the_result(result, first):
    widget = ExplanationTable(result)
    widget.set_state({"_verdicts": {"slices": {first: "reject"}, "samples": {"2": "accept"}}})
    widget._receive(widget, {"id": 1, "kind": "note", "of": "sample:2", "text": "a tube"}, [])
    assert result.verdicts["id"].tolist() == [first, result.samples.index[2]]
    assert result.verdicts["note"].tolist() == ["", "a tube"]
    assert "a tube" not in json.dumps(widget.get_state(drop_defaults=False), default=str)


def test_widgets_of_one_result_show_the_same_verdicts(result, first):
    one, two = ExplanationTable(result), SliceExplorer(result)
    one.verdicts = {first: "accept"}
    assert two.verdicts == {first: said("accept")}
    two.image_verdicts = {result.samples.index[0]: "reject"}
    assert one._verdicts == {"slices": {first: "accept"}, "samples": {"0": "reject"}}
    assert SliceExplorer(result).verdicts == {first: said("accept")}
    two.set_state({"_verdicts": {"slices": {}, "samples": {}}})
    assert one.verdicts == one.image_verdicts == {}
    assert result.verdicts.empty


def test_a_verdict_on_a_slice_that_only_a_widget_has_stays_with_it(result, first):
    one, two = SliceExplorer(result), SliceExplorer(result)
    one.cases.own["h01"] = np.zeros(one.cases.n, np.uint8)
    one.verdicts = {first: "accept", "h01": "reject"}
    two.verdicts = {first: "reject"}
    assert one.verdicts == {first: said("reject"), "h01": said("reject")}
    assert result.verdicts["id"].tolist() == [first]


def test_what_the_page_cannot_mean_is_dropped(result, first):
    widget = ExplanationTable(result)
    hostile = {"samples": {"1": "accept", "99999": "accept", "-1": "accept", "x": "reject", "3": "<b>"}}
    widget.set_state({"_verdicts": {"slices": {first: "burn"}, **hostile, "more": 1}})
    assert widget._verdicts == {"slices": {}, "samples": {"1": "accept"}}
    assert result.verdicts["id"].tolist() == [result.samples.index[1]]


def test_an_unknown_verdict_is_refused(result, first):
    with pytest.raises(InputError, match=r"verdicts: expected verdicts of accept, reject, radiologist, got 'maybe'"):
        ExplanationTable(result).verdicts = {first: "maybe"}


def test_a_note_is_text_that_can_be_saved(result, first, tmp_path):
    ExplanationTable(result).verdicts = {first: said("accept", "\ud800" + "x" * 2 * MOST_OF_A_NOTE)}
    loaded = load_result(result.save(tmp_path / "a.json"))
    assert loaded.verdicts["note"][0] == "?" + "x" * (MOST_OF_A_NOTE - 1)


# The file


@pytest.fixture
def judged(result, first):
    widget = ExplanationTable(result)
    widget.verdicts = {first: said("radiologist", HOSTILE)}
    widget.image_verdicts = {
        result.samples.index[3]: said("reject", "+1"),
        result.samples.index[5]: said("", "lungfish"),
    }
    return result


def test_verdicts_come_back_from_a_file_and_go_into_the_next(judged, first, tmp_path):
    loaded = load_result(judged.save(tmp_path / "a.json"))
    pd.testing.assert_frame_equal(loaded.verdicts, judged.verdicts)
    widget = mma.widgets.ExplanationTable(loaded)
    assert widget.verdicts == {first: said("radiologist", HOSTILE)}
    assert widget._verdicts["samples"] == {"3": "reject"}
    assert widget._notes == {f"slice:{first}": HOSTILE, "sample:3": "+1", "sample:5": "lungfish"}
    widget.verdicts = {first: "accept"}
    again = load_result(loaded.save(tmp_path / "b.json"))
    assert again.verdicts["verdict"].tolist() == ["accept", "reject", ""]


def test_a_file_of_before_has_no_verdicts(result, tmp_path):
    path = result.save(tmp_path / "a.json")
    document = json.loads(path.read_text())
    del document["user_verdicts"]
    path.write_text(json.dumps(document))
    assert load_result(path).verdicts.empty


@pytest.mark.parametrize(
    "hostile",
    [
        5,
        [],
        {"slices": 3},
        {"patients": {}},
        {"slices": {"s99": said("accept")}},
        {"slices": {"FIRST": said("<script>")}},
        {"slices": {"FIRST": {"verdict": "accept"}}},
        {"slices": {"FIRST": said("accept", 7)}},
        {"slices": {"FIRST": said("accept", "x" * (MOST_OF_A_NOTE + 1))}},
        {"samples": {"nobody": said("accept")}},
        {"samples": {"SAMPLE": "accept"}},
    ],
)
def test_verdicts_that_no_widget_can_have_written_are_a_damaged_file(result, first, tmp_path, hostile):
    path = result.save(tmp_path / "a.json")
    document = json.loads(path.read_text())
    names = {"FIRST": first, "SAMPLE": str(result.samples.index[0])}
    if isinstance(hostile, dict):
        hostile = {
            part: {names.get(key, key): value for key, value in of.items()} if isinstance(of, dict) else of
            for part, of in hostile.items()
        }
    document["user_verdicts"] = hostile
    path.write_text(json.dumps(document))
    with pytest.raises(InputError, match="path: expected a whole saved audit, got a damaged file"):
        load_result(path)


# The folder and the report


def test_the_folder_holds_a_table_of_verdicts_without_formulas(judged, result, first, tmp_path):
    judged.to_folder(tmp_path / "a")
    table = pd.read_csv(tmp_path / "a" / "verdicts.csv", keep_default_na=False)
    assert table.columns.tolist() == ["of", "id", "verdict", "note"]
    assert table["note"].tolist() == [f"'{HOSTILE}", "'+1", "lungfish"]
    assert table["verdict"].tolist() == ["radiologist", "reject", ""]
    judged.user_verdicts = {"slices": {}, "samples": {}}
    judged.to_folder(tmp_path / "a", overwrite=True)
    assert not (tmp_path / "a" / "verdicts.csv").exists()


def test_page_card_and_markdown_show_the_verdict_on_a_slice(judged, first):
    escaped = "=HYPERLINK(&#34;x&#34;) &lt;b&gt;&amp;&lt;/b&gt; | *star*"
    for page in (judged.to_html(), judged.card(first).to_html(), judged.card(first)._repr_html_()):
        assert page.count("<strong>needs a radiologist</strong>") == 1
        assert escaped in page
        assert HOSTILE not in page
    assert "Reader's verdict: needs a radiologist: =HYPERLINK" in judged.card(first).to_text()
    written = 'Reader\'s verdict: needs a radiologist: =HYPERLINK("x") &lt;b&gt;&amp;&lt;/b&gt; \\| \\*star\\*'
    assert written in judged.card(first).to_markdown()
    assert written in judged.model_card()


def test_markdown_says_nothing_of_verdicts_on_samples(judged):
    assert str(judged.samples.index[3]) not in judged.model_card()
    assert "lungfish" not in judged.model_card()


def test_without_verdicts_nothing_is_said_of_them(result, first):
    assert "Reader's verdict" not in result.card(first).to_text() + result.model_card()
    assert 'mma-by-reader"' not in result.to_html()


# explore()


def test_explore_gives_the_linked_widget_of_this_result(result):
    explorer = result.explore(data=result._data)
    assert isinstance(explorer, SliceExplorer)
    assert explorer.result is result
