"""Measure how near the reports of the phantom are to those of Open-i: words, lengths, negations, repetition.

    python tests/bench/phantom_reports.py --patients 900

Needs the package torchxrayvision for its copy of the Open-i reports (3,955, of which the indexed ones are read).
Both are taken as FINDINGS and IMPRESSION. A word is a run of letters, also with hyphens or apostrophes; "XXXX", which
stands for what was removed for privacy, is no word. Removed along with names were many common words ("new", "likely",
"angle", "wires", "bones", "hazy"), so that the phantom's share of words known from Open-i cannot reach 1; the words
that are missing most are printed. Typing errors of the phantom are left out of that share, as far as the number of
errors that the cohort states: they are the phantom's rarest unknown words.
"""

from __future__ import annotations

import argparse
import re
import warnings
from collections import Counter

import numpy as np
import pandas as pd

from mmaudit.datasets import load_openi, load_phantom
from mmaudit.text import findings_and_impression, report_sections, report_terms

WORD = re.compile(r"[a-z][a-z'-]*[a-z]|[a-z]")
SENTENCE = re.compile(r"(?<=[.?!])\s+")
CUE = re.compile(r"\b(?:no|not|without|negative|free of|clear of|absent|resolved)\b")
KINDS = {
    "effusion": ("effusion", "pleural fluid"),
    "pneumothorax": ("pneumothorax", "pneumothoraces"),
    "consolidation": ("consolidation", "infiltrate", "airspace", "pneumonia"),
    "edema": ("edema", "oedema"),
    "cardiomegaly": ("cardiomegaly", "heart enlarged"),
    "atelectasis": ("atelectasis",),
    "nodule": ("nodule",),
    "fracture": ("fracture",),
}
ENOUGH = 20_000  # tokens of which types are counted, since the ratio falls with the length


def words(text: str) -> list[str]:
    """Return the words of a text in small letters."""
    return [word for word in WORD.findall(text.lower()) if word != "xxxx"]


def sentences(text: str) -> list[str]:
    """Return the sentences that hold a word."""
    return [s for s in SENTENCE.split(text) if words(s)]


def measure(texts: list[str], seed: int = 0) -> dict[str, float]:
    """Return the figures of one collection that need no other."""
    texts = [text for text in texts if words(text)]
    lengths = [len(text.split()) for text in texts]
    cut = [s for text in texts for s in sentences(text)]
    terms = [set(report_terms(text)) for text in texts]
    negated = sum(f"no {word}" in found for found in terms for kind in KINDS.values() for word in kind)
    affirmed = sum(word in found for found in terms for kind in KINDS.values() for word in kind)
    shuffled = np.random.default_rng(seed).permutation(len(texts))
    tokens = [word for i in shuffled for word in words(texts[i])][:ENOUGH]
    figures = {
        "reports": len(texts),
        "words: median": float(np.median(lengths)),
        "words: 5 %": float(np.percentile(lengths, 5)),
        "words: 95 %": float(np.percentile(lengths, 95)),
        "sentences a report: mean": len(cut) / len(texts),
        "sentences with a negation": float(np.mean([bool(CUE.search(s.lower())) for s in cut])),
        "mentions of findings negated": negated / (negated + affirmed),
        f"types / tokens, first {ENOUGH:,}": len(set(tokens)) / len(tokens),
        "distinct reports": len(set(texts)) / len(texts),
        "distinct sentences": len({s.lower() for s in cut}) / len(cut),
    }
    for name, kind in KINDS.items():
        figures[f"reports that affirm {name}"] = float(np.mean([any(w in found for w in kind) for found in terms]))
    return figures


def reading(text: str, kind: tuple[str, ...] = KINDS["effusion"]) -> str:
    """Return what `report_terms` makes of a finding: "affirmed", "negated" or ""."""
    found = set(report_terms(text))
    return "affirmed" if any(w in found for w in kind) else "negated" if any(f"no {w}" in found for w in kind) else ""


def agreement(texts: list[str], said: list[str]) -> pd.Series:
    """Return the share of reports in which FINDINGS reads as it was meant, by what was meant."""
    meant = {"present": "affirmed", "uncertain": "affirmed", "absent": "negated", "": ""}
    agrees = [reading(report_sections(t).get("FINDINGS", "")) == meant[s] for t, s in zip(texts, said, strict=True)]
    frame = pd.DataFrame({"said": [s or "not mentioned" for s in said], "agrees": agrees})
    return pd.concat([frame.groupby("said")["agrees"].mean(), pd.Series({"all": frame["agrees"].mean()})])


def vocabulary(phantom: list[str], real: list[str], n_typos: int) -> tuple[dict[str, float], Counter]:
    """Return the shares of words that each has of the other, and the phantom's words that Open-i has not."""
    ours, theirs = (Counter(w for text in texts for w in words(text)) for texts in (phantom, real))
    known = {word for word, count in theirs.items() if count >= 2}
    missing = Counter({w: n for w, n in ours.items() if w not in known})
    # A typing error is a word that nothing else explains: unknown and, among the unknown, of the rarest.
    rarest = sorted(missing.elements(), key=lambda w: missing[w])[:n_typos]
    total = sum(ours.values()) - len(rarest)
    types = len(ours) - len(set(rarest))
    return {
        "phantom tokens known in Open-i": 1 - (sum(missing.values()) - len(rarest)) / total,
        "phantom types known in Open-i": 1 - (len(missing) - len(set(rarest))) / types,
        "Open-i tokens known in the phantom": sum(n for w, n in theirs.items() if w in ours) / sum(theirs.values()),
    }, missing


def main() -> None:
    """Print the table."""
    arguments = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    arguments.add_argument("--patients", type=int, default=900, help="of the phantom; about two studies each")
    arguments.add_argument("--seed", type=int, default=0)
    given = arguments.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        real = [text for text in load_openi().reports if words(text)]
    data = load_phantom(n_patients=given.patients, random_state=given.seed)
    studies = data.attributes.assign(report=np.asarray(data.reports)).drop_duplicates("study_id")
    show(
        studies["report"].tolist(), studies["reported pleural effusion"].tolist(), studies["typing errors"].sum(), real
    )


def show(reports: list[str], said: list[str], n_typos: int, real: list[str]) -> None:
    """Print the table of whole phantom reports beside the texts of Open-i."""
    phantom = [findings_and_impression(report) for report in reports]
    table = pd.DataFrame({"phantom": measure(phantom), "Open-i": measure(real)})
    print(table.map(lambda v: f"{v:,.0f}" if v > 20 or (v == int(v) and v > 1) else f"{v:.3f}").to_string())
    shares, missing = vocabulary(phantom, real, int(n_typos))
    print("\n" + pd.Series(shares).map("{:.3f}".format).to_string())
    print("unknown in Open-i:", ", ".join(f"{w} {n}" for w, n in missing.most_common(40)))
    print("\nFINDINGS read as meant, pleural effusion\n" + agreement(reports, said).map("{:.3f}".format).to_string())


if __name__ == "__main__":
    main()
