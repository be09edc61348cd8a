"""Tucker decomposition of a convolution: one large one becomes 1 x 1, k x k on fewer channels, 1 x 1.

A weight W (O, I, KH, KW) is approximated along its two channel modes, the kernel's own being small (Tucker-2):

    W ~ G x_0 U x_1 V,    G (r_out, r_in, KH, KW), U (O, r_out), V (I, r_in) with orthonormal columns

The walk is ``unfold`` -> ``leading_vectors`` -> ``tucker2`` (core and factors) -> ``split`` (three layers).

References: De Lathauwer, De Moor, Vandewalle, A multilinear singular value decomposition (2000), for unfolding, mode product and HOSVD;
the same, On the best rank-1 and rank-(R1, ..., RN) approximation of higher-order tensors (2000), for HOOI; Kim et al., Compression of
deep convolutional neural networks for fast and low power mobile applications (2016), section 3.1, for the three layers. The paper's
abstract names Tucker decomposition and HOSVD; that the kernel's modes stay whole is Kim's choice, and ours.
"""

import numpy as np

from minicnn.layers import tucker_chain

WELL_CONDITIONED = 1e-10        # share of the largest eigenvalue of a Gram matrix above which its vectors are as good as an SVD's


def unfold(tensor, mode):
    """The matrix whose rows are the slices of a mode: (I_0, ..., I_N) -> (I_mode, product of the others, in their order).

    De Lathauwer et al., definition 1; there the columns are ordered cyclically, which changes no singular value.
    """
    return np.moveaxis(tensor, mode, 0).reshape(tensor.shape[mode], -1)


def fold(matrix, mode, shape):
    """The tensor of that shape whose ``unfold`` is the matrix."""
    rest = [size for place, size in enumerate(shape) if place != mode]
    return np.moveaxis(matrix.reshape(shape[mode], *rest), 0, mode)


def mode_product(tensor, matrix, mode):
    """tensor x_mode matrix: every fibre of the mode is multiplied by the matrix (J, I_mode), whose rows become the mode's size.

    De Lathauwer et al., definition 8.
    """
    shape = list(tensor.shape)
    shape[mode] = len(matrix)
    return fold(matrix @ unfold(tensor, mode), mode, shape)


def leading_vectors(matrix, rank):
    """The left singular vectors of a matrix (I, J) with the largest singular values.

    They are the eigenvectors of its Gram matrix (I, I), which is far smaller than the matrix of a convolution. Squaring loses half of
    the digits of small singular values; where some of those are asked for, an SVD gives them.

    Args:
        matrix: float64. rank: how many, at most I.

    Returns:
        vectors: (I, rank) float64, orthonormal columns; values: (I,) float64, all singular values, falling.
    """
    squares, vectors = np.linalg.eigh(matrix @ matrix.T)                    # rising
    squares, vectors = squares[::-1], vectors[:, ::-1]
    if squares[rank - 1] >= WELL_CONDITIONED * squares[0]:
        return vectors[:, :rank], np.sqrt(squares.clip(min=0))
    vectors, values, _ = np.linalg.svd(matrix, full_matrices=len(matrix) > matrix.shape[1])
    return vectors[:, :rank], np.pad(values, (0, len(matrix) - len(values)))


def tucker2(weight, ranks, iterations=0):
    """The core and the factors of a convolution's weight, by HOSVD.

    The squared error of HOSVD is at most the sum of both unfoldings' discarded squared singular values (De Lathauwer et al., property
    10). HOOI goes on from there: in turn each factor becomes the best one for the other as it is, so the error never grows.

    Args:
        weight: (O, I, KH, KW).
        ranks: (r_in, r_out), at most I and O.
        iterations: of HOOI; 0: HOSVD alone.

    Returns:
        core: (r_out, r_in, KH, KW); out, into: (O, r_out) and (I, r_in), orthonormal columns; all float64.
    """
    weight = weight.astype(np.float64)
    r_in, r_out = ranks
    out, into = leading_vectors(unfold(weight, 0), r_out)[0], leading_vectors(unfold(weight, 1), r_in)[0]
    for _ in range(iterations):
        out = leading_vectors(unfold(mode_product(weight, into.T, 1), 0), r_out)[0]
        into = leading_vectors(unfold(mode_product(weight, out.T, 0), 1), r_in)[0]
    return mode_product(mode_product(weight, out.T, 0), into.T, 1), out, into


def reconstruct(core, out, into):
    """The weight (O, I, KH, KW) that a core and factors stand for."""
    return mode_product(mode_product(core, out, 0), into, 1)


def split(conv, ranks, iterations=0):
    """The three layers in the place of a convolution.

    Args:
        conv: ``Conv2d`` without groups. ranks, iterations: see ``tucker2``.

    Returns:
        ``Sequential``, see ``three_layers``. At full ranks it computes the same.

    Raises:
        InputError: the convolution has groups, or the ranks are not from 1 to its channels.
    """
    tucker_chain(conv, ranks)                                  # raises
    return three_layers(conv, *tucker2(conv.weight, ranks, iterations))


def three_layers(conv, core, out, into):
    """1 x 1 (into.T, no bias), k x k with the convolution's stride, padding and dilation (the core, no bias), 1 x 1 (out, its bias)."""
    layers = tucker_chain(conv, core.shape[1::-1])
    first, middle, last = (layer for _, layer in layers.children())
    first.weight[...] = into.T[:, :, None, None]
    middle.weight[...] = core
    last.weight[...] = out[:, :, None, None]
    if conv.bias is not None:
        last.bias[...] = conv.bias
    return layers
