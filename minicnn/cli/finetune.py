"""Train a detector further: after it was made smaller, or on other images of its classes.

Checkpoints are written as by ``minicnn train``.
"""

from minicnn.cli import detector_training
from minicnn.cli.loading import load_detector
from minicnn.cli.options import ANNOTATED_HELP, add_hyperparameters, add_json, read_hyperparameters
from minicnn.detection.training.train import DetectorHyperparameters
from minicnn.files import source_file

EXAMPLE = "minicnn finetune det.npz --data VOC2007 --split trainval --epochs 3 --out tuned.npz"
DEFAULTS = {"epochs": 3, "lr": 0.0005}


def add_arguments(verb):
    verb.add_argument("file", metavar="FILE", help="the detector, an .npz written by minicnn")
    verb.add_argument("--data", default="scenes", help=f"{ANNOTATED_HELP} (default: scenes)")
    verb.add_argument("--out", required=True, metavar="FILE", help="the .npz to write")
    verb.add_argument("--teacher", metavar="FILE", help="learn from this detector's answers, too: the one that the network was made from")
    detector_training.add_arguments(verb)
    add_hyperparameters(verb, DetectorHyperparameters, **DEFAULTS)
    add_json(verb)


def run(args):
    how = read_hyperparameters(args, DetectorHyperparameters, **DEFAULTS)
    model = load_detector(args.file)
    data = detector_training.read_data(args, model.record["class_names"])
    teacher = load_detector(args.teacher) if args.teacher else None
    origin = {"teacher": source_file(args.teacher)} if args.teacher else {}
    return detector_training.run(args, model, data, how, teacher, source=source_file(args.file), **origin)
