"""Time one full audit, stability included, of many samples with given image embeddings, reports and metadata.

    python tests/bench/full_audit.py
    python tests/bench/full_audit.py --samples 2000 --patients 600

Embeddings are float32 noise of `--dimensions` columns, reports are about 40 words of a clinical vocabulary, and five
metadata columns go with them. The classifier fails on AP supine films, which the reports and the embeddings show, so
that there is something to find. Printed: wall seconds, seconds of each stage, and the peak memory of the process.
"""

from __future__ import annotations

import argparse
import os
import resource
import sys
import time

import numpy as np
import pandas as pd

import mmaudit as mma

VIEWS = ("PA", "AP", "AP supine")
SENTENCES = (
    "The heart is {a}normal in size.",
    "There is {a}focal consolidation in the {b} lobe.",
    "{c} atelectasis at the {b} base.",
    "No pneumothorax is seen.",
    "The mediastinal contours are {a}widened.",
    "Degenerative changes of the thoracic spine with {c} scoliosis.",
    "A {c} nodule projects over the {b} lung.",
    "Low lung volumes with {c} bronchovascular crowding.",
    "No evidence of pulmonary edema.",
    "Right picc line ends in the superior vena cava.",
    "Calcified granuloma in the {b} lung, unchanged from the prior study.",
    "Old healed {b} rib fractures.",
)
BLANKS = {
    "a": ("", "not ", "mildly ", "again ", "markedly "),
    "b": ("left lower", "right lower", "left upper", "right upper", "right middle"),
    "c": ("mild", "moderate", "minimal", "stable", "new", "linear", "increased"),
}
SUPINE = "Portable supine film, endotracheal tube in place."


def report(rng: np.random.Generator, supine: bool, positive: bool) -> str:
    """Return a report of about 40 words."""
    chosen = rng.choice(len(SENTENCES), size=5, replace=False)
    filled = [SENTENCES[k].format(**{blank: rng.choice(words) for blank, words in BLANKS.items()}) for k in chosen]
    filled.append("There is a pleural effusion." if positive else "No pleural effusion.")
    return " ".join([SUPINE if supine else "Upright frontal and lateral views of the chest.", *filled])


def made_up(n_samples: int, n_patients: int, n_dimensions: int, seed: int) -> mma.AuditData:
    """Return data in which every fifth film is AP supine, and the classifier wrong on two of three of those."""
    rng = np.random.default_rng(seed)
    view = rng.choice(VIEWS, n_samples, p=[0.5, 0.3, 0.2])
    supine = view == "AP supine"
    y = rng.integers(0, 2, n_samples)
    right = rng.random(n_samples) < np.where(supine, 0.35, 0.9)
    says_one = np.where(right, y, 1 - y) == 1
    embeddings = rng.standard_normal((n_samples, n_dimensions), dtype=np.float32)
    embeddings[supine, :2] += 2
    frame = pd.DataFrame(
        {
            "effusion": y,
            "p": np.where(says_one, rng.beta(6, 2, n_samples), rng.beta(2, 6, n_samples)),
            "patient": rng.integers(0, n_patients, n_samples),
            "report": [report(rng, s, label == 1) for s, label in zip(supine, y, strict=True)],
            "view": view,
            "sex": rng.choice(["F", "M"], n_samples),
            "age": rng.integers(18, 95, n_samples),
            "site": rng.choice([f"site {k}" for k in range(8)], n_samples),
            "exposure": np.where(rng.random(n_samples) < 0.1, np.nan, rng.gamma(3, 2, n_samples)),
        }
    )
    return mma.AuditData.from_frame(
        frame,
        label="effusion",
        y_proba="p",
        patient_id="patient",
        report="report",
        metadata=["view", "sex", "age", "site", "exposure"],
        embeddings={"image": embeddings},
    )


def peak_bytes() -> int:
    """Return the largest resident size that this process has had."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else 1024 * peak


def main() -> None:
    """Print how long one audit takes, and in how much memory."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--patients", type=int, default=3_000)
    parser.add_argument("--dimensions", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = made_up(args.samples, args.patients, args.dimensions, args.seed)
    words = np.mean([len(text.split()) for text in data.reports])
    print(
        f"{data.n_samples:,} samples of {data.n_patients:,} patients, {args.dimensions} dimensions, "
        f"{words:.0f} words a report; {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}; "
        f"{peak_bytes() / 1e9:.2f} GB before",
        flush=True,
    )
    start, start_cpu = time.perf_counter(), time.process_time()
    result = mma.audit(data, random_state=args.seed)
    seconds, cpu = time.perf_counter() - start, time.process_time() - start_cpu
    print(f"{seconds:.1f} s ({cpu:.1f} s of processor), peak {peak_bytes() / 1e9:.2f} GB")
    print("stages:", ", ".join(f"{stage} {s:.1f} s" for stage, s in result.settings["seconds"].items()))
    print(result)


if __name__ == "__main__":
    main()
