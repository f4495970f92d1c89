"""Small synthetic cohorts whose failures are known, because they are put in here."""

import functools
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

import mmaudit as mma
from mmaudit import _audit, _hypothesis
from mmaudit.images import GrayImage

FILLER = (
    "The lungs are clear.",
    "Heart size is normal.",
    "Degenerative changes of the spine.",
    "Low lung volumes.",
    "No acute fracture.",
    "Comparison with the earlier film.",
)


def table(n_samples=600, *, seed=0, most_per_patient=4):
    """Return cases without predictions: patients with one to four films, columns that say nothing about errors."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, most_per_patient + 1, n_samples)
    patient = np.repeat(np.arange(n_samples), sizes)[:n_samples]
    of_patient = rng.random((n_samples, 3))[patient]
    return pd.DataFrame(
        {
            "patient": [f"p{k}" for k in patient],
            "label": (rng.random(n_samples) < 0.4).astype(int),
            "view": rng.choice(["PA", "AP", "lateral"], n_samples, p=[0.5, 0.3, 0.2]),
            "sex": np.where(of_patient[:, 0] < 0.5, "F", "M"),
            "age": (20 + 70 * of_patient[:, 1]).round(),
            "report": [" ".join(rng.permutation(FILLER)[:3]) for _ in range(n_samples)],
            "frailty": of_patient[:, 2],  # same for all films of a patient
        },
        index=[f"s{k}" for k in range(n_samples)],
    )


def predict(frame, rate, *, seed=0, shared=0.0):
    """Add probabilities that are wrong at `rate`, one number or one a sample; `shared` of the luck is the patient's."""
    rng = np.random.default_rng([seed, 1])
    luck = np.where(rng.random(len(frame)) < shared, frame["frailty"], rng.random(len(frame)))
    wrong = luck < rate
    sure = 0.55 + 0.4 * rng.random(len(frame))
    return frame.assign(proba=np.where(wrong ^ (frame["label"] == 1), sure, 1 - sure))


def data_of(frame, **keywords):
    """Return the cohort with its metadata, unless other roles are given."""
    roles = {"label": "label", "y_proba": "proba", "patient_id": "patient"}
    if not {"metadata", "report", "embeddings", "images"} & set(keywords):
        keywords["metadata"] = ["view", "sex", "age"]
    return mma.AuditData.from_frame(frame, **(roles | keywords))


def quick_audit(data, **keywords):
    """Audit without refits and with few permutations."""
    return mma.audit(data, **({"n_refits": 0, "n_permutations": 999, "n_jobs": 1} | keywords))


def silently(function, *args, **keywords):
    """Call without warnings."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*args, **keywords)


class Arrays:
    """Images that are arrays in memory; an exception in their place is raised when it is read."""

    def __init__(self, pictures):
        self.pictures = list(pictures)
        self.n_reads = [0] * len(self.pictures)

    def __len__(self):
        return len(self.pictures)

    def read(self, index, *, max_side_px=None):
        self.n_reads[index] += 1
        picture = self.pictures[index]
        if isinstance(picture, BaseException):
            raise picture
        return GrayImage(picture, picture.shape[1], picture.shape[0], 8)

    def take(self, indices):
        return Arrays([self.pictures[i] for i in indices])


def pictures(n_samples, *, seed=0, side_px=24):
    """Return noise images, float32 in [0, 1]."""
    rng = np.random.default_rng([seed, 2])
    return [rng.uniform(0.2, 0.8, (side_px, side_px)).astype(np.float32) for _ in range(n_samples)]


@pytest.fixture
def unexplained(monkeypatch):
    """Audits end before explanations, which have no part in what is confirmed, and most of the time of a small one."""
    for module in (_audit, _hypothesis):
        monkeypatch.setattr(module, "Settings", functools.partial(module.Settings, explain=False))


@pytest.fixture(scope="session")
def cohorts():
    """Return the functions above, since test files import nothing from each other."""
    return SimpleNamespace(
        table=table,
        predict=predict,
        data_of=data_of,
        quick_audit=quick_audit,
        silently=silently,
        Arrays=Arrays,
        pictures=pictures,
    )
