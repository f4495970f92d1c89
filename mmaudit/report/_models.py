"""Two pictures around an audit: what chance gives, and what a second model changes."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from mmaudit.report import _format as fmt

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_INK, _MUTED, _GRID = "#222222", "#5c6670", "#e3e6ea"
_BLUE, _VERMILLION, _GREEN = "#0072B2", "#D55E00", "#009E73"  # Okabe-Ito
MOST_CHARACTERS = 40  # of a description beside the axis
_VERDICTS = {
    "better": (_GREEN, "v", "better"),
    "worse": (_VERMILLION, "^", "worse"),
    "no clear change": (_MUTED, "o", "no clear change"),
}


def null_plot(control: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Return axes with the gap in discovery (x) against the gap on held-out patients (y).

    A group that is what it seemed lies on the dashed diagonal; what chance had made of it falls to the line at 0.
    Hollow circles are the best candidates of the runs on exchanged predictions; squares are the candidates of the
    audit.

    Parameters
    ----------
    control : dict
        What `NullControl.to_dict()` returns.
    ax : matplotlib.axes.Axes or None
        Where to draw. None: a new figure.
    """
    ax = _axes(ax, 5.2)
    worse = -1 if control["greater_is_better"] else 1
    chance = [(r["discovery_gap"], r["gap"]) for r in control["runs"]]
    real = [(r["discovery_gap"], r["gap"], r["confirmed"]) for r in control["observed"]]
    chance = [(worse * x, worse * y) for x, y in chance if x is not None and y is not None]
    groups: list[tuple[list, dict[str, Any], str]] = [
        (chance, {"marker": "o", "edgecolors": _MUTED, "facecolors": "none"}, f"best by chance, {control['n']} runs"),
        (
            [(worse * x, worse * y) for x, y, c in real if not c and x is not None and y is not None],
            {"marker": "s", "edgecolors": _VERMILLION, "facecolors": "white"},
            "this audit, not confirmed",
        ),
        (
            [(worse * x, worse * y) for x, y, c in real if c and x is not None and y is not None],
            {"marker": "s", "edgecolors": _VERMILLION, "facecolors": _VERMILLION},
            "this audit, confirmed",
        ),
    ]
    points = [p for of, _, _ in groups for p in of]
    top = max([0.1, *(max(x, y) for x, y in points)]) * 1.08
    bottom = min([-0.05, *(min(x, y) for x, y in points)]) * 1.08
    ax.axhline(0, color=_INK, linewidth=1, zorder=1)
    ax.plot([0, top], [0, top], color=_INK, linewidth=1, linestyle="--", zorder=1)
    ax.text(0.96 * top, 0.97 * top, "held what it promised", rotation=45, rotation_mode="anchor",
            transform_rotates_text=True, ha="right", va="bottom", fontsize="small", color=_INK)  # fmt: skip
    ax.annotate("nothing left of it", (top, 0), (-2, -3), textcoords="offset points", ha="right", va="top",
                fontsize="small", color=_INK)  # fmt: skip
    for of, style, name in groups:
        if of:
            x, y = zip(*of, strict=True)
            ax.scatter(x, y, s=44, linewidths=1.4, zorder=3, label=name, **style)
    if chance:  # the distributions of what chance promised, and of what was left
        ax.plot([x for x, _ in chance], [bottom] * len(chance), "|", color=_MUTED, markersize=9, zorder=2)
        ax.plot([0] * len(chance), [y for _, y in chance], "_", color=_MUTED, markersize=9, zorder=2)
    ax.set_xlim(min(0, *(x for x, _ in points), 0) if points else 0, top)
    ax.set_ylim(bottom, top)
    metric = _metric(control)
    ax.set_xlabel(f"{metric} worse by, where it was found", fontsize="small").set_parse_math(False)
    ax.set_ylabel(f"{metric} worse by, on held-out patients", fontsize="small").set_parse_math(False)
    ax.set_title("What chance alone gives, and what the audit gave", loc="left", fontsize="medium", color=_INK)
    if points:
        ax.legend(loc="upper left", fontsize="small", frameon=False)
    return ax


def comparison_plot(comparison: Mapping[str, Any], ax: Axes | None = None) -> Axes:
    """Return axes with a row for each slice: the metric inside under both models, joined by a line.

    Parameters
    ----------
    comparison : dict
        What `Comparison.to_dict()` returns.
    ax : matplotlib.axes.Axes or None
        Where to draw. None: a new figure, as high as the number of slices asks for.
    """
    rows = comparison["slices"]
    ax = _axes(ax, 1.8 + 0.42 * max(len(rows), 2))
    named: set[str] = set()
    for y, row in enumerate(rows):
        before, after = row["metric_before"], row["metric_after"]
        if before is None or after is None:
            ax.text(0.01, y, "too few patients", transform=ax.get_yaxis_transform(), va="center", fontsize="x-small",
                    color=_MUTED)  # fmt: skip
            continue
        colour, marker, name = _VERDICTS[row["verdict"]]
        ax.plot([before, after], [y, y], color=colour, linewidth=1.8, zorder=2)
        # The ring is larger than what may lie in it: both are seen where nothing changed.
        ax.plot([before], [y], "o", color=_INK, markerfacecolor="white", markersize=10, zorder=3,
                label=None if "before" in named else "first model")  # fmt: skip
        ax.plot([after], [y], marker, color=colour, markersize=6.5, linestyle="none", zorder=4,
                label=None if name in named else f"second model, {name}")  # fmt: skip
        named |= {"before", name}
    ax.set_yticks(range(len(rows)))
    ax.set_yticklabels([_label(row) for row in rows], fontsize="small", color=_INK, parse_math=False)
    ax.set_ylim(max(len(rows), 1) - 0.4, -0.6)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel(f"{_metric(comparison)} inside the slice", fontsize="small").set_parse_math(False)
    ax.set_title("The same slices under two models", loc="left", fontsize="medium", color=_INK)
    if named:
        ax.legend(loc="upper left", bbox_to_anchor=(0, -0.6 / (0.6 + 0.42 * max(len(rows), 2))), ncols=2,
                  fontsize="small", frameon=False)  # fmt: skip
    return ax


def picture(ax: Axes, alt: str, *lines: str) -> str:
    """Return a figure as HTML with its text as alternative, the text below it; the figure is closed."""
    import matplotlib.pyplot as plt

    figure, buffer = ax.get_figure(), io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110, bbox_inches="tight")  # type: ignore[union-attr]
    plt.close(figure)  # type: ignore[arg-type]
    said = "".join(f"<p>{html.escape(fmt.one_line(line))}</p>" for line in (alt, *lines))
    source = base64.b64encode(buffer.getvalue()).decode()
    return f'<img alt="{html.escape(fmt.one_line(alt))}" src="data:image/png;base64,{source}">{said}'


def _label(row: Mapping[str, Any]) -> str:
    """Return a slice's id and description, cut to a line, and its patients: few of them make no change clear."""
    text = fmt.one_line(row["description"])
    text = text if len(text) <= MOST_CHARACTERS else text[: MOST_CHARACTERS - 1].rstrip() + "…"
    return f"{row['slice_id']}  {text} ({fmt.amount(row['n_patients'], 'patient')})"


def _metric(of: Mapping[str, Any]) -> str:
    return fmt.measure({"settings": {"metric": of["metric"]}}).name


def _axes(ax: Axes | None, height_in: float) -> Axes:
    if ax is None:
        import matplotlib.pyplot as plt

        _, ax = plt.subplots(figsize=(7.6, height_in), layout="constrained")
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    ax.grid(True, color=_GRID, linewidth=0.8)
    ax.set_axisbelow(True)
    ax.tick_params(labelsize="small")
    return ax
