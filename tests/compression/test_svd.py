"""Layers decomposed by truncated SVD: the best approximation, and what is refused."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from minicnn.compression.low_rank import LowRank
from minicnn.compression.svd import truncated_svd
from minicnn.errors import InputError
from minicnn.layers import Conv2d, Linear


def generator(seed=0):
    return np.random.default_rng(seed)


def decomposed(layer, rank):
    return LowRank(layer).layers((rank, rank))


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (5, 5), (1, 9), (9, 1)])
def test_it_is_the_best_approximation_of_every_rank(shape):
    matrix = generator().standard_normal(shape)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    for rank in range(1, min(shape) + 1):
        out, into = truncated_svd(matrix, rank)
        assert out.shape == (shape[0], rank) and into.shape == (rank, shape[1])
        assert_allclose(out.T @ out, np.eye(rank), atol=1e-12)
        assert_allclose(out @ into, left[:, :rank] * values[:rank] @ right[:rank], atol=1e-10)


@pytest.mark.parametrize("layer, shape", [
    (Linear(7, 5, rng=generator()), (3, 7)), (Linear(5, 7, bias=False, rng=generator()), (3, 5)),
    (Conv2d(7, 5, 1, rng=generator()), (2, 7, 5, 4)), (Conv2d(4, 9, 1, stride=2, bias=False, rng=generator()), (2, 4, 7, 6))], ids=str)
@pytest.mark.usefixtures("backend")
def test_at_full_rank_the_two_layers_compute_the_same(layer, shape):
    x = generator(1).standard_normal(shape).astype(np.float32)
    both = decomposed(layer, min(layer.weight.shape[:2]))
    assert [type(one) for _, one in both.children()] == [type(layer)] * 2
    assert_allclose(both(x), layer(x), rtol=1e-4, atol=1e-5)


def test_zeros_stay_zeros():
    both = decomposed(Linear(7, 5), 2)
    assert not both(np.ones((1, 7), np.float32)).any() and all(np.isfinite(array).all() for _, array in both.named_arrays())


@pytest.mark.parametrize("layer, rank, expected", [
    (Linear(7, 5), 0, "from 1 to the channels, 7 and 5"), (Linear(7, 5), 6, "from 1 to the channels, 7 and 5"),
    (Conv2d(4, 9, 1), 5, "from 1 to the channels, 4 and 9"), (Conv2d(4, 4, 1, groups=2), 2, "without groups"),
    (Conv2d(4, 4, 1, padding=1), 2, "padding")], ids=str)
def test_refused_layers_and_ranks(layer, rank, expected):
    with pytest.raises(InputError, match=expected):
        decomposed(layer, rank)


@pytest.mark.parametrize("rank", [0, -1, 3])
def test_ranks_out_of_range_are_refused(rank):
    with pytest.raises(ValueError, match=rf"got a weight \(2, 5\) and the ranks \[{rank}\], expected 2 axes and ranks from 1 to \[2\]"):
        truncated_svd(np.ones((2, 5)), rank)
