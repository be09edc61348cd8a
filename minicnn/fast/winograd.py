"""Winograd's fast convolution F(4 x 4, 3 x 3): the matrices, and filters in their transformed form.

An image is cut into tiles d of 6 x 6 pixels that overlap by 2 pixels. From a tile and a 3 x 3 filter g follow 4 x 4 output pixels:

    Y = A^T [ (G g G^T) * (B^T d B) ] A

with 36 multiplications instead of 144. Summed over channels, the product in brackets becomes, at each of the 36 points, a matrix product
(tiles, C) @ (C, O), which takes most of the time: a quarter of the direct convolution's multiplications.

The algorithm multiplies polynomials: both factors are evaluated at six points, multiplied there, and the product is interpolated. The
points are 0, +-1/sqrt 2, +-sqrt 2 and infinity. The paper's are 0, +-1, +-2 and infinity, whose powers up to 2^3 magnify the rounding
errors; with ours the largest error is four times smaller, and about twice that of a direct convolution (in float32, 64 to 512 channels:
1.3e-6 to 3e-6 of the largest value, where a direct one has 0.9e-6 to 3e-6 and the paper's points 5e-6 to 1e-5). The error is relative to
the largest value in a tile: beside large numbers, small ones lose digits that a direct convolution would keep.

Reference: Lavin, Gray, Fast algorithms for convolutional neural networks (2016), sections 3 and 4 (equation 12 has the matrices for
their points); Barabasz, Anderson, Soodhalter, Gregg, Error analysis and improving the accuracy of Winograd convolution for deep neural
networks (2020), for the choice of points.
"""

import math
import os

import numpy as np

from minicnn.errors import InputError

POINTS = 36
OUT, IN = 4, 6              # sides of a tile of the result and of the input, pixels

ROOT, HALF = math.sqrt(2), math.sqrt(0.5)

B_T = np.array([[1, 0, -2.5, 0, 1, 0],                  # 0
                [0, -ROOT, -2, HALF, 1, 0],             # 1/sqrt 2
                [0, ROOT, -2, -HALF, 1, 0],             # -1/sqrt 2
                [0, -HALF, -0.5, ROOT, 1, 0],           # sqrt 2
                [0, HALF, -0.5, -ROOT, 1, 0],           # -sqrt 2
                [0, 1, 0, -2.5, 0, 1]])                 # infinity

G = np.array([[1, 0, 0],
              [-2 / 3, -ROOT / 3, -1 / 3],
              [-2 / 3, ROOT / 3, -1 / 3],
              [1 / 6, ROOT / 6, 1 / 3],
              [1 / 6, -ROOT / 6, 1 / 3],
              [0, 0, 1]])

A_T = np.array([[1, 1, 1, 1, 1, 0],
                [0, HALF, -HALF, ROOT, -ROOT, 0],
                [0, 0.5, 0.5, 2, 2, 0],
                [0, HALF / 2, -HALF / 2, 2 * ROOT, -2 * ROOT, 1]])


def winograd_allowed():
    """Whether MINICNN_WINOGRAD lets the engine use the algorithm: not if it is 0.

    Raises:
        InputError: the variable is neither 0 nor 1; an empty one counts as not set.
    """
    text = os.environ.get("MINICNN_WINOGRAD") or "1"
    if text not in ("0", "1"):
        raise InputError(f"got MINICNN_WINOGRAD={text}, expected 0, which turns Winograd's algorithm off, or 1. Unset it to let the engine "
                         "choose.")
    return text == "1"


def transformed_filters(weight):
    """G g G^T of each filter, computed in float64.

    Args:
        weight: (O, C, 3, 3).

    Returns:
        (36, C, O), float32: one matrix for each point, row by row.
    """
    o, c = weight.shape[:2]
    taps = weight.transpose(2, 3, 1, 0).reshape(9, c * o).astype(np.float64)
    return np.concatenate([(rows @ taps).astype(np.float32) for rows in np.split(np.kron(G, G), 6)]).reshape(POINTS, c, o)
