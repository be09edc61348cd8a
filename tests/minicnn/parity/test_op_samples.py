"""torch's own samples of the operations, on which torch tests itself (OpInfo): where our functions can express one, they give its result.

Of the 1661 float32 samples of the 17 operations 864 can be expressed, and all of these agree. Four once did not: three of dropout with
p = 1, which divided 0 by 0, and one of a softmax over no numbers, which have no maximum. What cannot be expressed is listed in
``docs/guide/limits.md``.
"""

from typing import NamedTuple

import numpy as np
import pytest
from numeric_checks import BACKWARD, FORWARD

from minicnn import functional as F
from minicnn.layers import BatchNorm2d

torch = pytest.importorskip("torch")
pytest.importorskip("expecttest")           # torch's own tests need it; the extra "parity" has it
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("backend")]


class Unsupported(Exception):
    """Our function has no argument for the sample."""


class Call(NamedTuple):
    """A sample in our terms.

    forward: torch's result -> ours, which needs it only where torch draws at random.
    gradients: grad_y -> a gradient for each array of the sample, in its order; fewer where the last ones have none.
    """

    forward: object
    gradients: object


def refuse(*reasons):
    """Raise Unsupported if one of these is true."""
    if any(reasons):
        raise Unsupported


# for each operation a function of a sample's arrays and arguments, which returns a Call


def activation(name):
    return lambda x: Call(lambda _: getattr(F, name)(x), lambda grad_y: [getattr(F, f"{name}_backward")(grad_y, x)])


class Replay:
    """A generator with which ``functional.dropout`` zeroes what torch zeroed."""

    def __init__(self, torchs):
        self.torchs = torchs

    def random(self, shape):
        return (self.torchs != 0).reshape(shape).astype(float)


def dropout(x, p=0.5, training=True):
    if not training:
        return Call(lambda _: x, lambda grad_y: [grad_y])
    return Call(lambda torchs: F.dropout(x, p, Replay(torchs))[0], lambda grad_y: [])


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    refuse(isinstance(padding, str))
    images = x if x.ndim == 4 else x[None]
    geometry = stride, padding, dilation, groups

    def gradients(grad_y):
        grad_x, *others = F.conv2d_backward(grad_y.reshape(F.conv2d(images, weight, None, *geometry).shape), images, weight, *geometry)
        return [grad_x.reshape(x.shape), *others][:2 if bias is None else 3]
    return Call(lambda torchs: F.conv2d(images, weight, bias, *geometry).reshape(torchs.shape), gradients)


def linear(x, weight, bias=None):
    rows = x.reshape(int(np.prod(x.shape[:-1])), x.shape[-1])

    def gradients(grad_y):
        grad_x, *others = F.linear_backward(grad_y.reshape(len(rows), len(weight)), rows, weight)
        return [grad_x.reshape(x.shape), *others][:2 if bias is None else 3]
    return Call(lambda torchs: F.linear(rows, weight, bias).reshape(torchs.shape), gradients)


def softmax(x, dim):
    return Call(lambda _: np.moveaxis(F.softmax(np.moveaxis(np.atleast_1d(x), dim, -1)), -1, dim).reshape(x.shape), lambda grad_y: [])


def cross_entropy(x, target, weight=None, reduction="mean", label_smoothing=0.0, ignore_index=-100):
    refuse(weight is not None, reduction != "mean", label_smoothing)
    rows = np.moveaxis(x, 1, -1).reshape(-1, x.shape[1])                        # each pixel is a row
    target = target.reshape(-1) if target.dtype.kind == "i" else np.moveaxis(target, 1, -1).reshape(rows.shape)

    def gradients(grad_y):
        grad = F.cross_entropy_backward(rows, target, ignore_index) * grad_y
        return [np.moveaxis(grad.reshape(np.moveaxis(x, 1, -1).shape), -1, 1)]
    return Call(lambda _: F.cross_entropy(rows, target, ignore_index), gradients)


def smooth_l1_loss(x, target, reduction="mean", beta=1.0):
    refuse(reduction == "none")
    return Call(lambda _: F.smooth_l1_loss(x, target, beta, reduction),
                lambda grad_y: [F.smooth_l1_loss_backward(x, target, beta, reduction) * grad_y])


def binary_cross_entropy_with_logits(x, target, weight=None, reduction="mean", pos_weight=None):
    refuse(weight is not None, pos_weight is not None, reduction != "mean")
    return Call(lambda _: F.binary_cross_entropy_with_logits(x, target),
                lambda grad_y: [F.binary_cross_entropy_with_logits_backward(x, target) * grad_y])


def batch_norm(x, mean, var, weight=None, bias=None, training=False, momentum=0.1, eps=1e-5):
    refuse(x.ndim < 2)
    images, layer = x.reshape(*x.shape[:2], -1, 1) if x.ndim != 4 else x, BatchNorm2d(x.shape[1], eps, momentum)
    layer.training = training
    given = {"running_mean": mean, "running_var": var, "weight": weight, "bias": bias}
    layer.load_arrays({name: array for name, array in given.items() if array is not None}, strict=False)

    def gradients(grad_y):
        layer.load_arrays({name: array for name, array in given.items() if array is not None}, strict=False)
        _, pullback = layer.vjp(images)
        grad_x = pullback(grad_y.reshape(images.shape)).reshape(x.shape)
        return [grad_x, None, None, layer.gradients["weight"], layer.gradients["bias"]]
    return Call(lambda torchs: layer(images).reshape(torchs.shape), gradients)


def max_pool2d(x, kernel_size, stride=None, padding=0, dilation=1, ceil_mode=False, return_indices=False):
    refuse(np.max(dilation) > 1)
    images, arguments = x if x.ndim == 4 else x[None], (kernel_size, stride, padding, ceil_mode)

    def gradients(grad_y):
        y, index = F.max_pool2d(images, *arguments)
        return [F.max_pool2d_backward(grad_y.reshape(y.shape), index, images.shape, *arguments).reshape(x.shape)]
    return Call(lambda torchs: F.max_pool2d(images, *arguments, return_indices=False)[0].reshape(torchs.shape), gradients)


def avg_pool2d(x, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True, divisor_override=None):
    refuse(divisor_override is not None)
    images, arguments = x if x.ndim == 4 else x[None], (kernel_size, stride, padding, ceil_mode, count_include_pad)
    return Call(lambda torchs: F.avg_pool2d(images, *arguments).reshape(torchs.shape),
                lambda grad_y: [F.avg_pool2d_backward(grad_y.reshape(-1, x.shape[-3], *grad_y.shape[-2:]), images.shape, *arguments)
                                .reshape(x.shape)])


def adaptive_avg_pool2d(x, output_size):
    refuse(not isinstance(output_size, int) and None in output_size)
    images = x if x.ndim == 4 else x[None]
    return Call(lambda torchs: F.adaptive_avg_pool2d(images, output_size).reshape(torchs.shape),
                lambda grad_y: [F.adaptive_avg_pool2d_backward(grad_y.reshape(-1, x.shape[-3], *grad_y.shape[-2:]), images.shape)
                                .reshape(x.shape)])


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=None, recompute_scale_factor=None):
    refuse(x.ndim != 4, align_corners, size is None and not recompute_scale_factor)
    size = size or [int(side * scale_factor) for side in x.shape[2:]]
    return Call(lambda _: F.interpolate(x, size, mode), lambda grad_y: [F.interpolate_backward(grad_y, x.shape, mode)])


# (name in torch, its variant): how its samples are expressed, and how many can be
OPERATIONS = {
    ("nn.functional.relu", ""): (activation("relu"), 4), ("sigmoid", ""): (activation("sigmoid"), 3),
    ("nn.functional.hardsigmoid", ""): (activation("hardsigmoid"), 3), ("nn.functional.hardswish", ""): (activation("hardswish"), 4),
    ("nn.functional.conv2d", ""): (conv2d, 26), ("nn.functional.linear", ""): (linear, 20), ("softmax", ""): (softmax, 7),
    ("nn.functional.dropout", ""): (dropout, 19), ("nn.functional.batch_norm", ""): (batch_norm, 10),
    ("nn.functional.cross_entropy", ""): (cross_entropy, 11), ("nn.functional.smooth_l1_loss", ""): (smooth_l1_loss, 7),
    ("nn.functional.binary_cross_entropy_with_logits", ""): (binary_cross_entropy_with_logits, 6),
    ("nn.functional.max_pool2d", ""): (max_pool2d, 720), ("nn.functional.avg_pool2d", ""): (avg_pool2d, 2),
    ("nn.functional.adaptive_avg_pool2d", ""): (adaptive_avg_pool2d, 4), ("nn.functional.interpolate", "nearest"): (interpolate, 6),
    ("nn.functional.interpolate", "bilinear"): (interpolate, 12)}


@pytest.fixture(scope="module")
def op_infos():
    """{(name, variant): OpInfo}, which takes seconds to import."""
    common_methods_invocations = pytest.importorskip("torch.testing._internal.common_methods_invocations")
    return {(op.name, op.variant_test_name): op for op in common_methods_invocations.op_db}


def as_array(value):
    return value.detach().numpy() if isinstance(value, torch.Tensor) else value


@pytest.mark.filterwarnings("ignore")                               # torch's own
@pytest.mark.parametrize("name", OPERATIONS, ids=" ".join)
def test_each_sample_that_can_be_expressed_agrees(op_infos, name):
    torch.manual_seed(0)
    express, least = OPERATIONS[name]
    expressed = 0
    for sample in op_infos[name].sample_inputs("cpu", torch.float32, requires_grad=True):
        tensors = sample.input, *sample.args
        try:
            call = express(*map(as_array, tensors), **{key: as_array(value) for key, value in sample.kwargs.items()})
        except Unsupported:
            continue
        expressed += 1
        y = op_infos[name](*tensors, **sample.kwargs)
        y = y[0] if isinstance(y, tuple) else y                                                # max pooling with indices
        assert_agrees(call.forward(y.detach().numpy()), y, FORWARD, sample)
        grad_y = torch.randn_like(y)
        for tensor, gradient in zip(tensors, call.gradients(grad_y.numpy())):
            if isinstance(tensor, torch.Tensor) and tensor.requires_grad and gradient is not None:
                expected, = torch.autograd.grad(y, tensor, grad_y, retain_graph=True)
                assert_agrees(gradient, expected, BACKWARD, sample, np.abs(grad_y.numpy()).max(initial=0) / 100)
    assert expressed >= least


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name, least", [("conv2d", 6), ("max_pool2d", 7), ("avg_pool2d", 4), ("adaptive_avg_pool2d", 3)])
def test_what_torch_must_refuse_is_refused(op_infos, name, least):
    """OpInfo's samples of errors."""
    key, refused = (f"nn.functional.{name}", ""), 0
    for error in op_infos[key].error_inputs("cpu"):
        sample = error.sample_input
        try:
            call = OPERATIONS[key][0](*map(as_array, (sample.input, *sample.args)), **{k: as_array(v) for k, v in sample.kwargs.items()})
        except Unsupported:
            continue
        refused += 1
        with pytest.raises((ValueError, TypeError)):
            print(sample, call.forward(None))
    assert refused >= least


def assert_agrees(got, expected, tolerance, sample, least=0.0):
    """Assert that our array is torch's, NaN at the same places, within a tolerance relative to its largest number.

    least: the largest number is taken to be at least this: the gradient of a norm of two values is 0 but for rounding.
    """
    got, expected = np.asarray(got), expected.detach().numpy()
    assert got.shape == expected.shape, sample
    largest = max(np.abs(expected[~np.isnan(expected)]).max(initial=0), least)
    np.testing.assert_allclose(got, expected, rtol=0, atol=tolerance * largest, err_msg=str(sample))
