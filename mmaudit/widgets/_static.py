"""What is shown of a widget where widgets cannot be: the page of a repository, a mail, a notebook without a kernel.

A notebook keeps this beside the widget, so it holds nothing of a patient: no ids, no pictures, no notes. It is plain
HTML without style, since the places that show it remove style.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from mmaudit._errors import ImageReadError, InputError
from mmaudit.report import _format as fmt
from mmaudit.result import USER_VERDICTS
from mmaudit.widgets._cases import MEMBER

if TYPE_CHECKING:
    from mmaudit.widgets._base import AuditWidget

MOST_ROWS, MOST_PICTURES = 30, 24
PICTURE_PX, QUALITY = 128, 80
_HEAD = ("Slice", "Error", "Gap (95 % interval)", "Patients", "q", "Standing", "Your verdict")


def static_html(widget: AuditWidget, *, pictures: bool = False) -> str:
    """Return the slices of a widget, and if wanted pictures of one of them, as HTML without style or script."""
    rows = [row for row in widget._rows if row["id"] not in widget._edits.get("hidden", ())]
    parts = [_line(widget.result.headline)] if widget.result is not None else []
    if rows:
        parts.append(_table(_HEAD, (_cells(widget, row) for row in rows[:MOST_ROWS])))
        if len(rows) > MOST_ROWS:
            parts.append(_line(f"And {len(rows) - MOST_ROWS:,} more slices."))
    else:
        parts.append(_line(f"{widget.cases.n:,} cases."))
    if pictures:
        parts.append(_sheet(widget))
    parts.append(_line(f"Run the notebook to see cases, and to sort, select and judge. {fmt.NOT_CLINICAL}"))
    return f'<div class="mma-static">{"".join(parts)}</div>'


def _cells(widget: AuditWidget, row: Mapping[str, Any]) -> list[str]:
    name = widget._edits.get("names", {}).get(row["id"]) or row.get("name")
    gap, between = fmt.points(row.get("gap")), fmt.interval(row.get("ci_low"), row.get("ci_high"))
    standing = "confirmed" if row.get("confirmed") else "candidate"
    standing += ", repeats" if row.get("repeats") else ""
    standing += ", unstable" if row.get("unstable") else ""
    made = fmt.one_line((row.get("words") or {}).get("origin"))
    standing += f", {made}" if made else ""
    return [
        fmt.one_line(name),
        fmt.one_line(row.get("error_name")),
        f"{gap} ({between})" if between != fmt.DASH else gap,
        fmt.count(row.get("n_patients")),
        fmt.p_value(row.get("q")),
        standing,
        USER_VERDICTS.get(widget.verdicts.get(row["id"], {}).get("verdict"), ""),
    ]


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; the first cell of each row names it."""

    def line(cells: Iterable[str]) -> str:
        first, *others = (html.escape(cell) for cell in cells)
        return f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in others)}</tr>'

    top = "".join(f'<th scope="col">{html.escape(name)}</th>' for name in head)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{''.join(map(line, rows))}</tbody></table>"


def _line(text: str) -> str:
    return f"<p>{html.escape(fmt.one_line(text))}</p>"


def _sheet(widget: AuditWidget) -> str:
    """Return pictures of the strongest members of the slice that is looked at, or of the selected cases."""
    cases, data = widget.cases, widget.data
    if data is None or data.images is None:
        raise InputError("pictures", "data with images", "none", "Give the widget the data= that were audited.")
    slice_id = widget.selected_slice or next((row["id"] for row in widget._rows if row.get("confirmed")), "")
    if slice_id:
        strength, t = cases.strength(slice_id).astype(int), cases.target_of(slice_id)
        wrong = cases._wrong[t][0]
        order = np.lexsort((-wrong.astype(int), -strength))
        chosen, words = order[strength[order] >= MEMBER], f"Members of slice {slice_id}, the strongest first"
    else:
        chosen, t, words = np.frombuffer(widget._selected, "<u4").astype(int), 0, "Selected cases"
        if not len(chosen):
            chosen, words = np.arange(cases.n), "Cases"
    shown = chosen[:MOST_PICTURES]
    figures = "".join(_figure(widget, int(position), t) for position in shown)
    return _line(f"{words}: {len(shown):,} of {len(chosen):,}.") + figures


def _figure(widget: AuditWidget, position: int, target: int) -> str:
    from PIL import Image

    cases: Any = widget.cases
    truth = int(cases._truth[target][position])
    chance = cases._probability[target][0][position]
    words = f"label {truth if truth >= 0 else 'unknown'}"
    if chance != 255:
        verdict = "wrong" if cases._wrong[target][0][position] else "right"
        words += f", probability {fmt.probability(chance / 254)}, {verdict}"
    try:
        pixels = cases.data.images.read(int(cases.rows[position]), max_side_px=PICTURE_PX).pixels
    except ImageReadError as error:
        return (
            f"<figure><figcaption>{words}: no image ({html.escape(fmt.one_line(error.reason))})</figcaption></figure>"
        )
    picture = io.BytesIO()
    Image.fromarray(np.rint(255 * np.clip(pixels, 0, 1)).astype(np.uint8)).save(picture, "JPEG", quality=QUALITY)
    source = base64.b64encode(picture.getvalue()).decode()
    return (
        f'<figure style="display: inline-block; margin: 4px"><img alt="{words}" src="data:image/jpeg;base64,{source}">'
        f"<figcaption>{words}</figcaption></figure>"
    )
