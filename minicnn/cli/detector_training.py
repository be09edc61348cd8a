"""What the verbs ``train`` and ``finetune`` share for detectors: options, data, the run, the file that is written."""

from dataclasses import asdict
from pathlib import Path

import minicnn
from minicnn.cli.loading import checkpoint_path
from minicnn.cli.options import at_least
from minicnn.cli.provenance import check_outputs, emit, provenance, report
from minicnn.data import load_annotated
from minicnn.data.annotated import BACKGROUND
from minicnn.data.coco import is_coco_file
from minicnn.detection.training.train import train_detector
from minicnn.errors import InputError
from minicnn.files import make_folder
from minicnn.report.training_page import write_report

PROBLEMS = 10           # that are told one by one


def add_arguments(verb):
    """Options of both verbs besides the recipe's."""
    verb.add_argument("--split", metavar="NAME", help="of a detector's data: which images to learn from (default: trainval)")
    verb.add_argument("--cache-features", metavar="FOLDER", help="keep what the frozen stages make of each image on disk: later epochs "
                                                                 "are several times faster; detectors only")
    verb.add_argument("--report", metavar="FOLDER", help="write report.html into this folder, which is made; detectors only")
    verb.add_argument("--validation", metavar="NAME", help="the split to draw the report's images from (default: none drawn)")
    verb.add_argument("--seed", type=at_least(0, int), default=0, help="every random choice comes from it (default: 0)")
    verb.add_argument("--resume", action="store_true", help="go on from the checkpoint that an interrupted run left")


def read_data(args, classes=None):
    """The split to learn from; tells what was skipped."""
    for option in ("split", "validation"):
        if is_coco_file(args.data) and getattr(args, option):
            raise InputError(f"got --{option} {getattr(args, option)} for {args.data}, which is one list of images, expected a folder of "
                             f"several. Leave out --{option}, or give the folder that holds annotations/.")
    data = load_annotated(args.data, data_split(args), classes)
    tell_problems(args, data.problems)
    return data


def data_split(args):
    """The name of the split to learn from, None where the data is one list."""
    return None if is_coco_file(args.data) else args.split or "trainval"


def tell_problems(args, problems):
    """A line on standard error for each thing that was skipped, of very many only the first ones."""
    for problem in problems[:PROBLEMS]:
        report(args.verb, problem)
    if len(problems) > PROBLEMS:
        report(args.verb, f"... and {len(problems) - PROBLEMS} more")


def run(args, model, data, recipe, teacher=None, /, **origin):
    """Train, save, say so; ``origin``: what the file's provenance tells besides."""
    check_outputs(args, args.out)
    validation = load_annotated(args.data, args.validation, data.class_names) if args.validation else None
    if args.report:
        make_folder(args.report)
    checkpoint = checkpoint_path(args.out)
    losses = train_detector(model, data, recipe, args.seed, checkpoint, args.resume, args.cache_features, teacher)
    model.record.update(
        class_names=data.class_names,
        provenance=provenance(args, data=str(args.data), split=data_split(args), images=len(data.images), seed=args.seed,
                              recipe=asdict(recipe), losses=losses, **origin),
        measured={},
    )
    minicnn.save(args.out, model)
    Path(checkpoint).unlink(missing_ok=True)
    document = {"file": args.out, "architecture": model.architecture, "classes": data.class_names[1:], "images": len(data.images),
                "losses": losses}
    text = (f"{args.out}: {model.architecture}, {len(data.class_names) - 1} classes, loss {losses[-1]['loss']:.3f} "
            f"after {len(losses)} epochs")
    if args.report:
        text += f"\n  -> {write_report(args.report, document, model, validation)}"
    emit(args, document, text)


def class_names(names):
    """The labels' names for what ``--classes`` says; None stays None."""
    return None if names is None else [BACKGROUND, *names]
