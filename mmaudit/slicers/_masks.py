"""Boolean masks of samples, eight samples to a byte."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

__all__ = ["PackedMasks"]


@dataclass(frozen=True, eq=False)
class PackedMasks:
    """Masks of the same samples, at one bit for each sample of a mask.

    Attributes
    ----------
    bits : ndarray of shape (n_masks, ceil(n_samples / 8)), uint8
        Each row as `numpy.packbits` gives it.
    n_samples : int

    Examples
    --------
    >>> import numpy as np
    >>> masks = PackedMasks(np.packbits([[1, 0, 1], [0, 1, 1]], axis=1), 3)
    >>> masks[0]
    array([ True, False,  True])
    >>> masks.count()
    array([2, 2])
    """

    bits: np.ndarray
    n_samples: int

    def __len__(self) -> int:
        return len(self.bits)

    def __getitem__(self, k: int) -> np.ndarray:
        """Return one mask of shape (n_samples,), bool."""
        return np.unpackbits(self.bits[k], count=self.n_samples).view(bool)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[k] for k in range(len(self)))

    def take(self, masks) -> PackedMasks:
        """Return some masks, by their indices."""
        return PackedMasks(self.bits[list(masks)], self.n_samples)

    def all_of(self, masks) -> np.ndarray:
        """Return the mask of shape (n_samples,), bool, of where all of these hold."""
        return np.unpackbits(np.bitwise_and.reduce(self.bits[list(masks)]), count=self.n_samples).view(bool)

    def at(self, masks: np.ndarray, samples: np.ndarray) -> np.ndarray:
        """Return what these masks are of these samples, by their indices: shape (n_taken, n_samples_taken), 0 or 1."""
        held = self.bits.take(masks, axis=0).take(samples >> 3, axis=1)
        held >>= (7 - (samples & 7)).astype(np.uint8)
        held &= 1
        return held

    def count(self, inside: np.ndarray | None = None) -> np.ndarray:
        """Return of how many samples, of those `inside` (None: of all), each mask is true, shape (n_masks,), int64."""
        rows = self.bits if inside is None else (row & np.packbits(inside) for row in self.bits)
        return np.array([np.count_nonzero(np.unpackbits(row).view(bool)) for row in rows], dtype=np.int64)

    def complements(self) -> np.ndarray:
        """Return for each mask the index of the first that it is the complement of, else its own, shape (n_masks,)."""
        base, first = np.arange(len(self)), dict[bytes, int]()
        for k, mask in enumerate(self):
            base[k] = first.get(np.packbits(~mask).tobytes(), k)
            if base[k] == k:
                first.setdefault(self.bits[k].tobytes(), k)
        return base
