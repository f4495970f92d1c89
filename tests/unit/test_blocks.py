"""Long sequences by blocks of rows: all rows once, in order, and nothing read before it is asked for."""

import numpy as np
import pytest

from mmaudit._blocks import N_ROWS, block_of, blocks_of
from tests.unit._unread import Unread

VALUES = [f"report {k}" for k in range(25)]


@pytest.mark.parametrize("values", [VALUES, np.array(VALUES, dtype=object), Unread(VALUES, 4)], ids=type)
def test_blocks_hold_all_rows_in_order(values):
    for n_rows in (1, 4, 100):
        blocks = blocks_of(values, n_rows)
        assert [text for rows in blocks for text in block_of(values, rows)] == VALUES
        assert [text for rows in blocks for text in np.asarray(block_of(values, rows), dtype=object)] == VALUES


def test_blocks_are_of_a_size_or_as_the_sequence_has_them():
    assert [rows.stop - rows.start for rows in blocks_of(range(2 * N_ROWS + 1))] == [N_ROWS, N_ROWS, 1]
    assert [rows.stop - rows.start for rows in blocks_of(Unread(VALUES, 10), 3)] == [10, 10, 5]
    assert blocks_of([]) == []


def test_some_rows_of_what_lies_in_files_are_still_unread():
    some = block_of(Unread(VALUES, 10), np.array([1, 2, 11, 24]))
    assert isinstance(some, Unread)
    assert blocks_of(some) == [slice(0, 2), slice(2, 3), slice(3, 4)]
    assert list(some) == [VALUES[k] for k in (1, 2, 11, 24)]
