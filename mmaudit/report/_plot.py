"""The forest plot of an audit, drawn with matplotlib."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmaudit.report import _format as fmt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_LABEL_WIDTH = 38  # characters of a description on one line
_LABEL_LINES = 3
_LEGEND_BELOW_IN = 0.45
_INK, _MUTED, _GRID = "#222222", "#5c6670", "#e3e6ea"


def forest_plot(summary: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Return the axes with one row for each candidate: its gap among the confirmation patients and the 95 % interval.

    Filled markers are confirmed, hollow ones are not; the shape of the marker is the type of error.

    Parameters
    ----------
    summary : dict
        What `AuditResult.summary()` returns.
    ax : matplotlib.axes.Axes or None
        Where to draw. None makes a figure of its own, as high as the number of candidates asks for.

    Returns
    -------
    matplotlib.axes.Axes
        Gaps are in points (percentage points), x from fewer to more errors in the slice; the first candidate is on top.
    """
    rows = list(summary.get("candidates") or [])
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(8.4, 1.8 + 0.45 * max(len(rows), 2)), layout="constrained")

    for side in ("top", "right", "left"):
        ax.spines[side].set_visible(False)
    title = ax.set_title(fmt.one_line(summary.get("title")), loc="left", fontsize="medium", color=_INK)
    title.set_parse_math(False)
    if not rows:
        ax.text(
            0.5, 0.5, "No candidate slices to show.", transform=ax.transAxes, ha="center", va="center", color=_MUTED
        )
        ax.spines["bottom"].set_visible(False)
        ax.set_xticks([])
        ax.set_yticks([])
        return ax

    ax.axvline(0, color=_INK, linewidth=1, zorder=1)
    for y, row in enumerate(rows):
        _draw_row(ax, y, row)
    ax.set_yticks(range(len(rows)))
    # A dollar sign in a description is a dollar sign: without parse_math=False it would start a formula.
    ax.set_yticklabels(
        [_label(row, fmt.about(summary, row)) for row in rows], fontsize="small", color=_INK, parse_math=False
    )
    ax.set_ylim(len(rows) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.tick_params(axis="x", labelsize="small")
    ax.xaxis.grid(True, color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.xaxis.set_major_formatter(lambda value, _: fmt.signed(value / 100))
    ax.set_xlabel(
        "gap in points, slice minus outside; bars: 95 % interval over confirmation patients", fontsize="small"
    )
    _add_legend(ax, rows)
    return ax


def _draw_row(ax: Axes, y: int, row: Mapping[str, Any]) -> None:
    gap = fmt.number(row.get("gap"))
    if gap is None:
        ax.text(0, y, "  not enough confirmation patients", va="center", fontsize="x-small", color=_MUTED)
        return
    kind = fmt.error_type(row.get("error_type"))
    low, high = fmt.number(row.get("ci_low")), fmt.number(row.get("ci_high"))
    if low is not None and high is not None:
        ax.plot([100 * low, 100 * high], [y, y], color=kind.colour, linewidth=2, solid_capstyle="butt", zorder=2)
    ax.plot(
        [100 * gap],
        [y],
        marker=kind.marker,
        markersize=8,
        color=kind.colour,
        markerfacecolor=kind.colour if row.get("confirmed") else "white",
        markeredgewidth=1.6,
        linestyle="none",
        zorder=3,
    )


def _label(row: Mapping[str, Any], about: str) -> str:
    text = f"{about}: {row.get('description')}" if about else row.get("description")
    lines = textwrap.wrap(fmt.one_line(text), _LABEL_WIDTH, max_lines=_LABEL_LINES, placeholder=" …")
    return "\n".join(lines) or fmt.DASH


def _add_legend(ax: Axes, rows: list[Mapping[str, Any]]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.transforms import ScaledTranslation

    kinds = {fmt.error_type(row.get("error_type")) for row in rows if not fmt.absent(row)}
    style: dict[str, Any] = {"linestyle": "none", "markersize": 7, "markeredgewidth": 1.4}
    handles = [
        Line2D([], [], marker=k.marker, color=k.colour, label=k.name, **style)
        for k in sorted(kinds, key=lambda k: k.name)
    ]
    handles.append(Line2D([], [], marker="o", color=_MUTED, label="confirmed", **style))
    handles.append(Line2D([], [], marker="o", color=_MUTED, markerfacecolor="white", label="not confirmed", **style))
    # Inches below the axes, whatever size they have or get: room for the tick labels and the axis label.
    below = ScaledTranslation(0, -_LEGEND_BELOW_IN, ax.get_figure().dpi_scale_trans)  # type: ignore[union-attr]
    legend = ax.legend(
        handles=handles,
        loc="upper center",
        bbox_to_anchor=(0.5, 0),
        bbox_transform=ax.transAxes + below,
        ncols=3,
        frameon=False,
        fontsize="small",
        handletextpad=0.2,
        columnspacing=1.0,
        borderaxespad=0.2,
    )
    for text in legend.get_texts():
        text.set_parse_math(False)
