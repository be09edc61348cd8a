"""The layers of factorised networks."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn.errors import InputError
from minicnn.layers import Conv2d, ReLU, tucker_chain

LAYER = Conv2d(64, 128, 3, padding=1)


def test_a_chain_has_the_settings_of_its_layer():
    layer = Conv2d(24, 40, (3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2))
    parts = [part for _, part in tucker_chain(layer, (8, 16)).children()]
    sides = [(part.in_channels, part.out_channels, part.kernel_size) for part in parts]
    assert sides == [(24, 8, (1, 1)), (8, 16, (3, 5)), (16, 40, (1, 1))]
    assert [part.bias is not None for part in parts] == [False, False, True]
    assert (parts[1].stride, parts[1].padding, parts[1].dilation) == (layer.stride, layer.padding, layer.dilation)
    x = np.random.default_rng(0).standard_normal((1, 24, 11, 13), np.float32)
    assert tucker_chain(layer, 8)(x).shape == layer(x).shape
    assert tucker_chain(Conv2d(24, 40, 3, bias=False), 8).get_layer("2").bias is None


def test_its_weights_come_from_the_generator():
    one, two = (tucker_chain(LAYER, 8, np.random.default_rng(3)) for _ in range(2))
    for (_, a), (_, b) in zip(one.named_arrays(), two.named_arrays()):
        assert_array_equal(a, b)
        assert np.any(a)


@pytest.mark.parametrize("ranks", [0, 65, (64, 129), (0, 8), (8, 0)])
def test_ranks_beyond_the_channels_are_refused(ranks):
    with pytest.raises(InputError, match="64 and 128"):
        tucker_chain(LAYER, ranks)


def test_only_convolutions_without_groups_have_a_chain():
    for layer in (Conv2d(8, 8, 3, groups=8), ReLU()):
        with pytest.raises(InputError, match="without groups"):
            tucker_chain(layer, 4)
