"""Anchors: boxes of some sizes and shapes round every cell of a map, which the RPN moves and judges.

Reference: Ren et al., Faster R-CNN (2015), section 3.1.1.
"""

import numpy as np


def base_anchors(sizes, aspect_ratios):
    """The anchors of one cell, round (0, 0).

    Args:
        sizes: square roots of the areas, pixels.
        aspect_ratios: height / width.

    Returns:
        anchors: (len(aspect_ratios) len(sizes), 4) float32, whole numbers (rounded half to even, as in torchvision); ratios outer,
        sizes inner.
    """
    high = np.sqrt(np.array(aspect_ratios, np.float32))
    sizes = np.array(sizes, np.float32)
    w, h = ((ratio[:, None] * sizes).reshape(-1) for ratio in (1 / high, high))
    return np.round(np.stack([-w, -h, w, h], axis=1) / 2)


def grid_anchors(base, map_size, batch_size):
    """The anchors of every cell of a map.

    Args:
        base: (A, 4), of one cell.
        map_size: (Hl, Wl), cells.
        batch_size: (H, W) of the batch, pixels.

    Returns:
        anchors: (Hl Wl A, 4) float32: row by row, cell by cell, base anchor by base anchor. The cell in row y and column x is
        at (x (W // Wl), y (H // Hl)): its corner, not its centre, and a step that is no power of two where the sides do not divide.
    """
    (rows, columns), (height, width) = map_size, batch_size
    x, y = np.meshgrid(np.arange(columns) * (width // columns), np.arange(rows) * (height // rows))
    shifts = np.stack([x, y, x, y], axis=-1).reshape(-1, 1, 4).astype(np.float32)
    return (shifts + base).reshape(-1, 4)
