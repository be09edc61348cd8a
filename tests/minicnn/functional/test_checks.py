"""What torch refuses is refused, whatever the backend, before anything is computed; empty batches that it accepts are accepted."""

import numpy as np
import pytest
from argument_cases import EMPTY, IMAGE, REFUSED, WEIGHT, zeros
from numpy.testing import assert_array_equal

from minicnn import functional as F
from minicnn.functional import checks

pytestmark = pytest.mark.usefixtures("backend")


def call(case):
    arguments = {**case.arguments, "rng": np.random.default_rng(0)} if case.operation == "dropout" else case.arguments
    return getattr(F, case.operation)(*case.arrays, **arguments)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_what_torch_refuses_is_refused(case):
    with pytest.raises((ValueError, TypeError), match=case.message):
        call(case)


@pytest.mark.parametrize("case", EMPTY, ids=lambda case: case.name)
def test_empty_batches_give_empty_results_and_means_of_nothing_are_nan(case):
    result = call(case)
    if isinstance(result, float):
        assert (result == 0) if case.arguments.get("reduction") == "sum" else np.isnan(result)
        return
    y = result[0] if isinstance(result, tuple) else result
    assert y.dtype == np.float32 and np.isfinite(y).all()


def test_every_operation_has_a_check():
    from minicnn.functional.dispatch import CHECKS
    assert CHECKS.keys() >= set(F.__all__)


@pytest.mark.parametrize("dtype", [np.uint8, np.int64, bool, complex])
@pytest.mark.parametrize("call", [
    F.sigmoid, F.hardsigmoid, F.hardswish, F.softmax, lambda x: F.conv2d(x, x), lambda x: F.linear(x[0, 0], x[0, 0]),
    lambda x: F.linear_blocks(x[0, 0], x[0, 0]), lambda x: F.max_pool2d(x, 2), lambda x: F.avg_pool2d(x, 2),
    lambda x: F.adaptive_avg_pool2d(x, 1), lambda x: F.interpolate(x, 4), lambda x: F.interpolate(x, 4, "bilinear"),
    lambda x: F.dropout(x, 0.5, np.random.default_rng(0)), lambda x: F.batch_norm_training(x, zeros(2), zeros(2)),
    lambda x: F.batch_norm(x, *zeros(4, 2)), lambda x: F.smooth_l1_loss(x, x), lambda x: F.cross_entropy(x[0, 0], np.zeros(5, int))])
def test_dtypes_that_are_not_floating_are_refused(call, dtype):
    with pytest.raises(TypeError, match=f"of {np.dtype(dtype)}.*floating"):
        call(IMAGE.astype(dtype))


def test_relu_takes_whole_numbers_as_torchs_does():
    y = F.relu(np.array([-2, 3]))
    assert y.tolist() == [0, 3] and y.dtype == int
    for dtype in (bool, complex):
        with pytest.raises(TypeError, match=f"of {np.dtype(dtype)}.*floating"):
            F.relu(np.ones(2, dtype))


@pytest.mark.parametrize("call, message", [
    (lambda g: F.relu_backward(g, zeros(3, 2)), r"grad_y \(2, 3\), expected \(3, 2\)"),
    (lambda g: F.sigmoid_backward(g, zeros(3)), r"grad_y \(2, 3\), expected \(3,\)"),
    (lambda g: F.linear_backward(g, zeros(2, 4), zeros(5, 4)), r"grad_y \(2, 3\), expected \(2, 5\)"),
    (lambda g: F.linear_blocks_backward(g, zeros(2, 4), zeros(5, 2)), r"grad_y \(2, 3\), expected \(2, 10\)"),
    (lambda g: F.conv2d_backward(g, IMAGE, WEIGHT), r"grad_y \(2, 3\), expected \(1, 4, 3, 3\)"),
    (lambda g: F.conv2d_backward(zeros(1, 4, 3, 3), IMAGE, WEIGHT, padding=-1), "padding of at least 0"),
    (lambda g: F.batch_norm_backward(g, IMAGE, *zeros(3, 2)), r"grad_y \(2, 3\), expected \(1, 2, 5, 5\)"),
    (lambda g: F.batch_norm_training_backward(g, IMAGE, *zeros(3, 2)), r"grad_y \(2, 3\), expected \(1, 2, 5, 5\)"),
    (lambda g: F.max_pool2d_backward(zeros(1, 2, 1, 1), np.zeros((1, 2, 1, 1), int), IMAGE.shape, 2), r"expected \(1, 2, 2, 2\)"),
    (lambda g: F.max_pool2d_backward(zeros(1, 2, 2, 2), np.zeros((1, 2, 1, 1), int), IMAGE.shape, 2), "an index"),
    (lambda g: F.max_pool2d_backward(zeros(1, 2, 2, 2), zeros(1, 2, 2, 2), IMAGE.shape, 2), "an index"),
    (lambda g: F.avg_pool2d_backward(zeros(1, 2, 1, 1), IMAGE.shape, 2), r"expected \(1, 2, 2, 2\)"),
    (lambda g: F.adaptive_avg_pool2d_backward(zeros(1, 1, 2, 2), IMAGE.shape), r"expected \(1, 2, Ho, Wo\)"),
    (lambda g: F.interpolate_backward(zeros(1, 1, 2, 2), IMAGE.shape), r"expected \(1, 2, Ho, Wo\)"),
    (lambda g: F.interpolate_backward(zeros(1, 2, 2, 2), IMAGE.shape, "cubic"), "mode='cubic'"),
    (lambda g: F.cross_entropy_backward(g, np.zeros((2, 1), int)), "targets of int64"),
    (lambda g: F.smooth_l1_loss_backward(g, g, 1.0, "avg"), "reduction='avg'"),
    (lambda g: F.binary_cross_entropy_with_logits_backward(g, zeros(3)), r"target \(3,\), expected \(2, 3\)"),
])
def test_gradients_that_do_not_fit_are_refused(call, message):
    with pytest.raises(ValueError if "int64" not in message else TypeError, match=message):
        call(zeros(2, 3))


def test_gradients_of_empty_batches():
    none, image = zeros(0, 2, 5, 5), zeros(2)
    assert F.batch_norm_training_backward(none, none, *zeros(3, 2))[0].shape == none.shape
    for gradient in F.batch_norm_training_backward(none, none, *zeros(3, 2))[1:]:
        assert_array_equal(gradient, image)
    assert F.max_pool2d_backward(none[..., :2, :2], np.zeros((0, 2, 2, 2), np.uint8), none.shape, 2).shape == none.shape
    assert F.interpolate_backward(zeros(0, 2, 3, 3), none.shape, "bilinear").shape == none.shape
    assert F.cross_entropy_backward(zeros(0, 4), zeros(0, 4)).shape == (0, 4)
    assert F.smooth_l1_loss_backward(zeros(0, 4), zeros(0, 4)).shape == (0, 4)


def test_lists_and_other_things_than_arrays_are_refused():
    for thing, name in (([1.0, 2.0], "list"), (1.0, "float"), ("x", "str")):
        with pytest.raises(TypeError, match=f"got x of {name}, expected NumPy arrays"):
            F.relu(thing)


def test_a_shape_is_compared_number_by_number_and_letters_stand_for_any():
    checks.shape("f", "x", zeros(2, 3), ("N", 3))
    checks.shape("f", "x", None, (1,))
    with pytest.raises(ValueError, match=r"^f: got x \(2, 3\), expected \(N, 4\)"):
        checks.shape("f", "x", zeros(2, 3), ("N", 4))
    with pytest.raises(ValueError, match=r"^f: got x \(2, 3\), expected \(3,\)"):
        checks.shape("f", "x", zeros(2, 3), (3,))
