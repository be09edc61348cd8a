"""Compare two detectors' evaluations of the same images: differences of average precision, with paired intervals."""

import numpy as np

from minicnn.cli.options import add_json
from minicnn.cli.paths import Input
from minicnn.cli.provenance import emit
from minicnn.cli.tables import fitted, points, span
from minicnn.detection.evaluation.compare import compare, read_evaluation
from minicnn.report.detection_page import TITLES

EXAMPLE = "minicnn compare before.json after.json"


def add_arguments(verb):
    verb.add_argument("first", type=Input, metavar="A.json", help="what 'minicnn evaluate --json' wrote for a detector")
    verb.add_argument("second", type=Input, metavar="B.json", help="the same for another detector, on the same images")
    add_json(verb)


def run(args):
    names = (args.first, args.second)
    first, second = (read_evaluation(path)["matches"] for path in names)
    result = compare(first, second, np.random.default_rng(0), names)
    emit(args, {"first": args.first, "second": args.second, **result}, comparison_text(result, names))


def comparison_text(result, names):
    """The tables for a terminal, at most 80 wide."""
    title = f"{100 * result['level']:.0f} % interval"

    def row(name, values):
        return (name, points(values["first"]), points(values["second"]), signed(values["difference"]), span(values["interval"]))
    rows = [row(name, rules["voc07"]) for name, rules in result["per_class"].items()]
    means = [row(heading, result["mAP"][rule]) for rule, heading in TITLES.items()]
    return "\n".join([f"A: {names[0]}", f"B: {names[1]}", f"the same {result['pictures']:,} images; average precision in %", "",
                      fitted(("class, VOC07", "A", "B", "B - A", title), rows), "", fitted(("mean", "A", "B", "B - A", title), means)])


def signed(share):
    return "-" if share is None else f"{100 * share:+.2f}"
