"""Regions of risk: planted directions and regions are found, and out-of-fold members are judged honestly."""

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import Ridge

from mmaudit._errors import AuditWarning, InputError
from mmaudit.encoders._components import Components
from mmaudit.slicers import RiskSlicer


def cases(n_samples=600, n_columns=17, *, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n_samples, n_columns)), rng.integers(0, 2, n_samples), rng


def proba_of(y, wrong):
    """Return probabilities that are sure, and on the wrong side where `wrong`."""
    return np.where(wrong, 1 - y, y).astype(float)


def gap(members, wrong, of_label):
    inside, outside = members & of_label, ~members & of_label
    return wrong[inside].mean() - wrong[outside].mean()


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("seed", range(3))
def test_a_planted_direction_among_noise(label, seed):
    """Errors grow with a sum of two of 17 columns: the members are those high on it, and of that label alone."""
    X, y, rng = cases(900, seed=seed)
    along = (X[:, 0] + X[:, 1]) / np.sqrt(2)
    wrong = (y == label) & (rng.random(900) < np.where(along > 0.7, 0.7, 0.05))
    slicer = RiskSlicer(n_dimensions=None, random_state=seed)
    held_out = slicer.fit_transform(X, y, y_proba=proba_of(y, wrong))
    assert slicer.labels_ == [label, None]
    new = cases(4000, seed=seed + 100)[0]
    members = slicer.transform(new)[:, 0] >= 0.5
    assert ((new[:, 0] + new[:, 1]) / np.sqrt(2))[members].mean() > 0.9  # the best quarter has 1.27 in the mean
    assert abs(members.mean() - 0.25) < 0.06
    assert gap(held_out[:, 0] >= 0.5, wrong, y == label) > 0.35


@pytest.mark.parametrize("seed", range(3))
def test_a_planted_ball_is_found_by_the_local_model_only(seed):
    """Errors lie in a ball around the origin; no direction leads there."""
    X, y, rng = cases(1500, 16, seed=seed)
    X[:, :2] *= 3
    ball = (X[:, 0] ** 2 + X[:, 1] ** 2) < 5
    wrong = rng.random(1500) < np.where(ball, 0.7, 0.05)
    found = {}
    for model in ("linear", "local"):
        slicer = RiskSlicer(model, n_dimensions=None, random_state=seed)
        members = slicer.fit_transform(X, y, y_proba=proba_of(y, wrong))[:, 2] >= 0.5
        found[model] = ball[members].mean() / ball.mean()
    assert found["local"] > 1.6
    assert found["linear"] < 1.3


@pytest.mark.parametrize("model", ["linear", "local"])
def test_out_of_fold_members_have_no_gap_where_errors_are_luck(model):
    """In-sample members do: who is at risk was learned from their own errors."""
    out_of_fold, in_sample = [], []
    for seed in range(24):
        X, y, rng = cases(400, 16, seed=seed)
        wrong = rng.random(400) < np.where(y == 1, 0.3, 0.15)
        slicer = RiskSlicer(model, random_state=seed)
        held_out = slicer.fit_transform(X, y, y_proba=proba_of(y, wrong))
        own = slicer.transform(X)
        for k, label in enumerate((0, 1)):
            out_of_fold.append(gap(held_out[:, k] >= 0.5, wrong, y == label))
            in_sample.append(gap(own[:, k] >= 0.5, wrong, y == label))
    error = np.std(out_of_fold) / np.sqrt(len(out_of_fold))
    assert abs(np.mean(out_of_fold)) < 3 * error
    assert error < 0.02
    assert np.mean(in_sample) > 0.1


@pytest.mark.parametrize("model", ["linear", "local"])
def test_embeddings_that_say_nothing_have_no_gap_below_zero_either(model):
    """One bit of noise: a model that kept the error rate of the other folds would rank each fold by the others' luck.

    Folds with more errors than the rest would come last, and the gap of members would be below 0.
    """
    gaps = []
    for seed in range(40):
        rng = np.random.default_rng(seed)
        y, wrong = rng.integers(0, 2, 300), rng.random(300) < 0.3
        X = 1e-3 * rng.normal(size=(300, 1))  # ridge regression makes nearly nothing of so little
        held_out = RiskSlicer(model, n_dimensions=None, random_state=seed).fit_transform(
            X, y, y_proba=proba_of(y, wrong)
        )
        gaps.append(gap(held_out[:, 2] >= 0.5, wrong, np.ones(300, dtype=bool)))
    assert np.mean(gaps) > -3.5 * np.std(gaps) / np.sqrt(len(gaps))


def test_folds_share_no_patient():
    """An embedding that says who the patient is, and patients who fail always or never."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(60), 8)
    y = np.tile([0, 1], 240)
    wrong = (rng.random(60) < 0.3)[patient]
    X = np.eye(60)[patient]
    slicer = RiskSlicer(n_dimensions=None, random_state=0)
    proba = proba_of(y, wrong)
    held_out = slicer.fit_transform(X, y, y_proba=proba, groups=[f"p{k}" for k in patient])
    by_sample = RiskSlicer(n_dimensions=None, random_state=0).fit_transform(X, y, y_proba=proba)
    everyone = np.ones(len(y), dtype=bool)
    assert gap(slicer.transform(X)[:, 2] >= 0.5, wrong, everyone) > 0.8
    assert gap(by_sample[:, 2] >= 0.5, wrong, everyone) > 0.8  # films of a patient on both sides of a fold
    members = held_out[:, 2] >= 0.5
    if members.any():
        assert gap(members, wrong, everyone) < 0.2
    # No two samples of a patient differ, and all were judged by the same model.
    assert all(len(set(held_out[patient == k, 2])) == 1 for k in range(60))


def test_out_of_fold_risks_are_those_of_models_fitted_to_the_other_patients():
    """Against partial least squares written out here, fold by fold; the seed tells the folds."""
    X, y, rng = cases(200, 3, seed=5)
    patient = np.repeat(np.arange(100), 2)
    wrong = rng.random(200) < np.where(X[:, 0] > 0, 0.5, 0.1)
    slicer = RiskSlicer(n_dimensions=None, n_folds=4, random_state=7)
    groups = [f"p{k:03d}" for k in patient]
    held_out = slicer.fit_transform(X, y, y_proba=proba_of(y, wrong), groups=groups)[:, 2]
    fold = (np.random.RandomState(7).permutation(100) % 4)[patient]
    risk = np.zeros(200)
    for k in range(4):
        train = fold != k
        rates = np.where(y == 1, wrong[train & (y == 1)].mean(), wrong[train & (y == 0)].mean())
        more, mean = (wrong - rates)[train], X[train].mean(axis=0)
        score = (X[train] - mean) @ (direction := (X[train] - mean).T @ more)
        risk[~train] = (X[~train] - mean) @ direction * (score @ more) / (score @ score)
    # Ranks are by risk, and the top quarter are the members.
    np.testing.assert_array_equal(np.argsort(held_out), np.argsort(risk))
    np.testing.assert_array_equal(held_out >= 0.5, risk >= np.quantile(risk, 0.75))


@pytest.mark.parametrize("share", [0.1, 0.25, 0.6])
def test_the_share_of_members_and_the_rank_of_the_others(share):
    X, y, rng = cases(1000, 5, seed=1)
    wrong = rng.random(1000) < np.where(X[:, 2] > 0, 0.5, 0.1)
    strength = RiskSlicer(share=share, random_state=0).fit_transform(X, y, y_proba=proba_of(y, wrong))
    assert strength.dtype == np.float32
    assert ((strength >= 0) & (strength <= 1)).all()
    for k, label in enumerate((0, 1, None)):
        own = np.sort(strength[(y == label) if label is not None else slice(None), k])
        assert (own >= 0.5).mean() == pytest.approx(share, abs=1.5 / len(own))
        # Without ties, ranks are the odd multiples of 1 / (2 n), stretched to 0.5 at the share on both sides.
        rank = (2 * np.arange(len(own)) + 1) / (2 * len(own))
        cut = 1 - share
        expected = np.where(rank >= cut, 0.5 + 0.5 * (rank - cut) / share, 0.499 * rank / cut)
        np.testing.assert_allclose(own, expected, atol=1e-6)


def test_over_both_labels_their_own_rates_are_taken_off():
    """X says the label, and label 1 has more errors: no region fails more than its labels do."""
    X, y, rng = cases(1200, 6, seed=2)
    X[:, 0] += 4 * y
    wrong = rng.random(1200) < np.where(y == 1, 0.5, 0.1)
    slicer = RiskSlicer(random_state=0).fit(X, y, y_proba=proba_of(y, wrong))
    assert slicer.labels_ == [0, 1, None]
    members = slicer.transform(X)[:, 2] >= 0.5
    assert abs(y[members].mean() - 0.5) < 0.2  # a model of the plain errors takes label 1 alone: 1.0
    plain = Ridge().fit(X, wrong).predict(X)
    assert y[plain >= np.quantile(plain, 0.75)].mean() > 0.95


@pytest.mark.parametrize("model", ["linear", "local"])
def test_the_same_seed_gives_the_same_bytes(model):
    X, y, rng = cases(500, 100, seed=3)
    proba = proba_of(y, rng.random(500) < 0.3)
    one, two = (RiskSlicer(model, random_state=4) for _ in range(2))
    assert one.fit_transform(X, y, y_proba=proba).tobytes() == two.fit_transform(X, y, y_proba=proba).tobytes()
    assert one.transform(X).tobytes() == two.transform(X).tobytes()
    other = RiskSlicer(model, random_state=5).fit_transform(X, y, y_proba=proba)
    assert other.tobytes() != clone(one).fit_transform(X, y, y_proba=proba).tobytes()
    again = pickle.loads(pickle.dumps(one))
    assert again.transform(X).tobytes() == one.transform(X).tobytes()
    with pytest.raises(NotFittedError, match="is not fitted yet"):
        clone(one).transform(X)


@pytest.mark.parametrize("model", ["linear", "local"])
def test_single_precision_changes_next_to_nothing(model):
    X, y, rng = cases(500, 20, seed=6)
    proba = proba_of(y, rng.random(500) < np.where(X[:, 0] > 0, 0.5, 0.1))
    double, single = (
        RiskSlicer(model, random_state=0).fit_transform(values, y, y_proba=proba)
        for values in (X, X.astype(np.float32))
    )
    assert single.dtype == double.dtype == np.float32
    assert ((single >= 0.5) == (double >= 0.5)).mean() > 0.99


# Where there is little to learn


@pytest.mark.parametrize("model", ["linear", "local"])
@pytest.mark.parametrize("n_dimensions", [None, 4])
@pytest.mark.parametrize("value", [0.0, 0.1, 100.1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_constant_embeddings_have_no_members(model, n_dimensions, value, dtype, recwarn):
    _, y, rng = cases(200, seed=7)
    X = np.full((200, 5), value, dtype=dtype)
    slicer = RiskSlicer(model, n_dimensions=n_dimensions, random_state=0)
    held_out = slicer.fit_transform(X, y, y_proba=proba_of(y, rng.random(200) < 0.3))
    assert not (held_out >= 0.5).any()
    assert not (slicer.transform(X) >= 0.5).any()
    assert np.isfinite(slicer.transform(X + 1)).all()
    assert [str(w.message) for w in recwarn] == []


def test_a_column_that_goes_with_no_error_at_all():
    """As many errors where it is 1 as where it is 0, so that least squares have no direction."""
    X = np.tile([0.0, 0, 1, 1], 40)[:, None]
    y = np.repeat([0, 1], 80)
    wrong = np.zeros(160, dtype=bool)
    wrong[[*range(0, 20), *range(80, 100)]] = True
    slicer = RiskSlicer(n_dimensions=None, random_state=0)
    assert np.isfinite(slicer.fit_transform(X, y, y_proba=proba_of(y, wrong))).all()
    assert not (slicer.transform(X) >= 0.5).any()


def test_a_direction_without_variance_is_not_blown_up():
    """Two columns that always agree; a new sample where they differ a little is no outlier."""
    X, y, rng = cases(400, 4, seed=8)
    X[:, 3] = X[:, 2]
    slicer = RiskSlicer("local", n_dimensions=4, random_state=0)
    slicer.fit(X, y, y_proba=proba_of(y, rng.random(400) < np.where(X[:, 0] > 0.5, 0.6, 0.1)))
    new = X.copy()
    new[:, 3] += 0.01
    np.testing.assert_allclose(slicer.transform(new), slicer.transform(X), atol=0.05)


def test_scale_of_components_by_hand():
    """Variances 16 and 1: factors 1/2 and 1, variances after them 4 and 1, so both are divided by the root of 2.5."""
    # Four samples whose columns have no covariance, variance 16 and 1 (divided by n - 1), and one without variance.
    X = np.array([[1, 1, 0], [1, -1, 0], [-1, 1, 0], [-1, -1, 0]]) * np.sqrt([12, 0.75, 1])
    components = Components(3).fit(X)
    np.testing.assert_allclose(components.scale_[:2], np.array([0.5, 1]) / np.sqrt(2.5 * 2 / 3), rtol=1e-6)
    np.testing.assert_array_equal(components.transform(np.add(X, [0, 0, 100]))[:, 2], 0)  # off the plane that was seen
    np.testing.assert_array_equal(Components(2).fit(np.ones((5, 3))).scale_, [0, 0])


@pytest.mark.parametrize(("n_errors", "labels"), [(0, []), (1, []), (3, []), (4, [0, None])])
def test_few_errors_are_not_modelled(n_errors, labels):
    X, y, _ = cases(100, 4, seed=9)
    wrong = np.zeros(100, dtype=bool)
    wrong[np.flatnonzero(y == 0)[:n_errors]] = True
    slicer = RiskSlicer(random_state=0)
    assert slicer.fit_transform(X, y, y_proba=proba_of(y, wrong)).shape == (100, len(labels))
    assert slicer.labels_ == labels
    assert slicer.transform(X).shape == (100, len(labels))


def test_a_classifier_that_is_always_wrong_is_not_modelled():
    X, y, _ = cases(100, 4, seed=9)
    assert RiskSlicer(random_state=0).fit(X, y, y_proba=1 - y).labels_ == []


@pytest.mark.parametrize("n_patients", [1, 2, 3])
def test_fewer_patients_than_folds(n_patients):
    X, y, rng = cases(90, 4, seed=10)
    patient = np.arange(90) % n_patients
    slicer = RiskSlicer(random_state=0)
    held_out = slicer.fit_transform(X, y, y_proba=proba_of(y, rng.random(90) < 0.4), groups=patient)
    assert slicer.labels_ == [0, 1, None]
    assert np.isfinite(held_out).all()
    if n_patients == 1:
        assert not (held_out >= 0.5).any()  # no other patient to learn from


def test_one_label_only():
    X, _, rng = cases(200, 4, seed=11)
    y = np.ones(200, dtype=int)
    slicer = RiskSlicer(random_state=0)
    held_out = slicer.fit_transform(X, y, y_proba=proba_of(y, rng.random(200) < np.where(X[:, 1] > 0, 0.6, 0.1)))
    assert slicer.labels_ == [1, None]
    np.testing.assert_array_equal(held_out[:, 0], held_out[:, 1])


def test_without_predictions_there_are_no_slices():
    X, y, _ = cases(50, 3)
    message = r"^y_proba: expected labels and probabilities to model errors of, got none\. No slices are made\.$"
    with pytest.warns(AuditWarning, match=message):
        slicer = RiskSlicer().fit(X, y)
    with pytest.warns(AuditWarning, match=message):
        assert RiskSlicer().fit_transform(X).shape == (50, 0)
    assert slicer.transform(X).shape == (50, 0)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"model": "tree"}, r"model: expected one of linear, local, got 'tree'\. Choose one of them\."),
        ({"share": 0}, r"share: expected a number between 0 and 1, got 0\."),
        ({"share": 1.0}, r"share: expected a number between 0 and 1, got 1\.0\."),
        ({"share": -0.1}, r"share: expected a number from 0 to 1, got -0\.1\."),
        ({"share": "half"}, r"share: expected a number from 0 to 1, got 'half'\."),
        ({"n_folds": 1}, r"n_folds: expected a number from 2 on, got 1\."),
        ({"n_dimensions": 0}, r"n_dimensions: expected a number from 1 on, got 0\."),
        ({"threshold": 1.5}, r"threshold: expected a number from 0 to 1, got 1\.5\."),
    ],
)
def test_parameters_out_of_range(parameters, message):
    X, y, _ = cases(50, 3)
    with pytest.raises(InputError, match="^" + message):
        RiskSlicer(**parameters).fit(X, y, y_proba=y)


def test_bad_labels_and_probabilities():
    X, y, _ = cases(50, 3)
    with pytest.raises(InputError, match=r"^y: expected 50 labels, 0 or 1, got other values or shape\."):
        RiskSlicer().fit(X, y + 1, y_proba=y)
    with pytest.raises(InputError, match=r"^y: expected 50 labels"):
        RiskSlicer().fit(X, y[:40], y_proba=y)
    with pytest.raises(InputError, match=r"^y_proba: expected 50 values in \[0, 1\], got other values or shape\."):
        RiskSlicer().fit(X, y, y_proba=2.0 * y)
    with pytest.raises(ValueError, match="contains NaN"):
        RiskSlicer().fit(np.full((50, 3), np.nan), y, y_proba=y)
