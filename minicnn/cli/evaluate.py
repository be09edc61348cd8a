"""Measure a classifier's accuracy, a detector's average precision, or how far it agrees with another detector.

A detector is measured on the images of a data set, or by its detections in files; with --against on any images. Images and objects that
cannot be used are reported and left out; the exit status is then 1, or 2 if they are more than 5 %, unless --allow-skipped.
"""

import time

import numpy as np

from minicnn.cli.evaluate_agreement import run_agreement
from minicnn.cli.loading import check_images, finish, load_network, losses_of, read_annotated_data, skip_unreadable
from minicnn.cli.options import DATA_HELP, add_annotated, add_json
from minicnn.cli.paths import Input, ReportFolder
from minicnn.cli.provenance import emit, report_problem
from minicnn.cli.tables import fitted, percent, points, span, table
from minicnn.data import default_split, load_data
from minicnn.data.check_images import check_image_files, turn_upright
from minicnn.data.images import import_pillow
from minicnn.data.skipped import check_skipped
from minicnn.detection.evaluation.evaluate import evaluate_detections, evaluate_detector
from minicnn.detection.evaluation.worst_images import worst_images
from minicnn.errors import InputError
from minicnn.evaluate_classifier import evaluate_classifier
from minicnn.files import make_folder
from minicnn.report.detection_page import TITLES, write_report

EXAMPLE = "minicnn evaluate small.npz --data digits --json -"
CLASSIFIERS_DATA = "digits"
TEST = "test"           # the split, unless another is given


def add_arguments(verb):
    verb.add_argument("file", type=Input, metavar="FILE", nargs="?", help="a classifier or a detector: an .npz written by "
                                                                             "minicnn, or torch's weights")
    verb.add_argument("--detections", type=Input, metavar="PATH",
                      help="detections in place of FILE: what 'minicnn detect' writes (JSON, CSV, or a folder of "
                           "comp4_det_test_CLASS.txt), or JSON of COCO's results")
    verb.add_argument("--data", type=Input,
                      help=f"for a classifier {DATA_HELP} (default: {CLASSIFIERS_DATA}); for a detector a folder laid out as "
                                     "PASCAL VOC's or COCO's, or 'scenes', generated images; with --against also a folder of images "
                                     "or a pattern")
    verb.add_argument("--against", type=Input, metavar="FILE",
                      help="the detector that FILE was made from: report how much of what one finds the other finds, too; no labels are "
                           "needed")
    verb.add_argument("--split", metavar="NAME", help="split of the data, by its name there (default: test; all where there are no "
                                                       "lists)")
    add_annotated(verb)
    add_json(verb)
    verb.add_argument("--report", type=ReportFolder, metavar="FOLDER",
                      help="for a detector: write report.html there, with curves and the worst images, or what is lost and invented")


def run(args):
    if args.against is not None:
        return run_agreement(args, TEST)
    if (args.file is None) == (args.detections is None):
        raise InputError(f"got {'neither FILE nor' if args.file is None else 'FILE and'} --detections, expected one of them. Give one.")
    model = None if args.file is None else load_network(args.file)
    if model is None or model.task == "detection":
        return run_detector(args, model)
    for name in ("report", "allow_skipped", "box_origin"):
        if getattr(args, name) is not None:
            raise InputError(f"got --{name.replace('_', '-')} for {args.file}, which is a {model.architecture}, expected a detector. Leave "
                             "it out.")
    return run_classifier(args, model)


def run_classifier(args, model):
    data = args.data or CLASSIFIERS_DATA
    args.split = args.split or TEST
    images, labels = load_data(data, args.split)
    check_images(images, model, data)
    start = time.perf_counter()
    result = evaluate_classifier(model, images, labels)
    seconds = time.perf_counter() - start
    emit(args, {"file": args.file, "data": data, "split": args.split, **result, "seconds": seconds},
         f"{args.file}: {percent(result['accuracy'])} of {result['images']} {args.split} images right, "
         f"{result['images'] / seconds:.0f} images/s")
    return 0


def run_detector(args, model):
    """Evaluate a detector, or with None for the model its detections in files."""
    if args.data is None:
        raise InputError("got no --data, expected the images to find objects in. Give a folder of PASCAL VOC's or COCO's form, or "
                         "'scenes'.")
    if args.report is not None:
        import_pillow("drawing")
        make_folder(args.report)
    args.split = args.split or default_split(args.data, TEST) or TEST
    annotated = read_annotated_data(args, args.split, prepare=turn_upright if model is None else check_image_files)
    start, rng = time.perf_counter(), np.random.default_rng(0)

    def skip(error):
        skip_unreadable(args, annotated, error)
    if model is None:
        evaluation = evaluate_detections(args.detections, annotated, rng, on_error=skip)
        if not args.allow_skipped:                              # again: the images' size in the file is known only now
            counts = (evaluation.document[key] for key in ("objects", "difficult"))
            check_skipped(annotated.skipped, evaluation.document["pictures"], sum(counts), args.data)
    else:
        evaluation = evaluate_detector(model, annotated, rng, source=args.file, on_error=skip)
    for line in evaluation.problems:
        if line not in annotated.problems:                      # it is no image of the data
            report_problem(args.verb, line)
            annotated.problems.append(line)
    source = {"detections": args.detections} if model is None else {"file": args.file}
    document = {**source, "data": args.data, "split": args.split, **evaluation.document, **losses_of(annotated), "notes": evaluation.notes,
                "seconds": time.perf_counter() - start, "matches": evaluation.match_document()}
    text = evaluation_text(document, args.detections or args.file)
    if args.report is not None:
        text += f"\n{write_report(args.report, document, evaluation.curves(), worst_images(evaluation))}"
    emit(args, document, text)
    return finish(args, annotated)


def evaluation_text(document, source):
    """The tables for a terminal, at most 80 wide."""
    intervals, coco = document["intervals"], document["coco"]
    numbers = [f"{document[key]:,}" for key in ("pictures", "objects", "difficult")]
    parts = [f"{source}, {document['split']}:", f"{numbers[0]} images, {numbers[1]} objects and {numbers[2]} that do not count",
             *document["notes"], "",
             fitted(("class", "objects", "found", *(f"{title}, %" for title in TITLES.values())),
                    [(name, f"{row['objects']:,}", f"{row['found']:,}", *(points(row[rule]) for rule in TITLES))
                     for name, row in document["per_class"].items()]),
             "", table(("mean AP, %", "", f"{100 * intervals['level']:.0f} % interval"),
                       [(title, points(document["mAP"][rule]), span(intervals[rule])) for rule, title in TITLES.items()]),
             "", table(("COCO, %", *list(coco)[:6]), [("", *map(points, list(coco.values())[:6]))]),
             "", table(("COCO, %", *list(coco)[6:]), [("", *map(points, list(coco.values())[6:]))]),
             "", table(("error", "number", "costs AP50"),
                       [(kind, f"{row['count']:,}", points(row["dAP"])) for kind, row in document["errors"].items()])]
    if "proposal_recall" in document:
        recalls = document["proposal_recall"]
        parts += ["", table(("proposals", *recalls), [("recall, %", *map(points, recalls.values()))])]
    return "\n".join(parts)
