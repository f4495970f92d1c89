"""Long sequences a block of rows at a time, so that no pass over them holds them whole.

A sequence that is read from files as it is asked for has `blocks()`, the ranges of rows that are read together, and
`take()`, which gives rows that are still unread. Arrays and lists are cut into equal blocks.
"""

from __future__ import annotations

from typing import Any

import numpy as np

__all__ = ["block_of", "blocks_of"]

N_ROWS = 8192


def blocks_of(values: Any, n_rows: int = N_ROWS) -> list[slice]:
    """Return ranges of rows, in order, that are worth reading at once; of `n_rows` where the sequence names none."""
    if hasattr(values, "blocks"):
        return list(values.blocks())
    return [slice(start, min(start + n_rows, len(values))) for start in range(0, len(values), n_rows)]


def block_of(values: Any, rows: slice | np.ndarray) -> Any:
    """Return some rows, to be sent to where they are worked on: of what lies in files, still unread.

    `numpy.asarray` reads them, and so does a loop.
    """
    return values.take(rows) if hasattr(values, "blocks") else values[rows]
