"""ResNet-50 by its table: names, shapes, strides, and one bottleneck by its formula."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from minicnn import functional as F
from minicnn.functional.dispatch import run
from minicnn.layers import BatchNorm2d, FrozenBatchNorm2d
from minicnn.models.resnet import Bottleneck, ResNet50

STAGES = {"layer1": (64, 3), "layer2": (128, 4), "layer3": (256, 6), "layer4": (512, 3)}       # width, blocks
ARRAYS = ("weight", "bias", "running_mean", "running_var")


def table():
    """Every array's shape, from table 1 of the paper and torchvision's names."""
    shapes = {"conv1.weight": (64, 3, 7, 7)} | {f"bn1.{name}": (64,) for name in ARRAYS}
    channels = 64
    for stage, (width, blocks) in STAGES.items():
        for block in range(blocks):
            convolutions = {"conv1": (width, channels, 1, 1), "conv2": (width, width, 3, 3), "conv3": (4 * width, width, 1, 1)}
            for number, (name, shape) in enumerate(convolutions.items(), start=1):
                shapes[f"{stage}.{block}.{name}.weight"] = shape
                shapes |= {f"{stage}.{block}.bn{number}.{array}": shape[:1] for array in ARRAYS}
            if block == 0:
                shapes[f"{stage}.0.downsample.0.weight"] = (4 * width, channels, 1, 1)
                shapes |= {f"{stage}.0.downsample.1.{array}": (4 * width,) for array in ARRAYS}
            channels = 4 * width
    return shapes


@pytest.mark.parametrize("norm", [BatchNorm2d, FrozenBatchNorm2d])
def test_names_and_shapes_are_torchvisions(norm):
    body = ResNet50(norm)
    shapes = {path: array.shape for path, array in body.named_arrays()}
    assert list(shapes.items()) == list(table().items()) and len(shapes) == 265
    assert len(list(body.named_parameters())) == (159 if norm is BatchNorm2d else 53)


def test_strides_and_channels_of_the_maps(backend):
    shapes = [x.shape for x in run(ResNet50(BatchNorm2d), np.zeros((2, 3, 65, 96), np.float32))]
    assert shapes == [(2, 256, 17, 24), (2, 512, 9, 12), (2, 1024, 5, 6), (2, 2048, 3, 3)]
    assert ResNet50.out_channels == (256, 512, 1024, 2048)


@pytest.mark.parametrize("in_channels, stride", [(8, 1), (6, 1), (8, 2)], ids=["same", "wider", "smaller"])
def test_a_bottleneck_by_its_formula(in_channels, stride, backend):
    rng = np.random.default_rng(0)
    block = Bottleneck(in_channels, 2, stride, FrozenBatchNorm2d, rng=rng)
    arrays = dict(block.named_arrays())
    for array in arrays.values():
        if array.ndim == 1:
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    x = rng.standard_normal((2, in_channels, 7, 6)).astype(np.float32)

    def step(x, conv, bn, stride=1, padding=0):
        x = F.conv2d(x, arrays[f"{conv}.weight"], None, stride, padding)
        weight, bias, mean, var = (arrays[f"{bn}.{name}"][:, None, None] for name in ARRAYS)
        return (x - mean) / np.sqrt(var + 1e-5) * weight + bias

    y = np.maximum(step(x, "conv1", "bn1"), 0)
    y = np.maximum(step(y, "conv2", "bn2", stride, 1), 0)
    y = step(y, "conv3", "bn3")
    shortcut = x if (in_channels, stride) == (8, 1) else step(x, "downsample.0", "downsample.1", stride)
    assert ("downsample.0.weight" in arrays) == (shortcut is not x)
    assert_allclose(run(block, x), np.maximum(y + shortcut, 0), rtol=1e-4, atol=1e-5)


def test_the_seed_alone_decides_the_weights():
    first, second = (ResNet50(BatchNorm2d, rng=np.random.default_rng(3)) for _ in range(2))
    for (name, one), (_, two) in zip(first.named_parameters(), second.named_parameters()):
        assert_array_equal(one, two, err_msg=name)
        assert one.any() or name.endswith("bias")           # a norm's bias begins at 0
