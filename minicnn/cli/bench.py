"""Measure where a network's time goes on this machine, step by step.

The whole run of a detector is timed, from an array to boxes: the plans of its parts, and what lies between them. The rows of the table
add up to the whole. Reading an image file is not included.
"""

import argparse
from pathlib import Path

import minicnn
from minicnn.cli.loading import trying
from minicnn.cli.options import add_json, at_least
from minicnn.cli.paths import Input, ReportFolder
from minicnn.cli.provenance import emit
from minicnn.cli.tables import fitted, shape
from minicnn.data.images import as_input, read_reduced
from minicnn.fast.timing.profile import profile
from minicnn.fast.timing.workload import check_image
from minicnn.files import make_folder, source_file
from minicnn.functional import dispatch
from minicnn.layers import KINDS
from minicnn.plural import counted
from minicnn.report.roofline_page import write_report

EXAMPLE = "minicnn bench W.npz --size 600x800 --report bench/"
FORMAT = 1
SHOWN = 20              # steps in the table for a terminal


def add_arguments(verb):
    add_network(verb)
    verb.add_argument("--picture", type=Input, metavar="FILE", help="an image to run on (default: random pixels)")
    verb.add_argument("--runs", type=at_least(1, int), default=7, metavar="N", help="timed runs (default: %(default)s)")
    verb.add_argument("--all", action="store_true", help=f"show every step, not only the {SHOWN} longest")
    add_json(verb)
    verb.add_argument("--report", type=ReportFolder, metavar="FOLDER", help="write report.html there, with the roofline")


def add_network(verb, **options):
    """Arguments that ``bench`` and ``tune`` share."""
    verb.add_argument("file", type=Input, metavar="FILE", help="an .npz written by minicnn, or torch's weights", **options)
    verb.add_argument("--size", type=size, metavar="HxW", help="pixels that the network sees, 600x800 (default: the model's own)")
    verb.add_argument("--backend", choices=dispatch.BACKENDS, help="numba, numpy or reference (default: numba where it is installed)")


def size(text):
    """An argparse type: HxW."""
    height, _, width = text.lower().replace("×", "x").partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected height and width in pixels, such as 600x800")
    return int(height), int(width)


def run(args):
    with dispatch.use(args.backend):
        model, image = minicnn.load(args.file), None
        if args.picture is not None:
            image = as_input(read_reduced(args.picture).values)
            check_image(model, image)
        if args.report is not None:
            make_folder(args.report)
        with trying(args.file):
            measured = profile(model, image, args.size, args.runs)
    picture = Path(args.picture).name if args.picture else "random pixels"
    document = {"minicnn_bench": FORMAT, **source_file(args.file), "architecture": measured["architecture"], "backend": measured["backend"],
                "size": measured["size"], "picture": picture, **measured}
    text = terminal(document, args)
    if args.report is not None:
        text += f"\n{write_report(args.report, document)}"
    emit(args, document, text)


def terminal(document, args):
    """The lines for a terminal, at most 80 wide."""
    total = document["total"]
    shown = document["steps"] if args.all else longest(document["steps"])
    rows = [row(step) for step in shown]
    others = [step for step in document["steps"] if not any(step is other for other in shown)]
    if others:
        rows.append(summed(f"others ({len(others)} steps)", others))
    rows += [(name, "", f"{milliseconds:.2f}", "", "", "") for name, milliseconds in document["between"].items()]
    rows.append(("all", "", f"{total['ms']:.2f}", f"{total['gflops']:.1f}", "", ""))
    return "\n".join([*heading(document, args.file), "",
                      fitted(("step", "algorithm", "ms", "GFLOP/s", "product", "memory"), rows),
                      "GFLOP/s count the direct algorithm, whatever a step computes; product and memory",
                      "are shares of the two speeds, of what it multiplies and moves."])


def heading(document, file):
    """The lines above the table."""
    total, roofs, about = document["total"], document["roofs"], document["machine"]
    planned = document["backend"] != "reference"
    threads = counted(about["threads"], "thread")
    lines = [f"{file}: {document['architecture']}, {document['picture']}, {shape(document['size'])}",
             f"{about['board'] or about['processor']}, {about['cores']} cores; {document['backend']}, {threads}",
             f"speeds here: product {roofs['gflops']:.1f} GFLOP/s, memory {roofs['gbytes']:.1f} GB/s",
             f"first run {document['first_ms'] / 1000:.2f} s{' (compiles and plans)' * planned}, then {total['ms']:.1f} ms",
             f"(median of {total['runs']} runs, {total['ms_least']:.1f} to {total['ms_most']:.1f})"]
    layers = sum(step["algorithm"] in KINDS for step in document["steps"])
    return [*lines, f"{layers} layers are in no plan and run one by one"] if layers and planned else lines


def longest(steps):
    """The ``SHOWN`` longest steps, in their order; all, where only one more would be left out."""
    if len(steps) <= SHOWN + 1:
        return steps
    least = sorted((step["ms"] for step in steps), reverse=True)[SHOWN - 1]
    return [step for step in steps if step["ms"] >= least]


def row(step):
    """A step's row."""
    gflops, product = (f"{step['gflops']:.1f}", f"{100 * step['product_share']:.0f} %") if step["flop"] else ("", "")
    return (step["name"], brief(step["algorithm"]), f"{step['ms']:.2f}", gflops, product,
            f"{100 * step['memory_share']:.0f} %")


def summed(name, steps):
    """One row for several steps."""
    flop, milliseconds = (sum(step[key] for step in steps) for key in ("flop", "ms"))
    return name, "", f"{milliseconds:.2f}", f"{flop / max(milliseconds, 1e-6) / 1e6:.1f}" if flop else "", "", ""


def brief(algorithm):
    """winograd, 2 x 24 tiles -> winograd 2x24"""
    return algorithm.replace(" x ", "x").replace(",", "").removesuffix(" tiles")
