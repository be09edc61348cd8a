"""Places in the arena: buffers that are needed at the same time do not overlap, and no step reads memory that is free again."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_checks import assert_close
from random_networks import graph
from small_networks import (
    conv,
    draw,
    norm,
    plain,
    pyramid,
    with_statistics,
)

import minicnn
from minicnn.fast.plan import compile
from minicnn.layers import (
    BatchNorm2d,
    Flatten,
    Hardswish,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)
from minicnn.models.mobilenet import InvertedResidual
from minicnn.models.resnet import Bottleneck
from minicnn.trace import Untraceable

pytestmark = pytest.mark.usefixtures("engine")


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
    """Buffers that are needed at the same time do not overlap; outputs are outside of the arena, all others inside."""
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
    with contextlib.suppress(Untraceable):
        check_layout(compile(network, x.shape))


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
    "bottleneck": (with_statistics(Bottleneck(13, 17, 2, BatchNorm2d)), draw(3, 13, 9, 8)),
    "inverted residual": (with_statistics(InvertedResidual(13, 3, 37, 13, 5, Hardswish, 1, BatchNorm2d)), draw(3, 13, 9, 7)),
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
