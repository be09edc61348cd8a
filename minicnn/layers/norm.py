"""Batch normalisation layers, trained or frozen."""

from __future__ import annotations

import numpy as np

from minicnn import functional as F
from minicnn.layers.base import Layer, Pullback, take_rows


class Norm2d(Layer):
    """Base class of the batch norms: a scale, a shift and two running statistics for each channel."""

    def __init__(self, num_features: int, eps: float):
        self.eps = eps
        self.weight, self.bias = np.ones(num_features, np.float32), np.zeros(num_features, np.float32)
        self.running_mean, self.running_var = np.zeros(num_features, np.float32), np.ones(num_features, np.float32)

    @property
    def num_features(self) -> int:
        return self.weight.shape[0]

    def keep_channels(self, index: np.ndarray) -> None:
        self.weight, self.bias, self.running_mean, self.running_var = take_rows(
            index, self.weight, self.bias, self.running_mean, self.running_var)


class BatchNorm2d(Norm2d):
    """Batch normalisation with torch.nn.BatchNorm2d's names and defaults.

    Training mode normalises by the batch's statistics, and moves the running ones by ``momentum`` towards them (the variance towards
    the unbiased estimate); evaluation mode normalises by the running ones. torch's ``num_batches_tracked`` is not kept.

    Args:
        num_features: number of channels.
        eps: added to the variance.
        momentum: step of the running statistics.
    """

    parameter_names = ("weight", "bias")
    buffer_names = ("running_mean", "running_var")
    argument_names = ("num_features", "eps", "momentum")

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float = 0.1, *, rng: np.random.Generator | None = None):
        super().__init__(num_features, eps)
        self.momentum = momentum

    def __call__(self, x: np.ndarray) -> np.ndarray:
        if self.training:
            return self.vjp(x)[0]
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        if not self.training:
            mean, var = self.running_mean.copy(), self.running_var.copy()
            y, backward = self(x), F.batch_norm_backward
        else:
            y, mean, var = F.batch_norm_training(x, self.weight, self.bias, self.eps)
            backward = F.batch_norm_training_backward
            count = x.size // max(x.shape[1], 1)
            if count:                                       # an empty batch, as of a box head without proposals, leaves them
                self.running_mean += self.momentum * (mean - self.running_mean)
                self.running_var += self.momentum * (var * (count / (count - 1)) - self.running_var)

        def pullback(grad_y):
            grad_x, weight, bias = backward(grad_y, x, mean, var, self.weight, self.eps)
            self.add_gradients(weight=weight, bias=bias)
            return grad_x if input_gradient else None
        return y, pullback


class FrozenBatchNorm2d(Norm2d):
    """torchvision's FrozenBatchNorm2d: a fixed scale and shift of each channel in both modes; all four arrays are buffers.

    Args:
        num_features: number of channels.
        eps: added to the variance.
    """

    buffer_names = ("weight", "bias", "running_mean", "running_var")
    argument_names = ("num_features", "eps")

    def __init__(self, num_features: int, eps: float = 1e-5, *, rng: np.random.Generator | None = None):
        super().__init__(num_features, eps)

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)

    def vjp(self, x: np.ndarray, input_gradient: bool = True) -> tuple[np.ndarray, Pullback]:
        def pullback(grad_y):           # the same scale without the shift
            zeros = np.zeros_like(self.bias)
            return F.batch_norm(grad_y, zeros, self.running_var, self.weight, zeros, self.eps)
        return self(x), pullback
