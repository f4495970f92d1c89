"""A subgroup that somebody names. What a mapping, a pattern or a mask selects is tested in test_failures.py."""

import numpy as np
import pandas as pd
import pytest

from mmaudit._errors import InputError
from mmaudit.data import AuditData
from mmaudit.failures import inject
from mmaudit.selection import is_number, select


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    n = 1000
    frame = pd.DataFrame(
        {
            "y": rng.integers(0, 2, n),
            "who": np.arange(n) // 2,
            "view": rng.choice(["PA", "AP"], n, p=[0.7, 0.3]),
            "age": np.where(rng.random(n) < 0.1, np.nan, rng.integers(20, 90, n)),
            "report": np.where(rng.random(n) < 0.3, "Chest tube in place.", "Clear lungs."),
        }
    )
    return AuditData.from_frame(frame, label="y", patient_id="who", report="report", metadata=["view", "age"])


@pytest.mark.parametrize(
    ("where", "words"),
    [
        ({"view": "AP", "age": (40, 60)}, "view = AP and age from 40 to 60"),
        ("chest tube", "a report that matches 'chest tube'"),
        (lambda data: data.metadata["view"] == "AP", "a mark in the given mask"),
    ],
)
def test_a_planted_failure_and_a_selection_are_of_the_same_samples(data, where, words):
    where = where(data) if callable(where) else where
    mask, said = select(data, where)
    scenario = inject(data, kind="noisy", where=where)
    assert said == scenario.subgroup == words
    assert mask.dtype == bool
    assert set(data.sample_id[mask]) == set(scenario.data.sample_id[scenario.in_subgroup])


def test_a_selection_by_hand(data):
    age, view = data.metadata["age"], data.metadata["view"]
    mask, _ = select(data, {"view": "AP", "age": (40, 60)})
    assert mask.tolist() == [v == "AP" and a >= 40 and a <= 60 for v, a in zip(view, age, strict=True)]
    mask, _ = select(data, "CHEST tube")
    assert mask.tolist() == [report.startswith("Chest tube") for report in data.reports]


def test_a_mask_is_copied(data):
    given = (data.metadata["view"] == "AP").to_numpy(copy=True)
    mask, _ = select(data, given)
    given[:] = True
    assert mask.sum() < 1000


def test_a_selection_of_nobody_or_of_all_is_refused(data):
    with pytest.raises(InputError, match=r"^where: expected a subgroup of the samples, got all of the 1,000 samples"):
        select(data, {"view": ["AP", "PA"]})
    with pytest.raises(InputError, match=r"^where: expected a subgroup of the samples, got none of the 1,000 samples"):
        select(data, {"age": (200, None)})


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *[("1", False), (None, False)],
        (1, True),
        (np.int8(1), True),
        (0.5, True),
        (np.float32(0.5), True),
        (True, False),
        (np.nan, False),
        (np.inf, False),
    ],
)
def test_what_a_number_is(value, expected):
    assert is_number(value) is expected
