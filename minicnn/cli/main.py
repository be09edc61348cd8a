"""Run ``minicnn VERB ...``: wrong input from the user becomes one line on standard error and exit status 2."""

import os
import sys

from minicnn.cli.parser import build_parser
from minicnn.errors import InputError


def main(argv=None):
    """Run a command; returns the exit status: 0 or the verb's own, 2 for wrong input, 130 for Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")       # print names that the terminal's encoding lacks
    argv = sys.argv[1:] if argv is None else argv
    args = build_parser().parse_args(argv)
    args.argv = argv
    try:
        status = args.run(args) or 0
        sys.stdout.flush()
        return status
    except InputError as error:
        print(f"minicnn {args.verb}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:                                     # the reader has closed the pipe: minicnn info FILE | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except KeyboardInterrupt:
        again = ": add --resume to the same command to go on from the last checkpoint" if hasattr(args, "resume") else ""
        print(f"\nminicnn {args.verb}: interrupted{again}", file=sys.stderr)
        return 130
