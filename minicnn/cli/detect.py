"""Find objects in images with a detector: draw them, list them.

An image that cannot be read is reported and skipped; the exit status is then 1.
"""

import contextlib
import shutil
import sys

from minicnn.cli.fonts import check_font
from minicnn.cli.loading import load_detector
from minicnn.cli.options import add_font, at_least, fraction
from minicnn.cli.paths import Input, OutputFolder, Pictures, ResultsFile, check_distinct
from minicnn.cli.provenance import report_note, report_problem
from minicnn.data.image_files import find_images
from minicnn.data.images import write_image
from minicnn.detection.detect import detect_images, drawn_paths, printable
from minicnn.detection.evaluation.write_detections import check_comp4, result_files
from minicnn.detection.results import Results
from minicnn.errors import InputError
from minicnn.files import check_writable, make_folder
from minicnn.plural import counted
from minicnn.progress import Progress

EXAMPLE = "minicnn detect photo.jpg folder/ --weights W.npz --out drawn/"
DRAWN_ABOVE = 0.5       # score


def add_arguments(verb):
    verb.add_argument("pictures", type=Pictures, nargs="+", metavar="PICTURE",
                      help="a file, a folder of images, or a pattern in quotes: 'shots/*.png'")
    verb.add_argument("--weights", type=Input, required=True, metavar="FILE",
                      help="the detector, an .npz written by minicnn, or torch's weights, which are converted")
    verb.add_argument("--score-threshold", type=fraction, metavar="X",
                      help=f"show detections of a higher score (default: the model's own threshold in results, {DRAWN_ABOVE} in drawn "
                           "images and in the printed lines)")
    verb.add_argument("--out", type=OutputFolder, metavar="FOLDER",
                      help="folder for the images with boxes drawn on them; made if it is missing")
    verb.add_argument("--json", type=ResultsFile, metavar="FILE",
                      help="write the results in the form of --format; '-' is standard output, and nothing else goes there")
    verb.add_argument("--format", choices=("json", "csv", "comp4"),
                      help="form of the results: json (the default), csv (a row for each detection), or comp4 (PASCAL VOC's files, one for "
                           "each class; --json then names their folder); without --json it goes to standard output")
    verb.add_argument("--resume", action="store_true",
                      help="go on with the results that an interrupted run left in the file of --json, json or csv: images that have a row "
                           "there (and, with --out, are drawn) are not done again. Rows do not say what made them: give the same options")
    add_font(verb)
    verb.add_argument("--min-size", type=at_least(1, int), metavar="N", help="pixels a short side is resized to (default: the model's)")
    verb.add_argument("--max-size", type=at_least(1, int), metavar="N", help="limit of the long side in pixels (default: the model's)")


def run(args):
    target = "-" if args.json is None and args.format else args.json
    paths = find_images(args.pictures, lambda line: report_note("detect", line))
    check_target(args.format, target, paths)
    drawn = {} if args.out is None else drawn_paths(paths, args.out)
    model = configured_detector(args)
    if drawn:
        check_font(args, model.record["class_names"])
    written = [*map(str, drawn.values()), *result_files(target, args.format, model.record["class_names"])]
    check_distinct([args.weights, *map(str, paths)], written)
    results = Results(target, paths, model, args.format or "json", args.resume)
    for folder in (args.out, target if args.format == "comp4" else None):
        if folder is not None:
            make_folder(folder)
    results.rows = {path: row for path, row in results.rows.items() if not drawn or drawn[path].exists()}
    if args.resume:
        print(f"minicnn detect: {len(results.rows)} of {len(paths)} images are in {target} already", file=sys.stderr)
    return detect_missing(args, model, results, drawn)


def detect_missing(args, model, results, drawn):
    """Detect in the images that have no results yet; returns the exit status."""
    threshold = DRAWN_ABOVE if args.score_threshold is None else args.score_threshold
    paths, failures, printing = results.missing(), [], results.target != "-"
    with results, progress(len(paths), printing) as count:
        def failed(error):
            report_problem("detect", error)
            failures.append(error)
            count(1)
        for image in detect_images(model, paths, failed):
            shown = image.detections.above(threshold)
            text = line(image.document(), shown)
            if drawn:
                write_image(drawn[image.path], shown.draw(image.read, args.font))
                text += f"\n  -> {printable(drawn[image.path])}"
            results.add(image)
            if printing:
                print(text, flush=True)
            count(1)
    return 1 if failures else 0


def check_target(form, target, paths):
    """Raise InputError, before the work begins, if the results cannot be written."""
    if form == "comp4":
        if target == "-":
            raise InputError("got standard output for comp4, expected a folder, since it is a file for each class. Give --json FOLDER.")
        check_comp4(paths)
    elif target not in (None, "-"):
        check_writable(target)


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
    reduced = f" reduced by {row['reduced']}" if "reduced" in row else ""
    head = f"{row['image']}  {row['width']}x{row['height']}{reduced}  "
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
        text = f"{counted(len(texts), 'object')}: {', '.join(texts[:shown])}{more}"
        if len(text) <= room:
            break
    return text
