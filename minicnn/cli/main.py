"""Run ``minicnn VERB ...``: wrong input from the user becomes one line on standard error and exit status 2.

As a process, a command handles Ctrl-C and SIGTERM only while a verb runs. Before, when modules are imported, and afterwards they end it at
once: nothing is lost then, and no traceback is shown. So this file imports little itself.
"""

import contextlib
import errno
import os
import signal
import sys
import threading

from minicnn.errors import InputError

CHECKPOINTS = ("train", "finetune", "compress")         # verbs that leave one when they are interrupted
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)      # of what is not written by ``files.py``: standard output
AGAIN = 0.05                                            # seconds after which a swallowed signal is sent again


class Terminated(KeyboardInterrupt):
    """SIGTERM, which ends a command as Ctrl-C does: finished work is kept."""


def main(argv=None):
    """Run a command; returns the exit status: 0 or the verb's own, 2 for wrong input, 130 for Ctrl-C, 143 for SIGTERM.

    A verb that keeps what it has done raises the ``KeyboardInterrupt`` on, with a text about it as argument.

    Args:
        argv: the command's words; None: those of this process, whose handling of Ctrl-C changes then, see the module's text.
    """
    alone = argv is None and threading.current_thread() is threading.main_thread() and (
        signal.getsignal(signal.SIGINT) is signal.default_int_handler)
    if alone:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:                                      # closed by the shell: minicnn info FILE >&-
            setattr(sys, name, open(os.devnull, "w"))  # noqa: SIM115
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")       # print names that the terminal's encoding lacks
    from minicnn.cli.parser import build_parser  # here: it takes a moment
    argv = sys.argv[1:] if argv is None else argv
    args = build_parser().parse_args(argv)
    args.argv = argv
    return run(args, {signal.SIGINT: signal.default_int_handler} if alone else {})


def run(args, handlers):
    """Run a parsed command with these handlers of signals, and SIGTERM's; returns the exit status."""
    from minicnn.cli.paths import check_outputs
    try:
        with handled(handlers):
            check_environment()
            check_outputs(args)
            status = args.run(args) or 0
            sys.stdout.flush()
            return status
    except InputError as error:
        print(f"minicnn {args.verb}: error: {' '.join(str(error).split())}", file=sys.stderr)
        return 2
    except BrokenPipeError:                                     # the reader has closed the pipe: minicnn info FILE | head
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        if error.errno not in FULL:
            raise
        print(f"minicnn {args.verb}: error: cannot write ({error.strerror}), expected room for the output. Make some.", file=sys.stderr)
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except KeyboardInterrupt as stop:
        how, status = ("terminated", 143) if isinstance(stop, Terminated) else ("interrupted", 130)
        again = ": add --resume to the same command to go on from the last checkpoint" if args.verb in CHECKPOINTS else ""
        print(f"\nminicnn {args.verb}: {how}{' '.join(['', *stop.args]) or again}", file=sys.stderr)
        return status


def check_environment():
    """Raise InputError if a variable of the environment has a wrong value, before any work is done."""
    from minicnn.fast.threads import thread_count
    from minicnn.fast.winograd import winograd_allowed
    from minicnn.functional.dispatch import checked
    thread_count()
    winograd_allowed()
    if os.environ.get("MINICNN_BACKEND"):
        checked(os.environ["MINICNN_BACKEND"])


@contextlib.contextmanager
def handled(handlers):
    """Handle these signals, and raise ``Terminated`` for SIGTERM unless the caller handles or ignores it, until the block ends."""
    def terminate(number, frame):
        raise Terminated
    if threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        handlers = {**handlers, signal.SIGTERM: terminate}
    previous_hook = sys.unraisablehook

    def send_again(unraisable):
        if isinstance(unraisable.exc_value, KeyboardInterrupt):         # a finalizer has swallowed it
            number = signal.SIGTERM if isinstance(unraisable.exc_value, Terminated) else signal.SIGINT
            threading.Timer(AGAIN, os.kill, (os.getpid(), number)).start()
        else:
            previous_hook(unraisable)
    sys.unraisablehook = send_again
    try:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        yield
    finally:
        for number in handlers:
            signal.signal(number, signal.SIG_DFL)
        sys.unraisablehook = previous_hook
