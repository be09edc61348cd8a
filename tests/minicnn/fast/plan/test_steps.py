"""A plan as a list of steps: how it prints, its counts, weights and backend."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from small_networks import (
    conv,
    draw,
    with_statistics,
)

from minicnn.errors import InputError
from minicnn.fast.plan import compile
from minicnn.layers import (
    BatchNorm2d,
    Flatten,
    Linear,
    MaxPool2d,
    ReLU,
    Sequential,
)
from minicnn.models.resnet import Bottleneck

pytestmark = pytest.mark.usefixtures("engine")


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
    network, x = with_statistics(Bottleneck(13, 17, 2, BatchNorm2d)), draw(3, 13, 9, 8)
    plan = compile(network, x.shape)
    assert_array_equal(*(plan.run([x], np.empty(plan.arena_size, np.float32)) for _ in range(2)))
