"""Confirmation: is a candidate's gap real on patients that discovery never saw, and what could have been found?"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pandas as pd
from joblib import cpu_count
from scipy.optimize import brentq
from scipy.stats import false_discovery_control, norm, t
from sklearn.utils import check_random_state

from mmaudit._errors import InputError
from mmaudit.data import Target
from mmaudit.metrics import METRICS, Metric, as_metric, evaluate
from mmaudit.slicers._scores import wilson

__all__ = [
    "PatientExchange",
    "confirm",
    "detectable_gaps",
    "gap_interval",
    "metric_frame",
    "permutation_p_values",
    "slice_metrics",
]

MIN_PATIENTS = 5  # confirmation patients inside, and outside, below which nothing is tested
MOST_PERMUTATIONS = 999  # of a metric that must be computed anew for each
MOST_BOOTSTRAPS = 1000
MOST_THREADS = 4  # more would wait: the random numbers of all permutations come from one stream
MOST_AT_ONCE = 500  # permutations
BATCH_BYTES = 2**24  # of permutations that are worked out together, in one thread

Comparisons = Sequence[tuple[int, "int | None"]]


def confirm(
    inside: np.ndarray,
    comparisons: Comparisons,
    targets: Sequence[Target],
    patient_id: np.ndarray,
    *,
    metric="error_rate",
    alpha: float = 0.05,
    n_permutations: int = 4999,
    n_bootstraps: int = 2000,
    counted_beside: np.ndarray | None = None,
    random_state=None,
) -> pd.DataFrame:
    """Return what the confirmation samples say about each candidate, one row a candidate, in their order.

    Parameters
    ----------
    inside : ndarray of shape (n_samples, n_candidates), bool
        Members among the confirmation samples. Must not depend on predictions of these samples.
    comparisons : sequence of (int, {0, 1, None})
        For each candidate the position of its target, and the label within which it is compared; None: both, and an
        error rate outside is weighted to the labels of the inside. Samples whose truth is not known take no part.
    targets : sequence of Target
        What is asked of the confirmation samples.
    patient_id : ndarray of shape (n_samples,)
    metric : str, Metric, or callable (y_true, y_proba, mask) -> float
        What is compared; see `mmaudit.metrics.as_metric`.
    alpha : float in (0, 1)
        Level: q-value at or below which, with an interval beyond 0, a candidate is confirmed; intervals cover
        1 - alpha.
    n_permutations, n_bootstraps : int
        Resamples; the smallest p-value is 2 / (n_permutations + 1). At most 999 and 1,000 for AUROC, calibration error
        and functions; intervals of error rate, sensitivity and specificity need none.
    counted_beside : ndarray of float in [0, 1], or None
        p-values of other candidates that count in the correction. None: there are none.
    random_state : int, RandomState or None
        Seed. None: another each time.

    Returns
    -------
    DataFrame
        Columns n_samples, n_patients, metric_inside, metric_outside, gap (inside minus outside), ci_low, ci_high,
        p_value, q_value, confirmed. NaN where fewer than 5 patients are inside or outside, or the metric cannot be
        computed on both; such a candidate counts in the correction with p = 1.

    Raises
    ------
    InputError
        Comparisons that do not fit the candidates, targets or labels, or a metric that is not known.

    Notes
    -----
    The p-value is twice the upper tail, of "worse inside", as in a two-sided test; a slice that is better has none. So
    without any failure, an audit has a finding at most about half as often as `alpha` says. Correction: Benjamini and
    Hochberg 1995 over all candidates of all targets, doi:10.1111/j.2517-6161.1995.tb02031.x.
    """
    rng, metric = check_random_state(random_state), as_metric(metric)
    _check_comparisons(comparisons, inside.shape[1], len(targets))
    frame = _numbers(inside, comparisons, targets, patient_id, metric, alpha, n_permutations, n_bootstraps, rng)
    frame["p_value"] = frame["p_value"].fillna(1.0)
    every = np.concatenate([frame["p_value"], [] if counted_beside is None else counted_beside])
    frame["q_value"] = false_discovery_control(every)[: len(frame)] if len(frame) else np.empty(0)
    beyond = np.where(metric.greater_is_better, frame["ci_high"] < 0, frame["ci_low"] > 0)
    frame["confirmed"] = (frame["q_value"] <= alpha) & (metric.worse * frame["gap"] > 0) & beyond
    return frame


def metric_frame(
    inside: np.ndarray,
    comparisons: Comparisons,
    targets: Sequence[Target],
    patient_id: np.ndarray,
    *,
    slice_ids: Sequence[str],
    metrics: Sequence,
    alpha: float = 0.05,
    n_permutations: int = 4999,
    n_bootstraps: int = 2000,
    random_state=None,
) -> pd.DataFrame:
    """Return several metrics of each slice, inside and outside it, one row a slice and metric.

    Parameters
    ----------
    inside, comparisons, targets, patient_id, alpha, n_permutations, n_bootstraps, random_state
        As for `confirm`.
    slice_ids : sequence of str
        A name for each slice.
    metrics : sequence of str, Metric, or callable
        See `mmaudit.metrics.as_metric`.

    Returns
    -------
    DataFrame
        Columns slice_id, metric, inside, outside, gap, ci_low, ci_high, p_value, q_value, note. The p-value is
        twice the upper tail, of "worse inside"; q-values are over all rows that have one. The note says why
        a row has none.
    """
    rng = check_random_state(random_state)
    _check_comparisons(comparisons, inside.shape[1], len(targets))
    frames = []
    for metric in map(as_metric, metrics):
        numbers = _numbers(inside, comparisons, targets, patient_id, metric, alpha, n_permutations, n_bootstraps, rng)
        numbers["slice_id"], numbers["metric"] = list(slice_ids), metric.name
        numbers["note"] = [
            _why_not(metric, label, p) for (_, label), p in zip(comparisons, numbers["p_value"], strict=True)
        ]
        frames.append(numbers.rename(columns={"metric_inside": "inside", "metric_outside": "outside"}))
    columns = ["slice_id", "metric", "inside", "outside", "gap", "ci_low", "ci_high", "p_value", "q_value", "note"]
    if not frames or inside.shape[1] == 0:
        return pd.DataFrame(columns=columns).astype(dict.fromkeys(columns[2:-1], float))
    frame = pd.concat(frames, ignore_index=True)
    tested = frame["p_value"].notna()
    frame["q_value"] = np.nan
    if tested.any():
        frame.loc[tested, "q_value"] = false_discovery_control(frame.loc[tested, "p_value"])
    rank = {slice_id: k for k, slice_id in enumerate(slice_ids)}
    return frame[columns].sort_values("slice_id", key=lambda s: s.map(rank), kind="stable", ignore_index=True)


def _why_not(metric: Metric, label: int | None, p_value: float) -> str:
    if label not in metric.labels:
        needs = f"cases of label {metric.only}" if metric.only is not None else "cases of both labels"
        return f"needs {needs}; the slice is within label {label}"
    return "too few patients inside or outside to compute or compare it" if np.isnan(p_value) else ""


def _check_comparisons(comparisons: Comparisons, n_candidates: int, n_targets: int) -> None:
    if len(comparisons) != n_candidates:
        raise InputError(
            "comparisons", f"one for each of {n_candidates} candidates", f"{len(comparisons)}", "Give (target, label)."
        )
    for of, label in comparisons:
        if not 0 <= of < n_targets or label not in (0, 1, None):
            raise InputError(
                "comparisons",
                f"a target below {n_targets}, and label 0, 1 or None",
                f"({of!r}, {label!r})",
                "Correct it.",
            )


def _numbers(
    inside, comparisons, targets, patient_id, metric, alpha, n_permutations, n_bootstraps, rng
) -> pd.DataFrame:
    """Return the numbers of each candidate under one metric, NaN where it cannot be tested."""
    who, ids = pd.factorize(np.asarray(patient_id), use_na_sentinel=False)
    patient = np.unique(np.asarray(ids, dtype=str), return_inverse=True)[1][who]  # text only of those that differ
    rows = [
        slice_metrics(inside[:, k], label, targets[of], patient, metric) for k, (of, label) in enumerate(comparisons)
    ]
    frame = pd.DataFrame(
        rows, columns=["n_samples", "n_patients", "n_patients_outside", "metric_inside", "metric_outside", "gap"]
    ).astype({"n_samples": int, "n_patients": int, "metric_inside": float, "metric_outside": float, "gap": float})
    testable = (frame[["n_patients", "n_patients_outside"]].min(axis=1) >= MIN_PATIENTS) & np.isfinite(frame["gap"])
    intervals = gap_interval(inside, comparisons, targets, patient, metric, n_bootstraps, alpha, rng)
    frame["ci_low"], frame["ci_high"] = intervals[:, 0], intervals[:, 1]
    frame["p_value"] = permutation_p_values(inside, comparisons, targets, patient, metric, n_permutations, rng)
    frame.loc[~testable, ["metric_inside", "metric_outside", "gap", "ci_low", "ci_high", "p_value"]] = np.nan
    return frame.drop(columns="n_patients_outside")


def _codes(values: np.ndarray) -> np.ndarray:
    """Return the position of each value among those there are, in their order."""
    return pd.factorize(np.asarray(values), sort=True)[0]


def slice_metrics(
    inside: np.ndarray, label: int | None, target: Target, patient: np.ndarray, metric="error_rate"
) -> tuple[int, int, int, float, float, float]:
    """Return (samples, patients, patients outside, metric inside, outside, gap) of one slice.

    Inside and outside are compared within `label`. With label None, an error rate (or Brier score) outside is the mean
    of those of labels 0 and 1, weighted by the labels of the inside: a slice with more disease has no gap for that
    alone.

    Parameters
    ----------
    inside : ndarray of shape (n_samples,), bool
        Members; those of another label than `label`, or of unknown truth, are left out.
    label : {0, 1, None}
    target : Target
    patient : ndarray of shape (n_samples,)
        Patient of each sample, of any kind that can be sorted.
    metric : str, Metric, or callable (y_true, y_proba, mask) -> float

    Returns
    -------
    tuple of (int, int, int, float, float, float)
        NaN where nobody is inside, nobody outside to compare with, or the metric cannot be computed.
    """
    metric = as_metric(metric)
    compared = _compared(metric, target, label)
    members, patient = inside[compared], patient[compared]
    counts = (int(members.sum()), len(pd.unique(patient[members])), len(pd.unique(patient[~members])))
    y, values = target.y_true[compared], values_of(metric, target)[compared]
    p_in, p_out = (float(value[0]) for value in _inside_outside(metric, y, values, members[None], label))
    return (*counts, p_in, p_out, p_in - p_out) if np.isfinite(p_in - p_out) else (*counts, np.nan, np.nan, np.nan)


def _compared(metric: Metric, target: Target, label: int | None) -> np.ndarray:
    """Return the mask of samples on which a slice within `label` is compared; none if the metric needs others."""
    if label not in metric.labels:
        return np.zeros(len(target.y_true), dtype=bool)
    only = metric.only if label is None else label
    return target.y_true >= 0 if only is None else target.y_true == only


def values_of(metric: Metric, target: Target) -> np.ndarray:
    """Return what the metric is given of each sample: answers or probabilities, as float."""
    return np.asarray(target.says if metric.answers else target.y_proba, dtype=float)


def _inside_outside(metric, y, values, masks, label) -> tuple[np.ndarray, np.ndarray]:
    """Return the metric inside and outside of each mask, two arrays of shape (n_masks,)."""
    p_in = evaluate(metric, y, values, masks)
    if not metric.by_label or label is not None:
        return p_in, evaluate(metric, y, values, ~masks)
    p_out = np.zeros(len(masks))
    with np.errstate(invalid="ignore"):
        for value in (0, 1):
            share = (masks & (y == value)).sum(axis=1) / masks.sum(axis=1)
            p_out += np.where(share == 0, 0, share * evaluate(metric, y, values, ~masks & (y == value)))
    return p_in, p_out


def comparison_groups(
    comparisons: Comparisons, targets, metric: Metric
) -> Iterator[tuple[list[int], int | None, np.ndarray]]:
    """Give, for each target and label, the candidates compared there, the label, and the mask of their samples."""
    for of, label in dict.fromkeys(tuple(c) for c in comparisons):
        rows = _compared(metric, targets[of], label)
        if rows.any():
            yield [k for k, c in enumerate(comparisons) if tuple(c) == (of, label)], label, rows


def permutation_p_values(
    inside: np.ndarray,
    comparisons: Comparisons,
    targets: Sequence[Target],
    patient: np.ndarray,
    metric,
    n_permutations: int,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Return p-values of "predictions have nothing to do with the slice", shape (n_candidates,).

    Whole patients are exchanged: each patient gets the predictions of another one with the same labels and about as
    many samples. So samples of one patient stay together, patients with many films are compared with their like, and a
    slice with more disease keeps the larger spread of errors that disease may have. The statistic is the sum over
    members of the errors (for the Brier score, of the squared differences), for other metrics the gap. Among equal
    numbers of errors, which are common in a small slice, the one with the larger squared differences between
    probability and label counts as more: a test on numbers of errors alone wastes up to half of its level.

    Parameters
    ----------
    inside : ndarray of shape (n_samples, n_candidates), bool
    comparisons : sequence of (int, {0, 1, None})
        Position of the target, and label, of each candidate.
    targets : sequence of Target
    patient : ndarray of shape (n_samples,)
        Patient of each sample.
    metric : str, Metric, or callable (y_true, y_proba, mask) -> float
    n_permutations : int
        At most 999 are made for metrics that are no means over samples.
    rng : RandomState

    Returns
    -------
    ndarray of shape (n_candidates,), float64 in [2 / (n_permutations + 1), 1]
        Twice the upper tail, "worse inside"; 1 where there is nothing to compare.

    Notes
    -----
    With one sample a patient, one label and equal probabilities of all who err, and of all who do not, it is twice
    the upper hypergeometric tail, Fisher's exact test. Phipson and Smyth 2010, doi:10.2202/1544-6115.1585, for
    counting the observed value.
    """
    metric = as_metric(metric)
    p_values = np.ones(inside.shape[1])
    for columns, label, rows in comparison_groups(comparisons, targets, metric):
        if rows.sum() < 2:
            continue
        target = targets[comparisons[columns[0]][0]].take(rows)
        exchange = PatientExchange(_codes(patient[rows]), target.y_true, rng)
        members = inside[rows][:, columns].T
        squared = (target.y_proba - target.y_true) ** 2
        if _counts_errors(metric):
            above, n = _sums_above(members, target.error, squared, exchange, n_permutations), n_permutations
        elif metric is METRICS["brier"]:
            above, n = _sums_above(members, squared, None, exchange, n_permutations), n_permutations
        else:
            n = min(n_permutations, MOST_PERMUTATIONS)
            above = _gaps_above(metric, target, members, label, exchange, n)
        p_values[columns] = np.minimum(1, 2 * (1 + above) / (1 + n))
    return p_values


def _counts_errors(metric: Metric) -> bool:
    return any(metric is METRICS[name] for name in ("error_rate", "sensitivity", "specificity"))


def _sums_above(members, loss, ties, exchange: PatientExchange, n_permutations: int) -> np.ndarray:
    """Return in how many permutations the sum over the members of each candidate is at least that observed.

    Where it is equal, the sums of what decides between ties are compared, if there is that.

    Threads and batches add in another order, and that must not decide. Errors are counted exactly: single precision
    holds integers up to 2**24. Sums of squares, of up to a million samples, are off by less than 1e-9: what differs by
    no more is equal. One sum of both, with a tolerance below the squares' share in it, would round more than that.
    """
    tolerance = 1e-9
    borrowers = exchange.order[members.any(axis=0)[exchange.order]]  # others add nothing to any sum
    exchange, inside = exchange.only(borrowers), members[:, borrowers]
    rows = [np.flatnonzero(m) for m in inside]
    exact = loss.dtype == bool
    lent, weights = (of.astype(np.float32 if exact else np.float64) for of in (loss[exchange.cycle], inside.T))
    observed = loss[borrowers].astype(weights.dtype) @ weights
    if ties is not None:
        lent_ties, tied_at = ties[exchange.cycle], np.array([ties[borrowers[r]].sum() for r in rows])

    def above(dealt: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
        at = exchange.places(*dealt)
        sums = lent.take(at) @ weights
        if ties is None:
            return (sums >= observed - tolerance).sum(axis=0)
        found, equal = (sums > observed).sum(axis=0), sums == observed
        for k in np.flatnonzero(equal.any(axis=0)):
            tied = lent_ties.take(at[np.flatnonzero(equal[:, k])[:, None], rows[k]]).sum(axis=1)
            found[k] += (tied >= tied_at[k] - tolerance).sum()
        return found

    # Of a sample: its place, its loss, and once more both and the square where there are ties. Of a block: the lender
    # and what is worked out with it.
    n_bytes = 32 * len(borrowers) + 48 * exchange.size.size
    n_at_once = min(max(BATCH_BYTES // n_bytes, 1), MOST_AT_ONCE)
    n_threads = min(cpu_count(), MOST_THREADS)
    total = np.zeros(len(members))
    waiting: deque[Future[np.ndarray]] = deque()
    with ThreadPoolExecutor(n_threads) as pool:
        for first in range(0, n_permutations, n_at_once):
            if len(waiting) > n_threads:
                total += waiting.popleft().result()
            waiting.append(pool.submit(above, exchange.deal(min(n_at_once, n_permutations - first))))
        return total + sum(future.result() for future in waiting)


def _gaps_above(metric, target: Target, members, label, exchange: PatientExchange, n_permutations: int) -> np.ndarray:
    values = values_of(metric, target)

    def statistic(values: np.ndarray) -> np.ndarray:
        p_in, p_out = _inside_outside(metric, target.y_true, values, members, label)
        return metric.worse * (p_in - p_out)

    observed = statistic(values)
    above = np.zeros(len(members))
    for _ in range(n_permutations):
        above += ~(statistic(values[exchange.draw()]) < observed - 1e-12)  # one that cannot be computed counts too
    return above


class PatientExchange:
    """Draws, for each sample, the position of a sample of the patient that lends its predictions.

    Patients are exchanged among those with the same labels (0 only, 1 only, or both), since errors of the two labels
    differ in their spread; a sample takes from the lender's samples of its own label. Within these, patients are
    exchanged in groups of the same number of samples; groups of fewer than 10 patients are joined with the next. A
    lender with fewer samples lends some of them twice, one with more leaves some out.

    Parameters
    ----------
    codes : ndarray of shape (n_samples,), int
        Patient of each sample, from 0.
    y : ndarray of shape (n_samples,), int
        Label of each sample, from 0.
    rng : RandomState
    """

    def __init__(self, codes: np.ndarray, y: np.ndarray, rng: np.random.RandomState) -> None:
        self.rng = rng
        n_patients, self.n_labels = int(codes.max()) + 1, int(y.max()) + 1
        by_label = np.bincount(self.n_labels * codes + y, minlength=self.n_labels * n_patients)
        by_label = by_label.reshape(n_patients, self.n_labels)
        profile = np.unique(by_label > 0, axis=0, return_inverse=True)[1].ravel()
        groups: list[np.ndarray] = []
        for same in range(profile.max() + 1):
            groups += self._of_like_size(np.flatnonzero(profile == same), by_label.sum(axis=1))
        # From here on patients are numbered group by group: those who lend to each other are near each other.
        self.ends = np.cumsum([len(group) for group in groups])
        self.patients = np.concatenate(groups)
        number = np.argsort(self.patients)  # of each patient
        self.block = self.n_labels * number[codes] + y  # the samples of one patient with one label
        self.size = by_label[self.patients]  # of each block: a patient in a row, a label in a column
        self.order = np.argsort(self.block, kind="stable")
        size = self.size.ravel()
        first = np.cumsum(size) - size
        self.rank = np.empty(len(codes), dtype=int)
        self.rank[self.order] = np.arange(len(codes)) - np.repeat(first, size)
        # The samples of a block over and over, so that a borrower may go on behind the last one. How long is bounded,
        # or one patient with thousands of samples would make it so for all who may lend to that patient.
        reach = [np.minimum(by_label[g].max(axis=0), np.ceil(4 * by_label[g].mean(axis=0))) for g in groups]
        self.reach = np.repeat(reach, [len(g) for g in groups], axis=0).astype(int).ravel()
        length = size + self.reach
        start = np.cumsum(length) - length
        turn = np.arange(length.sum()) - np.repeat(start, length)
        self.cycle = self.order[np.repeat(first, length) + turn % np.repeat(size, length)]
        self.start = start.reshape(self.size.shape)
        self.far = np.flatnonzero(self.rank >= self.reach[self.block])

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
        """Return positions of shape (n_samples,), each of a sample with the same label."""
        return self.cycle[self.places(*self.deal(1))[0]]

    def deal(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the random numbers of n draws, which `places` needs: who lends to each patient, and a number a block.

        Apart, so that these come in one order while threads do the rest.
        """
        n_patients = len(self.patients)
        lender = np.tile(np.arange(n_patients), (n, 1))
        number = np.empty((n, n_patients * self.n_labels))
        for k in range(n):
            for first, end in zip([0, *self.ends[:-1]], self.ends, strict=True):
                self.rng.shuffle(lender[k, first:end])
            number[k] = self.rng.random_sample(number.shape[1])
        return lender, number

    def places(self, lender: np.ndarray, number: np.ndarray) -> np.ndarray:
        """Return where in `cycle` the sample stands that is lent to each sample, shape (n, n_samples)."""
        number = number.reshape(len(number), -1, self.n_labels).take(self.patients, axis=1)
        offset = (number * self.size.take(lender, axis=0)).astype(int)
        at = (self.start.take(lender, axis=0) + offset).reshape(len(number), -1).take(self.block, axis=1)
        at += self.rank
        if len(self.far):
            patient, label = divmod(self.block[self.far], self.n_labels)
            lending, turned = (lender[:, patient], label), self.rank[self.far] + offset[:, patient, label]
            at[:, self.far] = self.start[lending] + turned % self.size[lending]
        return at

    def only(self, rows: np.ndarray) -> PatientExchange:
        """Return the same exchange, whose `places` are those of some samples."""
        some = copy.copy(self)
        some.block, some.rank = self.block[rows], self.rank[rows]
        some.far = np.flatnonzero(some.rank >= self.reach[some.block])
        return some


def gap_interval(
    inside: np.ndarray,
    comparisons: Comparisons,
    targets: Sequence[Target],
    patient: np.ndarray,
    metric,
    n_bootstraps: int,
    alpha: float,
    rng: np.random.RandomState,
) -> np.ndarray:
    """Return (low, high) of the gap of each candidate, shape (n_candidates, 2); patients, not samples, are the units.

    Parameters
    ----------
    inside : ndarray of shape (n_samples, n_candidates), bool
    comparisons : sequence of (int, {0, 1, None})
        Position of the target, and label, of each candidate.
    targets : sequence of Target
    patient : ndarray of shape (n_samples,), int
        Patient of each sample.
    metric : str, Metric, or callable (y_true, y_proba, mask) -> float
    n_bootstraps : int
        At most 1,000 are made; error rate, sensitivity and specificity need none.
    alpha : float in (0, 1)
        The interval aims to cover 1 - alpha.
    rng : RandomState

    Returns
    -------
    ndarray of shape (n_candidates, 2), float64
        NaN where it cannot be computed.

    Notes
    -----
    Error rate, sensitivity and specificity: two score intervals joined as differences of proportions are (Newcombe
    1998, method 10, doi:10.1002/(SICI)1097-0258(19980430)17:8<873::AID-SIM779>3.0.CO;2-I), each with as many samples as
    its variance is worth, and with the covariance of inside and outside where a patient has samples in both. The
    variance takes the correlation of errors within a patient from all patients compared. A percentile bootstrap of
    patients is too narrow in a slice of few patients, and has no width where nobody inside errs; see
    tests/bench/statistics.py.

    Other metrics: bias-corrected bootstrap of patients (Efron 1987, doi:10.1080/01621459.1987.10478410, without
    acceleration), its quantiles moved outwards as Student's t is from the normal distribution with the patients inside
    (Hesterberg 2015, doi:10.1080/00031305.2015.1089789). Resamples without a value are left out; NaN where those are
    more than half.
    """
    metric = as_metric(metric)
    result = np.full((inside.shape[1], 2), np.nan)
    for columns, label, rows in comparison_groups(comparisons, targets, metric):
        target = targets[comparisons[columns[0]][0]].take(rows)
        codes = _codes(patient[rows])
        members = inside[rows][:, columns].T
        if _counts_errors(metric):
            ends = np.array([_score_interval(m, target.y_true, target.error, codes, alpha) for m in members])
            result[columns] = -ends[:, ::-1] if metric.greater_is_better else ends
        else:
            n = min(n_bootstraps, MOST_BOOTSTRAPS)
            result[columns] = _bootstrap_interval(metric, target, members, label, codes, n, alpha, rng)
    return result


def _score_interval(inside, y, error, codes, alpha) -> tuple[float, float]:
    """Return the score interval of the error rate inside minus that outside at the labels of the inside."""
    cell = 2 * inside + y  # outside or inside, by label
    n = np.bincount(cell, minlength=4)
    wrong = np.bincount(cell, weights=error, minlength=4)
    share = n[2:] / max(n[2:].sum(), 1)
    if n[2:].sum() == 0 or ((share > 0) & (n[:2] == 0)).any():
        return np.nan, np.nan
    rate = wrong / np.maximum(n, 1)
    weight = (np.r_[share, share] / np.maximum(n, 1))[cell]  # of a sample in the rate of its side
    spread = np.sqrt(rate * (1 - rate))[cell]
    varies = spread > 0
    z = np.where(varies, (error - rate[cell]) / np.where(varies, spread, 1), 0)
    of_patient = np.bincount(codes, weights=z)
    pairs = (np.bincount(codes, weights=varies) ** 2).sum() - varies.sum()
    within = np.clip(((of_patient**2).sum() - (z**2).sum()) / max(pairs, 1), 0, 1)

    def variances(size: np.ndarray) -> tuple[float, float, float]:
        """Variance inside, outside, and covariance, of means of values with this spread."""
        inner, outer = weight * size * inside, weight * size * ~inside
        a, b = np.bincount(codes, weights=inner), np.bincount(codes, weights=outer)
        own = [(1 - within) * (side**2).sum() for side in (inner, outer)]
        return own[0] + within * (a @ a), own[1] + within * (b @ b), within * (a @ b)

    p = [float(share @ rate[2:]), float(share @ rate[:2])]
    in_var, out_var, covariance = variances(spread)
    flat = variances(np.ones(len(error)))
    size = [q * (1 - q) / v if v > 0 else 1 / f for q, v, f in zip(p, (in_var, out_var), flat[:2], strict=True)]
    link = covariance / np.sqrt(in_var * out_var) if in_var * out_var > 0 else flat[2] / np.sqrt(flat[0] * flat[1])
    critical = norm.isf(alpha / 2)
    (low_in, high_in), (low_out, high_out) = (wilson(q * m, m, critical) for q, m in zip(p, size, strict=True))

    def reach(one: float, other: float) -> float:
        return float(np.sqrt(max(0.0, one**2 - 2 * link * one * other + other**2)))

    gap = p[0] - p[1]
    return gap - reach(p[0] - low_in, high_out - p[1]), gap + reach(high_in - p[0], p[1] - low_out)


def _bootstrap_interval(metric, target: Target, members, label, codes, n_bootstraps, alpha, rng) -> np.ndarray:
    y, values = target.y_true, values_of(metric, target)
    n_patients = int(codes.max()) + 1
    gaps = np.empty((n_bootstraps, len(members)))
    for b in range(n_bootstraps):
        times = np.bincount(rng.randint(0, n_patients, n_patients), minlength=n_patients)
        rows = np.repeat(np.arange(len(y)), times[codes])
        p_in, p_out = _inside_outside(metric, y[rows], values[rows], members[:, rows], label)
        gaps[b] = p_in - p_out
    p_in, p_out = _inside_outside(metric, y, values, members, label)
    patients = [len(np.unique(codes[m])) for m in members]
    return np.array(
        [corrected_interval(g, o, n, alpha) for g, o, n in zip(gaps.T, p_in - p_out, patients, strict=True)]
    )


def corrected_interval(resampled: np.ndarray, observed: float, n_patients: int, alpha: float) -> tuple[float, float]:
    """Return the bias-corrected and widened bootstrap interval of one number.

    Parameters
    ----------
    resampled : ndarray of shape (n_bootstraps,), float
        The number in each resample; those that are not finite are left out.
    observed : float
        The number itself.
    n_patients : int
        Patients it rests on.
    alpha : float in (0, 1)

    Returns
    -------
    (low, high)
        NaN where fewer than half of the resamples have a number, or there are fewer than 2 patients.
    """
    finite = np.sort(resampled[np.isfinite(resampled)])
    if len(finite) < len(resampled) / 2 or n_patients < 2 or not np.isfinite(observed):
        return np.nan, np.nan
    below = ((finite < observed).mean() + (finite <= observed).mean()) / 2
    shift = norm.ppf(np.clip(below, 1 / len(finite), 1 - 1 / len(finite)))
    reach = t.isf(alpha / 2, n_patients - 1) * np.sqrt(n_patients / (n_patients - 1))
    low, high = np.quantile(finite, norm.cdf(2 * shift + np.array([-reach, reach])))
    return float(low), float(high)


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
