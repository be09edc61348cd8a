"""Train a network from scratch: a classifier, or a detector, whose backbone may come from another network.

A checkpoint beside the output is written before the first and after every epoch, a detector's every few minutes besides; it is removed
when the output is written.
"""

from dataclasses import asdict
from pathlib import Path

import numpy as np

import minicnn
from minicnn.checkpoint import check_checkpoint
from minicnn.cli.fonts import check_font
from minicnn.cli.loading import (
    check_images,
    finish,
    losses_of,
    read_annotated_data,
    read_training_data,
    training_split,
)
from minicnn.cli.options import (
    ANNOTATED_HELP,
    DATA_HELP,
    add_detector_training,
    add_hyperparameters,
    add_json,
    at_least,
    read_hyperparameters,
)
from minicnn.cli.paths import CheckpointedOutput, Input, checkpoint_path
from minicnn.cli.provenance import emit, provenance
from minicnn.cli.tables import percent
from minicnn.data import load_data
from minicnn.data.annotated import BACKGROUND
from minicnn.detection.training.train import DetectorHyperparameters, train_detector
from minicnn.detection.training.weight_init import new_detector
from minicnn.errors import InputError
from minicnn.evaluate_classifier import evaluate_classifier
from minicnn.files import make_folder, source_file
from minicnn.hyperparameters import Hyperparameters
from minicnn.models import BUILDERS
from minicnn.plural import counted
from minicnn.report.training_page import write_report
from minicnn.train_classifier import train_classifier

EXAMPLE = "minicnn train lenet5_caffe --data digits --epochs 8 --out lenet.npz"
DETECTORS_ONLY = ("init", "classes", "config", "min_size", "max_size", "split", "cache_features", "report", "validation", "font",
                  "allow_skipped", "box_origin")


def add_arguments(verb):
    verb.add_argument("architecture", metavar="ARCHITECTURE", choices=BUILDERS, help=f"one of {', '.join(BUILDERS)}")
    verb.add_argument("--data", type=Input, help=f"{DATA_HELP} (default: digits); for a detector: {ANNOTATED_HELP} (default: scenes)")
    verb.add_argument("--out", required=True, type=CheckpointedOutput, metavar="FILE", help="the .npz to write")
    verb.add_argument("--init", type=Input, metavar="FILE",
                      help="take a detector's backbone from this file: the .npz of a detector or a VGG16, or "
                                                     "torchvision's weights of either or of the features alone; a detector's settings are "
                                                     "taken, too")
    verb.add_argument("--classes", nargs="+", metavar="NAME", help="a detector's classes (default: VOC's twenty if they include those of "
                                                                   "the data, else those of the data)")
    verb.add_argument("--config", type=Input, metavar="FILE",
                      help="JSON of a detector's settings, such as anchor_sizes, which replace those of --init")
    verb.add_argument("--min-size", type=at_least(1, int), metavar="N", help="pixels a short side is resized to; detectors only")
    verb.add_argument("--max-size", type=at_least(1, int), metavar="N", help="limit of the long side in pixels; detectors only")
    add_detector_training(verb)
    add_hyperparameters(verb, Hyperparameters, DetectorHyperparameters)
    add_json(verb)


def run(args):
    check_checkpoint(checkpoint_path(args.out), args.resume)
    if minicnn.build(args.architecture).task == "detection":
        args.data = args.data or "scenes"
        return run_detector(args)
    args.data = args.data or "digits"
    return run_classifier(args)


def run_classifier(args):
    for name in DETECTORS_ONLY:
        if getattr(args, name) is not None:
            raise InputError(f"got --{name.replace('_', '-')} for {args.architecture}, a classifier, expected none: it is for detectors. "
                             "Leave it out.")
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
         f"{args.out}: {percent(result['accuracy'])} of {result['images']} test images right after "
         f"{counted(len(losses), 'epoch')}")
    return 0


def run_detector(args):
    hyperparameters = read_hyperparameters(args, DetectorHyperparameters)
    data = read_training_data(args, None if args.classes is None else [BACKGROUND, *args.classes])
    settings = {name: getattr(args, name) for name in ("min_size", "max_size") if getattr(args, name) is not None}
    rng = np.random.default_rng(args.seed)
    model = new_detector(args.architecture, len(data.class_names), rng, args.init, args.config, **settings)
    origin = {"init": source_file(args.init)} if args.init else {}
    return train_and_save(args, model, data, hyperparameters, None, origin)


def train_and_save(args, model, data, hyperparameters, teacher, origin):
    """Train a detector, write it and the report; ``origin`` is added to the file's provenance."""
    validation = read_annotated_data(args, args.validation, data.class_names) if args.validation else None
    if args.report:
        check_font(args, data.class_names)
        make_folder(args.report)
    checkpoint = checkpoint_path(args.out)
    losses = train_detector(model, data, hyperparameters, args.seed, checkpoint, args.resume, args.cache_features, teacher)
    model.record.update(
        class_names=data.class_names,
        provenance=provenance(args, data=str(args.data), split=training_split(args), images=len(data.images), seed=args.seed,
                              recipe=asdict(hyperparameters), losses=losses, **origin),
        measured={},
    )
    minicnn.save(args.out, model)
    Path(checkpoint).unlink(missing_ok=True)
    parts = [data, validation] if validation else [data]
    document = {"file": args.out, "architecture": model.architecture, "classes": data.class_names[1:], "images": len(data.images),
                "losses": losses, **losses_of(*parts)}
    text = (f"{args.out}: {model.architecture}, {len(data.class_names) - 1} classes, loss {losses[-1]['loss']:.3f} "
            f"after {counted(len(losses), 'epoch')}")
    if args.report:
        text += f"\n  -> {write_report(args.report, document, model, validation, args.font)}"
    emit(args, document, text)
    return finish(args, *parts)
