"""Explanations of slices, learned on discovery patients, and whether they hold on the others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from mmaudit._blocks import block_of
from mmaudit.confirm import confirm
from mmaudit.data import AuditData, Target
from mmaudit.encoders import Features
from mmaudit.explain._describe import CLUSTER
from mmaudit.explain._images import pick_members
from mmaudit.explain._phrases import MOST_FROM_REPORTS, PhraseSpace, phrase_part
from mmaudit.explain._selectors import (
    IN_WORDS,
    Part,
    because,
    fidelity,
    like_members,
    patient_resamples,
    patient_weights,
    picks,
    rule_part,
    terms_part,
)
from mmaudit.explain._tokens import IN_REASON, TERM_COLUMNS, TermIndex, contrast_terms, index_terms
from mmaudit.explain._triage import draw_patients, label_noise, made_from_reports, triage_each, triage_shares
from mmaudit.slicers import Slice
from mmaudit.text import label_terms

__all__ = ["explain_slices"]

LEAKAGE = (
    "The labels of these data were made from the reports: terms that restate the label separate its cases by "
    "construction, and say nothing about why the classifier is wrong."
)
NEARLY = 0.8  # F1 from which two ways to say what a slice is mean nearly the same
NOT_CONFIRMED = "the slice itself is not confirmed"
DENIED = "it rests on what reports deny, and a negated mention explains nothing"
MEMBERS_SHOWN = 6
MOST_EXPLAINED = 100_000  # samples, of whole patients, that explanations are learned and measured on
FEW = 50  # held-out patients with members, below which a slice is judged on few
_MEASURED = ("gap", "ci_low", "ci_high", "p_value", "q_value")


def explain_slices(
    data: AuditData,
    slices: Sequence[Slice],
    targets: Sequence[Target],
    features: Features,
    membership: np.ndarray,
    discovery: np.ndarray,
    numbers: pd.DataFrame,
    *,
    metric: Any = "error_rate",
    alpha: float = 0.05,
    min_count: int = 5,
    n_permutations: int = 4999,
    counted_beside: np.ndarray | None = None,
    joint: Any = None,
    witnesses: Sequence[str] = ("image",),
    random_state: Any = 0,
) -> tuple[list[dict[str, Any]], list[pd.DataFrame]]:
    """Return what each slice is, in rules, report terms and images, and how well that holds on held-out patients.

    Parameters
    ----------
    data : AuditData of n_samples
    slices : sequence of Slice
    targets : sequence of Target
    features : Features of n_samples
    membership : ndarray of shape (n_samples, n_slices), in [0, 1]
    discovery : ndarray of shape (n_samples,), bool
    numbers : DataFrame, one row a slice
        What `mmaudit.confirm.confirm` found of the slices.
    metric, alpha, n_permutations, counted_beside
        As for `mmaudit.confirm.confirm`, which judges the gap in what the explanations pick. All slices and all their
        explanations count in one correction. How well a selector picks its slice is not corrected: it is no finding.
    min_count : int
        Discovery samples that a predicate on metadata must hold for.
    joint : encoder or None
        The encoder of images and texts in one space that the images of `features` were embedded by: terms of the
        reports then compete as phrases for the images of each slice.
    witnesses : sequence of modality
        Embeddings that know nothing of the classifier, and may bear witness to a label where no report does.
    random_state : int, RandomState or None
        Seed.

    Returns
    -------
    explanations : list of dict, one a slice
        `status`: "explained", "not explained" or "not confirmed". `sentence`: the best explanation in words that holds,
        beside the rule that the slice was found as; "" where none does. `parts`: each explanation, with `kind`, `text`,
        `selector`, numbers of both parts of the data, `holds` and `because`. `terms`: what `contrast_terms` found, also
        terms that restate the label, marked. `leakage`: a warning, or "". `triage`: how wrong members are judged, those
        of confirmation patients; the model that judges has seen all patients. `members`: ids of the strongest and most
        typical members, and of counterexamples. `sampled`: None where all samples were looked at; else
        `n_samples` of `of_samples` and `n_patients` of `of_patients`, the largest `standard_error` that this adds to a
        share of held-out patients, and under `members` the same of held-out patients with members, and whether they
        are `few`.
    verdicts : list of DataFrame, one a target
        What `triage` gives.

    Notes
    -----
    An explanation is associated with the slice on these data. That it picks the slice again does not make it a cause.

    Of more than 100,000 samples, parts and terms are learned and measured on those of about as many, all samples of
    patients drawn at random, each as likely as any other, in discovery and in confirmation alike. So shares among them
    are those of all patients, but for an error of sampling that is stated; members of a rare slice are as few in it as
    their share is, and a slice with less than 50 held-out patients in the sample is said to be judged on few. The rule
    that a slice was found as keeps its gap, the triage its verdicts, and members are shown, of all samples.
    """
    rng = check_random_state(random_state)
    seeds = rng.randint(np.iinfo(np.int32).max, size=3)
    everyone = np.unique(data.patient_id.astype(str), return_inverse=True)[1]
    cases = _Cases.drawn(data, targets, features, membership, discovery, everyone, rng)
    index = None
    if cases.reports is not None:
        words = sorted({w for name in data.label_names for w in label_terms(name, data.label_terms)})
        index = index_terms(cases.reports, fit_on=cases.discovery, patient=cases.patient, label_words=words)
    space = None
    if joint is not None and index is not None and cases.image is not None:
        space = PhraseSpace.of(joint, cases.image, _phrases_of(index))
    leakage = LEAKAGE if data.reports is not None and made_from_reports(data) else ""

    heard = {m: features.embeddings[m] for m in witnesses if m in features.embeddings}
    verdicts = triage_each(data, targets, embeddings=heard, random_state=seeds[2])
    n = max(len(slices), 1)
    explanations: list[dict[str, Any]] = []
    parts_of: list[list[Part]] = []
    for k, found in enumerate(slices):
        target, inside = cases.targets[found.target], cases.membership[:, k] >= 0.5
        known = _compared(found, cases.targets)
        seen, patient = cases.discovery & known, cases.patient
        parts: list[Part | None] = []
        if found.rule is not None:
            runs = not any(p.column.startswith(CLUSTER) for p in found.rule.predicates)
            own = {"rule": found.rule.to_dict()} if runs else None
            parts.append(Part("rule", str(found.rule), inside & known, own))
        terms = pd.DataFrame(columns=list(TERM_COLUMNS))
        if index is not None:
            # Cases of one label that the classifier got right, and those it got wrong, are compared among themselves.
            strata = np.where(seen, 2 * target.y_true + target.error, -1).astype(int)
            terms = contrast_terms(index, inside, strata, patient)
            others = contrast_terms(index, ~inside, strata, patient)
            parts.append(terms_part(index, terms, inside, seen, patient, outside=others))
        parts.append(rule_part(cases.table, inside, seen, patient, min_patients=min_count))
        if space is not None:
            parts.append(phrase_part(space, inside, ~target.error, seen, patient))
        if cases.image is not None and (found.rule is None or "image" in found.modality):
            parts.append(like_members(cases.image, inside, seen, patient))
        parts_of.append(_distinct(parts, known))
        wanted = _compared(found, targets)
        members = wanted & (membership[:, k] >= 0.5)
        explanations.append(
            {
                "status": "not confirmed",
                "sentence": "",
                "parts": [],
                "terms": terms.to_dict("records"),
                "leakage": leakage,
                "triage": {
                    **triage_shares(verdicts[found.target], members & ~discovery),
                    "part": "confirmation",
                    "label_noise": _label_noise(verdicts[found.target], members & ~discovery, data, alpha / n),
                },
                "members": _members(data, features, membership[:, k], members, wanted, targets[found.target], everyone),
                "sampled": _sampled(cases, everyone, discovery, members),
            }
        )
    _measure(
        explanations,
        parts_of,
        slices,
        cases,
        numbers,
        metric,
        alpha,
        n_permutations,
        counted_beside,
        seeds,
    )
    for explanation, is_finding in zip(explanations, numbers["confirmed"], strict=True):
        held = [p for p in explanation["parts"] if p["holds"] and p["kind"] in IN_WORDS]
        said = [p for p in held if p["kind"] != "rule" or p["selector"]]  # a cluster of images says nothing
        if is_finding:
            explanation["status"] = "explained" if said else "not explained"
        # A slice that is a rule has its words. Others are worth a sentence only if they say nearly the same.
        others = [p for p in said if p["kind"] != "rule"]
        best = max(others, key=lambda p: p["confirmation"]["f1"], default=None)
        if best is not None and (len(others) == len(said) or best["confirmation"]["f1"] >= NEARLY):
            explanation["sentence"] = _sentence(best)
    return explanations, verdicts


@dataclass(frozen=True)
class _Cases:
    """The samples that explanations are learned and measured on: all, or those of some patients."""

    rows: np.ndarray | None  # positions; None: all
    targets: Sequence[Target]
    membership: np.ndarray
    discovery: np.ndarray
    patient: np.ndarray
    patient_id: np.ndarray
    reports: Any
    table: pd.DataFrame
    image: np.ndarray | None

    @classmethod
    def drawn(cls, data, targets, features, membership, discovery, patient, rng) -> _Cases:
        rows: Any = slice(None)
        columns = [c for c in features.table.columns if features.kinds[c] in ("metadata", "image")]
        if data.n_samples > MOST_EXPLAINED:
            drawn = np.zeros(data.n_samples, dtype=bool)
            for part in (discovery, ~discovery):
                drawn[part] = draw_patients(patient[part], round(MOST_EXPLAINED * part.mean()), rng)
            rows = np.flatnonzero(drawn)
        image = features.embeddings.get("image")
        return cls(
            None if isinstance(rows, slice) else rows,
            [target.take(rows) for target in targets],
            membership[rows],
            discovery[rows],
            patient[rows],
            data.patient_id[rows],
            None if data.reports is None else block_of(data.reports, rows),
            features.table[[c for c in columns if not c.startswith(CLUSTER)]].iloc[rows],
            None if image is None else image[rows],
        )


def _compared(found: Slice, targets: Sequence[Target]) -> np.ndarray:
    """Return the samples among which a slice was found: those of its label, or whose truth is known."""
    truth = targets[found.target].y_true
    return truth >= 0 if found.label is None else truth == found.label


def _sampled(cases: _Cases, patient: np.ndarray, discovery: np.ndarray, members: np.ndarray) -> dict[str, Any] | None:
    """Return how many cases, of how many, an explanation is learned and measured on; None where that is all."""
    if cases.rows is None:
        return None
    drawn = np.zeros(len(patient), dtype=bool)
    drawn[cases.rows] = True
    (n, of), (n_held, of_held), (n_in, of_in) = (
        [int(np.count_nonzero(np.bincount(patient[rows]))) for rows in (among & drawn, among)]
        for among in (np.ones(len(patient), dtype=bool), ~discovery, members & ~discovery)
    )
    return {
        "n_samples": len(cases.rows),
        "of_samples": len(patient),
        "n_patients": n,
        "of_patients": of,
        "standard_error": _standard_error(n_held, of_held),
        "members": {
            "n_patients": n_in,
            "of_patients": of_in,
            "standard_error": _standard_error(n_in, of_in),
            "few": n_in < FEW,
        },
    }


def _standard_error(n: int, of: int) -> float | None:
    """Return the largest standard error of a share among `n` patients drawn from `of`, each once; None of nobody."""
    return float(np.sqrt(0.25 / n * (of - n) / max(of - 1, 1))) if n else None


def _phrases_of(index: TermIndex) -> list[str]:
    """Return the terms of the reports that may be said of an image: affirmed, no label terms, the most frequent."""
    tokens = index.tokens  # the most frequent ones first
    usable = (tokens["status"] == "affirmed") & ~tokens["label_term"] & (tokens["category"] != "style")
    return [t for t in tokens.loc[usable, "term"] if not t.startswith(IN_REASON)][:MOST_FROM_REPORTS]


def _distinct(parts: Sequence[Part | None], known: np.ndarray) -> list[Part]:
    """Return the parts that say something new: not the very words of one before."""
    kept: dict[str, Part] = {}
    for part in parts:
        if part is not None and (part.picked & known).any():
            kept.setdefault(part.text.removeprefix("the "), part)
    return list(kept.values())


def _label_noise(verdicts: pd.DataFrame, members: np.ndarray, data: AuditData, alpha: float) -> dict[str, Any]:
    """Return whether the records are to blame; without reports that may be heard no witness is good enough for that."""
    found = label_noise(verdicts, members, alpha=alpha)
    found["label_noise"] &= data.reports is not None and not verdicts.attrs["leakage"]
    return found


def _measure(
    explanations,
    parts_of,
    slices,
    cases,
    numbers,
    metric,
    alpha,
    n_permutations,
    counted_beside,
    seeds,
) -> None:
    """Measure every part on the confirmation samples, and write what it is worth into the explanations."""
    held_out, patient = ~cases.discovery, cases.patient
    flat = [(k, part) for k, parts in enumerate(parts_of) for part in parts]
    # The rule that a slice was found as picks the slice: it has its numbers, and counts as the slice.
    tested = [(k, part) for k, part in flat if part.kind != "rule"]
    judged: Iterator[dict[Any, Any]] = iter(())
    if tested:
        beside = [numbers["p_value"], [] if counted_beside is None else counted_beside]
        judged = iter(
            confirm(
                np.stack([part.picked[held_out] for _, part in tested], axis=1),
                [(slices[k].target, slices[k].label) for k, _ in tested],
                [target.take(held_out) for target in cases.targets],
                cases.patient_id[held_out],
                metric=metric,
                alpha=alpha,
                n_permutations=n_permutations,
                counted_beside=np.concatenate(beside),
                random_state=seeds[0],
            ).to_dict("records")
        )
    resamples: dict[tuple, np.ndarray] = {}
    for k, part in flat:
        of_gap = numbers.iloc[k].to_dict() if part.kind == "rule" else next(judged)
        asked, known = (slices[k].target, slices[k].label), _compared(slices[k], cases.targets)
        inside, seen, among = cases.membership[:, k] >= 0.5, cases.discovery & known, held_out & known
        if asked not in resamples:
            resamples[asked] = patient_resamples(patient[among], random_state=seeds[1])
        learned = picks(part.picked[seen], inside[seen], patient_weights(inside, seen, patient))
        held = fidelity(part.picked, inside, among, patient, resamples=resamples[asked])
        both = {**held, **of_gap, "n_patients": held["n_patients"]}
        why_not = because(both, alpha) if numbers["confirmed"].iloc[k] else NOT_CONFIRMED
        if _rests_on_denial(part):
            why_not = DENIED
        above = held.pop("above_chance")
        explanations[k]["parts"].append(
            {
                "kind": part.kind,
                "text": part.text,
                "selector": part.selector,
                "discovery": learned,
                "confirmation": {**held, "f1_above_chance_low": above, **{name: of_gap[name] for name in _MEASURED}},
                "holds": not why_not,
                "because": why_not,
            }
        )


def _rests_on_denial(part: Part) -> bool:
    """Return whether a rule asks for a report that says "no" to something."""
    rule = (part.selector or {}).get("rule", ())
    return any(p["operator"] == "mentions" and p["column"].startswith('"no ') for p in rule)


def _sentence(part: Mapping[str, Any]) -> str:
    numbers = part["confirmation"]
    text = f"the case has {part['text']}" if part["kind"] == "metadata" else part["text"]
    return (
        f"Most of it can be said as: {text} (among held-out patients this picks {100 * numbers['recall']:.0f} % of the "
        f"slice, and {100 * numbers['precision']:.0f} % of what it picks is in the slice)."
    )


def _members(data, features, strength, inside, known, target, patient) -> dict[str, Any]:
    """Return ids, as text, of members to look at and of cases to compare them with."""
    embedding = next(
        (features.embeddings[m] for m in ("image", "report", "metadata") if m in features.embeddings), None
    )
    if embedding is None:
        return {"strongest": [], "typical": [], "counterexamples": []}
    found = pick_members(
        embedding, strength, inside & known, known, target.error, patient, label=target.y_true, most=MEMBERS_SHOWN
    )
    ids = data.sample_id.astype(str)
    return {
        "strongest": [ids[i] for i in found["strongest"]],
        "typical": [ids[i] for i in found["typical"]],
        "counterexamples": [[ids[i], ids[j]] for i, j in found["counterexamples"]],
    }
