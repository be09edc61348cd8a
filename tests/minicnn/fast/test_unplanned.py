"""Each backend's operations outside of a plan, forward and backward, against the reference functions."""

import importlib
import itertools
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_checks import assert_close, memory_orders
from numpy.testing import assert_array_equal

import minicnn
from minicnn.fast import choose
from minicnn.functional import dispatch
from minicnn.functional.conv import Geometry
from minicnn.functional.dispatch import REFERENCE
from minicnn.optim import SGD
from minicnn.train_classifier import train_step

CLOSE = 2e-5            # of the largest value: float32, Winograd's algorithm among others


@pytest.fixture(params=["numpy", "numba"], scope="module")
def training(request):
    """Each backend's module of kernels outside of a plan."""
    if request.param == "numba":
        pytest.importorskip("numba")
    return importlib.import_module(f"minicnn.fast.{request.param}_kernels.unplanned")


#                        x                weight          stride  padding dilation
WINOGRAD = {
    "3x3":              ((2, 32, 26, 34), (48, 32, 3, 3), (1, 1), (1, 1), (1, 1)),
    "odd channels":     ((2, 35, 29, 31), (27, 35, 3, 3), (1, 1), (1, 1), (1, 1)),
    "uneven padding":   ((3, 16, 30, 23), (32, 16, 3, 3), (1, 1), (0, 2), (1, 1)),
    "many tiles":       ((5, 32, 45, 49), (16, 32, 3, 3), (1, 1), (1, 1), (1, 1)),
}
PATCHES = {
    "1x1":              ((2, 40, 13, 17), (24, 40, 1, 1), (1, 1), (0, 0), (1, 1)),
    "few outputs":      ((2, 40, 13, 17), (3, 40, 1, 1), (1, 1), (0, 0), (1, 1)),
    "1x1, stride":      ((2, 40, 13, 18), (24, 40, 1, 1), (2, 2), (0, 0), (1, 1)),
    "1x1, steps over":  ((1, 17, 13, 18), (19, 17, 1, 1), (3, 2), (1, 0), (1, 1)),
    "3x3, stride":      ((2, 24, 20, 21), (40, 24, 3, 3), (2, 2), (1, 1), (1, 1)),
    "5x3, stride":      ((1, 18, 20, 23), (20, 18, 5, 3), (3, 2), (2, 1), (1, 1)),
    "dilation":         ((2, 24, 20, 21), (20, 24, 3, 3), (1, 1), (2, 3), (2, 3)),
    "much padding":     ((1, 16, 5, 4), (16, 16, 3, 3), (1, 1), (4, 5), (1, 1)),
    "small":            ((1, 16, 7, 7), (16, 16, 3, 3), (1, 1), (1, 1), (1, 1)),
}
IMAGES = {
    "one channel":      ((64, 1, 28, 28), (20, 1, 5, 5), (1, 1), (0, 0), (1, 1)),
    "5x5":              ((64, 20, 12, 12), (50, 20, 5, 5), (1, 1), (0, 0), (1, 1)),
    "odd batch":        ((23, 6, 9, 7), (13, 6, 5, 5), (1, 1), (2, 1), (1, 1)),
    "much padding":     ((16, 2, 3, 4), (5, 2, 3, 2), (1, 1), (3, 3), (1, 1)),
    "whole image":    ((17, 7, 4, 5), (9, 7, 4, 5), (1, 1), (0, 0), (1, 1)),
}
CASES = [pytest.param(algorithm, case, id=f"{algorithm}, {name}")
         for algorithm, cases in (("winograd", WINOGRAD), ("patches", PATCHES), ("batch innermost", IMAGES))
         for name, case in cases.items()]


def draw(*shapes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(np.float32) for shape in shapes]


def channels_last(x):
    return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2) if x.ndim == 4 else x


def orders(x):
    """The same numbers in C order, the batch innermost, with gaps, and channels last; writable."""
    yield from (array.copy(order="K") for array in memory_orders(x))
    yield channels_last(x)


def reference(x, weight, bias, grad_y, options, name="conv2d"):
    """y and the three gradients, computed in float64."""
    x, weight, bias, grad_y = (a.astype(np.float64) for a in (x, weight, bias, grad_y))
    return REFERENCE[name](x, weight, bias, *options), *REFERENCE[f"{name}_backward"](grad_y, x, weight, *options)


@pytest.mark.parametrize("algorithm, case", CASES)
def test_convolutions_and_their_gradients_equal_the_reference(training, algorithm, case):
    x_shape, weight_shape, *options = case
    geometry = Geometry(x_shape, weight_shape, *options, 1)
    x, weight, bias, grad_y = draw(x_shape, weight_shape, weight_shape[0], geometry.y_shape)
    if algorithm != "batch innermost" or "numba" in training.__name__:
        laid_out = x if algorithm == "batch innermost" else channels_last(x)
        backend = "numba" if "numba" in training.__name__ else "numpy"
        assert choose.unplanned_convolution(geometry, laid_out, weight, backend) == algorithm
    expected = reference(x, weight, bias, grad_y, options)
    for laid_out, grad_laid_out in zip(orders(x), orders(grad_y)):
        before = [a.copy() for a in (laid_out, weight, bias, grad_laid_out)]
        got = training.conv2d(laid_out, weight, bias, *options), *training.conv2d_backward(grad_laid_out, laid_out, weight, *options)
        for name, one, other in zip(("y", "grad_x", "grad_weight", "grad_bias"), got, expected):
            assert one.dtype == np.float32
            assert_close(one, other, CLOSE, name)
        for array, copy in zip((laid_out, weight, bias, grad_laid_out), before):
            assert_array_equal(array, copy)
    nothing, *rest = training.conv2d_backward(grad_y, x, weight, *options, input_gradient=False)
    assert nothing is None
    for one, other in zip(rest, expected[2:]):
        assert_close(one, other, CLOSE)
    assert_close(training.conv2d(x, weight, None, *options), expected[0] - bias[:, None, None].astype(np.float64), CLOSE)


@st.composite
def convolutions(draw):
    """Any convolution whose kernel fits its padded image, on any path."""
    def pairs(low, high):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (3, 3), (2, 3), (5, 5)]))
    stride, dilation = draw(st.sampled_from([((1, 1), (1, 1)), ((1, 1), pairs(1, 3)), (pairs(1, 3), (1, 1))]))
    padding = pairs(0, 3)
    sides = [max(1, d * (k - 1) + 1 - 2 * p) + more for d, k, p, more in zip(dilation, kernel, padding, pairs(0, 12))]
    channels = draw(st.sampled_from([(1, 3), (8, 5), (16, 16), (17, 30), (33, 9)]))
    x = (draw(st.sampled_from([1, 2, 3, 16, 21])), channels[0], *sides)
    return x, (channels[1], channels[0], *kernel), stride, padding, dilation


@given(case=convolutions(), always=st.booleans(), order=st.integers(0, 3))
@settings(deadline=None, max_examples=60)
def test_any_convolution_equals_the_reference(training, case, always, order):
    x_shape, weight_shape, *options = case
    y_shape = Geometry(x_shape, weight_shape, *options, 1).y_shape
    x, weight, bias, grad_y = draw(x_shape, weight_shape, weight_shape[0], y_shape)
    laid_out, grad_laid_out = (next(itertools.islice(orders(a), order, None)) for a in (x, grad_y))
    with mock.patch.object(choose, "FILTER_TRANSFORM", -10**9 if always else 100):         # always Winograd, where it is possible
        got = training.conv2d(laid_out, weight, bias, *options), *training.conv2d_backward(grad_laid_out, laid_out, weight, *options)
    expected = reference(x, weight, bias, grad_y, options)
    bounds = reference(*map(np.abs, (x, weight, bias, grad_y)), options)            # a sum of few terms may come to nearly nothing
    for one, other, bound in zip(got, expected, bounds):
        assert one.shape == other.shape and one.dtype == np.float32
        assert np.abs(one - other).max() <= CLOSE * bound.max()


@pytest.mark.parametrize("n, i, o", [(64, 800, 500), (64, 500, 10), (23, 37, 11), (16, 2, 1), (300, 20, 30), (5, 20, 30)])
def test_linear_layers_and_their_gradients_equal_the_reference(training, monkeypatch, n, i, o):
    functions = {**REFERENCE, **training.KERNELS}
    for module in (choose, training):
        monkeypatch.setattr(module, "LARGE", 1, raising=False)              # small ones the same way, too
    x, weight, bias, grad_y = draw((n, i), (o, i), o, (n, o))
    expected = reference(x, weight, bias, grad_y, (), "linear")
    for laid_out, grad_laid_out in itertools.product(orders(x), orders(grad_y)):
        before = [a.copy() for a in (laid_out, grad_laid_out)]
        got = functions["linear"](laid_out, weight, bias), *functions["linear_backward"](grad_laid_out, laid_out, weight)
        for name, one, other in zip(("y", "grad_x", "grad_weight", "grad_bias"), got, expected):
            assert one.dtype == np.float32
            assert_close(one, other, CLOSE, name)
        assert_array_equal(laid_out, before[0])
        assert_array_equal(grad_laid_out, before[1])
        assert functions["linear_backward"](grad_laid_out, laid_out, weight, input_gradient=False)[0] is None
        assert_close(functions["linear"](laid_out, weight), expected[0] - bias, CLOSE)


POOLINGS = [{"kernel_size": 2}, {"kernel_size": 3, "stride": 2, "padding": 1}, {"kernel_size": (2, 3), "stride": 1},
            {"kernel_size": 2, "ceil_mode": True}, {"kernel_size": 1, "stride": (3, 2)}, {"kernel_size": 3, "stride": 2, "ceil_mode": True}]


@pytest.mark.parametrize("options", POOLINGS, ids=str)
@pytest.mark.parametrize("shape", [(64, 3, 8, 9), (2, 20, 11, 9), (1, 1, 5, 5)])
def test_max_pooling_equals_the_reference(training, shape, options):
    functions = {**REFERENCE, **training.KERNELS}
    x = np.random.default_rng(0).integers(-3, 4, shape).astype(np.float32)                      # many equals
    x[0, 0, 1:3, 1:4] = np.nan
    x[-1, -1, 2:] = -np.inf
    for laid_out in orders(x):
        (y, index), (expected, expected_index) = (f(laid_out, **options) for f in (functions["max_pool2d"], REFERENCE["max_pool2d"]))
        assert_array_equal(y, expected)
        assert_array_equal(index, expected_index)
        assert (y.dtype, index.dtype) == (np.float32, expected_index.dtype)
        again, nothing = functions["max_pool2d"](laid_out, **options, return_indices=False)
        assert_array_equal(again, expected)
        assert nothing is None
        grad_y = draw(y.shape)[0]
        for grad_laid_out in orders(grad_y):
            before = grad_laid_out.copy()
            grad_x = functions["max_pool2d_backward"](grad_laid_out, index, shape, **options)
            assert grad_x.dtype == np.float32
            assert_close(grad_x, REFERENCE["max_pool2d_backward"](grad_y, expected_index, shape, **options), 1e-6)
            assert_array_equal(grad_laid_out, before)


def test_relu_equals_the_reference(training):
    functions = {**REFERENCE, **training.KERNELS}
    x, grad_y = draw((3, 32, 30, 31), (3, 32, 30, 31))
    x[0, :, 0, :9] = np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-45, -1e-45, 1, -1
    for laid_out, grad_laid_out in itertools.product(orders(x), orders(grad_y)):
        assert_array_equal(functions["relu"](laid_out), np.maximum(x, 0))
        assert_array_equal(functions["relu_backward"](grad_laid_out, laid_out), REFERENCE["relu_backward"](grad_y, x))


@pytest.mark.parametrize("momentum, nesterov", [(0.0, False), (0.9, False), (0.9, True)])
@pytest.mark.parametrize("weight_decay", [0.0, 5e-4])
@pytest.mark.parametrize("shape, dtype", [((300, 70), np.float32), ((40, 20, 5, 5), np.float32), ((7,), np.float32),
                                          ((300, 70), np.float64)])
def test_sgd_equals_the_reference_to_the_last_bit(training, shape, dtype, momentum, nesterov, weight_decay):
    results = []
    for update in (REFERENCE["sgd_update"], {**REFERENCE, **training.KERNELS}["sgd_update"]):
        parameter, gradient, buffer = (array.astype(dtype) for array in draw(shape, shape, shape))
        before = gradient.copy()
        for _ in range(3):
            update(parameter, gradient, buffer if momentum else None, 0.05, momentum, weight_decay, nesterov)
        assert_array_equal(gradient, before)
        results.append((parameter, buffer))
    for one, other in zip(*results):
        assert one.dtype == dtype
        assert_array_equal(one, other)


@pytest.mark.parametrize("algorithm, case", CASES)
def test_gradients_are_those_of_the_forward_pass(training, algorithm, case):
    """y is linear in x and in the weights, so <grad_y, y(v)> = <grad, v> for any direction v."""
    x_shape, weight_shape, *options = case
    y_shape = Geometry(x_shape, weight_shape, *options, 1).y_shape
    x, weight, grad_y, v, u = draw(x_shape, weight_shape, y_shape, x_shape, weight_shape, seed=1)
    grad_x, grad_weight, grad_bias = training.conv2d_backward(grad_y, x, weight, *options)
    for gradient, direction, ahead in ((grad_x, v, training.conv2d(v, weight, None, *options)),
                                       (grad_weight, u, training.conv2d(x, u, None, *options)),
                                       (grad_bias, np.ones_like(grad_bias), np.ones_like(grad_y))):
        exact, numeric = (np.sum(a.astype(np.float64) * b) for a, b in ((gradient, direction), (ahead, grad_y)))
        assert abs(exact - numeric) <= CLOSE * np.linalg.norm(gradient) * np.linalg.norm(direction)


def test_float64_groups_and_empty_arrays_are_left_to_the_reference(training):
    functions = {**REFERENCE, **training.KERNELS}
    x, weight, bias, grad_y = draw((2, 32, 30, 31), (32, 32, 3, 3), 32, (2, 32, 28, 29))
    double = [a.astype(np.float64) for a in (x, weight, bias, grad_y)]
    calls = {"conv2d": [double[:3], (x[:, :, :4, :4], weight[:, :8], bias, 1, 1, 1, 4), (x, weight, double[2]), (x[:0], weight)],
             "conv2d_backward": [(double[3], *double[:2]), (double[3], x, weight),
                                 (grad_y[:, :, :4, :4], x[:, :, :4, :4], weight[:, :8], 1, 1, 1, 4)],
             "linear": [(double[0][:, 0, 0], double[0][0, 0])],
             "linear_backward": [(double[3][:, 0, 0, :5], double[0][:, 0, 0], double[0][0, 0, :5])],
             "max_pool2d": [(channels_last(double[0]), 2)], "relu": [double[:1]], "relu_backward": [(double[0], double[0])]}
    for name, several in calls.items():
        for arguments in several:
            got, expected = functions[name](*arguments), REFERENCE[name](*arguments)
            for one, other in zip(got, expected) if isinstance(got, tuple) else [(got, expected)]:
                assert one.dtype == other.dtype
                assert_array_equal(one, other)


def test_what_does_not_fit_raises_as_the_reference_does(training):
    functions = {**REFERENCE, **training.KERNELS}
    x, weight, grad_y = channels_last(draw((16, 16, 12, 12))[0]), *draw((16, 16, 3, 3), (16, 16, 9, 9))
    flat = np.asfortranarray(x[:, :, 0, 0])
    for name, *arguments in (("conv2d", x[0], weight), ("conv2d", x[:, 1:], weight), ("conv2d", x[:, :, :2], weight),
                             ("conv2d", x, weight, weight[0, :, 0, 0][1:]), ("conv2d_backward", grad_y, x, weight),
                             ("max_pool2d", x, 13), ("max_pool2d", x[0], 2), ("linear", flat, weight[:, 1:, 0, 0]), ("linear", x, weight),
                             ("linear_backward", flat[:15], flat, weight[:, :, 0, 0])):
        with pytest.raises(ValueError) as expected:
            REFERENCE[name](*arguments)
        with pytest.raises(ValueError) as got:
            functions[name](*arguments)
        assert str(got.value) == str(expected.value)


@pytest.mark.parametrize("algorithm, case", CASES)
def test_twice_the_same_is_the_same_to_the_last_bit(training, algorithm, case):
    x_shape, weight_shape, *options = case
    x, weight, grad_y = draw(x_shape, weight_shape, Geometry(x_shape, weight_shape, *options, 1).y_shape)

    def results():
        return training.conv2d(x, weight, None, *options), *training.conv2d_backward(grad_y, x, weight, *options)

    first, again = results(), results()
    if "numba" in training.__name__:                                             # there whatever the number of threads
        import numba
        threads = numba.get_num_threads()
        numba.set_num_threads(1)
        try:
            again = results()
        finally:
            numba.set_num_threads(threads)
    for one, other in zip(first, again):
        assert_array_equal(one, other)


def test_lenet_learns_the_same_on_every_backend(training):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 10, 64 * 8)
    images = rng.standard_normal((10, 1, 28, 28))[labels] + rng.standard_normal((len(labels), 1, 28, 28))
    images = images.astype(np.float32)

    def losses(functions):
        model = minicnn.build("lenet5_caffe", rng=np.random.default_rng(1)).train()
        optimizer = SGD(model, 0.05, 0.9, 5e-4)
        with mock.patch.object(dispatch, "kernels", lambda name: functions):
            return [train_step(model, images[i:i + 64], labels[i:i + 64], optimizer) for i in range(0, len(labels), 64)]

    got, expected = losses(dict(training.KERNELS)), losses({})
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert got[-1] < got[0] - 0.2
