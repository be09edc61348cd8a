"""Train a network from scratch.

Writes a checkpoint beside the output before the first and after every epoch; it is removed when the output is written.
"""

from pathlib import Path

import numpy as np

import minicnn
from minicnn.cli.output import (
    DATA_HELP,
    add_json,
    add_recipe,
    at_least,
    check_outputs,
    check_pictures,
    checkpoint_path,
    emit,
    percent,
    provenance,
    recipe,
)
from minicnn.data import load_data
from minicnn.evaluation import evaluate_classifier
from minicnn.models import BUILDERS
from minicnn.training import train

EXAMPLE = "minicnn train lenet5_caffe --data digits --epochs 8 --out lenet.npz"


def add_arguments(verb):
    verb.add_argument("architecture", metavar="ARCHITECTURE", choices=BUILDERS, help=f"one of {', '.join(BUILDERS)}")
    verb.add_argument("--data", default="digits", help=f"{DATA_HELP} (default: digits)")
    verb.add_argument("--out", required=True, metavar="FILE", help="the .npz to write")
    verb.add_argument("--seed", type=at_least(0, int), default=0, help="every random choice comes from it (default: 0)")
    verb.add_argument("--resume", action="store_true", help="go on from the checkpoint that an interrupted run left")
    add_recipe(verb)
    add_json(verb)


def run(args):
    check_outputs(args, args.out)
    checkpoint = checkpoint_path(args.out)
    images, labels = load_data(args.data, "train")
    test = load_data(args.data, "test")
    model = minicnn.build(args.architecture, rng=np.random.default_rng(args.seed), num_classes=10)
    check_pictures(images, model, args.data)
    losses = train(model, images, labels, recipe(args), args.seed, checkpoint, args.resume)
    result = evaluate_classifier(model, *test)
    model.record.update(
        class_names=[str(digit) for digit in range(10)],
        provenance=provenance(args, data=args.data, seed=args.seed, images=len(images), epochs=len(losses)),
        measured={"test": {"data": args.data, **result}},
    )
    minicnn.save(args.out, model)
    Path(checkpoint).unlink(missing_ok=True)
    emit(args, {"file": args.out, "losses": losses, "test": result},
         f"{args.out}: {percent(result['accuracy'])} of {result['images']} test pictures right after {len(losses)} epochs")
