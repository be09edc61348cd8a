"""How ``minicnn compress`` makes a classifier smaller."""

import sys

import minicnn
from minicnn.cli.compress_tables import classifier_table, print_state
from minicnn.cli.loading import check_images, classifier_outline
from minicnn.cli.options import read_hyperparameters
from minicnn.cli.paths import checkpoint_path
from minicnn.cli.provenance import emit, provenance
from minicnn.compression.checkpoint import Checkpoint
from minicnn.compression.cost_table import cost_table
from minicnn.compression.criteria import METHODS
from minicnn.compression.method import FINETUNING, compress_classifier
from minicnn.compression.options import DECOMPOSING
from minicnn.compression.reports import add_stored
from minicnn.compression.rounds import PruningOptions, PruningTarget, check_reachable
from minicnn.data import load_data
from minicnn.errors import InputError
from minicnn.evaluate_classifier import evaluate_classifier
from minicnn.files import make_folder, source_file
from minicnn.hyperparameters import Hyperparameters
from minicnn.identity import arrays_crc
from minicnn.report.pruning_page import write_report

CLASSIFIERS_DATA = "digits"


def run(args, model):
    """Compress a classifier, save it, print its table."""
    data, path = args.data or CLASSIFIERS_DATA, checkpoint_path(args.out)
    target, options, counts = pruning_target(args, model), pruning_options(args), removed_from(args.like, model)
    check_reachable(model, target, options, counts)             # before the data is read
    images, labels = load_data(data, "train")
    check_images(images, model, data)
    validation, test = load_data(data, "validation"), load_data(data, "test")
    checkpoint = Checkpoint(path, args.resume, {"source": source_file(args.file), "data": data,
                                                    "validation": arrays_crc(*validation)})

    def progress(event, **facts):
        if event == "resumed":
            print(f"resuming after round {facts['done']} from {path}", file=sys.stderr)
        elif event == "before" and args.report:
            make_folder(args.report)
        if event in ("before", "round"):
            print_state(f"round {facts['number']}" if event == "round" else event, facts["sizes"])

    hyperparameters = read_hyperparameters(args, Hyperparameters, epochs=FINETUNING.epochs)
    small, report = compress_classifier(
        model, images, labels, target, options, hyperparameters, counts=counts, seed=args.seed, checkpoint=checkpoint, progress=progress,
        dtype=args.dtype, evaluate=lambda model: evaluate_classifier(model, *validation)["accuracy"],
        test=lambda model: evaluate_classifier(model, *test))
    small.record["provenance"] = provenance(args, data=data, seed=args.seed, source=report.settings["source"],
                                            before=model.record["provenance"])
    small.record["measured"] = {"test": {"data": data, **report.after["test"]}}
    minicnn.save(args.out, small, args.dtype)
    add_stored(report, (args.file, model), (args.out, small))
    checkpoint.remove()
    document = report.document(args.out)
    text = classifier_table(report.before, report.after) + f"\n{args.out} written"
    if args.report:
        text += f", {write_report(args.report, document, model)} too"
    emit(args, document, text)


def pruning_target(args, model):
    """The ``PruningTarget`` of a classifier, with a number for a share of this model."""
    if args.target_accuracy is not None:
        if args.target_accuracy > 1:
            raise InputError(f"got a target accuracy of {args.target_accuracy:g}, expected a share up to 1. Give 0.98 for 98 %.")
        return PruningTarget("accuracy", args.target_accuracy)
    kind, value = next((kind, value) for kind, value in (("bytes", args.target_storage), ("parameters", args.target_parameters),
                                                         ("macs", args.target_macs)) if value is not None)
    return PruningTarget(kind, value * cost_table(model, model.input_shape)[kind] if value <= 1 else value)


def pruning_options(args):
    """The ``PruningOptions`` of a classifier."""
    if args.method in DECOMPOSING or args.linear == "svd":
        raise InputError(f"got {'--linear svd' if args.linear == 'svd' else f'--method {args.method}'} for a classifier, expected a "
                         f"pruning method. Choose one of {', '.join(METHODS)}.")
    defaults = PruningOptions()
    return PruningOptions(args.method or defaults.method, args.linear != "no", args.minimum or defaults.minimum, args.clusters,
                          args.compensate, tuple(args.keep))


def removed_from(file, model):
    """The numbers of filters removed from another network of the model's form, by round and layer; None without a file."""
    if file is None:
        return None
    surgery = classifier_outline(file).record["surgery"]
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
