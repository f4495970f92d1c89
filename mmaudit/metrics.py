"""Metrics of a classifier on some of the samples: named ones, and any function of the user's.

The named ones are scikit-learn's. Resampling asks for a metric thousands of times on many slices, so four of them have
a second form that answers for all slices at once; tests hold the two forms equal.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import brier_score_loss, recall_score, roc_auc_score, zero_one_loss

from mmaudit._errors import InputError, nearest

__all__ = ["METRICS", "Metric", "as_metric", "calibration_error", "evaluate"]

SAMPLES_A_BIN = 15
MOST_BINS = 10

Function = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Metric:
    """What is measured inside and outside a slice.

    Attributes
    ----------
    name : str
    function : callable (y_true, y_proba, mask) -> float
        The metric on the samples of the mask. y_true is 0 or 1, y_proba lies in [0, 1]; all three have shape
        (n_samples,). NaN, or a ValueError, where it cannot be computed.
    greater_is_better : bool
        Whether a slice with a smaller value is worse (AUROC) or one with a larger value (error rate).
    labels : tuple of {0, 1, None}
        The labels that a slice may be within for the metric to be computed on it; None: over both.
    only : {0, 1, None}
        The label whose samples alone it is about, 1 for sensitivity. None: it is about all.
    answers : bool
        Whether the function is given the classifier's answers, 0 or 1, in place of its probabilities.
    by_label : bool
        Whether it is a mean over samples, so that the outside of a slice over both labels can be weighted to the
        labels of the inside: a slice with more disease is then not worse for that alone.
    """

    name: str
    function: Function
    greater_is_better: bool
    labels: tuple[int | None, ...] = (0, 1, None)
    only: int | None = None
    answers: bool = False
    by_label: bool = False

    @property
    def worse(self) -> int:
        """Sign of the gap, inside minus outside, of a slice that does worse."""
        return -1 if self.greater_is_better else 1


def _error_rate(y, answer, mask):
    return zero_one_loss(y[mask], answer[mask]) if mask.any() else np.nan


def _sensitivity(y, answer, mask):
    return recall_score(y[mask], answer[mask], pos_label=1) if (y[mask] == 1).any() else np.nan


def _specificity(y, answer, mask):
    return recall_score(y[mask], answer[mask], pos_label=0) if (y[mask] == 0).any() else np.nan


def _auroc(y, proba, mask):
    return roc_auc_score(y[mask], proba[mask]) if len(np.unique(y[mask])) == 2 else np.nan


def _brier(y, proba, mask):
    return brier_score_loss(y[mask], proba[mask], pos_label=1) if mask.any() else np.nan


def calibration_error(y_true: np.ndarray, y_proba: np.ndarray, mask: np.ndarray) -> float:
    """Return the root mean squared difference between predicted probability and observed frequency, debiased.

    Parameters
    ----------
    y_true : ndarray of shape (n_samples,), 0 or 1
    y_proba : ndarray of shape (n_samples,), float in [0, 1]
    mask : ndarray of shape (n_samples,), bool
        The samples to compute on.

    Returns
    -------
    float in [0, 1]
        NaN with fewer than 15 samples.

    Notes
    -----
    Bins hold equally many samples: one for each 15, 10 at most. In each bin the squared difference is lessened by what
    chance adds to it, f (1 - f) / (n - 1) for frequency f of n samples; a sum below 0 counts as 0. Without that, the
    plain expected calibration error grows as a slice gets smaller, and each small slice would look worse.

    References
    ----------
    Kumar, Liang and Ma 2019, arXiv:1909.10155, for the debiased estimator.
    """
    y, proba = np.asarray(y_true)[mask].astype(float), np.asarray(y_proba)[mask]
    if len(y) < SAMPLES_A_BIN:
        return np.nan
    n_bins = min(MOST_BINS, len(y) // SAMPLES_A_BIN)
    edges = np.quantile(proba, np.linspace(0, 1, n_bins + 1)[1:-1])
    which = np.searchsorted(edges, proba, side="right")
    n = np.bincount(which, minlength=n_bins)
    enough = n > 1
    n = n[enough]
    frequency = np.bincount(which, y, minlength=n_bins)[enough] / n
    predicted = np.bincount(which, proba, minlength=n_bins)[enough] / n
    squared = (predicted - frequency) ** 2 - frequency * (1 - frequency) / (n - 1)
    return float(np.sqrt(max(0.0, (n * squared).sum() / n.sum())))


METRICS = {
    metric.name: metric
    for metric in (
        Metric("error_rate", _error_rate, False, (0, 1, None), answers=True, by_label=True),
        Metric("sensitivity", _sensitivity, True, (1, None), only=1, answers=True),
        Metric("specificity", _specificity, True, (0, None), only=0, answers=True),
        Metric("auroc", _auroc, True, (None,)),
        Metric("brier", _brier, False, (0, 1, None), by_label=True),
        Metric("calibration_error", calibration_error, False, (None,)),
    )
}


def as_metric(metric: str | Metric | Function) -> Metric:
    """Return the metric of this name, or one made of a function.

    Parameters
    ----------
    metric : str, Metric, or callable (y_true, y_proba, mask) -> float
        One of "error_rate", "sensitivity", "specificity", "auroc", "brier" and "calibration_error", or what a user
        brings. For a plain function greater is taken to be better, and it is tried on four made-up cases of each label
        to see whether it needs both; `Metric` says otherwise.

    Raises
    ------
    InputError
        A name that is not known.
    TypeError
        Neither a name nor a function.
    """
    if isinstance(metric, Metric):
        return metric
    if isinstance(metric, str):
        if metric not in METRICS:
            raise InputError(
                "metric",
                f"one of {', '.join(METRICS)}, or a function (y_true, y_proba, mask) -> float",
                f"{metric!r}",
                f"Correct the name.{nearest(metric, METRICS)}",
            )
        return METRICS[metric]
    if not callable(metric):
        raise TypeError(
            f"metric: expected a name or a function (y_true, y_proba, mask) -> float, got {type(metric).__name__}. "
            'Write metric="auroc".'
        )
    return Metric(getattr(metric, "__name__", type(metric).__name__), metric, True, (*_labels_it_takes(metric), None))


def evaluate(metric: Metric, y: np.ndarray, values: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """Return the metric on each of several masks, NaN where it cannot be computed.

    Parameters
    ----------
    metric : Metric
    y : ndarray of shape (n_samples,), 0 or 1
    values : ndarray of shape (n_samples,), float
        Probabilities, or answers for a metric of those.
    masks : ndarray of shape (n_masks, n_samples), bool

    Returns
    -------
    ndarray of shape (n_masks,), float64
    """
    if len(y) == 0:
        return np.full(len(masks), np.nan)
    at_once = _AT_ONCE.get(metric.function)
    if at_once is not None:
        with np.errstate(invalid="ignore", divide="ignore"):
            return at_once(y, values, masks)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a metric that is not defined: NaN says so
        return np.array([_value(metric.function, y, values, mask) for mask in masks], dtype=float)


def _value(function: Function, y, values, mask) -> float:
    try:
        return float(function(y, values, mask)) if mask.any() else np.nan
    except ValueError:  # how scikit-learn says that a metric is not defined
        return np.nan


def _labels_it_takes(function: Function) -> tuple[int, ...]:
    """Return which of the labels 0 and 1 a function can do without the other."""
    taken = []
    proba, everybody = np.array([0.2, 0.4, 0.6, 0.8]), np.ones(4, dtype=bool)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for label in (0, 1):
            try:
                value = float(function(np.full(4, label), proba, everybody))
            except Exception:  # whatever it raises on made-up cases, on real ones it may not
                continue
            if np.isfinite(value):
                taken.append(label)
    return tuple(taken)


def _mean(of: np.ndarray, masks: np.ndarray) -> np.ndarray:
    return (masks @ of) / masks.sum(axis=1)


def _aurocs(y, proba, masks):
    """Mann-Whitney: the share of pairs of a positive and a negative in which the positive has more; ties are half."""
    order = np.argsort(proba, kind="stable")
    ordered = proba[order]
    first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
    inside, positive = masks[:, order].astype(float), (y[order] == 1)
    ones = np.add.reduceat(inside * positive, first, axis=1)
    zeros = np.add.reduceat(inside * ~positive, first, axis=1)
    below = np.cumsum(zeros, axis=1) - zeros / 2
    return (ones * below).sum(axis=1) / (ones.sum(axis=1) * zeros.sum(axis=1))


_AT_ONCE = {
    _error_rate: lambda y, answer, masks: _mean((answer != y).astype(float), masks),
    _sensitivity: lambda y, answer, masks: 1 - _mean((answer != y).astype(float), masks & (y == 1)),
    _specificity: lambda y, answer, masks: 1 - _mean((answer != y).astype(float), masks & (y == 0)),
    _auroc: _aurocs,
    _brier: lambda y, proba, masks: _mean((proba - y) ** 2, masks),
}
