"""Do the planted failures appear? Train a small network on each scenario and look at its errors on held-out patients.

    python tests/bench/planted_failures.py --seeds 10

For each seed a phantom cohort is made, each scenario is planted in its training patients, a network is trained on them
with the defaults of `mmaudit.classifiers.train`, and its error rate on the held-out patients is compared inside and
outside of the planted slice, within the same label. `--train control` trains on the unchanged training patients,
to see how much of the difference is there without any planting.

The settings below were chosen on seeds from 100 on; report seeds 0 to 9.
"""

from __future__ import annotations

import argparse
import time

import pandas as pd
from sklearn.metrics import roc_auc_score

import mmaudit as mma

SCENARIOS = {
    "correlation": {"kind": "correlation", "where": {"view": ["AP", "AP supine"]}, "strength": 0.98},
    "rare": {"kind": "rare", "where": {"view": "lateral"}, "share": 0.01},
    "noisy": {"kind": "noisy", "where": {"site": "Hill"}, "rate": 0.8},
}
# Run only when named: here the planting does not take, or the control fails as often.
MORE = {
    "correlation-tube": {"kind": "correlation", "where": {"chest tube": True}, "strength": 0.98},
    "rare-supine": {"kind": "rare", "where": {"view": "AP supine"}, "share": 0.01},
}
IMAGE_PX = 112  # what the network looks at by default; drawing larger ones would only take longer
TIMES = 2.0  # the error inside is to be at least so many times that outside


def trained_on(train: mma.AuditData, scenario: mma.failures.FailureScenario, seed: int, options: dict) -> dict:
    """Return the figures of a network trained on these samples."""
    start = time.perf_counter()
    classifier = mma.classifiers.train(train, random_state=seed, **options)
    seconds = time.perf_counter() - start
    test = classifier.predict(scenario.test)
    errors = scenario.evaluate(test, random_state=seed).loc[scenario.error_type]
    return {
        "n_train": len(train),
        "seconds": round(seconds),
        "auroc": round(roc_auc_score(test.y_true, test.y_proba), 3),
        "n_inside": int(errors["n_inside"]),
        "inside": round(float(errors["error_inside"]), 3),
        "outside": round(float(errors["error_outside"]), 3),
        "ratio": round(float(errors["ratio"]), 2),
        "ratio_low": round(float(errors["ratio_low"]), 2),
        "ratio_high": round(float(errors["ratio_high"]), 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--patients", type=int, default=500)
    parser.add_argument("--scenario", choices=[*SCENARIOS, *MORE], action="append", help="these only; may be repeated")
    parser.add_argument("--train", choices=["planted", "control"], action="append", help="on what; may be repeated")
    parser.add_argument("--progress", action="store_true")
    args = parser.parse_args()
    rows = []
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        data = mma.datasets.load_phantom(args.patients, image_size=IMAGE_PX, random_state=seed)
        data.images.prepare(progress=args.progress)
        for name in args.scenario or SCENARIOS:
            scenario = mma.failures.inject(data, **(SCENARIOS | MORE)[name], random_state=seed)
            parts = {"planted": scenario.train, "control": scenario.train_unchanged}
            for trained in args.train or ["planted"]:
                figures = trained_on(parts[trained], scenario, seed, {"progress": args.progress})
                rows.append({"scenario": name, "trained on": trained, "seed": seed, **figures})
                print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    print(table.to_string(index=False))
    for (name, trained), group in table.groupby(["scenario", "trained on"]):
        enough = int((group["ratio"] >= TIMES).sum())
        print(
            f"{name}, {trained}: error inside at least {TIMES:g} times that outside in {enough} of {len(group)} seeds; "
            f"median ratio {group['ratio'].median():.1f}, median AUROC {group['auroc'].median():.2f}"
        )


if __name__ == "__main__":
    main()
