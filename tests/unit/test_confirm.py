"""Confirmation: hand-worked numbers, full enumeration, and what happens when patients have several films."""

import itertools
import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.stats import fisher_exact

from mmaudit import confirm as confirm_module
from mmaudit._errors import InputError
from mmaudit.confirm import PatientExchange, detectable_gaps, metric_frame
from mmaudit.data import Target


def target_of(y, error, proba=None):
    """Return answers with these errors, given with certainty unless probabilities are told."""
    y, error = np.asarray(y).astype(np.int8), np.asarray(error).astype(bool)
    says = (y == 1) != error
    return Target("ill", y, says.astype(float) if proba is None else proba, says)


def confirm(inside, labels, y, error, patient, **options):
    comparisons = [(0, label) for label in labels]
    return confirm_module.confirm(inside, comparisons, [target_of(y, error)], patient, **options)


def slice_metrics(inside, label, y, error, patient):
    return confirm_module.slice_metrics(inside, label, target_of(y, error), patient)


def permutation_p_values(inside, labels, y, error, patient, n, rng, proba=None):
    comparisons, target = [(0, label) for label in labels], target_of(y, error, proba)
    return confirm_module.permutation_p_values(inside, comparisons, [target], patient, "error_rate", n, rng)


def gap_interval(inside, labels, y, error, patient, n, alpha, rng):
    comparisons = [(0, label) for label in labels]
    return confirm_module.gap_interval(inside, comparisons, [target_of(y, error)], patient, "error_rate", n, alpha, rng)


# Numbers worked by hand


def expand(counts):
    """Return inside, y, error from (inside, y, error, count)."""
    rows = [(i, y, e) for i, y, e, count in counts for _ in range(count)]
    inside, y, error = (np.array(column) for column in zip(*rows, strict=True))
    return inside.astype(bool), y, error


def test_slice_metrics_within_a_label():
    """Label 1: 6 of 10 wrong inside, 4 of 20 outside. Label 0 has other numbers and plays no part."""
    inside, y, error = expand([(1, 1, 1, 6), (1, 1, 0, 4), (0, 1, 1, 4), (0, 1, 0, 16), (1, 0, 1, 5), (0, 0, 0, 5)])
    patient = np.arange(len(y)) // 2
    found = slice_metrics(inside, 1, y, error, patient)
    assert found == pytest.approx((10, 5, 10, 0.6, 0.2, 0.4))


def test_slice_metrics_over_both_labels_compares_at_the_same_mix():
    """Inside: 8 of label 1 (4 wrong), 2 of label 0 (1 wrong): 0.5. Outside: label 1 at 0.4, label 0 at 0.1.

    At the mix of the inside the outside has 0.8 * 0.4 + 0.2 * 0.1 = 0.34, though its own mean is 0.16.
    """
    inside, y, error = expand(
        [
            (1, 1, 1, 4),
            (1, 1, 0, 4),
            (1, 0, 1, 1),
            (1, 0, 0, 1),
            (0, 1, 1, 4),
            (0, 1, 0, 6),
            (0, 0, 1, 4),
            (0, 0, 0, 36),
        ]
    )
    n_in, _, _, p_in, p_out, gap = slice_metrics(inside, None, y, error, np.arange(len(y)))
    assert (n_in, p_in) == (10, 0.5)
    assert p_out == pytest.approx(0.34)
    assert gap == pytest.approx(0.16)
    assert error[~inside].mean() == pytest.approx(0.16)


def test_slice_metrics_with_nobody_to_compare_with():
    y, error = np.array([0, 1, 0, 1]), np.array([0, 1, 0, 0])
    everybody, nobody = np.ones(4, dtype=bool), np.zeros(4, dtype=bool)
    assert np.isnan(slice_metrics(everybody, None, y, error, np.arange(4))[3:]).all()
    assert slice_metrics(nobody, 1, y, error, np.arange(4))[:3] == (0, 0, 2)
    # Members of both labels, outsiders of one.
    assert np.isnan(slice_metrics(np.array([True, True, False, True]), None, y, error, np.arange(4))[5])


def test_benjamini_hochberg_by_hand():
    """q of p = (0.01, 0.02, 0.03, 0.5) is (0.04, 0.04, 0.04, 0.5); the frame's q are these of the frame's p."""
    rng = np.random.default_rng(0)
    n = 300
    y = rng.integers(0, 2, n)
    inside = rng.random((n, 6)) < 0.3
    error = rng.random(n) < np.where(inside[:, 0] | inside[:, 1], 0.4, 0.15)
    labels = [0, 1, None, 0, 1, None]
    frame = confirm(inside, labels, y, error, np.arange(n), n_permutations=499, random_state=0)
    np.testing.assert_allclose(by_hand([0.01, 0.02, 0.03, 0.5]), [0.04, 0.04, 0.04, 0.5])
    np.testing.assert_allclose(frame["q_value"], by_hand(frame["p_value"]), atol=1e-12)


def test_a_slice_is_confirmed_at_its_q_value_and_not_just_below():
    inside, y, error = expand([(1, 1, 1, 12), (1, 1, 0, 28), (0, 1, 1, 20), (0, 1, 0, 140)])
    arguments = (inside[:, None], [1], y, error, np.arange(200))
    q = confirm(*arguments, random_state=0)["q_value"][0]
    assert 0.005 < q < 0.05
    for alpha, confirmed in ((q, True), (0.99 * q, False)):
        assert confirm(*arguments, alpha=alpha, random_state=0)["confirmed"][0] == confirmed


def by_hand(p_values):
    p = list(p_values)
    order = sorted(range(len(p)), key=p.__getitem__)
    q, smallest = [0.0] * len(p), 1.0
    for rank in range(len(p), 0, -1):
        smallest = min(smallest, p[order[rank - 1]] * len(p) / rank)
        q[order[rank - 1]] = smallest
    return q


# The permutation test


@pytest.mark.parametrize(("wrong_in", "wrong_out"), [(5, 2), (4, 3), (1, 6), (6, 0), (0, 0)])
def test_one_sample_a_patient_is_twice_the_upper_tail_of_fishers_exact_test(wrong_in, wrong_out):
    n_in, n_out = 6, 10
    inside, y, error = expand(
        [(1, 1, 1, wrong_in), (1, 1, 0, n_in - wrong_in), (0, 1, 1, wrong_out), (0, 1, 0, n_out - wrong_out)]
    )
    table = [[wrong_in, n_in - wrong_in], [wrong_out, n_out - wrong_out]]
    tail = fisher_exact(table, alternative="greater").pvalue
    n = 19_999
    found = permutation_p_values(inside[:, None], [1], y, error, np.arange(16), n, np.random.RandomState(0))[0]
    assert found == pytest.approx(min(1, 2 * tail), abs=2 * (4 * math.sqrt(tail * (1 - tail) / n) + 2 / n))


def test_whole_patients_are_exchanged_as_in_full_enumeration():
    """Six patients of two films each, so 720 equally likely exchanges; the films of a patient are alike."""
    patient = np.repeat(np.arange(6), 2)
    error = np.repeat([1.0, 1, 1, 0, 0, 0], 2)
    inside = np.repeat([True, True, False, False, False, False], 2)
    y = np.zeros(12, dtype=int)
    observed = (error - error.mean())[inside].sum()
    statistics = [
        sum(2 * (error[2 * lender] - error.mean()) for lender, member in zip(order, inside[::2], strict=True) if member)
        for order in itertools.permutations(range(6))
    ]
    tail = np.mean(np.array(statistics) >= observed - 1e-9)
    assert tail == pytest.approx(0.2)  # both members err: 3 of the 15 choices of two members
    found = permutation_p_values(inside[:, None], [0], y, error, patient, 9999, np.random.RandomState(0))[0]
    assert found == pytest.approx(2 * tail, abs=0.032)  # four standard errors
    three = np.repeat([True, True, True, False, False, False], 2)
    found = permutation_p_values(three[:, None], [0], y, error, patient, 9999, np.random.RandomState(0))[0]
    assert found == pytest.approx(2 / 20, abs=0.018)  # one of the choose(6, 3) choices is as extreme, and twice that
    as_if_alone = permutation_p_values(three[:, None], [0], y, error, np.arange(12), 9999, np.random.RandomState(0))
    assert as_if_alone[0] < 0.01


def test_the_smallest_p_value_is_twice_that_of_the_observed_one_alone():
    inside, y, error = expand([(1, 1, 1, 50), (0, 1, 0, 50)])
    found = permutation_p_values(inside[:, None], [1], y, error, np.arange(100), 99, np.random.RandomState(0))
    assert found == pytest.approx([2 / 100])


def test_probabilities_break_ties_between_equal_numbers_of_errors():
    """Two of 8 patients err, one of the 2 members and one other; there are 28 choices of two members.

    One choice has both errors, 12 have one: 13 are as extreme by number. If the member is further off, of these 12
    only the 6 that hold it are: 7 in all.
    """
    inside, error = np.arange(8) < 2, np.array([1, 0, 0, 1, 0, 0, 0, 0])
    y, patient = np.ones(8, dtype=int), np.arange(8)
    proba = np.where(error == 1, np.where(inside, 0.0, 0.4), 0.9)
    options = (inside[:, None], [1], y, error, patient, 9999, np.random.RandomState(0))
    assert permutation_p_values(*options, proba)[0] == pytest.approx(2 * 7 / 28, abs=0.035)  # four standard errors
    assert permutation_p_values(*options)[0] == pytest.approx(2 * 13 / 28, abs=0.04)


def clustered(rng, n_patients=120):
    """Return patients with 1 to 8 films whose errors share a frailty; a slice of whole patients, unrelated to it."""
    sizes = rng.randint(1, 9, n_patients)
    patient = np.repeat(np.arange(n_patients), sizes)
    frailty = rng.beta(0.6, 1.4, n_patients)  # mean 0.3; errors of a patient correlate at 1 / (0.6 + 1.4 + 1) = 1/3
    error = (rng.random_sample(len(patient)) < frailty[patient]).astype(float)
    inside = (rng.random_sample(n_patients) < 0.3)[patient]
    return patient, error, inside


def test_a_real_gap_has_a_small_p_value_and_the_order_of_samples_plays_no_part():
    rng = np.random.RandomState(0)
    patient, _, inside = clustered(rng)
    error = (rng.random_sample(len(patient)) < np.where(inside, 0.6, 0.1)).astype(float)
    y = rng.randint(0, 2, len(error))
    found = confirm(inside[:, None], [None], y, error, patient, random_state=0)
    assert found["p_value"][0] < 0.001
    shuffled = rng.permutation(len(y))
    again = confirm(inside[shuffled][:, None], [None], y[shuffled], error[shuffled], patient[shuffled], random_state=0)
    for column in ("n_samples", "n_patients", "metric_inside", "metric_outside", "gap"):
        assert again[column][0] == pytest.approx(found[column][0])
    assert again["p_value"][0] < 0.001


# The interval


def test_interval_of_one_sample_a_patient_is_about_that_of_two_proportions():
    """40 of 100 against 60 of 300: gap 0.2, standard error sqrt(.4 * .6 / 100 + .2 * .8 / 300) = 0.0542."""
    inside, y, error = expand([(1, 1, 1, 40), (1, 1, 0, 60), (0, 1, 1, 60), (0, 1, 0, 240)])
    low, high = gap_interval(inside[:, None], [1], y, error, np.arange(400), 4000, 0.05, np.random.RandomState(0))[0]
    assert low == pytest.approx(0.2 - 1.96 * 0.0542, abs=0.01)
    assert high == pytest.approx(0.2 + 1.96 * 0.0542, abs=0.01)


def test_interval_over_both_labels_is_about_a_bootstrap_of_slice_metrics():
    rng = np.random.RandomState(0)
    patient, error, inside = clustered(rng, 60)
    y = rng.randint(0, 2, len(error))
    found = gap_interval(inside[:, None], [None], y, error, patient, 2000, 0.1, np.random.RandomState(1))[0]
    films = [np.flatnonzero(patient == k) for k in range(60)]
    gaps = []
    for _ in range(2000):
        rows = np.concatenate([films[k] for k in rng.randint(0, 60, 60)])
        gaps.append(slice_metrics(inside[rows], None, y[rows], error[rows], patient[rows])[5])
    np.testing.assert_allclose(found, np.nanquantile(gaps, [0.05, 0.95]), atol=0.03)


def test_large_hospitals_have_narrow_intervals():
    rng = np.random.RandomState(0)
    n = 300_000
    inside, y, error = rng.random_sample((n, 1)) < 0.3, np.zeros(n, dtype=int), rng.random_sample(n) < 0.2
    low, high = gap_interval(inside, [0], y, error, np.arange(n), 30, 0.05, rng)[0]
    assert -0.01 < low < high < 0.01


def newcombe(x1, n1, x2, n2, z=1.959964):
    """Return Newcombe's method 10 for two independent proportions, written out."""

    def wilson(x, n):
        p = x / n
        centre, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return (centre - half) / (1 + z * z / n), (centre + half) / (1 + z * z / n)

    (l1, u1), (l2, u2), d = wilson(x1, n1), wilson(x2, n2), x1 / n1 - x2 / n2
    return d - math.hypot(x1 / n1 - l1, u2 - x2 / n2), d + math.hypot(u1 - x1 / n1, x2 / n2 - l2)


@pytest.mark.parametrize(("wrong_in", "wrong_out"), [(12, 10), (0, 10), (20, 0), (0, 0)])
def test_interval_of_one_sample_a_patient_is_newcombes(wrong_in, wrong_out):
    """And it has a width where nobody inside errs, or all do."""
    inside, y, error = expand(
        [(1, 1, 1, wrong_in), (1, 1, 0, 20 - wrong_in), (0, 1, 1, wrong_out), (0, 1, 0, 80 - wrong_out)]
    )
    found = gap_interval(inside[:, None], [1], y, error, np.arange(100), 0, 0.05, None)[0]
    assert found == pytest.approx(newcombe(wrong_in, 20, wrong_out, 80), abs=1e-7)


def test_films_that_all_say_the_same_count_once():
    """Four copies of each patient: the interval is that of the patients."""
    inside, y, error = expand([(1, 1, 1, 12), (1, 1, 0, 8), (0, 1, 1, 10), (0, 1, 0, 70)])
    copies = [np.repeat(of, 4) for of in (inside, y, error, np.arange(100))]
    found = gap_interval(copies[0][:, None], [1], *copies[1:], 0, 0.05, None)[0]
    assert found == pytest.approx(newcombe(12, 20, 10, 80), abs=1e-7)


def test_films_inside_and_outside_of_the_same_patients_make_a_narrower_interval():
    """All 60 patients have one film of each view; errors go by patient, so no gap between views."""
    rng = np.random.RandomState(0)
    patient, inside = np.repeat(np.arange(60), 2), np.tile([True, False], 60)
    error = np.repeat(rng.random_sample(60) < 0.3, 2)
    error[0] = ~error[0]
    y = np.ones(120, dtype=int)
    paired = gap_interval(inside[:, None], [1], y, error, patient, 0, 0.05, None)[0]
    apart = gap_interval(inside[:, None], [1], y, error, np.arange(120), 0, 0.05, None)[0]
    assert np.ptp(paired) < 0.5 * np.ptp(apart)
    assert paired[0] <= error[inside].mean() - error[~inside].mean() <= paired[1]


# Several targets, and other metrics


def test_candidates_of_several_targets_share_one_correction():
    rng = np.random.RandomState(0)
    y = rng.randint(0, 2, 200)
    inside = rng.random_sample((200, 3)) < 0.4
    error = rng.random_sample(200) < 0.2
    one, two = target_of(y, error), target_of(1 - y, rng.random_sample(200) < np.where(inside[:, 1], 0.6, 0.1))
    comparisons = [(0, None), (1, 1), (1, 0)]
    frame = confirm_module.confirm(inside, comparisons, [one, two], np.arange(200), random_state=0)
    np.testing.assert_allclose(frame["q_value"], by_hand(frame["p_value"]), atol=1e-12)
    for k, (of, label) in enumerate(comparisons):
        expected = confirm_module.slice_metrics(inside[:, k], label, (one, two)[of], np.arange(200))
        assert frame.loc[k, ["n_samples", "gap"]].tolist() == pytest.approx([expected[0], expected[5]])


def test_samples_of_unknown_truth_take_no_part():
    rng = np.random.RandomState(0)
    y, error, inside = rng.randint(0, 2, 120), rng.random_sample(120) < 0.3, rng.random_sample((120, 2)) < 0.4
    known = rng.random_sample(120) < 0.7
    target = target_of(y, error)
    blank = Target("ill", np.where(known, y, -1).astype(np.int8), target.y_proba, target.says)
    for metric in ("error_rate", "auroc", "brier"):
        options = {"metric": metric, "n_permutations": 99, "n_bootstraps": 99, "random_state": 0}
        whole = confirm_module.confirm(inside, [(0, None), (0, None)], [blank], np.arange(120), **options)
        part = confirm_module.confirm(
            inside[known], [(0, None), (0, None)], [target.take(known)], np.arange(120)[known], **options
        )
        pd.testing.assert_frame_equal(whole, part)


def test_sensitivity_is_one_minus_the_error_rate_of_the_positives():
    rng = np.random.RandomState(0)
    y, inside = rng.randint(0, 2, 300), rng.random_sample((300, 1)) < 0.3
    target = target_of(y, rng.random_sample(300) < np.where(inside[:, 0], 0.4, 0.1))
    options = {"n_permutations": 999, "random_state": 0}
    wrong = confirm_module.confirm(inside, [(0, 1)], [target], np.arange(300), **options).iloc[0]
    for label in (1, None):
        found = confirm_module.confirm(
            inside, [(0, label)], [target], np.arange(300), metric="sensitivity", **options
        ).iloc[0]
        assert found["metric_inside"] == pytest.approx(1 - wrong["metric_inside"])
        assert (found["ci_low"], found["ci_high"]) == pytest.approx((-wrong["ci_high"], -wrong["ci_low"]))
        assert found["p_value"] == wrong["p_value"]
        assert found["confirmed"] and wrong["confirmed"]


def test_auroc_confirms_a_slice_without_discrimination_and_not_the_rest():
    """Inside the probabilities are noise (AUROC 0.5), outside they separate (Phi(2 / sqrt 2) = 0.92)."""
    rng = np.random.RandomState(0)
    patient = np.repeat(np.arange(200), 2)
    y = rng.randint(0, 2, 400)
    inside = np.column_stack([patient < 60, rng.random_sample(400) < 0.3])
    score = rng.normal(size=400) + 2 * (y - 0.5) * ~inside[:, 0]
    proba = 1 / (1 + np.exp(-score))
    target = Target("ill", y.astype(np.int8), proba, proba >= 0.5)
    frame = confirm_module.confirm(inside, [(0, None)] * 2, [target], patient, metric="auroc", random_state=0)
    assert frame["confirmed"].tolist() == [True, False]
    assert frame["gap"][0] == pytest.approx(-0.42, abs=0.1)
    assert frame["ci_low"][0] < frame["gap"][0] < frame["ci_high"][0] < 0


def test_a_metric_frame_has_a_row_for_each_slice_and_metric_and_says_why_one_is_empty():
    rng = np.random.RandomState(0)
    y, inside = rng.randint(0, 2, 200), rng.random_sample((200, 3)) < 0.3
    inside[4:, 2] = False
    target = target_of(y, rng.random_sample(200) < 0.2, rng.random_sample(200))
    frame = metric_frame(
        inside,
        [(0, None), (0, 1), (0, None)],
        [target],
        np.arange(200),
        slice_ids=["s01", "s02", "s03"],
        metrics=["auroc", "error_rate", lambda y, p, m: p[m].mean()],
        n_permutations=99,
        n_bootstraps=99,
        random_state=0,
    )
    assert frame["slice_id"].tolist() == ["s01"] * 3 + ["s02"] * 3 + ["s03"] * 3
    assert frame["metric"].tolist() == ["auroc", "error_rate", "<lambda>"] * 3
    empty = frame["inside"].isna()
    assert np.flatnonzero(empty).tolist() == [3, 6, 7, 8]
    assert frame["note"][3] == "needs cases of both labels; the slice is within label 1"
    assert frame.loc[6:8, "note"].str.startswith("too few patients").all()
    assert (frame.loc[~empty, "note"] == "").all()
    np.testing.assert_allclose(frame.loc[~empty, "q_value"], by_hand(frame.loc[~empty, "p_value"]))
    assert frame.loc[empty, ["p_value", "q_value"]].isna().all(axis=None)
    assert frame["inside"][2] == pytest.approx(target.y_proba[inside[:, 0]].mean())


@pytest.mark.parametrize("comparisons", [[], [(1, None)], [(0, 2)]])
def test_comparisons_that_fit_nothing_are_refused(comparisons):
    target = target_of(np.arange(10) % 2, np.zeros(10))
    with pytest.raises(InputError, match=r"^comparisons: expected"):
        confirm_module.confirm(np.ones((10, 1), dtype=bool), comparisons, [target], np.arange(10))


def test_an_exchange_keeps_labels_and_whole_patients():
    rng = np.random.RandomState(0)
    patient = np.repeat(np.arange(50), 3)
    y = rng.randint(0, 4, 50)[patient]
    lender = PatientExchange(patient, y, rng).draw()
    assert (y[lender] == y).all()
    assert all(len(set(patient[lender][patient == k])) == 1 for k in range(50))
    assert (patient[lender] != patient).mean() > 0.5


class PlainExchange:
    """`PatientExchange` written out: all samples in the order given, positions by a remainder."""

    def __init__(self, codes, y, rng):
        self.codes, self.y, self.rng, self.n_labels = codes, y, rng, y.max() + 1
        self.films = {(p, k): np.flatnonzero((codes == p) & (y == k)) for p in set(codes) for k in range(self.n_labels)}
        labels = [tuple(len(self.films[p, k]) > 0 for k in range(self.n_labels)) for p in range(codes.max() + 1)]
        n_films = np.bincount(codes)
        self.groups = []
        for same in sorted(set(labels)):
            patients = [p for p in range(len(labels)) if labels[p] == same]
            waiting, first = [], len(self.groups)
            for n in sorted(set(n_films[patients])):
                waiting += [p for p in patients if n_films[p] == n]
                if len(waiting) >= 10:
                    self.groups.append(waiting)
                    waiting = []
            if waiting and len(self.groups) > first:
                self.groups[-1] = self.groups[-1] + waiting
            elif waiting:
                self.groups.append(waiting)

    def draw(self):
        lender = np.empty(self.codes.max() + 1, dtype=int)
        for group in self.groups:
            lender[group] = self.rng.permutation(group)
        turn = self.rng.random_sample((len(lender), self.n_labels))
        lent = np.empty(len(self.codes), dtype=int)
        for (p, k), borrowers in self.films.items():
            films = self.films[lender[p], k]
            for rank, i in enumerate(borrowers):
                lent[i] = films[(rank + int(turn[p, k] * len(films))) % len(films)]
        return lent


def films_of(seed, n_patients=60):
    """Return patients with 1 to 6 films, one of 300, and labels that go with neither."""
    rng = np.random.RandomState(seed)
    sizes = rng.randint(1, 7, n_patients)
    sizes[0] = 300 if seed % 2 else 1
    return rng.permutation(np.repeat(np.arange(n_patients), sizes)), rng


@pytest.mark.parametrize("seed", range(8))
def test_draws_are_those_of_a_plain_exchange(seed):
    patient, rng = films_of(seed)
    y = rng.randint(0, [1, 2, 3, 2][seed // 2] + 1, len(patient))
    found = PatientExchange(patient, y, np.random.RandomState(seed))
    plain = PlainExchange(patient, y, np.random.RandomState(seed))
    for _ in range(5):
        np.testing.assert_array_equal(found.draw(), plain.draw())


@pytest.mark.parametrize("metric", ["error_rate", "sensitivity", "specificity", "brier"])
@pytest.mark.parametrize("digits", [None, 1, 0])
def test_p_values_are_those_of_a_plain_exchange_with_exact_sums(metric, digits):
    """Integers: probabilities in units of 1 / 2**20, or in tenths or certain, so that many sums are equal."""
    patient, rng = films_of(1)
    unit = 2**20 if digits is None else 10**digits
    y = rng.randint(0, 2, len(patient)).astype(np.int8)
    steps = np.rint(unit * rng.random_sample(len(y))).astype(np.int64)
    proba = steps / unit
    target = Target("ill", y, proba, proba >= 0.5)
    inside = rng.random_sample((len(y), 4)) < [0.02, 0.1, 0.5, 0]
    label = {"sensitivity": 1, "specificity": 0}.get(metric)
    rows = y == label if label is not None else y >= 0
    squares = (steps - unit * y.astype(np.int64)) ** 2
    loss = (squares if metric == "brier" else target.error * (len(y) + 1) * unit**2 + squares)[rows]
    exchange = PlainExchange(np.unique(patient[rows], return_inverse=True)[1], y[rows], np.random.RandomState(3))
    drawn = np.array([loss[exchange.draw()] for _ in range(99)])
    above = (drawn @ inside[rows] >= loss @ inside[rows]).sum(axis=0)
    comparisons = [(0, label)] * 4
    found = confirm_module.permutation_p_values(
        inside, comparisons, [target], patient, metric, 99, np.random.RandomState(3)
    )
    np.testing.assert_array_equal(found, np.minimum(1, 2 * (1 + above) / 100))


def many_films(n, n_candidates=6):
    rng = np.random.RandomState(0)
    patient = rng.randint(0, n // 5, n)
    proba, y = rng.random_sample(n), rng.randint(0, 2, n).astype(np.int8)
    target = Target("ill", y, np.round(proba, 1), proba >= 0.5)
    return rng.random_sample((n, n_candidates)) < 0.1, [(0, None)] * n_candidates, [target], patient


@pytest.mark.parametrize("metric", ["error_rate", "brier"])
def test_neither_threads_nor_batches_change_p_values(metric, monkeypatch):
    found = []
    for threads, n_bytes in ((1, 2**24), (2, 2**24), (2, 2**20), (4, 1)):
        monkeypatch.setattr(confirm_module, "cpu_count", lambda threads=threads: threads)
        monkeypatch.setattr(confirm_module, "BATCH_BYTES", n_bytes)
        rng = np.random.RandomState(0)
        p_values = confirm_module.permutation_p_values(*many_films(3000), metric, 150, rng)
        found.append([*p_values, rng.random_sample()])  # the stream ends at the same place
    assert found[1:] == found[:-1]


def test_permutations_of_many_films_take_little_memory(monkeypatch):
    """100,000 films: 500 permutations at once would take 400 MB."""
    monkeypatch.setattr(confirm_module, "cpu_count", lambda: 2)
    arguments = many_films(100_000)
    tracemalloc.start()
    try:
        confirm_module.permutation_p_values(*arguments, "error_rate", 40, np.random.RandomState(0))
        assert tracemalloc.get_traced_memory()[1] < 80e6
    finally:
        tracemalloc.stop()


def test_patients_go_by_the_text_of_their_ids():
    """Whether ids are numbers, text or objects, the same random numbers meet the same patients."""
    rng = np.random.RandomState(0)
    patient, error, inside = clustered(rng)
    arguments = (inside[:, None], [None], rng.randint(0, 2, len(error)), error)
    frames = [
        confirm(*arguments, kind(patient), n_permutations=99, random_state=0)
        for kind in (np.asarray, lambda ids: ids.astype(str), lambda ids: ids.astype(str).astype(object))
    ]
    pd.testing.assert_frame_equal(frames[0], frames[1])
    pd.testing.assert_frame_equal(frames[0], frames[2])


# Too few, and what could have been found


def test_fewer_than_five_patients_are_not_tested():
    n = 60
    y = np.zeros(n, dtype=int)
    error = (np.arange(n) < 20).astype(int)
    patient = np.arange(n)
    patient[:20] = np.arange(20) % 4  # 20 wrong films of 4 patients
    inside = np.stack([np.arange(n) < 20, np.arange(n) >= 20, np.arange(n) % 2 == 0], axis=1)
    frame = confirm(inside, [0, 0, 0], y, error, patient, n_permutations=199, random_state=0)
    numbers = ["metric_inside", "metric_outside", "gap", "ci_low", "ci_high"]
    assert frame.loc[:1, numbers].isna().all(axis=None)
    assert frame.loc[:1, "p_value"].tolist() == [1, 1]
    assert frame.loc[:1, "n_patients"].tolist() == [4, 40]
    assert frame.loc[2, numbers].notna().all()
    assert not frame["confirmed"].any()


def test_members_whose_label_no_outsider_has_are_not_tested():
    """All 30 positives are members: over both labels there is nothing to compare them with."""
    y = np.repeat([1, 0], [30, 60])
    inside = (np.arange(90) < 40)[:, None]
    error = np.r_[np.ones(30), np.zeros(60)]
    frame = confirm(inside, [None], y, error, np.arange(90), n_permutations=199, random_state=0)
    assert frame[["gap", "ci_low"]].isna().all(axis=None)
    assert frame["p_value"].tolist() == [1.0]
    assert frame["confirmed"].tolist() == [False]


def test_without_candidates_the_frame_is_empty():
    frame = confirm(np.zeros((10, 0), dtype=bool), [], np.arange(10) % 2, np.zeros(10), np.arange(10))
    assert len(frame) == 0
    assert "q_value" in frame


def test_a_slice_that_does_better_is_not_confirmed():
    inside, y, error = expand([(1, 1, 0, 100), (0, 1, 1, 50), (0, 1, 0, 50)])
    frame = confirm(inside[:, None], [1], y, error, np.arange(200), random_state=0)
    assert frame["p_value"][0] == 1
    assert frame["gap"][0] == -0.5
    assert not frame["confirmed"][0]


def test_same_seed_same_numbers():
    rng = np.random.RandomState(0)
    patient, error, inside = clustered(rng)
    y = rng.randint(0, 2, len(error))
    arguments = (np.stack([inside, ~inside], axis=1), [None, 1], y, error, patient)
    one, two, other = (confirm(*arguments, n_permutations=199, random_state=seed) for seed in (0, 0, 1))
    pd.testing.assert_frame_equal(one, two)
    assert not one.equals(other)


def test_detectable_gap_by_a_second_formula():
    """Fleiss, Levin and Paik, formula 4.14, turned around: the patients needed for the gap are those there are."""
    found = detectable_gaps(400, 0.1, n_candidates=10, shares=(0.1, 0.25, 0.5))
    z_alpha, z_power = 2.80703, 0.84162  # two-sided at 0.05 / 10, and of 0.8
    for row in found.itertuples():
        p1, p2, ratio = 0.1 + row.gap, 0.1, (400 - row.n_patients) / row.n_patients
        mean = (p1 + ratio * p2) / (1 + ratio)
        needed = (
            z_alpha * math.sqrt((ratio + 1) * mean * (1 - mean)) + z_power * math.sqrt(ratio * p1 * (1 - p1) + p2 * 0.9)
        ) ** 2 / (ratio * row.gap**2)
        assert needed == pytest.approx(row.n_patients, rel=1e-3)


def test_detectable_gap_has_about_the_power_it_claims():
    """1,000 draws at the gap for 80 % power, two-sided z-test of two proportions at 0.05 / 5."""
    row = detectable_gaps(400, 0.15, n_candidates=5, shares=(0.2,)).iloc[0]
    rng = np.random.default_rng(0)
    n_in, n_out = int(row.n_patients), 400 - int(row.n_patients)
    p_in, p_out = rng.binomial(n_in, 0.15 + row.gap, 1000) / n_in, rng.binomial(n_out, 0.15, 1000) / n_out
    pooled = (n_in * p_in + n_out * p_out) / 400
    z = (p_in - p_out) / np.sqrt(pooled * (1 - pooled) * (1 / n_in + 1 / n_out))
    assert (z > 2.57583).mean() == pytest.approx(0.8, abs=0.06)


def test_detectable_gaps_shrink_with_more_patients_and_grow_with_more_candidates():
    gap = {
        (n, k, effect): detectable_gaps(n, 0.1, effect, n_candidates=k, shares=(0.3,))["gap"][0]
        for n, k, effect in ((200, 5, 1.0), (800, 5, 1.0), (200, 50, 1.0), (200, 5, 0.5))
    }
    base = gap[200, 5, 1.0]
    assert gap[800, 5, 1.0] < base < gap[200, 50, 1.0]
    assert base < gap[200, 5, 0.5]


def test_a_classifier_without_errors_elsewhere_still_needs_a_gap():
    """0 % outside, 40 patients of 200, 10 candidates: the gap solves gap = z_a sqrt(null) + z_b sqrt(inside)."""
    gap = detectable_gaps(200, 0.0, n_candidates=10, shares=(0.2,))["gap"][0]
    null = 0.2 * gap * (1 - 0.2 * gap) * (1 / 40 + 1 / 160)
    assert gap == pytest.approx(2.80703 * math.sqrt(null) + 0.84162 * math.sqrt(gap * (1 - gap) / 40), rel=1e-3)
    assert gap > 0.1


def test_nothing_is_detectable_where_all_is_wrong_or_hardly_anybody_is_left():
    assert detectable_gaps(200, 1.0, n_candidates=10)["gap"].isna().all()
    few = detectable_gaps(12, 0.1, n_candidates=10)
    assert few["n_patients"].tolist() == [6]
    assert detectable_gaps(8, 0.1, n_candidates=10).empty
