"""Random networks of up to nine operations."""

import numpy as np
from small_networks import conv, draw, norm

from minicnn import functional as F
from minicnn.layers import AdaptiveAvgPool2d, Flatten, Layer, Linear, MaxPool2d

WIDTHS = (1, 3, 8, 13, 16, 24, 37)


class Graph(Layer):
    """Steps, each a function of earlier results: (function, places of what it reads)."""

    def __init__(self, steps, returned):
        self.steps, self.returned = steps, returned
        vars(self).update({f"layer{number}": function for number, (function, _) in enumerate(steps) if isinstance(function, Layer)})

    def __call__(self, x):
        results = [x]
        for function, places in self.steps:
            results.append(function(*(results[place] for place in places)))
        return [results[place] for place in self.returned]


def graph(seed):
    """A network of up to nine operations, each of one of the latest three results, and an input for it."""
    rng = np.random.default_rng(seed)
    results, steps = [draw(rng.integers(1, 3), rng.choice(WIDTHS), *rng.integers(5, 15, 2), seed=seed)], []
    for _ in range(rng.integers(1, 10)):
        options = possible(results, int(rng.integers(max(0, len(results) - 3), len(results))), rng)
        function, places = options[rng.integers(len(options))]
        try:
            results.append(function(*(results[place] for place in places)))
            steps.append((function, places))
        except ValueError:                                              # the kernel is larger than the image
            pass
    returned = sorted({len(steps), *rng.integers(1, len(steps) + 1, rng.integers(2)).tolist()}) if steps else [0]
    return Graph(steps, returned), results[0]


def possible(results, place, rng):
    """What can be done to a result: [(function, places of what it reads)]."""
    y, here = results[place], (place,)
    options = [(F.relu, here), (F.hardswish, here), (F.hardsigmoid, here)]
    options += [(added, (place, i)) for i, one in enumerate(results) if one.shape == y.shape]
    if y.ndim == 2:
        return options + 3 * [(Linear(y.shape[1], int(rng.choice(WIDTHS)), rng=rng), here)]
    c, o = y.shape[1], int(rng.choice(WIDTHS))
    options += [(resized_and_added, (place, i)) for i, one in enumerate(results) if one.shape[:2] == y.shape[:2] and one.ndim == 4]
    options += [(scaled, (place, i)) for i, one in enumerate(results) if one.shape == (*y.shape[:2], 1, 1)]

    def two(low, high):
        return tuple(rng.integers(low, high, 2).tolist())
    return options + 2 * [(layer, here) for layer in (
        conv(c, o, 1), conv(c, o, 3, 1, 1), conv(c, c, 3, 1, 1), conv(c, o, two(1, 6), two(1, 3), two(0, 3), two(1, 3)),
        conv(c, c, 5, int(rng.integers(1, 3)), 2, groups=c, bias=False), norm(c), MaxPool2d(2),
        MaxPool2d(3, int(rng.integers(1, 3)), int(rng.integers(2)), bool(rng.integers(2))), AdaptiveAvgPool2d(1))] + [
        (Flatten(), here), (every_second, here)]


def added(x, y):
    return x + y


def scaled(x, gate):
    return x * gate


def resized_and_added(x, y):
    return x + F.interpolate(y, x.shape[2:])


def every_second(x):
    return x[:, :, ::2, ::2]
