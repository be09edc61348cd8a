"""Measures where a network's time goes, step by step, and how close each step comes to the machine's two speeds.

The whole run of a detector is timed, from an array to boxes: the plans of its parts, and what lies between them.
"""

import contextlib
import statistics
import time
from collections import Counter

import numpy as np

from minicnn.fast import machine
from minicnn.fast.run import observed
from minicnn.fast.timing.machine_speed import memory_speed, product_speed
from minicnn.fast.timing.workload import workload
from minicnn.functional import dispatch
from minicnn.hooks import timed, watch
from minicnn.layers import Layer
from minicnn.progress import Progress

STAGES = {"transform": "transform", "rpn": "proposals", "roi_heads.box_roi_pool": "pooling", "roi_heads": "selection"}     # of a detector
REST, GAP = "rest", "(medians do not add up)"
INPUT_TRANSFORM, OUTPUT_TRANSFORM = 12 * 20, 10 * 16    # FLOP of Winograd's transforms per tile and channel (conv_winograd)


def profile(model: Layer, image: np.ndarray | None = None, size: tuple[int, int] | None = None, runs: int = 7) -> dict:
    """Time a model on one image, step by step, on the backend in use.

    Args:
        model: a classifier or a detector.
        image: (C, H, W) float32, RGB in 0..1; None: random pixels.
        size: (height, width) that the network sees, pixels; None: the model's own.
        runs: number of timed runs, after one that compiles and plans.

    Returns:
        dictionary with "architecture", "backend", "size", "machine", "celsius" (before and after), "roofs" (the machine's speeds,
        GFLOP/s and GB/s), "first_ms", "total" (median, least and most milliseconds), "between" ({what: milliseconds} outside of the
        steps) and "steps" (as in ``measure_steps``, with GFLOP/s and shares of the two speeds).

    Raises:
        InputError: the image has not the shape that a classifier takes.
    """
    backend, stages = dispatch.backend(), stages_of(model)
    with workload(model, image, size) as (image, call), Progress(runs + 3, "bench", "runs") as bar:
        before = machine.celsius()
        first, totals, steps, between = measure_steps(model, call, runs, list(stages)[:-1], lambda: bar.update(1))
        roofs = {"gflops": product_speed(backend)}
        bar.update(1)
        roofs["gbytes"] = memory_speed(backend)
        bar.update(1)
    for step in steps:
        seconds = max(step["ms"], 1e-6) / 1e3                   # a clock may be too coarse for a small layer
        step["gflops"] = step["flop"] / seconds / 1e9
        step["product_share"] = step["arithmetic"] / seconds / 1e9 / roofs["gflops"]
        step["memory_share"] = step["bytes"] / seconds / 1e9 / roofs["gbytes"]
    total = statistics.median(totals)
    between = {stages[path]: milliseconds for path, milliseconds in between.items()}
    between[GAP] = total - sum(between.values()) - sum(step["ms"] for step in steps)
    flop = sum(step["flop"] for step in steps)
    return {"architecture": model.architecture, "backend": backend, "size": list(image.shape[1:]), "machine": machine.describe(backend),
            "celsius": [before, machine.celsius()], "roofs": roofs, "first_ms": first,
            "total": {"ms": total, "ms_least": min(totals), "ms_most": max(totals), "runs": len(totals), "flop": flop,
                      "gflops": flop / total / 1e6}, "between": between, "steps": steps}


def stages_of(model):
    """{path: name} of the layers that no plan computes as a whole; the path of the rest is ""."""
    return {**(STAGES if model.task == "detection" else {}), "": REST}


def measure_steps(model, call, runs, stages=(), after=lambda: None):
    """Time every step of every plan that a call runs, and what happens between them.

    Args:
        model: a Layer; what ``call`` runs.
        call: function without arguments.
        runs: number of timed runs, after one run that compiles and plans.
        stages: paths of layers that no plan computes as a whole; the time that they spend outside of plans is measured too.
        after: called after each run.

    Returns:
        first_ms: of the first run.
        total_ms: of each run.
        steps: a dictionary for each step of each plan, in the order of the network (for each layer, where no plan was made). "path": the
            planned network's; "name": within the model; "algorithm"; "result": shape without the batch; "batch"; "flop": of the direct
            algorithm, whatever algorithm the step uses; "arithmetic": FLOP that the step computes; "bytes": of all that it must read
            and write once; "ms", "ms_least", "ms_most": median and extremes of the runs.
        between: {path: median ms} that each stage spends outside of plans and other stages; the path of the rest is "".
    """
    stages = [*stages, ""]
    observer = StepTimes(model)
    start = time.perf_counter()
    with observed(observer):
        call()
    first = 1000 * (time.perf_counter() - start)
    after()
    leaves = unplanned_layers(model, observer, stages)
    facts = {**observer.facts(), **leaf_facts(model, leaves, call)}

    totals, spent, own = [], {key: [] for key in facts}, {path: [] for path in stages}
    for _ in range(runs):
        total, found, run_own = one_run(model, call, observer, stages, leaves)
        totals.append(total)
        for key in facts:
            spent[key].append(found[key])
        for path, milliseconds in run_own.items():
            own[path].append(milliseconds)
        after()

    order = {path: i for i, path in enumerate(children_first(model))}
    steps = [{**facts[key], "ms": statistics.median(spent[key]), "ms_least": min(spent[key]), "ms_most": max(spent[key])}
             for key in sorted(facts, key=lambda key: (order[key[0]], *key[1:]))]
    return first, totals, steps, {path: statistics.median(own[path]) for path in sorted(stages, key=order.get)}


def one_run(model, call, observer, stages, leaves):
    """Milliseconds of one call, {key: milliseconds} of its steps and leaves, and {stage: milliseconds} of the stages alone."""
    inner_first = sorted([*stages[:-1], *leaves], key=lambda path: -path.count("."))
    observer.begin()
    with observed(observer), timed(model, inner_first) as inclusive:
        start = time.perf_counter()
        call()
        total = 1000 * (time.perf_counter() - start)
    found = {**observer.spent, **{(path, 0, 0): inclusive[path] for path in leaves}}
    return total, found, own_times({**inclusive, "": total}, stages, found)


class StepTimes:
    """Observer for ``minicnn.fast.run.observed``: milliseconds of every step of every plan in one run of a model.

    Keys are (path of the planned network, number of its plans that ran before, number of the step). The time of a plan's first step
    includes reading the inputs.
    """

    def __init__(self, model):
        self.paths = {id(layer): path for path, layer in reversed(list(model.named_layers()))}
        self.begin()

    def begin(self):
        """Forget the times of the run before."""
        self.spent, self.plans, self.calls = {}, {}, Counter()

    @contextlib.contextmanager
    def __call__(self, network, plan, n):
        path = self.paths[id(network)]
        turn, number = self.calls[path], 0
        self.calls[path] += 1
        self.plans[path, turn] = plan, n
        last = time.perf_counter()

        def after(step):
            nonlocal last, number
            now = time.perf_counter()
            self.spent[path, turn, number] = 1000 * (now - last)
            number, last = number + 1, time.perf_counter()
        yield after

    def facts(self):
        """{key: what is known of the step without timing it}."""
        return {(path, turn, number): {"path": path, "name": self.name(path, step, plan), **step_facts(plan, step, n)}
                for (path, turn), (plan, n) in self.plans.items() for number, step in enumerate(plan.steps)}

    def name(self, path, step, plan):
        """backbone and "0: border" -> "backbone.0: border"; with the result's height and width, if the network ran on several maps."""
        layer = f"{path}.{step.name}".strip(".")
        known = layer.partition(":")[0] in self.paths.values()
        name = layer if known else f"{path}: {step.name}".removeprefix(": ")
        sides = plan.buffers[step.output].shape[1:-1]
        return f"{name} {'x'.join(map(str, sides))}" if self.calls[path] > 1 and sides else name


def unplanned_layers(model, observer, stages):
    """Paths of the layers without children that ran outside of any plan."""
    planned = {path for path, _ in observer.plans}
    return [path for path, layer in model.named_layers()
            if path and not layer.children() and path not in stages and not any(within(path, network) for network in planned)]


def within(path, parent):
    """Whether the layer at a path is the parent or inside it."""
    return not parent or path == parent or path.startswith(f"{parent}.")


def step_facts(plan, step, n):
    """What a step computes, reads and writes for n inputs; see ``measure_steps``."""
    share = n / plan.shapes[0][0]
    places = [place for place in (*step.inputs, step.extra, step.output) if place is not None]
    weights = sum(value.nbytes for value in step.arguments.values() if isinstance(value, np.ndarray))
    return {"algorithm": step.algorithm, "result": list(plan.buffers[step.output].shape[1:]), "batch": n,
            "flop": round(2 * step.multiplications * share), "arithmetic": round(arithmetic(plan, step) * share),
            "bytes": round(4 * share * sum(plan.buffers[place].size for place in places)) + weights}


def arithmetic(plan, step):
    """FLOP that a step computes: Winograd's algorithm has fewer multiplications than the direct one, and its transforms in addition."""
    if not step.algorithm.startswith("winograd"):
        return 2 * step.multiplications
    (n, h, w, c), o = plan.buffers[step.inputs[0]].shape, plan.buffers[step.output].shape[-1]
    down, across = (-(-(side + 2 * padding - 2) // 4) for side, padding in zip((h, w), step.arguments["padding"]))
    return n * down * across * (2 * 36 * c * o + INPUT_TRANSFORM * c + OUTPUT_TRANSFORM * o)


def leaf_facts(model, leaves, call):
    """{key: facts} of layers that run outside of any plan, found by one run; a layer may run several times."""
    facts = {}

    def observer(path, layer):
        def observe(x, y):
            own = sum(array.nbytes for _, array in layer.named_arrays())
            flop = 2 * y.size * layer.weight[0].size if getattr(layer, "weight", None) is not None and layer.weight.ndim > 1 else 0
            row = facts.setdefault((path, 0, 0), {"path": path, "name": path, "algorithm": layer.kind, "result": list(y.shape[1:]),
                                                  "batch": len(y), "flop": 0, "arithmetic": 0, "bytes": 0})
            row["flop"] += flop
            row["arithmetic"] += flop
            row["bytes"] += x.nbytes + y.nbytes + own
        return observe

    if leaves:
        with watch(model, {path: observer(path, model.get_layer(path)) for path in leaves}):
            call()
    return facts


def own_times(inclusive, stages, found):
    """{stage: its milliseconds without those of the steps, leaves and other stages inside it}."""
    own = {}
    for path in sorted(stages, key=lambda path: (not path, -path.count("."))):
        inner = sum(milliseconds for (where, _, _), milliseconds in found.items() if within(where, path))
        own[path] = inclusive[path] - inner - sum(own[other] for other in own if within(other, path))
    return own


def children_first(layer, path=""):
    """Paths of a layer and of all layers inside it, parents last."""
    for name, child in layer.children():
        yield from children_first(child, f"{path}.{name}".strip("."))
    yield path
