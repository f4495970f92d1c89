"""The tasks of the first notebook: what is right, and what is told of what is not."""

import numpy as np
import pandas as pd
import pytest

from mmaudit.workshop import check


@pytest.mark.parametrize(
    ("answer", "hint"),
    [
        (0.5, "five times the others"),
        (0.1, "Call the rate on the other films r"),
        (36, "A share is between 0 and 1"),
        ("a third", "one number"),
        (True, "one number"),
    ],
)
def test_average_wrong(answer, hint):
    said = check("quickstart.average", answer, average=0.1)
    assert not said and hint in said.words
    assert "0.28" not in said.words and "0.27" not in said.words


def test_average_right():
    # a fifth at 5 r and four fifths at r make 1.8 r = 0.1
    assert check("quickstart.average", 5 * 0.1 / 1.8, average=0.1)
    assert check("quickstart.average", np.float32(0.28), average=0.1)


def test_shrunk():
    gaps = pd.DataFrame({"gap": [0.1, 0.2, 0.5, np.nan], "discovery_gap": [0.3, 0.4, 0.4, 0.2]})  # two of three known
    assert check("quickstart.shrunk", 2 / 3, candidates=gaps)
    wrong = check("quickstart.shrunk", 1 / 3, candidates=gaps)
    assert wrong.right is False and "not smaller" in wrong.words
    assert "row by row" in check("quickstart.shrunk", 0.9, candidates=gaps).words
    assert "between 0 and 1" in check("quickstart.shrunk", 2, candidates=gaps).words
    assert "one number" in check("quickstart.shrunk", gaps, candidates=gaps).words
