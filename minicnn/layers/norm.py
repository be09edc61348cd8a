"""Batch normalisation, trained or frozen."""

import numpy as np

from minicnn import functional as F
from minicnn.layers.base import Layer, take_rows


class Norm2d(Layer):
    """What both batch norms share: a scale, a shift and two running statistics per channel."""

    def __init__(self, num_features, eps):
        self.eps = eps
        self.weight, self.bias = np.ones(num_features, np.float32), np.zeros(num_features, np.float32)
        self.running_mean, self.running_var = np.zeros(num_features, np.float32), np.ones(num_features, np.float32)

    @property
    def num_features(self):
        return self.weight.shape[0]

    def keep_channels(self, index):
        self.weight, self.bias, self.running_mean, self.running_var = take_rows(
            index, self.weight, self.bias, self.running_mean, self.running_var)


class BatchNorm2d(Norm2d):
    """Batch normalisation with torch.nn.BatchNorm2d's names and defaults.

    In training mode the batch's statistics normalise, and the running ones move by ``momentum`` (the variance by its unbiased
    estimate); in evaluation mode the running ones normalise. ``num_batches_tracked`` of torch is not kept.
    """

    parameter_names = ("weight", "bias")
    buffer_names = ("running_mean", "running_var")
    argument_names = ("num_features", "eps", "momentum")

    def __init__(self, num_features, eps=1e-5, momentum=0.1, *, rng=None):
        super().__init__(num_features, eps)
        self.momentum = momentum

    def __call__(self, x):
        if self.training:
            return self.vjp(x)[0]
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)

    def vjp(self, x, input_gradient=True):
        if not self.training:
            mean, var = self.running_mean.copy(), self.running_var.copy()
            y, backward = self(x), F.batch_norm_backward
        else:
            y, mean, var = F.batch_norm_training(x, self.weight, self.bias, self.eps)
            backward = F.batch_norm_training_backward
            count = x.size // x.shape[1]
            self.running_mean += self.momentum * (mean - self.running_mean)
            self.running_var += self.momentum * (var * (count / (count - 1)) - self.running_var)

        def pullback(grad_y):
            grad_x, weight, bias = backward(grad_y, x, mean, var, self.weight, self.eps)
            self.add_gradients(weight=weight, bias=bias)
            return grad_x if input_gradient else None
        return y, pullback


class FrozenBatchNorm2d(Norm2d):
    """torchvision's FrozenBatchNorm2d: everything is a buffer, in both modes a fixed scale and shift per channel."""

    buffer_names = ("weight", "bias", "running_mean", "running_var")
    argument_names = ("num_features", "eps")

    def __init__(self, num_features, eps=1e-5, *, rng=None):
        super().__init__(num_features, eps)

    def __call__(self, x):
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, self.eps)

    def vjp(self, x, input_gradient=True):
        def pullback(grad_y):           # the same scale, and no shift
            zeros = np.zeros_like(self.bias)
            return F.batch_norm(grad_y, zeros, self.running_var, self.weight, zeros, self.eps)
        return self(x), pullback
