"""Measures which algorithm computes each convolution of a network fastest on this machine, and saves it.

All plans use what was measured from then on (``minicnn.fast.tuned``, ``minicnn.fast.choose``).
"""

import contextlib
import functools

import numpy as np

from minicnn.fast import choose, machine, tuned
from minicnn.fast.layouts import padded_channels
from minicnn.fast.plan.build import compile
from minicnn.fast.plan.fuse import fuse
from minicnn.fast.run import observed
from minicnn.fast.timing.cost_model import planning_backend
from minicnn.fast.timing.interleaved import interleaved_milliseconds, with_result_in_arena
from minicnn.fast.timing.workload import workload
from minicnn.layers import Conv2d, Layer, MaxPool2d, ReLU, Sequential
from minicnn.progress import Progress
from minicnn.trace import trace

GAIN = 0.97             # of the rules' time: a candidate must take less to be chosen
WORTH = 0.02            # milliseconds: a smaller gain is chance
TOLERANCE = 1e-4        # relative to the largest value: a candidate whose result is further from the direct algorithm's is left out


def tune(model: Layer, networks: list | None = None, runs: int = 7, again: bool = False) -> dict:
    """Measure every convolution that has a choice of algorithms, and save the fastest of each, as soon as it is known.

    Args:
        model: a classifier or a detector.
        networks: from ``planned_networks``; None: those that the model plans for random pixels of its own size.
        runs: number of timed runs of each candidate.
        again: measure also what was measured before.

    Returns:
        dictionary with "backend", "setting" (what the measurements depend on), "architecture", "convolutions" (a dictionary for each:
        "layers", "convolution", "result" (its shape), "before" (whether it was measured before), "algorithm", "options", "ms", "rules"
        and "rules_ms" (the choice by rules), "tried" ({choice: ms})), "plans_ms" (of all plans, by the rules and as tuned), "celsius".

    Raises:
        InputError: the backend in use makes no plans, or the file of measurements cannot be written.
    """
    backend = planning_backend()
    networks = planned_networks(model) if networks is None else networks
    rows = measure_all(convolutions(model, networks, backend), backend, runs, again)
    rules_ms, tuned_ms = rules_and_tuned(networks, backend, runs)
    return {"backend": backend, "setting": tuned.machine_key(backend), "architecture": model.architecture, "convolutions": rows,
            "plans_ms": {"rules": rules_ms, "tuned": tuned_ms}, "celsius": machine.celsius()}


def planned_networks(model, size=None):
    """[(network, shapes of its inputs)] for each plan that one run of the model on random pixels of that size makes."""
    found = {}

    def observer(network, plan, n):
        found[id(network), tuple(plan.shapes)] = network, plan.shapes
        return contextlib.nullcontext()
    with workload(model, size=size) as (_, call), observed(observer):
        call()
    return list(found.values())


class Convolution:
    """A convolution with a choice of algorithms.

    Args:
        operation: traced; fusion may change it afterwards.
        choices: the candidates, the rules' choice first.

    ``shape`` is the result's before a pooling is fused, ``layers`` the paths of the layers that compute this convolution.
    """

    def __init__(self, operation, choices):
        self.operation, self.choices, self.shape, self.layers = operation, choices, operation.shape, []


def convolutions(model, networks, backend):
    """{(key, pixels): Convolution} of the convolutions that have a choice."""
    paths = {id(array): path.removesuffix(".weight") for path, array in model.named_arrays()}
    found = {}

    def note(operation, backend):
        choices = choose.candidates(operation, backend)
        if len(choices) > 1:
            place = choose.key(operation), choose.output_pixels(operation)
            found.setdefault(place, Convolution(operation, choices)).layers.append(paths[id(operation.attributes["weight"])])
    for network, shapes in networks:
        with choose.choosing(note):
            fuse(*trace(network, shapes), backend)
    return found


def measure_all(found, backend, runs, again):
    """Measure what was not measured before, save each entry as soon as it is known, and return a row for each convolution."""
    rows = []
    known = {place: None if again else tuned.lookup_exact(backend, *place) for place in found}
    count = runs * sum(len(convolution.choices) for place, convolution in found.items() if known[place] is None)
    with Progress(count, "tune", "runs") as bar:
        for place, convolution in found.items():
            entry = known[place]
            if entry is None:
                after = functools.partial(bar.update, 1, convolution.layers[0])
                entry = measure(convolution.operation, backend, convolution.choices, runs, after)
                tuned.save(backend, *place, entry)
            rows.append({"layers": convolution.layers, "convolution": place[0], "result": list(convolution.shape),
                         "before": known[place] is not None, **entry})
    return rows


def measure(operation, backend, choices, runs, after):
    """The entry of a convolution: the fastest of its candidates, or the rules' choice if that is not much slower."""
    trial = Trial(operation, backend, choices)
    direct = next(call for choice, call in zip(choices, trial.calls) if choice.algorithm == "direct")().copy()
    tolerance = TOLERANCE * np.abs(direct).max()
    correct = [i for i, call in enumerate(trial.calls) if np.abs(call() - direct).max() <= tolerance or i == 0]
    milliseconds = dict(zip(correct, interleaved_milliseconds([trial.calls[i] for i in correct], runs, after)))
    winner, rules = min(milliseconds, key=milliseconds.get), milliseconds[0]
    if milliseconds[winner] > GAIN * rules or rules - milliseconds[winner] < WORTH:
        winner = 0
    return {"algorithm": choices[winner].algorithm, "options": choices[winner].options, "ms": milliseconds[winner],
            "rules": str(choices[0]), "rules_ms": rules, "tried": {str(choices[i]): ms for i, ms in milliseconds.items()}}


class Trial:
    """One convolution, computed by each of several algorithms, on random numbers.

    Args:
        operation: traced, from a network that was fused: with its activation, and the pooling that was fused into it.
        backend: "numpy" or "numba".
        choices: the algorithms, each a ``choose.Choice``.

    ``calls`` has a function for each, which returns the result.
    """

    def __init__(self, operation, backend, choices):
        attributes, rng = operation.attributes, np.random.default_rng(0)
        n, c, h, w = operation.inputs[0].shape
        o, c = padded_channels(len(attributes["weight"])), padded_channels(c)       # as wide as the plan's buffers
        layers = [Conv2d(c, o, attributes["weight"].shape[2:], attributes["stride"], attributes["padding"], attributes["dilation"],
                         rng=rng), ReLU()]
        network = Sequential(layers + [MaxPool2d(2)] * bool(attributes.get("pool")))
        x = rng.standard_normal((n, h, w, c), np.float32).transpose(0, 3, 1, 2)
        weights = {}
        plans = [plan_with(choice, network, x.shape, backend, weights) for choice in choices]
        arena = np.empty(max(plan.arena_size for plan in plans), np.float32)
        self.calls = [functools.partial(plan.run, [x], arena) for plan in plans]


def plan_with(choice, network, shape, backend, weights):
    """The plan of a network whose convolutions all use that choice."""
    with choose.choosing(lambda *_: choice):
        return with_result_in_arena(compile(network, shape, backend, weights))


def rules_and_tuned(networks, backend, runs):
    """Median milliseconds of all plans, by the rules and as tuned, run interleaved."""
    total = np.zeros(2)
    for network, shapes in networks:
        weights, calls = {}, []
        for chooser in (lambda *_: None, choose.measured):
            with choose.choosing(chooser):
                plan = compile(network, shapes, backend, weights)
            arena = np.empty(plan.arena_size, np.float32)
            inputs = [np.random.default_rng(0).random(shape, np.float32) for shape in shapes]
            calls.append(functools.partial(plan.run, inputs, arena))
            calls[-1]()
        total += interleaved_milliseconds(calls, runs)
    return total.tolist()
