"""The paper's method for a whole detector: low-dimensional convolutions are pruned, high-dimensional ones split by Tucker decomposition.

The paper's abstract says no more than that of Faster R-CNN. Ours are: where low ends (128 output channels), how ranks are found
(``budget``, from what the images show of a layer's output), that the RPN's convolution and, by SVD, the linear layers take part, and
the repair before fine-tuning (``repair``).
"""

import fnmatch
import operator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minicnn.compression import budget
from minicnn.compression.budget import Offer
from minicnn.compression.channels import channel_columns, choose, group_weight, is_linear, lost_share, map_pixels, prune_group, stand_in
from minicnn.compression.cost_table import cost_table, matrices, times
from minicnn.compression.filter_statistics import cluster_filters
from minicnn.compression.low_rank import Split
from minicnn.compression.ranks import energy_rank, evbmf_rank
from minicnn.compression.tucker import leading_vectors, unfold
from minicnn.errors import InputError
from minicnn.fast.timing import machine_rates
from minicnn.fast.timing.cost_model import planning_backend
from minicnn.progress import Progress

TIME = 0.2              # in the price of a step: what a share of the milliseconds counts, a share of the parameters being 1
PROPOSING = 0.05        # what an error of the RPN's answers counts, one of the box head's being 1
WEIGHED = 8             # images on which the layers' errors are compared
LEAST_ERROR = 1e-6      # of the ranks that are tried there: less is rounding, and tells nothing of other ranks


class Rule(NamedTuple):
    """How ranks are found.

    kind: "given" (value: (r_in, r_out)), "energy" (the share of each side's squared singular values that stays), "evbmf" (value: None;
    ``ranks.evbmf_rank`` of the weights), or a target, of which value is the share that is kept: "storage" of the file, and of the
    convolutions alone; "parameters", "macs" or "time" (milliseconds as ``fast.timing`` predicts them) of all layers.

    The paper's 54 % are said of "storage", which may be the file or the convolutions that it is about: a target of storage holds for
    both (ours), first for the convolutions, then, with all layers, for the file.
    """

    kind: str
    value: object = None


COSTS = {"storage": "parameters", "parameters": "parameters", "macs": "macs", "time": "milliseconds"}     # a field of ``Offer``


class Options(NamedTuple):
    """What is done to which layers.

    low: convolutions of at most so many output channels are pruned by statistics; 0: none, everything is split ("tucker").
    linear: split linear layers too. layers: patterns of paths; only these layers are pruned or split. left_out: patterns of those that
    are not. loss: the most that pruning takes from what a layer gives that reads the pruned one, as a share of its squares.
    """

    low: int = 128
    linear: bool = True
    layers: tuple = ("*",)
    left_out: tuple = ()
    loss: float = 0.005


def allowed(path, options):
    """Whether the options let a layer take part."""
    return any(fnmatch.fnmatchcase(path, one) for one in options.layers) and \
        not any(fnmatch.fnmatchcase(path, one) for one in options.left_out)


def prune_low(model, options, rng, seen=None):
    """Prune low-dimensional convolutions by statistics, in place.

    Of each group that only convolutions of at most ``options.low`` filters make, filters of the weak cluster go (``statistics``), in the
    order of mu^2 + sigma^2, as many as the layers that read them can do without: each loses at most ``options.loss`` of the squares (with
    a record of images, of the variance) of its output, and what is left is a multiple of 8 (ours: the whole cluster may be most of a
    layer). The readers are rebuilt so that the channels that stay stand in for those that go, see ``pruning.stand_in``.

    Returns:
        removed, kept: {producer: indices of filters}; columns: {consumer: input channels, or columns, that are left}.
    """
    removed, kept, columns = {}, {}, {}
    for group in model.channel_groups():
        weight = group_weight(model, group)
        if is_linear(model, group) or len(weight) > options.low or \
                any(not allowed(path, options) or was_split(model, path) for path in group.producers):
            continue
        clusters = cluster_filters(weight, rng=rng)
        weak = np.flatnonzero(clusters.labels == clusters.weak)
        readers = [(model.get_layer(path), wide, None if seen is None else seen.inputs[path]) for path, wide in group.consumers]
        least = max(1, -(-(len(weight) - len(weak)) // budget.STEP)) * budget.STEP
        for left in range(least, len(weight), budget.STEP):
            remove = choose(weight, len(weight) - left, "statistics", rng, weak)
            if max(lost_share(layer, channel_columns(remove, wide), inputs) for layer, wide, inputs in readers) <= options.loss:
                break
        else:
            continue
        if seen is not None:
            for layer, wide, inputs in readers:
                stand_in(layer, channel_columns(remove, wide), inputs)
        prune_group(model, group, remove)
        keep = np.setdiff1d(np.arange(len(weight)), remove)
        removed.update(dict.fromkeys(group.producers, remove))
        kept.update(dict.fromkeys(group.producers, keep))
        columns.update({path: channel_columns(keep, wide) for path, wide in group.consumers})
    return removed, kept, columns


def splittable(model, options):
    """Paths of the layers that can be split, in the network's order: convolutions without groups of more than ``options.low`` filters and,
    if asked for, linear layers; neither those too narrow for a rank of ``budget.STEP``, nor parts of a layer that was split before."""
    found = []
    for path in filter(lambda path: allowed(path, options), matrices(model)):
        layer = model.get_layer(path)
        if min(layer.weight.shape[:2]) <= budget.STEP or was_split(model, path):
            continue
        if layer.weight.ndim == 2 and options.linear or layer.weight.ndim == 4 and layer.groups == 1 and len(layer.weight) > options.low:
            found.append(path)
    return found


def was_split(model, path):
    """Whether a layer is a part of one that was split before."""
    return any(path.startswith(f"{one}.") for step in model.record["surgery"] for one in step.get("split", ()))


@dataclass
class Layer:
    """What became of a layer that can be split.

    path; split: a ``splitting.Split``; offers: list of ``Offer``, the whole layer first; chosen: one of them; reason: why it was
    left whole, "" if it was not.
    """

    path: str
    split: Split
    offers: list
    chosen: Offer
    reason: str = ""


@dataclass
class Surgery:
    """What was done. removed: {producer: indices of the filters that went}; kept: {producer: those that are left}; layers: list of
    ``Layer``."""

    removed: dict
    kept: dict
    layers: list

    def ranks(self):
        """{path: (r_in, r_out)} of what was split."""
        return {layer.path: layer.chosen.ranks for layer in self.layers if layer.chosen.ranks}


def decompose(model, rule, options, *, rng, seen=None, backend=None, rates=None):
    """Prune the low-dimensional layers and split the others, in place.

    Every layer is offered whole and at those ranks at which it is smaller and, as the engine predicts for this machine, faster
    (``budget.offers``); a layer without such ranks stays whole. Only ranks that are given are taken as they are, by the layers that have
    as many channels. Under a target a linear layer that reads flattened maps is split along their pixels (``splitting.Split``), by ranks
    and the other rules by SVD.

    Args:
        model: with ``channel_groups``, ``input_shape`` and ``repeats``.
        rule: a ``Rule``. options: ``Options``. rng: a Generator, for k-means.
        seen: an ``observation.Observation`` of the model by which errors are told, and weighed (``weigh``) if the box head was watched,
            too; None: by the weights alone.
        backend, rates: see ``fast.timing.chain_milliseconds``.

    Returns:
        A ``Surgery``.

    Raises:
        InputError: no layer can be split, ranks do not fit, a target is out of reach.
    """
    backend = planning_backend(backend)
    rates = machine_rates(backend) if rates is None else rates
    before = cost_table(model, model.input_shape)
    full = milliseconds(model, before, backend, rates) if rule.kind == "time" else None
    removed, kept, columns = prune_low(model, options, rng, seen)
    paths = splittable(model, options)
    if not paths and not removed:
        raise InputError(f"got the layers {' '.join(options.layers)}, of which none can be pruned or split, expected patterns of "
                         f"convolutions or linear layers, such as {', '.join(matrices(model)[:3])}. 'minicnn info' lists them.")
    if rule.kind == "given" and paths and not any(fits(rule.value, model.get_layer(path)) for path in paths):
        widest = max(paths, key=lambda path: min(model.get_layer(path).weight.shape[:2]))
        outputs, inputs = model.get_layer(widest).weight.shape[:2]
        raise InputError(f"got the ranks {rule.value[0]} and {rule.value[1]}, expected them from 1 to the channels of {widest}, {inputs} "
                         f"and {outputs}. Choose smaller ones, or other layers.")
    after = cost_table(model, model.input_shape)
    rows = {row["path"]: row for row in after["layers"]}
    layers, pixels = [], map_pixels(model) if rule.kind in COSTS else {}
    for path in paths:
        did = (None, None) if seen is None else what_it_did(seen, path, columns.get(path))
        split = Split(model.get_layer(path), *did, pixels.get(path, 1))
        price = split, rows[path], times(model, path), backend, rates
        layers.append(target_layer(path, *price) if rule.kind in COSTS else ruled_layer(path, rule, *price))
    if rule.kind in COSTS and seen is not None and seen.proposals:
        weigh(model, layers, seen)
    if rule.kind in COSTS:
        fixed = milliseconds(model, after, backend, rates) if rule.kind == "time" else after
        meet(rule, layers, before if full is None else full, fixed)
    for layer in layers:
        if layer.chosen.ranks:
            model.replace_layer(layer.path, layer.split.layers(layer.chosen.ranks))
    return Surgery(removed, kept, layers)


def what_it_did(seen, path, columns):
    """A layer's ``Inputs``, of the columns that are left or, if None, all, and its answers."""
    inputs = seen.inputs[path]
    return inputs if columns is None else inputs.of(columns), seen.all_answers(path)


def target_layer(path, split, row, often, backend, rates):
    """A ``Layer`` with all its offers, whole so far."""
    found = budget.offers(split, row, often, backend, rates)
    reason = "the target does not need it" if len(found) > 1 else "no ranks make it smaller and faster"
    return Layer(path, split, found, found[0], reason)


def weigh(model, layers, seen):
    """Turn the errors of layers' outputs into those of the network's answers, so that layers can be compared (ours).

    Each layer in turn is split alone, at the middle one of its offers; on the first ``WEIGHED`` images the squared differences of the
    RPN's logits and deltas and of the box head's scores and deltas, each over their variance, are added up, the RPN's counting
    ``PROPOSING`` times: a box that is proposed a little off is still looked at. At any other ranks the error is taken to do as many times
    what it is. The same error of a layer's output does several times more where the rectifier behind it lets little through.
    """
    def answers():
        proposing, judging = [], []
        for image, proposals in zip(seen.images[:WEIGHED], seen.proposals):
            batch = model.prepare(image)
            maps, heads = model.backbone_and_rpn(batch.pixels)
            proposing += [[one.ravel() for one in some] for some in heads]
            judging.append([one.ravel() for one in model.box_head(model.pool_rois(maps, batch, proposals)[1])])
        return [np.concatenate(one, dtype=np.float64) for some in (proposing, judging) for one in zip(*some)]
    expected = answers()
    scales = [weight / (((one - one.mean()) ** 2).sum() or 1.0) for one, weight in zip(expected, (PROPOSING, PROPOSING, 1, 1))]
    candidates = [layer for layer in layers if len(layer.offers) > 1]
    with Progress(len(candidates), "weighing errors", "layers") as bar:
        for layer in candidates:
            trial = layer.offers[len(layer.offers) // 2]
            whole = model.get_layer(layer.path)
            model.replace_layer(layer.path, layer.split.layers(trial.ranks))
            effect = sum(((one - other) ** 2).sum() * scale for one, other, scale in zip(answers(), expected, scales))
            model.replace_layer(layer.path, whole)
            layer.offers = [one._replace(error=one.error * effect / max(trial.error, LEAST_ERROR)) for one in layer.offers]
            layer.chosen = layer.offers[0]
            bar.update(1, layer.path)


def fits(ranks, layer):
    """Whether a layer has as many channels, (in, out)."""
    outputs, inputs = layer.weight.shape[:2]
    return 1 <= ranks[0] <= inputs and 1 <= ranks[1] <= outputs


def ruled_layer(path, rule, split, row, often, backend, rates):
    """A ``Layer`` at the ranks that a rule finds, whole if they do not pay; given ones are taken as they are where it is wide enough."""
    if rule.kind == "given" and not fits(rule.value, split.layer):
        whole, = budget.priced(split, row, [], often, backend, rates)
        return Layer(path, split, [whole], whole, "it is narrower than the ranks")
    ranks = tuple(find_ranks(rule, split))
    whole, one = budget.priced(split, row, [ranks], often, backend, rates)
    if rule.kind == "given" or one.pays(whole):
        return Layer(path, split, [whole, one], one)
    lack = "smaller" if one.parameters >= whole.parameters else "faster"
    return Layer(path, split, [whole, one], whole, f"at ranks {ranks[0]} and {ranks[1]} it would be no {lack}")


def find_ranks(rule, split):
    """(r_in, r_out) by a rule: multiples of ``budget.STEP`` or all channels, unless they are given."""
    channels = split.channels
    if rule.kind == "given":
        return rule.value if split.tucker else [min(rule.value)] * 2
    if rule.kind == "energy":
        ranks = [energy_rank(values, rule.value) for values in ((split.into_values,) if split.tucker else ()) + (split.out_values,)]
    else:
        ranks = [evbmf(split.layer.weight, mode) for mode in ((1, 0) if split.tucker else (0,))]
    ranks = [min(-(-max(rank, 1) // budget.STEP) * budget.STEP, channel) for rank, channel in zip((ranks * 2)[:2], channels)]
    return ranks if split.tucker else [min(ranks)] * 2


def evbmf(weight, mode):
    """``evbmf_rank`` of a weight's unfolding, the longer side as columns."""
    matrix = unfold(weight.astype(np.float64), mode)
    matrix = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    return evbmf_rank(leading_vectors(matrix, len(matrix))[1], matrix.shape[1])


def meet(rule, layers, before, after):
    """Choose offers that meet a target.

    Of a target of storage the price of a step is not the storage alone that it saves: its share of the layers' milliseconds counts
    ``TIME`` times as much as its share of their parameters (ours). A network is made small to be fast, too, and the first layers, which
    hold few parameters, take most of the time.

    Args:
        layers: list of ``Layer``, changed.
        before, after: the ledger of the network as it came and as pruning left it; of a target of time the milliseconds.
    """
    cost = COSTS[rule.kind]
    if rule.kind == "storage":
        convolutions = [layer for layer in layers if layer.split.layer.weight.ndim == 4]
        whole = Offer(None, 0.0, *(sum(getattr(layer.offers[0], name) for layer in layers) for name in Offer._fields[2:]))

        def both(offer):
            return offer.parameters / whole.parameters + TIME * offer.milliseconds / (whole.milliseconds or 1)
        choose_offers(convolutions, cost, rule.value, before["convolution_parameters"], after["convolution_parameters"], "convolutions",
                      both)
        choose_offers(layers, cost, rule.value, before["bytes"] / 4, after["bytes"] / 4, "file", both)
    elif rule.kind == "time":
        choose_offers(layers, cost, rule.value, before, after, "time")
    else:
        choose_offers(layers, cost, rule.value, before[cost], after[cost], cost)


def choose_offers(layers, cost, share, full, left, name, price=None):
    """``budget.choose`` from each layer's present offer on; full, left: what the network cost at first, and costs with these whole."""
    price = price or operator.attrgetter(cost)
    offers = {layer.path: [layer.chosen, *(one for one in layer.offers if getattr(one, cost) < getattr(layer.chosen, cost)
                                           and price(one) < price(layer.chosen))] for layer in layers}
    fixed = left - sum(getattr(layer.offers[0], cost) for layer in layers)
    chosen = budget.choose(offers, cost, share, full, fixed, name, price)
    for layer in layers:
        layer.chosen = chosen[layer.path]
        if layer.chosen.ranks:
            layer.reason = ""


def milliseconds(model, sizes, backend, rates):
    """What the convolutions and linear layers of a network take, as the engine predicts; grouped convolutions are not counted."""
    return sum(budget.predicted(model.get_layer(row["path"]), row, [], times(model, row["path"]), backend, rates)[0]
               for row in sizes["layers"])
