"""Show what an audit found: a page, a card a slice, a plot, a model card, a notebook view, lines for a terminal.

All of them are rendered from one dict, `AuditResult.summary()`: summarised first, rendered second, so that no two of
them can disagree. Nothing here computes a statistic.
"""

from __future__ import annotations

from mmaudit.report._card import render_markdown_card, render_text
from mmaudit.report._films import film_strip, show
from mmaudit.report._html import render_html, render_notebook
from mmaudit.report._models import comparison_plot, null_plot, picture
from mmaudit.report._plot import forest_plot
from mmaudit.report._slice_card import SliceCard

__all__ = [
    "SliceCard",
    "comparison_plot",
    "film_strip",
    "forest_plot",
    "null_plot",
    "picture",
    "render_html",
    "render_markdown_card",
    "render_notebook",
    "render_text",
    "show",
]
