"""The error-aware Gaussian mixture: embedding, label and prediction modelled together."""

from __future__ import annotations

import warnings

import numpy as np
from scipy.special import logsumexp
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from mmaudit.slicers._scores import check_in_range, check_predictions

__all__ = ["MixtureSlicer"]

SMOOTHING = 1.0  # samples with the labels of all samples, added to each component, so that no probability is 0


class MixtureSlicer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Mixture of components that each have an embedding, a label and a prediction of their own.

    A sample with embedding x, label y and predicted probability q has, in component k, the log likelihood
    log N(x | mean_k, diagonal_k) + label_weight log P_k(y) + proba_weight E_q[log P_k(prediction)],
    so that samples come together which look alike and go wrong alike. With both weights at 0 it is scikit-learn's
    `GaussianMixture` with diagonal covariances.

    Parameters
    ----------
    n_components : int
        Components; at most n_samples are used.
    label_weight, proba_weight : float ≥ 0
        Weights of the label and of the prediction against the embedding.
    max_iter : int
        Most steps of expectation maximisation.
    tol : float ≥ 0
        Stop when the bound grows by less.
    n_init : int
        Starts; the one with the highest bound is kept.
    reg_covar : float
        Added to each variance.
    random_state : int, RandomState or None
        Seed. None: another each time.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,)
        Shares of the components; they sum to 1.
    means_, covariances_ : ndarray of shape (n_components, n_features)
        Means and variances.
    label_proba_, prediction_proba_ : ndarray of shape (n_components,)
        Probability of label 1, and of prediction 1, in each component (0.5 where not modelled).
    lower_bound_ : float
        Bound of the best start: the mean log likelihood of a sample plus, where labels are modelled, the log density
        of the prior of the label probabilities (up to a constant) divided by n_samples.
    lower_bounds_ : list of float
        The same at each step. It never falls, but for what `reg_covar` takes from the likelihood.
    n_iter_ : int
        Steps of the best start.
    converged_ : bool
        Whether the bound grew by less than `tol` before `max_iter`.

    Notes
    -----
    Time grows with n_samples x n_features x n_components x steps. `transform` sees the embedding alone, never the
    label or the prediction: membership of held-out samples must not depend on whether they are wrong.

    Probabilities of labels have a Beta prior, worth one sample with the label mix of all samples. Each step is the
    maximum under that prior, so the likelihood alone may fall where the bound, which counts the prior, grows.

    References
    ----------
    Eyuboglu et al. 2022 (Domino), arXiv:2203.14960, section 5.2. Differences: probabilities of labels are smoothed by
    one sample, starts are by confusion cell with k-means inside each, and membership uses the embedding alone.
    Dempster, Laird and Rubin 1977, doi:10.1111/j.2517-6161.1977.tb01600.x, for the steps and the prior in them.

    Examples
    --------
    >>> import numpy as np
    >>> X = np.r_[np.zeros((20, 2)), np.full((20, 2), 9.0)] + np.random.default_rng(0).normal(size=(40, 2))
    >>> MixtureSlicer(2, random_state=0).fit(X).transform(X).round().sum(axis=0)
    array([20., 20.], dtype=float32)
    """

    def __init__(
        self,
        n_components: int = 10,
        *,
        label_weight: float = 10.0,
        proba_weight: float = 10.0,
        max_iter: int = 100,
        tol: float = 1e-3,
        n_init: int = 1,
        reg_covar: float = 1e-6,
        random_state=None,
    ) -> None:
        self.n_components = n_components
        self.label_weight = label_weight
        self.proba_weight = proba_weight
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.reg_covar = reg_covar
        self.random_state = random_state

    def fit(self, X, y=None, *, y_proba=None, groups=None) -> MixtureSlicer:
        """Fit the mixture.

        Parameters
        ----------
        X : array of shape (n_samples, n_features)
            Embeddings.
        y : array of shape (n_samples,), 0 or 1, or None
            Labels; used only together with `y_proba`.
        y_proba : array of shape (n_samples,), float in [0, 1], or None
            Probabilities of label 1. None: the embedding alone is modelled.
        groups : ignored
            Here for the same call as other slicers.

        Raises
        ------
        InputError
            For labels other than 0 and 1, probabilities outside [0, 1], or a parameter out of its range.
        ValueError
            For X with fewer than two samples, or with NaN or infinity.
        """
        check_in_range(1, n_components=self.n_components, max_iter=self.max_iter, n_init=self.n_init)
        check_in_range(
            0, label_weight=self.label_weight, proba_weight=self.proba_weight, tol=self.tol, reg_covar=self.reg_covar
        )
        X = validate_data(self, X, dtype=[np.float64, np.float32], ensure_min_samples=2)
        targets, weights = self._targets(y, y_proba, len(X))
        rng = check_random_state(self.random_state)
        best = None
        for _ in range(self.n_init):
            start = self._start(X, targets, weights, rng)
            run = self._expectation_maximisation(X, targets, weights, start)
            if best is None or run["lower_bounds_"][-1] > best["lower_bounds_"][-1]:
                best = run
        assert best is not None
        for name, value in best.items():
            setattr(self, name, value)
        self.lower_bound_ = self.lower_bounds_[-1]
        self.n_iter_ = len(self.lower_bounds_)
        self._n_features_out = len(self.weights_)
        if not self.converged_ and self.tol > 0:
            warnings.warn(
                f"max_iter: expected the mixture to settle within {self.max_iter} steps, got no rest. "
                "Raise max_iter or tol.",
                ConvergenceWarning,
                stacklevel=2,
            )
        return self

    def transform(self, X) -> np.ndarray:
        """Return membership, the posterior given the embedding alone: (n_samples, n_components), float32 in [0, 1]."""
        check_is_fitted(self, "weights_")
        X = validate_data(self, X, dtype=[np.float64, np.float32], reset=False)
        joint = _log_gaussian(X, self.means_, self.covariances_) + np.log(self.weights_)
        return np.exp(joint - logsumexp(joint, axis=1, keepdims=True)).astype(np.float32)

    def _targets(self, y, y_proba, n_samples: int):
        """Return the modelled targets of shape (n_targets, n_samples) in [0, 1] and their weights."""
        if y is None or y_proba is None:
            return np.empty((0, n_samples)), np.empty(0)
        targets = np.stack(check_predictions(y, y_proba, n_samples))
        return targets, np.array([self.label_weight, self.proba_weight], dtype=float)

    def _start(self, X, targets, weights, rng) -> np.ndarray:
        """Return first responsibilities: k-means, within each confusion cell where errors are modelled."""
        n_components = min(self.n_components, len(X))
        cell = np.zeros(len(X), dtype=int)
        if len(weights) and weights.any():
            cell = 2 * targets[0].astype(int) + (targets[1] >= 0.5)
        sizes = np.bincount(cell, minlength=4)
        cells = [c for c in np.argsort(-sizes, kind="stable") if sizes[c] > 0][:n_components]
        shares = np.ones(len(cells), dtype=int)
        # One component a cell, the others by the root of the cell's size: errors are few, and are what we look for.
        for _ in range(n_components - len(cells)):
            room = np.array([sizes[c] > s for c, s in zip(cells, shares, strict=True)])
            wanted = np.where(room, np.sqrt(sizes[cells]) / shares, -1)
            shares[int(np.argmax(wanted))] += 1
        responsibility = np.zeros((len(X), n_components))
        first = 0
        for c, share in zip(cells, shares, strict=True):
            rows = np.flatnonzero(cell == c)
            if share == 1:
                labels = np.zeros(len(rows), dtype=int)
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
                    labels = KMeans(share, n_init=1, random_state=rng).fit(X[rows]).labels_
            responsibility[rows, first + labels] = 1
            first += share
        leftover = responsibility.sum(axis=1) == 0  # cells beyond n_components
        responsibility[leftover] = 1 / n_components
        return responsibility

    def _expectation_maximisation(self, X, targets, weights, responsibility) -> dict:
        bounds: list[float] = []
        converged = False
        priors = [(t.sum() + 0.5) / (len(X) + 1) for t in targets]  # inside (0, 1) even where all labels are alike
        parameters = self._maximise(X, targets, priors, responsibility)
        for _ in range(self.max_iter):
            joint = _log_gaussian(X, parameters["means_"], parameters["covariances_"]) + np.log(parameters["weights_"])
            log_prior = 0.0
            for target, weight, prior, proba in zip(targets, weights, priors, parameters["proba"], strict=True):
                log_one, log_zero = np.log(proba), np.log1p(-proba)
                joint += weight * (np.outer(target, log_one) + np.outer(1 - target, log_zero))
                log_prior += weight * SMOOTHING * float((prior * log_one + (1 - prior) * log_zero).sum())
            total = logsumexp(joint, axis=1)
            bounds.append(float(total.mean()) + log_prior / len(X))
            parameters = self._maximise(X, targets, priors, np.exp(joint - total[:, None]))
            if len(bounds) > 1 and abs(bounds[-1] - bounds[-2]) < self.tol:
                converged = True
                break
        proba = parameters.pop("proba")
        half = np.full(len(parameters["weights_"]), 0.5)
        parameters["label_proba_"], parameters["prediction_proba_"] = proba if len(proba) else (half, half)
        return parameters | {"lower_bounds_": bounds, "converged_": converged}

    def _maximise(self, X, targets, priors, responsibility) -> dict:
        size = responsibility.sum(axis=0) + 10 * np.finfo(responsibility.dtype).eps
        means = responsibility.T @ X / size[:, None]
        variances = responsibility.T @ (X * X) / size[:, None] - means**2
        return {
            "weights_": size / size.sum(),
            "means_": means,
            "covariances_": np.maximum(variances, 0) + self.reg_covar,
            "proba": [
                (responsibility.T @ t + SMOOTHING * prior) / (size + SMOOTHING)
                for t, prior in zip(targets, priors, strict=True)
            ],
        }

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # membership is float32 whatever X is
        return tags


def _log_gaussian(X: np.ndarray, means: np.ndarray, variances: np.ndarray) -> np.ndarray:
    """Return log N(x | mean, diagonal variance), shape (n_samples, n_components)."""
    precision = 1 / variances
    distance = (X * X) @ precision.T - 2 * X @ (means * precision).T + (means**2 * precision).sum(axis=1)
    return -0.5 * (X.shape[1] * np.log(2 * np.pi) + distance + np.log(variances).sum(axis=1))
