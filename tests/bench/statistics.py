"""Simulate what the statistics promise: coverage of intervals, level, power, and the false discovery rate.

    OMP_NUM_THREADS=1 python tests/bench/statistics.py --runs 1000

Patients have 1 to 8 films (or one), and their errors share a frailty: a beta distribution around the error rate, whose
spread gives the correlation between two films of a patient. A slice consists of whole patients. Probabilities are
uniform on the right or the wrong side of one half. Seeds are fixed.

A p-value is twice the upper tail, so one of a slice that means nothing is at most 0.05 in 0.025 of the runs.
"""

from __future__ import annotations

import argparse

import numpy as np
import pandas as pd

from mmaudit.confirm import confirm, detectable_gaps, gap_interval
from mmaudit.data import Target


def simulate(rng, error_rates, *, most_films=8, correlation=0.3):
    """Return (target, patient) of patients with these error rates; all of label 1."""
    n_patients = len(error_rates)
    patient = np.repeat(np.arange(n_patients), rng.randint(1, most_films + 1, n_patients))
    rate = np.asarray(error_rates, dtype=float)
    if correlation:
        size = 1 / correlation - 1
        rate = rng.beta(np.maximum(rate * size, 1e-9), np.maximum((1 - rate) * size, 1e-9))
    wrong = rng.random_sample(len(patient)) < rate[patient]
    proba = np.where(wrong, 0.5, 1.0) - 0.5 * rng.random_sample(len(patient))
    return Target("ill", np.ones(len(patient), dtype=np.int8), proba, ~wrong), patient


def percentile_interval(inside, error, patient, rng, n_bootstraps=600):
    """Return the 95 % percentile interval of the gap, patients resampled: what `gap_interval` is held against."""
    n = patient.max() + 1
    sums = np.stack([np.bincount(patient, v, n) for v in (inside, inside * error, ~inside, ~inside * error)], axis=1)
    totals = rng.multinomial(n, np.ones(n) / n, size=n_bootstraps) @ sums
    with np.errstate(invalid="ignore"):
        return np.nanquantile(totals[:, 1] / totals[:, 0] - totals[:, 3] / totals[:, 2], [0.025, 0.975])


def coverage(n_runs: int) -> pd.DataFrame:
    """Return how often 95 % intervals cover the true gap, by slice size, rates and films a patient."""
    rows = []
    for most_films, correlation in ((1, 0.0), (8, 0.3), (8, 0.6)):
        for n_in, n_out in ((15, 60), (15, 300), (30, 120), (60, 240)):
            for p_in, p_out in ((0.1, 0.1), (0.3, 0.1), (0.5, 0.2), (0.9, 0.3)):
                rng = np.random.RandomState(0)
                covered = np.zeros(2)
                for _ in range(n_runs):
                    rates = np.repeat([p_in, p_out], [n_in, n_out])
                    target, patient = simulate(rng, rates, most_films=most_films, correlation=correlation)
                    inside = patient < n_in
                    ours = gap_interval(inside[:, None], [(0, 1)], [target], patient, "error_rate", 0, 0.05, rng)[0]
                    theirs = percentile_interval(inside, target.error, patient, rng)
                    covered += [low <= p_in - p_out <= high for low, high in (ours, theirs)]
                rows.append((most_films, correlation, n_in, n_out, p_in, p_out, *(covered / n_runs)))
    return pd.DataFrame(
        rows, columns=["films", "correlation", "n_in", "n_out", "p_in", "p_out", "score", "percentile_bootstrap"]
    )


def discoveries(n_runs: int, *, n_real: int, n_slices: int = 30, gap: float = 0.3) -> dict[str, float]:
    """Return the false discovery rate, the share of runs with a false finding and of real slices confirmed."""
    rng = np.random.RandomState(1)
    share_false, any_false, found = [], 0, 0
    for _ in range(n_runs):
        members = rng.random_sample((400, n_slices)) < 0.15
        rates = 0.1 + gap * members[:, :n_real].any(axis=1)
        target, patient = simulate(rng, rates)
        # A slice that is no real one holds as many patients of the real ones as its size makes likely: none of them
        # is related to the errors.
        # The smallest p-value, 2 / 2,000, must pass the correction by itself: 0.05 / 30 is more.
        options = {"n_permutations": 1999, "random_state": rng}
        result = confirm(members[patient], [(0, 1)] * n_slices, [target], patient, **options)
        confirmed = result["confirmed"].to_numpy()
        share_false.append(confirmed[n_real:].sum() / max(confirmed.sum(), 1))
        any_false += confirmed[n_real:].any()
        found += confirmed[:n_real].sum()
    return {
        "false_discovery_rate": float(np.mean(share_false)),
        "runs_with_a_false_finding": any_false / n_runs,
        "power": found / max(n_runs * n_real, 1),
    }


def level(n_runs: int, *, n_in: int, most_films: int, correlation: float) -> float:
    """Return how often a slice that is unrelated to the errors has p <= 0.05; the aim is half of that."""
    rng = np.random.RandomState(2)
    small = 0
    for _ in range(n_runs):
        target, patient = simulate(rng, np.full(300, 0.2), most_films=most_films, correlation=correlation)
        inside = (patient < n_in)[:, None]
        numbers = confirm(inside, [(0, 1)], [target], patient, n_permutations=199, random_state=rng)
        small += numbers["p_value"][0] <= 0.05
    return small / n_runs


def power(n_runs, *, n_in, n_out, p_in, p_out, n_candidates=1, most_films=1, correlation=0.0) -> float:
    """Return how often a real slice is confirmed among `n_candidates`, the others unrelated to the errors."""
    rng = np.random.RandomState(3)
    found = 0
    for _ in range(n_runs):
        rates = np.repeat([p_in, p_out], [n_in, n_out])
        target, patient = simulate(rng, rates, most_films=most_films, correlation=correlation)
        members = np.column_stack([np.arange(n_in + n_out) < n_in, rng.random_sample((len(rates), n_candidates)) < 0.2])
        inside = members[patient][:, :n_candidates]
        numbers = confirm(inside, [(0, 1)] * n_candidates, [target], patient, n_permutations=999, random_state=rng)
        found += numbers["confirmed"][0]
    return found / n_runs


def main() -> None:
    """Print every table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    runs = parser.parse_args().runs
    print("power: slice of n_in confirmation patients, n_out others of its label, one film each; 20 points")
    for n_in, n_out in ((60, 240), (60, 540), (20, 40)):
        for p_out in (0.05, 0.1, 0.2):
            for m in (1, 5, 10):
                got = power(runs, n_in=n_in, n_out=n_out, p_in=p_out + 0.2, p_out=p_out, n_candidates=m)
                print(
                    f"  n_in {n_in:3d}  n_out {n_out:3d}  {p_out:.2f} to {p_out + 0.2:.2f}  candidates {m}: {got:.3f}"
                )
    print("the same with 1 to 8 films a patient, correlation 0.3, 60 and 240 patients, 0.10 -> 0.30")
    for m in (1, 10):
        options = {"n_in": 60, "n_out": 240, "p_in": 0.3, "p_out": 0.1, "most_films": 8, "correlation": 0.3}
        print(f"  candidates {m:2d}: {power(runs, n_candidates=m, **options):.3f}", flush=True)
    print("power at the gap that detectable_gaps gives for 0.80 (300 patients, error rate 0.1 outside)")
    for m in (1, 10):
        for row in detectable_gaps(300, 0.1, n_candidates=m, shares=(0.1, 0.2, 0.5)).itertuples():
            n_in = int(row.n_patients)
            got = power(runs, n_in=n_in, n_out=300 - n_in, p_in=0.1 + row.gap, p_out=0.1, n_candidates=m)
            print(f"  candidates {m:2d}  n_in {n_in:3d}  gap {row.gap:.3f}: {got:.3f}", flush=True)
    print("level: share of p <= 0.05 for a slice that is unrelated to the errors (aim: 0.025, its upper tail)")
    for most_films, correlation in ((1, 0.0), (8, 0.3), (8, 0.6)):
        for n_in in (15, 60):
            got = level(runs, n_in=n_in, most_films=most_films, correlation=correlation)
            print(f"  films up to {most_films}  correlation {correlation}  n_in {n_in}: {got:.3f}", flush=True)
    for n_real in (3, 0):
        print(f"discoveries, {n_real} real slices (30 points) among 30: {discoveries(runs, n_real=n_real)}", flush=True)
    print("coverage of 95 % intervals of the gap")
    print(coverage(runs).to_string(index=False))


if __name__ == "__main__":
    main()
