"""The linear (fully connected) layer."""

from minicnn import functional as F
from minicnn.layers.base import Layer, initial_weights, take_rows


class Linear(Layer):
    """y = x weight^T + bias, with torch.nn.Linear's names, shapes and default initialisation: uniform within 1 / sqrt(fan in).

    weight is (out_features, in_features), bias (out_features,) or None; float32. Without rng they are zeros.
    """

    parameter_names = ("weight", "bias")
    argument_names = ("in_features", "out_features")

    def __init__(self, in_features, out_features, bias=True, *, rng=None):
        self.weight, self.bias = initial_weights((out_features, in_features), bias, rng)

    @property
    def in_features(self):
        return self.weight.shape[1]

    @property
    def out_features(self):
        return self.weight.shape[0]

    def arguments(self):
        return {**super().arguments(), "bias": self.bias is not None}

    def keep_outputs(self, index):
        self.weight, self.bias = take_rows(index, self.weight, self.bias)

    def keep_inputs(self, index):
        self.weight = self.weight.take(index, axis=1)     # in row order, as a file gives it back

    def __call__(self, x):
        return F.linear(x, self.weight, self.bias)

    def vjp(self, x, input_gradient=True):
        def pullback(grad_y):
            grad_x, weight, bias = F.linear_backward(grad_y, x, self.weight, input_gradient)
            self.add_gradients(weight=weight, bias=bias)
            return grad_x
        return self(x), pullback
