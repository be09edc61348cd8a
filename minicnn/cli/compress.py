"""Make a network smaller.

A classifier: prune weak filters, rebuild the next layer, fine-tune, in rounds until the target is met. Accuracies of the rounds are
measured on the validation images; the test images are used before and after only.

A detector: prune low-dimensional convolutions, decompose the others and the linear layers into two or three, and fit what is left to the
original's outputs on unlabelled images; 'minicnn finetune' trains it further.

After each round, and after each layer that is fitted, a checkpoint is written beside the output; it is removed when the output is
written.
"""

import argparse

from minicnn.checkpoint import check_checkpoint
from minicnn.cli import compress_classifier, compress_detector, compress_dry_run
from minicnn.cli.compress_classifier import CLASSIFIERS_DATA
from minicnn.cli.compress_options import check_needed, check_options
from minicnn.cli.loading import load_network
from minicnn.cli.options import ANNOTATED_HELP, DATA_HELP, add_annotated, add_hyperparameters, add_json, add_resume, at_least
from minicnn.cli.paths import CheckpointedOutput, Input, ReportFolder, checkpoint_path
from minicnn.compression.calibration_images import REPAIRED
from minicnn.compression.criteria import METHODS
from minicnn.compression.int8_weights import ROUNDED
from minicnn.compression.method import FINETUNING
from minicnn.compression.options import DECOMPOSING
from minicnn.compression.rounds import PruningOptions
from minicnn.hyperparameters import Hyperparameters

EXAMPLE = "minicnn compress lenet.npz --data digits --target-parameters 0.1 --out small.npz"


def add_arguments(verb):
    verb.add_argument("file", type=Input, metavar="FILE", help="an .npz written by minicnn, or torch's weights")
    verb.add_argument("--out", type=CheckpointedOutput, metavar="FILE", help="the .npz to write")
    verb.add_argument("--data", type=Input,
                      help=f"for a classifier {DATA_HELP} (default: {CLASSIFIERS_DATA}); for a detector a folder of images, labelled or "
                           f"not, {ANNOTATED_HELP}")
    target = verb.add_argument_group("targets, of which hybrid and tucker take several; or --ranks")
    target.add_argument("--target-storage", type=at_least(0, float), metavar="X",
                        help="share of the file to keep, as float32; with hybrid and tucker also of the convolutions")
    target.add_argument("--target-parameters", type=at_least(0, float), metavar="X",
                        help="parameters to keep: a share up to 1, or a number")
    target.add_argument("--target-macs", type=at_least(0, float), metavar="X", help="multiply-adds to keep: a share up to 1, or a number")
    target.add_argument("--target-accuracy", type=at_least(0, float), metavar="X",
                        help="prune a classifier while its accuracy on the validation images is at least this share")
    target.add_argument("--target-time", type=at_least(0, float), metavar="X",
                        help="share to keep of the time that a detector's convolutions and linear layers take, see --rates")
    target.add_argument("--ranks", metavar="RULE",
                        help="of a detector's layers: a number, two (64,96: input, output), energy:0.9 (share of the squared singular "
                             "values that is kept) or evbmf")
    verb.add_argument("--method", choices=(*METHODS, *DECOMPOSING),
                      help="statistics (clusters of mean and variance), or a control that removes as many filters: l1, fpgm (geometric "
                           "median), random; for detectors also hybrid (the paper's: low-dimensional convolutions are pruned by "
                           "statistics, others decomposed by Tucker) and tucker (default: statistics, for detectors hybrid)")
    verb.add_argument("--linear", nargs="?", const="prune", choices=("prune", "svd"),
                      help="include linear layers (the default): their neurons are pruned; with hybrid and tucker they are decomposed by "
                           "SVD or, under a target, along the pixels that they read")
    verb.add_argument("--no-linear", dest="linear", action="store_const", const="no", help="leave linear layers whole, as the paper")
    verb.add_argument("--keep", nargs="+", action="extend", default=[], metavar="PATTERN",
                      help="leave these layers whole, such as 'backbone.0' 'rpn*': neither pruned nor decomposed. They read fewer channels "
                           "where the layer before them is pruned")
    verb.add_argument("--clusters", type=at_least(2, int), metavar="K", help="clusters of a layer (default: the silhouette chooses 2 to 5)")
    verb.add_argument("--minimum", type=at_least(1, int), metavar="N",
                      help=f"filters that a layer keeps at least (default: {PruningOptions().minimum})")
    verb.add_argument("--dtype", choices=ROUNDED, default=ROUNDED[0],
                      help="how weights are stored: int8 makes the file a quarter, and biases are fitted to it where there are images; "
                           "computations stay in float32, and targets count float32 (default: float32)")
    verb.add_argument("--seed", type=at_least(0, int), default=0, help="every random choice comes from it (default: 0)")
    add_resume(verb)
    verb.add_argument("--report", type=ReportFolder, metavar="FOLDER", help="write report.html into this folder, which is made")
    add_json(verb)

    classifiers = verb.add_argument_group("of classifiers")
    classifiers.add_argument("--like", type=Input, metavar="FILE",
                             help="remove as many filters of each layer and round as were removed from this network")
    classifiers.add_argument("--compensate", action=argparse.BooleanOptionalAction,
                             help="fold the mean of what is removed into the next bias, or not (default: --compensate)")
    add_hyperparameters(classifiers, Hyperparameters, prefix="finetune-", epochs=FINETUNING.epochs)

    detectors = verb.add_argument_group("of detectors")
    add_annotated(detectors)
    detectors.add_argument("--split", metavar="NAME", help="the split of the data that calibration images come from (default: trainval)")
    detectors.add_argument("--repair", type=at_least(0, int), metavar="N",
                           help="fit the smaller network to the original's outputs on this number of images, drawn at random; 0: do not "
                                f"(default: {REPAIRED}, or all there are)")
    detectors.add_argument("--layers", nargs="+", metavar="PATTERN", help="only these, such as 'backbone.2*' (default: all)")
    detectors.add_argument("--rpn", action=argparse.BooleanOptionalAction,
                           help="include the RPN, or not, as --keep 'rpn.*' (default: --rpn)")
    detectors.add_argument("--low", type=at_least(0, int), metavar="N",
                           help="hybrid prunes convolutions of up to this number of filters and decomposes the others (default: 128)")
    detectors.add_argument("--errors", choices=("output", "weights"),
                           help="choose ranks by the loss of a layer's output on the images, or of its weights alone (default: output if "
                                "there are images)")
    detectors.add_argument("--rates", type=Input, metavar="FILE",
                           help="the speeds of the machine that the network is for, from 'minicnn tune --rates-out FILE' there (default: "
                                "this machine's)")
    detectors.add_argument("--dry-run", action="store_true", default=None,
                           help="predict storage, time and loss at ten shares of the storage, and at the targets; write no network")
    detectors.add_argument("--validation", metavar="NAME", help="the split to measure mean AP on, before and after (default: not measured)")


def run(args):
    check_needed(args)
    if not args.dry_run:
        check_checkpoint(checkpoint_path(args.out), args.resume)
    model = load_network(args.file)
    check_options(args, model)
    if args.dry_run:
        return compress_dry_run.run(args, model)
    run_task = compress_detector.run if model.task == "detection" else compress_classifier.run
    return run_task(args, model)
