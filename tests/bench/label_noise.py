"""Does the triage put wrong labels first? Flip labels at random, and count the flipped among the first of the queue.

    python tests/bench/label_noise.py --seeds 5                      # what is reported
    python tests/bench/label_noise.py --first-seed 100 --seeds 1     # what two settings were chosen on, with Open-i
    python tests/bench/label_noise.py --time                         # seconds for 10,000 samples

Data: phantom cohorts (reports, image embeddings) and the real reports of Open-i (which torchxrayvision ships; no
images). Open-i's own labels were read from these reports; flipping them makes a record that was not, so the triage is
told that. What is wrong in the labels before counts as right here, which makes the precisions lower; that the report
nearly always agrees with the label before makes them higher than where labels are from elsewhere.

Classifier: simulated, log-odds of unit variance around each true label, AUROC 0.9. On cases without the label whose
report mentions a device it is wrong as a rule, and with confidence: a systematic failure, which is no label noise.

Noise: 2, 5, 10 or 20 % of the labels within its reach are flipped; only those of label 1 ("missed") or of both labels;
everywhere or in a slice (phantom: AP and supine films; Open-i: patients from 60 on). Compared: the queue with reports,
with embeddings only, with the classifier only; cleanlab's own order on the classifier's probabilities, what it flags
first; and wrong samples in random order (their expectation).
"""

from __future__ import annotations

import argparse
import re
import time
import warnings
from collections.abc import Iterator

import numpy as np
import pandas as pd
from cleanlab.filter import find_label_issues
from scipy.special import expit
from scipy.stats import norm
from sklearn.feature_extraction.text import CountVectorizer

import mmaudit as mma
from mmaudit.encoders import describe_images
from mmaudit.explain import _triage
from mmaudit.explain._triage import label_noise, review_queue, triage, triage_shares

AUROC = 0.9
RATES = (0.02, 0.05, 0.1, 0.2)
FIRST = 50
DEVICE = r"(?<!no )\b(?:tube|catheter|line|pacemaker|port|sternotomy|sternal wires|clips)\b"


_read, _known = _triage._read, {}


def _remembered(reports: np.ndarray, *how: object) -> object:
    """Return what reports say, and their terms; they are the same whatever becomes of the labels."""
    key = (tuple(reports), repr(how))
    if key not in _known:
        _known.clear()
        _known[key] = _read(reports, *how)
    return _known[key]


def phantom(seed: int, n_patients: int) -> tuple[mma.AuditData, np.ndarray]:
    """Return a cohort with image embeddings, and the slice that noise may be put into."""
    data = mma.datasets.load_phantom(n_patients, image_size=112, random_state=seed)
    data = data.with_embeddings({"image": describe_images(data.images, n_jobs=1).descriptors})
    return data, data.metadata["view"].isin(["AP", "AP supine"]).to_numpy()


def openi(label: str) -> tuple[mma.AuditData, np.ndarray]:
    """Return the reports of Open-i, and the slice that noise may be put into."""
    data = mma.datasets.load_openi(label=label)
    return data, (data.metadata["age"] >= 60).to_numpy()


def simulated(data: mma.AuditData, rng: np.random.Generator) -> tuple[mma.AuditData, np.ndarray]:
    """Return the data with predictions, and the slice on which these fail."""
    spread = np.sqrt(2) * norm.ppf(AUROC)
    failing = (data.y_true == 0) & pd.Series(data.reports).str.contains(DEVICE, case=False).to_numpy()
    centre = np.where(failing, 1, data.y_true)
    z = rng.normal(spread * (centre - 0.5), 1)
    return data.with_predictions(expit(spread * z)), failing


def flipped_labels(y: np.ndarray, reach: np.ndarray, rate: float, direction: str, rng) -> np.ndarray:
    """Return the mask of labels to flip."""
    rows = np.flatnonzero(reach & (y == 1) if direction == "missed" else reach)
    mask = np.zeros(len(y), dtype=bool)
    mask[rng.choice(rows, round(rate * len(rows)), replace=False)] = True
    return mask


def orders(data: mma.AuditData, seed: int) -> Iterator[tuple[str, pd.DataFrame | None, np.ndarray]]:
    """Yield each way to order samples: its name, the triage behind it, and positions in order."""
    bare = _without(data, reports=True, embeddings=True)
    ways = {"reports": _without(data, embeddings=True), "classifier only": bare}
    if data.embeddings:
        ways["embeddings"] = _without(data, reports=True)
    for name, heard in ways.items():
        frame = triage(heard, heard.targets()[0], labels_from_reports=False, random_state=seed)
        queue = review_queue(frame, most=FIRST, one_per_patient=False)
        yield name, frame, data.sample_id.get_indexer(queue.index)
    proba = np.column_stack([1 - data.y_proba, data.y_proba])
    yield (
        "cleanlab",
        None,
        find_label_issues(data.y_true.astype(int), proba, return_indices_ranked_by="self_confidence", n_jobs=1)[:FIRST],
    )


def _without(data: mma.AuditData, *, reports: bool = False, embeddings: bool = False) -> mma.AuditData:
    bare = data.subset(np.arange(len(data)))
    if reports:
        bare.reports = None
    if embeddings:
        bare.embeddings = {}
    return bare


def one_run(data, failing, flipped, groups, seed, about: dict) -> Iterator[dict]:
    """Yield a row for each way: precision among the first, and how errors are judged."""
    noisy = data.with_labels(np.where(flipped, 1 - data.y_true, data.y_true))
    target = noisy.targets()[0]
    about = about | {"n": len(data), "n_flipped": int(flipped.sum()), "best": min(1, flipped.sum() / FIRST)}
    rng = np.random.default_rng(seed)
    confirmation = ~data.split_mask(0.5, random_state=rng.integers(2**31))
    plain = worst(groups, target)
    for name, frame, order in orders(noisy, seed):
        row = about | {"way": name, "precision": flipped[order].sum() / FIRST}
        few = min(FIRST, int(flipped.sum()))
        row["at_n"] = flipped[order[:few]].mean() if few else np.nan
        if frame is not None:
            shares = {"flips": flipped, "errors": ~flipped, "failing": failing & ~flipped}
            for group, members in shares.items():
                judged = triage_shares(frame, members)
                row |= {f"{group}_{verdict}": share for verdict, share in judged.items()}
            row["noise_failing"] = label_noise(frame, failing & confirmation)["label_noise"]
            wrong = [s & confirmation & target.error for s in plain]
            mostly = np.array([flipped[w].mean() >= 0.5 if w.any() else False for w in wrong], dtype=bool)
            called = np.array([label_noise(frame, w)["label_noise"] for w in wrong], dtype=bool)
            row["plain_noisy"] = called[mostly].mean() if mostly.any() else np.nan
            row["plain_other"] = called[~mostly].mean() if (~mostly).any() else np.nan
            row["scores"], row["truth"] = frame["score"].to_numpy(), flipped
        yield row
    yield about | {
        "way": "random wrong",
        "precision": flipped[target.error].mean(),
        "at_n": flipped[target.error].mean(),
    }


def plain_groups(data: mma.AuditData, rng: np.random.Generator) -> list[np.ndarray]:
    """Return groups such as an audit makes slices of: a metadata value, or a word of the reports."""
    columns = [data.metadata[c] for c in data.metadata if data.metadata[c].nunique() <= 12]
    groups = [(c == value).to_numpy() for c in columns for value in c.dropna().unique()]
    held = CountVectorizer(binary=True, min_df=0.02, max_df=0.5).fit_transform(data.reports)
    some = rng.choice(held.shape[1], min(40, held.shape[1]), replace=False)
    return groups + [held[:, k].toarray().ravel() > 0 for k in some]


def worst(groups: list[np.ndarray], target, most: int = 20) -> list[np.ndarray]:
    """Return the groups, within a label, of the highest error rates."""
    slices = [group & (target.y_true == label) for group in groups for label in (0, 1)]
    slices = [s for s in slices if (s & target.error).sum() >= 10]
    return sorted(slices, key=lambda s: -target.error[s].mean())[:most]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--patients", type=int, default=400, help="of a phantom cohort")
    parser.add_argument("--data", choices=["phantom", "Pleural Effusion", "Atelectasis"], action="append")
    parser.add_argument("--time", action="store_true", help="only time 10,000 samples")
    parser.add_argument("--rates", type=float, nargs="+", default=[0, *RATES])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.time:
        timing()
        return
    _triage._read = _remembered
    rows = []
    for name in args.data or ["phantom", "Pleural Effusion", "Atelectasis"]:
        for seed in range(args.first_seed, args.first_seed + args.seeds):
            clean, slice_mask = phantom(seed, args.patients) if name == "phantom" else openi(name)
            rng = np.random.default_rng([seed, 11])
            data, failing = simulated(clean, rng)
            groups = plain_groups(data, rng)
            for rate in args.rates:
                for direction in ("missed", "both") if rate else ("none",):
                    for where in ("everywhere", "slice") if rate else ("nowhere",):
                        reach = slice_mask if where != "everywhere" else np.ones(len(data), dtype=bool)
                        flipped = flipped_labels(data.y_true, reach, rate, direction, rng)
                        about = {"data": name, "seed": seed, "rate": rate, "direction": direction, "where": where}
                        rows += one_run(data, failing, flipped, groups, seed, about)
            print(f"{name}, seed {seed}", flush=True)
    show(pd.DataFrame(rows))


def timing(n_samples: int = 10_000) -> None:
    """Print the seconds that 10,000 samples take, with reports of Open-i and with embeddings of 512 dimensions."""
    rng = np.random.default_rng(0)
    source = mma.datasets.load_openi()
    rows = rng.integers(len(source), size=n_samples)
    proba = np.clip(source.y_true[rows] / 2 + rng.random(n_samples) / 2, 0, 1)
    frame = pd.DataFrame({"y": source.y_true[rows], "p": proba, "who": range(n_samples)})
    # Sentences that are read once are remembered: none may come twice.
    numbers = iter(range(10**7))
    frame["report"] = [re.sub(r"\.(?=\s|$)", lambda _: f" on {next(numbers)}.", source.reports[k]) for k in rows]
    data = mma.AuditData.from_frame(
        frame, label="y", y_proba="p", patient_id="who", report="report", label_name=source.label_name
    )
    bare = _without(data, reports=True)
    for name, heard, embeddings in (
        ("reports, each sentence another", data, None),
        ("512-d embeddings", bare, {"image": rng.normal(size=(n_samples, 512))}),
        ("classifier only", bare, None),
    ):
        start = time.process_time()
        triage(heard, heard.targets()[0], embeddings=embeddings)
        print(f"{name}: {time.process_time() - start:.1f} s of processor time")


def show(table: pd.DataFrame) -> None:
    """Print the tables."""
    noisy, keys = table[table["rate"] > 0], ["data", "rate", "direction", "where"]
    print(f"\nShare of flipped labels among the first {FIRST}; 'best' is what their number allows")
    ways = noisy.pivot_table(index=keys, columns="way", values="precision", aggfunc="mean")
    print(noisy.groupby(keys)[["n_flipped", "best"]].mean().join(ways).round(2).to_string())
    print("\nThe same among the first n, n the number of flipped labels, 50 at most")
    print(noisy.pivot_table(index=keys, columns="way", values="at_n", aggfunc="mean").round(2).to_string())
    print("\nVerdicts on wrong samples, shares: flipped labels, other errors, and those of the systematic failure")
    verdicts = [c for c in table.columns if c.partition("_")[0] in ("flips", "errors", "failing") and c[-2:] != "_n"]
    print(table.dropna(subset="scores").groupby(["data", "way", "rate"])[verdicts].mean().round(2).to_string())
    print("\nHow often a slice is called label noise: the failing one, and of the worst 20 plain slices")
    print("those whose errors are for the most part flipped labels, and the others")
    called = table.dropna(subset="scores").groupby(["data", "way", "rate", "where"])
    print(called[["noise_failing", "plain_noisy", "plain_other"]].mean().astype(float).round(3).to_string())
    print("\nCalibration: mean score and share of flipped labels by score, noise everywhere")
    for way, group in table[(table["where"] == "everywhere") & table["scores"].notna()].groupby("way"):
        score, truth = np.concatenate(list(group["scores"])), np.concatenate(list(group["truth"]))
        bins = np.digitize(score, [0.05, 0.2, 0.5, 0.8, 0.95])
        lines = pd.DataFrame({"bin": bins, "score": score, "flipped": truth}).groupby("bin")
        print(
            way, lines.agg(score=("score", "mean"), flipped=("flipped", "mean"), n=("score", "size")).round(3), sep="\n"
        )


if __name__ == "__main__":
    main()
