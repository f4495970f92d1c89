"""A result with as many slices as a test wants, made by hand: no audit is run."""

import numpy as np
import pandas as pd

from mmaudit.result import COLUMNS, MORE_COLUMNS, AuditResult, candidate_frame

KINDS = ("false_negative", "false_positive", "mixed", "label_noise")


def one_slice(k, random, **changes):
    """Return the row of slice k as an audit would have it."""
    gap = float(np.round(random.uniform(-0.1, 0.9), 3))
    row = dict.fromkeys((*COLUMNS, *MORE_COLUMNS))
    row |= {
        "slice_id": f"s{k + 1:03d}",
        "description": f"view = {'AP' if k % 2 else 'PA'} and age > {k}",
        "rule": f"age > {k}",
        "error_type": KINDS[k % 4],
        "modality": ("image", "report", "metadata")[k % 3],
        "n_samples": int(random.integers(20, 90)),
        "n_patients": int(random.integers(10, 60)),
        "metric_inside": 0.5,
        "metric_outside": 0.1,
        "gap": gap,
        "ci_low": gap - 0.08,
        "ci_high": gap + 0.07,
        "p_value": 0.002,
        "q_value": float(random.choice([0.001, 0.004, 0.2, 0.5])),
        "stability": float(random.choice([0.2, 0.5, 1.0])),
        "target": "effusion",
        "label": "1",
        "slicer": "rules",
        "sentence": f"Where age > {k}, more are missed.",
        "already_told": 0.0,
        "discovery_n_samples": 30,
        "discovery_n_patients": 20,
        "discovery_metric_inside": 0.5,
        "discovery_metric_outside": 0.1,
        "discovery_gap": 0.4,
    } | changes
    row["confirmed"] = bool(row["q_value"] is not None and row["q_value"] <= 0.05)
    return row


def term(text, **changes):
    return {
        "term": text,
        "status": "affirmed",
        "category": "device",
        "label_term": False,
        "explains": True,
        "share_inside": 0.8,
        "share_outside": 0.1,
        "sections": [],
    } | changes


def explanation(*terms, **changes):
    numbers = {"precision": 0.9, "recall": 0.8, "f1": 0.85, "n_patients": 20, "gap": 0.4, "q_value": 0.01}
    parts = [
        {"kind": "terms", "text": "report mentions chest tube", "holds": True, "because": ""},
        {"kind": "rule", "text": "age > 60", "holds": False, "because": "no more errors in what it picks"},
    ]
    return {
        "status": "explained",
        "sentence": "Most of it can be said as: the report mentions chest tube.",
        "leakage": "",
        "parts": [{**part, "confirmation": numbers, "discovery": numbers} for part in parts],
        "terms": list(terms),
        "members": {"strongest": ["patient-7"], "typical": ["patient-7"], "counterexamples": []},
    } | changes


def audit_of(n_slices, *, changes=None, explanations=None, n_samples=60, seed=0):
    """Return a result of n slices over 60 samples of 30 patients; `changes` by number of the slice."""
    random = np.random.default_rng(seed)
    rows = [one_slice(k, random, **(changes or {}).get(k, {})) for k in range(n_slices)]
    ids = [f"patient-{i}" for i in range(n_samples)]
    truth = random.integers(0, 2, n_samples)
    samples = pd.DataFrame(
        {
            "part": np.where(np.arange(n_samples) < n_samples // 2, "discovery", "confirmation"),
            "y_true": truth,
            "y_proba": 0.2 + 0.6 * truth,
            "wrong": np.zeros(n_samples, bool),
        },
        index=pd.Index(ids, name="sample_id"),
    )
    strengths = random.random((n_samples, n_slices)).astype(np.float32)
    membership = pd.DataFrame(strengths, index=samples.index, columns=[row["slice_id"] for row in rows])
    return AuditResult(
        candidates=candidate_frame(rows),
        membership=membership,
        samples=samples,
        traits={},
        rules={},
        detectable=pd.DataFrame(columns=["target", "label", "n_patients", "share", "gap"], dtype=float),
        quarantine=pd.DataFrame(columns=["sample_id", "reason"]),
        data_summary={"name": "made up", "n_confirmation_patients": 15, "n_discovery_patients": 15,
                      "n_discovery_samples": 30, "n_confirmation_samples": 30, "has_patient_id": True,
                      "label_name": "effusion", "targets": [{"name": "effusion"}]},
        settings={"alpha": 0.05, "metric": "error_rate", "threshold": 0.5},
        warnings=[],
        explanations=explanations or {},
    )  # fmt: skip
