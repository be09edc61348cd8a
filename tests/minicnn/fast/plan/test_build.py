"""Plans: what goes into one step, where each result lies, and that the numbers are those of the layers, one after the other."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_checks import assert_close
from numpy.testing import assert_array_equal
from small_networks import Composite, assert_runs_like_its_layers, block, conv, draw, gated, norm, plain, plan_of, pyramid

import minicnn
from minicnn import functional as F
from minicnn.errors import InputError
from minicnn.fast.plan import compile
from minicnn.functional import dispatch
from minicnn.layers import (
    AdaptiveAvgPool2d,
    BatchNorm2d,
    BlockLinear,
    Flatten,
    Hardsigmoid,
    Hardswish,
    Layer,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)
from minicnn.models.mobilenet import InvertedResidual
from minicnn.models.resnet import Bottleneck
from minicnn.trace import Untraceable

pytestmark = pytest.mark.usefixtures("engine")

SIZES = [(9, 7), (6, 8), (1, 13), (5, 5), (18, 33)]
CHANNELS = [(13, 37), (24, 40), (37, 16), (1, 3), (8, 8)]       # pruned networks have any number
each_size = pytest.mark.parametrize("h, w", SIZES)
each_pair = pytest.mark.parametrize("into, out", CHANNELS)


def algorithms(network):
    """Of the steps of the plan that ran last, Winograd's without its strips."""
    return [step.algorithm.partition(",")[0] for step in plan_of(network).steps]


def tidied(layer, seed=0):
    """A composite with norms that have statistics of their own, and weights."""
    rng = np.random.default_rng(seed)
    for _, one in layer.named_layers():
        if isinstance(one, BatchNorm2d):
            same = norm(one.num_features, seed)
            one.load_arrays(dict(same.named_arrays()))
        elif hasattr(one, "weight"):
            one.weight[...] = rng.standard_normal(one.weight.shape) / math.sqrt(one.weight[0].size)
    return layer


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
def test_a_sum_and_what_follows_it_go_into_the_convolution_that_ends_last(into, out, h, w):
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
def test_a_pooling_goes_into_winograds_convolution(into, out, h, w):
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
    "bottleneck": (tidied(Bottleneck(36, 9, 1, BatchNorm2d)), draw(2, 36, 9, 7)),
    "bottleneck that widens": (tidied(Bottleneck(13, 5, 1, BatchNorm2d)), draw(2, 13, 9, 7)),
    "bottleneck that shrinks": (tidied(Bottleneck(13, 17, 2, BatchNorm2d)), draw(1, 13, 9, 8)),
    "inverted residual": (tidied(InvertedResidual(13, 5, 37, 13, 0, Hardswish, 1, BatchNorm2d)), draw(2, 13, 9, 7)),
    "inverted residual, squeezed": (tidied(InvertedResidual(13, 3, 37, 13, 5, ReLU, 1, BatchNorm2d)), draw(2, 13, 9, 7)),
    "inverted residual, stride": (tidied(InvertedResidual(13, 3, 37, 21, 9, Hardswish, 2, BatchNorm2d)), draw(2, 13, 9, 7)),
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


# not fused, and right all the same


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
def test_what_does_not_go_together_stays_apart(parts):
    assert_runs_like_its_layers(Composite(*parts), draw(2, 13, 18, 19))


# what no plan holds: the layers compute it


UNPLANNED = {
    "the input returned": (lambda a, x: [a(x), x], conv(13, 5)),
    "a view of the input returned": (lambda a, x: [a(x), x[:, :, ::2, ::2]], conv(13, 5)),
    "nothing but flattened": (lambda x: x.reshape(2, -1),),
    "a view read": (lambda a, x: a(x[:, :, ::2, ::2]), conv(13, 5)),
    "a view added": (lambda a, b, x: a(x)[:, :, 1:, 1:] + b(x), conv(13, 5), conv(13, 5, 4)),
    "an activation of a flattened map": (lambda a, b, x: b(F.relu(a(x).reshape(2, -1))), conv(13, 5), Linear(5 * 16 * 17, 3)),
    "a sum of flattened maps": (lambda a, b, x: b(a(x).reshape(2, -1) + a(x).reshape(2, -1)), conv(13, 5), Linear(5 * 16 * 17, 3)),
    "a resized map returned": (lambda a, x: F.interpolate(a(x), (9, 9)), conv(13, 5)),
    "a resized map read": (lambda a, b, x: b(F.interpolate(a(x), (9, 9))), conv(13, 5), conv(5, 3)),
    "a resized map read twice": (lambda a, x: (lambda y: [x + y, x + y])(F.interpolate(a(x), (18, 19))), conv(13, 13)),
    "a resized map flattened": (lambda a, b, x: b(F.interpolate(a(x), (2, 2)).reshape(2, -1)), conv(13, 5), Linear(20, 3)),
    "two resized maps added": (lambda a, x: F.interpolate(a(x), (9, 9)) + F.interpolate(x, (9, 9)), conv(13, 13)),
    "an activation of a sum with a resized map": (lambda a, x: F.relu(x + F.interpolate(a(x), (18, 19))), conv(13, 13)),
    "groups of several channels": (lambda a, x: a(x), conv(13, 26, 3, groups=13)),
    "groups that are not depthwise": (lambda a, b, x: b(a(x)), conv(13, 12), conv(12, 6, 3, groups=3)),
}


@pytest.mark.parametrize("parts", UNPLANNED.values(), ids=UNPLANNED)
def test_what_no_plan_can_hold_is_computed_by_the_layers(parts):
    network, x = Composite(*parts), draw(2, 13, 18, 19)
    with pytest.raises(Untraceable):
        compile(network, x.shape)
    assert_runs_like_its_layers(network, x, plans=False)


# any network


WIDTHS = (1, 3, 8, 13, 16, 24, 37)


class Graph(Layer):
    """Steps, each a function of earlier results: (function, places of what it reads)."""

    def __init__(self, steps, returned):
        self.steps, self.returned = steps, returned
        vars(self).update({f"layer{number}": function for number, (function, _) in enumerate(steps) if isinstance(function, Layer)})

    def __call__(self, x):
        results = [x]
        for function, places in self.steps:
            results.append(function(*(results[place] for place in places)))
        return [results[place] for place in self.returned]


def graph(seed):
    """A network of up to nine operations, each of one of the latest three results, and an input for it."""
    rng = np.random.default_rng(seed)
    results, steps = [draw(rng.integers(1, 3), rng.choice(WIDTHS), *rng.integers(5, 15, 2), seed=seed)], []
    for _ in range(rng.integers(1, 10)):
        options = possible(results, int(rng.integers(max(0, len(results) - 3), len(results))), rng)
        function, places = options[rng.integers(len(options))]
        try:
            results.append(function(*(results[place] for place in places)))
            steps.append((function, places))
        except ValueError:                                              # the kernel is larger than the image
            pass
    returned = sorted({len(steps), *rng.integers(1, len(steps) + 1, rng.integers(2)).tolist()}) if steps else [0]
    return Graph(steps, returned), results[0]


def possible(results, place, rng):
    """What can be done to a result: [(function, places of what it reads)]."""
    y, here = results[place], (place,)
    options = [(F.relu, here), (F.hardswish, here), (F.hardsigmoid, here)]
    options += [(added, (place, i)) for i, one in enumerate(results) if one.shape == y.shape]
    if y.ndim == 2:
        return options + 3 * [(Linear(y.shape[1], int(rng.choice(WIDTHS)), rng=rng), here)]
    c, o = y.shape[1], int(rng.choice(WIDTHS))
    options += [(resized_and_added, (place, i)) for i, one in enumerate(results) if one.shape[:2] == y.shape[:2] and one.ndim == 4]
    options += [(scaled, (place, i)) for i, one in enumerate(results) if one.shape == (*y.shape[:2], 1, 1)]

    def two(low, high):
        return tuple(rng.integers(low, high, 2).tolist())
    return options + 2 * [(layer, here) for layer in (
        conv(c, o, 1), conv(c, o, 3, 1, 1), conv(c, c, 3, 1, 1), conv(c, o, two(1, 6), two(1, 3), two(0, 3), two(1, 3)),
        conv(c, c, 5, int(rng.integers(1, 3)), 2, groups=c, bias=False), norm(c), MaxPool2d(2),
        MaxPool2d(3, int(rng.integers(1, 3)), int(rng.integers(2)), bool(rng.integers(2))), AdaptiveAvgPool2d(1))] + [
        (Flatten(), here), (every_second, here)]


def added(x, y):
    return x + y


def scaled(x, gate):
    return x * gate


def resized_and_added(x, y):
    return x + F.interpolate(y, x.shape[2:])


def every_second(x):
    return x[:, :, ::2, ::2]


@given(seed=st.integers(0, 10**6))
@settings(derandomize=True, max_examples=150, deadline=None)
def test_any_network_is_computed_as_its_layers_do_whole_and_in_part(engine, seed):
    network, x = graph(seed)
    try:
        compile(network, x.shape)
        plans = True
    except Untraceable:
        plans = False
    assert_runs_like_its_layers(network, x, plans=plans)
    for one, other in zip(dispatch.run(network, x[:1]), plain(network, x[:1])):
        assert_close(one, other, 1e-5)


def test_most_of_those_networks_have_plans():
    """Otherwise the test before would tell little."""
    planned = 0
    for seed in range(50):
        network, x = graph(seed)
        try:
            planned += len(compile(network, x.shape).steps) > 0
        except Untraceable:
            pass
    assert planned >= 25


# where results lie


def used(plan):
    """When each buffer is written first and touched last, by the steps alone; inputs are written before the first."""
    first, last = {place: -1 for place, _ in plan.entries}, {}
    for number, step in enumerate(plan.steps):
        for place in (step.output, step.scratch):
            if place is not None:
                first.setdefault(place, number)
        for place in (*step.inputs, step.output, step.scratch, step.extra):
            if place is not None:
                last[place] = number
    return first, last


def returned(plan):
    """The buffers that the caller gets."""
    def places(result):
        return [place for part in result for place in places(part)] if isinstance(result, (list, tuple)) else [result.place]
    return set(places(plan.result))


def check_layout(plan):
    """No two results that are needed at one time overlap; what the caller gets lies elsewhere; everything is inside."""
    first, last = used(plan)
    given = {place for place, raw in plan.entries if raw}
    assert returned(plan) == {place for place, buffer in enumerate(plan.buffers) if buffer.offset is None} - given
    lying = [(buffer.offset, buffer.offset + buffer.size, first[place], last[place])
             for place, buffer in enumerate(plan.buffers) if buffer.offset is not None]
    assert max((end for _, end, _, _ in lying), default=0) == plan.arena_size
    for number, (begin, end, written, read) in enumerate(lying):
        assert begin % 16 == 0                                                          # a cache line
        for other_begin, other_end, other_written, other_read in lying[:number]:
            together = written <= other_read and other_written <= read
            assert not together or end <= other_begin or other_end <= begin


DETECTORS = ["fasterrcnn_vgg16", "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_320_fpn"]


@pytest.mark.parametrize("architecture", DETECTORS)
def test_no_two_living_results_overlap_in_the_plans_of_detectors(architecture):
    model = minicnn.build(architecture, box_head_width=64)                              # zeros: only shapes matter
    channels, weights = model.rpn.head.cls_logits.in_channels, {}
    for shape in ((1, 3, 64, 96), (2, 3, 320, 288), (1, 3, 544, 800)):
        check_layout(compile(model.backbone, shape, weights=weights))
    for sides in ((1, 1), (13, 7), (50, 68)):
        check_layout(compile(model.rpn.head, (2, channels, *sides), weights=weights))
    for count in (1, 16, 128, 1024):
        check_layout(compile(model.roi_heads.box_head, (count, channels, 7, 7), weights=weights))
        check_layout(compile(model.roi_heads.box_predictor, (count, 64), weights=weights))


@given(seed=st.integers(0, 10**6))
@settings(derandomize=True, max_examples=100, deadline=None)
def test_no_two_living_results_overlap_in_any_plan(engine, seed):
    network, x = graph(seed)
    try:
        check_layout(compile(network, x.shape))
    except Untraceable:
        pass


def spoiled(plan, inputs):
    """The results where, before the first and after each step, everything in the arena that no later step reads becomes NaN."""
    first, last = used(plan)
    arena = np.full(plan.arena_size, np.nan, np.float32)
    done = []

    def observe(step):
        assert step is plan.steps[len(done)]
        dead = np.ones(plan.arena_size, bool)
        for place, buffer in enumerate(plan.buffers):
            if buffer.offset is not None and first[place] <= len(done) < last[place]:
                dead[buffer.offset:buffer.offset + buffer.size] = False
        arena[dead] = np.nan
        done.append(step)

    results = plan.run(inputs, arena, observe)
    assert len(done) == len(plan.steps)
    return results, arena


@pytest.mark.parametrize("network, x", {
    "bottleneck": (tidied(Bottleneck(13, 17, 2, BatchNorm2d)), draw(3, 13, 9, 8)),
    "inverted residual": (tidied(InvertedResidual(13, 3, 37, 13, 5, Hardswish, 1, BatchNorm2d)), draw(3, 13, 9, 7)),
    "winograd, pooled": (Sequential([conv(16, 40, 3, 1, 1), ReLU(), MaxPool2d(2), conv(40, 24, 3, 1, 1), norm(24), ReLU(), MaxPool2d(2),
                                     Flatten(), Linear(24 * 8 * 6, 5, rng=np.random.default_rng(0))]), draw(3, 16, 33, 27)),
}.values(), ids=lambda value: "" if isinstance(value, np.ndarray) else None)
@pytest.mark.parametrize("count", [1, 2, 3])
def test_nothing_is_read_that_was_not_written_or_is_free_again(network, x, count):
    plan = compile(network, x.shape)
    results, _ = spoiled(plan, [x[:count]])
    assert_close(results, plain(network, x[:count]), 1e-5)


def test_results_do_not_lie_in_the_arena():
    network, x = pyramid(13, 5), [draw(1, 13, 9, 7), draw(1, 5, 5, 4)]
    results, arena = spoiled(compile(network, [one.shape for one in x]), x)
    for one, other in zip(results, plain(network, *x), strict=True):
        assert_close(one, other, 1e-5)
        assert not np.shares_memory(one, arena) and one.flags.writeable


def test_a_long_chain_needs_room_for_two_results_and_what_a_step_works_with():
    network = Sequential([conv(8, 8, 1) for _ in range(10)])
    plan = compile(network, (1, 8, 40, 50))
    assert plan.arena_size == 2 * 8 * 40 * 50


# the plan as a list


def test_it_prints_as_a_table_of_steps(engine):
    network = Sequential({"stem": conv(3, 16, 3, 2, 1), "relu": ReLU(), "body": Sequential([conv(16, 40, 3, 1, 1), ReLU(), MaxPool2d(2)]),
                          "flatten": Flatten(), "top": Linear(40 * 4 * 3, 5)})
    plan = compile(network, (2, 3, 16, 13))
    lines = [line.split() for line in str(plan).splitlines()]
    assert lines[0] == ["step", "result", "algorithm"]
    assert [(line[0], line[-1]) for line in lines[1:3]] == [("stem:", "copy"), ("stem", "direct")]
    assert lines[3][:7] == ["body.0", "4", "x", "3", "x", "40", "winograd,"]
    assert lines[4] == ["top", "8", "product"] and len(lines) == 6
    assert str(plan).splitlines()[-1].startswith(f"4 steps by {engine}; weights 0 MiB, arena 0 MiB")


def test_steps_know_the_multiplications_of_the_layers_they_stand_for():
    """Ho Wo O C KH KW for each image, whatever the algorithm; I O of a linear layer."""
    network = Sequential([conv(16, 24, 3, 1, 1), MaxPool2d(2), conv(24, 24, 5, 2, groups=24), conv(24, 7, 1), Flatten(), Linear(84, 5)])
    counts = [step.multiplications for step in compile(network, (2, 16, 23, 18)).steps if step.multiplications]
    assert counts == [2 * 23 * 18 * 24 * 16 * 9, 2 * 4 * 3 * 24 * 25, 2 * 4 * 3 * 7 * 24, 2 * 84 * 5]


def test_weights_are_transformed_once_for_all_shapes(engine):
    network, weights = Sequential([conv(16, 24, 3, 1, 1), ReLU(), conv(24, 5, 5), Flatten()]), {}
    first = compile(network, (1, 16, 23, 18), weights=weights)
    known = dict(weights)
    second = compile(network, (2, 16, 40, 31), weights=weights)
    assert len(known) == 2 and weights.keys() == known.keys()
    for one, other in zip(first.steps, second.steps, strict=True):
        arrays = [[value for value in step.arguments.values() if isinstance(value, np.ndarray)] for step in (one, other)]
        assert all(a is b for a, b in zip(*arrays, strict=True))
    assert first.weight_bytes == second.weight_bytes > 4 * (24 * 16 * 36 + 8 * 24 * 25)


def test_a_plan_names_the_backend_it_is_for(engine):
    network = Sequential([conv(13, 5)])
    assert compile(network, (1, 13, 9, 7)).backend == engine and compile(network, [(1, 13, 9, 7)], "numpy").backend == "numpy"
    with pytest.raises(InputError, match="got the backend 'torch'"):
        compile(network, (1, 13, 9, 7), "torch")


def test_the_same_plan_gives_the_same_bytes():
    network, x = tidied(Bottleneck(13, 17, 2, BatchNorm2d)), draw(3, 13, 9, 8)
    plan = compile(network, x.shape)
    assert_array_equal(*(plan.run([x], np.empty(plan.arena_size, np.float32)) for _ in range(2)))
