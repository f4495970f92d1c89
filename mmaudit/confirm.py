"""Confirmation: is a candidate's gap real on patients that discovery never saw, and what could have been found?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.optimize import brentq
from scipy.stats import false_discovery_control, norm
from sklearn.utils import check_random_state

__all__ = ["confirm", "detectable_gaps", "gap_interval", "permutation_p_values", "slice_metrics"]

MIN_PATIENTS = 5  # confirmation patients inside, and outside, below which nothing is tested


def confirm(
    inside: np.ndarray,
    labels: Sequence[int | None],
    y_true: np.ndarray,
    error: np.ndarray,
    patient_id: np.ndarray,
    *,
    alpha: float = 0.05,
    n_permutations: int = 4999,
    n_bootstraps: int = 2000,
    random_state=None,
) -> pd.DataFrame:
    """Return what the confirmation samples say about each candidate, one row a candidate, in their order.

    Parameters
    ----------
    inside : ndarray of shape (n_samples, n_candidates), bool
        Members among the confirmation samples. Must not depend on predictions of these samples.
    labels : sequence of {0, 1, None}
        Label within which each candidate is compared; None: both, the outside weighted to the labels of the inside.
    y_true : ndarray of shape (n_samples,), 0 or 1
    error : ndarray of shape (n_samples,), 0 or 1
        1 where the classifier is wrong.
    patient_id : ndarray of shape (n_samples,)
    alpha : float in (0, 1)
        Level: q-value at or below which, with an interval above 0, a candidate is confirmed; intervals cover 1 - alpha.
    n_permutations, n_bootstraps : int
        Resamples; the smallest p-value is 2 / (n_permutations + 1).
    random_state : int, RandomState or None
        Seed. None: another each time.

    Returns
    -------
    DataFrame
        Columns n_samples, n_patients, metric_inside, metric_outside, gap (inside minus outside: above 0 is worse
        inside), ci_low, ci_high, p_value, q_value, confirmed. The metric is the error rate. NaN where fewer than 5
        patients are inside or outside, or no outsider has a label that members have; such a candidate counts in the
        correction with p = 1.

    Notes
    -----
    The p-value is two-sided, so a candidate is confirmed by chance in the direction it was found in at half the
    level. Correction: Benjamini and Hochberg 1995 over all candidates, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    rng = check_random_state(random_state)
    patient = np.unique(np.asarray(patient_id, dtype=str), return_inverse=True)[1]
    y_true, error = np.asarray(y_true).astype(int), np.asarray(error, dtype=float)
    rows = [slice_metrics(inside[:, k], label, y_true, error, patient) for k, label in enumerate(labels)]
    frame = pd.DataFrame(
        rows, columns=["n_samples", "n_patients", "n_patients_outside", "metric_inside", "metric_outside", "gap"]
    )
    testable = frame[["n_patients", "n_patients_outside"]].min(axis=1) >= MIN_PATIENTS
    testable &= np.isfinite(frame["gap"].astype(float))  # no outsider of a label that members have: nothing to compare
    p_values = permutation_p_values(inside, labels, y_true, error, patient, n_permutations, rng)
    intervals = gap_interval(inside, labels, y_true, error, patient, n_bootstraps, alpha, rng)
    frame["ci_low"], frame["ci_high"] = intervals[:, 0], intervals[:, 1]
    frame.loc[~testable, ["metric_inside", "metric_outside", "gap", "ci_low", "ci_high"]] = np.nan
    frame["p_value"] = np.where(testable, p_values, 1.0)
    frame["q_value"] = false_discovery_control(frame["p_value"]) if len(frame) else np.empty(0)
    frame["confirmed"] = (frame["q_value"] <= alpha) & (frame["gap"] > 0) & (frame["ci_low"] > 0)
    return frame.drop(columns="n_patients_outside")


def slice_metrics(
    inside: np.ndarray, label: int | None, y_true: np.ndarray, error: np.ndarray, patient: np.ndarray
) -> tuple[int, int, int, float, float, float]:
    """Return (samples, patients, patients outside, error rate inside, outside, gap) of one slice.

    Inside and outside are compared within `label`. With label None, the outside rate is the mean of its rates in
    labels 0 and 1, weighted by the labels of the inside: a slice with more disease has no gap for that alone.

    Parameters
    ----------
    inside : ndarray of shape (n_samples,), bool
        Members; those of another label than `label` are left out.
    label : {0, 1, None}
    y_true, error : ndarray of shape (n_samples,), 0 or 1
    patient : ndarray of shape (n_samples,)
        Patient of each sample, of any kind that can be sorted.

    Returns
    -------
    tuple of (int, int, int, float, float, float)
        Rates in [0, 1]; NaN where nobody is inside, or nobody outside to compare with.
    """
    compared = np.ones(len(y_true), dtype=bool) if label is None else y_true == label
    inside, outside = inside & compared, ~inside & compared
    n_in, n_out = int(inside.sum()), int(outside.sum())
    patients = (len(np.unique(patient[inside])), len(np.unique(patient[outside])))
    if n_in == 0 or n_out == 0:
        return (n_in, *patients, np.nan, np.nan, np.nan)
    p_in = float(error[inside].mean())
    p_out = 0.0
    for value in (0, 1):
        share = float((y_true[inside] == value).mean())
        if share > 0:
            rest = outside & (y_true == value)
            p_out += share * (float(error[rest].mean()) if rest.any() else np.nan)
    return (n_in, *patients, p_in, p_out, p_in - p_out)


def permutation_p_values(
    inside: np.ndarray,
    labels: Sequence[int | None],
    y_true: np.ndarray,
    error: np.ndarray,
    patient: np.ndarray,
    n_permutations: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Return two-sided p-values of "errors have nothing to do with the slice", shape (n_candidates,).

    Whole patients are exchanged: each patient gets the errors of another one with the same labels and about as many
    samples. So samples of one patient stay together, patients with many films are compared with their like, and a
    slice with more disease keeps the larger spread of errors that disease may have. The statistic is the sum over
    members of error minus the mean error of their label.

    Parameters
    ----------
    inside : ndarray of shape (n_samples, n_candidates), bool
    labels : sequence of {0, 1, None}
        Label within which each candidate is compared.
    y_true, error : ndarray of shape (n_samples,), 0 or 1
    patient : ndarray of shape (n_samples,)
        Patient of each sample.
    n_permutations : int
    rng : RandomState

    Notes
    -----
    Twice the smaller tail, the observed value counted in: at least 2 / (n_permutations + 1), at most 1. With one
    sample a patient and one label it is twice the smaller hypergeometric tail. Phipson and Smyth 2010,
    doi:10.2202/1544-6115.1585, for counting the observed value.
    """
    p_values = np.ones(inside.shape[1])
    for label in dict.fromkeys(labels):
        compared = np.ones(len(y_true), dtype=bool) if label is None else y_true == label
        columns = [k for k, other in enumerate(labels) if other == label]
        if compared.sum() < 2:
            continue
        y, codes = y_true[compared], np.unique(patient[compared], return_inverse=True)[1]
        residual = error[compared].astype(float)
        for value in np.unique(y):
            residual[y == value] -= residual[y == value].mean()
        member = inside[compared][:, columns].astype(np.float64)
        observed = member.T @ residual
        above = np.zeros(len(columns))
        below = np.zeros(len(columns))
        exchange = _PatientExchange(codes, y, rng)
        for first in range(0, n_permutations, 500):
            n = min(500, n_permutations - first)
            exchanged = np.stack([residual[exchange.draw()] for _ in range(n)], axis=1)
            statistic = member.T @ exchanged
            above += (statistic >= observed[:, None] - 1e-9).sum(axis=1)
            below += (statistic <= observed[:, None] + 1e-9).sum(axis=1)
        tail = (1 + np.minimum(above, below)) / (1 + n_permutations)
        p_values[columns] = np.minimum(1, 2 * tail)
    return p_values


class _PatientExchange:
    """Draws, for each sample, the position of a sample of the patient that lends its errors.

    Patients are exchanged among those with the same labels (0 only, 1 only, or both), since errors of the two labels
    differ in their spread; a sample takes from the lender's samples of its own label. Within these, patients are
    exchanged in groups of the same number of samples; groups of fewer than 10 patients are joined with the next. A
    lender with fewer samples lends some of them twice, one with more leaves some out.
    """

    def __init__(self, codes: np.ndarray, y: np.ndarray, rng: np.random.RandomState) -> None:
        self.rng = rng
        n_patients = int(codes.max()) + 1
        self.block = 2 * codes + y  # the samples of one patient with one label
        self.size = np.bincount(self.block, minlength=2 * n_patients)
        self.order = np.argsort(self.block, kind="stable")
        self.first = np.r_[0, np.cumsum(self.size)[:-1]]
        self.rank = np.empty(len(codes), dtype=int)
        self.rank[self.order] = np.arange(len(codes)) - np.repeat(self.first, self.size)
        by_label = self.size.reshape(-1, 2)
        profile = (by_label > 0) @ np.array([1, 2])
        self.groups: list[np.ndarray] = []
        for same in np.unique(profile):
            self.groups += self._of_like_size(np.flatnonzero(profile == same), by_label.sum(axis=1))

    @staticmethod
    def _of_like_size(patients: np.ndarray, size: np.ndarray, least: int = 10) -> list[np.ndarray]:
        groups: list[np.ndarray] = []
        waiting = np.empty(0, dtype=int)
        for n_samples in np.unique(size[patients]):
            waiting = np.concatenate([waiting, patients[size[patients] == n_samples]])
            if len(waiting) >= least:
                groups.append(waiting)
                waiting = waiting[:0]
        if len(waiting):
            groups.append(np.concatenate([groups.pop(), waiting]) if groups else waiting)
        return groups

    def draw(self) -> np.ndarray:
        lender = np.empty(len(self.size) // 2, dtype=int)
        for group in self.groups:
            lender[group] = self.rng.permutation(group)
        lending = 2 * np.repeat(lender, 2) + np.tile([0, 1], len(lender))  # the block that lends to each block
        offset = (self.rng.random_sample(len(lending)) * self.size[lending]).astype(int)
        chosen = lending[self.block]
        return self.order[self.first[chosen] + (self.rank + offset[self.block]) % self.size[chosen]]


def gap_interval(
    inside: np.ndarray,
    labels: Sequence[int | None],
    y_true: np.ndarray,
    error: np.ndarray,
    patient: np.ndarray,
    n_bootstraps: int,
    alpha: float,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Return (low, high) of the gap of each candidate, shape (n_candidates, 2), by resampling patients.

    Parameters
    ----------
    inside : ndarray of shape (n_samples, n_candidates), bool
    labels : sequence of {0, 1, None}
        Label within which each candidate is compared.
    y_true, error : ndarray of shape (n_samples,), 0 or 1
    patient : ndarray of shape (n_samples,), int
        Patient of each sample, as codes from 0.
    n_bootstraps : int
    alpha : float in (0, 1)
        The interval aims to cover 1 - alpha.
    rng : RandomState

    Returns
    -------
    ndarray of shape (n_candidates, 2), float64 in [-1, 1]
        NaN where fewer than half of the resamples have a member, and an outsider of each label that members have.

    Notes
    -----
    Percentile bootstrap over patients (Davison and Hinkley 1997, section 3.8). Resamples without a member or without
    an outsider of a needed label are left out. Where nobody inside errs, or everybody, its ends are too sure.
    """
    n_patients, n_candidates = int(patient.max()) + 1, inside.shape[1]
    in_label = [y_true == v for v in (0, 1)]
    columns = [
        (mask & of[:, None]) * value[:, None]
        for of in in_label
        for mask in (inside, ~inside)
        for value in (np.ones(len(error)), error)
    ]
    per_patient = np.zeros((n_patients, len(columns) * n_candidates), dtype=np.float32)
    np.add.at(per_patient, patient, np.hstack(columns).astype(np.float32))
    sums = []
    at_once = max(1, 4_000_000 // n_patients)  # a table of resamples x patients for a large hospital fills no memory
    for first in range(0, n_bootstraps, at_once):
        n = min(at_once, n_bootstraps - first)
        draws = rng.randint(0, n_patients, size=(n, n_patients)) + n_patients * np.arange(n)[:, None]
        weights = np.bincount(draws.ravel(), minlength=n * n_patients).reshape(n, n_patients)
        sums.append(weights.astype(np.float32) @ per_patient)
    # By label, then inside and outside, then samples and errors; a row a resample, a column a candidate.
    totals = np.concatenate(sums).astype(float).reshape(n_bootstraps, 2, 2, 2, n_candidates)
    result = np.full((n_candidates, 2), np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        for k, label in enumerate(labels):
            of_slice = totals[..., k][:, [0, 1] if label is None else [label]]
            n_in, wrong_in = of_slice[:, :, 0, 0], of_slice[:, :, 0, 1]
            n_out, wrong_out = of_slice[:, :, 1, 0], of_slice[:, :, 1, 1]
            share = n_in / n_in.sum(axis=1, keepdims=True)
            p_out = np.where(share > 0, share * wrong_out / n_out, 0).sum(axis=1)
            gap = wrong_in.sum(axis=1) / n_in.sum(axis=1) - p_out
            gap = gap[np.isfinite(gap)]
            if len(gap) >= n_bootstraps / 2:
                result[k] = np.quantile(gap, [alpha / 2, 1 - alpha / 2])
    return result


def detectable_gaps(
    n_patients: int,
    error_rate: float,
    design_effect_samples: float = 1.0,
    *,
    n_candidates: int,
    alpha: float = 0.05,
    power: float = 0.8,
    shares: Sequence[float] = (0.05, 0.1, 0.2, 0.3, 0.5),
) -> pd.DataFrame:
    """Return the smallest gap that this confirmation part would have confirmed, at several slice sizes.

    Parameters
    ----------
    n_patients : int
        Confirmation patients.
    error_rate : float in [0, 1]
        Error rate outside the slice.
    design_effect_samples : float > 0
        Samples a patient divided by their design effect: how many independent samples a patient is worth.
    n_candidates : int
        Candidates in the correction; the level is that of a slice which is the only real one, alpha / n_candidates.
    alpha : float in (0, 1)
    power : float in (0, 1)
        Chance of confirmation.
    shares : sequence of float in (0, 1)
        Slice sizes, as shares of the patients.

    Returns
    -------
    DataFrame with columns n_patients, share, gap
        Gap in [0, 1]; NaN where no gap is large enough.

    Notes
    -----
    Normal approximation of the two-sided test of two proportions (Fleiss, Levin and Paik 2003, section 4.2).
    """
    z_alpha = norm.isf(alpha / max(n_candidates, 1) / 2)
    z_power = norm.ppf(power)
    rows = []
    for share in shares:
        inside = round(share * n_patients)
        if inside < MIN_PATIENTS or n_patients - inside < MIN_PATIENTS:
            continue
        n_in, n_out = inside * design_effect_samples, (n_patients - inside) * design_effect_samples

        def shortfall(gap: float, n_in: float = n_in, n_out: float = n_out) -> float:
            p_in, p_out = error_rate + gap, error_rate
            pooled = (n_in * p_in + n_out * p_out) / (n_in + n_out)
            null_sd = np.sqrt(pooled * (1 - pooled) * (1 / n_in + 1 / n_out))
            sd = np.sqrt(p_in * (1 - p_in) / n_in + p_out * (1 - p_out) / n_out)
            return gap - z_alpha * null_sd - z_power * sd

        largest = 1 - error_rate
        possible = largest > 0 and shortfall(largest) > 0
        # From just above 0: a classifier without errors elsewhere needs no gap of 0, but one that chance rules out.
        gap = brentq(shortfall, 1e-9, largest) if possible else np.nan
        rows.append({"n_patients": inside, "share": share, "gap": gap})
    return pd.DataFrame(rows, columns=["n_patients", "share", "gap"]).astype(
        {"n_patients": np.int64, "share": np.float64, "gap": np.float64}
    )
