"""Triage of errors: is the record wrong, or the classifier, and in which order should a reader look?

Three witnesses are heard. The classifier itself; what the report says of the label; and a second opinion, a model of
the label that never saw the classifier. None of them is trusted beforehand: one logistic regression with wrong labels
in it weighs them on the recorded labels, and gives each sample the probability that its label is wrong.

Confident learning on the classifier's probabilities is taken from cleanlab. The rest is written here: cleanlab hears
one model only, and what it flags where a classifier fails with confidence is as often the classifier's fault.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.special import expit, logit
from scipy.stats import norm
from sklearn.decomposition import PCA
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from sklearn.utils import check_random_state

from mmaudit._blocks import block_of, blocks_of
from mmaudit._engine import map_pieces
from mmaudit._errors import InputError
from mmaudit.data import AuditData, Target
from mmaudit.slicers._scores import wilson
from mmaudit.text import canonical, label_terms, mentions, report_sections, restates_label
from mmaudit.text._counts import Codes, Counted, Counts, count_codes
from mmaudit.text._lexicon import lexicon
from mmaudit.text._remembered import remembered
from mmaudit.text._sections import last_paragraph
from mmaudit.text._terms import clause_terms, term_clauses

__all__ = [
    "VERDICTS",
    "draw_patients",
    "label_noise",
    "made_from_reports",
    "review_queue",
    "triage",
    "triage_each",
    "triage_shares",
]

VERDICTS = ("label_error", "model_error", "ambiguous")
SAYS = ("affirmed", "uncertain", "negated")  # of the label; where several are said of it, the first of these counts
SAID = (*SAYS, "not mentioned", "")  # what a report says; "" where there is none

# CLASSIFIER_PENALTY and PRIOR_IN_ALL were chosen on seed 100 of tests/bench/label_noise.py with the reports of Open-i;
# the other numbers were set by what they mean.
LIKELY = 0.5  # score from which a label is more likely wrong than right
UNLIKELY = 0.2  # score below which an error is put down to the classifier
CONTRADICTS = np.log(3)  # a witness contradicts a label that it makes three times less likely
SPEAKS = np.log(2)  # a second opinion that moves the odds by less is not worth a word

N_FOLDS = 5
FEWEST_PATIENTS = 10  # of each label, for a second opinion
MOST_LEARNED = 100_000  # samples, of whole patients, that the second opinion is learned from
MOST_TERMS = 2000
MOST_CANDIDATES = 4 * MOST_TERMS  # terms of these samples, of which each label has its own most frequent ones
LEAST_REPORTS = 3  # that hold a term
MOST_DIMENSIONS = 64
LARGE = 20_000  # samples that are worth several processes
TERM_C, EMBEDDING_C = 10.0, 0.1  # inverse strength of the penalty of the second opinion

SURE = 1e-3  # probabilities nearer to 0 or 1 than this say no more: networks give them for no good reason
PENALTY = 0.25  # of weights in the model, a normal prior of standard deviation 2
CLASSIFIER_PENALTY = 64.0  # of the distance of the classifier's weight from the one that it has alone
PRIOR_WRONG, PRIOR_IN_ALL = 1, 20  # what the prior adds to each true label: wrong labels, and labels
MOST_ROUNDS = 300

LEAST_SHARE, LEAST_LOW = 0.5, 0.25  # of label errors in a slice that is called label noise

ASSERT_NOTHING = {"heart size"}  # restates a label, but "heart size is normal" says the contrary

# "No finding" is said of a film by saying nothing, or by denying everything.
_UNHEARD = {"no finding", "no findings", "normal", "healthy"}
_FROM_REPORTS = re.compile(
    r"\blabels?\b[^.;]*\b(?:come|came|made|read|taken|extracted|mined|derived|generated|obtained|produced)\b"
    r"[^.;]*\breports?\b|\breport-derived labels?\b|\blabels?\b[^.;]*\bby the reports?\b",
    re.I,
)
_DENIES = re.compile(r"\b(?:not|no|without|never|nor)\b", re.I)
_SENTENCE = re.compile(r" (?<=[.;:!?] )")  # of a section, which is one line

UNHEARD = (
    "The labels were made from these reports: a report cannot bear witness to a label that was read from it, and is "
    "not heard."
)


def triage(
    data: AuditData,
    target: Target,
    *,
    embeddings: Mapping[str, np.ndarray] | None = None,
    labels_from_reports: bool | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> pd.DataFrame:
    """Return for each sample whether its label is doubtful, whose error that probably is, and why.

    Parameters
    ----------
    data : AuditData of n_samples
        Reports, where there are any, bear witness to the label.
    target : Target
        One question asked of these samples; samples whose truth is not known are given no verdict.
    embeddings : mapping of modality to ndarray of shape (n_samples, n_dimensions), or None
        For the second opinion, where no report may be heard. Must not be the classifier's own. None: those of `data`.
    labels_from_reports : bool or None
        Whether the labels were made from these reports, as those of MIMIC-CXR and Open-i were. Then neither the
        reports nor embeddings of them are heard. None: where the data card says so.
    random_state : int, RandomState or None
        Seed of the folds of the second opinion. None: others each time.

    Returns
    -------
    DataFrame indexed by sample_id
        `patient_id`; `label`, the recorded one, 0, 1 or -1; `y_proba`; `wrong`, whether the classifier disagrees;
        `verdict`, "label_error", "model_error", "ambiguous", or "" where nothing is doubtful; `score` in [0, 1], the
        probability that the label is wrong under the model below; `report_says`, "affirmed", "uncertain", "negated",
        "not mentioned", or "" without a report; `second_opinion` in [0, 1], or NaN where there is none;
        `cleanlab_issue`, whether confident learning on the classifier's probabilities alone flags the label;
        `because`, the evidence in words, "" where nothing is doubtful. Samples with unknown truth: NaN, False or "".

        `attrs`: "target"; "second_opinion", what it is a model of, "" where there is none; "weights", how far the
        classifier, and the other witnesses together, move the log-odds of the label, as standard deviations; "noise",
        the estimated share of wrong labels among those that are truly 0 and truly 1; "leakage", a warning or "".

    Raises
    ------
    InputError
        A target of other samples, without cases of both labels, or embeddings of other samples.

    Notes
    -----
    Report: IMPRESSION first, then FINDINGS; the indication is never heard, since it tells what was asked. The words
    are those of `label_terms`; where a section says several things, "affirmed" counts before "uncertain" before
    "negated".

    Second opinion: logistic regression on the terms of the reports, or on at most 64 principal components of the
    embeddings, out of fold (5 folds that share no patient). Where labels are few, or are noise, it knows nothing: its
    log-odds are a column of the model below, which weighs and calibrates them (Platt). It is learned from at most about
    100,000 samples, those of patients drawn at random, and given of all samples.

    Score: log-odds of the classifier, of the second opinion and three columns of what the report says are the
    features of a logistic regression of the true label; the recorded label is the true one, except for shares
    of wrong labels that are estimated with it. The score is the posterior probability of that exception. It takes
    labels to go wrong at random within each true label; where they do so in one subgroup the order is still of use,
    the numbers are not, and where most of the records of a label are wrong nothing can tell: read it as a ranking.
    Without other witnesses the first of the queue hold few wrong labels, unless many are wrong
    (tests/bench/label_noise.py).

    Verdict: "label_error" needs a score of 0.5, and a witness other than the classifier that makes the recorded
    label at least three times less likely. A classifier that fails with confidence on a whole subgroup looks just like
    wrong labels, to itself: without witnesses there are no label errors, only ambiguous ones. "model_error" is an
    error with a score below 0.2.

    Leakage: see `labels_from_reports`.

    Cost: linear in n_samples; see tests/bench/label_noise.py --time.

    References
    ----------
    Confident learning: Northcutt et al. 2021, arXiv:1911.00068 (cleanlab). Wrong labels in a logistic regression:
    Copas 1988, doi:10.1111/j.2517-6161.1988.tb01723.x; here with a rate for each label, by EM, and with priors.
    Platt 1999, "Probabilistic outputs for support vector machines".
    """
    return triage_each(
        data, [target], embeddings=embeddings, labels_from_reports=labels_from_reports, random_state=random_state
    )[0]


def triage_each(
    data: AuditData,
    targets: Sequence[Target],
    *,
    embeddings: Mapping[str, np.ndarray] | None = None,
    labels_from_reports: bool | None = None,
    random_state: int | np.random.RandomState | None = 0,
) -> list[pd.DataFrame]:
    """Return what `triage` says of each of several targets; the reports are read once for all of them."""
    for target in targets:
        _check_target(data, target)
    given = _check_embeddings(data, embeddings)
    leaked = made_from_reports(data) if labels_from_reports is None else bool(labels_from_reports)
    leaked &= data.reports is not None or "report" in given
    if leaked:
        given.pop("report", None)
    patient = np.unique(data.patient_id.astype(str), return_inverse=True)[1]
    heard = _hear(data, [target.name for target in targets], not leaked, patient, random_state)
    return [
        _judge(data, target, heard.said[:, k], heard.terms, given, leaked, patient, check_random_state(random_state))
        for k, target in enumerate(targets)
    ]


def _judge(
    data: AuditData,
    target: Target,
    says: np.ndarray,
    terms: Counted | None,
    embeddings: Mapping[str, np.ndarray],
    leaked: bool,
    patient: np.ndarray,
    rng: np.random.RandomState,
) -> pd.DataFrame:
    known = np.flatnonzero(target.y_true >= 0)
    asked = target.take(known)
    said = np.array(SAID, dtype=object)[says[known]]
    heard = said if not leaked else np.full(len(known), "", dtype=object)
    second, source = _second_opinion(known, asked.y_true, patient, terms, embeddings, rng)
    witnesses = _witnesses(asked, heard, second)
    model = _fit_contaminated(np.hstack(list(witnesses.values())), asked.y_true)
    favours = dict(zip(witnesses, model.favours(witnesses.values()), strict=True))
    # The report and a model of the reports know the same things: only their sum means something.
    others = sum((favours[name] for name in favours if name != "classifier"), np.zeros(len(known)))
    against = np.where(asked.y_true == 1, -others, others)
    verdict = _verdicts(asked.error, model.wrong_label, against)
    speaks = np.abs(favours.get("second opinion", np.zeros(len(known)))) >= SPEAKS
    because = [
        _because(asked.y_true[i], heard[i], asked.y_proba[i], second[i] if speaks[i] else np.nan, source)
        if verdict[i]
        else ""
        for i in range(len(known))
    ]

    frame = pd.DataFrame(
        {"patient_id": data.patient_id, "label": target.y_true, "y_proba": target.y_proba, "wrong": target.error},
        index=data.sample_id,
    )
    judged = {
        "verdict": (verdict, ""),
        "score": (model.wrong_label, np.nan),
        "report_says": (said, ""),
        "second_opinion": (second, np.nan),
        "cleanlab_issue": (_confident_learning(asked), False),
        "because": (because, ""),
    }
    for column, (values, unknown) in judged.items():
        whole = np.full(data.n_samples, unknown, dtype=object if unknown == "" else None)
        whole[known] = values
        frame[column] = whole
    frame.attrs = {
        "target": target.name,
        "second_opinion": source,
        "weights": {"classifier": float(np.std(favours["classifier"])), "witnesses": float(np.std(others))},
        "noise": {"truly 0": float(model.flips[0]), "truly 1": float(model.flips[1])},
        "leakage": UNHEARD if leaked else "",
    }
    return frame


def review_queue(frame: pd.DataFrame, *, most: int = 50, one_per_patient: bool = True) -> pd.DataFrame:
    """Return the samples that a reader should look at, the one whose label is most likely wrong first.

    Parameters
    ----------
    frame : DataFrame
        As `triage` gives, or rows of it.
    most : int
        Samples at most.
    one_per_patient : bool
        Only the first sample of each patient: the films of one study share a label, and its error.

    Returns
    -------
    DataFrame indexed by sample_id
        Columns `question`, what to look for; `verdict`, `score`, `label`, `y_proba`, `report_says`, `second_opinion`
        and `because`, as in `triage`. Samples without doubt are left out.

    Raises
    ------
    InputError
        Another table, or a number that is not 1 or more.
    """
    _check_frame(frame)
    if isinstance(most, bool) or not isinstance(most, (int, np.integer)) or most < 1:
        raise InputError("most", "a whole number from 1 on", repr(most), "Use 50.")
    queue = frame[frame["verdict"] != ""].sort_values("score", ascending=False, kind="stable")
    if one_per_patient:
        queue = queue[~queue["patient_id"].duplicated()]
    queue = queue.head(most)
    name = frame.attrs.get("target", "the label")
    question = [f"Is {name} there? Recorded as {_recorded(label)}." for label in queue["label"]]
    shown = ["verdict", "score", "label", "y_proba", "report_says", "second_opinion", "because"]
    return queue[shown].assign(question=question)[["question", *shown]]


def triage_shares(frame: pd.DataFrame, members: np.ndarray) -> dict[str, Any]:
    """Return how the wrong members of a slice are judged.

    Parameters
    ----------
    frame : DataFrame of n_samples rows
        As `triage` gives.
    members : ndarray of shape (n_samples,), bool
        The samples of a slice, for example those on confirmation patients.

    Returns
    -------
    dict
        `n`, wrong members; `label_error`, `model_error` and `ambiguous`, shares of these in [0, 1], None where n is 0.

    Raises
    ------
    InputError
        Another table, or a mask that does not fit it.
    """
    verdicts = _wrong_members(frame, members)["verdict"]
    return {"n": len(verdicts), **{v: float((verdicts == v).mean()) if len(verdicts) else None for v in VERDICTS}}


def label_noise(frame: pd.DataFrame, members: np.ndarray, *, alpha: float = 0.05) -> dict[str, Any]:
    """Return whether the errors of a slice are mostly those of its labels.

    Parameters
    ----------
    frame : DataFrame of n_samples rows
        As `triage` gives.
    members : ndarray of shape (n_samples,), bool
        The samples of the slice on confirmation patients.
    alpha : float in (0, 1)
        The interval aims to cover 1 - alpha.

    Returns
    -------
    dict
        `n_patients` with a wrong member; `share` of label errors among wrong members, each patient counting once;
        `low` and `high`, its Wilson interval over patients; `label_noise`, True where the share is at least a half
        and the interval lies above a quarter. None for numbers without a patient.

    Raises
    ------
    InputError
        Another table, or a mask that does not fit it.

    References
    ----------
    Wilson 1927, doi:10.1080/01621459.1927.10502953.
    """
    wrong = _wrong_members(frame, members)
    by_patient = (wrong["verdict"] == "label_error").groupby(wrong["patient_id"], sort=False).mean()
    n = len(by_patient)
    if n == 0:
        return {"n_patients": 0, "share": None, "low": None, "high": None, "label_noise": False}
    share = float(by_patient.mean())
    low, high = (float(end) for end in wilson(share * n, n, norm.isf(alpha / 2)))
    noise = share >= LEAST_SHARE and low > LEAST_LOW
    return {"n_patients": n, "share": share, "low": low, "high": high, "label_noise": bool(noise)}


# Witnesses


class _Heard(NamedTuple):
    """What the reports say.

    Attributes
    ----------
    said : ndarray of shape (n_samples, n_labels), int8
        Of each label, as a position in `SAID`.
    terms : Counted of n_samples, or None
        Terms of the sections that are heard. None: not counted.
    """

    said: np.ndarray
    terms: Counted | None


class _Words(NamedTuple):
    """The words of a label, and beginnings of words one of which is in every sentence that has one of them."""

    words: tuple[str, ...]
    stems: tuple[str, ...]


def _hear(data: AuditData, names: Sequence[str], with_terms: bool, patient: np.ndarray, random_state) -> _Heard:
    """Return what the reports say of some labels, and in which terms.

    Of many reports those of some patients are read first: their most frequent terms are counted in the others.
    """
    n = data.n_samples
    if data.reports is None:
        return _Heard(np.full((n, len(names)), SAID.index(""), np.int8), None)
    asked = [_words_of(data, name) for name in names]
    if not with_terms or n <= MOST_LEARNED:
        said, terms = _read(data.reports, asked, with_terms)
        return _Heard(said, terms if with_terms else None)
    first = draw_patients(patient, MOST_LEARNED, check_random_state(random_state))
    at = [np.flatnonzero(first), np.flatnonzero(~first)]
    said_first, terms = _read(block_of(data.reports, at[0]), asked, True)
    terms = _most_frequent(terms, MOST_CANDIDATES)
    vocabulary = {term: code for code, term in enumerate(terms.tokens)}
    said_others, others = _read(block_of(data.reports, at[1]), asked, True, vocabulary)
    order = np.argsort(np.concatenate(at))
    counts = sparse.vstack([terms.counts, others.counts], format="csr")[order]
    return _Heard(np.concatenate([said_first, said_others])[order], Counted(terms.tokens, counts))


def _words_of(data: AuditData, name: str) -> _Words | None:
    """Return the words of a label, or None where no report says anything of it plainly."""
    # Words that a user gave for several labels restate some of them: which, nobody said.
    further = data.label_terms if len(data.label_names) == 1 else ()
    # In the lexicon's words, in which mentions come: "effusion" is that of the pleura, not of the pericardium.
    given = [w for w in label_terms(name, further) if w.strip() and w not in ASSERT_NOTHING]
    words = tuple(sorted(filter(None, {canonical(w) for w in given})))
    if not words or name.lower().replace("_", " ").strip() in _UNHEARD:
        return None
    spoken = [*given, *(v for c in lexicon() if c.name in words for v in (c.name, *c.variants))]
    return _Words(words, tuple({max(phrase.split(), key=len)[:5] for phrase in spoken}))


def _read(
    reports: Any, asked: Sequence[_Words | None], with_terms: bool, vocabulary: Mapping[str, int] | None = None
) -> tuple[np.ndarray, Counted]:
    """Return what reports say of each label, and their terms: all, or those of a vocabulary."""
    pieces = [block_of(reports, rows) for rows in blocks_of(reports)]
    said, terms = [np.empty((0, len(asked)), np.int8)], Counts()
    for of_block, counted in map_pieces(
        _read_block, pieces, asked, with_terms, vocabulary, large=len(reports) >= LARGE
    ):
        said.append(of_block)
        terms.add(counted)
    return np.concatenate(said), terms.whole()


def _read_block(
    reports: Iterable[str], asked: Sequence[_Words | None], with_terms: bool, vocabulary: Mapping[str, int] | None
) -> tuple[np.ndarray, Counted]:
    codes = Codes() if vocabulary is None else vocabulary
    seen: dict[str, tuple[list[int], ...]] = {}  # by clause: the codes of its terms
    said = []

    def read(clause: str) -> tuple[list[int], ...]:
        found = seen.get(clause)
        if found is None:
            known = (
                terms if vocabulary is None else filter(codes.__contains__, terms) for terms in clause_terms(clause)
            )
            found = seen[clause] = tuple([codes[term] for term in terms] for terms in known)
        return found

    def read_all() -> Iterator[Iterable[list[int]]]:
        for report in reports:
            sections = _heard_sections(report)
            said.append([_says(sections, words) for words in asked] if report.strip() else blank)
            parts = [read(clause) for clause in term_clauses(" ".join(sections))] if with_terms else []
            yield (of_clause for of_kind in zip(*parts, strict=True) for of_clause in of_kind)  # in the order of terms

    blank = [SAID.index("")] * len(asked)
    counts = count_codes(read_all(), None if vocabulary is None else len(vocabulary))
    return np.array(said, np.int8).reshape(-1, len(asked)), Counted(list(codes), counts)


def _says(sections: Sequence[str], asked: _Words | None) -> int:
    """Return what a report says of these words, in the first of its sections that says anything; as in `SAID`."""
    if asked is None:
        return SAID.index("")
    for section in sections:
        lowered = section.lower()
        if not any(stem in lowered for stem in asked.stems):
            continue
        # Reading a sentence is slow: only those are read that hold the beginning of one of the words.
        spoken = (_status(s, asked.words) for s in _SENTENCE.split(lowered) if any(stem in s for stem in asked.stems))
        status = min(spoken, default=len(SAYS))
        if status < len(SAYS):
            return status
    return SAID.index("not mentioned")


def _heard_sections(text: str) -> list[str]:
    sections = report_sections(text)
    return [sections[s] for s in ("IMPRESSION", "FINDINGS") if s in sections] or [last_paragraph(text)]


@remembered(maxsize=10_000)
def _status(sentence: str, words: tuple[str, ...]) -> int:
    """Return the first status in which a sentence mentions any of these words; most sentences are said many times."""
    found = {m.status for m in mentions(sentence) if restates_label(m.term, words)}
    return next((k for k, status in enumerate(SAYS) if status in found), len(SAYS))


def draw_patients(patient: np.ndarray, most: int, rng: np.random.RandomState) -> np.ndarray:
    """Return the samples of patients drawn at random, each as likely as any other, a mask of about `most` samples.

    Parameters
    ----------
    patient : ndarray of shape (n_samples,), int
        Patient codes from 0.
    most : int
        Samples to draw, of patients as large as they are on average; all where there are no more.
    rng : RandomState
    """
    if len(patient) <= most:
        return np.ones(len(patient), dtype=bool)
    present = np.unique(patient)
    drawn = np.zeros(patient.max() + 1, dtype=bool)
    drawn[rng.permutation(present)[: max(1, round(len(present) * most / len(patient)))]] = True
    return drawn[patient]


def _second_opinion(
    known: np.ndarray,
    y: np.ndarray,
    patient: np.ndarray,
    terms: Counted | None,
    embeddings: Mapping[str, np.ndarray],
    rng: np.random.RandomState,
) -> tuple[np.ndarray, str]:
    """Return out-of-fold probabilities of label 1 by a model that never saw the classifier, and what it looks at.

    `known` are the positions of the samples that `y` is of; the rest is of all samples.
    """
    unknown = np.full(len(known), np.nan)
    patient = np.unique(patient[known], return_inverse=True)[1]
    learned = draw_patients(patient, MOST_LEARNED, rng)
    if min(len(np.unique(patient[learned & (y == label)])) for label in (0, 1)) < FEWEST_PATIENTS:
        return unknown, ""
    if terms is not None:
        (x, look), source, strength = _of_terms(terms, known[learned]), "the reports", TERM_C
    elif embeddings:
        x, look = _of_embeddings(embeddings, known[learned], rng)
        source, strength = f"the {' and '.join(embeddings)} embeddings", EMBEDDING_C
    else:
        return unknown, ""
    if x.shape[1] == 0:
        return unknown, ""
    fold = _folds(patient, y, rng)
    models = list(
        map_pieces(_fit_fold, range(N_FOLDS), x, y[learned], fold[learned], strength, large=x.shape[0] >= LARGE)
    )
    opinion = unknown
    opinion[learned] = _out_of_fold(models, x, fold[learned])
    others = np.flatnonzero(~learned)
    for rows in blocks_of(others):
        opinion[others[rows]] = _out_of_fold(models, look(known[others[rows]]), fold[others[rows]])
    return opinion, source


def _fit_fold(k: int, x: Any, y: np.ndarray, fold: np.ndarray, strength: float) -> LogisticRegression:
    seen = fold != k
    return LogisticRegression(C=strength, solver="liblinear").fit(x[seen], y[seen])


def _out_of_fold(models: Sequence[LogisticRegression], x: Any, fold: np.ndarray) -> np.ndarray:
    opinion = np.empty(len(fold))
    for k, model in enumerate(models):
        if (fold == k).any():
            opinion[fold == k] = model.predict_proba(x[fold == k])[:, 1]
    return opinion


_Look = Callable[[np.ndarray], Any]


def _of_terms(terms: Counted, learned: np.ndarray) -> tuple[sparse.csr_matrix, _Look]:
    """Return the TF-IDF of the terms of the reports that are learned from, and how to have that of others."""
    everyone = len(learned) == terms.counts.shape[0]
    found = _most_frequent(Counted(terms.tokens, terms.counts if everyone else terms.counts[learned]), MOST_TERMS)
    if not found.tokens:
        return found.counts, terms.counts.__getitem__
    column = {term: k for k, term in enumerate(terms.tokens)}
    columns = [column[term] for term in found.tokens]
    tfidf = TfidfTransformer()
    x = tfidf.fit_transform(found.counts.astype(float))
    return x, lambda rows: tfidf.transform(terms.counts[rows][:, columns].astype(float))


def _most_frequent(terms: Counted, most: int) -> Counted:
    """Return the most frequent of the terms that three reports hold, in the order of letters, as TfidfVectorizer."""
    n_reports = np.bincount(terms.counts.indices, minlength=len(terms.tokens))
    often = sorted(np.flatnonzero(n_reports >= LEAST_REPORTS).tolist(), key=terms.tokens.__getitem__)
    total = np.bincount(terms.counts.indices, weights=terms.counts.data, minlength=len(terms.tokens)).astype(int)
    columns = [often[k] for k in np.sort(np.argsort(-total[often])[:most])]
    return Counted([terms.tokens[k] for k in columns], terms.counts[:, columns])


def _of_embeddings(
    embeddings: Mapping[str, np.ndarray], learned: np.ndarray, rng: np.random.RandomState
) -> tuple[np.ndarray, _Look]:
    """Return principal components of the embeddings that are learned from, and how to have those of others.

    Each modality has the same say; the variance is 1 on average.
    """
    scalers = {modality: StandardScaler() for modality in embeddings}

    def scaled(rows: np.ndarray, scale: str) -> np.ndarray:
        parts = [getattr(scalers[m], scale)(x[rows]) / np.sqrt(x.shape[1]) for m, x in embeddings.items()]
        return np.hstack(parts)

    x = scaled(learned, "fit_transform")
    pca = PCA(min(MOST_DIMENSIONS, *x.shape), svd_solver="randomized", random_state=rng)
    reduced = pca.fit_transform(x)
    spread = max(np.sqrt(reduced.var()), 1e-12)
    return reduced / spread, lambda rows: pca.transform(scaled(rows, "transform")) / spread


def _folds(patient: np.ndarray, y: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """Return the fold of each sample; patients are dealt out, those with a positive sample first."""
    n_patients = patient.max() + 1
    has_positive = np.bincount(patient, weights=y, minlength=n_patients) > 0
    order = rng.permutation(n_patients)
    order = order[np.argsort(~has_positive[order], kind="stable")]
    of_patient = np.empty(n_patients, dtype=int)
    of_patient[order] = np.arange(n_patients) % N_FOLDS
    return of_patient[patient]


def _confident_learning(target: Target) -> np.ndarray:
    """Return the mask of labels that cleanlab's confident learning flags, shape (n_samples,)."""
    from cleanlab.filter import find_label_issues  # takes as long as all of `import mmaudit` may

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "May not flag all label issues", UserWarning)
        proba = np.column_stack([1 - target.y_proba, target.y_proba])
        return np.asarray(find_label_issues(target.y_true.astype(int), proba, n_jobs=1), dtype=bool)


# The model that weighs them


def _witnesses(target: Target, said: np.ndarray, second: np.ndarray) -> dict[str, np.ndarray]:
    """Return the columns that each witness has in the model, shape (n_samples, n_columns).

    Where the report itself affirms or denies the label, a model of the reports is not asked: it has learned from the
    recorded labels, and where those are wrong as a rule, so is what it makes of a plain statement.
    """
    columns = {"classifier": _log_odds(target.y_proba)[:, None]}
    if (said != "").any():
        columns["report"] = np.stack([said == status for status in SAYS], axis=1).astype(float)
    if np.isfinite(second).all():
        plain = np.isin(said, ("affirmed", "negated"))
        columns["second opinion"] = np.where(plain, 0.0, _log_odds(second))[:, None]
    return columns


def _log_odds(proba: np.ndarray) -> np.ndarray:
    """Return log-odds with mean 0 and variance 1."""
    odds = logit(np.clip(proba, SURE, 1 - SURE))
    return (odds - odds.mean()) / max(odds.std(), 1e-12)


class _Contaminated(NamedTuple):
    """A logistic regression of the true label, some recorded labels of which are wrong.

    `wrong_label` is the posterior probability of that, shape (n_samples,); `flips` the shares of wrong labels among
    those that are truly 0 and truly 1; `weights` and `middle` are those of the columns: `middle` favours no label.
    """

    wrong_label: np.ndarray
    flips: np.ndarray
    weights: np.ndarray
    middle: np.ndarray

    def favours(self, witnesses: Iterable[np.ndarray]) -> list[np.ndarray]:
        """Return how far each witness moves the log-odds towards label 1, arrays of shape (n_samples,)."""
        parts, first = [], 0
        for x in witnesses:
            own = np.s_[first : first + x.shape[1]]
            parts.append((x - self.middle[own]) @ self.weights[own])
            first += x.shape[1]
        return parts


def _fit_contaminated(x: np.ndarray, y: np.ndarray) -> _Contaminated:
    """Fit by expectation and maximisation, from two starts; the first column of x is the classifier.

    There are often two explanations: labels are right and the other witnesses poor, or those are good and labels
    wrong. Likelihood hardly tells them apart; but in the first the classifier, which can tell the label when heard
    alone, would have nothing to add to poor witnesses. So its weight is drawn to the one it has alone. The second start
    leads to the maximum at larger weights, where labels are wrong; the better of the two is taken.
    """
    none = np.zeros(x.shape[1])
    found = _better_maximum(x[:, :1], y, none[:1], PENALTY)
    if x.shape[1] > 1:
        alone = none.copy()
        alone[0] = found.beta[1]
        penalty = np.r_[CLASSIFIER_PENALTY, np.full(x.shape[1] - 1, PENALTY)]
        found = _better_maximum(x, y, alone, penalty)
    p = expit(found.beta[0] + x @ found.beta[1:])
    middle = (x[y == 1].mean(axis=0) + x[y == 0].mean(axis=0)) / 2
    return _Contaminated(np.abs(y - _truth(p, y, found.flips)), found.flips, found.beta[1:], middle)


class _Maximum(NamedTuple):
    height: float
    beta: np.ndarray
    flips: np.ndarray


def _better_maximum(x: np.ndarray, y: np.ndarray, centre: np.ndarray, penalty) -> _Maximum:
    """Return the higher of the maxima of the log posterior that two starts lead to."""
    design = np.column_stack([np.ones(len(y)), x])
    centre, penalty = np.r_[0, centre], np.r_[0, np.broadcast_to(penalty, x.shape[1])]
    plain = _maximum(design, y, np.r_[logit(y.mean()), np.zeros(x.shape[1])], 0.05, centre, penalty)
    larger = _maximum(design, y, 3 * plain.beta, 0.2, centre, penalty)
    return max(plain, larger, key=lambda found: found.height)


def _truth(p: np.ndarray, y: np.ndarray, flips: np.ndarray) -> np.ndarray:
    """Return the posterior probability that the true label is 1, given that before the record and the record."""
    is_1 = p * np.where(y == 1, 1 - flips[1], flips[1])
    is_0 = (1 - p) * np.where(y == 1, flips[0], 1 - flips[0])
    return is_1 / (is_1 + is_0)


def _maximum(design, y, beta, flip: float, centre, penalty) -> _Maximum:
    """Return a maximum of the log posterior near a start; a round takes one Newton step."""
    flips = np.full(2, flip)
    for _ in range(MOST_ROUNDS):
        p = expit(design @ beta)
        truth = _truth(p, y, flips)
        wrong = np.array([(1 - truth)[y == 1].sum(), truth[y == 0].sum()])
        in_all = np.array([(1 - truth).sum(), truth.sum()])
        flips = (wrong + PRIOR_WRONG) / (in_all + PRIOR_IN_ALL)
        slope = design.T @ (truth - p) - penalty * (beta - centre)
        curvature = (design * (p * (1 - p))[:, None]).T @ design + np.diag(penalty + 1e-9)
        step = np.linalg.solve(curvature, slope)
        beta = beta + np.clip(step, -1, 1)  # a whole step from far away may overshoot
        if np.abs(step).max() < 1e-6:
            break
    p = expit(design @ beta)
    recorded_1 = (1 - flips[1]) * p + flips[0] * (1 - p)
    priors = (PRIOR_WRONG * np.log(flips) + (PRIOR_IN_ALL - PRIOR_WRONG) * np.log(1 - flips)).sum()
    likelihood = np.log(np.where(y == 1, recorded_1, 1 - recorded_1)).sum()
    return _Maximum(float(likelihood + priors - penalty @ (beta - centre) ** 2 / 2), beta, flips)


# Words


def _verdicts(wrong: np.ndarray, score: np.ndarray, against: np.ndarray) -> np.ndarray:
    """Return the verdict on each sample; `against` is what the witnesses say against its label, in log-odds."""
    return np.select(
        [(score >= LIKELY) & (against >= CONTRADICTS), wrong & (score < UNLIKELY), wrong | (score >= LIKELY)],
        ["label_error", "model_error", "ambiguous"],
        default="",
    ).astype(object)


def _because(label: int, said: str, proba: float, second: float, source: str) -> str:
    """Return the evidence about one label as a phrase."""
    report = {
        "affirmed": "the report affirms it",
        "negated": "the report denies it",
        "uncertain": "the report is not sure",
        "not mentioned": "the report does not mention it",
    }
    parts = [report[said]] if said else []
    parts.append(f"the classifier says {_percent(proba)}")
    if np.isfinite(second):
        parts.append(f"a model of {source} says {_percent(second)}")
    return f"recorded as {_recorded(label)}: {', '.join(parts[:-1])}{', and ' * (len(parts) > 1)}{parts[-1]}"


def _recorded(label: int) -> str:
    return "present" if label == 1 else "absent"


def _percent(proba: float) -> str:
    if proba < 0.005:
        return "under 1 %"
    return "over 99 %" if proba > 0.995 else f"{100 * proba:.0f} %"


# Checks


def made_from_reports(data: AuditData) -> bool:
    """Return whether the data card says that the labels were made from reports."""
    found = [match for text in data.card.values() for match in _FROM_REPORTS.finditer(str(text))]
    return any(not _DENIES.search(match.group()) for match in found)


def _check_target(data: AuditData, target: Target) -> None:
    if len(target.y_true) != data.n_samples:
        raise InputError(
            "target", f"{data.n_samples:,} samples, those of data", f"{len(target.y_true):,}", "See data.targets()."
        )
    if not {0, 1} <= set(target.y_true.tolist()):
        raise InputError(
            "target", "cases with and without the label", "one kind only", "Add cases of the other kind, or leave it."
        )


def _check_embeddings(data: AuditData, embeddings: Mapping[str, np.ndarray] | None) -> dict[str, np.ndarray]:
    given = dict(data.embeddings if embeddings is None else embeddings)
    for modality, x in given.items():
        shape = np.shape(x)
        if len(shape) != 2 or shape[0] != data.n_samples or shape[1] == 0:
            raise InputError(
                f"embeddings[{modality!r}]",
                f"shape ({data.n_samples}, n_dimensions)",
                f"{shape}",
                "Give one row a sample, in order.",
            )
    return given


def _check_frame(frame: pd.DataFrame) -> None:
    if not isinstance(frame, pd.DataFrame) or not {"verdict", "score", "wrong", "patient_id"} <= set(frame.columns):
        raise InputError("frame", "a table that triage() gave", "another object", "Call triage(data, target).")


def _wrong_members(frame: pd.DataFrame, members: np.ndarray) -> pd.DataFrame:
    _check_frame(frame)
    members = np.asarray(members)
    if members.shape != (len(frame),) or members.dtype != bool:
        raise InputError(
            "members",
            f"a mask of shape ({len(frame)},)",
            f"{members.dtype} of shape {members.shape}",
            "Give True for each member.",
        )
    return frame[members & frame["wrong"].to_numpy()]
