"""Metrics: hand-worked numbers, scikit-learn's, and that the form for many slices gives what the form for one does."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from mmaudit._errors import InputError
from mmaudit.metrics import METRICS, Metric, as_metric, calibration_error, evaluate


def cases(n=200, seed=0):
    rng = np.random.RandomState(seed)
    proba = rng.random_sample(n).round(2)  # with ties
    return (rng.random_sample(n) < proba).astype(np.int8), proba, rng.random_sample((12, n)) < 0.4


def test_hand_worked_values():
    """Answers 1 1 0 0 1 to truths 1 0 0 1 1: 2 of 5 wrong; of 3 positives 2 found, of 2 negatives 1 cleared."""
    y, answer = np.array([1, 0, 0, 1, 1]), np.array([1.0, 1, 0, 0, 1])
    everybody = np.ones((1, 5), dtype=bool)
    for name, expected in (("error_rate", 0.4), ("sensitivity", 2 / 3), ("specificity", 0.5)):
        assert evaluate(METRICS[name], y, answer, everybody) == pytest.approx([expected])
    # Of the 6 pairs of a positive and a negative 4 are in order and one is tied.
    proba = np.array([0.9, 0.5, 0.2, 0.3, 0.5])
    assert evaluate(METRICS["auroc"], y, proba, everybody) == pytest.approx([4.5 / 6])
    squares = 0.01 + 0.25 + 0.04 + 0.49 + 0.25
    assert evaluate(METRICS["brier"], y, proba, everybody) == pytest.approx([squares / 5])


@pytest.mark.parametrize("name", list(METRICS))
def test_all_slices_at_once_is_each_slice_alone(name):
    y, proba, masks = cases()
    masks[0] = False
    masks[1] &= y == 1
    masks[2] &= y == 0
    metric = METRICS[name]
    values = (proba >= 0.5).astype(float) if metric.answers else proba
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        at_once = evaluate(metric, y, values, masks)
        alone = [metric.function(y, values, m) for m in masks]
    np.testing.assert_allclose(at_once, np.array(alone, dtype=float), atol=1e-12)
    assert np.isnan(at_once[0])


def test_named_metrics_are_those_of_scikit_learn():
    y, proba, masks = cases()
    for name, function in (("auroc", roc_auc_score), ("brier", brier_score_loss)):
        expected = [function(y[m], proba[m]) for m in masks]
        np.testing.assert_allclose(evaluate(METRICS[name], y, proba, masks), expected)


def test_calibration_error_by_hand():
    """30 samples, two bins of 15: 0.2 predicted and 3 of 15 seen, 0.8 predicted and 6 of 15 seen.

    Squared differences 0 and 0.16, less 0.2 * 0.8 / 14 and 0.4 * 0.6 / 14.
    """
    y = np.r_[np.ones(3), np.zeros(12), np.ones(6), np.zeros(9)]
    proba = np.repeat([0.2, 0.8], 15)
    expected = np.sqrt(((0 - 0.16 / 14) + (0.16 - 0.24 / 14)) / 2)
    assert calibration_error(y, proba, np.ones(30, dtype=bool)) == pytest.approx(expected)
    assert np.isnan(calibration_error(y, proba, np.arange(30) < 14))


def test_calibration_error_does_not_grow_as_a_slice_gets_smaller_and_the_plain_one_does():
    """Perfectly calibrated cases, 400 draws: the mean squared error is about 0 at each size."""

    def plain(y, proba):
        which = np.minimum((proba * 10).astype(int), 9)
        return sum(abs((proba - y)[which == b].sum()) for b in range(10)) / len(y)

    rng = np.random.RandomState(0)
    size = {}
    for n in (30, 600):
        ours, theirs = [], []
        for _ in range(400):
            proba = rng.random_sample(n)
            y = (rng.random_sample(n) < proba).astype(float)
            ours.append(calibration_error(y, proba, np.ones(n, dtype=bool)))
            theirs.append(plain(y, proba))
        size[n] = (np.mean(ours), np.mean(theirs))
    assert size[30][1] > 0.15  # the plain one calls this a miscalibration of 15 points
    assert size[30][0] < 0.5 * size[30][1]
    assert size[600][0] < 0.03


def test_a_function_is_tried_to_see_which_labels_it_needs():
    def both(y, proba, mask):
        return roc_auc_score(y[mask], proba[mask])

    def positives(y, proba, mask):
        return float((proba[mask & (y == 1)] >= 0.5).sum() / (mask & (y == 1)).sum())

    assert as_metric(both).labels == (None,)
    assert as_metric(positives).labels == (1, None)
    assert as_metric(lambda y, proba, mask: proba[mask].mean()).labels == (0, 1, None)
    assert as_metric(both).greater_is_better
    assert as_metric(both).name == "both"
    mine = Metric("mine", both, False)
    assert as_metric(mine) is mine
    assert mine.worse == 1


def test_a_function_that_raises_where_it_is_not_defined_gives_nan():
    def fails(y, proba, mask):
        raise ValueError("not defined")

    y, proba, masks = cases()
    assert np.isnan(evaluate(as_metric(fails), y, proba, masks)).all()


def test_unknown_metrics_are_refused():
    with pytest.raises(InputError, match=r"metric: expected one of error_rate.*'aurok'.*Did you mean 'auroc'"):
        as_metric("aurok")
    with pytest.raises(TypeError, match=r"metric: expected a name or a function.*got int"):
        as_metric(3)
