"""Search for rules under which the classifier errs more than elsewhere, within each label."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from mmaudit._errors import AuditWarning, InputError
from mmaudit.slicers._predicates import Predicate, Rule, make_predicates
from mmaudit.slicers._scores import Scorer, check_in_range, check_predictions

__all__ = ["RuleSlicer"]

LABELS = (0, 1, None)


def n_rules_of(n_predicates: int, max_predicates: int) -> int:
    """Return how many rules of at most `max_predicates` there are, each within every label."""
    n_pairs = n_predicates * (n_predicates - 1) // 2 if max_predicates > 1 else 0
    return len(LABELS) * (n_predicates + n_pairs)


class RuleSlicer(TransformerMixin, BaseEstimator):
    """Rules of one or two predicates with more errors inside than outside, compared within the same label.

    All predicates and all their pairs are looked at; counts of pairs come from matrix products of the 0/1 predicate
    matrix, so the search is exact. A pair is kept only if it beats both of its parts. Rules are ranked by a lower
    bound of the gap, at a level divided by the number of rules of that length tried.

    Parameters
    ----------
    max_predicates : {1, 2}
        Longest rule.
    n_rules : int
        Rules kept, after near-duplicates (Jaccard ≥ 0.8) are left out.
    n_bins : int
        Quantile bins of a numeric column.
    min_patients : int
        Patients (samples, where no groups are given) that a rule must cover, and leave out, within its label.
    threshold : float in (0, 1)
        Probability from which the classifier says 1.
    alpha : float in (0, 1)
        Level of the lower bound.

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
        Rules looked at.
    n_tried_of_length_ : dict of int to int
        Rules looked at of at most that many predicates.

    Notes
    -----
    Time grows with n_samples x n_predicates²; memory with n_predicates x (n_samples + n_predicates). Scores are of
    the samples searched: only held-out patients can say whether a rule is true.

    References
    ----------
    Sagadeeva and Boehm 2021 (SliceLine), doi:10.1145/3448016.3457323, for slices as conjunctions with exact counts
    by linear algebra; the score here is a confidence bound instead of their weighted sum of error and size.

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
    ) -> None:
        self.max_predicates = max_predicates
        self.n_rules = n_rules
        self.n_bins = n_bins
        self.min_patients = min_patients
        self.threshold = threshold
        self.alpha = alpha

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
        if self.max_predicates not in (1, 2):
            raise InputError("max_predicates", "1 or 2", f"{self.max_predicates!r}", "Longer rules are not searched.")
        check_in_range(1, n_rules=self.n_rules, min_patients=self.min_patients)
        check_in_range(2, n_bins=self.n_bins)
        check_in_range(0, 1, threshold=self.threshold, alpha=self.alpha)
        table = self._table(X, reset=True)
        self.predicates_: list[Predicate] = []
        self.rules_: list[Rule] = []
        self.labels_: list[int | None] = []
        self.scores_ = np.empty(0)
        self.n_tried_ = 0
        self.n_tried_of_length_ = {1: 0, 2: 0}
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
        found = self._search(predicates, holds, scorer)
        found.sort(key=lambda f: -f[0])
        self._keep_distinct(found, predicates, holds, scorer)
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

    def _search(self, predicates: list[Predicate], holds: np.ndarray, scorer: Scorer):
        """Return (score, label, index of predicate, index of second predicate or -1) of all rules worth a look."""
        if not predicates:
            return []
        member = holds.astype(np.float32)
        in_label = [(scorer.y == v).astype(np.float32) for v in (0, 1)]
        counts = [(member * m) @ member.T for m in in_label]
        errors = [(member * (m * scorer.error)) @ member.T for m in in_label]
        n = len(predicates)
        upper = np.triu(np.ones((n, n), dtype=bool), k=1)
        n_single = n_rules_of(n, 1)
        self.n_tried_of_length_ = {1: n_single, 2: n_rules_of(n, self.max_predicates)}
        self.n_tried_ = self.n_tried_of_length_[2]
        found = []
        for label in LABELS:
            n_in = counts[label] if label is not None else counts[0] + counts[1]
            enough = scorer.comparable(counts, label, self.min_patients)
            single = scorer.bound(
                [np.diag(c) for c in counts], [np.diag(e) for e in errors], label, n_single, self.alpha
            )
            found += [(float(single[i]), label, int(i), -1) for i in np.flatnonzero(np.diag(enough))]
            if self.max_predicates < 2:
                continue
            i, j = np.nonzero(upper & enough)
            # A pair that holds for the same samples as one of its parts says nothing new.
            size_i, size_j = np.diag(n_in)[i], np.diag(n_in)[j]
            new = (n_in[i, j] < size_i) & (n_in[i, j] < size_j)
            i, j = i[new], j[new]
            pair = scorer.bound([c[i, j] for c in counts], [e[i, j] for e in errors], label, self.n_tried_, self.alpha)
            better = pair > np.maximum(single[i], single[j])
            best = np.flatnonzero(better)
            best = best[np.argsort(-pair[best], kind="stable")[: 10 * self.n_rules]]
            found += [(float(pair[k]), label, int(i[k]), int(j[k])) for k in best]
        return found

    def _keep_distinct(self, found, predicates, holds, scorer) -> None:
        kept: list[tuple[int | None, np.ndarray]] = []
        for score, label, i, j in found:
            if len(kept) >= self.n_rules:
                break
            inside = (holds[i] & holds[j] if j >= 0 else holds[i]) & scorer.in_label(label)
            outside = ~inside & scorer.in_label(label)
            if min(scorer.n_patients(inside), scorer.n_patients(outside)) < self.min_patients:
                continue
            size = inside.sum()
            if any(
                label == other and (inside & mask).sum() >= 0.8 * (inside | mask).sum()
                for other, mask in kept
                if 0.8 <= size / max(mask.sum(), 1) <= 1.25
            ):
                continue
            kept.append((label, inside))
            self.rules_.append(Rule((predicates[i],) if j < 0 else (predicates[i], predicates[j])))
            self.labels_.append(label)
            self.scores_ = np.append(self.scores_, score)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = False  # of arrays; a table may have missing values
        tags.transformer_tags.preserves_dtype = []  # membership is float32 whatever X is
        return tags
