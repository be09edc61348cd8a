"""The amounts of work of the cost model, counted as by hand."""

import numpy as np
from numpy.testing import assert_allclose

from minicnn.fast.plan import compile
from minicnn.fast.timing.cost_model import KINDS, amounts
from minicnn.layers import Conv2d, ReLU, Sequential, tucker_chain

LAYER = Conv2d(64, 128, 3, padding=1)
SHAPE = (1, 64, 30, 41)             # 8 x 11 tiles


def some(**counted):
    return {**dict.fromkeys(KINDS, 0.0), **counted}


def test_a_winograd_convolution_is_counted_as_by_hand():
    found = amounts(Sequential([LAYER]), SHAPE, "numpy")
    assert_same(found, some(winograd=36 * 88 * 64 * 128 / 1e9, tiles=36 * 88 * (64 + 128) / 1e6, weights=36 * 64 * 128 / 1e6, steps=1))


def test_a_product_is_counted_as_by_hand():
    found = amounts(Sequential([Conv2d(64, 24, 1)]), SHAPE, "numpy")
    assert_same(found, some(product=30 * 41 * 64 * 24 / 1e9, maps=30 * 41 * (64 + 24) / 1e6, weights=64 * 24 / 1e6, steps=1))


def test_a_direct_convolution_is_counted_as_by_hand():
    found = amounts(Sequential([Conv2d(64, 24, 5, stride=2, padding=2)]), SHAPE, "numpy")
    assert_same(found, some(direct=15 * 21 * 25 * 64 * 24 / 1e9, maps=(2 * 30 * 41 * 64 + 15 * 21 * 24) / 1e6,
                            patches=15 * 21 * 25 * 64 / 1e6, weights=25 * 64 * 24 / 1e6, steps=2))


def test_channels_are_counted_as_wide_as_the_plan_makes_them():
    shape = (1, 30, 10, 12)
    narrow = amounts(Sequential([Conv2d(30, 50, 1)]), shape, "numpy")
    assert narrow == amounts(Sequential([Conv2d(32, 56, 1)]), (1, 32, 10, 12), "numpy")


def test_an_activation_costs_nothing():
    assert amounts(Sequential([LAYER, ReLU()]), SHAPE, "numpy") == amounts(Sequential([LAYER]), SHAPE, "numpy")


def test_a_batch_takes_as_much_as_its_images():
    one, four = (amounts(Sequential([LAYER]), (n, *SHAPE[1:]), "numpy") for n in (1, 4))
    assert_allclose([four[kind] for kind in ("winograd", "tiles")], [4 * one[kind] for kind in ("winograd", "tiles")])
    assert four["weights"] == one["weights"] and four["steps"] == one["steps"]


def test_what_is_counted_are_the_steps_of_the_plan(engine):
    rng = np.random.default_rng(0)
    for layer, shape in ((LAYER, SHAPE), (Conv2d(24, 40, 3, 2, 1), (1, 24, 17, 20)), (Conv2d(16, 16, 3), (1, 16, 9, 9))):
        network = Sequential([Conv2d(shape[1], shape[1], 1, rng=rng), *(part for _, part in tucker_chain(layer, 16, rng).children())])
        steps = compile(network, shape, engine).steps
        assert amounts(network, shape, engine)["steps"] == len(steps), str(layer)
        assert (amounts(network, shape, engine)["winograd"] > 0) == any("winograd" in step.algorithm for step in steps)


def test_without_winograd_it_is_not_counted(monkeypatch):
    monkeypatch.setenv("MINICNN_WINOGRAD", "0")
    assert amounts(Sequential([LAYER]), SHAPE, "numpy")["winograd"] == 0


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    assert_allclose(list(found.values()), list(expected.values()))
