"""Conversion: architectures are recognised, configurations applied, and mismatches reported in one line."""

import json
import re
import struct

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from torch_files import legacy_file, weight_file, zip_file

from minicnn import InputError
from minicnn.data.class_names import COCO, VOC
from minicnn.files import sha256
from minicnn.layers import BatchNorm2d, FrozenBatchNorm2d
from minicnn.models import build
from minicnn.weight_files import convert as module
from minicnn.weight_files.convert import convert, find_architecture, shape_arguments

RESNET, RESNET_V2 = "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2"
MOBILENET, MOBILENET_320 = "fasterrcnn_mobilenet_v3_large_fpn", "fasterrcnn_mobilenet_v3_large_320_fpn"
VGG = "fasterrcnn_vgg16"
SMALL = {"num_classes": 3, "box_head_width": 4}
STORAGES = {"float64": "torch.DoubleStorage", "float32": "torch.FloatStorage", "float16": "torch.HalfStorage"}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pth"


@pytest.fixture
def holds(path, monkeypatch):
    """holds(arrays): make ``read_state_dict`` return these arrays; returns a path."""
    def holds(arrays):
        path.write_bytes(b"weights")
        monkeypatch.setattr(module, "read_state_dict", lambda _: dict(arrays))
        return path
    return holds


@pytest.fixture
def config(tmp_path):
    """config(**settings): write them to a JSON file; returns its path."""
    def config(**settings):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(settings))
        return path
    return config


@pytest.fixture(scope="module")
def weights():
    """A detector's random arrays, with norms that change their input."""
    rng = np.random.default_rng(0)
    arrays = dict(build(MOBILENET_320, rng=rng, **SMALL).named_arrays())
    for name, array in arrays.items():
        if name.endswith(("running_mean", "running_var")):
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    return arrays


def zeros(architecture, **arguments):
    """Arrays with the names and shapes of an architecture with small heads; all are views of a single 0, which takes no memory."""
    return {name: np.broadcast_to(np.float32(0), array.shape)
            for name, array in build(architecture, **{**SMALL, **arguments}).named_arrays()}


def with_counters(arrays):
    """The arrays with num_batches_tracked, as torch's BatchNorm2d saves them."""
    return {**arrays, **{name.replace("running_mean", "num_batches_tracked"): np.array(7) for name in arrays if "running_mean" in name}}


def safetensors(arrays):
    header, end = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in arrays.values())


def refused(*arguments, **options):
    """The message with which the conversion fails."""
    with pytest.raises(InputError) as caught:
        convert(*arguments, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def norms(model):
    return [layer for _, layer in model.named_layers() if isinstance(layer, (BatchNorm2d, FrozenBatchNorm2d))]


# the architecture

@pytest.mark.parametrize("architecture", [VGG, RESNET, RESNET_V2])
def test_a_detector_is_recognised_with_its_classes_and_head(holds, architecture):
    model, _ = convert(holds(zeros(architecture)))
    assert model.architecture == architecture
    assert {name: model.architecture_arguments[name] for name in SMALL} == SMALL
    assert model.roi_heads.box_predictor.cls_score.out_features == 3 and model.roi_heads.box_predictor.cls_score.in_features == 4


@pytest.mark.parametrize("architecture, min_size", [(MOBILENET, 800), (MOBILENET_320, 320)])
def test_the_mobilenets_are_told_apart_by_the_user(holds, config, architecture, min_size):
    path = holds(zeros(architecture))
    line = refused(path)
    assert MOBILENET in line and MOBILENET_320 in line and "--arch" in line
    for model, _ in (convert(path, architecture), convert(path, config=config(architecture=architecture)),
                     convert(path, architecture, config(architecture=RESNET))):         # the user before the file
        assert model.architecture == architecture and model.transform.min_size == min_size


def test_the_classifier_is_recognised():
    arrays = {"features.0.weight": np.zeros((64, 3, 3, 3)), "classifier.6.weight": np.zeros((7, 4096))}
    assert find_architecture("x", arrays, None) == "vgg16" and shape_arguments(arrays) == {"num_classes": 7}


@pytest.mark.parametrize("asked, expected", [
    (RESNET, [f"arrays of {VGG}", f"expected {RESNET}", "--arch"]), ("lenet5", ["got the architecture 'lenet5'", VGG]),
    ("resnet99", ["'resnet99'", VGG, RESNET_V2]), ("", ["''"]), (["vgg16"], ["['vgg16']"]), (5, ["5"]),
])
def test_another_architecture_than_the_files_is_refused(holds, config, asked, expected):
    path = holds(zeros(VGG))
    lines = [refused(path, config=config(architecture=asked))]
    if isinstance(asked, str):
        lines.append(refused(path, asked))
    for line in lines:
        assert all(text in line for text in expected)


@pytest.mark.parametrize("arrays, expected", [
    ({"conv.weight": np.zeros(3), "b": np.zeros(1)}, ["net.pth", "conv.weight, b", VGG, "vgg16"]), ({}, ["net.pth", "expected"]),
    ({"backbone.0.weight": np.zeros((64, 3, 3, 3))}, ["cls_score", "whole"]),
    ({"backbone.0.weight": np.zeros((64, 3, 3, 3)), "roi_heads.box_predictor.cls_score.weight": np.zeros(())}, ["cls_score"]),
])
def test_other_networks_are_refused(holds, arrays, expected):
    line = refused(holds(arrays))
    assert all(text in line for text in expected)


# names

@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("counters, norm, kind", [(True, "batch", BatchNorm2d), (False, "frozen", FrozenBatchNorm2d)])
def test_old_names_and_both_kinds_of_norms(holds, old, counters, norm, kind):
    arrays = zeros(RESNET)
    arrays["backbone.fpn.inner_blocks.2.0.bias"] = np.full(256, 2, np.float32)
    arrays["rpn.head.conv.0.0.bias"] = np.full(256, 3, np.float32)
    if counters:
        arrays = with_counters(arrays)
    if old:
        arrays = {re.sub(r"(_blocks\.\d)\.0", r"\1", name).replace("rpn.head.conv.0.0.", "rpn.head.conv."): array
                  for name, array in arrays.items()}
        assert {"rpn.head.conv.bias", "backbone.fpn.inner_blocks.2.bias", "backbone.fpn.layer_blocks.3.weight"} <= arrays.keys()
    model, notes = convert(holds(arrays))
    assert_array_equal(model.get_layer("backbone.fpn.inner_blocks.2.0").bias, 2)
    assert_array_equal(model.get_layer("rpn.head.conv.0.0").bias, 3)
    assert model.architecture_arguments["norm"] == norm
    assert {type(layer) for layer in norms(model)} == {kind} and {layer.eps for layer in norms(model)} == {1e-5}
    assert bool(notes) == (norm == "frozen")


def test_old_counters_of_the_second_version_are_dropped(holds):
    model, notes = convert(holds(with_counters(zeros(RESNET_V2))))
    assert {type(layer) for layer in norms(model)} == {BatchNorm2d} and len(norms(model)) == 65 and notes == []


@pytest.mark.parametrize("write, wrap", [
    (zip_file, lambda tensors: {f"module.{name}": one for name, one in tensors.items()}),
    (zip_file, lambda tensors: {"model": tensors, "epoch": 3}), (legacy_file, lambda tensors: {"state_dict": tensors}),
], ids=["prefix", "nested", "legacy"])
def test_files_of_training_scripts(path, weights, write, wrap):
    path.write_bytes(weight_file(weights, write, wrap=wrap))
    model, _ = convert(path, MOBILENET_320)
    for name, array in model.named_arrays():
        assert_array_equal(array, weights[name])


def test_a_safetensors_file(tmp_path, weights):
    path = tmp_path / "net.safetensors"
    path.write_bytes(safetensors(weights))
    model, _ = convert(path, MOBILENET_320)
    assert all(np.array_equal(array, weights[name]) for name, array in model.named_arrays())


@pytest.mark.parametrize("dtype", ["float64", "float16", "bfloat16"])
def test_other_precisions_become_float32(path, weights, dtype):
    if dtype == "bfloat16":                                         # the upper half of a float32
        stored = {name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in weights.items()}
        expected = {name: (array.astype(np.uint32) << 16).view(np.float32) for name, array in stored.items()}
    else:
        expected = stored = {name: array.astype(dtype) for name, array in weights.items()}
    path.write_bytes(weight_file(stored, kind=STORAGES.get(dtype, "torch.BFloat16Storage")))
    model, _ = convert(path, MOBILENET_320)
    for name, array in model.named_arrays():
        assert array.dtype == np.float32
        assert_array_equal(array, expected[name].astype(np.float32))


# settings

def test_a_configuration_says_what_the_file_does_not(holds, config):
    arrays = zeros(VGG, anchor_sizes=((32, 64, 128, 256, 512),))
    settings = {"min_size": 400, "max_size": 667, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3],
                "anchor_sizes": [[32, 64, 128, 256, 512]], "aspect_ratios": [[0.5, 1, 2]], "roi_sampling_ratio": 0,
                "rpn_post_nms_top_n_test": 300, "box_score_thresh": 0.2, "roi_pooling": "pool"}
    model, _ = convert(holds(arrays), config=config(**settings, **SMALL, class_names=["back", "cat", "dog"]))
    assert model.transform.min_size == 400 and model.transform.max_size == 667
    assert list(model.transform.image_mean) == [0.5, 0.4, 0.3] and list(model.transform.image_std) == [0.1, 0.2, 0.3]
    assert model.rpn.post_nms_top_n == 300 and model.roi_heads.score_thresh == 0.2
    assert type(model.roi_heads.box_roi_pool).__name__ == "MultiScaleRoIPool"
    assert model.architecture_arguments == {**settings, **SMALL}
    assert model.record["class_names"] == ["back", "cat", "dog"]


@pytest.mark.parametrize("settings, expected", [
    ({"num_classes": 21}, ["num_classes=21", "expected 3", "net.pth", "config.json"]),
    ({"box_head_width": 1024}, ["box_head_width=1024", "expected 4"]),
    ({"minsize": 400}, ["'minsize'", "no setting", VGG, "config.json"]),
    ({"min size": 400}, ["'min size'", "no setting"]),
    ({"rng": 3}, ["'rng'", "no setting"]), ({"self": 3}, ["'self'", "no setting"]),
    ({"norm_eps": 0}, ["'norm_eps'", "no setting"]),
    ({"min_size": -3}, ["min_size=-3", "at least 1", "config.json"]),
    ({"max_size": [800]}, ["max_size=[800]", "an integer"]),
    ({"min_size": None}, ["min_size=None"]),
    ({"min_size": float("nan")}, ["min_size=nan"]),
    ({"image_std": [1, 1]}, ["image_std=[1, 1]", "three positive numbers"]),
    ({"image_mean": 0.5}, ["image_mean=0.5", "three numbers"]),
    ({"anchor_sizes": [32, 64]}, ["anchor_sizes=[32, 64]"]),
    ({"anchor_sizes": [[32], [64]]}, ["anchor_sizes"]),
    ({"roi_pooling": "max"}, ["'max'", "'align' or 'pool'"]),
    ({"class_names": ["a", "b"]}, ["2 class_names", "3 classes"]),
    ({"class_names": "voc"}, ["21 class_names", "3 classes"]),
    ({"class_names": "imagenet"}, ["'imagenet'", "coco, voc"]),
    ({"class_names": [1, 2, 3]}, ["class_names"]), ({"class_names": 5}, ["class_names"]), ({"class_names": {}}, ["class_names"]),
])
def test_a_setting_that_is_wrong_is_named(holds, config, settings, expected):
    line = refused(holds(zeros(VGG)), config=config(**settings))
    assert all(text in line for text in expected), line
    assert len(line) < 300


@pytest.mark.parametrize("text, expected", [
    (b"", "cannot read"), (b"{'min_size': 400}", "cannot read"), (b"\xff\xfe{}", "cannot read"), (b"[" * 100_000, "cannot read"),
    (b"[]", "got a list"), (b"5", "got a int"), (None, "No such file"),
])
def test_a_configuration_that_is_none(holds, tmp_path, text, expected):
    config = tmp_path / "config.json"
    if text is not None:
        config.write_bytes(text)
    line = refused(holds(zeros(VGG)), config=config)
    assert expected in line and "config.json" in line


def test_another_number_of_anchors_says_what_to_give(holds):
    arrays = zeros(VGG, anchor_sizes=((32, 64, 128, 256, 512),))
    line = refused(holds(arrays))
    assert "got 15 anchors" in line and "the 9 of" in line and "anchor_sizes" in line and "--config" in line


@pytest.mark.parametrize("given, classes, expected", [
    ("coco", 91, COCO), ("voc", 21, VOC), (None, 91, COCO), (None, 90, ()), (None, 21, ()), (["x"] * 91, 91, ["x"] * 91),
])
def test_class_names(holds, config, given, classes, expected):
    settings = {} if given is None else {"class_names": given}
    model, _ = convert(holds(zeros(MOBILENET, num_classes=classes)), MOBILENET, config(**settings))
    assert model.record["class_names"] == list(expected)


# the eps of frozen norms

@pytest.mark.parametrize("digest, given, expected, note", [
    ("258fb6c6" + 56 * "0", None, 0, "published"), ("0" * 64, None, 1e-5, "--bn-eps 0"), ("0" * 64, 0, 0, None),
    ("258fb6c6" + 56 * "0", 1e-3, 1e-3, None),
])
def test_eps_of_the_first_resnet(holds, monkeypatch, config, digest, given, expected, note):
    monkeypatch.setattr(module, "source_file", lambda path: {"sha256": digest})
    path = holds(zeros(RESNET))
    results = [convert(path, norm_eps=given)]
    if given is not None:
        results.append(convert(path, config=config(norm_eps=given)))
    for model, notes in results:
        assert {layer.eps for layer in norms(model)} == {expected} and len(norms(model)) == 53
        assert model.architecture_arguments["norm_eps"] == expected
        assert len(notes) == (note is not None) and all(note in line for line in notes)


def test_the_option_comes_before_the_configuration(holds, config):
    model, _ = convert(holds(zeros(RESNET)), config=config(norm_eps=1e-3), norm_eps=0)
    assert {layer.eps for layer in norms(model)} == {0}


def test_eps_elsewhere(holds, monkeypatch):
    monkeypatch.setattr(module, "source_file", lambda path: {"sha256": "258fb6c6" + 56 * "0"})
    model, notes = convert(holds(with_counters(zeros(RESNET))))                     # not frozen: not that file's norms
    assert {layer.eps for layer in norms(model)} == {1e-5} and notes == []
    model, notes = convert(holds(zeros(MOBILENET)), MOBILENET)                      # torchvision keeps 1e-5 there
    assert {layer.eps for layer in norms(model)} == {1e-5} and notes == []
    model, _ = convert(holds(zeros(MOBILENET)), MOBILENET, norm_eps=0)
    assert {layer.eps for layer in norms(model)} == {0}


@pytest.mark.parametrize("architecture, given, expected", [
    (VGG, 0, "leave it out"), (RESNET_V2, 0, "leave it out"), (RESNET, 2, "norm_eps=2"), (RESNET, float("nan"), "norm_eps=nan")])
def test_an_eps_that_cannot_be(holds, architecture, given, expected):
    assert expected in refused(holds(zeros(architecture)), norm_eps=given)


def test_norms_of_another_kind_than_the_configuration_says(holds, config):
    line = refused(holds(zeros(RESNET)), config=config(norm="batch"))
    assert "got norm=batch" in line and "expected frozen" in line


# weights that do not fit

def test_every_array_that_does_not_fit_is_named(holds):
    arrays = zeros(VGG)
    del arrays["backbone.28.bias"]
    arrays["backbone.99.weight"] = np.zeros(2, np.float32)
    arrays["rpn.head.bbox_pred.bias"] = np.zeros((36, 1), np.float32)
    line = refused(holds(arrays))
    for text in ("net.pth", VGG, "missing backbone.28.bias (512,)", "extra backbone.99.weight",
                 "rpn.head.bbox_pred.bias is (36, 1), expected (36,)"):
        assert text in line


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_weight_that_is_not_finite_is_named(holds, value):
    arrays = zeros(VGG)
    arrays["backbone.5.bias"] = np.r_[np.zeros(127), value]
    line = refused(holds(arrays))
    assert "net.pth" in line and "NaN or infinity in backbone.5.bias" in line


def test_where_it_comes_from(path, weights):
    path.write_bytes(weight_file(weights))
    model, _ = convert(path, MOBILENET_320)
    assert model.record["provenance"] == {"source": {"file": "net.pth", "sha256": sha256(path)}}
    assert not any(layer.training for _, layer in model.named_layers())


@pytest.mark.slow
@pytest.mark.parametrize("architecture, parameters", [
    (VGG, 43_945_942), (RESNET, 41_755_286), (RESNET_V2, 43_712_278), (MOBILENET, 19_386_354), (MOBILENET_320, 19_386_354),
    ("vgg16", 138_357_544)])
def test_full_size(path, architecture, parameters):
    """The numbers of parameters are those that torchvision has."""
    rng = np.random.default_rng(0)
    arrays = {name: np.full(array.shape, rng.uniform(0.5, 1), np.float16) for name, array in build(architecture).named_arrays()}
    path.write_bytes(weight_file(arrays, kind="torch.HalfStorage"))
    model, _ = convert(path, architecture)
    assert sum(array.size for _, array in model.named_parameters()) == parameters
    for name, array in model.named_arrays():
        assert_array_equal(array, arrays[name])
