"""Search for rules under which the classifier errs more than elsewhere, within each label.

The package `sliceline` searches conjunctions too, and is not used. Its score weighs errors against size, where ours is
a confidence bound against the rest of the label, and it cannot be given another. Version 0.3.0 loses rules where there
are many columns: it tells them apart by products of the columns' sizes in float64, which are rounded from 34 columns of
two values on. And on the same predicates it took about 30 times our processor time for pairs of 300 on 1,500 samples,
about 100 times for triples of 150 on 160 samples; triples of 300 did not fit into 8 GB (tests/bench/rule_search.py).
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import pandas as pd
from scipy.stats import norm
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from mmaudit._errors import AuditWarning, InputError
from mmaudit.slicers._masks import PackedMasks
from mmaudit.slicers._predicates import Predicate, Rule, make_predicates
from mmaudit.slicers._scores import Scorer, check_in_range, check_predictions, gap_lower_bound

__all__ = ["RuleSlicer"]

LABELS = (0, 1, None)
_PAIRS = 16_384  # scored at a time, so that what is computed of them stays in the processor's cache
_CHUNK = 4_096  # samples of which all predicates are unpacked at a time
_FEW = 500  # samples, below which complements are counted sooner than worked out
LOWEST = -1.0  # no bound of a gap is lower


def n_rules_of(n_predicates: int, max_predicates: int) -> int:
    """Return how many rules of at most `max_predicates` there are, each within every label."""
    return len(LABELS) * sum(math.comb(n_predicates, length) for length in range(1, max_predicates + 1))


class RuleSlicer(TransformerMixin, BaseEstimator):
    """Rules of one to three predicates with more errors inside than outside, compared within the same label.

    All predicates, their pairs and their triples are searched; counts come from matrix products of the 0/1 predicate
    matrix, so the search is exact. A pair or triple is kept only if it beats all of its parts. Rules are ranked by a
    lower bound of the gap, at a level divided by the number of rules of at most that length.

    Parameters
    ----------
    max_predicates : {1, 2, 3}
        Longest rule.
    n_rules : int
        Rules kept, after near-duplicates (Jaccard ≥ 0.8) are left out. Of each length above 1 and each label, the
        ten times as many that score best are considered.
    n_bins : int
        Quantile bins of a numeric column.
    min_patients : int
        Patients (samples, where no groups are given) that a rule must cover, and leave out, within its label.
    threshold : float in (0, 1)
        Probability from which the classifier says 1.
    alpha : float in (0, 1)
        Level of the lower bound.
    max_extensions : int
        Most triples to search. Where there are more, only predicates that occur in the best pairs are joined by
        threes: so many that their triples are no more than this.

    Attributes
    ----------
    predicates_ : list of Predicate
        The parts that rules were made of.
    rules_ : list of Rule
        Best first.
    labels_ : list of {0, 1, None}
        The label within which each rule was found; None: both.
    scores_ : ndarray of shape (n_rules_found,), float64
        Lower bounds of the gap, in [-1, 1].
    n_tried_ : int
        Rules searched. It counts those that were proven too weak before they were scored, and those that
        `max_extensions` left out, since which these are depends on the errors.
    n_tried_of_length_ : dict of {1, 2, 3} to int
        Rules searched of at most that many predicates.
    n_scored_triples_ : int
        Rules of three predicates that were scored; the others were proven too weak.
    exact_ : bool
        Whether no triple was left out because of `max_extensions`.

    Notes
    -----
    Time grows with n_samples x n_predicates², for triples with n_samples x n_predicates³ at worst, where predicates
    that are complements, such as "mentions" and "does not mention", count as one. Memory grows with n_predicates x
    (n_samples / 8 + n_predicates): a predicate of a sample is one bit, unpacked for some 4,000 samples at a time. Two
    predicates of one column make an interval, or two exclusions. They never contradict each other, for then no sample
    is inside, and neither is redundant, for then the pair does not beat the other. Scores are of the samples searched:
    only held-out patients can say whether a rule is true.

    References
    ----------
    Sagadeeva and Boehm 2021 (SliceLine), doi:10.1145/3448016.3457323, for slices as conjunctions with exact counts
    by linear algebra, and for bounds on what a longer conjunction can reach. The score here is a confidence bound
    instead of their weighted sum of error and size; the most it can reach is derived beside the search.

    Examples
    --------
    >>> import numpy as np, pandas as pd
    >>> rng = np.random.default_rng(0)
    >>> table = pd.DataFrame({"view": rng.choice(["PA", "AP"], 400), "age": rng.integers(20, 90, 400)})
    >>> y = rng.integers(0, 2, 400)
    >>> wrong = rng.random(400) < np.where(table["view"] == "AP", 0.5, 0.1)
    >>> slicer = RuleSlicer().fit(table, y, y_proba=np.where(wrong, 1 - y, y))
    >>> print(slicer.rules_[0])
    view = AP
    """

    def __init__(
        self,
        max_predicates: int = 2,
        *,
        n_rules: int = 40,
        n_bins: int = 5,
        min_patients: int = 8,
        threshold: float = 0.5,
        alpha: float = 0.05,
        max_extensions: int = 20_000_000,
    ) -> None:
        self.max_predicates = max_predicates
        self.n_rules = n_rules
        self.n_bins = n_bins
        self.min_patients = min_patients
        self.threshold = threshold
        self.alpha = alpha
        self.max_extensions = max_extensions

    def fit(self, X, y=None, *, y_proba=None, groups=None) -> RuleSlicer:
        """Search the rules.

        Parameters
        ----------
        X : DataFrame or array of shape (n_samples, n_columns)
            Numeric, categorical or boolean columns; an array's columns are called x0, x1, …
        y : array of shape (n_samples,), 0 or 1, or None
            Labels.
        y_proba : array of shape (n_samples,), float in [0, 1], or None
            Probabilities of label 1. None (or y None): there are no errors to search for, and no rules.
        groups : array of shape (n_samples,) or None
            Patient of each sample. None: each sample is a patient.

        Raises
        ------
        InputError
            For labels other than 0 and 1, probabilities outside [0, 1], or a parameter out of its range.
        """
        if self.max_predicates not in (1, 2, 3):
            raise InputError(
                "max_predicates", "1, 2 or 3", f"{self.max_predicates!r}", "Longer rules are not searched."
            )
        check_in_range(1, n_rules=self.n_rules, min_patients=self.min_patients, max_extensions=self.max_extensions)
        check_in_range(2, n_bins=self.n_bins)
        check_in_range(0, 1, threshold=self.threshold, alpha=self.alpha)
        table = self._table(X, reset=True)
        self.predicates_: list[Predicate] = []
        self.rules_: list[Rule] = []
        self.labels_: list[int | None] = []
        self.scores_ = np.empty(0)
        self.n_tried_ = 0
        self.n_tried_of_length_ = {1: 0, 2: 0, 3: 0}
        self.n_scored_triples_ = 0
        self.exact_ = True
        if y is None or y_proba is None:
            warnings.warn(
                "y_proba: expected labels and probabilities to search errors in, got none. No rules are made.",
                AuditWarning,
                stacklevel=2,
            )
            return self
        scorer = Scorer.from_predictions(*check_predictions(y, y_proba, len(table)), groups, self.threshold)
        predicates, holds = make_predicates(table, n_bins=self.n_bins, min_samples=self.min_patients)
        self.predicates_ = predicates
        search = _Search(
            holds,
            scorer,
            self.max_predicates,
            min_patients=self.min_patients,
            alpha=self.alpha,
            max_extensions=self.max_extensions,
            n_best=10 * self.n_rules,
        )
        self.n_tried_of_length_ = search.n_tried
        self.n_tried_ = search.n_tried[3]
        self.n_scored_triples_ = search.n_scored
        self.exact_ = search.exact
        self._keep_distinct(sorted(search.found, key=lambda f: -f[0]), holds, scorer)
        return self

    def transform(self, X) -> np.ndarray:
        """Return membership, 1 where a rule holds and 0 elsewhere, shape (n_samples, n_rules_found), float32."""
        check_is_fitted(self, "rules_")
        table = self._table(X, reset=False)
        if not self.rules_:
            return np.zeros((len(table), 0), dtype=np.float32)
        return np.stack([rule.holds(table) for rule in self.rules_], axis=1).astype(np.float32)

    def _table(self, X, *, reset: bool) -> pd.DataFrame:
        if isinstance(X, pd.DataFrame):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X
        array = validate_data(self, X, reset=reset)
        return pd.DataFrame(array, columns=[f"x{i}" for i in range(array.shape[1])])

    def _keep_distinct(self, found, holds: PackedMasks, scorer: Scorer) -> None:
        kept: list[tuple[int | None, np.ndarray, int]] = []
        compared = {label: scorer.in_label(label) for label in LABELS}
        for score, label, parts in found:
            if len(kept) >= self.n_rules:
                break
            inside = holds.all_of(parts) & compared[label]
            size = int(np.count_nonzero(inside))
            if any(
                label == other and _alike(int(np.count_nonzero(inside & mask)), size, other_size)
                for other, mask, other_size in kept
                if 0.8 * other_size <= size <= 1.25 * other_size
            ):
                continue
            outside = ~inside & compared[label]
            if min(scorer.n_patients(inside), scorer.n_patients(outside)) < self.min_patients:
                continue
            kept.append((label, inside, size))
            self.rules_.append(Rule(tuple(self.predicates_[k] for k in parts)))
            self.labels_.append(label)
            self.scores_ = np.append(self.scores_, score)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False  # of arrays; a table may have missing values
        tags.transformer_tags.preserves_dtype = []  # membership is float32 whatever X is
        return tags


def _alike(n_both: int, size: int, other_size: int) -> bool:
    """Return whether two sets have a Jaccard index of 0.8 or more."""
    return n_both >= 0.8 * (size + other_size - n_both)


class _Search:
    """The best rules of each length and label, as (score, label, indices of predicates), not sorted.

    Parameters
    ----------
    holds : PackedMasks of n_predicates and n_samples
    scorer : Scorer
    max_predicates, min_patients, alpha, max_extensions
        As of `RuleSlicer`.
    n_best : int
        Rules to return of each length above 1 and each label.
    """

    def __init__(
        self, holds: PackedMasks, scorer: Scorer, max_predicates, *, min_patients, alpha, max_extensions, n_best
    ) -> None:
        self.holds = holds
        self.scorer = scorer
        self.max_predicates = max_predicates
        self.min_patients = min_patients
        self.alpha = alpha
        self.max_extensions = max_extensions
        self.n_best = n_best
        self.n_tried = {k: n_rules_of(len(holds), min(k, max_predicates)) for k in (1, 2, 3)}
        self.z = {k: norm.isf(alpha / max(n, 1)) for k, n in self.n_tried.items()}
        self.n_scored = 0
        self.exact = True
        self.found: list[tuple[float, int | None, tuple[int, ...]]] = []
        if len(holds) == 0:
            return
        self.base = holds.complements()
        self.samples = [
            [np.flatnonzero((scorer.y == v) & (scorer.error == wrong)) for v in (0, 1)] for wrong in (False, True)
        ]
        everyone = np.arange(len(holds))
        self.right, self.wrong = ([self._count(s, everyone).astype(float) for s in part] for part in self.samples)
        self._singles()
        if max_predicates > 1:
            self._pairs()
        if max_predicates > 2 and self.best_part:
            self._triples()

    def _singles(self) -> None:
        everyone = np.arange(len(self.holds))
        counts, errors = self._counts(everyone, everyone)
        self.single = {label: self._score(counts, errors, label, 1) for label in LABELS}
        for label, score in self.single.items():
            self.found += [(float(score[i]), label, (int(i),)) for i in np.flatnonzero(score > -np.inf)]

    def _pairs(self) -> None:
        n = len(self.holds)
        everyone = np.triu_indices(n, k=1)
        extended = self.max_predicates > 2
        # For triples: the best score of each pair and its two predicates, of labels within which any is compared.
        self.best_part: dict[int | None, np.ndarray] = {}
        found: dict[int | None, list[tuple]] = {label: [] for label in LABELS}
        for start in range(0, len(everyone[0]), _PAIRS):
            i, j = (of[start : start + _PAIRS] for of in everyone)
            counts, errors = self._counts(i, j)
            for label in LABELS:
                comparable = self.scorer.comparable(counts, label, self.min_patients)
                if not comparable.any():
                    continue
                parts = np.maximum(self.single[label][i], self.single[label][j])
                floor = np.maximum(parts, LOWEST)
                hopeful = np.flatnonzero(comparable & self._may_exceed(floor, counts, errors, label, 2))
                counts_of, errors_of = ([x[hopeful] for x in part] for part in (counts, errors))
                score = self._score(counts_of, errors_of, label, 2)
                better = np.flatnonzero(score > parts[hopeful])
                found[label].append((score[better], i[hopeful[better]], j[hopeful[better]]))
                if extended:
                    if label not in self.best_part:
                        single = self.single[label]
                        self.best_part[label] = np.maximum.outer(single, single).astype(np.float32)
                        np.fill_diagonal(self.best_part[label], -1)
                    best = self.best_part[label]
                    best[i[hopeful], j[hopeful]] = best[j[hopeful], i[hopeful]] = np.maximum(score, parts[hopeful])
        for label, some in found.items():
            if some:
                score, i, j = (np.concatenate(of) for of in zip(*some, strict=True))
                self.found += self._best(score, score > -np.inf, label, i, j)

    def _triples(self) -> None:
        """Add the best triples, each found from its rarest predicate i, among the samples for which i holds.

        A pair, then a triple, is left as soon as it has too few errors to enter the best found so far, whatever else
        it holds: so the right samples, which are many, need not be counted. Of the rest, only those are scored that
        a quick bound lets enter.
        """
        found: dict[int | None, list] = {label: [] for label in self.best_part}
        floor = dict.fromkeys(self.best_part, LOWEST)
        reach = {label: self._reach(label) for label in self.best_part}
        order = self._worth_extending()
        for position, i in enumerate(order):
            least = {label: np.searchsorted(reach[label], floor[label], side="right") for label in floor}
            others = order[position + 1 :]
            others = others[self._any_has([w[i, others] for w in self.wrong], least)]
            held = self.holds[i]
            of_i = [[s[held[s]] for s in part] for part in self.samples]
            wrong = [self._count(s, others) for s in of_i[1]]
            a, b = np.nonzero(np.triu(self._any_has(wrong, least), k=1))
            if len(a) == 0:
                continue
            used = np.zeros(len(others), dtype=bool)
            used[a] = used[b] = True
            at = np.cumsum(used) - 1
            right = [self._count(s, others[used])[at[a], at[b]] for s in of_i[0]]
            errors = [w[a, b] for w in wrong]
            counts = [r + e for r, e in zip(right, errors, strict=True)]
            j, k = others[a], others[b]
            for label, best in self.best_part.items():
                least_score = np.maximum(np.maximum(best[i, j], best[i, k]), best[j, k])
                least_score = np.maximum(least_score, np.float32(floor[label]))
                hopeful = np.flatnonzero(self._may_exceed(least_score, counts, errors, label, 3))
                self.n_scored += len(hopeful)
                counts_of, errors_of = ([x[hopeful].astype(float) for x in part] for part in (counts, errors))
                score = self._score(counts_of, errors_of, label, 3)
                parts = np.full(len(hopeful), i), j[hopeful], k[hopeful]
                new = self._best(score, score > least_score[hopeful], label, *parts)
                if new:
                    found[label] = sorted(found[label] + new, key=lambda f: -f[0])[: self.n_best]
                    if len(found[label]) == self.n_best:
                        floor[label] = found[label][-1][0]
        for triples in found.values():
            self.found += [(score, label, tuple(sorted(parts))) for score, label, parts in triples]

    def _worth_extending(self) -> np.ndarray:
        """Return the predicates to make triples of, rarest first: so most others are tried where samples are few."""
        n_most = n = len(self.right[0])
        while math.comb(n_most, 3) > self.max_extensions:
            n_most -= 1
        self.exact = n_most == n
        promise = np.max([best.max(axis=1) for best in self.best_part.values()], axis=0)
        chosen = np.argsort(-promise, kind="stable")[:n_most]
        return chosen[np.argsort(self.holds.count()[chosen], kind="stable")]

    def _count(self, samples: np.ndarray, predicates: np.ndarray) -> np.ndarray:
        """Return for how many of these samples every two of these predicates hold, (n, n) float, exact.

        Counted are those that are no complements: if b is the complement of a, it holds together with c as often as c
        less a and c. A product of a matrix with itself costs half of another.
        """
        base = predicates if len(samples) < _FEW else self.base[predicates]
        counted, at = np.unique(base, return_inverse=True)
        dtype = np.float32 if len(samples) < 2**24 else np.float64  # both are exact
        total = np.zeros((len(counted), len(counted)), dtype=dtype)
        for start in range(0, len(samples), _CHUNK):
            rows = self.holds.at(counted, samples[start : start + _CHUNK]).astype(np.float32)
            total += rows @ rows.T
        size, turned = total.diagonal()[at], base != predicates
        total = total.take(at, axis=0).take(at, axis=1)
        total[turned] = size - total[turned]
        size = np.where(turned, dtype(len(samples)) - size, size)
        total[:, turned] = size[:, None] - total[:, turned]
        return total

    def _counts(self, i: np.ndarray, j: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Return samples and errors, each with labels 0 and 1, for which predicates i and j hold."""
        errors = [wrong[i, j] for wrong in self.wrong]
        return [right[i, j] + e for right, e in zip(self.right, errors, strict=True)], errors

    def _score(self, counts, errors, label: int | None, n_predicates: int) -> np.ndarray:
        """Return lower bounds of the gap of rules of that length, -inf where there is too little to compare."""
        score = self.scorer.bound(counts, errors, label, self.n_tried[n_predicates], self.alpha)
        return np.where(self.scorer.comparable(counts, label, self.min_patients), score, -np.inf)

    def _may_exceed(self, floor: np.ndarray, counts, errors, label: int | None, n_predicates: int) -> np.ndarray:
        """Return which rules of that length may have a score above `floor`, by an upper bound that is quick to compute.

        Newcombe's p_in - p_out - sqrt((p_in - low)² + …) is at most low - p_out; and Wilson's low is above t if and
        only if p_in is above t by more than z sqrt(t (1 - t) / n_in).
        """
        p_in, n_in, p_out, _ = self.scorer.rates(counts, errors, label)
        t = p_out + (floor - 1e-5)  # room for the rounding of float32
        low_exceeds = (p_in - t) ** 2 * n_in > self.z[n_predicates] ** 2 * self.scorer.design_effect * t * (1 - t)
        return (n_in >= self.min_patients) & (p_in > t) & low_exceeds

    def _reach(self, label: int | None) -> np.ndarray:
        """Return what the score of a triple with 0, 1, 2, … errors cannot exceed; it grows with them.

        The score is highest where no right sample is inside, as each that moves in lowers p_in and Wilson's low of
        it, and raises p_out and Wilson's high of it. The score grows with the first two and falls with the others:
        with x = (p_in - low) / sqrt((p_in - low)² + (high - p_out)²), its derivatives are 1 - x and x by p_in and
        low, and alike by the others. Over both labels, p_out is no less than within the better one of them.
        """
        labels = LABELS[:2] if label is None else (label,)
        n_right, n_wrong = ([len(part[v]) for v in labels] for part in self.samples)
        errors = np.arange(sum(n_wrong) + 1)
        n_in = np.maximum(errors, self.min_patients)
        left = [np.maximum(w - errors, 0) for w in n_wrong]
        p_out = np.min([w / np.maximum(w + r, 1) for w, r in zip(left, n_right, strict=True)], axis=0)
        n_out = np.maximum(sum(n_right) + sum(n_wrong) - n_in, 0)
        effect = self.scorer.design_effect
        return np.maximum.accumulate(gap_lower_bound(errors / n_in, n_in / effect, p_out, n_out / effect, self.z[3]))

    def _any_has(self, errors, least: dict) -> np.ndarray:
        """Return for which counts of errors, of each label, there is a label within which they are enough."""
        return np.logical_or.reduce([sum(errors) >= e if v is None else errors[v] >= e for v, e in least.items()])

    def _best(self, score: np.ndarray, usable: np.ndarray, label: int | None, *parts: np.ndarray) -> list[tuple]:
        best = np.flatnonzero(usable)
        best = best[np.argsort(-score[best], kind="stable")[: self.n_best]]
        return [(float(score[k]), label, tuple(int(p[k]) for p in parts)) for k in best]
