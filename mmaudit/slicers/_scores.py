"""How much worse a slice surely is, on discovery samples: counts within each label, and a lower bound of the gap."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.stats import norm

from mmaudit._errors import InputError
from mmaudit.data import Target

__all__ = ["Scorer", "check_in_range", "check_predictions", "gap_lower_bound", "wilson"]


def check_predictions(y, y_proba, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and probabilities as float arrays of shape (n_samples,), or raise `InputError`."""
    y = np.asarray(y)
    if y.shape != (n_samples,) or not np.isin(y, (0, 1)).all():
        raise InputError("y", f"{n_samples} labels, 0 or 1", "other values or shape", "Map the labels to 0 and 1.")
    try:
        q = np.asarray(y_proba, dtype=float)
    except (TypeError, ValueError):
        q = np.empty(0)
    if q.shape != (n_samples,) or not ((q >= 0) & (q <= 1)).all():
        raise InputError("y_proba", f"{n_samples} values in [0, 1]", "other values or shape", "Use probabilities.")
    return y.astype(float), q


def check_in_range(least: float, most: float = np.inf, **parameters: float) -> None:
    """Raise `InputError` for the first parameter that is not a number from `least` to `most`."""
    for name, value in parameters.items():
        if not isinstance(value, (int, float, np.number)) or not least <= value <= most:
            expected = f"a number from {least:g}" + (f" to {most:g}" if np.isfinite(most) else " on")
            raise InputError(name, expected, f"{value!r}", "Choose one in that range.")


def wilson(errors, n, z):
    """Return the Wilson score interval (low, high) of a proportion; arrays broadcast, n = 0 gives (0, 1).

    References
    ----------
    Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    n = np.maximum(n, 1e-9)
    p = errors / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return np.clip(centre - half, 0, 1), np.clip(centre + half, 0, 1)


def gap_lower_bound(p_in, n_in, p_out, n_out, z):
    """Return a lower bound of p_in - p_out at z standard errors, Newcombe's hybrid of two Wilson intervals.

    References
    ----------
    Newcombe 1998, method 10, doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I.
    """
    low, _ = wilson(p_in * n_in, n_in, z)
    _, high = wilson(p_out * n_out, n_out, z)
    return p_in - p_out - np.sqrt((p_in - low) ** 2 + (high - p_out) ** 2)


@dataclass(frozen=True)
class Scorer:
    """Scores groups of discovery samples by a lower bound of their gap, within a label or over both.

    Attributes
    ----------
    y : ndarray of shape (n_samples,), int
        Labels; -1 where unknown, such samples are in no group.
    error : ndarray of shape (n_samples,), float32
        1 where the classifier is wrong.
    patient : ndarray of shape (n_samples,), int
        Patient codes from 0.
    design_effect : float
        Variance of a patient's samples against as many independent ones; counts are divided by it.
    """

    y: np.ndarray
    error: np.ndarray
    patient: np.ndarray
    design_effect: float

    @classmethod
    def from_predictions(cls, y, y_proba, groups, threshold) -> Scorer:
        """Return the scorer for these labels, probabilities and patients (None: each sample its own)."""
        y = np.asarray(y).astype(int)
        error = ((np.asarray(y_proba) >= threshold) != (y == 1)).astype(np.float32)
        patient = np.arange(len(y)) if groups is None else _codes(groups)
        return cls(y, error, patient, _design_effect(error, y, patient))

    @classmethod
    def from_target(cls, target: Target, patient) -> Scorer:
        """Return the scorer for a target; samples whose truth is not known are in no group."""
        y = target.y_true.astype(int)
        error = target.error.astype(np.float32)
        codes = np.unique(np.asarray(patient), return_inverse=True)[1]
        known = y >= 0
        return cls(y, error, codes, _design_effect(error[known], y[known], codes[known]))

    def in_label(self, label: int | None) -> np.ndarray:
        """Return the mask of samples that a slice within `label` is compared with; None: all."""
        return self.y >= 0 if label is None else self.y == label

    def rates(self, counts, errors, label: int | None):
        """Return (p_in, n_in, p_out, n_out) for groups given by counts and errors within labels 0 and 1.

        Parameters
        ----------
        counts, errors : sequence of 2 arrays, any shape
            Samples and errors of each group, with label 0 and with label 1.
        label : 0, 1 or None
            Compare within this label; None: over both, the outside weighted to the labels of the inside.
        """
        total, wrong = self._totals

        def outside(v):
            return (wrong[v] - errors[v]) / np.maximum(total[v] - counts[v], 1e-9)

        if label is not None:
            n_in, n_out = counts[label], total[label] - counts[label]
            return errors[label] / np.maximum(n_in, 1e-9), n_in, outside(label), n_out
        n_in, n_out = counts[0] + counts[1], total[0] + total[1] - counts[0] - counts[1]
        share = counts[1] / np.maximum(n_in, 1e-9)
        p_out = np.clip((1 - share) * outside(0) + share * outside(1), 0, 1)
        return (errors[0] + errors[1]) / np.maximum(n_in, 1e-9), n_in, p_out, n_out

    def bound(self, counts, errors, label: int | None, n_tried, alpha: float):
        """Return the lower bound of the gap of groups, at level `alpha` over `n_tried` groups."""
        p_in, n_in, p_out, n_out = self.rates(counts, errors, label)
        z = norm.isf(np.minimum(alpha / np.maximum(n_tried, 1), 0.5))
        return gap_lower_bound(p_in, n_in / self.design_effect, p_out, n_out / self.design_effect, z)

    def comparable(self, counts, label: int | None, least: int):
        """Return which groups have `least` samples inside and outside, shared over both labels where label is None.

        A group over both labels must hold a third of `least` of each label, inside and outside: one that holds a
        single label has nothing to be compared with.
        """
        total, _ = self._totals
        if label is not None:
            return (counts[label] >= least) & (total[label] - counts[label] >= least)
        enough = (counts[0] + counts[1] >= least) & (sum(total) - counts[0] - counts[1] >= least)
        for v in (0, 1):
            enough = enough & (counts[v] >= least / 3) & (total[v] - counts[v] >= least / 3)
        return enough

    def group(self, inside: np.ndarray):
        """Return counts and errors, each for labels 0 and 1, of boolean groups of shape (n_groups, n_samples)."""
        strata = [(self.y == v) & of for of in (True, self.error == 1) for v in (0, 1)]
        n = np.array([[np.count_nonzero(group & s) for group in inside] for s in strata], dtype=np.float32)
        return [*n[:2]], [*n[2:]]

    def n_patients(self, inside: np.ndarray) -> int:
        """Return how many patients a boolean group of shape (n_samples,) has."""
        return int(np.count_nonzero(np.bincount(self.patient[inside])))

    @cached_property
    def _totals(self) -> tuple[list[float], list[float]]:
        """How many samples and errors there are, each with labels 0 and 1."""
        masks = [self.y == v for v in (0, 1)]
        return [float(np.count_nonzero(m)) for m in masks], [float(np.count_nonzero(self.error[m])) for m in masks]


def _codes(groups) -> np.ndarray:
    """Return the positions of patients among all of them, sorted as text; whole numbers are made text once each."""
    if np.asarray(groups).dtype.kind in "iu":
        numbers, at = np.unique(groups, return_inverse=True)
        return _codes(numbers.astype(str))[at]
    return np.unique(np.asarray(groups, dtype=str), return_inverse=True)[1]


def _design_effect(error: np.ndarray, y: np.ndarray, patient: np.ndarray) -> float:
    """Return 1 + (samples a patient - 1) x intraclass correlation of errors, the labels' own rates taken off.

    The correlation is the one-way analysis-of-variance estimate (Ridout et al. 1999,
    doi:10.1111/j.0006-341X.1999.00137.x), not below 0.
    """
    residual = error.astype(float)
    for v in (0, 1):
        if (y == v).any():
            residual[y == v] -= residual[y == v].mean()
    size = np.bincount(patient).astype(float)
    size = size[size > 0]
    n, k = size.sum(), len(size)
    if n == k or k < 2:
        return 1.0
    total = np.bincount(patient, weights=residual)
    total = total[np.bincount(patient) > 0]
    between = (total**2 / size).sum() / (k - 1)
    within = ((residual**2).sum() - (total**2 / size).sum()) / (n - k)
    typical = (n - (size**2).sum() / n) / (k - 1)
    correlation = np.clip((between - within) / max(between + (typical - 1) * within, 1e-12), 0, 1)
    return float(1 + ((size**2).sum() / n - 1) * correlation)
