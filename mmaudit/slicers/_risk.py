"""Regions of high risk: where a model of the classifier's errors, fitted to other patients, expects many of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
from scipy.linalg import solve
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.kernel_approximation import Nystroem
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from mmaudit._errors import AuditWarning, InputError
from mmaudit.encoders._components import Components
from mmaudit.slicers._scores import Scorer, check_in_range, check_predictions

__all__ = ["RiskSlicer"]

MODELS = ("linear", "local")
LABELS = (0, 1, None)
LEAST_ERRORS = 4  # and as many right answers, within a label; fewer say nothing of where errors lie
N_LANDMARKS = 200
RIDGE = 1.0  # penalty of the squared coefficients
WIDTH = 0.5  # of the kernel, exp(-WIDTH x squared distance / n_dimensions), for columns of variance 1


class RiskSlicer(TransformerMixin, BaseEstimator):
    """The samples that a model of the classifier's errors finds most at risk, within each label and over both.

    A mixture or a cluster must lie where errors lie to show them. A failure that goes with a shade of the picture, with
    one direction of many, is no cluster; a model that is shown the errors finds the direction.

    Parameters
    ----------
    model : {"linear", "local"}
        "linear": the direction of the embedding that goes most with errors (partial least squares, one component).
        "local": kernel ridge regression with a Gaussian kernel on at most 200 landmarks, for failures in a region.
    share : float in (0, 1)
        Members, as a share of the samples of the label.
    n_dimensions : int or None
        Principal components of X that are kept, each divided by the fourth root of its variance. None: X as it is.
    n_folds : int
        Folds of patients of the out-of-fold membership.
    threshold : float in [0, 1]
        Probability from which the classifier says 1.
    random_state : int, RandomState or None
        Seed of the landmarks and the folds. None: another each time.

    Attributes
    ----------
    labels_ : list of {0, 1, None}
        The label within which each slice was found; None: both, the labels' own error rates taken off.
    models_ : list of objects with a method predict
        One a slice: what `PLSRegression(1, scale=False)` or `Ridge(1.0)` of scikit-learn would be, fitted to
        the reduced X.
    references_ : list of ndarray, float64
        Out-of-fold risks of the samples of the label, sorted: membership is the rank of a risk among them.

    Notes
    -----
    `fit_transform` returns out-of-fold membership, as scikit-learn's `TargetEncoder` does, and so differs from
    `fit(...).transform(...)`: each sample is judged by a model that saw none of its patient's samples, and the error
    rate of such members is an honest one. Both models are fitted from sums of squares and products, which are made
    once for each fold and label and added up for each fit: time grows with n_samples x n_dimensions² ("linear") or
    n_samples x 200² ("local"), whatever n_folds is.

    References
    ----------
    Wold, Sjöström and Eriksson 2001, doi:10.1016/S0169-7439(01)00155-1 (partial least squares). Williams and Seeger
    2001, "Using the Nyström method to speed up kernel machines". d'Eon et al. 2022 (Spotlight), arXiv:2107.00758, for
    regions of high loss; here the model is fitted to patients other than those it is judged on.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> X, y = rng.normal(size=(300, 20)), rng.integers(0, 2, 300)
    >>> wrong = (y == 1) & (X[:, 3] > 1)
    >>> slicer = RiskSlicer(random_state=0, n_dimensions=None).fit(X, y, y_proba=np.where(wrong, 1 - y, y))
    >>> slicer.labels_  # no errors with label 0, nothing to be modelled there
    [1, None]
    >>> members = slicer.transform(X)[y == 1, 0] >= 0.5
    >>> bool(wrong[y == 1][members].mean() > 3 * wrong[y == 1][~members].mean())
    True
    """

    def __init__(
        self,
        model: str = "linear",
        *,
        share: float = 0.25,
        n_dimensions: int | None = 16,
        n_folds: int = 5,
        threshold: float = 0.5,
        random_state=None,
    ) -> None:
        self.model = model
        self.share = share
        self.n_dimensions = n_dimensions
        self.n_folds = n_folds
        self.threshold = threshold
        self.random_state = random_state

    def fit(self, X, y=None, *, y_proba=None, groups=None) -> RiskSlicer:
        """Fit a model of the errors within each label, and one over both.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Embeddings.
        y : array of shape (n_samples,), 0 or 1, or None
            Labels.
        y_proba : array of shape (n_samples,), float in [0, 1], or None
            Probabilities of label 1. None (or y None): there are no errors to model, and no slices.
        groups : array of shape (n_samples,) or None
            Patient of each sample. None: each sample is a patient.

        Raises
        ------
        InputError
            For labels other than 0 and 1, probabilities outside [0, 1], or a parameter out of its range.
        ValueError
            For X with fewer than two samples, or with NaN or infinity.
        """
        self._fit(X, y, y_proba, groups)
        return self

    def fit_transform(self, X, y=None, *, y_proba=None, groups=None) -> np.ndarray:
        """Fit, and return out-of-fold membership of shape (n_samples, n_slices), float32 in [0, 1]; see Notes."""
        return self._fit(X, y, y_proba, groups)

    def transform(self, X) -> np.ndarray:
        """Return membership of shape (n_samples, n_slices), float32 in [0, 1].

        It grows with the risk and is 0.5 at the risk that the share `share` of the fitted samples reached. It does not
        depend on labels: of a slice within a label, only samples of that label are to be taken.
        """
        check_is_fitted(self, "labels_")
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        if not self.models_:
            return np.zeros((len(X), 0), dtype=np.float32)
        Z = self._reduce(X)
        columns = [
            _rank(_predict(model, Z), reference, self.share)
            for model, reference in zip(self.models_, self.references_, strict=True)
        ]
        return np.stack(columns, axis=1)

    def _fit(self, X, y, y_proba, groups) -> np.ndarray:
        if self.model not in MODELS:
            raise InputError("model", f"one of {', '.join(MODELS)}", f"{self.model!r}", "Choose one of them.")
        check_in_range(2, n_folds=self.n_folds)
        check_in_range(0, 1, threshold=self.threshold, share=self.share)
        if self.share in (0, 1):
            raise InputError("share", "a number between 0 and 1", f"{self.share!r}", "Choose one in that range.")
        if self.n_dimensions is not None:
            check_in_range(1, n_dimensions=self.n_dimensions)
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        self.labels_: list[int | None] = []
        self.models_: list = []
        self.references_: list[np.ndarray] = []
        if y is None or y_proba is None:
            warnings.warn(
                "y_proba: expected labels and probabilities to model errors of, got none. No slices are made.",
                AuditWarning,
                stacklevel=3,
            )
            return np.zeros((len(X), 0), dtype=np.float32)
        rng = check_random_state(self.random_state)
        scorer = Scorer.from_predictions(*check_predictions(y, y_proba, len(X)), groups, self.threshold)
        self._fit_reduction(X, rng)
        Z = self._reduce(X)
        # Patients are dealt into folds by a draw, not by the order of their ids, which may follow site or time.
        fold_of = rng.permutation(int(scorer.patient.max()) + 1) % self.n_folds
        fold = fold_of[scorer.patient]
        origin = Z.mean(axis=0, dtype=float)  # near it, squares lose nothing to rounding
        sums = [
            [_Sums.of(Z[rows] - origin, scorer.error[rows]) for rows in _where(fold, scorer.y, self.n_folds, v)]
            for v in (0, 1)
        ]
        held_out = []
        for label in LABELS:
            parts = sums if label is None else [sums[label]]
            rows = np.flatnonzero(scorer.in_label(label))
            n_wrong = int(scorer.error[rows].sum())
            if min(n_wrong, len(rows) - n_wrong) < LEAST_ERRORS:
                continue
            risk = np.zeros(len(Z))
            for k in np.unique(fold):
                model = _fit_model([_added(part[:k] + part[k + 1 :]) for part in parts], origin, self.model)
                risk[fold == k] = _predict(model, Z[fold == k])
            self.labels_.append(label)
            self.models_.append(_fit_model([_added(part) for part in parts], origin, self.model))
            self.references_.append(np.sort(risk[rows]))
            held_out.append(_rank(risk, self.references_[-1], self.share))
        return np.stack(held_out, axis=1) if held_out else np.zeros((len(X), 0), dtype=np.float32)

    def _fit_reduction(self, X, rng) -> None:
        """Fit what is applied to X before the regression; it sees no errors, so all samples may take part in it."""
        self._components = self._landmarks = None
        if self.n_dimensions is not None:
            self._components = Components(self.n_dimensions, random_state=rng).fit(X)
        if self.model == "local":
            Z = self._reduce(X)
            landmarks = Nystroem(gamma=WIDTH / Z.shape[1], n_components=min(N_LANDMARKS, len(Z)), random_state=rng)
            self._landmarks = landmarks.fit(Z)

    def _reduce(self, X) -> np.ndarray:
        Z = X if self._components is None else self._components.transform(X)
        if self.model == "local":
            Z = Z.astype(np.float64, copy=False)  # Nystroem divides by the square root of what may be rounding
        return Z if self._landmarks is None else self._landmarks.transform(Z)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # membership is float32 whatever X is
        return tags


@dataclass(frozen=True)
class _Sums:
    """What a linear model of errors needs of some samples of one label, (n_columns,) or (n_columns, n_columns)."""

    n: float
    wrong: float
    total: np.ndarray
    of_wrong: np.ndarray  # sum over the errors
    products: np.ndarray

    @classmethod
    def of(cls, Z: np.ndarray, error: np.ndarray) -> _Sums:
        error = error.astype(float)
        return cls(len(Z), float(error.sum()), Z.sum(axis=0), Z.T @ error, Z.T @ Z)


def _where(fold: np.ndarray, y: np.ndarray, n_folds: int, label: int) -> list[np.ndarray]:
    """Return the samples of a label in each fold."""
    return [np.flatnonzero((fold == k) & (y == label)) for k in range(n_folds)]


def _added(parts: list[_Sums]) -> _Sums:
    columns = zip(*(vars(part).values() for part in parts), strict=True)
    return _Sums(*(sum(values[1:], start=values[0]) for values in columns))


@dataclass(frozen=True)
class _Linear:
    """A linear model: 0 at `centre`, and so much more along each column."""

    coefficients: np.ndarray
    centre: np.ndarray

    def predict(self, Z: np.ndarray) -> np.ndarray:
        """Return the risk of each row, shape (n_samples,)."""
        return Z @ self.coefficients - self.centre @ self.coefficients


def _fit_model(by_label: list[_Sums], origin: np.ndarray, kind: str) -> _Linear:
    """Return a model of how much likelier an error is than is usual for the label, fitted to sums about `origin`.

    The rate of each label is taken off here, from these samples alone: patients with many errors leave fewer to
    the others, and a model that kept the rate of those others would call just these patients the safe ones.
    """
    every = _added(by_label)
    n = max(every.n, 1)
    mean = every.total / n
    centre, scatter = origin + mean, every.products - n * np.outer(mean, mean)
    # Errors less the rate of their label have the mean 0 within each label, and so in all.
    with_error = sum((s.of_wrong - s.wrong / max(s.n, 1) * s.total for s in by_label), start=np.zeros(len(centre)))
    spread = sum(s.wrong - s.wrong**2 / max(s.n, 1) for s in by_label)
    least = 1e-10 * np.sqrt(np.trace(every.products) * max(spread, 0.0))
    if np.abs(with_error).max() <= least:  # nothing goes with errors, and no direction can be fitted
        return _Linear(np.zeros(len(centre)), centre)
    if kind == "linear":
        direction = with_error / np.linalg.norm(with_error)
        return _Linear(direction * (direction @ with_error) / (direction @ scatter @ direction), centre)
    return _Linear(solve(scatter + RIDGE * np.eye(len(centre)), with_error, assume_a="pos"), centre)


def _predict(model, Z) -> np.ndarray:
    """Return risks, rounded: samples that are alike tie, whatever the last bits of their sums are."""
    return np.round(model.predict(Z).ravel(), 9)


def _rank(risk: np.ndarray, reference: np.ndarray, share: float) -> np.ndarray:
    """Return risks as ranks in [0, 1] among the reference, 0.5 where `share` of the reference is higher."""
    below = np.searchsorted(reference, risk, side="left") + np.searchsorted(reference, risk, side="right")
    rank = below / (2 * len(reference))
    cut = 1 - share
    return np.where(rank >= cut, 0.5 + 0.5 * (rank - cut) / share, 0.499 * rank / cut).astype(np.float32)
