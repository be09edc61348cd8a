"""The paper's method for detectors: what is pruned, what is split, at which ranks, and that targets are met."""

import copy

import numpy as np
import pytest
from calibration_cases import HEADS, MAPS, RATES, SMALL, generator, images
from numpy.testing import assert_allclose, assert_array_equal
from toy_detector import toy_detector

import minicnn
from minicnn.compression.budget import Candidate
from minicnn.compression.cost_model import machine_cost_model, network_milliseconds
from minicnn.compression.cost_table import cost_table
from minicnn.compression.filter_statistics import cluster_filters
from minicnn.compression.hybrid import HybridOptions, LayerDecision, decomposable, prune_and_decompose
from minicnn.compression.low_dimensional import prune_low_dimensional
from minicnn.compression.low_rank import LowRank
from minicnn.compression.observe import observe
from minicnn.compression.output_errors import weigh_errors
from minicnn.compression.rules import RankRule
from minicnn.errors import InputError
from minicnn.models import BUILDERS

DETECTORS = [name for name, builder in BUILDERS.items() if builder.startswith("minicnn.detection.")]

COSTS = machine_cost_model("numpy", RATES)


def network():
    """A toy, one of whose layers has ten weak filters of sixteen."""
    model = toy_detector(rng=generator(), box_head_width=64)
    model.record = {"surgery": [], "class_names": []}
    model.get_layer("backbone.3").weight[:10] *= 0.01
    return model


def cut(model, rule, options=None, **more):
    return prune_and_decompose(model, rule, options or HybridOptions(low=8), rng=generator(), cost_model=COSTS, **more)


def test_low_dimensional_layers_lose_weak_filters_to_a_multiple_of_eight():
    model = network()
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
def test_what_bounds_pruning(options, expected):
    model = network()
    prune_low_dimensional(model, options, generator())
    assert len(model.get_layer("backbone.3").weight) == expected


def test_filters_that_are_all_alike_do_not_all_go():
    model = network()
    layer = model.get_layer("backbone.3")
    layer.weight[...], layer.bias[...] = 0, -1                            # and behind the rectifier they never vary
    options = HybridOptions(low=16, layers=("backbone.3",))
    removed, kept, _ = prune_low_dimensional(model, options, generator(), observe(model, images(), generator(), MAPS + HEADS))
    assert len(removed["backbone.3"]) == len(kept["backbone.3"]) == 8


def test_ranks_of_an_earlier_split_are_not_pruned():
    model = network()
    model.replace_layer("backbone.6", LowRank(model.get_layer("backbone.6")).layers((16, 16)))
    options = HybridOptions(low=16, layers=("backbone.6.*",), loss=1.0)
    assert prune_low_dimensional(copy.deepcopy(model), options, generator())[0]
    model.record["surgery"] = [{"split": {"backbone.6": [16, 16]}}]
    assert prune_low_dimensional(model, options, generator()) == ({}, {}, {})


def test_with_images_the_other_channels_stand_in():
    model = network()
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


def test_what_can_be_split():
    model = network()
    everything = ["backbone.6", "rpn.head.conv.0.0", "rpn.head.bbox_pred", *HEADS[:2], HEADS[3]]
    assert decomposable(model, HybridOptions(low=8)) == everything
    assert decomposable(model, HybridOptions(low=8, linear=False)) == everything[:3]
    assert decomposable(model, HybridOptions(low=8, left_out=("rpn.*",))) == [path for path in everything if not path.startswith("rpn.")]
    assert decomposable(model, HybridOptions(low=8, layers=("backbone.?", "*fc6"))) == ["backbone.6", HEADS[0]]
    assert decomposable(model, HybridOptions(low=16)) == HEADS[:2] + HEADS[3:]
    model.record["surgery"] = [{"split": {"backbone.6": [8, 8]}}]
    model.replace_layer("backbone.6", LowRank(model.get_layer("backbone.6")).layers((16, 16)))
    assert decomposable(model, HybridOptions(low=8)) == everything[1:]


@pytest.mark.parametrize("kind, key, share", [("parameters", "parameters", 0.75), ("macs", "macs", 0.9), ("storage", "bytes", 0.8)])
@pytest.mark.parametrize("watched", [False, True], ids=["weights", "output"])
def test_targets_are_met_and_hardly_more(kind, key, share, watched):
    model = network()
    before = cost_table(model, model.input_shape)
    seen = observe(model, images(), generator(), MAPS + HEADS) if watched else None
    surgery = cut(model, RankRule(kind, share), observation=seen)
    after = cost_table(model, model.input_shape)
    assert 0.75 * share * before[key] < after[key] <= share * before[key]
    if kind == "storage":
        assert after["convolution_parameters"] <= share * before["convolution_parameters"]
    ranks = surgery.ranks()
    assert ranks and all(rank % 8 == 0 or path == HEADS[0] for path, one in ranks.items() for rank in one)      # that one mixes pixels
    for layer in surgery.decisions:
        assert bool(layer.chosen.ranks) == (not layer.reason)
        here = model.get_layer(layer.path)
        assert len(here.children()) == ((3 if layer.low_rank.tucker else 2) if layer.chosen.ranks else 0)


def test_errors_are_told_by_what_they_do_to_the_answers():
    model = network()
    model.get_layer("rpn.head.cls_logits").weight[...] = 0               # nothing hears what the RPN's convolution says
    model.get_layer("rpn.head.bbox_pred").weight[...] = 0
    seen = observe(model, images(), generator(), MAPS + HEADS)
    arrays = {name: array.copy() for name, array in model.named_arrays()}
    layers = []
    for path in ("backbone.6", "rpn.head.conv.0.0"):
        split = LowRank(model.get_layer(path), seen.inputs[path], seen.all_outputs(path))
        narrower = [Candidate((rank, rank), split.error((rank, rank)), 2, 2, 2.0) for rank in (12, 8)]
        layers.append(LayerDecision(path, split, [Candidate(None, 0.0, 4, 4, 4.0), *narrower], None))
    before = [one.error for one in layers[0].candidates]
    weigh_errors(model, layers, seen)
    heard, deaf = ([one.error for one in layer.candidates] for layer in layers)
    assert deaf == [0, 0, 0] and heard[0] == 0 and 0 < heard[1] < heard[2]
    assert heard[1] / heard[2] == pytest.approx(before[1] / before[2])
    for name, array in model.named_arrays():
        assert_array_equal(array, arrays[name])


def test_errors_are_not_weighed_by_a_box_head_that_nobody_watched():
    model = network()
    seen = observe(model, images(), generator(), MAPS)
    surgery = cut(model, RankRule("macs", 0.95), HybridOptions(low=8, linear=False, left_out=("roi_heads.*",)), observation=seen)
    assert all(offer.error > 0 for layer in surgery.decisions for offer in layer.candidates[1:])


def test_a_target_of_time_is_met_as_predicted():
    model = network()
    before = network_milliseconds(model, cost_table(model, model.input_shape), COSTS)
    assert cut(model, RankRule("time", 0.95)).ranks()
    assert 0.75 * before < network_milliseconds(model, cost_table(model, model.input_shape), COSTS) <= 0.95 * before


def test_a_target_out_of_reach_says_the_nearest():
    with pytest.raises(InputError, match=r"got a target of 0.01 of the convolutions, expected at least 0\.\d+: "):
        cut(network(), RankRule("storage", 0.01))


@pytest.mark.parametrize("rule", [RankRule("energy", 0.6), RankRule("evbmf")], ids=str)
def test_ranks_by_rule_are_multiples_of_eight(rule):
    model = network()
    surgery = cut(model, rule)
    assert [layer.path for layer in surgery.decisions] == decomposable(network(), HybridOptions(low=8))
    for layer in surgery.decisions:
        assert layer.chosen.ranks is None and " it would be no " in layer.reason or all(rank % 8 == 0 for rank in layer.chosen.ranks)


def test_given_ranks_are_taken_as_they_are():
    model = network()
    surgery = cut(model, RankRule("given", (3, 5)), HybridOptions(low=0, layers=("backbone.6",)))
    assert surgery.ranks() == {"backbone.6": (3, 5)}
    assert [one.weight.shape[:2] for _, one in model.get_layer("backbone.6").children()] == [(3, 16), (5, 3), (16, 5)]
    with pytest.raises(InputError, match="got the ranks 17 and 5, expected them from 1 to the channels of backbone.6, 16 and 16"):
        cut(network(), RankRule("given", (17, 5)), HybridOptions(low=0, layers=("backbone.6",)))


def test_a_layer_narrower_than_given_ranks_stays_whole():
    surgery = cut(network(), RankRule("given", (14, 14)), HybridOptions(low=0, layers=("backbone.6", "rpn.head.bbox_pred")))
    assert surgery.ranks() == {"backbone.6": (14, 14)}
    assert [layer.reason for layer in surgery.decisions] == ["", "it is narrower than the ranks"]


def test_a_layer_that_would_not_be_faster_stays_whole():
    model = network()
    slow = machine_cost_model("numpy", {**RATES, "steps": 1e6})
    surgery = prune_and_decompose(model, RankRule("energy", 0.5), HybridOptions(low=8), rng=generator(), cost_model=slow)
    assert not surgery.ranks() and all("it would be no" in layer.reason for layer in surgery.decisions)


def test_patterns_that_match_nothing():
    with pytest.raises(InputError, match="got the layers nothing, of which none can be pruned or decomposed, .*, such as backbone.0, "):
        cut(network(), RankRule("parameters", 0.5), HybridOptions(layers=("nothing",)))


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * ("resnet" in name)) for name in DETECTORS])
def test_at_full_ranks_a_detector_answers_the_same(name):
    model = minicnn.build(name, rng=generator(), **SMALL)
    pixels = generator(1).standard_normal((1, 3, 64, 96)).astype(np.float32)
    boxes = np.array([[3, 4, 40, 30], [10, 10, 60, 50]], np.float32)

    def answers(model):
        maps = model.backbone(pixels)
        pooled = model.roi_heads.box_roi_pool(maps[:model.pooled_maps], [boxes], [pixels.shape[2:]])
        return [*(array for one in maps for array in model.rpn.head(one)), *model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))]
    expected = answers(model)
    paths = decomposable(model, HybridOptions(low=0))
    assert len(paths) > 15
    for path in paths:
        split = LowRank(model.get_layer(path))
        model.replace_layer(path, split.layers(split.channels if split.tucker else [min(split.channels)] * 2))
    for one, other in zip(answers(model), expected):
        assert_allclose(one, other, atol=1e-4 * np.abs(other).max())
