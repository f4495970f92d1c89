"""Columns that were made from the label or from the prediction: rules about them would say nothing of patients."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

__all__ = ["Predicted", "auroc", "leak", "restates"]

MOST_FEW = 30  # distinct numbers, beyond which they are put in bins
JUDGED_ROWS = 4_000  # are enough to see errors that an audit could find
ORDERED_ROWS = 500  # are enough to see that two columns have one order
LEAST_ROWS = 20
SAME_ORDER = 0.98
FEW_STEPS = 0.1  # of the changes of value that a column unrelated to the probability has


@dataclass(frozen=True)
class Predicted:
    """One label or class of each row, and what a classifier says of it.

    Attributes
    ----------
    y_true : ndarray of shape (n_rows,)
        0 or 1; NaN or -1 where it is not known.
    y_proba : ndarray of shape (n_rows,), float in [0, 1]
        NaN where there is none.
    says : ndarray of shape (n_rows,), bool
        The classifier's answer.
    """

    y_true: np.ndarray
    y_proba: np.ndarray
    says: np.ndarray


def leak(values: pd.Series, truths: Sequence[np.ndarray], predicted: Sequence[Predicted] = ()) -> str | None:
    """Return which of a label and a prediction a column was made from, in words with a question mark; None if neither.

    Parameters
    ----------
    values : Series of shape (n_rows,)
        The column.
    truths : sequence of ndarray of shape (n_rows,)
        Of each label or class, 0 or 1; NaN or -1 where it is not known.
    predicted : sequence of Predicted
        The same with predictions. Empty: there are none.
    """
    codes = _codes(values)
    if any(_tells(codes, y, y >= 0) for y in truths):
        return "restates the label? Its values tell the label nearly without error"
    is_number = pd.api.types.is_numeric_dtype(values) and not pd.api.types.is_bool_dtype(values)
    numbers = values.to_numpy(dtype=float, na_value=np.nan) if is_number else None
    for one in predicted:
        told = _told_of(codes, numbers, one)
        if told:
            return f"made from the prediction? Its values tell {told} nearly without error"
    return None


def restates(values: pd.Series, y: np.ndarray) -> bool:
    """Return whether a column tells the label nearly without error: 19 in 20 of the rarer cases, or more.

    Parameters
    ----------
    values : Series of shape (n_rows,)
        Numbers of many values are put in 20 bins; a missing value is a value.
    y : ndarray of shape (n_rows,)
        Label or class; NaN where it is not known.
    """
    return _tells(_codes(values), y, np.isfinite(y))


def auroc(y: np.ndarray, p: np.ndarray) -> tuple[float, float]:
    """Return the AUROC of numbers for a label, and the standard error it has by chance alone.

    Parameters
    ----------
    y, p : ndarray of shape (n_rows,)
        Rows whose label is neither 0 nor 1, or whose number is not finite, are left out.

    Returns
    -------
    auroc, error : float
        0.5 and infinity without cases of both labels.
    """
    known = np.isin(y, [0, 1]) & np.isfinite(p)
    y, ranks = y[known] == 1, pd.Series(p[known]).rank().to_numpy()
    n_pos, n_neg = int(y.sum()), int((~y).sum())
    if not n_pos or not n_neg:
        return 0.5, float("inf")
    area = (ranks[y].sum() - n_pos * (n_pos + 1) / 2) / (n_pos * n_neg)
    return float(area), float(np.sqrt((n_pos + n_neg + 1) / (12 * n_pos * n_neg)))


def _told_of(codes: np.ndarray, numbers: np.ndarray | None, one: Predicted) -> str | None:
    """Return what of a prediction a column tells: the decision, the errors, the probability, or nothing."""
    rows = np.flatnonzero((one.y_true >= 0) & np.isfinite(one.y_proba))
    rows = np.random.default_rng(0).permutation(rows)[:JUDGED_ROWS]
    codes, y, p, says = codes[rows], one.y_true[rows], one.y_proba[rows], one.says[rows]
    if _tells(codes, says):
        return "the decision"
    error = says != (y == 1)
    # A column may tell the errors of one label only, as true positives do.
    if any(_tells(codes, error, among) for among in (None, y == 0, y == 1)):
        return "the errors"
    for label in (0, 1):
        some = np.flatnonzero(y == label)
        if _goes_in_steps(codes[some], p[some]):
            return "the probability"
        some = some[:ORDERED_ROWS]
        if numbers is not None and _has_order(numbers[rows][some], p[some]):
            return "the probability"
    return None


def _tells(codes: np.ndarray, truth: np.ndarray, rows: np.ndarray | None = None) -> bool:
    if rows is not None:
        codes, truth = codes[rows], truth[rows]
    classes = pd.factorize(truth)[0]
    if not len(classes):
        return False
    n_values, n_classes = int(codes.max()) + 1, int(classes.max()) + 1
    table = np.bincount(codes * n_classes + classes, minlength=n_values * n_classes).reshape(n_values, n_classes)
    rarer = len(classes) - table.sum(axis=0).max()
    left = len(classes) - table.max(axis=1).sum()
    return bool(rarer >= 5 and (table.sum(axis=1) > 0).sum() < len(classes) / 3 and left <= 0.05 * rarer)


def _goes_in_steps(codes: np.ndarray, p: np.ndarray) -> bool:
    """Return whether few values follow each other as the probability grows; rows come shuffled, which breaks ties."""
    shares = np.unique(codes, return_counts=True)[1] / max(len(codes), 1)
    if len(codes) < LEAST_ROWS or len(shares) > MOST_FEW or (1 - shares.max()) * len(codes) < 5:
        return False
    ordered = codes[np.argsort(p, kind="stable")]
    return bool((ordered[1:] != ordered[:-1]).sum() <= FEW_STEPS * len(codes) * (1 - (shares**2).sum()))


def _has_order(numbers: np.ndarray, p: np.ndarray) -> bool:
    """Return whether numbers grow or fall with the probability, or with its distance from one half."""
    known = np.isfinite(numbers)
    if known.sum() < LEAST_ROWS:
        return False
    ranks = [np.unique(column[known], return_inverse=True)[1] for column in (numbers, p, np.abs(p - 0.5))]
    if min(rank.max() for rank in ranks) < 2:
        return False
    return bool(np.abs(np.asarray(np.corrcoef(ranks))[0, 1:]).max() > SAME_ORDER)


def _codes(values: pd.Series) -> np.ndarray:
    """Return a whole number for each value, or bin of values; 0 where it is missing."""
    if not pd.api.types.is_numeric_dtype(values) or pd.api.types.is_bool_dtype(values):
        return pd.factorize(values)[0] + 1
    numbers = values.to_numpy(dtype=float, na_value=np.nan)
    is_known = np.isfinite(numbers)
    distinct, codes = np.unique(numbers[is_known], return_inverse=True)
    if len(distinct) > MOST_FEW:
        codes = np.searchsorted(np.quantile(numbers[is_known], np.linspace(0, 1, 21)[1:-1]), numbers[is_known])
    found = np.zeros(len(numbers), dtype=int)
    found[is_known] = codes + 1
    return found
