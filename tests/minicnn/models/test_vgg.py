"""VGG16 by its table: names, shapes, strides, parameters."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minicnn
from minicnn.layers import Conv2d, Dropout, Linear, MaxPool2d, ReLU, Sequential
from minicnn.models.vgg import vgg16_features

# index in ``features``: output channels, of table 1, column D
CONVOLUTIONS = {0: 64, 2: 64, 5: 128, 7: 128, 10: 256, 12: 256, 14: 256, 17: 512, 19: 512, 21: 512, 24: 512, 26: 512, 28: 512}
POOLINGS = (4, 9, 16, 23, 30)


@pytest.fixture(scope="module")
def model():
    return minicnn.build("vgg16", num_classes=10)           # zeros, which take no memory until they are read


def test_names_and_shapes_are_torchvisions(model):
    expected, channels = {}, 3
    for index, width in CONVOLUTIONS.items():
        expected |= {f"features.{index}.weight": (width, channels, 3, 3), f"features.{index}.bias": (width,)}
        channels = width
    for index, shape in ((0, (4096, 25088)), (3, (4096, 4096)), (6, (10, 4096))):
        expected |= {f"classifier.{index}.weight": shape, f"classifier.{index}.bias": shape[:1]}
    shapes = {path: array.shape for path, array in model.named_arrays()}
    assert list(shapes.items()) == list(expected.items())
    assert model.input_shape == (3, 224, 224)


def test_the_published_number_of_parameters():
    assert sum(array.size for _, array in minicnn.build("vgg16").named_parameters()) == 138_357_544


def test_what_stands_between_the_convolutions():
    layers = vgg16_features()
    assert len(layers) == 31
    for index, layer in enumerate(layers):
        assert type(layer) is (Conv2d if index in CONVOLUTIONS else MaxPool2d if index in POOLINGS else ReLU)
        if index in CONVOLUTIONS:
            assert (layer.kernel_size, layer.stride, layer.padding, layer.dilation, layer.groups) == ((3, 3), (1, 1), (1, 1), (1, 1), 1)
        if index in POOLINGS:
            assert layer.kernel_size == 2 and layer.stride in (None, 2) and not layer.ceil_mode


def test_the_classifier(model):
    kinds = [type(layer) for _, layer in model.get_layer("classifier").children()]
    assert kinds == [Linear, ReLU, Dropout, Linear, ReLU, Dropout, Linear]
    assert [name for name, _ in model.children()] == ["features", "avgpool", "flatten", "classifier"]


@pytest.mark.parametrize("size", [(64, 96), (37, 50)])
def test_strides(size):
    x, sizes = np.zeros((2, 3, *size), np.float32), []
    for index, layer in enumerate(vgg16_features()):
        x = layer(x)
        if index in POOLINGS:
            sizes.append(x.shape)
    assert sizes == [(2, width, size[0] // 2**step, size[1] // 2**step) for step, width in enumerate((64, 128, 256, 512, 512), start=1)]


def test_the_seed_alone_decides_the_weights():
    first, second, third = (Sequential(vgg16_features(rng=np.random.default_rng(seed))[:8]) for seed in (0, 0, 1))
    for (name, one), (_, two), (_, other) in zip(*(model.named_arrays() for model in (first, second, third))):
        assert_array_equal(one, two, err_msg=name)
        assert one.any() and not np.array_equal(one, other)


def test_channel_groups(model):
    groups = model.channel_groups()
    paths = [f"features.{index}" for index in CONVOLUTIONS] + ["classifier.0", "classifier.3", "classifier.6"]
    assert [(group.producers, group.consumers) for group in groups] == [
        ((path,), ((after, 49 if after == "classifier.0" else 1),)) for path, after in zip(paths, paths[1:])]
