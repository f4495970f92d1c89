"""The error-aware mixture: scikit-learn's own mixture without labels, and errors told apart with them."""

import pickle
import warnings

import numpy as np
import pytest
from scipy.special import logsumexp
from scipy.stats import norm
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.mixture import GaussianMixture

from mmaudit._errors import InputError
from mmaudit.slicers import MixtureSlicer


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
    X, _, _ = blobs(seed=7)
    slicer = MixtureSlicer(3, tol=1e-6, max_iter=500, random_state=0).fit(X)
    start = slicer._start(X, np.empty((0, len(X))), np.empty(0), np.random.RandomState(0))
    first = slicer._maximise(X, [], [], start)
    expected = GaussianMixture(
        3,
        covariance_type="diag",
        tol=1e-6,
        max_iter=500,
        weights_init=first["weights_"],
        means_init=first["means_"],
        precisions_init=1 / first["covariances_"],
    ).fit(X)
    np.testing.assert_allclose(slicer.means_, expected.means_, atol=1e-4)
    assert slicer.lower_bound_ == pytest.approx(expected.lower_bound_, abs=1e-4)


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
            p, r = slicer.label_proba_[k], slicer.prediction_proba_[k]
            terms.append(
                np.log(slicer.weights_[k])
                + norm(slicer.means_[k], np.sqrt(slicer.covariances_[k])).logpdf(x).sum()
                + 2 * np.log(p if label else 1 - p)
                + 3 * (q * np.log(r) + (1 - q) * np.log(1 - r))
            )
        total += logsumexp(terms)
    for weight, values, probabilities in ((2, y, slicer.label_proba_), (3, proba, slicer.prediction_proba_)):
        prior = (values.sum() + 0.5) / 41
        total += weight * sum(prior * np.log(p) + (1 - prior) * np.log(1 - p) for p in probabilities)
    assert slicer.lower_bound_ == pytest.approx(total / 40, abs=1e-6)


def test_more_starts_are_no_worse():
    X, y, proba = blobs()
    bounds = [fit_quietly(MixtureSlicer(8, n_init=n, random_state=3), X, y, y_proba=proba).lower_bound_ for n in (1, 5)]
    assert bounds[1] >= bounds[0]


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
    np.testing.assert_allclose(slicer.label_proba_, values, atol=0.2)


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
    assert slicer.lower_bound_ == pytest.approx(double.lower_bound_, rel=1e-3)


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
    [("n_components", 0), ("max_iter", 0), ("n_init", 0), ("tol", -1), ("label_weight", -1.0), ("reg_covar", "small")],
)
def test_bad_parameters(name, value):
    with pytest.raises(InputError, match=rf"^{name}: expected a number from \d on, got {value!r}\."):
        MixtureSlicer(**{name: value}).fit(np.eye(6))


def test_not_fitted():
    with pytest.raises(NotFittedError, match="MixtureSlicer instance is not fitted yet"):
        MixtureSlicer().transform(np.eye(3))


def test_no_rest_is_said():
    X, y, proba = blobs()
    with pytest.warns(ConvergenceWarning, match="max_iter: expected the mixture to settle within 2 steps"):
        MixtureSlicer(8, max_iter=2, random_state=0).fit(X, y, y_proba=proba)
