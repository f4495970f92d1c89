"""The terms of a report, denied ones apart, and the words that restate a label."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS

from mmaudit.text._context import AFFIRMED, NEGATED, NEGEX, Tagged, tag
from mmaudit.text._remembered import remembered

__all__ = [
    "CLAUSE",
    "CONCEPTS",
    "STOP_WORDS",
    "clause_terms",
    "label_terms",
    "report_terms",
    "restates_label",
    "runs",
    "singular",
    "term_clauses",
]

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

# Marks that a blank or the end comes after, or line breaks. A run of marks is tried from its first only: from each of
# them, a line of 100,000 dots would take minutes. What a match begins with comes first, for it to be found fast.
CLAUSE = re.compile(r"[.;:?!\n](?:(?<![.;:?!\n]{2})[.;:?!\n]*(?=\s|$)|(?<=\n)\n*)")
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
STOP_WORDS = ENGLISH_STOP_WORDS | _FILLERS | {"xxxx", "patient", "year", "old", "mr", "mrs", "dr"}


_NO = {AFFIRMED: "", NEGATED: "no "}


@remembered(maxsize=10_000)
def clause_terms(clause: str, max_words: int = 2) -> tuple[tuple[str, ...], ...]:
    """Return the terms of a clause: those of one word, of two and so on, and concepts last."""
    tokens = tag(_NO_DEVICE.sub(" ", clause), NEGEX, lambda word: "" if word in STOP_WORDS else singular(word))
    found = [(words, _NO[status]) for words, status in runs(tokens)]
    return (
        *(
            tuple(no + " ".join(words[i : i + n]) for words, no in found for i in range(len(words) - n + 1))
            for n in range(1, max_words + 1)
        ),
        tuple(no + concept for words, no in found for word in words for concept in _CONCEPTS_OF.get(word, ())),
    )


def singular(word: str) -> str:
    """Return a word without its plural ending, by its letters alone."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if word.endswith("sses"):
        return word[:-2]
    if len(word) > 3 and word.endswith("s") and word[-2] not in "suiao":
        return word[:-1]
    return word


def report_terms(text: str, *, max_words: int = 2) -> list[str]:
    """Return the terms of a report: words, word pairs and concepts, with "no " before those that are negated.

    A negated mention is another term than an affirmed one; doubt is no status here (see `mentions`), but "rule out"
    denies. Plurals are folded. A concept such as "tube or line" is
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
    parts = [clause_terms(clause, max_words) for clause in term_clauses(text)]
    return [term for k in range(max_words + 1) for of_clause in parts for term in of_clause[k]]


def term_clauses(text: str) -> list[str]:
    """Return the clauses of a report in small letters, as `report_terms` reads them."""
    return [clause for part in CLAUSE.split(text.lower()) if (clause := part.strip())]


def runs(words: Iterable[Tagged]) -> list[tuple[list[str], str]]:
    """Return the words of a clause in runs that stand next to each other and share a status, each with it."""
    found: list[tuple[list[str], str]] = []
    for word, status, follows in words:
        if follows and found and found[-1][1] == status:
            found[-1][0].append(word)
        else:
            found.append(([word], status))
    return found


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
    return any(_holds(term, w) or _holds(term, singular(w)) for w in words)


def _holds(text: str, words: str) -> bool:
    return f" {words} " in f" {text} "
