"""Places the buffers of a plan in one block of memory, the arena: buffers that are not needed at the same time may share memory."""

import math

from minicnn.fast.layouts import LINE, round_up

FLOATS = LINE // 4      # of a cache line, on which buffers begin


def place_buffers(plan):
    """Give each buffer an offset in the arena: the largest first, each at the lowest offset that is free during its lifetime.

    Outside the arena lie inputs that are used as they are, and the outputs, which the caller keeps.
    """
    placed, entries = [], dict(plan.entries)
    for place, buffer in sorted(enumerate(plan.buffers), key=lambda item: -item[1].size):
        if entries.get(place, False) or (buffer.end == math.inf and place not in entries):
            continue
        buffer.offset = lowest_offset(buffer, placed)
        placed.append(buffer)
        plan.arena_size = max(plan.arena_size, buffer.offset + buffer.size)


def lowest_offset(buffer, placed):
    """The lowest offset at which no placed buffer of an overlapping lifetime lies."""
    offset = 0
    overlapping = [other for other in placed if other.begin <= buffer.end and buffer.begin <= other.end]
    for other in sorted(overlapping, key=lambda other: other.offset):
        if offset + buffer.size <= other.offset:
            break
        offset = max(offset, round_up(other.offset + other.size, FLOATS))
    return offset
