"""``minicnn VERB ...``: finds the verb, runs it, and turns what the user gave wrongly into one line and exit 2."""

import argparse
import os
import sys

import minicnn
from minicnn.cli import bench, compare, compress, convert, demo, detect, download, evaluate, finetune, info, scenes, train, tune
from minicnn.errors import InputError

VERBS = (detect, convert, download, scenes, train, finetune, compress, evaluate, compare, info, bench, tune, demo)


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message}. See '{self.prog} --help'.\n")


def parser():
    """The whole command line."""
    top = Parser(prog="minicnn", description="Convolutional networks and Faster R-CNN in NumPy: detect, train, compress.")
    top.add_argument("--version", action="version", version=f"minicnn {minicnn.__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for module in VERBS:
        name = module.__name__.rpartition(".")[2]
        line, example = module.__doc__.splitlines()[0], module.EXAMPLE
        verb = verbs.add_parser(name, help=f"{line} Example: {example}", description=line, epilog=f"example: {example}",
                                formatter_class=argparse.RawDescriptionHelpFormatter)
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    return top


def main(argv=None):
    """Run a command; returns the exit status: 0, the verb's own, 2 for what the user gave, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")       # a name that the terminal's encoding lacks is no reason to fail
    argv = sys.argv[1:] if argv is None else argv
    args = parser().parse_args(argv)
    args.argv = argv
    try:
        status = args.run(args) or 0
        sys.stdout.flush()
        return status
    except InputError as error:
        print(f"minicnn {args.verb}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:                                     # whoever read has seen enough: minicnn info FILE | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        again = ": add --resume to the same command to go on from the last checkpoint" if hasattr(args, "resume") else ""
        print(f"\nminicnn {args.verb}: interrupted{again}", file=sys.stderr)
        return 130
