"""Which ranks fit a budget: every layer offers ways to be split, and those go first that lose least for what they save.

A layer's offers, from the whole one on, are points of cost and error. Only those on the lower convex hull are taken (an offer above the
line between two others loses more than a mixture of them), so that each next one of a layer saves at a worse price than the one before.
Taking the cheapest steps of all layers first is then the best that can be had at each cost that it comes by: the greedy way to the
multiple-choice knapsack problem. The last step may be longer than needed, since a layer that is split at all must be narrow enough to be
faster; what it leaves over goes back to all layers, to offers above the hull too (ours).

Reference: Sinha, Zoltners, The multiple-choice knapsack problem (1979), section 2.
"""

import math
import operator
from typing import NamedTuple

from minicnn.errors import InputError
from minicnn.fast.timing import chain_milliseconds
from minicnn.layers import Conv2d

STEP = 8                # ranks are multiples of it: a plan fills up channels to eights


class Offer(NamedTuple):
    """One way to have a layer. ranks: (r_in, r_out), None: whole; error: see ``splitting.Split.error``; parameters, macs: numbers;
    milliseconds: on this machine, by ``fast.timing``."""

    ranks: tuple | None
    error: float
    parameters: int
    macs: int
    milliseconds: float

    def pays(self, whole):
        """Whether it is smaller and faster than the whole layer."""
        return self.parameters < whole.parameters and self.milliseconds < whole.milliseconds


def offers(split, row, times=1, backend=None, rates=None):
    """What a layer offers: whole, and every split that is smaller and faster.

    From the full ranks down, step by step that side is made narrower which loses less for the parameters that it saves.

    Args:
        split: a ``splitting.Split``.
        row: of the layer in the ``cost_table``.
        times: on how many proposals of an image it runs, 1 elsewhere.
        backend, rates: see ``fast.timing.chain_milliseconds``.

    Returns:
        list of ``Offer``, the whole layer first, then ever smaller ones.
    """
    whole, *splits = priced(split, row, descent(split), times, backend, rates)
    return [whole, *(one for one in splits if one.pays(whole))]


def priced(split, row, ranks, times=1, backend=None, rates=None):
    """An ``Offer`` of the whole layer, and one for each pair of ``ranks``; see ``offers``."""
    whole, chains = predicted(split.layer, row, ranks, times, backend, rates, split.pixels)
    return [Offer(None, 0.0, row["parameters"], row["macs"], whole),
            *(Offer(one, split.error(one), *sizes(split, row, one, times), ms) for one, ms in zip(ranks, chains))]


def descent(split):
    """Pairs of ranks from the full ones down to ``STEP``; of pixels, which no plan fills up, down to 1."""
    channels = split.channels
    if split.pixels > 1:
        return [(rank, rank) for rank in range(split.pixels - 1, 0, -1)]
    ranks = [channel // STEP * STEP for channel in channels]
    if min(ranks) == 0:
        return []
    if not split.tucker:
        return [(rank, rank) for rank in range(min(ranks), 0, -STEP)]
    taps, way = split.layer.weight[0, 0].size, [tuple(ranks)]
    while max(ranks) > STEP:
        prices = []
        for side in range(2):
            narrower = list(ranks)
            narrower[side] -= STEP
            if narrower[side]:
                saved = STEP * (channels[side] + taps * ranks[1 - side])
                prices.append(((split.error(narrower) - split.error(ranks)) / saved, narrower))
        ranks = min(prices)[1]
        way.append(tuple(ranks))
    return way


def sizes(split, row, ranks, times=1):
    """(parameters, macs) of the layer at these ranks, as the ledger counts them."""
    (c, o), (r_in, r_out) = split.channels, ranks
    bias = 0 if split.layer.bias is None and split.inputs is None else o        # with a record the mean of what is lost becomes one
    if split.pixels > 1:
        maps, rank = split.layer.weight.shape[1] // c, min(ranks)
        return c * rank + maps * rank * o + bias, row["macs"] // (c * o) * rank * (c + o)
    if not split.tucker:
        narrow = min(ranks) * (c + o)                                           # the stride is the first layer's
        return narrow + bias, row["macs"] // (c * o) * narrow
    taps = split.layer.weight[0, 0].size
    before, after = times * sum(math.prod(shape[1:]) for shape in row["inputs"]), row["macs"] // (taps * c * o)
    return c * r_in + taps * r_in * r_out + r_out * o + bias, before * c * r_in + after * (taps * r_in * r_out + r_out * o)


def predicted(layer, row, ranks, times=1, backend=None, rates=None, pixels=1):
    """Milliseconds of a layer and of its splits at ``ranks``, one image, summed over its calls; of a grouped convolution 0.
    pixels: see ``splitting.Split``."""
    total, chains = 0.0, [0.0] * len(ranks)
    for shape in row["inputs"] if getattr(layer, "groups", 1) == 1 else ():
        whole, parts = call_milliseconds(layer, (times, *shape), ranks, backend, rates, pixels)
        total += whole
        chains = [a + b for a, b in zip(chains, parts)]
    return total, chains


def call_milliseconds(layer, shape, ranks, backend, rates, pixels):
    """The same for one call with an input of ``shape``."""
    if layer.weight.ndim == 4 and layer.weight[0, 0].size > 1:
        return chain_milliseconds(layer, shape, ranks, backend, rates)
    outputs, inputs = layer.weight.shape[:2]
    rows = math.prod(shape) // inputs // math.prod(getattr(layer, "stride", ()))        # of a stride of 2 a quarter of the pixels

    def alone(inputs, outputs, rows=rows):          # a linear layer is a 1 x 1 convolution over rows
        return chain_milliseconds(Conv2d(inputs, outputs, 1), (1, inputs, rows, 1), [], backend, rates)[0]
    maps = inputs // pixels                         # that are flattened in a row
    splits = [alone(pixels, min(one), rows * maps) + alone(maps * min(one), outputs) if pixels > 1 else
              alone(inputs, min(one)) + alone(min(one), outputs) for one in ranks]
    return alone(inputs, outputs), splits


def hull(offers, price):
    """Those of a layer's offers on the lower convex hull of price and error, the dearest, which is the first, first; ``price(offer)``."""
    best = []
    for offer in sorted(offers, key=lambda offer: (-price(offer), offer.error)):
        while len(best) > 1 and slope(best[-2], offer, price) <= slope(best[-2], best[-1], price):
            best.pop()
        if not best or price(offer) < price(best[-1]):
            best.append(offer)
    return best


def slope(dear, cheap, price):
    """The error for which a unit of price is saved, from one offer to a cheaper one."""
    return (cheap.error - dear.error) / (price(dear) - price(cheap))


def choose(offers, cost, share, full, fixed, name, price=None):
    """The offers that keep a network within a budget at the least error.

    Args:
        offers: {path: list of ``Offer``, the one that is there first, all others cheaper}.
        cost: "parameters", "macs" or "milliseconds".
        share, full: the most that all may cost, as a share of ``full``; fixed: what the rest of the network costs.
        name: of the cost, for the error's text.
        price: offer -> what the error is weighed against; None: the cost.

    Returns:
        {path: ``Offer``}.

    Raises:
        InputError: it is out of reach; says the nearest that is not.
    """
    price = price or operator.attrgetter(cost)
    hulls = {path: hull(some, price) for path, some in offers.items()}
    chosen = {path: some[0] for path, some in hulls.items()}
    steps = sorted(((slope(dear, cheap, price), number, path, cheap) for path, some in hulls.items()
                    for number, (dear, cheap) in enumerate(zip(some, some[1:]))), key=lambda step: step[:3])
    total = fixed + sum(getattr(offer, cost) for offer in chosen.values())
    for _, _, path, offer in steps:
        if total <= share * full:
            break
        total -= getattr(chosen[path], cost) - getattr(offer, cost)
        chosen[path] = offer
    if total > share * full:
        raise InputError(f"got a target of {share:g} of the {name}, expected at least {math.ceil(1000 * total / full) / 1000:g}: what is "
                         "left with every layer that may be split at its narrowest. Choose a larger target, or let more layers be split.")
    give_back(chosen, offers, cost, share * full - total, price)
    return chosen


def give_back(chosen, offers, cost, room, price):
    """Spend what a long last step left over: offers of less error, that which gains most for its price first, while they fit.

    Args:
        chosen: {path: ``Offer``}, changed. room: what may be spent. offers, cost, price: see ``choose``.
    """
    def gain(now, one):
        more = price(one) - price(now)
        return (now.error - one.error) / more if more > 0 else math.inf

    while True:
        fitting = [(gain(now, one), path, one) for path, now in chosen.items() for one in offers[path]
                   if one.error < now.error and getattr(one, cost) - getattr(now, cost) <= room]
        if not fitting:
            return
        _, path, one = max(fitting, key=lambda choice: choice[0])
        room -= getattr(one, cost) - getattr(chosen[path], cost)
        chosen[path] = one
