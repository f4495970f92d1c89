"""Report terms that set a slice apart: counted by patient, within label and outcome, negation kept apart."""

from collections import Counter

import joblib
import numpy as np
import pandas as pd
import pytest

from mmaudit.explain._tokens import TERM_COLUMNS, contrast_terms, index_terms
from mmaudit.text import mentions
from tests.unit._unread import Unread

RNG = np.random.default_rng(0)
FILLER = ("Heart size is normal.", "Lungs are clear.", "No pleural effusion.", "Degenerative change of the spine.")


def reports_with(share_inside, share_outside, sentence, other="", *, n=400, seed=0):
    """Return (reports, inside): `sentence` is in these shares of the reports, `other` in the rest."""
    rng = np.random.default_rng(seed)
    inside = np.arange(n) % 4 == 0
    has = rng.random(n) < np.where(inside, share_inside, share_outside)
    fill = [" ".join(rng.permutation(FILLER)[:2]) for _ in range(n)]
    return [f"FINDINGS: {f} {sentence if h else other}" for f, h in zip(fill, has, strict=True)], inside


def contrast(reports, inside, *, strata=None, patient=None, **options):
    n = len(reports)
    everyone = np.ones(n, dtype=bool)
    index = index_terms(reports, fit_on=everyone, **options)
    strata = np.zeros(n, dtype=int) if strata is None else strata
    patient = np.arange(n) if patient is None else patient
    return contrast_terms(index, inside, strata, patient)


def explaining(frame):
    return frame[frame["explains"]]


def test_the_term_of_the_members_comes_first():
    reports, inside = reports_with(0.9, 0.1, "A left chest tube is in place.")
    found = contrast(reports, inside)
    assert list(found.columns) == list(TERM_COLUMNS)
    first = found.iloc[0]
    assert (first["term"], first["status"], first["category"]) == ("chest tube", "affirmed", "device")
    assert first["explains"]
    assert first["share_inside"] == pytest.approx(0.9, abs=0.07)
    assert first["share_outside"] == pytest.approx(0.1, abs=0.06)
    assert first["tfidf"] > 0
    assert first["sections"] == ["FINDINGS"]


def test_synonyms_are_one_term():
    rng = np.random.default_rng(1)
    said = rng.choice(["Chest tube in place.", "Left chest drain.", "Thoracostomy tube present."], 400)
    reports, inside = reports_with(0.9, 0.1, "@")
    reports = [r.replace("@", str(s)) for r, s in zip(reports, said, strict=True)]
    found = contrast(reports, inside)
    assert found.iloc[0]["term"] == "chest tube"
    assert found.iloc[0]["share_inside"] > 0.8


@pytest.mark.parametrize("denied_inside", [False, True])
def test_reports_that_differ_only_in_no(denied_inside):
    """ "No chest tube" is another token than "chest tube", and explains nothing."""
    yes, no = "There is a chest tube.", "There is no chest tube."
    sentence, other = (no, yes) if denied_inside else (yes, no)
    reports, inside = reports_with(0.95, 0.05, sentence, other)
    found = contrast(reports, inside)
    assert (explaining(found)["status"] != "negated").all()
    assert ("chest tube" in set(explaining(found)["term"])) == (not denied_inside)
    negated = found[found["status"] == "negated"]
    assert ("chest tube" in set(negated["term"])) == denied_inside


def test_uncertain_mentions_are_terms_of_their_own():
    reports, inside = reports_with(0.9, 0.05, "Possible pneumonia.", "Pneumonia.")
    found = explaining(contrast(reports, inside))
    assert ("pneumonia", "uncertain") in set(zip(found["term"], found["status"], strict=True))
    assert ("pneumonia", "affirmed") not in set(zip(found["term"], found["status"], strict=True))


def test_label_terms_are_marked_and_never_explain():
    reports, inside = reports_with(0.95, 0.05, "Large pneumothorax with a chest tube.")
    found = contrast(reports, inside, label_words=("pneumothorax",))
    own = found[found["term"].str.contains("pneumothorax")]
    assert len(own)
    assert own["label_term"].all()
    assert not own["explains"].any()
    assert (own["category"] == "label-term").all()
    assert explaining(found).iloc[0]["term"] == "chest tube"


def test_a_patient_counts_once():
    """One patient with a hundred reports is one patient."""
    reports, inside = reports_with(0.0, 0.0, "")
    reports = [*reports, *["FINDINGS: Sternal wires."] * 100]  # the lexicon's concept is "sternotomy"
    inside = np.r_[inside, np.ones(100, dtype=bool)]
    patient = np.r_[np.arange(400), np.full(100, 400)]
    assert "sternotomy" not in set(explaining(contrast(reports, inside, patient=patient))["term"])
    # The same reports of a hundred patients are a contrast.
    assert "sternotomy" in set(explaining(contrast(reports, inside))["term"])


def test_within_label_and_outcome():
    """A term that goes with the label, or with the error, and not with the slice, explains nothing."""
    rng = np.random.default_rng(2)
    n = 2000
    stratum = rng.integers(0, 4, n)
    inside = rng.random(n) < np.array([0.1, 0.2, 0.3, 0.9])[stratum]
    has = rng.random(n) < np.array([0.05, 0.1, 0.1, 0.9])[stratum]
    reports = [f"FINDINGS: {FILLER[k % 4]} {'Rib fracture.' if h else ''}" for k, h in enumerate(has)]
    assert "rib fracture" in set(explaining(contrast(reports, inside))["term"])
    assert "rib fracture" not in set(explaining(contrast(reports, inside, strata=stratum))["term"])


def test_log_odds_by_hand():
    """Two strata, one term: Monroe's prior, joined by the inverse of the variance, from the definition."""
    inside = np.array([1, 1, 1, 0, 0, 0, 0, 1, 1, 0, 0, 0], dtype=bool)
    strata = np.array([0] * 7 + [1] * 5)
    has = np.array([1, 1, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1], dtype=bool)
    reports = ["Pacemaker." if h else "Clear lungs." for h in has]
    index = index_terms(reports, fit_on=np.ones(12, dtype=bool), min_count=1)
    found = contrast_terms(index, inside, strata, np.arange(12), prior=4.0).set_index("term").loc["pacemaker"]
    share = 6 / 12
    parts = []
    for y_in, n_in, y_out, n_out in ((2, 3, 1, 4), (2, 2, 1, 3)):
        cells = [y_in + 4 * share, n_in - y_in + 4 * (1 - share), y_out + 4 * share, n_out - y_out + 4 * (1 - share)]
        parts.append((np.log(cells[0] / cells[1]) - np.log(cells[2] / cells[3]), sum(1 / c for c in cells)))
    weights = [1 / v for _, v in parts]
    expected = sum(d * w for (d, _), w in zip(parts, weights, strict=True)) / sum(weights)
    assert found["log_odds"] == pytest.approx(expected)
    # Mantel and Haenszel: patients with the term inside, less what their strata would give.
    excess = (2 - 3 * 3 / 7) + (2 - 2 * 3 / 5)
    spread = 3 * 4 * 3 * 4 / (7**2 * 6) + 2 * 3 * 3 * 2 / (5**2 * 4)
    assert found["z"] == pytest.approx(excess / np.sqrt(spread))
    assert found["share_inside"] == pytest.approx((2 + 2) / 5)
    assert found["share_outside"] == pytest.approx(3 / 5 * 1 / 4 + 2 / 5 * 1 / 3)
    assert (found["n_patients_inside"], found["n_patients_outside"]) == (4, 2)


def test_chance_explains_nothing():
    """Of slices drawn at random, at most 5 % have an explaining term; 20 of 200 is that at three standard errors."""
    reports, _ = reports_with(0.3, 0.3, "A pacemaker.", "Chest tube.", n=600)
    index = index_terms(reports, fit_on=np.ones(600, dtype=bool))
    draws = [np.random.default_rng(k).random(600) < 0.3 for k in range(200)]
    found = [contrast_terms(index, draw, np.zeros(600, dtype=int), np.arange(600)) for draw in draws]
    assert sum(frame["explains"].any() for frame in found) <= 20


def test_the_indication_is_a_term_of_its_own():
    reports, inside = reports_with(0.0, 0.0, "")
    reports = [f"INDICATION: {'Trauma' if i else 'Cough'}.\n\n{r}" for r, i in zip(reports, inside, strict=True)]
    found = explaining(contrast(reports, inside))
    assert found.iloc[0]["term"] == "indication: trauma"


def test_the_vocabulary_is_that_of_discovery():
    reports = ["Pacemaker."] * 10 + ["Sternal wires."] * 10
    index = index_terms(reports, fit_on=np.arange(20) < 10)
    assert "pacemaker" in set(index.tokens["term"])
    assert "sternotomy" not in set(index.tokens["term"])
    assert index.holds("sternotomy").sum() == 0


def sections_of_reports():
    """Return reports with sections, and patients with several of them."""
    reports, _ = reports_with(0.5, 0.5, "Rib fracture. Chest tube? No rib fracture.", "Possible pneumonia.", n=90)
    ends = ("", "\nIMPRESSION: Rib fracture.", "\nIMPRESSION: Heart size is normal.\nCOMPARISON: Old chest tube.")
    reports = [f"INDICATION: Chest tube?\n{r}{ends[k % 3]}" for k, r in enumerate(reports)]
    return [*reports, "", " "], np.r_[np.arange(90) // 3, 30, 30]


def test_counts_are_those_of_mentions():
    reports, patient = sections_of_reports()
    index = index_terms(reports, fit_on=np.ones(92, dtype=bool), patient=patient, min_count=1)
    said = [[(m.term, m.status, m.section) for m in mentions(r) if m.section != "COMPARISON"] for r in reports]
    for term, status in (("rib fracture", "affirmed"), ("rib fracture", "negated"), ("pneumonia", "uncertain")):
        (at,) = np.flatnonzero((index.tokens["term"] == term) & (index.tokens["status"] == status))
        expected = [sum(m[:2] == (term, status) for m in of_one) for of_one in said]
        assert index.counts[:, at].toarray().ravel().tolist() == expected
        sections = Counter(s for of_one in said for s in {m[2] for m in of_one if m[:2] == (term, status)})
        assert [sections[s] for s in index.tokens["sections"][at]] == sorted(sections.values(), reverse=True)
    assert "indication: chest tube" in set(index.tokens["term"])


@pytest.mark.parametrize("patients", [True, False])
def test_the_index_is_the_same_whatever_the_blocks_and_the_engine(patients):
    reports, patient = sections_of_reports()
    options = {"fit_on": patient % 3 > 0, "patient": patient if patients else None, "min_count": 3}
    whole = index_terms(reports, **options)
    assert len(whole.tokens) > 15

    def check(index):
        pd.testing.assert_frame_equal(index.tokens, whole.tokens)
        for name in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(index.counts, name), getattr(whole.counts, name))

    for n_rows in (1, 7, 1000):
        check(index_terms(Unread(reports, n_rows), **options))
        with joblib.parallel_config("threading", n_jobs=2):
            check(index_terms(Unread(reports, n_rows), **options))


def test_nothing_to_compare():
    reports = ["Pacemaker."] * 10
    for inside in (np.zeros(10, dtype=bool), np.ones(10, dtype=bool)):
        assert contrast(reports, inside).empty
    assert contrast(["", ""] * 5, np.arange(10) < 5).empty
