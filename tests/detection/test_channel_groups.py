"""The channel groups of detectors: all there are, and channels that nobody reads can go without changing any answer."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

import minicnn
from minicnn.compression.channels import channel_columns, prune_group
from minicnn.compression.low_rank import LowRank
from minicnn.models import BUILDERS

SMALL = {"min_size": 64, "max_size": 96, "rpn_post_nms_top_n_test": 20, "num_classes": 4, "box_head_width": 64}
DETECTORS = [name for name, builder in BUILDERS.items() if builder.startswith("minicnn.detection.")]


def generator(seed=0):
    return np.random.default_rng(seed)


def network(name):
    """With norms that are not alike, so that a wrong order of channels is seen."""
    model, rng = minicnn.build(name, rng=generator(), **SMALL), generator(1)
    for path, array in model.named_arrays():
        if path.endswith(("running_mean", "running_var")) or array.ndim == 1:
            array[...] = rng.uniform(0.5, 1.5, array.shape)
    return model


def answers(model, x):
    """The maps, the RPN's answers and the box head's for some boxes."""
    maps = model.backbone(x)
    boxes = [np.array([[3, 4, 40, 30], [10, 10, 60, 50]], np.float32)]
    pooled = model.roi_heads.box_roi_pool(maps[:model.pooled_maps], boxes, [x.shape[2:]])
    heads = [array for one in maps for array in model.rpn.head(one)]
    return [*heads, *model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))]


def ignore(model, group, channels):
    """Let nobody read these channels."""
    for path, columns in group.consumers:
        model.get_layer(path).weight[:, channel_columns(channels, columns)] = 0
    for path in group.followers:
        if path.rpartition(".")[2].isdecimal() and hasattr(model.get_layer(path), "fc1"):
            model.get_layer(path).fc1.weight[:, channels] = 0


def test_the_groups_of_vgg16():
    groups = minicnn.build("fasterrcnn_vgg16", **SMALL).channel_groups()
    convs = [f"backbone.{number}" for number in (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)]
    assert [group.producers for group in groups] == [
        *((path,) for path in convs), ("rpn.head.conv.0.0",), ("roi_heads.box_head.fc6",), ("roi_heads.box_head.fc7",)]
    assert not any(group.followers for group in groups)
    assert [group.consumers for group in groups[:12]] == [((path, 1),) for path in convs[1:]]
    assert groups[12].consumers == (("rpn.head.conv.0.0", 1), ("roi_heads.box_head.fc6", 49))
    assert groups[13].consumers == (("rpn.head.cls_logits", 1), ("rpn.head.bbox_pred", 1))
    assert groups[15].consumers == (("roi_heads.box_predictor.cls_score", 1), ("roi_heads.box_predictor.bbox_pred", 1))


def test_the_groups_of_a_pyramid():
    groups = {group.producers[0]: group for group in minicnn.build("fasterrcnn_resnet50_fpn_v2", **SMALL).channel_groups()}
    assert len(groups) == 1 + 2 * 16 + 2 + 2 + 5
    first = groups["backbone.body.conv1"]               # read twice by the first block, and added to nothing
    assert first.producers == ("backbone.body.conv1",) and first.followers == ("backbone.body.bn1",)
    assert first.consumers == (("backbone.body.layer1.0.conv1", 1), ("backbone.body.layer1.0.downsample.0", 1))
    block = groups["backbone.body.layer2.1.conv2"]
    assert block.followers == ("backbone.body.layer2.1.bn2",) and block.consumers == (("backbone.body.layer2.1.conv3", 1),)
    merged, maps = groups["backbone.fpn.inner_blocks.0.0"], groups["backbone.fpn.layer_blocks.0.0"]
    assert merged.producers == tuple(f"backbone.fpn.inner_blocks.{level}.0" for level in range(4))
    assert merged.followers == tuple(f"backbone.fpn.inner_blocks.{level}.1" for level in range(4))
    assert merged.consumers == tuple((f"backbone.fpn.layer_blocks.{level}.0", 1) for level in range(4))
    assert len(maps.producers) == len(maps.followers) == 4
    assert maps.consumers == (("rpn.head.conv.0.0", 1), ("roi_heads.box_head.0.0", 1))
    assert groups["roi_heads.box_head.3.0"].consumers == (("roi_heads.box_head.5", 49),)


def test_depthwise_and_squeezed_follow():
    groups = {group.producers[0]: group for group in minicnn.build("fasterrcnn_mobilenet_v3_large_320_fpn", **SMALL).channel_groups()}
    block = "backbone.body.4.block"
    assert groups[f"{block}.0.0"].followers == (f"{block}.0.1", f"{block}.1.0", f"{block}.1.1", f"{block}.2")
    assert groups[f"{block}.0.0"].consumers == ((f"{block}.3.0", 1),)
    assert groups[f"{block}.2.fc1"].consumers == ((f"{block}.2.fc2", 1),)
    last = groups["backbone.body.16.0"]                         # a map that the pyramid alone reads
    assert last.producers == ("backbone.body.16.0",) and last.followers == ("backbone.body.16.1",)
    assert last.consumers == (("backbone.fpn.inner_blocks.1.0", 1),)
    assert not {"backbone.body.0.0", "backbone.body.15.block.3.0"} & groups.keys()              # their channels are added to others'
    assert "backbone.body.1.block.0.0" not in groups            # its channels come from outside and are added to what goes out


@pytest.mark.parametrize("name", DETECTORS)
def test_channels_that_nobody_reads_can_go(name):
    model, x = network(name), generator(2).standard_normal((1, 3, 64, 96)).astype(np.float32)
    gone = {}
    for number, group in enumerate(model.channel_groups()):
        channels = len(model.get_layer(group.producers[0]).weight)
        gone[number] = np.sort(generator(number).permutation(channels)[:channels // 3])
        ignore(model, group, gone[number])
    expected, before = answers(model, x), sum(array.size for _, array in model.named_arrays())
    for number, group in enumerate(model.channel_groups()):
        prune_group(model, group, gone[number])
    assert sum(array.size for _, array in model.named_arrays()) < 0.75 * before
    for got, wanted in zip(answers(model, x), expected):
        assert got.shape == wanted.shape
        assert_allclose(got, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_what_was_split_in_a_pyramids_body_has_groups_too():
    model = minicnn.build("fasterrcnn_mobilenet_v3_large_320_fpn", rng=generator(), **SMALL)
    for path in ("backbone.body.16.0", "backbone.fpn.inner_blocks.1.0"):
        model.replace_layer(path, LowRank(model.get_layer(path)).layers((40, 40)))
    groups = {group.producers[0]: group for group in model.channel_groups()}
    assert groups["backbone.body.16.0.1"].consumers == (("backbone.fpn.inner_blocks.1.0.0", 1),)
    model = minicnn.build("fasterrcnn_resnet50_fpn", rng=generator(), **SMALL)
    for path in ("backbone.body.conv1", "backbone.body.layer1.0.downsample.0"):
        model.replace_layer(path, LowRank(model.get_layer(path)).layers((3, 20)))
    groups = {group.producers[0]: group for group in model.channel_groups()}
    assert groups["backbone.body.conv1.0"].consumers == (("backbone.body.conv1.1", 1),)
    assert groups["backbone.body.conv1.2"].followers == ("backbone.body.bn1",)
    assert groups["backbone.body.conv1.2"].consumers == (("backbone.body.layer1.0.conv1", 1), ("backbone.body.layer1.0.downsample.0.0", 1))


def test_what_was_split_has_groups_too():
    model = minicnn.build("fasterrcnn_vgg16", rng=generator(), **SMALL)
    for path in ("backbone.26", "backbone.28", "rpn.head.conv.0.0"):
        model.replace_layer(path, LowRank(model.get_layer(path)).layers((40, 30)))
    groups = {group.producers[0]: group for group in model.channel_groups()}
    assert groups["backbone.26.0"].consumers == (("backbone.26.1", 1),)
    assert groups["backbone.26.2"].consumers == (("backbone.28.0", 1),)
    assert groups["backbone.28.2"].consumers == (("rpn.head.conv.0.0.0", 1), ("roi_heads.box_head.fc6", 49))
    assert groups["rpn.head.conv.0.0.2"].consumers == (("rpn.head.cls_logits", 1), ("rpn.head.bbox_pred", 1))
