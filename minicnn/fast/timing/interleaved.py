"""Compares the times of several calls fairly: they run interleaved, and each round is judged by itself."""

import time

import numpy as np

from minicnn.fast.layouts import round_up
from minicnn.fast.plan.arena import FLOATS


def interleaved_milliseconds(calls, rounds, after=lambda: None):
    """Milliseconds of each of several calls, which run interleaved.

    A machine is faster or slower for seconds at a time. Therefore each time is divided by the median of its round; the result is the
    median of these ratios over the rounds, times the median over the rounds of the rounds' medians.

    Args:
        calls: functions without arguments, each of which has run before.
        rounds: number of rounds, in each of which every call runs once.
        after: called after each call.

    Returns:
        list of milliseconds, one for each call.
    """
    found = np.empty((rounds, len(calls)))
    for number, row in enumerate(found):
        for i in np.roll(np.arange(len(calls)), -number):           # so that no call always follows the same one
            start = time.perf_counter()
            calls[i]()
            row[i] = 1000 * (time.perf_counter() - start)
            after()
    level = np.median(found, axis=1)
    return (np.median(found / level[:, None], axis=0) * np.median(level)).tolist()


def with_result_in_arena(plan):
    """Change a plan so that its result lies in the arena too; no allocation is timed then. The result holds until the next run."""
    buffer = plan.buffers[plan.result.place]
    buffer.offset = round_up(plan.arena_size, FLOATS)
    plan.arena_size = buffer.offset + buffer.size
    return plan
