"""Metadata as numbers: categories one-hot, numeric columns scaled, missing values marked."""

from __future__ import annotations

import numpy as np
import pandas as pd
from pandas.api import types as pandas_types
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.validation import check_is_fitted

__all__ = ["MetadataEncoder"]


class MetadataEncoder(TransformerMixin, BaseEstimator):
    """Metadata embeddings: numeric columns scaled, categories one-hot, a column that says where a value is missing.

    Parameters
    ----------
    max_categories : int
        Categories kept per column; the rarest are put together.

    Attributes
    ----------
    transformer_ : ColumnTransformer
    """

    def __init__(self, *, max_categories: int = 20) -> None:
        self.max_categories = max_categories

    def fit(self, X: pd.DataFrame, y=None) -> MetadataEncoder:
        """Learn scales and categories from a table of shape (n_samples, n_columns)."""
        numeric = [c for c in X.columns if pandas_types.is_numeric_dtype(X[c])]
        categorical = [c for c in X.columns if c not in numeric]
        self.transformer_ = ColumnTransformer(
            [
                (
                    "numeric",
                    make_pipeline(
                        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
                    ),
                    numeric,
                ),
                (
                    "categorical",
                    make_pipeline(
                        SimpleImputer(
                            strategy="constant", fill_value="missing", missing_values=None, keep_empty_features=True
                        ),
                        OneHotEncoder(
                            handle_unknown="infrequent_if_exist",
                            max_categories=self.max_categories,
                            sparse_output=False,
                            dtype=np.float32,
                        ),
                    ),
                    categorical,
                ),
            ]
        ).fit(self._as_objects(X))
        return self

    def transform(self, X: pd.DataFrame) -> np.ndarray:
        """Return embeddings of shape (n_samples, n_dimensions), float32."""
        check_is_fitted(self, "transformer_")
        return np.asarray(self.transformer_.transform(self._as_objects(X)), dtype=np.float32)

    @staticmethod
    def _as_objects(X: pd.DataFrame) -> pd.DataFrame:
        columns = {}
        for c in X.columns:
            if pandas_types.is_numeric_dtype(X[c]):
                columns[c] = X[c].astype(float)
            else:
                values = X[c].astype(object)
                columns[c] = values.where(values.notna(), None)
        return pd.DataFrame(columns, index=X.index)
