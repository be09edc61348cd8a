"""Train a network from scratch: a classifier, or a detector from a backbone.

Writes a checkpoint beside the output before the first and after every epoch, a detector's every few minutes besides; it is removed
when the output is written.
"""

from pathlib import Path

import numpy as np

import minicnn
from minicnn.archive import read_archive
from minicnn.cli import detector_training
from minicnn.cli.loading import check_images, checkpoint_path
from minicnn.cli.options import ANNOTATED_HELP, DATA_HELP, add_hyperparameters, add_json, at_least, read_hyperparameters
from minicnn.cli.provenance import check_outputs, emit, provenance
from minicnn.cli.tables import percent
from minicnn.data import load_data
from minicnn.detection.backbone import load_backbone
from minicnn.detection.training.train import DetectorHyperparameters
from minicnn.detection.training.weight_init import init_weights
from minicnn.errors import InputError
from minicnn.evaluate_classifier import evaluate_classifier
from minicnn.files import source_file
from minicnn.hyperparameters import Hyperparameters
from minicnn.models import BUILDERS
from minicnn.train_classifier import train_classifier
from minicnn.weight_files.convert import build_with, read_config
from minicnn.weight_files.read import read_state_dict

EXAMPLE = "minicnn train lenet5_caffe --data digits --epochs 8 --out lenet.npz"


def add_arguments(verb):
    verb.add_argument("architecture", metavar="ARCHITECTURE", choices=BUILDERS, help=f"one of {', '.join(BUILDERS)}")
    verb.add_argument("--data", help=f"{DATA_HELP} (default: digits); of a detector: {ANNOTATED_HELP} (default: scenes)")
    verb.add_argument("--out", required=True, metavar="FILE", help="the .npz to write")
    verb.add_argument("--init", metavar="FILE", help="take a detector's backbone from this file: a detector's or a VGG16's .npz, or a "
                                                     "torchvision checkpoint of either or of the features alone; a detector's settings are "
                                                     "taken, too")
    verb.add_argument("--classes", nargs="+", metavar="NAME", help="a detector's classes (default: VOC's twenty, if the data has no other, "
                                                                   "else those of the data)")
    verb.add_argument("--config", metavar="FILE", help="JSON of a detector's settings, such as anchor_sizes, in the place of --init's")
    verb.add_argument("--min-size", type=at_least(1, int), metavar="N", help="pixels a short side is resized to; detectors only")
    verb.add_argument("--max-size", type=at_least(1, int), metavar="N", help="pixels that a long side may then have; detectors only")
    detector_training.add_arguments(verb)
    add_hyperparameters(verb, Hyperparameters, DetectorHyperparameters)
    add_json(verb)


def run(args):
    if minicnn.build(args.architecture).task == "detection":
        args.data = args.data or "scenes"
        return run_detector(args)
    args.data = args.data or "digits"
    refuse_detector_options(args)
    check_outputs(args, args.out)
    checkpoint = checkpoint_path(args.out)
    images, labels = load_data(args.data, "train")
    test = load_data(args.data, "test")
    model = minicnn.build(args.architecture, rng=np.random.default_rng(args.seed), num_classes=10)
    check_images(images, model, args.data)
    losses = train_classifier(model, images, labels, read_hyperparameters(args, Hyperparameters), args.seed, checkpoint, args.resume)
    result = evaluate_classifier(model, *test)
    model.record.update(
        class_names=[str(digit) for digit in range(10)],
        provenance=provenance(args, data=args.data, seed=args.seed, images=len(images), epochs=len(losses)),
        measured={"test": {"data": args.data, **result}},
    )
    minicnn.save(args.out, model)
    Path(checkpoint).unlink(missing_ok=True)
    emit(args, {"file": args.out, "losses": losses, "test": result},
         f"{args.out}: {percent(result['accuracy'])} of {result['images']} test images right after {len(losses)} epochs")
    return 0


def refuse_detector_options(args):
    for name in ("init", "classes", "config", "min_size", "max_size", "split", "cache_features", "report", "validation"):
        if getattr(args, name) is not None:
            raise InputError(f"got --{name.replace('_', '-')} for {args.architecture}, a classifier, expected none: it is for detectors. "
                             "Leave it out.")


def run_detector(args):
    how = read_hyperparameters(args, DetectorHyperparameters)
    arrays, settings = read_init(args.init, args.architecture) if args.init else ({}, {})
    if args.config:
        settings.update({name: value for name, value in read_config(args.config).items() if name not in ("architecture", "class_names")})
    settings.update({name: getattr(args, name) for name in ("min_size", "max_size") if getattr(args, name) is not None})
    data = detector_training.read_data(args, detector_training.class_names(args.classes))
    rng = np.random.default_rng(args.seed)
    model = build_with(args.architecture, settings, {"num_classes": len(data.class_names)}, args.config, rng)
    init_weights(model, rng)
    origin = {}
    if args.init:
        try:
            load_backbone(model.backbone, arrays)
        except InputError as error:
            raise InputError(f"{args.init}: {error}") from error
        origin["init"] = source_file(args.init)
    return detector_training.run(args, model, data, how, **origin)


def read_init(path, architecture):
    """The arrays of ``--init``, and the settings of a detector of the same architecture, but for its classes."""
    try:
        arrays, description = read_archive(path)
    except InputError:
        return read_state_dict(path), {}
    same = description.get("architecture") == architecture
    return arrays, {name: value for name, value in description.get("arguments", {}).items() if same and name != "num_classes"}
