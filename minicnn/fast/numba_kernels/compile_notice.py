"""Messages while the first run compiles: Numba compiles each kernel once, and keeps it for the next process."""

import functools
import sys
import time

from numba.core import event

START = "minicnn: compiling for this processor, once (about a minute)"


class Listener(event.Listener):
    """Counts the kernels compiled and the seconds taken; one compilation may be part of another."""

    def __init__(self):
        self.depth, self.kernels, self.reported, self.seconds = 0, 0, 0, 0.0

    def on_start(self, event):
        """Numba's call before it compiles."""
        if self.depth == 0:
            self.began = time.perf_counter()
            if self.kernels == 0:
                self.show(START)
        self.depth += 1

    def on_end(self, event):
        """Numba's call after it compiled."""
        self.depth -= 1
        if self.depth == 0:
            self.kernels += 1
            self.seconds += time.perf_counter() - self.began
            if sys.stderr.isatty():
                self.show(f"{START}: {self.kernels} kernels, {self.seconds:.0f} s")

    @staticmethod
    def show(text):
        """Print to standard error, over the last message on a terminal."""
        print(f"\r{text}\x1b[K" if sys.stderr.isatty() else text, end="" if sys.stderr.isatty() else "\n", file=sys.stderr, flush=True)


_listener = Listener()
event.register("numba:compile", _listener)


def announced(function):
    """The function, which reports on standard error how many kernels it compiled and how long that took; nested ones report once."""
    @functools.wraps(function)
    def call(*args, **kwargs):
        result = function(*args, **kwargs)
        if _listener.kernels > _listener.reported and _listener.depth == 0:
            _listener.reported = _listener.kernels
            _listener.show(f"minicnn: compiled {_listener.kernels} kernels in {_listener.seconds:.0f} s; the next start finds them")
            if sys.stderr.isatty():
                print(file=sys.stderr)
        return result

    return call
