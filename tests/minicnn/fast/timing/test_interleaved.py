"""Times of interleaved calls do not depend on a machine that becomes slower meanwhile."""

from numpy.testing import assert_allclose

from minicnn.fast.timing.interleaved import interleaved_milliseconds


def test_a_machine_that_slows_down_does_not_decide(clock):
    """Two interleaved calls of 1 and 2 ms, between whose rounds the machine becomes ten times slower."""
    calls, order = [lambda: order.append(0), lambda: order.append(1)], []
    speeds = [1, 1, 10, 10, 10]
    steps = []
    for turn, speed in enumerate(speeds):
        for i in ((0, 1), (1, 0))[turn % 2]:
            steps += [0.001 * speed * (i + 1), 0.0]
    clock(*steps)
    after = []
    milliseconds = interleaved_milliseconds(calls, 5, lambda: after.append(1))
    assert order == [0, 1, 1, 0, 0, 1, 1, 0, 0, 1] and len(after) == 10
    assert_allclose(milliseconds, [10, 20])
