"""Report terms that set a slice apart: log-odds and TF-IDF, inside against outside, counted by patient."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import norm
from sklearn.feature_extraction.text import TfidfTransformer

from mmaudit._blocks import block_of, blocks_of
from mmaudit._engine import map_pieces
from mmaudit.slicers._scores import check_in_range
from mmaudit.text import canonical, category_of, restates_label
from mmaudit.text._counts import Codes, Counted, Counts, count_codes
from mmaudit.text._lexicon import lexicon
from mmaudit.text._mentions import clause_mentions, clauses
from mmaudit.text._remembered import remembered

__all__ = ["TERM_COLUMNS", "TermIndex", "contrast_terms", "index_terms"]

MAX_TERMS = 6000
LARGE = 20_000  # reports that are worth reading in several processes
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
    fit_on = np.asarray(fit_on, dtype=bool)
    pieces = [(block_of(reports, rows), fit_on[rows]) for rows in blocks_of(reports)]
    found, names = Counts(), Codes()
    in_sections = [np.empty((0, 3), np.int64)]
    for said in map_pieces(_count_block, pieces, max_words, large=len(reports) >= LARGE):
        code, name = found.add(said.counted), [names[s] for s in said.sections]
        token, where, n = said.in_sections.T
        in_sections.append(np.column_stack([code[token], np.array(name, np.int64)[where], n]))
    said_by = found.whole()
    rows = np.flatnonzero(fit_on)
    by_patient = rows if patient is None else np.unique(np.asarray(patient)[rows], return_inverse=True)[1]
    gather = sparse.csr_matrix((np.ones(len(rows), np.float32), (by_patient, np.arange(len(rows)))))
    n_tokens = len(said_by.tokens)
    frequency = np.bincount((gather @ said_by.counts[rows]).indices, minlength=n_tokens)
    concepts = {concept.name for concept in lexicon()} - set(GROUPS.values())

    def order(code: int) -> tuple:
        # Of terms in the same reports a concept comes first, and of those the most special: "rib fracture", "fracture".
        token = said_by.tokens[code]
        is_concept = token[0] in concepts
        return -frequency[code], not is_concept, -token[0].count(" ") if is_concept else 0, token

    columns = sorted(np.flatnonzero(frequency >= max(min_count, 1)).tolist(), key=order)[:MAX_TERMS]
    kept = [said_by.tokens[code] for code in columns]
    position = np.full(n_tokens, -1)
    position[columns] = np.arange(len(columns))
    sections: list[Counter[str]] = [Counter() for _ in kept]
    header, all_sections = list(names), np.concatenate(in_sections)
    for code, name, n in all_sections[position[all_sections[:, 0]] >= 0].tolist():
        sections[position[code]][header[name]] += n
    counts = said_by.counts[:, columns]
    words = list(label_words)
    of_term = {term: category_of(term.removeprefix(IN_REASON), words) for term in {term for term, _ in kept}}
    tokens = pd.DataFrame(
        {
            "term": [term for term, _ in kept],
            "status": [status for _, status in kept],
            "category": [of_term[term] for term, _ in kept],
            "label_term": [restates_label(term.removeprefix(IN_REASON), words) for term, _ in kept],
            "sections": [[name for name, _ in found_in.most_common(4)] for found_in in sections],
        }
    )
    tokens["label_term"] = tokens["label_term"].astype(bool) | (tokens["category"] == "label-term")
    return TermIndex(counts, tokens)


class _Said(NamedTuple):
    """Tokens of a block of reports.

    Attributes
    ----------
    counted : Counted
    sections : list of str
        Headers.
    in_sections : ndarray of shape (n_pairs, 3), int
        Token, section, and how many of the reports that are learned from have it there; in the order of first sight.
    """

    counted: Counted
    sections: list[str]
    in_sections: np.ndarray


def _count_block(piece: tuple[Sequence[str], np.ndarray], max_words: int) -> _Said:
    reports, fit_on = piece
    tokens, sections, places = Codes(), Codes(), Codes()
    seen: dict[tuple[str, str], tuple[list[int], list[int]]] = {}  # by clause: its tokens, and each with its section
    in_sections: Counter[int] = Counter()

    def read(section: str, clause: str) -> tuple[list[int], list[int]]:
        found = seen.get((section, clause))
        if found is None:
            before = IN_REASON if section == REASON else ""
            codes = [
                tokens[before + name, mention.status]
                for mention in clause_mentions(clause, section, max_words)
                for name in (mention.term, *_kinds_of(mention.term))
            ]
            where = sections[section]
            found = seen[section, clause] = codes, [places[code, where] for code in dict.fromkeys(codes)]
        return found

    def read_all() -> Iterator[list[list[int]]]:
        for report, first in zip(reports, fit_on.tolist(), strict=True):
            said = [read(section, clause) for section, clause in clauses(str(report)) if section != LEFT_OUT]
            if first:  # a report counts once for each section that it has a token in
                in_sections.update(dict.fromkeys(chain.from_iterable(where for _, where in said)).keys())
            yield [codes for codes, _ in said]

    counts = count_codes(read_all())
    pairs = list(places)
    found = [(*pairs[place], n) for place, n in in_sections.items()]
    return _Said(Counted(list(tokens), counts), list(sections), np.array(found, np.int64).reshape(-1, 3))


def tokens_of(report: str, max_words: int) -> list[tuple[str, str]]:
    """Return the tokens of a report, each once: terms, each with its status."""
    return list(_count_block(([report], np.zeros(1, dtype=bool)), max_words).counted.tokens)


@remembered(maxsize=50_000)
def _kinds_of(term: str) -> tuple[str, ...]:
    """Return what a concept is one of: "rib fracture" is a fracture, and a chest tube a support device."""
    category, last = category_of(term), term.rpartition(" ")[2]
    found = {GROUPS.get(category, term)}
    if last != term and _category_of_word(last) == category and canonical(term) == term:
        found.add(last)
    return tuple(sorted(found - {term}))


@remembered(maxsize=50_000)
def _category_of_word(word: str) -> str:
    """Return the category of a word, "" for one that the lexicon has in another form."""
    return category_of(word) if canonical(word) == word else ""


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
