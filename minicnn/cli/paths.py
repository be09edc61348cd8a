"""The paths among a command's arguments, as argparse types: what is read, what is written, and that nothing is both.

Every option that names a file or folder has one of these types, so that a new verb or option is checked like all the others.
"""

import json
import os
import stat
from pathlib import Path

from minicnn.data.image_files import SUFFIXES, suffix_of
from minicnn.errors import InputError
from minicnn.files import check_writable

DATA_SUFFIXES = (*SUFFIXES, ".xml", ".txt", ".gz")      # of files in data sets; MNIST's have no suffix but end in -ubyte


class Input(str):
    """A file or folder that is read, or a pattern of files."""


class Pictures(Input):
    """The same for images, which the verb finds one by one, and then gives to ``check_distinct``."""


class Output(str):
    """A file that is written; "-" is standard output."""

    def check(self):
        """Raise InputError unless it can be written."""
        if self != "-":
            check_writable(self)

    def written(self):
        """The files that are written."""
        return [] if self == "-" else [str(self)]


class CheckpointedOutput(Output):
    """A file that is written when the work is done, with a checkpoint beside it until then."""

    def written(self):
        return [str(self), checkpoint_path(self)]


class ResultsFile(Output):
    """A file or, for comp4, a folder that is written; the verb checks which."""

    def check(self):
        """Nothing."""


class OutputFolder(str):
    """A folder that files are written into; it is made when the work begins."""

    files: tuple = ()       # whose names are known beforehand

    def check(self):
        """Nothing: ``make_folder`` checks it."""

    def written(self):
        return [os.path.join(self, name) for name in self.files]


class ReportFolder(OutputFolder):
    files = ("report.html",)


class FeatureFolder(OutputFolder):
    files = ("cache.json",)


class DemoFolder(OutputFolder):
    files = ("lenet.npz", "lenet.checkpoint.npz", "small.npz", "small.checkpoint.npz", "report.html")


def checkpoint_path(out):
    """The checkpoint's path while ``out`` is made: small.npz -> small.checkpoint.npz"""
    return f"{str(out).removesuffix('.npz')}.checkpoint.npz"


def check_outputs(args, reads=(), writes=()):
    """Raise InputError now, rather than after the work, if an output cannot be written, or is an input or another output.

    Args:
        args: a verb's arguments.
        reads, writes: further paths, which do not stand among the arguments.
    """
    inputs, outputs = of_types(args, Input), of_types(args, (Output, OutputFolder))
    written = [path for value in outputs for path in value.written()]
    check_distinct([*inputs, *map(str, reads)], [*written, *map(str, writes)])
    folders = {os.path.realpath(path) for path in inputs if os.path.isdir(path) and not isinstance(path, Pictures)}
    for path in written:
        if is_data(path, folders):
            raise InputError(f"got {path} to write to, which is an image or a file of the data, expected another file. Choose another "
                             "name.")
    for value in outputs:
        value.check()


def of_types(args, types):
    """The values of a verb's arguments that have one of these types."""
    values = [part for name, value in vars(args).items() if name != "argv" for part in (value if isinstance(value, list) else [value])]
    return [value for value in values if isinstance(value, types)]


def check_distinct(inputs, outputs):
    """Raise InputError if writing one of the outputs would change an input, or another output; links are followed."""
    read = {key: path for path in inputs for key in keys(path)}
    written = {}
    for path in outputs:
        for key in keys(path):
            if key in read:
                raise InputError(f"got {path} to write to, which is {shown(path, read[key])}read too, expected another file. Choose "
                                 "another name.")
            if key in written:
                raise InputError(f"got {path} to write two things to, expected a file for each. Choose another name for one of them.")
        written.update(dict.fromkeys(keys(path), path))
    for path in outputs:
        for folder in Path(os.path.realpath(path)).parents:
            if (other := written.get(str(folder))) is not None:
                raise InputError(f"got {other} to write to as a file and as the folder of {path}, expected two names. Choose another for "
                                 "one of them.")


def shown(path, other):
    """The other name of a path in words, if it has one."""
    return "" if path == other else f"{other} and "


def keys(path):
    """What two names of one file share: the path behind all links and, if it exists, its number. Folders and devices have none."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return [os.path.realpath(path)] if path and "\0" not in path else []
    if stat.S_ISREG(status.st_mode):
        return [os.path.realpath(path), (status.st_dev, status.st_ino)]
    return []


def is_data(path, folders):
    """Whether a file is an image, or lies below one of the folders and looks like a file of the data."""
    path = os.path.realpath(path)
    if not os.path.isfile(path):
        return False
    if suffix_of(path) in SUFFIXES:
        return True
    if not folders & set(map(str, Path(path).parents)):
        return False
    return suffix_of(path) in DATA_SUFFIXES or path.endswith("-ubyte") or suffix_of(path) == ".json" and is_list_of_images(path)


def is_list_of_images(path):
    """Whether a file is JSON in COCO's form, and not one that a verb wrote."""
    try:
        document = json.loads(Path(path).read_bytes())
    except (OSError, ValueError, RecursionError):
        return True
    return isinstance(document, dict) and "images" in document and "annotations" in document
