"""Find objects in images with a detector: draw them, list them.

An image that cannot be read is reported and skipped; the exit status is then 1.
"""

import argparse
import contextlib
import os
import shutil
import sys

from minicnn.cli.loading import load_detector
from minicnn.cli.options import at_least
from minicnn.cli.provenance import report_problem
from minicnn.data.images import find_images, write_image
from minicnn.detection.detect import detect_images, drawn_paths, printable
from minicnn.detection.evaluation.write_detections import check_class_names, check_comp4, comp4_classes, write_detections
from minicnn.errors import InputError
from minicnn.files import check_writable, make_folder
from minicnn.progress import Progress

EXAMPLE = "minicnn detect photo.jpg folder/ --weights W.npz --out drawn/"
DRAWN_ABOVE = 0.5       # score


def add_arguments(verb):
    verb.add_argument("pictures", nargs="+", metavar="PICTURE", help="a file, a folder of images, or a pattern in quotes: 'shots/*.png'")
    verb.add_argument("--weights", required=True, metavar="FILE", help="the detector, an .npz written by minicnn")
    verb.add_argument("--score-threshold", type=fraction, metavar="X",
                      help=f"show detections of a higher score (default: the model's own threshold in results, {DRAWN_ABOVE} in drawn "
                           "images and in the printed lines)")
    verb.add_argument("--out", metavar="FOLDER", help="folder for the images with boxes drawn on them; made if it is missing")
    verb.add_argument("--json", metavar="FILE", help="write the results in the form of --format; '-' is standard output, and nothing else "
                                                     "goes there")
    verb.add_argument("--format", choices=("json", "csv", "comp4"),
                      help="form of the results: json (the default), csv (a row for each detection), or comp4 (PASCAL VOC's files, one for "
                           "each class; --json then names their folder); without --json it goes to standard output")
    verb.add_argument("--min-size", type=at_least(1, int), metavar="N", help="pixels a short side is resized to (default: the model's)")
    verb.add_argument("--max-size", type=at_least(1, int), metavar="N", help="limit of the long side in pixels (default: the model's)")


def fraction(text):
    """An argparse type: a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number from 0 to 1")
    return value


def run(args):
    target = "-" if args.json is None and args.format else args.json
    paths = find_images(args.pictures)
    check_target(args.format, target, paths, args.weights)
    drawn = {} if args.out is None else drawn_paths(paths, args.out)
    model = configured_detector(args)
    if args.format == "comp4":
        check_class_names(comp4_classes(model.record["class_names"]))
    for folder in (args.out, target if args.format == "comp4" else None):
        if folder is not None:
            make_folder(folder)

    threshold = DRAWN_ABOVE if args.score_threshold is None else args.score_threshold
    rows, failures, printing = [], [], target != "-"
    with progress(len(paths), printing) as count:
        def failed(error):
            report_problem("detect", error)
            failures.append(error)
            count(1)
        for image in detect_images(model, paths, failed):
            rows.append(image.document())
            shown = image.detections.above(threshold)
            text = line(rows[-1], shown)
            if drawn:
                write_image(drawn[image.path], shown.draw(image.pixels))
                text += f"\n  -> {printable(drawn[image.path])}"
            if printing:
                print(text, flush=True)
            count(1)
    write_results(args.format, target, rows, model)
    return 1 if failures else 0


def check_target(form, target, paths, weights):
    """Raise InputError, before the work begins, if the results cannot be written."""
    if form == "comp4":
        if target == "-":
            raise InputError("got standard output for comp4, expected a folder, since it is a file for each class. Give --json FOLDER.")
        check_comp4(paths)
    elif target not in (None, "-"):
        check_writable(target)
        if os.path.realpath(target) in map(os.path.realpath, (weights, *paths)):
            raise InputError(f"got {target} for the results, which is read too, expected another file. Choose one.")


def configured_detector(args):
    """The detector of --weights with --score-threshold, --min-size and --max-size."""
    model = load_detector(args.weights)
    if args.score_threshold is not None:
        model.roi_heads.score_thresh = args.score_threshold
    model.transform.min_size = args.min_size or model.transform.min_size
    model.transform.max_size = args.max_size or model.transform.max_size
    return model


@contextlib.contextmanager
def progress(total, printing):
    """A function that counts images on a progress bar. Lines printed at a terminal show progress enough: there, it does nothing."""
    if printing and sys.stdout.isatty():
        yield lambda count: None
    else:
        with Progress(total, "detect") as bar:
            yield bar.update


def line(row, detections):
    """One line about an image: photo.jpg  640x480  3 objects: dog 0.98, cat 0.91, ... +1  0.52 s"""
    head = f"{row['image']}  {row['width']}x{row['height']}  "
    tail = f"  {row['milliseconds']['total'] / 1000:.2f} s"
    return head + listing(detections, shutil.get_terminal_size().columns - len(head) - len(tail)) + tail


def listing(detections, room):
    """As many of the detections as fit into ``room`` characters, by descending score, at least the first."""
    if not len(detections):
        return "no objects"
    # names come from a file, so they may hold control characters
    names = ("".join(letter if letter.isprintable() else "?" for letter in name) for name in detections.names)
    texts = [f"{name} {score:.2f}" for name, score in zip(names, detections.scores)]
    for shown in range(len(texts), 0, -1):
        more = f", ... +{len(texts) - shown}" if shown < len(texts) else ""
        text = f"{len(texts)} object{'s' * (len(texts) > 1)}: {', '.join(texts[:shown])}{more}"
        if len(text) <= room:
            break
    return text


def write_results(form, target, rows, model):
    """Write the results to ``target``: a file or folder, "-" for standard output, None for nowhere."""
    if target is not None:
        text = write_detections(None if target == "-" else target, rows, form or "json", model.record["class_names"])
        if target == "-":
            sys.stdout.write(text)
