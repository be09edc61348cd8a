"""Backbones: the maps of the five detectors, their channels and strides."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minicnn
from minicnn.detection.backbone import BackboneWithFPN, SingleMapBackbone, load_backbone
from minicnn.detection.fpn import FeaturePyramidNetwork
from minicnn.errors import InputError
from minicnn.functional.dispatch import run
from minicnn.layers import Conv2d, Layer, MaxPool2d, ReLU


class Halves(Layer):
    """A body of two maps."""

    def __call__(self, x):
        return [x, x[:, :, ::2, ::2]]


class Doubled(Layer):
    """In the place of a pyramid."""

    def __call__(self, maps):
        return [2 * x for x in maps]


def test_a_chain_gives_one_map_under_the_names_of_its_layers():
    rng = np.random.default_rng(0)
    conv, x = Conv2d(3, 4, 3, padding=1, rng=rng), rng.standard_normal((2, 3, 6, 8)).astype(np.float32)
    backbone = SingleMapBackbone([conv, ReLU(), MaxPool2d(2)])
    maps = backbone(x)
    assert len(maps) == 1 and maps[0].dtype == np.float32
    assert_array_equal(maps[0], MaxPool2d(2)(ReLU()(conv(x))))
    assert [path for path, _ in backbone.named_arrays()] == ["0.weight", "0.bias"]


def test_the_last_pooling_of_vgg16_halves_its_map():
    rng, x = np.random.default_rng(0), np.random.default_rng(1).standard_normal((1, 3, 70, 96)).astype(np.float32)
    models = [minicnn.build("fasterrcnn_vgg16", last_pool=last_pool, box_head_width=2) for last_pool in (False, True)]
    assert models[0].channel_groups() == models[1].channel_groups()                     # pruning sees the same network
    fine, coarse = (model.backbone for model in models)
    for _, array in fine.named_arrays():
        array[...] = rng.normal(0, 0.05, array.shape)
    coarse.load_arrays(dict(fine.named_arrays()))
    assert_array_equal(coarse(x)[0], MaxPool2d(2)(fine(x)[0]))
    assert not fine.last_pool and coarse.last_pool and len(coarse.stages) == len(fine.stages) == 5


def test_a_pyramid_reads_all_maps_of_the_body():
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 6)).astype(np.float32)
    maps = BackboneWithFPN(Halves(), Doubled())(x)
    assert_array_equal(maps[0], 2 * x)
    assert_array_equal(maps[1], 2 * x[:, :, ::2, ::2])
    assert len(maps) == 2


@pytest.mark.parametrize("architecture, maps", {
    "fasterrcnn_vgg16": [(512, 4, 6)],
    "fasterrcnn_resnet50_fpn": [(256, 16, 24), (256, 8, 12), (256, 4, 6), (256, 2, 3), (256, 1, 2)],
    "fasterrcnn_resnet50_fpn_v2": [(256, 16, 24), (256, 8, 12), (256, 4, 6), (256, 2, 3), (256, 1, 2)],
    "fasterrcnn_mobilenet_v3_large_fpn": [(256, 2, 3), (256, 2, 3), (256, 1, 2)],
    "fasterrcnn_mobilenet_v3_large_320_fpn": [(256, 2, 3), (256, 2, 3), (256, 1, 2)],
}.items(), ids=str)
def test_maps_have_the_strides_of_the_paper(architecture, maps, backend):
    model = minicnn.build(architecture, box_head_width=8)           # zeros: only shapes are asked
    got = run(model.backbone, np.zeros((1, 3, 64, 96), np.float32))
    assert [x.shape for x in got] == [(1, *shape) for shape in maps]
    assert {x.dtype for x in got} == {np.dtype(np.float32)}


@pytest.mark.parametrize("architecture, channels, strides", [
    ("fasterrcnn_resnet50_fpn", (256, 512, 1024, 2048), (4, 8, 16, 32)),
    ("fasterrcnn_mobilenet_v3_large_fpn", (160, 960), (32, 32))])
def test_bodies_return_what_the_pyramid_reads(architecture, channels, strides):
    body = minicnn.build(architecture, box_head_width=8).backbone.body
    got = body(np.zeros((1, 3, 32, 64), np.float32))
    assert [x.shape for x in got] == [(1, c, 32 // stride, 64 // stride) for c, stride in zip(channels, strides)]


def chain(seed):
    return SingleMapBackbone([Conv2d(3, 4, 3, rng=np.random.default_rng(seed)), ReLU(), MaxPool2d(2), Conv2d(4, 2, 1)])


@pytest.mark.parametrize("place", ["backbone.", "", "features."])
def test_a_backbone_is_found_in_other_files(place):
    arrays = {f"{place}{name}": array for name, array in chain(1).named_arrays()} | {"classifier.weight": np.zeros(3)}
    backbone = chain(0)
    load_backbone(backbone, arrays)
    for (_, got), (_, expected) in zip(backbone.named_arrays(), chain(1).named_arrays(), strict=True):
        assert_array_equal(got, expected)


@pytest.mark.parametrize("place, pyramid", [("backbone.body.", True), ("", False), ("features.", False)])
def test_a_body_is_found_with_or_without_a_pyramid(place, pyramid):
    def build(seed):
        rng = np.random.default_rng(seed)
        return BackboneWithFPN(chain(seed), FeaturePyramidNetwork((2,), 3, rng=rng))
    arrays = {f"{place}{name}": array for name, array in build(1).body.named_arrays()}
    if pyramid:
        arrays |= {f"backbone.fpn.{name}": array for name, array in build(1).fpn.named_arrays()}
    backbone, before = build(0), build(0)
    load_backbone(backbone, arrays)
    for (name, got), (_, other), (_, old) in zip(backbone.named_arrays(), build(1).named_arrays(), before.named_arrays(), strict=True):
        assert_array_equal(got, other if pyramid or not name.startswith("fpn.") else old, err_msg=name)


def test_files_without_the_backbone():
    with pytest.raises(InputError, match=r"got arrays named conv1.weight, ..., expected a backbone's, such as backbone.0.weight"):
        load_backbone(chain(0), {"conv1.weight": np.zeros(3)})
    with pytest.raises(InputError, match="0.weight is"):
        load_backbone(chain(0), {name: np.zeros((1, 1)) for name, _ in chain(0).named_arrays()})


def test_a_chains_stages_end_with_poolings():
    assert chain(0).stages == [["0", "1", "2"], ["3"]] and chain(0).returned == ("3",)
