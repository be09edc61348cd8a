"""Compare two detectors' evaluations of the same images: differences of average precision, with paired intervals."""

import json
from pathlib import Path

import numpy as np

from minicnn.cli.detector_evaluation import TITLES
from minicnn.cli.options import add_json
from minicnn.cli.provenance import check_outputs, emit
from minicnn.cli.tables import fitted, points, span
from minicnn.detection.evaluation.compare import compare
from minicnn.errors import InputError

EXAMPLE = "minicnn compare before.json after.json"


def add_arguments(verb):
    verb.add_argument("first", metavar="A.json", help="what 'minicnn evaluate --json' wrote for a detector")
    verb.add_argument("second", metavar="B.json", help="the same for another, on the same images")
    add_json(verb)


def run(args):
    check_outputs(args)
    documents = [read_evaluation(path) for path in (args.first, args.second)]
    names = (args.first, args.second)
    result = compare(*(document["matches"] for document in documents), np.random.default_rng(0), names)
    emit(args, {"first": args.first, "second": args.second, **result}, comparison_text(result, names))


def read_evaluation(path):
    """The document of an evaluation; raises InputError."""
    try:
        document = json.loads(Path(path).read_text("utf-8"))
        if not isinstance(document, dict) or not isinstance(document.get("matches"), dict):
            raise ValueError("it has no matches")
    except OSError as error:
        raise InputError(f"cannot read {path} ({error.strerror or error}), expected an evaluation. Check the path.") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"got {path}, which is no evaluation of a detector ({str(error)[:80]}), expected what 'minicnn evaluate --json' "
                         "writes. Give such a file.") from error
    return document


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
