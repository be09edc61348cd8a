"""How good and how fast our k-means is, against SciPy's ``kmeans2``.

Quality: the least inertia of ten restarts each, on well separated blobs and on uniform points. Time: 100 000 points in the plane
that do not form clusters, so that neither ends early; eight clusters, the same first centres and the same number of Lloyd's iterations,
in interleaved turns within one process; the centres are compared first.

    python bench/kmeans.py
"""

import statistics
import sys
import time

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
from record import record, table
from scipy.cluster.vq import kmeans2
from spread import median_range, ratios

from minicnn.compression.kmeans import kmeans, lloyd

POINTS, CLUSTERS, RESTARTS, ITERATIONS, TURNS = 100_000, 8, 10, 10, 15


def data(name, count, rng):
    """(count, 2) points. blobs: eight far apart; uniform: in the unit square; normal: one round cloud."""
    if name == "uniform":
        return rng.random((count, 2))
    if name == "normal":
        return rng.standard_normal((count, 2))
    centers = 20 * np.stack(np.meshgrid(range(4), range(2)), axis=-1).reshape(-1, 2)
    return centers[rng.integers(CLUSTERS, size=count)] + rng.standard_normal((count, 2))


def inertia(points, centers):
    """Sum of the squared distances to the nearest centre."""
    return float(((points[:, None] - centers) ** 2).sum(axis=2).min(axis=1).sum())


def quality(name, rng):
    """The least inertia of ten restarts each, on 10 000 points."""
    points = data(name, POINTS // 10, rng)
    theirs = min(inertia(points, kmeans2(points, CLUSTERS, iter=300, minit="++", seed=seed)[0]) for seed in range(RESTARTS))
    ours = kmeans(points, CLUSTERS, rng=rng, restarts=RESTARTS).inertia
    return {"minicnn": ours, "scipy": theirs, "ratio": ours / theirs}


def speed(name, rng):
    """Seconds of both for the same iterations."""
    points = data(name, POINTS, rng)
    first = points[rng.choice(POINTS, CLUSTERS, replace=False)]
    ours, theirs = lloyd(points, first, ITERATIONS), kmeans2(points, first, ITERATIONS, minit="matrix")
    if not np.allclose(ours.centers, theirs[0], rtol=1e-9) or ours.iterations != ITERATIONS:
        sys.exit(f"{name}: the centres differ after {ITERATIONS} iterations")
    seconds = {"minicnn": [], "scipy": []}
    for _ in range(TURNS):
        for library, run in (("minicnn", lambda: lloyd(points, first, ITERATIONS)),
                             ("scipy", lambda: kmeans2(points, first, ITERATIONS, minit="matrix"))):
            start = time.perf_counter()
            run()
            seconds[library].append(time.perf_counter() - start)
    return {"seconds": seconds, "median": {library: statistics.median(values) for library, values in seconds.items()},
            "ratio": median_range(ratios(seconds["minicnn"], seconds["scipy"]))}


def main():
    rng = np.random.default_rng(0)
    record("kmeans", {
        "question": f"k-means of points x 2 into {CLUSTERS} clusters against scipy.cluster.vq.kmeans2",
        "inertia_of_10_restarts": {name: quality(name, rng) for name in ("blobs", "uniform")},
        "seconds_of_10_iterations": {name: speed(name, rng) for name in ("uniform", "normal")},
    }, ("scipy",))


def markdown(document):
    """The published table."""
    rows = [(f"inertia, {name} points", f"{entry['ratio']:.6f}", "") for name, entry in document["inertia_of_10_restarts"].items()]
    rows += [(f"time, {name} points", f"{entry['ratio']['median']:.2f}", f"{entry['ratio']['least']:.2f} to {entry['ratio']['most']:.2f}")
             for name, entry in document["seconds_of_10_iterations"].items()]
    return table(("k-means, minicnn / SciPy", "ratio (time: median)", "least to most"), rows)


if __name__ == "__main__":
    main()
