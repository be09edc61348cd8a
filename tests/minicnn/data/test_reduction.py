"""Large images: reduced by the smallest power of two, each pixel the mean of its block, boxes back in pixels of the file."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from minicnn.data.reduction import LARGEST, MAX_PIXELS, ReadImage, block_means, enlarge, reduce_strips, reduced_size, reduction


@given(st.integers(1, 60_000), st.integers(1, 60_000))
def test_the_factor_is_the_smallest_power_of_two_that_suffices(height, width):
    factor = reduction(height, width)
    h, w = reduced_size(height, width)
    assert factor in (1, 2, 4, 8, 16) and h * w <= MAX_PIXELS
    assert (h - 1) * factor < height <= h * factor and (w - 1) * factor < width <= w * factor
    if factor > 1:
        assert np.prod(reduced_size(height, width, factor // 2)) > MAX_PIXELS
    assert factor == 1 or height * width > MAX_PIXELS


def test_the_largest_size_of_any_format_has_a_factor():
    assert reduction(2**32, 2**32) >= 2**19                         # a TIFF's header; such sizes are refused before they are decoded
    assert reduction(25_000, LARGEST // 25_000) == 4


def test_images_up_to_the_limit_are_not_reduced():
    assert reduction(5000, 10_000) == 1 == reduction(1, MAX_PIXELS)
    boxes = np.float32([[-1.5, 2, 3, 4e9]])
    assert enlarge(boxes, 5000, 10_000) is boxes                    # not even clipped


def naive(values, factor):
    h, w, channels = values.shape
    rows, columns = reduced_size(h, w, factor)
    out = np.zeros((rows, columns, channels))
    for y in range(rows):
        for x in range(columns):
            block = values[y * factor:(y + 1) * factor, x * factor:(x + 1) * factor]
            out[y, x] = block.reshape(-1, channels).astype(np.float64).mean(axis=0)
    return out


@pytest.mark.parametrize("shape", [(8, 12, 3), (9, 13, 3), (1, 1, 3), (3, 17, 1), (17, 3, 3)])
@pytest.mark.parametrize("factor", [2, 4, 8])
def test_block_means(shape, factor):
    floats = np.random.default_rng(0).random(shape, np.float32)
    got = block_means(floats, factor)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, naive(floats, factor), rtol=1e-6)
    whole = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    got = block_means(whole, factor)
    assert got.dtype == np.uint8 and np.abs(got - naive(whole, factor)).max() <= 0.5


@pytest.mark.parametrize("strip", [1, 50, 10_000])
def test_strips_give_what_the_whole_gives(monkeypatch, strip):
    monkeypatch.setattr("minicnn.data.reduction.STRIP", strip)
    values = np.random.default_rng(0).integers(0, 256, (21, 10, 3), np.uint8)
    asked = []
    got = reduce_strips(lambda top, bottom: asked.append((top, bottom)) or values[top:bottom], 21, 10, 4)
    assert_array_equal(got, block_means(values, 4))
    assert asked[0][0] == 0 and asked[-1][1] == 21 and all(a[1] == b[0] for a, b in zip(asked, asked[1:]))


def test_boxes_come_back_in_pixels_of_the_file():
    read = ReadImage(np.zeros((2501, 5001, 3), np.uint8), 5001, 10_001, 2)
    assert_array_equal(read.enlarge(np.float32([[0, 0.5, 10, 20.25], [-1, 0, 5001, 2501]])), [[0, 1, 20, 40.5], [0, 0, 10_001, 5001]])
    assert read.enlarge(np.zeros((0, 4), np.float32)).shape == (0, 4)
