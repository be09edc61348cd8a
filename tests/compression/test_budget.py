"""Offers against the ledger, hulls and choices against all there are."""

import itertools
import operator

import numpy as np
import pytest
from calibration_cases import RATES, generator

from minicnn.compression import budget
from minicnn.compression.budget import Candidate, candidates, candidates_at, descending_ranks, hull, low_rank_sizes, meet_budget
from minicnn.compression.cost_model import layer_milliseconds, machine_cost_model
from minicnn.compression.cost_table import cost_table
from minicnn.compression.low_rank import LowRank
from minicnn.compression.observe import InputMoments
from minicnn.errors import InputError
from minicnn.layers import BlockLinear, Conv2d, Flatten, Linear
from minicnn.models.classifier import Classifier

COSTS, FREE_STEPS = machine_cost_model("numpy", RATES), machine_cost_model("numpy", {**RATES, "steps": 0})


def network():
    rng = generator()
    return Classifier((16, 12, 12), {"a": Conv2d(16, 32, 3, stride=2, padding=1, rng=rng), "b": Conv2d(32, 24, 1, bias=False, rng=rng),
                                "flatten": Flatten(), "c": Linear(24 * 36, 40, rng=rng)})


@pytest.mark.parametrize("path, ranks", [("a", (8, 16)), ("b", (16, 16)), ("c", (24, 24))])
def test_sizes_are_what_the_ledger_then_counts(path, ranks, pixels=1):
    model = network()
    before = {row["path"]: row for row in cost_table(model, model.input_shape)["layers"]}
    split = LowRank(model.get_layer(path), pixels=pixels)
    expected = low_rank_sizes(split, before[path], ranks)
    model.replace_layer(path, split.layers(ranks))
    parts = [row for row in cost_table(model, model.input_shape)["layers"] if row["path"].startswith(f"{path}.")]
    assert (sum(row["parameters"] for row in parts), sum(row["macs"] for row in parts)) == expected


def test_with_a_record_sizes_count_the_bias_that_it_gives():
    model, inputs = network(), InputMoments()
    row = next(row for row in cost_table(model, model.input_shape)["layers"] if row["path"] == "b")
    inputs.add(generator(1).standard_normal((50, 32)), 32)
    split = LowRank(model.get_layer("b"), inputs, generator(2).standard_normal((50, 24)))
    parameters = sum(array.size for _, array in split.layers((16, 16)).named_parameters())
    assert low_rank_sizes(split, row, (16, 16))[0] == parameters == 16 * 56 + 24


def test_sizes_of_mixed_pixels():
    test_sizes_are_what_the_ledger_then_counts("c", (7, 7), 36)
    assert descending_ranks(LowRank(network().get_layer("c"), pixels=36)) == [(rank, rank) for rank in range(35, 0, -1)]


@pytest.mark.parametrize("path", ["a", "b", "c"])
def test_offers_are_multiples_of_eight_smaller_and_faster(path):
    model = network()
    row = next(row for row in cost_table(model, model.input_shape)["layers"] if row["path"] == path)
    whole, *others = candidates(LowRank(model.get_layer(path)), row, 1, machine_cost_model("numpy", {**RATES, "direct": 10.0}))
    assert whole.ranks is None and whole.error == 0 and whole.parameters == row["parameters"]
    assert others and all(rank % 8 == 0 for one in others for rank in one.ranks)
    assert all(one.parameters < whole.parameters and one.milliseconds < whole.milliseconds for one in others)


def test_nothing_is_offered_that_is_no_faster():
    model = network()
    row = next(row for row in cost_table(model, model.input_shape)["layers"] if row["path"] == "a")
    slow = {**RATES, "steps": 1e6}                      # three steps take thrice as long as one
    assert len(candidates(LowRank(model.get_layer("a")), row, 1, machine_cost_model("numpy", slow))) == 1


def test_the_descent_takes_the_side_that_loses_less():
    weight = Conv2d(32, 16, 3, rng=generator())
    weight.weight[:, 8:] = 0                            # only eight input directions matter
    way = descending_ranks(LowRank(weight))
    assert way[:4] == [(32, 16), (24, 16), (16, 16), (8, 16)] and way[-1] == (8, 8)
    assert descending_ranks(LowRank(Conv2d(4, 16, 3, rng=generator()))) == []


def test_times_and_calls_add_up():
    row = {"path": "c", "inputs": [[32, 8, 8], [32, 4, 4]], "parameters": 1, "macs": 1}
    layer = Conv2d(32, 32, 3, padding=1, rng=generator())
    alone = [layer_milliseconds(layer, {"inputs": [shape]}, [(8, 8)], 1, COSTS) for shape in row["inputs"]]
    whole, (chain,) = layer_milliseconds(layer, row, [(8, 8)], 1, COSTS)
    assert whole == pytest.approx(sum(one[0] for one in alone)) and chain == pytest.approx(sum(one[1][0] for one in alone))
    assert layer_milliseconds(Conv2d(32, 32, 3, groups=32), row, [], 1, COSTS)[0] == 0
    once, often = (layer_milliseconds(Linear(64, 64), {"inputs": [[64]]}, [], times, FREE_STEPS)[0] for times in (1, 300))
    assert often == pytest.approx(300 * once)


def test_linear_layers_are_priced_by_rows():
    row = {"path": "c", "inputs": [[64]], "parameters": 64 * 64 + 64, "macs": 300 * 64 * 64}
    whole, one = candidates_at(LowRank(Linear(64, 64, rng=generator())), row, [(16, 16)], 300, FREE_STEPS)
    assert one.milliseconds == pytest.approx(whole.milliseconds / 2)
    assert one.parameters == 2 * 64 * 16 + 64 and one.macs == 300 * 2 * 64 * 16


def test_a_stride_of_one_by_one_is_priced():
    rows, costs = [{"inputs": [[64, 20, 20]]}, {"inputs": [[64, 10, 10]]}], machine_cost_model("numpy", {**RATES, "maps": 0.5})
    strided, dense = (layer_milliseconds(Conv2d(64, 96, 1, stride), row, [(16, 16)], 1, costs) for stride, row in zip((2, 1), rows))
    assert strided == dense


def test_mixed_pixels_are_priced_map_by_map():
    layer = Linear(24 * 36, 40, rng=generator())
    whole, (mixed,) = layer_milliseconds(layer, {"inputs": [[24 * 36]]}, [(9, 9)], 300, FREE_STEPS, 36)
    parts = [layer_milliseconds(part, {"inputs": [[size]]}, [], 300, FREE_STEPS)[0]
             for part, size in ((BlockLinear(36, 9), 24 * 36), (Linear(24 * 9, 40), 24 * 9))]
    assert mixed == pytest.approx(sum(parts)) and parts[1] == pytest.approx(whole / 4)


def random_offers(rng, count=6):
    errors, costs = np.sort(rng.random(count)), np.sort(rng.integers(1, 99, count))[::-1]
    return [Candidate(None, 0.0, 100, 100, 100.0), *(Candidate((8, 8), float(e), int(c), int(c), float(c)) for e, c in zip(errors, costs))]


@pytest.mark.parametrize("seed", range(10))
def test_the_hull_lies_below_all_offers(seed):
    some = random_offers(generator(seed))
    found = hull(some, operator.attrgetter("parameters"))
    assert found[0] is some[0] and found[-1].parameters == min(one.parameters for one in some)
    slopes = [(b.error - a.error) / (a.parameters - b.parameters) for a, b in itertools.pairwise(found)]
    assert slopes == sorted(slopes)
    for one in some:
        line = np.interp(-one.parameters, [-each.parameters for each in found], [each.error for each in found])
        assert one.error >= line - 1e-12


@pytest.mark.parametrize("seed", range(10))
def test_no_other_choice_of_that_cost_loses_less(monkeypatch, seed):
    rng = generator(seed)
    all_offers = {name: random_offers(rng) for name in "abc"}

    def totals(choice):
        return [sum(getattr(one, name) for one in choice) for name in ("parameters", "error")]
    for share in (0.9, 0.6, 0.4):
        try:
            finer = totals(meet_budget(all_offers, "parameters", share, 300, 0, "parameters").values())
        except InputError:
            assert sum(min(one.parameters for one in some) for some in all_offers.values()) > share * 300
            continue
        with monkeypatch.context() as patch:
            patch.setattr(budget, "spend_rest", lambda *args: None)
            cost, error = totals(meet_budget(all_offers, "parameters", share, 300, 0, "parameters").values())
        for other in itertools.product(*all_offers.values()):
            if totals(other)[0] <= cost:
                assert totals(other)[1] >= error - 1e-12
        assert cost <= finer[0] <= share * 300 and finer[1] <= error


def test_what_a_long_last_step_leaves_over_is_given_back():
    some = [Candidate(None, 0.0, 100, 0, 0.0), Candidate((16, 16), 0.4, 80, 0, 0.0), Candidate((8, 8), 0.5, 50, 0, 0.0)]
    assert [one.parameters for one in hull(some, operator.attrgetter("parameters"))] == [100, 50]
    assert meet_budget({"a": some}, "parameters", 0.85, 100, 0, "file")["a"].parameters == 80
    assert meet_budget({"a": some}, "parameters", 0.79, 100, 0, "file")["a"].parameters == 50
    other = [Candidate(None, 0.0, 40, 0, 0.0), Candidate((8, 8), 0.01, 10, 0, 0.0)]     # its step comes first, and is taken back
    found = meet_budget({"a": some[::2], "b": other}, "parameters", 0.9, 100, 0, "file")
    assert (found["a"].parameters, found["b"].parameters) == (50, 40)


def test_steps_go_by_their_price():
    offers = {"slow": [Candidate(None, 0.0, 100, 0, 90.0), Candidate((8, 8), 0.2, 50, 0, 10.0)],
              "fast": [Candidate(None, 0.0, 100, 0, 2.0), Candidate((8, 8), 0.1, 50, 0, 1.0)]}
    assert meet_budget(offers, "parameters", 0.75, 200, 0, "file")["slow"].ranks is None
    assert meet_budget(offers, "parameters", 0.75, 200, 0, "file", operator.attrgetter("milliseconds"))["fast"].ranks is None


def test_out_of_reach_says_what_is_not():
    with pytest.raises(InputError, match=r"got a target of 0.1 of the file, expected at least 0.55"):
        meet_budget({"a": [Candidate(None, 0.0, 100, 0, 0.0), Candidate((8, 8), 0.5, 60, 0, 0.0)]}, "parameters", 0.1, 200, 50, "file")
