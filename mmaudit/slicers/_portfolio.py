"""The default slicer: rules and regions of risk over every modality, pooled, merged and ranked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted

from mmaudit.data import MODALITIES, Target
from mmaudit.encoders import Features
from mmaudit.slicers._predicates import Rule
from mmaudit.slicers._risk import MODELS, RiskSlicer
from mmaudit.slicers._rules import LABELS, RuleSlicer
from mmaudit.slicers._scores import Scorer
from mmaudit.slicers._spaces import Spaces

__all__ = ["Portfolio", "Slice", "strength"]

# The bound of a gap is one that chance alone exceeds this often in the whole search of a kind. It only ranks: what is
# true is for the confirmation samples to say. 0.05 to 5 gave the same within noise on simulated failures.
LEVEL = 1.0
ALIKE = 0.5  # Jaccard index in discovery from which two candidates are one; at 0.8 the list fills with one failure
OWN_SHARE = 0.5  # of its gap, that a candidate keeps on samples which better ones leave over, to be something new
SAME_GAP = 0.8  # of the gap of a region of risk, that a rule needs to take its place
RULES_PER_SLICE = 6
SURE = 0.9  # belief that a sample where a rule holds belongs to the failing group, before its errors are looked at
LEAST_BELIEF = 0.1  # of a sample that lies anywhere, and one less this, at most


@dataclass(frozen=True)
class Slice:
    """A slice as discovered.

    Attributes
    ----------
    slicer : {"rules", "risk"}
        What found it.
    modality : str
        The modalities it was found in, joined by "+".
    target : int
        Position of the target whose errors it is about.
    label : {0, 1, None}
        The label within which errors are compared; samples of the other are no members. None: both.
    rule : Rule or None
        What makes a member, where that can be said.
    n_tried : int
        Groups of its kind that were looked at; the lower bound of its gap is at a level divided by this.
    model : str
        Of a region of risk: the kind of model. "" for rules.
    component : int
        Of a region of risk: column of the model's `transform`.
    gap, bound : float in [-1, 1]
        Error rate inside minus outside in discovery, and its lower bound.
    error_inside, error_outside : float in [0, 1]
        Error rates in discovery; of a region of risk, on samples of patients that its model had not seen.
    """

    slicer: str
    modality: str
    target: int
    label: int | None
    rule: Rule | None
    n_tried: int
    model: str = ""
    component: int = 0
    gap: float = 0.0
    bound: float = 0.0
    error_inside: float = 0.5
    error_outside: float = 0.5

    def to_dict(self) -> dict[str, Any]:
        """Return the slice as JSON can hold it; `from_dict` makes it again."""
        return {**vars(self), "rule": None if self.rule is None else self.rule.to_dict()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Slice:
        """Return the slice that `to_dict` gave."""
        rule = values["rule"]
        return cls(**{**values, "rule": None if rule is None else Rule.from_dict(rule)})


@dataclass
class _Pool:
    """Candidates for one target: who is a member, and who counts as one when the gap is judged."""

    scorer: Scorer
    slices: list[Slice] = field(default_factory=list)
    members: list[np.ndarray] = field(default_factory=list)
    judged: list[np.ndarray] = field(default_factory=list)

    def add(self, found: Slice, members: np.ndarray, judged: np.ndarray) -> None:
        in_label = self.scorer.in_label(found.label)
        self.slices.append(found)
        self.members.append(members & in_label)
        self.judged.append(judged & in_label)


class Portfolio(BaseEstimator):
    """Candidates of `RuleSlicer` on all columns and of `RiskSlicer` on each modality and on all of them together.

    Rules find what is written down, in words that say what it is. Regions of risk find what is written nowhere. No
    modality drowns another, since each is searched by itself as well; all candidates are ranked together by a lower
    bound of their gap, and of two that are alike (Jaccard index of 0.5 or more) the better one is kept. A rule stands
    for a region of risk that is nearly the same samples (0.8).

    Parameters
    ----------
    n_slices : int
        Candidates kept at most.
    modalities : sequence of {"image", "report", "metadata"}
        What to search.
    labels : sequence of {0, 1, None}
        Labels to search slices within; None: over both.
    n_dimensions : int
        Principal components kept of each embedding.
    max_predicates : {1, 2, 3}
        Longest rule.
    min_patients : int
        Patients that a candidate must have inside and outside, in discovery.
    random_state : int, RandomState or None
        Seed. None: another each time.

    Attributes
    ----------
    slices_ : list of Slice
        Those that tell something new first, best first; then the same failures in other words.
    n_tried_ : int
        Groups looked at before the candidates were chosen.

    Notes
    -----
    The gap of a region of risk is that of out-of-fold members, so that it is no better for having been fitted to
    errors; the gap of a rule is the best of many, and its bound is lower the more were tried.
    """

    def __init__(
        self,
        n_slices: int = 10,
        *,
        modalities: Sequence[str] = MODALITIES,
        labels: Sequence[int | None] = LABELS,
        n_dimensions: int = 16,
        max_predicates: int = 2,
        min_patients: int = 8,
        random_state=None,
    ) -> None:
        self.n_slices = n_slices
        self.modalities = modalities
        self.labels = labels
        self.n_dimensions = n_dimensions
        self.max_predicates = max_predicates
        self.min_patients = min_patients
        self.random_state = random_state

    def fit(self, features: Features, targets: Sequence[Target], *, groups=None) -> Portfolio:
        """Search the discovery samples.

        Parameters
        ----------
        features : Features of n_samples
        targets : sequence of Target
            What the classifier answers, of the same samples; all are searched, and ranked together.
        groups : array of shape (n_samples,) or None
            Patient of each sample. None: each sample is a patient.
        """
        rng = check_random_state(self.random_state)
        n_samples = len(features.table)
        patient = np.arange(n_samples) if groups is None else np.asarray(groups, dtype=str)
        self._spaces = Spaces(features, self.modalities, self.n_dimensions, rng)
        self._models: dict[tuple[str, int, str], RiskSlicer] = {}
        self.n_tried_ = 0
        spaces = self._spaces.transform(features)
        pools = []
        for position, target in enumerate(targets):
            pool = _Pool(Scorer.from_target(target, patient))
            known = np.flatnonzero(target.y_true >= 0)
            self._add_rules(pool, features, position, target, known, len(targets))
            self._add_risks(pool, spaces, position, target, known, len(targets), rng)
            pools.append(pool)
        self.slices_ = self._choose(pools)
        return self

    def membership(self, features: Features, targets: Sequence[Target]) -> np.ndarray:
        """Return membership of shape (n_samples, n_slices_found), float32 in [0, 1].

        Samples at 0.5 and above are members. Who is one depends on the features and, for slices within one label, on
        the label; never on the prediction. How strong a member is does depend on it: one that the classifier got
        wrong is likelier to be of the group that it fails on than one that it got right, and comes first.
        """
        check_is_fitted(self, "slices_")
        spaces = self._spaces.transform(features)
        strengths: dict[tuple[str, int, str], np.ndarray] = {}
        columns = []
        for found in self.slices_:
            if found.rule is not None:
                belief = np.where(found.rule.holds(features.table), SURE, 1 - SURE)
            else:
                key = (found.modality, found.target, found.model)
                if key not in strengths:
                    strengths[key] = self._models[key].transform(spaces[found.modality])
                belief = strengths[key][:, found.component].astype(np.float64)
            columns.append(strength(belief, targets[found.target], found))
        shape = (len(features.table), len(columns))
        return np.stack(columns, axis=1).astype(np.float32) if columns else np.zeros(shape, dtype=np.float32)

    def _add_rules(self, pool: _Pool, features: Features, position: int, target: Target, known, n_targets: int) -> None:
        for searched in self._sets_of_modalities(features):
            table = features.table[features.columns(searched)]
            slicer = RuleSlicer(
                self.max_predicates,
                n_rules=RULES_PER_SLICE * self.n_slices,
                min_patients=self.min_patients,
                alpha=LEVEL,
            ).fit(
                table.iloc[known],
                target.y_true[known],
                y_proba=target.says[known].astype(float),
                groups=pool.scorer.patient[known],
            )
            self.n_tried_ += slicer.n_tried_
            for rule, label in zip(slicer.rules_, slicer.labels_, strict=True):
                kinds = {features.kinds[p.column] for p in rule.predicates}
                if label not in self.labels or (len(searched) > 1 and len(kinds) == 1):
                    continue  # one modality alone has been searched by itself
                modality = "+".join(m for m in MODALITIES if m in kinds)
                n_tried = n_targets * slicer.n_tried_of_length_[len(rule.predicates)]
                holds = rule.holds(table)
                pool.add(Slice("rules", modality, position, label, rule, n_tried), holds, holds)

    def _sets_of_modalities(self, features: Features) -> list[tuple[str, ...]]:
        """Return each modality, and all together: the searches that are made, each with a level of its own."""
        alone = [(m,) for m in MODALITIES if m in self.modalities and features.columns([m])]
        return alone + ([tuple(m for (m,) in alone)] if len(alone) > 1 else [])

    def _add_risks(self, pool: _Pool, spaces, position: int, target: Target, known, n_targets: int, rng) -> None:
        n_tried = n_targets * len(spaces) * len(MODELS) * len(LABELS)
        for space, X in spaces.items():
            for model in MODELS:
                slicer = RiskSlicer(model, n_dimensions=None, random_state=rng)
                out_of_fold = np.zeros((len(LABELS), len(X)), dtype=bool)
                strength = slicer.fit_transform(
                    X[known],
                    target.y_true[known],
                    y_proba=target.says[known].astype(float),
                    groups=pool.scorer.patient[known],
                )
                out_of_fold[: strength.shape[1], known] = strength.T >= 0.5
                self._models[space, position, model] = slicer
                self.n_tried_ += strength.shape[1]
                members = slicer.transform(X).T >= 0.5
                for k, label in enumerate(slicer.labels_):
                    if label in self.labels:
                        found = Slice("risk", space, position, label, None, n_tried, model, k)
                        pool.add(found, members[k], out_of_fold[k])

    def _choose(self, pools: Sequence[_Pool]) -> list[Slice]:
        """Return the slices with the highest bounds, no two of one target alike.

        A region of risk that is much the same as a rule in words gives its place to the rule: who reads it knows what
        it is, and it holds for the same samples elsewhere.
        """
        candidates: list[_Candidate] = []
        for pool in pools:
            judged = _judge(pool.slices, pool.judged, pool.scorer, self.min_patients)
            candidates += [
                _Candidate(*found) for found in zip(judged, pool.members, pool.judged, strict=True) if found[0].gap > 0
            ]
        candidates.sort(key=lambda c: -c.found.bound)
        chosen: list[_Candidate] = []
        for candidate in candidates:
            if len(chosen) == self.n_slices:
                break
            if any(_alike(candidate, better) for better in chosen):
                continue
            if candidate.found.rule is None:
                rules = (
                    other
                    for other in candidates
                    if other.in_words
                    and other.found.gap >= SAME_GAP * candidate.found.gap
                    and _alike(other, candidate)
                    and not any(_alike(other, better) for better in chosen)
                )
                candidate = next(rules, candidate)
            chosen.append(candidate)
        return [c.found for c in _new_first(chosen, [pool.scorer for pool in pools], self.min_patients)]


@dataclass(frozen=True)
class _Candidate:
    """A slice, who is a member, and who counts as one when the gap is judged."""

    found: Slice
    members: np.ndarray
    judged: np.ndarray

    @property
    def in_words(self) -> bool:
        return self.found.rule is not None and "image" not in self.found.modality


def _new_first(chosen: list[_Candidate], scorers: list[Scorer], min_patients: int) -> list[_Candidate]:
    """Return the candidates in the order of what each tells that those before it have not told.

    Next is always the one with the highest bound on the samples that those before it leave over. At the end come, by
    their bounds, those that keep less than half of their gap there: the same failures in other words.
    """
    scorers = list(scorers)
    waiting, told = list(chosen), []
    while waiting:
        best, best_bound = None, -np.inf
        for candidate in waiting:
            of = candidate.found.target
            own = _judge([candidate.found], [candidate.judged], scorers[of], min_patients)[0]
            if own.gap >= OWN_SHARE * candidate.found.gap and own.bound > best_bound:
                best, best_bound = candidate, own.bound
        if best is None:
            break
        told.append(best)
        waiting = [c for c in waiting if c is not best]
        left = scorers[best.found.target]
        scorers[best.found.target] = replace(left, y=np.where(best.members, -1, left.y))
    return told + waiting


def _alike(one: _Candidate, other: _Candidate) -> bool:
    """Return whether two candidates for one target have much the same members."""
    if one.found.target != other.found.target:
        return False
    either = (one.members | other.members).sum()
    return bool((one.members & other.members).sum() >= ALIKE * max(either, 1))


def _judge(found_slices: list[Slice], members: list[np.ndarray], scorer: Scorer, min_patients: int) -> list[Slice]:
    """Return the slices with their gaps and bounds; a gap of -1 where there is too little to compare."""
    if not found_slices:
        return []
    judged = np.array(members)
    counts, errors = scorer.group(judged)
    n_tried = np.array([found.n_tried for found in found_slices])
    slices = list(found_slices)
    for label in LABELS:
        p_in, _, p_out, _ = scorer.rates(counts, errors, label)
        bound = scorer.bound(counts, errors, label, n_tried, LEVEL)
        enough = scorer.comparable(counts, label, min_patients)
        in_label = scorer.in_label(label)
        for k, found in enumerate(found_slices):
            if found.label != label:
                continue
            inside, outside = judged[k] & in_label, ~judged[k] & in_label
            if not enough[k] or min(scorer.n_patients(inside), scorer.n_patients(outside)) < min_patients:
                slices[k] = replace(found, gap=-1.0, bound=-1.0)
                continue
            slices[k] = replace(
                found,
                gap=float(p_in[k] - p_out[k]),
                bound=float(bound[k]),
                error_inside=float(p_in[k]),
                error_outside=float(p_out[k]),
            )
    return slices


def strength(belief: np.ndarray, target: Target, found: Slice) -> np.ndarray:
    """Return the belief that a sample belongs to the failing group, its errors counted in by Bayes' rule.

    `belief` in [0, 1] is that from features alone. The result is on the same side of 0.5: errors order members, and
    order others, but make nobody a member.
    """
    compared = target.y_true >= 0 if found.label is None else target.y_true == found.label
    inside = float(np.clip(found.error_inside, 0.02, 0.98))
    outside = float(np.clip(min(found.error_outside, found.error_inside), 0.02, 0.98))
    before = LEAST_BELIEF + (1 - 2 * LEAST_BELIEF) * belief
    if_inside = before * np.where(target.error, inside, 1 - inside)
    if_outside = (1 - before) * np.where(target.error, outside, 1 - outside)
    posterior = if_inside / (if_inside + if_outside)
    return np.where(belief >= 0.5, 0.5 + 0.5 * posterior, 0.499 * posterior) * compared
