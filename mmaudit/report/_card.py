"""The text renderings: a section for a model card in Markdown, and lines for a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping
from typing import Any

from mmaudit.report import _format as fmt
from mmaudit.report._explained import CATEGORIES
from mmaudit.report._html import rows_in_order

TERMINAL_COLUMNS = 100

_COLUMNS = (
    "Slice",
    "Kind of error",
    "Definition as a rule",
    "Patients",
    "In the slice",
    "Outside it",
    "Gap (95 % interval)",
    "q",
    "Explanation",
)
INTERVALS = "Intervals resample patients, not images."
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
        Two sections, "Evaluation" and "Bias, Risks, and Limitations", in GitHub's Markdown without YAML, images or
        sample ids. Label terms of the explanations are masked.

    Notes
    -----
    Names and levels of the headings "Evaluation", "Testing Data, Factors & Metrics", "Testing Data", "Factors",
    "Metrics", "Results", "Summary" and "Bias, Risks, and Limitations" are those of the template of Hugging Face
    (`templates/modelcard_template.md` in huggingface_hub): paste each section below the heading of its name, or in
    its place. "Quantitative Analysis" (below "Results": the table, one row a subgroup, and one heading a finding) and
    "Limitations" are those of the Markdown template of Google's Model Card Toolkit
    (`template/md/default_template.md.jinja`), which follow the "Quantitative Analyses", disaggregated, and the
    "Caveats" of [1]_.

    References
    ----------
    .. [1] Mitchell et al., "Model Cards for Model Reporting", FAT* 2019. doi:10.1145/3287560.3287596
    """
    data = summary.get("data") or {}
    rows = [row for row in rows_in_order(summary) if row["place"] == "findings"]
    measure, several = fmt.measure(summary), len(data.get("targets") or []) > 1
    modalities = fmt.plain(data.get("modalities"))
    lines = [
        "## Evaluation",
        "",
        f"*{fmt.NOT_CLINICAL}*",
        "",
        "### Testing Data, Factors & Metrics",
        "",
        "#### Testing Data",
        "",
        *table(("", ""), _data_rows(data)),
        "",
        "#### Factors",
        "",
        f"Subgroups were not chosen beforehand. They were searched for in what is known of a case ({md(modalities)}), "
        "and tested as follows.",
        "",
        *(f"- {md(text)}" for text in tested_sentences(summary)),
        "",
        "#### Metrics",
        "",
        f"{md(compared(measure))} {INTERVALS}",
        "",
        "### Results",
        "",
        "#### Summary",
        "",
        f"**{md(summary.get('headline'))}**",
        "",
        "#### Quantitative Analysis",
        "",
    ]
    if rows:
        kind = "Class" if data.get("kind") == "multiclass" else "Label"
        head = (*([kind] if several else []), *_COLUMNS)
        lines += [
            "Performance in subgroups. Numbers come only from the confirmation patients, whom the search had not seen.",
            "",
            *table(head, ((*([md(row["about"])] if several else []), *_finding_row(row)) for row in rows)),
            "",
        ]
        for k, row in enumerate(rows, 1):
            lines += [f"##### Finding {k}: {md(row.get('description'))}", "", *finding_lines(row), ""]
    else:
        lines += ["Nothing found is a result: what follows says what could have been found.", ""]

    lines += ["#### What could have been detected", "", md(summary.get("detectable_sentence")), ""]
    if summary.get("detectable") and several:
        shares, groups = fmt.detectable_of_several(summary["detectable"])
        head = (
            "Smallest gap found with 80 % power in a slice of",
            *(f"{fmt.percent(share)} of patients" for share in shares),
        )
        lines += [*table(head, ([md(who), *map(_detectable_cell, cells)] for who, cells in groups)), ""]
    elif summary.get("detectable"):
        lines += [
            *table(
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
    lines += ["## Bias, Risks, and Limitations", "", "### Limitations", ""]
    lines += [f"- {md(text)}" for text in summary.get("warnings") or []]
    if summary.get("quarantine"):
        lines.append(f"- {fmt.amount(len(summary['quarantine']), 'sample')} could not be used and were left out.")
    lines += [f"- {text}" for text in fmt.LIMITS]
    lines += ["", f"Made with mmaudit {md(summary.get('mmaudit_version'))}. {fmt.NOT_CLINICAL}", ""]
    return "\n".join(lines).replace(fmt.NBSP, " ")


def tested_sentences(summary: Mapping[str, Any]) -> list[str]:
    """Return how the slices were searched for and tested, as plain sentences."""
    data, settings = summary.get("data") or {}, summary.get("settings") or {}
    overlap = "no patient is in both" if data.get("has_patient_id") else _NO_PATIENT_ID
    n_slices = len(summary.get("candidates") or [])
    lines = [
        f"Slices were searched for among {_people(data, 'discovery')} and tested on {_people(data, 'confirmation')}; "
        f"{overlap}.",
        f"{fmt.amount(n_slices, 'candidate')} tried; all count in the correction (Benjamini-Hochberg, alpha "
        f"{fmt.plain(settings.get('alpha'))}).",
    ]
    told = (row.get("explanation") for row in summary.get("candidates") or [])
    if any(isinstance(one, Mapping) and one.get("parts") for one in told):
        lines.append(
            "Explanations were learned on discovery patients and measured on the confirmation patients. One holds if "
            "it picks the slice there, better than chance, and the classifier is confirmed to be worse in what it "
            "picks; one that does not is shown as such."
        )
    return lines


def compared(measure: fmt.Measure) -> str:
    """Return what is compared with what, as a sentence."""
    if measure.name == "error rate":
        return "Error rates in a slice are compared with those of the rest of the samples of the same label."
    return f"The {measure.name} in a slice is compared with that of the rest of the samples."


def finding_lines(row: Mapping[str, Any]) -> list[str]:
    """Return the sentence, verdict and explanation of one of `rows_in_order(summary)`, as lines of Markdown."""
    view = row["view"]
    md_reason = f": {md(row['reason'])}" if row["reason"] else ""
    mark = " Unstable: most refits do not find it again." if fmt.unstable(row) else ""
    lines = [md(row.get("sentence") or row.get("description")), "", f"**{row['verdict']}{md_reason}.**{mark}"]
    if by_reader(row):
        lines += ["", md(by_reader(row))]
    if view["sentence"]:
        lines += ["", md(view["sentence"])]
    points = []
    for part in view["parts"]:
        text = md(part["text"])
        shown = f"~~{text}~~" if part["holds"] is False else text
        points.append(f"{part['name'].capitalize()}: {shown} – {md(part['standing'])}; {md(part['numbers'])}")
    points += [f"In its reports: {md(term_words(term))}" for term in view["terms"]]
    points += [f"Said to be absent: {md(term_words(term))}" for term in view["absent"]]
    points += [f"More often: {md(trait_words(trait))}" for trait in view["traits"]]
    if view["terms"] or view["absent"] or view["traits"]:
        points.append("These shares are of the discovery part.")
    points += [md(text) for text in (view["left_out"], triage_words(view["triage"]), view["leakage"]) if text]
    if view["difference"]:
        points.append(f"Images: {md(view['difference'].get('text'))}")
    return [*lines, *(["", *(f"- {point}" for point in points)] if points else [])]


def by_reader(row: Mapping[str, Any]) -> str:
    """Return what somebody who looked at the slice said of it, or ""."""
    said = row.get("user_verdict")
    if not said:
        return ""
    words = [said.get("words"), fmt.one_line(said.get("note"))]
    return f"Reader's verdict: {': '.join(text for text in words if text)}"


def term_words(term: Mapping[str, Any]) -> str:
    """Return a term with its tags and how often reports in the slice and outside it say it."""
    tags = f" [{'; '.join(term['tags'])}]" if term["tags"] else ""
    return f"{fmt.one_line(term.get('term'))}{tags}, {shares(term)}"


def trait_words(trait: Mapping[str, Any]) -> str:
    """Return a trait and how often it is there in the slice and outside it."""
    tag = f" [{CATEGORIES['label-term']}]" if trait.get("kind") == "label_term" else ""
    return f"{fmt.one_line(trait.get('phrase'))}{tag}, {shares(trait)}"


def shares(of: Mapping[str, Any]) -> str:
    """Return how often something is there in the slice and outside it."""
    return f"{fmt.percent(of.get('share_inside'))} in the slice, {fmt.percent(of.get('share_outside'))} outside it"


def triage_words(triage: Mapping[str, Any] | None) -> str:
    """Return what the wrong members look like, with counts, or ""."""
    if triage is None:
        return ""
    parts = ", ".join(f"{row['name']} {fmt.count(row['n'])} ({fmt.percent(row['share'])})" for row in triage["rows"])
    of = f" among {triage['part']} patients" if triage["part"] else ""
    return f"{fmt.amount(triage['n'], 'wrong member')}{of}: {parts}."


def render_text(summary: Mapping[str, Any]) -> str:
    """Return headline, findings and what was detectable as plain text, at most 100 columns wide."""
    blocks = [wrap(summary.get("headline"))]
    for k, row in enumerate(summary.get("findings") or [], 1):
        start = f"{k:>3}. "
        said = f"{fmt.clean(row.get('sentence') or row.get('description'))} {fmt.addition(row, True)}"
        blocks.append(wrap(said, start, " " * len(start)))
    if summary.get("detectable_sentence"):
        blocks.append(wrap(summary["detectable_sentence"]))
    return "\n\n".join(block for block in blocks if block) + "\n"


def wrap(text: Any, first: str = "", other: str = "") -> str:
    """Return `text` as lines of at most 100 columns, begun as given."""
    return textwrap.fill(
        fmt.one_line(text).replace(fmt.NBSP, " "),
        TERMINAL_COLUMNS,
        initial_indent=first,
        subsequent_indent=other,
        break_on_hyphens=False,  # ids are searched for as they stand
    )


def md(text: Any) -> str:
    """Return `text` on one line, with all that Markdown or HTML would read as markup escaped."""
    line = fmt.one_line(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    line = _MARKDOWN.sub(r"\\\1", line)
    return _BLOCK_START.sub(lambda m: f"{m[1]}\\" if m[1].isdigit() else f"\\{m[1]}", line) or fmt.DASH


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """Return a table as lines of Markdown; its cells are Markdown already."""
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


def _finding_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    kind = fmt.error_type(row.get("error_type"))
    mark = " (unstable)" if fmt.unstable(row) else ""
    return (
        md(row.get("description")) + mark,
        md(kind.long_name),
        md(row.get("rule")),
        fmt.count(row.get("n_patients")),
        fmt.measured(row.get("metric_inside"), row["measure"]),
        fmt.measured(row.get("metric_outside"), row["measure"]),
        f"{fmt.points(row.get('gap'))} ({fmt.interval(row.get('ci_low'), row.get('ci_high'))})",
        fmt.p_value(row.get("q_value")).replace("<", "&lt;"),
        fmt.explained_or_not(row) or fmt.DASH,
    )


def _people(data: Mapping[str, Any], part: str) -> str:
    patients, samples = data.get(f"n_{part}_patients"), data.get(f"n_{part}_samples")
    return f"{fmt.amount(patients, f'{part} patient')} ({fmt.amount(samples, 'sample')})"


def _data_rows(data: Mapping[str, Any]) -> Iterable[tuple[str, str]]:
    yield "Name", md(data.get("name"))
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
                f"{md(target.get('name'))}: {counts}, {rates}",
            )
    else:
        yield "Label", f"{md(data.get('label_name'))} ({fmt.count(data.get('n_positive'))} positive)"
    yield "Error rate, all samples", fmt.percent(data.get("error_rate"))
    yield "Used", md(fmt.plain(data.get("modalities")))
    for modality, encoder in (data.get("encoders") or {}).items():
        yield f"{modality.capitalize()}s embedded by", md(fmt.plain(encoder))
    for key, value in (data.get("card") or {}).items():
        yield md(str(key).replace("_", " ").capitalize()), md(fmt.plain(value))
