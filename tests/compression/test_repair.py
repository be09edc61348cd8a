"""Repair: layer by layer the smaller network comes nearer to the original."""

import copy

import numpy as np
import pytest
from calibration_cases import HEADS, MAPS, SMALL, generator, images
from numpy.testing import assert_allclose, assert_array_equal
from sane import sane_detector
from toy_detector import toy_detector

from minicnn.compression import regression
from minicnn.compression import repair as module
from minicnn.compression.channels import prune_group
from minicnn.compression.low_rank import LowRank
from minicnn.compression.observe import at, observe
from minicnn.compression.repair import patches, repair
from minicnn.errors import InputError
from minicnn.hooks import watch
from minicnn.layers import Conv2d

COUNT = 20


@pytest.fixture(scope="module")
def original():
    model = toy_detector(rng=generator(), min_size=96, max_size=128)
    for _, array in model.named_arrays():
        if array.ndim == 1:
            array[...] = generator(3).uniform(-0.1, 0.1, array.shape)
    return model


@pytest.fixture(scope="module")
def seen(original):
    return observe(original, images(COUNT), generator(), MAPS + HEADS)


def decomposed(model, ranks):
    """A copy with layers decomposed at these {path: ranks}, by their weights alone."""
    small = copy.deepcopy(model)
    for path, one in ranks.items():
        small.replace_layer(path, LowRank(small.get_layer(path)).layers(one))
    return small


RANKS = {"backbone.6": (8, 8), "rpn.head.conv.0.0": (8, 8), "roi_heads.box_head.fc6": (8, 8)}


def surgery(paths):
    """As it stands in a file's history: layers decomposed, none pruned."""
    return {"removed": {}, "split": dict.fromkeys(paths)}


def distance(model, original, path):
    """The mean square of what a layer's outputs lack on new images, over their variance."""
    found, new = [], images(6, seed=99)
    batches = [original.prepare(image) for image in new]
    proposals = [original.pool_rois(original.backbone_and_rpn(batch.pixels)[0], batch)[0] for batch in batches]
    for network in (model, original):
        outputs = []
        with watch(network, {path: lambda x, y, outputs=outputs: outputs.append(y)}):
            for batch, boxes in zip(batches, proposals):
                network.box_head(network.pool_rois(network.backbone_and_rpn(batch.pixels)[0], batch, boxes)[1])
        found.append(np.concatenate([np.moveaxis(y, 1, -1).reshape(-1, y.shape[1]) for y in outputs]))
    found = [np.maximum(y, 0) for y in found]                            # as the ReLU behind these layers lets it through
    return ((found[0] - found[1]) ** 2).mean() / found[1].var(axis=0).mean()


def test_the_outputs_come_nearer_to_the_original(original, seen):
    small = decomposed(original, RANKS)
    before = {path: distance(small, original, path) for path in RANKS}
    rows = repair(small, original, seen, surgery(RANKS))
    assert [row["path"] for row in rows] == list(RANKS)                  # other layers keep their weights
    for row in rows:
        assert row["after"] <= row["before"]
        assert distance(small, original, row["path"]) < before[row["path"]]
    assert distance(small, original, "rpn.head.conv.0.0") < 0.7 * before["rpn.head.conv.0.0"]


def test_first_layers_are_fitted_unless_told_otherwise(original, seen):
    one, other, ranks = decomposed(original, RANKS), decomposed(original, RANKS), list(RANKS)
    firsts = {path: one.get_layer(path).children()[0][1].weight for path in ranks}
    without, rows = (repair(small, original, seen, surgery(RANKS), refit_first=refit) for small, refit in ((one, False), (other, True)))
    for path, left, row in zip(ranks, without, rows):
        assert left["first_strength"] is None
        assert_array_equal(one.get_layer(path).children()[0][1].weight, firsts[path])
        assert row["first_strength"] is not None and not np.array_equal(other.get_layer(path).children()[0][1].weight, firsts[path])
    assert rows[0]["before"] == pytest.approx(without[0]["before"], rel=1e-3) and rows[0]["after"] < 0.95 * without[0]["after"]


@pytest.mark.parametrize("held", [0, 200_000, 2**27])
def test_resumed_after_any_layer_it_ends_alike(original, seen, held, monkeypatch):
    monkeypatch.setattr(module, "HELD", held)
    whole, stages = decomposed(original, RANKS), []
    rows = repair(whole, original, seen, surgery(RANKS), on_layer=lambda rows: stages.append((copy.deepcopy(whole), list(rows))))
    for small, done in stages:
        assert repair(small, original, seen, surgery(RANKS), done) == rows
        for (name, a), (_, b) in zip(small.named_arrays(), whole.named_arrays()):
            assert_array_equal(a, b, err_msg=name)


def test_nothing_is_lost_at_full_rank(original, seen):
    small = decomposed(original, {"backbone.3": (8, 16), "backbone.6": (16, 16)})
    for row in repair(small, original, seen, surgery({"backbone.3", "backbone.6"})):
        assert row["after"] < 1e-4
    assert distance(small, original, "backbone.6") < 1e-4


def test_shapes_and_dtypes_stay(original, seen):
    small = decomposed(original, RANKS)
    shapes = {name: (array.shape, array.dtype) for name, array in small.named_arrays()}
    repair(small, original, seen, surgery(RANKS))
    assert {name: (array.shape, array.dtype) for name, array in small.named_arrays()} == shapes


def test_a_duplicate_filter_can_be_removed_without_loss(original, monkeypatch):
    monkeypatch.setattr(regression, "ROUNDS", 20)       # to the end: each round of targets goes a part of the way
    duplicated = copy.deepcopy(original)
    layer = duplicated.get_layer("backbone.3")
    layer.weight[5], layer.bias[5] = layer.weight[2], layer.bias[2]
    seen = observe(duplicated, images(COUNT), generator(), MAPS + HEADS)
    small = copy.deepcopy(duplicated)
    group = next(one for one in small.channel_groups() if one.producers == ("backbone.3",))
    prune_group(small, group, [5])
    before = distance(small, duplicated, "backbone.6")
    rows = repair(small, duplicated, seen, {"removed": {"backbone.3": [5]}, "split": {}})
    assert rows[0]["path"] == "backbone.6" and rows[0]["after"] < 0.01 * rows[0]["before"]
    assert distance(small, duplicated, "backbone.6") < 0.01 * before


BLOCK = "backbone.body.4.block"        # of MobileNet: 24 channels -> 72, squeezed to 24, -> 40


def test_squeeze_and_excitation_is_fitted_at_the_channels_that_are_left():
    original = sane_detector("fasterrcnn_mobilenet_v3_large_320_fpn", generator(2).random((3, 64, 80), np.float32), **SMALL)
    gone = {f"{BLOCK}.0.0": [0, 7, 30, 71], f"{BLOCK}.2.fc1": [3, 20]}
    paths = [f"{BLOCK}.2.fc1", f"{BLOCK}.2.fc2", f"{BLOCK}.3.0"]
    expanded, squeezed = gone.values()
    for path, unused in zip(paths, (expanded, squeezed, expanded)):
        original.get_layer(path).weight[:, unused] = 0
    seen = observe(original, images(10), generator(), paths)
    small = copy.deepcopy(original)
    for group in original.channel_groups():
        if group.producers[0] in gone:
            prune_group(small, group, gone[group.producers[0]])
    rows = repair(small, original, seen, {"removed": gone, "split": {}})
    assert [row["path"] for row in rows] == paths
    assert all(row["after"] <= row["before"] < 1e-4 for row in rows)     # nobody has read what was removed


def test_images_without_proposals_are_left_out(original, seen):
    few = copy.deepcopy(seen)
    for number in range(COUNT - 6):
        few.proposals[number] = few.proposals[number][:0]
        for path in HEADS:
            few.outputs[path][number] = [rows[:0] for rows in few.outputs[path][number]]
            few.points[path][number] = [tuple(place[:0] for place in points) for points in few.points[path][number]]
    small = decomposed(original, RANKS)
    before = distance(small, original, "roi_heads.box_head.fc6")
    rows = repair(small, original, few, surgery(RANKS))
    assert [row["path"] for row in rows] == list(RANKS) and np.isfinite([row["after"] for row in rows]).all()
    assert distance(small, original, "roi_heads.box_head.fc6") < before
    few.proposals[-2:] = [boxes[:0] for boxes in few.proposals[-2:]]
    with pytest.raises(InputError, match="got boxes proposed in 4 of 20 images to repair from, expected them in at least 5. Give images"):
        repair(small, original, few, surgery(RANKS))


def test_only_the_bias_of_a_wide_layer_is_fitted(original, seen, monkeypatch):
    monkeypatch.setattr(module, "WIDEST", 10)
    small = decomposed(original, {"backbone.6": (8, 8)})
    arrays = {name: array.copy() for name, array in small.named_arrays()}
    rows = repair(small, original, seen, surgery({"backbone.6"}))
    assert [row["strength"] for row in rows] == [None]
    changed = {name for name, array in small.named_arrays() if not np.array_equal(array, arrays[name])}
    assert changed == {"backbone.6.2.bias"}
    assert distance(small, original, "backbone.6") < distance(decomposed(original, {"backbone.6": (8, 8)}), original, "backbone.6")


def test_starting_at_kept_inputs_or_at_the_images_is_alike(original, seen, monkeypatch):
    one, other = decomposed(original, RANKS), decomposed(original, RANKS)
    repair(one, original, seen, surgery(RANKS))
    monkeypatch.setattr(module, "HELD", 0)
    repair(other, original, seen, surgery(RANKS))
    for (name, a), (_, b) in zip(one.named_arrays(), other.named_arrays()):
        assert_allclose(a, b, atol=0.02 * np.abs(b).max(), err_msg=name)          # what is kept is kept in float16


def test_one_seed_one_result(original, seen):
    one, other = decomposed(original, RANKS), decomposed(original, RANKS)
    repair(one, original, seen, surgery(RANKS))
    repair(other, original, seen, surgery(RANKS))
    for (_, a), (_, b) in zip(one.named_arrays(), other.named_arrays()):
        assert_array_equal(a, b)


def test_too_few_images(original):
    seen = observe(original, images(9), generator(), ["backbone.3"])
    with pytest.raises(InputError, match="got 9 images to repair from, expected at least 10"):
        repair(original, original, seen, surgery({"backbone.3"}))


@pytest.mark.parametrize("settings", [{"padding": 1}, {"stride": 2, "padding": 1}, {"dilation": 2, "padding": 2}, {"stride": (1, 3)}],
                         ids=str)
def test_patches_times_filters_are_outputs(settings):
    layer = Conv2d(4, 6, 3, rng=generator(), **settings)
    x = generator(1).standard_normal((2, 4, 9, 11)).astype(np.float32)
    y = layer(x)
    points = tuple(generator(2).integers(0, side, 20) for side in y[:, 0].shape)
    assert_allclose(patches(layer, x, points) @ layer.weight.reshape(6, -1).T + layer.bias, at(y, points), atol=1e-5)
