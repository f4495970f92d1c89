"""What the table shows of each slice, and the card behind a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmaudit.widgets._base import Answer, AuditWidget, Job

CARDS_AT_ONCE = 24


def rows(widget: AuditWidget) -> list[dict[str, Any]]:
    """Return one dict a slice."""
    result: Any = widget.result
    return [{"id": row["slice_id"], "name": row["description"]} for row in result.candidates.to_dict("records")]


def first_cards(widget: AuditWidget) -> dict[str, Any]:
    """Return the cards of the first slices by their ids."""
    return {}


def card(widget: AuditWidget, content: Mapping[str, Any], job: Job) -> Answer:
    """Answer with the card of a slice."""
    return {"card": {}}, []

