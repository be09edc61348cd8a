"""A layer in low-rank form: its singular values, the error at any ranks, and the layers that replace it at chosen ones."""

from typing import Any

import numpy as np

from minicnn.compression.svd import truncated_svd, two_layers
from minicnn.compression.tucker import Hosvd, input_directions, output_directions, three_layers, tucker2
from minicnn.errors import InputError
from minicnn.layers import BlockLinear, Conv2d, Linear, Sequential


class LowRank:
    """The low-rank forms of a layer: three convolutions by Tucker decomposition, or two layers by SVD.

    A convolution becomes three (``tucker``), a linear layer or 1 x 1 convolution two (``svd``). A linear layer that reads flattened
    maps (C, P) of P pixels can also be factorised along the pixels (ours): its weight (O, C, P) is projected onto vectors of pixels, as in
    mode 3 of HOSVD. The first of its two layers mixes the pixels of each map alike to ``rank`` numbers, the second is linear,
    (O, C rank). Where a box head pools proposals to 7 x 7 this saves much more than SVD, since neighbouring pixels are alike.

    With moments and outputs of calibration images the decomposition is data-aware: the singular values are those of the layer's *output*.
    The covariances of outputs and of input channels (for pixels, of pixels) are the metrics of ``tucker.output_directions`` and
    ``tucker.input_directions``.

    Args:
        layer: ``Conv2d`` without groups, or ``Linear``.
        inputs: an ``observe.InputMoments`` of the layer, or None.
        outputs: (S, O) samples of the layer's outputs, or None. If there are no more samples than outputs, they are not used: they would
            not show what the remaining directions lose.
        pixels: P, to factorise a linear layer along them; 1: by SVD.

    Attributes:
        tucker: whether the layer becomes three layers.
        into_values, out_values: singular values of the two sides, descending; None for a side that is not narrowed: with pixels there
            are into_values alone, with SVD out_values alone.
    """

    def __init__(self, layer: Conv2d | Linear, inputs: Any = None, outputs: Any = None, pixels: int = 1):
        self.layer, self.inputs, self.pixels = layer, inputs, pixels
        self.out: Any = None                # Directions of a side; None: it is not narrowed
        self.into: Any = None
        weight = layer.weight.astype(np.float64)
        in_metric = None if inputs is None or not (self.tucker or pixels > 1) else inputs.covariance()
        if pixels > 1:
            self.into = input_directions(weight.reshape(len(weight), -1, pixels).swapaxes(1, 2), in_metric)
            return
        few = outputs is None or len(outputs) <= len(weight)
        self.out = output_directions(weight, None if few else np.cov(outputs.astype(np.float64), rowvar=False, bias=True))
        if self.tucker:
            self.into = input_directions(weight, in_metric)

    @property
    def tucker(self) -> bool:
        return self.layer.weight.ndim == 4 and self.layer.weight[0, 0].size > 1

    @property
    def into_values(self) -> np.ndarray | None:
        return None if self.into is None else self.into.values

    @property
    def out_values(self) -> np.ndarray | None:
        return None if self.out is None else self.out.values

    @property
    def channels(self) -> tuple[int, int]:
        """(in, out): the full ranks, at which nothing is lost; (P, O) with pixels."""
        outputs, inputs = self.layer.weight.shape[:2]
        return self.pixels if self.pixels > 1 else inputs, outputs

    def error(self, ranks: tuple[int, int]) -> float:
        """The share of the squared weights (with calibration images, of the output's variance) that is lost at (r_in, r_out): the sum of
        both sides' tails, see ``tucker.tucker2``. Of two layers the smaller rank counts."""
        if not self.tucker:
            return tail(self.into_values if self.pixels > 1 else self.out_values, min(ranks))
        return tail(self.into_values, ranks[0]) + tail(self.out_values, ranks[1])

    def layers(self, ranks: tuple[int, int]) -> Sequential:
        """The layers in place of this one at (r_in, r_out), of two layers both ranks alike.

        With moments of the inputs, the mean of what is lost is added to the bias; inexact at borders, as ``channels.compensate`` is. At
        full ranks the layers compute the same as the layer.

        Raises:
            InputError: ranks are not from 1 to the full ranks, or the layer has groups, or a 1 x 1 convolution padding.
        """
        self.check(ranks)
        if self.pixels > 1:
            return self.pixel_layers(min(ranks))
        layer, weight = self.layer, self.layer.weight.astype(np.float64)
        if self.tucker:
            parts = three_layers(layer, *tucker2(weight, ranks, Hosvd(self.out, self.into)))
        else:
            parts = two_layers(layer, *truncated_svd(weight.reshape(weight.shape[:2]), ranks[1], self.out))
        if self.inputs is not None:
            self.add_lost_mean(parts, weight, ranks)
        return parts

    def check(self, ranks: Any) -> None:
        """Raise InputError if ``layers`` cannot be had at these ranks."""
        layer, (r_in, r_out), (c, o) = self.layer, ranks, self.channels
        if self.tucker or self.pixels > 1:
            fits = 1 <= r_in <= c and (self.pixels > 1 or 1 <= r_out <= o)
        else:
            fits = 1 <= r_out <= min(c, o)
            if getattr(layer, "groups", 1) != 1 or any(getattr(layer, "padding", ())):
                raise InputError(f"got {layer}, expected a linear layer or a convolution of 1 x 1 without groups and padding. Leave "
                                 "others whole.")
        if not fits:
            raise InputError(f"got the ranks {r_in} and {r_out}, expected them from 1 to the channels, {c} and {o}. Choose smaller ones.")

    def add_lost_mean(self, parts: Any, weight: np.ndarray, ranks: tuple[int, int]) -> None:
        """Add the mean of what the decomposition loses to the bias of the last of its layers."""
        mean, taps = self.inputs.mean, weight.reshape(*weight.shape[:2], -1).sum(axis=2)
        out = self.out.factor[:, :ranks[1]]
        if self.tucker:
            read, give = self.into.factor[:, :ranks[0]], self.into.dual[:, :ranks[0]]
            mean_kept = give @ (read.T @ mean)
        else:
            mean_kept = mean
        left = out @ (out.T @ (taps @ mean_kept))
        last = parts.children()[-1][1]
        bias = 0 if self.layer.bias is None else self.layer.bias
        last.bias = (bias + taps @ mean - left).astype(self.layer.weight.dtype)

    def pixel_layers(self, rank):
        """``layers`` along the pixels."""
        layer, read, give = self.layer, self.into.factor[:, :rank], self.into.dual[:, :rank]
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


class Outline(LowRank):
    """A ``LowRank`` that decomposes nothing: its error counts every direction alike. It tells in no time which sizes can be had.

    Args:
        layer, pixels: as for ``LowRank``. inputs: whether there will be calibration images, which may add a bias.
    """

    def __init__(self, layer: Conv2d | Linear, inputs: bool, pixels: int = 1):
        self.layer, self.inputs, self.pixels = layer, inputs or None, pixels

    def error(self, ranks: tuple[int, int]) -> float:
        """The share of directions that is lost at (r_in, r_out), see ``LowRank.error``."""
        c, o = self.channels
        if not self.tucker:
            return 1 - min(ranks) / (self.pixels if self.pixels > 1 else min(c, o))
        return 2 - ranks[0] / c - ranks[1] / o


def tail(values, rank):
    """The share of the sum of squares beyond a rank."""
    squares = values ** 2
    return squares[rank:].sum() / (squares.sum() or 1)
