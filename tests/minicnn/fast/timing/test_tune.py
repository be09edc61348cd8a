"""Candidates of a convolution compute the same, and only one that is clearly faster replaces the rules' choice."""

import numpy as np
import pytest

from minicnn.fast import choose
from minicnn.fast.plan import compile
from minicnn.fast.timing import tune
from minicnn.fast.timing.tune import Trial
from minicnn.functional.dispatch import use
from minicnn.layers import Conv2d, MaxPool2d, ReLU, Sequential

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("pool", [False, True])
def test_a_trials_calls_compute_one_convolution(pool):
    layers = [Conv2d(20, 30, 3, padding=1, rng=RNG), ReLU(), *[MaxPool2d(2)] * pool]
    found = []
    with choose.choosing(lambda operation, backend: found.append(operation)):
        compile(Sequential(layers), (1, 20, 21, 17), "numpy")
    choices = choose.candidates(found[0], "numpy")
    results = [call().copy() for call in Trial(found[0], "numpy", choices).calls]
    assert len(results) == len(choices) >= 3
    for y in results:
        assert y.shape == (1, 32, 10, 8) if pool else (1, 32, 21, 17)
        assert np.abs(y - results[0]).max() <= 1e-5 * np.abs(results[0]).max() > 0


def conv2():
    """The one convolution of a network that has a choice, with the pooling behind it fused."""
    model = Sequential({"conv1": Conv2d(1, 16, 3, padding=1, rng=RNG), "conv2": Conv2d(16, 16, 3, padding=1, rng=RNG), "relu": ReLU(),
                        "pool": MaxPool2d(2)})
    with use("numpy"):
        found, = tune.convolutions(model, [(model, [(1, 1, 14, 14)])], "numpy").values()
    assert found.layers == ["conv2"] and found.shape == (1, 16, 14, 14) and found.operation.attributes["pool"]
    return found


def test_a_small_gain_is_no_reason_to_leave_the_rules(monkeypatch):
    found = conv2()
    choices = found.choices

    def entry(*milliseconds):
        monkeypatch.setattr(tune, "interleaved_milliseconds",
                            lambda calls, *rest: list(milliseconds) + [99.0] * (len(calls) - len(milliseconds)))
        return tune.measure(found.operation, "numpy", choices, 1, None)
    assert entry(10.0, 9.8)["algorithm"] == choices[0].algorithm                # 2 %
    assert entry(10.0, 9.6)["algorithm"] == choices[1].algorithm
    assert entry(0.10, 0.09)["algorithm"] == choices[0].algorithm               # a hundredth of a millisecond
    assert entry(10.0, 9.6)["rules_ms"] == 10.0 and entry(10.0, 9.6)["ms"] == 9.6


def test_a_candidate_that_computes_something_else_is_left_out(monkeypatch):
    found = conv2()
    choices = found.choices

    class Inexact(tune.Trial):
        def __init__(self, *args):
            super().__init__(*args)
            exact = self.calls[-1]
            self.calls[-1] = lambda: exact() * 1.001
    monkeypatch.setattr(tune, "Trial", Inexact)
    monkeypatch.setattr(tune, "interleaved_milliseconds", lambda calls, *rest: [10.0 - i for i in range(len(calls))])
    entry = tune.measure(found.operation, "numpy", choices, 1, None)
    assert list(entry["tried"]) == [str(choice) for choice in choices[:-1]] and entry["ms"] == 10.0 - (len(choices) - 2)
