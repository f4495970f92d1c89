"""One slice on one card: as text, Markdown, a page of its own, and in a notebook."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from mmaudit._errors import InputError, check_keywords
from mmaudit.report import _format as fmt
from mmaudit.report._card import (
    INTERVALS,
    by_reader,
    compared,
    finding_lines,
    md,
    shares,
    table,
    term_words,
    tested_sentences,
    trait_words,
    triage_words,
    wrap,
)
from mmaudit.report._html import render_slice_card, rows_in_order

__all__ = ["SliceCard"]

_LABEL = 18  # columns of the names of facts in text


class SliceCard:
    """What is known of one slice: a sentence, a verdict, the numbers, what it is, how it was tested, what it is not.

    Parameters
    ----------
    summary : dict
        What `AuditResult.summary()` returns; its slices may have an "explanation", and it "thumbnails".
    slice_id : str
        One of its slices.
    show_label_terms : bool
        Whether terms that restate the label are shown, marked; else they are only counted.

    Raises
    ------
    InputError
        If the summary has no such slice.

    Notes
    -----
    An explanation that did not hold on the confirmation patients is shown, struck through and with the reason: what
    was tried is part of what was found. Text and HTML hold the names of samples and HTML the pictures that are in the
    summary: share them as you may share the data. Markdown holds neither.

    Examples
    --------
    >>> row = {"slice_id": "s1", "description": "view = AP", "sentence": "Where view = AP, 6 of 10 are missed."}
    >>> card = SliceCard({"title": "Audit", "candidates": [row]}, "s1")
    >>> print(card.to_text().splitlines()[2])
    Where view = AP, 6 of 10 are missed.
    """

    @check_keywords
    def __init__(self, summary: Mapping[str, Any], slice_id: str, *, show_label_terms: bool = False) -> None:
        rows = rows_in_order(summary, show_label_terms)
        found = [row for row in rows if row.get("slice_id") == slice_id]
        if not found:
            raise InputError("slice_id", "one of the slices of the audit", f"{slice_id!r}", "Check its spelling.")
        self.slice_id = slice_id
        self._summary: Mapping[str, Any] = summary
        self._row: Mapping[str, Any] = found[0]

    @classmethod
    def of_row(cls, summary: Mapping[str, Any], row: Mapping[str, Any]) -> SliceCard:
        """Return the card of one of `rows_in_order(summary)`, for who has made those already."""
        card = cls.__new__(cls)
        card.slice_id, card._summary, card._row = row["slice_id"], summary, row
        return card

    def to_dict(self) -> dict[str, Any]:
        """Return the card as a JSON-able dict of words, without pictures or sample ids.

        Returns
        -------
        dict
            `sentence`, `verdict`, `reason`, `left_out`, `leakage`, `triage` (str); `facts` (name and text of each);
            `what`: `sentence` and `parts`, each with `name`, `text`, `holds` (bool, or None where it was not tested),
            `standing` and `numbers`; `terms` and `absent`, each with `text`, `status`, `tags` and `words`; `traits`,
            `tested`, `limits` (lists of str).
        """
        row, view = self._row, self._row["view"]

        def terms(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
            return [
                {"text": term.get("term"), "status": term.get("status"), "tags": term["tags"], "words": shares(term)}
                for term in found
            ]

        parts = [{key: part[key] for key in ("name", "text", "holds", "standing", "numbers")} for part in view["parts"]]
        return _words(
            {
                "sentence": row.get("sentence") or row.get("description"),
                "verdict": row["verdict"],
                "reason": row["reason"],
                "facts": [list(fact) for fact in _facts(row)],
                "what": {"sentence": view["sentence"], "parts": parts},
                "terms": terms(view["terms"]),
                "absent": terms(view["absent"]),
                "traits": [trait_words(trait) for trait in view["traits"]],
                "left_out": view["left_out"],
                "leakage": view["leakage"],
                "triage": triage_words(view["triage"]),
                "tested": _tested(self._summary, row),
                "limits": [fmt.NOT_CLINICAL, *fmt.SLICE_LIMITS],
            }
        )

    def to_text(self) -> str:
        """Return the card as plain text, at most 100 columns wide; what did not hold is marked "[does not hold]"."""
        return "\n".join(_text_lines(self._summary, self._row)).replace(fmt.NBSP, " ") + "\n"

    def to_markdown(self) -> str:
        """Return the card in GitHub's Markdown, with headings from level 3 on, without pictures or sample ids."""
        return "\n".join(_markdown_lines(self._summary, self._row)).replace(fmt.NBSP, " ") + "\n"

    def to_html(self) -> str:
        """Return the card as a page of its own, which asks for nothing outside itself and runs no script."""
        return render_slice_card(self._summary, self._row, _tested(self._summary, self._row), notebook=False)

    def _repr_html_(self) -> str:
        return render_slice_card(self._summary, self._row, _tested(self._summary, self._row), notebook=True)

    def __str__(self) -> str:
        return self.to_text()

    def __repr__(self) -> str:
        return f"SliceCard({self.slice_id!r}): {self._row['verdict']}. {fmt.one_line(self._row.get('description'))}"


def _words(value: Any) -> Any:
    """Return the same with every text on one line and without control characters; None as ""."""
    if isinstance(value, Mapping):
        return {key: None if key == "holds" and one is None else _words(one) for key, one in value.items()}
    if isinstance(value, list):
        return [_words(one) for one in value]
    return value if isinstance(value, bool) else fmt.one_line(value)


def _tested(summary: Mapping[str, Any], row: Mapping[str, Any]) -> list[str]:
    return [*tested_sentences(summary), f"{compared(row['measure'])} {INTERVALS}"]


def _facts(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield names and numbers of the slice; those without a word of discovery are of the confirmation patients."""
    measure = row["measure"]
    if fmt.absent(row):
        yield "Gap", "not measured: not enough confirmation patients in this slice"
    else:
        between = fmt.interval(row.get("ci_low"), row.get("ci_high"))
        yield "Gap", f"{fmt.points(row.get('gap'))} (95 % interval {between}), q {fmt.p_value(row.get('q_value'))}"
        inside, outside = (fmt.measured(row.get(f"metric_{where}"), measure) for where in ("inside", "outside"))
        yield measure.name[:1].upper() + measure.name[1:], f"{inside} in the slice, {outside} outside it"
    patients, samples = fmt.amount(row.get("n_patients"), "patient"), fmt.amount(row.get("n_samples"), "sample")
    yield "In the slice", f"{patients}, {samples}, of the confirmation part"
    yield "In discovery", f"gap {fmt.points(row.get('discovery_gap'))}"
    yield "Kind of error", fmt.error_type(row.get("error_type")).long_name
    unstable = " (unstable)" if fmt.unstable(row) else ""
    yield "Stability", f"came back in {fmt.percent(row.get('stability'))} of refits{unstable}"
    if row.get("rule"):
        yield "Rule", fmt.one_line(row["rule"])


def _text_lines(summary: Mapping[str, Any], row: Mapping[str, Any]) -> Iterator[str]:
    view = row["view"]

    def items(texts: list[str]) -> Iterator[str]:
        return (wrap(text, "  - ", "    ") for text in texts if text)

    yield wrap(f"{fmt.one_line(summary.get('title'))}, slice {row.get('slice_id')}: {row.get('description')}")
    yield ""
    yield wrap(row.get("sentence") or row.get("description"))
    yield ""
    yield wrap(f"{row['verdict']}{': ' + row['reason'] if row['reason'] else ''}.")
    if by_reader(row):
        yield wrap(by_reader(row))
    yield ""
    for name, text in _facts(row):
        yield wrap(text, f"  {name:<{_LABEL}}", " " * (_LABEL + 2))
    if view["sentence"] or view["parts"]:
        yield from ("", "What it is")
        yield from (wrap(view["sentence"], "  ", "  "),) if view["sentence"] else ()
        for part in view["parts"]:
            mark = "[does not hold] " if part["holds"] is False else ""
            yield wrap(f"{mark}{part['name']}: {part['text']}", "  - ", "    ")
            yield wrap(f"{part['standing']}; {part['numbers']}", "    ", "    ")
    for name, found, words in (
        ("What its reports say more often", view["terms"], term_words),
        ("Said to be absent more often", view["absent"], term_words),
        ("What its members have more often", view["traits"], trait_words),
    ):
        if found:
            yield from ("", name, *items([words(one) for one in found]))
    learned = "Shares are of the discovery part." if view["terms"] or view["absent"] or view["traits"] else ""
    notes = [text for text in (learned, view["left_out"], view["leakage"]) if text]
    if notes:
        yield from ("", *map(wrap, notes))
    if view["triage"]:
        yield from ("", "What its errors look like", wrap(triage_words(view["triage"]), "  ", "  "))
    if view["pairs"]:
        yield from ("", "Typical members; a counterexample is most like one, outside, and the classifier got it right")
        for pair in view["pairs"]:
            other = f"; counterexample {pair['other']['sample_id']}" if pair["other"] else ""
            yield wrap(f"{pair['member']['sample_id']}{other}", "  - ", "    ")
    if view["difference"]:
        yield from ("", "Where its images differ", wrap(view["difference"].get("text"), "  ", "  "))
    yield from ("", "How it was tested", *items(_tested(summary, row)))
    yield from ("", "What this does not show", *items([fmt.NOT_CLINICAL, *fmt.SLICE_LIMITS]))


def _markdown_lines(summary: Mapping[str, Any], row: Mapping[str, Any]) -> Iterator[str]:
    yield from (f"### {md(row.get('description'))}", "")
    yield from finding_lines(row)
    yield ""
    yield from table(("Measure", "Confirmation patients"), ((name, md(text)) for name, text in _facts(row)))
    yield from ("", "#### How it was tested", "", *(f"- {md(text)}" for text in _tested(summary, row)))
    yield from ("", "#### What this does not show", "", f"- **{fmt.NOT_CLINICAL}**")
    yield from (f"- {text}" for text in fmt.SLICE_LIMITS)
    version = f"Made with mmaudit {md(summary.get('mmaudit_version'))}, slice {md(row.get('slice_id'))} of "
    yield from ("", f"{version}{md(summary.get('title'))}.")
