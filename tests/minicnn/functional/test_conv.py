"""conv2d against its definition, pixel by pixel, and its gradients against differences."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_checks import EXACT, assert_close, check_arrays, check_gradients
from numpy.testing import assert_array_equal

from minicnn.functional import conv, conv2d, conv2d_backward

pytestmark = pytest.mark.usefixtures("backend")


def conv2d_loops(x, weight, bias, stride, padding, dilation, groups):
    """The definition; what lies outside the image is skipped, instead of padded."""
    (n, _, h, w), (o, c_group, kh, kw) = x.shape, weight.shape
    (sh, sw), (ph, pw), (dh, dw) = stride, padding, dilation
    ho, wo = (h + 2 * ph - dh * (kh - 1) - 1) // sh + 1, (w + 2 * pw - dw * (kw - 1) - 1) // sw + 1
    y = np.zeros((n, o, ho, wo))
    for b, k, i, j in itertools.product(*map(range, y.shape)):
        first = k // (o // groups) * c_group                        # the first input channel of filter k's group
        for c, di, dj in itertools.product(range(c_group), range(kh), range(kw)):
            row, col = i * sh + di * dh - ph, j * sw + dj * dw - pw
            if 0 <= row < h and 0 <= col < w:
                y[b, k, i, j] += weight[k, c, di, dj] * x[b, first + c, row, col]
        y[b, k, i, j] += 0 if bias is None else bias[k]
    return y


#         x              weight        stride  padding dilation groups
CASES = {
    "3x3": ((1, 2, 5, 7), (3, 2, 3, 3), (1, 1), (0, 0), (1, 1), 1),
    "3x3 padded": ((3, 2, 5, 4), (3, 2, 3, 3), (1, 1), (1, 1), (1, 1), 1),
    "1x1": ((3, 4, 3, 5), (2, 4, 1, 1), (1, 1), (0, 0), (1, 1), 1),
    "1x1 padded, stride leaves rest": ((1, 2, 4, 7), (3, 2, 1, 1), (2, 3), (1, 0), (1, 1), 1),
    "stride leaves rest": ((3, 2, 8, 9), (2, 2, 3, 2), (2, 3), (1, 0), (1, 1), 1),
    "stride skips pixels": ((1, 1, 9, 8), (1, 1, 2, 2), (4, 3), (0, 1), (1, 1), 1),
    "dilation": ((3, 2, 9, 7), (2, 2, 3, 2), (1, 1), (2, 1), (2, 3), 1),
    "groups": ((3, 6, 4, 5), (4, 3, 3, 3), (1, 1), (1, 1), (1, 1), 2),
    "depthwise": ((1, 4, 6, 5), (4, 1, 3, 3), (2, 2), (1, 1), (1, 1), 4),
    "depthwise, two filters each": ((3, 3, 6, 5), (6, 1, 3, 2), (2, 1), (1, 1), (2, 1), 3),
    "kernel as large as image": ((3, 2, 5, 7), (4, 2, 5, 7), (1, 1), (0, 0), (1, 1), 1),
    "mostly padding": ((1, 1, 1, 2), (2, 1, 3, 3), (2, 2), (2, 3), (1, 1), 1),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def draw(x_shape, weight_shape):
    """Arrays of the shapes, and a bias."""
    rng = np.random.default_rng(0)
    return rng.standard_normal(x_shape), rng.standard_normal(weight_shape), rng.standard_normal(weight_shape[0])


@each_case
@pytest.mark.parametrize("with_bias", [True, False])
def test_equals_loops_and_gradients_equal_differences(case, with_bias):
    (x, weight, bias), options = draw(*case[:2]), case[2:]
    arrays = (x, weight, bias) if with_bias else (x, weight)
    assert_close(conv2d(*arrays, **names(options)), conv2d_loops(x, weight, bias if with_bias else None, *options), EXACT)
    check_gradients(lambda *a: conv2d(*a, **names(options)),
                    lambda grad_y, x, weight, *bias: conv2d_backward(grad_y, x, weight, *options)[:len(arrays)], *arrays)


def names(options):
    return dict(zip(("stride", "padding", "dilation", "groups"), options))


@st.composite
def convolutions(draw):
    """Any convolution whose kernel fits its padded image."""
    def pairs(low, high):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))
    groups, kernel, stride, padding, dilation = draw(st.integers(1, 3)), pairs(1, 3), pairs(1, 4), pairs(0, 3), pairs(1, 3)
    sides = [max(1, d * (k - 1) + 1 - 2 * p) + more for d, k, p, more in zip(dilation, kernel, padding, pairs(0, 5))]
    x = (draw(st.integers(1, 3)), groups * draw(st.integers(1, 2)), *sides)
    return x, (groups * draw(st.integers(1, 2)), x[1] // groups, *kernel), stride, padding, dilation, groups


@given(case=convolutions(), column_bytes=st.sampled_from([1, 2000, 2**26]))
@settings(derandomize=True, max_examples=80, deadline=None)
def test_any_shape_in_any_number_of_strips(case, column_bytes):
    (x, weight, bias), options = draw(*case[:2]), case[2:]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(conv, "COLUMN_BYTES", column_bytes)
        assert_close(conv2d(x, weight, bias, *options), conv2d_loops(x, weight, bias, *options), EXACT)
        check_gradients(lambda *a: conv2d(*a, *options), lambda grad_y, x, weight, bias:
                        conv2d_backward(grad_y, x, weight, *options), x, weight, bias)


@pytest.mark.parametrize("rows, strips", [(1, 3), (2, 2), (3, 1)])
def test_strips_of_rows_change_nothing(monkeypatch, rows, strips):
    x, weight, bias = draw((5, 4, 6, 7), (6, 2, 3, 3))
    options = (2, 1, 1, 2)
    y = conv2d(x, weight, bias, *options)
    grad_y = np.cos(y)
    whole = (y, *conv2d_backward(grad_y, x, weight, *options))
    monkeypatch.setattr(conv, "COLUMN_BYTES", rows * 8 * 4 * 9 * 4 * 5)       # itemsize, C, KH KW, Wo, N
    assert len(list(conv.im2col(x, conv.Geometry(x.shape, weight.shape, *options)))) == strips
    for got, expected in zip((conv2d(x, weight, bias, *options), *conv2d_backward(grad_y, x, weight, *options)), whole):
        assert_close(got, expected, EXACT)


@each_case
def test_any_memory_order_and_both_dtypes(case):
    def call(x, weight, bias):
        y = conv2d(x, weight, bias, *case[2:])
        return y, *conv2d_backward(y, x, weight, *case[2:])
    check_arrays(call, *draw(*case[:2]))


def test_by_hand():
    """The image 0..8, filter [[1, 0], [0, -2]]: x[i, j] - 2 x[i + 1, j + 1] + 10, neither flipped nor transposed."""
    x, weight, bias = np.arange(9.0).reshape(1, 1, 3, 3), np.array([[[[1.0, 0], [0, -2]]]]), np.array([10.0])
    assert_array_equal(conv2d(x, weight, bias), [[[[2, 1], [-1, -2]]]])
    grad_x, grad_weight, grad_bias = conv2d_backward(np.array([[[[1.0, 2], [3, 4]]]]), x, weight)
    assert_array_equal(grad_x, [[[[1, 2, 0], [3, 4 - 2, -4], [0, -6, -8]]]])
    assert_array_equal(grad_weight, [[[[0 + 2 + 9 + 16, 1 + 4 + 12 + 20], [3 + 8 + 18 + 28, 4 + 10 + 21 + 32]]]])
    assert_array_equal(grad_bias, [10])


def test_one_number_stands_for_both_directions():
    x, weight, bias = draw((1, 2, 9, 8), (3, 2, 3, 3))
    assert_array_equal(conv2d(x, weight, bias, 2, 1, 2), conv2d(x, weight, bias, (2, 2), (1, 1), (2, 2)))


def test_without_input_gradient_the_others_stay():
    x, weight, bias = draw(*CASES["groups"][:2])
    grad_y = conv2d(x, weight, bias, groups=2)
    grad_x, *others = conv2d_backward(grad_y, x, weight, groups=2, input_gradient=False)
    assert grad_x is None
    for got, expected in zip(others, conv2d_backward(grad_y, x, weight, groups=2)[1:]):
        assert_array_equal(got, expected)


def test_no_image_gives_no_output_and_gradients_of_zero():
    x, weight = np.zeros((0, 4, 5, 6), np.float32), np.ones((2, 2, 3, 3), np.float32)
    y = conv2d(x, weight, np.ones(2, np.float32), padding=1, groups=2)
    assert y.shape == (0, 2, 5, 6)
    grad_x, grad_weight, grad_bias = conv2d_backward(y, x, weight, padding=1, groups=2)
    assert grad_x.shape == x.shape
    assert_array_equal(grad_weight, np.zeros_like(weight))
    assert_array_equal(grad_bias, [0, 0])


@pytest.mark.parametrize("x, weight, options, message", [
    ((2, 8, 8, 4), (16, 4, 5, 5), {}, r"got x \(2, 8, 8, 4\), weight \(16, 4, 5, 5\), groups=1; expected 4 input channels"),
    ((2, 4, 8, 8), (6, 4, 3, 3), {"groups": 2}, "expected 8 input channels"),
    ((2, 4, 8, 8), (5, 2, 3, 3), {"groups": 2}, "O divisible by groups"),
    ((4, 8, 8), (6, 4, 3, 3), {}, r"expected x \(N, C, H, W\).*pass image\[None\]"),
    ((1, 4, 8, 8), (6, 4), {}, r"weight \(O, C // groups, KH, KW\)"),
    ((1, 1, 4, 9), (1, 1, 3, 3), {"dilation": (2, 1)}, r"at least \(5, 3\), it has \(4, 9\).*more padding"),
    ((1, 1, 9, 1), (1, 1, 3, 4), {"padding": (0, 1)}, r"at least \(3, 4\), it has \(9, 3\)"),
])
def test_bad_shapes_are_named(x, weight, options, message):
    with pytest.raises(ValueError, match=message):
        conv2d(np.zeros(x), np.zeros(weight), **options)
