"""Where the time goes: every step is told, counted as by hand, and what is told adds up."""

import itertools

import numpy as np
import pytest
from numpy.testing import assert_allclose

from minicnn.fast import choose, measure
from minicnn.fast.measure import Trial, Watch, arithmetic, contest, least_seconds, memory_speed, product_speed, step_facts
from minicnn.fast.plan import compile
from minicnn.fast.run import observed
from minicnn.functional.dispatch import run, use
from minicnn.layers import Conv2d, Flatten, Layer, Linear, MaxPool2d, ReLU, Sequential

RNG = np.random.default_rng(0)


class Twice(Layer):
    """A part that runs on two maps, between which something else is done, and a layer that no plan takes."""

    def __init__(self):
        self.head = Sequential([Conv2d(16, 16, 3, padding=1, rng=RNG), ReLU()])
        self.stage = Between()
        self.last = Linear(16, 3, rng=RNG)

    def __call__(self, x):
        maps = [run(self.head, x), run(self.head, x[:, :, :8, :12])]
        return self.last(self.stage(maps))


class Between(Layer):
    def __call__(self, maps):
        return sum(x.mean((2, 3)) for x in maps)


X = RNG.standard_normal((1, 16, 20, 12), np.float32)


@pytest.fixture
def clock(monkeypatch):
    """clock(seconds, ...): each look at the clock is so much later than the one before."""
    def clock(*steps):
        times = itertools.accumulate(itertools.chain([0.0], steps))
        monkeypatch.setattr(measure.time, "perf_counter", lambda: next(times))
    return clock


def test_a_run_is_told_step_by_step_on_every_backend(backend):
    model, runs = Twice(), []
    first, totals, steps, between = measure.measure(model, lambda: runs.append(model(X)), 3, ["stage"], lambda: None)
    assert first > 0 and len(totals) == 3 and len(runs) == 4 + 1             # one more to count what no plan took
    assert all(isinstance(layer, (Sequential, Between, Linear)) for _, layer in model.children())       # as it was
    told = sum(step["ms"] for step in steps) + sum(between.values())
    assert 0 < told and all(0 <= step["ms_least"] <= step["ms"] <= step["ms_most"] <= max(totals) for step in steps)
    assert list(between) == ["stage", ""] and all(milliseconds > 0 for milliseconds in between.values())
    flop = {"head": 2 * 16 * 16 * 9 * (20 * 12 + 8 * 12), "last": 2 * 16 * 3}
    assert sum(step["flop"] for step in steps) == sum(flop.values())
    assert steps[-1]["name"] == "last" and steps[-1]["algorithm"] == "Linear" and steps[-1]["flop"] == flop["last"]
    if backend == "reference":
        assert [step["name"] for step in steps] == ["head.0", "head.1", "last"]
    else:
        names = [step["name"] for step in steps if step["flop"]]
        assert names == ["head.0 20x12", "head.0 8x12", "last"]


def test_what_is_between_is_what_is_left():
    """A stage with a plan and another stage in it."""
    found = {("a.net", 0, 0): 5.0, ("a.net", 0, 1): 1.0, ("b", 0, 0): 2.0}
    own = measure.own_times({"a": 20.0, "a.inner": 4.0, "c": 3.0, "": 50.0}, ["a", "a.inner", "c", ""], found)
    assert own == {"a": 20 - 6 - 4, "a.inner": 4, "c": 3, "": 50 - 20 - 3 - 2}


def test_each_step_has_the_time_since_the_one_before(clock):
    model = Sequential([Conv2d(16, 16, 3, padding=1, rng=RNG), ReLU(), Flatten(), Linear(16 * 64, 8, rng=RNG)])
    watch = Watch(model)
    with use("numpy"):
        plan = compile(model, (1, 16, 8, 8))
        clock(*[0.001, 0.0] * 10)
        with watch(model, plan, 1) as after:
            for step in plan.steps:
                after(step)
    assert list(watch.spent) == [("", 0, number) for number in range(len(plan.steps))]
    assert_allclose(list(watch.spent.values()), 1)
    assert [facts["name"] for facts in watch.facts().values()] == [step.name for step in plan.steps]


def test_what_a_step_computes_and_moves_by_hand():
    model = Sequential([Conv2d(16, 24, 3, padding=1, rng=RNG), ReLU(), MaxPool2d(2)])
    plan = compile(model, (2, 16, 20, 12), "numpy")
    step, = plan.steps
    facts = step_facts(plan, step, 1)                                       # of two, one comes
    assert facts["algorithm"].startswith("winograd") and facts["result"] == [10, 6, 24] and facts["batch"] == 1
    assert facts["flop"] == 2 * 20 * 12 * 16 * 24 * 9
    tiles = 5 * 3
    assert facts["arithmetic"] == tiles * (2 * 36 * 16 * 24 + 240 * 16 + 160 * 24)
    assert facts["bytes"] == 4 * (20 * 12 * 16 + 10 * 6 * 24 + 36 * 16 * 24 + 24)
    with choose.by(lambda *_: choose.Choice("direct")):
        plan = compile(model, (2, 16, 20, 12), "numpy")
    direct = next(step for step in plan.steps if step.algorithm == "direct")
    assert arithmetic(plan, direct) == 2 * step_facts(plan, direct, 1)["flop"]          # of both that are planned


def test_plans_are_watched_only_within_the_block():
    model, seen = Sequential([Conv2d(16, 16, 3, rng=RNG)]), []

    class Observer:
        def __init__(self, network, plan, n):
            seen.append((network, n))

        def __enter__(self):
            return lambda step: seen.append(step.name)

        def __exit__(self, *exception):
            seen.append("end")
    with use("numpy"):
        run(model, X)
        with observed(Observer):
            y = run(model, X)
        assert seen == [(model, 1), "0", "end"]
        assert np.array_equal(run(model, X), y) and len(seen) == 3


@pytest.mark.parametrize("pool", [False, True])
def test_a_trials_calls_compute_one_convolution(pool):
    layers = [Conv2d(20, 30, 3, padding=1, rng=RNG), ReLU(), *[MaxPool2d(2)] * pool]
    found = []
    with choose.by(lambda operation, backend: found.append(operation)):
        compile(Sequential(layers), (1, 20, 21, 17), "numpy")
    choices = choose.candidates(found[0], "numpy")
    results = [call().copy() for call in Trial(found[0], "numpy", choices).calls]
    assert len(results) == len(choices) >= 3
    for y in results:
        assert y.shape == (1, 32, 10, 8) if pool else (1, 32, 21, 17)
        assert np.abs(y - results[0]).max() <= 1e-5 * np.abs(results[0]).max() > 0


def test_a_contest_is_not_decided_by_a_machine_that_slows_down(clock):
    """Two calls of 1 and 2 ms take turns, between whose turns the machine becomes ten times slower."""
    calls, order = [lambda: order.append(0), lambda: order.append(1)], []
    speeds = [1, 1, 10, 10, 10]
    steps = []
    for turn, speed in enumerate(speeds):
        for i in ((0, 1), (1, 0))[turn % 2]:
            steps += [0.001 * speed * (i + 1), 0.0]
    clock(*steps)
    after = []
    milliseconds = contest(calls, 5, lambda: after.append(1))
    assert order == [0, 1, 1, 0, 0, 1, 1, 0, 0, 1] and len(after) == 10
    assert_allclose(milliseconds, [10, 20])


def test_the_least_of_several(clock):
    calls = []
    clock(0, 0.3, 0, 0.1, 0, 0.2, 0, 0, 0.5, 0)
    assert_allclose(least_seconds(lambda: calls.append(1), seconds=1, times=3), 0.1)
    assert len(calls) == 1 + 4


def test_speeds_of_the_machine_are_positive(backend, monkeypatch):
    monkeypatch.setattr(measure, "SIDE", 64)
    monkeypatch.setattr(measure, "MOST", 2**16)
    monkeypatch.setattr(measure, "least_seconds", lambda call: least_seconds(call, seconds=0, times=1))
    assert product_speed(backend) > 0 and memory_speed(backend) > 0
