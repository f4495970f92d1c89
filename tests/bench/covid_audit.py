"""Train a classifier on the COVID-19 image data collection, audit it, and time the whole audit.

    python tests/bench/covid_audit.py ../shared/data/covid-chestxray --out covid-audit

The classifier: a random forest on the six plain statistics of `describe_images` (brightness, contrast, sharpness, black
share, aspect ratio, height in pixels), COVID-19 against other findings, five folds that share no patient; what is
audited are its out-of-fold probabilities. It knows nothing of lungs, and on these data it does better than logistic
regression on 784 numbers about the picture's content (AUROC of both are printed). Prints the findings, and what the
held-out patients say about three subgroups that the literature names (DeGrave et al. 2021,
doi:10.1038/s42256-021-00338-7): AP supine films, the largest site, notes that mention a device. Then runs
`mmaudit audit` on all images of the folder as a user would, and prints the seconds it takes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mmaudit as mma
from mmaudit.confirm import confirm
from mmaudit.encoders import ImageDescriptor, describe_images, report_terms


def out_of_fold(data: mma.AuditData, random_state: int = 0) -> np.ndarray:
    """Return probabilities of label 1, each from a model that saw none of the patient's images."""
    statistics = describe_images(data.images).statistics
    forest = RandomForestClassifier(
        300, min_samples_leaf=3, class_weight="balanced_subsample", random_state=random_state
    )
    return cross_validated(forest, statistics.to_numpy(), data, random_state)


def cross_validated(model, features: np.ndarray, data: mma.AuditData, random_state: int) -> np.ndarray:
    """Return out-of-fold probabilities of label 1 from five folds that share no patient."""
    folds = StratifiedGroupKFold(5, shuffle=True, random_state=random_state)
    return cross_val_predict(model, features, data.y_true, groups=data.patient_id, cv=folds, method="predict_proba")[
        :, 1
    ]


def named_subgroups(data: mma.AuditData, result: mma.AuditResult) -> pd.DataFrame:
    """Return what the confirmation patients say of three subgroups, in each label, all six under one correction."""
    metadata = data.metadata
    site = metadata["site"].value_counts().index[0]
    masks = {
        "view = AP Supine": (metadata["view"] == "AP Supine").to_numpy(),
        f"site = {site}": (metadata["site"] == site).to_numpy(),
        "notes mention a device": np.array(["support device" in report_terms(r) for r in data.reports]),
    }
    held_out = (result.samples["part"] == "confirmation").to_numpy()
    rows = [(name, label, mask) for name, mask in masks.items() for label in (1, 0)]
    numbers = confirm(
        np.stack([mask[held_out] for _, _, mask in rows], axis=1),
        [(0, label) for _, label, _ in rows],
        [target.take(held_out) for target in data.targets(result.settings["threshold"])],
        data.patient_id[held_out],
        random_state=0,
    )
    columns = ["n_patients", "metric_inside", "metric_outside", "gap", "ci_low", "ci_high", "q_value"]
    names = pd.MultiIndex.from_tuples([(name, label) for name, label, _ in rows], names=["subgroup", "label"])
    return numbers[columns].set_index(names).round(3)


def timed_command(root: Path, out: Path) -> float:
    """Return the seconds of `mmaudit audit` on every image of the folder, undecided findings counted as negative."""
    data = mma.datasets.load_covid_chestxray(root, unknown="negative")
    table = data.metadata.assign(
        covid=data.y_true, proba=out_of_fold(data), patient=data.patient_id, report=data.reports, file=data.sample_id
    )
    columns = ",".join(data.metadata.columns)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "covid.csv")
        table.to_csv(path, index=False)
        command = f"audit {path} --label covid --proba proba --patient patient --id file --report report --image file"
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "mmaudit.cli", *command.split(), "--image-root", root / "images"]  # noqa: RUF005
            + ["--metadata", columns, "--out", out, "--overwrite", "--quiet"],
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        return time.perf_counter() - start


def main() -> None:
    """Print everything, and write the report of the first audit to --out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--out", type=Path, default=Path("covid-audit"))
    parser.add_argument("--seeds", type=int, default=1, help="also repeat classifier, split and audit with other seeds")
    args = parser.parse_args()
    warnings.simplefilter("ignore", mma.AuditWarning)
    for seed in range(args.seeds):
        data = mma.datasets.load_covid_chestxray(args.root)
        data = data.with_predictions(out_of_fold(data, seed))
        # Four in five images show COVID-19: from that share on the forest says so, not from one half.
        result = mma.audit(data, threshold=float(data.y_true.mean()), random_state=seed)
        print(f"\nseed {seed}: AUROC {roc_auc_score(data.y_true, data.y_proba):.2f}; {result!r}")
        print("subgroups that the literature names, on the held-out patients (gap below 0: fewer errors inside):")
        print(named_subgroups(data, result).to_string())
        if seed == 0:
            linear = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, class_weight="balanced", max_iter=2000))
            content = cross_validated(linear, ImageDescriptor().transform(data.images), data, seed)
            print(f"logistic regression on ImageDescriptor: AUROC {roc_auc_score(data.y_true, content):.2f}")
            print(data)
            print(result.to_text())
            print(result.candidates[["description", "error_type", "gap", "q_value", "stability"]].to_string())
            result.to_folder(args.out, overwrite=True)
    seconds = timed_command(args.root, args.out / "all-images")
    n_images = len(pd.read_parquet(args.out / "all-images" / "membership.parquet"))
    print(f"\nmmaudit audit on {n_images} images: {seconds:.0f} s")


if __name__ == "__main__":
    main()
