"""A column that is read as it is asked for, as shards are, a block at a time and no more."""

import numpy as np


class Unread:
    """Values in blocks of `n_rows`; `rows` are the positions that are meant."""

    def __init__(self, values, n_rows, rows=None):
        self.values = np.asarray(values, dtype=object)
        self.n_rows = n_rows
        self.rows = np.arange(len(self.values)) if rows is None else rows

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, which):
        found = self.values[self.rows[which]]
        assert np.ndim(found) == 0 or len(found) <= self.n_rows, "more than a block was read at once"
        return found

    def __iter__(self):
        for rows in self.blocks():
            yield from self[rows]

    def __array__(self, dtype=None, copy=None):
        return np.asarray(self[:], dtype=dtype)

    def take(self, which):
        return Unread(self.values, self.n_rows, self.rows[which])

    def blocks(self):
        block = self.rows // self.n_rows
        ends = [*(np.flatnonzero(np.diff(block)) + 1).tolist(), len(self.rows)]
        return [slice(start, end) for start, end in zip([0, *ends], ends, strict=False) if start < end]
