"""Exercises of the notebook about real reports: what is right, and what is said if not."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mmaudit.workshop import check

DENIED = ["No pneumothorax."] * 7 + ["Left pneumothorax.", "Small pneumothorax.", "Clear lungs."]  # 7 of 9
TEXTS = pd.Series(["a", "b", "b", "c", "a", "a", "d", "e"])
PARTS = pd.Series(["discovery"] * 4 + ["confirmation"] * 4)  # 2 of 4 have a twin there, 1 of 4 the other way


def audit(n_findings, *, modalities=("metadata",), seed=0):
    """Stand for the result of an audit, as far as the check looks at it."""
    findings = pd.DataFrame({"slice_id": [f"s{k}" for k in range(n_findings)]})
    return SimpleNamespace(findings=findings, settings={"modalities": list(modalities), "random_state": seed})


WHOLE = audit(1, modalities=("report", "metadata"))


@pytest.mark.parametrize("answer", [7 / 9, 0.75, np.float64(0.8)])
def test_a_guess_near_the_share_is_right(answer):
    assert check("reports.denied", answer, reports=DENIED)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (0.5, "Too low"),
        (0.95, "Too high"),
        (78, "between 0 and 1"),
        (-1, "between 0 and 1"),
        ("most", "could not read"),
    ],
)
def test_hints_on_denials(answer, hint):
    checked = check("reports.denied", answer, reports=DENIED)
    assert not checked
    assert hint in checked.words
    assert "0.7" not in checked.words


def test_an_audit_of_metadata_alone_and_its_findings_are_right():
    nothing = check("reports.metadata_alone", (audit(0), 0), result=WHOLE)
    shadow = check("reports.metadata_alone", (audit(2), 2), result=WHOLE)
    assert nothing
    assert "not absence" in nothing.words
    assert shadow
    assert "larger group" in shadow.words


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((audit(1, modalities=("report", "metadata")), 1), "more than metadata"),
        ((audit(0, seed=1), 0), "Another seed"),
        ((audit(0), 10), "not those of alone.candidates"),
        (audit(0), "could not read"),
    ],
)
def test_hints_on_metadata_alone(answer, hint):
    checked = check("reports.metadata_alone", answer, result=WHOLE)
    assert not checked
    assert hint in checked.words
    assert "0" not in checked.words


def test_the_share_of_confirmation_texts_that_discovery_has_is_right():
    assert check("reports.shared", 0.5, reports=TEXTS, parts=PARTS)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(0.25, "other way round"), (0.9, "as a set"), (50, "between 0 and 1"), (None, "could not read")],
)
def test_hints_on_shared_texts(answer, hint):
    checked = check("reports.shared", answer, reports=TEXTS, parts=PARTS)
    assert not checked
    assert hint in checked.words
    assert "0.5" not in checked.words
    assert "half" not in checked.words


@pytest.mark.parametrize("name", ["denied", "metadata_alone", "shared"])
def test_what_is_not_answered_is_not_wrong(name):
    known = {"denied": {"reports": DENIED}, "metadata_alone": {"result": WHOLE}}
    assert check(f"reports.{name}", ..., **known.get(name, {"reports": TEXTS, "parts": PARTS})).right is None
