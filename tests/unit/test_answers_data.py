"""The checks of the notebook on data: the right answer, wrong ones and what they are told."""

import numpy as np
import pandas as pd
import pytest

from mmaudit import AuditData
from mmaudit.workshop import check

ROLES = {"label": "y", "y_proba": "p", "patient_id": "who", "metadata": ["view"]}
OFFERED = dict.fromkeys(
    ["requested_by", "view", "length_of_stay", "age", "drain_within_24h", "discharge_code", "tube_on_film"], ""
)
IN_TIME = ["requested_by", "view", "age", "tube_on_film"]


@pytest.fixture
def table():
    n = 12
    return pd.DataFrame(
        {
            "y": np.arange(n) % 2,
            "p": np.linspace(0.05, 0.95, n),
            "who": np.arange(n) // 2,
            "view": ["PA", "AP"] * (n // 2),
            "study": [f"s{i}" for i in range(n)],
        }
    )


def cases(table, **changed):
    return AuditData.from_frame(table, **{**ROLES, **changed})


class TestMend:
    def test_the_right_answer(self, table):
        assert check("data.mend", cases(table), data=cases(table)).right

    @pytest.mark.parametrize(
        ("change", "roles", "hint"),
        [
            (lambda t: t.assign(y=1 - t["y"]), {}, "turned round"),
            (lambda t: t.assign(y=[1, 1, 1] + [0] * 9), {}, "labels are others"),
            (lambda t: t.assign(p=(100 * t["p"]).clip(0, 1)), {}, "In which unit"),
            (lambda t: t.iloc[2:], {}, "Rows went missing"),
            (lambda t: t.assign(who=t["who"].iloc[::-1].to_numpy()), {}, "patients are others"),
            (lambda t: t, {"y_proba": None}, "got lost"),
            (lambda t: t, {"metadata": ["view", "study"]}, "a name, not a trait"),
        ],
    )
    def test_wrong_answers(self, table, change, roles, hint):
        checked = check("data.mend", cases(change(table), **roles), data=cases(table))
        assert checked.right is False
        assert hint in checked.words

    @pytest.mark.filterwarnings("ignore:patient_id")
    def test_without_patients(self, table):
        assert (
            "which films belong together" in check("data.mend", cases(table, patient_id=None), data=cases(table)).words
        )

    def test_a_table_is_no_answer(self, table):
        checked = check("data.mend", table, data=cases(table))
        assert checked.right is False
        assert "from_frame" in checked.words

    def test_no_hint_names_the_column(self, table):
        assert "study" not in check("data.mend", cases(table, metadata=["study"]), data=cases(table)).words


class TestCoin:
    @pytest.mark.parametrize("chance", [0.5, 0.51, np.float64(0.5)])
    def test_the_right_answer(self, chance):
        assert check("data.coin", (chance, "above")).right

    @pytest.mark.parametrize(
        ("answer", "hint"),
        [
            ((0.7, "above"), "a stranger"),
            ((0.5, "the same"), "Films: of whom"),
            ((0.5, "below"), "Films: of whom"),
            ((0.5, "more"), "one of the three"),
            ((50, "above"), "from 0 to 1"),
            ((True, "above"), "from 0 to 1"),
            (0.5, "two parts"),
        ],
    )
    def test_wrong_answers(self, answer, hint):
        checked = check("data.coin", answer)
        assert checked.right is False
        assert hint in checked.words
        assert "0.5" not in checked.words
        assert "above" not in checked.words

    def test_an_open_half_is_not_answered(self):
        assert check("data.coin", (0.5, ...)).right is None


class TestInTime:
    @pytest.mark.parametrize("kind", [list, tuple, set])
    def test_the_right_answer(self, kind):
        assert check("data.in_time", kind(IN_TIME), offered=OFFERED).right

    @pytest.mark.parametrize(
        ("answer", "hint"),
        [
            ([*IN_TIME, "length_of_stay"], "1 of these cannot be known"),
            (list(OFFERED), "3 of these cannot be known"),
            (IN_TIME[:2], "did you leave out"),
            (["view", "view", "age", "age"], "did you leave out"),
            ([], "did you leave out"),
            (["ward"], "no column 'ward'"),
            ("view", "a list of names"),
        ],
    )
    def test_wrong_answers(self, answer, hint):
        checked = check("data.in_time", answer, offered=OFFERED)
        assert checked.right is False
        assert hint in checked.words
        named = {name for name in OFFERED if name in checked.words}
        assert named == set()
