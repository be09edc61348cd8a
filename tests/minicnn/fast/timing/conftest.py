"""What the tests of timing share: a cache folder of each test's own, and a clock that the test sets."""

import itertools
import time

import pytest


@pytest.fixture
def clock(monkeypatch):
    """clock(seconds, ...): each reading of the clock is so much later than the one before."""
    def clock(*steps):
        times = itertools.accumulate(itertools.chain([0.0], steps))
        monkeypatch.setattr(time, "perf_counter", lambda: next(times))
    return clock


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache folder of its own."""
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("MINICNN_WINOGRAD", raising=False)
    return tmp_path / "cache"
