"""The slices of one audit under a second model: the same patients, two answers each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from scipy.stats import false_discovery_control
from sklearn.utils import check_random_state

from mmaudit._errors import InputError
from mmaudit.confirm import MIN_PATIENTS, comparison_groups, confirm, corrected_interval, slice_metrics, values_of
from mmaudit.data import AuditData
from mmaudit.explain import metric_words
from mmaudit.metrics import METRICS, Metric, as_metric, evaluate

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Comparison", "compare", "comparisons_of"]

SAME_SLICE = 0.5  # Jaccard index from which two slices are the same


@dataclass(frozen=True, eq=False)
class Comparison:
    """How a second model does in the slices of an audit.

    Attributes
    ----------
    frame : DataFrame, one row a candidate of the audit
        slice_id, description, error_type, n_samples, n_patients, metric_before and metric_after (inside the slice,
        under the model of the audit and the second one), change (after minus before), ci_low, ci_high, p_value,
        q_value, verdict ("better", "worse", "no clear change", "not tested").
    new : DataFrame
        Findings of the second model's own audit that match no slice of this one: slice_id, description, error_type,
        jaccard (with the nearest slice), and on patients in neither discovery part n_samples, n_patients,
        metric_before (first model inside), metric_inside, metric_outside, gap, ci_low, ci_high, p_value, q_value,
        confirmed (second model).
    overall : dict
        n_samples, n_patients, error_rate_before and error_rate_after, on the shared confirmation samples.
    metric : str
    greater_is_better : bool
    """

    frame: pd.DataFrame
    new: pd.DataFrame
    overall: dict[str, Any] = field(default_factory=dict)
    metric: str = "error_rate"
    greater_is_better: bool = False

    @property
    def sentences(self) -> list[str]:
        """What changed, in words: one sentence over all, one for each clear change, one for each new slice."""
        metric, count = metric_words(self.metric), self.frame["verdict"].value_counts()
        parts = [f"{count.get(v, 0)} {v}" for v in ("better", "worse", "no clear change", "not tested") if v in count]
        text = [
            f"Of {len(self.frame)} slices, under the second model: {', '.join(parts) or 'none'}. Error rate over all "
            f"{self.overall['n_patients']:,} shared held-out patients: {100 * self.overall['error_rate_before']:.1f} % "
            f"before, {100 * self.overall['error_rate_after']:.1f} % after."
        ]
        text += [
            f"{row.slice_id} ({row.description}) is {row.verdict}: {metric} {row.metric_before:.2f} before, "
            f"{row.metric_after:.2f} after, a change of {row.change:+.2f} ({row.ci_low:+.2f} to {row.ci_high:+.2f}) in "
            f"{row.n_patients} patients, q = {row.q_value:.2g}."
            for row in self.frame.itertuples()
            if row.verdict in ("better", "worse")
        ]
        text += [
            f"New with the second model: {row.description}; {metric} {row.metric_inside:.2f} inside, "
            f"{row.metric_outside:.2f} outside, and {row.metric_before:.2f} inside with the first model, on "
            f"{row.n_patients} patients that neither discovery saw; "
            f"{'confirmed' if row.confirmed else 'not confirmed'} (q = {row.q_value:.2g})."
            for row in self.new.itertuples()
        ]
        return text

    @property
    def sentence(self) -> str:
        """All sentences as one text."""
        return " ".join(self.sentences)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as one dict of plain types, NaN as None."""
        return {
            "metric": self.metric,
            "greater_is_better": self.greater_is_better,
            "overall": dict(self.overall),
            "sentences": self.sentences,
            "slices": self.frame.astype(object).where(self.frame.notna(), None).to_dict("records"),
            "new": self.new.astype(object).where(self.new.notna(), None).to_dict("records"),
        }

    def plot(self, ax: Axes | None = None) -> Axes:
        """Return axes with each slice under both models, joined by an arrow.

        Parameters
        ----------
        ax : matplotlib.axes.Axes or None
            Where to draw. None: a new figure.
        """
        from mmaudit.report import comparison_plot

        return comparison_plot(self.to_dict(), ax=ax)

    def __repr__(self) -> str:
        return "Comparison: " + "\n  ".join(self.sentences)

    def _repr_html_(self) -> str:
        from mmaudit.report import picture

        return picture(self.plot(), *self.sentences)


def compare(
    result: Any,
    other: Any,
    *,
    data: AuditData | None = None,
    metric=None,
    n_permutations: int = 999,
    n_bootstraps: int = 1000,
    random_state=0,
) -> Comparison:
    """Return how a second model does in the slices that an audit of a first model found.

    Parameters
    ----------
    result : AuditResult
        The audit of the first model. Its slices are taken as they are: who is a member depends on no prediction.
    other : AuditData, array of shape (n_samples,) or (n_samples, n_targets), or AuditResult
        The second model's predictions: with (some of) the same samples, matched by sample id; as probabilities in the
        order of the audited samples; or as an audit of its own, whose further findings are then tested too.
    data : AuditData or None
        What was audited. None: what the result holds.
    metric : str, Metric, callable or None
        None: the metric of the audit, where it is a named one.
    n_permutations, n_bootstraps : int
    random_state : int, RandomState or None
        Seed. None: another each time.

    Raises
    ------
    InputError
        No data; other labels, or another threshold; no shared confirmation samples; a metric that only its function
        tells.
    TypeError
        Another kind of `other`.

    Notes
    -----
    Only confirmation samples of the first audit that the second model has too. The two models' predictions are
    exchanged within whole patients for the two-sided p-value, and patients are resampled with both for the interval
    (bias-corrected, widened for few patients; see `mmaudit.confirm.gap_interval`). Where no answer in a slice differs,
    resampling would say 0 to 0; the interval is then that of a share of which n patients show none (Clopper and Pearson
    1934, doi:10.1093/biomet/26.4.404), to both sides. Correction: Benjamini-Hochberg over all slices. If the second
    model was trained on these patients, it looks better than it is.
    """
    rng = check_random_state(random_state)
    data = audited_data(result, data)
    metric = _metric(result, metric)
    second, theirs = _second(result, other, data)
    _check_same_question(result, other, data, second)

    place = pd.Index(second.sample_id.astype(str)).get_indexer(data.sample_id.astype(str))
    if (place < 0).all():
        raise InputError("other", "some of the audited samples", "none of them", "Match the sample ids of the two.")
    held_out = _positions(result, data, result.samples["part"] == "confirmation")
    shared = held_out & (place >= 0)
    if not shared.any():
        raise InputError(
            "other", "some of the audit's confirmation samples", "none of them", "Predict those samples as well."
        )
    threshold = result.settings.get("threshold", 0.5)
    before, all_after = data.targets(threshold), second.targets(threshold)
    rows = np.flatnonzero(shared)
    one = [target.take(rows) for target in before]
    two = [target.take(place[rows]) for target in all_after]
    for a, b in zip(one, two, strict=True):
        if (a.y_true != b.y_true).any():
            raise InputError(
                "other", "the same labels of the same samples", "labels that differ", "Compare on one set of labels."
            )
    inside = _members(result, data)[rows]
    patient = data.patient_id[rows]
    frame = _paired(
        result, comparisons_of(result, data), inside, one, two, patient, metric, n_permutations, n_bootstraps, rng
    )
    known = np.concatenate([t.y_true >= 0 for t in one])
    overall = {
        "n_samples": len(rows),
        "n_patients": len(pd.unique(patient)),
        "error_rate_before": float(np.concatenate([t.error for t in one])[known].mean()),
        "error_rate_after": float(np.concatenate([t.error for t in two])[known].mean()),
    }
    new = _new(result, theirs, data, second, place, held_out, before, all_after, metric, rng)
    return Comparison(frame, new, overall, metric.name, metric.greater_is_better)


def _metric(result: Any, metric: Any) -> Metric:
    name = result.settings.get("metric", "error_rate")
    if metric is None and name not in METRICS:
        raise InputError("metric", "the function that the audit compared", "its name alone", f"Give metric={name}.")
    return as_metric(name if metric is None else metric)


def audited_data(result: Any, data: AuditData | None) -> AuditData:
    """Return the cases of an audit: those given, or those the result holds; raise `InputError` if there are none."""
    data = result._data if data is None else data
    if data is None:
        raise InputError(
            "data",
            "the audited cases",
            "a result that holds none (it was loaded from a file or another process)",
            "Give them: data=….",
        )
    if not isinstance(data, AuditData):
        raise TypeError(f"data: expected AuditData, got {type(data).__name__}. Give the data that were audited.")
    if len(pd.Index(data.sample_id.astype(str)).symmetric_difference(result.samples.index.astype(str))):
        raise InputError("data", "the audited samples", "others, or some of them", "Give the data that were audited.")
    if data.y_proba is None:
        raise InputError("data", "the predictions that were audited", "none", "Add them: data.with_predictions(…).")
    return data


def comparisons_of(result: Any, data: AuditData) -> list[tuple[int, int | None]]:
    """Return (position of the target, label) of each candidate of an audit of these data."""
    names = [target.name for target in data.targets(result.settings.get("threshold", 0.5))]
    candidates = result.candidates
    targets = candidates["target"] if "target" in candidates and len(names) > 1 else [names[0]] * len(candidates)
    return [
        (names.index(name), None if label == "" else int(label))
        for name, label in zip(targets, candidates["label"], strict=True)
    ]


def _positions(result: Any, data: AuditData, of_samples: pd.Series) -> np.ndarray:
    """Return values by sample of the result in the order of the data."""
    place = result.samples.index.astype(str).get_indexer(data.sample_id.astype(str))
    return np.asarray(of_samples)[place]


def _members(result: Any, data: AuditData) -> np.ndarray:
    return _positions(result, data, result.membership >= 0.5)


def _second(result: Any, other: Any, data: AuditData) -> tuple[AuditData, Any]:
    """Return the second model's predictions as data, and its audit if there is one."""
    if isinstance(other, AuditData):
        if other.y_proba is None:
            raise InputError("other", "data with predictions", "data without", "Add them: other.with_predictions(…).")
        return other, None
    if isinstance(other, type(result)):
        if other._data is not None:
            return other._data, other
        # A loaded audit has the predictions, and the cases are those of the first one.
        columns = [c for c in other.samples if c == "y_proba" or c.startswith("y_proba:")]
        place = other.samples.index.astype(str).get_indexer(data.sample_id.astype(str))
        if (place < 0).all():
            raise InputError("other", "some of the audited samples", "none of them", "Match the sample ids of the two.")
        proba = other.samples[columns].to_numpy()[place[place >= 0]]
        return data.subset(place >= 0).with_predictions(proba[:, 0] if len(columns) == 1 else proba), other
    if isinstance(other, (np.ndarray, list, tuple, pd.Series, pd.DataFrame)):
        return data.with_predictions(np.asarray(other, dtype=float)), None
    raise TypeError(
        f"other: expected AuditData, an array of probabilities or an AuditResult, got {type(other).__name__}. "
        "Give data.with_predictions(probabilities of the second model)."
    )


def _check_same_question(result: Any, other: Any, data: AuditData, second: AuditData) -> None:
    if data.label_names != second.label_names:
        raise InputError(
            "other",
            f"the same label ({', '.join(data.label_names)})",
            ", ".join(second.label_names),
            "Compare models of one label.",
        )
    threshold = result.settings.get("threshold", 0.5)
    if isinstance(other, type(result)) and other.settings.get("threshold", 0.5) != threshold:
        raise InputError(
            "other",
            f"an audit at the threshold {threshold}",
            f"one at {other.settings.get('threshold', 0.5)}",
            "Audit both at one threshold, or give the second model's data.",
        )


def _paired(result, comparisons, inside, one, two, patient, metric: Metric, n_permutations, n_bootstraps, rng):
    """Return the frame of a comparison: each slice under both models."""
    candidates, alpha = result.candidates, result.settings.get("alpha", 0.05)
    frame = pd.DataFrame(
        {
            "slice_id": candidates["slice_id"],
            "description": candidates["description"],
            "error_type": candidates["error_type"],
            "n_samples": 0,
            "n_patients": 0,
            **dict.fromkeys(("metric_before", "metric_after", "change", "ci_low", "ci_high", "p_value"), np.nan),
        }
    )
    codes = np.unique(patient.astype(str), return_inverse=True)[1]
    for columns, _, rows in comparison_groups(comparisons, one, metric):
        k = comparisons[columns[0]][0]
        masks, y = inside[rows][:, columns].T, one[k].y_true[rows]
        first, second = values_of(metric, one[k])[rows], values_of(metric, two[k])[rows]
        who = np.unique(codes[rows], return_inverse=True)[1]
        n_patients = np.array([len(np.unique(who[m])) for m in masks])
        before, after = evaluate(metric, y, first, masks), evaluate(metric, y, second, masks)
        change = after - before
        # Exchange the two models in some of the patients.
        as_far = np.zeros(len(columns))
        for _ in range(n_permutations):
            swapped = (rng.random_sample(who.max() + 1) < 0.5)[who]
            a, b = np.where(swapped, second, first), np.where(swapped, first, second)
            by_chance = evaluate(metric, y, b, masks) - evaluate(metric, y, a, masks)
            as_far += ~(np.abs(by_chance) < np.abs(change) - 1e-12)
        resampled = np.empty((n_bootstraps, len(columns)))
        for b in range(n_bootstraps):
            times = np.bincount(rng.randint(0, who.max() + 1, who.max() + 1), minlength=who.max() + 1)
            drawn = np.repeat(np.arange(len(y)), times[who])
            resampled[b] = evaluate(metric, y[drawn], second[drawn], masks[:, drawn])
            resampled[b] -= evaluate(metric, y[drawn], first[drawn], masks[:, drawn])
        ends = np.array(
            [corrected_interval(r, c, n, alpha) for r, c, n in zip(resampled.T, change, n_patients, strict=True)]
        )
        # Resamples of patients whose answers are all the same do not vary, yet others might have changed: as many as
        # a share can be that none of n patients shows. How far a function of the user's then goes is not known.
        asked = masks if metric.only is None else masks & (y == metric.only)
        still = np.array([(first[m] == second[m]).all() for m in asked])
        reach = 1 - (alpha / 2) ** (1 / np.maximum(n_patients[still], 1)) if metric.name in METRICS else np.nan
        ends[still] = np.multiply.outer(reach * np.ones(still.sum()), [-1, 1])
        tested = (n_patients >= MIN_PATIENTS) & np.isfinite(change)
        numbers = np.column_stack([before, after, change, ends, (1 + as_far) / (1 + n_permutations)])
        numbers[~tested] = np.nan
        frame.loc[columns, ["n_samples", "n_patients"]] = np.column_stack([masks.sum(axis=1), n_patients])
        frame.loc[columns, ["metric_before", "metric_after", "change", "ci_low", "ci_high", "p_value"]] = numbers
    p_values = frame["p_value"].fillna(1.0)
    frame["q_value"] = false_discovery_control(p_values) if len(frame) else np.empty(0)
    clear = (frame["q_value"] <= alpha) & ((frame["ci_low"] > 0) | (frame["ci_high"] < 0))
    worse = metric.worse * frame["change"] > 0
    frame["verdict"] = np.select(
        [frame["change"].isna(), clear & worse, clear], ["not tested", "worse", "better"], "no clear change"
    )
    return frame


def _new(result, theirs, data, second, place, held_out, before, after, metric, rng) -> pd.DataFrame:
    """Return the findings of the second audit that match no slice of the first, tested where neither has looked."""
    tested = ["n_samples", "n_patients", "metric_before", "metric_inside", "metric_outside", "gap"]
    tested += ["ci_low", "ci_high", "p_value", "q_value"]
    columns = ["slice_id", "description", "error_type", "jaccard", *tested, "confirmed"]
    nothing = pd.DataFrame(columns=columns).astype(dict.fromkeys(["jaccard", *tested], float))
    if theirs is None or not theirs.candidates["confirmed"].any():
        return nothing
    have = np.flatnonzero(place >= 0)
    found = np.flatnonzero(theirs.candidates["confirmed"])
    their_members = _positions(theirs, second, theirs.membership >= 0.5)[place[have]][:, found]
    ours = _members(result, data)[have].astype(float)
    both = their_members.T.astype(float) @ ours
    either = their_members.sum(axis=0)[:, None] + ours.sum(axis=0) - both
    nearest = (both / np.maximum(either, 1)).max(axis=1, initial=0)
    kept = nearest < SAME_SLICE
    found, nearest = found[kept], nearest[kept]
    unseen = held_out[have] & (_positions(theirs, second, theirs.samples["part"])[place[have]] == "confirmation")
    if len(found) == 0 or not unseen.any():
        return nothing
    rows = have[unseen]
    inside = their_members[unseen][:, kept]
    comparisons = [comparisons_of(theirs, second)[k] for k in found]
    patient = data.patient_id[rows].astype(str)
    alpha = result.settings.get("alpha", 0.05)
    them = [target.take(place[rows]) for target in after]
    numbers = confirm(inside, comparisons, them, patient, metric=metric, alpha=alpha, random_state=rng)
    us = [target.take(rows) for target in before]
    numbers["metric_before"] = [
        slice_metrics(inside[:, k], label, us[of], patient, metric)[3] for k, (of, label) in enumerate(comparisons)
    ]
    numbers["jaccard"] = nearest
    for column in ("slice_id", "description", "error_type"):
        numbers[column] = theirs.candidates[column].to_numpy()[found]
    return numbers[columns]
