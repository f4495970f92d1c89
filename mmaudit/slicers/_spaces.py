"""Spaces to search in: one a modality, of few columns and one scale, and one of all modalities side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pandas.api import types as pandas_types
from sklearn.decomposition import PCA

from mmaudit.data import MODALITIES
from mmaudit.encoders import Features

__all__ = ["Spaces", "component_scale"]


class Spaces:
    """Embeddings reduced by principal components, so that no modality has more say for having more dimensions.

    Each component is divided by the fourth root of its variance: half-way between leaving the first ones all the say
    and giving noise as much as them. To the image belong its plain statistics (brightness, sharpness, …) too, as ranks.
    The columns of a space have variance 1 in the mean; side by side, each modality has the same variance in all.

    Parameters
    ----------
    features : Features
        Of the discovery samples, from which components and ranks are learned.
    modalities : sequence of {"image", "report", "metadata"}
        Those without an embedding are left out.
    n_dimensions : int
        Components of a modality; fewer where there are less than ten samples for each.
    random_state : RandomState
        Seed of the randomized decomposition.

    Attributes
    ----------
    names : list of str
        Modalities, and all of them joined by "+" where there are several.
    """

    def __init__(self, features: Features, modalities: Sequence[str], n_dimensions: int, random_state) -> None:
        self._modalities = [m for m in MODALITIES if m in modalities and m in features.embeddings]
        self._components = {
            m: _fit_components(features.embeddings[m], n_dimensions, random_state) for m in self._modalities
        }
        self._ranked = {}
        if "image" in self._modalities:
            self._ranked = {
                c: np.sort(features.table[c].dropna().to_numpy(dtype=float))
                for c in features.columns(["image"])
                if pandas_types.is_float_dtype(features.table[c]) and features.table[c].notna().any()
            }
        self.names = self._modalities + (["+".join(self._modalities)] if len(self._modalities) > 1 else [])

    def transform(self, features: Features) -> dict[str, np.ndarray]:
        """Return, for each name, an array of shape (n_samples, n_columns), float64."""
        spaces = {}
        for modality, (reduction, scale) in self._components.items():
            spaces[modality] = reduction.transform(features.embeddings[modality]).astype(np.float64) * scale
        if self._ranked:
            spaces["image"] = np.column_stack(
                [spaces["image"], *(_ranks(features.table[c], known) for c, known in self._ranked.items())]
            )
        if len(self._modalities) > 1:
            width = np.mean([X.shape[1] for X in spaces.values()])
            spaces["+".join(self._modalities)] = np.column_stack(
                [X * np.sqrt(width / X.shape[1]) for X in spaces.values()]
            )
        return spaces


def _fit_components(X: np.ndarray, n_dimensions: int, random_state) -> tuple[PCA, np.ndarray]:
    n_dimensions = min(n_dimensions, *X.shape, max(2, len(X) // 10))
    reduction = PCA(n_dimensions, svd_solver="randomized" if X.shape[1] > 64 else "full", random_state=random_state)
    with np.errstate(invalid="ignore", divide="ignore"):  # a constant embedding has no variance to share out
        reduction.fit(X)
    return reduction, component_scale(reduction.explained_variance_)


def component_scale(variance: np.ndarray) -> np.ndarray:
    """Return factors for principal components: the fourth root of 1 / variance, for a variance of 1 in the mean.

    Half-way between leaving the first components all the say and giving each the same. Components without variance
    get 0: they are rounding here, and would be blown up in samples that differ along them.
    """
    variance = np.nan_to_num(np.asarray(variance, dtype=np.float64))
    varies = variance > max(1e-12, 1e-6 * variance.max())
    scale = np.where(varies, variance, np.inf) ** -0.25
    return scale / np.sqrt((scale**2 * variance).mean() or 1)


def _ranks(column, known: np.ndarray) -> np.ndarray:
    """Return values as ranks among the known ones, of mean 0 and variance 1; 0 where missing."""
    values = column.to_numpy(dtype=float)
    below = np.searchsorted(known, values, side="left") + np.searchsorted(known, values, side="right")
    ranks = below / (2 * len(known)) - 0.5
    return np.where(np.isfinite(values), ranks, 0) * np.sqrt(12)
