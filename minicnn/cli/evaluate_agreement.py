"""``minicnn evaluate --against``: how far a detector agrees with the one that it was made from, on images without labels."""

import time

import numpy as np

from minicnn.cli.loading import PROBLEMS, finish, load_detector, losses_of, skip_unreadable
from minicnn.cli.provenance import emit, report_note, report_problem
from minicnn.cli.tables import fitted, percent, points, shortened, span
from minicnn.data import default_split
from minicnn.data.images import import_pillow
from minicnn.data.unlabelled import has_boxes, load_unlabelled
from minicnn.detection.evaluation.differing_images import differing_images
from minicnn.detection.evaluation.evaluate_agreement import check_same_classes, evaluate_agreement
from minicnn.errors import InputError
from minicnn.files import make_folder
from minicnn.report.agreement_page import count_rows, write_agreement_report

LISTED = 5              # lost and invented objects that are printed
NAME = 20               # columns of a class's name in these lists
KEYS = ("original", "lost", "network", "invented")


def run_agreement(args, test):
    """Compare FILE with --against on the images of --data; ``test``: the split of a data set unless one is given."""
    check_options(args)
    names = args.file, args.against
    model, original = map(load_detector, names)
    check_same_classes(model, original, names)
    data = read_images(args, test)
    if args.report is not None:
        import_pillow("drawing")
        make_folder(args.report)
    start = time.perf_counter()
    result = evaluate_agreement(model, original, [image.path for image in data.images], np.random.default_rng(0), sources=names,
                                on_error=lambda error: skip_unreadable(args, data, error))
    document = {"file": args.file, "against": args.against, "data": args.data, "split": args.split, **result.document, **losses_of(data),
                "seconds": time.perf_counter() - start}
    text = agreement_text(document)
    if args.report is not None:
        text += f"\n\n{write_agreement_report(args.report, document, differing_images(result))}"
    emit(args, document, text)
    return finish(args, data)


def check_options(args):
    """Raise InputError for options that have no effect together with --against, and for those that are missing."""
    if args.detections is not None:
        raise InputError("got --detections and --against, expected a detector and the one it is compared with. Give FILE in place of "
                         "--detections.")
    if args.file is None:
        raise InputError("got --against without FILE, expected a detector to compare with it. Give one.")
    if args.box_origin is not None:
        raise InputError("got --box-origin for --against, which uses no boxes of the data, expected none. Leave it out.")
    if args.data is None:
        raise InputError("got no --data, expected images, which need no labels. Give a folder of them, a data set, or 'scenes'.")


def read_images(args, test):
    """The images of --data and --split; those that cannot be read are reported."""
    if args.split is None and has_boxes(args.data):
        args.split = default_split(args.data, test)
    data = load_unlabelled(args.data, args.split, lambda line: report_note(args.verb, line))
    for problem in data.problems[:PROBLEMS]:
        report_problem(args.verb, problem)
    if len(data.problems) > PROBLEMS:
        report_problem(args.verb, f"... and {len(data.problems) - PROBLEMS} more")
    if not data.images:
        raise InputError(f"got {args.data}, of whose {len(data.problems)} images none can be read, expected some. Give others.")
    if not args.allow_skipped:
        data.check_skipped(args.data)
    return data


def agreement_text(document):
    """The tables for a terminal, at most 80 wide but for the files' names."""
    parts = [f"{document['file']} against {document['against']}, the original",
             f"{document['pictures']:,} images of {', '.join(filter(None, (document['data'], document['split'])))}", "",
             f"agreement {percent(document['agreement'])}, {100 * document['level']:.0f} % interval {span(document['interval'])}", "",
             fitted(("", "objects", "kept", "not kept"), count_rows(document))]
    if document["per_class"]:
        parts += ["", fitted(("class", *KEYS, "agreement, %"), [(name, *(f"{row[key]:,}" for key in KEYS), points(row["agreement"]))
                                                                for name, row in document["per_class"].items()])]
    for what in ("lost", "invented"):
        if rows := document[what]:
            parts += ["", fitted((f"{what} in", "class", "score"), [(row["image"], shortened(row["name"], NAME), f"{row['score']:.2f}")
                                                                    for row in rows[:LISTED]])]
            if len(rows) > LISTED:
                parts.append(f"and {len(rows) - LISTED:,} more of lower scores; --json lists all")
    return "\n".join(parts)
