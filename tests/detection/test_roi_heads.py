"""The box head, and which of its answers become detections."""

import math

import numpy as np
import pytest
from numeric_checks import FORWARD, assert_close, check_vjp
from numpy.testing import assert_allclose, assert_array_equal
from readonly_arrays import array

from minicnn.detection.roi_align import MultiScaleRoIAlign
from minicnn.detection.roi_heads import FastRCNNPredictor, RoIHeads, TwoMLPHead, conv_fc_head
from minicnn.detection.transform import Batch
from minicnn.functional.dispatch import REFERENCE, run, use
from minicnn.layers import BatchNorm2d, Conv2d, FrozenBatchNorm2d

f32 = np.float32
SIZE = (50, 80)


def draw(*shape):
    return array(np.random.default_rng(0).standard_normal(shape))


def draw_boxes(count, rng=None):
    rng = rng or np.random.default_rng(1)
    corner = rng.uniform(0, 40, (count, 2))
    return array(np.concatenate([corner, corner + rng.uniform(5, 30, (count, 2))], axis=1))


def heads(score_thresh=0.05, nms_thresh=0.5, detections_per_img=100, head=None, predictor=None, weights=(10, 10, 5, 5)):
    return RoIHeads(MultiScaleRoIAlign(2, 2), head, predictor, weights, score_thresh, nms_thresh, detections_per_img)


# the layers


def test_the_two_layer_head_flattens_channels_slowest(backend):
    x, head = draw(3, 2, 3, 3), TwoMLPHead(2, 3, 5, rng=np.random.default_rng(0))
    flat = np.array([[x[r, c, i, j] for c in range(2) for i in range(3) for j in range(3)] for r in range(3)])
    hidden = np.maximum(flat @ head.fc6.weight.T + head.fc6.bias, 0)
    got = run(head, x)
    assert got.dtype == f32
    assert_close(got, np.maximum(hidden @ head.fc7.weight.T + head.fc7.bias, 0), FORWARD)
    assert_array_equal(run(head, np.asfortranarray(x)), got)                      # RoIAlign's arrays have channels innermost


def test_the_convolutional_head_is_four_blocks_and_a_linear_layer(backend):
    x, head = draw(3, 2, 3, 3), conv_fc_head(2, 3, 5, BatchNorm2d, rng=np.random.default_rng(0))
    y = x
    for number in range(4):
        conv, norm = head.get_layer(f"{number}.0"), head.get_layer(f"{number}.1")
        norm.running_mean[...], norm.weight[...] = 0.1 * number, [2, -1]     # not what passes everything
        assert isinstance(conv, Conv2d) and conv.bias is None
        y = np.maximum(norm(conv(y)), 0)
    linear = head.get_layer("5")
    got = run(head, x)
    assert got.shape == (3, 5) and got.dtype == f32
    assert_close(got, np.maximum(y.reshape(3, -1) @ linear.weight.T + linear.bias, 0), FORWARD)


def test_the_predictor_has_a_score_and_four_deltas_a_class(backend):
    x, predictor = draw(3, 6), FastRCNNPredictor(6, 5, rng=np.random.default_rng(0))
    scores, deltas = run(predictor, x)
    assert_close(scores, x @ predictor.cls_score.weight.T + predictor.cls_score.bias, FORWARD)
    assert_close(deltas, x @ predictor.bbox_pred.weight.T + predictor.bbox_pred.bias, FORWARD)
    assert deltas.shape == (3, 20)


@pytest.mark.parametrize("head", [TwoMLPHead(2, 3, 5), conv_fc_head(2, 3, 5, BatchNorm2d)], ids=["two linear", "convolutional"])
def test_a_head_takes_no_boxes(head, backend):
    got = run(FastRCNNPredictor(5, 4), run(head, np.zeros((0, 2, 3, 3), f32)))
    assert [x.shape for x in got] == [(0, 4), (0, 16)] and all(x.dtype == f32 for x in got)


# the detections of one image


def overlap(a, b):
    w, h = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1))
    return w * h / (sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - w * h)


def select_loops(logits, deltas, proposals, score_thresh, nms_thresh, count):
    found = []
    for r, (x1, y1, x2, y2) in enumerate(proposals.astype(float)):
        powers = [math.exp(logit - max(logits[r])) for logit in logits[r].astype(float)]
        for label in range(1, len(powers)):
            dx, dy, dw, dh = deltas[r, 4 * label:4 * label + 4].astype(float) / (10, 10, 5, 5)
            w, h = x2 - x1, y2 - y1
            cx, cy, w, h = (x1 + x2) / 2 + dx * w, (y1 + y2) / 2 + dy * h, w * math.exp(min(dw, math.log(62.5))), h * math.exp(
                min(dh, math.log(62.5)))
            box = [min(max(side, 0), SIZE[1 - i % 2]) for i, side in enumerate((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))]
            score = powers[label] / sum(powers)
            if score > score_thresh and min(box[2] - box[0], box[3] - box[1]) >= 0.01:
                found.append((score, label, box))
    kept = []
    for score, label, box in sorted(found, key=lambda one: -one[0]):
        if not any(other == label and overlap(placed, box) > nms_thresh for _, other, placed in kept):
            kept.append((score, label, box))
    return kept[:count]


@pytest.mark.parametrize("proposals, classes", [(30, 4), (12, 91), (400, 4), (5, 2), (1, 2)])        # up to and over 1000 candidates
@pytest.mark.parametrize("score_thresh, nms_thresh, count", [(0.05, 0.5, 100), (0.0, 0.3, 20), (0.4, 0.9, 1000)])
def test_detections_equal_loops(proposals, classes, score_thresh, nms_thresh, count, backend):
    rng = np.random.default_rng(0)
    logits, deltas = array(rng.normal(0, 2, (proposals, classes))), array(rng.normal(0, 3, (proposals, 4 * classes)))
    boxes = draw_boxes(proposals)
    got = heads(score_thresh, nms_thresh, count).select(logits, deltas, boxes, SIZE)
    expected = select_loops(logits, deltas, boxes, score_thresh, nms_thresh, count)
    assert [part.dtype for part in got] == [f32, f32, np.int64]
    assert got[2].tolist() == [label for _, label, _ in expected]
    assert_allclose(got[1], [score for score, _, _ in expected], rtol=1e-5)
    assert_allclose(got[0], np.reshape([box for _, _, box in expected], (-1, 4)), atol=1e-3)


def select(monkeypatch, scores, boxes, size=SIZE, **settings):
    """The detections where the softmax says just these scores, and no box is moved."""
    scores, boxes = array(scores), array(boxes)
    monkeypatch.setitem(REFERENCE, "softmax", lambda logits: scores)
    with use("reference"):
        found = heads(**settings).select(scores, np.zeros((len(boxes), 4 * scores.shape[1]), f32), boxes, size)
    return [part.tolist() for part in found]


APART = [[0, 0, 10, 10], [20, 0, 30, 10]]


def test_a_score_at_the_threshold_is_not_enough(monkeypatch):
    """As a float64, 0.05 in float32 is more than 0.05."""
    boxes, scores, labels = select(monkeypatch, [[0.95, 0.05], [0.94, 0.0501]], APART)
    assert boxes == APART[1:] and labels == [1]


def test_the_background_is_never_a_detection(monkeypatch):
    assert select(monkeypatch, [[1, 0, 0], [0.5, 0.1, 0.4]], APART)[2] == [2, 1]
    assert select(monkeypatch, [[1], [1]], APART) == [[], [], []]            # no class but the background


def test_only_boxes_of_one_class_suppress_each_other(monkeypatch):
    boxes, _, labels = select(monkeypatch, [[0.1, 0.6, 0.3], [0, 0.5, 0.5]], [[0, 0, 10, 10], [0, 0, 10, 9]])
    assert labels == [1, 2] and boxes == [[0, 0, 10, 10], [0, 0, 10, 9]]     # of class 1 the first, of class 2 the second


def test_the_best_of_all_classes_are_left(monkeypatch):
    _, scores, labels = select(monkeypatch, [[0, 0.25, 0.75], [0, 0.375, 0.625]], APART, detections_per_img=3)
    assert scores == [0.75, 0.625, 0.375] and labels == [2, 2, 1]


def test_equal_scores_are_all_found(monkeypatch):
    boxes, scores, labels = select(monkeypatch, [[0.5, 0.25, 0.25]] * 2, APART)
    assert sorted(zip(labels, boxes)) == [(label, box) for label in (1, 2) for box in APART] and scores == [0.25] * 4


def test_boxes_are_clipped_and_small_ones_dropped(monkeypatch):
    boxes = [[-5, 3, 700, 900], [90, 0, 99, 9], [5, 5, 5.009, 9], [20, 20, 20.015625, 30]]
    found, _, _ = select(monkeypatch, [[0, 0.9], [0, 0.8], [0, 0.7], [0, 0.6]], boxes)
    assert_array_equal(found, array([[0, 3, 80, 50], boxes[3]]))


@pytest.mark.parametrize("proposals, logits", [(0, 0), (3, -9)], ids=["no proposals", "nothing likely"])
def test_nothing_found_has_the_shapes_of_something(proposals, logits):
    logits = np.tile(array([0, logits, logits, logits]), (proposals, 1))
    boxes, scores, labels = heads().select(logits, np.zeros((proposals, 16), f32), draw_boxes(proposals), SIZE)
    assert (boxes.shape, scores.shape, labels.shape) == ((0, 4), (0,), (0,))
    assert (boxes.dtype, scores.dtype, labels.dtype) == (f32, f32, np.int64)


# the whole


def test_a_image_in_a_batch_has_the_detections_it_has_alone(backend):
    rng = np.random.default_rng(0)
    maps, sizes = [draw(4, 3, 16, 24), draw(4, 3, 8, 12)], [(60, 90), (64, 70), (64, 96), (33, 40)]
    proposals = [draw_boxes(count, rng) for count in (5, 0, 3, 4)]
    roi_heads = heads(0.2, head=TwoMLPHead(3, 2, 6, rng=rng), predictor=FastRCNNPredictor(6, 4, rng=rng))
    pixels = np.zeros((4, 3, 64, 96), f32)
    together = roi_heads(maps, proposals, Batch(pixels, sizes, sizes))
    assert [len(scores) > 0 for _, scores, _ in together] == [True, False, True, True]
    for n, size in enumerate(sizes[:3]):                                     # the last is low enough to be given another scale alone
        alone, = roi_heads([x[n:n + 1] for x in maps], proposals[n:n + 1], Batch(pixels[n:n + 1], [size], [size]))
        assert_array_equal(alone[2], together[n][2])
        assert_allclose(alone[1], together[n][1], rtol=1e-5)
        assert_allclose(alone[0], together[n][0], atol=1e-3)


def test_a_batch_without_any_proposals_finds_nothing(backend):
    maps, none = [draw(2, 3, 16, 24)], np.zeros((0, 4), f32)
    roi_heads = heads(head=TwoMLPHead(3, 2, 6), predictor=FastRCNNPredictor(6, 4))
    found = roi_heads(maps, [none, none], Batch(np.zeros((2, 3, 64, 96), f32), [(64, 96)] * 2, [(64, 96)] * 2))
    assert [[part.shape for part in one] for one in found] == 2 * [[(0, 4), (0,), (0,)]]


# training


@pytest.mark.parametrize("head", [TwoMLPHead(3, 2, 6, rng=np.random.default_rng(0)),
                                  conv_fc_head(3, 2, 6, FrozenBatchNorm2d, rng=np.random.default_rng(0))], ids=["linear", "convolutional"])
def test_gradients_equal_differences(head):
    rng = np.random.default_rng(0)
    roi = heads(head=head, predictor=FastRCNNPredictor(6, 3, rng=rng))
    maps, proposals = [rng.standard_normal((2, 3, 10, 16))], [draw_boxes(6).astype(np.float64), draw_boxes(4, rng).astype(np.float64)]

    def vjp(*maps):
        outputs, pullback = roi.vjp(list(maps), proposals, [SIZE, SIZE])
        return list(outputs), lambda grads: pullback(*grads)
    gradients = check_vjp(roi, vjp, *maps)
    assert gradients.keys() == {path for path, _ in roi.named_parameters()}
    outputs, pullback = roi.vjp(maps, proposals, [SIZE, SIZE], input_gradient=False)
    assert pullback(*outputs) is None


def test_a_step_of_the_head_with_norms_on_no_proposals_leaves_it_as_it_was(backend):
    """As torch's norms do; else the running statistics would be NaN, and the detector would find nothing from then on."""
    rng = np.random.default_rng(0)
    box_heads = heads(head=conv_fc_head(2, 2, 5, BatchNorm2d, rng=rng), predictor=FastRCNNPredictor(5, 3, rng=rng))
    box_heads.train()
    before = {path: values.copy() for path, values in box_heads.named_arrays()}
    (logits, deltas), pullback = box_heads.vjp([draw(1, 2, 8, 10)], [draw_boxes(0)], [SIZE])
    assert logits.shape == (0, 3) and deltas.shape == (0, 12)
    (grad_map,) = pullback(logits, deltas)
    assert not grad_map.any()
    for path, values in box_heads.named_arrays():
        assert_array_equal(values, before[path], path)
    for path, gradient in box_heads.named_gradients():
        assert_array_equal(gradient, np.zeros_like(gradient), path)
