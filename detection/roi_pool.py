"""RoIPool, the pooling of Fast R-CNN: boxes are rounded to whole cells of the feature map, and each bin takes its largest value.

Letters: R boxes, C channels, P x P bins.

Reference: Girshick, Fast R-CNN (2015), section 2.1.
"""

import numpy as np

from minicnn.detection.roi_align import MultiScaleRoIAlign, check_pooling, check_pooling_backward
from minicnn.functional.dispatch import check_of, operation


@operation
def roi_pool(x: np.ndarray, boxes: np.ndarray, output_size: int, spatial_scale: float) -> np.ndarray:
    """The largest value in each bin of each box; 0 in an empty bin (torchvision's ``roi_pool``).

    Args:
        x, boxes, output_size, spatial_scale: as for ``roi_align``.

    Returns:
        pooled: (R, C, P, P); channels innermost in memory.

    Raises:
        ValueError, TypeError: as ``roi_align``.

    >>> x = np.arange(16, dtype=np.float32).reshape(1, 4, 4)
    >>> roi_pool(x, np.float32([[0, 0, 3, 3]]), 2, 1.0).tolist()
    [[[[5.0, 7.0], [13.0, 15.0]]]]
    """
    channels, height, width = x.shape
    x = np.ascontiguousarray(x.transpose(1, 2, 0))                                       # (H, W, C)
    corners = round_half_away(boxes * np.float32(spatial_scale))
    pooled = np.zeros((len(boxes), output_size, output_size, channels), x.dtype)
    for out, (left, top, right, bottom) in zip(pooled, corners):
        columns = bins(left, right, width, output_size)
        for i, (y1, y2) in enumerate(bins(top, bottom, height, output_size)):
            if y1 < y2:
                rows = x[y1:y2].max(axis=0)                                              # (W, C)
                for j, (x1, x2) in enumerate(columns):
                    if x1 < x2:
                        out[i, j] = rows[x1:x2].max(axis=0)
    return pooled.transpose(0, 3, 1, 2)


@operation
def roi_pool_backward(grad_pooled: np.ndarray, x: np.ndarray, boxes: np.ndarray, spatial_scale: float) -> np.ndarray:
    """The gradient of the feature map: each bin's gradient goes to its largest pixel, the first of equal ones.

    Args:
        grad_pooled: (R, C, P, P).
        x, boxes, spatial_scale: as for ``roi_pool``.

    Returns:
        grad_x: (C, H, W); channels innermost in memory.
    """
    channels, height, width = x.shape
    output_size = grad_pooled.shape[2]
    x = np.ascontiguousarray(x.transpose(1, 2, 0))                                       # (H, W, C)
    grad_x, every = np.zeros_like(x), np.arange(channels)
    for grad, (left, top, right, bottom) in zip(grad_pooled, round_half_away(boxes * np.float32(spatial_scale))):
        columns = bins(left, right, width, output_size)
        for i, (y1, y2) in enumerate(bins(top, bottom, height, output_size)):
            for j, (x1, x2) in enumerate(columns):
                if y1 < y2 and x1 < x2:
                    winner = x[y1:y2, x1:x2].reshape(-1, channels).argmax(axis=0)        # (C,)
                    grad_x[y1 + winner // (x2 - x1), x1 + winner % (x2 - x1), every] += grad[:, i, j]
    return grad_x.transpose(2, 0, 1)


@check_of(roi_pool)
def check_roi_pool(x, boxes, output_size, spatial_scale):
    check_pooling("roi_pool", x, boxes, output_size)


@check_of(roi_pool_backward)
def check_roi_pool_backward(grad_pooled, x, boxes, spatial_scale):
    check_pooling("roi_pool", x, boxes, 1)
    check_pooling_backward("roi_pool", grad_pooled, x.shape, boxes)


def round_half_away(x):
    """Round to the nearest integer, halves away from zero as in C: 2.5 -> 3 and -2.5 -> -3; NumPy rounds them to 2 and -2."""
    return (np.sign(x) * np.floor(np.abs(x) + np.float32(0.5))).astype(np.intp)


def bins(start, end, length, count):
    """The (first, one past the last) cell of each bin along one axis, clipped to the map; both ends of the box belong to it."""
    side = np.float32(max(end - start + 1, 1)) / np.float32(count)
    p = np.arange(count, dtype=np.float32)
    edges = np.floor(p * side), np.ceil((p + np.float32(1)) * side)
    first, past = (np.clip(edge.astype(np.intp) + start, 0, length) for edge in edges)
    return list(zip(first.tolist(), past.tolist()))


class MultiScaleRoIPool(MultiScaleRoIAlign):
    """``roi_pool`` on several maps; see ``MultiScaleRoIAlign``."""

    def __init__(self, output_size):
        super().__init__(output_size, sampling_ratio=0)

    def pool(self, x, boxes, scale):
        return roi_pool(x, boxes, self.output_size, scale)

    def pool_backward(self, grad_pooled, x, boxes, scale):
        return roi_pool_backward(grad_pooled, x, boxes, scale)
