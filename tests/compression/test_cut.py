"""What the check lets pass before any image is observed can be had, and what it refuses cannot."""

import re

import pytest
from calibration_cases import RATES, generator, images
from numpy.testing import assert_array_equal
from toy_detector import toy_detector

from minicnn.compression import low_rank, method
from minicnn.compression.cost_model import machine_cost_model, network_milliseconds
from minicnn.compression.cost_table import cost_table
from minicnn.compression.cut import check_cut, cut
from minicnn.compression.method import compress_detector
from minicnn.compression.observe import observe
from minicnn.compression.options import DetectorOptions
from minicnn.compression.rules import RankRule
from minicnn.errors import InputError

COSTS = machine_cost_model("numpy", RATES)
KEYS = {"storage": ("bytes", "convolution_parameters"), "parameters": ("parameters",), "macs": ("macs",), "time": ()}


def detector():
    """A toy detector whose weak filters matter: without one of them an output loses more than pruning may cost by itself."""
    model = toy_detector(rng=generator(), box_head_width=64)
    model.record = {"surgery": [], "class_names": []}
    model.get_layer("backbone.3").weight[:10] *= 0.25
    model.get_layer("backbone.6").weight[:8] *= 0.5
    return model


def refused(kind, share, **options):
    """The least share that the check offers in place of a smaller one."""
    with pytest.raises(InputError, match="expected at least") as caught:
        check_cut(detector(), DetectorOptions(RankRule(kind, share), **options), COSTS)
    return float(re.search(r"expected at least (0\.\d+)", str(caught.value))[1])


@pytest.mark.parametrize("options", [{"low": 1000}, {"low": 8}, {"low": 8, "linear": False}, {"method": "tucker"},
                                     {"low": 16, "layers": ("backbone.*", "*fc7")}, {"low": 1000, "left_out": ("rpn.*",)}], ids=str)
@pytest.mark.parametrize("kind", ["storage", "parameters", "macs", "time"])
@pytest.mark.parametrize("observed", [True, False], ids=["output", "weights"])
def test_the_least_share_that_is_offered_can_be_had_and_no_smaller_one(kind, options, observed):
    options = {**options, "errors": "output" if observed else "weights"}
    least = 0.001
    for _ in range(2):                                  # of the convolutions, then of the file
        model, before = detector(), detector()
        try:
            check_cut(model, DetectorOptions(RankRule(kind, least), **options), COSTS)
            break
        except InputError:
            assert refused(kind, least, **options) >= least
            least = refused(kind, least, **options) + 0.001
    rule = RankRule(kind, least)
    seen = observe(model, images(), generator()) if observed else None
    cut(model, DetectorOptions(rule, **options), rng=generator(5), observation=seen, cost_model=COSTS)
    sizes, full = cost_table(model, model.input_shape), cost_table(before, before.input_shape)
    for key in KEYS[kind]:
        assert sizes[key] <= least * full[key]
    if kind == "time":
        assert network_milliseconds(model, sizes, COSTS) <= least * network_milliseconds(before, full, COSTS)


@pytest.mark.parametrize("kind, share, linear, filters, note", [
    ("parameters", 0.9, True, 16, ""), ("macs", 0.77, False, 8, "may take 8% from an output, in place of 0.5%")])
def test_pruning_takes_more_of_an_output_only_where_the_target_needs_it(kind, share, linear, filters, note, capsys):
    """With low=1000 convolutions are pruned alone, and what that may cost by itself leaves this one whole."""
    model = detector()
    options = DetectorOptions(RankRule(kind, share), low=1000, linear=linear)
    cut(model, options, rng=generator(), observation=observe(model, images(), generator()), cost_model=COSTS)
    err = capsys.readouterr().err
    assert len(model.get_layer("backbone.3").weight) == filters and note in err and bool(note) == bool(err)


def test_ranks_for_no_layer_are_refused_before_anything_is_observed():
    with pytest.raises(InputError, match="got ranks for the layers .*, of which none has more than 1000 filters"):
        check_cut(detector(), DetectorOptions(RankRule("energy", 0.9), low=1000, linear=False), COSTS)


def test_what_cannot_be_had_is_refused_before_anything_is_observed_or_decomposed(monkeypatch):
    monkeypatch.setattr(method, "observe", lambda *args: pytest.fail("observed"))
    monkeypatch.setattr(low_rank, "output_directions", lambda *args: pytest.fail("decomposed"))
    monkeypatch.setattr(low_rank, "input_directions", lambda *args: pytest.fail("decomposed"))
    model = detector()
    arrays = {name: array.copy() for name, array in model.named_arrays()}
    for kind, options in (("storage", {"low": 1000}), ("storage", {}), ("macs", {"method": "tucker"}), ("time", {"low": 8})):
        with pytest.raises(InputError, match="expected at least"):
            compress_detector(model, DetectorOptions(RankRule(kind, 0.01), **options), images(12), cost_model=COSTS)
    for name, array in model.named_arrays():
        assert_array_equal(array, arrays[name])
