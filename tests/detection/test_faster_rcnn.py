"""The detectors: torchvision's paths, shapes and settings; wrong settings refused; what ``detect`` takes and gives."""

import ast
import dataclasses
import inspect
import json
import math
import textwrap

import numpy as np
import pytest
from ladder import RELATIVE, relative
from numeric_checks import BACKENDS
from numpy.testing import assert_array_equal
from PIL import Image
from sane import sane_detector

import minicnn
from minicnn import InputError
from minicnn.data.images import as_input
from minicnn.detection import faster_rcnn
from minicnn.detection.faster_rcnn import FasterRCNN
from minicnn.detection.roi_align import MultiScaleRoIAlign
from minicnn.detection.roi_pool import MultiScaleRoIPool
from minicnn.detection.settings import Settings
from minicnn.functional.dispatch import run, use

SMALL = "fasterrcnn_mobilenet_v3_large_320_fpn"
ARCHITECTURES = ["fasterrcnn_vgg16", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_fpn", SMALL]
each_architecture = pytest.mark.parametrize("architecture", ARCHITECTURES)


# paths and shapes, written out from torchvision's networks


def conv(path, out, channels, kernel, bias=False):
    return {f"{path}.weight": (out, channels, kernel, kernel), **({f"{path}.bias": (out,)} if bias else {})}


def norm(path, channels):
    return {f"{path}.{name}": (channels,) for name in ("weight", "bias", "running_mean", "running_var")}


def linear(path, out, features):
    return {f"{path}.weight": (out, features), f"{path}.bias": (out,)}


def vgg():
    shapes, channels = {}, 3
    for width, indices in ((64, (0, 2)), (128, (5, 7)), (256, (10, 12, 14)), (512, (17, 19, 21)), (512, (24, 26, 28))):
        for index in indices:
            shapes |= conv(f"backbone.{index}", width, channels, 3, bias=True)
            channels = width
    return shapes


def resnet():
    shapes, channels = conv("backbone.body.conv1", 64, 3, 7) | norm("backbone.body.bn1", 64), 64
    for stage, (width, blocks) in enumerate(((64, 3), (128, 4), (256, 6), (512, 3)), start=1):
        for block in range(blocks):
            path = f"backbone.body.layer{stage}.{block}"
            for number, (out, into, kernel) in enumerate(((width, channels, 1), (width, width, 3), (4 * width, width, 1)), start=1):
                shapes |= conv(f"{path}.conv{number}", out, into, kernel) | norm(f"{path}.bn{number}", out)
            if block == 0:
                shapes |= conv(f"{path}.downsample.0", 4 * width, channels, 1) | norm(f"{path}.downsample.1", 4 * width)
            channels = 4 * width
    return shapes


def mobilenet():
    blocks = {  # kernel, expanded, out, squeezed
        1: (3, 16, 16, 0), 2: (3, 64, 24, 0), 3: (3, 72, 24, 0), 4: (5, 72, 40, 24), 5: (5, 120, 40, 32), 6: (5, 120, 40, 32),
        7: (3, 240, 80, 0), 8: (3, 200, 80, 0), 9: (3, 184, 80, 0), 10: (3, 184, 80, 0), 11: (3, 480, 112, 120),
        12: (3, 672, 112, 168), 13: (5, 672, 160, 168), 14: (5, 960, 160, 240), 15: (5, 960, 160, 240)}
    shapes, channels = conv("backbone.body.0.0", 16, 3, 3) | norm("backbone.body.0.1", 16), 16
    for index, (kernel, expanded, out, squeezed) in blocks.items():
        path, number = f"backbone.body.{index}.block", 0
        if index > 1:
            shapes |= conv(f"{path}.0.0", expanded, channels, 1) | norm(f"{path}.0.1", expanded)
            number = 1
        shapes |= conv(f"{path}.{number}.0", expanded, 1, kernel) | norm(f"{path}.{number}.1", expanded)
        if squeezed:
            number += 1
            shapes |= conv(f"{path}.{number}.fc1", squeezed, expanded, 1, bias=True)
            shapes |= conv(f"{path}.{number}.fc2", expanded, squeezed, 1, bias=True)
        shapes |= conv(f"{path}.{number + 1}.0", out, expanded, 1) | norm(f"{path}.{number + 1}.1", out)
        channels = out
    return shapes | conv("backbone.body.16.0", 960, 160, 1) | norm("backbone.body.16.1", 960)


def pyramid(channels, normed=False):
    shapes = {}
    for level, into in enumerate(channels):
        for path, n, kernel in ((f"backbone.fpn.inner_blocks.{level}", into, 1), (f"backbone.fpn.layer_blocks.{level}", 256, 3)):
            shapes |= conv(f"{path}.0", 256, n, kernel, bias=not normed) | (norm(f"{path}.1", 256) if normed else {})
    return shapes


def rpn(channels, anchors, depth=1):
    shapes = {}
    for number in range(depth):
        shapes |= conv(f"rpn.head.conv.{number}.0", channels, channels, 3, bias=True)
    return (shapes | conv("rpn.head.cls_logits", anchors, channels, 1, bias=True)
            | conv("rpn.head.bbox_pred", 4 * anchors, channels, 1, bias=True))


def two_linear(channels):
    return linear("roi_heads.box_head.fc6", 1024, 49 * channels) | linear("roi_heads.box_head.fc7", 1024, 1024)


def convolutional():
    shapes = {}
    for number in range(4):
        shapes |= conv(f"roi_heads.box_head.{number}.0", 256, 256, 3) | norm(f"roi_heads.box_head.{number}.1", 256)
    return shapes | linear("roi_heads.box_head.5", 1024, 12544)


def predictor(classes):
    return linear("roi_heads.box_predictor.cls_score", classes, 1024) | linear("roi_heads.box_predictor.bbox_pred", 4 * classes, 1024)


RESNET, MOBILENET = (256, 512, 1024, 2048), (160, 960)
SHAPES = {
    "fasterrcnn_vgg16": vgg() | rpn(512, 9) | two_linear(512) | predictor(21),
    "fasterrcnn_resnet50_fpn": resnet() | pyramid(RESNET) | rpn(256, 3) | two_linear(256) | predictor(91),
    "fasterrcnn_resnet50_fpn_v2": resnet() | pyramid(RESNET, True) | rpn(256, 3, 2) | convolutional() | predictor(91),
    "fasterrcnn_mobilenet_v3_large_fpn": mobilenet() | pyramid(MOBILENET) | rpn(256, 15) | two_linear(256) | predictor(91),
}
SHAPES[SMALL] = SHAPES["fasterrcnn_mobilenet_v3_large_fpn"]


@each_architecture
def test_paths_and_shapes_are_torchvisions(architecture):
    model = minicnn.build(architecture)
    assert {path: array.shape for path, array in model.named_arrays()} == SHAPES[architecture]
    assert {array.dtype for _, array in model.named_arrays()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("architecture, arguments, arrays, parameters", [
    ("fasterrcnn_vgg16", {}, 40, None),
    ("fasterrcnn_resnet50_fpn", {}, 295, 41_755_286),
    ("fasterrcnn_resnet50_fpn", {"norm": "batch"}, 348 - 53, 41_808_406),           # less torch's num_batches_tracked
    ("fasterrcnn_resnet50_fpn_v2", {}, 404 - 65, 43_712_278),
    ("fasterrcnn_mobilenet_v3_large_fpn", {}, 284, 19_386_354),
    ("fasterrcnn_mobilenet_v3_large_fpn", {"norm": "batch"}, 330 - 46, 19_410_754),
    (SMALL, {}, 284, 19_386_354),
])
def test_there_are_as_many_arrays_and_parameters_as_in_torchvision(architecture, arguments, arrays, parameters):
    model = minicnn.build(architecture, **arguments)
    assert len(list(model.named_arrays())) == arrays
    assert parameters in (None, sum(array.size for _, array in model.named_parameters()))


@each_architecture
@pytest.mark.parametrize("classes", [1, 2, 300])
def test_any_number_of_classes(architecture, classes):
    got = minicnn.build(architecture, num_classes=classes, box_head_width=8).roi_heads.box_predictor
    assert got.cls_score.weight.shape == (classes, 8) and got.bbox_pred.weight.shape == (4 * classes, 8)


# settings


def test_the_defaults_are_torchvisions():
    assert dataclasses.asdict(Settings()) == {
        "min_size": 800, "max_size": 1333, "image_mean": (0.485, 0.456, 0.406), "image_std": (0.229, 0.224, 0.225),
        "anchor_sizes": ((32,), (64,), (128,), (256,), (512,)), "aspect_ratios": ((0.5, 1, 2),) * 5,
        "rpn_pre_nms_top_n_train": 2000, "rpn_pre_nms_top_n_test": 1000, "rpn_post_nms_top_n_train": 2000, "rpn_post_nms_top_n_test": 1000,
        "rpn_nms_thresh": 0.7, "rpn_fg_iou_thresh": 0.7, "rpn_bg_iou_thresh": 0.3, "rpn_batch_size_per_image": 256,
        "rpn_positive_fraction": 0.5, "rpn_score_thresh": 0.0, "box_score_thresh": 0.05, "box_nms_thresh": 0.5,
        "box_detections_per_img": 100, "box_fg_iou_thresh": 0.5, "box_bg_iou_thresh": 0.5, "box_batch_size_per_image": 512,
        "box_positive_fraction": 0.25, "bbox_reg_weights": (10, 10, 5, 5),
        "roi_pooling": "align", "roi_output_size": 7, "roi_sampling_ratio": 2, "box_head_width": 1024}


@pytest.mark.parametrize("architecture, sides, top_n, score, sizes", [
    ("fasterrcnn_vgg16", (800, 1333), (1000, 1000), 0, ((128, 256, 512),)),
    ("fasterrcnn_resnet50_fpn", (800, 1333), (1000, 1000), 0, ((32,), (64,), (128,), (256,), (512,))),
    ("fasterrcnn_resnet50_fpn_v2", (800, 1333), (1000, 1000), 0, ((32,), (64,), (128,), (256,), (512,))),
    ("fasterrcnn_mobilenet_v3_large_fpn", (800, 1333), (1000, 1000), 0.05, ((32, 64, 128, 256, 512),) * 3),
    (SMALL, (320, 640), (150, 150), 0.05, ((32, 64, 128, 256, 512),) * 3),
])
def test_each_detector_has_its_own_defaults(architecture, sides, top_n, score, sizes):
    model = minicnn.build(architecture)
    assert (model.transform.min_size, model.transform.max_size) == sides
    assert (model.rpn.pre_nms_top_n, model.rpn.post_nms_top_n) == top_n
    assert model.rpn.score_thresh == score and model.rpn.anchor_sizes == sizes
    assert model.rpn.aspect_ratios == ((0.5, 1, 2),) * len(sizes)


@each_architecture
def test_settings_reach_their_layers(architecture):
    maps = len(minicnn.build(architecture).rpn.anchor_sizes)
    model = minicnn.build(
        architecture, min_size=70, max_size=90, image_mean=[0.1, 0.2, 0.3], image_std=[1, 2, 3], anchor_sizes=[[10, 20]] * maps,
        aspect_ratios=[[1]] * maps, rpn_pre_nms_top_n_test=11, rpn_post_nms_top_n_test=12, rpn_nms_thresh=0.13, rpn_score_thresh=0.14,
        roi_output_size=5, roi_sampling_ratio=0, box_head_width=16, box_score_thresh=0.17, box_nms_thresh=0.18,
        box_detections_per_img=19, bbox_reg_weights=[1, 2, 3, 4])                    # lists, as from a JSON file
    transform, rpn, heads = model.transform, model.rpn, model.roi_heads
    assert (transform.min_size, transform.max_size, transform.image_mean, transform.image_std) == (70, 90, [0.1, 0.2, 0.3], [1, 2, 3])
    assert (rpn.anchor_sizes, rpn.aspect_ratios, rpn.head.cls_logits.out_channels) == ([[10, 20]] * maps, [[1]] * maps, 2)
    assert (rpn.pre_nms_top_n, rpn.post_nms_top_n, rpn.nms_thresh, rpn.score_thresh) == (11, 12, 0.13, 0.14)
    assert isinstance(heads.box_roi_pool, MultiScaleRoIAlign)
    assert (heads.box_roi_pool.output_size, heads.box_roi_pool.sampling_ratio, heads.box_predictor.cls_score.in_features) == (5, 0, 16)
    assert (heads.score_thresh, heads.nms_thresh, heads.detections_per_img, heads.bbox_reg_weights) == (0.17, 0.18, 19, [1, 2, 3, 4])


@pytest.mark.parametrize("architecture", ["fasterrcnn_resnet50_fpn", "fasterrcnn_mobilenet_v3_large_fpn"])
def test_the_norms_have_the_eps_of_detection_or_their_own(architecture):
    def eps(model):
        return {layer.eps for _, layer in model.named_layers() if hasattr(layer, "running_var")}
    assert eps(minicnn.build(architecture)) == eps(minicnn.build(architecture, norm="batch")) == {1e-5}
    assert eps(minicnn.build(architecture, norm_eps=0.0)) == {0}


def refused(arguments, *expected):
    with pytest.raises(InputError) as caught:
        minicnn.build("fasterrcnn_vgg16" if "norm" not in str(arguments) else SMALL, **arguments)
    message = str(caught.value)
    assert "\n" not in message
    for text in expected:
        assert text in message


NAN = math.nan
COUNTS = ["min_size", "max_size", "rpn_pre_nms_top_n_train", "rpn_pre_nms_top_n_test", "rpn_post_nms_top_n_train",
          "rpn_post_nms_top_n_test", "rpn_batch_size_per_image", "roi_output_size", "box_head_width", "box_detections_per_img",
          "box_batch_size_per_image", "num_classes"]
SHARES = ["rpn_nms_thresh", "rpn_fg_iou_thresh", "rpn_bg_iou_thresh", "rpn_positive_fraction", "rpn_score_thresh", "box_score_thresh",
          "box_nms_thresh", "box_fg_iou_thresh", "box_bg_iou_thresh", "box_positive_fraction"]


@pytest.mark.parametrize("name", COUNTS)
@pytest.mark.parametrize("value", [0, -1, 2.5, 10**7, "800", True, None, (), NAN], ids=str)
def test_a_wrong_count_is_refused(name, value):
    refused({name: value}, f"{name}={value!r}, expected an integer of at least 1")


@pytest.mark.parametrize("name", [name for name in COUNTS if name != "min_size"])
def test_a_count_is_one_number(name):
    refused({name: (640, 800)}, f"{name}=(640, 800), expected an integer of at least 1")


@pytest.mark.parametrize("name", SHARES)
@pytest.mark.parametrize("value", [-0.1, 1.5, NAN, math.inf, "0.5", False, None, (0.5,)], ids=str)
def test_a_wrong_share_is_refused(name, value):
    refused({name: value}, f"{name}={value!r}, expected a number from 0 to 1")


@pytest.mark.parametrize("name", ["anchor_sizes", "aspect_ratios"])
@pytest.mark.parametrize("value", [(), ((),), (32, 64), 32, None, "32", ((32, "a"),), ((0,),), ((-1,),), ((NAN,),), ((32, None),)], ids=str)
def test_wrong_lists_are_refused(name, value):
    refused({name: value}, f"{name}={value!r}, expected a list of positive numbers for each map")


@pytest.mark.parametrize("name, values, expected", [
    ("image_mean", [(1, 2), (1, 2, 3, 4), 0.5, "abc", (0.1, 0.2, None), (0, NAN, 0)], "three numbers"),
    ("image_std", [(1, 2), (1, 0, 1), (1, -1, 1), 1], "three positive numbers"),
    ("bbox_reg_weights", [(1, 1, 1), (1, 1, 1, 0), 10, "1234", (1, 1, 1, math.inf)], "four positive numbers"),
    ("roi_pooling", ["max", "", 1, None, []], "'align' or 'pool'"),
    ("roi_sampling_ratio", [1.5, -2, "2", None, True], "an integer; 0 adapts to the box"),
])
def test_other_wrong_values_are_refused(name, values, expected):
    for value in values:
        refused({name: value}, f"{name}={value!r}, expected {expected}")


def test_anchors_that_do_not_fit_the_maps_are_refused():
    refused({"anchor_sizes": ((32,), (64,))}, "2 lists of anchor_sizes and 1 of aspect_ratios")
    refused({"anchor_sizes": ((32,), (64,)), "aspect_ratios": ((1,), (1,))}, "anchor_sizes for 2 maps, expected 1")
    refused({"anchor_sizes": ((32,), (64, 128)), "aspect_ratios": ((1,), (1,))}, "[1, 2] anchors a cell on different maps")


def test_a_wrong_norm_is_refused():
    for arguments in ({"norm": "group"}, {"norm": None}, {"norm_eps": -1}, {"norm_eps": 2}, {"norm_eps": "x"}, {"norm_eps": NAN}):
        refused(arguments, "expected 'frozen' or 'batch', and a number from 0 to 1")


def test_an_unknown_setting_is_refused_by_name():
    refused({"box_thresh": 0.5}, "fasterrcnn_vgg16", "box_thresh")


# detecting


def draw(h, w, seed=0):
    """An image of patches, (H, W, 3) uint8; writing it raises."""
    rng = np.random.default_rng(seed)
    image = np.kron(rng.integers(0, 256, (-(-h // 5), -(-w // 5), 3)), np.ones((5, 5, 1)))[:h, :w].astype(np.uint8)
    image.flags.writeable = False
    return image


@pytest.fixture(scope="module", params=BACKENDS)
def model(request):
    """Small, tuned to an image so that dozens of boxes are found; it computes on each backend in turn."""
    model = sane_detector(SMALL, as_input(draw(120, 150)), min_size=64, num_classes=6, box_head_width=64,
                          anchor_sizes=((16, 24, 32, 48, 64),) * 3)
    model.record["class_names"] = ["__background__", "cat", "dog", "bird"]
    with use(request.param):
        yield model


@pytest.fixture(scope="module")
def found(model):
    return model.detect(draw(120, 150))


def assert_same(got, expected):
    """Bit by bit."""
    assert_array_equal(got.boxes, expected.boxes)
    assert_array_equal(got.labels, expected.labels)
    assert_array_equal(got.scores, expected.scores)
    assert got.names == expected.names


def test_detections_lie_in_the_image_by_descending_score(found):
    assert len(found) >= 12 and len(set(found.labels.tolist())) >= 3
    assert (found.boxes.dtype, found.labels.dtype, found.scores.dtype) == (np.float32, np.int64, np.float32)
    assert (np.diff(found.scores) <= 0).all() and found.scores[-1] > 0.05
    x1, y1, x2, y2 = found.boxes.T
    assert (x1 >= 0).all() and (x1 < x2).all() and (x2 <= 150.001).all()
    assert (y1 >= 0).all() and (y1 < y2).all() and (y2 <= 120.001).all()
    assert x2.max() > 80 and y2.max() > 64                                          # the image's pixels, not the resized one's


def test_labels_without_a_name_are_numbered(model, found):
    assert [model.class_name(label) for label in (1, 3, 4, 5)] == ["cat", "bird", "class 4", "class 5"]
    assert found.names == [model.class_name(label) for label in found.labels]
    assert {"class 4", "class 5"} & set(found.names) and {"cat", "dog", "bird"} & set(found.names)


def test_bytes_are_divided_by_255(model, found):
    image = draw(120, 150)
    divided = image.transpose(2, 0, 1).astype(np.float32) / np.float32(255)
    boxes, scores, labels = model([divided])[0]
    assert_array_equal(found.boxes, boxes)
    assert_array_equal(found.scores, scores)
    assert_array_equal(found.labels, labels)
    values = np.arange(256, dtype=np.float32)
    assert (values / np.float32(255) != values * np.float32(1 / 255)).sum() == 126  # so it matters


def test_a_image_may_be_given_in_many_ways(model, found, tmp_path):
    image = draw(120, 150)
    Image.fromarray(image).save(tmp_path / "picture.png")
    np.save(tmp_path / "picture.npy", image)
    divided = as_input(image)
    for given in (tmp_path / "picture.png", str(tmp_path / "picture.npy"), Image.fromarray(image), divided, divided.transpose(1, 2, 0)):
        assert_same(model.detect(given), found)


def test_a_gray_image_is_one_of_three_equal_colours(model):
    gray = draw(60, 70)[:, :, 0]
    expected = model.detect(np.stack([gray] * 3, axis=2))
    assert len(expected) > 0
    for given in (gray, gray[:, :, None], Image.fromarray(gray)):
        assert_same(model.detect(given), expected)


IMAGES = [draw(120, 150), draw(50, 75, seed=1), draw(80, 100, seed=2)]              # of different size, but all padded to 64 x 96


def test_a_call_takes_a_list_as_one_batch(model):
    inputs = [as_input(image) for image in IMAGES]
    together = model(inputs)
    assert len(together) == 3 and all(len(scores) > 5 for _, scores, _ in together)
    maps = run(model.backbone, model.transform(inputs).pixels)  # not the boxes: of two close scores, the last digit says which is first
    for n, one in enumerate(inputs):
        for x, alone in zip(maps, run(model.backbone, model.transform([one]).pixels)):
            assert relative(x[n:n + 1], alone) <= RELATIVE


@pytest.fixture
def steps(model, monkeypatch):
    """What ``detect`` does, in order: "read", or the number of images of a batch that is run."""
    steps, read, call = [], faster_rcnn.read_reduced, type(model).__call__
    monkeypatch.setattr(faster_rcnn, "read_reduced", lambda image: steps.append("read") or read(image))
    monkeypatch.setattr(type(model), "__call__", lambda self, images: steps.append(len(images)) or call(self, images))
    return steps


def test_detect_reads_and_runs_each_image_of_a_list_by_itself(model, found, steps):
    assert model.detect([]) == [] and steps == []
    together = model.detect(tuple(IMAGES))
    assert steps == ["read", 1] * 3
    assert_same(together[0], found)
    for one, image in zip(together, IMAGES, strict=True):
        assert_same(one, model.detect(image))


def test_a_batch_size_makes_batches_of_a_list(model, steps):
    together = model.detect([*IMAGES, IMAGES[0]], batch_size=3)
    assert steps == ["read"] * 3 + [3, "read", 1]
    for one, (boxes, scores, labels) in zip(together, model([as_input(image) for image in IMAGES])):
        assert_array_equal(one.boxes, boxes)
        assert_array_equal(one.scores, scores)
        assert_array_equal(one.labels, labels)
    assert_same(together[3], model.detect(IMAGES[0]))
    assert_same(model.detect(IMAGES[0], batch_size=np.int64(2)), together[3])


@pytest.mark.parametrize("size", [0, -1, 2.0, "2", None])
def test_a_batch_size_is_a_positive_integer(model, size):
    with pytest.raises(InputError, match="got batch_size=.*, expected an integer of at least 1"):
        model.detect(IMAGES, batch_size=size)


def test_each_image_of_a_list_has_boxes_in_its_own_pixels(model):
    sizes = [(40, 30), (120, 150), (33, 200)]
    results = model.detect([draw(*size) for size in sizes])
    assert len(results) == 3
    for result, (h, w) in zip(results, sizes):
        assert len(result) > 0 and (result.boxes <= np.array([w, h, w, h]) + 0.001).all()


def test_nothing_found_is_an_empty_result(model, monkeypatch):
    monkeypatch.setattr(model.roi_heads, "score_thresh", 1.0)
    nothing = model.detect(draw(60, 70))
    assert len(nothing) == 0 and nothing.names == []
    assert (nothing.boxes.shape, nothing.labels.shape, nothing.scores.shape) == ((0, 4), (0,), (0,))
    assert (nothing.boxes.dtype, nothing.labels.dtype, nothing.scores.dtype) == (np.float32, np.int64, np.float32)


def test_no_proposals_are_an_empty_result(model, monkeypatch):
    monkeypatch.setattr(model.rpn.head.cls_logits, "bias", model.rpn.head.cls_logits.bias - 1000)
    results = model.detect([draw(60, 70), draw(40, 30)])
    assert [(result.boxes.shape, result.labels.dtype) for result in results] == [((0, 4), np.int64)] * 2


@pytest.mark.parametrize("given", [5, None, np.zeros((2, 3, 4, 5)), np.zeros((5, 6), np.int64), np.full((5, 6, 3), 2.0), "missing.jpg"],
                         ids=lambda given: type(given).__name__)
def test_what_is_no_image_is_refused(model, given):
    with pytest.raises(InputError, match="got .*expected"):
        model.detect(given)
    with pytest.raises(InputError, match="got .*expected"):
        model.detect([draw(60, 70), given])


def test_a_saved_detector_finds_the_same(model, found, tmp_path):
    minicnn.save(tmp_path / "net.npz", model)
    loaded = minicnn.load(tmp_path / "net.npz")
    assert loaded.architecture == SMALL and loaded.record["class_names"] == model.record["class_names"]
    assert_same(loaded.detect(draw(120, 150)), found)


def test_settings_from_json_find_the_same(model, found):
    again = minicnn.build(SMALL, **json.loads(json.dumps(model.architecture_arguments)))
    again.load_arrays(dict(model.named_arrays()))
    boxes, _, _ = again([as_input(draw(120, 150))])[0]
    assert_array_equal(boxes, found.boxes)


def test_roi_pool_takes_the_place_of_roi_align(backend):
    image = draw(64, 64)
    model = sane_detector("fasterrcnn_vgg16", as_input(image), min_size=64, num_classes=3, roi_pooling="pool", roi_output_size=3,
                          box_head_width=16, anchor_sizes=((16, 32),), rpn_post_nms_top_n_test=50)
    assert isinstance(model.roi_heads.box_roi_pool, MultiScaleRoIPool)
    pooled = model.detect(image)
    model.roi_heads.box_roi_pool = MultiScaleRoIAlign(3, 2)
    aligned = model.detect(image)
    assert len(pooled) > 0 and not np.array_equal(pooled.scores[:1], aligned.scores[:1])


@pytest.mark.parametrize("architecture, read, pooled", [
    ("fasterrcnn_vgg16", 1, 1), ("fasterrcnn_resnet50_fpn", 5, 4), ("fasterrcnn_resnet50_fpn_v2", 5, 4),
    ("fasterrcnn_mobilenet_v3_large_fpn", 3, 2), (SMALL, 3, 2)])
def test_only_the_proposals_are_read_from_the_extra_map(architecture, read, pooled):
    counts, model = [], minicnn.build(architecture, min_size=32, max_size=64, box_head_width=8)
    model.rpn = lambda maps, batch: counts.append(len(maps))
    model.roi_heads = lambda maps, proposals, batch: counts.append(len(maps)) or []
    model([as_input(draw(32, 32))])
    assert counts == [read, pooled]


@pytest.mark.parametrize("arguments, shape", [({}, (3, 320, 426)), ({"min_size": 600, "max_size": 1000}, (3, 600, 800)),
                                              ({"min_size": 300, "max_size": 320}, (3, 300, 320))], ids=str)
def test_costs_are_counted_at_a_image_that_is_not_resized(arguments, shape):
    model = minicnn.build(SMALL, **arguments)
    assert model.input_shape == shape and model.transform.size(*shape[1:]) == shape[1:]


# reading


@each_architecture
def test_every_step_is_one_call_into_the_file_of_its_name(architecture):
    tree = ast.parse(textwrap.dedent(inspect.getsource(FasterRCNN.__call__)))
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    called = [call.args[0] if ast.unparse(call.func) == "run" else call.func for call in sorted(calls, key=lambda call: call.lineno)]
    steps = [step.attr for step in called if isinstance(step, ast.Attribute) and ast.unparse(step) == f"self.{step.attr}"]
    assert steps == ["transform", "backbone", "rpn", "roi_heads"]
    model = minicnn.build(architecture, box_head_width=8)
    for step in steps:
        assert type(getattr(model, step)).__module__ == f"minicnn.detection.{step}"


def test_none_stands_for_the_default_where_torchvision_says_so():
    model = minicnn.build(SMALL, image_mean=None, image_std=None, bbox_reg_weights=None)
    assert (model.transform.image_mean, model.transform.image_std) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert model.roi_heads.bbox_reg_weights == (10.0, 10.0, 5.0, 5.0)


def test_of_several_sizes_evaluation_takes_the_last():
    assert minicnn.build(SMALL, min_size=[480, 512]).transform.min_size == 512
    refused({"min_size": (640, "800")}, "min_size='800', expected an integer of at least 1")
