"""Pooling against its definition, window by window, and its gradients against differences."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_checks import EXACT, assert_close, check_arrays, check_gradients
from numpy.testing import assert_array_equal

from minicnn.functional import (
    adaptive_avg_pool2d,
    adaptive_avg_pool2d_backward,
    avg_pool2d,
    avg_pool2d_backward,
    max_pool2d,
    max_pool2d_backward,
)

pytestmark = pytest.mark.usefixtures("backend")


def starts(n, k, s, p, ceil_mode):
    """Where windows begin on n pixels, the first at -p: all that end inside the padding, and in ceil mode one more, if pixels
    are left over and it begins before the image's end."""
    whole = list(range(-p, n + p - k + 1, s))
    after = whole[-1] + s
    return whole + [after] * (ceil_mode and whole[-1] + k < n + p and after < n)


def windows(x, kernel, stride, padding, ceil_mode):
    """For each output (b, c, i, j): its window's place in the kernel, row by row, and value, of each pixel inside the image;
    and the number of pixels inside image and padding."""
    sides = [starts(n, *rest, ceil_mode) for n, *rest in zip(x.shape[2:], kernel, stride, padding)]
    for b, c, (i, top), (j, left) in itertools.product(*map(range, x.shape[:2]), *map(enumerate, sides)):
        rows, cols = range(top, top + kernel[0]), range(left, left + kernel[1])
        inside = [((row - top) * kernel[1] + col - left, x[b, c, row, col]) for row in rows for col in cols
                  if 0 <= row < x.shape[2] and 0 <= col < x.shape[3]]
        padded = [sum(at < n + p for at in side) for side, n, p in zip((rows, cols), x.shape[2:], padding)]
        yield (b, c, i, j), inside, math.prod(padded)


def gather(x, case, value):
    """The outputs value(inside, padded) of all windows, as an array."""
    found = {place: value(inside, padded) for place, inside, padded in windows(x, *case)}
    y = np.empty([size + 1 for size in max(found)])
    for place, number in found.items():
        y[place] = number
    return y


#            kernel  stride  padding ceil_mode
CASES = {
    "2x2": ((2, 2), (2, 2), (0, 0), False),
    "overlapping": ((3, 3), (1, 1), (1, 1), False),
    "resnet": ((3, 3), (2, 2), (1, 1), False),
    "stride leaves rest": ((2, 3), (3, 2), (1, 0), False),
    "ceil": ((3, 2), (2, 3), (0, 0), True),
    "ceil padded": ((3, 4), (2, 3), (1, 2), True),
    "1x1": ((1, 1), (2, 3), (0, 0), True),
}
each_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
each_shape = pytest.mark.parametrize("shape", [(1, 1, 4, 7), (3, 2, 8, 5)])


def check_max(x, case):
    y, index = max_pool2d(x, *case)
    assert_array_equal(y, gather(x, case, lambda inside, _: max(value for _, value in inside)))      # copies of values: exact
    assert_array_equal(index, gather(x, case, lambda inside, _: max(inside, key=lambda pixel: pixel[1])[0]))   # max: the first
    check_gradients(lambda x: max_pool2d(x, *case)[0], lambda grad_y, x: [max_pool2d_backward(grad_y, index, x.shape, *case)], x)


def check_average(x, case, include_pad):
    def mean(inside, padded):
        return sum(value for _, value in inside) / (padded if include_pad else len(inside))
    assert_close(avg_pool2d(x, *case, include_pad), gather(x, case, mean), EXACT)
    check_gradients(lambda x: avg_pool2d(x, *case, include_pad),
                    lambda grad_y, x: [avg_pool2d_backward(grad_y, x.shape, *case, include_pad)], x)


@each_case
@each_shape
def test_equals_loops_and_gradients_equal_differences(shape, case):
    x = np.random.default_rng(0).standard_normal(shape)
    check_max(x, case)
    check_average(x, case, include_pad=True)
    check_average(x, case, include_pad=False)


@st.composite
def poolings(draw):
    """An image and any pooling whose kernel fits."""
    def pairs(low, high):
        return draw(st.tuples(st.integers(low, high), st.integers(low, high)))
    kernel, stride = pairs(1, 4), pairs(1, 5)
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    sides = [max(1, k - 2 * p) + more for k, p, more in zip(kernel, padding, pairs(0, 6))]
    return (draw(st.integers(1, 3)), draw(st.integers(1, 2)), *sides), (kernel, stride, padding, draw(st.booleans()))


@given(pooling=poolings())
@settings(derandomize=True, max_examples=100, deadline=None)
def test_any_shape(pooling):
    shape, case = pooling
    x = np.random.default_rng(0).standard_normal(shape)
    check_max(x, case)
    check_average(x, case, include_pad=True)
    check_average(x, case, include_pad=False)


@each_case
def test_any_memory_order_and_both_dtypes(case):
    def call(x):
        (high, index), mean, grid = max_pool2d(x, *case), avg_pool2d(x, *case, False), adaptive_avg_pool2d(x, (3, 4))
        return (high, index, mean, grid, max_pool2d_backward(high, index, x.shape, *case),
                avg_pool2d_backward(mean, x.shape, *case, False), adaptive_avg_pool2d_backward(grid, x.shape))
    check_arrays(call, np.random.default_rng(0).standard_normal((3, 2, 8, 5)))


def test_max_by_hand():
    x = np.array([[[[1.0, 2, 5], [4, 3, 0], [9, 9, 9]]]])
    y, index = max_pool2d(x, 2, stride=1)
    assert_array_equal(y, [[[[4, 5], [9, 9]]]])
    assert_array_equal(index, [[[[2, 1], [2, 2]]]])
    # the 4 and the 5 won once; of each pair of nines the left one did
    assert_array_equal(max_pool2d_backward(np.array([[[[1.0, 2], [3, 4]]]]), index, x.shape, 2, 1),
                       [[[[0, 0, 2], [1, 0, 0], [3, 4, 0]]]])


def test_overlapping_windows_add_up_at_their_common_winner():
    x = np.array([[[[0.0, 0, 0], [0, 7, 0], [0, 0, 0]]]])
    _, index = max_pool2d(x, 2, stride=1)
    grad_x = max_pool2d_backward(np.array([[[[1.0, 2], [3, 4]]]]), index, x.shape, 2, 1)
    assert_array_equal(grad_x, [[[[0, 0, 0], [0, 10, 0], [0, 0, 0]]]])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_of_equal_values_the_first_wins(case):
    x = np.random.default_rng(0).integers(-1, 2, (3, 2, 7, 8)).astype(float)
    index = max_pool2d(x, *case)[1]
    assert_array_equal(index, gather(x, case, lambda inside, _: max(inside, key=lambda pixel: pixel[1])[0]))


def test_nan_wins_wherever_it_stands():
    x = np.zeros((4, 1, 2, 2))
    x.reshape(4, 4)[range(4), range(4)] = np.nan
    y, index = max_pool2d(x, 2)
    assert np.isnan(y).all()
    assert_array_equal(index.ravel(), [0, 1, 2, 3])
    assert_array_equal(max_pool2d_backward(np.ones((4, 1, 1, 1)), index, x.shape, 2), np.isnan(x))


def test_padding_never_wins():
    """-inf, not 0, lies outside: negative images keep their maximum."""
    assert_array_equal(max_pool2d(np.full((1, 1, 3, 3), -5.0), 3, 2, 1)[0], np.full((1, 1, 2, 2), -5))


def test_index_has_room_for_a_large_window():
    x = np.zeros((1, 1, 20, 20))
    x[..., -1, -1] = 1
    _, index = max_pool2d(x, 20)
    assert index == 399
    assert_array_equal(max_pool2d_backward(np.ones((1, 1, 1, 1)), index, x.shape, 20), x)


def test_average_by_hand():
    """Ones: with the padding of zeros a corner has 4 of 9; without it, every mean is 1."""
    x = np.ones((1, 1, 4, 4))
    assert_close(avg_pool2d(x, 3, 2, 1), [[[[4 / 9, 6 / 9], [6 / 9, 1]]]], EXACT)
    assert_array_equal(avg_pool2d(x, 3, 2, 1, count_include_pad=False), np.ones((1, 1, 2, 2)))
    assert_array_equal(avg_pool2d(np.arange(4.0).reshape(1, 1, 2, 2), 2), [[[[1.5]]]])
    assert_array_equal(avg_pool2d_backward(np.array([[[[8.0]]]]), (1, 1, 2, 2), 2), np.full((1, 1, 2, 2), 2))


def test_ceil_mode_takes_the_rest_but_no_window_of_padding():
    x = np.arange(5.0).reshape(1, 1, 1, 5)
    assert_array_equal(max_pool2d(x, (1, 2), 2)[0].ravel(), [1, 3])
    assert_array_equal(max_pool2d(x, (1, 2), 2, ceil_mode=True)[0].ravel(), [1, 3, 4])
    assert_array_equal(avg_pool2d(x, (1, 2), 2, ceil_mode=True).ravel(), [0.5, 2.5, 4])      # what hangs over does not count
    # padded to 6 pixels, a third window of step 3 would start at 5, past the four of the image: left out
    assert max_pool2d(x[..., :4], (1, 2), 3, (0, 1), True)[0].shape == (1, 1, 1, 2)


@pytest.mark.parametrize("output_size", [1, (2, 3), (5, 7), (4, 4), (7, 9)], ids=str)
@pytest.mark.parametrize("shape", [(1, 1, 5, 7), (3, 2, 10, 4)])
def test_adaptive_average_equals_loops_and_its_gradient_equals_differences(shape, output_size):
    x = np.random.default_rng(0).standard_normal(shape)
    ho, wo = np.broadcast_to(output_size, 2)
    expected = np.empty((*shape[:2], ho, wo))
    for b, c, i, j in itertools.product(*map(range, expected.shape)):
        rows, cols = ([at for at in range(n) if math.floor(k * n / out) <= at < math.ceil((k + 1) * n / out)]
                      for k, n, out in ((i, shape[2], ho), (j, shape[3], wo)))
        expected[b, c, i, j] = sum(x[b, c, row, col] for row in rows for col in cols) / (len(rows) * len(cols))
    assert_close(adaptive_avg_pool2d(x, output_size), expected, EXACT)
    check_gradients(lambda x: adaptive_avg_pool2d(x, output_size),
                    lambda grad_y, x: [adaptive_avg_pool2d_backward(grad_y, x.shape)], x)


def test_adaptive_bins_overlap_by_hand():
    """10 -> 4: [0, 3), [2, 5), [5, 8), [7, 10)."""
    x = np.arange(10.0).reshape(1, 1, 1, 10)
    assert_array_equal(adaptive_avg_pool2d(x, (1, 4)).ravel(), [1, 3, 6, 8])
    grad_x = adaptive_avg_pool2d_backward(np.array([[[[3.0, 30, 300, 3000]]]]), x.shape)
    assert_array_equal(grad_x.ravel(), [1, 1, 11, 10, 10, 100, 100, 1100, 1000, 1000])


@pytest.mark.parametrize("pool", [max_pool2d, avg_pool2d])
@pytest.mark.parametrize("shape, arguments, message", [
    ((3, 8, 8), (2,), r"got x of shape \(3, 8, 8\), expected \(N, C, H, W\).*pass image\[None\]"),
    ((1, 1, 8, 8), (3, 1, 2), "padding=2.*at most half the kernel"),
    ((1, 1, 8, 8), ((4, 2), 1, (2, 2)), "at most half the kernel"),
    ((1, 1, 2, 8), (3,), r"kernel_size=3.*x \(1, 1, 2, 8\).*no larger than the padded image"),
])
def test_bad_shapes_are_named(pool, shape, arguments, message):
    with pytest.raises(ValueError, match=message):
        pool(np.zeros(shape), *arguments)
