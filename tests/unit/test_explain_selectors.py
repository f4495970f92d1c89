"""Explanations that pick samples: the rule and the terms that do, and how well they do on others."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from mmaudit.explain import TraitFinder
from mmaudit.explain._selectors import (
    because,
    best_threshold,
    fidelity,
    like_members,
    patient_resamples,
    patient_weights,
    picks,
    rule_part,
    terms_part,
)
from mmaudit.explain._tokens import contrast_terms, index_terms
from mmaudit.slicers import Rule


@pytest.fixture
def table():
    rng = np.random.default_rng(0)
    n = 1000
    return pd.DataFrame(
        {
            "view": rng.choice(["PA", "AP", "lateral"], n),
            "sex": rng.choice(["F", "M"], n),
            "age": rng.integers(20, 90, n).astype(float),
        }
    )


def learn(table, inside):
    n = len(table)
    return rule_part(table, inside, np.arange(n) % 2 == 0, np.arange(n))


class TestRule:
    def test_one_value(self, table):
        part = learn(table, (table["view"] == "AP").to_numpy())
        assert (part.kind, part.text) == ("metadata", "view = AP")
        assert part.selector == {"rule": [{"column": "view", "operator": "==", "value": "AP"}]}

    def test_what_is_there_before_what_is_not(self, table):
        assert learn(table, (table["sex"] == "F").to_numpy()).text == "sex = F"

    def test_pair_and_round_number(self, table):
        inside = ((table["view"] == "AP") & (table["age"] > 60)).to_numpy()
        part = learn(table, inside)
        assert "view = AP" in part.text
        (cut,) = [p["value"] for p in part.selector["rule"] if p["column"] == "age"]
        assert abs(cut - 60) <= 6
        assert cut == round(cut)

    def test_triple(self, table):
        inside = ((table["view"] == "AP") & (table["sex"] == "M") & (table["age"] > 50)).to_numpy()
        columns = [p["column"] for p in learn(table, inside).selector["rule"]]
        assert sorted(columns) == ["age", "sex", "view"]

    def test_the_shortest_wins(self, table):
        """Noise in the slice does not make the rule longer."""
        rng = np.random.default_rng(1)
        inside = (table["view"] == "AP").to_numpy() ^ (rng.random(len(table)) < 0.05)
        assert learn(table, inside).text == "view = AP"

    def test_the_best_of_all_pairs(self, table):
        """Against brute force over every pair of predicates."""
        from mmaudit.slicers._predicates import make_predicates

        rng = np.random.default_rng(2)
        inside = ((table["view"] != "PA") & (table["age"] <= 45)).to_numpy() ^ (rng.random(len(table)) < 0.1)
        seen = np.arange(len(table)) % 2 == 0
        part = learn(table, inside)
        _, holds = make_predicates(table[seen].reset_index(drop=True), n_bins=10, min_samples=5)
        best = max(f1_score(inside[seen], a & b) for a in holds for b in holds)
        assert f1_score(inside[seen], part.picked[seen]) >= best

    @pytest.mark.parametrize("text", ["view = AP", "view = AP and age > 50", "view = AP and sex = M and age > 50"])
    def test_a_few_samples_at_a_time(self, table, text, monkeypatch):
        inside = Rule.parse(text, columns=table).holds(table)
        inside ^= np.random.default_rng(0).random(len(table)) < 0.02
        whole = learn(table, inside)
        monkeypatch.setattr("mmaudit.explain._selectors.CHUNK", 37)
        parts = learn(table, inside)
        assert parts.text == whole.text
        assert parts.text.count(" and ") == text.count(" and ")
        np.testing.assert_array_equal(parts.picked, whole.picked)

    def test_nothing_to_say(self, table):
        assert learn(table, np.zeros(len(table), dtype=bool)) is None
        assert learn(table[[]], np.arange(len(table)) < 9) is None


class TestTraits:
    def test_shares_are_of_those_compared(self, table):
        rng = np.random.default_rng(3)
        inside = (table["view"] == "AP").to_numpy() ^ (rng.random(len(table)) < 0.1)
        compared = rng.random(len(table)) < 0.5
        traits = TraitFinder(table, {}).find(inside, compared)
        assert traits[0].phrase == "view = AP"
        for trait in traits:
            holds = Rule.parse(trait.phrase, columns=table).holds(table)
            assert trait.share_inside == holds[inside & compared].mean()
            assert trait.share_outside == holds[~inside & compared].mean()

    def test_without_a_column(self, table):
        assert TraitFinder(table[[]], {}).find(np.arange(1000) < 99, np.ones(1000, dtype=bool)) == []


class TestTerms:
    def terms_of(self, inside, reports):
        n = len(reports)
        index = index_terms(reports, fit_on=np.ones(n, dtype=bool))
        found = contrast_terms(index, inside, np.zeros(n, dtype=int), np.arange(n))
        return terms_part(index, found, inside, np.ones(n, dtype=bool), np.arange(n))

    def test_any_of_several(self):
        rng = np.random.default_rng(0)
        kinds = rng.integers(0, 6, 600)
        sentences = ["Scoliosis.", "Hiatal hernia.", "Lungs are clear."]
        sentences += ["Pacemaker.", "Old rib fracture.", "Low volumes."]
        part = self.terms_of(kinds < 2, [sentences[k] for k in kinds])
        assert (part.picked == (kinds < 2)).all()
        assert sorted(t["term"] for t in part.selector["terms"]) == ["hiatal hernia", "scoliosis"]
        assert part.text.startswith("the report mentions ")

    def test_none(self):
        rng = np.random.default_rng(1)
        assert self.terms_of(rng.random(300) < 0.3, ["Pacemaker.", "Clear lungs.", "Scoliosis."] * 100) is None


class TestImage:
    def test_two_clouds(self):
        rng = np.random.default_rng(0)
        inside = np.arange(400) % 4 == 0
        embedding = rng.normal(size=(400, 5)) + 4 * inside[:, None] * np.array([1, 0, 0, 0, 0])
        part = like_members(embedding, inside, np.arange(400) < 200, np.arange(400))
        assert f1_score(inside[200:], part.picked[200:]) > 0.9
        assert part.selector is None

    def test_of_weighted_means(self):
        """By hand, in one piece: means and variances of both sides, each patient once a side."""
        rng = np.random.default_rng(1)
        inside, seen, patient = rng.random(3000) < 0.3, rng.random(3000) < 0.6, rng.integers(0, 900, 3000)
        embedding = (rng.normal(size=(3000, 400)) + 0.1 * inside[:, None]).astype(np.float32)  # more than one part
        x, at, weight = embedding[seen].astype(float), inside[seen], patient_weights(inside, seen, patient)
        means = [np.average(x[side], axis=0, weights=weight[side]) for side in (at, ~at)]
        spread = [
            np.average((x[side] - mean) ** 2, axis=0, weights=weight[side])
            for side, mean in zip((at, ~at), means, strict=True)
        ]
        score = embedding @ ((means[0] - means[1]) / (spread[0] + spread[1]))
        _, threshold = best_threshold(score[seen], at, weight)
        part = like_members(embedding, inside, seen, patient)
        np.testing.assert_array_equal(part.picked, score >= threshold)

    def test_rows_are_read_in_ascending_order_and_few_at_a_time(self):
        rng = np.random.default_rng(2)
        inside, seen = rng.random(20_000) < 0.3, rng.random(20_000) < 0.6
        embedding = rng.normal(size=(20_000, 256)).astype(np.float32)
        tracemalloc.start()
        try:
            part = like_members(InRowOrder(embedding), inside, seen, np.arange(20_000))
            assert tracemalloc.get_traced_memory()[1] < 25e6  # 12,000 rows in double precision: 25 MB
        finally:
            tracemalloc.stop()
        np.testing.assert_array_equal(part.picked, like_members(embedding, inside, seen, np.arange(20_000)).picked)


class InRowOrder:
    """Rows that can only be read in ascending order."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __getitem__(self, rows):
        assert isinstance(rows, slice) or (np.diff(rows) > 0).all()
        return self.array[rows]


class TestFidelity:
    def test_as_scikit_learn_says(self):
        rng = np.random.default_rng(0)
        inside, picked = rng.random(300) < 0.3, rng.random(300) < 0.4
        everyone = np.ones(300, dtype=bool)
        found = fidelity(picked, inside, everyone, np.arange(300))
        assert found["precision"] == pytest.approx(precision_score(inside, picked))
        assert found["recall"] == pytest.approx(recall_score(inside, picked))
        assert found["f1"] == pytest.approx(f1_score(inside, picked))
        assert found["f1_low"] < found["f1"] < found["f1_high"]
        assert found["n_samples"] == found["n_patients"] == picked.sum()
        share, base = picked.mean(), inside.mean()
        assert found["f1_chance"] == pytest.approx(2 * share * base / (share + base))

    def test_a_patient_counts_once_on_each_side(self):
        """Ten films of one patient inside, all picked, and one of another, not picked: recall is one half."""
        inside = np.array([True] * 11 + [False] * 4)
        picked = np.array([True] * 10 + [False] * 5)
        patient = np.array([0] * 10 + [1, 2, 3, 4, 5])
        assert fidelity(picked, inside, np.ones(15, dtype=bool), patient)["recall"] == pytest.approx(0.5)

    def test_weights(self):
        inside = np.array([True, True, False, False, False])
        weight = patient_weights(inside, np.ones(5, dtype=bool), np.array([0, 0, 0, 1, 1]))
        assert weight.tolist() == [0.5, 0.5, 1.0, 0.5, 0.5]

    def test_intervals_resample_patients(self):
        """Copies of every patient's film make no interval narrower."""
        rng = np.random.default_rng(0)
        inside = rng.random(100) < 0.4
        picked = inside ^ (rng.random(100) < 0.2)
        once = fidelity(picked, inside, np.ones(100, dtype=bool), np.arange(100))
        many = fidelity(
            np.repeat(picked, 9), np.repeat(inside, 9), np.ones(900, dtype=bool), np.repeat(np.arange(100), 9)
        )
        assert many["f1"] == pytest.approx(once["f1"])
        assert many["f1_high"] - many["f1_low"] == pytest.approx(once["f1_high"] - once["f1_low"])

    def test_resamples_are_those_of_numpy_and_many_patients_take_little_memory(self):
        rng = np.random.default_rng(0)
        n = 20_000
        inside, picked, patient = rng.random(n) < 0.3, rng.random(n) < 0.4, rng.permutation(n) + 7
        tracemalloc.start()
        try:
            times = patient_resamples(patient, random_state=1)
            found = fidelity(picked, inside, np.ones(n, dtype=bool), patient, resamples=times)
            assert tracemalloc.get_traced_memory()[1] < 20e6  # of which the resamples are 10 MB
        finally:
            tracemalloc.stop()
        drawn = np.random.RandomState(1)
        first = [drawn.multinomial(n, np.full(n, 1 / n)) for _ in range(3)]
        np.testing.assert_array_equal(times[:3], first)
        ordered = np.argsort(patient)
        hit, size, total = (times @ mask[ordered].astype(float) for mask in (picked & inside, picked, inside))
        expected = np.quantile(2 * hit / (size + total), [0.025, 0.975])
        assert [found["f1_low"], found["f1_high"]] == pytest.approx(expected.tolist(), abs=1e-12)

    def test_nothing_picked(self):
        inside = np.arange(20) < 5
        found = fidelity(np.zeros(20, dtype=bool), inside, np.ones(20, dtype=bool), np.arange(20))
        assert np.isnan(found["precision"])
        assert (found["recall"], found["f1"], found["n_patients"]) == (0, 0, 0)
        assert picks(np.zeros(3, bool), np.zeros(3, bool), np.ones(3))["recall"] is not None


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({}, ""),
        ({"n_patients": 0}, "it picks no held-out patient"),
        ({"f1": 0.4, "precision": 0.3, "recall": 0.6}, "of what it picks 30 % are in the slice, and it picks 60 % of"),
        ({"f1": np.nan, "precision": np.nan, "recall": np.nan}, "of what it picks none are in the slice"),
        ({"above_chance": -0.01}, "no better than as many samples drawn at random"),
        ({"confirmed": False, "q_value": 0.2}, r"not confirmed to be worse where it holds \(q = 0.2\)"),
    ],
)
def test_why_it_does_not_hold(changed, why):
    numbers = {"n_patients": 30, "f1": 0.8, "precision": 0.8, "recall": 0.8, "above_chance": 0.2}
    told = because({**numbers, "confirmed": True, "q_value": 0.01, **changed}, 0.05)
    if why:
        import re

        assert re.search(why, told)
    else:
        assert told == ""
