"""RoIAlign: from a feature map, a grid of P x P averages for each box, whatever the box's size.

A box is cut into P x P bins, and the map is read, by bilinear interpolation, at g x g points of each bin, whose mean is the result. The
points stand in rows and columns, and a bilinear weight is a vertical weight times a horizontal one. So the mean over each bin is a product
of matrices,

    pooled[c] = A_y map[c] A_x^T,

where row p of A_y (P, H) holds the weight of each row of the map in bin p, summed over the bin's g rows of points, and A_x (P, W) likewise
for columns.

Letters: R boxes, C channels, H x W the map, P x P bins, g x g points a bin, L maps.

Reference: He, Gkioxari, Dollar, Girshick, Mask R-CNN (2017), section 3 (RoIAlign).
"""

import math

import numpy as np

from minicnn.detection.boxes import areas, check_boxes
from minicnn.functional import checks
from minicnn.functional.dispatch import check_of, memory, operation
from minicnn.layers import Layer

CANONICAL_SCALE, CANONICAL_LEVEL = 224, 4       # a box of 224 x 224 pixels is pooled from level 4, the map of stride 16


@operation
def roi_align(x: np.ndarray, boxes: np.ndarray, output_size: int, spatial_scale: float, sampling_ratio: int) -> np.ndarray:
    """Average the feature map in each bin of each box (torchvision's ``roi_align`` with aligned=False).

    Args:
        x: (C, H, W), the map of one image.
        boxes: (R, 4) float32, in the image's pixels.
        output_size: P.
        spatial_scale: the map's size divided by the image's, such as 1/16.
        sampling_ratio: g; 0 takes ceil(side of the bin), different for each box and axis.

    Returns:
        pooled: (R, C, P, P); channels innermost in memory.

    Raises:
        ValueError: x is not (C, H, W) or has no pixels, boxes are not (R, 4), or there is no bin.
        TypeError: x and boxes are not floating.

    Reference: He et al., Mask R-CNN (2017), section 3 and figure 3.

    >>> x = np.arange(16, dtype=np.float32).reshape(1, 4, 4)                    # rows 0 1 2 3, 4 5 6 7, ...
    >>> roi_align(x, np.float32([[0, 0, 2, 2]]), 2, 1.0, 1).tolist()            # at (0.5, 0.5), (0.5, 1.5), ...
    [[[[2.5, 3.5], [6.5, 7.5]]]]
    """
    channels, height, width = x.shape
    x = np.ascontiguousarray(x.transpose(1, 2, 0))                                       # (H, W, C)
    pooled = memory((len(boxes), output_size, output_size, channels), x.dtype)
    a_y, a_x = both_weights(boxes, height, width, output_size, spatial_scale, sampling_ratio)
    for out, down, across, rows, columns in zip(pooled, a_y, a_x, pixels_read(a_y), pixels_read(a_x)):
        patch = x[rows, columns]                                                         # (h, w, C)
        h, w, _ = patch.shape
        partly = down[:, rows] @ patch.reshape(h, w * channels)                          # (P, w C)
        np.matmul(across[:, columns], partly.reshape(output_size, w, channels), out=out)                # (P, P, C)
    return pooled.transpose(0, 3, 1, 2)


@operation
def roi_align_backward(grad_pooled: np.ndarray, x_shape: tuple, boxes: np.ndarray, spatial_scale: float,
                       sampling_ratio: int) -> np.ndarray:
    """The gradient of the feature map, grad_x[c] = sum over boxes of A_y^T grad_pooled[c] A_x.

    Args:
        grad_pooled: (R, C, P, P).
        x_shape: (C, H, W).
        boxes, spatial_scale, sampling_ratio: as for ``roi_align``. The boxes get no gradient, as in torchvision.

    Returns:
        grad_x: (C, H, W); channels innermost in memory.
    """
    channels, height, width = x_shape
    bins = grad_pooled.shape[2]
    grad_x = np.zeros((height, width, channels), grad_pooled.dtype)
    a_y, a_x = both_weights(boxes, height, width, bins, spatial_scale, sampling_ratio)
    grad_pooled = grad_pooled.transpose(0, 2, 3, 1)                                      # (R, P, P, C)
    for grad, down, across, rows, columns in zip(grad_pooled, a_y, a_x, pixels_read(a_y), pixels_read(a_x)):
        partly = across[:, columns].T @ grad                                             # (P, w, C)
        _, w, _ = partly.shape
        grad_x[rows, columns] += (down[:, rows].T @ partly.reshape(bins, w * channels)).reshape(-1, w, channels)
    return grad_x.transpose(2, 0, 1)


@check_of(roi_align)
def check_roi_align(x, boxes, output_size, spatial_scale, sampling_ratio):
    check_pooling("roi_align", x, boxes, output_size)


@check_of(roi_align_backward)
def check_roi_align_backward(grad_pooled, x_shape, boxes, spatial_scale, sampling_ratio):
    check_pooling_backward("roi_align", grad_pooled, x_shape, boxes)


def check_pooling(function, x, boxes, output_size):
    """Raise TypeError or ValueError unless boxes (R, 4) can be pooled from a map (C, H, W) into bins."""
    checks.floating(function, x=x)
    check_boxes(function, boxes, "boxes")
    if x.ndim != 3 or not all(x.shape[1:]) or output_size < 1:
        raise ValueError(f"{function}: got x {x.shape}, output_size={output_size}, expected the map (C, H, W) of one image, with pixels, "
                         "and at least 1 bin.")


def check_pooling_backward(function, grad_pooled, x_shape, boxes):
    """Raise TypeError or ValueError unless grad_pooled (R, C, P, P) can be the gradient of boxes (R, 4) pooled from a map (C, H, W)."""
    checks.floating(function, grad_pooled=grad_pooled)
    check_boxes(function, boxes, "boxes")
    checks.shape(function, "grad_pooled", grad_pooled, (len(boxes), x_shape[0], "P", "P"))
    if grad_pooled.shape[2] != grad_pooled.shape[3]:
        raise ValueError(f"{function}: got grad_pooled {grad_pooled.shape}, expected (R, C, P, P).")


def both_weights(boxes, height, width, bins, spatial_scale, sampling_ratio):
    """The matrices A_y (R, P, H) and A_x (R, P, W) of boxes (R, 4) in the image's pixels."""
    scaled = boxes * np.float32(spatial_scale)
    sides = np.maximum(scaled[:, 2:] - scaled[:, :2], 1)                                 # a box has at least one pixel
    return (axis_weights(scaled[:, axis], sides[:, axis], length, bins, sampling_ratio) for axis, length in ((1, height), (0, width)))


def axis_weights(starts, sides, length, bins, sampling_ratio):
    """The matrices A of all boxes for one axis: the weight of every pixel in every bin, (R, P, length).

    The points of bin p lie at start + p side / P + (i + 0.5) side / (P g), i from 0 to g - 1. A point more than one pixel outside the map
    counts as zero; one closer than that reads the border.

    Args:
        starts, sides: (R,), in pixels of the map. length: the map's size along the axis. bins: P. sampling_ratio: g, see ``roi_align``.
    """
    f = starts.dtype.type
    bin_sides = sides / f(bins)
    points_of = np.full(len(sides), sampling_ratio) if sampling_ratio > 0 else np.ceil(bin_sides).astype(np.intp)
    matrices = np.zeros((len(sides), bins, length), f)
    p = np.arange(bins)
    for g in np.unique(points_of):
        r = np.flatnonzero(points_of == g)[:, None]
        for i in range(g):
            points = starts[r] + p.astype(f) * bin_sides[r] + (f(i) + f(0.5)) * bin_sides[r] / f(g)     # (boxes of this g, P)
            inside = (points >= -1) & (points <= length)
            points = np.maximum(points, 0)
            low = np.minimum(points.astype(np.intp), length - 1)
            high = np.minimum(low + 1, length - 1)
            weight = np.where(low == length - 1, f(0), points - low.astype(f))                          # of the pixel after
            matrices[r, p, low] += inside * (1 - weight) / f(g)
            matrices[r, p, high] += inside * weight / f(g)
    return matrices


def pixels_read(matrices):
    """For each box the slice of pixels from the first to the last with a weight in one of its bins: all other columns are zero."""
    read = matrices.any(axis=1)                                                          # (R, length)
    return map(slice, read.argmax(axis=1), read.shape[1] - read[:, ::-1].argmax(axis=1))


class MultiScaleRoIAlign(Layer):
    """``roi_align`` on several maps: each box is pooled from the map that suits its size.

    Args:
        output_size: P.
        sampling_ratio: g, see ``roi_align``.

    Reference: Lin et al., Feature pyramid networks (2017), equation 1.
    """

    def __init__(self, output_size: int, sampling_ratio: int):
        self.output_size, self.sampling_ratio = output_size, sampling_ratio

    def __call__(self, maps, proposals, sizes):
        """Pool the boxes of all images of a batch.

        Args:
            maps: list of (N, C, H_l, W_l), finest first.
            proposals: for each image (R_n, 4), in pixels of the resized image.
            sizes: (h, w) of each image in the batch.

        Returns:
            pooled: (sum of R_n, C, P, P), in the order of the proposals.
        """
        scales = map_scales(maps, sizes)
        pooled = memory((sum(map(len, proposals)), self.output_size, self.output_size, maps[0].shape[1]), maps[0].dtype)
        pooled = pooled.transpose(0, 3, 1, 2)
        start = 0
        for n, boxes in enumerate(proposals):
            part = pooled[start:start + len(boxes)]
            levels = map_levels(boxes, scales)
            for level, (x, scale) in enumerate(zip(maps, scales)):
                chosen = levels == level
                part[chosen] = self.pool(x[n], boxes[chosen], scale)
            start += len(boxes)
        return pooled

    def vjp(self, maps, proposals, sizes):
        """(pooled, pullback): pullback(grad_pooled) -> a gradient for each map, channels innermost in memory."""
        scales = map_scales(maps, sizes)

        def pullback(grad_pooled):
            grads = [np.empty((len(x), *x.shape[2:], x.shape[1]), x.dtype).transpose(0, 3, 1, 2) for x in maps]
            start = 0
            for n, boxes in enumerate(proposals):
                part = grad_pooled[start:start + len(boxes)]
                levels = map_levels(boxes, scales)
                for level, (x, grad, scale) in enumerate(zip(maps, grads, scales)):
                    chosen = levels == level
                    grad[n] = self.pool_backward(part[chosen], x[n], boxes[chosen], scale)
                start += len(boxes)
            return grads
        return self(maps, proposals, sizes), pullback

    def pool(self, x, boxes, scale):
        """Boxes (R, 4) of one image pooled from its map x (C, H, W)."""
        return roi_align(x, boxes, self.output_size, scale, self.sampling_ratio)

    def pool_backward(self, grad_pooled, x, boxes, scale):
        """The gradient of x in ``pool``."""
        return roi_align_backward(grad_pooled, x.shape, boxes, scale, self.sampling_ratio)


def map_scales(maps, sizes):
    """The spatial scale of each map: the power of two nearest to (rows of the map) / (rows of the tallest image).

    torchvision derives it in the same manner, from the unpadded height alone, but keeps the scales of the first batch it sees; here every
    batch has its own, so that a result does not depend on earlier batches.
    """
    height = max(h for h, _ in sizes)
    return [2.0 ** round(float(np.log2(np.float32(x.shape[2] / height)))) for x in maps]


def map_levels(boxes, scales):
    """The index of the map that each box is pooled from: floor(4 + log2(sqrt(area) / 224)), counted from the finest map's level; (R,) int.

    Reference: Lin et al., Feature pyramid networks (2017), equation 1.
    """
    finest, coarsest = (round(-math.log2(scale)) for scale in (scales[0], scales[-1]))
    f = np.float32
    with np.errstate(divide="ignore"):
        level = np.floor(f(CANONICAL_LEVEL) + np.log2(np.sqrt(areas(boxes)) / f(CANONICAL_SCALE)) + f(1e-6))
    return (np.clip(level, finest, coarsest) - finest).astype(np.intp)
