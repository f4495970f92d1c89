"""Explanations that pick samples: the rule and the terms that do, and how well they do on others."""

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import f1_score, precision_score, recall_score

from mmaudit.explain._selectors import because, fidelity, like_members, patient_weights, picks, rule_part, terms_part
from mmaudit.explain._tokens import contrast_terms, index_terms


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

    def test_nothing_to_say(self, table):
        assert learn(table, np.zeros(len(table), dtype=bool)) is None
        assert learn(table[[]], np.arange(len(table)) < 9) is None


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
