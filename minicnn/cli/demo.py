"""Run the whole method on generated digits, in under two minutes.

Trains LeNet-5, prunes it by filter statistics, fine-tunes it, and writes a report with images. It runs other verbs, and prints their
commands.
"""

import contextlib
import shlex
import sys
from pathlib import Path

from minicnn.cli import compress, train
from minicnn.cli.options import add_json, add_seed
from minicnn.cli.parser import build_parser
from minicnn.cli.paths import DemoFolder, check_outputs
from minicnn.files import make_folder

EXAMPLE = "minicnn demo --out demo/"


def add_arguments(verb):
    verb.add_argument("--out", default="demo", type=DemoFolder, metavar="FOLDER",
                      help="the folder to write into, made if needed (default: demo)")
    add_seed(verb)
    add_json(verb)


def run(args):
    make_folder(args.out)
    lenet, small = str(Path(args.out, "lenet.npz")), str(Path(args.out, "small.npz"))
    seed = str(args.seed)
    last = ["--json", args.json] if args.json is not None else []
    for verb, options in (
        (train, ["lenet5_caffe", "--data", "digits", "--epochs", "4", "--seed", seed, "--out", lenet]),
        (compress, [lenet, "--data", "digits", "--target-parameters", "0.1", "--finetune-epochs", "2", "--seed", seed,
                    "--out", small, "--report", args.out, *last]),
    ):
        argv = [verb.__name__.rpartition(".")[2], *options]
        print(f"$ minicnn {shlex.join(argv)}", file=sys.stderr)
        step = build_parser().parse_args(argv)
        step.argv, step.resume = argv, False        # an interrupted demo begins anew
        check_outputs(step)
        with contextlib.redirect_stdout(sys.stderr) if verb is train else contextlib.nullcontext():
            verb.run(step)
