"""Train a detector further: after its compression, or on other images of its classes.

Checkpoints are written as by ``minicnn train``.
"""

from minicnn.checkpoint import check_checkpoint
from minicnn.cli.loading import load_detector, read_training_data
from minicnn.cli.options import ANNOTATED_HELP, add_detector_training, add_hyperparameters, add_json, read_hyperparameters
from minicnn.cli.paths import CheckpointedOutput, Input, checkpoint_path
from minicnn.cli.train import train_and_save
from minicnn.detection.training.train import DetectorHyperparameters
from minicnn.files import source_file

EXAMPLE = "minicnn finetune det.npz --data VOC2007 --split trainval --epochs 3 --out tuned.npz"
DEFAULTS = {"epochs": 3, "lr": 0.0005}


def add_arguments(verb):
    verb.add_argument("file", type=Input, metavar="FILE", help="the detector, an .npz written by minicnn, or torch's "
                                                                  "weights")
    verb.add_argument("--data", type=Input, default="scenes", help=f"{ANNOTATED_HELP} (default: scenes)")
    verb.add_argument("--out", required=True, type=CheckpointedOutput, metavar="FILE", help="the .npz to write")
    verb.add_argument("--teacher", type=Input, metavar="FILE", help="also distil from this detector, such as the uncompressed one")
    add_detector_training(verb)
    add_hyperparameters(verb, DetectorHyperparameters, **DEFAULTS)
    add_json(verb)


def run(args):
    check_checkpoint(checkpoint_path(args.out), args.resume)
    hyperparameters = read_hyperparameters(args, DetectorHyperparameters, **DEFAULTS)
    model = load_detector(args.file)
    data = read_training_data(args, model.record["class_names"])
    teacher = load_detector(args.teacher) if args.teacher else None
    origin = {"source": source_file(args.file)}
    if args.teacher:
        origin["teacher"] = source_file(args.teacher)
    return train_and_save(args, model, data, hyperparameters, teacher, origin)
