"""MobileNetV3-large by its table: names, shapes, strides, activations, and its blocks by their formulas."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from minicnn import functional as F
from minicnn.functional.dispatch import run
from minicnn.layers import BatchNorm2d, FrozenBatchNorm2d, Hardswish, ReLU
from minicnn.models.mobilenet import InvertedResidual, MobileNetV3Large, SqueezeExcitation

# number: kernel, expanded, output, squeezed, activation, stride; table 1 of the paper, squeezed as torchvision rounds it
BLOCKS = {
    1: (3, 16, 16, 0, "RE", 1), 2: (3, 64, 24, 0, "RE", 2), 3: (3, 72, 24, 0, "RE", 1), 4: (5, 72, 40, 24, "RE", 2),
    5: (5, 120, 40, 32, "RE", 1), 6: (5, 120, 40, 32, "RE", 1), 7: (3, 240, 80, 0, "HS", 2), 8: (3, 200, 80, 0, "HS", 1),
    9: (3, 184, 80, 0, "HS", 1), 10: (3, 184, 80, 0, "HS", 1), 11: (3, 480, 112, 120, "HS", 1), 12: (3, 672, 112, 168, "HS", 1),
    13: (5, 672, 160, 168, "HS", 2), 14: (5, 960, 160, 240, "HS", 1), 15: (5, 960, 160, 240, "HS", 1),
}
RESIDUAL = {1, 3, 5, 6, 8, 9, 10, 12, 14, 15}
ARRAYS = ("weight", "bias", "running_mean", "running_var")


def table():
    """Every array's shape, from BLOCKS and torchvision's names."""
    shapes = {}

    def conv_norm(path, out_channels, in_channels, kernel):
        shapes[f"{path}.0.weight"] = (out_channels, in_channels, kernel, kernel)
        shapes.update({f"{path}.1.{name}": (out_channels,) for name in ARRAYS})

    conv_norm("0", 16, 3, 3)
    channels = 16
    for number, (kernel, expanded, out_channels, squeezed, _, _) in BLOCKS.items():
        index = 0
        if expanded != channels:
            conv_norm(f"{number}.block.0", expanded, channels, 1)
            index = 1
        conv_norm(f"{number}.block.{index}", expanded, 1, kernel)
        if squeezed:
            index += 1
            for name, shape in (("fc1", (squeezed, expanded, 1, 1)), ("fc2", (expanded, squeezed, 1, 1))):
                shapes[f"{number}.block.{index}.{name}.weight"], shapes[f"{number}.block.{index}.{name}.bias"] = shape, shape[:1]
        conv_norm(f"{number}.block.{index + 1}", out_channels, expanded, 1)
        channels = out_channels
    conv_norm("16", 960, 160, 1)
    return shapes


@pytest.mark.parametrize("norm", [BatchNorm2d, FrozenBatchNorm2d])
def test_names_and_shapes_are_torchvisions(norm):
    shapes = {path: array.shape for path, array in MobileNetV3Large(norm).named_arrays()}
    assert list(shapes.items()) == list(table().items())
    assert len(shapes) == 262           # and torch's BatchNorm2d one counter more for each of 46


def test_strides_and_channels_of_the_maps(backend):
    body = MobileNetV3Large(BatchNorm2d)
    assert [x.shape for x in run(body, np.zeros((2, 3, 65, 96), np.float32))] == [(2, 160, 3, 3), (2, 960, 3, 3)]
    assert body.out_channels == (160, 960)


def test_activations_and_residuals():
    layers = dict(MobileNetV3Large(BatchNorm2d).children())
    assert [name for name in layers] == [str(number) for number in range(17)]
    for number, (*_, activation, _) in BLOCKS.items():
        block = layers[str(number)]
        activations = [type(dict(part.children()).get("2")) for _, part in block.block.children()
                       if not isinstance(part, SqueezeExcitation)]
        assert set(activations[:-1]) == {ReLU if activation == "RE" else Hardswish}
        assert block.residual == (number in RESIDUAL)
        assert activations[-1] is type(None)        # the last convolution has a norm only
    assert all(isinstance(dict(layers[end].children())["2"], Hardswish) for end in ("0", "16"))


@pytest.mark.parametrize("in_channels, expanded, out_channels, squeezed, activation, stride", [
    (4, 4, 4, 0, ReLU, 1), (4, 6, 4, 0, Hardswish, 1), (4, 6, 5, 0, ReLU, 1), (4, 6, 4, 0, ReLU, 2), (4, 6, 4, 2, Hardswish, 1)],
    ids=["no expansion", "residual", "more channels", "stride", "squeezed"])
def test_a_block_by_its_formula(in_channels, expanded, out_channels, squeezed, activation, stride, backend):
    rng = np.random.default_rng(0)
    block = InvertedResidual(in_channels, 5, expanded, out_channels, squeezed, activation, stride, FrozenBatchNorm2d, rng=rng)
    arrays = dict(block.block.named_arrays())
    for array in arrays.values():
        if array.ndim == 1:
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    x = rng.standard_normal((2, in_channels, 7, 6)).astype(np.float32)

    def step(x, index, activate, stride=1, padding=0, groups=1):
        x = F.conv2d(x, arrays[f"{index}.0.weight"], None, stride, padding, 1, groups)
        weight, bias, mean, var = (arrays[f"{index}.1.{name}"][:, None, None] for name in ARRAYS)
        return activate((x - mean) / np.sqrt(var + 1e-5) * weight + bias)

    def activate(x):
        return np.maximum(x, 0) if activation is ReLU else x * np.clip(x + 3, 0, 6) / 6

    y, index = x, 0
    if expanded != in_channels:
        y, index = step(y, 0, activate), 1
    y = step(y, index, activate, stride, 2, expanded)
    if squeezed:
        index += 1
        mean = y.mean(axis=(2, 3))
        inner = np.maximum(mean @ arrays[f"{index}.fc1.weight"][:, :, 0, 0].T + arrays[f"{index}.fc1.bias"], 0)
        outer = inner @ arrays[f"{index}.fc2.weight"][:, :, 0, 0].T + arrays[f"{index}.fc2.bias"]
        y = y * (np.clip(outer + 3, 0, 6) / 6)[:, :, None, None]
    y = step(y, index + 1, lambda x: x)
    residual = stride == 1 and in_channels == out_channels
    assert_allclose(run(block, x), y + x if residual else y, rtol=1e-4, atol=1e-5)
