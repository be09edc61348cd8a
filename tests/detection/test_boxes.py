"""Boxes: decoding, clipping, overlap and suppression against loops, and torchvision's answers at the edges of thresholds."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from readonly_arrays import array

from minicnn.detection.boxes import are_large, areas, batched_nms, box_iou, clip, decode, encode, nms, top

pytestmark = pytest.mark.usefixtures("backend")

f32 = np.float32


def draw_boxes(count, rng, side=20):
    """Whole coordinates, so that many overlaps are equal and many simple fractions."""
    corner = rng.integers(0, side, (count, 2))
    return array(np.concatenate([corner, corner + rng.integers(0, side // 2, (count, 2))], axis=1))


def distinct(count, rng):
    return array((rng.permutation(count) + 1) / (count + 1))


# decode


def decode_loops(deltas, boxes, weights):
    decoded = np.zeros((len(boxes), deltas.shape[1] // 4, 4))
    for r, k in np.ndindex(decoded.shape[:2]):
        dx, dy, dw, dh = (float(delta) / weight for delta, weight in zip(deltas[r, 4 * k:4 * k + 4], weights))
        x1, y1, x2, y2 = map(float, boxes[r])
        cx, cy = (x1 + x2) / 2 + dx * (x2 - x1), (y1 + y2) / 2 + dy * (y2 - y1)
        w, h = (math.exp(min(d, math.log(1000 / 16))) * side for d, side in ((dw, x2 - x1), (dh, y2 - y1)))
        decoded[r, k] = cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2
    return decoded


@pytest.mark.parametrize("weights", [(1, 1, 1, 1), (10.0, 10.0, 5.0, 5.0)])
@pytest.mark.parametrize("count, classes", [(7, 1), (5, 3), (1, 91), (0, 4)])
def test_decode_equals_the_formula(count, classes, weights):
    rng = np.random.default_rng(0)
    boxes, deltas = draw_boxes(count, rng, 100), array(rng.normal(0, 2, (count, 4 * classes)))
    got = decode(deltas, boxes, weights)
    assert got.shape == (count, classes, 4) and got.dtype == f32
    assert_allclose(got, decode_loops(deltas, boxes, weights), rtol=2e-6, atol=2e-4)


def test_decode_by_eye():
    box = array([[10, 20, 30, 60]])                                                      # 20 x 40 round (20, 40)
    assert_array_equal(decode(array([[0, 0, 0, 0]]), box, (1, 1, 1, 1)), [[[10, 20, 30, 60]]])
    assert_array_equal(decode(array([[1, -0.5, 0, 0]]), box, (1, 1, 1, 1)), [[[30, 0, 50, 40]]])
    assert_allclose(decode(array([[0, 0, 5 * math.log(2), -5 * math.log(4)]]), box, (10, 10, 5, 5)), [[[0, 35, 40, 45]]], rtol=1e-5)


def test_a_delta_is_divided_by_its_weight_before_it_is_bounded():
    x1, _, x2, _ = decode(array([[0, 0, 1000, 0]]), array([[0, 0, 10, 10]]), (10, 10, 5, 5))[0, 0]
    assert_allclose(x2 - x1, 625, rtol=1e-5)                                             # 62.5 times
    assert_allclose(decode(array([[0, 0, 20, 0]]), array([[0, 0, 10, 10]]), (10, 10, 5, 5))[0, 0, 2], 5 + 5 * math.exp(4), rtol=1e-5)


def test_only_growth_is_bounded():
    assert_array_equal(decode(array([[0, 0, -1000, -1000]]), array([[0, 0, 10, 10]]), (1, 1, 1, 1)), [[[5, 5, 5, 5]]])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 5))
def test_decode_undoes_the_targets_of_the_paper(seed, classes):
    rng = np.random.default_rng(seed)
    boxes, wanted = (rng.uniform(0, 50, (3, n, 2)) for n in (1, classes))
    boxes, wanted = (np.concatenate([corner, corner + rng.uniform(1, 50, corner.shape)], axis=2) for corner in (boxes, wanted))
    size, new_size = (b[..., 2:] - b[..., :2] for b in (boxes, wanted))
    move = ((wanted[..., :2] + new_size / 2) - (boxes[..., :2] + size / 2)) / size
    deltas = np.concatenate([10 * move, 5 * np.log(new_size / size)], axis=2).reshape(3, -1)
    assert_allclose(decode(array(deltas), array(boxes[:, 0]), (10, 10, 5, 5)), wanted, atol=1e-3)


# clip, are_large


def test_clip_reaches_the_right_and_lower_border():
    got = clip(array([[-5, 3, 700, 900], [10, 20, 30, 40], [650, -9, 660, -1]]), (480, 640))
    assert got.dtype == f32
    assert_array_equal(got, [[0, 3, 640, 480], [10, 20, 30, 40], [640, 0, 640, 0]])


def test_clip_takes_boxes_of_many_classes_and_none():
    boxes = np.random.default_rng(0).uniform(-9, 99, (3, 5, 4)).astype(f32)
    got = clip(boxes, (50, 70))
    for r, k in np.ndindex(3, 5):
        assert_array_equal(got[r, k], clip(boxes[r, k:k + 1], (50, 70))[0])
    assert clip(array([], 0, 4), (50, 70)).shape == (0, 4)


def test_large_means_both_sides_at_least_that_in_float32():
    least = f32(0.01)                                                                    # a little less than 0.01
    boxes = array([[0, 0, least, least], [0, 0, 1, np.nextafter(least, f32(0))], [0, 0, 0, 5], [3, 3, 3, 3], [5, 5, 4, 9], [0, 0, 2, 1]])
    assert are_large(boxes, 1e-2).tolist() == [True, False, False, False, False, True]
    assert are_large(array([], 0, 4), 1e-2).tolist() == []


# overlap


def iou_scalars(a, b):
    """Of two boxes, float32 step by step."""
    w, h = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), f32(0)) for i in (0, 1))
    area_a, area_b = ((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b))
    union = area_a + area_b - w * h
    return w * h / union if union else f32(np.nan)


def test_areas_have_no_plus_one():
    got = areas(array([[1, 2, 4, 6], [0, 0, 0.5, 3], [7, 7, 7, 7]]))
    assert_array_equal(got, [12, 1.5, 0])
    assert got.dtype == f32


@pytest.mark.parametrize("counts", [(9, 13), (1, 1), (0, 3), (3, 0)], ids=str)
def test_overlap_equals_the_formula_to_the_last_bit(counts):
    rng = np.random.default_rng(0)
    a, b = (array(draw_boxes(count, rng) + rng.random((count, 4), f32) * (count > 9)) for count in counts)
    got = box_iou(a, b)
    assert got.shape == counts and got.dtype == f32
    assert_array_equal(got, np.array([[iou_scalars(one, other) for other in b] for one in a], f32).reshape(counts))


def test_overlaps_by_eye():
    boxes = array([[0, 0, 10, 10], [5, 0, 15, 10], [10, 0, 20, 10], [2, 2, 2, 2], [3, 3, 3, 3]])
    assert_array_equal(box_iou(boxes[:1], boxes), [[1, f32(50) / f32(150), 0, 0, 0]])
    assert np.isnan(box_iou(boxes[3:], boxes[3:])).all()                                 # 0 / 0, without a warning


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 6))
def test_overlap_is_symmetric_and_at_most_one(seed, count, other):
    rng = np.random.default_rng(seed)
    a, b = draw_boxes(count, rng), draw_boxes(other, rng)
    got = box_iou(a, b)
    assert_array_equal(got, box_iou(b, a).T)
    assert not (got < 0).any() and not (got > 1).any()


# the highest scores


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(1, 70), st.integers(1, 30), st.sampled_from([0, 0.1, 1]))
def test_top_is_the_beginning_of_a_stable_sort(seed, count, k, different, missing):
    rng = np.random.default_rng(seed)
    scores = array(np.where(rng.random(count) < missing, np.nan, rng.integers(-different, different, count)))      # ties
    got = top(scores, k)
    assert got.dtype == np.intp
    assert_array_equal(got, np.argsort(-scores, kind="stable")[:k])


def test_top_by_eye():
    assert top(array([3, 9, 1, 9, 5]), 3).tolist() == [1, 3, 4]
    assert top(array([3, 3, 3]), 2).tolist() == [0, 1]
    assert top(array([1, np.nan, -np.inf, np.inf]), 3).tolist() == [3, 0, 2]


# suppression


def nms_loops(boxes, scores, threshold):
    """Place by place; the float32 overlap is compared as a Python number, which is a float64."""
    keep = []
    for place in sorted(range(len(boxes)), key=lambda place: (-scores[place], place)):
        if not any(float(iou_scalars(boxes[other], boxes[place])) > threshold for other in keep):
            keep.append(place)
    return keep


@pytest.mark.parametrize("threshold", [0, 0.3, 0.5, 0.6, 0.7, 1])
@pytest.mark.parametrize("count", [0, 1, 2, 40])
def test_nms_equals_loops(count, threshold):
    rng = np.random.default_rng(count)
    boxes, scores = draw_boxes(count, rng), array(rng.integers(0, 9, count) / 9)          # ties: the given order holds
    got = nms(boxes, scores, threshold)
    assert got.dtype == np.intp
    assert got.tolist() == nms_loops(boxes, scores, threshold)


@pytest.mark.parametrize("threshold, height, kept", [(0.3, 3, 1), (0.6, 6, 1), (0.7, 7, 2), (0.5, 5, 2)])
def test_an_overlap_is_compared_as_float64(threshold, height, kept):
    boxes = array([[0, 0, 10, 10], [0, 0, 10, height]])                                   # 0.3 and 0.6 in float32 exceed themselves
    assert len(nms(boxes, array([0.9, 0.8]), threshold)) == kept


def test_boxes_without_area_are_kept():
    boxes = array([[2, 2, 2, 2], [2, 2, 2, 2], [0, 0, 9, 9], [4, 4, 4, 9]])
    assert nms(boxes, array([0.1, 0.2, 0.3, 0.4]), 0.5).tolist() == [3, 2, 1, 0]


def test_a_suppressed_box_suppresses_none():
    boxes = array([[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]])                       # neighbours overlap by 0.43
    assert nms(boxes, array([0.9, 0.8, 0.7]), 0.4).tolist() == [0, 2]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 15), st.sampled_from([0.1, 0.5, 0.9]))
def test_what_nms_keeps_does_not_overlap_and_what_it_drops_does(seed, count, threshold):
    rng = np.random.default_rng(seed)
    boxes, scores = draw_boxes(count, rng), distinct(count, rng)
    keep = nms(boxes, scores, threshold)
    assert (np.diff(scores[keep]) < 0).all()
    overlaps = box_iou(boxes, boxes).astype(float)
    for place in range(count):
        better = [other for other in keep if scores[other] > scores[place]]
        assert (place in keep) != (overlaps[place, better] > threshold).any()


@pytest.mark.parametrize("count", [0, 1, 60, 1000, 1001, 1100])                           # more than 1000: group by group
def test_batched_nms_suppresses_within_groups_only(count):
    rng = np.random.default_rng(count)
    boxes, scores, groups = draw_boxes(count, rng, 60), distinct(count, rng), rng.integers(0, 40, count)
    expected = []
    for group in set(groups.tolist()):
        places = np.flatnonzero(groups == group)
        expected += places[nms_loops(boxes[places], scores[places], 0.5)].tolist()
    got = batched_nms(boxes, scores, groups, 0.5)
    assert got.dtype == np.intp
    assert got.tolist() == sorted(expected, key=lambda place: -scores[place])             # whole coordinates: moving rounds nothing


@pytest.mark.parametrize("count, kept", [(3, True), (1000, True), (1001, False)])
def test_up_to_1000_boxes_are_moved_apart_and_rounded(count, kept):
    pair = [(409.07986, 261.6803, 410.13577, 262.73618), (409.4263, 261.6803, 410.48221, 262.73618)]       # overlap by 0.5059
    boxes = array(pair + [(0, 0, 1333, 800)] + [(5, 5, 5, 5)] * (count - 3))
    groups = np.array([90, 90] + [0] * (count - 2))
    assert box_iou(boxes[:1], boxes[1:2]) > 0.5
    got = batched_nms(boxes, array([0.9, 0.8] + [0.1] * (count - 2)), groups, 0.5).tolist()
    assert got[0] == 0 and (1 in got) == kept and len(got) == count - (not kept)


def test_groups_are_moved_apart_by_a_pixel_more_than_the_largest_coordinate():
    boxes = array([[0, 0, 10, 10], [-0.5, -0.5, 9, 9], [-1.5, -1.5, 9, 9]])               # the last reaches the first
    assert batched_nms(boxes[:2], array([0.9, 0.8]), np.array([0, 1]), 0).tolist() == [0, 1]
    assert batched_nms(boxes[::2], array([0.9, 0.8]), np.array([0, 1]), 0).tolist() == [0]


@pytest.mark.parametrize("count", [17, 1001])
def test_equal_scores_are_all_kept_where_nothing_overlaps(count):
    boxes = array([[3 * i, 0, 3 * i + 2, 2] for i in range(count)])
    scores, groups = array(np.arange(count) % 3 / 3), np.arange(count) % 2
    got = batched_nms(boxes, scores, groups, 0.5)
    assert sorted(got.tolist()) == list(range(count)) and (np.diff(scores[got]) <= 0).all()


# what is refused


FIVE, THREE = np.zeros((3, 5), f32), np.zeros((3, 4), f32)


@pytest.mark.parametrize("call, error, message", [
    (lambda: nms(FIVE, np.zeros(3, f32), 0.5), ValueError, r"nms: got boxes \(3, 5\), expected \(R, 4\)"),
    (lambda: nms(THREE, np.zeros(2, f32), 0.5), ValueError, r"nms: got scores \(2,\), expected \(3,\)"),
    (lambda: nms(THREE, np.zeros((3, 1), f32), 0.5), ValueError, r"nms: got scores \(3, 1\), expected \(3,\)"),
    (lambda: nms(THREE.astype(int), np.zeros(3, int), 0.5), TypeError, "nms: got boxes of int64, scores of int64"),
    (lambda: nms(THREE, np.zeros(3), 0.5), TypeError, "boxes of float32, scores of float64, expected one dtype"),
    (lambda: batched_nms(FIVE, np.zeros(3, f32), np.zeros(3, int), 0.5), ValueError, r"got boxes \(3, 5\)"),
    (lambda: batched_nms(THREE, np.zeros(3, f32), np.zeros(2, int), 0.5), ValueError, r"got groups \(2,\), expected \(3,\)"),
    (lambda: box_iou(FIVE, THREE), ValueError, r"box_iou: got a \(3, 5\), expected \(R, 4\)"),
    (lambda: box_iou(THREE, np.zeros(4, f32)), ValueError, r"box_iou: got b \(4,\), expected \(R, 4\)"),
    (lambda: box_iou(THREE.astype(np.uint8), THREE), TypeError, "box_iou: got a of uint8"),
    (lambda: clip(FIVE, (4, 4)), ValueError, r"clip: got boxes \(3, 5\), expected \(\.\.\., 4\)"),
    (lambda: encode(FIVE, FIVE, (1, 1, 1, 1)), ValueError, r"encode: got boxes \(3, 5\)"),
    (lambda: encode(THREE[:2], THREE, (1, 1, 1, 1)), ValueError, r"encode: got targets \(2, 4\), expected \(3, 4\)"),
    (lambda: encode(THREE.astype(int), THREE, (1, 1, 1, 1)), TypeError, "encode: got targets of int64"),
    (lambda: decode(np.zeros((3, 6), f32), THREE, (1, 1, 1, 1)), ValueError, r"decode: got deltas \(3, 6\) for boxes \(3, 4\)"),
    (lambda: decode(THREE[:2], THREE, (1, 1, 1, 1)), ValueError, r"decode: got deltas \(2, 4\) for boxes \(3, 4\)"),
    (lambda: decode(THREE, FIVE, (1, 1, 1, 1)), ValueError, r"decode: got boxes \(3, 5\)"),
])
def test_arrays_that_are_no_boxes_are_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_no_boxes_give_no_result():
    none = np.zeros((0, 4), f32)
    assert nms(none, none[:, 0], 0.5).shape == batched_nms(none, none[:, 0], none[:, 0], 0.5).shape == (0,)
    assert box_iou(none, THREE).shape == (0, 3) and box_iou(THREE, none).shape == (3, 0)
    assert encode(none, none, (1, 1, 1, 1)).shape == clip(none, (4, 4)).shape == (0, 4)
    assert decode(np.zeros((0, 8), f32), none, (1, 1, 1, 1)).shape == (0, 2, 4)


def test_whole_numbers_have_overlaps_too():
    assert box_iou(np.array([[0, 0, 2, 2]]), np.array([[0, 0, 2, 1], [1, 1, 3, 3]])).tolist() == [[0.5, 1 / 7]]
