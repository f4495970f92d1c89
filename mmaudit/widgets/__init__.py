"""Widgets for notebooks: slices in a table, their images in a grid, and both linked with reports, metadata and a map.

They need no server, no second port and no network: a widget carries its own code, and asks the kernel for pictures.
Each is loaded when it is first used, since joining the code of one takes a while.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mmaudit.widgets._explorer import SliceExplorer
    from mmaudit.widgets._grid import SliceGrid
    from mmaudit.widgets._table import ExplanationTable

__all__ = ["ExplanationTable", "SliceExplorer", "SliceGrid"]

_MODULES = {"ExplanationTable": "_table", "SliceExplorer": "_explorer", "SliceGrid": "_grid"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module 'mmaudit.widgets' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"mmaudit.widgets.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
