"""Tokens of texts as numbers: counted a block of texts at a time, and joined."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Hashable, Iterable, Sequence
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

__all__ = ["Codes", "Counted", "Counts", "count_codes"]


class Codes(dict):
    """The code of each token, from 0 on in the order in which tokens are first asked for."""

    def __missing__(self, token: Hashable) -> int:
        code = self[token] = len(self)
        return code


class Counted(NamedTuple):
    """Tokens of some texts.

    Attributes
    ----------
    tokens : sequence of length n_tokens
        In the order in which they first come.
    counts : csr_matrix of shape (n_texts, n_tokens), float32
        How often each comes. The entries of a row are in the order in which they come in the text.
    """

    tokens: Sequence[Any]
    counts: sparse.csr_matrix


class Counts:
    """Counts of one block after the other, joined to those of all texts.

    Attributes
    ----------
    codes : Codes
        Of all tokens so far.
    """

    def __init__(self) -> None:
        self.codes = Codes()
        self._parts: list[sparse.csr_matrix] = []

    def add(self, part: Counted) -> np.ndarray:
        """Take in the texts that come next; return the code of each of their tokens."""
        code = np.fromiter((self.codes[token] for token in part.tokens), np.int32, len(part.tokens))
        counts = part.counts
        self._parts.append(
            sparse.csr_matrix(
                (counts.data, code[counts.indices], counts.indptr), shape=(counts.shape[0], len(self.codes))
            )
        )
        return code

    def whole(self) -> Counted:
        """Return the tokens of all texts."""
        for part in self._parts:
            part.resize(part.shape[0], len(self.codes))
        empty = sparse.csr_matrix((0, len(self.codes)), dtype=np.float32)
        self._parts = [sparse.vstack([empty, *self._parts], format="csr")]
        return Counted(list(self.codes), self._parts[0])


def count_codes(texts: Iterable[Iterable[Iterable[int]]], n_codes: int | None = None) -> sparse.csr_matrix:
    """Return how often each code comes in each text, as `Counted.counts`; a text is given as parts of codes.

    Parameters
    ----------
    texts : iterable of iterables of iterables of int
        Read once, so that codes may be given out on the way.
    n_codes : int or None
        Number of columns. None: up to the highest code.
    """
    indices, values, ends = array("i"), array("i"), array("q", [0])
    for parts in texts:
        found = Counter(chain.from_iterable(parts))
        indices.extend(found.keys())
        values.extend(found.values())
        ends.append(len(indices))
    codes = np.array(indices, np.int32)
    n = n_codes if n_codes is not None else int(codes.max(initial=-1)) + 1
    return sparse.csr_matrix((np.array(values, np.float32), codes, np.array(ends)), shape=(len(ends) - 1, n))
