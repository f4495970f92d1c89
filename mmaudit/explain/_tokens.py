"""Report terms that set a slice apart: log-odds and TF-IDF, inside against outside, counted by patient."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import norm
from sklearn.feature_extraction.text import TfidfTransformer

from mmaudit.slicers._scores import check_in_range
from mmaudit.text import canonical, category_of, mentions, restates_label
from mmaudit.text._lexicon import lexicon

__all__ = ["TERM_COLUMNS", "TermIndex", "contrast_terms", "index_terms"]

MAX_TERMS = 6000
MIN_COUNT = 5  # patients whose reports hold a term: fewer than a candidate has, since a slice has several names
PRIOR_PATIENTS = 10.0  # how many patients of the background the prior is worth
ALPHA = 0.05  # of all terms together, one side (Bonferroni): a term whose contrast is less sure explains nothing
SAME = 0.7  # Jaccard index from which two terms say the same of the members
# The reason for an examination is written before anybody has seen the film. It counts as a term of its own, and a list
# of earlier films says nothing about this one.
REASON, LEFT_OUT = "INDICATION", "COMPARISON"
IN_REASON = "indication: "
# A slice seldom depends on which of its kind a report names: each device also counts as one.
GROUPS = {"device": "support device"}
TERM_COLUMNS = (
    *("term", "status", "category", "label_term", "explains", "share_inside", "share_outside", "log_odds", "z"),
    *("tfidf", "n_patients_inside", "n_patients_outside", "sections"),
)
STATUSES = ("affirmed", "uncertain", "negated")


@dataclass(frozen=True)
class TermIndex:
    """Which reports mention which terms, and how.

    Attributes
    ----------
    counts : csr_matrix of shape (n_samples, n_tokens), float32
        Mentions. A token is a term with its status: affirmed, uncertain and negated mentions are three tokens.
    tokens : DataFrame of n_tokens rows
        `term`, `status`, `category`, `label_term` (whether it restates the label), `sections` (names, most frequent
        first; "" where reports have no headers).
    """

    counts: sparse.csr_matrix
    tokens: pd.DataFrame

    def holds(self, term: str, *, status: str = "affirmed") -> np.ndarray:
        """Return which reports mention a term so, a mask of shape (n_samples,)."""
        at = np.flatnonzero((self.tokens["term"] == term) & (self.tokens["status"] == status))
        if len(at) == 0:
            return np.zeros(self.counts.shape[0], dtype=bool)
        return self.counts[:, at[0]].toarray().ravel() > 0


def index_terms(
    reports: Sequence[str],
    *,
    fit_on: np.ndarray,
    patient: np.ndarray | None = None,
    min_count: int = MIN_COUNT,
    label_words: Sequence[str] = (),
    max_words: int = 3,
) -> TermIndex:
    """Return which reports mention which terms; the vocabulary is that of the reports of `fit_on`.

    Parameters
    ----------
    reports : sequence of str, of length n_samples
    fit_on : ndarray of shape (n_samples,), bool
        The discovery samples.
    patient : ndarray of shape (n_samples,), int, or None
        Patient codes. None: each sample is a patient.
    min_count : int
        Patients of `fit_on` whose reports must hold a token: words of one patient are shown to nobody.
    label_words : sequence of str
        Words that restate the label, as `mmaudit.text.label_terms` gives them.
    max_words : int
        Longest term.
    """
    rows = [_tokens_of(str(report), max_words) for report in reports]
    frequency: Counter[tuple[str, str]] = Counter()
    sections: dict[tuple[str, str], Counter[str]] = {}
    by_patient: dict[int, set[tuple[str, str]]] = {}
    for i in map(int, np.flatnonzero(fit_on)):
        by_patient.setdefault(i if patient is None else int(patient[i]), set()).update(rows[i])
        for token, (_, where) in rows[i].items():
            sections.setdefault(token, Counter()).update(where)
    for said in by_patient.values():
        frequency.update(said)
    concepts = {concept.name for concept in lexicon()} - set(GROUPS.values())

    def order(token: tuple[str, str]) -> tuple:
        # Of terms in the same reports a concept comes first, and of those the most special: "rib fracture", "fracture".
        is_concept = token[0] in concepts
        return -frequency[token], not is_concept, -token[0].count(" ") if is_concept else 0, token

    kept = sorted((token for token, n in frequency.items() if n >= min_count), key=order)[:MAX_TERMS]
    column = {token: k for k, token in enumerate(kept)}
    indptr, indices, values = [0], [], []
    for row in rows:
        for token, (n, _) in row.items():
            k = column.get(token)
            if k is not None:
                indices.append(k)
                values.append(n)
        indptr.append(len(indices))
    counts = sparse.csr_matrix(
        (np.array(values, np.float32), np.array(indices, np.int64), np.array(indptr, np.int64)),
        shape=(len(rows), len(kept)),
    )
    words = list(label_words)
    of_term = {term: category_of(term.removeprefix(IN_REASON), words) for term in {term for term, _ in kept}}
    tokens = pd.DataFrame(
        {
            "term": [term for term, _ in kept],
            "status": [status for _, status in kept],
            "category": [of_term[term] for term, _ in kept],
            "label_term": [restates_label(term.removeprefix(IN_REASON), words) for term, _ in kept],
            "sections": [[name for name, _ in sections[token].most_common(4)] for token in kept],
        }
    )
    tokens["label_term"] = tokens["label_term"].astype(bool) | (tokens["category"] == "label-term")
    return TermIndex(counts, tokens)


def _tokens_of(report: str, max_words: int) -> dict[tuple[str, str], tuple[int, list[str]]]:
    found: dict[tuple[str, str], tuple[int, list[str]]] = {}
    for mention in mentions(report, max_words=max_words):
        if mention.section == LEFT_OUT:
            continue
        for name in (mention.term, *_kinds_of(mention.term)):
            term = IN_REASON + name if mention.section == REASON else name
            token = (sys.intern(term), sys.intern(mention.status))
            n, where = found.get(token, (0, []))
            found[token] = (n + 1, where if mention.section in where else [*where, mention.section])
    return found


@lru_cache(maxsize=100_000)
def _kinds_of(term: str) -> tuple[str, ...]:
    """Return what a concept is one of: "rib fracture" is a fracture, and a chest tube a support device."""
    category, last = category_of(term), term.rpartition(" ")[2]
    found = {GROUPS.get(category, term)}
    if canonical(term) == term and canonical(last) == last and category_of(last) == category:
        found.add(last)
    return tuple(sorted(found - {term}))


def contrast_terms(
    index: TermIndex,
    inside: np.ndarray,
    strata: np.ndarray,
    patient: np.ndarray,
    *,
    most: int = 12,
    prior: float = PRIOR_PATIENTS,
) -> pd.DataFrame:
    """Return the terms that set the members of a slice apart, the surest first.

    Members are compared with the others of the same stratum, such as the cases of one label that the classifier got
    wrong, so that neither the label nor the error itself explains the slice. Each patient counts once in a stratum, on
    each side, whatever the number of reports.

    Parameters
    ----------
    index : TermIndex of n_samples
    inside : ndarray of shape (n_samples,), bool
        The members.
    strata : ndarray of shape (n_samples,), int
        Samples with the same number are compared with each other; -1: not compared.
    patient : ndarray of shape (n_samples,), int
        Patient codes from 0.
    most : int
        Terms of each kind: explaining ones, label terms, negated ones.
    prior : float > 0
        Patients that the prior is worth.

    Returns
    -------
    DataFrame with the columns of `TERM_COLUMNS`
        `share_inside`, `share_outside` : float in [0, 1]
            Share of patients whose reports mention it, strata weighted as they are inside.
        `log_odds` : float
            Log odds ratio, inside to outside, with an informative Dirichlet prior.
        `z` : float
            How sure it is that the term is more frequent inside: the excess of patients who have it over what the
            strata would give, by its standard error (Cochran, Mantel and Haenszel). The order is by this: log-odds by
            their own standard error would put a term that all members have, and nobody else, behind common words.
        `tfidf` : float
            Mean TF-IDF inside less that outside.
        `explains` : bool
            Affirmed or uncertain, no label term, more frequent inside by a `z` beyond what the best of as many terms
            would have by chance, and not the same as one above. A negated mention explains nothing: it is listed since
            a reader may want to know what is said to be absent.

    References
    ----------
    Monroe, Colaresi and Quinn 2008, "Fightin' words", doi:10.1093/pan/mpn018, for log-odds with an informative
    Dirichlet prior. Here a patient's reports mention a term or not, so the prior has two categories for each term,
    with the share of the background; strata are joined by the inverse of their variance. Mantel and Haenszel 1959,
    doi:10.1093/jnci/22.4.719. TF-IDF as in scikit-learn.
    """
    check_in_range(0, prior=prior)
    known = strata >= 0
    n_tokens = index.counts.shape[1]
    if n_tokens == 0 or not (inside & known).any() or not (~inside & known).any():
        return _frame(index, [], {})
    presence = index.counts.copy()
    presence.data = np.ones_like(presence.data)
    background = np.zeros(n_tokens)
    sums, sizes, tfidf_sums = [], [], []
    tfidf = TfidfTransformer().fit(index.counts[known]).transform(index.counts)
    for stratum in np.unique(strata[known]):
        rows = np.flatnonzero(strata == stratum)
        sides, of_tfidf, n_sides = [], [], []
        for side in (rows[inside[rows]], rows[~inside[rows]]):
            weight = 1 / np.bincount(patient[side])[patient[side]] if len(side) else np.empty(0)
            sides.append(presence[side].T @ weight)
            of_tfidf.append(tfidf[side].T @ weight)
            n_sides.append(weight.sum())
        background += sides[0] + sides[1]
        sums.append(sides)
        tfidf_sums.append(of_tfidf)
        sizes.append(n_sides)
    # Who has nobody to be compared with says nothing.
    compared = [k for k, n in enumerate(sizes) if min(n) > 0]
    if not compared:
        return _frame(index, [], {})
    share = np.clip(background / np.sum(sizes), 1e-4, 1 - 1e-4)
    weighed, weights, excess, spread = (np.zeros(n_tokens) for _ in range(4))
    n_inside = sum(sizes[k][0] for k in compared)
    share_in, share_out, difference = np.zeros(n_tokens), np.zeros(n_tokens), np.zeros(n_tokens)
    for k in compared:
        (y_in, y_out), (n_in, n_out) = sums[k], sizes[k]
        delta, variance = np.zeros(n_tokens), np.zeros(n_tokens)
        for sign, y, n_side in ((1, y_in, n_in), (-1, y_out, n_out)):
            yes, no = y + prior * share, n_side - y + prior * (1 - share)
            delta += sign * np.log(yes / no)
            variance += 1 / yes + 1 / no
        n, held = n_in + n_out, y_in + y_out
        excess += y_in - n_in * held / n
        spread += n_in * n_out * held * (n - held) / (n**2 * max(n - 1, 1))
        weighed += delta / variance
        weights += 1 / variance
        share_in += y_in / n_inside
        share_out += n_in / n_inside * y_out / n_out
        difference += n_in / n_inside * (tfidf_sums[k][0] / n_in - tfidf_sums[k][1] / n_out)
    log_odds, z = weighed / weights, excess / np.sqrt(np.maximum(spread, 1e-12))
    columns = {
        "share_inside": share_in,
        "share_outside": share_out,
        "log_odds": log_odds,
        "z": z,
        "tfidf": difference,
    }
    return _frame(index, _chosen(index, z, inside & known, most), columns, inside & known, ~inside & known, patient)


def _chosen(index: TermIndex, z: np.ndarray, inside: np.ndarray, most: int) -> list[tuple[int, bool]]:
    """Return positions of tokens to show, each with whether it explains: explaining ones, label terms, negated ones."""
    critical = norm.isf(ALPHA / len(z))
    members = index.counts[inside]
    negated = (index.tokens["status"] == "negated").to_numpy()
    restates = index.tokens["label_term"].to_numpy()
    shown: list[tuple[int, bool]] = []
    for group, may_explain in ((~negated & ~restates, True), (~negated & restates, False), (negated, False)):
        taken: list[np.ndarray] = []
        for k in np.argsort(-np.where(group, z, -np.inf), kind="stable"):
            if len(taken) == most or not group[k] or z[k] <= 0:
                break
            mask = members[:, k].toarray().ravel() > 0
            if any((mask & other).sum() >= SAME * (mask | other).sum() for other in taken):
                continue
            taken.append(mask)
            shown.append((int(k), bool(may_explain and z[k] >= critical)))
    return shown


def _frame(index, shown, columns, inside=None, outside=None, patient=None) -> pd.DataFrame:
    rows = []
    for k, explains in shown:
        has = index.counts[:, k].toarray().ravel() > 0
        rows.append(
            {
                **index.tokens.iloc[k].to_dict(),
                "explains": explains,
                **{name: float(values[k]) for name, values in columns.items()},
                "n_patients_inside": len(np.unique(patient[has & inside])),
                "n_patients_outside": len(np.unique(patient[has & outside])),
            }
        )
    return pd.DataFrame(rows, columns=list(TERM_COLUMNS))
