"""Learning from a teacher: its losses by their formulas, and that a student comes nearer to it."""

import math

import numpy as np
import pytest
from numpy.testing import assert_allclose
from toy_detector import toy_detector

from minicnn.detection.backbone import SingleMapBackbone
from minicnn.detection.training.distillation import Teacher, TeacherOutputs
from minicnn.detection.training.losses import fastrcnn_losses, rpn_losses
from minicnn.detection.training.step import detector_losses
from minicnn.detection.training.targets import GroundTruth
from minicnn.errors import InputError
from minicnn.layers import MaxPool2d
from minicnn.optim import SGD


def network(seed, **settings):
    model = toy_detector(rng=np.random.default_rng(seed), **settings)
    model.record = {"class_names": ["__background__", "a", "b", "c"]}
    return model


def batch_of(model):
    images = [np.random.default_rng(2).random((3, 48, 64)).astype(np.float32)]
    targets = [GroundTruth(np.float32([[5, 6, 25, 30], [30, 10, 60, 40]]), np.array([1, 3]))]
    return *model.start(images), targets


@pytest.mark.usefixtures("backend")
def test_a_teacher_brings_four_losses_more():
    student, teacher = network(0), network(1)
    student.freeze(3)
    student.train()
    batch, state, targets = batch_of(student)
    alone, pullback = detector_losses(student, batch, state, targets, np.arange)
    pullback()
    gradients = {name: gradient.copy() for name, gradient in student.named_gradients()}
    student.zero_grad()
    losses, pullback = detector_losses(student, batch, state, targets, np.arange, Teacher(teacher, student).outputs(batch))
    pullback()
    added = {name: value for name, value in losses.items() if name not in alone}
    assert {name: losses[name] for name in alone} == alone and all(value > 0 for value in added.values())
    assert list(added) == ["loss_teacher_classifier", "loss_teacher_box_reg", "loss_teacher_objectness", "loss_teacher_rpn_box_reg"]
    assert all(np.abs(gradient - gradients[name]).max() > 0 for name, gradient in student.named_gradients())


def test_of_itself_only_the_certainty_can_be_learnt():
    """A student that is its own teacher has no slope towards it: cross-entropies are entropies, distances are 0."""
    student = network(0)
    student.freeze(3)
    batch, state, targets = batch_of(student)
    outputs = Teacher(student, student).outputs(batch)
    alone, together = [], []
    for teacher_outputs, kept in ((None, alone), (outputs, together)):
        student.zero_grad()
        losses, pullback = detector_losses(student, batch, state, targets, np.arange, teacher_outputs)
        pullback()
        kept.extend((name, gradient.copy()) for name, gradient in student.named_gradients())
    assert losses["loss_teacher_box_reg"] < 1e-9 and losses["loss_teacher_rpn_box_reg"] < 1e-9
    for (name, one), (_, other) in zip(alone, together):
        assert_allclose(other, one, rtol=1e-3, atol=1e-5 * np.abs(one).max(), err_msg=name)


def test_the_losses_are_those_of_the_formulas():
    rng = np.random.default_rng(0)
    objectness, deltas, positive, negative = rng.standard_normal(6), rng.standard_normal((6, 4)), np.array([1]), np.array([0, 4])
    outputs = TeacherOutputs(None, [], None, rng.standard_normal((2, 3)), rng.standard_normal((2, 3, 4)))
    own = rpn_losses(objectness, deltas, np.array([0, 1, 0, 0, 0, 0]), deltas[positive] + 1, positive, negative)
    losses, pullback = outputs.add_rpn_losses(own, objectness, deltas, positive, negative)
    expected = 0
    for i in (1, 0, 4):
        wanted, said = (1 / (1 + math.exp(-x)) for x in (outputs.objectness.ravel()[i], objectness[i]))
        expected -= (wanted * math.log(said) + (1 - wanted) * math.log(1 - said)) / 3
    assert_allclose(losses["loss_teacher_objectness"], expected)
    assert len(pullback(1.0)) == 2

    logits, deltas, labels = rng.standard_normal((3, 3)), rng.standard_normal((3, 12)), np.array([0, 2, 1])
    theirs = rng.standard_normal((3, 3)), deltas.copy()
    outputs.box_head = lambda proposals: theirs
    own = fastrcnn_losses(logits, deltas, labels, np.zeros((3, 4)))
    losses, _ = outputs.add_fastrcnn_losses(own, logits, deltas, labels, None)
    shares = [np.exp(x) / np.exp(x).sum(axis=1, keepdims=True) for x in (theirs[0], logits)]
    assert_allclose(losses["loss_teacher_classifier"], -(shares[0] * np.log(shares[1])).sum() / 3)
    assert losses["loss_teacher_box_reg"] == 0


def test_a_student_with_a_teacher_ends_nearer_to_it_than_one_without():
    ends = []
    for taught in (True, False):
        student, teacher = network(0), network(1)
        student.freeze(3)
        student.train()
        optimizer, (batch, state, targets) = SGD(student, 0.05, 0.9), batch_of(student)
        outputs = Teacher(teacher, student).outputs(batch)
        for _ in range(30):
            detector_losses(student, batch, state, targets, np.arange, outputs if taught else None)[1]()
            optimizer.step()
        losses = detector_losses(student, batch, state, targets, np.arange, outputs)[0]
        ends.append(sum(value for name, value in losses.items() if "teacher" in name))
    assert ends[0] < 0.95 * ends[1]


@pytest.mark.parametrize("change, expected", [
    ({"min_size": 40}, "sizes"), ({"image_std": (0.2, 0.2, 0.2)}, "normalisation"), ({"anchor_sizes": ((8, 16, 30),)}, "anchors"),
    ({"num_classes": 3}, "num_classes"), ({"bbox_reg_weights": (1.0, 1.0, 1.0, 1.0)}, "weights")])
def test_a_teacher_that_answers_other_questions(change, expected):
    with pytest.raises(InputError, match=f"got a teacher with other {expected} "):
        Teacher(network(1, **change), network(0))


def test_a_teacher_of_another_stride_is_refused():
    student, teacher = network(0), network(1)
    teacher.backbone = SingleMapBackbone([*(layer for _, layer in teacher.backbone.children()), MaxPool2d(2)])
    with pytest.raises(InputError, match="last_pool"):
        Teacher(teacher, student)
