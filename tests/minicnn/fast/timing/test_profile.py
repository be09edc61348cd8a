"""Where the time goes: every step is reported, counted as by hand, and the parts add up."""

import numpy as np
from numpy.testing import assert_allclose

from minicnn.fast import choose
from minicnn.fast.plan import compile
from minicnn.fast.run import observed
from minicnn.fast.timing import profile
from minicnn.fast.timing.profile import StepTimes, arithmetic, step_facts
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


def test_a_run_is_reported_step_by_step_on_every_backend(backend):
    model, runs = Twice(), []
    first, totals, steps, between = profile.measure_steps(model, lambda: runs.append(model(X)), 3, ["stage"], lambda: None)
    assert first > 0 and len(totals) == 3 and len(runs) == 4 + 1             # one more to count what no plan took
    assert all(isinstance(layer, (Sequential, Between, Linear)) for _, layer in model.children())       # as it was
    reported = sum(step["ms"] for step in steps) + sum(between.values())
    assert reported > 0 and all(0 <= step["ms_least"] <= step["ms"] <= step["ms_most"] <= max(totals) for step in steps)
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
    own = profile.own_times({"a": 20.0, "a.inner": 4.0, "c": 3.0, "": 50.0}, ["a", "a.inner", "c", ""], found)
    assert own == {"a": 20 - 6 - 4, "a.inner": 4, "c": 3, "": 50 - 20 - 3 - 2}


def test_each_step_has_the_time_since_the_one_before(clock):
    model = Sequential([Conv2d(16, 16, 3, padding=1, rng=RNG), ReLU(), Flatten(), Linear(16 * 64, 8, rng=RNG)])
    times = StepTimes(model)
    with use("numpy"):
        plan = compile(model, (1, 16, 8, 8))
        clock(*[0.001, 0.0] * 10)
        with times(model, plan, 1) as after:
            for step in plan.steps:
                after(step)
    assert list(times.spent) == [("", 0, number) for number in range(len(plan.steps))]
    assert_allclose(list(times.spent.values()), 1)
    assert [facts["name"] for facts in times.facts().values()] == [step.name for step in plan.steps]


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
    with choose.choosing(lambda *_: choose.Choice("direct")):
        plan = compile(model, (2, 16, 20, 12), "numpy")
    direct = next(step for step in plan.steps if step.algorithm == "direct")
    assert arithmetic(plan, direct) == 2 * step_facts(plan, direct, 1)["flop"]          # of both that are planned


def test_plans_are_observed_only_within_the_block():
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
