"""A clock that the test sets."""

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
