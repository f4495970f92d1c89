"""Exercises of the notebook that compares images, reports and metadata: what is right, and what is said if not."""

import re

import numpy as np
import pandas as pd
import pytest

from mmaudit.workshop import check

ERRORS = pd.DataFrame({"inside": [0.6, 0.3, 0.2, 0.4, 0.1], "elsewhere": [0.2, 0.2, 0.3, 0.2, 0.0]})
ERRORS["ratio"] = ERRORS["inside"] / ERRORS["elsewhere"]  # 3, 1.5, 0.7, 2, infinite


@pytest.fixture(scope="module")
def frame():
    """Return scores of three cases: the correlation has more chance, the rare case the higher score."""
    gains = {"mmaudit": {"image": 0.5, "report+metadata": 0.5}, "concatenated": {"image": 0.2, "report+metadata": 0.5}}
    found = {"rare": 0.4, "correlation": 0.2, "noisy": 0.0}
    chances = {"rare": 0.1, "correlation": 0.4, "noisy": 0.1}
    return pd.DataFrame(
        [
            {
                **{"source": "trained", "scenario": scenario, "attribute": attribute, "seed": 0, "slicer": slicer},
                **{"modalities": modalities, "chance": chances[scenario]},
                "precision_at_10": score + found[scenario] + (attribute == "b") * (modalities != "image") * 0.1,
            }
            for slicer, by_subset in gains.items()
            for modalities, score in by_subset.items()
            for scenario in found
            for attribute in ("a", "b")
        ]
    )


def test_right_answers_are_right(frame):
    assert check("modalities.came_about", 3, errors=ERRORS)
    assert check("modalities.came_about", np.int64(3), errors=ERRORS)
    assert check("modalities.chance", "correlation", frame=frame)
    assert check("modalities.pair", (0.35, False), frame=frame)
    assert check("modalities.pair", (np.float64(0.3502), np.False_), frame=frame)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(2, "did not"), (4, "Twice as many"), (5, "has a sum"), ("many", "could not read")],
)
def test_hints_on_what_came_about(answer, hint):
    checked = check("modalities.came_about", answer, errors=ERRORS)
    assert not checked
    assert hint in checked.words
    assert not re.search(r"\b3\b|three", checked.words)


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ("rare", "another column"),
        ("noisy", "the largest"),
        ("chance", "name of a scenario"),
        (0.4, "name of a scenario"),
    ],
)
def test_hints_on_chance(frame, answer, hint):
    checked = check("modalities.chance", answer, frame=frame)
    assert not checked
    assert hint in checked.words
    if answer in ("rare", "noisy"):
        assert "correlation" not in checked.words


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ((0.05, True), "another slicer"),
        ((-0.35, False), "other way round"),
        ((0.9, False), "scenario 'all'"),
        ((0.35, True), "on which side"),
        ((0.35, "no"), "True or False"),
        (0.35, "could not read"),
    ],
)
def test_hints_on_the_pair(frame, answer, hint):
    checked = check("modalities.pair", answer, frame=frame)
    assert not checked
    assert hint in checked.words
    assert "0.35" not in checked.words


def test_what_is_not_answered_is_not_wrong(frame):
    assert check("modalities.pair", (..., ...), frame=frame).right is None
    assert check("modalities.chance", ..., frame=frame).right is None
