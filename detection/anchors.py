"""Anchors: boxes of several sizes and shapes at every cell of a feature map. The RPN predicts for each whether it holds an object.

Letters: A anchors a cell, H_l x W_l cells of map l.

Reference: Ren et al., Faster R-CNN (2015), section 3.1.1.
"""

from collections.abc import Sequence

import numpy as np


def base_anchors(sizes: Sequence[float], aspect_ratios: Sequence[float]) -> np.ndarray:
    """The anchors of one cell, centred on (0, 0).

    Args:
        sizes: square roots of the anchors' areas, pixels.
        aspect_ratios: height / width.

    Returns:
        anchors: (A, 4) float32, x1, y1, x2, y2, with A = len(aspect_ratios) len(sizes); ratio by ratio, within a ratio size by size. Whole
        numbers, rounded half to even, as in torchvision.

    >>> base_anchors([32], [0.5, 1, 2]).tolist()
    [[-23.0, -11.0, 23.0, 11.0], [-16.0, -16.0, 16.0, 16.0], [-11.0, -23.0, 11.0, 23.0]]
    """
    heights = np.sqrt(np.array(aspect_ratios, np.float32))              # of an anchor of area 1
    sides = np.array(sizes, np.float32)
    w, h = ((1 / heights)[:, None] * sides).reshape(-1), (heights[:, None] * sides).reshape(-1)
    corners: np.ndarray = np.stack([-w, -h, w, h], axis=1)
    return np.round(corners / 2)


def grid_anchors(base: np.ndarray, map_size: tuple, batch_size: tuple) -> np.ndarray:
    """The anchors of every cell of a feature map: the base anchors, shifted to each cell.

    Args:
        base: (A, 4), of one cell.
        map_size: (H_l, W_l), cells.
        batch_size: (H, W) of the batch, pixels.

    Returns:
        anchors: (H_l W_l A, 4) float32: row by row, cell by cell, base anchor by base anchor. As in torchvision, a cell stands for its
        upper left corner, not its centre: the cell in row y and column x is at pixel (x (W // W_l), y (H // H_l)).

    >>> grid_anchors(np.float32([[-8, -8, 8, 8]]), (1, 2), (16, 32)).tolist()
    [[-8.0, -8.0, 8.0, 8.0], [8.0, -8.0, 24.0, 8.0]]
    """
    (rows, columns), (height, width) = map_size, batch_size
    x, y = np.meshgrid(np.arange(columns) * (width // columns), np.arange(rows) * (height // rows))
    shifts = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4).astype(np.float32)
    return (shifts + base).reshape(-1, 4)
