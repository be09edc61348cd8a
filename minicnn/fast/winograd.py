"""Winograd's F(4 x 4, 3 x 3): its matrices, and what becomes of a filter."""

import numpy as np

G = np.array([[1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6], [1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6],
              [0, 0, 1]])


def transform_filters(weight):
    """G g G^T of each filter: (O, C, 3, 3) -> (6, 6, C, O) float32, computed in float64."""
    return np.einsum("ai,ocij,bj->abco", G, weight.astype(np.float64), G, optimize=True).astype(np.float32)
