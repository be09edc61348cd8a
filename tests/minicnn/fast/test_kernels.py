"""The steps of a plan on each backend, against the reference in float64, at awkward sizes."""

import importlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_checks import assert_close
from numpy.testing import assert_array_equal

from minicnn.functional import dispatch

TOLERANCE = 2e-6        # sums of at most some hundred products
WINOGRAD = 1e-5
ACTIVATIONS = [None, "relu", "hardswish", "hardsigmoid"]
SIDES = [1, 2, 5, 7, 13]
BACKENDS = {"numpy": ("numpy", 1), "numpy on 2 threads": ("numpy", 2), "numba": ("numba", 2)}


@pytest.fixture(scope="module", params=BACKENDS)
def steps(request):
    """A backend's module of steps."""
    name, threads = BACKENDS[request.param]
    if name == "numba":
        pytest.importorskip("numba")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINICNN_NUM_THREADS", str(threads))
        yield importlib.import_module(f"minicnn.fast.{name}_kernels")


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def garbage(*shape):
    """The contents of memory that a step must overwrite completely."""
    return np.full(shape, np.nan, np.float32)


def activated(x, name):
    return x if name is None else dispatch.REFERENCE[name](x)


def convolved(x, weight, bias, name=None, extra=0, **options):
    """The definition in float64, on x (N, H, W, C)."""
    y = dispatch.REFERENCE["conv2d"](*(a.astype(np.float64) for a in (x.transpose(0, 3, 1, 2), weight, bias)), **options)
    return activated(y.transpose(0, 2, 3, 1) + extra, name)


def pooled(x, *options):
    return dispatch.REFERENCE["max_pool2d"](x.transpose(0, 3, 1, 2), *options)[0].transpose(0, 2, 3, 1)


def bordered(x, ph, pw):
    return np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, 0)))


# products

@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("with_extra", [False, True])
@pytest.mark.parametrize("lead, inputs, outputs", [((1,), 8, 8), ((7,), 24, 40), ((3, 5, 2), 16, 8), ((2, 31, 20), 8, 24)])
def test_linear_is_the_product_plus_bias_plus_extra(steps, lead, inputs, outputs, with_extra, name):
    x, weight, bias = draw(*lead, inputs), draw(inputs, outputs, seed=1), draw(outputs, seed=2)
    extra = draw(*lead, outputs, seed=3) if with_extra else None
    y = garbage(*lead, outputs)
    steps.linear(x, steps.pack(weight), bias, y, extra=extra, activation=name)
    expected = x.astype(np.float64) @ weight + bias + (extra if with_extra else 0)
    assert_close(y, activated(expected, name), TOLERANCE)


@pytest.mark.parametrize("rows, inputs, outputs", [(2, 3000, 264), (3001, 16, 24), (700, 504, 40)])
def test_linear_of_large_sides(steps, rows, inputs, outputs):
    x, weight, bias, y = draw(rows, inputs), draw(inputs, outputs, seed=1), draw(outputs, seed=2), garbage(rows, outputs)
    steps.linear(x, steps.pack(weight), bias, y, extra=None, activation="relu")
    assert_close(y, activated(x.astype(np.float64) @ weight + bias, "relu"), TOLERANCE)


#                   kernel  stride  dilation padding
CONVOLUTIONS = {
    "3x3": ((3, 3), (1, 1), (1, 1), (1, 1)),
    "3x3, stride": ((3, 3), (2, 2), (1, 1), (1, 1)),
    "1x1, stride": ((1, 1), (2, 2), (1, 1), (0, 0)),
    "7x7, stride": ((7, 7), (2, 2), (1, 1), (3, 3)),
    "sides differ": ((2, 5), (3, 1), (1, 1), (0, 2)),
    "dilation": ((3, 3), (1, 2), (2, 3), (2, 3)),
}


@pytest.mark.parametrize("case", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("n, h, w, c, o", [(1, 7, 13, 3, 16), (3, 13, 5, 8, 8), (2, 5, 7, 24, 40), (1, 2, 13, 1, 8), (1, 61, 43, 32, 24)])
def test_convolve_equals_the_definition(steps, case, n, h, w, c, o):
    kernel, stride, dilation, padding = case
    x, weight, bias = draw(n, h, w, c), draw(o, c, *kernel, seed=1), draw(o, seed=2)
    sides = [(side + 2 * p - d * (k - 1) - 1) // s + 1 for side, p, d, k, s in zip((h, w), padding, dilation, kernel, stride)]
    if min(sides) < 1:
        pytest.skip("the kernel is larger than the image")
    extra, y = draw(n, *sides, o, seed=3), garbage(n, *sides, o)
    packed = steps.pack(np.ascontiguousarray(weight.transpose(2, 3, 1, 0).reshape(-1, o)))
    for added, name in ((None, "relu"), (extra, "hardswish"), (extra, None)):
        steps.convolve(bordered(x, *padding), packed, bias, y, kernel, stride, dilation, extra=added, activation=name)
        expected = convolved(x, weight, bias, name, 0 if added is None else added, stride=stride, padding=padding, dilation=dilation)
        assert_close(y, expected, TOLERANCE, f"{name}, extra {added is not None}")


def winograd(steps, x, weight, bias, padding, name=None, pool=False, tiles=16, together=False):
    (n, h, w, _), o = x.shape, len(weight)
    sides = [(side + 2 * p - 2) // (2 if pool else 1) for side, p in zip((h, w), padding)]
    y = garbage(n, *sides, o)
    scratch = garbage(steps.winograd_scratch(x.shape, o, padding, tiles=tiles, together=together))
    steps.winograd(x, steps.filters(weight), bias, y, padding, activation=name, pool=pool, tiles=tiles, together=together, scratch=scratch)
    return y


@given(n=st.integers(1, 3), h=st.sampled_from(SIDES), w=st.sampled_from(SIDES), c=st.sampled_from([8, 24, 64]), o=st.sampled_from([8, 40]),
       padding=st.tuples(st.integers(0, 2), st.integers(0, 2)), tiles=st.sampled_from([1, 3, 16, 100]), together=st.booleans(),
       name=st.sampled_from([None, "relu"]), pool=st.booleans())
@settings(max_examples=60, deadline=None)
def test_winograd_equals_the_definition(steps, n, h, w, c, o, padding, tiles, together, name, pool):
    if min(h + 2 * padding[0], w + 2 * padding[1]) < 3:
        return
    x, weight, bias = draw(n, h, w, c), draw(o, c, 3, 3, seed=1), draw(o, seed=2)
    expected = convolved(x, weight, bias, name, padding=padding)
    y = winograd(steps, x, weight, bias, padding, name, pool, tiles, together)
    if not pool:
        assert_close(y, expected, WINOGRAD)
    elif min(expected.shape[1:3]) >= 2:
        assert_close(y, pooled(expected, 2), WINOGRAD)


@pytest.mark.parametrize("name", ["hardswish", "hardsigmoid"])
def test_winograd_activates(steps, name):
    x, weight, bias = draw(2, 9, 6, 16), draw(8, 16, 3, 3, seed=1), draw(8, seed=2)
    largest = np.abs(convolved(x, weight, bias, padding=1)).max()           # errors are of its size, also where the result ends at 1
    error = np.abs(winograd(steps, x, weight, bias, (1, 1), name) - convolved(x, weight, bias, name, padding=1)).max()
    assert error <= WINOGRAD * largest


@given(n=st.integers(1, 3), h=st.sampled_from(SIDES), w=st.sampled_from(SIDES), c=st.sampled_from([8, 72, 136]),
       kernel=st.sampled_from([(3, 3), (5, 5), (1, 3), (2, 1)]), stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
       padding=st.tuples(st.integers(0, 3), st.integers(0, 3)), dilation=st.tuples(st.integers(1, 2), st.integers(1, 3)),
       name=st.sampled_from(ACTIVATIONS))
@settings(max_examples=60, deadline=None)
def test_depthwise_equals_the_definition(steps, n, h, w, c, kernel, stride, padding, dilation, name):
    sides = [(side + 2 * p - d * (k - 1) - 1) // s + 1 for side, p, d, k, s in zip((h, w), padding, dilation, kernel, stride)]
    if min(side + 2 * p - d * (k - 1) for side, p, d, k in zip((h, w), padding, dilation, kernel)) < 1:
        return
    x, weight, bias, y = draw(n, h, w, c), draw(*kernel, c, seed=1), draw(c, seed=2), garbage(n, *sides, c)
    steps.depthwise(x, weight, bias, y, stride, padding, dilation, activation=name)
    expected = convolved(x, weight.transpose(2, 0, 1)[:, None], bias, name, stride=stride, padding=padding, dilation=dilation, groups=c)
    assert_close(y, expected, TOLERANCE)


@pytest.mark.parametrize("c, stride", [(16, 1), (40, 2), (136, 1)])
def test_depthwise_of_a_large_image(steps, c, stride):
    x, weight, bias = draw(1, 90, 83, c), draw(3, 3, c, seed=1), draw(c, seed=2)
    y = garbage(1, -(-90 // stride), -(-83 // stride), c)
    steps.depthwise(x, weight, bias, y, (stride, stride), (1, 1), (1, 1), activation="relu")
    expected = convolved(x, weight.transpose(2, 0, 1)[:, None], bias, "relu", stride=stride, padding=1, groups=c)
    assert_close(y, expected, TOLERANCE)


# borders and pooling

@pytest.mark.parametrize("shape, channels, padding", [((1, 3, 2, 5), 3, (1, 1)), ((2, 3, 13, 7), 8, (0, 3)), ((3, 16, 1, 1), 16, (2, 0)),
                                                      ((1, 20, 90, 83), 24, (1, 2)), ((2, 1, 400, 300), 1, (0, 0))])
def test_pad_makes_a_border_of_a_view_of_planes(steps, shape, channels, padding):
    (n, c, h, w), (ph, pw) = shape, padding
    x, y = draw(*shape).transpose(0, 2, 3, 1), garbage(n, h + 2 * ph, w + 2 * pw, channels)
    steps.pad(x, y, padding)
    assert_array_equal(y, np.pad(x, ((0, 0), (ph, ph), (pw, pw), (0, channels - c))))


@given(n=st.integers(1, 3), h=st.sampled_from(SIDES), w=st.sampled_from(SIDES), kernel=st.integers(1, 3), stride=st.integers(1, 3),
       padding=st.integers(0, 1), ceil_mode=st.booleans())
@settings(max_examples=60, deadline=None)
def test_max_pool_equals_the_definition(steps, n, h, w, kernel, stride, padding, ceil_mode):
    if 2 * padding > kernel or min(h, w) + 2 * padding < kernel:
        return
    x = draw(n, h, w, 16)
    expected = pooled(x, kernel, stride, padding, ceil_mode)
    y = garbage(*expected.shape)
    steps.max_pool(x, y, (kernel, kernel), (stride, stride), (padding, padding))
    assert_array_equal(y, expected)


def test_max_pool_takes_sides_apart_and_large_images(steps):
    x = draw(1, 91, 120, 32)
    y = garbage(1, 90, 40, 32)
    steps.max_pool(x, y, (2, 3), (1, 3), (0, 0))
    assert_array_equal(y, pooled(x, (2, 3), (1, 3)))


@pytest.mark.parametrize("shape", [(1, 1, 1, 8), (3, 13, 7, 24), (2, 100, 120, 8)])
def test_mean_of_pixels(steps, shape):
    x, y = draw(*shape) + 3, garbage(shape[0], 1, 1, shape[3])
    steps.mean(x, y)
    assert_close(y, x.mean(axis=(1, 2), keepdims=True, dtype=np.float64), 1e-5)            # of up to 12 000 pixels


@pytest.mark.parametrize("shape, outputs", [((1, 1, 1, 8), 1), ((3, 7, 7, 24), 20), ((2, 3, 5, 8), 15)])
def test_mixed_pixels(steps, shape, outputs):
    (n, h, w, c), weight = shape, draw(outputs, shape[1] * shape[2], seed=1)
    x, y = draw(*shape), garbage(n, outputs, 1, c)
    steps.mix(x, weight, y)
    assert_close(y[:, :, 0], np.einsum("op,npc->noc", weight.astype(np.float64), x.reshape(n, h * w, c)), TOLERANCE)


# number by number

SHAPES = [(1, 1, 1, 8), (2, 5, 13, 24), (1, 80, 70, 40)]


@pytest.mark.parametrize("name", ACTIVATIONS)
@pytest.mark.parametrize("shape", SHAPES)
def test_add_affine_and_activate(steps, shape, name):
    x, z, factor, shift = draw(*shape) * 4, draw(*shape, seed=1), draw(shape[3], seed=2), draw(shape[3], seed=3)
    y = garbage(*shape)
    steps.add(x, z, y, activation=name)
    assert_close(y, activated(x + z, name), TOLERANCE, "add")
    steps.affine(x, factor, shift, y, activation=name)
    assert_close(y, activated(x.astype(np.float64) * factor + shift, name), TOLERANCE, "affine")
    steps.activate(x, y, name)
    assert_close(y, activated(x, name), TOLERANCE, "activate")
    expected = activated(x, name)
    steps.activate(x, x, name)
    assert_close(x, expected, TOLERANCE, "activate in place")


@pytest.mark.parametrize("shape", SHAPES)
def test_scale_multiplies_each_channel_of_each_image(steps, shape):
    x, gate, y = draw(*shape), draw(shape[0], 1, 1, shape[3], seed=1), garbage(*shape)
    steps.scale(x, gate, y)
    assert_array_equal(y, x * gate)


@pytest.mark.parametrize("n, sides, small", [(1, (1, 1), (1, 1)), (2, (13, 7), (7, 4)), (1, (5, 2), (13, 7)), (3, (82, 100), (2, 50))])
def test_add_nearest_resizes_as_interpolate_does(steps, n, sides, small):
    x, z, y = draw(n, *sides, 8), draw(n, *small, 8, seed=1), garbage(n, *sides, 8)
    steps.add_nearest(x, z, y)
    resized = dispatch.REFERENCE["interpolate"](z.transpose(0, 3, 1, 2), sides).transpose(0, 2, 3, 1)
    assert_array_equal(y, x + resized)
