"""Progress on standard error: at a terminal tqdm's bar where it is installed, else one plain line; in a log a whole line a minute."""

import sys
import time
from collections.abc import Iterator, Sequence

LOG_SECONDS = 60


class Progress:
    """A progress line, as a context manager that removes it at the end; where standard error is no terminal, a line now and then.

    Args:
        total: number of items.
        label: the work that they are part of, such as "epoch 3/8".
        unit: plural of the items; "bytes" are shown in MB.
        done: items that were done before, such as by the run that is resumed.
        later: items of the same kind that come after these, such as in later epochs: their time counts as left, too.
    """

    def __init__(self, total: int, label: str, unit: str = "images", done: int = 0, later: int = 0):
        self.total, self.label, self.unit, self.count, self.done, self.later = total, label, unit, done, done, later
        self.start = self.shown = time.perf_counter()
        self.at_terminal = sys.stderr.isatty()
        self.bar = None
        if self.at_terminal:
            try:
                import tqdm
            except ImportError:
                return
            units = {"unit": "B", "unit_scale": True} if unit == "bytes" else {"unit": f" {unit}"}
            self.bar = tqdm.tqdm(total=total, desc=label, leave=False, ncols=79, file=sys.stderr, initial=done, **units)

    def update(self, count: int, note: str = "") -> None:
        """Count more items; the note is shown beside them, such as the loss."""
        self.count += count
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)
            return
        now = time.perf_counter()
        if now - self.shown > (0.2 if self.at_terminal else LOG_SECONDS):
            self.shown = now
            if self.at_terminal:
                sys.stderr.write(f"\r{self.figures(now)}  {note}\x1b[K")
            else:
                left = (self.total - self.count + self.later) * (now - self.start) / max(self.count - self.done, 1)
                parts = [self.figures(now), f"{duration(left)} left", *([note] if note else [])]
                sys.stderr.write("  ".join(parts) + "\n")       # one call: no other process writes within the line
            sys.stderr.flush()

    def figures(self, now):
        """The label, how many of the items are done, and how fast."""
        rate = (self.count - self.done) / (now - self.start)
        if self.unit == "bytes":
            return f"{self.label}  {self.count / 1e6:.1f}/{self.total / 1e6:.1f} MB  {rate / 1e6:.1f} MB/s"
        return f"{self.label}  {self.count}/{self.total}  {rate:.{0 if rate >= 9.95 else 1 if rate >= 0.1 else 3}f} {self.unit}/s"

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.bar is not None:
            self.bar.close()
        elif self.at_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()


def shown(items: Sequence, label: str, unit: str) -> Iterator:
    """The items, one after the other, with a ``Progress``."""
    with Progress(len(items), label, unit) as bar:
        for item in items:
            yield item
            bar.update(1)


def duration(seconds):
    """A time in words: 40 s, 12 min, 3 h 05 min."""
    minutes = round(seconds / 60)
    if minutes >= 60:
        return f"{minutes // 60} h {minutes % 60:02d} min"
    return f"{minutes} min" if seconds >= 60 else f"{seconds:.0f} s"
