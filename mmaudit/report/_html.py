"""The report, the card of a slice and the notebook views: HTML, with every text from the data escaped.

A page asks for nothing outside itself: style and images are inline, there is no script, and its content security
policy forbids both, so that text from a report could not load or run anything even if the escaping failed.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, wraps
from pathlib import Path
from typing import Any

from jinja2 import ChainableUndefined, Environment, FileSystemLoader, Undefined
from markupsafe import Markup

from mmaudit.report import _format as fmt
from mmaudit.report._explained import explained

TEMPLATES = Path(__file__).parent / "templates"
_TICK_STEPS = (0.05, 0.1, 0.2, 0.25, 0.5)  # of a proportion: 5 to 50 points
_MAX_TICKS = 7
_MARGIN_PERCENT = 5.0  # room left and right of the scale, so that no marker is cut off
_COMMENT = re.compile(r"/\*.*?\*/\s*", re.DOTALL)
_SELECTORS = re.compile(r"(\s*)([^{}]+?)\s*\{")
_JPEG, _PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"

TRAIT_KINDS = {
    "metadata": "metadata",
    "report": "report",
    "image": "image",
    "label_term": "label term",
}


def render_html(summary: Mapping[str, Any], *, show_label_terms: bool = False) -> str:
    """Return the report as one self-contained HTML page.

    Parameters
    ----------
    summary : dict
        What `AuditResult.summary()` returns. Numbers may be None or NaN.
    show_label_terms : bool
        Whether terms that restate the label are shown, marked; else they are only counted.

    Returns
    -------
    str
        The page. It holds the names of samples and thumbnails that are in `summary`; share it as you may share those.
    """
    slices = rows_in_order(summary, show_label_terms)
    findings, repeats, others = _by_place(slices)
    return (
        _environment()
        .get_template("report.html.jinja")
        .render(
            s=summary,
            findings=findings,
            repeats=repeats,
            others=others,
            slices=slices,
            forest=_Scale(slices),
            measure=fmt.measure(summary),
            several=len((summary.get("data") or {}).get("targets") or []) > 1,
        )
    )


def render_notebook(summary: Mapping[str, Any]) -> str:
    """Return the findings as a compact HTML fragment in the colours of the notebook it is shown in."""
    findings, repeats, others = _by_place(rows_in_order(summary))
    template = _environment().get_template("notebook.html.jinja")
    return template.render(s=summary, findings=findings, repeats=repeats, others=others)


def render_slice_card(
    summary: Mapping[str, Any], row: Mapping[str, Any], tested: Sequence[str], *, notebook: bool
) -> str:
    """Return one slice as a page of its own, or as a fragment in the colours of the notebook it is shown in.

    Parameters
    ----------
    summary : dict
        What `AuditResult.summary()` returns.
    row : dict
        One of `rows_in_order(summary)`.
    tested : sequence of str
        How the slice was tested, in sentences.
    notebook : bool
        Whether to return the fragment.
    """
    name = "slice_card_notebook.html.jinja" if notebook else "slice_card.html.jinja"
    title = f"{fmt.one_line(row.get('description'))}: {fmt.one_line(summary.get('title'))}"
    return (
        _environment()
        .get_template(name)
        .render(s=summary, row=row, tested=tested, title=title, card_css=_scoped_css(".mma-nb-card"))
    )


@lru_cache(maxsize=1)
def _scoped_css(scope: str) -> Markup:
    """Return the style of a slice with each rule put under one element: a notebook has other tables and lists."""
    css = _COMMENT.sub("", (TEMPLATES / "slice.css").read_text(encoding="utf-8"))

    def under(match: re.Match[str]) -> str:
        space, selectors = match[1], match[2]
        if selectors.startswith("@"):
            return match[0]
        return f"{space}{', '.join(f'{scope} {one.strip()}' for one in selectors.split(','))} {{"

    return Markup(_SELECTORS.sub(under, css))  # a file of this package; nothing of the data is in it


def rows_in_order(summary: Mapping[str, Any], show_label_terms: bool = False) -> list[dict[str, Any]]:
    """Return every slice once, in ranked order, with all that templates say of it beside what the summary has.

    These are rank and anchor of its card, what it is about, the measure, whether it is a finding, its verdict and the
    reason where it is not confirmed, what is said after its sentence, and its explanation as it is shown.
    """
    by_id: dict[Any, dict[str, Any]] = {}
    for row in [*(summary.get("candidates") or []), *(summary.get("findings") or [])]:
        by_id[row.get("slice_id")] = {**by_id.get(row.get("slice_id"), {}), **row}
    found, again = ({row.get("slice_id") for row in summary.get(key) or []} for key in ("findings", "repeats"))
    measure, alpha = fmt.measure(summary), (summary.get("settings") or {}).get("alpha")
    rows = []
    for k, (slice_id, row) in enumerate(by_id.items(), 1):
        place = "findings" if slice_id in found else "repeats" if slice_id in again else "others"
        confirmed = place != "others"
        rows.append(
            {
                **row,
                "rank": k,
                "anchor": f"slice-{k}",
                "about": fmt.about(summary, row),
                "measure": measure,
                "place": place,
                "verdict": fmt.verdict(row, confirmed),
                "reason": "" if confirmed else fmt.not_confirmed_because(row, alpha, measure),
                "addition": fmt.addition(row, confirmed),
                "view": explained(summary, row, show_label_terms=show_label_terms),
            }
        )
    return rows


def _by_place(rows: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    """Return the findings, those that say the same in other words, and the other candidates."""
    return [[row for row in rows if row["place"] == place] for place in ("findings", "repeats", "others")]


class _Scale:
    """Where a gap lies on the common axis of the forest plot, as a percentage of the width.

    Percentages and not pixels: each row is an SVG as wide as its table cell, so the plot follows the window without
    shrinking its text or its markers.
    """

    def __init__(self, slices: Sequence[Mapping[str, Any]]) -> None:
        keys = ("gap", "ci_low", "ci_high", "discovery_gap")
        values = [fmt.number(row.get(key)) for row in slices for key in keys]
        finite = [0.0, *(min(1.0, max(-1.0, v)) for v in values if v is not None)]
        low, high = min(finite), max(*finite, 0.1)
        self.step = next((s for s in _TICK_STEPS if (high - low) / s <= _MAX_TICKS - 1), _TICK_STEPS[-1])
        # 0.3 of 0.1 is 2.9999999999999996: rounded first, or a tick too many is drawn.
        self.first = math.floor(round(low / self.step, 9))
        self.last = math.ceil(round(high / self.step, 9))
        self.zero = self.at(0.0)

    def at(self, value: Any) -> str:
        """Return the place of this gap, such as "42.50%"; one beyond the scale is put on its edge."""
        found = fmt.number(value) or 0.0
        share = (found / self.step - self.first) / (self.last - self.first)
        return f"{_MARGIN_PERCENT + (100 - 2 * _MARGIN_PERCENT) * min(1.0, max(0.0, share)):.2f}%"

    @property
    def ticks(self) -> list[tuple[str, str]]:
        """Place and text of each tick."""
        return [(self.at(k * self.step), fmt.signed(k * self.step)) for k in range(self.first, self.last + 1)]


def _width(value: Any) -> str:
    """Return a proportion as the width of a bar."""
    return f"{100 * min(1.0, max(0.0, fmt.number(value) or 0.0)):.1f}%"


def _image_uri(thumbnail: Any) -> str:
    """Return a data URI of this base64 JPEG or PNG, or "" for anything else."""
    if not isinstance(thumbnail, str) or not thumbnail:
        return ""
    try:
        head = base64.b64decode(thumbnail, validate=True)
    except (binascii.Error, ValueError):
        return ""
    for magic, kind in ((_JPEG, "jpeg"), (_PNG, "png")):
        if head.startswith(magic):
            return f"data:image/{kind};base64,{thumbnail}"
    return ""


def _finalize(value: Any) -> Any:
    """Return what an expression in a template prints: a dash for nothing, and no control characters."""
    if isinstance(value, Markup):
        return value  # the output of a macro, escaped when it was made
    if value is None or isinstance(value, Undefined):
        return fmt.DASH
    return fmt.clean(value)


def _none_for_missing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return `function` so that it gets None where the summary lacks a key."""

    @wraps(function)
    def called(*args: Any, **kwargs: Any) -> Any:
        return function(*(None if isinstance(arg, Undefined) else arg for arg in args), **kwargs)

    return called


@lru_cache(maxsize=1)
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=ChainableUndefined,
        finalize=_finalize,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters: dict[str, Callable[..., Any]] = {
        "absent": fmt.absent,
        "amount": fmt.amount,
        "error_type": fmt.error_type,
        "detectable_of_several": fmt.detectable_of_several,
        "image_uri": _image_uri,
        "measured": fmt.measured,
        "n": fmt.count,
        "percent": fmt.percent,
        "plain": fmt.plain,
        "points": fmt.points,
        "probability": fmt.probability,
        "pvalue": fmt.p_value,
        "score": fmt.probability,
        "size_points": fmt.size_points,
        "trait_kind": lambda kind: TRAIT_KINDS.get(str(kind), str(kind).replace("_", " ")),
        "unstable": fmt.unstable,
        "width": _width,
    }
    functions: dict[str, Callable[..., Any]] = {
        "because": fmt.not_confirmed_because,
        "interval": fmt.interval,
        "number": fmt.number,
        "share_interval": fmt.share_interval,
        "signed": fmt.signed,
    }
    environment.filters.update({name: _none_for_missing(f) for name, f in filters.items()})
    environment.globals.update({name: _none_for_missing(f) for name, f in functions.items()})
    environment.globals.update(
        error_types=fmt.ERROR_TYPES, limits=fmt.LIMITS, slice_limits=fmt.SLICE_LIMITS, not_clinical=fmt.NOT_CLINICAL
    )
    return environment
