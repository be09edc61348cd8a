"""Backbones: images -> a list of feature maps, finest first; and loading their weights from other networks."""

from minicnn.errors import InputError
from minicnn.layers import Layer, MaxPool2d
from minicnn.models.channel_groups import channel_group, units, walk
from minicnn.models.feature_extractor import FeatureExtractor


class SingleMapBackbone(FeatureExtractor):
    """Layers run one after the other, named 0, 1, 2, ...; the output of the last is the only map. A stage ends with a pooling."""

    def __init__(self, layers):
        vars(self).update({str(i): layer for i, layer in enumerate(layers)})

    @property
    def returned(self):
        """The names of the layers whose outputs are the maps."""
        return (self.children()[-1][0],)

    @property
    def last_pool(self):
        """Whether the map comes out of a pooling: weights do not show it, and it doubles the map's stride."""
        return isinstance(self.children()[-1][1], MaxPool2d)

    @property
    def stages(self):
        """For each stage the names of its layers; stages are frozen as a whole."""
        stages = [[]]
        for name, layer in self.children():
            stages[-1].append(name)
            if isinstance(layer, MaxPool2d):
                stages.append([])
        return [stage for stage in stages if stage]

    def walk(self, model, path):
        """The channel groups, see ``models.channel_groups.walk``."""
        return walk(model, units(path, self))


class BackboneWithFPN(Layer):
    """A feature extractor that returns several maps, and the feature pyramid on them.

    Args:
        body: a ``FeatureExtractor``, such as a ``ResNet50``.
        fpn: a ``FeaturePyramidNetwork``.
    """

    def __init__(self, body, fpn):
        self.body, self.fpn = body, fpn

    def __call__(self, x):
        return self.fpn(self.body(x))

    def freeze(self, trainable_layers):
        """See ``FeatureExtractor.freeze``; the pyramid is always trained."""
        self.body.freeze(trainable_layers)

    def frozen(self):
        """See ``FeatureExtractor.frozen``."""
        return self.body.frozen()

    def start(self, x):
        """See ``FeatureExtractor.start``."""
        return self.body.start(x)

    def vjp(self, state):
        """See ``FeatureExtractor.vjp``."""
        maps, to_body = self.body.vjp(state)
        pyramid, to_maps = self.fpn.vjp(maps, self.body.frozen_maps())
        return pyramid, lambda grads: to_body(to_maps(grads))

    def walk(self, model, path):
        """The channel groups, see ``models.channel_groups.walk``: those within the body and its blocks, those of the maps that only the
        pyramid reads, and the pyramid's."""
        blocks = [block for block in self.body.named_layers(f"{path}.body") if hasattr(block[1], "inner_groups")]
        inner = [group for place, block in blocks for group in block.inner_groups(model, place)]
        readers = self.fpn.readers(model, f"{path}.fpn")
        maps = [channel_group(model, chain.producers, chain.followers, [readers[number]])
                for number, chain in self.body.untied_maps(model, f"{path}.body").items()]
        pyramid = self.fpn.walk(model, f"{path}.fpn")
        return pyramid._replace(groups=[*inner, *maps, *pyramid.groups])


# how other files name a backbone's arrays: the prefix there, and the prefix here that they lack. For whole detectors; for a backbone, or
# VGG16's features, alone; for VGG16; for ResNet-50 alone; for MobileNetV3
PREFIXES = (("backbone.", ""), ("", ""), ("features.", ""), ("", "body."), ("features.", "body."))


def load_backbone(backbone, arrays):
    """Copy a backbone's weights from the arrays of another network: a detector, a classifier, or features alone.

    Args:
        backbone: of a detector. Its pyramid is copied, too, if the arrays have one.
        arrays: {path: array}, with our or torchvision's paths.

    Raises:
        InputError: the arrays have no such backbone, or its shapes differ.
    """
    own = [name for name, _ in backbone.named_arrays()]
    for theirs, ours in PREFIXES:
        names = {name: theirs + name.removeprefix(ours) for name in own}
        found = {name: arrays[other] for name, other in names.items() if other in arrays}
        if all(name in found or name.startswith("fpn.") for name in own):
            backbone.load_arrays(found, strict=False)
            return
    raise InputError(f"got arrays named {', '.join(list(arrays)[:3])}, ..., expected a backbone's, such as backbone.{own[0]}. "
                     "Give a detector of the same architecture, or the classifier that its backbone comes from.")
