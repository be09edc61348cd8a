"""What is fused into one step, what is not, and that the numbers are those of the layers, one after the other."""

import numpy as np
import pytest
from small_networks import (
    Composite,
    assert_runs_like_its_layers,
    block,
    conv,
    draw,
    gated,
    norm,
    plan_of,
    pyramid,
    with_statistics,
)

from minicnn import functional as F
from minicnn.functional import dispatch
from minicnn.layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    BlockLinear,
    Flatten,
    Hardsigmoid,
    Hardswish,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)
from minicnn.models.mobilenet import InvertedResidual
from minicnn.models.resnet import Bottleneck

pytestmark = pytest.mark.usefixtures("engine")

SIZES = [(9, 7), (6, 8), (1, 13), (5, 5), (18, 33)]
CHANNELS = [(13, 37), (24, 40), (37, 16), (1, 3), (8, 8)]       # pruned networks have any number
each_size = pytest.mark.parametrize("h, w", SIZES)
each_pair = pytest.mark.parametrize("into, out", CHANNELS)


def algorithms(network):
    """Of the steps of the plan that ran last, Winograd's without its strips."""
    return [step.algorithm.partition(",")[0] for step in plan_of(network).steps]


# fused

@each_size
@each_pair
def test_convolution_norm_and_activation_are_one_step(into, out, h, w):
    alone = "direct" if into == 1 else "depthwise"
    large = min(into, out) >= 16 and (h, w) == (18, 33)                         # Winograd's is not worth it on tiny images
    for layers, expected in (
            ([conv(into, out, 1), norm(out), Hardswish()], ["product"]),
            ([conv(into, out, 1, 2), norm(out), ReLU()], ["direct"]),
            ([conv(into, out, 3, 1, 1), norm(out), ReLU()], ["winograd"] if large else ["direct", "winograd"]),
            ([conv(into, out, (3, 5), 2, 2, bias=False), norm(out), Hardsigmoid()], ["direct"]),
            ([conv(into, into, 3, 1, 1, groups=into), norm(into), ReLU()], [alone]),
            ([conv(into, into, 5, 2, 2, groups=into), Hardswish()], [alone])):
        network = Sequential(layers)
        assert_runs_like_its_layers(network, draw(2, into, h, w))
        algorithm, = set(algorithms(network)) - {"copy"}
        assert algorithm in expected


@each_size
@each_pair
def test_a_sum_and_its_activation_are_fused_into_the_convolution_that_ends_last(into, out, h, w):
    """A bottleneck's end, in both orders, also where the other summand is the network's own input."""
    a, b = conv(into, out, 1), conv(into, out, 3, 1, 1, seed=1)
    for function in (lambda a, b, x: F.relu(a(x) + b(x)), lambda a, b, x: F.hardswish(b(x) + a(x))):
        network = Composite(function, a, b)
        assert_runs_like_its_layers(network, draw(2, into, h, w))
        assert "elementwise" not in algorithms(network)
    for kernel in (1, 5):
        same = Composite(lambda layer, x: F.relu(layer(x) + x), conv(into, into, kernel, 1, kernel // 2))
        assert_runs_like_its_layers(same, draw(2, into, h, w))
        assert "elementwise" not in algorithms(same)


@each_size
@pytest.mark.parametrize("into, out", [(24, 40), (37, 16), (16, 21)])
def test_a_pooling_is_fused_into_winograds_convolution(into, out, h, w):
    network = Sequential([conv(into, out, 3, 1, 1), ReLU(), MaxPool2d(2), conv(out, 3, 1)])
    if min(h, w) == 1:
        with pytest.raises(ValueError, match="kernel_size=2"):
            dispatch.run(network, draw(2, into, h, w))
        return
    assert_runs_like_its_layers(network, draw(2, into, h, w))
    if "winograd" in algorithms(network):
        assert algorithms(network) == ["winograd", "product"]
    assert (h, w) == (5, 5) or "winograd" in algorithms(network)


@pytest.mark.parametrize("sizes", [
    [(8, 12), (4, 6), (2, 3)], [(7, 5), (4, 3), (2, 2)], [(3, 4), (3, 4)], [(5, 5)], [(13, 9), (4, 5)]], ids=str)
@pytest.mark.parametrize("channels", [(3, 13, 37), (24, 16, 8)])
def test_a_pyramids_resized_sums_are_one_step_each(sizes, channels):
    maps = [draw(2, c, *size, seed=c) for c, size in zip(channels, sizes)]
    network = pyramid(*channels[:len(sizes)])
    assert_runs_like_its_layers(network, *maps)
    assert algorithms(network).count("elementwise") == len(sizes) - 1
    assert [step.name for step in plan_of(network).steps if step.algorithm == "elementwise"] == ["resized and added"] * (len(sizes) - 1)


@pytest.mark.parametrize("network, x", {
    "bottleneck": (with_statistics(Bottleneck(36, 9, 1, BatchNorm2d)), draw(2, 36, 9, 7)),
    "bottleneck that widens": (with_statistics(Bottleneck(13, 5, 1, BatchNorm2d)), draw(2, 13, 9, 7)),
    "bottleneck that shrinks": (with_statistics(Bottleneck(13, 17, 2, BatchNorm2d)), draw(1, 13, 9, 8)),
    "inverted residual": (with_statistics(InvertedResidual(13, 5, 37, 13, 0, Hardswish, 1, BatchNorm2d)), draw(2, 13, 9, 7)),
    "inverted residual, squeezed": (with_statistics(InvertedResidual(13, 3, 37, 13, 5, ReLU, 1, BatchNorm2d)), draw(2, 13, 9, 7)),
    "inverted residual, stride": (with_statistics(InvertedResidual(13, 3, 37, 21, 9, Hardswish, 2, BatchNorm2d)), draw(2, 13, 9, 7)),
    "squeeze and excitation": (gated(37, 13), draw(3, 37, 5, 8)),
    "box head": (Sequential([Flatten(), Linear(13 * 12, 37, rng=np.random.default_rng(0)), ReLU(),
                             Linear(37, 3, rng=np.random.default_rng(1))]), draw(5, 13, 3, 4)),
    "mixed pixels": (Sequential([block(3, 13), Flatten(), BlockLinear(12, 5, rng=np.random.default_rng(0)),
                                 Linear(13 * 5, 7, rng=np.random.default_rng(0)), ReLU()]), draw(5, 3, 6, 5)),
    "mean and linear": (Sequential([block(3, 13), AdaptiveAvgPool2d(1), Flatten(), Linear(13, 5, rng=np.random.default_rng(0))]),
                        draw(2, 3, 9, 7)),
    "linear layers alone": (Sequential([Linear(13, 37, rng=np.random.default_rng(0)), Hardswish(),
                                        Linear(37, 1, rng=np.random.default_rng(1)), Hardsigmoid()]), draw(4, 13)),
}.values(), ids=lambda value: "" if isinstance(value, np.ndarray) else None)
def test_composites_are_computed_as_their_layers_do(network, x):
    assert_runs_like_its_layers(network, x)
    assert not {"norm", "relu", "hardswish", "sum"} & {step.name for step in plan_of(network).steps}


# Tucker's chains


@pytest.mark.parametrize("into, first, second, out, stride", [
    (64, 24, 20, 64, 1), (37, 13, 11, 40, 1), (64, 32, 32, 96, 1), (40, 17, 19, 24, 2), (64, 5, 3, 64, 1)])
@pytest.mark.parametrize("h, w", [(9, 7), (25, 34)])
def test_chains_of_1x1_3x3_1x1_convolutions_without_norms(into, first, second, out, stride, h, w):
    """What Tucker decomposition makes of a 3 x 3 layer; behind it a ReLU, as behind the layer it stood for."""
    network = Sequential([Sequential([conv(into, first, 1, bias=False), conv(first, second, 3, stride, 1, bias=False, seed=1),
                                      conv(second, out, 1, seed=2)]), ReLU(), MaxPool2d(2)])
    assert_runs_like_its_layers(network, draw(2, into, h, w))


# not fused


UNFUSED = {
    "read twice": (lambda a, b, x: (lambda y: [b(F.relu(y)), y])(a(x)), conv(13, 24), conv(24, 5)),
    "activation read twice": (lambda a, b, x: (lambda y: b(y) + y)(F.relu(a(x))), conv(13, 5), conv(5, 5, 1)),
    "activation after activation": (lambda a, x: F.hardswish(F.relu(a(x))), conv(13, 5)),
    "norm after activation": (lambda a, b, x: b(F.relu(a(x))), conv(13, 5), norm(5)),
    "norm after norm": (lambda a, b, c, x: c(b(a(x))), conv(13, 5), norm(5), norm(5, seed=1)),
    "norm alone": (lambda a, x: a(x), norm(13)),
    "norm and activation alone": (lambda a, x: F.relu(a(x)), norm(13)),
    "norm after a sum": (lambda a, b, c, x: c(a(x) + b(x)), conv(13, 5), conv(13, 5, seed=1), norm(5)),
    "norm after a linear layer's flatten": (lambda a, b, x: b(a(x)), norm(13), conv(13, 24)),
    "sum of the input with itself": (lambda x: x + x,),
    "sum of a result with itself": (lambda a, x: (lambda y: y + y)(a(x)), conv(13, 5)),
    "sum of three": (lambda a, b, c, x: a(x) + b(x) + c(x), conv(13, 5), conv(13, 5, seed=1), conv(13, 5, seed=2)),
    "sum of activations": (lambda a, b, x: F.relu(a(x)) + F.relu(b(x)), conv(13, 5, 1), conv(13, 5, 1, seed=1)),
    "sum read twice": (lambda a, x: (lambda y: [y, F.relu(y)])(a(x) + x), conv(13, 13, 1)),
    "pooling read beside": (lambda a, x: (lambda y: [y, F.max_pool2d(y, 2, return_indices=False)[0]])(a(x)), conv(13, 24)),
    "pooling of a kernel of 3": (lambda a, x: F.max_pool2d(a(x), 3, 2, 1, return_indices=False)[0], conv(13, 24)),
    "pooling of a step of 1": (lambda a, x: F.max_pool2d(a(x), 2, 1, return_indices=False)[0], conv(13, 24)),
    "pooling that takes the rest": (lambda a, x: F.max_pool2d(a(x), 2, 2, 0, True, return_indices=False)[0], conv(13, 24)),
    "pooling of another activation": (lambda a, x: F.max_pool2d(F.hardswish(a(x)), 2, return_indices=False)[0], conv(13, 24)),
    "pooling twice": (lambda a, x: F.max_pool2d(F.max_pool2d(a(x), 2, return_indices=False)[0], 2, return_indices=False)[0], conv(13, 24)),
    "activation after pooling": (lambda a, x: F.relu(F.max_pool2d(a(x), 2, return_indices=False)[0]), conv(13, 24)),
    "one layer twice": (lambda a, x: a(F.relu(a(x))), conv(13, 13, 3, 1, 1)),
    "one layer with two norms": (lambda a, b, c, x: b(a(x)) + c(a(x)), conv(13, 13), norm(13), norm(13, seed=1)),
    "scaled by a gate twice": (lambda a, x: (lambda g: x * g * g)(F.hardsigmoid(a(F.adaptive_avg_pool2d(x, 1)))), conv(13, 13, 1)),
    "the same result twice": (lambda a, x: (lambda y: (y, [y]))(a(x)), conv(13, 5)),
    "views of results": (lambda a, x: (lambda y: (y[:, :, ::2, 1:], y.transpose(0, 2, 3, 1).reshape(2, -1, 5), y.reshape(2, -1)))(a(x)),
                         conv(13, 5)),
}


@pytest.mark.parametrize("parts", UNFUSED.values(), ids=UNFUSED)
def test_what_cannot_be_fused_stays_apart(parts):
    assert_runs_like_its_layers(Composite(*parts), draw(2, 13, 18, 19))
