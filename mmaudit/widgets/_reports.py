"""A case in words: its report with the terms of a slice marked, its metadata; and which reports hold some words."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from mmaudit._errors import InputError
from mmaudit.explain._tokens import IN_REASON, LEFT_OUT, REASON, _kinds_of
from mmaudit.report._explained import ABSENT_SHOWN, TERMS_SHOWN
from mmaudit.text import CONCEPTS
from mmaudit.text._places import Place, headers, places
from mmaudit.text._terms import singular
from mmaudit.widgets._cases import pack

if TYPE_CHECKING:
    from mmaudit.widgets._base import Answer, AuditWidget, Job

__all__ = ["MOST_CHARACTERS", "case", "marked", "search", "slice_terms", "sought"]

MOST_CHARACTERS = 100_000  # of a report that are shown
MOST_OF_A_VALUE = 2_000  # characters of one value of metadata
MOST_WORDS, MOST_SOUGHT = 12, 400  # words of a search, and its characters
STEP = 500  # reports between two words about progress
LONGEST_TERM = 3
HEADER = "header"

Span = tuple[int, int, str, str]
_CONCEPT = re.compile(r"\[(?:possible )?(.+)\]")
_QUOTED = re.compile(r'(?:report (?:mentions|does not mention) )?"(?:no )?([^"]+)"')
_WORD = re.compile(r"[a-z][a-z0-9'-]*[a-z0-9]")
_TWO_UNITS = re.compile(r"[\U00010000-\U0010ffff]")
_LONE = re.compile(r"[\ud800-\udfff]")
# A character that moves the cursor or rings a bell is shown by its picture, which is as long.
_CONTROLS = {code: 0x2400 + code for code in range(32) if chr(code) not in "\t\n"} | {127: 0x2421}
_CONTROLS |= dict.fromkeys(range(0x80, 0xA0), 0xFFFD)


def case(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Answer with what is known of one case in words.

    Its `report` has at most `MOST_CHARACTERS` (`cut`: whether it is longer); `spans` say in units of UTF-16, as the
    page counts, where terms of the slice stand and whether they are affirmed, negated or uncertain there, and where
    headers of sections stand.
    """
    cases = widget.cases
    position = content.get("position")
    if not isinstance(position, int) or isinstance(position, bool) or not 0 <= position < cases.n:
        raise InputError("position", f"a case, 0 to {cases.n - 1}", "another value", "Load the page again.")
    slice_id = str(content.get("slice_id") or "")
    frame = cases.frame(np.array([position]))
    own = [column for column in frame if not str(column).startswith(("y_true", "y_proba", "wrong"))]
    values = frame.iloc[0]
    answer: dict[str, Any] = {
        "sample": shown(str(cases.ids[position])),
        "part": str(values["part"]) if cases.result is not None else "",
        "report": None,
        "cut": False,
        "n_chars": 0,
        "spans": [],
        "terms": 0,
        "metadata": [
            [shown(str(column)), _value(values[column])]
            for column in own
            if not (cases.result is not None and column == "part")
        ],
    }
    if cases.data is not None and cases.data.reports is not None and cases.rows is not None:
        whole = str(cases.data.reports[int(cases.rows[position])])
        report = shown(whole[:MOST_CHARACTERS])
        terms = slice_terms(widget, slice_id)
        found = marked(report, terms)
        answer |= {
            "report": report,
            "cut": len(whole) > MOST_CHARACTERS,
            "n_chars": len(whole),
            "spans": in_utf16(report, found),
            "terms": len(terms),
        }
    return answer, []


def shown(text: str) -> str:
    """Return a text as it is shown: line ends as one character, others that steer a terminal as pictures of them."""
    return _LONE.sub("\ufffd", text.replace("\r\n", "\n").replace("\r", "\n")).translate(_CONTROLS)


def _value(value: Any) -> str:
    if pd.isna(value):
        return "missing"
    text = f"{value:g}" if isinstance(value, (float, np.floating)) else str(value)
    return shown(text[:MOST_OF_A_VALUE] + (" …" if len(text) > MOST_OF_A_VALUE else ""))


def slice_terms(widget: AuditWidget, slice_id: str) -> list[str]:
    """Return the report terms of a slice: of its rule and of what its card shows, none that restate the label.

    Terms are in the words of `mentions`, those of the reason for the examination with "indication: " before them;
    words of a rule, as `report_terms` finds them, stand in quotation marks. A slice that the user made has the terms of
    its row.
    """
    result: Any = widget.result
    found: list[str] = []
    if result is not None:
        told = result.explanations.get(slice_id, {})
        selectors = [part.get("selector") or {} for part in told.get("parts", ())]
        rules = [result.rules.get(slice_id) or (), *(selector.get("rule") or () for selector in selectors)]
        for part in (part for rule in rules for part in rule):
            column = str(part.get("column", ""))
            if part.get("operator") in ("mentions", "lacks"):
                concept = _CONCEPT.fullmatch(column)
                found.append(concept[1] if concept else column)
        found += [str(term["term"]) for selector in selectors for term in selector.get("terms") or ()]
        named = [term for term in told.get("terms", ()) if not term.get("label_term")]
        absent = [str(term["term"]) for term in named if term["status"] == "negated"]
        found += [str(term["term"]) for term in named if term["status"] != "negated"][:TERMS_SHOWN]
        found += absent[:ABSENT_SHOWN]
        found += [str(trait["phrase"]) for trait in result.traits.get(slice_id, ()) if trait.get("kind") == "report"]
    row = next((row for row in widget._rows if row["id"] == slice_id), None)
    if row is not None and row.get("origin", "discovery") != "discovery":
        found += [str(term["text"]) for term in row.get("terms", ())]
    quoted = ((term, _QUOTED.fullmatch(term)) for term in found)
    return list(dict.fromkeys(f'"{match[1]}"' if match else term for term, match in quoted))


def marked(report: str, terms: Sequence[str]) -> list[Span]:
    """Return where a report says which of some terms, and how, and where its headers stand.

    Parameters
    ----------
    report : str
    terms : sequence of str
        As `slice_terms` gives them.

    Returns
    -------
    list of (start, end, status, term)
        In the order of the text, none within another: of two at one place the longer. `status` is that of the mention
        there, "affirmed", "negated" or "uncertain", or "header". As in the audit, the list of earlier films is left
        out.
    """
    said = places(report) if terms else []
    spans: list[Span] = [(start, end, HEADER, "") for start, end in headers(report)]
    quoted = [term.strip('"') for term in terms if term.startswith('"')]
    spans += [
        *_of_concepts(said, {term for term in terms if not term.startswith('"')}),
        *_of_words(report, said, quoted),
    ]
    kept: list[Span] = []
    taken = np.zeros(len(report), dtype=bool)
    for span in sorted(spans, key=lambda s: (s[2] == HEADER, s[0] - s[1], s[0])):
        if not taken[span[0] : span[1]].any():
            taken[span[0] : span[1]] = True
            kept.append(span)
    return sorted(kept)


def _of_concepts(said: Sequence[Place], wanted: set[str]) -> list[Span]:
    longest = max((len(term.split()) for term in wanted), default=0)
    spans: list[Span] = []
    for i, first in enumerate(said):
        if first.section == LEFT_OUT:
            continue
        before = IN_REASON if first.section == REASON else ""
        words = []
        for last in said[i : i + max(longest, LONGEST_TERM)]:
            if last.run != first.run:
                break
            words.append(last.word)
            name = " ".join(words)
            # "Left chest tube" is a support device too, but its second word alone says so.
            names = (name, *_kinds_of(name)) if last is first else (name,)
            match = next((n for n in names if before + n in wanted), None)
            if match is not None:
                spans.append((first.start, last.end, first.status, before + match))
    return spans


def _of_words(report: str, said: Sequence[Place], terms: Sequence[str]) -> list[Span]:
    """Return where words stand as they are written, each in the singular."""
    if not terms:
        return []
    lowered = _lower(report)
    found = list(_WORD.finditer(lowered))
    words = [singular(match.group()) for match in found]
    starts: dict[str, list[int]] = {}
    for i, word in enumerate(words):
        starts.setdefault(word, []).append(i)
    status_at: dict[int, str] = {}
    for place in said:
        status_at |= dict.fromkeys(range(place.start, place.end), place.status)
    spans = []
    for term in terms:
        for sequence in [[word] for word in CONCEPTS.get(term, ())] or [term.split()]:
            for i in starts.get(sequence[0], ()):
                last = i + len(sequence) - 1
                if words[i : last + 1] != sequence:
                    continue
                if all(lowered[found[k].end() : found[k + 1].start()].isspace() for k in range(i, last)):
                    start, end = found[i].start(), found[last].end()
                    status = next((status_at[at] for at in range(start, end) if at in status_at), "affirmed")
                    spans.append((start, end, status, term))
    return spans


def _lower(text: str) -> str:
    """Return a text in small letters, each as long as it was."""
    lowered = text.lower()
    return lowered if len(lowered) == len(text) else "".join(c.lower() if len(c.lower()) == 1 else c for c in text)


def in_utf16(text: str, spans: Iterable[Span]) -> list[list[Any]]:
    """Return spans as JavaScript counts: a character beyond the first 65,536 is two units."""
    wide = np.array([match.start() for match in _TWO_UNITS.finditer(text)], dtype=int)
    return [
        [start + int(np.searchsorted(wide, start)), end + int(np.searchsorted(wide, end)), status, term]
        for start, end, status, term in spans
    ]


def sought(text: str) -> list[str]:
    """Return the words of a search in small letters; what stands in quotation marks is one.

    Raises
    ------
    InputError
        No word, or too many.
    """
    words = []
    for k, part in enumerate(_lower(text[: MOST_SOUGHT + 1]).split('"')):
        words += [" ".join(part.split())] if k % 2 else part.split()
    words = [word for word in words if word]
    if not 1 <= len(words) <= MOST_WORDS or len(text) > MOST_SOUGHT:
        raise InputError(
            "text", f"1 to {MOST_WORDS} words of at most {MOST_SOUGHT} characters", f"{len(words)} words",
            "Write fewer words.",
        )  # fmt: skip
    return words


def search(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Answer with which reports hold all of some words: `found`, 1 or 0 for each case.

    Small and capital letters are the same, and a word is found at the beginning of longer ones. With `affirmed_only`
    what a report denies is not found: each word must stand where it is affirmed or doubted.
    """
    cases = widget.cases
    data = cases.data
    if data is None or data.reports is None or cases.rows is None:
        raise InputError("text", "data with reports", "data without", "Give the widget data with report=.")
    words = sought(str(content.get("text", "")))
    affirmed_only = bool(content.get("affirmed_only"))
    found = np.zeros(cases.n, dtype=np.uint8)
    for position, row in enumerate(cases.rows):
        if position % STEP == 0:
            job.step(position, cases.n, "reading reports")
        found[position] = holds(str(data.reports[row]), words, affirmed_only=affirmed_only)
    sections, block = pack({"found": found})
    return {"sections": sections, "n_found": int(found.sum()), "words": words}, [block]


def holds(report: str, words: Sequence[str], *, affirmed_only: bool = False) -> bool:
    """Return whether a report holds all of some words of `sought`."""
    lowered = " ".join(_lower(report).split()) if any(" " in word for word in words) else _lower(report)
    if not all(next(_found(lowered, word), None) is not None for word in words):
        return False
    if not affirmed_only:
        return True
    report = report[:MOST_CHARACTERS]
    lowered = _lower(report)
    denied = np.zeros(len(report) + 1, dtype=bool)
    for place in places(report):
        if place.status == "negated":
            denied[place.start : place.end] = True
    spans = {word: [(at, at + len(word)) for at in _found(lowered, word)] for word in words if " " not in word}
    for word in words:
        if " " in word:  # its blanks may be line ends in the report
            pattern = re.compile(r"\s+".join(map(re.escape, word.split())))
            spans[word] = [match.span() for match in pattern.finditer(lowered)]
    return all(any(not denied[start:end].any() for start, end in found) for found in spans.values())


def _found(text: str, word: str):
    """Yield where a word begins in a text, both in small letters."""
    at = text.find(word)
    while at >= 0:
        # Of scripts that set words apart by blanks a word is found where one begins, so that "no" is not in "piano".
        if not (word[0].isascii() and word[0].isalnum() and text[at - 1 : at].isalnum()):
            yield at
        at = text.find(word, at + 1)
