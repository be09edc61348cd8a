"""Milliseconds of layers and of their low-rank forms: sums over calls, strides, pixels."""

import json

import pytest
from calibration_cases import RATES, generator

from minicnn.compression.cost_model import layer_milliseconds, machine_cost_model, read_cost_model
from minicnn.fast import tuned
from minicnn.layers import BlockLinear, Conv2d, Linear

COSTS, FREE_STEPS = machine_cost_model("numpy", RATES), machine_cost_model("numpy", {**RATES, "steps": 0})


def test_runs_and_calls_add_up():
    row = {"path": "c", "inputs": [[32, 8, 8], [32, 4, 4]], "parameters": 1, "macs": 1}
    layer = Conv2d(32, 32, 3, padding=1, rng=generator())
    alone = [layer_milliseconds(layer, {"inputs": [shape]}, [(8, 8)], 1, COSTS) for shape in row["inputs"]]
    whole, (chain,) = layer_milliseconds(layer, row, [(8, 8)], 1, COSTS)
    assert whole == pytest.approx(sum(one[0] for one in alone)) and chain == pytest.approx(sum(one[1][0] for one in alone))
    assert layer_milliseconds(Conv2d(32, 32, 3, groups=32), row, [], 1, COSTS)[0] == 0
    once, often = (layer_milliseconds(Linear(64, 64), {"inputs": [[64]]}, [], times, FREE_STEPS)[0] for times in (1, 300))
    assert often == pytest.approx(300 * once)


def test_the_stride_of_a_1x1_convolution_counts():
    rows, costs = [{"inputs": [[64, 20, 20]]}, {"inputs": [[64, 10, 10]]}], machine_cost_model("numpy", {**RATES, "maps": 0.5})
    strided, dense = (layer_milliseconds(Conv2d(64, 96, 1, stride), row, [(16, 16)], 1, costs) for stride, row in zip((2, 1), rows))
    assert strided == dense


def test_mixed_pixels_cost_map_by_map():
    layer = Linear(24 * 36, 40, rng=generator())
    whole, (mixed,) = layer_milliseconds(layer, {"inputs": [[24 * 36]]}, [(9, 9)], 300, FREE_STEPS, 36)
    parts = [layer_milliseconds(part, {"inputs": [[size]]}, [], 300, FREE_STEPS)[0]
             for part, size in ((BlockLinear(36, 9), 24 * 36), (Linear(24 * 9, 40), 24 * 9))]
    assert mixed == pytest.approx(sum(parts)) and parts[1] == pytest.approx(whole / 4)


def test_another_machines_times_do_not_depend_on_what_was_tuned_here(tmp_path, monkeypatch):
    path = tmp_path / "board.json"
    machine = "a processor, 4 cores, 4 threads, numpy, minicnn 0.3.0, numpy 2.4.6"
    path.write_text(json.dumps({"format": 1, "settings": {machine: RATES}}))
    layer, shape = Conv2d(64, 64, 3, padding=1), (1, 64, 40, 40)
    board = read_cost_model(path)
    expected = COSTS.chain_milliseconds(layer, shape, [(8, 8)])
    monkeypatch.setattr(tuned, "lookup", lambda *args: {"algorithm": "direct", "options": {}})
    assert COSTS.chain_milliseconds(layer, shape, [(8, 8)]) != expected
    assert board.chain_milliseconds(layer, shape, [(8, 8)]) == expected
    assert (board.machine, board.backend, board.rates) == (machine, "numpy", RATES) and COSTS.machine == ""
