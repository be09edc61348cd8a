"""How ranks are found: given, by a rule for each layer alone, or by a target for the whole network."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from minicnn.compression import budget
from minicnn.compression.cost_table import cost_table, weighted_layers
from minicnn.compression.ranks import energy_rank, evbmf_rank
from minicnn.compression.tucker import leading_vectors, unfold
from minicnn.errors import InputError

COSTS = {"storage": "parameters", "parameters": "parameters", "macs": "macs", "time": "milliseconds"}     # a field of ``Candidate``


class RankRule(NamedTuple):
    """How ranks are found.

    kind: "given" (value: (r_in, r_out)), "energy" (the share of each side's squared singular values that is kept), "evbmf" (value: None;
    ``ranks.evbmf_rank`` of the weights), or a target, whose value is the share that is kept: "storage" of the file, and of the
    convolutions alone; "parameters", "macs" or "time" (milliseconds by the cost model) of all layers; or "several" (value: a tuple of
    ``RankRule``s that are targets of different kinds), which shall all be met.

    The paper's 54 % are of "storage", which may be the file or the convolutions that the paper is about: a target of storage holds for
    both (ours), first for the convolutions, then, with all layers, for the file.
    """

    kind: str
    value: Any = None

    @property
    def targets(self) -> tuple["RankRule", ...]:
        """The targets for the whole network: itself, those of several, or none."""
        return self.value if self.kind == "several" else (self,) if self.kind in COSTS else ()

    @property
    def is_target(self) -> bool:
        """Whether it is a target for the whole network, or several."""
        return bool(self.targets)

    @classmethod
    def of(cls, targets: Sequence["RankRule"]) -> "RankRule":
        """The rule that meets some targets, at least one.

        Raises:
            InputError: there is another rule among them, or two are of one kind.

        >>> RankRule.of([RankRule("storage", 0.46), RankRule("time", 0.5)]).kind
        'several'
        """
        kinds = [target.kind for target in targets]
        if not kinds or len(set(kinds)) < len(kinds) or not set(kinds) <= set(COSTS):
            raise InputError(f"got the targets {' '.join(kinds) or 'of nothing'}, expected different ones of {', '.join(COSTS)}. Give each "
                             "once.")
        return targets[0] if len(targets) == 1 else cls("several", tuple(targets))


def with_room_for_biases(rule, model):
    """A rule that leaves room for a bias of each layer without one, since repair may add it."""
    if rule.kind == "several":
        return rule._replace(value=tuple(with_room_for_biases(target, model) for target in rule.value))
    missing = sum(len(layer.weight) for layer in map(model.get_layer, weighted_layers(model)) if getattr(layer, "bias", None) is None)
    full = {"storage": "convolution_parameters", "parameters": "parameters"}.get(rule.kind)
    if not missing or not full:
        return rule
    return rule._replace(value=rule.value - missing / cost_table(model, model.input_shape)[full])


def fits(ranks, layer):
    """Whether a layer has as many channels as these ranks (r_in, r_out)."""
    outputs, inputs = layer.weight.shape[:2]
    return 1 <= ranks[0] <= inputs and 1 <= ranks[1] <= outputs


def find_ranks(rule, low_rank):
    """(r_in, r_out) of a layer by a rule that is no target: multiples of ``budget.STEP`` or all channels, unless they are given.

    Args:
        rule: a ``RankRule``. low_rank: the layer's ``low_rank.LowRank``.
    """
    channels = low_rank.channels
    if rule.kind == "given":
        return rule.value if low_rank.tucker else [min(rule.value)] * 2
    if rule.kind == "energy":
        sides = ((low_rank.into_values,) if low_rank.tucker else ()) + (low_rank.out_values,)
        ranks = [energy_rank(values, rule.value) for values in sides]
    else:
        ranks = [unfolded_evbmf_rank(low_rank.layer.weight, mode) for mode in ((1, 0) if low_rank.tucker else (0,))]
    ranks = [min(-(-max(rank, 1) // budget.STEP) * budget.STEP, channel) for rank, channel in zip((ranks * 2)[:2], channels)]
    return ranks if low_rank.tucker else [min(ranks)] * 2


def unfolded_evbmf_rank(weight, mode):
    """``evbmf_rank`` of a weight's unfolding, the longer side as columns."""
    matrix = unfold(weight.astype(np.float64), mode)
    matrix = matrix if len(matrix) <= matrix.shape[1] else matrix.T
    return evbmf_rank(leading_vectors(matrix, len(matrix))[1], matrix.shape[1])
