"""Find objects in images with a detector: draw them, list them.

Images are taken one after the other. One that cannot be read is reported, the rest goes on, and the exit status is 1.
"""

import argparse
import contextlib
import os
import shutil
import sys
import time
from collections import Counter
from pathlib import Path

from minicnn.cli.loading import load_detector
from minicnn.cli.options import at_least
from minicnn.cli.provenance import report, too_large
from minicnn.data.images import as_values, find_images, import_pillow, write_image
from minicnn.detection.evaluation.write_detections import check_class_names, check_comp4, comp4_texts, csv_text, json_text
from minicnn.errors import InputError
from minicnn.files import atomic_write, check_writable, make_folder
from minicnn.hooks import timed
from minicnn.prefetch import prefetch
from minicnn.progress import Progress

EXAMPLE = "minicnn detect photo.jpg folder/ --weights W.npz --out drawn/"
DRAWN_ABOVE = 0.5       # score
STAGES = {"transform": "transform", "backbone": "backbone", "rpn": "rpn", "roi_heads": "heads"}      # path in the model: name in JSON


def add_arguments(verb):
    verb.add_argument("pictures", nargs="+", metavar="PICTURE", help="a file, a folder of images, or a pattern in quotes: 'shots/*.png'")
    verb.add_argument("--weights", required=True, metavar="FILE", help="the detector, an .npz written by minicnn")
    verb.add_argument("--score-threshold", type=share, metavar="X",
                      help=f"show what scores higher (default: the model's own in results, {DRAWN_ABOVE} in drawn images and in the "
                           "lines for reading)")
    verb.add_argument("--out", metavar="FOLDER", help="where to put the images with the boxes drawn on them; made if need be")
    verb.add_argument("--json", metavar="FILE", help="write the results, in the form that --format says; '-' is standard output, and "
                                                     "nothing else goes there")
    verb.add_argument("--format", choices=("json", "csv", "comp4"),
                      help="form of the results: json (the default), csv (a row a detection), or comp4 (PASCAL VOC's files, one a class; "
                           "--json then names their folder); without --json it goes to standard output")
    verb.add_argument("--min-size", type=at_least(1, int), metavar="N", help="pixels a short side is resized to (default: the model's)")
    verb.add_argument("--max-size", type=at_least(1, int), metavar="N", help="pixels that a long side may then have (default: the model's)")


def share(text):
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
    model = detector(args)
    if args.format == "comp4":
        check_class_names(comp4_names(model))
    for folder in (args.out, target if args.format == "comp4" else None):
        if folder is not None:
            make_folder(folder)

    threshold = DRAWN_ABOVE if args.score_threshold is None else args.score_threshold
    talks = target != "-"
    rows, failures = [], 0
    with progress(len(paths), talks) as count:
        for path, reading in prefetch(read, paths):
            try:
                image, found, row = look(model, path, *reading())
            except InputError as error:
                report("detect", error)
                failures += 1
            else:
                rows.append(row)
                found = found.above(threshold)
                text = line(row, found)
                if drawn:
                    write_image(drawn[path], found.draw(image))
                    text += f"\n  -> {printable(drawn[path])}"
                if talks:
                    print(text, flush=True)
            count(1)
    write_results(args.format, target, rows, model)
    return 1 if failures else 0


def check_target(form, target, paths, weights):
    """Fail before the work if the results could not be written."""
    if form == "comp4":
        if target == "-":
            raise InputError("got standard output for comp4, expected a folder, since it is a file for each class. Give --json FOLDER.")
        check_comp4(paths)
    elif target not in (None, "-"):
        check_writable(target)
        if os.path.realpath(target) in map(os.path.realpath, (weights, *paths)):
            raise InputError(f"got {target} for the results, which is read too, expected another file. Choose one.")


def drawn_paths(paths, folder):
    """{image: the file it is drawn to}, none of which is itself one of the images."""
    import_pillow("drawing")
    drawn = {path: Path(folder, name) for path, name in zip(paths, drawn_names(paths))}
    images = {os.path.realpath(path) for path in paths}
    for path in drawn.values():
        if os.path.realpath(path) in images:
            raise InputError(f"got {folder} for the drawn images, where {path} is an image to look at, expected another folder. "
                             "Choose one.")
    return drawn


def drawn_names(paths):
    """A file name for each: its own (.png if it is no JPEG); where several have the same, each with its folder's before it."""
    names = [path.name if path.suffix.lower() in (".jpg", ".jpeg", ".png") else f"{path.stem}.png" for path in paths]
    often, used = Counter(name.lower() for name in names), {}       # lower: some file systems see no difference
    for path, name in zip(paths, names):
        if often[name.lower()] > 1:
            name = f"{Path(os.path.abspath(path)).parent.name}_{name}"
        stem, suffix = os.path.splitext(name)
        number = 1
        while name.lower() in used:
            number += 1
            name = f"{stem}_{number}{suffix}"
        used[name.lower()] = name
    return list(used.values())


def detector(args):
    """The model of --weights, with the other options set."""
    model = load_detector(args.weights)
    if args.score_threshold is not None:
        model.roi_heads.score_thresh = args.score_threshold
    model.transform.min_size = args.min_size or model.transform.min_size
    model.transform.max_size = args.max_size or model.transform.max_size
    return model


@contextlib.contextmanager
def progress(total, talks):
    """A function that counts images on a bar; at a terminal the lines for reading are progress enough."""
    if talks and sys.stdout.isatty():
        yield lambda count: None
    else:
        with Progress(total, "detect") as bar:
            yield bar.update


def read(path):
    """An image's values, and the milliseconds that it took to read them."""
    start = time.perf_counter()
    image = as_values(path)
    return image, 1000 * (time.perf_counter() - start)


def look(model, path, image, read_milliseconds):
    """One image, read one ahead: its values, the detections, and its row of the results."""
    start = time.perf_counter()
    try:
        with timed(model, STAGES) as spent:
            found = model.detect(image)
    except MemoryError as error:
        raise too_large(path, image, "it, or --min-size and --max-size,") from error
    total = 1000 * (time.perf_counter() - start)
    milliseconds = {"read": read_milliseconds, **{name: spent[stage] for stage, name in STAGES.items()}, "total": total}
    return image, found, {"image": printable(path), "width": image.shape[1], "height": image.shape[0],
                            "detections": found.document(), "milliseconds": milliseconds}


def printable(path):
    """A name that is not UTF-8 must not spoil the results of all others."""
    return str(path).encode(errors="replace").decode()


def line(row, found):
    """What a reader wants to know of an image: photo.jpg  640x480  3 objects: dog 0.98, cat 0.91, ... +1  0.52 s"""
    head = f"{row['image']}  {row['width']}x{row['height']}  "
    tail = f"  {row['milliseconds']['total'] / 1000:.2f} s"
    return head + listing(found, shutil.get_terminal_size().columns - len(head) - len(tail)) + tail


def listing(found, room):
    """As many of the detections as there is room for, at least the surest."""
    if not len(found):
        return "no objects"
    names = ("".join(letter if letter.isprintable() else "?" for letter in name) for name in found.names)     # a file's: not to be trusted
    texts = [f"{name} {score:.2f}" for name, score in zip(names, found.scores)]
    for shown in range(len(texts), 0, -1):
        more = f", ... +{len(texts) - shown}" if shown < len(texts) else ""
        text = f"{len(texts)} object{'s' * (len(texts) > 1)}: {', '.join(texts[:shown])}{more}"
        if len(text) <= room:
            break
    return text


def write_results(form, target, rows, model):
    """Where and how --json and --format say."""
    if form == "comp4":
        for name, text in comp4_texts(rows, comp4_names(model)).items():
            write_text(Path(target, name), text)
    elif target is not None:
        text = csv_text(rows) if form == "csv" else json_text(rows)
        if target == "-":
            sys.stdout.write(text)
        else:
            write_text(target, text)


def comp4_names(model):
    """The classes that have a file of their own."""
    return [name for name in model.record["class_names"][1:] if name != "N/A"]


def write_text(path, text):
    with atomic_write(path) as file:
        file.write(text.encode())
