"""What a case says in words: its report with the terms of a slice marked, its metadata, and the search in reports."""

import json
import zlib

import numpy as np
import pandas as pd
import pytest

import mmaudit as mma
from mmaudit._errors import InputError
from mmaudit.widgets._reports import MOST_CHARACTERS, case, holds, in_utf16, marked, search, shown, slice_terms, sought


class FakeJob:
    """Notes what is told of its progress."""

    def __init__(self):
        self.steps = []

    def step(self, done, total, text=""):
        self.steps.append((done, total, text))


def widget_of(reports, **columns):
    n = len(reports)
    frame = pd.DataFrame({"y": [k % 2 for k in range(n)], "who": range(n), "report": reports, **columns})
    data = mma.AuditData.from_frame(
        frame, label="y", patient_id="who", report="report", metadata=list(columns)
    )  # fmt: skip
    return mma.widgets.SliceGrid(data)


def found_in(report, terms):
    return [(report[start:end], status, term) for start, end, status, term in marked(report, terms)]


def searched(widget, text, **how):
    answer, (block,) = search(widget, {"text": text, **how}, FakeJob())
    (section,) = answer["sections"]
    assert section["name"] == "found"
    return np.frombuffer(zlib.decompress(block), np.uint8).tolist()


# Marks


def test_variants_of_a_term_are_marked_with_their_status():
    report = "FINDINGS: Left chest drains. No pneumothoraces. Possible pneumonia."
    assert found_in(report, ["chest tube", "pneumothorax", "pneumonia"]) == [
        ("FINDINGS:", "header", ""),
        ("chest drains", "affirmed", "chest tube"),
        ("pneumothoraces", "negated", "pneumothorax"),
        ("pneumonia", "uncertain", "pneumonia"),
    ]


def test_the_longer_of_two_terms_is_marked():
    report = "Left chest tube. Chest tube."
    assert [mark[0] for mark in found_in(report, ["chest tube", "left chest tube"])] == [
        "Left chest tube",
        "Chest tube",
    ]


def test_a_kind_of_things_is_marked_by_each_of_them():
    found = found_in("Pacemaker. No chest tube. Rib fracture. Cough.", ["support device", "fracture"])
    assert found == [
        ("Pacemaker", "affirmed", "support device"),
        ("chest tube", "negated", "support device"),
        ("Rib fracture", "affirmed", "fracture"),
    ]


def test_the_reason_for_the_examination_counts_apart_and_earlier_films_not_at_all():
    report = "INDICATION: Cough, chest tube.\nCOMPARISON: Chest tube film.\nFINDINGS: Cough."
    assert [m[0] for m in found_in(report, ["indication: cough"]) if m[1] != "header"] == ["Cough"]
    assert marked(report, ["indication: cough"])[1][0] < report.index("COMPARISON")
    assert [m for m in found_in(report, ["chest tube"]) if m[1] != "header"] == []


def test_words_of_a_rule_are_found_as_written():
    report = "Layering pleural effusions. No layering  pleural fluid. Layered, pleural."
    assert found_in(report, ['"layering pleural"']) == [
        ("Layering pleural", "affirmed", "layering pleural"),
        ("layering  pleural", "negated", "layering pleural"),
    ]
    assert [m[0] for m in found_in("ETT and PICC lines.", ['"tube or line"'])] == ["ETT", "PICC", "lines"]


def test_spans_are_counted_as_javascript_counts():
    text = "😀 chest tube 𝒳🫁 tube"
    spans = in_utf16(text, marked(text, ["chest tube", "tube"]))
    coded = text.encode("utf-16-le")
    assert [coded[2 * a : 2 * b].decode("utf-16-le") for a, b, *_ in spans] == ["chest tube", "tube"]


def test_nothing_is_marked_without_terms():
    assert marked("Chest tube.", []) == []


# Terms of a slice


def test_terms_are_those_of_the_rule_and_of_the_card(plain_audit):
    widget = mma.widgets.SliceGrid(plain_audit)
    for slice_id in plain_audit.candidates["slice_id"]:
        terms = slice_terms(widget, slice_id)
        told = plain_audit.explanations[slice_id]["terms"]
        assert not {t["term"] for t in told if t["label_term"]} & set(terms)
        for part in plain_audit.rules.get(slice_id) or ():
            assert part["operator"] not in ("mentions", "lacks") or part["column"].strip("[]") in terms
    assert any(slice_terms(widget, s) for s in plain_audit.candidates["slice_id"])
    assert slice_terms(widget, "no such slice") == []


def test_a_slice_of_the_user_has_the_terms_of_its_row(plain_audit):
    widget = mma.widgets.SliceGrid(plain_audit)
    row = {"id": "h01", "origin": "merge", "terms": [{"text": 'report mentions "ap"'}, {"text": "chest tube"}]}
    widget._rows = [*widget._rows, row]
    assert slice_terms(widget, "h01") == ['"ap"', "chest tube"]


# A case


def test_a_case_of_an_audit(plain_audit):
    widget = mma.widgets.SliceGrid(plain_audit)
    answer, buffers = case(widget, {"position": 3, "slice_id": ""}, FakeJob())
    assert buffers == []
    sample = plain_audit.samples.index[3]
    assert answer["sample"] == str(sample)
    assert answer["part"] == plain_audit.samples["part"].iloc[3]
    data = widget.data
    assert answer["report"] == data.reports[list(data.sample_id).index(sample)]
    assert dict(answer["metadata"]) == {c: str(data.metadata.loc[sample, c]) for c in data.metadata}
    assert not {"id", "kind", "error", "progress", "pushed"} & set(answer)  # words of the messages themselves
    json.dumps(answer)


def test_a_case_without_its_data_has_no_report(plain_audit, tmp_path):
    loaded = mma.load_result(plain_audit.save(tmp_path / "x.mmaudit.json"))
    answer, _ = case(mma.widgets.SliceGrid(loaded), {"position": 0}, FakeJob())
    assert answer["report"] is None
    assert answer["part"] in ("discovery", "confirmation")
    assert answer["metadata"] == []


def test_long_reports_and_values_are_cut():
    report = "No chest tube. " * 10_000
    answer, _ = case(widget_of([report, "b."], word=["x" * 5000, "y"]), {"position": 0}, FakeJob())
    assert len(answer["report"]) == MOST_CHARACTERS
    assert answer["cut"]
    assert answer["n_chars"] == len(report)
    assert len(answer["metadata"][0][1]) < 2010


def test_values_are_texts():
    widget = widget_of(["a.", "b."], age=[71.0, None], view=[None, "AP\x00"])
    told = [dict(case(widget, {"position": k}, FakeJob())[0]["metadata"]) for k in range(2)]
    assert told == [{"age": "71", "view": "missing"}, {"age": "missing", "view": "AP␀"}]


def test_controls_become_their_pictures_and_lengths_stay():
    assert shown("a\x00b\x1b\x7f\t\n") == "a␀b␛␡\t\n"
    assert shown("a\r\nb\rc") == "a\nb\nc"
    assert shown("\ud800x\x85") == "\ufffdx\ufffd"
    json.dumps(shown("\udfff")).encode()


@pytest.mark.parametrize("position", [-1, 2, None, "1", 1.5, True])
def test_a_position_that_is_none(position):
    with pytest.raises(InputError, match="position: expected a case, 0 to 1, got another value"):
        case(widget_of(["a.", "b."]), {"position": position}, FakeJob())


# Search

REPORTS = [
    "Chest tube in place.",
    "No CHEST tube. Piano.",
    "Tubes\nand lines; the chest.",
    "تم وضع أنبوب الصدر",
    "No line.",
]


def test_all_words_must_occur_at_the_beginning_of_words():
    widget = widget_of(REPORTS)
    assert searched(widget, "tube chest") == [1, 1, 1, 0, 0]
    assert searched(widget, "no") == [0, 1, 0, 0, 1]
    assert searched(widget, '"chest tube"') == [1, 1, 0, 0, 0]
    assert searched(widget, '"tubes and"') == [0, 0, 1, 0, 0]
    assert searched(widget, "أنبوب") == [0, 0, 0, 1, 0]
    assert searched(widget, "ube") == [0, 0, 0, 0, 0]
    assert searched(widget, ".*") == [0, 0, 0, 0, 0]  # no regular expression


def test_denied_mentions_can_be_left_out():
    widget = widget_of([*REPORTS, "No tube on the left. Tube on the right."])
    assert searched(widget, "tube", affirmed_only=True) == [1, 0, 1, 0, 0, 1]
    assert searched(widget, '"chest tube"', affirmed_only=True) == [1, 0, 0, 0, 0, 0]
    assert searched(widget, "line", affirmed_only=True) == [0, 0, 1, 0, 0, 0]


def test_search_tells_its_progress_and_can_be_stopped():
    class StoppedError(Exception):
        pass

    class Stopping:
        def step(self, done, total, text=""):
            if done:
                raise StoppedError

    widget = widget_of(["a."] * 1200)
    job = FakeJob()
    search(widget, {"text": "a"}, job)
    assert job.steps == [(0, 1200, "reading reports"), (500, 1200, "reading reports"), (1000, 1200, "reading reports")]
    with pytest.raises(StoppedError):
        search(widget, {"text": "a"}, Stopping())


@pytest.mark.parametrize("text", ["", '  "" ', "a " * 13, "x" * 401])
def test_a_search_without_words_or_with_too_many(text):
    with pytest.raises(InputError, match="text: expected 1 to 12 words of at most 400 characters, got"):
        sought(text)


def test_a_search_needs_reports():
    data = mma.AuditData.from_frame(pd.DataFrame({"y": [0, 1], "who": [1, 2]}), label="y", patient_id="who")
    with pytest.raises(InputError, match="text: expected data with reports, got data without"):
        search(mma.widgets.SliceGrid(data), {"text": "a"}, FakeJob())


def test_a_word_is_found_where_the_report_ends():
    assert holds("chest", ["chest"])
    assert not holds("", ["chest"])
    assert holds("a chest", ["chest"], affirmed_only=True)
