"""Tucker decomposition of a convolution: one large one becomes 1 x 1, k x k on fewer channels, 1 x 1.

A weight W (O, I, KH, KW) is approximated along its two channel modes, the kernel's own modes being small (Tucker-2):

    W ~ G x_0 U x_1 V,    G (r_out, r_in, KH, KW), U (O, r_out), V (I, r_in)

The steps are ``unfold`` -> ``leading_vectors`` -> ``hosvd`` (all directions of both modes) -> ``tucker2`` (core and factors at chosen
ranks) -> ``three_layers``. ``low_rank.LowRank`` takes these steps for a layer of a network.

References: De Lathauwer, De Moor, Vandewalle, A multilinear singular value decomposition (2000), for unfolding, mode product and HOSVD;
Kim et al., Compression of deep convolutional neural networks for fast and low power mobile applications (2016), section 3.1, for the
three layers. The paper's abstract names Tucker decomposition and HOSVD; that the kernel's modes stay whole is Kim's choice, and ours.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minicnn.layers.low_rank import tucker_chain

WELL_CONDITIONED = 1e-10        # share of the largest eigenvalue of a Gram matrix above which its vectors are as good as an SVD's
FLOOR = 1e-6                    # share of the largest eigenvalue of a covariance below which inputs count as constant


class Directions(NamedTuple):
    """The directions of one mode of a weight, by descending singular value.

    factor: (I, I), whose leading columns are the factor of the mode; dual: (I, I), whose leading columns project the weight onto these
    directions; values: (I,) singular values. With orthonormal columns factor and dual are the same.
    """

    factor: np.ndarray
    dual: np.ndarray
    values: np.ndarray


class Hosvd(NamedTuple):
    """The ``Directions`` of both channel modes of a weight: out of mode 0, into of mode 1."""

    out: Directions
    into: Directions


def unfold(tensor: np.ndarray, mode: int) -> np.ndarray:
    """The matrix whose rows are the slices of a mode: (I_0, ..., I_N) -> (I_mode, product of the others, in their order).

    De Lathauwer et al., definition 1; there the columns are ordered cyclically, which changes no singular value.

    >>> unfold(np.arange(8).reshape(2, 2, 2), 1).tolist()
    [[0, 1, 4, 5], [2, 3, 6, 7]]
    """
    return np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)


def fold(matrix: np.ndarray, mode: int, shape: Sequence[int]) -> np.ndarray:
    """The tensor of a shape whose ``unfold`` is the matrix."""
    rest = [size for place, size in enumerate(shape) if place != mode]
    return np.moveaxis(matrix.reshape(shape[mode], *rest), 0, mode)


def mode_product(tensor: np.ndarray, matrix: np.ndarray, mode: int) -> np.ndarray:
    """tensor x_mode matrix: multiply every fibre of a mode by a matrix (J, I_mode); the mode's size becomes J.

    De Lathauwer et al., definition 8.

    >>> mode_product(np.arange(8).reshape(2, 2, 2), np.array([[1, 1]]), 0).tolist()
    [[[4, 6], [8, 10]]]
    """
    shape = list(tensor.shape)
    shape[mode] = len(matrix)
    return fold(matrix @ unfold(tensor, mode), mode, shape)


def leading_vectors(matrix: np.ndarray, rank: int) -> tuple[np.ndarray, np.ndarray]:
    """The left singular vectors of a matrix (I, J) with the largest singular values.

    They are the eigenvectors of its Gram matrix (I, I), which is far smaller than the unfolded weight of a convolution. Squaring loses
    half of the digits of small singular values; if ``rank`` includes some of those, an SVD computes them.

    Args:
        matrix: float64. rank: number of vectors, at most I.

    Returns:
        vectors: (I, rank) float64, orthonormal columns; values: (I,) float64, all singular values, descending.
    """
    squares, vectors = np.linalg.eigh(matrix @ matrix.T)                    # ascending
    squares, vectors = squares[::-1], vectors[:, ::-1]
    if squares[rank - 1] >= WELL_CONDITIONED * squares[0]:
        return vectors[:, :rank], np.sqrt(squares.clip(min=0))
    vectors, values, _ = np.linalg.svd(matrix, full_matrices=len(matrix) > matrix.shape[1])
    return vectors[:, :rank], np.pad(values, (0, len(matrix) - len(values)))


def output_directions(weight: np.ndarray, metric: np.ndarray | None = None) -> Directions:
    """The directions of a weight's outputs, mode 0.

    Args:
        weight: (O, I, ...) float64.
        metric: (O, O) covariance of the layer's outputs, whose eigenvectors are the directions: a projection onto the leading ones loses
            least of the outputs (Zhang et al. 2016, section 3.1). None: the left singular vectors of the unfolded weight.
    """
    if metric is None:
        vectors, values = leading_vectors(unfold(weight, 0), len(weight))
        return Directions(vectors, vectors, values)
    squares, vectors = np.linalg.eigh(metric)
    vectors = vectors[:, ::-1]
    return Directions(vectors, vectors, np.sqrt(squares[::-1].clip(min=0)))


def input_directions(weight: np.ndarray, metric: np.ndarray | None = None) -> Directions:
    """The directions of a weight's inputs, mode 1.

    Args:
        weight: (O, I, ...) float64.
        metric: (I, I) covariance C of the layer's input channels; the directions are those of W x_1 C^(1/2), so that inputs that hardly
            vary count little (ours; exact if the taps of a kernel were independent). None: those of the weight alone.
    """
    if metric is None:
        vectors, values = leading_vectors(unfold(weight, 1), weight.shape[1])
        return Directions(vectors, vectors, values)
    variances, axes = np.linalg.eigh(metric)
    roots = np.sqrt(variances.clip(min=FLOOR * max(variances[-1], 0) or 1.0))
    vectors, values = leading_vectors(unfold(mode_product(weight, (axes * roots).T, 1), 1), weight.shape[1])
    return Directions(axes / roots @ vectors, axes * roots @ vectors, values)


def hosvd(weight: np.ndarray, out_metric: np.ndarray | None = None, in_metric: np.ndarray | None = None) -> Hosvd:
    """All directions of both channel modes of a weight: HOSVD, with metrics its data-aware form.

    Args:
        weight: (O, I, KH, KW). out_metric: (O, O), see ``output_directions``. in_metric: (I, I), see ``input_directions``.

    Raises:
        ValueError: the weight has NaN or infinity, of which there is no decomposition.
    """
    weight = weight.astype(np.float64)
    if not np.isfinite(weight).all():
        raise ValueError("hosvd: got a weight with NaN or infinity, expected finite numbers. Use the weights before the training diverged.")
    return Hosvd(output_directions(weight, out_metric), input_directions(weight, in_metric))


def tucker2(weight: np.ndarray, ranks: tuple[int, int], directions: Hosvd | None = None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The core and the factors of a convolution's weight at given ranks.

    The squared error of HOSVD is at most the sum of both unfoldings' discarded squared singular values (De Lathauwer et al., property
    10).

    Args:
        weight: (O, I, KH, KW).
        ranks: (r_in, r_out), at most I and O.
        directions: from ``hosvd``, which need not be computed for each pair of ranks; None: those of the weight alone.

    Returns:
        core: (r_out, r_in, KH, KW); out, into: (O, r_out) and (I, r_in); all float64. Without metrics the columns of out and into are
        orthonormal.

    Raises:
        ValueError: the weight is not (O, I, KH, KW), or a rank out of range.

    >>> weight = np.einsum("o,i,kl->oikl", [1.0, 2, 3], [1.0, 1, 1, 1], np.ones((3, 3)))
    >>> core, out, into = tucker2(weight, (1, 1))
    >>> core.shape, np.allclose(reconstruct(core, out, into), weight)
    ((1, 1, 3, 3), True)
    """
    r_in, r_out = ranks
    check_ranks("tucker2", weight, 4, (r_out, len(weight)), (r_in, weight.shape[1]))
    weight = weight.astype(np.float64)
    out, into = directions or hosvd(weight)
    factor = out.factor[:, :r_out]
    core = mode_product(mode_product(weight, out.dual[:, :r_out].T, 0), into.dual[:, :r_in].T, 1)
    return core, factor, into.factor[:, :r_in]


def check_ranks(function, weight, axes, *ranks):
    """Raise ValueError unless a weight has this number of axes and each of the (rank, limit) pairs is from 1 to its limit."""
    if weight.ndim != axes or not all(1 <= rank <= limit for rank, limit in ranks):
        raise ValueError(f"{function}: got a weight {weight.shape} and the ranks {[rank for rank, _ in ranks]}, expected {axes} axes and "
                         f"ranks from 1 to {[limit for _, limit in ranks]}.")


def reconstruct(core: np.ndarray, out: np.ndarray, into: np.ndarray) -> np.ndarray:
    """The weight (O, I, KH, KW) of a core and factors."""
    return mode_product(mode_product(core, out, 0), into, 1)


def three_layers(conv, core, out, into):
    """A ``Sequential`` in place of a convolution: 1 x 1 (into.T, no bias), k x k with the convolution's stride, padding and dilation (the
    core, no bias), 1 x 1 (out, the convolution's bias).

    Raises:
        InputError: the convolution has groups.
    """
    layers = tucker_chain(conv, core.shape[1::-1])
    first, middle, last = (layer for _, layer in layers.children())
    first.weight[...] = into.T[:, :, None, None]
    middle.weight[...] = core
    last.weight[...] = out[:, :, None, None]
    if conv.bias is not None:
        last.bias[...] = conv.bias
    return layers
