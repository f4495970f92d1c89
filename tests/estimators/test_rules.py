"""The rule search, compared with a search in plain loops."""

import itertools
import json
import math
import tracemalloc

import numpy as np
import pandas as pd
import pytest
from scipy.stats import norm

from mmaudit._errors import AuditWarning, InputError
from mmaudit.slicers import Predicate, Rule, RuleSlicer
from mmaudit.slicers._predicates import make_predicates
from mmaudit.slicers._rules import _Search
from mmaudit.slicers._scores import Scorer


def small(seed, n=120):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "view": rng.choice(["PA", "AP", "lateral"], n),
            "sex": pd.Series(rng.choice(["F", "M"], n), dtype=object).where(rng.random(n) > 0.1, None),
            "age": np.where(rng.random(n) < 0.1, np.nan, rng.integers(20, 90, n)),
            '"tube"': rng.random(n) < 0.3,
        }
    )
    y = rng.integers(0, 2, n)
    rate = np.where((table["view"] == "AP") & table['"tube"'], 0.7, 0.15)
    return table, y, np.where(rng.random(n) < rate, 1 - y, y).astype(float)


# A second search, row by row: nothing here is shared with the package but the list of predicates


def holds_for(predicate, row):
    value = row[predicate.column]
    missing = value is None or (isinstance(value, float) and math.isnan(value))
    if predicate.operator == "missing":
        return missing
    if predicate.operator in ("mentions", "lacks"):
        return bool(value) == (predicate.operator == "mentions")
    if missing:
        return False
    return {
        "==": lambda: value == predicate.value,
        "!=": lambda: value != predicate.value,
        "<=": lambda: value <= predicate.value,
        ">": lambda: value > predicate.value,
    }[predicate.operator]()


def wilson_by_hand(wrong, n, z):
    p = wrong / n
    middle, half = p + z * z / (2 * n), z * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return (middle - half) / (1 + z * z / n), (middle + half) / (1 + z * z / n)


def bound_by_hand(inside, y, wrong, label, n_tried, alpha=0.05):
    """Return Newcombe's lower bound of the gap, or None where there is too little to compare (8 in and out)."""
    n_in = [sum(i and t == v for i, t in zip(inside, y, strict=True)) for v in (0, 1)]
    n_out = [sum(not i and t == v for i, t in zip(inside, y, strict=True)) for v in (0, 1)]
    e_in = [sum(i and t == v and w for i, t, w in zip(inside, y, wrong, strict=True)) for v in (0, 1)]
    e_out = [sum(not i and t == v and w for i, t, w in zip(inside, y, wrong, strict=True)) for v in (0, 1)]
    z = norm.isf(alpha / n_tried)
    if label is None:
        if min(n_in + n_out) < 8 / 3 or sum(n_in) < 8 or sum(n_out) < 8:
            return None
        p_in, members, others = sum(e_in) / sum(n_in), sum(n_in), sum(n_out)
        p_out = sum(n_in[v] / members * e_out[v] / n_out[v] for v in (0, 1))
    else:
        if n_in[label] < 8 or n_out[label] < 8:
            return None
        p_in, members, others = e_in[label] / n_in[label], n_in[label], n_out[label]
        p_out = e_out[label] / others
    low, high = wilson_by_hand(p_in * members, members, z)[0], wilson_by_hand(p_out * others, others, z)[1]
    return p_in - p_out - math.hypot(p_in - low, high - p_out)


def search_by_hand(table, y, wrong, predicates, label, longest=2):
    """Return the score of each rule, by indices of its predicates, that beats every shorter rule made of its parts."""
    rows = table.astype(object).to_dict("records")
    masks = [[holds_for(p, row) for row in rows] for p in predicates]
    score, n_tried = {}, 0
    for length in range(1, longest + 1):
        n_tried += 3 * math.comb(len(predicates), length)
        for rule in itertools.combinations(range(len(predicates)), length):
            inside = [all(held) for held in zip(*(masks[i] for i in rule), strict=True)]
            bound = bound_by_hand(inside, y, wrong, label, n_tried)
            score[rule] = -math.inf if bound is None else bound
    return {
        rule: bound
        for rule, bound in score.items()
        if bound
        > max((score[part] for k in range(1, len(rule)) for part in itertools.combinations(rule, k)), default=-math.inf)
    }


@pytest.mark.parametrize("seed", range(4))
def test_the_search_is_exact(seed):
    table, y, proba = small(seed)
    wrong = proba != y
    predicates, holds = make_predicates(table, n_bins=4, min_samples=8)
    rows = table.astype(object).to_dict("records")
    for predicate, mask in zip(predicates, holds, strict=True):
        assert mask.tolist() == [holds_for(predicate, row) for row in rows]
    slicer = RuleSlicer(n_bins=4, n_rules=500).fit(table, y, y_proba=proba)
    by_rule = {
        (label, str(rule)): score
        for label, rule, score in zip(slicer.labels_, slicer.rules_, slicer.scores_, strict=True)
    }
    for label in (0, 1, None):
        by_hand = search_by_hand(table, y, wrong, predicates, label)
        best = max(by_hand, key=by_hand.get)
        first = next(k for k, other in enumerate(slicer.labels_) if other == label)
        assert slicer.scores_[first] == pytest.approx(by_hand[best], abs=1e-6)
        assert str(slicer.rules_[first]) == str(Rule(tuple(predicates[i] for i in best)))
        names = {str(Rule(tuple(predicates[i] for i in key))): score for key, score in by_hand.items()}
        scores = {name: score for (other, name), score in by_rule.items() if other == label}
        assert len(scores) > 10
        for name, score in scores.items():
            assert score == pytest.approx(names[name], abs=1e-6)
    assert list(slicer.scores_) == sorted(slicer.scores_, reverse=True)
    n = len(predicates)
    n_pairs = n * (n - 1) // 2
    assert slicer.n_tried_of_length_ == {1: 3 * n, 2: 3 * (n + n_pairs), 3: 3 * (n + n_pairs)}


def rules_of(slicer, predicates):
    """Return the score of each rule found, by label and indices of its predicates."""
    position = {predicate: k for k, predicate in enumerate(predicates)}
    return {
        (label, tuple(position[p] for p in rule.predicates)): score
        for rule, label, score in zip(slicer.rules_, slicer.labels_, slicer.scores_, strict=True)
    }


def with_three(seed, n=160):
    """A table on which errors are frequent where three things come together, and fewer predicates than in `small`."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "view": rng.choice(["PA", "AP"], n),
            "age": rng.integers(20, 90, n),
            '"tube"': rng.random(n) < 0.6,
            '"edema"': rng.random(n) < 0.5,
            '"clips"': rng.random(n) < 0.2,
        }
    )
    y = rng.integers(0, 2, n)
    rate = np.where((table["view"] == "AP") & table['"tube"'] & (table["age"] > 48), 0.9, 0.1)
    return table, y, np.where(rng.random(n) < rate, 1 - y, y).astype(float)


@pytest.mark.parametrize("seed", range(5))
def test_the_search_of_triples_is_exact(seed):
    table, y, proba = with_three(seed)
    predicates, holds = make_predicates(table, n_bins=4, min_samples=8)
    by_hand = {
        (label, rule): score
        for label in (0, 1, None)
        for rule, score in search_by_hand(table, y, proba != y, predicates, label, longest=3).items()
    }
    for n_best in (3, 10, 10_000):
        search = _Search(
            holds, Scorer.from_predictions(y, proba, None, 0.5), 3,
            min_patients=8, alpha=0.05, max_extensions=10**6, n_best=n_best,
        )  # fmt: skip
        found = {(label, rule): score for score, label, rule in search.found}
        assert len(found) == len(search.found)
        for label, length in itertools.product((0, 1, None), (1, 2, 3)):
            ours = sorted((s for (v, rule), s in found.items() if v == label and len(rule) == length), reverse=True)
            best = sorted((s for (v, rule), s in by_hand.items() if v == label and len(rule) == length), reverse=True)
            assert len(best) > 3 or length == 3
            assert ours == pytest.approx(best if length == 1 else best[:n_best], abs=1e-6)
        for key, score in found.items():
            assert score == pytest.approx(by_hand[key], abs=1e-6)
    n = len(predicates)
    slicer = RuleSlicer(3, n_bins=4, n_rules=500).fit(table, y, y_proba=proba)
    assert slicer.n_tried_of_length_[3] == 3 * (n + math.comb(n, 2) + math.comb(n, 3))
    assert any(len(rule) == 3 for _, rule in rules_of(slicer, predicates))
    for key, score in rules_of(slicer, predicates).items():
        assert score == pytest.approx(by_hand[key], abs=1e-6)


def test_the_planted_pair_comes_first():
    first = [RuleSlicer().fit(t, y, y_proba=p).rules_[0] for t, y, p in (small(s, n=600) for s in range(5))]
    assert {str(rule) for rule in first} == {'view = AP and report mentions "tube"'}


def test_the_planted_triple_comes_first():
    for seed in range(5):
        table, y, proba = with_three(seed, n=1000)
        slicer = RuleSlicer(3).fit(table, y, y_proba=proba)
        first = slicer.rules_[0]
        assert {(p.column, p.operator) for p in first.predicates} == {
            ("view", "=="), ('"tube"', "mentions"), ("age", ">"),
        }  # fmt: skip
        planted = (table["view"] == "AP") & table['"tube"'] & (table["age"] > 48)
        assert (first.holds(table) & planted).sum() > 0.8 * (first.holds(table) | planted).sum()
        assert slicer.scores_[0] > RuleSlicer(2).fit(table, y, y_proba=proba).scores_[0]


def many(seed, n=1500, m=60):
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(rng.random((n, m)) < rng.uniform(0.05, 0.5, m), columns=[f'"t{k}"' for k in range(m)])
    table['"t0"'], table['"t1"'], table['"t2"'] = rng.random((3, n)) < 0.5
    y = rng.integers(0, 2, n)
    rate = np.where(table['"t0"'] & table['"t1"'] & table['"t2"'], 0.7, 0.1)
    return table, y, np.where(rng.random(n) < rate, 1 - y, y).astype(float)


def test_most_triples_are_proven_too_weak_without_scoring_them():
    table, y, proba = many(0)
    slicer = RuleSlicer(3, n_rules=10).fit(table, y, y_proba=proba)
    assert slicer.exact_
    n_triples = slicer.n_tried_of_length_[3] - slicer.n_tried_of_length_[2]
    assert n_triples == 3 * math.comb(120, 3)
    assert 0 < slicer.n_scored_triples_ < n_triples / 4


def test_errors_too_few_to_win_end_the_search_of_a_pair():
    """No triple of k errors has a score above `_reach`'s k-th, over all the ways to draw k errors and any right."""
    table, y, proba = with_three(0)
    _, holds = make_predicates(table, n_bins=4, min_samples=8)
    scorer = Scorer.from_predictions(y, proba, None, 0.5)
    search = _Search(holds, scorer, 3, min_patients=8, alpha=0.05, max_extensions=10**6, n_best=10)
    wrong = scorer.error == 1
    rng = np.random.default_rng(0)
    groups = rng.random((20_000, len(y))) < np.where(wrong, rng.random((20_000, 1)), rng.random((20_000, 1)) ** 4)
    counts, errors = scorer.group(groups)
    for label in (0, 1, None):
        reach = search._reach(label)
        usable = scorer.comparable(counts, label, 8)
        k = (errors[label] if label is not None else errors[0] + errors[1]).astype(int)
        score = scorer.bound(counts, errors, label, search.n_tried[3], 0.05)
        assert usable.sum() > 3000
        assert (score <= reach[k] + 1e-6)[usable].all()
        assert np.median((reach[k] - score)[usable]) < 0.5
        for floor in (-0.2, 0.0, 0.2):
            may = search._may_exceed(np.float32(floor), counts, errors, label, 3)
            assert may[usable & (score > floor)].all()
            assert may[usable & (score < floor - 0.2)].mean() < 0.1


def test_the_limit_of_triples_keeps_the_best_pairs_and_says_so():
    table, y, proba = many(1)
    whole = RuleSlicer(3, n_rules=10).fit(table, y, y_proba=proba)
    limited = RuleSlicer(3, n_rules=10, max_extensions=1000).fit(table, y, y_proba=proba)
    assert whole.exact_ and not limited.exact_
    assert limited.n_scored_triples_ <= 3 * math.comb(19, 3) < 3 * 1000
    assert limited.n_tried_of_length_ == whole.n_tried_of_length_  # which were left out depends on the errors
    assert limited.rules_[0] == whole.rules_[0]
    assert {p.column for p in limited.rules_[0].predicates} == {'"t0"', '"t1"', '"t2"'}


def test_a_search_in_chunks_is_the_same(monkeypatch):
    table, y, proba = with_three(0)
    whole = RuleSlicer(3).fit(table, y, y_proba=proba)
    monkeypatch.setattr("mmaudit.slicers._rules._CHUNK", 7)
    parts = RuleSlicer(3).fit(table, y, y_proba=proba)
    assert parts.rules_ == whole.rules_
    assert parts.scores_.tobytes() == whole.scores_.tobytes()


@pytest.mark.parametrize("seed", range(3))
def test_counts_of_complements_are_the_same_as_counted(seed, monkeypatch):
    """With missing values, "age ≤ 40" and "age > 40" are no complements; "mentions" and "lacks" always are."""
    monkeypatch.setattr("mmaudit.slicers._rules._CHUNK", 50)
    monkeypatch.setattr("mmaudit.slicers._rules._FEW", 20)
    table, y, proba = small(seed)
    table["answer"] = np.where(np.arange(len(table)) % 3, "yes", "no")
    predicates, holds = make_predicates(table, n_bins=4, min_samples=8)
    search = _Search(
        holds, Scorer.from_predictions(y, proba, None, 0.5), 2,
        min_patients=8, alpha=0.05, max_extensions=1, n_best=10,
    )  # fmt: skip
    turned = {str(predicates[k]) for k in np.flatnonzero(search.base != np.arange(len(holds)))}
    assert {'report does not mention "tube"', "answer = no"} <= turned | {"answer = yes"}
    assert not any("age" in name or "sex" in name for name in turned)
    plain = np.array([*holds], dtype=int)
    rng = np.random.default_rng(seed)
    for size in (0, 1, 49, 51, len(y)):
        samples = rng.permutation(len(y))[:size]
        some = np.sort(rng.permutation(len(predicates))[: rng.integers(1, len(predicates) + 1)])
        by_hand = plain[np.ix_(some, samples)] @ plain[np.ix_(some, samples)].T
        np.testing.assert_array_equal(search._count(samples, some), by_hand)
    for part, wrong in ((search.right, False), (search.wrong, True)):
        for label in (0, 1):
            at = plain[:, (y == label) & ((proba != y) == wrong)]
            np.testing.assert_array_equal(part[label], at @ at.T)


def test_the_best_pairs_are_the_same_as_if_every_pair_were_scored(monkeypatch):
    """Pairs that a quick bound proves too weak are not scored; the others in several parts."""
    monkeypatch.setattr("mmaudit.slicers._rules._PAIRS", 1000)
    table, y, proba = many(0)
    _, holds = make_predicates(table, n_bins=5, min_samples=8)
    options = {"min_patients": 8, "alpha": 0.05, "max_extensions": 10**6, "n_best": 10**6}
    search = _Search(holds, Scorer.from_predictions(y, proba, None, 0.5), 3, **options)
    found = {(label, parts): score for score, label, parts in search.found if len(parts) == 2}
    i, j = np.triu_indices(len(holds), k=1)
    counts, errors = search._counts(i, j)
    n_found = 0
    for label in (0, 1, None):
        score = search._score(counts, errors, label, 2)
        parts = np.maximum(search.single[label][i], search.single[label][j])
        better = np.flatnonzero(score > parts)
        n_found += len(better)
        assert len(better) > 100
        assert all(found[label, (int(i[k]), int(j[k]))] == score[k] for k in better)
        np.testing.assert_array_equal(search.best_part[label][i, j], np.maximum(score, parts).astype(np.float32))
    assert n_found == len(found)


def test_predicates_are_never_unpacked_all_at_once():
    rng = np.random.default_rng(0)
    n, m = 100_000, 80
    table = pd.DataFrame(rng.random((n, m)) < rng.uniform(0.05, 0.5, m), columns=[f'"t{k}"' for k in range(m)])
    y = rng.integers(0, 2, n)
    proba = np.where(rng.random(n) < np.where(table['"t0"'], 0.6, 0.1), 1 - y, y).astype(float)
    tracemalloc.start()
    try:
        slicer = RuleSlicer(n_rules=5).fit(table, y, y_proba=proba)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(slicer.predicates_) == 2 * m
    assert peak_bytes < 2 * m * n * 0.8  # at one byte for each predicate of a sample it would be more than this


def test_patients_have_the_same_codes_as_numbers_and_as_text():
    table, y, proba = small(0)
    numbers = np.random.default_rng(0).integers(-20, 120, len(y))
    codes = [Scorer.from_predictions(y, proba, groups, 0.5).patient for groups in (numbers, numbers.astype(str))]
    np.testing.assert_array_equal(*codes)
    np.testing.assert_array_equal(codes[0], np.unique(numbers.astype(str), return_inverse=True)[1])
    found = [RuleSlicer().fit(table, y, y_proba=proba, groups=g).scores_ for g in (numbers, list(numbers.astype(str)))]
    assert found[0].tobytes() == found[1].tobytes()


def test_scores_against_hand_worked_numbers():
    """10 of 20 wrong inside, 5 of 50 outside: Wilson (0.299, 0.701) and (0.043, 0.214) at 95 %; Newcombe's bound."""
    y, error = np.zeros(70, dtype=int), np.r_[np.ones(10), np.zeros(10), np.ones(5), np.zeros(45)]
    scorer = Scorer(y, error.astype(np.float32), np.arange(70), 1.0)
    inside = np.arange(70) < 20
    counts, errors = scorer.group(inside[None])
    assert scorer.rates(counts, errors, 0) == pytest.approx((0.5, 20, 0.1, 50))
    bound = scorer.bound(counts, errors, 0, 1, 0.025)
    assert bound == pytest.approx(0.4 - math.hypot(0.5 - 0.2993, 0.2136 - 0.1), abs=2e-4)


def test_repeated_samples_do_not_make_a_score_surer():
    table, y, proba = small(1, n=200)
    once = RuleSlicer().fit(table, y, y_proba=proba)
    twice = RuleSlicer(min_patients=8).fit(
        pd.concat([table] * 4, ignore_index=True),
        np.tile(y, 4),
        y_proba=np.tile(proba, 4),
        groups=np.tile(range(200), 4),
    )
    assert twice.scores_[0] == pytest.approx(once.scores_[0], abs=0.03)
    alone = RuleSlicer().fit(pd.concat([table] * 4, ignore_index=True), np.tile(y, 4), y_proba=np.tile(proba, 4))
    assert alone.scores_[0] > once.scores_[0] + 0.1


# Predicates


def predicates_of(values, **options):
    table = pd.DataFrame({"x": values})
    return [str(p) for p in make_predicates(table, **({"n_bins": 5, "min_samples": 8} | options))[0]]


def test_terms_that_are_denied_are_another_term():
    rng = np.random.default_rng(0)
    tube = rng.random(400) < 0.3
    silent = rng.random(400) < 0.3
    table = pd.DataFrame({'"no tube"': ~tube & ~silent, '"tube"': tube & ~silent})
    y = rng.integers(0, 2, 400)
    for name, word in (("no tube", '"no tube"'), ("tube", '"tube"')):
        proba = np.where(rng.random(400) < np.where(table[word], 0.7, 0.05), 1 - y, y)
        rule = RuleSlicer(max_predicates=1).fit(table, y, y_proba=proba).rules_[0]
        assert str(rule) == f'report mentions "{name}"'


def test_where_every_report_has_a_term_or_its_denial_what_is_there_is_named():
    tube = np.arange(60) % 3 == 0
    for columns in ({'"no tube"': ~tube, '"tube"': tube}, {'"tube"': tube, '"no tube"': ~tube}):
        found, _ = make_predicates(pd.DataFrame(columns), n_bins=4, min_samples=8)
        assert sorted(map(str, found)) == ['report mentions "no tube"', 'report mentions "tube"']


def test_missing_values_are_a_group_of_their_own_and_match_nothing_else():
    values = pd.Series(["a"] * 20 + ["b"] * 20 + ["c"] * 20 + [None] * 20, dtype=object)
    assert predicates_of(values) == [
        "x is missing", "x = a", "x = b", "x = c", "x is not a", "x is not b", "x is not c",
    ]  # fmt: skip
    table = pd.DataFrame({"x": values, "age": [np.nan] * 40 + [50.0] * 40})
    assert Predicate("x", "!=", "a").holds(table).sum() == 40
    assert Predicate("x", "missing").holds(table).sum() == 20
    assert Predicate("age", "<=", 60.0).holds(table).sum() == 40
    assert Predicate("age", ">", 60.0).holds(table).sum() == 0
    assert Predicate("age", "missing").holds(table).sum() == 40


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.arange(20, 90), {33, 47, 61, 75}),  # ages: a fifth of the 70 are 20 to 33
        (np.arange(0, 1000) / 1000, {0.2, 0.4, 0.6, 0.8}),
        (np.linspace(0, 98765, 1000), {20000, 39000, 59000, 79000}),
        (np.repeat([1, 2, 3, 4, 9], 20), {1, 2, 3, 4}),  # counts: never 1.5
        (np.r_[np.zeros(50), np.arange(1, 51)], {0, 10, 30}),
    ],
)
def test_cut_points_are_what_a_person_would_say(values, expected):
    found, _ = make_predicates(pd.DataFrame({"x": values.astype(float)}), n_bins=5, min_samples=8)
    assert {p.value for p in found} == expected
    assert all(len(str(p).split()[-1]) <= 5 for p in found)


def test_two_numbers_and_yes_or_no_are_values_not_ranges():
    assert predicates_of([0.0, 1.0] * 20) == ["x = 0", "x = 1"]
    assert predicates_of([3.5] * 40) == []
    assert predicates_of([np.nan] * 40) == []
    assert predicates_of(["rare"] * 3 + ["a"] * 20 + ["b"] * 20) == ["x = a", "x = b", "x is not a", "x is not b"]


def test_rules_survive_json():
    rule = Rule((Predicate("age", ">", 60.0), Predicate("view", "==", "AP"), Predicate('"tube"', "lacks")))
    assert Rule.from_dict(rule.to_dict()) == rule
    assert str(rule) == 'age > 60 and view = AP and report does not mention "tube"'


def test_a_lower_and_an_upper_limit_read_as_an_interval():
    low, high, view = Predicate("age", ">", 40.0), Predicate("age", "<=", 60.0), Predicate("view", "==", "AP")
    assert str(Rule((low, high))) == str(Rule((high, low))) == "40 < age ≤ 60"
    assert str(Rule((low, view, high))) == "40 < age ≤ 60 and view = AP"
    assert str(Rule((high, Predicate("year", ">", 2010.5)))) == "age ≤ 60 and year > 2010.5"
    assert str(Rule((low, Predicate("age", ">", 50.0), high))) == "age > 40 and age > 50 and age ≤ 60"


def test_clusters_are_named_never_excluded():
    rng = np.random.default_rng(0)
    names = rng.choice(["cluster 1", "cluster 2", "cluster 3"], 90)
    found = predicates_of(pd.Series(names, dtype="category"))
    assert sorted(found) == ["x = cluster 1", "x = cluster 2", "x = cluster 3"]
    numbers = rng.integers(1, 8, 400)
    table = pd.DataFrame({"image cluster": pd.Categorical(numbers), "none": pd.Categorical([None] * 400)})
    predicates, holds = make_predicates(table, n_bins=4, min_samples=8)
    assert sorted(map(str, predicates)) == [f"image cluster = {k}" for k in range(1, 8)]
    for predicate, mask in zip(predicates, holds, strict=True):
        assert mask.tolist() == (numbers == predicate.value).tolist()
    json.dumps(Rule(tuple(predicates)).to_dict())
    y = rng.integers(0, 2, 400)
    proba = np.where(rng.random(400) < np.where(numbers == 3, 0.8, 0.05), 1 - y, y)
    assert str(RuleSlicer(3).fit(table, y, y_proba=proba).rules_[0]) == "image cluster = 3"


# What a rule must have


@pytest.mark.parametrize("seed", range(3))
def test_predicates_of_one_column_neither_contradict_nor_repeat_each_other(seed):
    rng = np.random.default_rng(seed)
    n = 600
    age = np.where(rng.random(n) < 0.1, np.nan, rng.integers(20, 90, n))
    table = pd.DataFrame({"age": age, "site": rng.choice(list("abcde"), n), '"tube"': rng.random(n) < 0.4})
    y = rng.integers(0, 2, n)
    rate = np.where((age > 40) & (age <= 60) & table['"tube"'], 0.6, 0.1)
    proba = np.where(rng.random(n) < rate, 1 - y, y)
    slicer = RuleSlicer(3, n_rules=1000, n_bins=8).fit(table, y, y_proba=proba)
    assert any(" < age ≤ " in str(rule) for rule in slicer.rules_[:5])
    of_one_column = [
        pair
        for rule in slicer.rules_
        for pair in itertools.combinations(rule.predicates, 2)
        if pair[0].column == pair[1].column
    ]
    assert len(of_one_column) > 20
    for one, other in of_one_column:
        operators = {one.operator, other.operator}
        if operators == {"<=", ">"}:
            low, high = sorted((one, other), key=lambda p: p.operator, reverse=True)
            assert low.value < high.value
        else:
            assert operators == {"!="}
            assert one.value != other.value


def test_min_patients_counts_patients_not_samples():
    n = 400
    rng = np.random.default_rng(0)
    marked = np.arange(n) < 40
    table = pd.DataFrame({"scanner": np.where(marked, "old", "new")})
    y = np.arange(n) % 2
    proba = np.where(marked | (rng.random(n) < 0.1), 1 - y, y)
    four_patients = np.r_[np.repeat(np.arange(4), 10), 4 + np.arange(n - 40)]
    assert RuleSlicer(min_patients=8).fit(table, y, y_proba=proba).rules_
    assert not RuleSlicer(min_patients=8).fit(table, y, y_proba=proba, groups=four_patients).rules_
    assert RuleSlicer(min_patients=4).fit(table, y, y_proba=proba, groups=four_patients).rules_
    few_outside = np.where(marked, np.arange(n), 1000 + np.arange(n) % 3)
    assert not RuleSlicer(min_patients=8).fit(table, y, y_proba=proba, groups=few_outside).rules_


def test_long_rules_have_enough_patients_inside_and_outside():
    table, y, proba = with_three(0, n=1000)
    # Films on which it errs are of few patients: where they are many, the patients are not.
    groups = np.where(proba != y, np.arange(1000) % 25, 100 + np.arange(1000) % 400)
    slicer = RuleSlicer(3, min_patients=20, n_rules=200).fit(table, y, y_proba=proba, groups=groups)
    by_samples = RuleSlicer(3, min_patients=20, n_rules=200).fit(table, y, y_proba=proba)
    few = []
    for found in (slicer, by_samples):
        assert any(len(rule.predicates) == 3 for rule in found.rules_)
        n_patients = [
            min(len({*groups[inside & compared]}), len({*groups[~inside & compared]}))
            for rule, label in zip(found.rules_, found.labels_, strict=True)
            for inside, compared in [(rule.holds(table), np.ones(1000, dtype=bool) if label is None else y == label)]
        ]
        few.append(sum(n < 20 for n in n_patients))
    assert few[0] == 0 < few[1]


def test_near_duplicates_are_dropped():
    rng = np.random.default_rng(0)
    n = 500
    ap = rng.random(n) < 0.3
    almost = ap ^ (rng.random(n) < 0.01)
    table = pd.DataFrame({"view": np.where(ap, "AP", "PA"), "bed": np.where(almost, "yes", "no")})
    y = rng.integers(0, 2, n)
    proba = np.where(rng.random(n) < np.where(ap, 0.6, 0.1), 1 - y, y)
    slicer = RuleSlicer(max_predicates=1).fit(table, y, y_proba=proba)
    for label in (0, 1, None):
        compared = np.ones(n, dtype=bool) if label is None else y == label
        masks = [
            r.holds(table) & compared for r, other in zip(slicer.rules_, slicer.labels_, strict=True) if other == label
        ]
        assert len(masks) == 2  # one of each pair of twins
        for one, two in itertools.combinations(masks, 2):
            assert (one & two).sum() < 0.8 * (one | two).sum()


def test_over_both_labels_needs_both_inside_and_outside():
    rng = np.random.default_rng(0)
    n = 400
    y = rng.integers(0, 2, n)
    table = pd.DataFrame({"answer": np.where(y == 1, "yes", "no"), "view": rng.choice(["AP", "PA"], n)})
    proba = np.where(rng.random(n) < np.where(y == 1, 0.6, 0.1), 1 - y, y)
    slicer = RuleSlicer().fit(table, y, y_proba=proba)
    for rule, label in zip(slicer.rules_, slicer.labels_, strict=True):
        inside = rule.holds(table)
        assert "answer" not in str(rule)  # it would be compared with nobody, within a label as over both
        if label is None:
            assert {*y[inside]} == {*y[~inside]} == {0, 1}


def test_a_slice_with_more_disease_is_not_a_rule_for_that():
    """Positives are missed at 50 % in and outside; the hospital has five times as many of them."""
    rng = np.random.default_rng(0)
    n = 4000
    hospital = rng.random(n) < 0.5
    y = (rng.random(n) < np.where(hospital, 0.5, 0.1)).astype(int)
    proba = np.where(rng.random(n) < np.where(y == 1, 0.5, 0.05), 1 - y, y)
    slicer = RuleSlicer().fit(pd.DataFrame({"site": np.where(hospital, "H", "G")}), y, y_proba=proba)
    assert (proba != y)[hospital].mean() > (proba != y)[~hospital].mean() + 0.15
    assert max(slicer.scores_) < 0


# Calls


def test_without_predictions_it_says_so_and_finds_nothing():
    table, _, _ = small(0)
    with pytest.warns(AuditWarning, match="y_proba: expected labels and probabilities"):
        slicer = RuleSlicer().fit(table)
    assert slicer.transform(table).shape == (120, 0)
    assert slicer.rules_ == []


def test_membership_is_where_the_rule_holds_and_the_table_is_not_changed():
    table, y, proba = small(0)
    before = table.copy(deep=True)
    slicer = RuleSlicer().fit(table, y, y_proba=proba)
    membership = slicer.transform(table)
    assert membership.dtype == np.float32
    for k, rule in enumerate(slicer.rules_):
        np.testing.assert_array_equal(membership[:, k], rule.holds(table))
    pd.testing.assert_frame_equal(table, before)
    again = RuleSlicer().fit(table, y, y_proba=proba)
    assert again.rules_ == slicer.rules_
    assert again.scores_.tobytes() == slicer.scores_.tobytes()


def test_arrays_have_numbered_columns():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 2))
    y = rng.integers(0, 2, 400)
    slicer = RuleSlicer(max_predicates=1).fit(X, y, y_proba=np.where(X[:, 1] > 0.8, 1 - y, y))
    assert str(slicer.rules_[0]).startswith("x1 > 0.8")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_predicates": 4}, r"^max_predicates: expected 1, 2 or 3, got 4\."),
        ({"max_extensions": 0}, r"^max_extensions: expected a number from 1 on, got 0\."),
        ({"n_rules": 0}, r"^n_rules: expected a number from 1 on, got 0\."),
        ({"n_bins": 1}, r"^n_bins: expected a number from 2 on, got 1\."),
        ({"alpha": 1.5}, r"^alpha: expected a number from 0 to 1, got 1\.5\."),
    ],
)
def test_bad_parameters(options, message):
    table, y, proba = small(0)
    with pytest.raises(InputError, match=message):
        RuleSlicer(**options).fit(table, y, y_proba=proba)


def test_bad_labels_and_probabilities():
    table, y, proba = small(0)
    with pytest.raises(InputError, match=r"^y: expected 120 labels, 0 or 1"):
        RuleSlicer().fit(table, y + 1, y_proba=proba)
    with pytest.raises(InputError, match=r"^y_proba: expected 120 values in \[0, 1\]"):
        RuleSlicer().fit(table, y, y_proba=proba * 100)


# Rules that a person types


def predicates(text, **options):
    return [(p.column, p.operator, p.value) for p in Rule.parse(text, **options).predicates]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("view = AP and age > 60", [("view", "==", "AP"), ("age", ">", 60.0)]),
        ("view=AP AND age>60", [("view", "==", "AP"), ("age", ">", 60.0)]),
        ("view = AP supine", [("view", "==", "AP supine")]),
        ("40 < age <= 60", [("age", ">", 40.0), ("age", "<=", 60.0)]),
        ("40 ≤ age < 60", [("age", ">=", 40.0), ("age", "<", 60.0)]),
        ("60 >= age > 40", [("age", "<=", 60.0), ("age", ">", 40.0)]),
        ("age >= 60", [("age", ">=", 60.0)]),
        ("age ≥ -1.5e2", [("age", ">=", -150.0)]),
        ("60 < age", [("age", ">", 60.0)]),
        ("60 >= age", [("age", "<=", 60.0)]),
        ("sex is M", [("sex", "==", "M")]),
        ("sex is not M", [("sex", "!=", "M")]),
        ("sex != M", [("sex", "!=", "M")]),
        ("sex ≠ M", [("sex", "!=", "M")]),
        ("age is missing", [("age", "missing", None)]),
        ("age = missing", [("age", "==", "missing")]),
        ('sex is not "missing"', [("sex", "!=", "missing")]),
        ("site in A, B", [("site", "in", ("A", "B"))]),
        ('site in "A, B", C', [("site", "in", ("A, B", "C"))]),
        ("age in 40, 50", [("age", "in", (40.0, 50.0))]),
        ("lead is in place", [("lead", "==", "in place")]),
        ("`heart and lungs` = `and`", [("heart and lungs", "==", "`and`")]),
        ('`p = 1` is "a and b"', [("p = 1", "==", "a and b")]),
        ('size = 6" film', [("size", "==", '6" film')]),
        ('report mentions "chest tube"', [('"chest tube"', "mentions", None)]),
        ('report does not mention "chest tube"', [('"chest tube"', "lacks", None)]),
        ("the report  mentions [chest tube]", [("[chest tube]", "mentions", None)]),
    ],
)
def test_what_a_person_types_is_read(text, expected):
    assert predicates(text) == expected


def test_a_term_without_quotation_marks_is_a_concept():
    for typed in ("chest tube", "Chest tubes", "chest drain"):
        assert predicates(f"report mentions {typed}") == [("[chest tube]", "mentions", None)]
    assert predicates('report mentions "chest drain"') == [('"chest drain"', "mentions", None)]
    assert str(Rule.parse("report does not mention chest drain")) == "report does not mention chest tube"
    # Where only words are known, they are what the concept is called there.
    terms = ["tube", "chest tube"]
    assert predicates("report mentions chest drain", terms=terms) == [('"chest tube"', "mentions", None)]
    assert predicates("report mentions tube", columns=["view", '"tube"']) == [('"tube"', "mentions", None)]
    assert predicates("report mentions chest drain", columns=["view"]) == [("[chest tube]", "mentions", None)]


TYPED = pd.DataFrame(
    {
        "View": ["AP", "PA", "AP supine"],
        "site": ["7", "8", "9"],
        "age": [1.0, 2.0, np.nan],
        "ward": pd.Categorical([3, 4, 5]),
        "sex": ["m", "M", "F"],
        "flag": [True, False, True],
        '"tube"': [True, False, False],
    }
)


@pytest.mark.parametrize(
    ("text", "expected", "holds"),
    [
        ("view is ap", [("View", "==", "AP")], [1, 0, 0]),
        ("SITE = 7", [("site", "==", "7")], [1, 0, 0]),
        ("site in 9, 7", [("site", "in", ("9", "7"))], [1, 0, 1]),
        ('age = "2"', [("age", "==", 2.0)], [0, 1, 0]),
        ("age < 2", [("age", "<", 2.0)], [1, 0, 0]),
        ("age >= 2", [("age", ">=", 2.0)], [0, 1, 0]),
        ("ward = 4", [("ward", "==", 4.0)], [0, 1, 0]),
        ("sex = m", [("sex", "==", "m")], [1, 0, 0]),
        ("flag = true", [("flag", "==", True)], [1, 0, 1]),
        ("report mentions flag", [("flag", "mentions", None)], [1, 0, 1]),
        ("report does not mention Tube", [('"tube"', "lacks", None)], [0, 1, 1]),
    ],
)
def test_names_and_values_are_those_of_the_table(text, expected, holds):
    rule = Rule.parse(text, columns=TYPED)
    assert [(p.column, p.operator, p.value) for p in rule.predicates] == expected
    assert rule.holds(TYPED).astype(int).tolist() == holds
    json.dumps(rule.to_dict())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("vew = AP", r"a column of the data in 'vew = AP', got 'vew'\. There are: View, site, age, ward, sex, flag\. "
         r"Did you mean 'View'\?$"),
        ("view = LL", r"a value of 'View' in 'view = LL', got 'LL', which never occurs\. It has: AP, PA, AP supine\.$"),
        ("view = AP supin", r"Did you mean 'AP supine'\?$"),
        ("age = old", r"a number in 'age = old', got 'old'\. 'age' holds numbers\.$"),
        ("age > old", r"a number in 'age > old', got 'old'"),
        ("age > nan", r"a number in 'age > nan', got 'nan'"),
        ("view > 3", r"a number in 'view > 3', got 'View', which holds none"),
        ("report mentions tub", r"a term that enough reports mention, got 'tub'\. There are 1, such as tube\. Did you "
         r"mean 'tube'\?$"),
        ("report mentions", r"a term that the report mentions, got none"),
        ("age > 1 and view", r'statements such as "view = AP", "age > 60" or "report mentions chest tube", joined by '
         r"\"and\", got 'view'\. A name that holds an operator"),
        ("age > 1 and", r"got 'age > 1 and'|a number in 'age > 1 and'"),
        ("view = ", r"a value in 'view =', got none"),
        ("= AP", r"got '= AP'"),
        ("view = AP = PA", r"got 'view = AP = PA'"),
        ("1 < age > 3", r"got '1 < age > 3'"),
        ("sex is not missing", r"a value after \"is not\", got 'sex is not missing'"),
        ("sex is X", r"got 'X', which never occurs"),
        ("", r"got nothing"),
    ],
)  # fmt: skip
def test_what_is_not_understood_is_named(text, message):
    with pytest.raises(InputError, match=r"^rule: expected .*" + message):
        Rule.parse(text, columns=TYPED)


def test_a_name_that_may_be_two_columns_and_a_rule_that_is_no_text():
    with pytest.raises(InputError, match=r"one column in 'VIEW = AP', got 'VIEW', which may be view, View\. Say which"):
        Rule.parse("VIEW = AP", columns=["view", "View"])
    with pytest.raises(TypeError, match=r"^rule: expected a text, got dict"):
        Rule.parse({"view": "AP"})


def test_values_of_a_column_with_many_stay_out_of_the_message():
    with pytest.raises(InputError, match=r"which never occurs\. It has 40 values\.$"):
        Rule.parse("ward = 99", columns=pd.DataFrame({"ward": [f"ward {k}" for k in range(40)]}))


NAMES = (
    "view", "patient age", "heart and lungs", "p = 1", "a ≤ b", "is missing", "x is missing", "made in", "is in x",
    "60", "-1.5e3", " edge ", "", 'say "no"', "back`tick", "report mentions", "report mentions x", "[x]", "a, b",
    "the report does not mention y", "AND", "and", "x and", "< 5", "größe (cm)", "a\nand\nb", "not", "x is",
    "a [b and c]",
)  # fmt: skip


@pytest.mark.parametrize("seed", range(40))
def test_every_rule_of_a_table_is_read_as_it_is_printed(seed):
    rng = np.random.default_rng(seed)
    n = 60
    columns = {}
    for name in rng.permutation(NAMES)[:8]:
        kind = rng.integers(5)
        if kind == 0:
            values = rng.normal(scale=10.0 ** rng.integers(-8, 9), size=n)
        elif kind == 1:
            values = rng.choice(rng.normal(size=2) if rng.random() < 0.5 else [0.0, 1e-17], n)
        else:
            values = rng.choice(rng.permutation([*NAMES, "missing", "Missing", "1", "1.50", "not x", "in a"])[:3], n)
            values = values.astype(object)
        if kind == 4:
            values = pd.Categorical(values)
        columns[name] = pd.Series(values).where(pd.Series(rng.random(n) < 0.8))
    for term in ("tube", "no tube", "port-a-cath", "tube or line"):
        columns[f'"{term}"'] = rng.random(n) < 0.5
    columns["[chest tube]"] = rng.random(n) < 0.5
    table = pd.DataFrame(columns)
    found, _ = make_predicates(table, n_bins=4, min_samples=2)
    assert len(found) > 20
    for _ in range(100):
        rule = Rule(tuple(found[k] for k in rng.choice(len(found), rng.integers(1, 4), replace=False)))
        read = Rule.parse(str(rule), columns=table)
        assert set(read.predicates) == set(rule.predicates), str(rule)
        assert str(read) == str(rule)
        assert (read.holds(table) == rule.holds(table)).all()
        if not any(p.value in ("1", "1.50", "60", "-1.5e3") for p in rule.predicates):
            assert set(Rule.parse(str(rule)).predicates) == set(rule.predicates)  # no table: these would be numbers


@pytest.mark.parametrize("seed", range(5))
def test_whatever_is_typed_is_read_or_refused(seed):
    rng = np.random.default_rng(seed)
    pieces = (*NAMES, "=", "<", "≤", ">=", "is not", "is", "in", "and", "missing", '"', "`", "[", "]", ",", "tube", "5")
    n_read = 0
    for _ in range(2000):
        text = rng.choice(["", " "]).join(rng.choice(pieces, rng.integers(1, 7)))
        for options in ({}, {"columns": TYPED}, {"terms": ["tube"]}):
            try:
                rule = Rule.parse(text, **options)
            except InputError:
                continue
            n_read += 1
            # Its own words are read as the same.
            assert set(Rule.parse(str(rule), **options).predicates) == set(rule.predicates), (text, str(rule))
    assert n_read > 500


def test_limits_of_either_kind_read_as_an_interval():
    low, high = Predicate("age", ">=", 40.0), Predicate("age", "<", 60.0)
    assert str(Rule((high, low))) == "40 ≤ age < 60"
    assert str(Rule((low, Predicate("age", "<=", 60.0)))) == "40 ≤ age ≤ 60"
    assert str(Rule((low, Predicate("age", ">", 50.0), high))) == "age ≥ 40 and age > 50 and age < 60"
    table = pd.DataFrame({"age": [39.9, 40.0, 50.0, 60.0, np.nan]})
    assert Rule((low, high)).holds(table).tolist() == [False, True, True, False, False]


def test_numbers_are_printed_with_the_digits_that_tell_them_apart():
    assert str(Predicate("day", ">", 20150312.0)) == "day > 20150312"
    assert str(Predicate("x", "<=", 0.1 + 0.2)) == "x ≤ 0.30000000000000004"
    assert str(Predicate("x", "<=", 0.3)) == "x ≤ 0.3"


def test_one_of_several_values_survives_json():
    rule = Rule((Predicate("site", "in", ("A", "B, C")), Predicate("age", ">=", 60.0)))
    assert Rule.from_dict(json.loads(json.dumps(rule.to_dict()))) == rule
    assert str(rule) == 'site in A, "B, C" and age ≥ 60'
    table = pd.DataFrame({"site": ["A", "B", "B, C", None], "age": [60.0, 70.0, 80.0, 90.0]})
    assert rule.holds(table).tolist() == [True, False, True, False]
