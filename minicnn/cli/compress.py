"""Make a network smaller.

A classifier: prune weak filters, rebuild the next layer, fine-tune, in rounds until the target is met. Accuracies of the rounds are of
the validation images; the test images are only looked at before and after.

A detector: prune low-dimensional convolutions, split the others and the linear layers in two or three, and fit what is left to what the
network did on unlabelled images; 'minicnn finetune' goes on from there.

After each round, and after each layer that is fitted, a checkpoint is written beside the output; it is removed when the output is
written.
"""

import argparse
import copy
import sys
from dataclasses import asdict, fields
from pathlib import Path

import minicnn
from minicnn.checkpoint import jsonable, read_compression_checkpoint, write_compression_checkpoint
from minicnn.cli import detector_compression
from minicnn.cli.loading import check_images, checkpoint_path, load_classifier, load_network
from minicnn.cli.options import ANNOTATED_HELP, DATA_HELP, add_hyperparameters, add_json, at_least, read_hyperparameters
from minicnn.cli.provenance import check_outputs, emit, provenance
from minicnn.cli.tables import percent, table
from minicnn.compression.cost_table import cost_table
from minicnn.compression.criteria import METHODS
from minicnn.compression.rounds import Options, Target, check_reachable, compress
from minicnn.data import load_data
from minicnn.errors import InputError
from minicnn.evaluate_classifier import evaluate_classifier
from minicnn.files import make_folder, source_file
from minicnn.hyperparameters import Hyperparameters
from minicnn.report.pruning_page import write_report
from minicnn.train_classifier import train_classifier

EXAMPLE = "minicnn compress lenet.npz --data digits --target-parameters 0.1 --out small.npz"
COMPENSATION = 1000     # images over which the means of removed channels are taken
EPOCHS = 4              # of fine-tuning in each round
CLASSIFIERS_DATA = "digits"
CLASSIFIERS = {"like": None, "compensate": True}           # options of one kind of network alone, and their defaults
DETECTORS = {"split": None, "repair": None, "layers": ("*",), "rpn": True, "low": 128, "errors": None, "validation": None,
             "ranks": None, "target_time": None}


def add_arguments(verb):
    verb.add_argument("file", metavar="FILE", help="an .npz written by minicnn")
    verb.add_argument("--out", required=True, metavar="FILE", help="the .npz to write")
    verb.add_argument("--data", help=f"for a classifier {DATA_HELP} (default: {CLASSIFIERS_DATA}); for a detector a folder of images, "
                                     f"labelled or not, {ANNOTATED_HELP}")
    target = verb.add_mutually_exclusive_group(required=True)
    target.add_argument("--target-storage", type=at_least(0, float), metavar="X",
                        help="share of the file to keep, as float32; with hybrid and tucker of the convolutions, too")
    target.add_argument("--target-parameters", type=at_least(0, float), metavar="X",
                        help="parameters to keep: a share up to 1, or a number")
    target.add_argument("--target-macs", type=at_least(0, float), metavar="X", help="multiplications to keep, likewise")
    target.add_argument("--target-accuracy", type=at_least(0, float), metavar="X",
                        help="prune a classifier as long as this share of the validation images is right")
    target.add_argument("--target-time", type=at_least(0, float), metavar="X",
                        help="share of the time to keep that a detector's convolutions and linear layers take on this machine")
    target.add_argument("--ranks", metavar="RULE",
                        help="of a detector's layers: a number, two (64,96: input, output), energy:0.9 (share of the squared singular "
                             "values that stays) or evbmf")
    verb.add_argument("--method", choices=(*METHODS, *detector_compression.SPLITTING),
                      help="statistics (clusters of mean and variance), or a control that removes as many filters: l1, fpgm (geometric "
                           "median), random; of detectors also hybrid (the paper's: low-dimensional convolutions pruned by statistics, "
                           "others split by Tucker decomposition) and tucker (default: statistics, of detectors hybrid)")
    verb.add_argument("--linear", nargs="?", const="prune", choices=("prune", "svd"),
                      help="linear layers take part: their neurons are pruned, with hybrid and tucker they are split by SVD or, under a "
                           "target, along the pixels that they read (the default)")
    verb.add_argument("--no-linear", dest="linear", action="store_const", const="no", help="leave linear layers whole, as the paper")
    verb.add_argument("--clusters", type=at_least(2, int), metavar="K", help="clusters a layer (default: the silhouette chooses 2 to 5)")
    verb.add_argument("--minimum", type=at_least(1, int), metavar="N",
                      help=f"filters that a layer keeps at least (default: {Options().minimum})")
    verb.add_argument("--seed", type=at_least(0, int), default=0, help="every random choice comes from it (default: 0)")
    verb.add_argument("--resume", action="store_true", help="go on from the checkpoint that an interrupted run left")
    verb.add_argument("--report", metavar="FOLDER", help="write report.html into this folder, which is made")
    add_json(verb)

    classifiers = verb.add_argument_group("of classifiers")
    classifiers.add_argument("--like", metavar="FILE",
                             help="remove as many filters of each layer and round as were removed from this network")
    classifiers.add_argument("--compensate", action=argparse.BooleanOptionalAction,
                             help="fold the mean of what is removed into the next bias, or not (default: --compensate)")
    add_hyperparameters(classifiers, Hyperparameters, prefix="finetune-", epochs=EPOCHS)

    detectors = verb.add_argument_group("of detectors")
    detectors.add_argument("--split", metavar="NAME", help="which images of the data to look at (default: trainval)")
    detectors.add_argument("--repair", type=at_least(0, int), metavar="N",
                           help="fit what is left to what the network did on so many of them, drawn at random; 0: do not (default: "
                                f"{detector_compression.REPAIRED}, or all there are)")
    detectors.add_argument("--layers", nargs="+", metavar="PATTERN", help="only these, such as 'backbone.2*' (default: all)")
    detectors.add_argument("--rpn", action=argparse.BooleanOptionalAction, help="let the RPN take part, or not (default: --rpn)")
    detectors.add_argument("--low", type=at_least(0, int), metavar="N",
                           help="hybrid prunes convolutions of up to so many filters and splits the others (default: 128)")
    detectors.add_argument("--errors", choices=("output", "weights"),
                           help="what ranks are chosen by: the loss of a layer's output on the images, or of its weights alone (default: "
                                "output where there are images)")
    detectors.add_argument("--validation", metavar="NAME", help="the split to measure mean AP on, before and after (default: not measured)")


def run(args):
    original = load_network(args.file)
    check_options(args, original)
    if original.task == "detection":
        return detector_compression.run(args, original)
    check_outputs(args, args.out)
    checkpoint = checkpoint_path(args.out)
    args.data = args.data or CLASSIFIERS_DATA
    target, options = read_target(args, original), read_options(args)
    counts = read_counts(args.like, original)
    check_reachable(original, target, options, counts)
    images, labels = load_data(args.data, "train")
    check_images(images, original, args.data)
    validation, test = load_data(args.data, "validation"), load_data(args.data, "test")
    settings = jsonable({"source": source_file(args.file), "data": args.data, "target": target._asdict(), "options": options._asdict(),
                         "recipe": asdict(read_hyperparameters(args, Hyperparameters, epochs=EPOCHS)), "seed": args.seed, "counts": counts})

    model, rounds = copy.deepcopy(original), []
    if args.resume and Path(checkpoint).exists():
        model, rounds = read_compression_checkpoint(checkpoint, settings)
        print(f"resuming after round {len(rounds)} from {checkpoint}", file=sys.stderr)

    def validate(model):
        return evaluate_classifier(model, *validation)["accuracy"]

    before = {**measure(original, test), "accuracy": validate(original)}
    if target.kind == "accuracy" and before["accuracy"] < target.value:
        raise InputError(f"got a target accuracy of {target.value:g}, expected at most the {before['accuracy']:g} that the network has on "
                         "the validation images. Choose a lower one.")
    if args.report:
        make_folder(args.report)
    print_state("before", before)

    def finetune(model, number):
        return train_classifier(model, images, labels, read_hyperparameters(args, Hyperparameters, epochs=EPOCHS), [args.seed, number],
                     label=f"round {number} epoch")

    def keep(model, rounds):
        print_state(f"round {len(rounds)}", rounds[-1])
        write_compression_checkpoint(checkpoint, model, settings, rounds)

    rounds = compress(model, target, options, seed=args.seed, images=images[:COMPENSATION], finetune=finetune, evaluate=validate,
                      counts=counts, rounds=rounds, on_round=keep)
    after = measure(model, test)
    model.record["surgery"] += [
        {"round": number, "method": options.method, "removed": {step["path"]: step["removed"] for step in entry["groups"]}}
        for number, entry in enumerate(rounds, start=len(original.record["surgery"]) + 1)]
    model.record["provenance"] = provenance(args, data=args.data, seed=args.seed, source=settings["source"],
                                            before=original.record["provenance"])
    model.record["measured"] = {"test": {"data": args.data, **after["test"]}}
    minicnn.save(args.out, model)
    Path(checkpoint).unlink(missing_ok=True)

    document = {"file": args.out, "architecture": model.architecture, "settings": settings, "before": before, "after": after,
                "rounds": rounds}
    text = comparison(before, after) + f"\n{args.out} written"
    if args.report:
        text += f", {write_report(args.report, document, original)} too"
    emit(args, document, text)


def check_options(args, model):
    """Fail in one line if an option was given that is for the other kind of network, or for another method; the own ones get their
    defaults."""
    detects = model.task == "detection"
    foreign = [*CLASSIFIERS, *(field.name for field in fields(Hyperparameters))] if detects else DETECTORS
    refuse(args, foreign, f"for {args.file}, which is a {model.architecture}, expected options of "
                          f"{'detectors' if detects else 'classifiers'}. Leave it out.")
    if detects:
        refuse(args, *detector_compression.foreign_options(args))
    for name, default in (DETECTORS if detects else CLASSIFIERS).items():
        if getattr(args, name) is None:
            setattr(args, name, default)


def refuse(args, names, why):
    """Raise InputError if one of these options was given."""
    for name in names:
        if (value := getattr(args, name)) is not None:
            option = f"finetune-{name}" if name == "epochs" else name.replace("_", "-")
            raise InputError(f"got --{'no-' if value is False else ''}{option} {why}")


def read_target(args, model):
    """The ``Target``: shares become numbers of this model."""
    if args.target_accuracy is not None:
        if args.target_accuracy > 1:
            raise InputError(f"got a target accuracy of {args.target_accuracy:g}, expected a share up to 1. Give 0.98 for 98 %.")
        return Target("accuracy", args.target_accuracy)
    kind, value = next((kind, value) for kind, value in (("bytes", args.target_storage), ("parameters", args.target_parameters),
                                                         ("macs", args.target_macs)) if value is not None)
    return Target(kind, value * cost_table(model, model.input_shape)[kind] if value <= 1 else value)


def read_options(args):
    """The ``Options`` of a classifier's pruning."""
    if args.method in detector_compression.SPLITTING or args.linear == "svd":
        raise InputError(f"got {'--linear svd' if args.linear == 'svd' else f'--method {args.method}'} for a classifier, expected a way to "
                         f"prune. Choose one of {', '.join(METHODS)}.")
    return Options(args.method or Options().method, args.linear != "no", args.minimum or Options().minimum, args.clusters, args.compensate)


def read_counts(file, model):
    """The filters removed from another network of the model's form, by round and layer; None without one."""
    if file is None:
        return None
    surgery = load_classifier(file).record["surgery"]
    if not surgery:
        raise InputError(f"got {file}, from which nothing was removed, expected a compressed network. Give another to --like.")
    counts = [{path: len(numbers) for path, numbers in step["removed"].items()} for step in surgery]
    channels = {group.producers[0]: len(model.get_layer(group.producers[0]).weight) for group in model.channel_groups()}
    for path in {path: None for step in counts for path in step}:
        total = sum(step.get(path, 0) for step in counts)
        if total >= channels.get(path, 0):
            raise InputError(f"got {file}, from which {total} filters of {path} were removed, expected fewer than the "
                             f"{channels.get(path, 0)} of the network to compress. Give one of the same form to --like.")
    return counts


def measure(model, test):
    """Sizes and test accuracy."""
    return {**cost_table(model, model.input_shape), "test": evaluate_classifier(model, *test)}


def print_state(name, sizes):
    """One line on standard error: what is left, and how good it is, just pruned -> fine-tuned."""
    pruned = f"{percent(sizes['accuracy_pruned'])} -> " if "accuracy_pruned" in sizes else ""
    print(f"{name}: {sizes['parameters']:,} parameters, {sizes['macs']:,} MACs, validation {pruned}{percent(sizes['accuracy'])}",
          file=sys.stderr)


def comparison(before, after):
    """The before/after table for a terminal of 80 columns."""
    rows = [(old["path"], old["weight"][0], new["weight"][0], f"{old['parameters']:,}", f"{new['parameters']:,}",
             percent(new["parameters"] / old["parameters"])) for old, new in zip(before["layers"], after["layers"])]
    for name, key in (("parameters", "parameters"), ("  convolutions", "convolution_parameters"),
                      ("  linear layers", "linear_parameters"), ("MACs", "macs"), ("bytes", "bytes")):
        rows.append((name, "", "", f"{before[key]:,}", f"{after[key]:,}", percent(after[key] / before[key])))
    accuracies = before["test"]["accuracy"], after["test"]["accuracy"]
    rows.append(("test accuracy", "", "", *map(percent, accuracies), f"{100 * (accuracies[1] - accuracies[0]):+.2f} pt"))
    return table(("", "filters", "kept", "before", "after", "left"), rows)
