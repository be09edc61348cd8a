"""The machine's two speeds, and the shortest of several calls."""

from numpy.testing import assert_allclose

from minicnn.fast.timing import machine_speed
from minicnn.fast.timing.machine_speed import least_seconds, memory_speed, product_speed


def test_the_least_of_several(clock):
    calls = []
    clock(0, 0.3, 0, 0.1, 0, 0.2, 0, 0, 0.5, 0)
    assert_allclose(least_seconds(lambda: calls.append(1), seconds=1, times=3), 0.1)
    assert len(calls) == 1 + 4


def test_speeds_of_the_machine_are_positive(backend, monkeypatch):
    monkeypatch.setattr(machine_speed, "SIDE", 64)
    monkeypatch.setattr(machine_speed, "MOST", 2**16)
    monkeypatch.setattr(machine_speed, "least_seconds", lambda call: least_seconds(call, seconds=0, times=1))
    assert product_speed(backend) > 0 and memory_speed(backend) > 0
