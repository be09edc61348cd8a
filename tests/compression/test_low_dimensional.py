"""Which filters of low-dimensional convolutions are removed, and what bounds it."""

import copy

import numpy as np
import pytest
from calibration_cases import HEADS, MAPS, SMALL, generator, images, weak_detector
from numpy.testing import assert_array_equal

import minicnn
from minicnn.compression.channels import stays_whole
from minicnn.compression.filter_statistics import cluster_filters
from minicnn.compression.hybrid import HybridOptions
from minicnn.compression.low_dimensional import prune_low_dimensional
from minicnn.compression.low_rank import LowRank
from minicnn.compression.observe import observe


def test_low_dimensional_layers_lose_weak_filters_to_a_multiple_of_eight():
    model = weak_detector()
    layer = model.get_layer("backbone.3")
    weak = cluster_filters(layer.weight, rng=generator())
    assert_array_equal(np.flatnonzero(weak.labels == weak.weak), np.arange(10))
    before = copy.deepcopy(model)
    removed, kept, columns = prune_low_dimensional(model, HybridOptions(low=16, layers=("backbone.3",), loss=0.6), generator())
    assert list(removed) == list(kept) == ["backbone.3"]
    assert set(removed["backbone.3"]) <= set(range(10)) and len(kept["backbone.3"]) == 8
    assert_array_equal(np.sort(np.concatenate([removed["backbone.3"], kept["backbone.3"]])), np.arange(16))
    assert_array_equal(columns["backbone.6"], kept["backbone.3"])
    assert_array_equal(model.get_layer("backbone.6").weight, before.get_layer("backbone.6").weight[:, kept["backbone.3"]])


@pytest.mark.parametrize("options, expected", [
    (HybridOptions(low=16, layers=("backbone.3",), loss=0.1), 16), (HybridOptions(low=8), 16),
    (HybridOptions(low=16, left_out=("backbone.*",)), 16),
    (HybridOptions(low=16, loss=0.6), 8)], ids=["loss", "wide", "left out", "much"])
def test_limits_of_pruning(options, expected):
    model = weak_detector()
    prune_low_dimensional(model, options, generator())
    assert len(model.get_layer("backbone.3").weight) == expected


def test_a_follower_that_stays_whole_keeps_the_filters_before_it():
    model = minicnn.build("fasterrcnn_mobilenet_v3_large_320_fpn", rng=generator(), **SMALL)
    group = next(group for group in model.channel_groups() if len(group.followers) > 2 and len(group.producers) == 1)
    inner = [path for follower in group.followers for path, _ in model.get_layer(follower).named_layers(follower)]
    for path in (group.producers[0], *inner):
        assert stays_whole(model, group, (path,))
    assert not stays_whole(model, group, ()) and not stays_whole(model, group, tuple(path for path, _ in group.consumers))


def test_a_layer_that_stays_whole_keeps_its_filters_but_reads_what_is_left():
    model = weak_detector()
    prune_low_dimensional(model, HybridOptions(low=16, loss=0.6, left_out=("backbone.6",)), generator())
    assert model.get_layer("backbone.6").weight.shape[:2] == (16, 8)


def test_filters_that_are_all_alike_are_not_all_removed():
    model = weak_detector()
    layer = model.get_layer("backbone.3")
    layer.weight[...], layer.bias[...] = 0, -1                            # and behind the ReLU they never vary
    options = HybridOptions(low=16, layers=("backbone.3",))
    removed, kept, _ = prune_low_dimensional(model, options, generator(), observe(model, images(), generator(), MAPS + HEADS))
    assert len(removed["backbone.3"]) == len(kept["backbone.3"]) == 8


def test_parts_of_a_decomposed_layer_are_not_pruned():
    model = weak_detector()
    model.replace_layer("backbone.6", LowRank(model.get_layer("backbone.6")).layers((16, 16)))
    options = HybridOptions(low=16, layers=("backbone.6.*",), loss=1.0)
    assert prune_low_dimensional(copy.deepcopy(model), options, generator())[0]
    model.record["surgery"] = [{"split": {"backbone.6": [16, 16]}}]
    assert prune_low_dimensional(model, options, generator()) == ({}, {}, {})


def test_with_images_removed_channels_are_folded_into_the_others():
    model = weak_detector()
    seen = observe(model, images(), generator(), MAPS + HEADS)
    before, options = copy.deepcopy(model), HybridOptions(low=16, layers=("backbone.3",))
    removed, kept, _ = prune_low_dimensional(model, options, generator(), seen)
    assert removed                                                      # weak filters say little that the others do not
    cut_off = copy.deepcopy(before)
    prune_low_dimensional(cut_off, options._replace(loss=1.0), generator())
    batch = model.prepare(images(1, seed=5)[0])
    expected, *found = (network.backbone_and_rpn(batch.pixels)[0][0] for network in (before, model, cut_off))
    errors = [((one - expected) ** 2).sum() / ((expected - expected.mean()) ** 2).sum() for one in found]
    assert errors[0] < 0.02 and errors[0] < 0.5 * errors[1]
