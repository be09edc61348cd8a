"""Sizes of candidates against the cost table, hulls and budgets against exhaustive search."""

import itertools
import operator

import numpy as np
import pytest
from calibration_cases import RATES, generator

from minicnn.compression import budget
from minicnn.compression.budget import Candidate, candidates, candidates_at, descending_ranks, hull, low_rank_sizes, meet_budget
from minicnn.compression.cost_model import machine_cost_model
from minicnn.compression.cost_table import cost_table
from minicnn.compression.low_rank import LowRank
from minicnn.compression.observe import InputMoments
from minicnn.errors import InputError
from minicnn.layers import Conv2d, Flatten, Linear
from minicnn.models.classifier import Classifier

COSTS, FREE_STEPS = machine_cost_model("numpy", RATES), machine_cost_model("numpy", {**RATES, "steps": 0})


def network():
    rng = generator()
    return Classifier((16, 12, 12), {"a": Conv2d(16, 32, 3, stride=2, padding=1, rng=rng), "b": Conv2d(32, 24, 1, bias=False, rng=rng),
                                "flatten": Flatten(), "c": Linear(24 * 36, 40, rng=rng)})


@pytest.mark.parametrize("path, ranks", [("a", (8, 16)), ("b", (16, 16)), ("c", (24, 24))])
def test_sizes_equal_the_cost_table_afterwards(path, ranks, pixels=1):
    model = network()
    before = {row["path"]: row for row in cost_table(model, model.input_shape)["layers"]}
    low_rank = LowRank(model.get_layer(path), pixels=pixels)
    expected = low_rank_sizes(low_rank, before[path], ranks)
    model.replace_layer(path, low_rank.layers(ranks))
    parts = [row for row in cost_table(model, model.input_shape)["layers"] if row["path"].startswith(f"{path}.")]
    assert (sum(row["parameters"] for row in parts), sum(row["macs"] for row in parts)) == expected


def test_sizes_with_moments_include_the_new_bias():
    model, inputs = network(), InputMoments()
    row = next(row for row in cost_table(model, model.input_shape)["layers"] if row["path"] == "b")
    inputs.add(generator(1).standard_normal((50, 32)), 32)
    low_rank = LowRank(model.get_layer("b"), inputs, generator(2).standard_normal((50, 24)))
    parameters = sum(array.size for _, array in low_rank.layers((16, 16)).named_parameters())
    assert low_rank_sizes(low_rank, row, (16, 16))[0] == parameters == 16 * 56 + 24


def test_sizes_of_mixed_pixels():
    test_sizes_equal_the_cost_table_afterwards("c", (7, 7), 36)
    assert descending_ranks(LowRank(network().get_layer("c"), pixels=36)) == [(rank, rank) for rank in range(35, 0, -1)]


@pytest.mark.parametrize("path", ["a", "b", "c"])
def test_candidates_are_multiples_of_eight_smaller_and_faster(path):
    model = network()
    row = next(row for row in cost_table(model, model.input_shape)["layers"] if row["path"] == path)
    whole, *others = candidates(LowRank(model.get_layer(path)), row, 1, machine_cost_model("numpy", {**RATES, "direct": 10.0}))
    assert whole.ranks is None and whole.error == 0 and whole.parameters == row["parameters"]
    assert others and all(rank % 8 == 0 for one in others for rank in one.ranks)
    assert all(one.parameters < whole.parameters and one.milliseconds < whole.milliseconds for one in others)


def test_a_layer_without_faster_ranks_has_one_candidate():
    model = network()
    row = next(row for row in cost_table(model, model.input_shape)["layers"] if row["path"] == "a")
    slow = {**RATES, "steps": 1e6}                      # three steps take thrice as long as one
    assert len(candidates(LowRank(model.get_layer("a")), row, 1, machine_cost_model("numpy", slow))) == 1


def test_descending_ranks_narrow_the_side_that_loses_less():
    weight = Conv2d(32, 16, 3, rng=generator())
    weight.weight[:, 8:] = 0                            # only eight input directions matter
    pairs = descending_ranks(LowRank(weight))
    assert pairs[:4] == [(32, 16), (24, 16), (16, 16), (8, 16)] and pairs[-1] == (8, 8)
    assert descending_ranks(LowRank(Conv2d(4, 16, 3, rng=generator()))) == []


def test_linear_layers_cost_by_rows():
    row = {"path": "c", "inputs": [[64]], "parameters": 64 * 64 + 64, "macs": 300 * 64 * 64}
    whole, one = candidates_at(LowRank(Linear(64, 64, rng=generator())), row, [(16, 16)], 300, FREE_STEPS)
    assert one.milliseconds == pytest.approx(whole.milliseconds / 2)
    assert one.parameters == 2 * 64 * 16 + 64 and one.macs == 300 * 2 * 64 * 16


def random_candidates(rng, count=6):
    errors, costs = np.sort(rng.random(count)), np.sort(rng.integers(1, 99, count))[::-1]
    return [Candidate(None, 0.0, 100, 100, 100.0), *(Candidate((8, 8), float(e), int(c), int(c), float(c)) for e, c in zip(errors, costs))]


@pytest.mark.parametrize("seed", range(10))
def test_the_hull_lies_below_all_candidates(seed):
    some = random_candidates(generator(seed))
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
    all_candidates = {name: random_candidates(rng) for name in "abc"}

    def totals(choice):
        return [sum(getattr(one, name) for one in choice) for name in ("parameters", "error")]
    for share in (0.9, 0.6, 0.4):
        try:
            finer = totals(meet_budget(all_candidates, "parameters", share, 300, 0, "parameters").values())
        except InputError:
            assert sum(min(one.parameters for one in some) for some in all_candidates.values()) > share * 300
            continue
        with monkeypatch.context() as patch:
            patch.setattr(budget, "spend_rest", lambda *args: None)
            cost, error = totals(meet_budget(all_candidates, "parameters", share, 300, 0, "parameters").values())
        for other in itertools.product(*all_candidates.values()):
            if totals(other)[0] <= cost:
                assert totals(other)[1] >= error - 1e-12
        assert cost <= finer[0] <= share * 300 and finer[1] <= error


def test_what_a_long_last_step_leaves_over_is_spent():
    some = [Candidate(None, 0.0, 100, 0, 0.0), Candidate((16, 16), 0.4, 80, 0, 0.0), Candidate((8, 8), 0.5, 50, 0, 0.0)]
    assert [one.parameters for one in hull(some, operator.attrgetter("parameters"))] == [100, 50]
    assert meet_budget({"a": some}, "parameters", 0.85, 100, 0, "file")["a"].parameters == 80
    assert meet_budget({"a": some}, "parameters", 0.79, 100, 0, "file")["a"].parameters == 50
    other = [Candidate(None, 0.0, 40, 0, 0.0), Candidate((8, 8), 0.01, 10, 0, 0.0)]     # its step comes first, and is taken back
    found = meet_budget({"a": some[::2], "b": other}, "parameters", 0.9, 100, 0, "file")
    assert (found["a"].parameters, found["b"].parameters) == (50, 40)


def test_steps_are_ordered_by_price():
    offers = {"slow": [Candidate(None, 0.0, 100, 0, 90.0), Candidate((8, 8), 0.2, 50, 0, 10.0)],
              "fast": [Candidate(None, 0.0, 100, 0, 2.0), Candidate((8, 8), 0.1, 50, 0, 1.0)]}
    assert meet_budget(offers, "parameters", 0.75, 200, 0, "file")["slow"].ranks is None
    assert meet_budget(offers, "parameters", 0.75, 200, 0, "file", operator.attrgetter("milliseconds"))["fast"].ranks is None


def test_an_unreachable_budget_is_refused_with_the_nearest_share():
    with pytest.raises(InputError, match=r"got a target of 0.1 of the file, expected at least 0.55"):
        meet_budget({"a": [Candidate(None, 0.0, 100, 0, 0.0), Candidate((8, 8), 0.5, 60, 0, 0.0)]}, "parameters", 0.1, 200, 50, "file")
