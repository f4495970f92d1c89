"""The checks of the notebook on a model of one's own: the right answer, wrong ones and what they are told."""

import numpy as np
import pandas as pd
import pytest

from mmaudit import AuditData
from mmaudit.workshop import check


def cases(bedside_says_yes=True):
    """Return films of which those at the bedside have higher probabilities, and are ranked better than the others."""
    portable = np.repeat(["yes", "no"], 8)
    y = np.tile([1, 0], 8)
    p = np.where(portable == "yes", 0.7, 0.3) if bedside_says_yes else np.where(portable == "yes", 0.3, 0.7)
    p = p + np.where(y == 1, 0.02, 0) + np.linspace(0, 0.01, 16)
    p[8:12] = p[[9, 8, 11, 10]]  # two pairs of the others are ranked wrongly
    frame = pd.DataFrame({"y": y, "p": p, "who": np.arange(16), "portable": portable})
    return AuditData.from_frame(frame, label="y", y_proba="p", patient_id="who", metadata=["portable"])


class TestMisses:
    @pytest.mark.parametrize(("says_yes", "right"), [(True, "standing"), (False, "bedside")])
    def test_follows_the_data(self, says_yes, right):
        assert check("own.misses", right, data=cases(says_yes)).right

    @pytest.mark.parametrize(
        ("answer", "hint"), [("bedside", "the other kind of film"), ("both", "one of the two words")]
    )
    def test_wrong_answers(self, answer, hint):
        checked = check("own.misses", answer, data=cases())
        assert checked.right is False
        assert hint in checked.words
        assert "standing" not in checked.words


def by_pairs(data, group):
    """Return the AUROC as the share of pairs that are ranked rightly; there are no ties."""
    p, y = data.y_proba[group], data.y_true[group]
    return np.mean([a > b for a in p[y == 1] for b in p[y == 0]])


class TestWithin:
    @pytest.fixture
    def data(self):
        return cases()

    @pytest.fixture
    def right(self, data):
        bedside = (data.metadata["portable"] == "yes").to_numpy()
        return by_pairs(data, bedside), by_pairs(data, np.logical_not(bedside))

    @pytest.mark.parametrize("kind", [tuple, list, np.array])
    def test_the_right_answer(self, data, right, kind):
        assert right[0] == 1
        assert right[1] < 0.8
        assert check("own.within", kind(right), data=data).right

    def test_wrong_answers(self, data, right):
        everything = by_pairs(data, np.ones(16, dtype=bool))
        for answer, hint in [
            (right[::-1], "the other order"),
            ((everything, everything), "of all films, twice"),
            ((0.5, 0.5), "yes or no"),
            ((0.2, 0.3), "the same mask on both"),
            (right[0], "two numbers"),
        ]:
            checked = check("own.within", answer, data=data)
            assert checked.right is False
            assert hint in checked.words
            assert not any(f"{value:.2f}" in checked.words for value in right)


class TestResumed:
    STOPPED = {"images": 9, "features": 1, "discover": 1, "refits": 2}  # noqa: RUF012

    @pytest.mark.parametrize(
        ("also", "right"),
        [
            ({}, ["encode", "discover"]),
            ({"discover": 0, "refits": 0}, ["encode"]),
            ({"refits": 4}, ["encode", "discover", "stability"]),
            ({"refits": 4, "confirm": 1}, ["encode", "discover", "stability", "confirm"]),
        ],
    )
    @pytest.mark.parametrize("kind", [tuple, list, set])
    def test_follows_the_files(self, also, right, kind):
        files = self.STOPPED | also
        assert check("own.resumed", kind(right), files=files, n_refits=4).right
        assert check("own.resumed", kind(right[1:]), files=files, n_refits=4).right is False

    @pytest.mark.parametrize(
        ("answer", "hint"),
        [
            (("encode",), "which stage made it"),
            ("discover", "which stage made it"),
            ([], "which stage made it"),
            (("encode", "discover", "stability"), "all of them there"),
            (("encode", "discover", "confirm"), "left no file"),
            (("explain",), "left no file"),
            (("encode", "search"), "spelled as above"),
        ],
    )
    def test_wrong_answers(self, answer, hint):
        checked = check("own.resumed", answer, files=self.STOPPED, n_refits=4)
        assert checked.right is False
        assert hint in checked.words
        assert not any(stage in checked.words for stage in ("encode", "discover"))
