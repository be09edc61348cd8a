"""Layers that run one after the other."""

from minicnn.layers.base import Layer


class Sequential(Layer):
    """Children run one after the other: ``Sequential({"conv1": Conv2d(...), "relu1": ReLU()})``, or a list, named 0, 1, 2, ..."""

    def __init__(self, layers):
        vars(self).update(layers if isinstance(layers, dict) else {str(i): layer for i, layer in enumerate(layers)})

    def __call__(self, x):
        for _, layer in self.children():
            x = layer(x)
        return x

    def vjp(self, x, input_gradient=True):
        """Chain the children's pullbacks. Without ``input_gradient``, layers before the first trained one run as inference."""
        pullbacks, needed = [], input_gradient
        for _, layer in self.children():
            if needed or layer.has_parameters():
                x, pullback = layer.vjp(x, needed)
                pullbacks.append(pullback)
                needed = True
            else:
                x = layer(x)

        def pullback_all(grad):
            for pullback in reversed(pullbacks):
                grad = pullback(grad)
            return grad if input_gradient else None
        return x, pullback_all

    def keep_outputs(self, index):
        """Of the last child, such as the last of the layers that one was split into."""
        self.children()[-1][1].keep_outputs(index)

    def keep_inputs(self, index):
        """Of the first child."""
        self.children()[0][1].keep_inputs(index)
