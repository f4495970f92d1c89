"""Time the training of the small network on phantom films, and its AUROC on patients that it has not seen.

    python tests/bench/train_cnn.py
    python tests/bench/train_cnn.py --samples 500 --random-state 3

Trained on the first samples of a cohort, up to the last of a patient; tested on all films of the patients after them.
Printed: seconds to draw the films, to train without drawing, and both; the AUROC of all held-out films, of those with
each view, and, where the cohort's attributes have a column of True and False called "clean", of those.
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
from sklearn.metrics import roc_auc_score

import mmaudit as mma
from mmaudit.classifiers import train
from mmaudit.classifiers._images import ArrayImages
from mmaudit.images import prepare_images


def drawn(data: mma.AuditData) -> tuple[mma.AuditData, float]:
    """Return the data with films in memory, and the seconds that it took to draw them."""
    start = time.perf_counter()
    prepare_images(data.images)
    films = [np.rint(data.images.read(i).pixels * 255).astype(np.uint8) for i in range(len(data))]
    seconds = time.perf_counter() - start
    same = data.subset(np.arange(len(data)))
    same.images = ArrayImages(films)
    return same, seconds


def auroc(data: mma.AuditData, which: np.ndarray) -> str:
    """Return AUROC and number of the films marked in `which`."""
    truth, proba = data.y_true[which], data.y_proba[which]
    if len(np.unique(truth)) < 2:
        return f"one class only ({which.sum():,} films)"
    return f"{roc_auc_score(truth, proba):.3f} ({which.sum():,} films, {int(truth.sum()):,} with the label)"


def main() -> None:
    """Print seconds and AUROC."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=1500, help="films to train on, validation included")
    parser.add_argument("--held-out", type=int, default=800, help="films to test on, about")
    parser.add_argument("--image-size", type=int, default=224, help="of the films")
    parser.add_argument("--network-size", type=int, help="of the network's images; left out: the default of train()")
    parser.add_argument("--architecture", default="small_cnn")
    parser.add_argument("--random-state", type=int, default=1000, help="of the cohort; settings were chosen on 100")
    parser.add_argument("--seed", type=int, default=0, help="of the training")
    args = parser.parse_args()

    n_patients = (args.samples + args.held_out) // 2  # more than enough: a patient has two films or so
    data = mma.datasets.load_phantom(n_patients, image_size=args.image_size, random_state=args.random_state)
    held_out = np.isin(data.patient_id, data.patient_id[: args.samples], invert=True)
    first = np.flatnonzero(~held_out)[: args.samples]
    test = data.subset(np.flatnonzero(held_out)[: args.held_out])
    films, drawing_s = drawn(data.subset(first))
    start = time.perf_counter()
    classifier = train(
        films,
        architecture=args.architecture,
        image_size=args.network_size,
        random_state=args.seed,
        on_epoch=lambda row: print("  ".join(f"{k} {v:.4g}" for k, v in row.items()), flush=True),
    )
    training_s = time.perf_counter() - start
    print(classifier)
    print(
        f"{len(films):,} films of {args.image_size} px on {os.cpu_count()} cores, {classifier.device}: "
        f"drawing {drawing_s:.1f} s, training {training_s:.1f} s, both {drawing_s + training_s:.1f} s"
    )
    start = time.perf_counter()
    test = classifier.predict(test)
    print(f"predicting {len(test):,} films, drawing included: {time.perf_counter() - start:.1f} s")
    print(f"AUROC, all held-out films: {auroc(test, np.ones(len(test), dtype=bool))}")
    if "view" in test.metadata:
        for view in test.metadata["view"].unique():
            print(f"AUROC, {view}: {auroc(test, (test.metadata['view'] == view).to_numpy())}")
    if "clean" in test.attributes:
        print(f"AUROC, clean films: {auroc(test, test.attributes['clean'].to_numpy(dtype=bool))}")


if __name__ == "__main__":
    main()
