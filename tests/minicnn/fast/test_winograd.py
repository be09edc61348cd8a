"""Winograd's matrices against the definition of a correlation, and its error beside a direct convolution's."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from small_networks import conv

from minicnn.errors import InputError
from minicnn.fast.choose import Choice, choosing
from minicnn.fast.plan import compile
from minicnn.fast.winograd import A_T, B_T, IN, OUT, G, transformed_filters, winograd_allowed
from minicnn.functional.dispatch import REFERENCE, run


def test_the_bilinear_form_is_the_correlation():
    rng = np.random.default_rng(0)
    d, g = rng.standard_normal((6, 6)), rng.standard_normal((3, 3))
    expected = np.zeros((4, 4))
    for i, j, a, b in itertools.product(range(4), range(4), range(3), range(3)):
        expected[i, j] += g[a, b] * d[i + a, j + b]
    assert_allclose(A_T @ ((G @ g @ G.T) * (B_T @ d @ B_T.T)) @ A_T.T, expected, rtol=1e-13, atol=1e-14)


def test_transformed_filters_are_the_formula_of_each():
    weight = np.random.default_rng(0).standard_normal((5, 3, 3, 3)).astype(np.float32)
    points = transformed_filters(weight)
    assert points.shape == (36, 3, 5) and points.dtype == np.float32
    for o, c in np.ndindex(5, 3):
        assert_allclose(points[:, c, o].reshape(6, 6), G @ weight[o, c].astype(np.float64) @ G.T, rtol=1e-7)


# the error


EPS = np.finfo(np.float32).eps
H, W, FILTERS = 30, 34, 24


def images_and_filters(channels):
    """What makes sums cancel, or numbers differ much in size: name -> x (1, C, H, W), weight (O, C, 3, 3), float32."""
    rng = np.random.default_rng(channels)
    x, weight = rng.standard_normal((1, channels, H, W)), rng.standard_normal((FILTERS, channels, 3, 3)) / np.sqrt(9 * channels)
    board, edge = (-1.0) ** np.add.outer(np.arange(H), np.arange(W)), weight - weight.mean(axis=(2, 3), keepdims=True)
    pixel, lone = x.copy(), x.copy()
    pixel[:, :, 13, 17], lone[:, :1, 13, 17] = 1e6, 1e6
    cases = {
        "normal": (x, weight), "after a ReLU": (np.maximum(x, 0), weight), "of tiny numbers": (1e-20 * x, weight),
        "a large offset": (1000 + x, weight), "a large offset, filters that take it away": (1000 + x, edge),
        "a large offset, positive filters": (1000 + x, np.abs(weight)),
        "a tiny variance": (1 + 1e-4 * x, weight), "a tiny variance, filters that take its mean away": (1 + 1e-4 * x, edge),
        "a huge pixel": (pixel, weight), "a huge pixel in one channel": (lone, weight),
        "alternating signs": (1000 * board + x, weight),
        "alternating signs, filters alike": (board + 1e-3 * x, board[:3, :3] * np.abs(weight)),
        "alternating columns": (1000 * board[:1] + x, weight)}
    return {name: (x.astype(np.float32), weight.astype(np.float32)) for name, (x, weight) in cases.items()}


def computed(algorithm, x, weight):
    """On the engine in use, in float32."""
    layer = conv(x.shape[1], FILTERS)
    layer.weight[...], layer.bias[...] = weight, 0
    with choosing(lambda *_: algorithm):
        plan = compile(layer, x.shape)
    assert plan.steps[-1].algorithm == str(algorithm)
    return plan.run([x], np.empty(plan.arena_size, np.float32))


def one_by_one(x, weight):
    """Every product added to its sum in turn, in float32."""
    y = np.zeros((1, FILTERS, H - 2, W - 2), np.float32)
    for c, i, j in np.ndindex(x.shape[1], 3, 3):
        y += weight[:, c, i, j, None, None] * x[:, c, None, i:i + H - 2, j:j + W - 2]
    return y


def largest_sums(x, weight):
    """For each result the sum over channels of |the tile's largest number| times the filter's sum of |taps|."""
    taps, sums = np.abs(weight).sum(axis=(2, 3)), np.empty((1, FILTERS, H - 2, W - 2))
    for i, j in itertools.product(range(0, H - 2, OUT), range(0, W - 2, OUT)):
        sums[:, :, i:i + OUT, j:j + OUT] = (np.abs(x[:, :, i:i + IN, j:j + IN]).max(axis=(2, 3)) @ taps.T)[:, :, None, None]
    return sums


@pytest.mark.parametrize("name", images_and_filters(1))
@pytest.mark.parametrize("channels", [16, 64, 512])
def test_the_error_is_bounded_on_adversarial_inputs(engine, channels, name):
    """Each result errs by at most (4 + C / 16) units of the last digit of its largest sum, and the worst by at most 8 times as much as
    the worst of a direct convolution in float32 that adds one product after the other. (How BLAS adds them, and so how far its direct
    convolution errs, differs with processor and threads.)

    A rounding of a number in the transformed tile or product is carried into the result by A^T, G and B^T, which magnify it at most
    157-fold; C + 20 roundings, each at most half a unit, could all add up. They do not: their signs differ, and no case that we know of
    comes to a hundredth of that. What stays true is that the error is of the size of the *tile's* largest number: next to a huge
    pixel, a result that does not see it loses digits that a direct convolution keeps.
    """
    x, weight = images_and_filters(channels)[name]
    exact = REFERENCE["conv2d"](x.astype(np.float64), weight.astype(np.float64))
    direct = np.abs(one_by_one(x, weight) - exact)
    error = np.abs(computed(Choice("winograd", {"tiles": 24, "together": False}), x, weight) - exact)
    assert (error <= (4 + channels / 16) * EPS * largest_sums(x.astype(np.float64), weight)).all()
    assert 0 < error.max() <= 8 * direct.max()


def test_magnified_at_most_157_fold():
    """The bound above: the largest sum over points of |A^T| |G| (sum of |B^T|), for rows and columns."""
    rows = np.einsum("ia,ak,a->ik", np.abs(A_T), np.abs(G), np.abs(B_T).sum(axis=1))
    assert 157 < rows.max() ** 2 < 158


def test_turned_off_the_convolution_is_the_direct_one(engine, monkeypatch):
    x, weight = images_and_filters(64)["a large offset"]
    layer = conv(64, FILTERS)
    layer.weight[...], layer.bias[...] = weight, 0
    fast = run(layer, x)
    monkeypatch.setenv("MINICNN_WINOGRAD", "0")
    again = conv(64, FILTERS)                                                       # the variable is read when a plan is made
    again.weight[...], again.bias[...] = weight, 0
    assert_array_equal(run(again, x), computed(Choice("direct"), x, weight))
    assert (run(again, x) != fast).any()
    assert_array_equal(run(layer, x), fast)


@pytest.mark.parametrize("value, expected", [("0", False), ("1", True), ("", True), (None, True)])
def test_the_variable_turns_it_off(monkeypatch, value, expected):
    monkeypatch.delenv("MINICNN_WINOGRAD", raising=False)
    if value is not None:
        monkeypatch.setenv("MINICNN_WINOGRAD", value)
    assert winograd_allowed() is expected


@pytest.mark.parametrize("value", ["no", "false", "2", " "])
def test_another_value_of_the_variable_is_refused(monkeypatch, value):
    monkeypatch.setenv("MINICNN_WINOGRAD", value)
    with pytest.raises(InputError, match=f"^got MINICNN_WINOGRAD={value}, expected 0, which turns .* or 1. Unset it"):
        winograd_allowed()
