"""Load networks, which are run once before the work begins, and the data that they are trained or tested on."""

import contextlib
import sys

import numpy as np

import minicnn
from minicnn.cli.provenance import report_note, report_problem
from minicnn.cli.tables import shape
from minicnn.data import default_split, load_annotated
from minicnn.data.annotated import FROM_0
from minicnn.data.check_images import TURNED, UNREADABLE, check_image_files
from minicnn.data.coco import is_coco_file
from minicnn.data.skipped import total
from minicnn.errors import InputError
from minicnn.functional.dispatch import use
from minicnn.network_files import outline

PROBLEMS = 100          # lines about what is skipped; JSON has all
TRIAL = 32              # pixels of a side of the image that a detector is tried on


def load_network(path):
    """Load a classifier or a detector, and run it once.

    Raises:
        InputError: the file cannot be read, or its layers do not fit each other.
    """
    model = minicnn.load(path)
    if model.task == "detection":
        size, model.transform.min_size = model.transform.min_size, TRIAL
        with trying(path), use("reference"):
            model([np.zeros((3, TRIAL, TRIAL), np.float32)])
        model.transform.min_size = size
    else:
        with trying(path):
            model(np.zeros((1, *model.input_shape), np.float32))
    return model


def classifier_outline(path):
    """The ``outline`` of a file that must hold a classifier."""
    model = outline(path)
    if model.task == "detection":
        raise InputError(f"got {path}, which is a {model.architecture}, a detector, expected a classifier. Give the file of one, such as "
                         "lenet5; 'minicnn detect' runs a detector.")
    return model


def load_detector(path):
    """As ``load_network``, for a file that must hold a detector."""
    model = load_network(path)
    if model.task != "detection":
        raise InputError(f"got {path}, which is a {model.architecture}, expected a detector. Give the file of one, such as "
                         "fasterrcnn_vgg16.")
    return model


@contextlib.contextmanager
def trying(path):
    """Run a file's network for the first time: an error within the block is an InputError about layers that do not fit each other.

    Reading a file checks each layer's arguments, not that one layer's output is the next one's input. What is an InputError already, such
    as a backend that is not installed, is none of the file's.
    """
    try:
        yield
    except InputError:
        raise
    except (ValueError, TypeError, IndexError, ArithmeticError, MemoryError) as error:
        raise InputError(f"got {path}, whose layers do not fit each other ({error}), expected a network that runs. "
                         "Make the file again.") from error


def check_images(images, model, source):
    """Raise InputError unless the images (N, C, H, W), read from ``source``, have the network's input shape."""
    if images.shape[1:] != model.input_shape:
        raise InputError(f"got images of {shape(images.shape[1:])} in {source}, expected {shape(model.input_shape)}, which "
                         f"{model.architecture} takes. Choose another network or other data.")


def read_training_data(args, class_names=None, prepare=check_image_files):
    """The annotated images of --data and --split, see ``read_annotated_data``.

    Raises:
        InputError: --split or --validation was given for a single COCO file, which has no splits; or see ``load_annotated``.
    """
    for option in ("split", "validation"):
        if is_coco_file(args.data) and getattr(args, option):
            raise InputError(f"got --{option} {getattr(args, option)} for {args.data}, which is one list of images, expected a folder of "
                             f"several. Leave out --{option}, or give the folder that holds annotations/.")
    return read_annotated_data(args, training_split(args), class_names, prepare)


def training_split(args):
    """The split to train on: --split, by default trainval, or what ``default_split`` says."""
    return args.split or default_split(args.data, "trainval")


def read_annotated_data(args, split, class_names=None, prepare=check_image_files):
    """One split of --data; what was skipped is reported.

    Args:
        args: the verb's.
        split: name of the split.
        class_names: as for ``load_annotated``.
        prepare: what to do with the data before they are counted: by default all images are checked.

    Raises:
        InputError: too much was skipped, and --allow-skipped was not given; or see ``load_annotated``.
    """
    data = prepare(load_annotated(args.data, split, class_names, 1 if args.box_origin is None else args.box_origin))
    if FROM_0 in data.normalised:
        report_note(args.verb, f"{args.data}: {data.normalised[FROM_0]} boxes begin at 0 and were cut off by up to a pixel: these files "
                               "seem to count from 0. If they do, give --box-origin 0.")
    if TURNED in data.normalised:
        report_note(args.verb, f"{args.data}: {data.normalised[TURNED]} images are turned by their EXIF orientation, and their annotations "
                               "have the stored size: their boxes are turned with them.")
    others = [f"{what}: {count}" for what, count in data.normalised.items() if what not in (FROM_0, TURNED)]
    if others:
        report_note(args.verb, f"{args.data}: {', '.join(others)}")
    for problem in data.problems[:PROBLEMS]:
        report_problem(args.verb, problem)
    if len(data.problems) > PROBLEMS:
        report_problem(args.verb, f"... and {len(data.problems) - PROBLEMS} more")
    if not args.allow_skipped:
        data.check_skipped(f"{args.data}{f', {split}' if split else ''}")
    return data


def skip_unreadable(args, data, error):
    """Report an image that turned out to be unreadable during the work, and note it in the data."""
    report_problem(args.verb, error)
    data.skip_image(str(error), UNREADABLE)


def losses_of(*parts):
    """What a verb's JSON document holds of its data sets: {"skipped", "normalised", "problems"}, as in ``AnnotatedImages``."""
    normalised = {}
    for part in parts:
        for what, count in part.normalised.items():
            normalised[what] = normalised.get(what, 0) + count
    return {"skipped": total(part.skipped for part in parts).document(), "normalised": normalised,
            "problems": [line for part in parts for line in part.problems]}


def finish(args, *parts):
    """Sum up on standard error what was skipped of the data sets that a verb has read; returns its exit status."""
    skipped = total(part.skipped for part in parts)
    if skipped:
        print(f"minicnn {args.verb}: skipped: {skipped}", file=sys.stderr)
    return 1 if any(part.problems for part in parts) else 0
