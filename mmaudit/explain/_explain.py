"""Explanations of slices, learned on discovery patients, and whether they hold on the others."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

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
    patient_weights,
    picks,
    rule_part,
    terms_part,
)
from mmaudit.explain._tokens import IN_REASON, TERM_COLUMNS, TermIndex, contrast_terms, index_terms
from mmaudit.explain._triage import label_noise, made_from_reports, triage, triage_shares
from mmaudit.slicers import Slice
from mmaudit.text import label_terms

__all__ = ["explain_slices"]

LEAKAGE = (
    "The labels of these data were made from the reports: terms that restate the label separate its cases by "
    "construction, and say nothing about why the classifier is wrong."
)
DENIED = "it rests on what reports deny, and a negated mention explains nothing"
MEMBERS_SHOWN = 6
_MEASURED = ("gap", "ci_low", "ci_high", "p_value", "q_value")


def explain_slices(
    data: AuditData,
    slices: Sequence[Slice],
    targets: Sequence[Target],
    features: Features,
    membership: np.ndarray,
    discovery: np.ndarray,
    confirmed: Sequence[bool],
    *,
    metric: Any = "error_rate",
    alpha: float = 0.05,
    min_count: int = 5,
    n_permutations: int = 4999,
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
    confirmed : sequence of bool
        Whether each slice is a finding.
    metric, alpha, n_permutations
        As for `mmaudit.confirm.confirm`, which judges the gap in what the explanations pick. All explanations of all
        slices count in one correction.
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
        `status`: "explained", "not explained" or "not confirmed". `sentence`: the best explanation in words that holds;
        "" where none does. `parts`: each explanation, with `kind`, `text`, `selector`, numbers of both parts of the
        data, `holds` and `because`. `terms`: what `contrast_terms` found, also terms that restate the label, marked.
        `leakage`: a warning, or "". `triage`: how wrong members are judged, on confirmation patients. `members`: ids of
        the strongest and most typical members, and of counterexamples.
    verdicts : list of DataFrame, one a target
        What `triage` gives.

    Notes
    -----
    An explanation is associated with the slice on these data. That it picks the slice again does not make it a cause.
    """
    seeds = check_random_state(random_state).randint(np.iinfo(np.int32).max, size=3)
    patient = np.unique(data.patient_id.astype(str), return_inverse=True)[1]
    index = None
    if data.reports is not None:
        words = sorted({w for name in data.label_names for w in label_terms(name, data.label_terms)})
        index = index_terms(list(data.reports), fit_on=discovery, label_words=words)
    table = features.table[
        [c for c in features.table.columns if features.kinds[c] in ("metadata", "image") and not c.startswith(CLUSTER)]
    ]
    space = None
    if joint is not None and index is not None and "image" in features.embeddings:
        space = PhraseSpace.of(joint, features.embeddings["image"], _phrases_of(index))
    leakage = LEAKAGE if data.reports is not None and made_from_reports(data) else ""

    heard = {m: features.embeddings[m] for m in witnesses if m in features.embeddings}
    verdicts = [triage(data, target, embeddings=heard, random_state=seeds[2]) for target in targets]
    explanations: list[dict[str, Any]] = []
    parts_of: list[list[Part]] = []
    for k, found in enumerate(slices):
        target = targets[found.target]
        inside = membership[:, k] >= 0.5
        known = target.y_true >= 0 if found.label is None else target.y_true == found.label
        seen = discovery & known
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
        parts.append(rule_part(table, inside, seen, patient, min_patients=min_count))
        if space is not None:
            parts.append(phrase_part(space, inside, ~target.error, seen, patient))
        if "image" in features.embeddings and (found.rule is None or "image" in found.modality):
            parts.append(like_members(features.embeddings["image"], inside, seen, patient))
        parts_of.append(_distinct(parts, known))
        explanations.append(
            {
                "status": "not confirmed",
                "sentence": "",
                "parts": [],
                "terms": _records(terms),
                "leakage": leakage,
                "triage": {
                    **triage_shares(verdicts[found.target], inside & known & ~discovery),
                    "part": "confirmation",
                    "label_noise": label_noise(verdicts[found.target], inside & known & ~discovery, alpha=alpha),
                },
                "members": _members(data, features, membership[:, k], inside, known, target, patient),
            }
        )
    _measure(
        explanations,
        parts_of,
        slices,
        targets,
        membership,
        discovery,
        patient,
        data,
        metric,
        alpha,
        n_permutations,
        seeds,
    )
    for explanation, is_finding in zip(explanations, confirmed, strict=True):
        held = [p for p in explanation["parts"] if p["holds"] and p["kind"] in IN_WORDS]
        said = [p for p in held if p["kind"] != "rule" or p["selector"]]  # a cluster of images says nothing
        if is_finding:
            explanation["status"] = "explained" if said else "not explained"
        if said:
            best = max(said, key=lambda p: (p["kind"] != "rule", p["confirmation"]["f1"]))
            explanation["sentence"] = _sentence(best)
    return explanations, verdicts


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


def _measure(
    explanations, parts_of, slices, targets, membership, discovery, patient, data, metric, alpha, n_permutations, seeds
) -> None:
    """Measure every part on the confirmation samples, and write what it is worth into the explanations."""
    held_out = ~discovery
    flat = [(k, part) for k, parts in enumerate(parts_of) for part in parts]
    if not flat:
        return
    numbers = confirm(
        np.stack([part.picked[held_out] for _, part in flat], axis=1),
        [(slices[k].target, slices[k].label) for k, _ in flat],
        [target.take(held_out) for target in targets],
        data.patient_id[held_out],
        metric=metric,
        alpha=alpha,
        n_permutations=n_permutations,
        random_state=seeds[0],
    ).to_dict("records")
    for (k, part), judged in zip(flat, numbers, strict=True):
        target, label = targets[slices[k].target], slices[k].label
        known = target.y_true >= 0 if label is None else target.y_true == label
        inside = membership[:, k] >= 0.5
        learned = picks((part.picked & known)[discovery & known], inside[discovery & known],
                        patient_weights(inside, discovery & known, patient))  # fmt: skip
        held = fidelity(part.picked, inside, held_out & known, patient, random_state=seeds[1])
        both = {**held, **judged, "n_patients": held["n_patients"]}
        why_not = DENIED if _rests_on_denial(part) else because(both, alpha)
        above = held.pop("above_chance")
        explanations[k]["parts"].append(
            {
                "kind": part.kind,
                "text": part.text,
                "selector": part.selector,
                "discovery": learned,
                "confirmation": {**held, "f1_above_chance_low": above, **{name: judged[name] for name in _MEASURED}},
                "holds": not why_not,
                "because": why_not,
            }
        )


def _rests_on_denial(part: Part) -> bool:
    """Return whether a rule asks for a report that says "no" to something."""
    rule = (part.selector or {}).get("rule", ())
    return any(p["operator"] == "mentions" and p["column"].startswith(('"no ', "[no ")) for p in rule)


def _sentence(part: Mapping[str, Any]) -> str:
    numbers = part["confirmation"]
    if part["kind"] == "rule":
        return f"It is the rule: {part['text']}."
    text = part["text"] if part["kind"] == "terms" else f"the case has {part['text']}"
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


def _records(terms: pd.DataFrame) -> list[dict[str, Any]]:
    return terms.to_dict("records")
