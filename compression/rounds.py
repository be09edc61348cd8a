"""Compression in rounds: prune, fine-tune, repeat, until the target is met."""

import copy
from typing import NamedTuple

import numpy as np

from minicnn.compression.channels import choose, group_weight, is_linear, prune_group
from minicnn.compression.cost_table import cost_table, count
from minicnn.compression.filter_statistics import cluster_filters
from minicnn.errors import InputError


class Target(NamedTuple):
    """When to stop. kind: "parameters", "macs" or "bytes" (value: the most that may be left), or "accuracy" (value: the least)."""

    kind: str
    value: float

    def met(self, model):
        """Whether the network is small enough; never so for an accuracy, which every round must ask for anew."""
        if self.kind == "accuracy":
            return False
        left = cost_table(model, model.input_shape)["macs"] if self.kind == "macs" else count(model, self.kind)
        return left <= self.value


class Options(NamedTuple):
    """How to prune.

    method: "statistics" or a control, "l1", "fpgm", "random"; linear: neurons of linear layers too; minimum: channels a layer
    keeps at least; n_clusters: None lets the silhouette choose; compensate: fold the means of what is removed into the next bias.

    The minimum is 5 (ours) since the weak cluster of a narrow layer may be nearly all of it, 18 of the 20 filters of LeNet's conv1
    in one case: below a tenth of the parameters that floor loses much less accuracy (``bench/lenet_pruning.py``).
    """

    method: str = "statistics"
    linear: bool = True
    minimum: int = 5
    n_clusters: int | None = None
    compensate: bool = True


def compress(model, target, options, *, seed, images=None, finetune=None, evaluate=None, counts=None, rounds=(), on_round=None):
    """Prune in rounds, in place.

    A round clusters the filters of every group and takes the weak cluster of each (``plan_round``), prunes, and fine-tunes.

    Args:
        model: a Layer with ``channel_groups`` and ``input_shape``.
        target: a ``Target``.
        options: ``Options``.
        seed: int; round r draws from (seed, r).
        images: (N, C, H, W) unlabelled images for compensation, or None.
        finetune: ``finetune(model, round)`` trains in place and returns the losses, or None.
        evaluate: ``evaluate(model)`` returns an accuracy, on images that are for choosing; needed for that kind of target.
        counts: the filters to remove, {producer's path: number}, of each round, from another run's ``rounds``: then a control
            removes as many in each layer as that run did. None: as many as the weak clusters hold.
        rounds: those of an interrupted run, already done to ``model``.
        on_round: called with the model and all rounds after each, so that it can be kept.

    Returns:
        rounds: a list of one dict a round: "parameters", "macs", "accuracy_pruned" (before fine-tuning), "accuracy", "losses",
        and "groups", each with "path", "mean", "variance", "labels", "weak", "silhouette", and "removed" and "filters" (the numbers
        that the removed ones and all had in the network that was first given).

    Raises:
        InputError: the target cannot be reached, before anything is changed.
    """
    if options.minimum < 1 or target.kind == "accuracy" and evaluate is None:
        raise ValueError(f"compress: got minimum={options.minimum}, a target of {target.kind} and evaluate={evaluate}; expected a "
                         "minimum of at least 1, and evaluate for an accuracy.")
    check_reachable(model, target, options, counts)
    rounds = list(rounds)
    originals = original_filters(model, rounds)
    while not target.met(model):
        number = len(rounds) + 1
        if counts is not None and number > len(counts):
            break
        rng = np.random.default_rng([seed, number])
        before = copy.deepcopy(model) if target.kind == "accuracy" else None
        plan = plan_round(model, target, options, rng, counts[number - 1] if counts else None)
        if not plan:
            break
        entry = {"groups": [describe_group(step, originals) for step in plan]}
        for step in plan:
            prune_group(model, step["group"], step["remove"], images if options.compensate else None)
            path = step["group"].producers[0]
            originals[path] = np.delete(originals[path], step["remove"])
        entry["accuracy_pruned"] = evaluate(model) if evaluate else None
        entry["losses"] = finetune(model, number) if finetune else []
        entry["accuracy"] = evaluate(model) if evaluate else None
        sizes = cost_table(model, model.input_shape)
        entry.update({name: sizes[name] for name in ("parameters", "macs")})
        if target.kind == "accuracy" and entry["accuracy"] < target.value:
            vars(model).update(vars(before))                   # this round went too far
            break
        rounds.append(entry)
        if on_round:
            on_round(model, rounds)
    return rounds


def plan_round(model, target, options, rng, counts=None):
    """What one round removes.

    The weak cluster of every group, but so that ``options.minimum`` channels stay. If that goes beyond the target, only as many of
    them as it needs, the least mu^2 + sigma^2 first; to compare layers of different scale it is divided by its mean over the layer
    (ours). A control takes as many filters of each layer, those of least score by its own criterion.

    Returns:
        plan: a list of {"group", "clusters", "remove": indices}; groups that lose nothing are left out.
    """
    plan = []
    for group in model.channel_groups():
        if not options.linear and is_linear(model, group):
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
            remove = choose(weight, count, "statistics", rng, weak)
            plan.append({"group": group, "clusters": clusters, "remove": remove})
    if counts is None:
        trim(model, plan, target)
    if options.method != "statistics":
        for step in plan:
            step["remove"] = choose(group_weight(model, step["group"]), len(step["remove"]), options.method, rng)
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


def check_reachable(model, target, options, counts):
    """Raise InputError if even the smallest network that ``options`` allow misses the target."""
    if target.kind == "accuracy" or counts is not None:
        return
    smallest = copy.deepcopy(model)
    for group in smallest.channel_groups():
        if options.linear or not is_linear(smallest, group):
            channels = len(smallest.get_layer(group.producers[0]).weight)
            prune_group(smallest, group, np.arange(options.minimum, channels))
    if not target.met(smallest):
        least = cost_table(smallest, model.input_shape)[target.kind]
        raise InputError(f"got a target of {target.value:.0f} {target.kind}, expected at least {least}: what is left when every layer "
                         f"keeps {options.minimum} channels{'' if options.linear else ' and linear layers all of theirs'}. "
                         "Choose a larger target.")


def original_filters(model, rounds):
    """For each group's first producer, the numbers that its filters had before any round."""
    filters = {}
    for group in model.channel_groups():
        path = group.producers[0]
        gone = [index for entry in rounds for step in entry["groups"] if step["path"] == path for index in step["removed"]]
        filters[path] = np.setdiff1d(np.arange(len(model.get_layer(path).weight) + len(gone)), gone)
    return filters


def describe_group(step, originals):
    """A step of the plan as plain numbers, for the file and the report."""
    clusters, path = step["clusters"], step["group"].producers[0]
    return {
        "path": path, "mean": clusters.mean.tolist(), "variance": clusters.variance.tolist(), "labels": clusters.labels.tolist(),
        "weak": clusters.weak, "silhouette": None if np.isnan(clusters.silhouette) else clusters.silhouette,
        "filters": originals[path].tolist(), "removed": originals[path][step["remove"]].tolist(),
    }


def prune_to(model, target, options, *, seed, on_round=None):
    """Prune in rounds without training between them, in place; see ``compress``.

    Returns:
        removed, kept: {producer: indices of its filters}, for those that lost some.
    """
    counts = {path: len(model.get_layer(path).weight) for group in model.channel_groups() for path in group.producers}
    filters = original_filters(model, compress(model, target, options, seed=seed, on_round=on_round))
    removed, kept = {}, {}
    for group in model.channel_groups():
        left = filters[group.producers[0]]
        gone = np.setdiff1d(np.arange(counts[group.producers[0]]), left)
        if len(gone):
            removed.update(dict.fromkeys(group.producers, gone))
            kept.update(dict.fromkeys(group.producers, left))
    return removed, kept


def removed_counts(rounds):
    """How many filters each round removed, {producer's path: number}: what a control needs to do likewise."""
    return [{step["path"]: len(step["removed"]) for step in entry["groups"]} for entry in rounds]
