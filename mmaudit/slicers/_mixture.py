"""The error-aware Gaussian mixture: embeddings, label and prediction modelled together.

scikit-learn's `GaussianMixture` models one array without labels and keeps several arrays of the size of the data; it
is the reference that the tests compare with. k-means comes from scikit-learn.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeVar

import numpy as np
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.cluster import KMeans
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import assert_all_finite, check_array, check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from threadpoolctl import ThreadpoolController

from mmaudit._engine import map_pieces, n_workers
from mmaudit._errors import InputError
from mmaudit.slicers._scores import check_in_range, check_predictions

__all__ = ["MixtureSlicer"]

START_ROWS = 10_000  # starts are compared, and settle, on no more samples than these
CHUNK_BYTES = 2 << 20  # of a working array: it should stay in the cache of the processor
PROCESS_BYTES = 64 << 20  # of a lazy array; reading less takes no longer than to start processes
FULL_SAY = 16  # columns up to which a block always has its full likelihood
MOST_COLUMNS = 1024  # of a block whose covariance matrix is made; its eigenvectors take seconds above
AXES_STEPS, AXES_MORE = 7, 10  # of the randomised method: its steps, and axes beside those asked for, as scikit-learn's
CELL_STEPS = 10  # of k-means within a cell; the mixture goes on from there
NOISE = 1e-3  # of the start "domino", as there
LEAST_LOG = -69.0  # log of the least responsibility, 1e-30: products with less are denormal in float32, and slow
EMPTY = 1e-10  # samples; a component with less is not updated
INITS = ("confusion", "kmeans", "domino")
PREDICTION_TERMS = ("mean_log", "log_mean")
FLOATS = [np.float64, np.float32]

T = TypeVar("T")


@dataclass(frozen=True)
class _Columns:
    """What is fixed of each column during a fit.

    Zero and length of the arithmetic, weight, the mean variance of its block, and what is added to variances.
    """

    shift: np.ndarray
    scale: np.ndarray
    weight: np.ndarray
    unit: np.ndarray
    reg: np.ndarray


@dataclass(frozen=True)
class _Target:
    """Labels or predictions: one row a class in [0, 1], their weight, their smoothing and how they enter."""

    values: np.ndarray  # (n_classes, n_samples)
    weight: float
    prior: np.ndarray  # (n_classes,)
    term: str

    def take(self, rows) -> _Target:
        return _Target(self.values[:, rows], self.weight, self.prior, self.term)

    def log_likelihood(self, rows, proba: np.ndarray) -> np.ndarray:
        """Return (n_components, n_rows), `weight` included."""
        values, tiny = self.values[:, rows], np.finfo(float).eps
        if self.term == "log_mean":
            mean = proba.astype(values.dtype) @ values
            mean += values.dtype.type(tiny)
            return np.multiply(np.log(mean, out=mean), values.dtype.type(self.weight), out=mean)
        return (self.weight * np.log(proba + tiny)).astype(values.dtype) @ values


@dataclass(frozen=True)
class _Parameters:
    weights: np.ndarray  # (n_components,)
    means: np.ndarray  # (n_components, n_columns)
    variances: np.ndarray
    proba: tuple[np.ndarray, ...]  # (n_components, n_classes) for each target


@dataclass(frozen=True)
class _Run:
    parameters: _Parameters
    bounds: list[float]
    converged: bool


@dataclass(frozen=True)
class _Reduction:
    """From columns to the principal components of each block of them, side by side."""

    mean: np.ndarray
    axes: tuple[np.ndarray, ...]  # one row an axis

    def __call__(self, X: np.ndarray) -> np.ndarray:
        out = np.empty((len(X), sum(map(len, self.axes))), dtype=X.dtype)
        mean = self.mean.astype(X.dtype)
        part = into = slice(0, 0)
        for axes in self.axes:
            part, into = slice(part.stop, part.stop + axes.shape[1]), slice(into.stop, into.stop + len(axes))
            turn = axes.T.astype(X.dtype)
            for rows in _chunks(X[:, part]):
                out[rows, into] = (X[rows, part] - mean[part]) @ turn
        return out


@dataclass(frozen=True)
class _Lazy:
    """An array larger than memory: rows of all its columns, of some, or reduced, read by whoever asks for them."""

    source: Any
    dtype: np.dtype
    reader: str  # who is named where a value is not finite
    columns: slice | None = None
    reduction: _Reduction | None = None

    @property
    def shape(self) -> tuple[int, int]:
        n_rows, n_columns = self.source.shape
        if self.reduction is not None:
            return n_rows, sum(map(len, self.reduction.axes))
        return n_rows, n_columns if self.columns is None else len(range(n_columns)[self.columns])

    @property
    def nbytes(self) -> int:
        """Of what is read, not of what is made of it."""
        n_rows, n_columns = self.source.shape
        return n_rows * n_columns * self.dtype.itemsize

    def __len__(self) -> int:
        return self.source.shape[0]

    def __getitem__(self, rows: slice | np.ndarray) -> np.ndarray:
        X = np.asarray(self.source[rows], dtype=self.dtype)
        assert_all_finite(X, estimator_name=self.reader, input_name="X")
        X = X if self.columns is None else X[:, self.columns]
        return X if self.reduction is None else self.reduction(X)

    def blocks(self) -> list[slice]:
        return [rows for rows in self.source.blocks() if rows.start < rows.stop]


@dataclass(frozen=True)
class _Part:
    """Rows that one thread or one worker goes through, with what is known of them."""

    X: np.ndarray | _Lazy
    blocks: list[slice]  # of X, one after the other
    targets: list[_Target]  # of these rows alone

    @classmethod
    def of(cls, X, blocks: list[slice], targets: Sequence[_Target]) -> _Part:
        rows = slice(blocks[0].start, blocks[-1].stop)
        return cls(X, blocks, [target.take(rows) for target in targets])

    def chunks(self, n_copies: int = 1) -> Iterator[tuple[slice, np.ndarray]]:
        """Yield chunks of rows: where they are in the part, and what is in them."""
        for block in self.blocks:
            values, before = self.X[block], block.start - self.blocks[0].start
            for rows in _chunks(values, n_copies):
                yield slice(before + rows.start, before + rows.stop), values[rows]


class MixtureSlicer(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Mixture of components that each have an embedding, a label and a prediction of their own.

    A sample with embedding x, label y and predicted probabilities q has, in component k, the log likelihood
    sum_b w_b log N(x_b | mean_kb, diagonal_kb) + label_weight log P_k(y) + proba_weight E_q[log P_k(prediction)],
    b running over the blocks of columns (one for each modality), so that samples come together which look alike and
    go wrong alike. With both label weights at 0 and one block it is scikit-learn's `GaussianMixture` with diagonal
    covariances.

    Parameters
    ----------
    n_components : int
        Components; at most n_samples are used.
    label_weight, proba_weight : float ≥ 0
        Weights of the label and of the prediction against the embedding.
    blocks : mapping of name to int, sequence of int, or None
        Number of columns of X of each block, in order; they sum to n_features. None: X is one block.
    block_weights : mapping of name to float ≥ 0, sequence of float ≥ 0, or None
        Say of each block against the others, whatever its number of dimensions (see Notes). None: 1 each.
    n_dimensions : int or None
        Principal components kept of each block, at most its columns and n_samples. None: X is not reduced.
    init : {"confusion", "kmeans", "domino"}
        First components. "confusion": k-means inside each cell of the confusion matrix, with more components for
        larger cells. "kmeans": k-means of the embedding. "domino": every component is a cell, in turn, with a little
        random noise. Without labels, or with both weights at 0, all are "kmeans".
    prediction_term : {"mean_log", "log_mean"}
        How a soft prediction q enters: as E_q[log P_k] or as log E_q[P_k]. They are the same for predictions of 0 and
        1. "log_mean" is Domino's; with it the steps are not exact and the bound can fall.
    smoothing : float ≥ 0
        Samples with the label mix of all samples, added to each component's own when its probabilities are estimated.
    max_iter : int
        Most steps of expectation maximisation.
    tol : float ≥ 0
        Stop when the bound grows by less.
    n_init : int
        Starts; the one with the highest bound is kept.
    reg_covar : float ≥ 0
        Added to each variance. Where `blocks` are given, in units of the mean variance of a column of the block.
    random_state : int, RandomState or None
        Seed. None: another each time.

    Attributes
    ----------
    weights_ : ndarray of shape (n_components,), float64
        Shares of the components; they sum to 1.
    means_, covariances_ : ndarray of shape (n_components, n_columns), float64
        Means and variances of the columns of X or, where it is reduced, of its principal components, blocks in order.
    label_proba_, prediction_proba_ : ndarray of shape (n_components, n_classes), float64 in [0, 1]
        Probability of each label and of each prediction in each component (0.5, two classes, where not modelled).
    block_dimensions_ : dict of name to int
        Columns of `means_` that are of each block. Names are 0, 1, … where `blocks` has none.
    block_weights_ : dict of name to float
        The w_b above.
    mean_ : ndarray of shape (n_features,), float64
        Mean of X.
    components_ : dict of name to ndarray of shape (block_dimensions_[name], columns of the block), float64
        Principal axes of each block, of length 1; empty where X is not reduced.
    lower_bound_ : float
        Bound of the best start: the mean log likelihood of a sample plus, where labels are modelled, the log density
        of the prior of the label probabilities (up to a constant) divided by n_samples.
    lower_bounds_ : list of float
        The same at each step on all samples. It never falls, but for what `reg_covar`, float32 and "log_mean" take.
    n_iter_ : int
        Steps of the best start on all samples.
    converged_ : bool
        Whether the bound grew by less than `tol` before `max_iter`.

    Notes
    -----
    *Blocks.* Evidence of a diagonal Gaussian grows with its columns, so that 500 columns of noise outvote 5 that
    matter. A block therefore enters with w_b = block_weights_b x d / d_b, where d_b are its columns (after reduction)
    and d is the geometric mean of all d_b: each block has as much say as d columns, whatever its own number is. The
    start looks at the same distance: columns in units of the mean variance of their block, times the root of w_b.
    Within a block the columns keep their proportions. A power of a density leaves the estimates of means and
    variances as they are, and the bound still never falls.

    *Membership.* `transform` sees the embedding alone, never the label or the prediction: membership of held-out
    samples must not depend on whether they are wrong. `posterior` sees all three.

    *Smoothing.* Probabilities of labels have a Dirichlet prior, worth `smoothing` samples. Each step is the maximum
    under that prior, so the likelihood alone may fall where the bound, which counts the prior, grows.

    *Empty components.* One that has lost its samples keeps its mean, variance and probabilities, at a share of the
    order of 1e-16; one that was empty from the start has those of all samples.

    *Cost.* Time grows with n_samples x n_columns x n_components x steps. Rows are worked on in chunks; no array of
    n_samples x n_components is kept. Sums over chunks are float64, the rest has the type of X. With more than 10,000
    samples, all starts run on a random sample of 10,000, and the best goes on with all. Variances below about a
    millionth (float32) of a column's are not told apart. A block of more than 1,024 columns is reduced by
    scikit-learn's randomised method, which copies it.

    *Arrays larger than memory.* A `numpy.memmap` of float32 or float64 is an array as others; no copy of it is made.
    X may also be lazy: an object that pickles, with `shape`, `dtype`, `X[rows]`, which reads a slice or sorted
    positions, and `blocks()`, the slices that are best read at once, in order, such as the rows of each file. Each
    step is then a map over the blocks and a sum of what comes back, in processes of this computer from 64 MB on, or
    on the engine that `joblib.parallel_config` names. Parameters, sums, labels and predictions travel; rows do not.
    But for rounding, the result is that of the same array in memory, whatever the blocks and the workers. A worker
    holds two blocks of rows at most. The process of the fit holds 2 x n_classes numbers a sample (labels and
    predictions), four arrays of 10,000 x n_features while it compares starts, and 16 bytes x n_components x n_columns
    for each worker. A lazy array of at most 10,000 samples is read as a whole. Where X is reduced, it is so again at
    each step, a block at a time; to find the axes takes 8 bytes x the square of a block's columns for each worker,
    above 1,024 columns, where it takes eight steps, 8 bytes x columns x (n_dimensions + 10). `transform` and
    `posterior` hold what they return.

    *Domino.* `label_weight=1, proba_weight=1, init="kmeans", prediction_term="log_mean", smoothing=0` takes the steps
    of Domino's package (as of 2023, n_dimensions=128 for its default reduction), and `posterior` is its membership.
    Its defaults differ from ours in: weights of 1 instead of 10 (the paper uses 10); log E_q[P] for soft predictions,
    whose M-step, the mean of q, maximises E_q[log P] instead, so that its bound may fall; no smoothing, but 2.2e-16
    added within each logarithm (as here); and membership by label and prediction. An empty component falls to the
    origin there. Its mixture agrees with scikit-learn at weights of 0; what its issue 16 reports comes from
    the order of the columns: its membership has them by how far predictions and labels are apart, and only the
    first n_slices of them, so they are neither numbered as the mixture's nor sum to 1. Ours are all, unsorted.

    References
    ----------
    Eyuboglu et al. 2022 (Domino), arXiv:2203.14960, section 5.2.
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
        blocks: Mapping[str, int] | Sequence[int] | None = None,
        block_weights: Mapping[str, float] | Sequence[float] | None = None,
        n_dimensions: int | None = None,
        init: str = "confusion",
        prediction_term: str = "mean_log",
        smoothing: float = 1.0,
        max_iter: int = 100,
        tol: float = 1e-3,
        n_init: int = 1,
        reg_covar: float = 1e-6,
        random_state=None,
    ) -> None:
        self.n_components = n_components
        self.label_weight = label_weight
        self.proba_weight = proba_weight
        self.blocks = blocks
        self.block_weights = block_weights
        self.n_dimensions = n_dimensions
        self.init = init
        self.prediction_term = prediction_term
        self.smoothing = smoothing
        self.max_iter = max_iter
        self.tol = tol
        self.n_init = n_init
        self.reg_covar = reg_covar
        self.random_state = random_state

    def fit(self, X, y=None, *, y_proba=None, groups=None) -> MixtureSlicer:
        """Fit the mixture.

        Parameters
        ----------
        X : array or lazy array of shape (n_samples, n_features), float32 or float64
            Embeddings, blocks side by side. Lazy: read block by block (see Notes, *Arrays larger than memory*).
        y : array of shape (n_samples,), int, or None
            Labels from 0 to n_classes - 1; used only together with `y_proba`.
        y_proba : array of shape (n_samples,) or (n_samples, n_classes), float in [0, 1], or None
            Probabilities of label 1, or of each label. None: the embedding alone is modelled.
        groups : ignored
            Here for the same call as other slicers.

        Raises
        ------
        InputError
            For labels that are not classes, probabilities outside [0, 1] or rows of them that do not sum to 1, blocks
            that do not fit X, or a parameter out of its range.
        ValueError
            For X with fewer than two samples, or with NaN or infinity.
        LostWorkerError
            Of a lazy X: a process that read it ended again and again.
        """
        self._check_parameters()
        X = self._check_rows(X, reset=True, ensure_min_samples=2)
        targets = self._targets(y, y_proba, len(X), X.dtype)
        widths = self._check_blocks(X.shape[1])
        rng = check_random_state(self.random_state)
        self.mean_ = _mean(X)
        self.components_ = self._principal_axes(X, widths, rng)
        self.block_dimensions_ = {name: len(self.components_.get(name, range(widths[name]))) for name in widths}
        self.block_weights_ = self._weigh_blocks()
        shift = self.mean_
        if self.components_:
            X = self._project(X)
            shift = _mean(X)
        columns = self._columns(shift, _variance(X, shift))
        best = self._best(X, targets, columns, rng)
        proba = best.parameters.proba or (np.full((len(best.parameters.weights), 2), 0.5),) * 2
        self.weights_, self.means_ = best.parameters.weights, best.parameters.means
        self.covariances_ = best.parameters.variances
        self.label_proba_, self.prediction_proba_ = proba
        self.lower_bounds_, self.lower_bound_ = best.bounds, best.bounds[-1]
        self.n_iter_, self.converged_ = len(best.bounds), best.converged
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
        return self._responsibilities(X, None, None).astype(np.float32, copy=False)

    def posterior(self, X, y, y_proba) -> np.ndarray:
        """Return the posterior given embedding, label and prediction.

        Use it to look at the samples the mixture was fitted on. As membership of others it would carry the errors
        that are to be tested.

        Parameters
        ----------
        X, y, y_proba
            As in `fit`.

        Returns
        -------
        ndarray of shape (n_samples, n_components), in [0, 1], of the type of X
            Rows sum to 1.

        Raises
        ------
        InputError
            As in `fit`, and for classes that were not there.
        """
        return self._responsibilities(X, y, y_proba)

    def _responsibilities(self, X, y, y_proba) -> np.ndarray:
        check_is_fitted(self, "weights_")
        X = self._check_rows(X, reset=False)
        targets = self._targets(y, y_proba, len(X), X.dtype)
        n_classes = self.label_proba_.shape[1]
        if targets and len(targets[0].values) != n_classes:
            expected = f"{n_classes} classes, as in fit"
            raise InputError("y_proba", expected, f"{len(targets[0].values)}", "Give the same classes.")
        X = self._project(X) if self.components_ else X
        proba = (self.label_proba_, self.prediction_proba_) if targets else ()
        parameters = _Parameters(self.weights_, self.means_, self.covariances_, proba)
        # Of all samples the fit saw; the zero and unit of the arithmetic, no more.
        shift = self.weights_ @ self.means_
        columns = self._columns(shift, self.weights_ @ (self.covariances_ + (self.means_ - shift) ** 2))
        membership = np.empty((len(X), len(self.weights_)), dtype=X.dtype)
        blocks = _blocks(X)
        parts = [_Part.of(X, [block], targets) for block in blocks]
        for block, of_block in zip(blocks, _each(_membership, parts, columns, parameters), strict=True):
            membership[block] = of_block
        return membership

    # What goes in

    def _check_rows(self, X, *, reset: bool, ensure_min_samples: int = 1) -> np.ndarray | _Lazy:
        """Return X as floats: a lazy array of few samples read, one of more as what checks whatever it reads."""
        checks: dict[str, Any] = {"reset": reset, "ensure_min_samples": ensure_min_samples}
        if isinstance(X, np.ndarray) or not (callable(getattr(X, "blocks", None)) and hasattr(X, "shape")):
            return validate_data(self, X, dtype=FLOATS, **checks)
        dtype = check_array(np.zeros((1, 1), X.dtype), dtype=FLOATS).dtype
        # One number in the shape of X: what scikit-learn says of shapes, without the values.
        validate_data(self, np.broadcast_to(dtype.type(0), X.shape), ensure_all_finite=False, **checks)
        lazy = _Lazy(X, dtype, type(self).__name__)
        return lazy if len(lazy) > START_ROWS else lazy[slice(0, len(lazy))]

    def _check_parameters(self) -> None:
        check_in_range(1, n_components=self.n_components, max_iter=self.max_iter, n_init=self.n_init)
        check_in_range(
            0,
            label_weight=self.label_weight,
            proba_weight=self.proba_weight,
            smoothing=self.smoothing,
            tol=self.tol,
            reg_covar=self.reg_covar,
        )
        if self.n_dimensions is not None:
            check_in_range(1, n_dimensions=self.n_dimensions)
        for name, known in (("init", INITS), ("prediction_term", PREDICTION_TERMS)):
            if getattr(self, name) not in known:
                raise InputError(name, f"one of {', '.join(known)}", f"{getattr(self, name)!r}", "Choose one of them.")

    def _check_blocks(self, n_features: int) -> dict:
        """Return the number of columns of each block, by name."""
        if self.blocks is None:
            return {0: n_features}
        widths = dict(self.blocks if isinstance(self.blocks, Mapping) else enumerate(self.blocks))
        whole = all(isinstance(width, (int, np.integer)) and width >= 1 for width in widths.values())
        if not whole or sum(widths.values()) != n_features:
            expected = f"numbers of columns that sum to the {n_features} of X"
            action = "Give each block the number of its columns, in the order of X."
            raise InputError("blocks", expected, f"{list(widths.values())}", action)
        return widths

    def _weigh_blocks(self) -> dict:
        """Return w_b of each block."""
        dimensions, given = self.block_dimensions_, self.block_weights
        given = [1.0] * len(dimensions) if given is None else given
        own = dict(given if isinstance(given, Mapping) else zip(dimensions, given, strict=False))
        numbers = [w for w in own.values() if isinstance(w, (int, float, np.number)) and 0 <= w < np.inf]
        if len(given) != len(dimensions) or set(own) != set(dimensions) or len(numbers) < len(own):
            expected = f"a number from 0 on for each block ({', '.join(map(str, dimensions))})"
            raise InputError("block_weights", expected, f"{given!r}", "Give each block a weight.")
        say = max(FULL_SAY, np.exp(np.mean(np.log(list(dimensions.values())))))
        return {name: float(own[name] * (min(1.0, say / d) if len(own) > 1 else 1)) for name, d in dimensions.items()}

    def _targets(self, y, y_proba, n_samples: int, dtype) -> list[_Target]:
        """Return labels and predictions, or nothing where they are not modelled."""
        if y is None or y_proba is None:
            return []
        if np.ndim(y_proba) == 2:
            label, q = _check_classes(y, y_proba, n_samples)
            label, q = np.eye(q.shape[1], dtype=dtype)[:, label], np.ascontiguousarray(q.T, dtype=dtype)
        else:
            label, q = (np.stack([1 - v, v]).astype(dtype) for v in check_predictions(y, y_proba, n_samples))
        targets = []
        for values, weight in ((label, self.label_weight), (q, self.proba_weight)):
            # Inside (0, 1) even where all labels are alike.
            prior = (values.sum(axis=1, dtype=float) + 1 / len(values)) / (n_samples + 1)
            targets.append(_Target(values, float(weight), prior, self.prediction_term))
        return targets

    # Blocks

    def _principal_axes(self, X, widths: Mapping, rng) -> dict:
        if self.n_dimensions is None:
            return {}
        axes = {}
        for name, part in _side_by_side(widths):
            n_dimensions = int(min(self.n_dimensions, widths[name], len(X)))
            block, mean = _some_columns(X, part), self.mean_[part].astype(X.dtype)
            if widths[name] <= MOST_COLUMNS:
                axis = np.linalg.eigh(_scatter(block, mean))[1][:, ::-1][:, :n_dimensions].T
            elif isinstance(block, _Lazy):
                axis = _leading_axes(block, mean, n_dimensions, rng)
            else:
                axis = PCA(n_dimensions, svd_solver="randomized", random_state=rng).fit(block).components_.astype(float)
            # The sign of an axis is free; this one does not hang on the linear algebra library.
            largest = np.take_along_axis(axis, np.abs(axis).argmax(axis=1)[:, None], axis=1)
            axes[name] = np.ascontiguousarray(axis * np.sign(largest))
        return axes

    def _project(self, X):
        """Return the principal components of each block, side by side; lazily where X is lazy."""
        reduction = _Reduction(self.mean_, tuple(self.components_.values()))
        return replace(X, reduction=reduction) if isinstance(X, _Lazy) else reduction(X)

    def _columns(self, shift, variance) -> _Columns:
        weight, unit = np.ones(len(variance)), np.ones(len(variance))
        if self.blocks is not None:
            for name, part in _side_by_side(self.block_dimensions_):
                weight[part] = self.block_weights_[name]
                unit[part] = variance[part].mean() or 1.0
        elif self.block_weights is not None:
            weight[:] = self.block_weights_[0]
        return _Columns(shift, np.sqrt(np.where(variance > 0, variance, 1)), weight, unit, self.reg_covar * unit)

    # Starts

    def _best(self, X, targets, columns, rng) -> _Run:
        """Return the run of the best start."""
        few, few_targets = X, targets
        if len(X) > START_ROWS:
            rows = np.sort(rng.choice(len(X), START_ROWS, replace=False))
            few, few_targets = X[rows], [target.take(rows) for target in targets]
        best = None
        for _ in range(self.n_init):
            start = self._start(few, few_targets, columns, rng)
            run = self._run(few, few_targets, columns, _first(few, few_targets, columns, start, self.smoothing))
            if best is None or run.bounds[-1] > best.bounds[-1]:
                best = run
        assert best is not None
        return best if few is X else self._run(X, targets, columns, best.parameters)

    def _start(self, X, targets, columns, rng) -> np.ndarray:
        """Return first responsibilities, (n_components, n_samples)."""
        n_components = min(self.n_components, len(X))
        init = self.init if any(target.weight for target in targets) else "kmeans"
        if init == "domino":
            return _noisy_cells(targets, n_components, rng)
        if self.blocks is not None:
            X = X * np.sqrt(columns.weight / columns.unit).astype(X.dtype)
        cell = np.zeros(len(X), dtype=int)
        n_classes = 1
        if init == "confusion":
            label, q = (target.values for target in targets)
            n_classes = len(label)
            # Two classes: a probability of one half is a prediction of 1, as everywhere in this package.
            cell = label.argmax(axis=0) * n_classes + (q[1] >= 0.5 if n_classes == 2 else q.argmax(axis=0))
        sizes = np.bincount(cell, minlength=n_classes**2)
        cells = [c for c in np.argsort(-sizes, kind="stable") if sizes[c] > 0][:n_components]
        shares = np.ones(len(cells), dtype=int)
        # One component a cell, the others by the root of the cell's size: errors are few, and are what we look for.
        for _ in range(n_components - len(cells)):
            room = np.array([sizes[c] > s for c, s in zip(cells, shares, strict=True)])
            wanted = np.where(room, np.sqrt(sizes[cells]) / shares, -1)
            shares[int(np.argmax(wanted))] += 1
        responsibility = np.zeros((n_components, len(X)), dtype=X.dtype)
        first = 0
        for c, share in zip(cells, shares, strict=True):
            rows = np.flatnonzero(cell == c)
            if share == 1:
                labels = np.zeros(len(rows), dtype=int)
            else:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)  # fewer distinct points than clusters
                    n_steps = CELL_STEPS if init == "confusion" else 300
                    labels = KMeans(share, n_init=1, max_iter=n_steps, random_state=rng).fit(X[rows]).labels_
            responsibility[first + labels, rows] = 1
            first += share
        leftover = responsibility.sum(axis=0) == 0  # cells beyond n_components
        responsibility[:, leftover] = 1 / n_components
        return responsibility

    def _run(self, X, targets, columns, parameters: _Parameters) -> _Run:
        """Return where expectation maximisation leads from these parameters."""
        bounds: list[float] = []
        for _ in range(self.max_iter):
            sums = _accumulate(X, targets, columns, parameters)
            log_prior = sum(
                target.weight * self.smoothing * float((np.log(proba + np.finfo(float).eps) @ target.prior).sum())
                for target, proba in zip(targets, parameters.proba, strict=True)
            )
            bounds.append((sums.log_likelihood + log_prior) / len(X))
            parameters = sums.maximise(targets, columns, parameters, self.smoothing)
            if len(bounds) > 1 and abs(bounds[-1] - bounds[-2]) < self.tol:
                return _Run(parameters, bounds, True)
        return _Run(parameters, bounds, False)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = []  # membership is float32 whatever X is
        return tags


class _Sums:
    """Sums over samples of what the M-step needs, in float64."""

    def __init__(self, parameters: _Parameters, dtype) -> None:
        n_components, n_columns = parameters.means.shape
        self.size = np.zeros(n_components)
        self.moments = np.zeros((n_components, 2 * n_columns))  # of the standardised columns and of their squares
        self.classes = [np.zeros_like(proba) for proba in parameters.proba]
        self.log_likelihood = 0.0
        self.least = 10 * np.finfo(dtype).eps  # no variance is told from 0 below this share of the column's

    def add(self, rows, Z, targets, responsibility) -> None:
        """Add a chunk: columns and squares (n_rows, 2 n_columns), responsibilities (n_components, n_rows)."""
        self.size += responsibility.sum(axis=1, dtype=float)
        self.moments += responsibility @ Z
        for counts, target in zip(self.classes, targets, strict=True):
            counts += responsibility @ target.values[:, rows].T

    def merge(self, other: _Sums) -> None:
        """Add the sums over other samples."""
        self.size += other.size
        self.moments += other.moments
        self.log_likelihood += other.log_likelihood
        for counts, more in zip(self.classes, other.classes, strict=True):
            counts += more

    def maximise(self, targets, columns: _Columns, before: _Parameters, smoothing: float) -> _Parameters:
        """Return the parameters at the maximum; those of empty components stay as they were."""
        size = self.size + 10 * np.finfo(float).eps
        empty = (self.size < EMPTY)[:, None]
        first, second = np.hsplit(self.moments / size[:, None], 2)
        means = columns.shift + columns.scale * first
        variances = columns.scale**2 * np.maximum(second - first**2, 0) + columns.reg
        variances = np.maximum(variances, self.least * columns.scale**2)
        proba = [
            (counts + smoothing * target.prior) / (size + smoothing)[:, None]
            for counts, target in zip(self.classes, targets, strict=True)
        ]
        return _Parameters(
            size / size.sum(),
            np.where(empty, before.means, means),
            np.where(empty, before.variances, variances),
            tuple(np.where(empty, old, new) for old, new in zip(before.proba, proba, strict=True)),
        )


def _first(X, targets, columns: _Columns, responsibility, smoothing: float) -> _Parameters:
    """Return the parameters that responsibilities of shape (n_components, n_samples) lead to."""
    alike = np.ones((len(responsibility), 1))
    overall = _Parameters(
        alike[:, 0] / len(alike),
        alike * columns.shift,
        alike * (columns.scale**2 + columns.reg),
        tuple(alike * target.prior for target in targets),
    )
    sums = _Sums(overall, X.dtype)
    for rows, Z in _standardised(_Part.of(X, _blocks(X), targets), columns):
        sums.add(rows, Z, targets, responsibility[:, rows])
    return sums.maximise(targets, columns, overall, smoothing)


def _accumulate(X, targets, columns: _Columns, parameters: _Parameters) -> _Sums:
    """Return the E-step's sums over all samples."""
    sums, *others = _each(_sums_of, _parts(X, targets), columns, parameters)
    for other in others:
        sums.merge(other)
    return sums


def _sums_of(part: _Part, columns: _Columns, parameters: _Parameters) -> _Sums:
    sums = _Sums(parameters, part.X.dtype)
    step = _Expectation(part.targets, columns, parameters, part.X.dtype)
    for rows, Z in _standardised(part, columns):
        responsibility, log_likelihood = step(rows, Z)
        sums.log_likelihood += float(log_likelihood.sum(dtype=float))
        sums.add(rows, Z, part.targets, responsibility)
    return sums


def _membership(part: _Part, columns: _Columns, parameters: _Parameters) -> np.ndarray:
    """Return responsibilities, (n_rows, n_components)."""
    step = _Expectation(part.targets, columns, parameters, part.X.dtype)
    membership = np.empty((part.blocks[-1].stop - part.blocks[0].start, len(parameters.weights)), dtype=part.X.dtype)
    for rows, Z in _standardised(part, columns):
        membership[rows] = step(rows, Z)[0].T
    return membership


class _Expectation:
    """The E-step at these parameters: two products of matrices a chunk, one for it and one for the sums."""

    def __init__(self, targets, columns: _Columns, parameters: _Parameters, dtype) -> None:
        means = (parameters.means - columns.shift) / columns.scale
        weighted = columns.weight * columns.scale**2 / parameters.variances
        constant = np.log(parameters.weights) - 0.5 * (weighted * means**2).sum(axis=1)
        constant -= 0.5 * np.log(2 * np.pi * parameters.variances) @ columns.weight
        self.slopes = np.ascontiguousarray(np.hstack([weighted * means, -0.5 * weighted]).T, dtype=dtype)
        self.constant = constant[:, None].astype(dtype)
        self.targets, self.proba = targets, parameters.proba

    def __call__(self, rows, Z) -> tuple[np.ndarray, np.ndarray]:
        """Return responsibilities (n_components, n_rows) and log likelihoods (n_rows,) of a chunk."""
        # One row a component: maxima and sums over components then run along the samples, which is much faster.
        joint = np.ascontiguousarray((Z @ self.slopes).T)
        joint += self.constant
        for target, proba in zip(self.targets, self.proba, strict=True):
            if target.weight:
                joint += target.log_likelihood(rows, proba)
        # logsumexp and softmax in place: the same array becomes the responsibilities.
        most = joint.max(axis=0)
        joint -= most
        np.maximum(joint, LEAST_LOG, out=joint)
        np.exp(joint, out=joint)
        total = joint.sum(axis=0)
        joint /= total
        return joint, np.log(total) + most


def _standardised(part: _Part, columns: _Columns) -> Iterator[tuple]:
    """Yield rows and their standardised columns beside the squares of these, in one buffer that is used again."""
    dtype, n_columns = part.X.dtype, part.X.shape[1]
    shift, inverse = columns.shift.astype(dtype), (1 / columns.scale).astype(dtype)
    buffer = np.empty((0, 2 * n_columns), dtype=dtype)
    for rows, chunk in part.chunks(n_copies=2):
        if len(chunk) > len(buffer):
            buffer = np.empty((len(chunk), 2 * n_columns), dtype=dtype)
        Z = buffer[: len(chunk)]
        np.subtract(chunk, shift, out=Z[:, :n_columns])
        Z[:, :n_columns] *= inverse
        np.multiply(Z[:, :n_columns], Z[:, :n_columns], out=Z[:, n_columns:])
        yield rows, Z


# Rows and columns in parts


def _side_by_side(widths: Mapping) -> Iterator[tuple]:
    """Yield names and where they are."""
    first = 0
    for name, width in widths.items():
        yield name, slice(first, first + width)
        first += width


def _some_columns(X, part: slice):
    return replace(X, columns=part) if isinstance(X, _Lazy) else X[:, part]


def _chunks(X: np.ndarray, n_copies: int = 1) -> Iterator[slice]:
    n_rows = max(64, CHUNK_BYTES // (n_copies * X.shape[1] * X.itemsize))
    for first in range(0, len(X), n_rows):
        yield slice(first, min(first + n_rows, len(X)))


def _blocks(X) -> list[slice]:
    """Return rows that are read at once."""
    return X.blocks() if isinstance(X, _Lazy) else [slice(0, len(X))]


def _parts(X, targets: Sequence[_Target] = ()) -> list[_Part]:
    """Return about equal parts of the rows of X: one for each worker where it is lazy, else one for each thread.

    The linear algebra library has as many threads as it may use, but the products here are too thin for it: each part
    gets one of its threads.
    """
    if isinstance(X, _Lazy):
        groups: dict[int, list[slice]] = {}
        n_groups = n_workers()
        for rows in X.blocks():
            groups.setdefault((rows.start + rows.stop) * n_groups // (2 * len(X)), []).append(rows)
        return [_Part.of(X, blocks, targets) for blocks in groups.values()]
    if X.nbytes < 2 * CHUNK_BYTES:
        return [_Part.of(X, _blocks(X), targets)]
    n_parts = max([library["num_threads"] for library in _blas().info()], default=1)
    edges = np.linspace(0, len(X), n_parts + 1).astype(int).tolist()
    return [_Part.of(X, [slice(first, last)], targets) for first, last in pairwise(edges)]


def _each(function: Callable[..., T], parts: list[_Part], *shared) -> Iterator[T]:
    """Yield `function(part, *shared)` of each part, in their order."""
    X = parts[0].X
    with _blas().limit(limits=1) if len(parts) > 1 else nullcontext():
        if isinstance(X, _Lazy):
            yield from map_pieces(function, parts, *shared, large=X.nbytes >= PROCESS_BYTES)
        elif len(parts) == 1:
            yield function(parts[0], *shared)
        else:
            with ThreadPoolExecutor(len(parts)) as pool:
                yield from pool.map(lambda part: function(part, *shared), parts)


@lru_cache(maxsize=1)
def _blas() -> ThreadpoolController:
    """Return the handle of the linear algebra library; to find it takes longer than a small step."""
    return ThreadpoolController().select(user_api="blas")


def _mean(X) -> np.ndarray:
    """Return the mean of each column, float64."""
    return sum(_each(_totals, _parts(X))) / len(X)


def _totals(part: _Part):
    return sum(chunk.sum(axis=0, dtype=float) for _, chunk in part.chunks())


def _variance(X, mean: np.ndarray) -> np.ndarray:
    """Return the variance of each column, float64."""
    return sum(_each(_squares, _parts(X), mean.astype(X.dtype))) / len(X)


def _squares(part: _Part, mean: np.ndarray):
    return sum(np.square(chunk - mean).sum(axis=0, dtype=float) for _, chunk in part.chunks())


def _scatter(X, mean: np.ndarray) -> np.ndarray:
    """Return the sums of squares and products of the columns about `mean`, float64."""
    return sum(_each(_scatter_of, _parts(X), mean))


def _scatter_of(part: _Part, mean: np.ndarray, axes: np.ndarray | None = None):
    """Return the scatter of a part or, where axes of shape (n_columns, n_axes) are given, its product with them."""
    n_columns = part.X.shape[1]
    scatter = np.zeros((n_columns, n_columns if axes is None else axes.shape[1]))
    for _, chunk in part.chunks():
        centred = chunk - mean
        scatter += centred.T @ (centred if axes is None else centred @ axes)
    return scatter


def _leading_axes(X, mean: np.ndarray, n_axes: int, rng) -> np.ndarray:
    """Return principal axes, (n_axes, n_columns), by a randomised method that holds no array of n_columns squared."""

    def times_scatter(axes):
        return sum(_each(_scatter_of, _parts(X), mean, axes.astype(X.dtype)))

    axes = rng.normal(size=(X.shape[1], n_axes + AXES_MORE))
    for _ in range(AXES_STEPS):
        axes = np.linalg.qr(times_scatter(axes))[0]
    turn = np.linalg.eigh(axes.T @ times_scatter(axes))[1]
    return (axes @ turn[:, ::-1][:, :n_axes]).T


def _noisy_cells(targets, n_components: int, rng) -> np.ndarray:
    """Return Domino's start by confusion cell: cells in turn, random noise, rows that sum to 1."""
    label, q = (target.values.T for target in targets)
    cells = (label[:, :, None] * q[:, None, :]).reshape(len(label), -1)
    cells = cells[:, np.arange(n_components) % cells.shape[1]].astype(float)
    cells /= np.maximum(cells.sum(axis=1, keepdims=True), np.finfo(float).eps)  # 0: its cell has no component
    cells += rng.random_sample(cells.shape) * NOISE
    cells /= cells.sum(axis=1, keepdims=True)
    return np.ascontiguousarray(cells.T, dtype=label.dtype)


def _check_classes(y, y_proba, n_samples: int) -> tuple[np.ndarray, np.ndarray]:
    """Return labels as ints and probabilities of shape (n_samples, n_classes), or raise `InputError`."""
    try:
        q = np.asarray(y_proba, dtype=float)
    except (TypeError, ValueError):
        q = np.empty((0, 0))
    n_classes = q.shape[1]
    proper = ((q >= 0) & (q <= 1)).all() and np.allclose(q.sum(axis=1), 1, atol=1e-3)
    if len(q) != n_samples or n_classes < 2 or not proper:
        expected = f"{n_samples} rows of probabilities in [0, 1] that sum to 1, one column a class"
        raise InputError("y_proba", expected, "other values or shape", "Use probabilities of each class.")
    y = np.asarray(y)
    if y.shape != (n_samples,) or not np.isin(y, np.arange(n_classes)).all():
        expected = f"{n_samples} labels from 0 to {n_classes - 1}, the columns of y_proba less one"
        raise InputError("y", expected, "other values or shape", "Number the classes from 0.")
    return y.astype(int), q
