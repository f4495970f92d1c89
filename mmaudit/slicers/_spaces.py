"""Spaces to search in: one a modality, of few columns and one scale, and one of all modalities side by side."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pandas.api import types as pandas_types

from mmaudit.data import MODALITIES
from mmaudit.encoders import Features
from mmaudit.encoders._components import Components

__all__ = ["Spaces"]


class Spaces:
    """Embeddings reduced by principal components, so that no modality has more say for having more dimensions.

    Components are scaled as `Components` does. To the image belong its plain statistics (brightness, sharpness, …) too,
    as ranks.
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
        most = min(n_dimensions, max(2, len(features.table) // 10))
        self._components = {
            m: Components(most, random_state=random_state).fit(features.embeddings[m]) for m in self._modalities
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
        spaces = {m: components.transform(features.embeddings[m]) for m, components in self._components.items()}
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


def _ranks(column, known: np.ndarray) -> np.ndarray:
    """Return values as ranks among the known ones, of mean 0 and variance 1; 0 where missing."""
    values = column.to_numpy(dtype=float)
    below = np.searchsorted(known, values, side="left") + np.searchsorted(known, values, side="right")
    ranks = below / (2 * len(known)) - 0.5
    return np.where(np.isfinite(values), ranks, 0) * np.sqrt(12)
