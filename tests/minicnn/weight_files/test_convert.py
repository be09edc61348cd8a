"""Conversion: architectures are recognised, configurations applied, and mismatches reported in one line."""

import dataclasses
import json
import re
import struct

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from torch_files import legacy_file, weight_file, zip_file

import minicnn
from minicnn import InputError
from minicnn.data.class_names import COCO, VOC
from minicnn.detection.settings import Settings
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
        monkeypatch.setattr(module, "read_state_dict", lambda *_: dict(arrays))
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
    assert any("--bn-eps 0" in line for line in notes) == (norm == "frozen")


def test_old_counters_of_the_second_version_are_dropped(holds):
    model, notes = convert(holds(with_counters(zeros(RESNET_V2))))
    assert {type(layer) for layer in norms(model)} == {BatchNorm2d} and len(norms(model)) == 65 and len(notes) == 1


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


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_a_configuration_may_begin_with_a_byte_order_mark(holds, tmp_path, encoding):
    """PowerShell's ``echo ... >`` writes UTF-16."""
    (tmp_path / "config.json").write_bytes('{"class_names": ["nothing", "Käse", "犬"], "min_size": 400}\r\n'.encode(encoding))
    model, _ = convert(holds(zeros(VGG)), config=tmp_path / "config.json")
    assert model.record["class_names"] == ["nothing", "Käse", "犬"] and model.transform.min_size == 400


@pytest.mark.parametrize("name, expected", [
    ("fixed_size", "is not supported, expected min_size and max_size"), ("size_divisible", "expected 32"),
    ("rpn_anchor_generator", "give anchor_sizes and aspect_ratios"), ("box_roi_pool", "roi_sampling_ratio"),
    ("weights", "is no property of a detector"), ("trainable_backbone_layers", "--trainable-backbone-layers")])
def test_arguments_of_torchvisions_that_are_no_settings_are_named(config, name, expected):
    for architecture in (VGG, RESNET, MOBILENET_320):
        with pytest.raises(InputError, match=f"got '{name}' in .*config.json, an argument of torchvision's, .*{expected}"):
            module.build_with(architecture, {name: [640, 640]}, {}, config())


def test_torchvisions_own_mobilenets_are_told_apart_by_their_hash(holds, monkeypatch):
    for digits, architecture in (("fb6a3cc7", MOBILENET), ("907ea3f9", MOBILENET_320)):
        monkeypatch.setattr(module, "source_file", lambda path, digits=digits: {"sha256": digits + 56 * "0"})
        model, notes = convert(holds(zeros(MOBILENET)))
        assert model.architecture == architecture and notes == []


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


@pytest.mark.parametrize("architecture, side", [(VGG, 5), (RESNET_V2, 6), (VGG, 7)])
def test_the_side_of_pooled_boxes_is_seen_in_the_box_head(holds, config, architecture, side):
    path = holds(zeros(architecture, roi_output_size=side))
    for settings in ({}, {"roi_output_size": side}):
        model, _ = convert(path, config=config(**settings))
        assert model.roi_heads.box_roi_pool.output_size == side and model.architecture_arguments.get("roi_output_size", 7) == side
    assert "roi_output_size" in refused(path, config=config(roi_output_size=4)) or side == 7


# what weights do not show

STRIDE_16 = {"min_size": 400, "max_size": 667, "image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3],
             "anchor_sizes": [[128, 256, 512]], "aspect_ratios": [[0.5, 1, 2]], "rpn_pre_nms_top_n_test": 1000,
             "rpn_post_nms_top_n_test": 300, "rpn_nms_thresh": 0.7, "rpn_score_thresh": 0.0, "roi_pooling": "align",
             "roi_sampling_ratio": 2, "bbox_reg_weights": [10, 10, 5, 5], "box_score_thresh": 0.05, "box_nms_thresh": 0.5,
             "box_detections_per_img": 100, "last_pool": False}


def test_every_setting_that_weights_do_not_show_is_named_as_assumed_in_one_line(holds):
    model, notes = convert(holds(zeros(VGG)))
    assumed = model.record["provenance"]["assumed"]
    assert assumed.keys() == STRIDE_16.keys() and assumed["min_size"] == 800 and assumed["anchor_sizes"] == [[128, 256, 512]]
    line = notes[-1]
    assert line.startswith("assumed") and "--config" in line and "\n" not in line
    assert all(f"{name} {json.dumps(value)}" in line for name, value in assumed.items())


@pytest.mark.parametrize("left_out", STRIDE_16)
def test_what_the_configuration_gives_is_not_assumed(holds, config, left_out):
    model, notes = convert(holds(zeros(VGG)), config=config(**{name: value for name, value in STRIDE_16.items() if name != left_out}))
    assert model.record["provenance"]["assumed"].keys() == {left_out} and len(notes) == 1 + (left_out == "last_pool")


def test_every_setting_of_inference_is_one_that_weights_show_or_is_assumed():
    shown = {"roi_output_size", "box_head_width"}                       # in the shapes of the box head
    training = {name for name in fields(Settings) if name.endswith("_train") or name in (
        "rpn_fg_iou_thresh", "rpn_bg_iou_thresh", "rpn_batch_size_per_image", "rpn_positive_fraction", "box_fg_iou_thresh",
        "box_bg_iou_thresh", "box_batch_size_per_image", "box_positive_fraction")}
    assert fields(Settings) == STRIDE_16.keys() - {"last_pool"} | shown | training


def fields(kind):
    return {field.name for field in dataclasses.fields(kind)}


def test_class_names_and_eps_are_assumed_too(holds, config):
    path = holds(zeros(MOBILENET, num_classes=91))
    assumed = convert(path, MOBILENET)[0].record["provenance"]["assumed"]
    assert assumed["class_names"] == "coco" and assumed["norm_eps"] == 1e-5 and "last_pool" not in assumed
    model, _ = convert(path, MOBILENET, config(class_names="coco", norm_eps=1e-5))
    assert not {"class_names", "norm_eps"} & model.record["provenance"]["assumed"].keys()


def test_nothing_is_assumed_of_torchvisions_own_file_and_of_a_classifier(holds, monkeypatch):
    monkeypatch.setattr(module, "source_file", lambda path: {"sha256": "dd69338a" + 56 * "0"})
    model, notes = convert(holds(with_counters(zeros(RESNET_V2))))
    assert model.record["provenance"]["assumed"] == {} and notes == []
    assert module.assumptions(build("lenet5"), set()) == {}


@pytest.mark.parametrize("given, stride, names", [(None, 16, "0"), (False, 16, "0"), (True, 32, "0")])
def test_the_last_pooling_of_vgg16_is_kept_where_the_configuration_says_so(holds, config, tmp_path, given, stride, names):
    model, notes = convert(holds(zeros(VGG)), config=None if given is None else config(last_pool=given))
    image = np.zeros((1, 3, 64, 96), np.float32)
    assert model.backbone(image)[0].shape == (1, 512, 64 // stride, 96 // stride)
    assert any("(stride 16) was assumed" in line and '"last_pool": true' in line for line in notes) == (given is None)
    minicnn.save(tmp_path / "net.npz", model)
    again = minicnn.load(tmp_path / "net.npz")
    assert again.backbone.last_pool is bool(given) and again.architecture_arguments.get("last_pool") is given
    assert again.backbone(image)[0].shape == (1, 512, 64 // stride, 96 // stride)


@pytest.mark.parametrize("architecture", [RESNET, RESNET_V2, MOBILENET, MOBILENET_320, "vgg16"])
def test_the_others_refuse_last_pool(config, architecture):
    with pytest.raises(InputError, match="got 'last_pool' in .*, which is no setting of"):
        module.build_with(architecture, {"last_pool": True}, {}, config(last_pool=True))


@pytest.mark.parametrize("value", [1, "true", None])
def test_last_pool_is_true_or_false(holds, config, value):
    line = refused(holds(zeros(VGG)), config=config(last_pool=value))
    assert f"last_pool={value!r}" in line and "true or false" in line


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
        notes = [line for line in notes if not line.startswith("assumed")]
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

def test_an_array_of_each_kind_that_does_not_fit_is_named(holds):
    arrays = zeros(VGG)
    del arrays["backbone.28.bias"]
    arrays["backbone.99.weight"] = np.zeros(2, np.float32)
    arrays["rpn.head.bbox_pred.bias"] = np.zeros((36, 1), np.float32)
    path = holds(arrays)
    line = refused(path)
    for text in ("net.pth", VGG, "missing backbone.28.bias (512,)", "extra backbone.99.weight",
                 "rpn.head.bbox_pred.bias is (36, 1), expected (36,)"):
        assert text in line
    assert len(line.replace(str(path.parent), "")) <= 300


def test_however_many_arrays_do_not_fit_the_line_is_short(holds):
    """Half of the names are others: the message had 12 400 characters."""
    arrays = zeros(RESNET_V2)
    arrays = {f"x{name}" if number % 2 and "cls_score" not in name and "conv" not in name else name: array
              for number, (name, array) in enumerate(arrays.items())}
    path = holds(arrays)
    line = refused(path).replace(str(path.parent), "")
    assert "missing backbone.body." in line and "extra xbackbone.body." in line and " more" in line and len(line) <= 300


CLS, BODY = "roi_heads.box_predictor.cls_score.weight", "backbone.body."
VGG19_LAYERS = (0, 2, 5, 7, 10, 12, 14, 16, 19, 21, 23, 25, 28, 30, 32, 34)


def resnet(blocks, deep, prefix="", width=64):
    """Names of a ResNet's arrays, by the number of blocks of its third stage."""
    return {f"{prefix}conv1.weight": (64, 3, 7, 7), f"{prefix}layer1.0.conv1.weight": (width, 64, 1, 1),
            **({f"{prefix}layer1.0.conv3.weight": (256, 64, 1, 1)} if deep else {}),
            **{f"{prefix}layer3.{block}.conv1.weight": (256, 256, 1, 1) for block in range(blocks)}}


@pytest.mark.parametrize("names, expected", [
    ({**resnet(6, True, BODY), CLS: (91, 1024), "roi_heads.mask_predictor.mask_fcn_logits.weight": (91, 256, 1, 1)},
     "a Mask R-CNN on ResNet-50"),
    ({**resnet(6, True, BODY), CLS: (2, 1024), "roi_heads.keypoint_predictor.kps_score_lowres.weight": (512, 17, 4, 4)},
     "a Keypoint R-CNN on ResNet-50"),
    ({**resnet(6, True, BODY), "head.classification_head.cls_logits.weight": (819, 256, 3, 3)}, "a RetinaNet on ResNet-50"),
    ({**resnet(6, True, BODY), "head.classification_head.cls_logits.weight": (91, 256, 3, 3),
      "head.regression_head.bbox_ctrness.weight": (1, 256, 3, 3)}, "an FCOS on ResNet-50"),
    ({"backbone.features.0.weight": (64, 3, 3, 3), "head.classification_head.module_list.0.weight": (364, 512, 3, 3)}, "an SSD"),
    ({**resnet(2, False, BODY), CLS: (2, 1024)}, "a Faster R-CNN on ResNet-18"),
    ({**resnet(6, False, BODY), CLS: (2, 1024)}, "a Faster R-CNN on ResNet-34"),
    ({**resnet(23, True, BODY), CLS: (2, 1024)}, "a Faster R-CNN on ResNet-101"),
    ({**resnet(36, True, BODY), CLS: (2, 1024)}, "a Faster R-CNN on ResNet-152"),
    ({**resnet(6, True, BODY, width=128), CLS: (2, 1024)}, "a Faster R-CNN on a ResNeXt or a wide ResNet"),
    ({"backbone.0.0.weight": (32, 3, 3, 3), CLS: (2, 1024)}, "a Faster R-CNN on MobileNetV2"),
    ({**{f"backbone.{i}.weight": (64, 3, 3, 3) for i in VGG19_LAYERS}, CLS: (2, 1024)}, "a Faster R-CNN on a VGG other than VGG16"),
    ({"backbone.0.weight": (64, 3, 7, 7), "backbone.4.0.conv1.weight": (64, 64, 1, 1), CLS: (2, 1024)},
     "a Faster R-CNN on another backbone"),
    ({**{f"features.{i}.weight": (64, 3, 3, 3) for i in VGG19_LAYERS}, "classifier.6.weight": (1000, 4096)}, "a VGG other than VGG16"),
    ({"backbone.body.0.0.weight": (16, 3, 3, 3), CLS: (2, 1024)}, "a Faster R-CNN on another network with a pyramid"),
    ({"backbone.stem.weight": (16, 3, 3, 3), CLS: (2, 1024)}, "a Faster R-CNN on another backbone"),
    ({**resnet(6, True), "fc.weight": (1000, 2048)}, "the classifier ResNet-50"),
    (resnet(2, False), "the backbone ResNet-18, without a detector"),
    ({"features.0.0.weight": (16, 3, 3, 3), "classifier.3.weight": (1000, 1280)}, "a classifier MobileNet"),
])
def test_torchvisions_other_networks_are_named_in_a_short_line(path, names, expected):
    path.write_bytes(weight_file({name: np.zeros(shape, np.float32) for name, shape in names.items()}))
    for prefix in ("", "module."):
        path.write_bytes(weight_file({prefix + name: np.zeros(shape, np.float32) for name, shape in names.items()}))
        line = refused(path)
        assert f"net.pth: got {expected}" in line and f"expected one of {', '.join(module.ARCHITECTURES)}" in line
        assert len(line.replace(str(path.parent), "")) <= 300


def test_of_two_networks_in_a_file_the_key_decides(path, weights):
    other = {name: array + 1 for name, array in weights.items()}
    both = {**{f"model/{name}": array for name, array in weights.items()}, **{f"model_ema/{name}": array for name, array in other.items()}}

    def nested(tensors):
        return {key: {name.partition("/")[2]: one for name, one in tensors.items() if name.startswith(f"{key}/")}
                for key in ("model", "model_ema")}
    path.write_bytes(weight_file(both, wrap=nested))
    assert "got 2 networks (model, model_ema)" in refused(path, MOBILENET_320)
    for key, expected in (("model", weights), ("model_ema", other)):
        model, _ = convert(path, MOBILENET_320, key=key)
        assert all(np.array_equal(array, expected[name]) for name, array in model.named_arrays())


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_weight_that_is_not_finite_is_named(holds, value):
    arrays = zeros(VGG)
    arrays["backbone.5.bias"] = np.r_[np.zeros(127), value]
    line = refused(holds(arrays))
    assert "net.pth" in line and "NaN or infinity in backbone.5.bias" in line


def test_where_it_comes_from(path, weights):
    path.write_bytes(weight_file(weights))
    model, _ = convert(path, MOBILENET_320)
    assert model.record["provenance"]["source"] == {"file": "net.pth", "sha256": sha256(path)}
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
