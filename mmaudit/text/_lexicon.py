"""The words of chest films: which of them mean one thing, and what kind of thing it is.

`lexicon.csv` has a row a concept: its name, its category, other ways to say it, and where the word belongs. It was
compiled from knowledge of the field and from the words of Open-i, along RadLex (radlex.org), the mention lists of the
CheXpert labeler (arXiv:1901.07031), the Fleischner glossary (Hansell et al. 2008, doi:10.1148/radiol.2462070712;
Bankier et al. 2024, doi:10.1148/radiol.232558) and the MeSH headings of Open-i (doi:10.1093/jamia/ocv080); no list was
copied. `source` names the collection in whose scope a concept lies.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from mmaudit.text._remembered import remembered
from mmaudit.text._terms import STOP_WORDS, restates_label, singular

__all__ = ["CATEGORIES", "Concept", "canonical", "category_of", "fold", "folded_word", "lexicon", "phrases"]

CATEGORIES = ("label-term", "finding", "device", "acquisition", "anatomy", "style")
_WORD = re.compile(r"[a-z0-9']+")
_TOKEN = re.compile(r"(?<![a-z0-9])[a-z][a-z0-9'_-]*[a-z0-9]")
_DROPPED = STOP_WORDS | {"pt", "doe", "doesn't"}
_BETWEEN = re.compile(r"[\s/-]+")


class Concept(NamedTuple):
    """A row of the lexicon."""

    name: str
    category: str
    variants: tuple[str, ...]
    source: str


class _Lookup(NamedTuple):
    concepts: dict[tuple[str, ...], str]  # by the words of each of its variants, in the singular
    categories: dict[str, str]  # by concept
    longest: dict[str, int]  # by the first word of a variant: words of the longest that begins with it
    words: frozenset[str]


@cache
def lexicon() -> tuple[Concept, ...]:
    """Return the concepts of the lexicon."""
    with (Path(__file__).parent / "lexicon.csv").open(encoding="utf-8", newline="") as rows:
        return tuple(
            Concept(row["concept"], row["category"], tuple(filter(None, row["variants"].split("|"))), row["source"])
            for row in csv.DictReader(rows)
        )


@cache
def _lookup() -> _Lookup:
    concepts: dict[tuple[str, ...], str] = {}
    longest: dict[str, int] = {}
    for concept in lexicon():
        for variant in (concept.name, *concept.variants):
            words = tuple(singular(word) for word in _WORD.findall(variant))
            concepts[words] = concept.name
            longest[words[0]] = max(len(words), longest.get(words[0], 0))
    known = frozenset(word for variant in concepts for word in variant)
    return _Lookup(concepts, {c.name: c.category for c in lexicon()}, longest, known)


@remembered(maxsize=50_000)
def _singular(word: str) -> str:
    """Return a word as the lexicon has it, else without its plural ending."""
    word = word.removesuffix("'s").strip("'")
    known = _lookup().words
    for ending, instead in (("", ""), ("s", ""), ("es", ""), ("ies", "y")):
        if word.endswith(ending) and (stem := word.removesuffix(ending) + instead) in known:
            return stem
    return singular(word)


def fold(text: str) -> str:
    """Return a text in small letters in which each known phrase is its concept, with "_" for blanks.

    The longest phrase that begins at a word is taken. Single words are left to `folded_word`, so that triggers of
    denial and doubt are still there to be read.
    """
    parts, at = [], 0
    for start, end, concept in phrases(text):
        parts += [text[at:start], concept.replace(" ", "_")]
        at = end
    return "".join([*parts, text[at:]])


def phrases(text: str) -> Iterator[tuple[int, int, str]]:
    """Yield where each phrase that `fold` replaces begins and ends, and its concept."""
    concepts, _, longest, _ = _lookup()
    found = list(_WORD.finditer(text))
    words = [_singular(match.group()) for match in found]
    i = 0
    while i < len(words):
        n_words = 1
        for n in range(min(longest.get(words[i], 1), len(words) - i), 1, -1):
            concept = concepts.get(tuple(words[i : i + n]))
            if concept is not None and _stand_together(text, found[i : i + n]):
                yield found[i].start(), found[i + n - 1].end(), concept
                n_words = n
                break
        i += n_words


def _stand_together(text: str, found: Sequence[re.Match[str]]) -> bool:
    """Return whether nothing but blanks or hyphens parts some words, and no hyphen ties them to others."""
    start, end = found[0].start(), found[-1].end()
    return (
        all(_BETWEEN.fullmatch(text, a.end(), b.start()) for a, b in pairwise(found))
        and text[start - 1 : start] != "-"
        and (text[end : end + 1] != "-" or not text[end + 1 : end + 2].isalnum())
    )


@remembered(maxsize=50_000)
def folded_word(word: str) -> str:
    """Return the concept of a word or of a phrase that `fold` has made one, the singular, or "" for a stop word."""
    words = tuple(_singular(w) for w in _WORD.findall(word.replace("_", " ")))
    concept = _lookup().concepts.get(words)
    if concept is not None:
        return concept
    stem = _singular(word)
    return "" if word in _DROPPED or stem in _DROPPED or "xxxx" in word else stem


def canonical(phrase: str) -> str:
    """Return a phrase in the words of the lexicon.

    Parameters
    ----------
    phrase : str
        A term, in any case.

    Returns
    -------
    str
        Small letters; each variant that the lexicon knows is its concept, other words are in the singular, stop words
        are left out.

    Examples
    --------
    >>> canonical("Left chest drains"), canonical("the odd shapes")
    ('left chest tube', 'odd shape')
    """
    return " ".join(_tokens(phrase))


def _tokens(phrase: str) -> list[str]:
    found = (folded_word(match.group()) for match in _TOKEN.finditer(fold(phrase.lower().replace("_", " "))))
    return [word for word in found if word]


@lru_cache(maxsize=100)
def _restating(label_words: tuple[str, ...]) -> frozenset[str]:
    """Return the concepts one of whose variants holds a word of the label: folded, they no longer show it."""
    return frozenset(c.name for c in lexicon() if any(restates_label(v, label_words) for v in (c.name, *c.variants)))


def category_of(term: str, label_words: Sequence[str] = ()) -> str:
    """Return what kind of thing a term speaks of.

    Parameters
    ----------
    term : str
        A term of `mentions`, or any phrase.
    label_words : sequence of str
        Words that restate the label, as `label_terms` gives them.

    Returns
    -------
    {"label-term", "finding", "device", "acquisition", "anatomy", "style"}
        "label-term" where the term holds a word of the label, or a concept of which a variant does. Else the category
        of its last word or concept ("left chest tube" is a device), if the lexicon knows it. Else "style": an unknown
        word is taken for wording, not for medicine. Sizes, degrees, symptoms and diagnoses are findings; who the
        patient is, time and units are style.

    Examples
    --------
    >>> category_of("left chest drain"), category_of("oedema", ["edema"]), category_of("kindly")
    ('device', 'label-term', 'style')
    """
    tokens = _tokens(term)
    words = tuple(word.lower() for word in label_words)
    if restates_label(term.lower(), words) or not _restating(words).isdisjoint(tokens):
        return "label-term"
    categories = _lookup().categories
    return categories.get(tokens[-1], "style") if tokens else "style"
