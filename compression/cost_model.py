"""How many milliseconds a layer and its low-rank forms take, as the engine predicts for a machine."""

import functools
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from minicnn.compression.cost_table import runs_per_image
from minicnn.layers import Conv2d


@dataclass(frozen=True)
class CostModel:
    """Predicts milliseconds of convolutions on one machine.

    backend: "numpy" or "numba";
    chain_milliseconds: (layer, (N, C, H, W) of its input, list of ranks) -> (milliseconds of the convolution, list of those of its
        Tucker chain at each of the ranks);
    break_even: (layer, (N, C, H, W)) -> the largest rank of both sides at which the chain is faster than the convolution, 0 if none is;
    machine: processor, threads, backend and versions of another machine, see ``read_cost_model``; "" for this one;
    rates: those that were given, None if they are this machine's.
    """

    backend: str
    chain_milliseconds: Callable
    break_even: Callable
    machine: str = ""
    rates: dict | None = None


def machine_cost_model(backend: str | None = None, rates: dict | None = None) -> CostModel:
    """The cost model of this machine, whose rates are measured now if they never were.

    Args:
        backend: "numpy" or "numba"; None: the one in use.
        rates: {kind of work: milliseconds}, see ``minicnn.fast.timing``; None: those of this machine.
    """
    from minicnn.fast import timing
    from minicnn.fast.timing.cost_model import planning_backend
    backend, given = planning_backend(backend), rates
    rates = timing.machine_rates(backend) if rates is None else rates
    return CostModel(backend, functools.partial(timing.chain_milliseconds, backend=backend, rates=rates),
                     functools.partial(timing.break_even, backend=backend, rates=rates), rates=given)


def read_cost_model(path: str | Path) -> CostModel:
    """The cost model of the machine whose speeds a file holds, as ``minicnn tune --rates-out FILE`` writes it there.

    Algorithms are selected by the engine's rules, not by what ``minicnn tune`` measured on this machine.

    Raises:
        InputError: the file cannot be read, or holds the speeds of several machines or settings, or of other ones than are in use here.
    """
    from minicnn.fast import choose
    from minicnn.fast.timing.calibration import read_machine
    machine, backend, rates = read_machine(path)
    model = machine_cost_model(backend, rates)

    def by_rules(predict):
        def call(*args):
            with choose.choosing(lambda *_: None):
                return predict(*args)
        return call
    return replace(model, chain_milliseconds=by_rules(model.chain_milliseconds), break_even=by_rules(model.break_even), machine=machine)


def network_milliseconds(model, table, cost_model):
    """Milliseconds of all convolutions and linear layers of a network on one image; grouped convolutions are not counted.

    Args:
        model: the network. table: its ``cost_table``. cost_model: a ``CostModel``.
    """
    return sum(whole_milliseconds(model, row, cost_model) for row in table["layers"])


def whole_milliseconds(model, row, cost_model):
    """Milliseconds on one image of the layer that a row of the cost table describes."""
    return layer_milliseconds(model.get_layer(row["path"]), row, [], runs_per_image(model, row["path"]), cost_model)[0]


def layer_milliseconds(layer, row, ranks, runs, cost_model, pixels=1):
    """Milliseconds on one image of a layer and of its low-rank forms, summed over its calls; 0 for a grouped convolution.

    Args:
        layer: ``Conv2d`` or ``Linear``. row: of the layer in the cost table. ranks: list of (r_in, r_out).
        runs: see ``cost_table.runs_per_image``. cost_model: a ``CostModel``. pixels: see ``low_rank.LowRank``.

    Returns:
        whole, at_ranks: a number, and a list of one for each pair of ranks.
    """
    total, at_ranks = 0.0, [0.0] * len(ranks)
    for shape in row["inputs"] if getattr(layer, "groups", 1) == 1 else ():
        whole, parts = call_milliseconds(layer, (runs, *shape), ranks, cost_model, pixels)
        total += whole
        at_ranks = [a + b for a, b in zip(at_ranks, parts)]
    return total, at_ranks


def call_milliseconds(layer, shape, ranks, cost_model, pixels):
    """``layer_milliseconds`` of one call with an input of ``shape``."""
    if layer.weight.ndim == 4 and layer.weight[0, 0].size > 1:
        return cost_model.chain_milliseconds(layer, shape, ranks)
    outputs, inputs = layer.weight.shape[:2]
    rows = math.prod(shape) // inputs // math.prod(getattr(layer, "stride", ()))        # with a stride of 2 a quarter of the pixels

    def matmul(inputs, outputs, rows=rows):         # a linear layer is a 1 x 1 convolution over rows
        return cost_model.chain_milliseconds(Conv2d(inputs, outputs, 1), (1, inputs, rows, 1), [])[0]
    maps = inputs // pixels                         # flattened in one row
    at_ranks = [matmul(pixels, min(pair), rows * maps) + matmul(maps * min(pair), outputs) if pixels > 1 else
                matmul(inputs, min(pair)) + matmul(min(pair), outputs) for pair in ranks]
    return matmul(inputs, outputs), at_ranks
