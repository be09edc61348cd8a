"""Stochastic gradient descent and learning-rate schedules, by torch's formulas."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minicnn.errors import InputError
from minicnn.functional import checks
from minicnn.functional.dispatch import check_of, operation
from minicnn.layers import Layer


@operation
def sgd_update(parameter: np.ndarray, gradient: np.ndarray, buffer: Any, lr: float, momentum: float, weight_decay: float,
               nesterov: bool) -> None:
    """One step of ``SGD`` for one parameter, in place.

    Args:
        parameter, gradient: of the same shape.
        buffer: of the same shape, changed in place too; None without momentum.
        lr, momentum, weight_decay, nesterov: see ``SGD``.
    """
    if weight_decay:
        gradient = gradient + weight_decay * parameter
    if momentum:
        buffer *= momentum
        buffer += gradient
        gradient = gradient + momentum * buffer if nesterov else buffer
    parameter -= lr * gradient


@check_of(sgd_update)
def check_sgd_update(parameter, gradient, buffer, lr, momentum, weight_decay, nesterov):
    checks.one_dtype("SGD", parameter=parameter, gradient=gradient, buffer=buffer)
    checks.shape("SGD", "gradient", gradient, parameter.shape)
    checks.shape("SGD", "buffer", buffer, parameter.shape)


class SGD:
    """Stochastic gradient descent with momentum, in torch.optim.SGD's order of operations.

        g = gradient + weight_decay * p
        buffer = momentum * buffer + g          (at first 0)
        p -= lr * buffer                        (Nesterov: lr * (g + momentum * buffer))

    Args:
        model: its trained parameters are changed in place.
        lr: learning rate; the attribute may be changed before each step.
        momentum, weight_decay: the factors above.
        nesterov: whether to take Nesterov's form.

    Raises:
        InputError: a number is negative, or nesterov without momentum.

    Attributes:
        buffers: {dotted path of the parameter: buffer}.

    Reference: Sutskever et al., On the importance of initialization and momentum (2013); Nesterov's form as torch writes it.
    """

    def __init__(self, model: Layer, lr: float, momentum: float = 0.0, weight_decay: float = 0.0, nesterov: bool = False):
        if nesterov and not momentum:
            raise InputError("SGD: got nesterov without momentum, expected momentum > 0. Set momentum, for example to 0.9.")
        if min(lr, momentum, weight_decay) < 0:
            raise InputError(f"SGD: got lr={lr}, momentum={momentum}, weight_decay={weight_decay}, expected at least 0 for each.")
        self.model = model
        self.lr, self.momentum, self.weight_decay, self.nesterov = lr, momentum, weight_decay, nesterov
        self.buffers: dict[str, np.ndarray] = {}

    def step(self) -> None:
        """Update every parameter that has a gradient, and forget the gradients."""
        for path, layer in self.model.named_layers():
            for name, gradient in layer.gradients.items():
                parameter, key = getattr(layer, name), f"{path}.{name}" if path else name
                if self.momentum and key not in self.buffers:
                    self.buffers[key] = np.zeros_like(parameter)
                sgd_update(parameter, gradient, self.buffers.get(key), self.lr, self.momentum, self.weight_decay, self.nesterov)
            layer.gradients.clear()


def clip_grad_norm(model: Layer, max_norm: float) -> float:
    """Scale all gradients by one factor so that their norm, over all parameters, is at most ``max_norm``; torch's clip_grad_norm_.

    Returns:
        norm: before the scaling.

    Reference: Pascanu, Mikolov, Bengio, On the difficulty of training recurrent neural networks (2013), section 3.2, algorithm 1.
    """
    gradients = [gradient for _, gradient in model.named_gradients()]
    norm = math.sqrt(sum(float(np.vdot(flat, flat)) for flat in (gradient.ravel(order="K") for gradient in gradients)))
    if norm > max_norm:
        for gradient in gradients:
            gradient *= max_norm / (norm + 1e-6)
    return norm


def warmup(step: int, steps: int, start: float = 1e-3) -> float:
    """Factor that rises linearly from ``start`` at step 0 to 1 at ``steps``, as torch's LinearLR and torchvision's references.

    Raises:
        InputError: start is not above 0 and at most 1.

    >>> [round(warmup(step, 4), 3) for step in (0, 1, 2, 4, 100)]
    [0.001, 0.251, 0.5, 1.0, 1.0]
    """
    if not 0 < start <= 1:
        raise InputError(f"warmup: got start={start}, expected more than 0, and at most 1.")
    return 1.0 if step >= steps else start + (1 - start) * step / steps


def step_schedule(epoch: int, milestones: Sequence[int], gamma: float = 0.1) -> float:
    """Factor that is multiplied by gamma at every milestone, an epoch, as torch's MultiStepLR.

    >>> [step_schedule(epoch, (3, 5), 0.5) for epoch in (2, 3, 4, 5)]
    [1.0, 0.5, 0.5, 0.25]
    """
    return gamma ** sum(epoch >= milestone for milestone in milestones)


def cosine_schedule(step: int, steps: int) -> float:
    """Factor that falls from 1 at step 0 to 0 at ``steps`` along half a cosine, as torch's CosineAnnealingLR.

    Raises:
        InputError: steps is below 1.

    Reference: Loshchilov, Hutter, SGDR (2017), equation 5, without restarts.

    >>> [round(cosine_schedule(step, 4), 3) for step in (0, 1, 2, 3, 4)]
    [1.0, 0.854, 0.5, 0.146, 0.0]
    """
    if steps < 1:
        raise InputError(f"cosine_schedule: got steps={steps}, expected at least 1.")
    return 0.5 * (1 + math.cos(math.pi * min(step, steps) / steps))
