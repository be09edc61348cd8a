"""Progress on standard error: tqdm's bar where it is installed, else one plain line; nothing where nobody watches."""

import sys
import time


class Progress:
    """A line that counts to ``total``; use it as a context manager, so that it is taken away at the end.

    Args:
        total: number of items.
        label: what they are part of, such as "epoch 3/8".
    """

    def __init__(self, total, label):
        self.total, self.label, self.count = total, label, 0
        self.start = self.shown = time.perf_counter()
        self.watched = sys.stderr.isatty()
        self.bar = None
        if self.watched:
            try:
                import tqdm
            except ImportError:
                return
            self.bar = tqdm.tqdm(total=total, desc=label, leave=False, ncols=79, unit=" images", file=sys.stderr)

    def update(self, count, note=""):
        """Count further items; note: what to show beside, such as the loss."""
        self.count += count
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)
        elif self.watched and time.perf_counter() - self.shown > 0.2:
            self.shown = time.perf_counter()
            rate = self.count / (self.shown - self.start)
            sys.stderr.write(f"\r{self.label}  {self.count}/{self.total}  {rate:.0f} images/s  {note}\x1b[K")
            sys.stderr.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.bar is not None:
            self.bar.close()
        elif self.watched:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
