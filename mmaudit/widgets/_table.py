"""Slices, ranked, one row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mmaudit._errors import check_keywords
from mmaudit.widgets._base import AuditWidget, sheet
from mmaudit.widgets._bundle import bundle

if TYPE_CHECKING:
    from mmaudit.data import AuditData
    from mmaudit.result import AuditResult

__all__ = ["ExplanationTable"]


class ExplanationTable(AuditWidget):
    """Slices of an audit, ranked."""

    _esm = bundle("table.js")
    _css = sheet("table.css")

    @check_keywords
    def __init__(self, result: AuditResult, *, data: AuditData | None = None, **traits: Any) -> None:
        super().__init__(result, data, **traits)
