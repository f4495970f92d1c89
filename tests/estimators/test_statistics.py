"""What the statistics promise, by simulation: level, coverage, power and false discoveries.

A p-value is twice the upper tail, so a slice that means nothing has one of 0.05 or less in 0.025 of all cases. Many
slices are drawn in each data set: given the errors, each of them is a trial of its own. Bounds are 1 and 99 % points of
the binomial distribution. Larger runs: tests/bench/statistics.py.
"""

import numpy as np
import pytest
from scipy.stats import binom

from mmaudit.confirm import confirm, gap_interval, permutation_p_values
from mmaudit.data import Target


def simulate(rng, error_rates, *, most_films=8, correlation=1 / 3):
    """Return (target, patient): patients of label 1 with 1 to 8 films, whose errors correlate within a patient."""
    patient = np.repeat(np.arange(len(error_rates)), rng.randint(1, most_films + 1, len(error_rates)))
    rate = np.asarray(error_rates, dtype=float)
    if correlation:
        size = 1 / correlation - 1  # a beta distribution of this size has intraclass correlation 1 / (1 + size)
        rate = rng.beta(rate * size, (1 - rate) * size)
    wrong = rng.random_sample(len(patient)) < rate[patient]
    proba = np.where(wrong, 0.5, 1.0) - 0.5 * rng.random_sample(len(patient))
    return Target("ill", np.ones(len(patient), dtype=np.int8), proba, ~wrong), patient


def p_values(inside, label, target, patient, rng, metric="error_rate", n_permutations=199):
    """Return p-values; with 199 (or 79) permutations, 0.05 is one that can be reached exactly."""
    comparisons = [(0, label)] * inside.shape[1]
    return permutation_p_values(inside, comparisons, [target], patient, metric, n_permutations, rng)


def test_p_values_hold_their_level_with_several_films_a_patient_and_would_not_without():
    """60 data sets, 20 slices of whole patients each. Too few small p-values would show a wasted level."""
    small = {"patients": 0, "films": 0}
    for seed in range(60):
        rng = np.random.RandomState(seed)
        target, patient = simulate(rng, np.full(120, 0.3))
        inside = (rng.random_sample((120, 20)) < 0.3)[patient]
        for unit, codes in (("patients", patient), ("films", np.arange(len(patient)))):
            small[unit] += (p_values(inside, 1, target, codes, rng) <= 0.05).sum()
    fewest, most = binom.ppf([0.01, 0.99], 1200, 0.025)
    assert fewest <= small["patients"] <= most
    assert small["films"] > 2 * most


def test_p_values_over_both_labels_hold_their_level_where_one_label_has_more_errors():
    """Errors are common among the few positives, and the slices have more of them: no association within a label.

    Errors exchanged between the labels would make the spread of the slice look smaller than it is. Two films a
    patient; a third of the patients have films of both labels.
    """
    small = {"own label": 0, "any label": 0}
    for seed in range(80):
        rng = np.random.RandomState(seed)
        patient = np.repeat(np.arange(200), 2)
        ill = np.repeat(rng.random_sample(200) < 0.15, 2)
        y = np.where(rng.random_sample(400) < 0.15, 1 - ill, ill).astype(np.int8)
        error = rng.random_sample(400) < np.where(y == 1, 0.5, 0.03)
        says = (y == 1) != error
        inside = rng.random_sample((400, 10)) < np.where(y == 1, 0.5, 0.05)[:, None]
        target = Target("ill", y, says.astype(float), says)
        small["own label"] += (p_values(inside, None, target, patient, rng) <= 0.05).sum()
        residual = error - np.where(y == 1, error[y == 1].mean(), error[y == 0].mean())
        exchanged = np.array([residual[rng.permutation(400)] for _ in range(199)])
        above = (exchanged @ inside >= residual @ inside).sum(axis=0)
        small["any label"] += (2 * (1 + above) / 200 <= 0.05).sum()
    most = binom.ppf(0.99, 800, 0.025)
    assert small["own label"] <= most
    assert small["any label"] > most


def test_p_values_of_auroc_hold_their_level():
    """40 data sets, 12 slices of whole patients each; the two films of a patient are alike."""
    small = {"patients": 0, "films": 0}
    for seed in range(40):
        rng = np.random.RandomState(seed)
        patient = np.repeat(np.arange(80), 2)
        y = np.repeat(rng.randint(0, 2, 80), 2).astype(np.int8)
        proba = 1 / (1 + np.exp(-0.3 * rng.normal(size=160) - y - np.repeat(rng.normal(size=80), 2)))
        target = Target("ill", y, proba, proba >= 0.5)
        inside = (rng.random_sample((80, 12)) < 0.4)[patient]
        for unit, codes in (("patients", patient), ("films", np.arange(160))):
            small[unit] += (p_values(inside, None, target, codes, rng, "auroc", 79) <= 0.05).sum()
    fewest, most = binom.ppf([0.01, 0.99], 480, 0.025)
    assert fewest <= small["patients"] <= most < small["films"]


def test_intervals_of_the_gap_cover_it_with_several_films_a_patient_and_those_of_films_do_not():
    """60 data sets, 20 slices each, with a true gap of 0."""
    covered = {"patients": 0, "films": 0}
    for seed in range(60):
        rng = np.random.RandomState(10_000 + seed)
        target, patient = simulate(rng, np.full(120, 0.3))
        inside = (rng.random_sample((120, 20)) < 0.3)[patient]
        for unit, codes in (("patients", patient), ("films", np.arange(len(patient)))):
            low, high = gap_interval(inside, [(0, 1)] * 20, [target], codes, "error_rate", 0, 0.05, rng).T
            covered[unit] += ((low <= 0) & (high >= 0)).sum()
    fewest, most = binom.ppf([0.01, 0.99], 1200, 0.95)
    assert fewest <= covered["patients"] <= most
    assert covered["films"] < 0.85 * 1200


@pytest.mark.parametrize(("p_in", "p_out"), [(0.1, 0.1), (0.3, 0.1), (0.5, 0.2), (0.9, 0.3)])
def test_intervals_of_small_slices_cover(p_in, p_out):
    """15 patients inside, 60 outside, 400 runs; a percentile bootstrap covers 0.84 to 0.93."""
    rng = np.random.RandomState(0)
    covered = 0
    for _ in range(400):
        target, patient = simulate(rng, np.repeat([p_in, p_out], [15, 60]))
        low, high = gap_interval((patient < 15)[:, None], [(0, 1)], [target], patient, "error_rate", 0, 0.05, rng)[0]
        covered += low <= p_in - p_out <= high
    fewest, most = binom.ppf([0.01, 0.99], 400, 0.95)
    assert fewest <= covered <= most + 4  # a little wide is no harm


def test_bootstrap_intervals_cover():
    """Brier score, 40 data sets, 10 slices each, with a true gap of 0."""
    covered = 0
    for seed in range(40):
        rng = np.random.RandomState(seed)
        target, patient = simulate(rng, np.full(120, 0.3))
        inside = (rng.random_sample((120, 10)) < 0.3)[patient]
        low, high = gap_interval(inside, [(0, 1)] * 10, [target], patient, "brier", 300, 0.05, rng).T
        covered += ((low <= 0) & (high >= 0)).sum()
    fewest, most = binom.ppf([0.01, 0.99], 400, 0.95)
    assert fewest <= covered <= most


def test_an_audit_without_failures_has_a_finding_in_at_most_half_of_alpha():
    """200 runs of eight slices that mean nothing, 100 patients with one film each."""
    rng = np.random.RandomState(0)
    findings = 0
    for _ in range(200):
        target, patient = simulate(rng, np.full(100, 0.3), most_films=1, correlation=0)
        inside = rng.random_sample((100, 8)) < 0.4
        frame = confirm(inside, [(0, 1)] * 8, [target], patient, n_permutations=639, random_state=rng)
        findings += frame["confirmed"].any()
    assert findings <= binom.ppf(0.99, 200, 0.025)


def test_false_discoveries_beside_a_real_slice():
    """400 runs of four slices, one of them real: of the findings, 3/4 of 0.025 are false at most.

    A run has a false finding beside the real one with probability 3 * 0.05 * 2/4 / 2 = 0.0375, and then half of its
    findings are false: the standard error is 0.5 * sqrt(0.0375 / 400) = 0.005.
    """
    rng = np.random.RandomState(0)
    shares, found = [], 0
    for _ in range(400):
        inside = np.column_stack([np.arange(120) < 40, rng.random_sample((120, 3)) < 0.3])
        target, patient = simulate(rng, np.where(inside[:, 0], 0.6, 0.1), most_films=1, correlation=0)
        frame = confirm(inside, [(0, 1)] * 4, [target], patient, n_permutations=159, random_state=rng)
        confirmed = frame["confirmed"].to_numpy()
        shares.append(confirmed[1:].sum() / max(confirmed.sum(), 1))
        found += confirmed[0]
    assert found > 390
    assert np.mean(shares) <= 3 / 4 * 0.025 + 2.33 * 0.005


def test_a_gap_of_20_points_in_60_patients_is_confirmed():
    """0.30 against 0.10 in 240 others, alone and beside nine slices that mean nothing: 60 runs.

    The bench finds 0.95 and 0.77; the goals lie three standard errors below these (alone) and two (beside others).
    """
    found = {1: 0, 10: 0}
    n_permutations = {1: 199, 10: 799}
    rng = np.random.RandomState(0)
    for _ in range(60):
        target, patient = simulate(rng, np.repeat([0.3, 0.1], [60, 240]), most_films=1, correlation=0)
        inside = np.column_stack([np.arange(300) < 60, rng.random_sample((300, 9)) < 0.2])
        for m in found:
            options = {"n_permutations": n_permutations[m], "random_state": rng}
            found[m] += confirm(inside[:, :m], [(0, 1)] * m, [target], patient, **options)["confirmed"][0]
    assert found[1] >= 0.86 * 60
    assert found[10] >= 0.66 * 60
