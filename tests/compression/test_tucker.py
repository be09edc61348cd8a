"""Tucker decomposition against its formulas by loops, its bounds, and the decomposed layer; TensorLy where it is installed."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.compression.low_rank import LowRank
from minicnn.compression.tucker import fold, hosvd, leading_vectors, mode_product, reconstruct, tucker2, unfold
from minicnn.errors import InputError
from minicnn.layers import Conv2d

SHAPES = [(5, 4, 3, 3), (4, 6, 1, 3), (3, 8, 3, 2), (1, 1, 3, 3), (7, 2, 5, 5)]


def generator(seed=0):
    return np.random.default_rng(seed)


def error(weight, ranks):
    """Squared, of the approximation."""
    return ((weight - reconstruct(*tucker2(weight, ranks))) ** 2).sum()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("mode", range(4))
def test_unfolding_has_the_slices_as_rows_and_folding_undoes_it(shape, mode):
    tensor = generator().standard_normal(shape)
    matrix = unfold(tensor, mode)
    for place in range(shape[mode]):
        assert_array_equal(matrix[place], tensor.take(place, axis=mode).ravel())
    assert_array_equal(fold(matrix, mode, shape), tensor)


@pytest.mark.parametrize("mode", range(4))
def test_mode_product_by_loops(mode):
    tensor, matrix = generator().standard_normal((2, 3, 4, 2)), generator(1).standard_normal((5, (2, 3, 4, 2)[mode]))
    shape = list(tensor.shape)
    shape[mode] = 5
    expected = np.zeros(shape)
    for place in itertools.product(*map(range, shape)):
        for inner in range(tensor.shape[mode]):
            expected[place] += matrix[place[mode], inner] * tensor[(*place[:mode], inner, *place[mode + 1:])]
    assert_allclose(mode_product(tensor, matrix, mode), expected, rtol=1e-12)


@pytest.mark.parametrize("shape", [(6, 20), (20, 6), (5, 5), (1, 9)])
def test_leading_vectors_are_those_of_the_svd(shape):
    matrix = generator().standard_normal(shape)
    expected, values, _ = np.linalg.svd(matrix, full_matrices=False)
    rank = min(3, *shape)
    vectors, all_values = leading_vectors(matrix, rank)
    assert_allclose(np.abs((vectors * expected[:, :rank]).sum(axis=0)), 1, rtol=1e-9)
    assert_allclose(all_values[:len(values)], values, rtol=1e-9)
    assert len(all_values) == shape[0] and np.abs(all_values[len(values):]).max(initial=0) < 1e-6 * values[0]


@pytest.mark.parametrize("smallest", [1e-3, 1e-6, 1e-9])
def test_small_singular_values_keep_their_vectors(smallest):
    left, right = (np.linalg.qr(generator(seed).standard_normal((size, 8)))[0] for seed, size in ((0, 8), (1, 40)))
    values = np.geomspace(1, smallest, 8)
    vectors, found = leading_vectors(left * values @ right.T, 8)
    assert_allclose(found, values, rtol=1e-5)
    assert_allclose(np.abs((vectors * left).sum(axis=0)), 1, rtol=1e-5)


@pytest.mark.parametrize("matrix", [np.zeros((4, 9)), np.ones((4, 9)), np.zeros((9, 4))], ids=["zeros", "one rank", "high zeros"])
def test_matrices_without_full_rank_have_orthonormal_vectors(matrix):
    vectors, values = leading_vectors(matrix, 3)
    assert_allclose(vectors.T @ vectors, np.eye(3), atol=1e-12)
    assert len(values) == len(matrix)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("given", [False, True], ids=["computed", "given"])
def test_full_ranks_are_exact_and_factors_orthonormal(shape, given):
    weight = generator().standard_normal(shape)
    core, out, into = tucker2(weight, (shape[1], shape[0]), hosvd(weight) if given else None)
    assert core.shape == shape and out.shape == (shape[0],) * 2 and into.shape == (shape[1],) * 2
    assert_allclose(out.T @ out, np.eye(shape[0]), atol=1e-12)
    assert_allclose(into.T @ into, np.eye(shape[1]), atol=1e-12)
    assert_allclose(reconstruct(core, out, into), weight, atol=1e-12)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_the_error_is_between_what_must_be_lost_and_the_bound(data):
    o, i, k = (data.draw(st.integers(1, most)) for most in (8, 8, 3))
    weight = generator(data.draw(st.integers(0, 99))).standard_normal((o, i, k, k))
    r_in, r_out = data.draw(st.integers(1, i)), data.draw(st.integers(1, o))
    lost = [(np.linalg.svd(unfold(weight, mode), compute_uv=False)[rank:] ** 2).sum() for mode, rank in ((0, r_out), (1, r_in))]
    found, noise = error(weight, (r_in, r_out)), 1e-10 * (weight ** 2).sum()
    assert max(lost) - noise <= found <= sum(lost) + noise


def test_the_error_is_what_the_core_lacks():
    weight = generator().standard_normal((8, 6, 3, 3))
    core, *_ = tucker2(weight, (3, 4))
    assert_allclose(error(weight, (3, 4)), (weight ** 2).sum() - (core ** 2).sum(), rtol=1e-9)


def test_with_metrics_full_ranks_are_exact_and_the_weighted_error_is_lower():
    """The metric of the inputs weighs the error: E C E' summed over the taps, with C the covariance of the input channels."""
    weight = generator().standard_normal((8, 6, 3, 3))
    mix = generator(1).standard_normal((6, 6)) * np.geomspace(1, 0.01, 6)
    covariance = mix @ mix.T
    directions = hosvd(weight, in_metric=covariance)
    assert_allclose(reconstruct(*tucker2(weight, (6, 8), directions)), weight, atol=1e-9)

    def lost(directions):
        difference = unfold(weight - reconstruct(*tucker2(weight, (3, 8), directions)), 1)
        return (difference * (covariance @ difference)).sum()
    assert lost(directions) < 0.5 * lost(None)


def test_the_metric_of_the_outputs_gives_its_eigenvectors():
    weight, metric = generator().standard_normal((4, 6, 3, 3)), np.diag([1.0, 9.0, 4.0, 0.0])
    out = hosvd(weight, out_metric=metric).out
    assert_allclose(out.values, [3, 2, 1, 0])
    assert_array_equal(np.abs(out.factor).argmax(axis=0), [1, 2, 0, 3])


def test_a_weight_of_low_rank_is_found_again():
    rng = generator()
    weight = reconstruct(rng.standard_normal((2, 3, 3, 3)), rng.standard_normal((9, 2)), rng.standard_normal((7, 3)))
    assert error(weight, (3, 2)) < 1e-20 * (weight ** 2).sum()
    assert error(weight, (2, 2)) > 1e-3 * (weight ** 2).sum()


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("arguments", [
    {"kernel_size": 3, "padding": 1}, {"kernel_size": (3, 1), "stride": (2, 1), "padding": (0, 2)},
    {"kernel_size": 3, "stride": 2, "padding": 2, "dilation": 2}], ids=str)
@pytest.mark.usefixtures("backend")
def test_at_full_ranks_the_three_layers_compute_the_same(arguments, bias):
    conv = Conv2d(6, 5, **arguments, bias=bias, rng=generator())
    x = generator(1).standard_normal((2, 6, 11, 9)).astype(np.float32)
    chained = LowRank(conv).layers((6, 5))
    assert [layer.bias is not None for _, layer in chained.children()] == [False, False, bias]
    assert_allclose(chained(x), conv(x), rtol=1e-4, atol=1e-5)


def test_the_three_layers_compute_what_the_approximation_does():
    conv = Conv2d(6, 5, 3, stride=2, padding=1, rng=generator())
    near = Conv2d(6, 5, 3, stride=2, padding=1)
    near.weight[...], near.bias[...] = reconstruct(*tucker2(conv.weight, (2, 3))), conv.bias
    x = generator(1).standard_normal((2, 6, 11, 9)).astype(np.float32)
    chained = LowRank(conv).layers((2, 3))
    assert [layer.weight.shape for _, layer in chained.children()] == [(2, 6, 1, 1), (3, 2, 3, 3), (5, 3, 1, 1)]
    assert_allclose(chained(x), near(x), rtol=1e-4, atol=1e-5)
    assert all(array.dtype == np.float32 for _, array in chained.named_arrays())


@pytest.mark.parametrize("ranks", [(0, 3), (3, 0), (7, 3), (3, 6), (-1, 2)])
def test_refused_ranks(ranks):
    with pytest.raises(InputError, match="from 1 to the channels, 6 and 5"):
        LowRank(Conv2d(6, 5, 3)).layers(ranks)


def test_groups_are_refused():
    with pytest.raises(InputError, match="without groups"):
        LowRank(Conv2d(6, 6, 3, groups=2)).layers((2, 2))


@pytest.mark.parity
@pytest.mark.parametrize("ranks", [(20, 30), (5, 8), (40, 48)])
def test_the_approximation_is_tensorlys(ranks):
    tensorly = pytest.importorskip("tensorly")
    partial_tucker = pytest.importorskip("tensorly.decomposition").partial_tucker
    weight = generator().standard_normal((48, 40, 3, 3))
    (core, factors), _ = partial_tucker(tensorly.tensor(weight), rank=ranks[::-1], modes=[0, 1], init="svd", n_iter_max=0, tol=0)
    theirs = reconstruct(core, *factors)
    ours = reconstruct(*tucker2(weight, ranks))
    assert np.abs(ours - theirs).max() <= 1e-6 * np.abs(theirs).max()


@pytest.mark.parametrize("ranks", [(0, 1), (1, 0), (5, 1), (1, 6), (-1, 2)])
def test_ranks_out_of_range_are_refused(ranks):
    with pytest.raises(ValueError, match=rf"tucker2: got a weight \(5, 4, 3, 3\).*\[{ranks[1]}, {ranks[0]}\].*ranks from 1 to \[5, 4\]"):
        tucker2(np.ones((5, 4, 3, 3)), ranks)


def test_weights_that_are_not_finite_have_no_decomposition():
    for value in (np.nan, np.inf):
        with pytest.raises(ValueError, match="hosvd: got a weight with NaN or infinity"):
            hosvd(np.full((2, 2, 1, 1), value))
