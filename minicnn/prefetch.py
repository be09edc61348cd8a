"""Work on the next item while the caller uses this one, such as reading an image while the one before is run."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any


def prefetch(function: Callable[[Any], Any], items: Iterable[Any]) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """Call a function of each item in a thread, one item ahead of the caller.

    Yields:
        item, and a function without arguments that waits for function(item) and returns its result or raises its error.

    >>> [(item, result()) for item, result in prefetch(len, ["a", "bcd"])]
    [('a', 1), ('bcd', 3)]
    """
    with ThreadPoolExecutor(1) as pool:
        coming: deque[tuple[Any, Callable[[], Any]]] = deque()
        for item in items:
            coming.append((item, pool.submit(function, item).result))
            if len(coming) > 1:
                yield coming.popleft()
        yield from coming
