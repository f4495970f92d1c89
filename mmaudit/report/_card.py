"""The text renderings: a section for a model card in Markdown, and lines for a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from mmaudit.report import _format as fmt

TERMINAL_COLUMNS = 100

_NO_PATIENT_ID = "no patient id was given, so that a patient with several samples may be in both"
_MARKDOWN = re.compile(r"([\\`*_\[\]{}|~#!$])")
_BLOCK_START = re.compile(r"^([-+=]|\d+(?=[.)](?:\s|$)))")


def render_markdown_card(summary: Mapping[str, Any]) -> str:
    """Return the audit as sections of a model card in Markdown.

    Parameters
    ----------
    summary : dict
        What `AuditResult.summary()` returns.

    Returns
    -------
    str
        Two sections, to be pasted into a model card: "Performance in subgroups" and "Known limitations". They hold no
        sample ids and no images.
    """
    data, settings = summary.get("data") or {}, summary.get("settings") or {}
    findings = list(summary.get("findings") or [])
    overlap = "no patient is in both" if data.get("has_patient_id") else _NO_PATIENT_ID
    tried = len(summary.get("candidates") or [])
    measure, targets = fmt.measure(summary), list(data.get("targets") or [])
    several = len(targets) > 1
    compared = f"The {measure.name} in a slice is compared with that of the rest of the samples"
    if measure.name == "error rate":
        compared = "Error rates are compared with the rest of the samples of the same label"
    kind = "Class" if data.get("kind") == "multiclass" else "Label"
    lines = ["## Performance in subgroups", "", f"*{fmt.NOT_CLINICAL}*", "", f"**{_md(summary.get('headline'))}**", ""]
    if findings:
        lines += [
            "Numbers in this table come only from the confirmation patients, whom the search had not seen.",
            "",
            *_table(
                (
                    *([kind] if several else []),
                    "Slice",
                    "Kind of error",
                    "In the slice",
                    "Outside it",
                    "Gap (95 % interval)",
                    "Patients",
                    "q",
                ),
                ((*([_md(fmt.about(summary, r))] if several else []), *_finding_row(r, measure)) for r in findings),
            ),
            "",
            *(f"{k}. {_md(row.get('sentence') or row.get('description'))}" for k, row in enumerate(findings, 1)),
            "",
        ]
    else:
        lines += ["Nothing found is a result: the next section says what could have been found.", ""]

    lines += [
        "### What could have been detected",
        "",
        _md(summary.get("detectable_sentence")),
        "",
    ]
    if summary.get("detectable") and several:
        shares, groups = fmt.detectable_of_several(summary["detectable"])
        head = (
            "Smallest gap found with 80 % power in a slice of",
            *(f"{fmt.percent(share)} of patients" for share in shares),
        )
        lines += [*_table(head, ([_md(who), *map(_detectable_cell, cells)] for who, cells in groups)), ""]
    elif summary.get("detectable"):
        lines += [
            *_table(
                (
                    "Confirmation patients in the slice",
                    "Label",
                    "Share of those with it",
                    "Smallest gap found with 80 % power",
                ),
                (
                    (
                        fmt.count(d.get("n_patients")),
                        fmt.count(d.get("label")),
                        fmt.percent(d.get("share")),
                        fmt.size_points(d.get("gap")),
                    )
                    for d in summary["detectable"]
                ),
            ),
            "",
        ]

    lines += [
        "### How it was tested",
        "",
        f"- Slices were searched for among {_people(data, 'discovery')} and tested on "
        f"{_people(data, 'confirmation')}; {overlap}.",
        f"- {fmt.amount(tried, 'candidate')} tried; all count in the correction (Benjamini-Hochberg, "
        f"alpha {_md(fmt.plain(settings.get('alpha')))}).",
        f"- {_md(compared)}. Intervals resample patients, not images.",
        "",
        "### Data",
        "",
        *_table(("", ""), _data_rows(data)),
        "",
        "## Known limitations",
        "",
    ]
    warnings = list(summary.get("warnings") or [])
    lines += [f"- {_md(text)}" for text in warnings]
    if summary.get("quarantine"):
        lines.append(f"- {fmt.amount(len(summary['quarantine']), 'sample')} could not be used and were left out.")
    lines += [f"- {text}" for text in fmt.LIMITS]
    lines += ["", f"Made with mmaudit {_md(summary.get('mmaudit_version'))}. {fmt.NOT_CLINICAL}", ""]
    return "\n".join(lines).replace(fmt.NBSP, " ")


def render_text(summary: Mapping[str, Any]) -> str:
    """Return headline, findings and what was detectable as plain text, at most 100 columns wide."""
    blocks = [_wrap(summary.get("headline"))]
    findings = list(summary.get("findings") or [])
    for k, row in enumerate(findings, 1):
        start = f"{k:>3}. "
        blocks.append(_wrap(row.get("sentence") or row.get("description"), start, " " * len(start)))
    if summary.get("detectable_sentence"):
        blocks.append(_wrap(summary["detectable_sentence"]))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _wrap(text: Any, first: str = "", other: str = "") -> str:
    return textwrap.fill(
        fmt.one_line(text).replace(fmt.NBSP, " "), TERMINAL_COLUMNS, initial_indent=first, subsequent_indent=other
    )


def _md(text: Any) -> str:
    """Return `text` on one line, with all that Markdown or HTML would read as markup escaped."""
    line = fmt.one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _MARKDOWN.sub(r"\\\1", line)
    return _BLOCK_START.sub(lambda m: f"{m[1]}\\" if m[1].isdigit() else f"\\{m[1]}", line) or fmt.DASH


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    head = list(head)
    return [
        f"| {' | '.join(head)} |",
        f"|{' --- |' * len(head)}",
        *(f"| {' | '.join(cells)} |" for cells in rows),
    ]


def _detectable_cell(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return fmt.DASH
    return f"{fmt.size_points(row.get('gap'))} ({fmt.amount(row.get('n_patients'), 'patient')})"


def _finding_row(row: Mapping[str, Any], measure: fmt.Measure) -> tuple[str, ...]:
    kind = fmt.error_type(row.get("error_type"))
    mark = " (unstable)" if fmt.unstable(row) else ""
    return (
        _md(row.get("description")) + mark,
        _md(kind.long_name),
        fmt.measured(row.get("metric_inside"), measure),
        fmt.measured(row.get("metric_outside"), measure),
        f"{fmt.points(row.get('gap'))} ({fmt.interval(row.get('ci_low'), row.get('ci_high'))})",
        fmt.count(row.get("n_patients")),
        fmt.p_value(row.get("q_value")).replace("<", "&lt;"),
    )


def _people(data: Mapping[str, Any], part: str) -> str:
    patients, samples = data.get(f"n_{part}_patients"), data.get(f"n_{part}_samples")
    return f"{fmt.amount(patients, f'{part} patient')} ({fmt.amount(samples, 'sample')})"


def _data_rows(data: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "Name", _md(data.get("name"))
    who = fmt.count(data.get("n_patients"))
    yield "Patients", who if data.get("has_patient_id") else f"{who} (no patient id: each sample counted as one)"
    yield "Samples", fmt.count(data.get("n_samples"))
    targets = list(data.get("targets") or [])
    if len(targets) > 1:
        for target in targets:
            rates = f"missed {fmt.percent(target.get('false_negative_rate'))}"
            rates += f", false alarms {fmt.percent(target.get('false_positive_rate'))}"
            counts = f"{fmt.count(target.get('n_positive'))} of {fmt.count(target.get('n_known'))}"
            yield (
                "Class" if data.get("kind") == "multiclass" else "Label",
                f"{_md(target.get('name'))}: {counts}, {rates}",
            )
    else:
        yield "Label", f"{_md(data.get('label_name'))} ({fmt.count(data.get('n_positive'))} positive)"
    yield "Error rate, all samples", fmt.percent(data.get("error_rate"))
    yield "Used", _md(fmt.plain(data.get("modalities")))
    for modality, encoder in (data.get("encoders") or {}).items():
        yield f"{modality.capitalize()}s embedded by", _md(fmt.plain(encoder))
    for key, value in (data.get("card") or {}).items():
        yield _md(str(key).replace("_", " ").capitalize()), _md(fmt.plain(value))
