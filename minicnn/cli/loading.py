"""Load networks, which are run once before the work begins, and the data that they are trained or tested on."""

import contextlib

import numpy as np

import minicnn
from minicnn.cli.provenance import report_problem
from minicnn.cli.tables import shape
from minicnn.data import load_annotated
from minicnn.data.coco import is_coco_file
from minicnn.errors import InputError
from minicnn.functional.dispatch import use

PROBLEMS = 10           # skipped images that are reported one by one
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


def load_classifier(path):
    """As ``load_network``, for a file that must hold a classifier."""
    model = load_network(path)
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

    Reading a file checks each layer's arguments, not that one layer's output is the next one's input.
    """
    try:
        yield
    except (ValueError, TypeError, IndexError, ArithmeticError, MemoryError) as error:
        raise InputError(f"got {path}, whose layers do not fit each other ({error}), expected a network that runs. "
                         "Make the file again.") from error


def check_images(images, model, source):
    """Raise InputError unless the images (N, C, H, W), read from ``source``, have the network's input shape."""
    if images.shape[1:] != model.input_shape:
        raise InputError(f"got images of {shape(images.shape[1:])} in {source}, expected {shape(model.input_shape)}, which "
                         f"{model.architecture} takes. Choose another network or other data.")


def checkpoint_path(out):
    """The checkpoint's path while ``out`` is made: small.npz -> small.checkpoint.npz"""
    return f"{str(out).removesuffix('.npz')}.checkpoint.npz"


def read_training_data(args, class_names=None):
    """The annotated images of --data and --split; what was skipped is reported.

    Raises:
        InputError: --split or --validation was given for a single COCO file, which has no splits; or see ``load_annotated``.
    """
    for option in ("split", "validation"):
        if is_coco_file(args.data) and getattr(args, option):
            raise InputError(f"got --{option} {getattr(args, option)} for {args.data}, which is one list of images, expected a folder of "
                             f"several. Leave out --{option}, or give the folder that holds annotations/.")
    data = load_annotated(args.data, training_split(args), class_names)
    report_problems(args, data.problems)
    return data


def training_split(args):
    """The split to train on: --split, by default trainval; None where the data is a single COCO file."""
    return None if is_coco_file(args.data) else args.split or "trainval"


def report_problems(args, problems):
    """Print a line on standard error for each thing that was skipped, up to ``PROBLEMS``, and the number of the others."""
    for problem in problems[:PROBLEMS]:
        report_problem(args.verb, problem)
    if len(problems) > PROBLEMS:
        report_problem(args.verb, f"... and {len(problems) - PROBLEMS} more")
