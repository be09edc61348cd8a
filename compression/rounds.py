"""Pruning in rounds: prune, fine-tune, repeat, until a target is met."""

import copy
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from minicnn.compression.channels import (
    check_patterns,
    fits_any,
    group_weight,
    is_linear,
    prune_group,
    select_filters,
    stays_whole,
)
from minicnn.compression.cost_table import cost_table, total_size
from minicnn.compression.filter_statistics import cluster_filters
from minicnn.errors import InputError
from minicnn.models.channel_groups import ChannelGroup
from minicnn.models.protocol import Compressible


class PruningTarget(NamedTuple):
    """When pruning stops. kind: "parameters", "macs" or "bytes" (value: the most that may be left), or "accuracy" (value: the least)."""

    kind: str
    value: float

    def met(self, model: Compressible) -> bool:
        """Whether the network is small enough; always False for an accuracy, which is compared after each round."""
        if self.kind == "accuracy":
            return False
        left = cost_table(model, model.input_shape)["macs"] if self.kind == "macs" else total_size(model, self.kind)
        return left <= self.value


class PruningOptions(NamedTuple):
    """How to prune.

    method: "statistics" or a control, "l1", "fpgm", "random"; linear: prune neurons of linear layers too; minimum: channels that a layer
    keeps at least; n_clusters: None lets the silhouette choose; compensate: fold the means of removed channels into the next bias;
    left_out: patterns of paths of layers that keep all filters, see ``channels.stays_whole``.

    The minimum is 5 (ours) since the weak cluster of a narrow layer may be nearly all of it, 18 of the 20 filters of LeNet's conv1
    in one case: below a tenth of the parameters that floor loses much less accuracy (``bench/lenet_pruning.py``).
    """

    method: str = "statistics"
    linear: bool = True
    minimum: int = 5
    n_clusters: int | None = None
    compensate: bool = True
    left_out: tuple = ()

    def prunes(self, model: Compressible, group: ChannelGroup) -> bool:
        """Whether channels of a group may be removed."""
        return (self.linear or not is_linear(model, group)) and not stays_whole(model, group, self.left_out)

    def settings(self) -> dict:
        """What a checkpoint must agree on: all fields, ``left_out`` only if it is not empty, since those of older versions lack it."""
        return {name: value for name, value in self._asdict().items() if name != "left_out" or value}


def prune_in_rounds(model: Compressible, target: PruningTarget, options: PruningOptions, *, seed: int, images: np.ndarray | None = None,
                    finetune: Callable | None = None, evaluate: Callable | None = None, counts: Sequence[dict] | None = None,
                    rounds: Sequence[dict] = (), on_round: Callable | None = None) -> list[dict]:
    """Prune in rounds, in place: cluster the filters of every group, remove weak clusters (``plan_round``), fine-tune.

    Args:
        model: a ``minicnn.models.protocol.Compressible``.
        target: a ``PruningTarget``.
        options: ``PruningOptions``.
        seed: int; round r draws from (seed, r).
        images: (N, C, H, W) unlabelled images for compensation, or None.
        finetune: ``finetune(model, round)`` trains in place and returns the losses, or None.
        evaluate: ``evaluate(model)`` returns an accuracy on validation images; needed for a target of accuracy.
        counts: the number of filters to remove, {producer's path: number}, of each round, from another run's ``rounds``: a control
            then removes as many in each layer as that run did. None: as many as the weak clusters hold.
        rounds: those of an interrupted run, already done to ``model``.
        on_round: called with the model and all rounds after each, so that they can be saved.

    Returns:
        rounds: a list of one dict a round, see ``run_round``.

    Raises:
        InputError: the target cannot be reached, before anything is changed.
    """
    if options.minimum < 1 or target.kind == "accuracy" and evaluate is None:
        raise ValueError(f"prune_in_rounds: got minimum={options.minimum}, a target of {target.kind} and evaluate={evaluate}; expected a "
                         "minimum of at least 1, and evaluate for an accuracy.")
    check_reachable(model, target, options, counts)
    rounds = list(rounds)
    originals = original_filters(model, rounds)
    while not target.met(model) and (counts is None or len(rounds) < len(counts)):
        number = len(rounds) + 1
        before = copy.deepcopy(model) if target.kind == "accuracy" else None
        plan = plan_round(model, target, options, np.random.default_rng([seed, number]), counts[number - 1] if counts else None)
        if not plan:
            break
        entry = run_round(model, plan, originals, number, images if options.compensate else None, finetune, evaluate)
        if target.kind == "accuracy" and entry["accuracy"] < target.value:
            vars(model).update(vars(before))                   # this round went too far
            break
        rounds.append(entry)
        if on_round:
            on_round(model, rounds)
    return rounds


def run_round(model, plan, originals, number, images, finetune, evaluate):
    """Prune by a plan, fine-tune and measure.

    Args:
        plan: from ``plan_round``. originals: from ``original_filters``, changed. number: of the round. The others as for
        ``prune_in_rounds``.

    Returns:
        {"parameters", "macs", "accuracy_pruned" (before fine-tuning), "accuracy", "losses",
        "groups", each with "path", "mean", "variance", "labels", "weak", "silhouette", and "removed" and "filters" (the numbers
        that the removed filters and all filters had in the network that was first given)}.
    """
    entry = {"groups": [describe_group(step, originals) for step in plan]}
    for step in plan:
        prune_group(model, step["group"], step["remove"], images)
        path = step["group"].producers[0]
        originals[path] = np.delete(originals[path], step["remove"])
    entry["accuracy_pruned"] = evaluate(model) if evaluate else None
    entry["losses"] = finetune(model, number) if finetune else []
    entry["accuracy"] = evaluate(model) if evaluate else None
    sizes = cost_table(model, model.input_shape)
    entry.update({name: sizes[name] for name in ("parameters", "macs")})
    return entry


def plan_round(model, target, options, rng, counts=None):
    """The filters that one round removes.

    These are the weak cluster of every group, but so that ``options.minimum`` channels stay. If that exceeds the target, only as many of
    them as it needs, the lowest mu^2 + sigma^2 first; to compare layers of different scale it is divided by its mean over the layer
    (ours). A control removes as many filters of each layer, those with the lowest scores by its own criterion.

    Returns:
        plan: a list of {"group", "clusters", "remove": indices}; groups that lose nothing are left out.
    """
    plan = []
    for group in model.channel_groups():
        if not options.prunes(model, group):
            continue
        weight = group_weight(model, group)
        clusters = cluster_filters(weight, options.n_clusters, rng=rng)
        weak = np.flatnonzero(clusters.labels == clusters.weak)
        if counts is None:
            count = min(len(weak), len(weight) - options.minimum)
        else:
            count = counts.get(group.producers[0], 0)
            weak = None if len(weak) < count else weak
        if count > 0:
            remove = select_filters(weight, count, "statistics", rng, weak)
            plan.append({"group": group, "clusters": clusters, "remove": remove})
    if counts is None:
        trim(model, plan, target)
    if options.method != "statistics":
        for step in plan:
            step["remove"] = select_filters(group_weight(model, step["group"]), len(step["remove"]), options.method, rng)
    return [step for step in plan if len(step["remove"])]


def trim(model, plan, target):
    """Shorten the plan's lists to the fewest filters that meet the target; leave them whole if even all do not."""
    candidates = []
    for number, step in enumerate(plan):
        mean_square = step["clusters"].mean_square
        score = mean_square / (mean_square.mean() or 1)
        candidates += [(score[index], number, index) for index in step["remove"]]
    candidates.sort()

    def first(count):
        return [np.sort([index for _, n, index in candidates[:count] if n == number]).astype(int) for number in range(len(plan))]

    def enough(count):
        trial = copy.deepcopy(model)
        for step, remove in zip(plan, first(count)):
            prune_group(trial, step["group"], remove)
        return target.met(trial)

    if not plan or not enough(len(candidates)):
        return
    low, high = 0, len(candidates)                             # ``high`` are enough, ``low`` are not
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    for step, remove in zip(plan, first(high)):
        step["remove"] = remove


def check_reachable(model, target, options, counts=None):
    """Raise InputError if a pattern fits no layer, or even the smallest network that ``options`` allow misses the target."""
    check_patterns(model, options.left_out)
    for path in {path: None for step in counts or () for path in step}:
        if fits_any(path, options.left_out):
            raise InputError(f"got filters of {path} to remove, which shall stay whole, expected counts of other layers. Leave one out.")
    if target.kind == "accuracy" or counts is not None:
        return
    smallest = copy.deepcopy(model)
    for group in smallest.channel_groups():
        if options.prunes(smallest, group):
            channels = len(smallest.get_layer(group.producers[0]).weight)
            prune_group(smallest, group, np.arange(options.minimum, channels))
    if not target.met(smallest):
        least = cost_table(smallest, model.input_shape)[target.kind]
        raise InputError(f"got a target of {target.value:.0f} {target.kind}, expected at least {least}: what is left when every layer "
                         f"keeps {options.minimum} channels{'' if options.linear else ' and linear layers all of theirs'}"
                         f"{' and all of ' + ' '.join(options.left_out) + ' stays' if options.left_out else ''}. "
                         "Choose a larger target.")


def original_filters(model, rounds):
    """{first producer of each group: the numbers that its filters had before any round}."""
    filters = {}
    for group in model.channel_groups():
        path = group.producers[0]
        gone = [index for entry in rounds for step in entry["groups"] if step["path"] == path for index in step["removed"]]
        filters[path] = np.setdiff1d(np.arange(len(model.get_layer(path).weight) + len(gone)), gone)
    return filters


def describe_group(step, originals):
    """A step of the plan as plain numbers, for JSON."""
    clusters, path = step["clusters"], step["group"].producers[0]
    return {
        "path": path, "mean": clusters.mean.tolist(), "variance": clusters.variance.tolist(), "labels": clusters.labels.tolist(),
        "weak": clusters.weak, "silhouette": None if np.isnan(clusters.silhouette) else clusters.silhouette,
        "filters": originals[path].tolist(), "removed": originals[path][step["remove"]].tolist(),
    }


def prune_to(model, target, options, *, seed, on_round=None):
    """Prune in rounds without training between them, in place; see ``prune_in_rounds``.

    Returns:
        removed, kept: {producer: indices of its filters}, for those that lost some.
    """
    counts = {path: len(model.get_layer(path).weight) for group in model.channel_groups() for path in group.producers}
    filters = original_filters(model, prune_in_rounds(model, target, options, seed=seed, on_round=on_round))
    removed, kept = {}, {}
    for group in model.channel_groups():
        left = filters[group.producers[0]]
        gone = np.setdiff1d(np.arange(counts[group.producers[0]]), left)
        if len(gone):
            removed.update(dict.fromkeys(group.producers, gone))
            kept.update(dict.fromkeys(group.producers, left))
    return removed, kept


def removed_counts(rounds):
    """The number of filters that each round removed, {producer's path: number}, as ``prune_in_rounds`` takes it for a control."""
    return [{step["path"]: len(step["removed"]) for step in entry["groups"]} for entry in rounds]
