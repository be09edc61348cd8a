"""Progress: a bar or a line at a terminal, a line a minute elsewhere, and nothing left behind."""

import io
import itertools
import sys

import pytest

from minicnn.progress import Progress, duration


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
        progress.update(40_000_000)                                                     # in a second
    assert terminal.getvalue().startswith("\rvgg16  40.0/160.0 MB  40.0 MB/s  \x1b[K")


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


def log(monkeypatch, seconds, **options):
    """What a ``Progress`` of 100 images, ten at a time, prints where there is no terminal, if ten take so long."""
    ticks = itertools.count(step=seconds)
    monkeypatch.setattr("time.perf_counter", lambda: float(next(ticks)))
    with Progress(100, "epoch 3/8", **options) as progress:
        for _ in range(10):
            progress.update(10, "loss 0.500")


def test_nothing_for_short_work_where_there_is_no_terminal(monkeypatch, capsys):
    log(monkeypatch, 5)
    assert capsys.readouterr() == ("", "")


def test_a_log_gets_a_whole_line_a_minute_with_rate_time_left_and_loss(monkeypatch, capsys):
    log(monkeypatch, 25)
    out, err = capsys.readouterr()
    assert out == "" and "\r" not in err and "\x1b" not in err
    assert err.splitlines() == [f"epoch 3/8  {count}/100  0.4 images/s  {left} left  loss 0.500"
                                for count, left in ((30, "3 min"), (60, "2 min"), (90, "25 s"))]


def test_the_time_left_counts_what_comes_later_and_the_rate_not_what_was_done_before(monkeypatch, capsys):
    log(monkeypatch, 61, done=50, later=3600)
    assert capsys.readouterr().err.splitlines()[0] == "epoch 3/8  60/100  0.2 images/s  6 h 10 min left  loss 0.500"


def test_a_line_of_the_log_is_one_write(monkeypatch):
    class Log(io.StringIO):
        def write(self, text):
            assert text.endswith("\n")
            return super().write(text)
    monkeypatch.setattr(sys, "stderr", Log())
    log(monkeypatch, 61)
    assert sys.stderr.getvalue().count("\n") == 10


def test_slow_work_has_a_rate_that_is_not_0(monkeypatch, capsys):
    log(monkeypatch, 4000, unit="layers")
    assert capsys.readouterr().err.startswith("epoch 3/8  10/100  0.003 layers/s  10 h 00 min left")


@pytest.mark.parametrize("seconds, text", [(0, "0 s"), (59.4, "59 s"), (60, "1 min"), (3569, "59 min"), (3600, "1 h 00 min"),
                                           (11100, "3 h 05 min")])
def test_durations(seconds, text):
    assert duration(seconds) == text
