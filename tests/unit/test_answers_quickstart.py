"""The tasks of the first notebook: what is right, and what is told of what is not."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from mmaudit.workshop import check


def audit(gaps, modalities=("image", "report", "metadata")):
    findings = pd.DataFrame([{"slice_id": f"s{k}", "error_type": e, "gap": g} for k, (e, g) in enumerate(gaps)])
    return SimpleNamespace(findings=findings, settings={"modalities": list(modalities)})


WHOLE = audit([("false_negative", 0.5), ("false_positive", 0.4), ("false_positive", 0.1)])
ALONE = audit([("false_negative", 0.45), ("false_positive", 0.2)], ("metadata",))


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


def test_metadata_only():
    assert check("quickstart.metadata_only", "false_positive", result=WHOLE, alone=ALONE)
    wrong = check("quickstart.metadata_only", "false_negative", result=WHOLE, alone=ALONE)
    assert wrong.right is False and "Which one shrank more" in wrong.words
    assert "error type" in check("quickstart.metadata_only", "tubes", result=WHOLE, alone=ALONE).words
    for other in (..., WHOLE):
        assert (
            "nothing but metadata"
            in check("quickstart.metadata_only", "false_positive", result=WHOLE, alone=other).words
        )
    gone = audit([("false_positive", 0.4)], ("metadata",))
    assert check("quickstart.metadata_only", "false_negative", result=WHOLE, alone=gone)
