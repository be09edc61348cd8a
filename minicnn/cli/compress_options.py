"""Options of ``minicnn compress`` that are for one kind of network, or without effect on some methods."""

from dataclasses import fields

from minicnn.compression.options import DECOMPOSING
from minicnn.errors import InputError
from minicnn.hyperparameters import Hyperparameters

CLASSIFIERS = {"like": None, "compensate": True}           # options of one kind of network alone, and their defaults
DETECTORS = {"split": None, "repair": None, "layers": ("*",), "rpn": True, "low": 128, "errors": None, "validation": None,
             "ranks": None, "target_time": None, "allow_skipped": False, "box_origin": 1, "rates": None, "dry_run": False}
TARGETS = ("storage", "parameters", "macs", "time", "accuracy")
PRUNING_ALONE = ("minimum", "clusters")                    # options that have no effect on a method that decomposes


def check_needed(args):
    """Raise InputError, before the network is read, if options are missing that one or the other must be given of."""
    if args.out is None and not args.dry_run:
        raise InputError("got no --out, expected the .npz to write. Give --out FILE, or --dry-run.")
    targets = given_targets(args)
    if args.ranks is not None and targets:
        raise InputError(f"got --ranks with --target-{targets[0]}, expected ranks or a target. Leave one out.")
    if args.ranks is not None and args.dry_run:
        raise InputError("got --dry-run with --ranks, expected targets, or none, for a curve of storage. Leave --ranks out.")
    if args.ranks is None and not targets and not args.dry_run:
        raise InputError("got no target, expected how small the network shall be. Give --target-storage, -parameters, -macs, -time or "
                         "-accuracy, or --ranks.")


def given_targets(args):
    """The kinds of the targets that were given."""
    return [kind for kind in TARGETS if getattr(args, f"target_{kind}") is not None]


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
        names = PRUNING_ALONE if method in DECOMPOSING else ("layers", "low", "errors")
        refuse(args, (*names, "low") if method == "tucker" else names, f"with --method {method}, where it has no effect. Leave it out.")
        if args.dry_run and method not in DECOMPOSING:
            raise InputError(f"got --dry-run with --method {method}, which predicts no errors, expected {' or '.join(DECOMPOSING)}. Choose "
                             "one of them.")
    targets = given_targets(args)
    if len(targets) > 1 and not (detects and method in DECOMPOSING and "accuracy" not in targets):
        raise InputError(f"got --target-{targets[0]} with --target-{targets[1]}, expected one target: several are for detectors, by "
                         f"{' and '.join(DECOMPOSING)}. Leave one out.")
    for name, default in (DETECTORS if detects else CLASSIFIERS).items():
        if getattr(args, name) is None:
            setattr(args, name, default)


def refuse(args, names, why):
    """Raise InputError if one of these options was given."""
    for name in names:
        if (value := getattr(args, name)) is not None:
            option = f"finetune-{name}" if name == "epochs" else name.replace("_", "-")
            raise InputError(f"got --{'no-' if value is False else ''}{option} {why}")
