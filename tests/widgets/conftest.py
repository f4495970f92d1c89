"""An audit of made-up cases, quick to make, for the Python halves of the widgets."""

import numpy as np
import pandas as pd
import pytest

import mmaudit as mma
from mmaudit.classifiers._images import ArrayImages

N, IMAGE_PX = 240, 32


class Wire:
    """Stands for the page: keeps what a widget sends."""

    def __init__(self, widget):
        self.messages = []
        widget.send = lambda content, buffers=None: self.messages.append((content, [bytes(b) for b in buffers or []]))


@pytest.fixture
def wire():
    """Return `Wire`, which takes the place of the page behind a widget."""
    return Wire


@pytest.fixture(scope="session")
def cases():
    """Return 240 cases with numbers as ids, of which a classifier misses those of the machine "old"."""
    random = np.random.default_rng(0)
    y = np.arange(N) % 2
    old = random.random(N) < 0.35
    proba = np.clip(0.2 + 0.6 * y + random.normal(0, 0.1, N), 0.01, 0.99)
    proba = np.where((y == 1) & old, 0.1, proba)
    frame = pd.DataFrame(
        {
            "label": y,
            "proba": proba,
            "patient": [f"p{k // 2}" for k in range(N)],
            "machine": np.where(old, "old", "new"),
            "age": random.integers(18, 95, N),
            "report": np.where(old, "FINDINGS: Portable film. No pneumothorax.", "FINDINGS: Clear lungs."),
        },
        index=pd.Index(np.arange(1000, 1000 + N), name="sample_id"),
    )
    images = ArrayImages(list(random.random((N, IMAGE_PX, IMAGE_PX), dtype=np.float32)))
    columns = {"label": "label", "y_proba": "proba", "patient_id": "patient", "report": "report"}
    return mma.AuditData.from_frame(frame, **columns, metadata=["machine", "age"], images=images)


@pytest.fixture(scope="session")
def _audited(cases):
    result = mma.audit(cases, modalities=("report", "metadata"), n_refits=2, n_permutations=499, random_state=0)
    assert len(result.findings)
    return result


@pytest.fixture
def audited(_audited):
    """Return an audit of `cases` with at least one finding, as it is before anybody has looked at it."""
    _audited._tested = None
    _audited.user_edits = {"names": {}, "hidden": []}
    return _audited


@pytest.fixture(scope="session")
def _plain_audit():
    from tests.widgets._private import private_audit, private_data

    return private_audit(private_data())


@pytest.fixture
def plain_audit(_plain_audit):
    """Return an audit of data whose texts can be told from each other; see `_private.py`."""
    _plain_audit.user_edits = {"names": {}, "hidden": []}
    return _plain_audit
