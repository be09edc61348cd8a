"""Step 4: measure the original and the smaller detector, in turn."""

import statistics
import time
from collections.abc import Sequence

import numpy as np

from minicnn.data.images import as_input

RUNS = 5                # of each network


def measure(report, original, smaller, images=(), evaluate=None) -> None:
    """Measure both networks: milliseconds of a detection and, with ``evaluate``, mean AP.

    Args:
        report: a ``reports.DetectorReport``, whose ``before`` and ``after`` are filled.
        original, smaller: detectors. images: see ``detection_milliseconds``. evaluate: ``evaluate(model)`` -> {rule: mean AP}, or None.
    """
    networks = {"before": original, "after": smaller}
    for name, milliseconds in zip(networks, detection_milliseconds(list(networks.values()), images)):
        getattr(report, name)["milliseconds"] = milliseconds
    if evaluate:
        for name, network in networks.items():
            getattr(report, name)["mAP"] = evaluate(network)


def detection_milliseconds(networks: Sequence, images: Sequence[np.ndarray] = ()) -> list[float]:
    """Median milliseconds of some detectors from an array to boxes, in turn, ``RUNS`` times after a first one that makes plans.

    Args:
        networks: detectors. images: (H, W, 3) uint8, of which the first one is detected; if there is none, a random one is.
    """
    image = as_input(images[0]) if len(images) else np.random.default_rng(0).random(networks[0].input_shape, np.float32)
    found: list[list[float]] = [[] for _ in networks]
    for turn in range(RUNS + 1):
        for network, milliseconds in zip(networks, found):
            start = time.perf_counter()
            network([image])
            if turn:
                milliseconds.append(1000 * (time.perf_counter() - start))
    return list(map(statistics.median, found))
