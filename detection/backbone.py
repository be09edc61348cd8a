"""Backbones: images -> a list of maps, finest first."""

from minicnn.errors import InputError
from minicnn.layers import Layer, MaxPool2d
from minicnn.models.channel_groups import units, walk
from minicnn.models.feature_extractor import FeatureExtractor


class SingleMapBackbone(FeatureExtractor):
    """A chain of layers, named 0, 1, 2, ..., whose one output is the only map. A stage ends with a pooling."""

    def __init__(self, layers):
        vars(self).update({str(i): layer for i, layer in enumerate(layers)})

    @property
    def returned(self):
        return (self.children()[-1][0],)

    @property
    def stages(self):
        stages = [[]]
        for name, layer in self.children():
            stages[-1].append(name)
            if isinstance(layer, MaxPool2d):
                stages.append([])
        return [stage for stage in stages if stage]

    def walk(self, model, path):
        """See ``models.chain.walk``."""
        return walk(model, units(path, self))


class BackboneWithFPN(Layer):
    """A body that returns several maps, and the feature pyramid over them."""

    def __init__(self, body, fpn):
        self.body, self.fpn = body, fpn

    def __call__(self, x):
        return self.fpn(self.body(x))

    def freeze(self, trainable_layers):
        """See ``models.body.FeatureExtractor``; the pyramid is always trained."""
        self.body.freeze(trainable_layers)

    def frozen(self):
        return self.body.frozen()

    def start(self, x):
        return self.body.start(x)

    def vjp(self, state):
        """See ``models.body.FeatureExtractor``."""
        maps, to_body = self.body.vjp(state)
        pyramid, to_maps = self.fpn.vjp(maps, self.body.frozen_maps())
        return pyramid, lambda grads: to_body(to_maps(grads))

    def walk(self, model, path):
        """See ``models.chain.walk``; of the body the groups within its blocks."""
        blocks = [block for block in self.body.named_layers(f"{path}.body") if hasattr(block[1], "inner_groups")]
        pyramid = self.fpn.walk(model, f"{path}.fpn")
        return pyramid._replace(groups=[one for place, block in blocks for one in block.inner_groups(model, place)] + pyramid.groups)


# what stands before a backbone's paths in other files, and what of the paths is left out there: whole detectors; a backbone, or
# VGG16's features, alone; VGG16; ResNet-50 alone; MobileNetV3
PLACES = (("backbone.", ""), ("", ""), ("features.", ""), ("", "body."), ("features.", "body."))


def load_backbone(backbone, arrays):
    """Copy a backbone's weights from the arrays of another network: a detector, a classifier, or features alone.

    Args:
        backbone: of a detector; its pyramid takes part if it is in the arrays, too.
        arrays: {path: array}, ours or torchvision's.

    Raises:
        InputError: there is no such backbone in them, or it has other shapes.
    """
    own = [name for name, _ in backbone.named_arrays()]
    for before, less in PLACES:
        names = {name: before + name.removeprefix(less) for name in own}
        found = {name: arrays[other] for name, other in names.items() if other in arrays}
        if all(name in found or name.startswith("fpn.") for name in own):
            backbone.load_arrays(found, strict=False)
            return
    raise InputError(f"got arrays named {', '.join(list(arrays)[:3])}, ..., expected a backbone's, such as backbone.{own[0]}. "
                     "Give a detector of the same architecture, or the classifier that its backbone comes from.")
