"""The feature pyramid: coarse maps, which know what is there, are added to fine ones, which know where.

    merged_l = lateral_l(c_l) + upsample(merged_{l+1}),   p_l = output_l(merged_l)

with a 1 x 1 convolution as lateral and a 3 x 3 as output, none of them followed by an activation.

Reference: Lin et al., Feature pyramid networks for object detection (2017), section 3 and figure 3.
"""

from minicnn import functional as F
from minicnn.layers import Conv2d, Layer, Sequential
from minicnn.models.channel_groups import Walk, channel_group, units, walk


class FeaturePyramidNetwork(Layer):
    """torchvision's FeaturePyramidNetwork with its LastLevelMaxPool.

    Args:
        in_channels: of each map it reads, finest first.
        out_channels: of each map it makes.
        norm: num_features -> layer after each convolution, which then has no bias; None: no norm, but a bias.
    """

    def __init__(self, in_channels, out_channels, norm=None, *, rng=None):
        def block(channels, kernel):
            conv = Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=norm is None, rng=rng)
            return Sequential([conv] if norm is None else [conv, norm(out_channels)])
        self.inner_blocks = Sequential([block(channels, 1) for channels in in_channels])
        self.layer_blocks = Sequential([block(out_channels, 3) for _ in in_channels])

    def __call__(self, maps):
        """maps (N, C_l, H_l, W_l), finest first -> as many of ``out_channels``, and one of half the size of the coarsest."""
        laterals = [layer for _, layer in self.inner_blocks.children()]
        outputs = [layer for _, layer in self.layer_blocks.children()]
        merged, pyramid = None, []
        for x, lateral, output in reversed(list(zip(maps, laterals, outputs))):
            x = lateral(x)
            merged = x if merged is None else x + F.interpolate(merged, x.shape[2:])
            pyramid.insert(0, output(merged))
        return [*pyramid, pyramid[-1][:, :, ::2, ::2]]          # a max pooling with a kernel of 1 and a stride of 2

    def vjp(self, maps, frozen_maps=0):
        """The pyramid and its pullback: a gradient for each of its maps -> one for each of ``maps``; None for the first
        ``frozen_maps``."""
        laterals = [layer for _, layer in self.inner_blocks.children()]
        outputs = [layer for _, layer in self.layer_blocks.children()]
        merged, pyramid, pullbacks = None, [], []
        for level, x in reversed(list(enumerate(maps))):
            x, to_map = laterals[level].vjp(x, level >= frozen_maps)
            merged = x if merged is None else x + F.interpolate(merged, x.shape[2:])
            p, to_merged = outputs[level].vjp(merged)
            pyramid.insert(0, p)
            pullbacks.insert(0, (to_map, to_merged))

        def pullback(grads):
            *grads, last = grads
            grads[-1] = grads[-1].copy()
            grads[-1][:, :, ::2, ::2] += last
            grad_maps, finer = [], None
            for (to_map, to_merged), grad in zip(pullbacks, grads):
                own = to_merged(grad)
                if finer is not None:
                    own = own + F.interpolate_backward(finer, own.shape)
                grad_maps.append(to_map(own))
                finer = own
            return grad_maps
        return [*pyramid, pyramid[-1][:, :, ::2, ::2]], pullback

    def walk(self, model, path):
        """See ``models.chain.walk``: the merged maps are sums, so their channels are one group, and so are those that come out."""
        laterals, outputs = ([walk(model, units(f"{path}.{part}.{name}", block)) for name, block in getattr(self, part).children()]
                             for part in ("inner_blocks", "layer_blocks"))
        merged, out = ([sum((getattr(one, kind) for one in walks), ()) for kind in ("producers", "followers")]
                       for walks in (laterals, outputs))
        groups = [inner for one in (*laterals, *outputs) for inner in one.groups]
        return Walk(None, [*groups, channel_group(model, *merged, [one.consumer for one in outputs])], *out)
