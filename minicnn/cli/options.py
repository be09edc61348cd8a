"""What verbs share: options for data and JSON, tables for a terminal, provenance for files."""

import argparse
import contextlib
import json
import platform
import shlex
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np

import minicnn
from minicnn.archive import describe, load_described, write_archive
from minicnn.errors import InputError
from minicnn.files import atomic_write, check_writable, sha256
from minicnn.functional.dispatch import use

DATA_HELP = "a folder of MNIST's four IDX files (gzipped or not), or 'digits', generated ones that need no download"

TRIAL = 32              # pixels of an image to try a detector on


def add_json(verb):
    verb.add_argument("--json", metavar="FILE", help="write one JSON document; '-' is standard output, and nothing else goes there")


RECIPE_HELP = {
    "epochs": "passes over the training images; with --patience an upper limit",
    "batch_size": "images at once",
    "lr": "highest learning rate; it falls along half a cosine",
    "momentum": "of SGD",
    "weight_decay": "of SGD",
    "nesterov": "Nesterov's form of momentum",
    "warmup_steps": "steps in which the rate rises from near 0",
    "patience": "train until the training loss has converged: the rate falls to a tenth when that many epochs brought less than 1%%, and "
                "the next time training ends",
    "accumulate": "batches whose gradients make one step",
    "milestones": "epochs after which the rate falls to a share, --gamma, of itself, in place of the half cosine",
    "gamma": "that share",
    "clip_norm": "largest norm of a step's gradient, 0: any",
    "flip": "mirror half of the images",
    "min_sizes": "short sides in pixels, of which each batch draws one",
    "trainable_backbone_layers": "how many of the backbone's stages, the last ones, are trained",
}
RECIPE_LEAST = {"batch_size": 1, "accumulate": 1, "milestones": 1, "min_sizes": 1}


def add_recipe(verb, *kinds, prefix="", **defaults):
    """An option for every field of some kinds of ``Hyperparameters``, the one for detectors last; ``defaults`` take the place of theirs."""
    known = {field.name: [own.default for kind in kinds for own in fields(kind) if own.name == field.name] for field in fields(kinds[-1])}
    for name, standards in known.items():
        default = defaults.get(name, standards[-1])
        least = at_least(RECIPE_LEAST.get(name, 0), int if isinstance(default, tuple) else type(default))
        options = {"action": argparse.BooleanOptionalAction} if isinstance(default, bool) else {"type": least}
        text = {"()": "none", "True": "yes", "False": "no"}.get(str(default), str(default))
        if name not in defaults and standards[0] != standards[-1]:
            text = f"{standards[0]}, of detectors {text}"
        elif len(standards) < len(kinds):
            text += "; detectors only"
        if isinstance(default, tuple):
            options.update(nargs="+", metavar="N")
        option = f"{prefix}{name}" if name == "epochs" else name
        verb.add_argument(f"--{option.replace('_', '-')}", dest=name, help=f"{RECIPE_HELP[name]} (default: {text})", **options)


def recipe(args, kind, **defaults):
    """The ``Hyperparameters`` of that kind that the options say.

    Raises:
        InputError: an option was given that is of another kind.
    """
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in vars(args).items()
             if name in RECIPE_HELP and value is not None}
    own = {field.name for field in fields(kind)}
    for name in given:
        if name not in own:
            raise InputError(f"got --{name.replace('_', '-')}, which is for detectors, expected options of a classifier. Leave it out.")
    return kind(**{**defaults, **given})


def at_least(low, kind):
    """An argparse type: a number of that kind, not less than ``low``."""
    def convert(text):
        value = kind(text)
        if not low <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"got {text}, expected a number of at least {low}")
        return value
    convert.__name__ = kind.__name__
    return convert


def check_outputs(args, *paths):
    """Fail before the work if what it makes could not be written."""
    for path in (*paths, None if args.json == "-" else args.json):
        if path is not None:
            check_writable(path)


def load_network(path):
    """The network in a file, a classifier or a detector, tried once."""
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
    """The classifier in a file, tried once."""
    model = load_network(path)
    if model.task == "detection":
        raise InputError(f"got {path}, which is a {model.architecture}, a detector, expected a classifier. Give the file of one, such as "
                         "lenet5; 'minicnn detect' runs a detector.")
    return model


def load_detector(path):
    """The detector in a file, tried once."""
    model = load_network(path)
    if model.task != "detection":
        raise InputError(f"got {path}, which is a {model.architecture}, expected a detector. Give the file of one, such as "
                         "fasterrcnn_vgg16.")
    return model


@contextlib.contextmanager
def trying(path):
    """The block runs the network of a file for the first time: arguments may fit their layer, and the layers not each other."""
    try:
        yield
    except (ValueError, TypeError, IndexError, ArithmeticError, MemoryError) as error:
        raise InputError(f"got {path}, whose layers do not fit each other ({error}), expected a network that runs. "
                         "Make the file again.") from error


def check_images(images, model, source):
    """Fail in one line if the network takes images of another shape than (N, C, H, W) those of ``source`` have."""
    if images.shape[1:] != model.input_shape:
        raise InputError(f"got images of {shape(images.shape[1:])} in {source}, expected {shape(model.input_shape)}, which "
                         f"{model.architecture} takes. Choose another network or other data.")


def emit(args, document, text):
    """Print ``text``, and with --json write the document, which takes text's place when it goes to standard output."""
    if args.json is not None:
        line = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        if args.json == "-":
            sys.stdout.write(line)
            return
        with atomic_write(args.json) as file:
            file.write(line.encode())
    print(text)


def report(verb, error):
    """One line on standard error, over the progress bar if there is one: something is left out, and the rest goes on."""
    print("\r\x1b[K" * sys.stderr.isatty() + f"minicnn {verb}: error: {' '.join(str(error).split())}", file=sys.stderr)


def too_large(path, image, what):
    """The error for an image (H, W, 3) that there is not memory enough for; what: is to be made smaller."""
    return InputError(f"{path}: got an image of {image.shape[1]} x {image.shape[0]} that takes more memory than there is, expected "
                      f"a smaller one. Make {what} smaller.")


def table(headers, rows):
    """Columns for a terminal: the first is left-aligned, the others right."""
    cells = [[str(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(map(len, column)) for column in zip(*cells)]
    lines = ["  ".join(cell.ljust(width) if i == 0 else cell.rjust(width) for i, (cell, width) in enumerate(zip(row, widths)))
             for row in cells]
    return "\n".join([lines[0].rstrip(), "  ".join("-" * width for width in widths), *(line.rstrip() for line in lines[1:])])


def shape(sizes):
    return "x".join(map(str, sizes))


def percent(share):
    return f"{100 * share:.2f} %"


def provenance(args, **more):
    """Where a file comes from: the command, the versions, and what else the verb knows."""
    return {"command": shlex.join(["minicnn", *args.argv]),
            "versions": {"minicnn": minicnn.__version__, "numpy": np.__version__, "python": platform.python_version()}, **more}


def source_file(path):
    """A file's name and SHA-256."""
    return {"file": Path(path).name, "sha256": sha256(path)}


def checkpoint_path(out):
    """Where the checkpoint of the work towards ``out`` lies: beside it."""
    return f"{str(out).removesuffix('.npz')}.checkpoint.npz"


def write_checkpoint(path, model, settings, progress):
    """Keep an unfinished compression: the network, which others can load, and what else ``read_checkpoint`` returns."""
    write_archive(path, dict(model.named_arrays()), {**describe(model), "compression": settings, "progress": progress})


def read_checkpoint(path, settings):
    """(model, progress) of an interrupted compression with the same settings.

    Raises:
        InputError: the file is damaged, or of another compression.
    """
    model, description = load_described(path)
    if description.get("compression") != settings or "progress" not in description:
        raise InputError(f"got the checkpoint {path} of another compression, expected one with these options. Give the same "
                         "options, or leave out --resume to begin anew.")
    return model, description["progress"]
