"""The checks of the exercises on fixes: right answers, wrong ones, and hints that give nothing away."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mmaudit.workshop import check

FRAMES = pd.DataFrame(
    {
        "change": [0.1, -0.2, 0.2, 0.3, 0.1],
        "verdict": ["no clear change", "better", "worse", "worse", ""],
    },
    index=pd.MultiIndex.from_tuples(
        [("relabel", "s01"), ("relabel", "s02"), ("add", "s01"), ("add", "s02"), ("add", "s03")],
        names=["fix", "slice_id"],
    ),
)


class TestTrade:
    def test_a_right_answer(self):
        assert check("fix.trade", ("add", {"s01", "s02"}), frames=FRAMES)
        assert check("fix.trade", ("add", ["s02", "s01"]), frames=FRAMES)

    @pytest.mark.parametrize(
        ("answer", "hint"),
        [
            (("relabel", {"s01"}), "under that fix"),
            (("add", {"s01"}), "there are more"),
            (("add", "s02"), "there are more"),
            (("add", {"s01", "s02", "s03"}), "not clearly worse"),
            (("pray", {"s01"}), "no such fix"),
            ("add", "two parts"),
        ],
    )
    def test_a_wrong_one(self, answer, hint):
        told = check("fix.trade", answer, frames=FRAMES)
        assert told.right is False
        assert hint in told.words
        assert "s0" not in told.words

    def test_one_not_answered(self):
        assert check("fix.trade", (..., ...), frames=FRAMES).right is None


JUDGES = {
    "patients": {"training": {"a"}, "audit": {"b", "c"}, "fresh": {"d", "e"}},
    "result": SimpleNamespace(
        samples=pd.DataFrame({"part": ["discovery", "confirmation", "confirmation"]}, index=["1", "2", "3"])
    ),
    "data": SimpleNamespace(sample_id=pd.Index(["3", "1", "2"]), patient_id=np.array(["c", "b", "c"], dtype=object)),
}


class TestMayJudge:
    def test_a_right_answer(self):
        assert check("fix.may_judge", {"d", "e"}, **JUDGES)

    @pytest.mark.parametrize(
        ("answer", "hint"),
        [
            ({"a", "d", "e"}, "taught"),
            ({"b", "d", "e"}, "searched"),
            ({"c", "d", "e"}, "compare the fixes"),
            ({"d"}, "more could"),
            ({"somebody"}, "ids of patients"),
            (set(), "ids of patients"),
        ],
    )
    def test_a_wrong_one(self, answer, hint):
        told = check("fix.may_judge", answer, **JUDGES)
        assert told.right is False
        assert hint in told.words
        assert "fresh" not in told.words


class TestSecondRound:
    ids = pd.Index([f"f{i}" for i in range(6)])
    labels = pd.Series([1, 1, 1, 0, 0, 0], index=ids)
    truth = pd.Series([0, 0, 0, 0, 1, 0], index=ids)  # four are wrong
    train = SimpleNamespace(sample_id=ids, with_labels=lambda corrected: tuple(corrected))

    def known(self):
        def queue_of(part):
            assert part == tuple(self.labels)  # made from the corrected labels
            return pd.DataFrame(index=["f4", "f0", "f3"])

        return {"train": self.train, "labels": self.labels, "truth": self.truth, "queue_of": queue_of}

    def test_a_right_answer(self):
        assert check("fix.second_round", 2, **self.known())

    @pytest.mark.parametrize(
        ("answer", "hint"), [(4, "in the new queue"), (3, "length"), (0, "corrected labels"), (2.5, "whole number")]
    )
    def test_a_wrong_one(self, answer, hint):
        told = check("fix.second_round", answer, **self.known())
        assert told.right is False
        assert hint in told.words
        assert "2" not in told.words
