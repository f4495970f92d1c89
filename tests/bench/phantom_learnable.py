"""Is the phantom like a radiograph, and can its findings be learned?

    python tests/bench/phantom_learnable.py PATH/TO/covid-chestxray

1. AP against PA, trained on real films only and tested on phantom films only, and the reverse (AUROC).
2. A linear probe for each finding, on held-out patients (AUROC), of two kinds: logistic regression on the pixels around
   the place where the masks have the finding (the same places in films without it are the negatives), and logistic
   regression on the 784 numbers with which the audit describes a whole image.

Nothing here was tuned: one model with one setting, patients split once by the seed.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import mmaudit as mma
from mmaudit.datasets.phantom import FINDINGS
from mmaudit.encoders import ImageDescriptor

FRONTAL = ("PA", "AP", "AP supine")
PATCH_PX, PATCH_SHOWN_PX = 56, 14


def linear() -> object:
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=2000))


def interval(y: np.ndarray, score: np.ndarray, patient: np.ndarray, n: int = 500) -> str:
    """Return the AUROC with its 95 % interval over patients."""
    rng = np.random.default_rng(0)
    codes, patients = pd.factorize(patient)
    rows = [np.flatnonzero(codes == k) for k in range(len(patients))]
    values = []
    for _ in range(n):
        take = np.concatenate([rows[k] for k in rng.integers(len(patients), size=len(patients))])
        if 0 < y[take].mean() < 1:
            values.append(roc_auc_score(y[take], score[take]))
    low, high = np.quantile(values, (0.025, 0.975))
    return f"{roc_auc_score(y, score):.2f} ({low:.2f} to {high:.2f})"


def views(data: mma.AuditData) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return descriptors, 1 for AP (supine or not) and 0 for PA, and patients of the frontal films."""
    data = data.subset(data.metadata["view"].isin(FRONTAL).to_numpy())
    return ImageDescriptor().transform(data.images), (data.metadata["view"] != "PA").to_numpy(int), data.patient_id


def across(real: mma.AuditData, phantom: mma.AuditData) -> None:
    sets = {"real": views(real), "phantom": views(phantom)}
    for here, there in (("real", "phantom"), ("phantom", "real")):
        (X, y, _), (X_there, y_there, patients) = sets[here], sets[there]
        score = linear().fit(X, y).predict_proba(X_there)[:, 1]
        print(f"AP against PA, trained on {len(X)} {here}, tested on {len(X_there)} {there}: "
              f"AUROC {interval(y_there, score, patients)}")  # fmt: skip


def patch(pixels: np.ndarray, row: int, column: int) -> np.ndarray:
    """Return the pixels around a place and around its mirror image, in standard deviations of the film."""
    half = PATCH_PX // 2
    wide = np.pad((pixels - pixels.mean()) / pixels.std(), half, mode="edge")
    cuts = []
    for left in (column, pixels.shape[1] - 1 - column):
        cut = Image.fromarray(wide[row : row + PATCH_PX, left : left + PATCH_PX])
        small = np.asarray(cut.resize((PATCH_SHOWN_PX, PATCH_SHOWN_PX), Image.Resampling.BOX))
        cuts.append(small if left == column else small[:, ::-1])
    return np.concatenate([cuts[0].ravel(), (cuts[0] - cuts[1]).ravel()])


def probes(phantom: mma.AuditData) -> None:
    train = phantom.split_mask(0.6, random_state=0)
    described = ImageDescriptor().transform(phantom.images)
    pixels = [phantom.images.read(i).pixels for i in range(len(phantom))]
    view = phantom.metadata["view"].to_numpy()
    patients = phantom.patient_id
    print(f"\n{'finding':<18} {'patches at the mask':<24} {'whole image':<24}")
    for kind in FINDINGS:
        y = phantom.attributes[kind].to_numpy(int)
        rng = np.random.default_rng(0)
        X, place_y, rows = [], [], []
        for i in np.flatnonzero(y):
            where = np.argwhere(phantom.images.masks(i).get(kind, np.zeros((1, 1), bool)))
            if not len(where):
                continue
            # the point of the mask nearest to its middle, so that it lies inside a mask of two parts too
            row, column = where[np.argmin(((where - where.mean(axis=0)) ** 2).sum(axis=1))]
            others = np.flatnonzero((y == 0) & (view == view[i]) & (train == train[i]))
            for j, label in ((i, 1), (rng.choice(others), 0)):
                X.append(patch(pixels[j], row, column))
                place_y.append(label)
                rows.append(j)
        X, place_y, rows = np.array(X), np.array(place_y), np.array(rows)
        first = train[rows]
        local = linear().fit(X[first], place_y[first]).predict_proba(X[~first])[:, 1]
        whole = linear().fit(described[train], y[train]).predict_proba(described[~train])[:, 1]
        print(f"{kind:<18} {interval(place_y[~first], local, patients[rows[~first]]):<24} "
              f"{interval(y[~train], whole, patients[~train]):<24}")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", help="the covid-chestxray folder")
    parser.add_argument("--patients", type=int, default=800)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mma.AuditWarning)
        real = mma.datasets.load_covid_chestxray(args.root)
    phantom = mma.datasets.load_phantom(args.patients, random_state=args.seed)
    phantom.images.prepare(progress=True)
    across(real, phantom)
    probes(phantom)


if __name__ == "__main__":
    main()
