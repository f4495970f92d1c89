"""Data in which whatever is of one patient can be told: no saved state may hold it."""

import numpy as np
import pandas as pd

import mmaudit as mma
from mmaudit.classifiers._images import ArrayImages

N, IMAGE_PX = 360, 24
# What stands before the number of a patient in each text that is only of that patient
WORDS = ("sampleid", "patientid", "wardvalue", "reporttext", "notetext")


def private_data(n=N):
    """Return cases that a classifier fails on where the view is "AP supine"."""
    random = np.random.default_rng(0)
    y = np.arange(n) % 2
    supine = random.random(n) < 0.3
    proba = np.clip(0.2 + 0.6 * y + random.normal(0, 0.1, n), 0.01, 0.99)
    missed = (y == 1) & supine & (random.random(n) < 0.8)
    portable = np.where(supine, "Portable supine film. ", "")
    frame = pd.DataFrame(
        {
            "sample_id": [f"sampleid{k:04d}q" for k in range(n)],
            "patient_id": [f"patientid{k:04d}q" for k in range(n)],
            "label": y,
            "proba": np.where(missed, 0.1, proba),
            "view": np.where(supine, "AP supine", "PA"),
            "ward": [f"wardvalue{k:04d}q" for k in range(n)],
            "report": [f"FINDINGS: reporttext{k:04d}q. {portable[k]}<b>No</b> pneumothorax." for k in range(n)],
        }
    )
    columns = {"label": "label", "y_proba": "proba", "sample_id": "sample_id", "patient_id": "patient_id"}
    columns |= {"report": "report", "metadata": ["view", "ward"]}
    images = list(random.random((n, IMAGE_PX, IMAGE_PX), dtype=np.float32))
    return mma.AuditData.from_frame(frame, **columns, images=ArrayImages(images), name="private")


def private_audit(data):
    """Return an audit of such cases, which confirms their planted failure."""
    return mma.audit(data, modalities=("report", "metadata"), n_refits=0, n_permutations=499, random_state=0)
