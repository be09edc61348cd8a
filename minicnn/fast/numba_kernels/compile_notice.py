"""One line while the first run compiles: Numba compiles each kernel once, and keeps it for the next process."""

import functools
import sys
import time

from numba.core import event

START = "minicnn: compiling for this processor, once (about a minute)"


class Listener(event.Listener):
    """Counts the kernels compiled and the seconds taken; one compilation may be part of another."""

    def __init__(self):
        self.depth, self.kernels, self.seconds = 0, 0, 0.0

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
        """Print to standard error: at a terminal over the last message, which the next one replaces; elsewhere a line."""
        sys.stderr.write(f"\r{text}\x1b[K" if sys.stderr.isatty() else f"{text}\n")
        sys.stderr.flush()


_listener = Listener()
event.register("numba:compile", _listener)


def announced(function):
    """The function; at a terminal the message about what it compiled is removed after it."""
    @functools.wraps(function)
    def call(*args, **kwargs):
        before = _listener.kernels
        result = function(*args, **kwargs)
        if _listener.kernels > before and _listener.depth == 0 and sys.stderr.isatty():
            _listener.show("")
        return result

    return call
