"""Prefetching: order, results, errors."""

import threading

import pytest
from subprocesses import HUNG

from minicnn.errors import InputError
from minicnn.prefetch import prefetch


def test_one_image_is_read_ahead_while_another_is_looked_at():
    begun, seen = [threading.Event() for _ in range(4)], []

    def read(number):
        begun[number].set()
        if number == 2:
            raise InputError("a bad image")
        return 10 * number

    for number, reading in prefetch(read, range(4)):
        assert number == 3 or begun[number + 1].wait(HUNG)
        assert number >= 2 or not begun[number + 2].is_set()                    # one: more would fill the memory
        if number == 2:
            with pytest.raises(InputError, match="a bad image"):
                reading()
        else:
            seen.append(reading())
    assert seen == [0, 10, 30]
