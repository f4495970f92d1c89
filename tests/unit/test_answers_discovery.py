"""The checks of the exercises on discovery: what is right, what is wrong, and what is said of it."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import false_discovery_control

from mmaudit.workshop import check

# Two components, four films; the errors of each, by hand: (1 + 0.25) / 2 and (0 + 0.75) / 2
SHARES = np.array([[1, 0], [0.25, 0.75], [0.5, 0.5], [0.25, 0.75]])
WRONG = np.array([True, True, False, False])
COLUMNS = ["posterior, discovery", "transform, discovery", "transform, held out"]
P_VALUES = [0.021, 0.001, 0.046, 0.38, 0.005, 0.71, 0.015, 0.24, 0.031, 0.0165, 0.09, 0.55]


def errors(answer):
    return check("discovery.component_errors", answer, r=SHARES, wrong=WRONG)


def test_the_errors_of_components():
    assert errors([0.625, 0.375])
    assert errors(np.array([0.625, 0.375]))
    assert errors(...).right is None


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        ([1.25, 0.75], "counts of errors"),
        ([0.3125, 0.1875], "shares of all films"),
        ([0.375, 0.625], "shares that are right"),
        ([0.5], "one number for each"),
        (0.625, "one number for each"),
        ([3, 0], "between 0 and 1"),
        ([0.9, 0.1], "Weigh each film"),
    ],
)
def test_a_hint_for_wrong_errors(answer, hint):
    checked = errors(answer)
    assert checked.right is False
    assert hint in checked.words
    assert not any(number in checked.words for number in ("0.62", "0.37", "0.38"))


def weights(answer):
    table = pd.DataFrame([[0.3, 0.3, 0.3], [0.8, 0.6, 0.4], [0.9, 0.6, 0.35]], index=[0, 1, 30], columns=COLUMNS)
    return check("discovery.weights", answer, table=table)


def test_what_a_weight_raises():
    assert weights(COLUMNS[0])
    assert weights(...).right is None


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (COLUMNS[1], "embedding alone"),
        (COLUMNS[2], "held-out patients"),
        ("posterior", "name of one of the columns"),
        (0, "name of one of the columns"),
    ],
)
def test_a_hint_for_a_wrong_column(answer, hint):
    checked = weights(answer)
    assert checked.right is False
    assert hint in checked.words
    assert COLUMNS[0] not in checked.words
    assert "posterior" not in checked.words


def correction(answer, p_values=P_VALUES):
    return check("discovery.correction", answer, p_values=p_values)


@pytest.mark.parametrize("seed", range(5))
def test_the_correction_agrees_with_scipy(seed):
    p_values = np.random.default_rng(seed).beta(0.3, 1, 20)
    right = int((false_discovery_control(p_values) <= 0.05).sum())
    assert correction(right, p_values)
    assert not correction(right + 1, p_values)


def test_none_is_confirmed_where_none_passes():
    assert correction(0, [0.2, 0.9, 0.04])


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (7, "each were the only one"),
        (3, "below their own line"),
        (2, "stopped at the first"),
        (1, "Bonferroni"),
        (9, "sorted p-values"),
        (0.5, "whole number"),
        (True, "whole number"),
    ],
)
def test_a_hint_for_a_wrong_correction(answer, hint):
    assert correction(4)
    checked = correction(answer)
    assert checked.right is False
    assert hint in checked.words
    assert not {"4", "four"} & set(checked.words.lower().split())
