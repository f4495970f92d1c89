"""Mentions: terms with status and section; what must hold for any report."""

import random
import re
from collections import Counter

import numpy as np
import pytest

from mmaudit.datasets import load_phantom
from mmaudit.text import Mention, mentions, report_sections, report_terms
from mmaudit.text._context import CONTEXT, NEGEX, tag

REPORT = """FINAL REPORT
 CHEST RADIOGRAPH OF TODAY

 INDICATION: Cough, rule out pneumonia.

 COMPARISON: None.

 FINDINGS:  Small left effusion.  No pneumothorax.

 IMPRESSION: Possible pneumonia. Chest drain in place.
"""

FINDINGS = ("effusion", "pneumothorax", "consolidation", "edema", "nodule", "fracture", "atelectasis", "chest tube")
CONCEPTS = {"effusion": "pleural effusion"}


def pairs(text, **options):
    return [(m.term, m.status) for m in mentions(text, **options)]


def test_sections_are_named():
    where = {(m.term, m.section): m.status for m in mentions(REPORT, max_words=1)}
    assert where[("pneumonia", "INDICATION")] == "uncertain"
    assert where[("pneumonia", "IMPRESSION")] == "uncertain"
    assert where[("pleural effusion", "FINDINGS")] == "affirmed"
    assert where[("pneumothorax", "FINDINGS")] == "negated"
    assert where[("chest tube", "IMPRESSION")] == "affirmed"
    assert where[("radiograph", "")] == "affirmed"  # before the first header
    assert {m.section for m in mentions(REPORT)} - {""} <= set(report_sections(REPORT))


def test_headers_and_banners_are_no_mentions():
    assert [m for m in mentions(REPORT) if m.term in ("indication", "final report", "impression")] == []


def test_without_headers_the_section_is_empty():
    assert mentions("Chest tube.", max_words=1) == [Mention("chest tube", "affirmed", "")]


def test_synonyms_of_a_header_are_one_section():
    assert {m.section for m in mentions("HISTORY: Cough.\nREASON FOR EXAM: Fever.")} == {"INDICATION"}


def test_terms_of_up_to_three_words():
    terms = [term for term, _ in pairs("Large left lower lobe consolidation.")]
    assert terms == [
        *("large", "left lower lobe", "consolidation"),
        *("large left lower lobe", "left lower lobe consolidation"),
        "large left lower lobe consolidation",
    ]
    assert [t for t, _ in pairs("Large left lower lobe consolidation.", max_words=1)] == terms[:3]


def test_terms_do_not_reach_across_status_stop_words_or_marks():
    terms = {term for term, _ in pairs("Nodule, no effusion. Mass of the lung. Possible edema (left).")}
    assert "nodule pleural effusion" not in terms
    assert "mass lung" not in terms
    assert "edema left" not in terms
    assert "pleural effusion mass" not in terms


def test_a_concept_is_one_word_of_a_term():
    assert ("left chest tube", "affirmed") in pairs("Left-sided intercostal drains.", max_words=2)
    assert ("drain", "affirmed") not in pairs("Left-sided intercostal drains.")


def test_words_that_only_look_like_devices_are_none():
    assert "line" not in {t for t, _ in pairs("In line with earlier findings. The pleural line leads to the apex.")}
    assert "pleural line" in {t for t, _ in pairs("The pleural line is smooth.")}


@pytest.mark.parametrize("text", ["", " \n ", "...", "1.2 x 3", "XXXX XXXX", "___", "?", "No.", ":::", "IMPRESSION:"])
def test_texts_that_say_nothing(text):
    assert mentions(text) == []


def test_reports_that_differ_only_in_no_differ_only_in_status():
    for finding in FINDINGS:
        with_it, without = mentions(f"Small {finding}."), mentions(f"No small {finding}.")
        assert {m.status for m in with_it} == {"affirmed"}
        assert without == [m._replace(status="negated") for m in with_it]


def test_reports_that_differ_only_in_possible_differ_only_in_status():
    for finding in FINDINGS:
        doubted = mentions(f"Possible {finding}.")
        assert doubted == [m._replace(status="uncertain") for m in mentions(f"{finding.capitalize()}.")]


LISTS = ("No {}.", "There is no evidence of {}.", "Lungs are clear without {}.", "Negative for {}.", "No {} is seen.")


@pytest.mark.parametrize("frame", LISTS)
def test_no_term_of_a_denied_list_is_ever_affirmed(frame):
    rng = random.Random(0)
    for _ in range(200):
        chosen = rng.sample(FINDINGS, rng.randint(1, 5))
        sizes = [rng.choice(("", "large ", "focal ", "definite ", "acute displaced ")) for _ in chosen]
        items = [size + finding for size, finding in zip(sizes, chosen, strict=True)]
        last = rng.choice((" or ", ", or ", " and "))
        text = frame.format(last.join((", ".join(items[:-1]), items[-1])) if len(items) > 1 else items[0])
        status = dict(pairs(text, max_words=1))
        assert {status[CONCEPTS.get(finding, finding)] for finding in chosen} == {"negated"}, text


def sentence(rng):
    finding = rng.choice(FINDINGS)
    frame = rng.choice(("No {}.", "Large {}.", "Possible {}.", "{} has resolved.", "No {}, but stable heart.", "{}?"))
    text = frame.format(finding)
    return text[0].upper() + text[1:]


def test_two_reports_with_a_line_break_between_them_say_what_each_says():
    rng = random.Random(1)
    for _ in range(300):
        one, other = (" ".join(sentence(rng) for _ in range(rng.randint(1, 4))) for _ in range(2))
        assert mentions(f"{one}\n{other}") == mentions(one) + mentions(other)


def test_the_order_of_sentences_is_of_no_account():
    rng = random.Random(2)
    for _ in range(100):
        sentences = [sentence(rng) for _ in range(4)]
        assert Counter(mentions(" ".join(sentences))) == Counter(mentions(" ".join(sentences[::-1])))


def test_a_wrapped_line_goes_on():
    text = "The heart is normal in size. There is no evidence of\n pneumothorax. Chest tube in place."
    status = dict(pairs(text, max_words=1))
    assert (status["pneumothorax"], status["chest tube"]) == ("negated", "affirmed")
    assert dict(pairs(text.replace(" of\n pneumothorax", " of effusion\n Pneumothorax"), max_words=1)) == {
        **status,
        "pleural effusion": "negated",
        "pneumothorax": "affirmed",
    }


def test_lines_of_a_form_are_clauses_of_their_own():
    status = dict(pairs("Pleura: No effusion\nLungs: Nodule\nHeart: Cardiomegaly", max_words=1))
    assert status["pleural effusion"] == "negated"
    assert status["nodule"] == status["cardiomegaly"] == "affirmed"


def test_full_stops_without_a_blank_end_a_clause():
    assert dict(pairs("No effusion.The nodule is stable.", max_words=1))["nodule"] == "affirmed"


def test_decimal_points_end_nothing():
    assert dict(pairs("No 1.5 cm nodule.", max_words=1))["nodule"] == "negated"


def test_rule_terms_know_no_doubt():
    assert report_terms("Possible pneumonia.") == ["possible", "pneumonia", "possible pneumonia"]
    assert report_terms("Rule out pneumonia.") == ["no pneumonia"]


@pytest.mark.parametrize(
    "text", ["." * 200_000, "a, " * 50_000, "?" * 100_000, "possible " * 30_000, "no " * 50_000, "no" + " " * 100_000]
)
def test_long_texts_of_one_mark_are_read_to_their_end(text):
    assert len(mentions(f"Chest tube.\n{text}\nPacemaker.", max_words=1)) >= 2


def test_a_list_of_doubts_needs_its_or():
    assert dict(pairs("Possible edema, atelectasis.", max_words=1))["atelectasis"] == "affirmed"
    assert dict(pairs("Possible edema, atelectasis, or nodule.", max_words=1))["atelectasis"] == "uncertain"


def test_both_tables_give_each_word_one_status():
    clause = "possible edema, no effusion or nodule, tube has been removed"
    for table in (CONTEXT, NEGEX):
        words = tag(clause, table, lambda word: word)
        assert [w for w, _, _ in words if w in ("edema", "effusion", "nodule", "tube")] == [
            "edema",
            "effusion",
            "nodule",
            "tube",
        ]
    assert {status for _, status, _ in tag(clause, NEGEX, str)} == {"affirmed", "negated"}


@pytest.fixture(scope="module")
def phantom():
    data = load_phantom(n_patients=150, random_state=7)
    return data.attributes.assign(report=np.asarray(data.reports)).drop_duplicates("study_id")


@pytest.mark.parametrize(
    ("kind", "terms"),
    [
        ("pleural effusion", {"pleural effusion"}),
        ("pneumothorax", {"pneumothorax"}),
        ("edema", {"edema"}),
        ("nodule", {"nodule"}),
        ("fracture", {"fracture", "rib fracture"}),
        ("atelectasis", {"atelectasis", "plate-like atelectasis"}),
    ],
)
def test_reports_of_the_phantom_are_read_as_they_were_meant(phantom, kind, terms):
    # What is left are typing errors and films that "limit the evaluation for" what is denied in the next sentence.
    agree = []
    for report, meant in zip(phantom["report"], phantom[f"reported {kind}"], strict=True):
        found = {m.status for m in mentions(report, max_words=1) if m.section == "FINDINGS" and m.term in terms}
        surest = next((s for s in ("affirmed", "uncertain", "negated") if s in found), None)
        if surest:
            agree.append({"affirmed": "present", "uncertain": "uncertain", "negated": "absent"}[surest] == meant)
    assert len(agree) >= 30
    assert np.mean(agree) >= 0.95


def test_case_and_spacing_do_not_matter():
    text = "Small left pleural effusion. No pneumothorax."
    assert mentions(text.upper().replace(". ", ".  ")) == mentions(text)
    assert mentions(re.sub(" ", "  ", text)) == mentions(text)
