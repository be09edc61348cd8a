"""Measure which algorithm is fastest for each convolution on this machine, and remember it.

What was measured is kept layer by layer, so that after Ctrl-C the same command goes on. All commands use it from then on, for images of
about that size; ``minicnn tune --forget`` returns to the rules.
"""

import contextlib
from collections import Counter

import numpy as np

import minicnn
from minicnn.cli.bench import add_network, brief, task
from minicnn.cli.loading import trying
from minicnn.cli.options import add_json, at_least
from minicnn.cli.provenance import check_outputs, emit
from minicnn.cli.tables import fitted, shape
from minicnn.errors import InputError
from minicnn.fast import choose, machine, tuned
from minicnn.fast.measure import Trial, contest
from minicnn.fast.plan import compile, fuse
from minicnn.fast.run import observed
from minicnn.files import check_writable, make_folder
from minicnn.functional import dispatch
from minicnn.progress import Progress
from minicnn.trace import trace

EXAMPLE = "minicnn tune W.npz --size 600x800"
GAIN = 0.97             # of the rules' time: what takes longer is no reason to leave them
WORTH = 0.02            # milliseconds: a gain of less is chance
TOLERANCE = 1e-4        # of the largest value: a candidate that is further from the direct result is left out


def add_arguments(verb):
    add_network(verb, nargs="?")
    verb.add_argument("--runs", type=at_least(1, int), default=7, metavar="N", help="timed runs of each candidate (default: %(default)s)")
    verb.add_argument("--again", action="store_true", help="measure also what was measured before")
    verb.add_argument("--forget", action="store_true", help="remove what was measured, for all networks, and end")
    add_json(verb)


def run(args):
    if args.forget:
        print(f"{tuned.tuned_file()} {'was removed' if tuned.forget() else 'is not there'}")
        return
    if args.file is None:
        raise InputError("got no file, expected a network's. Give the .npz to tune, or --forget.")
    check_outputs(args)
    make_folder(tuned.tuned_file().parent)
    check_writable(tuned.tuned_file())
    with dispatch.use(args.backend):
        backend = dispatch.backend()
        if backend == "reference":
            raise InputError("got the backend reference, which has no choice, expected numpy or numba. Choose one of them.")
        model = minicnn.load(args.file)
        image, call = task(model, args)
        with trying(args.file):
            networks = planned(call)
        rows = tune(convolutions(model, networks, backend), backend, args)
        rules_ms, tuned_ms = both_ways(networks, backend, args.runs)
    document = {"backend": backend, "setting": tuned.setting(backend), "architecture": model.architecture, "size": list(image.shape[1:]),
                "convolutions": rows, "plans_ms": {"rules": rules_ms, "tuned": tuned_ms}, "celsius": machine.celsius()}
    emit(args, document, terminal(document))


def planned(call):
    """[(network, shapes)] of the plans that one run of the model makes."""
    found = {}

    def observer(network, plan, n):
        found[id(network), tuple(plan.shapes)] = network, plan.shapes
        return contextlib.nullcontext()
    with observed(observer):
        call()
    return list(found.values())


class Convolution:
    """One for which there is a choice: its operation, candidates and result's shape, and the paths of its layers.

    They are noted before a pooling becomes part of the operation.
    """

    def __init__(self, operation, choices):
        self.operation, self.choices, self.shape, self.layers = operation, choices, operation.shape, []


def convolutions(model, networks, backend):
    """{(key, pixels): Convolution} of those for which there is a choice."""
    paths = {id(array): path.removesuffix(".weight") for path, array in model.named_arrays()}
    found = {}

    def note(operation, backend):
        choices = choose.candidates(operation, backend)
        if len(choices) > 1:
            one = found.setdefault((choose.key(operation), choose.pixels(operation)), Convolution(operation, choices))
            one.layers.append(paths[id(operation.settings["weight"])])
    for network, shapes in networks:
        with choose.by(note):
            fuse(*trace(network, shapes), backend)
    return found


def tune(found, backend, args):
    """Measure what was not measured before, save each as soon as it is known, and return a row for each."""
    rows = []
    known = {place: None if args.again else tuned.exactly(backend, *place) for place in found}
    runs = args.runs * sum(len(one.choices) for place, one in found.items() if known[place] is None)
    with Progress(runs, "tune", "runs") as bar:
        for place, one in found.items():
            entry = known[place]
            if entry is None:
                entry = best(one.operation, backend, one.choices, args.runs, lambda: bar.update(1, one.layers[0]))
                tuned.save(backend, *place, entry)
            rows.append({"layers": one.layers, "convolution": place[0], "result": list(one.shape), "before": known[place] is not None,
                         **entry})
    return rows


def best(operation, backend, choices, runs, after):
    """The entry of a convolution: the fastest of its choices, or the rules' own, if that is not much slower."""
    trial = Trial(operation, backend, choices)
    direct = next(call for choice, call in zip(choices, trial.calls) if choice.algorithm == "direct")().copy()
    least = TOLERANCE * np.abs(direct).max()
    right = [i for i, call in enumerate(trial.calls) if np.abs(call() - direct).max() <= least or i == 0]
    milliseconds = dict(zip(right, contest([trial.calls[i] for i in right], runs, after)))
    winner, rules = min(milliseconds, key=milliseconds.get), milliseconds[0]
    if milliseconds[winner] > GAIN * rules or rules - milliseconds[winner] < WORTH:
        winner = 0
    return {"algorithm": choices[winner].algorithm, "options": choices[winner].options, "ms": milliseconds[winner],
            "rules": str(choices[0]), "rules_ms": rules, "tried": {str(choices[i]): ms for i, ms in milliseconds.items()}}


def both_ways(networks, backend, runs):
    """Median milliseconds of all plans, by the rules and as tuned, taking turns."""
    total = np.zeros(2)
    for network, shapes in networks:
        weights, calls = {}, []
        for chooser in (lambda *_: None, choose.measured):
            with choose.by(chooser):
                plan = compile(network, shapes, backend, weights)
            arena = np.empty(plan.arena_size, np.float32)
            inputs = [np.random.default_rng(0).random(one, np.float32) for one in shapes]
            calls.append(lambda plan=plan, inputs=inputs, arena=arena: plan.run(inputs, arena))
            calls[-1]()
        total += contest(calls, runs)
    return total.tolist()


def terminal(document):
    """The lines for reading, at most 80 wide."""
    rows, changed = [], 0
    often = Counter(layer for row in document["convolutions"] for layer in row["layers"])
    for row in document["convolutions"]:
        chosen = str(choose.Choice(row["algorithm"], row["options"]))
        changed += chosen != row["rules"]
        first, more = row["layers"][0], f" +{len(row['layers']) - 1}" if len(row["layers"]) > 1 else ""
        more = f" {shape(row['result'][2:])}" if often[first] > 1 else more             # of a layer that runs on several maps
        rows.append((first + more, brief(row["rules"]), f"{row['rules_ms']:.2f}",
                     brief(chosen) if chosen != row["rules"] else "same", f"{row['ms']:.2f}"))
    before = sum(row["before"] for row in document["convolutions"])
    rules_ms, tuned_ms = document["plans_ms"].values()
    lines = [f"{document['architecture']}, {shape(document['size'])}, by {document['backend']}", "",
             fitted(("layer", "by the rules", "ms", "measured", "ms"), rows),
             f"{changed} of {len(rows)} changed" + (f"; {before} were measured before" if before else ""),
             f"all plans by the rules {rules_ms:.1f} ms, tuned {tuned_ms:.1f} ms: {verdict(rules_ms, tuned_ms)}",
             f"kept in {tuned.tuned_file()}"]
    return "\n".join(lines)


def verdict(rules, tuned):
    """What tuning brought, of some milliseconds."""
    if tuned > rules / GAIN:
        return "lost; tune --again when idle"
    return f"{max(0, rules - tuned):.1f} ms won"
