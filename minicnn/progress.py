"""Progress on standard error: tqdm's bar where it is installed, else one plain line; nothing unless it is a terminal."""

import sys
import time


class Progress:
    """A progress line, as a context manager that removes it at the end.

    Args:
        total: number of items.
        label: the work that they are part of, such as "epoch 3/8".
        unit: plural of the items; "bytes" are shown in MB.
    """

    def __init__(self, total: int, label: str, unit: str = "images"):
        self.total, self.label, self.unit, self.count = total, label, unit, 0
        self.start = self.shown = time.perf_counter()
        self.at_terminal = sys.stderr.isatty()
        self.bar = None
        if self.at_terminal:
            try:
                import tqdm
            except ImportError:
                return
            units = {"unit": "B", "unit_scale": True} if unit == "bytes" else {"unit": f" {unit}"}
            self.bar = tqdm.tqdm(total=total, desc=label, leave=False, ncols=79, file=sys.stderr, **units)

    def update(self, count: int, note: str = "") -> None:
        """Count more items; the note is shown beside them, such as the loss."""
        self.count += count
        if self.bar is not None:
            self.bar.set_postfix_str(note, refresh=False)
            self.bar.update(count)
        elif self.at_terminal and time.perf_counter() - self.shown > 0.2:
            self.shown = time.perf_counter()
            rate = self.count / (self.shown - self.start)
            figures = f"{self.count}/{self.total}  {rate:.0f} {self.unit}/s"
            if self.unit == "bytes":
                figures = f"{self.count / 1e6:.1f}/{self.total / 1e6:.1f} MB  {rate / 1e6:.1f} MB/s"
            sys.stderr.write(f"\r{self.label}  {figures}  {note}\x1b[K")
            sys.stderr.flush()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        if self.bar is not None:
            self.bar.close()
        elif self.at_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
