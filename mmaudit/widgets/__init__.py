"""Widgets for notebooks: slices in a table, their images in a grid, and both linked with reports, metadata and a map.

They need no server, no second port and no network: a widget carries its own code, and asks the kernel for pictures.
"""

from mmaudit.widgets._explorer import SliceExplorer
from mmaudit.widgets._grid import SliceGrid
from mmaudit.widgets._table import ExplanationTable

__all__ = ["ExplanationTable", "SliceExplorer", "SliceGrid"]
