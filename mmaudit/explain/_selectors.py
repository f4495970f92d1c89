"""Explanations that pick samples: a rule on metadata, report terms, or a likeness of images, learned in discovery.

An explanation says what a slice is. If it is right, what it says picks the slice again, among patients that it was not
made from. So each explanation is a selector, and `fidelity` measures it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from sklearn.utils import check_random_state

from mmaudit.explain._tokens import TermIndex
from mmaudit.slicers import Rule
from mmaudit.slicers._predicates import NEGATIVE, Predicate, make_predicates

__all__ = ["Part", "best_threshold", "fidelity", "like_members", "picks", "rule_part", "terms_part"]

WORTH = 0.03  # what a longer explanation must add to F1
MOST_PREDICATES, MOST_TERMS = 3, 3
N_BEAM = 20
N_BINS = 10
CHUNK = 16_384  # samples of which all predicates are unpacked at a time
HOLDS_FROM = 0.5  # F1 below which an explanation picks more wrong than right
IN_WORDS = ("rule", "metadata", "terms", "phrase")
N_RESAMPLES = 500
PART_BYTES = 2**22  # of embeddings or resamples, worked on in double precision at a time


@dataclass(frozen=True)
class Part:
    """One explanation of a slice.

    Attributes
    ----------
    kind : {"rule", "metadata", "terms", "phrase", "image"}
        "rule": the rule that the slice was found as.
    text : str
        What it says.
    picked : ndarray of shape (n_samples,), bool
        The samples that it picks.
    selector : dict or None
        The same as data, `{"rule": [...]}` or `{"terms": [...]}`; None where it cannot be used elsewhere.
    """

    kind: str
    text: str
    picked: np.ndarray
    selector: dict[str, Any] | None


def rule_part(
    table: pd.DataFrame, inside: np.ndarray, seen: np.ndarray, patient: np.ndarray, *, min_patients: int = 5
) -> Part | None:
    """Return the shortest rule on a table that picks the members of a slice, or None where nothing does.

    All predicates and their pairs are tried, and where a pair wins the triples of the best pairs; numbers at rounded
    cut points. The rule with the highest F1 wins, where a predicate more must add 0.03.

    Parameters
    ----------
    table : DataFrame of shape (n_samples, n_columns)
        Metadata, or whatever rules may speak of.
    inside : ndarray of shape (n_samples,), bool
    seen : ndarray of shape (n_samples,), bool
        The samples that are learned from: those of the discovery part that are compared with each other.
    patient : ndarray of shape (n_samples,), int
        Each counts once inside and once outside.
    min_patients : int
        Samples that a predicate must hold for, and not hold for.
    """
    if table.shape[1] == 0 or not inside[seen].any() or inside[seen].all():
        return None
    at, weight = inside[seen], patient_weights(inside, seen, patient)
    predicates, holds = make_predicates(table[seen].reset_index(drop=True), n_bins=N_BINS, min_samples=min_patients)
    if not predicates:
        return None
    # What is there is preferred to what is not, at equal F1: "view = AP" before "view is not PA".
    order = np.array(sorted(range(len(predicates)), key=lambda k: predicates[k].operator in NEGATIVE))
    predicates = [predicates[k] for k in order]

    def f1(measure: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> np.ndarray:
        """Return F1 from a sum over samples that `measure` gives for some of them: their predicates, and weights."""
        hit = size = np.zeros(1)
        for start in range(0, len(at), CHUNK):
            some = np.arange(start, min(start + CHUNK, len(at)))
            rows = holds.at(order, some).astype(float)
            hit, size = hit + measure(rows, (weight * at)[some]), size + measure(rows, weight[some])
        return _f1(hit, size, weight[at].sum())

    single = f1(lambda rows, w: rows @ w)
    best: tuple[float, tuple[int, ...]] = (float(single.max()), (int(single.argmax()),))
    joint = np.triu(f1(lambda rows, w: (rows * w) @ rows.T), k=1)
    beam = [divmod(int(k), len(predicates)) for k in np.argsort(-joint, axis=None, kind="stable")[:N_BEAM]]
    if len(predicates) > 1 and joint[beam[0]] >= best[0] + WORTH:
        best = (float(joint[beam[0]]), beam[0])
    if len(best[1]) == 2:
        longer = f1(lambda rows, w: np.array([rows @ (rows[i] * rows[j] * w) for i, j in beam]))
        for pair, scores in zip(beam, longer, strict=True):
            k = int(scores.argmax())
            if scores[k] >= best[0] + WORTH * (len(best[1]) == 2):
                best = (float(scores[k]), (*pair, k))
    rule = Rule(tuple(predicates[k] for k in sorted(best[1])))
    return Part("metadata", str(rule), rule.holds(table), {"rule": rule.to_dict()})


def terms_part(
    index: TermIndex,
    terms: pd.DataFrame,
    inside: np.ndarray,
    seen: np.ndarray,
    patient: np.ndarray,
    *,
    outside: pd.DataFrame | None = None,
) -> Part | None:
    """Return the report terms that pick the members of a slice: any of them is mentioned, or one is not.

    Of the terms that explain the slice, the one with the highest F1 is taken, then others while each adds 0.03. That a
    term is not mentioned is another thing than that it is denied.

    Parameters
    ----------
    index : TermIndex of n_samples
    terms : DataFrame
        What `contrast_terms` returned.
    inside, seen, patient
        As for `rule_part`.
    outside : DataFrame or None
        What `contrast_terms` returned with the sides exchanged: terms that the reports of the others mention.
    """
    candidates = [(row.term, row.status) for row in terms.itertuples() if row.explains]
    if not inside[seen].any() or inside[seen].all():
        return None
    at, weight = inside[seen], patient_weights(inside, seen, patient)
    total = weight[at].sum()

    def f1_of(mask: np.ndarray) -> float:
        return float(_f1((weight * at)[mask[seen]].sum(), weight[mask[seen]].sum(), total))

    masks = [index.holds(term, status=status) for term, status in candidates]
    chosen: list[int] = []
    best: Part | None = None
    picked, reached = np.zeros(len(inside), dtype=bool), 0.0
    while masks and len(chosen) < MOST_TERMS:
        f1 = [f1_of(picked | mask) for mask in masks]
        k = int(np.argmax(f1))
        if f1[k] < reached + WORTH:
            break
        chosen.append(k)
        picked, reached = picked | masks[k], f1[k]
    missing = [] if outside is None else outside.loc[outside["explains"] & (outside["status"] == "affirmed"), "term"]
    for term in missing:
        mask = ~index.holds(term)
        if f1_of(mask) >= reached + WORTH:
            lacks = Predicate(f"[{term}]", "lacks")
            best, reached = Part("terms", f"the {lacks}", mask, {"rule": Rule((lacks,)).to_dict()}), f1_of(mask)
            chosen = []
    if not chosen:
        return best
    said = [candidates[k] for k in chosen]
    words = [f"possible {term}" if status == "uncertain" else term for term, status in said]
    text = "the report mentions " + (", ".join(words[:-1]) + " or " + words[-1] if len(words) > 1 else words[0])
    return Part("terms", text, picked, {"terms": [{"term": term, "status": status} for term, status in said]})


def like_members(embedding: np.ndarray, inside: np.ndarray, seen: np.ndarray, patient: np.ndarray) -> Part | None:
    """Return the samples whose image is more like the members than like the others, by the means of both.

    Parameters
    ----------
    embedding : ndarray of shape (n_samples, n_dimensions), float
    inside, seen, patient
        As for `rule_part`.

    Notes
    -----
    Linear discriminant analysis with one variance for each dimension ("diagonal"), and the threshold of the highest
    F1 in discovery.
    """
    if not inside[seen].any() or inside[seen].all():
        return None
    at, weight = inside[seen], patient_weights(inside, seen, patient)
    rows, n = np.flatnonzero(seen), len(inside)
    sides = np.stack([weight * at, weight * ~at])
    sides /= sides.sum(axis=1, keepdims=True)
    means = sum(sides[:, part] @ x for part, x in _in_parts(embedding, rows))
    variance = sum(
        sides.sum(axis=0)[part] @ (x - means[np.where(at[part], 0, 1)]) ** 2 for part, x in _in_parts(embedding, rows)
    )
    direction = (means[0] - means[1]) / np.maximum(variance, 1e-12)
    # Unlike a product of matrices, this gives equal rows equal scores wherever they stand.
    score = np.concatenate([np.einsum("ij,j->i", x, direction) for _, x in _in_parts(embedding, np.arange(n))])
    _, threshold = best_threshold(score[seen], at, weight)
    return Part("image", "the image looks like those of the typical members", score >= threshold, None)


def _in_parts(embedding: np.ndarray, rows: np.ndarray) -> Iterator[tuple[slice, np.ndarray]]:
    """Give some of the rows at a time, in double precision, and which of them they are."""
    n = max(PART_BYTES // (8 * max(embedding.shape[1], 1)), 1)
    for first in range(0, len(rows), n):
        part = slice(first, first + n)
        yield part, np.asarray(embedding[rows[part]], dtype=np.float64)


def best_threshold(score: np.ndarray, inside: np.ndarray, weight: np.ndarray) -> tuple[float, float]:
    """Return the highest F1 of `score >= threshold`, and that threshold.

    Parameters
    ----------
    score, weight : ndarray of shape (n_samples,), float
    inside : ndarray of shape (n_samples,), bool
    """
    order = np.argsort(-score, kind="stable")
    f1 = _f1(np.cumsum((weight * inside)[order]), np.cumsum(weight[order]), weight[inside].sum())
    # Equal scores are picked together.
    last = np.r_[score[order][1:] != score[order][:-1], True]
    k = int(np.argmax(np.where(last, f1, -1)))
    return float(f1[k]), float(score[order][k])


def _f1(hit, size, total):
    """Return F1 of what is picked: `hit` of it in the slice, of `total`; arrays broadcast."""
    return 2 * hit / np.maximum(size + total, 1e-12)


def patient_weights(inside: np.ndarray, among: np.ndarray, patient: np.ndarray) -> np.ndarray:
    """Return the weight of each sample of `among`: a patient's samples inside share 1, and so do those outside."""
    codes = 2 * patient[among] + inside[among]
    return 1 / np.bincount(codes)[codes]


def picks(picked: np.ndarray, inside: np.ndarray, weight: np.ndarray) -> dict[str, float]:
    """Return precision, recall and F1 of what is picked; NaN where nothing is.

    Parameters
    ----------
    picked, inside : ndarray of shape (n_samples,), bool
    weight : ndarray of shape (n_samples,), float
    """
    hit, size, total = ((weight * mask).sum() for mask in (picked & inside, picked, inside))
    return {
        "precision": float(hit / size) if size else np.nan,
        "recall": float(hit / total) if total else np.nan,
        "f1": float(_f1(hit, size, total)) if total else np.nan,
    }


def patient_resamples(patient: np.ndarray, *, random_state: Any = 0) -> np.ndarray:
    """Return how often each patient is drawn in each resample, shape (n_resamples, n_patients), uint8.

    Parameters
    ----------
    patient : ndarray of shape (n_samples,)
        Patients come in the order of `numpy.unique`.
    random_state : int, RandomState or None
        Seed. None: another each time.
    """
    n, rng = max(len(pd.unique(patient)), 1), check_random_state(random_state)
    times = np.empty((N_RESAMPLES, n), dtype=np.uint8)  # of n draws of n, nobody is drawn 256 times
    for resample in times:
        resample[:] = rng.multinomial(n, np.full(n, 1 / n))
    return times


def fidelity(
    picked: np.ndarray,
    inside: np.ndarray,
    among: np.ndarray,
    patient: np.ndarray,
    *,
    resamples: np.ndarray | None = None,
    random_state: Any = 0,
) -> dict[str, float]:
    """Return how well a selector picks a slice among patients that it was not made from.

    Parameters
    ----------
    picked, inside : ndarray of shape (n_samples,), bool
    among : ndarray of shape (n_samples,), bool
        The confirmation samples that are compared.
    patient : ndarray of shape (n_samples,), int
        Each counts once inside and once outside.
    resamples : ndarray or None
        What `patient_resamples` gave for the patients of `among`, to be used for many selectors. None: new ones.
    random_state : int, RandomState or None
        Seed of new ones.

    Returns
    -------
    dict
        `n_samples`, `n_patients` picked; `precision`, `recall`, `f1` in [0, 1]; `f1_low`, `f1_high`, a 95 % percentile
        interval over patients; `f1_chance`, the F1 of as many picked at random; `above_chance`, the lower end of the
        interval of F1 less that of chance.
    """
    at, chosen = inside[among], picked[among]
    weight = patient_weights(inside, among, patient)
    codes = pd.factorize(patient[among], sort=True)[0]
    found: dict[str, float] = {
        "n_samples": int(chosen.sum()),
        "n_patients": len(pd.unique(codes[chosen])),
        **picks(chosen, at, weight),
    }
    parts = np.stack([weight * mask for mask in (chosen & at, chosen, at, np.ones(len(at)))])
    by_patient = np.stack([np.bincount(codes, weights=part) for part in parts]) if len(at) else np.zeros((4, 1))
    times = patient_resamples(patient[among], random_state=random_state) if resamples is None else resamples
    n = max(PART_BYTES // (8 * times.shape[1]), 1)
    sums = [times[first : first + n].astype(np.float64) @ by_patient.T for first in range(0, len(times), n)]
    hit, size, total, every = np.concatenate(sums).T
    f1 = _f1(hit, size, total)
    chance = _f1(size * total / np.maximum(every, 1e-12), size, total)
    found["f1_low"], found["f1_high"] = (float(v) for v in np.quantile(f1, (0.025, 0.975)))
    whole = by_patient.sum(axis=1)
    found["f1_chance"] = float(_f1(whole[1] * whole[2] / max(whole[3], 1e-12), whole[1], whole[2]))
    found["above_chance"] = float(np.quantile(f1 - chance, 0.025))
    return found


def because(numbers: dict[str, Any], alpha: float) -> str:
    """Return why an explanation does not hold, or "" if it does.

    It holds if, among the confirmation patients, it picks the slice with an F1 of 0.5 or more and better than chance,
    and the gap is confirmed in what it picks: q at or below `alpha`, and an interval beyond 0.
    """
    if numbers["n_patients"] == 0:
        return "it picks no held-out patient"
    if not numbers["f1"] >= HOLDS_FROM:
        return (
            f"of what it picks {_percent(numbers['precision'])} are in the slice, and it picks "
            f"{_percent(numbers['recall'])} of the slice"
        )
    if not numbers["above_chance"] > 0:
        return "it picks the slice no better than as many samples drawn at random"
    if not numbers["confirmed"]:
        q = numbers["q_value"]
        return "the classifier is not confirmed to be worse where it holds" + (
            f" (q = {q:.2g})" if np.isfinite(q) and q > alpha else ""
        )
    return ""


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if np.isfinite(share) else "none"
