"""The whole method as one call each, for detectors and classifiers; the order of the steps stands in ``compress_detector``.

Both take ``progress``, a function that is called as ``progress(event, **facts)``:

* "resumed" with ``done``, the number of layers repaired or of rounds before the interruption;
* "checked", once the target is known to be within reach (detectors);
* "before" with ``sizes``, of the network as it came (classifiers);
* "round" with ``number`` and ``sizes``, after each round of pruning.
"""

from __future__ import annotations

import contextlib
import copy
import time
import zlib
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from minicnn.compression.checkpoint import Checkpoint
from minicnn.compression.cost_model import CostModel, machine_cost_model
from minicnn.compression.cost_table import cost_table
from minicnn.compression.cut import check_cut, cut
from minicnn.compression.int8_weights import check_dtype, round_weights
from minicnn.compression.low_dimensional import shallow_copy
from minicnn.compression.measure import measure
from minicnn.compression.observe import observe
from minicnn.compression.options import DetectorOptions
from minicnn.compression.repair import repair
from minicnn.compression.reports import ClassifierReport, DetectorReport, cut_record, decision_facts, detector_report, timed_cost_table
from minicnn.compression.rounds import PruningOptions, PruningTarget, check_reachable, prune_in_rounds
from minicnn.data.images import as_values
from minicnn.errors import InputError
from minicnn.hyperparameters import Hyperparameters
from minicnn.identity import arrays_crc, jsonable, network_identity
from minicnn.models.protocol import Compressible, CompressibleDetector
from minicnn.train_classifier import train_classifier

COMPENSATION = 1000                     # images over which the means of removed channels are taken
FINETUNING = Hyperparameters(epochs=4)  # in each round
STATISTICS = PruningOptions()


def compress_detector(model: CompressibleDetector, options: DetectorOptions, images: Sequence[np.ndarray] = (), *,
                      rng: np.random.Generator | None = None, evaluate: Callable | None = None, cost_model: CostModel | None = None,
                      checkpoint: Checkpoint | None = None,
                      progress: Callable | None = None) -> tuple[CompressibleDetector, DetectorReport]:
    """Make a smaller copy of a detector by the method of Gong, Zhang and Zeng (2020), without labels or training.

    1. Observe inputs and outputs of the layers on unlabelled images (observe.py).
    2. Cut. Prune low-dimensional convolutions: cluster filters by mean and variance (filter_statistics.py, kmeans.py), remove weak ones
       (low_dimensional.py) from all layers that make, pass or read them (channels.py). Decompose the others (hybrid.py) by Tucker
       (tucker.py) or SVD (svd.py), at ranks by a rule (ranks.py) or within a budget (budget.py).
    3. Repair: fit each changed layer to the original's outputs (repair.py, regression.py, first_factor.py).
    4. For an int8 file round weights and fit biases (int8_weights.py). Measure both networks (measure.py).

    Args:
        model: left as it is. options: ``DetectorOptions``. images: as ``as_values`` takes, see ``draw_images``. rng: default: options.seed.
        evaluate: ``evaluate(model)`` -> {rule: mean AP}. cost_model: default: of this machine. checkpoint: to save to and resume from.
        progress: see the module's text.

    Raises:
        InputError: the target is out of reach, an image is none, or too few, or the checkpoint is of another compression.
    """
    rng, cost_model = rng or np.random.default_rng(options.seed), cost_model or machine_cost_model()
    images = [as_values(image) for image in images]
    options, clock, progress = options.suited_to(model, images), Clock(), progress or ignore
    smaller, state = begin(model, options, images, rng, cost_model, checkpoint, progress)
    before, observation = timed_cost_table(model, cost_model), None
    if options.observes:
        with clock("looking at pictures"):
            observation = observe(model, images, rng)
    if state is None:
        with clock("surgery"):
            state = cut_state(cut(smaller, options, rng=rng, observation=observation, cost_model=cost_model, on_round=rounds_to(progress)),
                              options, images, before, cost_model)
    if options.repair:
        with clock("repair"):
            state["repair"] = repair(smaller, model, observation, state["surgery"], state["repair"],
                                     saver(checkpoint, smaller, state, observation), options.refit_first)
    if options.dtype == "int8":
        with clock("rounding"):
            round_weights(smaller, images)
    report = detector_report(smaller, state, before, options.errors, cost_model, clock.seconds)
    with clock("measuring"):
        measure(report, model, smaller, images, evaluate)
    smaller.record["surgery"].append(state["surgery"])
    return smaller, report


def begin(model, options, images, rng, cost_model, checkpoint, progress):
    """(network, state) of an interrupted compression, or (copy, None) once the target is known to be within reach."""
    if checkpoint:
        rates = {"rates": cost_model.rates} if cost_model.rates else {}
        resumed = checkpoint.open({**options.settings(), **network_identity(model), "pictures": arrays_crc(*images), **rates,
                                   "backend": cost_model.backend, "rng": zlib.crc32(repr(rng.bit_generator.state).encode())})
        if resumed:
            progress("resumed", done=len(resumed[1]["repair"]))
            return resumed
    check_cut(model, options, cost_model)
    progress("checked")
    return shallow_copy(model), None


def cut_state(done, options, images, before, cost_model):
    """What a checkpoint holds of a ``hybrid.Cut``, as plain numbers; before: the original's cost table."""
    return {"surgery": cut_record(done, options.method, len(images) if options.repair else 0),
            "splits": decision_facts(done, before, cost_model), "repair": []}


def saver(checkpoint, model, state, observation):
    """A function that saves a checkpoint with further rows of repair, whose layers' outputs are no longer needed and are taken out of the
    observation; it is called now, too, with those that there are."""
    def save(rows):
        for row in rows:
            observation.outputs.pop(row["path"], None)
        if checkpoint:
            checkpoint.save(model, {**state, "repair": rows})
    save(state["repair"])
    return save


def rounds_to(progress):
    """A function that reports a round of pruning."""
    return lambda model, rounds: progress("round", number=len(rounds), sizes=rounds[-1])


def ignore(event, **facts):
    """The ``progress`` of a caller who gives none."""


class Clock:
    """How long each step takes: ``with clock("repair"): ...``, then ``clock.seconds["repair"]``."""

    def __init__(self):
        self.seconds = {}

    @contextlib.contextmanager
    def __call__(self, name):
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 1)


def compress_classifier(model: Compressible, images: np.ndarray, labels: np.ndarray, target: PruningTarget,
                        options: PruningOptions = STATISTICS, hyperparameters: Hyperparameters = FINETUNING, *,
                        evaluate: Callable, test: Callable | None = None, counts: list[dict] | None = None, seed: int = 0,
                        dtype: str = "float32", checkpoint: Checkpoint | None = None,
                        progress: Callable | None = None) -> tuple[Compressible, ClassifierReport]:
    """Make a smaller copy of a classifier: prune weak filters, rebuild the next layer, fine-tune, in rounds (rounds.py).

    Args:
        model: stays as it is. images, labels: (N, C, H, W) float32 and (N,) int, to train on.
        target: when to stop. options: how to prune. hyperparameters: of the fine-tuning in each round.
        evaluate: ``evaluate(model)`` -> accuracy on validation images. test: ``test(model)`` -> dict, measured before and after.
        counts: the number of filters to remove in each round, see ``rounds.prune_in_rounds``.
        seed: every random choice comes from it. dtype: "int8": weights as in an int8 file, see ``DetectorOptions``.
        checkpoint: to save to and resume from. progress: see the module's text.

    Raises:
        InputError: the target is out of reach, or the checkpoint is of another compression.
    """
    check_dtype(dtype)
    check_reachable(model, target, options, counts)
    progress, settings = progress or ignore, {
        "target": target._asdict(), "options": options.settings(), "recipe": asdict(hyperparameters), "seed": seed, "counts": counts}
    smaller, rounds = checkpoint and checkpoint.open(
        {**settings, **network_identity(model), "images": arrays_crc(images, labels)}) or (copy.deepcopy(model), [])
    settings = jsonable({**(checkpoint.origin if checkpoint else {}), **settings})
    if rounds:
        progress("resumed", done=len(rounds))
    before = {**classifier_sizes(model, test), "accuracy": evaluate(model)}
    check_accuracy(target, before["accuracy"])
    progress("before", sizes=before)

    def finetune(smaller, number):
        return train_classifier(smaller, images, labels, hyperparameters, [seed, number], label=f"round {number} epoch")

    def keep(smaller, rounds):
        progress("round", number=len(rounds), sizes=rounds[-1])
        if checkpoint:
            checkpoint.save(smaller, rounds)

    rounds = prune_in_rounds(smaller, target, options, seed=seed, images=images[:COMPENSATION], finetune=finetune, evaluate=evaluate,
                             counts=counts, rounds=rounds, on_round=keep)
    if dtype == "int8":
        round_weights(smaller, images[:COMPENSATION])
    smaller.record["surgery"] += surgery_records(rounds, options.method, len(model.record["surgery"]) + 1)
    return smaller, ClassifierReport(model.architecture, settings, before, classifier_sizes(smaller, test), rounds)


def check_accuracy(target, accuracy):
    """Raise InputError if the network does not even reach a target accuracy before it is pruned."""
    if target.kind == "accuracy" and accuracy < target.value:
        raise InputError(f"got a target accuracy of {target.value:g}, expected at most the {accuracy:g} that the network has on "
                         "the validation images. Choose a lower one.")


def classifier_sizes(model, test):
    """The cost table of a classifier, and what ``test`` measures."""
    return {**cost_table(model, model.input_shape), **({"test": test(model)} if test else {})}


def surgery_records(rounds, method, start):
    """The entries for rounds in a file's history, numbered from ``start``."""
    return [{"round": number, "method": method, "removed": {step["path"]: step["removed"] for step in entry["groups"]}}
            for number, entry in enumerate(rounds, start)]
