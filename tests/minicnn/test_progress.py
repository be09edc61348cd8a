"""Progress: a bar or a line at a terminal, nothing elsewhere, and nothing left behind."""

import io
import itertools
import sys

import pytest

from minicnn.progress import Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def clock():
    """A clock that is a second later at each call."""
    ticks = itertools.count()
    return lambda: float(next(ticks))


def sit_at_terminal(monkeypatch):
    """Replace standard error by a terminal; not a fixture, since pytest replaces it before the test's body."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    monkeypatch.setattr("time.perf_counter", clock())
    return stream


def count_to_ten():
    with Progress(10, "epoch 1/8") as progress:
        for _ in range(2):
            progress.update(5, "loss 0.500")
    assert progress.count == 10


def test_a_plain_line_without_tqdm(monkeypatch):
    terminal = sit_at_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)                                      # import tqdm raises ImportError
    count_to_ten()
    *lines, last = terminal.getvalue().split("\r")[1:]
    assert [line.split("  ")[:2] for line in lines] == [["epoch 1/8", "5/10"], ["epoch 1/8", "10/10"]]
    assert all("images/s  loss 0.500" in line and line.endswith("\x1b[K") and len(line) < 80 for line in lines)
    assert last == "\x1b[K" and "\n" not in terminal.getvalue()                         # removed


def test_bytes_are_shown_in_megabytes(monkeypatch):
    terminal = sit_at_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with Progress(160_000_000, "vgg16", unit="bytes") as progress:
        progress.update(40_000_000)                                                     # in two seconds
    assert terminal.getvalue().startswith("\rvgg16  40.0/160.0 MB  20.0 MB/s  \x1b[K")


def test_the_line_is_taken_away_after_an_error_too(monkeypatch):
    terminal = sit_at_terminal(monkeypatch)
    monkeypatch.setitem(sys.modules, "tqdm", None)
    with pytest.raises(KeyboardInterrupt), Progress(10, "x"):
        raise KeyboardInterrupt
    assert terminal.getvalue().endswith("\r\x1b[K")


def test_the_line_is_not_written_at_every_step(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setitem(sys.modules, "tqdm", None)
    monkeypatch.setattr("time.perf_counter", lambda: 1.0)
    with Progress(1000, "x") as progress:
        for _ in range(1000):
            progress.update(1)
        assert sys.stderr.getvalue() == ""


def test_a_bar_with_tqdm(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("tqdm.std.time", clock())
    terminal = sit_at_terminal(monkeypatch)
    count_to_ten()
    text = terminal.getvalue()
    assert "epoch 1/8" in text and "loss 0.500" in text and "10/10" in text
    assert text.rpartition("\r")[0].endswith(" " * 8) or text.endswith("\r")            # leave=False: wiped
    assert all(len(line) <= 80 for line in text.split("\r")) and "\n" not in text


def test_a_bar_of_bytes_with_tqdm(monkeypatch):
    pytest.importorskip("tqdm")
    monkeypatch.setattr("tqdm.std.time", clock())
    terminal = sit_at_terminal(monkeypatch)
    with Progress(160_000_000, "vgg16", unit="bytes") as progress:
        progress.update(40_000_000)
    assert "40.0M/160M" in terminal.getvalue() and "B/s" in terminal.getvalue()


@pytest.mark.parametrize("tqdm", [True, False])
def test_nothing_where_there_is_no_terminal(monkeypatch, capsys, tqdm):
    if not tqdm:
        monkeypatch.setitem(sys.modules, "tqdm", None)
    count_to_ten()
    assert capsys.readouterr() == ("", "")
