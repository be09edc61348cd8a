"""The convolutional part of a detector: a chain of layers, some of whose outputs are the feature maps that it returns."""

import numpy as np

from minicnn.errors import InputError
from minicnn.functional.dispatch import run
from minicnn.layers import Layer
from minicnn.models.channel_groups import Walk


class FrozenStages(Layer):
    """The frozen layers of a ``FeatureExtractor`` as a network, for which a plan can be made.

    Args:
        layers: {name: layer}, the extractor's first children.
        returned: names of the extractor's children whose outputs are feature maps.

    A call returns the state for ``FeatureExtractor.vjp``: the feature maps so far and, unless it is one of them, the last output.
    """

    def __init__(self, layers: dict[str, Layer], returned: tuple[str, ...]):
        vars(self).update(layers)
        self.returned = returned

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        maps, x = run_children(self, x)
        return maps if self.children()[-1][0] in self.returned else [*maps, x]


class FeatureExtractor(Layer):
    """A chain of layers that returns the outputs of some of them.

    A subclass names the children whose outputs are feature maps in ``returned``, and the children that are frozen together in
    ``stages``, first stage first. A training step has two parts, ``start`` through the frozen stages and ``vjp`` through the others, so
    that the result of the first can be cached.
    """

    returned: tuple[str, ...] = ()
    stages: tuple[tuple[str, ...], ...] = ()
    frozen_stages: tuple[FrozenStages | None] = (None,)         # in a tuple, since its layers are not children a second time

    def __call__(self, x: np.ndarray) -> list[np.ndarray]:
        """x (N, 3, H, W) -> feature maps (N, C, H, W)."""
        return run_children(self, x)[0]

    def freeze(self, trainable_layers: int) -> None:
        """Train only the last stages; the others run as in evaluation and get no gradients.

        Args:
            trainable_layers: number of stages to train.

        Raises:
            InputError: there are fewer stages.
        """
        if not 0 <= trainable_layers <= len(self.stages):
            raise InputError(f"got trainable_backbone_layers={trainable_layers}, expected 0 to {len(self.stages)}. Choose how many of the "
                             "backbone's stages to train.")
        frozen = {name for stage in self.stages[:len(self.stages) - trainable_layers] for name in stage}
        for name, child in self.children():
            for _, layer in child.named_layers():
                layer.trainable = name not in frozen
        layers = {name: child for name, child in self.children() if name in frozen}
        self.frozen_stages = (FrozenStages(layers, self.returned) if layers else None,)

    def untied_maps(self, model: Layer, path: str) -> dict[int, Walk]:
        """{number of a feature map: the ``Walk`` that makes it} of the maps that nothing else reads, and whose channels are not tied by
        a sum. model: the whole network; path: of this extractor in it."""
        return {}

    def frozen(self) -> FrozenStages | None:
        """The ``FrozenStages``; None if everything is trained."""
        return self.frozen_stages[0]

    def frozen_maps(self) -> int:
        """The number of feature maps that are outputs of frozen layers."""
        stages = self.frozen()
        return sum(name in self.returned for name, _ in stages.children()) if stages else 0

    def start(self, x: np.ndarray) -> list[np.ndarray]:
        """Run the frozen stages on x (N, 3, H, W); returns the state for ``vjp``, see ``FrozenStages``."""
        return run(self.frozen(), x) if self.frozen() else [x]

    def vjp(self, state):
        """The feature maps, from the state that ``start`` returned, and their pullback: a gradient for each map -> None."""
        done = self.frozen_maps()
        x, maps, pullbacks = state[-1], state[:done], []
        frozen = dict(self.frozen().children()) if self.frozen() else {}
        for name, layer in self.children():
            if name not in frozen:
                x, pullback = layer.vjp(x, bool(pullbacks))
                pullbacks.append((name, pullback))
                if name in self.returned:
                    maps.append(x)

        def pullback_all(grads):
            grads, grad = list(grads), None
            for name, pullback in reversed(pullbacks):
                if name in self.returned:
                    here = grads.pop()
                    grad = here if grad is None else grad + here
                grad = pullback(grad)
        return maps, pullback_all


def run_children(chain, x):
    """Run a chain's children on x; returns the outputs of those in its ``returned``, and the last output."""
    maps = []
    for name, layer in chain.children():
        x = layer(x)
        if name in chain.returned:
            maps.append(x)
    return maps, x
