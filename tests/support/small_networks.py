"""Networks to plan, and the comparison of a plan's results with those of the layers, one after the other."""

import math

import numpy as np
from numeric_checks import assert_close

from minicnn import functional as F
from minicnn.fast import run as engine
from minicnn.functional.dispatch import use
from minicnn.layers import BatchNorm2d, Conv2d, Layer, ReLU, Sequential

TOLERANCE = 1e-5        # of float32 sums in another order, Winograd's among them, over one tensor


class Composite(Layer):
    """``function(*layers, *inputs)``: a network in one line."""

    def __init__(self, function, *layers):
        self.function = function
        vars(self).update({f"part{number}": layer for number, layer in enumerate(layers)})

    def __call__(self, *inputs):
        return self.function(*(layer for _, layer in self.children()), *inputs)


def draw(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def conv(into, out, kernel=3, *arguments, seed=0, **options):
    return Conv2d(into, out, kernel, *arguments, **options, rng=np.random.default_rng(seed))


def norm(channels, seed=0):
    """Batch norm with random parameters and statistics."""
    rng, layer = np.random.default_rng(seed), BatchNorm2d(channels)
    for array, low, high in ((layer.weight, 0.5, 1.5), (layer.bias, -1, 1), (layer.running_mean, -1, 1), (layer.running_var, 0.5, 2)):
        array[...] = rng.uniform(low, high, channels)
    return layer


def block(into, out, kernel=3, *arguments, seed=0, **options):
    """Convolution, norm, ReLU."""
    return Sequential([conv(into, out, kernel, *arguments, bias=False, seed=seed, **options), norm(out, seed), ReLU()])


def plain(network, *inputs):
    """The reference result: that of the layers."""
    with use("reference"):
        return network.forward(*inputs)


def arrays_of(result):
    """The arrays that a network returned, in order."""
    return [one for part in result for one in arrays_of(part)] if isinstance(result, (list, tuple)) else [result]


def assert_runs_like_its_layers(network, *inputs, plans=True, tolerance=TOLERANCE):
    """Check that the backend in use computes what the layers do.

    Args:
        network: a Layer.
        inputs: its arguments.
        plans: whether a plan must have run, so that the layers are not compared with themselves.
        tolerance: relative, of each array.

    Returns:
        what the network returned.
    """
    expected, got = plain(network, *inputs), engine.run(network, *inputs)
    assert type(got) is type(expected) and len(arrays_of(got)) == len(arrays_of(expected))
    for number, (one, other) in enumerate(zip(arrays_of(got), arrays_of(expected))):
        assert one.dtype == other.dtype
        assert_close(one, other, tolerance, f"result {number}")
    assert (plan_of(network) is not None) == plans
    return got


def plan_of(network):
    """The plan that ran last, or None."""
    finished = engine._finished.get(network)
    return list(finished.plans.values())[-1] if finished and finished.plans else None


def pyramid(*channels, out=13):
    """A feature pyramid of ``out`` channels over maps of these channels, the finest first."""
    from minicnn.detection.fpn import FeaturePyramidNetwork

    def upward(fpn, *maps):
        return fpn(list(maps))
    return Composite(upward, FeaturePyramidNetwork(channels, out, rng=np.random.default_rng(0)))


def gated(channels, squeezed):
    """A squeeze-and-excitation block."""
    return Composite(lambda fc1, fc2, x: x * F.hardsigmoid(fc2(F.relu(fc1(F.adaptive_avg_pool2d(x, 1))))),
                     conv(channels, squeezed, 1), conv(squeezed, channels, 1, seed=1))


def with_statistics(layer, seed=0):
    """A composite with random weights, and norms with statistics of their own."""
    rng = np.random.default_rng(seed)
    for _, part in layer.named_layers():
        if isinstance(part, BatchNorm2d):
            same = norm(part.num_features, seed)
            part.load_arrays(dict(same.named_arrays()))
        elif hasattr(part, "weight"):
            part.weight[...] = rng.standard_normal(part.weight.shape) / math.sqrt(part.weight[0].size)
    return layer
