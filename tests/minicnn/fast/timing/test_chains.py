"""Estimated times of a convolution and of its Tucker chains."""

import pytest
from numpy.testing import assert_allclose

from minicnn.errors import InputError
from minicnn.fast.timing import break_even, chain_milliseconds
from minicnn.fast.timing.cost_model import KINDS, amounts
from minicnn.layers import Conv2d, ReLU, Sequential

RATES = dict(zip(KINDS, (13.0, 12.0, 16.0, 0.2, 0.1, 0.3, 0.2, 0.05)))
LAYER = Conv2d(64, 128, 3, padding=1)
SHAPE = (1, 64, 30, 41)             # 8 x 11 tiles


def test_grouped_convolutions_and_other_layers_are_refused():
    for layer in (Conv2d(8, 8, 3, groups=8), ReLU()):
        with pytest.raises(InputError, match="without groups"):
            chain_milliseconds(layer, (1, 8, 9, 9), [4], "numpy", RATES)


def test_a_chain_takes_what_its_three_convolutions_take():
    whole, (one, same, other) = chain_milliseconds(LAYER, SHAPE, [(32, 40), (32, 40), 32], "numpy", RATES)
    parts = [Conv2d(64, 32, 1), Conv2d(32, 40, 3, padding=1), Conv2d(40, 128, 1)]
    shapes = [(1, channels, *SHAPE[2:]) for channels in (64, 32, 40)]
    alone = [chain_milliseconds(part, shape, [], "numpy", RATES)[0] for part, shape in zip(parts, shapes)]
    assert_allclose(one, sum(alone))
    assert one == same and other < one
    found = amounts(Sequential([LAYER]), SHAPE, "numpy")
    assert_allclose(whole, 16.0 * found["winograd"] + 0.3 * found["tiles"] + 0.2 * found["weights"] + 0.05)


def test_break_even_is_the_largest_rank_that_is_faster():
    layer, shape = Conv2d(512, 512, 3, padding=1), (1, 512, 50, 68)
    rank = break_even(layer, shape, "numpy", RATES)
    assert rank % 8 == 0 and 8 < rank < 512
    whole, (here, next_) = chain_milliseconds(layer, shape, [rank, rank + 8], "numpy", RATES)
    assert here < whole <= next_
    slow_products = {**RATES, "product": 1e5}
    assert break_even(layer, shape, "numpy", slow_products) == 0


@pytest.mark.parametrize("shape", [(1, 63, 30, 41), (1, 64, 30), (64, 30, 41)])
def test_an_input_that_does_not_fit_is_refused(shape):
    with pytest.raises(InputError, match="expected one that it can read") as caught:
        chain_milliseconds(LAYER, shape, [8], "numpy", RATES)
    assert "\n" not in str(caught.value)


def test_a_image_smaller_than_the_kernel_is_refused():
    with pytest.raises(InputError, match="expected one that it can read"):
        chain_milliseconds(Conv2d(8, 8, 5), (1, 8, 3, 9), [4], "numpy", RATES)


def test_the_reference_makes_no_plans():
    with pytest.raises(InputError, match="reference"):
        chain_milliseconds(LAYER, SHAPE, [8], "reference", RATES)
    with pytest.raises(InputError, match="cuda"):
        chain_milliseconds(LAYER, SHAPE, [8], "cuda", RATES)
