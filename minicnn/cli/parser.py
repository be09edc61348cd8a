"""The parser of the whole command line, a subparser for each verb."""

import argparse
import importlib

import minicnn

VERBS = ("detect", "convert", "download", "scenes", "train", "finetune", "compress", "evaluate", "compare", "info", "bench", "tune", "demo")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message):
        self.exit(2, f"{self.prog}: error: {message}. See '{self.prog} --help'.\n")


def build_parser():
    """The parser of ``minicnn VERB ...``; ``parse_args`` also sets ``run``, the verb's function."""
    top = Parser(prog="minicnn", description="Convolutional networks and Faster R-CNN in NumPy: detect, train, compress.")
    top.add_argument("--version", action="version", version=f"minicnn {minicnn.__version__}")
    verbs = top.add_subparsers(dest="verb", metavar="VERB", required=True)
    for name in VERBS:
        module = importlib.import_module(f"minicnn.cli.{name}")
        line, example = module.__doc__.splitlines()[0], module.EXAMPLE
        verb = verbs.add_parser(name, help=f"{line} Example: {example}", description=line, epilog=f"example: {example}",
                                formatter_class=argparse.RawDescriptionHelpFormatter)
        module.add_arguments(verb)
        verb.set_defaults(run=module.run)
    return top
