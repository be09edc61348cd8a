"""The dry run predicts what the compression gives, and leaves the network alone."""

import pytest
from calibration_cases import RATES, generator, images, weak_detector
from numpy.testing import assert_array_equal

from minicnn.compression import DetectorOptions, RankRule, dry_run, machine_cost_model
from minicnn.compression.cost_model import network_milliseconds
from minicnn.compression.cost_table import cost_table
from minicnn.compression.cut import cut
from minicnn.compression.dry_run import predict_compression
from minicnn.errors import InputError

COSTS = machine_cost_model("numpy", RATES)
BOTH = RankRule.of([RankRule("storage", 0.7), RankRule("time", 0.95)])


@pytest.mark.parametrize("options", [DetectorOptions(BOTH, low=8), DetectorOptions(RankRule("macs", 0.9), method="tucker")], ids=str)
def test_without_images_it_predicts_exactly_what_a_cut_gives(options):
    found = predict_compression(weak_detector(), options, cost_model=COSTS)
    row, model, original = found["curve"][-1], weak_detector(), weak_detector()
    assert row["target"] == {target.kind: target.value for target in options.rule.targets} and row["refused"] == ""
    done = cut(model, options, rng=generator(), cost_model=COSTS)
    after, before = cost_table(model, model.input_shape), cost_table(original, original.input_shape)
    for name, key in (("storage", "bytes"), ("convolutions", "convolution_parameters"), ("parameters", "parameters"), ("macs", "macs")):
        assert row[name] == pytest.approx(after[key] / before[key])
        assert found["before"][key] == before[key]
    assert row["time"] == pytest.approx(network_milliseconds(model, after, COSTS) / network_milliseconds(original, before, COSTS))
    assert row["loss"] == pytest.approx(sum(decision.chosen.error for decision in done.decisions))
    assert found["errors"] == "weights" and found["images"] == found["weighed"] == 0


def test_less_storage_loses_more_and_what_is_out_of_reach_says_why():
    found = predict_compression(weak_detector(), DetectorOptions(RankRule("storage", 1.0), low=8), cost_model=COSTS)
    rows = found["curve"]
    assert [row["target"]["storage"] for row in rows] == list(dry_run.SHARES)
    met = [row for row in rows if not row["refused"]]
    assert 3 < len(met) < 10 and rows[:len(met)] == met
    assert all(row["storage"] <= row["target"]["storage"] for row in met)
    assert [row["loss"] for row in met] == sorted(row["loss"] for row in met)
    assert all("expected at least" in row["refused"] and row["loss"] is None for row in rows[len(met):])


def test_with_images_errors_are_those_of_the_detectors_outputs_and_the_network_stays():
    model = weak_detector()
    arrays = {name: array.copy() for name, array in model.named_arrays()}
    found = predict_compression(model, DetectorOptions(BOTH, low=8), images(12), cost_model=COSTS)
    assert (found["errors"], found["images"], found["weighed"]) == ("output", dry_run.OBSERVED, dry_run.WEIGHED)
    assert "of the detector's outputs" in found["unit"] and found["curve"][-1]["loss"] > 0
    assert model.record["surgery"] == []
    for name, array in model.named_arrays():
        assert_array_equal(array, arrays[name])
    assert predict_compression(model, DetectorOptions(BOTH, low=8), images(12), cost_model=COSTS) == found


@pytest.mark.parametrize("options", [DetectorOptions(RankRule("storage", 0.8), method="l1"), DetectorOptions(RankRule("evbmf"))], ids=str)
def test_what_predicts_no_errors_or_has_no_target_is_refused(options):
    with pytest.raises(InputError, match="got a dry run of .*, expected a target"):
        predict_compression(weak_detector(), options, cost_model=COSTS)


def test_a_target_that_only_more_pruning_meets_says_so():
    model = weak_detector()
    model.get_layer("backbone.3").weight[:10] *= 25                 # weak, but an output would miss them
    options = DetectorOptions(RankRule("macs", 0.77), low=1000, linear=False)
    row = predict_compression(model, options, images(), cost_model=COSTS)["curve"][-1]
    assert row["refused"].endswith("It can be met by pruning filters that cost more, which a dry run does not try.") and row["time"] is None
