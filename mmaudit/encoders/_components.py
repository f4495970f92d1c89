"""Embeddings reduced to a few columns of one scale."""

from __future__ import annotations

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import PCA
from sklearn.utils.validation import check_is_fitted

__all__ = ["Components"]


class Components(TransformerMixin, BaseEstimator):
    """Principal components, each divided by the fourth root of its variance; of variance 1 in the mean.

    Half-way between leaving the first components all the say and giving each the same. Components without variance
    become 0: they are rounding here, and would be blown up in samples that differ along them.

    Parameters
    ----------
    n_components : int
        Components kept; at most as many as X has rows or columns.
    random_state : int, RandomState or None
        Seed of the randomized decomposition, which is used for more than 64 columns. None: another each time.
    """

    def __init__(self, n_components: int = 16, *, random_state=None) -> None:
        self.n_components = n_components
        self.random_state = random_state

    def fit(self, X, y=None) -> Components:
        """Learn the components from an array of shape (n_samples, n_features)."""
        X = np.asarray(X)
        solver = "randomized" if X.shape[1] > 64 else "full"
        self.pca_ = PCA(min(self.n_components, *X.shape), svd_solver=solver, random_state=self.random_state)
        with np.errstate(invalid="ignore", divide="ignore"):  # a constant embedding has no variance to share out
            self.pca_.fit(X)
        variance = np.nan_to_num(self.pca_.explained_variance_.astype(np.float64))
        eps = np.finfo(self.pca_.components_.dtype).eps
        rounding = (8 * eps * np.linalg.norm(X)) ** 2 / len(X)  # how much depends on the processor
        varies = variance > max(1e-12, rounding, 1e-6 * variance.max())
        scale = np.where(varies, variance, np.inf) ** -0.25
        self.scale_ = scale / np.sqrt((scale**2 * variance).mean() or 1)
        return self

    def transform(self, X) -> np.ndarray:
        """Return an array of shape (n_samples, n_components), float64."""
        check_is_fitted(self, "scale_")
        return self.pca_.transform(np.asarray(X)).astype(np.float64) * self.scale_
