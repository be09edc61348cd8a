"""The region proposal network: the order of what its head says, and proposals against loops."""

import math

import numpy as np
import pytest
from numeric_checks import check_vjp
from numpy.testing import assert_allclose, assert_array_equal
from readonly_arrays import array

from minicnn.detection.anchors import base_anchors, grid_anchors
from minicnn.detection.rpn import RegionProposalNetwork, RPNHead
from minicnn.detection.transform import Batch
from minicnn.functional.dispatch import run

f32 = np.float32


def draw(*shape):
    return array(np.random.default_rng(0).standard_normal(shape))


def network(sizes=((16,), (32,)), ratios=((1,), (1,)), pre_nms_top_n=100, post_nms_top_n=100, nms_thresh=0.7, score_thresh=0.0, head=None):
    return RegionProposalNetwork(head, sizes, ratios, pre_nms_top_n, post_nms_top_n, nms_thresh, score_thresh)


# the head


def test_the_head_answers_in_the_order_of_the_anchors(backend):
    head = RPNHead(1, 3)
    head.get_layer("conv.0.0").weight[0, 0, 1, 1] = 1                                    # passes positive pixels on
    head.cls_logits.weight[:, 0, 0, 0] = [1, 10, 100]
    head.bbox_pred.weight[:, 0, 0, 0] = np.arange(12)
    head.bbox_pred.bias[...] = np.arange(12) / 16
    x = array(np.arange(12) - 2, 2, 1, 2, 3)
    objectness, deltas = run(head, x)
    assert objectness.shape == (2, 18) and deltas.shape == (2, 18, 4) and objectness.dtype == deltas.dtype == f32
    for n, row, column, a in np.ndindex(2, 2, 3, 3):
        place, pixel = (row * 3 + column) * 3 + a, max(x[n, 0, row, column], 0)
        assert objectness[n, place] == pixel * 10 ** a
        assert_array_equal(deltas[n, place], [(pixel + 1 / 16) * (4 * a + c) for c in range(4)])


def test_a_deeper_head_has_more_convolutions(backend):
    head = RPNHead(1, 1, conv_depth=2)
    head.get_layer("conv.0.0").weight[0, 0, 1, 1], head.get_layer("conv.1.0").weight[0, 0, 1, 1] = 1, -1
    head.get_layer("conv.1.0").bias[...] = 3
    head.cls_logits.weight[...] = 1
    assert_array_equal(run(head, array([-7, 0, 1, 5], 1, 1, 2, 2))[0], [[3, 3, 2, 0]])   # a ReLU after each
    assert [path for path, _ in head.named_arrays()] == [f"{layer}.{name}" for layer in ("conv.0.0", "conv.1.0", "cls_logits", "bbox_pred")
                                                         for name in ("weight", "bias")]


# proposals of one image


def sigmoid(logit):
    return 1 / (1 + math.exp(-logit))


def overlap(a, b):
    w, h = (max(min(a[i + 2], b[i + 2]) - max(a[i], b[i]), 0) for i in (0, 1))
    union = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)) - w * h
    return w * h / union


def propose_loops(answers, anchors, size, pre, post, nms_thresh, score_thresh):
    """In torchvision's order: best of each level, decode, clip, drop small, drop unlikely, suppress within the level, best of all."""
    kept = []
    for (objectness, deltas), level_anchors in zip(answers, anchors):
        level = []
        for place in sorted(range(len(objectness)), key=lambda place: -objectness[place])[:pre]:
            (dx, dy, dw, dh), (x1, y1, x2, y2) = map(float, deltas[place]), map(float, level_anchors[place])
            w, h = x2 - x1, y2 - y1
            cx, cy, w, h = (x1 + x2) / 2 + dx * w, (y1 + y2) / 2 + dy * h, w * math.exp(dw), h * math.exp(dh)
            box = [min(max(side, 0), size[1 - i % 2]) for i, side in enumerate((cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2))]
            score = sigmoid(float(objectness[place]))
            large = min(box[2] - box[0], box[3] - box[1]) >= 1e-3
            if large and score >= score_thresh and not any(overlap(other, box) > nms_thresh for _, other in level):
                level.append((score, box))
        kept += level
    return [box for _, box in sorted(kept, key=lambda item: -item[0])[:post]]


@pytest.mark.parametrize("pre, post, nms_thresh, score_thresh", [
    (1000, 1000, 0.7, 0.0), (20, 1000, 0.7, 0.0), (1000, 7, 0.7, 0.0), (1000, 1000, 0.1, 0.0), (1000, 1000, 1, 0.6), (5, 3, 0.3, 0.5)])
@pytest.mark.parametrize("size", [(60, 90), (33, 70)])
def test_proposals_equal_loops(size, pre, post, nms_thresh, score_thresh, backend):
    rng = np.random.default_rng(0)
    sizes, ratios = ((16, 24), (40, 60)), ((0.5, 1, 2),) * 2
    anchors = [grid_anchors(base_anchors(*pair), (rows, rows + 2), (64, 96)) for *pair, rows in zip(sizes, ratios, (8, 4))]
    answers = [(array(rng.normal(0, 2, len(a))), array(rng.normal(0, 0.5, (len(a), 4)))) for a in anchors]
    got = network(sizes, ratios, pre, post, nms_thresh, score_thresh).propose(answers, anchors, size)
    expected = propose_loops(answers, anchors, size, pre, post, nms_thresh, score_thresh)
    assert got.dtype == f32
    assert got.shape == np.shape(expected) and len(got) > 2
    assert_allclose(got, expected, atol=1e-4)


def propose(anchors, logits, size=(100, 100), levels=1, **settings):
    """Anchors proposed as they are, a list of them for each level."""
    count = len(logits) // levels
    answers = [(array(logits[count * level:count * (level + 1)]), array(np.zeros((count, 4)))) for level in range(levels)]
    anchors = [array(anchors[count * level:count * (level + 1)], -1, 4) for level in range(levels)]
    return network(**settings).propose(answers, anchors, size)


def test_the_best_are_chosen_by_logit_where_all_scores_are_one():
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10], [40, 0, 50, 10]]
    assert_array_equal(propose(boxes, [18, 20, 19], pre_nms_top_n=1), [boxes[1]])
    got = propose(boxes, [18, 20, 19])                                                   # ties now: torchvision leaves the order open
    assert sorted(got.tolist()) == boxes


def test_each_level_has_its_own_best_and_suppression_and_the_image_its_own_limit():
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 10], [50, 50, 60, 60]]
    assert_array_equal(propose(boxes, [4, 3, 2, 1], levels=2), [boxes[0], boxes[2], boxes[3]])
    assert_array_equal(propose(boxes, [4, 3, 2, 1], levels=2, pre_nms_top_n=1), [boxes[0], boxes[2]])
    assert_array_equal(propose(boxes, [1, 2, 3, 4], levels=2, post_nms_top_n=1), [boxes[3]])


def test_a_score_at_the_threshold_stays():
    boxes = [[0, 0, 10, 10], [20, 0, 30, 10]]
    assert_array_equal(propose(boxes, [0, -1e-3], score_thresh=0.5), boxes[:1])


def test_boxes_are_clipped_to_the_image_not_to_the_batch():
    assert_array_equal(propose([[-5, 3, 70, 90]], [1], size=(48, 64)), [[0, 3, 64, 48]])


def test_boxes_without_a_side_of_a_thousandth_are_dropped():
    boxes = [[0, 0, 9e-4, 10], [70, 0, 80, 10], [5, 5, 5, 5], [20, 0, 20.00390625, 10]]
    assert_array_equal(propose(boxes, [4, 3, 2, 1], size=(50, 60)), array(boxes[3:]))    # the second is outside


def test_nothing_likely_gives_no_proposals():
    got = propose([[0, 0, 10, 10]], [-5], score_thresh=0.9)
    assert got.shape == (0, 4) and got.dtype == f32


# the whole


def test_anchors_stand_on_each_map_with_its_own_sizes():
    maps, batch = [draw(1, 2, 4, 6), draw(1, 2, 2, 3)], Batch(draw(1, 3, 32, 48), [(30, 40)], [(30, 40)])
    got = network(((16,), (32,)), ((1,), (0.5,))).anchors(maps, batch)
    assert_array_equal(got[0], grid_anchors(base_anchors((16,), (1,)), (4, 6), (32, 48)))
    assert_array_equal(got[1], grid_anchors(base_anchors((32,), (0.5,)), (2, 3), (32, 48)))


def test_a_image_in_a_batch_has_the_proposals_it_has_alone(backend):
    sizes = [(60, 90), (33, 70), (64, 20)]
    maps, pixels = [draw(3, 4, 8, 12), draw(3, 4, 4, 6)], np.zeros((3, 3, 64, 96), f32)
    head = RPNHead(4, 2, rng=np.random.default_rng(0))
    rpn = network(((16, 24), (40, 60)), nms_thresh=0.5, post_nms_top_n=30, head=head)
    together = rpn(maps, Batch(pixels, sizes, sizes))
    assert len(together) == 3
    for n, size in enumerate(sizes):
        alone, = rpn([x[n:n + 1] for x in maps], Batch(pixels[n:n + 1], [size], [size]))
        assert_allclose(together[n], alone, atol=1e-3)
        answers = [[part[0] for part in head(x[n:n + 1])] for x in maps]
        assert_allclose(alone, rpn.propose(answers, rpn.anchors(maps, Batch(pixels, sizes, sizes)), size), atol=1e-3)


# training


def training_case():
    """A small network and two maps of two images, in float64."""
    rng = np.random.default_rng(0)
    rpn = network(ratios=((0.5, 1), (0.5, 1)), head=RPNHead(3, 2, conv_depth=2, rng=rng), post_nms_top_n=5)
    return rpn, [rng.standard_normal((2, 3, 6, 8)), rng.standard_normal((2, 3, 3, 4))]


def test_gradients_equal_differences():
    rpn, maps = training_case()

    def vjp(*maps):
        outputs, pullback = rpn.vjp(list(maps))
        return [array for level in outputs for array in level], lambda grads: pullback(list(zip(grads[::2], grads[1::2])))
    gradients = check_vjp(rpn, vjp, *maps)
    assert gradients.keys() == {path for path, _ in rpn.named_parameters()}


def test_without_gradient_for_the_maps():
    rpn, maps = training_case()
    outputs, pullback = rpn.vjp(maps, input_gradient=False)
    assert pullback(outputs) == [None, None]
    assert rpn.head.gradients == {} and rpn.head.cls_logits.gradients


def test_in_training_more_proposals_pass():
    rpn, maps = training_case()
    maps = [x.astype(f32) for x in maps]
    batch = Batch(np.zeros((2, 3, 48, 64), f32), [(48, 60), (44, 64)], [(48, 60), (44, 64)])
    few = rpn(maps, batch)
    rpn.train()
    proposals = rpn.proposals(rpn.vjp(maps)[0], rpn.anchors(maps, batch), batch.sizes)
    assert [len(boxes) for boxes in few] == [5, 5] and all(len(boxes) > 5 for boxes in proposals)
    for boxes, some in zip(proposals, few):
        assert_array_equal(boxes[:5], some)
