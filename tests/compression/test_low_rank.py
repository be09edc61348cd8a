"""Low-rank forms of a layer: outputs, errors and means, with and without calibration images."""

import numpy as np
import pytest
from calibration_cases import generator
from numpy.testing import assert_allclose

from minicnn.compression.low_rank import LowRank, tail
from minicnn.compression.observe import InputMoments
from minicnn.compression.tucker import three_layers, tucker2
from minicnn.layers import Conv2d, Linear


def record(layer, count=20, correlated=True, seed=1):
    """Images, their ``InputMoments``, and all the layer's outputs."""
    rng = generator(seed)
    channels = layer.weight.shape[1]
    mix = rng.standard_normal((channels, channels)) * np.geomspace(1, 0.01, channels) if correlated else np.eye(channels)
    if layer.weight.ndim == 2:
        x = (rng.standard_normal((count * 10, channels)) @ mix.T + 1).astype(np.float32)
        rows, y = x, layer(x)
    else:
        x = (np.einsum("ij,njhw->nihw", mix, rng.standard_normal((count, channels, 9, 9))) + 1).astype(np.float32)
        rows, y = np.moveaxis(x, 1, -1).reshape(-1, channels), np.moveaxis(layer(x), 1, -1).reshape(-1, len(layer.weight))
    inputs = InputMoments()
    inputs.add(rows, channels if layer.weight.ndim == 4 else 1)
    return x, inputs, y


LAYERS = [Conv2d(12, 10, 3, padding=1, rng=generator(2)), Conv2d(12, 10, 3, stride=2, padding=1, bias=False, rng=generator(3)),
          Conv2d(12, 10, 1, rng=generator(4)), Linear(12, 10, rng=generator(5))]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
@pytest.mark.parametrize("recorded", [False, True], ids=["weights", "output"])
def test_at_full_ranks_it_computes_the_same(layer, recorded):
    x, inputs, y = record(layer)
    low_rank = LowRank(layer, inputs, y) if recorded else LowRank(layer)
    expected, found = layer(x), low_rank.layers((12, 10) if low_rank.tucker else (10, 10))(x)
    assert low_rank.error((12, 10)) <= 1e-9
    assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())


def smooth_maps(count=400, channels=6, seed=7):
    """Flattened maps (N, C 16), of which neighbours are alike."""
    rng = generator(seed)
    waves = np.cos(np.pi * np.outer(np.arange(4) + 0.5, np.arange(4)) / 4) * [1, 0.5, 0.1, 0.02]
    maps = np.einsum("ncab,ya,xb->ncyx", rng.standard_normal((count, channels, 4, 4)), waves, waves) + 0.5
    return maps.reshape(count, -1).astype(np.float32)


@pytest.mark.parametrize("bias", [True, False])
def test_pixels(bias):
    """At all of them the same is computed; at fewer what smooth maps lose is little, foretold, and nothing of the mean."""
    layer, x = Linear(6 * 16, 10, bias, rng=generator(8)), smooth_maps()
    y, inputs = layer(x), InputMoments()
    inputs.add(x, 16)
    assert not inputs.by_channel and inputs.covariance().shape == (16, 16)
    assert_allclose(inputs.of(np.arange(16, 48)).covariance(), inputs.covariance(), rtol=1e-9)      # all channels still tell of pixels
    for low_rank in (LowRank(layer, pixels=16), LowRank(layer, inputs, y, 16)):
        assert low_rank.error((16, 16)) <= 1e-9 and low_rank.channels == (16, 10)
        assert_allclose(low_rank.layers((16, 16))(x), y, atol=1e-5 * np.abs(y).max())
    found = low_rank.layers((6, 6))
    assert [one.weight.shape for _, one in found.children()] == [(6, 16), (10, 36)]
    lost = ((found(x) - y) ** 2).sum() / ((y - y.mean(axis=0)) ** 2).sum()
    assert 1e-4 < lost < 2 * low_rank.error((6, 6)) < 0.1
    assert_allclose(found(x).mean(axis=0), y.mean(axis=0), atol=1e-5)
    by_weights = ((LowRank(layer, pixels=16).layers((6, 6))(x) - y) ** 2).sum() / ((y - y.mean(axis=0)) ** 2).sum()
    assert lost < 0.5 * by_weights


def test_without_images_it_is_hosvd():
    layer = LAYERS[0]
    x = generator(6).standard_normal((2, 12, 7, 7)).astype(np.float32)
    assert_allclose(LowRank(layer).layers((5, 4))(x), three_layers(layer, *tucker2(layer.weight, (5, 4)))(x), atol=1e-5)


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_with_images_less_of_the_output_is_lost(layer):
    x, inputs, y = record(layer)
    ranks = (4, 6)

    def lost(low_rank):
        return ((low_rank.layers(ranks if low_rank.tucker else (6, 6))(x) - layer(x)) ** 2).mean()
    assert lost(LowRank(layer, inputs, y)) < 0.8 * lost(LowRank(layer))


@pytest.mark.parametrize("layer", LAYERS[2:], ids=str)
def test_the_error_of_a_matrix_is_the_loss_of_its_output(layer):
    x, inputs, y = record(layer)
    low_rank = LowRank(layer, inputs, y)
    for rank in (2, 5, 8):
        lost = ((low_rank.layers((rank, rank))(x) - layer(x)) ** 2).sum() / ((y - y.mean(axis=0)) ** 2).sum()
        assert_allclose(lost, low_rank.error((rank, rank)), rtol=1e-3, atol=1e-8)


def test_the_error_of_a_convolution_bounds_the_loss_of_hosvd():
    layer = LAYERS[0]
    low_rank = LowRank(layer)
    for ranks in ((3, 8), (8, 3), (6, 6)):
        chain = [one.weight.astype(np.float64) for _, one in low_rank.layers(ranks).children()]
        near = np.einsum("or,rskl,si->oikl", chain[2][:, :, 0, 0], chain[1], chain[0][:, :, 0, 0])
        lost = ((near - layer.weight) ** 2).sum() / (layer.weight.astype(np.float64) ** 2).sum()
        assert lost <= low_rank.error(ranks) + 1e-6


@pytest.mark.parametrize("layer", [LAYERS[0], *LAYERS[2:]], ids=str)
def test_the_mean_of_the_output_stays(layer):
    x, inputs, y = record(layer)
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1)) if x.ndim == 4 else ()          # the border's padding has no mean
    axes = (0, *range(2, x.ndim))
    found = LowRank(layer, inputs, y).layers((3, 3))(x)[inside]
    assert_allclose(found.mean(axis=axes), layer(x)[inside].mean(axis=axes), atol=0.05 * y.std())


def test_channels_that_never_vary_do_no_harm():
    layer = LAYERS[0]
    x, _, _ = record(layer)
    x[:, 3] = 0
    inputs = InputMoments()
    inputs.add(np.moveaxis(x, 1, -1).reshape(-1, 12), 12)
    y = layer(x)
    low_rank = LowRank(layer, inputs, np.moveaxis(y, 1, -1).reshape(-1, 10))
    assert np.isfinite(low_rank.layers((11, 10))(x)).all()
    assert low_rank.error((11, 10)) < 1e-6


def test_inputs_that_never_vary_at_all():
    layer, inputs = Conv2d(12, 10, 3, rng=generator(2)), InputMoments()
    inputs.add(np.zeros((50, 12)), 12)
    low_rank, x = LowRank(layer, inputs), np.zeros((1, 12, 5, 5), np.float32)
    assert_allclose(low_rank.layers((8, 10))(x), layer(x), atol=1e-6)
    assert np.isfinite(low_rank.error((8, 10)))


def test_with_fewer_samples_than_outputs_the_weights_decide():
    """Ten samples lie in ten dimensions: in each of these they would lose nothing, whatever others do."""
    layer = Linear(64, 32, rng=generator(2))
    x = generator(3).standard_normal((500, 64)).astype(np.float32)
    few, many = (LowRank(layer, None, layer(x[:count])) for count in (10, 500))
    assert few.error((10, 10)) == pytest.approx(LowRank(layer).error((10, 10))) == pytest.approx(many.error((10, 10)), rel=0.2)


def test_inputs_of_some_channels():
    _, inputs, _ = record(LAYERS[0])
    some = inputs.of(np.array([0, 2, 5]))
    assert_allclose(some.mean, inputs.mean[[0, 2, 5]])
    assert_allclose(some.covariance(), inputs.covariance()[np.ix_([0, 2, 5], [0, 2, 5])])


def test_a_tail_is_a_share():
    assert tail(np.array([2.0, 1.0]), 1) == pytest.approx(0.2)
    assert tail(np.zeros(3), 1) == 0
