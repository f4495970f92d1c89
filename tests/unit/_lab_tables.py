"""Tables of the tests of `mmaudit.lab`."""

import numpy as np
import pandas as pd

HOSTILE = [
    '"); import os #',
    "__proto__",
    "🫁",
    "\u202etxet",
    "x" * 200,
    "a'b\"c",
    "`</script>`",
    "two\nlines",
    "%ls",
    "!x?",
]


def cases(n=200, seed=0, **more):
    """Return two rows a patient: a label, the probability of a good classifier, sex, age, and more columns."""
    rng = np.random.default_rng(seed)
    y = (rng.random(n) < 0.4).astype(int)
    frame = {
        "PatientID": [f"00{k // 2}" for k in range(n)],
        "effusion": y,
        "p_effusion": np.clip(0.25 + 0.5 * y + rng.normal(0, 0.15, n), 0, 1).round(4),
        "sex": rng.choice(["F", "M"], n),
        "age": rng.integers(20, 90, n),
    }
    return pd.DataFrame({**frame, **more})
