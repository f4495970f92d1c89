"""Names that the user gave to slices, and those hidden: from the widget into the result, the file, and back."""

import json

import pytest

from mmaudit import load_result
from mmaudit._errors import InputError
from mmaudit.result import MOST_OF_A_NAME
from mmaudit.widgets import ExplanationTable, SliceExplorer
from mmaudit.widgets._base import Job
from tests.widgets._slices import audit_of

NONE = {"names": {}, "hidden": []}


@pytest.fixture
def result():
    return audit_of(5)


def edited(**changes):
    return {**NONE, **changes}


def test_at_first_there_are_none(result):
    assert result.user_edits == NONE
    assert ExplanationTable(result)._edits == NONE


def test_a_name_given_in_the_page_is_in_the_result_and_in_its_other_widgets(result):
    one, two = ExplanationTable(result), SliceExplorer(result)
    one.set_state({"_edits": {"names": {"s002": "portable"}, "hidden": ["s003"]}})
    assert result.user_edits == two._edits == {"names": {"s002": "portable"}, "hidden": ["s003"]}
    assert ExplanationTable(result)._edits == result.user_edits
    two._edits = edited(hidden=["s001"])
    assert one._edits == result.user_edits == edited(hidden=["s001"])
    one._edits = NONE
    assert two._edits == result.user_edits == NONE


def test_each_result_has_its_own(result):
    other = audit_of(5)
    ExplanationTable(result)._edits = edited(names={"s001": "mine"})
    assert other.user_edits == ExplanationTable(other)._edits == NONE
    assert audit_of(1).user_edits == NONE


def test_what_the_page_cannot_mean_is_not_kept(result):
    ExplanationTable(result)._edits = {"names": {"s001": "x" * 900, "s99": "y", "s002": 3}, "hidden": ["s99", 4]}
    assert result.user_edits == edited(names={"s001": "x" * MOST_OF_A_NAME})


def test_they_come_back_from_a_file(result, tmp_path):
    ExplanationTable(result)._edits = {"names": {"s002": "x" * MOST_OF_A_NAME, "s001": "<b> ü"}, "hidden": ["s003"]}
    loaded = load_result(result.save(tmp_path / "a.json"))
    assert loaded.user_edits == result.user_edits
    table = ExplanationTable(loaded)
    assert table.frame()["name"].tolist()[0] == "<b> ü"
    assert table.frame()["slice_id"].tolist() == ["s001", "s002", "s004", "s005"]
    table._edits = NONE
    assert load_result(loaded.save(tmp_path / "b.json")).user_edits == NONE


def test_a_file_of_before_has_none(result, tmp_path):
    path = result.save(tmp_path / "a.json")
    document = json.loads(path.read_text())
    del document["user_edits"], document["page"]
    path.write_text(json.dumps(document))
    assert load_result(path).user_edits == NONE


@pytest.mark.parametrize(
    "hostile",
    [
        5,
        [1],
        {"names": 3},
        {"shown": []},
        {"names": {"s99": "x"}},
        {"names": {"s001": ""}},
        {"names": {"s001": 7}},
        {"names": {"s001": ["x"]}},
        {"names": {"s001": "x" * (MOST_OF_A_NAME + 1)}},
        {"hidden": "s001"},
        {"hidden": {"s001": True}},
        {"hidden": ["s99"]},
        {"hidden": ["s001", "s001"]},
        {"hidden": [["s001"]]},
    ],
)
def test_edits_that_no_widget_can_have_written_are_a_damaged_file(result, tmp_path, hostile):
    path = result.save(tmp_path / "a.json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"user_edits": hostile}))
    with pytest.raises(InputError, match="path: expected a whole saved audit, got a damaged file"):
        load_result(path)


class TestGroupsMadeByHand:
    """They live as long as the result, and are not saved with it."""

    @pytest.fixture
    def widgets(self, audited):
        explorer, table = SliceExplorer(audited), ExplanationTable(audited)
        parent = audited.findings["slice_id"].iloc[0]
        members = audited.membership.index[audited.membership[parent] >= 0.5]
        half = audited._data.patient_id[audited.samples.index.get_indexer(members)]
        explorer.selected_ids = members[[int(who[1:]) % 2 == 0 for who in half]].tolist()
        explorer._answer(1, "test", {"what": "split", "slices": [parent]}, Job(explorer, 1))
        assert parent in explorer._edits["hidden"]
        return explorer, table, parent

    def test_a_slice_behind_a_group_is_hidden_in_the_widget_alone(self, widgets, audited, tmp_path):
        explorer, table, parent = widgets
        assert audited.user_edits == table._edits == NONE
        assert load_result(audited.save(tmp_path / "a.json")).user_edits == NONE
        explorer._edits = {"names": {"h01": "mine", parent: "ours"}, "hidden": explorer._edits["hidden"]}
        assert audited.user_edits == table._edits == edited(names={parent: "ours"})
        table._edits = edited(names={parent: "theirs"})
        assert explorer._edits == {"names": {"h01": "mine", parent: "theirs"}, "hidden": [parent]}

    def test_one_that_was_hidden_before_stays_hidden(self, audited):
        parent = audited.findings["slice_id"].iloc[0]
        ExplanationTable(audited)._edits = edited(hidden=[parent])
        widget = ExplanationTable(audited)
        widget._behind_groups = lambda: {parent}
        widget._edits = edited(names={parent: "a name"}, hidden=[parent])
        assert audited.user_edits == {"names": {parent: "a name"}, "hidden": [parent]}
