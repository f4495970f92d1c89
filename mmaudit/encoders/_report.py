"""Reports as terms that know about negation, and as TF-IDF with truncated SVD."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer, TfidfVectorizer
from sklearn.utils.validation import check_is_fitted

__all__ = ["ReportEncoder", "TermIndicator", "label_terms", "report_terms"]

# After Chapman et al. 2001, "A simple algorithm for identifying negated findings and diseases in discharge summaries"
# (NegEx), doi:10.1006/jbin.2001.1029. Differences: the scope runs to the end of the clause instead of five words,
# because radiology reports list ("no focal consolidation, effusion or pneumothorax").
_PSEUDO = (
    "no change",
    "no interval change",
    "no significant change",
    "no increase",
    "not only",
    "no further",
    "not change",
)
_BEFORE = (
    "no evidence of", "no sign of", "no signs of", "negative for", "absence of", "free of", "clear of", "rule out",
    "rules out", "ruled out for", "without evidence of", "no", "not", "without", "denies", "denied", "never", "neither",
)  # fmt: skip
_AFTER = (
    "is not seen", "are not seen", "not seen", "not identified", "not present", "not visualized", "not visible",
    "not demonstrated", "is absent", "are absent", "was ruled out", "were ruled out", "is ruled out", "been ruled out",
    "has resolved", "have resolved", "has been removed", "have been removed", "was negative", "were negative",
    "is negative",
)  # fmt: skip
_STOP = (
    "but", "however", "although", "though", "except", "apart from", "aside from", "which", "otherwise", "still",
    "there is", "there are", "with", "showing", "shows", "showed",
)  # fmt: skip

# Words that stand for one thing are also counted together, since a slice seldom depends on which of them was typed.
# Tubes and lines after the device sections of RadLex (radlex.org) and the CheXpert mention list for support devices.
CONCEPTS = {
    "tube or line": ("tube", "line", "ett", "ngt", "picc", "cvc"),
    "support device": (
        "tube", "line", "ett", "ngt", "picc", "cvc", "catheter", "cannula", "drain", "pacemaker", "icd", "electrode",
        "lead", "stent", "prosthesis", "port-a-cath", "portacath", "endotracheal", "nasogastric", "intubated",
        "intubation", "tracheostomy", "sternotomy",
    ),
}  # fmt: skip
_CONCEPTS_OF = {word: [c for c, words in CONCEPTS.items() if word in words] for ws in CONCEPTS.values() for word in ws}
_NO_DEVICE = re.compile(r"\b(?:in line with|first[- ]line|second[- ]line|pleural line|fissure line|lead to|leads to)\b")

# A run of marks is tried from its first only: from each of them, a line of 100,000 dots would take minutes.
_CLAUSE = re.compile(r"(?<![.;:?!\n])[.;:?!\n]+(?=\s|$)|\n+")
_TOKEN = re.compile(r"[a-z][a-z0-9'-]*[a-z0-9]")  # a letter alone ("52 F", "R base") says too little to be a term
# Words that say of something else that it is there: the something is the term.
_FILLERS = {
    "place",
    "seen",
    "noted",
    "present",
    "identified",
    "demonstrated",
    "evident",
    "shown",
    "visualized",
    "visualised",
}
_STOP_WORDS = ENGLISH_STOP_WORDS | _FILLERS | {"xxxx", "patient", "year", "old", "mr", "mrs", "dr"}


def _phrases(phrases: Iterable[str]) -> re.Pattern:
    return re.compile(r"\b(?:" + "|".join(re.escape(p) for p in sorted(phrases, key=len, reverse=True)) + r")\b")


_MARK_BEFORE, _MARK_AFTER, _MARK_STOP, _MARK_PSEUDO = map(_phrases, (_BEFORE, _AFTER, _STOP, _PSEUDO))
# "No effusion, the heart is enlarged": after a comma or "and", an article begins another statement.
_NEW_STATEMENT = r"(?:,|\band)\s+(?:the|a|an|there)\b"
_MARK = re.compile(
    f"(?P<pseudo>{_MARK_PSEUDO.pattern})|(?P<after>{_MARK_AFTER.pattern})|(?P<before>{_MARK_BEFORE.pattern})"
    f"|(?P<stop>{_MARK_STOP.pattern}|{_NEW_STATEMENT})|(?P<comma>,)|(?P<link>\\b(?:and|or|nor)\\b)"
    f"|(?P<token>{_TOKEN.pattern})"
)


@lru_cache(maxsize=50_000)
def _clause_tokens(clause: str) -> tuple[tuple[str, bool, bool], ...]:
    """Return the words of one clause, each with whether it is negated and whether it follows the one before at once."""
    tokens: list[tuple[str, bool, bool]] = []
    negated, start, end = False, 0, -1
    comma, linked = 0, False  # where the last comma was, and whether an "and" or "or" came after it
    clause = _NO_DEVICE.sub(" ", clause)
    for match in _MARK.finditer(clause):
        kind = match.lastgroup
        if kind == "before":
            negated, start = True, len(tokens)
        elif kind == "stop":
            negated, start = False, len(tokens)
        elif kind == "comma":
            comma, linked = len(tokens), False
        elif kind == "link":
            linked = True
        elif kind == "after":
            # "Tube in place, effusion not seen" denies the effusion; "tube, line and effusion not seen" all three.
            first = start if linked else max(start, comma)
            tokens[first:] = [(token, True, follows) for token, _, follows in tokens[first:]]
        elif kind == "token" and (word := match.group()) not in _STOP_WORDS:
            tokens.append((_singular(word), negated, clause[end : match.start()].isspace()))
            end = match.end()
    return tuple(tokens)


def _singular(word: str) -> str:
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("sses"):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and word[-2] not in "suiao":
        return word[:-1]
    return word


def report_terms(text: str, *, max_words: int = 2) -> list[str]:
    """Return the terms of a report: words, word pairs and concepts, with "no " before those that are negated.

    A negated mention is another term than an affirmed one. Plurals are folded. A concept such as "tube or line" is
    added for each word that stands for it.

    Parameters
    ----------
    text : str
        A report, or a section of one.
    max_words : int
        Longest term, in words that stand next to each other; stop words are no terms and part those beside them.

    References
    ----------
    Chapman et al. 2001 (NegEx), doi:10.1006/jbin.2001.1029; here a negation reaches to the end of its clause.

    Examples
    --------
    >>> report_terms("No effusion. Chest tube.")
    ['no effusion', 'chest', 'tube', 'chest tube', 'tube or line', 'support device']
    """
    clauses = [_clause_tokens(c.strip()) for c in _CLAUSE.split(text.lower()) if c.strip()]
    runs = [run for tokens in clauses for run in _runs(tokens)]
    terms = []
    for n_words in range(1, max_words + 1):
        for words, before in runs:
            terms += [before + " ".join(words[i : i + n_words]) for i in range(len(words) - n_words + 1)]
    for tokens in clauses:
        for word, negated, _ in tokens:
            terms += [f"no {concept}" if negated else concept for concept in _CONCEPTS_OF.get(word, ())]
    return terms


def _runs(tokens: tuple[tuple[str, bool, bool], ...]) -> list[tuple[list[str], str]]:
    """Return the words of a clause in runs that stand next to each other, each with "no " or "" before it."""
    runs: list[tuple[list[str], str]] = []
    for word, negated, follows in tokens:
        before = "no " if negated else ""
        if follows and runs and runs[-1][1] == before:
            runs[-1][0].append(word)
        else:
            runs.append(([word], before))
    return runs


def _terms(report: str | Sequence[str]) -> Sequence[str]:
    """Return the terms of a report, or the terms themselves where they have been taken from it before."""
    return report_terms(report) if isinstance(report, str) else report


# Words that restate a label in a report. Names of labels: CheXpert (arXiv:1901.07031); words: its published mention
# lists and common spellings. A term that holds one of these is no explanation of an error on that label.
_LABEL_WORDS = {
    "atelectasis": ("atelectasis", "atelectases", "atelectatic", "collapse"),
    "cardiomegaly": ("cardiomegaly", "enlarged heart", "heart enlarged", "cardiac enlargement", "heart size"),
    "consolidation": ("consolidation", "consolidations", "consolidative", "airspace"),
    "edema": ("edema", "oedema", "congestion", "vascular prominence"),
    "effusion": ("effusion", "effusions", "pleural fluid", "hydrothorax"),
    "fracture": ("fracture", "fractures", "fractured"),
    "lung lesion": ("nodule", "nodules", "mass", "masses", "lesion", "lesions"),
    "lung opacity": ("opacity", "opacities", "opacification", "infiltrate", "infiltrates"),
    "pneumonia": ("pneumonia", "pneumonias", "infectious process"),
    "pneumothorax": ("pneumothorax", "pneumothoraces"),
    "support devices": (*CONCEPTS, *CONCEPTS["support device"], "device"),
    "covid-19": ("covid", "covid-19", "coronavirus", "sars-cov-2", "2019-ncov", "ncov", "sars"),
    "no finding": ("normal", "unremarkable"),
}  # fmt: skip


def label_terms(label_name: str, further: Sequence[str] = ()) -> tuple[str, ...]:
    """Return words that restate a label: its own name, known synonyms, and `further` ones.

    Parameters
    ----------
    label_name : str
        Name of the label, such as "Pleural Effusion".
    further : sequence of str
        Words of the user.

    References
    ----------
    Label names: CheXpert, arXiv:1901.07031.
    """
    lowered = label_name.lower().replace("_", " ")
    words = {lowered, *(w.lower() for w in further)}
    for name, synonyms in _LABEL_WORDS.items():
        # Whole words, but for the label's own name ("PleuralEffusion"): "y" is in "opacity", "mass" in "massive".
        if name in lowered or _holds(name, lowered) or any(_holds(lowered, s) for s in synonyms):
            words.update(synonyms)
    return tuple(sorted(w for w in words if len(w) > 2))


def restates_label(term: str, words: Sequence[str]) -> bool:
    """Return whether a term holds one of the words of a label, as whole words."""
    return any(_holds(term, w) or _holds(term, _singular(w)) for w in words)


def _holds(text: str, words: str) -> bool:
    return f" {words} " in f" {text} "


class ReportEncoder(TransformerMixin, BaseEstimator):
    """Report embeddings: TF-IDF of negation-aware terms, reduced by truncated SVD (latent semantic analysis).

    Reports are texts, or sequences of terms that `report_terms` gave.

    Parameters
    ----------
    n_components : int
        Dimensions of the embedding; fewer where there are fewer terms or reports.
    max_features : int
        Number of terms kept, the most frequent ones.
    random_state : int, RandomState or None
        Seed of the SVD. None: another each time.

    Attributes
    ----------
    vectorizer_ : TfidfVectorizer
    svd_ : TruncatedSVD or None
        None where fewer than two terms were found; embeddings are then one column of 0.

    References
    ----------
    Deerwester et al. 1990, doi:10.1002/(SICI)1097-4571(199009)41:6<391::AID-ASI1>3.0.CO;2-9.
    """

    def __init__(self, n_components: int = 64, *, max_features: int = 20_000, random_state=None) -> None:
        self.n_components = n_components
        self.max_features = max_features
        self.random_state = random_state

    def fit(self, texts: Sequence[str] | Sequence[Sequence[str]], y=None) -> ReportEncoder:
        """Learn terms and their directions from texts, a sequence of str of length n_samples."""
        self.fit_transform(texts)
        return self

    def fit_transform(self, texts: Sequence[str] | Sequence[Sequence[str]], y=None) -> np.ndarray:
        """Learn from `texts` and return their embeddings, shape (n_samples, n_dimensions), float32."""
        min_df = 2 if len(texts) >= 20 else 1  # a word of one report is a name or a misspelling
        self.vectorizer_ = TfidfVectorizer(
            analyzer=_terms, min_df=min_df, max_features=self.max_features, sublinear_tf=True, dtype=np.float32
        )
        try:
            tfidf = self.vectorizer_.fit_transform(texts)
        except ValueError:  # no term occurs twice
            tfidf = sparse.csr_matrix((len(texts), 0))
        if min(tfidf.shape) < 2:  # nothing to learn directions from
            self.svd_ = None
            return np.zeros((len(texts), 1), dtype=np.float32)
        n_components = max(1, min(self.n_components, min(tfidf.shape) - 1))
        self.svd_ = TruncatedSVD(n_components, random_state=self.random_state)
        with np.errstate(invalid="ignore", divide="ignore"):  # reports that are all alike have no variance to share out
            return self.svd_.fit_transform(tfidf).astype(np.float32)

    def transform(self, texts: Sequence[str] | Sequence[Sequence[str]]) -> np.ndarray:
        """Return embeddings of shape (n_samples, n_dimensions), float32; a text without known terms is all 0."""
        check_is_fitted(self, "vectorizer_")
        if self.svd_ is None:
            return np.zeros((len(texts), 1), dtype=np.float32)
        return self.svd_.transform(self.vectorizer_.transform(texts)).astype(np.float32)


class TermIndicator(TransformerMixin, BaseEstimator):
    """Which reports hold which terms: the 0/1 columns that rules and descriptions are made of.

    Reports are texts, or sequences of terms that `report_terms` gave.

    Parameters
    ----------
    min_count : int
        Reports that must hold a term.
    max_features : int
        Number of terms kept, the most frequent ones.

    Attributes
    ----------
    terms_ : ndarray of shape (n_terms,), str
    """

    def __init__(self, *, min_count: int = 10, max_features: int = 400) -> None:
        self.min_count = min_count
        self.max_features = max_features

    def fit(self, texts: Sequence[str] | Sequence[Sequence[str]], y=None) -> TermIndicator:
        """Choose the terms from texts, a sequence of str of length n_samples."""
        self.vectorizer_ = CountVectorizer(
            analyzer=_terms, binary=True, min_df=self.min_count, max_features=self.max_features, dtype=np.uint8
        )
        try:
            self.vectorizer_.fit(texts)
            self.terms_ = self.vectorizer_.get_feature_names_out()
        except ValueError:  # no term is frequent enough
            self.terms_ = np.array([], dtype=object)
        return self

    def transform(self, texts: Sequence[str] | Sequence[Sequence[str]]) -> sparse.csr_matrix:
        """Return a sparse 0/1 matrix of shape (n_samples, n_terms)."""
        check_is_fitted(self, "terms_")
        if len(self.terms_) == 0:
            return sparse.csr_matrix((len(texts), 0), dtype=np.uint8)
        return self.vectorizer_.transform(texts)
