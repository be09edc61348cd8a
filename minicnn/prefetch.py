"""Doing the next thing while the caller is busy with this one: images are read while the one before is looked at."""

from collections import deque
from concurrent.futures import ThreadPoolExecutor


def prefetch(function, items):
    """(item, the ``result`` of function(item)) of each, where the next item's work begins while the caller is busy with this one."""
    with ThreadPoolExecutor(1) as pool:
        coming = deque()
        for item in items:
            coming.append((item, pool.submit(function, item).result))
            if len(coming) > 1:
                yield coming.popleft()
        yield from coming
