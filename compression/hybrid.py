"""The paper's method for a whole detector: low-dimensional convolutions are pruned, high-dimensional ones decomposed by Tucker.

The paper's abstract says no more than that about Faster R-CNN. Ours are: where low-dimensional ends (128 output channels), how ranks are
found (``budget``, by what the calibration images show of a layer's output), that the RPN's convolution and, by SVD, the linear layers
take part, and the repair before fine-tuning (``repair``).
"""

import math
import operator
import sys
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from minicnn.compression.budget import STEP, Budget, Candidate, candidates, candidates_at, meet_budget
from minicnn.compression.channels import fits_any, map_pixels
from minicnn.compression.cost_model import machine_cost_model, network_milliseconds
from minicnn.compression.cost_table import cost_table, runs_per_image, weighted_layers
from minicnn.compression.low_dimensional import most_removed, prune_low_dimensional, shallow_copy, was_decomposed
from minicnn.compression.low_rank import LowRank, Outline
from minicnn.compression.output_errors import IMAGES, weigh_errors
from minicnn.compression.rules import COSTS, find_ranks, fits
from minicnn.compression.several_budgets import meet_budgets
from minicnn.errors import InputError
from minicnn.progress import Progress

MORE = 4                # times the loss that pruning may cost, where a target needs more pruning
TIME = 0.2              # in the price of a step: the weight of a share of the milliseconds, a share of the parameters having 1


class HybridOptions(NamedTuple):
    """Which layers are pruned and decomposed.

    low: convolutions of at most this number of output channels are pruned by statistics; 0: none, everything is decomposed ("tucker").
    linear: decompose linear layers too. layers: patterns of paths; only these layers are pruned or decomposed. left_out: patterns of
    those that are not, see ``channels.stays_whole``. loss: the most that pruning may take from the output of a consumer of the pruned
    layer, as a share of its squares.
    """

    low: int = 128
    linear: bool = True
    layers: tuple = ("*",)
    left_out: tuple = ()
    loss: float = 0.005

    def allows(self, path: str) -> bool:
        """Whether a layer may be pruned or decomposed."""
        return fits_any(path, self.layers) and not fits_any(path, self.left_out)


@dataclass
class LayerDecision:
    """What is decided about a layer that can be decomposed.

    path; low_rank: a ``low_rank.LowRank``; candidates: list of ``budget.Candidate``, the whole layer first; chosen: one of them;
    reason: why the layer stays whole, "" if it does not.
    """

    path: str
    low_rank: LowRank
    candidates: list
    chosen: Candidate
    reason: str = ""


@dataclass
class Cut:
    """What was pruned and decomposed.

    removed: {producer: indices of the filters that were removed}; kept: {producer: those that are left}; decisions: list of
    ``LayerDecision``.
    """

    removed: dict[str, np.ndarray]
    kept: dict[str, np.ndarray]
    decisions: list[LayerDecision]

    def ranks(self) -> dict[str, tuple[int, int]]:
        """{path: (r_in, r_out)} of the decomposed layers."""
        return {decision.path: decision.chosen.ranks for decision in self.decisions if decision.chosen.ranks}


def prune_and_decompose(model, rule, options, *, rng, observation=None, cost_model=None):
    """Prune the low-dimensional layers and decompose the others, in place.

    Every layer's candidates are the whole layer and the ranks at which it is smaller and, by the cost model, faster
    (``budget.candidates``); a layer without such ranks stays whole. Only given ranks are taken as they are, by the layers that have
    as many channels. Under a target a linear layer that reads flattened maps is factorised along their pixels
    (``low_rank.LowRank``), by ranks and the other rules by SVD.

    Args:
        model: a ``minicnn.models.protocol.CompressibleDetector``.
        rule: a ``rules.RankRule``. options: ``HybridOptions``. rng: a Generator, for k-means.
        observation: an ``observe.Observation`` of the model, by which errors are estimated, and weighed (``output_errors``) if the box head
            was observed, too; None: by the weights alone.
        cost_model: a ``cost_model.CostModel``; None: this machine's.

    Returns:
        A ``Cut``.

    Raises:
        InputError: no layer can be decomposed, ranks do not fit, a target is out of reach.
    """
    cost_model = cost_model or machine_cost_model()
    before = whole_cost(model, rule, cost_table(model, model.input_shape), cost_model)
    removed, kept, columns = prune_within_reach(model, rule, options, before, rng, observation, cost_model)
    paths = decomposable(model, options)
    check_possible(model, rule, options, paths, removed)
    table = cost_table(model, model.input_shape)
    decisions = decide_layers(model, rule, paths, table, columns, observation, cost_model)
    if rule.is_target:
        meet_target(rule, decisions, before, whole_cost(model, rule, table, cost_model))
    for decision in decisions:
        if decision.chosen.ranks:
            model.replace_layer(decision.path, decision.low_rank.layers(decision.chosen.ranks))
    return Cut(removed, kept, decisions)


def prune_within_reach(model, rule, options, before, rng, observation, cost_model):
    """``prune_low_dimensional``, but as far as a target needs it: what it may take from an output is raised until the target can be met.

    So a target that ``check_within_reach`` lets pass is met, though the images show only later how much an output would lose.
    """
    spare, loss, weak = shallow_copy(model), options.loss, None
    pruned = prune_low_dimensional(model, options, rng, observation)
    while rule.is_target and loss < 1 and not within_reach(model, rule, options, before, observation is not None, cost_model):
        loss, weak = loss * MORE, weak or most_removed(spare, options)
        vars(model).update(vars(shallow_copy(spare)))
        pruned = prune_low_dimensional(model, options._replace(loss=loss if loss < 1 else math.inf), rng, observation, weak)
    if loss > options.loss and pruned[0]:
        print(f"note: the target needs pruning that may take {min(loss, 1):.0%} from an output, in place of {options.loss:.1%}",
              file=sys.stderr)
    return pruned


def within_reach(model, rule, options, before, observed, cost_model):
    """Whether a pruned model can still meet a target."""
    try:
        meet_outlines(model, rule, decomposable(model, options), before, observed, cost_model)
    except InputError:
        return False
    return True


def check_within_reach(model, rule, options, *, cost_model=None, observed=False):
    """Raise the InputError of ``prune_and_decompose`` if it cannot meet the options: by shapes, after as much pruning as there can be.

    Args:
        model: left as it is. rule, options, cost_model: as for ``prune_and_decompose``.
        observed: whether there will be an observation.
    """
    cost_model, model = cost_model or machine_cost_model(), shallow_copy(model)
    before = whole_cost(model, rule, cost_table(model, model.input_shape), cost_model)
    weak = most_removed(model, options)
    prune_low_dimensional(model, options._replace(loss=math.inf), np.random.default_rng(0), weak=weak)
    paths = decomposable(model, options)
    check_possible(model, rule, options, paths, weak)
    if rule.is_target:
        meet_outlines(model, rule, paths, before, observed, cost_model)


def meet_outlines(model, rule, paths, before, observed, cost_model):
    """``meet_target`` by ``low_rank.Outline``s; raises InputError if it is out of reach."""
    table, pixels = cost_table(model, model.input_shape), map_pixels(model)
    rows = {row["path"]: row for row in table["layers"]}
    decisions = [undecided(path, Outline(model.get_layer(path), observed, pixels.get(path, 1)), rows[path], runs_per_image(model, path),
                           cost_model) for path in paths]
    meet_target(rule, decisions, before, whole_cost(model, rule, table, cost_model))


def whole_cost(model, rule, table, cost_model):
    """The costs that targets compare: the network's cost table and, for a target of time, its "milliseconds"."""
    timed = any(target.kind == "time" for target in rule.targets)
    return {**table, "milliseconds": network_milliseconds(model, table, cost_model)} if timed else table


def check_possible(model, rule, options, paths, removed):
    """Raise InputError if no layer can be decomposed, nor for a target pruned, or none is as wide as the given ranks."""
    if not paths and not removed:
        kept = f" without {' '.join(options.left_out)}" if options.left_out else ""
        raise InputError(f"got the layers {' '.join(options.layers)}{kept}, of which none can be pruned or decomposed, expected patterns "
                         f"of convolutions or linear layers, such as {', '.join(weighted_layers(model)[:3])}. 'minicnn info' lists them.")
    if not paths and not rule.is_target:
        raise InputError(f"got ranks for the layers {' '.join(options.layers)}, of which none has more than {options.low} filters or is "
                         "linear, expected some to decompose. Choose a smaller --low, or a target.")
    if rule.kind == "given" and paths and not any(fits(rule.value, model.get_layer(path)) for path in paths):
        widest = max(paths, key=lambda path: min(model.get_layer(path).weight.shape[:2]))
        outputs, inputs = model.get_layer(widest).weight.shape[:2]
        raise InputError(f"got the ranks {rule.value[0]} and {rule.value[1]}, expected them from 1 to the channels of {widest}, {inputs} "
                         f"and {outputs}. Choose smaller ones, or other layers.")


def decomposable(model, options):
    """Paths of the layers that can be decomposed, in the network's order: convolutions without groups of more than ``options.low``
    filters and, with ``options.linear``, linear layers; neither those too narrow for a rank of ``budget.STEP``, nor parts of a layer that
    was decomposed before."""
    found = []
    for path in filter(options.allows, weighted_layers(model)):
        layer = model.get_layer(path)
        if min(layer.weight.shape[:2]) <= STEP or was_decomposed(model, path):
            continue
        if layer.weight.ndim == 2 and options.linear or layer.weight.ndim == 4 and layer.groups == 1 and len(layer.weight) > options.low:
            found.append(path)
    return found


def decide_layers(model, rule, paths, table, columns, observation, cost_model, images=IMAGES):
    """A ``LayerDecision`` for each path: by the rule, or whole with all candidates, their errors weighed, if the rule is a target.

    Args:
        table: the network's cost table. columns: {path: input channels, or columns, that pruning left}. images: see
            ``output_errors.weigh_errors``. The others as for ``prune_and_decompose``.
    """
    rows = {row["path"]: row for row in table["layers"]}
    decisions, pixels = [], map_pixels(model) if rule.is_target else {}
    with Progress(len(paths), "decomposing", "layers") as bar:
        for path in paths:
            inputs = outputs = None
            if observation is not None:
                inputs, outputs = observation.inputs[path], observation.all_outputs(path)
                inputs = inputs.of(columns[path]) if path in columns else inputs
            low_rank = LowRank(model.get_layer(path), inputs, outputs, pixels.get(path, 1))
            costs = rows[path], runs_per_image(model, path), cost_model
            decisions.append(undecided(path, low_rank, *costs) if rule.is_target else decide_by_rule(path, rule, low_rank, *costs))
            bar.update(1, path)
    if rule.is_target and observation is not None and observation.proposals:
        weigh_errors(model, decisions, observation, images)
    return decisions


def undecided(path, low_rank, row, runs, cost_model):
    """A ``LayerDecision`` with all candidates, whole so far."""
    found = candidates(low_rank, row, runs, cost_model)
    reason = "the target does not need it" if len(found) > 1 else "no ranks make it smaller and faster"
    return LayerDecision(path, low_rank, found, found[0], reason)


def decide_by_rule(path, rule, low_rank, row, runs, cost_model):
    """A ``LayerDecision`` at the ranks that a rule finds, whole if they do not pay; given ones are taken where the layer is wide enough."""
    if rule.kind == "given" and not fits(rule.value, low_rank.layer):
        whole, = candidates_at(low_rank, row, [], runs, cost_model)
        return LayerDecision(path, low_rank, [whole], whole, "it is narrower than the ranks")
    ranks = tuple(find_ranks(rule, low_rank))
    whole, narrow = candidates_at(low_rank, row, [ranks], runs, cost_model)
    if rule.kind == "given" or narrow.pays(whole):
        return LayerDecision(path, low_rank, [whole, narrow], narrow)
    lack = "smaller" if narrow.parameters >= whole.parameters else "faster"
    return LayerDecision(path, low_rank, [whole, narrow], whole, f"at ranks {ranks[0]} and {ranks[1]} it would be no {lack}")


def meet_target(rule, decisions, before, after):
    """Choose candidates that meet a target, or several (``several_budgets``).

    Under a target of storage alone the price of a step is not only the storage that it saves: its share of the layers' milliseconds counts
    ``TIME`` times as much as its share of their parameters (ours). A network is made small to be fast, too, and the first layers, which
    hold few parameters, take most of the time.

    Args:
        rule: a ``rules.RankRule`` that is a target.
        decisions: list of ``LayerDecision``, changed.
        before, after: see ``whole_cost``, of the network as it came and as pruning left it.
    """
    found = [budget for target in rule.targets for budget in budgets(target, decisions, before, after)]
    if len(rule.targets) > 1:
        take(decisions, meet_budgets({decision.path: decision.candidates for decision in decisions}, found))
        return
    price = storage_price(decisions) if rule.kind == "storage" else None
    for budget in found:
        choose_candidates([decision for decision in decisions if decision.path in budget.paths], budget, price)


def budgets(target, decisions, before, after):
    """The ``Budget``s of one target: for storage of the convolutions and of the file, else one; arguments as for ``meet_target``."""
    cost, everything = COSTS[target.kind], tuple(decision.path for decision in decisions)
    convolutions = tuple(decision.path for decision in decisions if decision.low_rank.layer.weight.ndim == 4)

    def of(name, paths, full, left):
        whole = sum(getattr(decision.candidates[0], cost) for decision in decisions if decision.path in paths)
        return Budget(name, cost, target.value, full, left - whole, paths)
    if target.kind == "storage":
        return [of("convolutions", convolutions, before["convolution_parameters"], after["convolution_parameters"]),
                of("file", everything, before["bytes"] / 4, after["bytes"] / 4)]
    return [of("time" if target.kind == "time" else cost, everything, before[cost], after[cost])]


def storage_price(decisions):
    """The price of a candidate under a target of storage, see ``meet_target``."""
    whole = Candidate(None, 0.0, *(sum(getattr(decision.candidates[0], name) for decision in decisions) for name in Candidate._fields[2:]))
    return lambda candidate: candidate.parameters / whole.parameters + TIME * candidate.milliseconds / (whole.milliseconds or 1)


def choose_candidates(decisions, budget, price=None):
    """``budget.meet_budget`` from each layer's present candidate on."""
    cost = budget.cost
    price = price or operator.attrgetter(cost)
    options = {decision.path: [decision.chosen, *(
        candidate for candidate in decision.candidates if getattr(candidate, cost) < getattr(decision.chosen, cost)
        and price(candidate) < price(decision.chosen))] for decision in decisions}
    take(decisions, meet_budget(options, cost, budget.share, budget.full, budget.fixed, budget.name, price))


def take(decisions, chosen):
    """Note the chosen candidates, {path: ``Candidate``}, in the decisions."""
    for decision in decisions:
        decision.chosen = chosen[decision.path]
        if decision.chosen.ranks:
            decision.reason = ""
