"""Compare the search of `RuleSlicer` with that of the package `sliceline`, on the same predicates and errors.

    pip install sliceline==0.3.0
    python tests/bench/rule_search.py --seconds 120

Samples have one label and yes-or-no columns of report terms; each column gives two predicates, its "mentions" and its
"lacks", to both. Errors are frequent (0.6 against 0.15) where the three most frequent terms meet. Each search runs in a
process of its own, one thread, and is stopped after `--seconds` of processor time or at `--gigabytes`; what failed for
pairs is not tried for triples. Printed for each: processor time and memory of the search; the place of the planted rule
among those found; the best score found by SliceLine's measure (alpha 0.95) and by ours, the lower bound of the gap. For
the smallest table, the highest possible score by SliceLine's measure is printed too, from a count of every triple; and
whether each search finds a pair of terms, with 0.8 errors against 0.05, in the first and the last column of a table.
"""

from __future__ import annotations

import argparse
import importlib.util
import itertools
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pandas as pd

SIZES = ((160, 150), (1_500, 300), (10_000, 300), (10_000, 400))
N_BEST, ALPHA, LEAST = 40, 0.95, 8


def draw(n_samples: int, n_predicates: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Return terms of shape (n_samples, n_predicates / 2), bool, errors, and the three terms of the planted rule."""
    rng = np.random.default_rng(seed)
    n_terms = n_predicates // 2
    terms = rng.random((n_samples, n_terms)) < rng.uniform(0.02, 0.5, n_terms)
    planted = np.sort(np.argsort(-terms.sum(axis=0), kind="stable")[:3])
    error = rng.random(n_samples) < np.where(terms[:, planted].all(axis=1), 0.6, 0.15)
    return terms, error, tuple(int(t) for t in planted)


def sliceline_score(inside: np.ndarray, error: np.ndarray) -> float:
    """Return the score of Sagadeeva and Boehm 2021, doi:10.1145/3448016.3457323."""
    size = inside.sum()
    return ALPHA * (error[inside].mean() / error.mean() - 1) - (1 - ALPHA) * (len(error) / size - 1)


def gap_score(inside: np.ndarray, error: np.ndarray, n_tried: int) -> float:
    """Return the score of `RuleSlicer`."""
    from mmaudit.slicers._scores import Scorer

    scorer = Scorer(np.zeros(len(error), dtype=int), error.astype(np.float32), np.arange(len(error)), 1.0)
    return float(scorer.bound(*scorer.group(inside[None]), 0, n_tried, 0.05)[0])


def ours(terms: np.ndarray, error: np.ndarray, longest: int) -> tuple[float, list[dict[int, bool]]]:
    """Return processor seconds, and rules as {term: whether it is mentioned}, best first."""
    from mmaudit.slicers import RuleSlicer

    table = pd.DataFrame(terms, columns=[str(k) for k in range(terms.shape[1])])
    slicer = RuleSlicer(longest, n_rules=N_BEST, min_patients=LEAST)
    start = time.process_time()
    slicer.fit(table, np.zeros(len(terms), dtype=int), y_proba=error.astype(float))
    seconds = time.process_time() - start
    return seconds, [{int(p.column): p.operator == "mentions" for p in r.predicates} for r in slicer.rules_]


def theirs(terms: np.ndarray, error: np.ndarray, longest: int) -> tuple[float, list[dict[int, bool]]]:
    """Return the same of the package."""
    from sliceline.slicefinder import Slicefinder

    finder = Slicefinder(alpha=ALPHA, k=N_BEST, max_l=longest, min_sup=LEAST, verbose=False)
    start = time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        finder.fit(terms.astype(int), error.astype(float))
    seconds = time.process_time() - start
    return seconds, [{k: bool(v) for k, v in enumerate(row) if v is not None} for row in finder.top_slices_]


SEARCHES = {"mmaudit": ours, "sliceline": theirs}


def one(who: str, n_samples: int, n_predicates: int, longest: int, *, seconds: int, gigabytes: float) -> dict:
    """Return what one search took and found."""
    terms, error, planted = draw(n_samples, n_predicates)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 5))
    most = int(gigabytes * 2**30)
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    try:
        taken, rules = SEARCHES[who](terms, error, longest)
    except MemoryError:
        return {"failed": f"out of {gigabytes:g} GB"}
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    masks = [np.all([terms[:, k] == v for k, v in rule.items()], axis=0) for rule in rules]
    n_tried = 3 * sum(math.comb(n_predicates, k) for k in range(1, longest + 1))
    place = [set(rule) == set(planted) and all(rule.values()) for rule in rules]
    return {
        "seconds": taken,
        "megabytes": peak / 1024,
        "rules": len(rules),
        "place": place.index(True) + 1 if any(place) else None,
        "sliceline_score": max((sliceline_score(m, error) for m in masks), default=float("nan")),
        "gap_score": max((gap_score(m, error, n_tried) for m in masks), default=float("nan")),
    }


def highest_sliceline_score(n_samples: int, n_predicates: int) -> float:
    """Return the highest score of SliceLine of any rule of up to three predicates, by counting every one."""
    terms, error, _ = draw(n_samples, n_predicates)
    holds = np.concatenate([terms, ~terms], axis=1).astype(np.float32)
    best = -np.inf
    for first in range(holds.shape[1]):
        rows = holds[holds[:, first] == 1]
        wrong = holds[(holds[:, first] == 1) & error]
        size, errors = rows.T @ rows, wrong.T @ wrong
        # A predicate with itself is the shorter rule; a term with its denial holds for nobody.
        with np.errstate(divide="ignore", invalid="ignore"):
            score = ALPHA * (errors / size / error.mean() - 1) - (1 - ALPHA) * (n_samples / size - 1)
        best = max(best, float(score[size >= LEAST].max(initial=-np.inf)))
    return best


def finds_far_apart(n_terms: int) -> dict[str, bool]:
    """Return which searches of pairs put first the one of two terms, in the first and last column, that matters."""
    rng = np.random.default_rng(0)
    terms = rng.random((2_000, n_terms)) < 0.5
    error = rng.random(2_000) < np.where(terms[:, 0] & terms[:, -1], 0.8, 0.05)
    return {who: set(search(terms, error, 2)[1][0]) == {0, n_terms - 1} for who, search in SEARCHES.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=120, help="most processor time for one search")
    parser.add_argument("--gigabytes", type=float, default=8, help="most address space for one search")
    parser.add_argument("--one", nargs=4, metavar=("WHO", "SAMPLES", "PREDICATES", "LONGEST"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        who, *numbers = options.one
        print(json.dumps(one(who, *map(int, numbers), seconds=options.seconds, gigabytes=options.gigabytes)))
        return
    if importlib.util.find_spec("sliceline") is None:
        sys.exit("This comparison needs the package sliceline: pip install sliceline==0.3.0")
    threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    print(
        "samples  predicates  longest  search      seconds      MB  place of planted  SliceLine's score  our score",
        flush=True,
    )
    failed = set()
    for size, longest, who in itertools.product(SIZES, (2, 3), SEARCHES):
        head = f"{size[0]:>7,}  {size[1]:>10}  {longest:>7}  {who:<10}"
        if (size, who) in failed:
            print(f"{head}  not tried", flush=True)
            continue
        command = [sys.executable, __file__, "--seconds", str(options.seconds), "--gigabytes", str(options.gigabytes)]
        command += ["--one", who, *map(str, size), str(longest)]
        done = subprocess.run(command, env=os.environ | threads, capture_output=True, text=True, check=False)
        if done.returncode == -signal.SIGXCPU:
            r = {"failed": f"stopped after {options.seconds} s"}
        elif done.returncode:
            sys.exit(done.stderr)
        else:
            r = json.loads(done.stdout)
        if "failed" in r:
            failed.add((size, who))
            print(f"{head}  {r['failed']}", flush=True)
            continue
        print(
            f"{head}  {r['seconds']:>7.2f}  {r['megabytes']:>6.0f}  {r['place'] or 'not found':>16}"
            f"  {r['sliceline_score']:>17.3f}  {r['gap_score']:>9.3f}",
            flush=True,
        )
    print(f"Highest possible SliceLine score, 160 x 150: {highest_sliceline_score(*SIZES[0]):.3f}")
    for n_terms in (20, 30, 40, 60):
        print(f"Pair in columns 1 and {n_terms} found first: {finds_far_apart(n_terms)}")


if __name__ == "__main__":
    main()
