"""The hybrid method: which layers are decomposed, at which ranks, and that targets are met."""


import numpy as np
import pytest
from calibration_cases import HEADS, MAPS, RATES, SMALL, generator, images, weak_detector
from numpy.testing import assert_allclose

import minicnn
from minicnn.compression.cost_model import machine_cost_model, network_milliseconds
from minicnn.compression.cost_table import cost_table
from minicnn.compression.hybrid import HybridOptions, decomposable, prune_and_decompose
from minicnn.compression.low_rank import LowRank
from minicnn.compression.observe import observe
from minicnn.compression.rules import RankRule
from minicnn.errors import InputError
from minicnn.models import BUILDERS

DETECTORS = [name for name, builder in BUILDERS.items() if builder.startswith("minicnn.detection.")]

COSTS = machine_cost_model("numpy", RATES)


def cut(model, rule, options=None, **more):
    return prune_and_decompose(model, rule, options or HybridOptions(low=8), rng=generator(), cost_model=COSTS, **more)


def test_decomposable_layers():
    model = weak_detector()
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
    model = weak_detector()
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
        replaced = model.get_layer(layer.path)
        assert len(replaced.children()) == ((3 if layer.low_rank.tucker else 2) if layer.chosen.ranks else 0)


def test_errors_are_not_weighed_if_the_box_head_was_not_observed():
    model = weak_detector()
    seen = observe(model, images(), generator(), MAPS)
    surgery = cut(model, RankRule("macs", 0.95), HybridOptions(low=8, linear=False, left_out=("roi_heads.*",)), observation=seen)
    assert all(offer.error > 0 for layer in surgery.decisions for offer in layer.candidates[1:])


def test_a_target_of_time_is_met_as_predicted():
    model = weak_detector()
    before = network_milliseconds(model, cost_table(model, model.input_shape), COSTS)
    assert cut(model, RankRule("time", 0.95)).ranks()
    assert 0.75 * before < network_milliseconds(model, cost_table(model, model.input_shape), COSTS) <= 0.95 * before


def test_two_targets_are_met_at_once():
    model, original = weak_detector(), weak_detector()
    full = cost_table(original, original.input_shape)
    before = network_milliseconds(model, full, COSTS)
    cut(model, RankRule.of([RankRule("storage", 0.75), RankRule("time", 0.95)]))
    after = cost_table(model, model.input_shape)
    assert all(after[key] <= 0.75 * full[key] for key in ("bytes", "convolution_parameters"))
    assert network_milliseconds(model, after, COSTS) <= 0.95 * before
    with pytest.raises(InputError, match=r"^got a target of 0.1 of the time, expected at least 0\.\d+: "):
        cut(weak_detector(), RankRule.of([RankRule("storage", 0.75), RankRule("time", 0.1)]))


@pytest.mark.parametrize("targets", [[], [RankRule("storage", 0.5)] * 2, [RankRule("storage", 0.5), RankRule("evbmf")]], ids=str)
def test_targets_that_do_not_go_together(targets):
    with pytest.raises(InputError, match="^got the targets .*, expected different ones of storage, parameters, macs, time"):
        RankRule.of(targets)
    assert RankRule.of([RankRule("macs", 0.5)]) == RankRule("macs", 0.5)


def test_an_unreachable_target_is_refused_with_the_nearest_share():
    with pytest.raises(InputError, match=r"got a target of 0.01 of the convolutions, expected at least 0\.\d+: "):
        cut(weak_detector(), RankRule("storage", 0.01))


@pytest.mark.parametrize("rule", [RankRule("energy", 0.6), RankRule("evbmf")], ids=str)
def test_ranks_by_rule_are_multiples_of_eight(rule):
    model = weak_detector()
    surgery = cut(model, rule)
    assert [layer.path for layer in surgery.decisions] == decomposable(weak_detector(), HybridOptions(low=8))
    for layer in surgery.decisions:
        assert layer.chosen.ranks is None and " it would be no " in layer.reason or all(rank % 8 == 0 for rank in layer.chosen.ranks)


def test_given_ranks_are_taken_as_they_are():
    model = weak_detector()
    surgery = cut(model, RankRule("given", (3, 5)), HybridOptions(low=0, layers=("backbone.6",)))
    assert surgery.ranks() == {"backbone.6": (3, 5)}
    assert [one.weight.shape[:2] for _, one in model.get_layer("backbone.6").children()] == [(3, 16), (5, 3), (16, 5)]
    with pytest.raises(InputError, match="got the ranks 17 and 5, expected them from 1 to the channels of backbone.6, 16 and 16"):
        cut(weak_detector(), RankRule("given", (17, 5)), HybridOptions(low=0, layers=("backbone.6",)))


def test_a_layer_narrower_than_given_ranks_stays_whole():
    surgery = cut(weak_detector(), RankRule("given", (14, 14)), HybridOptions(low=0, layers=("backbone.6", "rpn.head.bbox_pred")))
    assert surgery.ranks() == {"backbone.6": (14, 14)}
    assert [layer.reason for layer in surgery.decisions] == ["", "it is narrower than the ranks"]


def test_a_layer_stays_whole_if_it_would_not_be_faster():
    model = weak_detector()
    slow = machine_cost_model("numpy", {**RATES, "steps": 1e6})
    surgery = prune_and_decompose(model, RankRule("energy", 0.5), HybridOptions(low=8), rng=generator(), cost_model=slow)
    assert not surgery.ranks() and all("it would be no" in layer.reason for layer in surgery.decisions)


def test_patterns_that_match_nothing():
    with pytest.raises(InputError, match="got the layers nothing, of which none can be pruned or decomposed, .*, such as backbone.0, "):
        cut(weak_detector(), RankRule("parameters", 0.5), HybridOptions(layers=("nothing",)))


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * ("resnet" in name)) for name in DETECTORS])
def test_at_full_ranks_a_detector_has_the_same_outputs(name):
    model = minicnn.build(name, rng=generator(), **SMALL)
    pixels = generator(1).standard_normal((1, 3, 64, 96)).astype(np.float32)
    boxes = np.array([[3, 4, 40, 30], [10, 10, 60, 50]], np.float32)

    def outputs(model):
        maps = model.backbone(pixels)
        pooled = model.roi_heads.box_roi_pool(maps[:model.pooled_maps], [boxes], [pixels.shape[2:]])
        return [*(array for one in maps for array in model.rpn.head(one)), *model.roi_heads.box_predictor(model.roi_heads.box_head(pooled))]
    expected = outputs(model)
    paths = decomposable(model, HybridOptions(low=0))
    assert len(paths) > 15
    for path in paths:
        low_rank = LowRank(model.get_layer(path))
        model.replace_layer(path, low_rank.layers(low_rank.channels if low_rank.tucker else [min(low_rank.channels)] * 2))
    for one, other in zip(outputs(model), expected):
        assert_allclose(one, other, atol=1e-4 * np.abs(other).max())
