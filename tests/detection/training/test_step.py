"""One training step: gradients of the losses against differences, what is sampled, and what the optimizer does."""

import math

import numpy as np
import pytest
from numeric_checks import check_vjp
from numpy.testing import assert_allclose, assert_array_equal
from readonly_arrays import array
from rectangles import HYPERPARAMETERS, arrays, network

from minicnn.detection.roi_align import MultiScaleRoIAlign
from minicnn.detection.roi_heads import FastRCNNPredictor, RoIHeads, TwoMLPHead, conv_fc_head
from minicnn.detection.rpn import RegionProposalNetwork, RPNHead
from minicnn.detection.training.batches import draw_batch
from minicnn.detection.training.step import box_head_step, rpn_step, sample_proposals, train_step
from minicnn.detection.training.targets import GroundTruth
from minicnn.detection.transform import Batch
from minicnn.layers import FrozenBatchNorm2d
from minicnn.optim import SGD

f32 = np.float32
SIZE = (50, 80)

# the RPN


def rpn_case():
    """A small network, its anchors on two maps of two images, in float64; the second image has no objects."""
    rng = np.random.default_rng(0)
    rpn = RegionProposalNetwork(RPNHead(3, 2, conv_depth=2, rng=rng), ((16,), (32,)), ((0.5, 1), (0.5, 1)), 100, 5, 0.7, 0.0)
    maps = [rng.standard_normal((2, 3, 6, 8)), rng.standard_normal((2, 3, 3, 4))]
    anchors = rpn.anchors(maps, Batch(np.zeros((2, 3, 48, 64), f32), [(48, 60), (44, 64)], [(48, 60), (44, 64)]))
    ground_truth = [GroundTruth(array([[3, 4, 25, 20], [30, 10, 60, 44]]), np.array([2, 1])),
                    GroundTruth(array(np.zeros((0, 4))), np.zeros(0, int))]
    return rpn, maps, anchors, ground_truth


def rpn_training(rpn, maps, anchors, ground_truth, permutation, input_gradient=True):
    """(losses, pullback): pullback(scale) -> a gradient for each map."""
    outputs, to_maps = rpn.vjp(maps, input_gradient)
    losses, to_outputs = rpn_step(rpn, outputs, anchors, ground_truth, permutation)
    return losses, lambda scale: to_maps(to_outputs(scale))


def test_gradients_of_the_rpns_losses_equal_differences():
    rpn, maps, anchors, ground_truth = rpn_case()

    def vjp(*maps):
        losses, pullback = rpn_training(rpn, list(maps), anchors, ground_truth, np.arange)
        return [sum(losses.values())], lambda grads: pullback(grads[0])
    gradients = check_vjp(rpn, vjp, *maps)
    assert gradients.keys() == {path for path, _ in rpn.named_parameters()}


def test_the_rpns_losses_by_name():
    rpn, maps, anchors, ground_truth = rpn_case()
    losses, _ = rpn_training(rpn, [x.astype(f32) for x in maps], anchors, ground_truth, np.arange)
    assert list(losses) == ["loss_objectness", "loss_rpn_box_reg"] and all(loss > 0 for loss in losses.values())


def test_as_many_anchors_are_learnt_from_as_it_says():
    rpn, maps, anchors, ground_truth = rpn_case()
    rpn.batch_size_per_image, rpn.positive_fraction = 8, 0.25
    pullback = rpn_training(rpn, maps, anchors, ground_truth, np.random.default_rng(0).permutation)[1]
    rpn.zero_grad()
    pullback(1.0)
    bias = rpn.head.cls_logits.gradients["bias"]
    assert np.isfinite(bias).all()
    asked = []
    rpn_training(rpn, maps, anchors, ground_truth, lambda n: asked.append(n) or np.arange(n))
    assert len(asked) == 4 and asked[2] == 0                     # positive and negative of each image, in this order


def test_the_rpn_without_gradient_for_the_maps():
    rpn, maps, anchors, ground_truth = rpn_case()
    assert rpn_training(rpn, maps, anchors, ground_truth, np.arange, input_gradient=False)[1](1.0) == [None, None]
    assert rpn.head.gradients == {} and rpn.head.cls_logits.gradients


# the box head


def draw_boxes(count, rng=None):
    rng = rng or np.random.default_rng(1)
    corner = rng.uniform(0, 40, (count, 2))
    return array(np.concatenate([corner, corner + rng.uniform(5, 30, (count, 2))], axis=1))


def box_head_case(head):
    """Two images and their proposals, in float64; the second image has no objects."""
    rng = np.random.default_rng(0)
    roi = RoIHeads(MultiScaleRoIAlign(2, 2), head, FastRCNNPredictor(6, 3, rng=rng), (10, 10, 5, 5), 0.05, 0.5, 100)
    maps = [rng.standard_normal((2, 3, 10, 16))]
    proposals = [draw_boxes(6).astype(np.float64), draw_boxes(4, rng).astype(np.float64)]
    ground_truth = [GroundTruth(proposals[0][:2] + 1.5, np.array([2, 1])), GroundTruth(np.zeros((0, 4)), np.zeros(0, np.int64))]
    return roi, maps, proposals, ground_truth


@pytest.mark.parametrize("head", [TwoMLPHead(3, 2, 6, rng=np.random.default_rng(0)),
                                  conv_fc_head(3, 2, 6, FrozenBatchNorm2d, rng=np.random.default_rng(0))], ids=["linear", "convolutional"])
def test_gradients_of_the_box_heads_losses_equal_differences(head):
    roi, maps, proposals, ground_truth = box_head_case(head)

    def vjp(*maps):
        losses, pullback = box_head_step(roi, list(maps), proposals, [SIZE, SIZE], ground_truth, np.arange)
        return [sum(losses.values())], lambda grads: pullback(grads[0])
    gradients = check_vjp(roi, vjp, *maps)
    assert gradients.keys() == {path for path, _ in roi.named_parameters()}
    assert box_head_step(roi, maps, proposals, [SIZE, SIZE], ground_truth, np.arange, input_gradient=False)[1](1.0) is None


def test_the_sample_is_of_proposals_and_true_boxes_in_their_order():
    roi, _, proposals, ground_truth = box_head_case(None)
    roi.batch_size_per_image, roi.positive_fraction = 5, 0.8
    chosen, labels, deltas = sample_proposals(roi, proposals, ground_truth, np.arange)
    every = np.concatenate([proposals[0], ground_truth[0].boxes])
    places = [np.flatnonzero((every == box).all(axis=1))[0] for box in chosen[0]]
    assert places == sorted(places) and len(chosen[0]) == 5 and len(chosen[1]) == 4 and len(labels) == len(deltas) == 9
    assert set(places) >= {0, 1, 6, 7} and labels[[places.index(6), places.index(7)]].tolist() == [2, 1]
    assert_array_equal(deltas[[places.index(6), places.index(7)]], 0)               # a true box needs no moving
    assert not labels[5:].any() and not deltas[5:].any()


# the optimizer


@pytest.mark.usefixtures("backend")
def test_two_equal_batches_make_the_step_of_one(data):
    batch = draw_batch(data.images[1:3], HYPERPARAMETERS, np.random.default_rng(0))
    after = []
    for batches in ([batch], [batch, batch]):
        model = network()
        model.freeze(3)
        model.train()
        losses = train_step(model, batches, SGD(model, 0.1), np.arange)
        after.append((losses, arrays(model)))
    (one, first), (two, second) = after
    assert_allclose(list(one.values()), list(two.values()), rtol=1e-12)
    for name in first:
        assert_allclose(first[name], second[name], rtol=1e-5, atol=1e-7)


def test_a_clipped_step_is_as_long_as_it_may_be(data):
    batch, model = draw_batch(data.images[1:3], HYPERPARAMETERS, np.random.default_rng(0)), network()
    model.freeze(3)
    model.train()
    before = arrays(model)
    train_step(model, [batch], SGD(model, 1.0), np.arange, clip_norm=0.01)
    length = math.sqrt(sum(float(((array - before[name]) ** 2).sum()) for name, array in arrays(model).items()))
    assert_allclose(length, 0.01, rtol=1e-3)
