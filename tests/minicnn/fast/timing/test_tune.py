"""Candidates of a convolution compute the same."""

import numpy as np
import pytest

from minicnn.fast import choose
from minicnn.fast.plan import compile
from minicnn.fast.timing.tune import Trial
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
