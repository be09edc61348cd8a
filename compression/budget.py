"""Which ranks meet a budget: of every layer's candidates those that lose least for what they save.

A layer's candidates, the whole layer first, are points of cost and error. Only those on the lower convex hull are used (a candidate above
the line between two others loses more than a mixture of them), so that each next step of a layer saves at a worse ratio than the one
before. Taking the steps of all layers in the order of their ratios is then optimal at every cost that is reached exactly: the greedy
solution of the multiple-choice knapsack problem. The last step may save more than needed, since the low-rank form of a layer must be
narrow enough to be faster; what is left over is spent on candidates with lower errors, also above the hull (ours).

Reference: Sinha, Zoltners, The multiple-choice knapsack problem (1979), section 2.
"""

import math
import operator
from typing import NamedTuple

from minicnn.compression.cost_model import layer_milliseconds
from minicnn.errors import InputError

STEP = 8                # ranks are multiples of it: a plan pads channels to eights


class Candidate(NamedTuple):
    """One form of a layer.

    ranks: (r_in, r_out), None: whole; error: see ``low_rank.LowRank.error``; parameters, macs: numbers; milliseconds: on one image, by
    the cost model.
    """

    ranks: tuple | None
    error: float
    parameters: int
    macs: int
    milliseconds: float

    def pays(self, whole):
        """Whether it is smaller and faster than the whole layer."""
        return self.parameters < whole.parameters and self.milliseconds < whole.milliseconds


def candidates(low_rank, row, runs, cost_model):
    """The forms that a layer can have: whole, and every low-rank form that is smaller and faster.

    From the full ranks down, each step narrows the side that loses less per parameter saved.

    Args:
        low_rank: a ``low_rank.LowRank``.
        row: of the layer in the cost table.
        runs: the number of proposals of an image that it runs on, 1 elsewhere.
        cost_model: a ``cost_model.CostModel``.

    Returns:
        list of ``Candidate``, the whole layer first, then ever smaller ones.
    """
    whole, *narrower = candidates_at(low_rank, row, descending_ranks(low_rank), runs, cost_model)
    return [whole, *(candidate for candidate in narrower if candidate.pays(whole))]


def candidates_at(low_rank, row, ranks, runs, cost_model):
    """A ``Candidate`` of the whole layer, and one for each pair of ``ranks``; see ``candidates``."""
    whole, at_ranks = layer_milliseconds(low_rank.layer, row, ranks, runs, cost_model, low_rank.pixels)
    return [Candidate(None, 0.0, row["parameters"], row["macs"], whole),
            *(Candidate(pair, low_rank.error(pair), *low_rank_sizes(low_rank, row, pair, runs), ms) for pair, ms in zip(ranks, at_ranks))]


def descending_ranks(low_rank):
    """Pairs of ranks from the full ones down to ``STEP``; of pixels, which no plan pads, down to 1."""
    channels = low_rank.channels
    if low_rank.pixels > 1:
        return [(rank, rank) for rank in range(low_rank.pixels - 1, 0, -1)]
    ranks = [channel // STEP * STEP for channel in channels]
    if min(ranks) == 0:
        return []
    if not low_rank.tucker:
        return [(rank, rank) for rank in range(min(ranks), 0, -STEP)]
    taps, pairs = low_rank.layer.weight[0, 0].size, [tuple(ranks)]
    while max(ranks) > STEP:
        ratios = []
        for side in range(2):
            narrower = list(ranks)
            narrower[side] -= STEP
            if narrower[side]:
                saved = STEP * (channels[side] + taps * ranks[1 - side])
                ratios.append(((low_rank.error(narrower) - low_rank.error(ranks)) / saved, narrower))
        ranks = min(ratios)[1]
        pairs.append(tuple(ranks))
    return pairs


def low_rank_sizes(low_rank, row, ranks, runs=1):
    """(parameters, macs) of the layer at these ranks, counted as in the cost table."""
    (c, o), (r_in, r_out) = low_rank.channels, ranks
    # with calibration images the mean of what is lost becomes a bias
    bias = 0 if low_rank.layer.bias is None and low_rank.inputs is None else o
    if low_rank.pixels > 1:
        maps, rank = low_rank.layer.weight.shape[1] // c, min(ranks)
        return c * rank + maps * rank * o + bias, row["macs"] // (c * o) * rank * (c + o)
    if not low_rank.tucker:
        narrow = min(ranks) * (c + o)                                           # the stride is the first layer's
        return narrow + bias, row["macs"] // (c * o) * narrow
    taps = low_rank.layer.weight[0, 0].size
    before, after = runs * sum(math.prod(shape[1:]) for shape in row["inputs"]), row["macs"] // (taps * c * o)
    return c * r_in + taps * r_in * r_out + r_out * o + bias, before * c * r_in + after * (taps * r_in * r_out + r_out * o)


class Budget(NamedTuple):
    """A share of the network's cost that may be left.

    name: for messages; cost: a field of ``Candidate``; share, full: the budget is ``share`` of ``full``; fixed: the cost of the rest of
    the network; paths: of the layers whose cost counts.
    """

    name: str
    cost: str
    share: float
    full: float
    fixed: float
    paths: tuple

    def refusal(self, least, beside=""):
        """The InputError of a budget that cannot be kept to; least: the lowest total; beside: what else shall hold, in words."""
        nearest = math.ceil(1000 * least / self.full) / 1000
        return InputError(f"got a target of {self.share:g} of the {self.name}, expected at least {nearest:g}{beside}: what is left with "
                          "every layer that may be decomposed at its narrowest. Choose a larger target, or let more layers be decomposed.")


def hull(candidates, price):
    """A layer's candidates on the lower convex hull of price and error, by descending price; price: function of a candidate."""
    best = []
    for candidate in sorted(candidates, key=lambda candidate: (-price(candidate), candidate.error)):
        while len(best) > 1 and slope(best[-2], candidate, price) <= slope(best[-2], best[-1], price):
            best.pop()
        if not best or price(candidate) < price(best[-1]):
            best.append(candidate)
    return best


def slope(dear, cheap, price):
    """The error per unit of price saved, from one candidate to a cheaper one."""
    return (cheap.error - dear.error) / (price(dear) - price(cheap))


def meet_budget(candidates, cost, share, full, fixed, name, price=None):
    """The candidates with which a network keeps to a budget at the lowest error.

    Args:
        candidates: {path: list of ``Candidate``, the present one first, all others cheaper}.
        cost: "parameters", "macs" or "milliseconds".
        share, full: the budget is ``share`` of ``full``; fixed: the cost of the rest of the network.
        name: of the cost, for the error message.
        price: function of a candidate, with which its error is compared; None: the cost.

    Returns:
        {path: ``Candidate``}.

    Raises:
        InputError: the budget is out of reach; the message has the nearest share that is not.
    """
    price = price or operator.attrgetter(cost)
    hulls = {path: hull(layer, price) for path, layer in candidates.items()}
    chosen = {path: layer[0] for path, layer in hulls.items()}
    steps = sorted(((slope(dear, cheap, price), number, path, cheap) for path, layer in hulls.items()
                    for number, (dear, cheap) in enumerate(zip(layer, layer[1:]))), key=lambda step: step[:3])
    total = fixed + sum(getattr(candidate, cost) for candidate in chosen.values())
    for _, _, path, candidate in steps:
        if total <= share * full:
            break
        total -= getattr(chosen[path], cost) - getattr(candidate, cost)
        chosen[path] = candidate
    if total > share * full:                            # the cheapest by the price need not be the cheapest by the cost
        chosen = {path: min(layer, key=operator.attrgetter(cost)) for path, layer in candidates.items()}
        total = fixed + sum(getattr(candidate, cost) for candidate in chosen.values())
    if total > share * full:
        raise Budget(name, cost, share, full, fixed, tuple(candidates)).refusal(total)
    spend_rest(chosen, candidates, cost, share * full - total, price)
    return chosen


def spend_rest(chosen, candidates, cost, room, price):
    """Spend what a long last step left over on candidates with lower errors, the largest gain per price first, while they fit.

    Args:
        chosen: {path: ``Candidate``}, changed. room: the cost that may be added. candidates, cost, price: see ``meet_budget``.
    """
    def gain(present, candidate):
        more = price(candidate) - price(present)
        return (present.error - candidate.error) / more if more > 0 else math.inf

    while True:
        fitting = [(gain(present, candidate), path, candidate) for path, present in chosen.items() for candidate in candidates[path]
                   if candidate.error < present.error and getattr(candidate, cost) - getattr(present, cost) <= room]
        if not fitting:
            return
        _, path, candidate = max(fitting, key=lambda choice: choice[0])
        room -= getattr(candidate, cost) - getattr(chosen[path], cost)
        chosen[path] = candidate
