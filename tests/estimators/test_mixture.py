"""The error-aware mixture: scikit-learn's own mixture without labels, and errors told apart with them."""

import importlib.util
import pickle
import sys
import tracemalloc
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from joblib import parallel_config
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.metrics import adjusted_rand_score
from sklearn.mixture import GaussianMixture

from mmaudit._errors import InputError
from mmaudit.slicers import MixtureSlicer, _mixture

try:
    import cloudpickle
except ImportError:  # joblib up to 1.5 has its own
    from joblib.externals import cloudpickle

_spec = importlib.util.spec_from_file_location("domino_reference", Path(__file__).with_name("_domino_reference.py"))
domino = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(domino)
AS_DOMINO = {"label_weight": 1, "proba_weight": 1, "init": "kmeans", "prediction_term": "log_mean", "smoothing": 0}


def blobs(n_samples=300, n_features=5, *, seed=0):
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(4, n_features)) * 3
    which = rng.integers(0, 4, n_samples)
    X = centres[which] + rng.normal(size=(n_samples, n_features)) * rng.uniform(0.5, 2, n_features)
    y = rng.integers(0, 2, n_samples)
    return X, y, np.clip(np.where(rng.random(n_samples) < 0.2, 1 - y, y) + rng.normal(0, 0.1, n_samples), 0, 1)


def fit_quietly(slicer, *args, **keywords):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return slicer.fit(*args, **keywords)


# The same as scikit-learn where no labels are modelled


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("labels", ["weights of 0", "none"])
@pytest.mark.parametrize("n_init", [1, 3])
def test_without_labels_it_is_the_gaussian_mixture_of_scikit_learn(seed, labels, n_init):
    X, y, proba = blobs(seed=seed)
    options = {"n_components": 4, "tol": 1e-6, "max_iter": 500, "n_init": n_init, "random_state": seed}
    slicer = MixtureSlicer(label_weight=0, proba_weight=0, **options)
    slicer = slicer.fit(X, y, y_proba=proba) if labels == "weights of 0" else slicer.fit(X)
    expected = GaussianMixture(covariance_type="diag", **options).fit(X)
    np.testing.assert_allclose(slicer.means_, expected.means_, atol=1e-4)
    np.testing.assert_allclose(slicer.weights_, expected.weights_, atol=1e-4)
    np.testing.assert_allclose(slicer.covariances_, expected.covariances_, atol=1e-4)
    np.testing.assert_allclose(slicer.transform(X), expected.predict_proba(X), atol=1e-4)
    assert slicer.lower_bound_ == pytest.approx(expected.lower_bound_, abs=1e-4)
    assert slicer.n_iter_ == expected.n_iter_


def test_from_the_same_start_it_goes_where_the_gaussian_mixture_goes():
    """Rough parameters, not those of k-means: many steps to go."""
    X, _, _ = blobs(seed=7)
    columns = _mixture._Columns(np.zeros(5), np.ones(5), np.ones(5), np.ones(5), np.full(5, 1e-6))
    start = _mixture._Parameters(np.full(3, 1 / 3), X[:3], np.full((3, 5), 4.0), ())
    run = MixtureSlicer(3, tol=1e-8, max_iter=500)._run(X, [], columns, start)
    expected = GaussianMixture(
        3,
        covariance_type="diag",
        tol=1e-8,
        max_iter=500,
        weights_init=start.weights,
        means_init=start.means,
        precisions_init=1 / start.variances,
    ).fit(X)
    assert len(run.bounds) > 10
    np.testing.assert_allclose(run.parameters.means, expected.means_, atol=1e-6)
    np.testing.assert_allclose(run.parameters.variances, expected.covariances_, atol=1e-6)
    assert run.bounds[-1] == pytest.approx(expected.lower_bound_, abs=1e-8)


# What is maximised


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("weight", [0.0, 1.0, 10.0, 100.0])
def test_the_bound_never_falls(seed, weight):
    X, y, proba = blobs(seed=seed)
    slicer = MixtureSlicer(
        6, label_weight=weight, proba_weight=weight, tol=0, max_iter=60, reg_covar=1e-9, random_state=seed
    ).fit(X, y, y_proba=proba)
    assert len(slicer.lower_bounds_) == slicer.n_iter_ > 10
    assert np.diff(slicer.lower_bounds_).min() > -1e-9
    assert slicer.lower_bound_ == slicer.lower_bounds_[-1]


def test_the_bound_is_the_likelihood_and_the_prior_of_the_label_probabilities():
    X, y, proba = blobs(n_samples=40, n_features=2)
    slicer = MixtureSlicer(3, label_weight=2, proba_weight=3, tol=0, max_iter=400, random_state=0)
    slicer.fit(X, y, y_proba=proba)  # long past rest: the parameters after the last step are those before it
    total = 0.0
    for x, label, q in zip(X, y, proba, strict=True):
        terms = []
        for k in range(3):
            p, r = slicer.label_proba_[k, 1], slicer.prediction_proba_[k, 1]
            terms.append(
                np.log(slicer.weights_[k])
                + norm(slicer.means_[k], np.sqrt(slicer.covariances_[k])).logpdf(x).sum()
                + 2 * np.log(p if label else 1 - p)
                + 3 * (q * np.log(r) + (1 - q) * np.log(1 - r))
            )
        total += logsumexp(terms)
    for weight, values, probabilities in ((2, y, slicer.label_proba_), (3, proba, slicer.prediction_proba_)):
        prior = (values.sum() + 0.5) / 41
        total += weight * sum(prior * np.log(p) + (1 - prior) * np.log(1 - p) for p in probabilities[:, 1])
    assert slicer.lower_bound_ == pytest.approx(total / 40, abs=1e-6)


def test_more_starts_are_no_worse():
    X, y, proba = blobs()
    bounds = [fit_quietly(MixtureSlicer(8, n_init=n, random_state=3), X, y, y_proba=proba).lower_bound_ for n in (1, 5)]
    assert bounds[1] >= bounds[0]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("init", ["confusion", "kmeans", "domino"])
def test_the_bound_never_falls_with_blocks_and_classes(seed, init):
    X, y, proba = classes(seed=seed)
    slicer = MixtureSlicer(
        8, blocks={"a": 20, "b": 3}, block_weights={"a": 0.7, "b": 3}, tol=0, max_iter=60, reg_covar=1e-9,
        init=init, random_state=seed,
    ).fit(X, y, y_proba=proba)  # fmt: skip
    assert np.diff(slicer.lower_bounds_).min() > -1e-9
    assert slicer.lower_bounds_[-1] > slicer.lower_bounds_[0] + 0.01


# Domino

# What the package of Domino (HazyResearch/domino, main branch, GeneralizedMixture of a GaussianVariable("diag") and two
# CategoricalVariables) gave on these twelve samples with n_components=2, init_params="kmeans", tol=1e-9,
# max_iter=1000, random_state=0, float64; components in the order of their first mean.
TINY_X = np.array(
    [[0.0, 0.2], [0.9, -0.4], [-0.7, 0.5], [0.3, 1.1], [1.2, 0.4], [1.9, 1.6],
     [2.3, 2.9], [3.1, 2.2], [2.7, 1.4], [3.6, 3.1], [2.0, 2.4], [1.5, 0.8]]
)  # fmt: skip
TINY_Y = np.array([0, 0, 1, 0, 0, 1, 1, 1, 0, 1, 1, 0])
TINY_PROBA = np.array([0.1, 0.3, 0.2, 0.4, 0.15, 0.35, 0.9, 0.8, 0.7, 0.95, 0.25, 0.6])
TINY_BOUND = -3.5451956123046813
TINY_WEIGHTS = [0.502186506, 0.497813494]
TINY_MEANS = [[0.543077433, 0.438635172], [2.599247556, 2.269370655]]
TINY_VARIANCES = [[0.580553702, 0.226999968], [0.36909065, 0.386267686]]
TINY_LABEL = [[0.832493898, 0.167506102], [0.16458533, 0.83541467]]
TINY_PREDICTION = [[0.706963321, 0.293036679], [0.341438233, 0.658561767]]
TINY_MEMBERSHIP = [
    0.000000064, 0.000001464, 0.000000081, 0.000059384, 0.000126472, 0.990585871,
    0.999999976, 0.999999275, 0.975440676, 1.0, 0.999983149, 0.007565518,
]  # fmt: skip


def test_the_numbers_of_the_package_of_domino():
    slicer = MixtureSlicer(2, **AS_DOMINO, tol=1e-9, max_iter=1000, random_state=0)
    slicer.fit(TINY_X, TINY_Y, y_proba=TINY_PROBA)
    order = np.argsort(slicer.means_[:, 0])
    for ours, theirs in (
        (slicer.weights_, TINY_WEIGHTS),
        (slicer.means_, TINY_MEANS),
        (slicer.covariances_, TINY_VARIANCES),
        (slicer.label_proba_, TINY_LABEL),
        (slicer.prediction_proba_, TINY_PREDICTION),
    ):
        np.testing.assert_allclose(ours[order], theirs, atol=2e-8)
    assert slicer.lower_bound_ == pytest.approx(TINY_BOUND, abs=1e-8)
    membership = slicer.posterior(TINY_X, TINY_Y, TINY_PROBA)
    np.testing.assert_allclose(membership[:, order[1]], TINY_MEMBERSHIP, atol=1e-7)


def test_the_numbers_of_domino_are_those_of_its_equations():
    Y, Q = domino.one_hot(TINY_Y, 2), domino.two_columns(TINY_PROBA)
    parameters, bounds = domino.fit(TINY_X, Y, Q, 2, tol=1e-9, max_iter=1000)
    order = np.argsort(parameters[1][:, 0])
    expected = (TINY_WEIGHTS, TINY_MEANS, TINY_VARIANCES, TINY_LABEL, TINY_PREDICTION)
    for ours, theirs in zip(parameters, expected, strict=True):
        np.testing.assert_allclose(ours[order], theirs, atol=2e-8)
    assert bounds[-1] == pytest.approx(TINY_BOUND, abs=1e-8)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("init", ["kmeans", "domino"])
@pytest.mark.parametrize("weight", [1, 10])
@pytest.mark.parametrize("n_classes", [2, 3])
def test_with_the_settings_of_domino_it_is_domino(seed, init, weight, n_classes):
    if n_classes == 2:
        X, y, proba = blobs(seed=seed)
        Q = domino.two_columns(proba)
    else:
        X, y, proba = classes(seed=seed)
        Q = proba
    Y = domino.one_hot(y, n_classes)
    options = {"label_weight": weight, "proba_weight": weight, "tol": 1e-6, "max_iter": 300}
    R = domino.confusion_start(Y, Q, 10, np.random.RandomState(seed)) if init == "domino" else None
    parameters, bounds = domino.fit(X, Y, Q, 10, **options, seed=seed, R=R)
    slicer = fit_quietly(
        MixtureSlicer(10, **(AS_DOMINO | options | {"init": init}), random_state=seed), X, y, y_proba=proba
    )
    assert slicer.n_iter_ == len(bounds) > 3
    fitted = (
        slicer.weights_, slicer.means_, slicer.covariances_, slicer.label_proba_, slicer.prediction_proba_
    )  # fmt: skip
    for ours, theirs in zip(fitted, parameters, strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    np.testing.assert_allclose(slicer.lower_bounds_, bounds, atol=1e-6)
    _, responsibilities = domino.expect(X, Y, Q, parameters, weight, weight)
    np.testing.assert_allclose(slicer.posterior(X, y, proba), responsibilities, atol=1e-9)


def test_its_term_for_soft_predictions_lets_the_bound_fall():
    """The mean of q is the M-step of E_q[log P], not of log E_q[P]; with ours the bound grows from the same start."""
    X, y, proba = blobs(2000, 20, seed=0)
    falls = {}
    for term in ("log_mean", "mean_log"):
        options = AS_DOMINO | {"label_weight": 10, "proba_weight": 10, "prediction_term": term}
        slicer = MixtureSlicer(12, **options, tol=0, max_iter=60, random_state=0).fit(X, y, y_proba=proba)
        falls[term] = np.diff(slicer.lower_bounds_).min()
    assert falls["log_mean"] < -1e-7
    assert falls["mean_log"] > -1e-9


# Blocks


def informative_and_noise(seed, n_samples=600, *, n_noise=500):
    rng = np.random.default_rng(seed)
    group = rng.integers(0, 4, n_samples)
    informative = 2 * rng.normal(size=(4, 5))[group] + rng.normal(size=(n_samples, 5))
    return group, informative, 30 * rng.normal(size=(n_samples, n_noise))


@pytest.mark.parametrize("seed", range(4))
def test_a_block_of_noise_does_not_drown_one_that_matters(seed):
    group, informative, noise = informative_and_noise(seed)
    both = np.hstack([informative, noise])
    options = {"n_components": 4, "n_init": 4, "random_state": 0}

    def found(X, **blocks):
        return fit_quietly(MixtureSlicer(**options, **blocks), X).transform(X).argmax(axis=1)

    alone = found(informative)
    balanced = found(both, blocks={"report": 5, "image": 500})
    assert adjusted_rand_score(alone, balanced) > 0.9
    assert adjusted_rand_score(group, balanced) > adjusted_rand_score(group, alone) - 0.05
    # What it is for: the same columns as one block.
    assert adjusted_rand_score(alone, found(both)) < 0.3


@pytest.mark.parametrize("n_dimensions", [None, 3])
def test_units_of_a_block_do_not_matter(n_dimensions):
    X, y, proba = blobs(n_features=9)
    scaled = X * np.r_[np.full(4, 1000.0), np.full(5, 1e-3)]
    options = {"n_components": 5, "blocks": [4, 5], "n_dimensions": n_dimensions, "random_state": 0}
    one, two = (fit_quietly(MixtureSlicer(**options), Z, y, y_proba=proba).transform(Z) for Z in (X, scaled))
    np.testing.assert_allclose(one, two, atol=1e-6)


def test_the_likelihood_is_the_sum_of_the_blocks_by_weight():
    X, y, proba = classes(seed=1)
    slicer = MixtureSlicer(4, blocks={"a": 20, "b": 3}, block_weights=[2, 0.5], tol=0, max_iter=5, random_state=0)
    membership = slicer.fit(X, y, y_proba=proba).transform(X)
    assert slicer.block_dimensions_ == {"a": 20, "b": 3}
    # 20 columns against the 16 that a block always has; the geometric mean of 20 and 3 is less.
    assert slicer.block_weights_ == pytest.approx({"a": 2 * 16 / 20, "b": 0.5})
    joint = np.log(slicer.weights_) + np.zeros((len(X), 4))
    for k in range(4):
        log_density = norm(slicer.means_[k], np.sqrt(slicer.covariances_[k])).logpdf(X)
        joint[:, k] += 1.6 * log_density[:, :20].sum(axis=1) + 0.5 * log_density[:, 20:].sum(axis=1)
    np.testing.assert_allclose(membership, np.exp(joint - logsumexp(joint, axis=1, keepdims=True)), atol=1e-6)


def test_a_block_of_weight_0_is_not_looked_at():
    _, informative, noise = informative_and_noise(0, n_noise=30)
    X = np.hstack([noise, informative])
    slicer = MixtureSlicer(4, blocks=[30, 5], block_weights=[0, 1], random_state=0).fit(X)
    alone = MixtureSlicer(4, blocks=[5], random_state=0).fit(informative)
    np.testing.assert_allclose(slicer.transform(X), alone.transform(informative), atol=1e-6)


@pytest.mark.parametrize("width", [6, 12])
def test_each_block_is_reduced_by_itself(width, monkeypatch):
    monkeypatch.setattr(_mixture, "MOST_COLUMNS", 10)  # the wider block takes the randomised method
    rng = np.random.default_rng(0)
    X = rng.normal(size=(200, width + 5)) * np.r_[2.0 ** -np.arange(width), 3.0 ** -np.arange(5)] + 7
    slicer = MixtureSlicer(3, blocks={"a": width, "b": 5}, n_dimensions=2, random_state=0).fit(X)
    assert slicer.block_dimensions_ == {"a": 2, "b": 2}
    for name, part in (("a", X[:, :width]), ("b", X[:, width:])):
        expected = PCA(2).fit(part).components_
        np.testing.assert_allclose(np.abs((slicer.components_[name] * expected).sum(axis=1)), 1, atol=1e-6)
    scores = np.hstack([PCA(2).fit_transform(X[:, :width]), PCA(2).fit_transform(X[:, width:])])
    np.testing.assert_allclose(scores.var(axis=0), np.var(slicer._project(X), axis=0), rtol=1e-6)
    np.testing.assert_allclose(slicer.weights_ @ slicer.means_, 0, atol=1e-6)


def test_more_dimensions_than_there_are():
    X, _, _ = blobs(12)
    slicer = fit_quietly(MixtureSlicer(2, blocks={"a": 2, "b": 3}, n_dimensions=50, random_state=0), X)
    assert slicer.block_dimensions_ == {"a": 2, "b": 3}
    assert slicer.transform(X).shape == (12, 2)


@pytest.mark.parametrize("bad", [[2, 2], [5, 0], [2.5, 2.5], {"a": 6}])
def test_blocks_that_do_not_fit(bad):
    with pytest.raises(InputError, match=r"^blocks: expected numbers of columns that sum to the 5 of X, got \["):
        MixtureSlicer(2, blocks=bad).fit(blobs(20)[0])


@pytest.mark.parametrize("bad", [[1], [1, -1], [1, np.inf], {"a": 1, "c": 1}, {"a": 1}, ["much", 1]])
def test_bad_block_weights(bad):
    with pytest.raises(InputError, match=r"^block_weights: expected a number from 0 on for each block \(a, b\), got "):
        MixtureSlicer(2, blocks={"a": 2, "b": 3}, block_weights=bad).fit(blobs(20)[0])


# Classes


def classes(n_samples=300, *, seed=0):
    """Return 23 columns, labels 0, 1 and 2 and probabilities of each."""
    X, _, _ = blobs(n_samples, 23, seed=seed)
    rng = np.random.default_rng([seed, 1])
    y = rng.integers(0, 3, n_samples)
    proba = rng.dirichlet(np.ones(3), n_samples) * 0.4 + 0.6 * np.eye(3)[np.where(rng.random(n_samples) < 0.2, 0, y)]
    return X, y, proba


def test_two_columns_of_probabilities_are_the_same_as_one():
    X, y, proba = blobs()
    options = {"n_components": 6, "random_state": 0}
    one = fit_quietly(MixtureSlicer(**options), X, y, y_proba=proba)
    two = fit_quietly(MixtureSlicer(**options), X, y, y_proba=np.stack([1 - proba, proba], axis=1))
    np.testing.assert_allclose(one.transform(X), two.transform(X), atol=1e-6)
    np.testing.assert_allclose(one.prediction_proba_, two.prediction_proba_, atol=1e-9)


def test_an_error_between_two_of_three_classes_has_its_component():
    rng = np.random.default_rng(0)
    y = rng.integers(0, 3, 900)
    X = rng.normal(size=(900, 3)) + 10 * rng.integers(0, 2, (900, 1))
    failing = (y == 1) & (rng.random(900) < 0.4)
    X[failing, 2] += 5
    proba = 0.85 * np.eye(3)[np.where(failing, 2, y)] + 0.05
    slicer = fit_quietly(MixtureSlicer(9, random_state=0), X, y, y_proba=proba)
    assert slicer.label_proba_.shape == slicer.prediction_proba_.shape == (9, 3)
    np.testing.assert_allclose(slicer.label_proba_.sum(axis=1), 1)
    np.testing.assert_allclose(slicer.prediction_proba_.sum(axis=1), 1)
    confused = slicer.label_proba_[:, 1] * slicer.prediction_proba_[:, 2]
    assert confused.max() > 0.6
    member = slicer.posterior(X, y, proba)[:, confused > 0.5].sum(axis=1) >= 0.5
    assert (member & failing).sum() / (member | failing).sum() > 0.8


def test_the_posterior_by_bayes_rule():
    X, y, proba = classes(40, seed=2)
    slicer = MixtureSlicer(3, label_weight=2, proba_weight=3, tol=0, max_iter=4, random_state=0)
    found = slicer.fit(X, y, y_proba=proba).posterior(X, y, proba)
    for x, label, q, row in zip(X, y, proba, found, strict=True):
        log_joint = [
            np.log(slicer.weights_[k])
            + norm(slicer.means_[k], np.sqrt(slicer.covariances_[k])).logpdf(x).sum()
            + 2 * np.log(slicer.label_proba_[k, label])
            + 3 * (q @ np.log(slicer.prediction_proba_[k]))
            for k in range(3)
        ]
        np.testing.assert_allclose(row, np.exp(log_joint - logsumexp(log_joint)), atol=1e-6)


def test_a_posterior_without_labels_in_fit_is_that_of_the_embedding():
    X, y, proba = blobs()
    slicer = fit_quietly(MixtureSlicer(4, random_state=0), X)
    np.testing.assert_allclose(slicer.posterior(X, y, proba), slicer.transform(X), atol=1e-6)


def test_a_posterior_of_other_classes():
    X, y, proba = blobs()
    slicer = fit_quietly(MixtureSlicer(4, random_state=0), X, y, y_proba=proba)
    with pytest.raises(InputError, match=r"^y_proba: expected 2 classes, as in fit, got 3\. Give the same classes\.$"):
        slicer.posterior(X, y, np.full((300, 3), 1 / 3))


@pytest.mark.parametrize(
    "bad", [np.full((6, 3), 0.5), np.full((5, 3), 1 / 3), np.ones((6, 1)), np.full((6, 2), np.nan)]
)
def test_bad_probabilities_of_classes(bad):
    with pytest.raises(InputError, match=r"^y_proba: expected 6 rows of probabilities in \[0, 1\] that sum to 1, "):
        MixtureSlicer(2).fit(np.eye(6), [0, 1] * 3, y_proba=bad)


@pytest.mark.parametrize("bad", [[0, 1, 3] * 2, [-1, 0, 1] * 2, ["a", "b"] * 3, [0, 1]])
def test_bad_labels_of_classes(bad):
    with pytest.raises(InputError, match=r"^y: expected 6 labels from 0 to 2, the columns of y_proba less one, got "):
        MixtureSlicer(2).fit(np.eye(6), bad, y_proba=np.full((6, 3), 1 / 3))


# What labels are for


@pytest.mark.parametrize("seed", range(4))
def test_errors_that_embeddings_alone_do_not_separate(seed):
    """Four far groups mean nothing and take the components; a shift in another dimension is where errors are."""
    rng = np.random.default_rng(seed)
    n = 800
    X = rng.normal(size=(n, 3))
    X[:, :2] += 12 * rng.integers(0, 2, (n, 2))
    failing = rng.random(n) < 0.15
    X[failing, 2] += 6
    y = rng.integers(0, 2, n)
    proba = np.where(failing, 1 - y, y) * 0.9 + 0.05

    def best_match(slicer):
        members = slicer.transform(X) >= 0.5
        both = (members & failing[:, None]).sum(axis=0)
        return (both / (members | failing[:, None]).sum(axis=0)).max()

    aware = fit_quietly(MixtureSlicer(4, random_state=0), X, y, y_proba=proba)
    blind = fit_quietly(MixtureSlicer(4, random_state=0), X)
    assert best_match(aware) > 0.5
    assert best_match(blind) < 0.25
    disagreement = np.abs(aware.label_proba_ - aware.prediction_proba_)
    assert disagreement.max() > 0.8  # a component whose labels and predictions differ
    np.testing.assert_array_equal(blind.label_proba_, 0.5)


@pytest.mark.parametrize("seed", range(3))
def test_membership_does_not_depend_on_held_out_labels_or_predictions(seed):
    """Each held-out row has the same membership alone, in any company and in any order."""
    X, y, proba = blobs(seed=seed)
    slicer = fit_quietly(MixtureSlicer(5, random_state=0), X[:200], y[:200], y_proba=proba[:200])
    together = slicer.transform(X[200:])
    with pytest.raises(TypeError):
        slicer.transform(X[200:], y_proba=proba[200:])
    np.testing.assert_allclose(slicer.transform(X[200:][::-1])[::-1], together, atol=1e-6)
    np.testing.assert_allclose(np.vstack([slicer.transform(x[None]) for x in X[200:]]), together, atol=1e-6)
    # By Bayes' rule from the fitted Gaussians alone.
    dense = [
        slicer.weights_[k] * norm(slicer.means_[k], np.sqrt(slicer.covariances_[k])).pdf(X[200:]).prod(axis=1)
        for k in range(5)
    ]
    np.testing.assert_allclose(together, (dense / np.sum(dense, axis=0)).T, atol=1e-5)


# Awkward data


def finite(slicer, X):
    membership = slicer.transform(X)
    for values in (slicer.weights_, slicer.means_, slicer.covariances_, slicer.label_proba_, slicer.lower_bounds_):
        assert np.isfinite(values).all()
    assert np.isfinite(membership).all()
    assert ((membership >= 0) & (membership <= 1)).all()
    np.testing.assert_allclose(membership.sum(axis=1), 1, atol=1e-5)
    assert slicer.weights_.sum() == pytest.approx(1)
    return True


@pytest.mark.parametrize("values", [0, 1])
def test_labels_and_predictions_that_are_all_alike(values):
    X, _, _ = blobs(60)
    same = np.full(60, values)
    slicer = fit_quietly(MixtureSlicer(4, random_state=0), X, same, y_proba=same.astype(float))
    assert finite(slicer, X)
    np.testing.assert_allclose(slicer.label_proba_[:, 1], values, atol=0.2)


def test_constant_columns_repeated_rows_and_tiny_components():
    X, y, proba = blobs(60)
    X[:, 0] = 7
    X[:, 1] = 0
    X[:55] = X[0]  # one point 55 times: fewer distinct points than components
    X[59] = 1e4  # a component of one sample
    assert finite(fit_quietly(MixtureSlicer(12, random_state=0), X, y, y_proba=proba), X)
    assert finite(fit_quietly(MixtureSlicer(5, random_state=0), np.ones((60, 3)), y, y_proba=proba), np.ones((60, 3)))
    assert finite(fit_quietly(MixtureSlicer(5, random_state=0), np.zeros((60, 3))), np.zeros((60, 3)))


def test_more_components_than_samples_or_fewer_than_confusion_cells():
    X, y, proba = blobs(6)
    many = fit_quietly(MixtureSlicer(50, random_state=0), X, y, y_proba=proba)
    assert many.transform(X).shape == (6, 6)
    few = fit_quietly(MixtureSlicer(2, random_state=0), *blobs(60)[:2], y_proba=blobs(60)[2])
    assert few.transform(X).shape == (6, 2)


def test_float32_in_gives_finite_float32_out():
    X, y, proba = blobs()
    slicer = fit_quietly(MixtureSlicer(5, random_state=0), X.astype(np.float32), y, y_proba=proba)
    assert finite(slicer, X.astype(np.float32))
    assert slicer.transform(X.astype(np.float32)).dtype == np.float32
    double = fit_quietly(MixtureSlicer(5, random_state=0), X, y, y_proba=proba)
    assert double.transform(X).dtype == np.float32
    assert double.posterior(X, y, proba).dtype == np.float64  # Domino's has so many digits
    assert slicer.posterior(X.astype(np.float32), y, proba).dtype == np.float32
    assert slicer.lower_bound_ == pytest.approx(double.lower_bound_, rel=1e-3)


def test_an_empty_component_keeps_what_it_had_and_has_no_share():
    X, y, proba = blobs(60)
    columns = _mixture._Columns(np.zeros(5), np.ones(5), np.ones(5), np.ones(5), np.full(5, 1e-6))
    slicer = MixtureSlicer(2, max_iter=5, tol=0)
    targets = slicer._targets(y, proba, 60, X.dtype)
    far = np.stack([X.mean(axis=0), np.full(5, 1e5)])
    label = np.array([[0.5, 0.5], [0.3, 0.7]])
    start = _mixture._Parameters(np.array([0.5, 0.5]), far, np.ones((2, 5)), (label, label))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = slicer._run(X, targets, columns, start)
    np.testing.assert_array_equal(run.parameters.means[1], far[1])
    np.testing.assert_array_equal(run.parameters.variances[1], 1)
    np.testing.assert_array_equal(run.parameters.proba[0][1], [0.3, 0.7])
    assert 0 < run.parameters.weights[1] < 1e-12
    np.testing.assert_allclose(run.parameters.means[0], X.mean(axis=0))


@pytest.mark.parametrize("init", ["confusion", "kmeans", "domino"])
def test_no_regularisation_and_components_of_one_sample(init):
    X, y, proba = blobs(12)
    X[:, 2] = 3
    slicer = fit_quietly(MixtureSlicer(9, init=init, reg_covar=0, smoothing=0, random_state=0), X, y, y_proba=proba)
    assert finite(slicer, X)


# Large data


def test_many_samples_start_from_few_and_end_as_good(monkeypatch):
    X, y, proba = blobs(3000, seed=3)
    options = {"n_components": 6, "tol": 1e-6, "max_iter": 500, "random_state": 0}
    whole = MixtureSlicer(**options).fit(X, y, y_proba=proba)
    monkeypatch.setattr(_mixture, "START_ROWS", 500)
    staged = MixtureSlicer(**options).fit(X, y, y_proba=proba)
    assert staged.lower_bound_ > whole.lower_bound_ - 0.2
    assert np.diff(staged.lower_bounds_).min() > -1e-9
    assert finite(staged, X)


@pytest.mark.parametrize("n_dimensions", [None, 4])
def test_chunks_and_threads_change_nothing(n_dimensions, monkeypatch):
    X, y, proba = blobs(3000, 20)
    options = {"n_components": 6, "n_dimensions": n_dimensions, "random_state": 0}
    whole = fit_quietly(MixtureSlicer(**options), X, y, y_proba=proba)
    monkeypatch.setattr(_mixture, "CHUNK_BYTES", 20_000)
    small = fit_quietly(MixtureSlicer(**options), X, y, y_proba=proba)
    np.testing.assert_allclose(small.means_, whole.means_, atol=1e-8)
    np.testing.assert_allclose(small.posterior(X, y, proba), whole.posterior(X, y, proba), atol=1e-6)
    again = fit_quietly(MixtureSlicer(**options), X, y, y_proba=proba)
    assert again.means_.tobytes() == small.means_.tobytes()


@pytest.mark.parametrize("n_dimensions", [None, 16])
def test_memory_of_a_fit_is_a_part_of_the_array(n_dimensions):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60_000, 256), dtype=np.float32)
    y, proba = rng.integers(0, 2, 60_000), rng.random(60_000)
    slicer = MixtureSlicer(10, max_iter=2, n_dimensions=n_dimensions, random_state=0)
    tracemalloc.start()
    fit_quietly(slicer, X, y, y_proba=proba)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.75 * X.nbytes  # 0.33 of it are the samples that starts are compared on, and k-means' copy of them


# Larger than memory


class OnDisk:
    """A lazy array: rows of .npy files, read by whoever asks for them."""

    ndim = 2

    def __init__(self, files):
        self.files = [str(file) for file in files]
        heads = [np.load(file, mmap_mode="r") for file in self.files]
        self.dtype = heads[0].dtype
        self.edges = np.cumsum([0, *map(len, heads)]).tolist()
        self.shape = (self.edges[-1], *heads[0].shape[1:])

    def __len__(self):
        return self.shape[0]

    def blocks(self):
        return [slice(first, last) for first, last in pairwise(self.edges)]

    def __getitem__(self, rows):
        if isinstance(rows, slice) and rows in self.blocks():
            return np.load(self.files[self.blocks().index(rows)])
        positions = np.arange(len(self))[rows]
        assert (np.diff(positions) > 0).all()
        found = []
        for file, (first, last) in zip(self.files, pairwise(self.edges), strict=True):
            inside = positions[(positions >= first) & (positions < last)]
            found.append(np.load(file, mmap_mode="r")[inside - first])
        return np.concatenate(found)


def on_disk(folder, X, n_blocks=3):
    """Write uneven blocks, one of them empty where there are more than three."""
    inner = np.sort(np.random.default_rng(n_blocks).choice(np.arange(1, len(X)), n_blocks - 1, replace=False))
    if n_blocks > 3:
        inner[1] = inner[0]
    files = [folder / f"{n_blocks}-{k}.npy" for k in range(n_blocks)]
    for file, rows in zip(files, np.split(X, inner), strict=True):
        np.save(file, rows)
    return OnDisk(files)


@pytest.fixture
def few_starts(monkeypatch):
    monkeypatch.setattr(_mixture, "START_ROWS", 400)


def assert_same_fit(one, two, *, atol=1e-5):
    for name in ("mean_", "weights_", "means_", "covariances_", "label_proba_", "prediction_proba_", "lower_bounds_"):
        np.testing.assert_allclose(getattr(one, name), getattr(two, name), atol=atol, err_msg=name)
    assert (one.n_iter_, one.converged_) == (two.n_iter_, two.converged_)
    assert (one.n_features_in_, one.block_dimensions_) == (two.n_features_in_, two.block_dimensions_)
    assert one.block_weights_ == pytest.approx(two.block_weights_)


LAZY = {
    "embedding alone": (blobs, {"label_weight": 0, "proba_weight": 0}),
    "labels": (blobs, {}),
    "classes": (classes, {"blocks": {"a": 20, "b": 3}, "block_weights": {"a": 0.7, "b": 3}}),
    "reduced": (classes, {"blocks": [20, 3], "n_dimensions": 4}),
    "Domino's": (blobs, AS_DOMINO | {"init": "domino"}),
}


@pytest.mark.parametrize("options", LAZY)
@pytest.mark.parametrize("n_blocks", [1, 3, 17])
@pytest.mark.usefixtures("few_starts")
def test_a_lazy_array_has_the_fit_of_one_in_memory(options, n_blocks, tmp_path):
    make, options = LAZY[options]
    X, y, proba = make(3000)
    lazy = on_disk(tmp_path, X, n_blocks)
    assert len(lazy.blocks()) == n_blocks
    expected = fit_quietly(MixtureSlicer(6, **options, random_state=0), X, y, y_proba=proba)
    for n_workers in (1, 2, 5):
        with parallel_config("threading", n_jobs=n_workers):
            slicer = fit_quietly(MixtureSlicer(6, **options, random_state=0), lazy, y, y_proba=proba)
            assert_same_fit(slicer, expected)
            np.testing.assert_allclose(slicer.transform(lazy), expected.transform(X), atol=1e-5)
            posterior = slicer.posterior(lazy, y, proba)
        np.testing.assert_allclose(posterior, expected.posterior(X, y, proba), atol=1e-5)
        assert posterior.dtype == X.dtype


@pytest.mark.usefixtures("few_starts")
def test_processes_that_read_have_the_fit_of_one_in_memory(tmp_path):
    X, y, proba = blobs(3000)
    X = X.astype(np.float32)
    lazy = on_disk(tmp_path, X, 5)
    options = {"n_components": 4, "n_dimensions": 4, "random_state": 0}
    expected = fit_quietly(MixtureSlicer(**options), X, y, y_proba=proba)
    here = sys.modules[OnDisk.__module__]
    cloudpickle.register_pickle_by_value(here)  # other processes do not find the modules of tests
    try:
        with parallel_config("loky", n_jobs=2):
            slicer = fit_quietly(MixtureSlicer(**options), lazy, y, y_proba=proba)
            membership = slicer.transform(lazy)
    finally:
        cloudpickle.unregister_pickle_by_value(here)
    assert_same_fit(slicer, expected)
    np.testing.assert_allclose(membership, expected.transform(X), atol=1e-5)


@pytest.mark.usefixtures("few_starts")
def test_a_wide_block_of_a_lazy_array_is_reduced_without_its_square(tmp_path, monkeypatch):
    monkeypatch.setattr(_mixture, "MOST_COLUMNS", 30)
    rng = np.random.default_rng(0)
    X = rng.normal(size=(900, 45)) * np.r_[1.5 ** -np.arange(40), np.ones(5)] + 7
    slicer = MixtureSlicer(3, blocks=[40, 5], n_dimensions=3, max_iter=5, random_state=0)
    expected = fit_quietly(slicer, X).components_
    lazy = fit_quietly(slicer, on_disk(tmp_path, X)).components_
    exact = PCA(3, svd_solver="full").fit(X[:, :40]).components_
    np.testing.assert_allclose(np.abs((lazy[0] * exact).sum(axis=1)), 1, atol=1e-6)
    for name in (0, 1):
        np.testing.assert_allclose(lazy[name], expected[name], atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, int])
@pytest.mark.usefixtures("few_starts")
def test_other_numbers_become_floats_as_they_are_read(dtype, tmp_path):
    X, y, proba = blobs(900)
    X = (10 * X).astype(dtype)
    expected = fit_quietly(MixtureSlicer(3, random_state=0), X, y, y_proba=proba)
    slicer = fit_quietly(MixtureSlicer(3, random_state=0), on_disk(tmp_path, X), y, y_proba=proba)
    assert_same_fit(slicer, expected)


def test_a_lazy_array_of_few_samples_is_read(tmp_path):
    X, y, proba = blobs()
    one, two = (fit_quietly(MixtureSlicer(5, random_state=0), Z, y, y_proba=proba) for Z in (X, on_disk(tmp_path, X)))
    assert_same_fit(one, two, atol=0)
    np.testing.assert_array_equal(two.transform(on_disk(tmp_path, X)), one.transform(X))


@pytest.mark.parametrize("most_bytes", [2400 * 5 * 8, 2400 * 5 * 8 + 1])
@pytest.mark.usefixtures("few_starts")
def test_a_small_lazy_array_is_not_worth_processes(most_bytes, tmp_path, monkeypatch):
    worth = set()

    def recorded(function, pieces, *shared, large):
        worth.add(large)
        return (function(piece, *shared) for piece in pieces)

    monkeypatch.setattr(_mixture, "map_pieces", recorded)
    monkeypatch.setattr(_mixture, "PROCESS_BYTES", most_bytes)
    lazy = on_disk(tmp_path, blobs(2400)[0])
    fit_quietly(MixtureSlicer(3, random_state=0, n_dimensions=2), lazy).transform(lazy)
    assert worth == {most_bytes == 2400 * 5 * 8}


@pytest.mark.parametrize("start_rows", [10, 10_000])
@pytest.mark.parametrize(
    "bad",
    [
        np.where(np.arange(60).reshape(20, 3) == 50, np.nan, 1),
        np.where(np.arange(60).reshape(20, 3) == 50, -np.inf, 1).astype(np.float32),
        np.ones((1, 3)),
        np.ones((20, 0)),
        np.ones((20, 3, 2)),
        np.ones((20, 3), dtype=complex),
        np.full((20, 3), "much"),
    ],
    ids=["NaN", "infinity", "one sample", "no column", "three axes", "complex", "text"],
)
def test_a_lazy_array_has_the_errors_of_one_in_memory(bad, start_rows, tmp_path, monkeypatch):
    monkeypatch.setattr(_mixture, "START_ROWS", start_rows)
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(ValueError, match=r"\w") as expected:
        MixtureSlicer(2).fit(bad)
    with pytest.raises(ValueError, match=r"\w") as found:
        MixtureSlicer(2).fit(OnDisk([tmp_path / "bad.npy"]))
    if bad.dtype.kind == "f":  # the others quote values
        assert str(found.value) == str(expected.value)
    else:
        assert str(found.value).split()[:2] == str(expected.value).split()[:2]


def test_a_lazy_array_with_other_columns_than_the_fit(tmp_path):
    X, _, _ = blobs()
    slicer = fit_quietly(MixtureSlicer(2, random_state=0), X)
    with pytest.raises(ValueError, match="X has 3 features, but MixtureSlicer is expecting 5 features as input"):
        slicer.transform(on_disk(tmp_path, X[:, :3]))


def traced_peak(function):
    tracemalloc.start()
    try:
        function()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("n_dimensions", [None, 16])
def test_memory_of_a_lazy_fit_is_that_of_its_blocks(n_dimensions, tmp_path, monkeypatch):
    monkeypatch.setattr(_mixture, "START_ROWS", 4000)
    rng = np.random.default_rng(0)
    for k in range(4):
        np.save(tmp_path / f"{k}.npy", rng.standard_normal((2500, 512), dtype=np.float32))
    lazy = OnDisk([tmp_path / f"{k % 4}.npy" for k in range(40)])  # 205 MB to whoever reads it
    n_bytes = len(lazy) * 512 * 4
    y, proba = rng.integers(0, 2, len(lazy)), rng.random(len(lazy))
    slicer = MixtureSlicer(10, max_iter=2, n_dimensions=n_dimensions, random_state=0)

    def fit():
        with parallel_config("threading", n_jobs=2):
            fit_quietly(slicer, lazy, y, y_proba=proba)

    assert traced_peak(fit) < n_bytes / 4  # starts: 0.16; two blocks of each worker: 0.1, but not together


def test_a_mapped_file_is_an_array_of_which_no_copy_is_made(tmp_path):
    rng = np.random.default_rng(0)
    X = rng.standard_normal((60_000, 256), dtype=np.float32)
    y, proba = rng.integers(0, 2, 60_000), rng.random(60_000)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    options = {"n_components": 5, "max_iter": 2, "init": "domino", "random_state": 0}
    slicer = MixtureSlicer(**options)
    assert traced_peak(lambda: fit_quietly(slicer, mapped, y, y_proba=proba)) < 0.5 * X.nbytes  # starts: 0.17
    assert_same_fit(slicer, fit_quietly(MixtureSlicer(**options), X, y, y_proba=proba), atol=0)


def test_float32_far_from_zero_keeps_its_digits():
    X, y, proba = blobs()
    near = fit_quietly(MixtureSlicer(5, blocks=[5], random_state=0), X.astype(np.float32), y, y_proba=proba)
    moved = (X + 1000).astype(np.float32)
    far = fit_quietly(MixtureSlicer(5, blocks=[5], random_state=0), moved, y, y_proba=proba)
    np.testing.assert_allclose(far.covariances_, near.covariances_, rtol=1e-2)
    np.testing.assert_allclose(far.transform(moved), near.transform(X.astype(np.float32)), atol=1e-2)


# Seeds, pickles, messages


def test_same_seed_same_bytes():
    X, y, proba = blobs()
    one, two, other = (
        fit_quietly(MixtureSlicer(9, random_state=seed), X, y, y_proba=proba).transform(X).tobytes()
        for seed in (0, 0, 1)
    )
    assert one == two
    assert one != other


def test_it_pickles():
    X, y, proba = blobs()
    slicer = fit_quietly(MixtureSlicer(5, random_state=0), X, y, y_proba=proba)
    again = pickle.loads(pickle.dumps(slicer))
    np.testing.assert_array_equal(again.transform(X), slicer.transform(X))
    assert again.get_feature_names_out().tolist() == [f"mixtureslicer{k}" for k in range(5)]


def test_fit_keeps_no_rows():
    X, y, proba = blobs(n_samples=200)
    slicer = fit_quietly(MixtureSlicer(5, random_state=0), X, y, y_proba=proba)
    assert not [name for name, value in vars(slicer).items() if 200 in np.shape(value)]


@pytest.mark.parametrize("bad", [[1.2] * 6, [-0.1] * 6, [np.nan] * 6, [0.5] * 5, ["much"] * 6])
def test_bad_probabilities(bad):
    with pytest.raises(InputError, match=r"^y_proba: expected 6 values in \[0, 1\], got .* Use probabilities\.$"):
        MixtureSlicer(2).fit(np.eye(6), [0, 1] * 3, y_proba=bad)


@pytest.mark.parametrize("bad", [[0, 1, 2] * 2, [0.0, np.nan, 1.0] * 2, ["a", "b"] * 3, [0, 1]])
def test_bad_labels(bad):
    with pytest.raises(InputError, match=r"^y: expected 6 labels, 0 or 1, got .* Map the labels to 0 and 1\.$"):
        MixtureSlicer(2).fit(np.eye(6), bad, y_proba=[0.5] * 6)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_components", 0),
        ("n_dimensions", 0),
        ("max_iter", 0),
        ("n_init", 0),
        ("tol", -1),
        ("label_weight", -1.0),
        ("smoothing", -1),
        ("reg_covar", "small"),
    ],
)
def test_bad_parameters(name, value):
    with pytest.raises(InputError, match=rf"^{name}: expected a number from \d on, got {value!r}\."):
        MixtureSlicer(**{name: value}).fit(np.eye(6))


@pytest.mark.parametrize(
    ("name", "known"), [("init", "confusion, kmeans, domino"), ("prediction_term", "mean_log, log_")]
)
def test_unknown_choices(name, known):
    with pytest.raises(InputError, match=rf"^{name}: expected one of {known}.*, got 'other'\. Choose one of them\.$"):
        MixtureSlicer(**{name: "other"}).fit(np.eye(6))


def test_not_fitted():
    with pytest.raises(NotFittedError, match="MixtureSlicer instance is not fitted yet"):
        MixtureSlicer().transform(np.eye(3))


def test_no_rest_is_said():
    X, y, proba = blobs()
    with pytest.warns(ConvergenceWarning, match="max_iter: expected the mixture to settle within 2 steps"):
        MixtureSlicer(8, max_iter=2, random_state=0).fit(X, y, y_proba=proba)
