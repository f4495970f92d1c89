"""Where a report says what: the words of `mentions`, each with its place in the text."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

from mmaudit.text._context import CONTEXT, tag
from mmaudit.text._lexicon import folded_word, phrases
from mmaudit.text._mentions import CHANGED, NOT_WORDS, QUERY, UNDERSCORE, VERSUS
from mmaudit.text._remembered import remembered
from mmaudit.text._sections import CLEANED, section_spans
from mmaudit.text._terms import CLAUSE

__all__ = ["Place", "headers", "places"]


class Place(NamedTuple):
    """A word or concept of a report, where it stands.

    Attributes
    ----------
    start, end : int
        Where it begins and ends in the text, in characters.
    word : str
        As the lexicon has it.
    status : {"affirmed", "negated", "uncertain"}
    section : str
        Header of its section, as in `Mention`.
    run : int
        Words with the same number stand next to each other and share a status, so that together they are terms.
    """

    start: int
    end: int
    word: str
    status: str
    section: str
    run: int


def places(text: str) -> list[Place]:
    """Return the words and concepts of a report in the order of the text, each where it stands.

    Parameters
    ----------
    text : str
        A report.

    Notes
    -----
    It reads as `mentions` does: the terms of that function are the words of one run, joined. It takes
    longer. A clause that comes again is read once.

    Examples
    --------
    >>> [(p.start, p.end, p.word, p.status) for p in places("No pleural effusions. Tube.")]
    [(3, 20, 'pleural effusion', 'negated'), (22, 26, 'tube', 'affirmed')]
    """
    found: list[Place] = []
    n_runs = 0
    traced = _cleaned(text)
    for section, _, start, end in section_spans(traced.text):
        part = traced.cut(start, end)
        for pattern, instead in CHANGED:
            part = part.sub(pattern, instead)
        part = part.lower().sub(UNDERSCORE, " ").sub(VERSUS, "versus").sub(QUERY, "?")
        at = 0
        for mark in [*CLAUSE.finditer(part.text), None]:
            clause = part.cut(at, len(part.text) if mark is None else mark.start()).strip()
            if mark is not None:
                at = mark.end()
                if "?" in mark.group():
                    clause = _Traced(clause.text + "?", [*clause.at, part.at[mark.start()]])
            before = None
            for first, last, word, status, follows in _clause_places(clause.text):
                n_runs += not (follows and status == before)
                before = status
                found.append(Place(clause.at[first], clause.at[last] + 1, word, status, section, n_runs))
    return found


@remembered(maxsize=10_000)
def _clause_places(clause: str) -> tuple[tuple[int, int, str, str, bool], ...]:
    """Return for each word of a clause its first and last character, itself, its status, and if it follows at once."""
    folded = _traced(clause).sub(NOT_WORDS, " ").folded()
    tokens = (m for m in CONTEXT.finditer(folded.text) if m.lastgroup == "token" and folded_word(m.group()))
    return tuple(
        (folded.at[match.start()], folded.at[match.end() - 1], *said)
        for match, said in zip(tokens, tag(folded.text, CONTEXT, folded_word), strict=True)
    )


def headers(text: str) -> list[tuple[int, int]]:
    """Return where the headers of the sections of a report begin and end, with their colons."""
    traced = _cleaned(text)
    spans = [(start, end) for name, start, end, _ in section_spans(traced.text) if name]
    return [(traced.at[start], traced.at[end - 1] + 1) for start, end in spans]


class _Traced:
    """A text that was made from another, and the place in that one of each of its characters."""

    def __init__(self, text: str, at: list[int]) -> None:
        self.text, self.at = text, at

    def cut(self, start: int, end: int) -> _Traced:
        return _Traced(self.text[start:end], self.at[start:end])

    def strip(self) -> _Traced:
        start = len(self.text) - len(self.text.lstrip())
        return self.cut(start, max(start, len(self.text.rstrip())))

    def lower(self) -> _Traced:
        lowered = self.text.lower()
        if len(lowered) != len(self.text):  # a letter that is two in small letters stays as it is
            lowered = "".join(c.lower() if len(c.lower()) == 1 else c for c in self.text)
        return _Traced(lowered, self.at)

    def sub(self, pattern: re.Pattern[str], instead: str) -> _Traced:
        return self._with((match.start(), match.end(), instead) for match in pattern.finditer(self.text))

    def folded(self) -> _Traced:
        return self._with((start, end, concept.replace(" ", "_")) for start, end, concept in phrases(self.text))

    def _with(self, changes: Iterable[tuple[int, int, str]]) -> _Traced:
        texts: list[str] = []
        at: list[int] = []
        done = 0
        for start, end, instead in changes:
            texts += [self.text[done:start], instead]
            at += self.at[done:start]
            if instead:  # from the first character that it stands for to the last
                at += [self.at[start]] * (len(instead) - 1) + [self.at[end - 1]]
            done = end
        return _Traced("".join([*texts, self.text[done:]]), at + self.at[done:]) if texts else self


def _traced(text: str) -> _Traced:
    return _Traced(text, list(range(len(text))))


def _cleaned(text: str) -> _Traced:
    traced = _traced(text)
    for pattern, instead in CLEANED:
        traced = traced.sub(pattern, instead)
    return traced
