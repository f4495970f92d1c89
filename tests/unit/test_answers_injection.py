"""The checks of the exercises on planted failures: right answers, wrong ones, and hints that give nothing away."""

import numpy as np
import pandas as pd
import pytest

from mmaudit import datasets, failures
from mmaudit.workshop import check

HIDDEN = {"overall": 0.10, "share": 0.05, "elsewhere": 0.07}
DAMAGE = pd.DataFrame(
    {"control": [0.41, 0.82], "planted": [0.97, 0.76], "change": [0.56, -0.06]},
    index=pd.MultiIndex.from_tuples([("shortcut", "error, slice"), ("shortcut", "AUROC, all")]),
)


class TestHidden:
    def test_a_right_answer(self):
        assert check("injection.hidden", 0.67, **HIDDEN)
        # 4 % of the films at 80 %, 96 % at 5 %: 8 % in all
        assert check("injection.hidden", 0.80, overall=0.08, share=0.04, elsewhere=0.05)

    @pytest.mark.parametrize(
        ("answer", "hint"),
        [
            (0.03, "with few films"),
            (0.07, "worse than"),
            (0.9, "weighted"),
            (67, "not a percentage"),
            ("a lot", "one number"),
        ],
    )
    def test_a_wrong_one(self, answer, hint):
        told = check("injection.hidden", answer, **HIDDEN)
        assert told.right is False
        assert hint in told.words
        assert "0.67" not in told.words
        assert "67 %" not in told.words


class TestPlantedPart:
    def test_a_right_answer(self):
        assert check("injection.planted_part", 0.56, damage=DAMAGE)

    @pytest.mark.parametrize(
        ("answer", "hint"),
        [(0.97, "without the planting"), (0.41, "nothing was added"), (0.06, "row of the error rate"), (56, "share")],
    )
    def test_a_wrong_one(self, answer, hint):
        told = check("injection.planted_part", answer, damage=DAMAGE)
        assert told.right is False
        assert hint in told.words
        assert "56" not in told.words


class Predicts:
    """A model that says label 1 with one probability in one view and with another elsewhere."""

    def __init__(self, in_view, elsewhere):
        self.in_view, self.elsewhere = in_view, elsewhere

    def predict(self, data):
        supine = (data.metadata["view"] == "AP supine").to_numpy()
        return data.with_predictions(np.where(supine, self.in_view, self.elsewhere))


@pytest.fixture(scope="module")
def known():
    data = datasets.load_phantom(120, image_size=64, random_state=0, cache=False)
    few = data.metadata["view"].value_counts()["AP supine"] / data.n_samples / 2

    def fitted(part):
        # Without supine films in training, supine films are called 1, and with them 0.
        rare = (part.metadata["view"] == "AP supine").mean() < few
        return Predicts(0.9 if rare else 0.1, 0.1)

    return {"data": data, "fitted": fitted}


@pytest.fixture(scope="module")
def prevalence(known):
    whole = failures.inject(known["data"], kind="rare", where={"view": "AP supine"}, label=None, random_state=0)
    return whole.test.y_true[whole.planted_test].mean()


class TestWholeView:
    def test_a_right_answer(self, known, prevalence):
        # All called 1 is wrong where the label is 0; all called 0 where it is 1.
        assert check("injection.whole_view", (1 - prevalence) - prevalence, **known)

    def test_a_wrong_one(self, known, prevalence):
        right = 1 - 2 * prevalence
        wrong = {-right: "sign", 1.0: "one kind", 1 - prevalence: "other one too", 0.437: "evaluate both"}
        for answer, hint in wrong.items():
            told = check("injection.whole_view", answer, **known)
            assert told.right is False
            assert hint in told.words
            assert f"{right:.2f}" not in told.words
