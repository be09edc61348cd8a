"""The compiled kernels with compilation turned off, on tiny sizes: coverage sees their lines, and an index outside of an array is an
error. Vectors of eight are NumPy arrays then."""

import importlib
import os
import subprocess
import sys

import numpy as np
import pytest
from numeric_checks import assert_close
from numpy.testing import assert_array_equal
from small_networks import Composite, conv, draw, gated, norm, plain, pyramid

import minicnn
import minicnn.optim  # noqa: F401  (it enters itself into the table)
from minicnn import functional as F
from minicnn.detection.boxes import nms
from minicnn.detection.roi_align import roi_align
from minicnn.detection.roi_pool import roi_pool
from minicnn.fast import choose
from minicnn.fast.choose import Choice, choosing
from minicnn.fast.plan import compile
from minicnn.functional.conv import Geometry
from minicnn.functional.dispatch import REFERENCE, kernels
from minicnn.layers import AdaptiveAvgPool2d, Flatten, Hardsigmoid, Hardswish, Linear, MaxPool2d, ReLU, Sequential

numba = pytest.importorskip("numba")

PACKAGE = "minicnn.fast.numba_kernels"
TOLERANCE = 1e-5


@pytest.fixture(scope="module")
def interpreted():
    """The package, imported anew with compilation turned off; plans find it in place of the compiled one."""
    kernels("numba")                                                                          # dispatch keeps the compiled one
    compiled = {name: module for name, module in sys.modules.items()
                if name.startswith(PACKAGE) and not name.endswith("compile_notice")}                # which would count twice
    parent = importlib.import_module("minicnn.fast")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(numba.config, "DISABLE_JIT", True)
        for name in compiled:
            patch.delitem(sys.modules, name)
        patch.setattr(parent, "numba_kernels", None, raising=False)
        package = importlib.import_module(PACKAGE)
        assert type(package.winograd.__globals__["multiply"]) is type(plain)                    # a plain function
        yield package
        for name in [name for name in sys.modules if name.startswith(PACKAGE) and not name.endswith("compile_notice")]:
            del sys.modules[name]


def check(network, *inputs, choice=None):
    """A plan computes what the layers do."""
    with choosing(None if choice is None else lambda *_: choice):
        plan = compile(network, [x.shape for x in inputs], "numba")
    results, expected = plan.run(list(inputs), np.empty(plan.arena_size, np.float32)), plain(network, *inputs)
    for one, other in zip(*(result if isinstance(result, list) else [result] for result in (results, expected)), strict=True):
        assert_close(one, other, TOLERANCE)
    return plan


@pytest.mark.parametrize("tiles, together", [(1, False), (2, True), (4, False), (100, True)])
@pytest.mark.parametrize("pool", [False, True])
@pytest.mark.parametrize("padding", [0, 1])
def test_winograd(interpreted, tiles, together, pool, padding):
    network = Sequential([conv(13, 21, 3, 1, padding), norm(21), ReLU(), *[MaxPool2d(2)] * pool])
    plan = check(network, draw(2, 13, 7, 6), choice=Choice("winograd", {"tiles": tiles, "together": together}))
    assert len(plan.steps) == 1


@pytest.mark.parametrize("layer", [
    conv(3, 13, 3, 2, 1), conv(13, 21, 1), conv(13, 8, (2, 3), (1, 2), (0, 2), (2, 1)), conv(13, 13, 3, 2, 1, groups=13, bias=False),
    conv(13, 13, 3, 1, 2, 2, 13)], ids=repr)
@pytest.mark.parametrize("activation", [ReLU(), Hardswish(), Hardsigmoid()], ids=repr)
def test_convolutions(interpreted, layer, activation):
    network = Sequential([layer, activation])
    check(network, draw(2, layer.in_channels, 7, 6))


@pytest.mark.parametrize("rows", [1, 2, 3, 4, 5, 6, 7])
def test_products_of_any_number_of_rows(interpreted, rows):
    rng = np.random.default_rng(0)
    check(Sequential([Linear(13, 40, rng=rng), ReLU(), Linear(40, 5, rng=rng)]), draw(rows, 13))


def test_a_deep_product(interpreted):
    check(Sequential([Linear(2100, 8, rng=np.random.default_rng(0)), Hardswish()]), draw(2, 2100))


def test_sums_poolings_and_gates(interpreted):
    check(Composite(lambda a, b, x: F.relu(a(x) + b(x)), conv(13, 8, 1), conv(13, 8, 3, 1, 1)), draw(1, 13, 5, 4))
    check(Composite(lambda x: F.relu(x + x)), draw(1, 13, 5, 4))
    check(Sequential([norm(13), ReLU(), MaxPool2d(3, 2, 1, True), Hardsigmoid(), AdaptiveAvgPool2d(1), Flatten(),
                      Linear(13, 3, rng=np.random.default_rng(0))]), draw(2, 13, 6, 5))
    check(gated(13, 5), draw(2, 13, 5, 4))
    check(pyramid(13, 5, out=8), draw(1, 13, 5, 4), draw(1, 5, 3, 2))


def test_a_whole_network(interpreted):
    check(minicnn.build("lenet5", rng=np.random.default_rng(0)), draw(1, 1, 28, 28))


def test_nms(interpreted):
    rng = np.random.default_rng(0)
    corner = rng.integers(0, 30, (90, 2))
    boxes = np.concatenate([corner, corner + rng.integers(0, 20, (90, 2))], axis=1).astype(np.float32)
    scores = rng.integers(0, 50, 90).astype(np.float32)
    for threshold in (0.1, 0.5):
        assert_array_equal(interpreted.KERNELS["nms"](boxes, scores, threshold), REFERENCE[nms.__name__](boxes, scores, threshold))


@pytest.mark.parametrize("channels", [3, 13])
@pytest.mark.parametrize("pool, arguments", [(roi_align, (2,)), (roi_align, (0,)), (roi_pool, ())], ids=["align", "align adapts", "pool"])
def test_roi_align_and_roi_pool(interpreted, channels, pool, arguments):
    boxes = np.float32([[0, 0, 40, 28], [4, 8, 30.5, 21.25], [-30, -3, 5, 5], [30, 20, 60, 50], [12, 12, 12, 12], [20, 20, 8, 10]])
    x, name = draw(channels, 7, 10), pool.__name__
    pooled = REFERENCE[name](x, boxes, 3, 0.25, *arguments)
    assert_close(interpreted.KERNELS[name](x, boxes, 3, 0.25, *arguments), pooled, TOLERANCE)
    if pool is roi_align:
        expected = REFERENCE["roi_align_backward"](pooled, x.shape, boxes, 0.25, *arguments)
        assert_close(interpreted.KERNELS["roi_align_backward"](pooled, x.shape, boxes, 0.25, *arguments), expected, TOLERANCE)


def test_resizing(interpreted):
    x = draw(2, 3, 5, 7)
    assert_array_equal(interpreted.KERNELS["interpolate"](x, (9, 4), "bilinear"), REFERENCE["interpolate"](x, (9, 4), "bilinear"))


@pytest.mark.parametrize("images, c, o, kernel, padding", [
    (16, 2, 7, (3, 3), (1, 1)), (32, 3, 5, (2, 3), (0, 0)), (16, 10, 9, (1, 1), (0, 0))])
def test_batches_of_small_images(interpreted, images, c, o, kernel, padding):
    small = importlib.import_module(f"{PACKAGE}.conv_batch_innermost")
    x, weight, bias = draw(images, c, 5, 4), draw(o, c, *kernel, seed=1), draw(o, seed=2)
    y = REFERENCE["conv2d"](x, weight, bias, 1, padding)
    grad_y = draw(*y.shape, seed=3)
    inside, back = (lambda a: np.ascontiguousarray(a.transpose(1, 2, 3, 0))), (lambda a: a.transpose(3, 0, 1, 2))
    out = np.empty((*y.shape[1:], images), np.float32)
    small.forward(inside(x), weight, bias, padding, out)
    assert_close(back(out), y, TOLERANCE)
    expected = REFERENCE["conv2d_backward"](grad_y, x, weight, 1, padding)
    grad_x = np.empty((*x.shape[1:], images), np.float32)
    small.input_gradient(inside(grad_y), weight, padding, grad_x)
    assert_close(back(grad_x), expected[0], TOLERANCE)
    bordered = np.pad(x, ((0, 0), (0, 0), *((p, p) for p in padding)))
    grad_weight, grad_bias = small.weight_gradient(inside(grad_y), inside(bordered), kernel)
    assert_close(grad_weight, expected[1], TOLERANCE)
    assert_close(grad_bias, expected[2], TOLERANCE)


@pytest.mark.parametrize("algorithm, x, weight, padding", [
    ("winograd", (1, 16, 5, 6), (16, 16, 3, 3), (1, 1)), ("patches", (2, 5, 4, 5), (7, 5, 3, 2), (2, 1)),
    ("patches", (1, 3, 3, 4), (2, 3, 1, 1), (1, 0)), ("batch innermost", (16, 2, 4, 3), (5, 2, 3, 3), (1, 1))])
def test_training_convolutions(interpreted, monkeypatch, algorithm, x, weight, padding):
    monkeypatch.setattr(choose, "FILTER_TRANSFORM", -1000)             # Winograd's algorithm, where it is possible
    x, weight = draw(*x), draw(*weight, seed=1)
    y = REFERENCE["conv2d"](x, weight, None, 1, padding)
    geometry = Geometry(x.shape, weight.shape, 1, padding, 1, 1)
    assert choose.unplanned_convolution(geometry, x, weight, "numba") == algorithm
    assert_close(interpreted.KERNELS["conv2d"](x, weight, None, 1, padding), y, TOLERANCE)
    gradients = (functions["conv2d_backward"](y, x, weight, 1, padding) for functions in (interpreted.KERNELS, REFERENCE))
    for got, expected in zip(*gradients, strict=True):
        assert_close(got, expected, TOLERANCE)


def test_training_on_small_images(interpreted, monkeypatch):
    monkeypatch.setattr(choose, "LARGE", 1)
    monkeypatch.setattr(interpreted.unplanned, "LARGE", 1)
    x, weight = np.asfortranarray(draw(16, 7)), draw(3, 7)
    y = REFERENCE["linear"](x, weight)
    assert_close(interpreted.KERNELS["linear"](x, weight), y, TOLERANCE)
    gradients = (functions["linear_backward"](y, x, weight) for functions in (interpreted.KERNELS, REFERENCE))
    for got, expected in zip(*gradients, strict=True):
        assert_close(got, expected, TOLERANCE)
    x = draw(1, 4, 4, 8).transpose(0, 3, 1, 2)
    for windows in ((3, 2, 1), (2, 2, 0)):
        y, index = interpreted.KERNELS["max_pool2d"](x, *windows)
        for got, expected in zip((y, index), REFERENCE["max_pool2d"](x, *windows), strict=True):
            assert_array_equal(got, expected)
        assert_array_equal(interpreted.KERNELS["max_pool2d"](x, *windows, return_indices=False)[0], y)
        assert_close(interpreted.KERNELS["max_pool2d_backward"](y, index, x.shape, *windows),
                     REFERENCE["max_pool2d_backward"](y, index, x.shape, *windows), TOLERANCE)
    assert_array_equal(interpreted.KERNELS["relu"](x), REFERENCE["relu"](x))
    assert_array_equal(interpreted.KERNELS["relu_backward"](y, y), REFERENCE["relu_backward"](y, y))
    moved = [x.copy() for _ in range(3)], [x.copy() for _ in range(3)]
    for functions, arrays in zip((interpreted.KERNELS, REFERENCE), moved):
        functions["sgd_update"](*arrays, 0.1, 0.9, 0.01, True)
    assert_array_equal(*moved)


def test_numbas_own_variable_turns_compiling_off():
    """The same in a process of its own."""
    code = """
import numpy as np, minicnn
from minicnn.functional.dispatch import use
model = minicnn.build("lenet5", rng=np.random.default_rng(0))
x = np.random.default_rng(1).random((1, 1, 28, 28), np.float32)
got = model(x)
with use("reference"):
    assert np.abs(got - model(x)).max() < 1e-5
from minicnn.fast.numba_kernels.matmul import multiply
print(type(multiply).__name__)
"""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "NUMBA_DISABLE_JIT": "1", "MINICNN_BACKEND": "numba"},
                          capture_output=True, text=True)
    assert (done.stdout, done.stderr) == ("function\n", "")
