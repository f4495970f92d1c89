"""Reports as numbers: TF-IDF of terms that know about negation, with truncated SVD, and which terms a report holds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import CountVectorizer, TfidfVectorizer
from sklearn.utils.validation import check_is_fitted

from mmaudit.text import report_terms

__all__ = ["ReportEncoder", "TermIndicator"]


def _terms(report: str | Sequence[str]) -> Sequence[str]:
    """Return the terms of a report, or the terms themselves where they have been taken from it before."""
    return report_terms(report) if isinstance(report, str) else report


class ReportEncoder(TransformerMixin, BaseEstimator):
    """Report embeddings: TF-IDF of negation-aware terms, reduced by truncated SVD (latent semantic analysis).

    Reports are texts, or sequences of terms that `report_terms` gave.

    Parameters
    ----------
    n_components : int
        Dimensions of the embedding; fewer where there are fewer terms or reports.
    max_features : int
        Number of terms kept, the most frequent ones.
    random_state : int, RandomState or None
        Seed of the SVD. None: another each time.

    Attributes
    ----------
    vectorizer_ : TfidfVectorizer
    svd_ : TruncatedSVD or None
        None where fewer than two terms were found; embeddings are then one column of 0.

    References
    ----------
    Deerwester et al. 1990, doi:10.1002/(SICI)1097-4571(199009)41:6<391::AID-ASI1>3.0.CO;2-9.
    """

    def __init__(self, n_components: int = 64, *, max_features: int = 20_000, random_state=None) -> None:
        self.n_components = n_components
        self.max_features = max_features
        self.random_state = random_state

    def fit(self, texts: Sequence[str] | Sequence[Sequence[str]], y=None) -> ReportEncoder:
        """Learn terms and their directions from texts, a sequence of str of length n_samples."""
        self.fit_transform(texts)
        return self

    def fit_transform(self, texts: Sequence[str] | Sequence[Sequence[str]], y=None) -> np.ndarray:
        """Learn from `texts` and return their embeddings, shape (n_samples, n_dimensions), float32."""
        min_df = 2 if len(texts) >= 20 else 1  # a word of one report is a name or a misspelling
        self.vectorizer_ = TfidfVectorizer(
            analyzer=_terms, min_df=min_df, max_features=self.max_features, sublinear_tf=True, dtype=np.float32
        )
        try:
            tfidf = self.vectorizer_.fit_transform(texts)
        except ValueError:  # no term occurs twice
            tfidf = sparse.csr_matrix((len(texts), 0))
        if min(tfidf.shape) < 2:  # nothing to learn directions from
            self.svd_ = None
            return np.zeros((len(texts), 1), dtype=np.float32)
        n_components = max(1, min(self.n_components, min(tfidf.shape) - 1))
        self.svd_ = TruncatedSVD(n_components, random_state=self.random_state)
        with np.errstate(invalid="ignore", divide="ignore"):  # reports that are all alike have no variance to share out
            return self.svd_.fit_transform(tfidf).astype(np.float32)

    def transform(self, texts: Sequence[str] | Sequence[Sequence[str]]) -> np.ndarray:
        """Return embeddings of shape (n_samples, n_dimensions), float32; a text without known terms is all 0."""
        check_is_fitted(self, "vectorizer_")
        if self.svd_ is None:
            return np.zeros((len(texts), 1), dtype=np.float32)
        return self.svd_.transform(self.vectorizer_.transform(texts)).astype(np.float32)


class TermIndicator(TransformerMixin, BaseEstimator):
    """Which reports hold which terms: the 0/1 columns that rules and descriptions are made of.

    Reports are texts, or sequences of terms that `report_terms` gave.

    Parameters
    ----------
    min_count : int
        Reports that must hold a term.
    max_features : int
        Number of terms kept, the most frequent ones.

    Attributes
    ----------
    terms_ : ndarray of shape (n_terms,), str
    """

    def __init__(self, *, min_count: int = 10, max_features: int = 400) -> None:
        self.min_count = min_count
        self.max_features = max_features

    def fit(self, texts: Sequence[str] | Sequence[Sequence[str]], y=None) -> TermIndicator:
        """Choose the terms from texts, a sequence of str of length n_samples."""
        self.vectorizer_ = CountVectorizer(
            analyzer=_terms, binary=True, min_df=self.min_count, max_features=self.max_features, dtype=np.uint8
        )
        try:
            self.vectorizer_.fit(texts)
            self.terms_ = self.vectorizer_.get_feature_names_out()
        except ValueError:  # no term is frequent enough
            self.terms_ = np.array([], dtype=object)
        return self

    def transform(self, texts: Sequence[str] | Sequence[Sequence[str]]) -> sparse.csr_matrix:
        """Return a sparse 0/1 matrix of shape (n_samples, n_terms)."""
        check_is_fitted(self, "terms_")
        if len(self.terms_) == 0:
            return sparse.csr_matrix((len(texts), 0), dtype=np.uint8)
        return self.vectorizer_.transform(texts)
