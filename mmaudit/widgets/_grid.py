"""The images of a slice, or of any selection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmaudit._errors import check_keywords
from mmaudit.data import AuditData
from mmaudit.widgets._base import AuditWidget, sheet
from mmaudit.widgets._bundle import bundle

if TYPE_CHECKING:
    from mmaudit.result import AuditResult

__all__ = ["SliceGrid"]


class SliceGrid(AuditWidget):
    """Images of a slice, or of any selection."""

    _esm = bundle("grid.js")
    _css = sheet("grid.css", "viewer.css")

    @check_keywords
    def __init__(
        self,
        source: AuditResult | AuditData,
        *,
        data: AuditData | None = None,
        slice_id: str = "",
        ids: Sequence[Any] | None = None,
        show: str = "members",
        beside: str = "",
        other: Any = None,
        names: Sequence[str] = ("model", "other model"),
        tile_px: int = 96,
    ) -> None:
        result = None if isinstance(source, AuditData) else source
        super().__init__(result, source if isinstance(source, AuditData) else data, other=other, names=names)
        self.selected_slice = slice_id
