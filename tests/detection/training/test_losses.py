"""The four losses against their formulas written as loops, and their gradients."""

import math

import numpy as np
import pytest
from numeric_checks import check_gradients
from numpy.testing import assert_allclose

from minicnn.detection.training.losses import BETA, fastrcnn_losses, rpn_losses

pytestmark = pytest.mark.usefixtures("backend")


def test_rpn_losses_equal_their_formulas_and_gradients_equal_differences():
    rng = np.random.default_rng(0)
    objectness, deltas = rng.standard_normal(9), rng.standard_normal((9, 4))
    wanted, positive, negative = np.array([1, 0, 0, 1, 0, 0, 1, 0, 0]), np.array([3, 0]), np.array([1, 8, 4])
    targets = rng.standard_normal((2, 4))
    losses, _ = rpn_losses(objectness, deltas, wanted, targets, positive, negative)
    answers = [math.log(1 + math.exp(-objectness[i])) for i in positive] + [math.log(1 + math.exp(objectness[i])) for i in negative]
    assert_allclose(losses["loss_objectness"], sum(answers) / 5)
    distances = np.abs(deltas[positive] - targets).ravel()
    assert_allclose(losses["loss_rpn_box_reg"], sum(0.5 * d * d / BETA if d < BETA else d - BETA / 2 for d in distances) / 5)

    def total(*arrays):
        return 2.5 * sum(rpn_losses(*arrays, wanted, targets, positive, negative)[0].values())

    def backward(grad, *arrays):
        return [grad * one for one in rpn_losses(*arrays, wanted, targets, positive, negative)[1](2.5)]
    check_gradients(total, backward, objectness, deltas)


def test_box_head_losses_equal_their_formulas_and_gradients_equal_differences():
    rng = np.random.default_rng(0)
    logits, deltas = rng.standard_normal((5, 3)), rng.standard_normal((5, 12))
    labels, targets = np.array([2, 0, 1, 0, 1]), rng.standard_normal((5, 4))
    losses, _ = fastrcnn_losses(logits, deltas, labels, targets)
    rows = [math.log(sum(map(math.exp, row))) - row[k] for row, k in zip(logits, labels)]
    assert_allclose(losses["loss_classifier"], sum(rows) / 5)
    distances = [abs(deltas[i, 4 * k + j] - targets[i, j]) for i, k in enumerate(labels) if k for j in range(4)]
    assert_allclose(losses["loss_box_reg"], sum(0.5 * d * d / BETA if d < BETA else d - BETA / 2 for d in distances) / 5)

    def total(*arrays):
        return 0.5 * sum(fastrcnn_losses(*arrays, labels, targets)[0].values())
    check_gradients(total, lambda grad, *arrays: [grad * one for one in fastrcnn_losses(*arrays, labels, targets)[1](0.5)], logits, deltas)


def test_nothing_positive_and_nothing_at_all():
    logits, deltas = np.float32([[2, 0, 1]]), np.ones((1, 12), np.float32)
    losses, pullback = fastrcnn_losses(logits, deltas, np.array([0]), np.zeros((1, 4), np.float32))
    assert losses["loss_box_reg"] == 0 and losses["loss_classifier"] > 0
    grad_logits, grad_deltas = pullback(1)
    assert not grad_deltas.any() and grad_deltas.shape == (1, 12) and grad_logits.dtype == np.float32
    losses, pullback = fastrcnn_losses(logits[:0], deltas[:0], np.zeros(0, int), np.zeros((0, 4), np.float32))
    assert losses == {"loss_classifier": 0, "loss_box_reg": 0} and pullback(1)[0].shape == (0, 3)
