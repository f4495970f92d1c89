"""Do explanations name what was planted, hold on patients they have not seen, and are those of nothing refused?

    python tests/bench/explanations.py [--half report|tune] [--seeds 3] [--source openi|phantom] [--nulls 100]
    python tests/bench/explanations.py --speed

Failures are planted by predictions drawn on Open-i's reports and on phantoms, as in `mmaudit benchmark`: right with
probability 0.88, and less so on the planted slice. Each case is audited by `mmaudit.audit`; a planted slice counts as
recovered by the finding with the highest Jaccard index with it on the confirmation patients, from 0.5 on.
"""

from __future__ import annotations

import argparse
import re
import time
import warnings

import joblib
import numpy as np
import pandas as pd

import mmaudit as mma
from mmaudit import benchmark
from mmaudit.benchmark import Attribute, Simulated
from mmaudit.datasets import load_phantom

PHANTOM_PATIENTS, PHANTOM_PX = 700, 64
SCENARIOS = ("rare", "correlation", "noisy")
# Devices and views as a report may name them; what a report does not say, no term can.
DEVICES = {
    "chest tube": r"chest (?:tube|drain)|pleural drain|thoracostomy|drain",
    "endotracheal tube": r"endotracheal|\bett\b|intubat",
    "central line": r"central (?:venous )?(?:line|catheter)|\bcvc\b|jugular|subclavian|picc|catheter|line",
    "nasogastric tube": r"nasogastric|\bng ?t?\b|enteric|feeding|orogastric",
    "pacemaker": r"pacemaker|pacer|pacing|\bicd\b|leads?",
    "sternal wires": r"stern",
}
METADATA = [("view", "AP"), ("view", "PA"), ("view", "lateral"), ("view", "AP supine"), ("sex", "F"), ("age", 65)]
METADATA += [("site", None), ("scanner", None), ("portable", "yes")]
OPENI_TERMS = {  # the pattern of the benchmark's attribute: what a term that names it matches
    "granuloma": r"granuloma",
    "degenerative": r"degenerat|spondyl|osteophyt",
    "tube or line": r"tube|line|catheter|picc|port|device",
    "scoliosis": r"scolio|curvature",
    "atelectasis": r"atelecta",
    "emphysema": r"emphysem|hyperinflat|hyperexpan|copd",
    "clips or sternotomy": r"clip|stern|cabg|bypass",
    "low lung volumes": r"low (?:lung )?volume|hypoinflat|hypoventil|volume",
    "calcified": r"calcif",
    "tortuous aorta": r"tortu|aort|ectas|unfold",
    "scarring": r"scar|fibro",
    "fracture": r"fracture",
}


def main() -> None:
    """Print what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--half", choices=("tune", "report"), default="report")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--source", action="append", choices=("openi", "phantom"))
    parser.add_argument("--nulls", type=int, default=100, help="slices drawn at random, and audits of nothing")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--speed", action="store_true", help="only the time for 10,000 reports")
    given = parser.parse_args()
    warnings.simplefilter("ignore", mma.AuditWarning)
    if given.speed:
        speed()
        return
    sources = [openi() if name == "openi" else phantom() for name in given.source or ("openi", "phantom")]
    for source in sources:
        seeds = range(given.first_seed, given.first_seed + given.seeds)
        cases = [case for scenario in SCENARIOS for case in source.cases(scenario, given.half, seeds)]
        kept = [case for case in cases if source.is_large_enough(case)]
        rows = joblib.Parallel(given.jobs)(joblib.delayed(look)(source, case) for case in kept)
        report(source, pd.DataFrame(rows), len(kept))
        nulls(source, given.nulls, given.first_seed, given.jobs)


def openi() -> Simulated:
    """Return Open-i's reports with the benchmark's attributes."""
    return benchmark.load_source("openi")


def phantom() -> Simulated:
    """Return phantoms with attributes of metadata, and of devices that the report names."""
    data = load_phantom(PHANTOM_PATIENTS, image_size=PHANTOM_PX, random_state=7_500)
    data = data.subset(np.arange(data.n_samples))
    data.y_proba = None
    attributes = []
    for column, value in METADATA:
        values = data.metadata.get(column)
        if values is None:
            continue
        for v in [value] if value is not None else sorted(map(str, values.dropna().unique()))[:4]:
            mask = values > v if column == "age" else values == v
            name = f"age > {v}" if column == "age" else f"{column} = {v}"
            attributes.append(Attribute(name, "written", "metadata", mask.fillna(False).to_numpy(bool)))
    texts = pd.Series(data.reports)
    for name in DEVICES:
        there = data.attributes[name].to_numpy(bool)
        named = data.attributes["devices named"].astype(str).str.contains(name, regex=False).to_numpy(bool)
        attributes.append(Attribute(f"report: {name}", "written", "report", there & named))
    assert len(texts) == data.n_samples
    return Simulated("phantom", data, attributes)


def look(source: Simulated, case: benchmark.Case) -> dict:
    """Audit one case, and return what its explanation says of what was planted."""
    warnings.simplefilter("ignore", mma.AuditWarning)
    trial = source.trial(case)
    result = mma.audit(trial.data, n_refits=0, n_permutations=999, random_state=case.seed)
    held_out = (result.samples["part"] == "confirmation").to_numpy()
    attribute = next(a for a in source.attributes if a.name == case.attribute)
    planted = trial.planted[held_out]
    alike = {}
    for slice_id in result.findings["slice_id"]:
        inside = (result.membership[slice_id] >= 0.5).to_numpy()[held_out]
        alike[slice_id] = (inside & planted).sum() / (inside | planted).sum()
    found = max(alike, key=alike.get, default=None)
    if found is None or alike[found] < 0.5:
        return {"attribute": case.attribute, "kind": attribute.kind, "scenario": case.scenario, "recovered": False}
    told = result.explain(found)
    best = told.parts[told.parts["kind"] != "image"]
    own = told.parts[told.parts["kind"].isin(["metadata", "terms"])]
    terms = told.terms()
    first = " | ".join(terms["term"].head(3))
    name = case.attribute.removeprefix("report: ")
    pattern = {**DEVICES, **OPENI_TERMS}.get(name, name)
    rules = " | ".join(best.loc[best["kind"].isin(["rule", "metadata"]), "text"])
    column, _, value = case.attribute.partition(" = " if " = " in case.attribute else " > ")
    return {
        "attribute": case.attribute,
        "kind": attribute.kind,
        "scenario": case.scenario,
        "recovered": True,
        "status": told.status,
        "term": bool(re.search(pattern, first)) if attribute.kind == "report" else np.nan,
        "value": (column in rules and (value in rules or " > " in case.attribute))
        if attribute.kind == "metadata"
        else np.nan,
        "f1": best.loc[best["holds"], "f1"].max() if best["holds"].any() else best["f1"].max(),
        "f1_not_its_rule": own["f1"].max() if len(own) else np.nan,
        "unmarked": int((terms["label_term"]).sum()),
        "first": first,
        "rules": rules,
    }


def report(source: Simulated, rows: pd.DataFrame, n_cases: int) -> None:
    """Print the table of a source."""
    seen = rows[rows["recovered"]]
    print(f"\n## {source.name}: {n_cases} cases, {len(seen)} planted slices recovered\n")
    print(f"term among the first three: {share(seen['term'])}")
    print(f"metadata value in the rule: {share(seen['value'])}")
    print(f"F1 on confirmation patients, best explanation: median {seen['f1'].median():.2f}")
    print(f"the same without the rule that the slice was found as: median {seen['f1_not_its_rule'].median():.2f}")
    print(f"explained: {share(seen['status'] == 'explained')}")
    print(f"label terms shown unmarked: {int(seen['unmarked'].sum())}")
    missed = seen[(seen["term"] == False) | (seen["value"] == False)]  # noqa: E712
    for row in missed.itertuples():
        print(f"  missed: {row.attribute}, {row.scenario}: {row.first} || {row.rules}")


def share(values: pd.Series) -> str:
    """Return a share with its numbers."""
    known = values.dropna().astype(bool)
    return f"{known.mean():.3f} ({int(known.sum())} of {len(known)})" if len(known) else "none"


def nulls(source: Simulated, n: int, first: int, jobs: int) -> None:
    """Print how often explanations of nothing are refused: of slices drawn at random, and of audits of nothing."""
    kinds = {"slices drawn at random": (n, drawn), "candidates where nothing was planted": (n // 4, audited)}
    for name, (runs, of) in kinds.items():
        found = joblib.Parallel(jobs)(joblib.delayed(of)(source, first + k) for k in range(runs))
        holds = [one for each in found for one in each]
        print(f"{name}: explanations refused {1 - np.mean(holds):.3f} ({len(holds) - sum(holds)} of {len(holds)})")


def drawn(source: Simulated, seed: int) -> list[bool]:
    """Return which explanations of a tenth to a half of the patients, drawn at random, hold."""
    warnings.simplefilter("ignore", mma.AuditWarning)
    data = source.trial(benchmark.Case(source.name, "null", "", seed, "report")).data
    rng = np.random.default_rng([seed, 77])
    patients = pd.unique(data.patient_id)
    inside = np.isin(data.patient_id, patients[rng.random(len(patients)) < rng.uniform(0.1, 0.5)])
    tested = mma.test_hypothesis(data, inside, labels=None, n_permutations=999, random_state=seed)
    return [part["holds"] for e in tested.explanations.values() for part in e["parts"]]


def audited(source: Simulated, seed: int) -> list[bool]:
    """Return which explanations of the candidates of an audit hold where nothing was planted."""
    warnings.simplefilter("ignore", mma.AuditWarning)
    data = source.trial(benchmark.Case(source.name, "null", "", seed, "report")).data
    result = mma.audit(data, n_refits=0, n_permutations=999, random_state=seed)
    return [part["holds"] for e in result.explanations.values() for part in e["parts"]]


def speed() -> None:
    """Print how long explaining takes for 10,000 reports."""
    data = mma.datasets.load_openi(label="Cardiomegaly")
    rows = np.arange(10_000) % data.n_samples
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "label": data.y_true[rows],
            "report": [f"{data.reports[i]} Study {rng.integers(1e6)}." for i in rows],
            "age": rng.integers(20, 90, len(rows)),
            "view": rng.choice(["PA", "AP"], len(rows)),
        }
    )
    wrong = rng.random(len(rows)) < np.where((frame["view"] == "AP") & (frame["label"] == 1), 0.5, 0.1)
    frame["proba"] = np.where(wrong, 1 - frame["label"], frame["label"]) * 0.8 + 0.1
    frame["patient"] = np.arange(len(rows)) // 2
    made = mma.AuditData.from_frame(
        frame, label="label", y_proba="proba", patient_id="patient", report="report", metadata=["age", "view"]
    )
    start = time.perf_counter()
    result = mma.audit(made, n_refits=0)
    whole = time.perf_counter() - start
    seconds = result.settings["seconds"]
    print(
        f"10,000 reports, {len(result.candidates)} candidates: explained in {seconds['explain']:.1f} s of {whole:.1f} s"
    )
    print(seconds)


if __name__ == "__main__":
    main()
