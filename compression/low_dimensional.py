"""Low-dimensional convolutions lose weak filters, as many as their consumers can do without: the pruning half of the hybrid method."""

import numpy as np

from minicnn.compression import budget
from minicnn.compression.channels import channel_columns, fold_into_kept, group_weight, is_linear, lost_share, prune_group, select_filters
from minicnn.compression.filter_statistics import cluster_filters


def prune_low_dimensional(model, options, rng, observation=None):
    """Prune low-dimensional convolutions by filter statistics, in place.

    Considered are the groups that only convolutions of at most ``options.low`` filters make. Of the weak cluster (``filter_statistics``)
    filters are removed in the order of mu^2 + sigma^2, as many as the consumers can do without: each loses at most ``options.loss`` of
    the squares (with an observation, of the variance) of its output, and a multiple of 8 filters stays (ours: the whole cluster may be
    most of a layer). With an observation the removed channels are folded into the others, see ``channels.fold_into_kept``.

    Args:
        model: the network. options: ``hybrid.HybridOptions``. rng: a Generator, for k-means. observation: ``observe.Observation`` or None.

    Returns:
        removed, kept: {producer: indices of filters}; columns: {consumer: input channels, or columns, that are left}.
    """
    removed, kept, columns = {}, {}, {}
    for group in model.channel_groups():
        weight = group_weight(model, group)
        if not is_low_dimensional(model, group, len(weight), options):
            continue
        consumers = [(model.get_layer(path), wide, None if observation is None else observation.inputs[path])
                     for path, wide in group.consumers]
        remove = expendable_filters(weight, consumers, options.loss, rng)
        if remove is None:
            continue
        if observation is not None:
            for layer, wide, inputs in consumers:
                fold_into_kept(layer, channel_columns(remove, wide), inputs)
        prune_group(model, group, remove)
        keep = np.setdiff1d(np.arange(len(weight)), remove)
        removed.update(dict.fromkeys(group.producers, remove))
        kept.update(dict.fromkeys(group.producers, keep))
        columns.update({path: channel_columns(keep, wide) for path, wide in group.consumers})
    return removed, kept, columns


def is_low_dimensional(model, group, channels, options):
    """Whether a group is of convolutions that the options let prune; not of parts of a layer that was decomposed before."""
    return not is_linear(model, group) and channels <= options.low and all(
        options.allows(path) and not was_decomposed(model, path) for path in group.producers)


def expendable_filters(weight, consumers, loss, rng):
    """The most weak filters that all consumers can do without, indices; None if there are none.

    Args:
        weight: (O, M), see ``channels.group_weight``. consumers: list of (layer, columns of a channel, its ``InputMoments`` or None).
        loss: see ``hybrid.HybridOptions``. rng: a Generator, for k-means.
    """
    clusters = cluster_filters(weight, rng=rng)
    weak = np.flatnonzero(clusters.labels == clusters.weak)
    least = max(1, -(-(len(weight) - len(weak)) // budget.STEP)) * budget.STEP
    for left in range(least, len(weight), budget.STEP):
        remove = select_filters(weight, len(weight) - left, "statistics", rng, weak)
        if max(lost_share(layer, channel_columns(remove, wide), inputs) for layer, wide, inputs in consumers) <= loss:
            return remove
    return None


def was_decomposed(model, path):
    """Whether a layer is a part of one that was decomposed before."""
    return any(path.startswith(f"{whole}.") for step in model.record["surgery"] for whole in step.get("split", ()))
