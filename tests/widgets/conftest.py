"""An audit of made-up cases, quick to make, for the Python halves of the widgets."""

import numpy as np
import pandas as pd
import pytest

import mmaudit as mma


class Wire:
    """Stands for the page: keeps what a widget sends."""

    def __init__(self, widget):
        self.messages = []
        widget.send = lambda content, buffers=None: self.messages.append((content, buffers or []))


@pytest.fixture
def wire():
    """Return `Wire`, which takes the place of the page behind a widget."""
    return Wire


@pytest.fixture(scope="session")
def cases():
    """Return 240 cases of 120 patients, with ids that are numbers, and misses on one machine."""
    random = np.random.default_rng(0)
    n = 240
    machine = random.choice(["A", "B", "C"], n)
    y = random.integers(0, 2, n)
    proba = np.clip(0.15 + 0.7 * y + random.normal(0, 0.1, n), 0.01, 0.99)
    proba[(y == 1) & (machine == "B")] = 0.2
    frame = pd.DataFrame(
        {
            "id": np.arange(1000, 1000 + n),
            "patient": np.repeat(np.arange(n // 2), 2),
            "label": y,
            "proba": proba,
            "machine": machine,
            "age": random.integers(20, 90, n),
        }
    )
    return mma.AuditData.from_frame(
        frame,
        label="label",
        y_proba="proba",
        patient_id="patient",
        sample_id="id",
        metadata=["machine", "age"],
        embeddings={"image": random.normal(size=(n, 8)).astype(np.float32)},
    )


@pytest.fixture(scope="session")
def audited(cases):
    """Return an audit of `cases`; it has at least one finding."""
    result = mma.audit(cases, n_refits=0, n_permutations=499, random_state=0)
    assert len(result.findings)
    return result
