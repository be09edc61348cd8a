"""What a compression would give: the curve of storage, time and predicted loss, without making the smaller network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minicnn.compression.cost_model import CostModel, machine_cost_model, network_milliseconds
from minicnn.compression.cost_table import cost_table
from minicnn.compression.cut import check_cut
from minicnn.compression.hybrid import decide_layers, decomposable, meet_target
from minicnn.compression.low_dimensional import prune_low_dimensional, shallow_copy
from minicnn.compression.observe import observe
from minicnn.compression.options import DECOMPOSING, DetectorOptions
from minicnn.compression.rules import RankRule
from minicnn.data.images import as_values
from minicnn.errors import InputError
from minicnn.models.protocol import CompressibleDetector

SHARES = tuple(number / 10 for number in range(10, 0, -1))          # of the storage
OBSERVED, WEIGHED = 10, 1       # images by which errors are estimated, and on which layers are compared: what a minute allows
UNITS = {
    "weights": "squared weights, as a share of each layer's, summed over the decomposed layers",
    "output": "squared error of each decomposed layer's output, as a share of its variance, summed",
    "weighed": "squared error of the detector's outputs, as a share of their variance (the RPN's count 0.05 times), summed over the "
               "decomposed layers"}


def predict_compression(model: CompressibleDetector, options: DetectorOptions, images: Sequence[np.ndarray] = (), *,
                        rng: np.random.Generator | None = None, cost_model: CostModel | None = None) -> dict:
    """Predict storage, time and loss of a detector at ten shares of the storage, and at the targets of the options.

    The same is computed as by ``compress_detector``, but from ``OBSERVED`` images at most, of which ``WEIGHED`` compare the layers; without
    images from the weights alone, where the prediction is what ``compress_detector`` will find. Nothing is repaired. Filters are pruned as
    far as any target lets them be; what that loses is not in the predicted loss.

    Args:
        model: left as it is. options: for "hybrid" or "tucker", whose rule is a target or several. images: as ``as_values`` takes.
        rng: default: of options.seed. cost_model: default: of this machine.

    Returns:
        {"method", "errors" ("weights" or "output"), "images" (observed), "weighed" (images on which layers were compared), "unit" (of the
        loss, in words), "backend", "machine" (if the cost model is another machine's), "before": {"bytes", "parameters",
        "convolution_parameters", "macs", "milliseconds"}, "curve": list of {"target": {kind: share}, "storage", "convolutions",
        "parameters", "macs", "time" (shares of before), "loss", "refused" (why the target is not met, "")}}; of a target that is not met
        shares and loss are None.

    Raises:
        InputError: the method predicts no errors, a pattern fits no layer, no layer can be decomposed, an image is none.
    """
    if not options.decomposes or not options.rule.is_target:
        raise InputError(f"got a dry run of {options.method} with {options.rule.kind}, expected a target and one of the methods "
                         f"{' and '.join(DECOMPOSING)}, which predict errors. Choose these.")
    rng, cost_model = rng or np.random.default_rng(options.seed), cost_model or machine_cost_model()
    images = [as_values(image) for image in images[:OBSERVED]]
    suited = options.suited_to(model, images)
    check_cut(model, replace(suited, rule=RankRule("storage", 1.0)), cost_model)
    before = costs(model, cost_model)
    smaller, decisions, weighed = undecided_network(model, suited, images, rng, cost_model)
    left, rules = costs(smaller, cost_model), [RankRule("storage", share) for share in SHARES]
    rules += [options.rule] if options.rule not in rules else []
    curve = [point(replace(options, rule=rule).suited_to(model, images), rule, model, decisions, before, left, cost_model)
             for rule in rules]
    return {"method": options.method, "errors": suited.errors, "images": len(images) if suited.errors == "output" else 0,
            "weighed": weighed, "unit": UNITS["weighed" if weighed else suited.errors], "backend": cost_model.backend,
            **({"machine": cost_model.machine} if cost_model.machine else {}), "before": before, "curve": curve}


def costs(model, cost_model):
    """Totals of the cost table, with the predicted "milliseconds"."""
    table = cost_table(model, model.input_shape)
    totals = {name: table[name] for name in ("bytes", "parameters", "convolution_parameters", "macs")}
    return {**totals, "milliseconds": network_milliseconds(model, table, cost_model)}


def undecided_network(model, options, images, rng, cost_model):
    """A pruned copy, its ``LayerDecision``s with all candidates, and the number of images on which layers were compared."""
    smaller, observation, rule = shallow_copy(model), None, RankRule("storage", 1.0)
    if images and options.errors == "output":
        observation = observe(model, images, rng)
    _, _, columns = prune_low_dimensional(smaller, options.hybrid, rng, observation)
    paths = decomposable(smaller, options.hybrid)
    decisions = decide_layers(smaller, rule, paths, cost_table(smaller, smaller.input_shape), columns, observation, cost_model, WEIGHED)
    return smaller, decisions, min(WEIGHED, len(images)) if observation is not None and observation.proposals else 0


def point(options, rule, model, decisions, before, left, cost_model):
    """A row of the curve.

    Args:
        options: whose rule leaves room for biases. rule: as it was given. model: the original. decisions: list of ``LayerDecision``,
            changed. before, left: ``costs`` of the original and of the pruned network. cost_model: a ``CostModel``.
    """
    for decision in decisions:
        decision.chosen = decision.candidates[0]
    row = {"target": {target.kind: target.value for target in rule.targets}}
    try:
        meet_target(options.rule, decisions, before, left)
    except InputError as error:
        return {**row, **dict.fromkeys(("storage", "convolutions", "parameters", "macs", "time", "loss")),
                "refused": reason(model, options, cost_model, error)}

    def saved(name, ndims=(2, 4)):
        return sum(getattr(decision.candidates[0], name) - getattr(decision.chosen, name) for decision in decisions
                   if decision.low_rank.layer.weight.ndim in ndims)
    return {**row, "storage": (left["bytes"] - 4 * saved("parameters")) / before["bytes"],
            "convolutions": (left["convolution_parameters"] - saved("parameters", (4,))) / before["convolution_parameters"],
            "parameters": (left["parameters"] - saved("parameters")) / before["parameters"],
            "macs": (left["macs"] - saved("macs")) / before["macs"],
            "time": (left["milliseconds"] - saved("milliseconds")) / before["milliseconds"],
            "loss": float(sum(decision.chosen.error for decision in decisions)), "refused": ""}


def reason(model, options, cost_model, error):
    """Why a target is not met: what ``compress_detector`` would say, or that it would prune more to meet it."""
    try:
        check_cut(model, options, cost_model)
    except InputError as refusal:
        return str(refusal)
    return f"{error} It can be met by pruning filters that cost more, which a dry run does not try."
