"""What a report says and how surely: terms with status and section."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from mmaudit.text._context import CONTEXT, tag
from mmaudit.text._lexicon import fold, folded_word
from mmaudit.text._remembered import remembered
from mmaudit.text._sections import section_parts
from mmaudit.text._terms import CLAUSE, runs

__all__ = ["Mention", "clause_mentions", "clauses", "mentions"]

# A line that was cut where it was full, not where the author ended it: long, no mark, and small letters go on.
_WRAPPED = re.compile(r"(?<=[^\n]{39}[^\s.;:?!])[ \t]*\n[ \t]*(?=[a-z])")
_GLUED = re.compile(r"\.(?<=[a-z)]\.)(?=[A-Z][a-z])")  # "normal limits.The lungs"; the mark first: found faster
CHANGED = ((_WRAPPED, " "), (_GLUED, ". "))  # in letters as they are written
UNDERSCORE = re.compile("_")
VERSUS = re.compile(r"\bvs\.")
QUERY = re.compile(r"(?<![^\s(,])\?+\s*(?=\w)")  # "? pneumonia" asks of what comes, "pneumonia?" of what was
NOT_WORDS = re.compile(r"\b(?:in line with|first[- ]line|second[- ]line|lead to|leads to)\b")


class Mention(NamedTuple):
    """A term where a report names it.

    Attributes
    ----------
    term : str
        One or more words, in the words of the lexicon.
    status : {"affirmed", "negated", "uncertain"}
    section : str
        Header of the section in capitals, "" for text before the first header or where there is none.
    """

    term: str
    status: str
    section: str


def mentions(text: str, *, max_words: int = 3) -> list[Mention]:
    """Return the terms of a report, each with whether it is affirmed, negated or uncertain, and its section.

    Parameters
    ----------
    text : str
        A report, or a section of one.
    max_words : int
        Longest term, in words that stand next to each other and share a status. A concept of the lexicon is one word,
        however many it is written with; stop words are no terms and part those beside them.

    Returns
    -------
    list of Mention
        In the order of the text by clause, shorter terms first; a term that is named twice comes twice. Variants are
        folded to their concept ("chest drains" is "chest tube"), plurals to the singular. Words that only deny or doubt
        ("no", "possible") are no terms.

    Notes
    -----
    A clause ends at a full stop, semicolon, colon, question mark or line break; a line of 40 characters or more that
    goes on in small letters is taken as wrapped. Removed and resolved things are negated, history is affirmed, and what
    is asked for ("rule out pneumonia") is uncertain. The rules read no grammar: "no effusion, nodule on the
    left" denies both. A clause that comes again is read once.

    References
    ----------
    NegEx, doi:10.1006/jbin.2001.1029; ConText, doi:10.1016/j.jbi.2009.05.002.

    Examples
    --------
    >>> [(m.term, m.status) for m in mentions("No effusions. Possible pneumonia.", max_words=1)]
    [('pleural effusion', 'negated'), ('pneumonia', 'uncertain')]
    """
    return [mention for section, clause in clauses(text) for mention in clause_mentions(clause, section, max_words)]


def clauses(text: str) -> Iterator[tuple[str, str]]:
    """Yield the clauses of a report in small letters, each after the header of its section."""
    for section, part in section_parts(text):
        if "\n" in part:
            part = _WRAPPED.sub(" ", part)
        part = _GLUED.sub(". ", part).lower().replace("_", " ")
        if "vs." in part:
            part = VERSUS.sub("versus", part)
        if "?" in part:
            part = QUERY.sub("?", part)
        at = 0
        for mark in CLAUSE.finditer(part):
            asked = "?" if "?" in mark.group() else ""
            yield section, part[at : mark.start()].strip() + asked
            at = mark.end()
        yield section, part[at:].strip()


@remembered(maxsize=10_000)
def clause_mentions(clause: str, section: str, max_words: int) -> tuple[Mention, ...]:
    """Return the mentions of a clause as `clauses` gives it."""
    said = runs(tag(fold(NOT_WORDS.sub(" ", clause)), CONTEXT, folded_word))
    return tuple(
        Mention(" ".join(words[i : i + n]), status, section)
        for n in range(1, max_words + 1)
        for words, status in said
        for i in range(len(words) - n + 1)
    )
