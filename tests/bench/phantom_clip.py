"""How well does the CLIP of the package know phantoms it has not seen?

    python tests/bench/phantom_clip.py [--part test | --seed N] [--patients 300] [--image-size 224]

Measures the files in the package again, on the cohort that the model card calls "test" or on another, and prints a
Markdown table. With the defaults the figures are those of the card.
"""

from __future__ import annotations

import argparse

from mmaudit.datasets import load_phantom
from mmaudit.encoders import OpenCLIPEncoder, evaluate_joint_space
from mmaudit.encoders._clip_training import SEEDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=("validation", "test"), default="test")
    parser.add_argument("--seed", type=int, help="of a cohort in place of that of --part")
    parser.add_argument("--patients", type=int, default=300)
    parser.add_argument("--image-size", type=int, default=224)
    given = parser.parse_args()
    seed = SEEDS[given.part] if given.seed is None else given.seed
    data = load_phantom(given.patients, image_size=given.image_size, random_state=seed)
    found = evaluate_joint_space(OpenCLIPEncoder(cache=False, progress=True), data)
    retrieval = found["retrieval"]
    print(f"{given.patients} patients, seed {seed}, {data.n_samples} films of {given.image_size} pixels\n")
    print("| recall@10 | value | 95 % interval | times chance |\n| --- | --- | --- | --- |")
    for way in ("image to report", "report to image"):
        value, (low, high) = retrieval[way]["recall_at_10"], retrieval[way]["ci"]
        print(f"| {way} | {value:.3f} | {low:.3f} to {high:.3f} | {value / retrieval['chance']:.1f} |")
    print(f"| chance | {retrieval['chance']:.3f} | 10 of {retrieval['n_studies']} studies | 1 |\n")
    print("| zero-shot | AUROC | 95 % interval | films with it |\n| --- | --- | --- | --- |")
    for name, row in found["zero-shot"].items():
        if row["auroc"] is not None:
            low, high = row["ci"]
            print(f"| {name} | {row['auroc']:.3f} | {low:.3f} to {high:.3f} | {row['n_positive']} |")


if __name__ == "__main__":
    main()
