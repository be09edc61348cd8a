"""The feature pyramid against its formula, pixel by pixel."""

import itertools

import numpy as np
import pytest
from numeric_checks import FORWARD, assert_close, check_vjp
from numpy.testing import assert_array_equal

from minicnn.detection.fpn import FeaturePyramidNetwork
from minicnn.functional.dispatch import run
from minicnn.layers import BatchNorm2d, FrozenBatchNorm2d, Layer


class Pyramid(Layer):
    """A pyramid that takes its maps one by one, so that a plan can be made of it."""

    def __init__(self, fpn):
        self.fpn = fpn

    def __call__(self, *maps):
        return self.fpn(maps)


def draw(sizes, channels, n=1):
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((n, c, *size)).astype(np.float32) for c, size in zip(channels, sizes)]
    for x in maps:
        x.flags.writeable = False
    return maps


def conv_loops(x, conv):
    """The definition, in float64, with a border of zeros: (C, H, W) -> (O, H, W)."""
    reach = conv.weight.shape[2] // 2
    y = np.zeros((conv.weight.shape[0], *x.shape[1:]))
    for i, j in np.ndindex(x.shape[1:]):
        y[:, i, j] = conv.bias
        for di, dj in itertools.product(range(-reach, reach + 1), repeat=2):
            if 0 <= i + di < x.shape[1] and 0 <= j + dj < x.shape[2]:
                y[:, i, j] += conv.weight[:, :, di + reach, dj + reach].astype(float) @ x[:, i + di, j + dj]
    return y


def pyramid_loops(fpn, maps):
    """Of one image; an upsampled pixel is the one at half its row and column, cut off: for a side of 2 n or 2 n - 1."""
    merged = [conv_loops(x, fpn.get_layer(f"inner_blocks.{level}.0")) for level, x in enumerate(maps)]
    for finer, coarser in reversed(list(zip(merged, merged[1:]))):
        factor = 1 if finer.shape == coarser.shape else 2
        for i, j in np.ndindex(finer.shape[1:]):
            finer[:, i, j] += coarser[:, i // factor, j // factor]
    outputs = [conv_loops(x, fpn.get_layer(f"layer_blocks.{level}.0")) for level, x in enumerate(merged)]
    return [*outputs, outputs[-1][:, ::2, ::2]]


@pytest.mark.parametrize("sizes", [[(8, 12), (4, 6), (2, 3)], [(7, 5), (4, 3), (2, 2)], [(3, 4), (3, 4)], [(5, 5)]], ids=str)
def test_equals_the_formula(sizes, backend):
    channels = (3, 2, 4)[:len(sizes)]
    maps = draw(sizes, channels, n=2)
    fpn = FeaturePyramidNetwork(channels, 3, rng=np.random.default_rng(1))
    got = run(Pyramid(fpn), *maps)
    assert len(got) == len(sizes) + 1
    for n in range(2):
        for level, expected in enumerate(pyramid_loops(fpn, [x[n] for x in maps])):
            assert got[level].dtype == np.float32
            assert_close(got[level][n], expected, FORWARD, f"level {level}")


def test_by_eye(backend):
    fpn = FeaturePyramidNetwork((1, 1), 1)
    for level in range(2):
        fpn.get_layer(f"inner_blocks.{level}.0").weight[...] = 1
        fpn.get_layer(f"layer_blocks.{level}.0").weight[0, 0, 1, 1] = 1
    fine, coarse = np.float32([[[[1, 2, 3, 4], [5, 6, 7, -8]]]]), np.float32([[[[-10, 20]]]])
    got = run(Pyramid(fpn), fine, coarse)
    assert_array_equal(got[0], [[[[-9, -8, 23, 24], [-5, -4, 27, 12]]]])        # negative numbers too: nothing is a ReLU
    assert_array_equal(got[1], coarse)
    assert_array_equal(got[2], [[[[-10]]]])


@pytest.mark.parametrize("side, half", [(13, 7), (12, 6), (2, 1), (1, 1)])
def test_the_extra_map_has_every_second_pixel_of_the_coarsest_output(side, half, backend):
    fpn = FeaturePyramidNetwork((2,), 3, rng=np.random.default_rng(0))
    output, extra = run(Pyramid(fpn), *draw([(side, 5)], (2,)))
    assert extra.shape == (1, 3, half, 3)
    assert_array_equal(extra, output[:, :, ::2, ::2])


def test_a_norm_takes_the_place_of_the_biases():
    fpn = FeaturePyramidNetwork((2, 4), 3, BatchNorm2d, rng=np.random.default_rng(0))
    assert [path for path, _ in fpn.named_arrays()][:5] == [
        "inner_blocks.0.0.weight", *(f"inner_blocks.0.1.{name}" for name in ("weight", "bias", "running_mean", "running_var"))]
    assert len(list(fpn.named_arrays())) == 20
    maps = draw([(4, 4), (2, 2)], (2, 4))
    before = fpn(maps)
    fpn.get_layer("layer_blocks.0.1").bias[...] = 7
    assert_close(fpn(maps)[0], before[0] + 7, FORWARD)
    fpn.get_layer("inner_blocks.1.1").weight[...] = 0                   # the coarse map is silenced
    assert not np.array_equal(fpn(maps)[0], before[0] + 7) and not fpn(maps)[1].any()


def test_paths_and_shapes_without_a_norm_are_torchvisions():
    fpn = FeaturePyramidNetwork((160, 960), 256)
    assert {path: array.shape for path, array in fpn.named_arrays()} == {
        "inner_blocks.0.0.weight": (256, 160, 1, 1), "inner_blocks.0.0.bias": (256,),
        "inner_blocks.1.0.weight": (256, 960, 1, 1), "inner_blocks.1.0.bias": (256,),
        "layer_blocks.0.0.weight": (256, 256, 3, 3), "layer_blocks.0.0.bias": (256,),
        "layer_blocks.1.0.weight": (256, 256, 3, 3), "layer_blocks.1.0.bias": (256,)}


@pytest.mark.parametrize("frozen_maps", [0, 1])
@pytest.mark.parametrize("norm", [None, FrozenBatchNorm2d])
def test_gradients_equal_differences(frozen_maps, norm):
    rng = np.random.default_rng(0)
    fpn = FeaturePyramidNetwork((3, 5), 4, norm, rng=rng)
    maps = [rng.standard_normal((2, 3, 7, 6)), rng.standard_normal((2, 5, 4, 3))]

    def vjp(*maps):
        return fpn.vjp(list(maps), frozen_maps)
    gradients = check_vjp(fpn, vjp, *maps)
    assert gradients.keys() == {path for path, _ in fpn.named_parameters()}
    assert [grad is None for grad in vjp(*maps)[1]([np.ones_like(y) for y in fpn(maps)])] == [level < frozen_maps for level in range(2)]
    for got, expected in zip(vjp(*maps)[0], fpn(maps), strict=True):
        assert_array_equal(got, expected)
