"""What a verb prints and writes: its text or JSON document, lines about problems, and the record of how a file was made."""

import json
import platform
import shlex
import sys

import numpy as np

import minicnn
from minicnn.files import atomic_write


def emit(args, document, text):
    """Print the text; with --json also write the document, and with --json - print it in place of the text."""
    if args.json is not None:
        line = json.dumps(document, indent=1, ensure_ascii=False) + "\n"
        if args.json == "-":
            sys.stdout.write(line)
            return
        with atomic_write(args.json) as file:
            file.write(line.encode())
    print(text)


def report_problem(verb, problem):
    """Print one line on standard error, over the progress bar if there is one, about something that is skipped."""
    print("\r\x1b[K" * sys.stderr.isatty() + f"minicnn {verb}: error: {' '.join(str(problem).split())}", file=sys.stderr)


def report_note(verb, note):
    """Print one line on standard error about something that is no error."""
    print(f"minicnn {verb}: {note}", file=sys.stderr)


def provenance(args, **more):
    """How a file was made: the command, the versions, and what else the verb gives.

    The command is without --resume and --restart, so that a resumed run writes the same bytes as one that was never interrupted.
    """
    return {"command": shlex.join(["minicnn", *(word for word in args.argv if not word.startswith(("--resu", "--rest")))]),
            "versions": {"minicnn": minicnn.__version__, "numpy": np.__version__, "python": platform.python_version()}, **more}
