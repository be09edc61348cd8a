"""Measure a classifier's accuracy."""

import time

from minicnn.cli.output import DATA_HELP, add_json, check_outputs, check_pictures, emit, load_classifier, percent
from minicnn.data import SPLITS, load_data
from minicnn.evaluation import evaluate_classifier

EXAMPLE = "minicnn evaluate small.npz --data digits --json -"


def add_arguments(verb):
    verb.add_argument("file", metavar="FILE", help="an .npz written by minicnn")
    verb.add_argument("--data", default="digits", help=f"{DATA_HELP} (default: digits)")
    verb.add_argument("--split", default="test", choices=SPLITS, help="which pictures (default: test)")
    add_json(verb)


def run(args):
    check_outputs(args)
    model = load_classifier(args.file)
    images, labels = load_data(args.data, args.split)
    check_pictures(images, model, args.data)
    start = time.perf_counter()
    result = evaluate_classifier(model, images, labels)
    seconds = time.perf_counter() - start
    emit(args, {"file": args.file, "data": args.data, "split": args.split, **result, "seconds": seconds},
         f"{args.file}: {percent(result['accuracy'])} of {result['images']} {args.split} pictures right, "
         f"{result['images'] / seconds:.0f} images/s")
