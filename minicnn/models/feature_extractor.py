"""The convolutional body of a larger network: a chain of layers, some of whose outputs are the maps that it returns."""

from minicnn.errors import InputError
from minicnn.functional.dispatch import run
from minicnn.layers import Layer


class FrozenStages(Layer):
    """The frozen layers of a body as a network of their own: images -> its maps so far and, if it is none of them, the last output."""

    def __init__(self, layers, returned):
        vars(self).update(layers)
        self.returned = returned

    def __call__(self, x):
        maps, x = through(self, x)
        return maps if self.children()[-1][0] in self.returned else [*maps, x]


class FeatureExtractor(Layer):
    """Children run one after the other.

    A subclass names in ``returned`` the children whose outputs are the maps, and in ``stages`` the children that are frozen together,
    first ones first. Training goes in two steps, ``start`` through what is frozen and ``vjp`` through the rest, so that what the first
    one returns can be kept.
    """

    returned = ()
    stages = ()
    beginning = (None,)         # a ``FrozenStages``, in a tuple, since its layers are not there twice

    def __call__(self, x):
        """x (N, 3, H, W) -> a list of maps."""
        return through(self, x)[0]

    def freeze(self, trainable_layers):
        """Train the last so many stages only; the frozen ones run as in evaluation, and nothing runs back through them.

        Raises:
            InputError: there are not so many.
        """
        if not 0 <= trainable_layers <= len(self.stages):
            raise InputError(f"got trainable_backbone_layers={trainable_layers}, expected 0 to {len(self.stages)}. Choose how many of the "
                             "backbone's stages to train.")
        frozen = {name for stage in self.stages[:len(self.stages) - trainable_layers] for name in stage}
        for name, child in self.children():
            for _, layer in child.named_layers():
                layer.trainable = name not in frozen
        layers = {name: child for name, child in self.children() if name in frozen}
        self.beginning = (FrozenStages(layers, self.returned) if layers else None,)

    def frozen(self):
        """The ``FrozenStages``, None if everything is trained."""
        return self.beginning[0]

    def frozen_maps(self):
        """How many of the maps come out of frozen layers."""
        return sum(name in self.returned for name, _ in self.frozen().children()) if self.frozen() else 0

    def start(self, x):
        """x (N, 3, H, W) -> what ``vjp`` goes on from: a list of the maps so far and, if it is none of them, the last output."""
        return run(self.frozen(), x) if self.frozen() else [x]

    def vjp(self, state):
        """The maps, from what ``start`` returned, and their pullback: a gradient for each map -> None."""
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


def through(chain, x):
    """x through a chain's children: the outputs of those in its ``returned``, and the last one's."""
    maps = []
    for name, layer in chain.children():
        x = layer(x)
        if name in chain.returned:
            maps.append(x)
    return maps, x
