"""Packed masks, compared with plain arrays of bools."""

import numpy as np
import pytest

from mmaudit.slicers._masks import PackedMasks


def packed(plain):
    return PackedMasks(np.packbits(plain, axis=1), plain.shape[1])


@pytest.mark.parametrize("n_samples", [1, 7, 8, 9, 64, 1001])
@pytest.mark.parametrize("n_masks", [0, 1, 13])
def test_they_are_the_same_as_plain_masks(n_masks, n_samples):
    rng = np.random.default_rng(n_samples)
    plain = rng.random((n_masks, n_samples)) < rng.random((n_masks, 1))
    masks, inside = packed(plain), rng.random(n_samples) < 0.5
    assert masks.bits.nbytes == n_masks * -(-n_samples // 8)
    assert len(masks) == len(list(masks)) == n_masks
    for k, mask in enumerate(masks):
        assert mask.dtype == masks[k].dtype == bool
        np.testing.assert_array_equal(mask, plain[k])
        np.testing.assert_array_equal(masks[k], plain[k])
    np.testing.assert_array_equal(masks.count(), plain.sum(axis=1))
    np.testing.assert_array_equal(masks.count(inside), plain[:, inside].sum(axis=1))
    some, samples = rng.permutation(n_masks)[: n_masks // 2], rng.integers(0, n_samples, 50)
    np.testing.assert_array_equal(masks.at(some, samples), plain[np.ix_(some, samples)])
    np.testing.assert_array_equal(masks.take(some).bits, np.packbits(plain[some], axis=1))
    if n_masks:
        for parts in ((0,), (0, n_masks - 1), [*range(n_masks)]):
            np.testing.assert_array_equal(masks.all_of(parts), plain[list(parts)].all(axis=0))


@pytest.mark.parametrize("n_samples", [8, 13])
def test_a_complement_is_known_by_its_samples(n_samples):
    first, second = np.arange(n_samples) % 2 == 0, np.arange(n_samples) % 3 == 0
    masks = packed(np.array([first, second, ~first, first | second, ~second, ~second]))
    assert masks.complements().tolist() == [0, 1, 0, 3, 1, 1]


def test_all_and_none_are_complements():
    assert packed(np.array([[True] * 11, [False] * 11])).complements().tolist() == [0, 0]
