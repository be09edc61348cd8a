"""Measure where a network's time goes on this machine, step by step.

A detector's whole way is timed, from an array to boxes: the plans of its parts, and what lies between them. The table adds up to the
whole. Reading an image file is not in it.
"""

import argparse
import statistics
from pathlib import Path

import numpy as np

import minicnn
from minicnn.cli.loading import trying
from minicnn.cli.options import add_json, at_least
from minicnn.cli.provenance import check_outputs, emit
from minicnn.cli.tables import fitted, shape
from minicnn.data.images import as_input
from minicnn.errors import InputError
from minicnn.fast import machine
from minicnn.fast.measure import measure, memory_speed, product_speed
from minicnn.files import make_folder, source_file
from minicnn.functional import dispatch
from minicnn.layers import KINDS
from minicnn.progress import Progress
from minicnn.report.roofline_page import write_report

EXAMPLE = "minicnn bench W.npz --size 600x800 --report bench/"
FORMAT = 1
STAGES = {"transform": "transform", "rpn": "proposals", "roi_heads.box_roi_pool": "pooling", "roi_heads": "selection"}
REST, GAP = "rest", "(medians do not add up)"
SHOWN = 20              # steps in the table for a terminal


def add_arguments(verb):
    add_network(verb)
    verb.add_argument("--picture", metavar="FILE", help="an image to look at (default: random pixels)")
    verb.add_argument("--runs", type=at_least(1, int), default=7, metavar="N", help="timed runs (default: %(default)s)")
    verb.add_argument("--all", action="store_true", help=f"show every step, not only the {SHOWN} longest")
    add_json(verb)
    verb.add_argument("--report", metavar="FOLDER", help="write report.html there, with the roofline")


def add_network(verb, **options):
    """What ``bench`` and ``tune`` are told alike."""
    verb.add_argument("file", metavar="FILE", help="an .npz written by minicnn", **options)
    verb.add_argument("--size", type=size, metavar="HxW", help="pixels that the network sees, 600x800 (default: the model's own)")
    verb.add_argument("--backend", choices=dispatch.BACKENDS, help="numba, numpy or reference (default: numba where it is installed)")


def size(text):
    """An argparse type: HxW."""
    height, _, width = text.lower().replace("×", "x").partition("x")
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise argparse.ArgumentTypeError(f"got {text!r}, expected height and width in pixels, such as 600x800")
    return int(height), int(width)


def run(args):
    check_outputs(args)
    with dispatch.use(args.backend):
        model = minicnn.load(args.file)
        image, call = task(model, args)
        if args.report is not None:
            make_folder(args.report)
        document = timed_document(model, image, call, args)
    text = terminal(document, args)
    if args.report is not None:
        text += f"\n{write_report(args.report, document)}"
    emit(args, document, text)


def task(model, args):
    """The image (C, H, W) and a function that runs the model on it once."""
    own = model.input_shape
    sides = args.size or own[1:]
    detects = model.task == "detection"
    with trying(args.file):
        if getattr(args, "picture", None) is None:
            image = np.random.default_rng(0).random((own[0], *sides), np.float32)
        else:
            image = as_input(args.picture)
    if detects:
        if args.size is not None:
            model.transform.min_size, model.transform.max_size = min(sides), max(sides)
        return image, lambda: model([image])
    if getattr(args, "picture", None) is not None and image.shape != own:
        raise InputError(f"got an image of {shape(image.shape)}, expected {shape(own)}, which {model.architecture} takes. Give one of "
                         "that size, or none.")
    return image, lambda: model(image[None])


def timed_document(model, image, call, args):
    """What --json prints."""
    backend, detects = dispatch.backend(), model.task == "detection"
    stages = {**(STAGES if detects else {}), "": REST}
    with Progress(args.runs + 3, "bench", "runs") as bar:
        before = machine.celsius()
        with trying(args.file):
            first, totals, steps, between = measure(model, call, args.runs, list(stages)[:-1], lambda: bar.update(1))
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
    return {"minicnn_bench": FORMAT, **source_file(args.file), "architecture": model.architecture, "backend": backend,
            "size": list(image.shape[1:]), "picture": Path(args.picture).name if args.picture else "random pixels",
            "machine": machine.describe(backend), "celsius": [before, machine.celsius()], "roofs": roofs, "first_ms": first,
            "total": {"ms": total, "ms_least": min(totals), "ms_most": max(totals), "runs": len(totals), "flop": flop,
                      "gflops": flop / total / 1e6}, "between": between, "steps": steps}


def terminal(document, args):
    """The lines for reading, at most 80 wide."""
    total, roofs, about = document["total"], document["roofs"], document["machine"]
    planned = document["backend"] != "reference"
    threads = f"{about['threads']} thread{'s' * (about['threads'] != 1)}"
    lines = [f"{args.file}: {document['architecture']}, {document['picture']}, {shape(document['size'])}",
             f"{about['board'] or about['processor']}, {about['cores']} cores; {document['backend']}, {threads}",
             f"speeds here: product {roofs['gflops']:.1f} GFLOP/s, memory {roofs['gbytes']:.1f} GB/s",
             f"first run {document['first_ms'] / 1000:.2f} s{' (compiles and plans)' * planned}, then {total['ms']:.1f} ms",
             f"(median of {total['runs']} runs, {total['ms_least']:.1f} to {total['ms_most']:.1f})", ""]
    layers = sum(step["algorithm"] in KINDS for step in document["steps"])
    if layers and planned:
        lines.insert(-1, f"{layers} layers are in no plan, and run one by one")
    shown = document["steps"] if args.all else longest(document["steps"])
    rows = [row(step) for step in shown]
    others = [step for step in document["steps"] if not any(step is one for one in shown)]
    if others:
        rows.append(summed(f"others ({len(others)} steps)", others))
    rows += [(name, "", f"{milliseconds:.2f}", "", "", "") for name, milliseconds in document["between"].items()]
    rows.append(("all", "", f"{total['ms']:.2f}", f"{total['gflops']:.1f}", "", ""))
    return "\n".join([*lines, fitted(("step", "algorithm", "ms", "GFLOP/s", "product", "memory"), rows),
                      "GFLOP/s are counted directly, whatever the algorithm saves; product and memory",
                      "are shares of the two speeds, of what it multiplies and moves."])


def longest(steps):
    """The ``SHOWN`` longest, in their order; all, where only one more would be left out."""
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
