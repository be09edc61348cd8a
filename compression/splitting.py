"""How a layer can be split: its singular values, what any ranks would lose, and the layers at chosen ones."""

import numpy as np

from minicnn.compression.svd import two_layers
from minicnn.compression.tucker import leading_vectors, mode_product, three_layers, unfold

FLOOR = 1e-6            # share of the largest eigenvalue of a covariance, below which inputs count as constant


class Split:
    """A layer that can be split: a convolution into three by HOSVD, a linear layer or a convolution of 1 x 1 into two by SVD.

    With a record of what the layer did on pictures, singular values are those of its *output*, not of its weights:

    * on the output side the eigenvectors of the outputs' covariance, of which a projection loses least (Zhang et al. 2016, section
      3.1);
    * on the input side the vectors of HOSVD of the weight times the square root of the input channels' covariance, W x_1 C^(1/2):
      directions that the pictures hardly vary in count little (ours; exact if the taps of a kernel were independent).

    Args:
        layer: ``Conv2d`` without groups, or ``Linear``.
        inputs: an ``observation.Inputs``, or None.
        answers: (S, O) outputs, or None.

    Attributes:
        tucker: whether it becomes three layers; into_values, out_values: singular values of both sides, falling.
    """

    def __init__(self, layer, inputs=None, answers=None):
        self.layer, self.inputs = layer, inputs
        self.tucker = layer.weight.ndim == 4 and layer.weight[0, 0].size > 1
        weight = layer.weight.astype(np.float64)
        if answers is None:
            self.out, self.out_values = leading_vectors(unfold(weight, 0), len(weight))
        else:
            squares, vectors = np.linalg.eigh(np.cov(answers.astype(np.float64), rowvar=False, bias=True))
            self.out, self.out_values = vectors[:, ::-1], np.sqrt(squares[::-1].clip(min=0))
        if self.tucker:
            self.read, self.give, self.into_values = input_side(weight, inputs)

    @property
    def channels(self):
        """(in, out): the ranks of no loss."""
        return self.layer.weight.shape[1::-1]

    def error(self, ranks):
        """The share of the squared output (with a record, of its variance) that these ranks lose: both sides' tails added, see
        ``tucker.tucker2``. ranks: (r_in, r_out), of two layers the smaller one counts."""
        if not self.tucker:
            return tail(self.out_values, min(ranks))
        return tail(self.into_values, ranks[0]) + tail(self.out_values, ranks[1])

    def layers(self, ranks):
        """The layers at (r_in, r_out), both alike for a linear layer. With a record the mean of what is lost goes into the bias, inexact at
        borders as ``pruning.compensate`` is."""
        layer, weight = self.layer, self.layer.weight.astype(np.float64)
        out = self.out[:, :ranks[1]]
        if self.tucker:
            read, give = self.read[:, :ranks[0]], self.give[:, :ranks[0]]
            core = mode_product(mode_product(weight, out.T, 0), give.T, 1)
            parts = three_layers(layer, core, out, read)
        else:
            parts = two_layers(layer, out, out.T @ weight.reshape(weight.shape[:2]))
        if self.inputs is not None:
            mean, taps = self.inputs.mean, weight.reshape(*weight.shape[:2], -1).sum(axis=2)
            left = out @ (out.T @ (taps @ (give @ (read.T @ mean) if self.tucker else mean)))
            last = parts.children()[-1][1]
            bias = 0 if layer.bias is None else layer.bias
            last.bias = (bias + taps @ mean - left).astype(layer.weight.dtype)
        return parts


def input_side(weight, inputs):
    """What the first layer reads by (I, I), the core's weight is multiplied by (I, I), and the singular values (I,)."""
    if inputs is None:
        vectors, values = leading_vectors(unfold(weight, 1), weight.shape[1])
        return vectors, vectors, values
    variances, axes = np.linalg.eigh(inputs.covariance())
    roots = np.sqrt(variances.clip(min=FLOOR * variances[-1]))
    vectors, values = leading_vectors(unfold(mode_product(weight, (axes * roots).T, 1), 1), weight.shape[1])
    return axes / roots @ vectors, axes * roots @ vectors, values


def tail(values, rank):
    """The share of the sum of squares beyond a rank."""
    squares = values ** 2
    return squares[rank:].sum() / (squares.sum() or 1)
