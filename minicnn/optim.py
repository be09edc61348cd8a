"""Stochastic gradient descent and its learning-rate schedules, by torch's formulas."""

import math

import numpy as np

from minicnn.errors import InputError
from minicnn.functional.dispatch import operation


@operation
def sgd_update(parameter, gradient, buffer, lr, momentum, weight_decay, nesterov):
    """One step of ``SGD`` for one parameter, which is changed in place, and so is buffer, of the same shape; None without momentum."""
    if weight_decay:
        gradient = gradient + weight_decay * parameter
    if momentum:
        buffer *= momentum
        buffer += gradient
        gradient = gradient + momentum * buffer if nesterov else buffer
    parameter -= lr * gradient


class SGD:
    """Stochastic gradient descent with momentum, in torch.optim.SGD's order of operations.

        g = gradient + weight_decay * p
        buffer = momentum * buffer + g          (at first 0)
        p -= lr * buffer                        (Nesterov: lr * (g + momentum * buffer))

    Args:
        model: a Layer; its trained parameters are changed in place.
        lr: learning rate; may be set anew before each step.
        momentum, weight_decay: factors above.
        nesterov: look one step ahead.

    Buffers are keyed by the parameters' dotted paths.

    Reference: Sutskever et al., On the importance of initialization and momentum (2013); Nesterov's form as torch writes it.
    """

    def __init__(self, model, lr, momentum=0.0, weight_decay=0.0, nesterov=False):
        if nesterov and not momentum:
            raise InputError("SGD: got nesterov without momentum, expected momentum > 0. Set momentum, for example to 0.9.")
        self.model = model
        self.lr, self.momentum, self.weight_decay, self.nesterov = lr, momentum, weight_decay, nesterov
        self.buffers = {}

    def step(self):
        """Move every parameter that has a gradient, and forget the gradients."""
        for path, layer in self.model.named_layers():
            for name, gradient in layer.gradients.items():
                parameter, key = getattr(layer, name), f"{path}.{name}" if path else name
                if self.momentum and key not in self.buffers:
                    self.buffers[key] = np.zeros_like(parameter)
                sgd_update(parameter, gradient, self.buffers.get(key), self.lr, self.momentum, self.weight_decay, self.nesterov)
            layer.gradients.clear()


def clip_grad_norm(model, max_norm):
    """Scale all gradients down together so that their norm, over all parameters, is at most ``max_norm`` (torch's clip_grad_norm_).

    Returns:
        norm: float, before.

    Reference: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks (2013), section 3.2, algorithm 1.
    """
    gradients = [gradient for _, gradient in model.named_gradients()]
    norm = math.sqrt(sum(float(np.vdot(flat, flat)) for flat in (gradient.ravel(order="K") for gradient in gradients)))
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / (norm + 1e-6)
    return norm


def warmup(step, steps, start=1e-3):
    """Factor rising in a line from ``start`` at step 0 to 1 at ``steps``, as torch's LinearLR and torchvision's references."""
    return 1.0 if step >= steps else start + (1 - start) * step / steps


def step_schedule(epoch, milestones, gamma=0.1):
    """Factor gamma for every milestone (epochs) reached, as torch's MultiStepLR."""
    return gamma ** sum(epoch >= milestone for milestone in milestones)


def cosine_schedule(step, steps):
    """Factor falling from 1 at step 0 to 0 at ``steps`` along half a cosine, as torch's CosineAnnealingLR.

    Reference: Loshchilov, Hutter, SGDR (2017), equation 5, without restarts.
    """
    return 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))
