"""The bootstrap over images: how much would a figure change with other images of the same kind?

A replicate draws as many images as there are, with replacement; a figure's interval lies between percentiles of its replicates.
Two detectors are compared on the same draws, so that what makes images hard for both cancels.

Reference: Efron, Tibshirani, An introduction to the bootstrap (1993), chapters 6 (pairs) and 13 (percentiles).
"""

import numpy as np

REPLICATES = 1000
LEVEL = 0.95                # of the intervals


def resampled(count, rng, replicates=REPLICATES):
    """How often each of ``count`` images is drawn in each replicate: (R, P) int32."""
    drawn = rng.integers(count, size=(replicates, count))
    return np.stack([np.bincount(row, minlength=count) for row in drawn]).astype(np.int32)


def interval(values):
    """The percentile interval [low, high] of a figure's replicates (R,); None if there are none.

    Replicates that are NaN, where no image with an object of the class was drawn, are left out.
    """
    values = values[~np.isnan(values)]
    return [float(end) for end in np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])] if values.size else None
