"""Options of ``minicnn compress`` that are for one kind of network, or without effect on some methods."""

from dataclasses import fields

from minicnn.compression.options import DECOMPOSING
from minicnn.errors import InputError
from minicnn.hyperparameters import Hyperparameters

CLASSIFIERS = {"like": None, "compensate": True}           # options of one kind of network alone, and their defaults
DETECTORS = {"split": None, "repair": None, "layers": ("*",), "rpn": True, "low": 128, "errors": None, "validation": None,
             "ranks": None, "target_time": None, "allow_skipped": False, "box_origin": 1}
PRUNING_ALONE = ("minimum", "clusters")                    # options that have no effect on a method that decomposes


def check_options(args, model):
    """Set the defaults of the options for this kind of network.

    Raises:
        InputError: an option was given that is for the other kind of network, or has no effect with the method.
    """
    detects = model.task == "detection"
    foreign = [*CLASSIFIERS, *(field.name for field in fields(Hyperparameters))] if detects else DETECTORS
    refuse(args, foreign, f"for {args.file}, which is a {model.architecture}, expected options of "
                          f"{'detectors' if detects else 'classifiers'}. Leave it out.")
    if detects:
        method = args.method or DECOMPOSING[0]
        names = PRUNING_ALONE if method in DECOMPOSING else ("layers", "rpn", "low", "errors")
        refuse(args, (*names, "low") if method == "tucker" else names, f"with --method {method}, where it has no effect. Leave it out.")
    for name, default in (DETECTORS if detects else CLASSIFIERS).items():
        if getattr(args, name) is None:
            setattr(args, name, default)


def refuse(args, names, why):
    """Raise InputError if one of these options was given."""
    for name in names:
        if (value := getattr(args, name)) is not None:
            option = f"finetune-{name}" if name == "epochs" else name.replace("_", "-")
            raise InputError(f"got --{'no-' if value is False else ''}{option} {why}")
