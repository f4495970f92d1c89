"""The checks of the exercises on explanations: what is right, what is wrong, and what is said of it."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mmaudit.workshop import check

REPORT = "FINDINGS: Interval removal of chest tube. Possible pleural effusion. Small left pneumothorax."
TERMS = ["chest tube", "pleural effusion", "pneumothorax"]


def status(*answer):
    return check("explanation.status", answer, report=REPORT, terms=TERMS)


def test_the_status_of_terms():
    assert status("negated", "uncertain", "affirmed")
    assert status("negated", ..., "affirmed").right is None


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (("affirmed", "uncertain", "affirmed"), "Look at the chest tube"),
        (("negated", "negated", "affirmed"), "Look at the pleural effusion"),
        (("negated", "uncertain", "negated"), "Look at the pneumothorax"),
        (("absent", "uncertain", "affirmed"), "each a status"),
        (("negated", "uncertain"), "Give 3 words"),
    ],
)
def test_a_hint_for_a_wrong_status(answer, hint):
    checked = status(*answer)
    assert checked.right is False
    assert hint in checked.words
    assert not any(word in checked.words for word in ("negated", "uncertain", "affirmed"))


# Ten films; five are picked, and two of those are among the four of the slice.
PICKED = np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0], dtype=bool)
INSIDE = np.array([1, 1, 0, 0, 0, 1, 1, 0, 0, 0], dtype=bool)


def fidelity(*answer):
    return check("explanation.fidelity", answer, picked=PICKED, inside=INSIDE)


def test_precision_and_recall():
    assert fidelity(0.4, 0.5)
    assert fidelity(..., 0.5).right is None


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((0.5, 0.4), "wrong order"),
        ((40, 50), "between 0 and 1"),
        ((0.4, 0.9), "One of the two"),
        ((0.2, 0.2), "of all films"),
        ((0.7, 0.9), "both picked and inside"),
        ((0.4,), "Two numbers"),
    ],
)
def test_a_hint_for_wrong_numbers(answer, hint):
    checked = fidelity(*answer)
    assert checked.right is False
    assert hint in checked.words
    assert not any(number in checked.words for number in ("0.4", "0.5", "40", "50"))


def audited(label="0", modality="metadata", confirmed=True, n=1):
    row = {"label": label, "modality": modality, "confirmed": confirmed}
    return SimpleNamespace(candidates=pd.DataFrame([row] * n))


def test_a_guess_by_metadata():
    assert check("explanation.hypothesis", audited())
    assert check("explanation.hypothesis", ...).right is None


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (audited(label="1"), "Within which label"),
        (audited(label=""), "Within which label"),
        (audited(modality="report"), "by columns of data.metadata"),
        (audited(modality="image+metadata"), "by columns of data.metadata"),
        (audited(n=2), "One guess"),
        (audited(confirmed=False), "Not confirmed"),
        ("setting = ICU", "Hand over"),
    ],
)
def test_a_hint_for_a_wrong_guess(answer, hint):
    checked = check("explanation.hypothesis", answer)
    assert checked.right is False
    assert hint in checked.words
    assert not any(word in checked.words for word in ("ICU", "portable", "setting"))
