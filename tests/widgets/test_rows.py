"""Rows and cards of the table, the order of its rows, and what a page may say of them."""

import json

import numpy as np
import pytest

import mmaudit as mma
from mmaudit.report import SliceCard
from mmaudit.widgets import ExplanationTable, _rows
from tests.widgets._slices import audit_of, explanation, term

HOSTILE = '<img src=x onerror=alert(1)> "quoted" \u202egnp\x00'


@pytest.fixture
def table():
    return ExplanationTable(audit_of(12))


class TestRows:
    def test_numbers_are_those_of_the_candidates(self, audited):
        rows = ExplanationTable(audited)._rows
        columns = {"n_samples": "n_samples", "gap": "gap", "ci_low": "ci_low", "q": "q_value", "p": "p_value"}
        for row, (_, candidate) in zip(rows, audited.candidates.iterrows(), strict=True):
            assert row["id"] == candidate["slice_id"]
            for name, column in columns.items():
                expected = None if np.isnan(candidate[column]) else candidate[column]
                assert row[name] == expected
            assert row["confirmed"] == candidate["confirmed"]
        assert [row["rank"] for row in rows] == list(range(len(rows)))
        assert {row["origin"] for row in rows} == {"discovery"}

    def test_a_number_that_is_not_there_is_none(self):
        result = audit_of(2, changes={1: {"gap": None, "ci_low": None, "ci_high": None, "q_value": None}})
        row = ExplanationTable(result)._rows[1]
        assert (row["gap"], row["ci_low"], row["q"]) == (None, None, None)
        assert row["words"]["gap"] == "not measured"
        json.dumps(ExplanationTable(result).get_state()["_rows"], allow_nan=False)

    def test_words(self):
        changes = {"gap": 0.476, "ci_low": -0.02, "ci_high": 0.63, "q_value": 0.0312, "stability": 0.2, "n_patients": 1}
        row = ExplanationTable(audit_of(1, changes={0: changes}))._rows[0]
        assert row["words"] == {
            "standing": "✓ confirmed",
            "origin": "",
            "kind": "missed",
            "gap": "+48 (−2 to +63)",
            "q": "0.031",
            "stability": "20 %, unstable",
            "said": "confirmed, missed, gap +48 (−2 to +63) points, 1 patient, q 0.031",
            "about": "",  # there is one label
        }

    def test_what_says_the_same_in_other_words(self):
        result = audit_of(2, changes={k: {"q_value": 0.01, "already_told": 0.9 * k} for k in range(2)})
        first, second = ExplanationTable(result)._rows
        assert (first["repeats"], second["repeats"], second["confirmed"]) == (False, True, True)
        assert second["words"]["standing"] == "≡ confirmed, in other words"

    def test_the_users_own(self):
        _, shown = _rows.shown_of(audit_of(1))
        row = _rows.row_of(shown[0], slice_id="h01", name="mine", rank=7, origin="merge", parents=["s1", "s2"])
        assert (row["id"], row["name"], row["rank"], row["parents"]) == ("h01", "mine", 7, ["s1", "s2"])
        assert row["words"]["origin"] == "merge of s1, s2, by hand"
        of_several = _rows.row_of(shown[0] | {"about": "effusion"})
        assert of_several["words"]["about"] == "effusion"
        own = _rows.row_of(shown[0], origin="hypothesis")
        assert "chosen by hand" in own["words"]["said"]

    def test_label_terms_are_left_out_and_chance_comes_later(self):
        told = explanation(
            term("may be chance", explains=False),
            term("chest tube"),
            term("effusion", category="label-term", label_term=True),
            term("fluid", category="finding", status="uncertain"),
            term("pneumothorax", category="finding", status="negated", explains=False),
        )
        row = ExplanationTable(audit_of(1, explanations={"s001": told}))._rows[0]
        assert [(one["text"], one["said"]) for one in row["terms"]] == [
            ("chest tube", "device"),
            ("fluid", "finding, said with doubt"),
            ("may be chance", "device"),
            ("pneumothorax", "finding, said to be absent"),
        ]

    def test_no_more_than_eight_terms(self):
        told = explanation(*(term(f"word {k}") for k in range(20)))
        assert len(ExplanationTable(audit_of(1, explanations={"s001": told}))._rows[0]["terms"]) == 8


class TestOverlap:
    def test_against_sets(self):
        result = audit_of(5, n_samples=200)
        rows = ExplanationTable(result)._rows
        members = {name: set(np.flatnonzero(result.membership[name] >= 0.5)) for name in result.membership}
        for row in rows:
            for other, here in members.items():
                mine = members[row["id"]]
                jaccard = len(mine & here) / len(mine | here)
                expected = jaccard if other != row["id"] and jaccard > 0.05 else 0
                assert row["overlap"].get(other, 0) == pytest.approx(expected, abs=6e-4)

    def test_by_hand(self):
        a, b, empty = (np.array(v, np.uint8) for v in ([255, 128, 0, 0], [0, 200, 127, 0], [0, 0, 0, 0]))
        assert _rows.overlaps({"a": a, "b": b, "c": empty}) == {"a": {"b": 0.5}, "b": {"a": 0.5}, "c": {}}
        assert _rows.overlaps({}) == {}


class TestCards:
    def test_it_says_what_the_text_says(self, audited):
        """Each text of the dict is in the card as plain text, which is made by another function."""
        cards = ExplanationTable(audited)._cards
        for slice_id, card in cards.items():
            text = " ".join(audited.card(slice_id).to_text().split())
            said = [card["sentence"], card["verdict"], card["what"]["sentence"], card["triage"], card["left_out"]]
            said += [one for fact in card["facts"] for one in fact] + card["traits"] + card["tested"] + card["limits"]
            said += [part[key] for part in card["what"]["parts"] for key in ("name", "text", "standing", "numbers")]
            said += [one["words"] for one in card["terms"] + card["absent"]]
            for one in said:
                assert one.replace("\u00a0", " ") in text, one
        assert list(cards) == audited.candidates["slice_id"].tolist()

    def test_what_did_not_hold(self):
        card = audit_of(1, explanations={"s001": explanation()}).card("s001").to_dict()
        assert [part["holds"] for part in card["what"]["parts"]] == [True, False]
        assert card["what"]["parts"][1]["standing"].startswith("did not hold on held-out patients: no more errors")

    def test_nothing_of_a_patient(self):
        result = audit_of(3, explanations={"s001": explanation()})
        widget = ExplanationTable(result)
        widget.verdicts = {"s001": {"verdict": "accept", "note": "seen by Dr. Example"}}
        kept = json.dumps({**widget.get_state(), "_esm": "", "_css": ""}, default=str)
        assert "patient-" not in kept
        assert "Example" not in kept
        assert "Example" not in json.dumps(ExplanationTable(result)._cards)

    def test_first_at_once_and_the_others_when_asked(self, wire):
        widget = ExplanationTable(audit_of(30))
        page = wire(widget)
        assert len(widget._cards) == 24
        widget._receive(widget, {"id": 1, "kind": "card", "slice_id": "s030"}, [])
        widget._receive(widget, {"id": 2, "kind": "card", "slice_id": "s001"}, [])
        widget._receive(widget, {"id": 3, "kind": "card", "slice_id": ["s99"]}, [])
        thirtieth, first, unknown = (content for content, _ in page.messages)
        assert thirtieth["card"]["sentence"] == "Where age > 29, more are missed."
        assert first["card"] == widget._cards["s001"]
        assert "slice_id: expected a slice of this audit" in unknown["error"]

    def test_control_characters_go_and_markup_stays_text(self):
        told = explanation(term(HOSTILE), sentence=HOSTILE)
        result = audit_of(1, changes={0: {"description": HOSTILE}}, explanations={"s001": told})
        widget = ExplanationTable(result)
        for text in (
            widget._rows[0]["name"],
            widget._rows[0]["terms"][0]["text"],
            widget._cards["s001"]["what"]["sentence"],
        ):
            assert text == '<img src=x onerror=alert(1)> "quoted" \ufffdgnp\ufffd'

    def test_of_a_row_is_the_same_card(self, audited):
        summary, shown = _rows.shown_of(audited)
        for row in shown:
            assert SliceCard.of_row(summary, row).to_text() == audited.card(row["slice_id"]).to_text()


class TestOrder:
    @pytest.mark.parametrize(
        ("sort", "column", "up"),
        [
            ("gap", "gap", False),
            ("size", "n_patients", False),
            ("q", "q_value", True),
            ("stability", "stability", False),
        ],
    )
    def test_as_pandas_sorts(self, sort, column, up):
        result = audit_of(40, changes={3: {column: None}} if column != "n_patients" else None)
        ids = result.candidates.sort_values(column, ascending=up, kind="stable", na_position="last")["slice_id"]
        assert ExplanationTable(result, sort=sort).frame()["slice_id"].tolist() == ids.tolist()
        other_way = result.candidates.sort_values(column, ascending=not up, kind="stable", na_position="last")
        assert ExplanationTable(result, sort=sort, ascending=not up).frame()["slice_id"].tolist() == (
            other_way["slice_id"].tolist()
        )

    def test_filters(self, table):
        result = table.result.candidates
        assert ExplanationTable(table.result, confirmed=True).frame()["slice_id"].tolist() == (
            table.result.findings["slice_id"].tolist()
        )
        kinds = ExplanationTable(table.result, kinds=["mixed", "label_noise"]).frame()
        assert kinds["slice_id"].tolist() == result.query("error_type in ['mixed', 'label_noise']")["slice_id"].tolist()
        words = ExplanationTable(table.result, text="AP  Age").frame()
        assert words["description"].str.contains("AP").all()
        assert len(words) == 6

    def test_names_and_what_is_hidden(self, table):
        table._edits = {"names": {"s002": "portable films"}, "hidden": ["s001"]}
        table.verdicts = {"s002": {"verdict": "reject", "note": "tubes"}}
        frame = table.frame()
        assert "s001" not in frame["slice_id"].tolist()
        second = frame.set_index("slice_id").loc["s002"]
        assert (second["name"], second["verdict"], second["note"]) == ("portable films", "reject", "tubes")
        assert second["description"] == table.result.candidates["description"][1]
        table._table = {**table._table, "hidden": True}
        assert table.frame()["hidden"].tolist() == [True] + [False] * 11
        table._table = {**table._table, "text": "PORTABLE"}
        assert table.frame()["slice_id"].tolist() == ["s002"]

    def test_of_no_slice(self):
        frame = ExplanationTable(audit_of(0)).frame()
        assert len(frame) == 0
        assert frame["gap"].dtype == float


class TestWhatThePageSays:
    def test_sorting(self, table):
        table._table = {"sort": "__proto__", "ascending": "yes", "text": 5, "kinds": ["mixed", "x", []], "more": 1}
        assert table._table == {
            "sort": "rank",
            "ascending": True,
            "text": "5",
            "kinds": ["mixed"],
            "confirmed": False,
            "hidden": False,
        }
        table._table = {"sort": ["gap"], "kinds": 3, "text": "x" * 10_000}
        assert (table._table["sort"], table._table["kinds"], len(table._table["text"])) == ("rank", [], 500)

    def test_names_and_hidden(self, table):
        names = {"s001": "a\nname\x07", "s002": "  ", "s003": 4, "s99": "x", "s004": "n" * 900}
        table._edits = {"names": names, "hidden": ["s005", "s99", "s005", 3]}
        assert table._edits["names"] == {"s001": "a name\ufffd", "s004": "n" * 200}
        assert table._edits["hidden"] == ["s005"]
        table._edits = {"names": [], "hidden": "s001"}
        assert table._edits == {"names": {}, "hidden": []}


class TestArguments:
    def test_each_is_checked(self):
        result = audit_of(4)
        with pytest.raises(mma.InputError, match=r"sort: expected one of rank, gap, size, .*, got 'gaps'.*Did"):
            ExplanationTable(result, sort="gaps")
        with pytest.raises(mma.InputError, match=r"kinds: expected some of false_negative, .* got 'false negative'"):
            ExplanationTable(result, kinds=["false negative"])
        with pytest.raises(TypeError, match=r"result: expected an AuditResult, got dict\. Give what"):
            ExplanationTable({})
        with pytest.raises(TypeError, match=r"sorts: expected one of the keywords .*Did you mean 'sort'"):
            ExplanationTable(result, sorts="gap")

    def test_one_kind_alone(self):
        assert ExplanationTable(audit_of(8), kinds="mixed").frame()["error_type"].unique().tolist() == ["mixed"]
