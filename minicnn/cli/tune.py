"""Measure which algorithm is fastest for each convolution on this machine, and save it.

Each convolution is saved as soon as it is measured, so that after Ctrl-C the same command continues. All commands use the measurements
from then on, for images of about that size; ``minicnn tune --forget`` returns to the rules.
"""

from collections import Counter

import minicnn
from minicnn.cli.bench import add_network, brief
from minicnn.cli.loading import trying
from minicnn.cli.options import add_json, at_least
from minicnn.cli.paths import Output, check_outputs
from minicnn.cli.provenance import emit, report_note
from minicnn.cli.tables import fitted, shape
from minicnn.errors import InputError
from minicnn.fast import choose, tuned
from minicnn.fast.timing.calibration import write_machine
from minicnn.fast.timing.cost_model import planning_backend
from minicnn.fast.timing.tune import GAIN, planned_networks, tune
from minicnn.files import check_writable, make_cache_folder
from minicnn.functional import dispatch

EXAMPLE = "minicnn tune W.npz --size 600x800"


def add_arguments(verb):
    add_network(verb, nargs="?")
    verb.add_argument("--runs", type=at_least(1, int), default=7, metavar="N", help="timed runs of each candidate (default: %(default)s)")
    verb.add_argument("--again", action="store_true", help="measure also what was measured before")
    verb.add_argument("--forget", action="store_true", help="remove the measurements of all networks, and do nothing else")
    verb.add_argument("--rates-out", type=Output, metavar="FILE",
                      help="write this machine's speeds for 'minicnn compress --rates FILE' on another one; without a network nothing else "
                           "is done")
    add_json(verb)


def run(args):
    if args.forget:
        print(f"{tuned.tuned_file()} {'was removed' if tuned.forget() else 'is not there'}")
        return
    if args.file is None and args.rates_out is None:
        raise InputError("got no file, expected a network's. Give the .npz to tune, or --rates-out or --forget.")
    if args.rates_out is not None:
        with dispatch.use(args.backend):
            key = write_machine(args.rates_out, planning_backend(), args.again)
        report_note("tune", f"{args.rates_out} has the speeds of {key}")
        if args.file is None:
            return
    check_outputs(args, writes=[tuned.tuned_file()])
    make_cache_folder(tuned.tuned_file().parent)
    check_writable(tuned.tuned_file())
    with dispatch.use(args.backend):
        planning_backend()
        model = minicnn.load(args.file)
        with trying(args.file):
            networks = planned_networks(model, args.size)
        measured = tune(model, networks, args.runs, args.again)
    document = {"backend": measured["backend"], "setting": measured["setting"], "architecture": measured["architecture"],
                "size": list(args.size or model.input_shape[1:]), **measured}
    emit(args, document, terminal(document))


def terminal(document):
    """The lines for a terminal, at most 80 wide."""
    rows, changed = [], 0
    calls = Counter(layer for row in document["convolutions"] for layer in row["layers"])
    for row in document["convolutions"]:
        chosen = str(choose.Choice(row["algorithm"], row["options"]))
        changed += chosen != row["rules"]
        first, more = row["layers"][0], f" +{len(row['layers']) - 1}" if len(row["layers"]) > 1 else ""
        more = f" {shape(row['result'][2:])}" if calls[first] > 1 else more             # of a layer that runs on several maps
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
    """What tuning gained, given the milliseconds by the rules and as tuned."""
    if tuned > rules / GAIN:
        return "lost; tune --again when idle"
    return f"{max(0, rules - tuned):.1f} ms won"
