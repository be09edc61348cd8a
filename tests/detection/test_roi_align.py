"""RoIAlign against its definition, point by point, in float32 steps; which map a box is pooled from; torchvision's numbers."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_checks import FORWARD, assert_close
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.detection.roi_align import MultiScaleRoIAlign, map_levels, map_scales, roi_align, roi_align_backward
from minicnn.detection.roi_pool import MultiScaleRoIPool, roi_pool, roi_pool_backward
from minicnn.functional.dispatch import REFERENCE

pytestmark = pytest.mark.usefixtures("backend")

f32 = np.float32


def array(values):
    """Read-only float32: writing it raises."""
    out = np.array(values, f32).reshape(-1, 4)
    out.flags.writeable = False
    return out


def draw_map(*shape):
    x = np.random.default_rng(0).standard_normal(shape).astype(f32)
    x.flags.writeable = False
    return x


def bilinear(x, row, column):
    """The map (C, H, W) between pixels; 0 from more than one pixel outside."""
    _, height, width = x.shape
    if row < -1 or row > height or column < -1 or column > width:
        return np.zeros(len(x), x.dtype)
    (top, down), (left, across) = ((n - 1, f32(0)) if at >= n - 1 else (int(at), at - f32(int(at)))
                                   for at, n in ((max(row, f32(0)), height), (max(column, f32(0)), width)))
    below, right = min(top + 1, height - 1), min(left + 1, width - 1)
    return ((1 - down) * ((1 - across) * x[:, top, left] + across * x[:, top, right])
            + down * ((1 - across) * x[:, below, left] + across * x[:, below, right]))


def roi_align_loops(x, boxes, p, spatial_scale, sampling_ratio):
    pooled = np.zeros((len(boxes), len(x), p, p), x.dtype)
    for out, box in zip(pooled, boxes):
        left, top, right, bottom = box * f32(spatial_scale)
        w, h = max(right - left, f32(1)), max(bottom - top, f32(1))
        down, across = (sampling_ratio or math.ceil(side / f32(p)) for side in (h, w))
        for i, j in np.ndindex(p, p):
            for iy, ix in np.ndindex(down, across):
                row, column = (start + f32(bin_) * (side / f32(p)) + (f32(at) + f32(0.5)) * (side / f32(p)) / f32(g)
                               for start, bin_, side, at, g in ((top, i, h, iy, down), (left, j, w, ix, across)))
                out[:, i, j] += bilinear(x, row, column) / (down * across)
    return pooled


CORNERS = array([
    [0, 0, 40, 28],                 # the whole map at scale 1/4
    [4, 8, 30.5, 21.25],
    [-3, -3, 5, 5],                 # begins outside
    [30, 20, 60, 50],               # ends outside
    [-50, -50, -20, -20],           # quite outside, before and after
    [200, 5, 300, 9],
    [12, 12, 12, 12],               # no area
    [12, 3, 13, 27],                # narrow
    [20, 20, 8, 10],                # inside out
    [40, 28, 44, 32],               # just past the last pixel
])


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("output_size, spatial_scale", [(7, 0.25), (2, 0.5), (1, 1), (3, 0.03125)])
def test_equals_the_definition(output_size, spatial_scale, sampling_ratio):
    x = draw_map(3, 7, 10)
    got = roi_align(x, CORNERS, output_size, spatial_scale, sampling_ratio)
    assert got.shape == (len(CORNERS), 3, output_size, output_size) and got.dtype == f32
    assert_close(got, roi_align_loops(x, CORNERS, output_size, spatial_scale, sampling_ratio), FORWARD)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 3), st.integers(1, 6), st.integers(1, 6), st.integers(1, 4), st.integers(0, 2))
def test_equals_the_definition_on_any_map(seed, channels, height, width, output_size, sampling_ratio):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((channels, height, width)).astype(f32)
    boxes = rng.uniform(-3, 9, (3, 4)).astype(f32)
    got = roi_align(x, boxes, output_size, 1, sampling_ratio)
    assert_allclose(got, roi_align_loops(x, boxes, output_size, 1, sampling_ratio), atol=1e-5)


def ramp(height, width):
    """Each pixel holds its column."""
    return np.broadcast_to(np.arange(width, dtype=f32), (1, height, width))


def test_a_tiny_box_has_a_side_of_one_pixel():
    got = roi_align(ramp(8, 8), array([3, 3, 3.2, 3.2]), 7, 1, 2)
    assert_allclose(got.mean(), 3.5, rtol=1e-6)
    assert_allclose(got[0, 0, 0], 3 + (np.arange(7) + 0.5) / 7, rtol=1e-6)


def test_a_point_more_than_a_pixel_outside_counts_as_zero():
    before, after = roi_align(ramp(8, 8), array([[-3, 0, 5, 8], [4, 0, 12, 8]]), 8, 1, 1)[:, 0, 0]
    assert_array_equal(before, [0, 0, 0, 0.5, 1.5, 2.5, 3.5, 4.5])
    assert_array_equal(after, [4.5, 5.5, 6.5, 7, 0, 0, 0, 0])


def test_a_point_outside_still_counts_in_the_mean():
    boxes = array([[-4, 0, 4, 4], [-8, 0, 4, 4]])                           # points in columns -3, -1, 1, 3 and -6.5, -3.5, -0.5, 2.5
    assert roi_align(np.ones((1, 8, 8), f32), boxes, 1, 1, 4).ravel().tolist() == [0.75, 0.5]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 7), st.integers(1, 3), st.sampled_from([0.25, 0.5, 1]))
def test_on_a_slope_a_bin_holds_its_centre(seed, output_size, sampling_ratio, scale):
    left, top = np.random.default_rng(seed).uniform(0, 4, 2)
    w, h = np.random.default_rng(seed).uniform(1, 4, 2)
    box = array([left, top, left + w, top + h]) / f32(scale)
    x = np.stack([ramp(9, 9)[0], ramp(9, 9)[0].T, np.ones((9, 9), f32)])
    across, down, ones = roi_align(x, box, output_size, scale, sampling_ratio)[0]
    centres = (np.arange(output_size) + 0.5) / output_size
    assert_allclose(across, np.broadcast_to(left + centres * w, across.shape), rtol=1e-5)
    assert_allclose(down.T, np.broadcast_to(top + centres * h, down.shape), rtol=1e-5)
    assert_allclose(ones, 1, rtol=1e-6)


def test_ratio_0_takes_a_point_for_each_pixel_of_a_bin():
    got = roi_align(ramp(12, 12) ** 2, array([0, 0, 9, 5]), 3, 1, 0)[0, 0]  # bins of 3 x 1.67 pixels: 3 points across, 2 down
    expected = [np.interp([left + 0.5, left + 1.5, left + 2.5], range(12), np.arange(12) ** 2).mean() for left in (0, 3, 6)]
    assert_allclose(got, 3 * [expected], rtol=1e-6)


def test_float64_and_any_memory_order_are_taken():
    x = draw_map(3, 7, 10)
    expected = roi_align(x, CORNERS, 2, 0.25, 2)
    for laid_out in (np.asfortranarray(x), np.repeat(x, 2, axis=2)[:, :, ::2]):
        assert_array_equal(roi_align(laid_out, CORNERS, 2, 0.25, 2), expected)
    exact = roi_align(x.astype(np.float64), CORNERS, 2, 0.25, 2)
    assert exact.dtype == np.float64
    assert_close(exact, expected, FORWARD)


def test_no_boxes_give_none():
    got = roi_align(draw_map(3, 7, 10), array([]), 7, 0.25, 2)
    assert got.shape == (0, 3, 7, 7) and got.dtype == f32


# which map


def quarter(height):
    """A stand-in for the map at stride 4 of the batch that holds an image of that height."""
    return np.zeros((1, 1, -(-height // 32) * 8, 1), f32)


@pytest.mark.parametrize("height, scale", [(33, 0.5), (46, 0.25), (800, 0.25)])
def test_the_scale_is_guessed_from_the_unpadded_height(height, scale):
    assert map_scales([quarter(height)], [(height, 999)]) == [scale]


def test_the_heights_with_another_scale_than_the_stride_are_torchvisions():
    wrong = [height for height in range(8, 400) if map_scales([quarter(height)], [(height, 8)]) != [0.25]]
    assert wrong == [*range(8, 23), *range(33, 46), *range(65, 68)]


def test_the_tallest_image_gives_the_scales():
    maps = [np.zeros((2, 1, rows, 9), f32) for rows in (200, 100, 50, 25)]
    assert map_scales(maps, [(100, 1333), (799, 10)]) == [1 / 4, 1 / 8, 1 / 16, 1 / 32]


FOUR = [1 / 4, 1 / 8, 1 / 16, 1 / 32]


@pytest.mark.parametrize("side, level", [(10, 0), (111.9, 0), (112, 1), (223.99, 1), (223.9999, 2), (224, 2), (447.9, 2), (447.9999, 3),
                                         (448, 3), (896, 3), (5000, 3)])
def test_a_box_is_pooled_from_the_map_of_its_size(side, level):
    assert map_levels(array([0, 0, side, side]), FOUR).tolist() == [level]
    assert map_levels(array([7, 7, 7 + 4 * side, 7 + side / 4]), FOUR).tolist() == [level]       # the area counts


def test_a_box_without_area_is_pooled_from_the_finest_map():
    assert map_levels(array([[5, 5, 5, 5], [5, 5, 5, 9]]), FOUR).tolist() == [0, 0]
    assert map_levels(array([]), FOUR).shape == (0,)


def test_maps_of_one_stride_are_one_level():
    assert map_levels(array([[0, 0, side, side] for side in (1, 100, 224, 500, 2000)]), [1 / 32, 1 / 32]).tolist() == [0] * 5


# the layer


def draw_maps(rows=(16, 8, 4), n=2):
    return [draw_map(n, 3, row, row + 2) for row in rows]


PROPOSALS = [array([[0, 0, 300, 40], [3, 3, 20, 31], [1, 1, 130, 130], [5, 9, 5, 9]]), array([[2, 2, 900, 60]])]
SIZES = [(64, 70), (50, 72)]


def test_each_box_is_pooled_from_its_image_and_map():
    maps = draw_maps()
    got = MultiScaleRoIAlign(2, 2)(maps, PROPOSALS, SIZES)
    assert got.dtype == f32
    expected = []
    for n, boxes in enumerate(PROPOSALS):
        for box in boxes:
            area = float(box[2] - box[0]) * float(box[3] - box[1])
            level = min(max(math.floor(4 + math.log2(math.sqrt(area) / 224)) if area else 0, 2), 4) - 2
            expected.append(roi_align(maps[level][n], box[None], 2, 1 / 4 / 2 ** level, 2)[0])
    assert_array_equal(got, expected)


def test_both_maps_of_a_mobilenet_have_one_stride_and_only_the_first_is_read():
    first, second = draw_map(1, 3, 4, 6), np.full((1, 3, 4, 6), np.nan, f32)
    boxes = array([[0, 0, side, side] for side in (10, 100, 224, 448, 1000)])
    got = MultiScaleRoIAlign(7, 2)([first, second], [boxes], [(128, 192)])
    assert_array_equal(got, roi_align(first[0], boxes, 7, 1 / 32, 2))


def test_the_scale_of_one_batch_does_not_stay_for_the_next():
    """torchvision would keep 0.5 from the image of height 33."""
    boxes, pool = [array([[0, 0, 60, 60]])], MultiScaleRoIAlign(2, 2)
    low, high = draw_map(1, 1, 16, 20), draw_map(1, 1, 200, 20)
    assert_array_equal(pool([low], boxes, [(33, 80)]), roi_align(low[0], boxes[0], 2, 0.5, 2))
    assert_array_equal(pool([high], boxes, [(800, 80)]), roi_align(high[0], boxes[0], 2, 0.25, 2))


def test_a_image_without_proposals_takes_no_rows():
    maps, none = draw_maps(n=3), array([])
    got = MultiScaleRoIAlign(2, 2)(maps, [none, PROPOSALS[0], none], 3 * SIZES[:1])
    assert_array_equal(got, MultiScaleRoIAlign(2, 2)([x[1:2] for x in maps], PROPOSALS[:1], SIZES[:1]))
    assert MultiScaleRoIAlign(2, 2)(maps, [none] * 3, 3 * SIZES[:1]).shape == (0, 3, 2, 2)


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_backward_pass_is_the_transposed(sampling_ratio, dtype):
    """roi_align is linear in the map, y = A x, so <g, A x> = <A^T g, x> for every g and x; an unit vector g gives a row of A."""
    rng = np.random.default_rng(1)
    x, boxes = rng.standard_normal((9, 7, 10)).astype(dtype), np.concatenate([CORNERS, array([[3, 2, 30, 20]] * 2)]).astype(dtype)
    y = roi_align(x, boxes, 3, 0.25, sampling_ratio)
    g = rng.standard_normal(y.shape).astype(dtype)
    grad_x = roi_align_backward(g, x.shape, boxes, 0.25, sampling_ratio)
    assert grad_x.shape == x.shape and grad_x.dtype == dtype
    size = np.abs(g * y).sum()
    assert abs(np.vdot(g, y) - np.vdot(grad_x, x)) <= (1e-6 if dtype is np.float32 else 1e-13) * size
    exact = REFERENCE["roi_align_backward"](g.astype(np.float64), x.shape, boxes.astype(np.float64), 0.25, sampling_ratio)
    assert_close(grad_x, exact, FORWARD)


def test_the_backward_pass_without_boxes_is_zero():
    grad_x = roi_align_backward(np.zeros((0, 4, 2, 2), np.float32), (4, 5, 6), array([]), 0.5, 2)
    assert grad_x.shape == (4, 5, 6) and not grad_x.any()


@pytest.mark.parametrize("pooling", [MultiScaleRoIAlign(3, 2), MultiScaleRoIPool(3)], ids=["align", "pool"])
def test_each_map_gets_the_gradient_of_the_boxes_that_were_pooled_from_it(pooling):
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((2, 3, side, side)).astype(f32) for side in (32, 16)]
    proposals = [array([[0, 0, 20, 30], [5, 5, 120, 120]]), array([[0, 0, 127, 100]])]
    sizes = [(128, 128), (128, 120)]
    pooled, pullback = pooling.vjp(maps, proposals, sizes)
    assert_array_equal(pooled, pooling(maps, proposals, sizes))
    g = rng.standard_normal(pooled.shape).astype(f32)
    grads = pullback(g)
    assert [grad.shape for grad in grads] == [x.shape for x in maps]
    eps = f32(1e-2)                                     # piecewise linear: a large step is as good, as long as no maximum changes place
    for level in range(2):
        v = rng.standard_normal(maps[level].shape).astype(f32) * f32(0.01)
        ahead, behind = (pooling([x + sign * eps * v if i == level else x for i, x in enumerate(maps)], proposals, sizes)
                         for sign in (1, -1))
        numeric = np.sum(g * (ahead - behind).astype(np.float64)) / (2 * eps)
        assert abs(numeric - np.vdot(grads[level], v)) <= 2e-3 * np.linalg.norm(grads[level]) * np.linalg.norm(v) / 10


@pytest.mark.parametrize("pool", [lambda x, boxes, side=2: roi_align(x, boxes, side, 1.0, 2),
                                  lambda x, boxes, side=2: roi_pool(x, boxes, side, 1.0)], ids=["roi_align", "roi_pool"])
def test_arrays_that_are_no_maps_and_boxes_are_refused(pool):
    x, boxes = np.zeros((3, 5, 6), f32), np.float32([[0, 0, 4, 4]])
    for wrong, message in (((x, np.zeros((1, 5), f32)), r"got boxes \(1, 5\), expected \(R, 4\)"), ((x, boxes[0]), r"got boxes \(4,\)"),
                           ((x[None], boxes), r"got x \(1, 3, 5, 6\).*the map \(C, H, W\) of one image"),
                           ((x[:, :0], boxes), "with pixels"), ((x, boxes, 0), "output_size=0")):
        with pytest.raises(ValueError, match=message):
            pool(*wrong)
    for wrong, message in (((x.astype(np.uint8), boxes), "got x of uint8"), ((x, boxes.astype(int)), "got boxes of int64")):
        with pytest.raises(TypeError, match=message):
            pool(*wrong)
    assert pool(x, boxes[:0]).shape == (0, 3, 2, 2) and pool(x[:0], boxes).shape == (1, 0, 2, 2)


@pytest.mark.parametrize("backward", [lambda grad, x, boxes: roi_align_backward(grad, x.shape, boxes, 1.0, 2),
                                      lambda grad, x, boxes: roi_pool_backward(grad, x, boxes, 1.0)], ids=["roi_align", "roi_pool"])
def test_gradients_that_do_not_fit_are_refused(backward):
    x, boxes = np.zeros((3, 5, 6), f32), np.float32([[0, 0, 4, 4]])
    for shape in ((2, 3, 2, 2), (1, 2, 2, 2), (1, 3, 2, 1), (1, 3, 2)):
        with pytest.raises(ValueError, match="got grad_pooled"):
            backward(np.zeros(shape, f32), x, boxes)
    with pytest.raises(ValueError, match=r"got boxes \(1, 5\)"):
        backward(np.zeros((1, 3, 2, 2), f32), x, np.zeros((1, 5), f32))
    assert not backward(np.zeros((0, 3, 2, 2), f32), x, boxes[:0]).any()
