"""Sections of a radiology report, found by the headers at the start of a line.

Written here instead of taken from the MIMIC code repository: that parser is a script with lists of hand-corrected
study numbers, and this package needs a function of the text alone.
"""

from __future__ import annotations

import re

__all__ = [
    "CLEANED",
    "findings_and_impression",
    "last_paragraph",
    "report_sections",
    "section_parts",
    "section_spans",
]

# Any line that starts in capitals followed by a colon; the few headers that also occur in small letters by name.
_HEADER = re.compile(
    r"^[ \t]*([A-Z][A-Z0-9 ,()/&._-]+[A-Z)]"
    r"|(?i:findings?|impressions?|conclusions?|indications?|techniques?|comparisons?|history|examination))[ \t]*:",
    re.MULTILINE,
)
_BANNER = re.compile(r"^[ \t]*(?:FINAL|PRELIMINARY|INTERIM) (?:REPORT|ADDENDUM)[ \t]*$", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*[_=*-]{5,}[ \t]*$", re.MULTILINE)
_RULE_MARKS = re.compile(r"[_=*-][_=*-]{4}")
_RETURN = re.compile(r"\r\n?")
_PARAGRAPH = re.compile(r"\n[ \t]*\n")

# What is taken out before a report is read, in this order, and what comes instead of it
CLEANED = ((_RETURN, "\n"), (_BANNER, ""), (_RULE, ""))

_SAME = {
    "FINDING": "FINDINGS",
    "FINDINGS AND IMPRESSION": "FINDINGS",
    "FINDINGS/IMPRESSION": "FINDINGS",
    "IMPRESSIONS": "IMPRESSION",
    "IMPRESSON": "IMPRESSION",
    "CONCLUSION": "IMPRESSION",
    "CONCLUSIONS": "IMPRESSION",
    "HISTORY": "INDICATION",
    "CLINICAL HISTORY": "INDICATION",
    "CLINICAL INDICATION": "INDICATION",
    "CLINICAL INFORMATION": "INDICATION",
    "INDICATIONS": "INDICATION",
    "REASON FOR EXAM": "INDICATION",
    "REASON FOR EXAMINATION": "INDICATION",
    "REASON FOR THIS EXAMINATION": "INDICATION",
    "COMPARISONS": "COMPARISON",
    "COMPARISON STUDY": "COMPARISON",
    "TECHNIQUES": "TECHNIQUE",
    "EXAM": "EXAMINATION",
}


def report_sections(text: str) -> dict[str, str]:
    r"""Return the sections of a report by header, in the order of the text.

    Parameters
    ----------
    text : str
        A whole report. A header is a line's beginning in capitals and a colon ("FINDINGS:"); the common ones are
        also known in small letters ("Impression:").

    Returns
    -------
    dict of str to str
        Text of each section, white space folded to single blanks, under its header in capitals. Synonyms are
        gathered ("CONCLUSION" is IMPRESSION, "REASON FOR EXAM" is INDICATION); a header that comes twice is joined.
        Text before the first header has no entry, nor have headers without text.

    References
    ----------
    In the spirit of the section parser of Johnson et al., "MIMIC-CXR", 2019, doi 10.1038/s41597-019-0322-0; unlike
    it, there are no corrections for single studies.

    Examples
    --------
    >>> report_sections("FINAL REPORT\n INDICATION: Cough.\n\n FINDINGS:  No\n effusion.\n\n IMPRESSION: Normal.")
    {'INDICATION': 'Cough.', 'FINDINGS': 'No effusion.', 'IMPRESSION': 'Normal.'}
    """
    sections: dict[str, str] = {}
    for name, part in section_parts(text):
        body = " ".join(part.split())
        if name and body:
            sections[name] = f"{sections[name]} {body}" if name in sections else body
    return sections


def section_parts(text: str) -> list[tuple[str, str]]:
    """Return name and text of each part of a report, lines as they are; the name before the first header is ""."""
    text = _cleaned(text)
    return [(name, text[start:end]) for name, _, start, end in section_spans(text)]


def _cleaned(text: str) -> str:
    # A search for a mark is much faster than one for a line.
    if "\r" in text:
        text = _RETURN.sub("\n", text)
    if "REPORT" in text or "ADDENDUM" in text:
        text = _BANNER.sub("", text)
    return _RULE.sub("", text) if _RULE_MARKS.search(text) else text


def section_spans(text: str) -> list[tuple[str, int, int, int]]:
    """Return of each part of a cleaned text its name, where its header begins, and where its body begins and ends."""
    headers = list(_HEADER.finditer(text)) if ":" in text else []
    ends = [*(header.start() for header in headers), len(text)]
    spans = [("", 0, 0, ends[0])]
    for header, end in zip(headers, ends[1:], strict=True):
        name = " ".join(header[1].upper().split())
        spans.append((_SAME.get(name, name), header.start(), header.end(), end))
    return spans


def findings_and_impression(text: str) -> str:
    """Return FINDINGS and IMPRESSION of a report as one line; the last paragraph where it has neither."""
    sections = report_sections(text)
    parts = [sections[name] for name in ("FINDINGS", "IMPRESSION") if name in sections]
    return " ".join(parts) if parts else last_paragraph(text)


def last_paragraph(text: str) -> str:
    """Return the last paragraph of a report as one line."""
    paragraphs = [p for p in _PARAGRAPH.split(_cleaned(text)) if p.strip()]
    return " ".join(paragraphs[-1].split()) if paragraphs else ""
