"""Measure a classifier's accuracy, or a detector's average precision.

A detector is measured on a data set's images, or by its detections in files. What cannot be read is reported, the rest goes on, and
the exit status is 1.
"""

import time

import numpy as np

from minicnn.cli.detector_evaluation import detections_of, evaluation_text, look_at, write_page
from minicnn.cli.detector_training import tell_problems
from minicnn.cli.loading import check_images, load_network
from minicnn.cli.options import DATA_HELP, add_json
from minicnn.cli.provenance import check_outputs, emit
from minicnn.cli.tables import percent
from minicnn.data import load_annotated, load_data
from minicnn.data.images import import_pillow
from minicnn.detection.evaluation.evaluate import evaluate, match_document
from minicnn.errors import InputError
from minicnn.evaluate_classifier import evaluate_classifier
from minicnn.files import make_folder

EXAMPLE = "minicnn evaluate small.npz --data digits --json -"
CLASSIFIERS_DATA = "digits"


def add_arguments(verb):
    verb.add_argument("file", metavar="FILE", nargs="?", help="an .npz written by minicnn, of a classifier or a detector")
    verb.add_argument("--detections", metavar="PATH", help="in place of FILE what a detector found: a folder of comp4_det_test_CLASS.txt, "
                                                           "or JSON from 'minicnn detect --json'")
    verb.add_argument("--data", help=f"for a classifier {DATA_HELP} (default: {CLASSIFIERS_DATA}); for a detector a folder of PASCAL "
                                     "VOC's or COCO's form, or 'scenes', generated ones")
    verb.add_argument("--split", default="test", help="which images, as the data set calls them (default: test)")
    add_json(verb)
    verb.add_argument("--report", metavar="FOLDER", help="of a detector: write report.html there, with curves and the worst images")


def run(args):
    check_outputs(args)
    if (args.file is None) == (args.detections is None):
        raise InputError(f"got {'neither FILE nor' if args.file is None else 'FILE and'} --detections, expected one of them. Give one.")
    model = None if args.file is None else load_network(args.file)
    if model is None or model.task == "detection":
        return evaluate_detector(args, model)
    if args.report is not None:
        raise InputError(f"got --report for {args.file}, which is a {model.architecture}, expected a detector. Leave "
                         "it out.")
    data = args.data or CLASSIFIERS_DATA
    images, labels = load_data(data, args.split)
    check_images(images, model, data)
    start = time.perf_counter()
    result = evaluate_classifier(model, images, labels)
    seconds = time.perf_counter() - start
    emit(args, {"file": args.file, "data": data, "split": args.split, **result, "seconds": seconds},
         f"{args.file}: {percent(result['accuracy'])} of {result['images']} {args.split} images right, "
         f"{result['images'] / seconds:.0f} images/s")
    return 0


def evaluate_detector(args, model):
    """The detector's side; model: None where its detections are in files."""
    if args.data is None:
        raise InputError("got no --data, expected the images to find objects in. Give a folder of PASCAL VOC's or COCO's form, or "
                         "'scenes'.")
    if args.report is not None:
        import_pillow("drawing")
        make_folder(args.report)
    annotated = load_annotated(args.data, args.split)
    problems = list(annotated.problems)
    tell_problems(args, problems)
    start = time.perf_counter()
    annotated, found, proposals, more = detections_of(args.detections, annotated) if model is None else look_at(args.file, model, annotated)
    problems += more
    evaluation = evaluate(annotated, found, proposals, np.random.default_rng(0))
    source = {"detections": args.detections} if model is None else {"file": args.file}
    document = {**source, "data": args.data, "split": args.split, **evaluation.document, "problems": problems,
                "seconds": time.perf_counter() - start, "matches": match_document(annotated, evaluation)}
    text = evaluation_text(document, args.detections or args.file)
    if args.report is not None:
        text += f"\n{write_page(args.report, document, annotated, evaluation)}"
    emit(args, document, text)
    return 1 if problems else 0
