"""Everything that is known of the slices of an audit, linked in the browser."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmaudit._errors import check_keywords
from mmaudit.widgets._base import AuditWidget, sheet
from mmaudit.widgets._bundle import bundle

if TYPE_CHECKING:
    from mmaudit.data import AuditData
    from mmaudit.result import AuditResult

__all__ = ["SliceExplorer"]


class SliceExplorer(AuditWidget):
    """Slices, images, reports, metadata and a map, linked."""

    _esm = bundle("explorer.js")
    _css = sheet("table.css", "grid.css", "viewer.css", "explorer.css")

    @check_keywords
    def __init__(
        self,
        result: AuditResult,
        *,
        data: AuditData | None = None,
        other: Any = None,
        names: Sequence[str] = ("model", "other model"),
        coordinates: Any = None,
    ) -> None:
        super().__init__(result, data, other=other, names=names)
