"""The tasks of the notebook that asks films in words."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import mmaudit.explain
from mmaudit.workshop import check

STUDIES = pd.DataFrame({"study_id": np.repeat([f"t{k}" for k in range(40)], 2)})  # of two films each
DATA = SimpleNamespace(attributes=STUDIES, n_samples=80, y_true=np.tile([0, 1], 40))


@pytest.mark.parametrize(
    ("answer", "hint"),
    [(1 / 40, "Ten are"), (10 / 80, "counts films"), (0.9, "How many studies"), (25, "between 0 and 1")],
)
def test_chance_wrong(answer, hint):
    said = check("words.chance", answer, data=DATA)
    assert said.right is False and hint in said.words
    assert "0.25" not in said.words and "40" not in said.words


def test_chance_right():
    assert check("words.chance", 0.25, data=DATA)


@pytest.mark.parametrize(("label", "n_compared"), [("1", 20), ("", 40)])
def test_second(monkeypatch, label, n_compared):
    asked = {}

    def ranked(encoder, data, inside, phrases, *, outside):
        asked.update(inside=inside, outside=outside)
        return pd.DataFrame({"phrase": list(phrases)[::-1]})

    monkeypatch.setattr(mmaudit.explain, "rank_phrases", ranked)
    strength = np.r_[np.full(10, 0.9), np.full(70, 0.2)]
    result = SimpleNamespace(
        findings=pd.DataFrame({"slice_id": ["s01", "s02"], "label": ["0", label]}),
        membership=pd.DataFrame({"s02": strength}),
        samples=pd.DataFrame({"part": ["confirmation", "discovery"] * 20 + ["discovery", "confirmation"] * 20}),
    )
    known = {"encoder": None, "result": result, "data": DATA, "phrases": ["supine view", "chest tube"]}
    assert check("words.second", "chest tube", **known)
    # Held-out films of the label: among the first 40 those with even numbers, of label 0; then those with odd ones.
    assert (asked["inside"] | asked["outside"]).sum() == n_compared
    assert not (asked["inside"] & asked["outside"]).any()
    wrong = check("words.second", "supine view", **known)
    assert "Another one comes first" in wrong.words and "chest tube" not in wrong.words
    assert "as it is spelled" in check("words.second", "tubes", **known).words
