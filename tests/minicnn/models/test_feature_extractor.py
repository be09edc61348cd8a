"""A feature extractor trains its last stages only; the frozen ones run as in evaluation and get no gradients."""

import numpy as np
import pytest
from numeric_checks import check_vjp
from numpy.testing import assert_array_equal

from minicnn.errors import InputError
from minicnn.layers import Conv2d, FrozenBatchNorm2d, ReLU
from minicnn.models.feature_extractor import FeatureExtractor
from minicnn.models.mobilenet import InvertedResidual, MobileNetV3Large, SqueezeExcitation
from minicnn.models.resnet import Bottleneck, ResNet50


class Small(FeatureExtractor):
    """Three stages; the second and the third end with a feature map."""

    returned, stages = ("b", "d"), (("a", "relu"), ("b",), ("c", "d"))

    def __init__(self, rng):
        self.a, self.relu, self.b = Conv2d(2, 3, 3, rng=rng), ReLU(), Conv2d(3, 4, 1, rng=rng)
        self.c, self.d = ReLU(), Conv2d(4, 2, 3, stride=2, rng=rng)


def extractor(trainable_layers):
    small = Small(np.random.default_rng(0))
    small.freeze(trainable_layers)
    return small, np.random.default_rng(2).standard_normal((2, 2, 8, 7))


@pytest.mark.parametrize("trainable_layers, trained, kept", [
    (3, {"a", "b", "d"}, 1), (2, {"b", "d"}, 1), (1, {"d"}, 1), (0, set(), 2)])
def test_only_the_last_stages_get_gradients(trainable_layers, trained, kept):
    small, x = extractor(trainable_layers)

    def vjp(x):
        maps, pullback = small.vjp(small.start(x))
        return maps, lambda grads: [pullback(grads)]
    gradients = check_vjp(small, vjp, x)
    assert gradients.keys() == {f"{name}.{array}" for name in trained for array in ("weight", "bias")}
    maps, _ = vjp(x)
    for got, expected in zip(maps, small(x), strict=True):
        assert_array_equal(got, expected)
    assert len(small.start(x)) == kept and small.frozen_maps() == [2, 1, 0, 0][trainable_layers]


def test_the_state_of_start_can_be_cached():
    small, x = extractor(1)
    state = small.start(x)
    assert_array_equal(state[0], small(x)[0])
    assert_array_equal(small.vjp([part.copy() for part in state])[0][1], small(x)[1])
    assert len(state) == 1                          # the list is not the one that the maps are added to


def test_freezing_anew_thaws():
    small, x = extractor(0)
    assert not small.has_parameters()
    small.freeze(3)
    assert small.frozen() is None and len(small.start(x)) == 1 and small.start(x)[0] is x
    assert all(layer.trainable for _, layer in small.named_layers())


@pytest.mark.parametrize("count", [-1, 4])
def test_more_stages_than_there_are(count):
    with pytest.raises(InputError, match=f"got trainable_backbone_layers={count}, expected 0 to 3"):
        Small(np.random.default_rng(0)).freeze(count)


@pytest.mark.parametrize("build, stages", [(ResNet50, 5), (MobileNetV3Large, 6)])
def test_every_layer_of_the_real_extractors_belongs_to_a_stage(build, stages):
    real = build(FrozenBatchNorm2d)
    names = [name for stage in real.stages for name in stage]
    assert names == [name for name, _ in real.children()] and len(real.stages) == stages
    assert set(real.returned) <= set(names)


@pytest.mark.parametrize("trainable, first", [(3, "layer2.0.conv1.weight"), (5, "conv1.weight"), (4, "layer1.0.conv1.weight")])
def test_resnet_stages_are_torchvisions(trainable, first):
    real = ResNet50(FrozenBatchNorm2d)
    real.freeze(trainable)
    assert next(f"{path}.weight" for path, layer in real.named_layers() if layer.trainable and layer.kind == "Conv2d") == first


@pytest.mark.parametrize("trainable, first", [(3, "7"), (6, "0"), (1, "16"), (2, "13")])
def test_mobilenet_stages_are_torchvisions(trainable, first):
    real = MobileNetV3Large(FrozenBatchNorm2d)
    real.freeze(trainable)
    assert next(name for name, child in real.children() if child.has_parameters()) == first


def drawn(layer):
    rng = np.random.default_rng(3)
    for _, array in layer.named_arrays():
        if array.ndim == 1:
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    return layer


RNG = np.random.default_rng(0)
BLOCKS = {
    "bottleneck": Bottleneck(8, 2, 1, FrozenBatchNorm2d, rng=RNG),
    "wider": Bottleneck(6, 2, 1, FrozenBatchNorm2d, rng=RNG), "smaller": Bottleneck(8, 2, 2, FrozenBatchNorm2d, rng=RNG),
    "squeeze": SqueezeExcitation(6, 2, rng=RNG),
    "inverted": InvertedResidual(4, 3, 12, 4, 3, ReLU, 1, FrozenBatchNorm2d, rng=RNG),
    "no residual": InvertedResidual(4, 5, 12, 6, 0, ReLU, 2, FrozenBatchNorm2d, rng=RNG),
}


@pytest.mark.parametrize("name", BLOCKS)
def test_gradients_of_blocks_equal_differences(name):
    block = drawn(BLOCKS[name])
    channels = 4 if "in" in name[:2] or name == "no residual" else 6 if name in ("wider", "squeeze") else 8
    x = np.random.default_rng(4).standard_normal((2, channels, 6, 5))

    def vjp(x):
        y, pullback = block.vjp(x)
        return [y], lambda grads: [pullback(*grads)]
    gradients = check_vjp(block, vjp, x)
    assert gradients.keys() == {path for path, _ in block.named_parameters()}
    assert_array_equal(vjp(x)[0][0], block(x))
    assert block.vjp(x, input_gradient=False)[1](np.ones_like(block(x))) is None
