"""Options that several verbs share, and argparse types."""

import argparse
from dataclasses import fields

from minicnn.cli.paths import FeatureFolder, Input, Output, ReportFolder
from minicnn.errors import InputError

DATA_HELP = "a folder of MNIST's four IDX files (gzipped or not), or 'digits', generated ones that need no download"
ANNOTATED_HELP = "a folder laid out as PASCAL VOC's or COCO's, a COCO json, or 'scenes', generated images that need no download"

HYPERPARAMETER_HELP = {
    "epochs": "passes over the training images; with --patience an upper limit",
    "batch_size": "images per batch",
    "lr": "highest learning rate; it follows half a cosine down to 0",
    "momentum": "of SGD",
    "weight_decay": "of SGD",
    "nesterov": "use Nesterov momentum",
    "warmup_steps": "steps in which the learning rate rises from near 0",
    "patience": "train until the training loss has converged: when it falls by less than 1%% in this number of epochs, the learning rate "
                "is divided by 10; the second time, training ends",
    "accumulate": "batches whose gradients are added for one step",
    "milestones": "epochs after which the learning rate is multiplied by --gamma, in place of the half cosine",
    "gamma": "factor of the learning rate at each of the --milestones",
    "clip_norm": "largest norm of a step's gradient; 0: no limit",
    "flip": "mirror half of the images",
    "min_sizes": "short sides in pixels; each batch draws one of them",
    "trainable_backbone_layers": "number of the backbone's stages that are trained, counted from the last",
}
LEAST = {"batch_size": 1, "accumulate": 1, "milestones": 1, "min_sizes": 1}     # of a hyperparameter; 0 of the others


def add_json(verb):
    """Add --json."""
    verb.add_argument("--json", type=Output, metavar="FILE",
                      help="write one JSON document; '-' prints it to standard output, and nothing else")


def add_annotated(verb):
    """Add the options of verbs that read a data set with boxes."""
    verb.add_argument("--allow-skipped", action="store_true", default=None,
                      help="go on although more than 5 %% of the images or of the objects cannot be used; for a detector")
    verb.add_argument("--box-origin", type=int, choices=(0, 1), metavar="N",
                      help="number of the first pixel in PASCAL VOC's XML: 1 as VOC's own, or 0 for corners in continuous coordinates, as "
                           "most tools write them (default: 1); for a detector")


def add_font(verb):
    """Add --font."""
    verb.add_argument("--font", type=Input, metavar="FILE",
                      help="a TrueType or OpenType font for the names in drawn images (default: Pillow's own, or "
                                                     "one of the system for letters that it lacks)")


def add_seed(verb):
    """Add --seed."""
    verb.add_argument("--seed", type=at_least(0, int), default=0, help="seed of every random choice (default: 0)")


def add_detector_training(verb):
    """Add the options that ``train`` and ``finetune`` share for detectors, besides the hyperparameters."""
    verb.add_argument("--split", metavar="NAME", help="split of a detector's data to train on (default: trainval)")
    verb.add_argument("--cache-features", type=FeatureFolder, metavar="FOLDER",
                      help="keep the outputs of the frozen stages on disk, which makes later epochs several times faster; detectors only")
    verb.add_argument("--report", type=ReportFolder, metavar="FOLDER",
                      help="write report.html into this folder, which is made; detectors only")
    verb.add_argument("--validation", metavar="NAME", help="split of the images that the report draws detections on (default: none drawn)")
    add_annotated(verb)
    add_font(verb)
    add_seed(verb)
    add_resume(verb)


def add_resume(verb):
    """Add --resume and --restart, of which one may be given; ``args.resume`` is True, False or None."""
    group = verb.add_mutually_exclusive_group()
    group.add_argument("--resume", action="store_const", const=True, help="go on from the checkpoint that an interrupted run left beside "
                                                                          "the output")
    group.add_argument("--restart", dest="resume", action="store_const", const=False, help="begin anew, and replace that checkpoint")


def add_hyperparameters(verb, *kinds, prefix="", **defaults):
    """Add an option for each hyperparameter.

    Args:
        verb: an argparse parser or group.
        kinds: dataclasses such as ``Hyperparameters``, the one for detectors last.
        prefix: of the option for ``epochs``, such as "finetune-".
        defaults: values that replace the dataclasses' in the help; ``read_hyperparameters`` takes the same.
    """
    for field in fields(kinds[-1]):
        name = field.name
        standards = [own.default for kind in kinds for own in fields(kind) if own.name == name]
        default = defaults.get(name, standards[-1])
        text = {"()": "none", "True": "yes", "False": "no"}.get(str(default), str(default))
        if name not in defaults and standards[0] != standards[-1]:
            text = f"{standards[0]}, of detectors {text}"
        elif len(standards) < len(kinds):
            text += "; detectors only"
        option = f"{prefix}{name}" if name == "epochs" else name
        least = 1 if option == "epochs" else LEAST.get(name, 0)                 # none between rounds of pruning is a choice
        verb.add_argument(f"--{option.replace('_', '-')}", dest=name, help=f"{HYPERPARAMETER_HELP[name]} (default: {text})",
                          **parsing(least, default))


def parsing(least, default):
    """The argparse keywords that read a hyperparameter with this least and default value."""
    if isinstance(default, bool):
        return {"action": argparse.BooleanOptionalAction}
    if isinstance(default, tuple):
        return {"type": at_least(least, int), "nargs": "+", "metavar": "N"}
    return {"type": at_least(least, type(default))}


def read_hyperparameters(args, kind, **defaults):
    """The ``kind`` of hyperparameters that the options give, with these defaults in place of the dataclass's own.

    Raises:
        InputError: an option was given that this kind does not have.
    """
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in vars(args).items()
             if name in HYPERPARAMETER_HELP and value is not None}
    own = {field.name for field in fields(kind)}
    for name in given:
        if name not in own:
            raise InputError(f"got --{name.replace('_', '-')}, which is for detectors, expected options of a classifier. Leave it out.")
    return kind(**{**defaults, **given})


def at_least(low, kind):
    """An argparse type: a finite number of that kind, int or float, not less than ``low``."""
    def convert(text):
        value = kind(text)
        if not low <= value < float("inf"):
            raise argparse.ArgumentTypeError(f"got {text}, expected a number of at least {low}")
        return value
    convert.__name__ = kind.__name__
    return convert


def fraction(text):
    """An argparse type: a number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"got {text}, expected a number from 0 to 1")
    return value
