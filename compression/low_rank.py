"""How a layer can be split: its singular values, what any ranks would lose, and the layers at chosen ones."""

import numpy as np

from minicnn.compression.svd import two_layers
from minicnn.compression.tucker import leading_vectors, mode_product, three_layers, unfold
from minicnn.layers import BlockLinear, Linear, Sequential

FLOOR = 1e-6            # share of the largest eigenvalue of a covariance, below which inputs count as constant


class Split:
    """A layer that can be split: a convolution into three by HOSVD, a linear layer or a convolution of 1 x 1 into two by SVD.

    A linear layer that reads flattened maps (C, P) of P pixels can be split along these, too (ours): its weight (O, C, P) is projected on
    vectors of pixels, as HOSVD of mode 3 has them. The first of its two layers mixes the pixels of each map alike to ``rank`` numbers, the
    second is linear, (O, C rank). Where a box head pools proposals to 7 x 7 much more can go so than by SVD: neighbours are alike.

    With a record of what the layer did on images, singular values are those of its *output*, not of its weights:

    * on the output side the eigenvectors of the outputs' covariance, of which a projection loses least (Zhang et al. 2016, section
      3.1);
    * on the input side the vectors of HOSVD of the weight times the square root of the input channels' covariance, W x_1 C^(1/2):
      directions that the images hardly vary in count little (ours; exact if the taps of a kernel were independent). Of a layer that
      is split along pixels with the pixels' covariance in the place of the channels'.

    Args:
        layer: ``Conv2d`` without groups, or ``Linear``.
        inputs: an ``observation.Inputs``, or None.
        answers: (S, O) outputs, or None; no more samples than outputs tell nothing of what others would lose, and count as none.
        pixels: P, to split a linear layer along them; 1: by SVD.

    Attributes:
        tucker: whether it becomes three layers; into_values, out_values: singular values of the sides that get narrower, falling; of
            pixels into_values alone, of SVD out_values.
    """

    def __init__(self, layer, inputs=None, answers=None, pixels=1):
        self.layer, self.inputs, self.pixels = layer, inputs, pixels
        self.tucker = layer.weight.ndim == 4 and layer.weight[0, 0].size > 1
        weight = layer.weight.astype(np.float64)
        if pixels > 1:
            self.read, self.give, self.into_values = input_side(weight.reshape(len(weight), -1, pixels).swapaxes(1, 2), inputs)
            return
        if answers is None or len(answers) <= len(weight):
            self.out, self.out_values = leading_vectors(unfold(weight, 0), len(weight))
        else:
            squares, vectors = np.linalg.eigh(np.cov(answers.astype(np.float64), rowvar=False, bias=True))
            self.out, self.out_values = vectors[:, ::-1], np.sqrt(squares[::-1].clip(min=0))
        if self.tucker:
            self.read, self.give, self.into_values = input_side(weight, inputs)

    @property
    def channels(self):
        """(in, out): the ranks of no loss; of pixels (P, O)."""
        outputs, inputs = self.layer.weight.shape[:2]
        return self.pixels if self.pixels > 1 else inputs, outputs

    def error(self, ranks):
        """The share of the squared weights (with a record, of the output's variance) that these ranks lose: both sides' tails added, see
        ``tucker.tucker2``. ranks: (r_in, r_out), of two layers the smaller one counts."""
        if not self.tucker:
            return tail(self.into_values if self.pixels > 1 else self.out_values, min(ranks))
        return tail(self.into_values, ranks[0]) + tail(self.out_values, ranks[1])

    def layers(self, ranks):
        """The layers at (r_in, r_out), both alike for a linear layer. With a record the mean of what is lost goes into the bias, inexact at
        borders as ``pruning.compensate`` is."""
        if self.pixels > 1:
            return self.pixel_layers(min(ranks))
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

    def pixel_layers(self, rank):
        """The same along the pixels."""
        layer, read, give = self.layer, self.read[:, :rank], self.give[:, :rank]
        maps = layer.weight.reshape(len(layer.weight), -1, self.pixels)
        core = (maps @ give).reshape(len(maps), -1)                                             # (O, C rank)
        parts = Sequential([BlockLinear(self.pixels, rank), Linear(core.shape[1], len(core), bias=layer.bias is not None)])
        (_, first), (_, last) = parts.children()
        first.weight[...], last.weight[...] = read.T, core
        if layer.bias is not None:
            last.bias[...] = layer.bias
        if self.inputs is not None:
            mean = self.inputs.mean[None]
            last.bias = (layer(mean) - parts(mean) + (0 if last.bias is None else last.bias))[0].astype(layer.weight.dtype)
        return parts


def input_side(weight, inputs):
    """What the first layer reads by (I, I), the core's weight (O, I, ...) is multiplied by (I, I), and the singular values (I,)."""
    if inputs is None:
        vectors, values = leading_vectors(unfold(weight, 1), weight.shape[1])
        return vectors, vectors, values
    variances, axes = np.linalg.eigh(inputs.covariance())
    roots = np.sqrt(variances.clip(min=FLOOR * max(variances[-1], 0) or 1.0))
    vectors, values = leading_vectors(unfold(mode_product(weight, (axes * roots).T, 1), 1), weight.shape[1])
    return axes / roots @ vectors, axes * roots @ vectors, values


def tail(values, rank):
    """The share of the sum of squares beyond a rank."""
    squares = values ** 2
    return squares[rank:].sum() / (squares.sum() or 1)
