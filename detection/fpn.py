"""The feature pyramid: from maps of several resolutions, as many maps that all have both detail and context.

A coarse map has context (what is there), a fine map detail (where it is). From coarse to fine, each map is added to the upsampled one
before it:

    merged_l = lateral_l(c_l) + upsample(merged_{l+1}),   p_l = output_l(merged_l)

with a 1 x 1 convolution as lateral and a 3 x 3 one as output, neither followed by an activation. c_l is a map of the backbone, p_l one of
the pyramid.

Reference: Lin et al., Feature pyramid networks for object detection (2017), section 3 and figure 3.
"""

from minicnn import functional as F
from minicnn.layers import Conv2d, Layer, Sequential
from minicnn.models.channel_groups import Walk, channel_group, units, walk


class FeaturePyramidNetwork(Layer):
    """torchvision's FeaturePyramidNetwork with its LastLevelMaxPool.

    Args:
        in_channels: number of channels of each input map, finest first.
        out_channels: number of channels of each output map.
        norm: function num_features -> norm layer after each convolution, which then has no bias; None: no norm, but a bias.
        rng: numpy.random.Generator that draws the weights, or None.
    """

    def __init__(self, in_channels, out_channels, norm=None, *, rng=None):
        def block(channels, kernel):
            conv = Conv2d(channels, out_channels, kernel, padding=kernel // 2, bias=norm is None, rng=rng)
            return Sequential([conv] if norm is None else [conv, norm(out_channels)])
        self.inner_blocks = Sequential([block(channels, 1) for channels in in_channels])
        self.layer_blocks = Sequential([block(out_channels, 3) for _ in in_channels])

    def __call__(self, maps):
        """Build the pyramid.

        Args:
            maps: list of (N, C_l, H_l, W_l), finest first.

        Returns:
            pyramid: list of (N, out_channels, H_l, W_l), finest first, and one map of half the coarsest's size.
        """
        laterals = [layer for _, layer in self.inner_blocks.children()]
        outputs = [layer for _, layer in self.layer_blocks.children()]
        merged, pyramid = None, []
        for x, lateral, output in reversed(list(zip(maps, laterals, outputs))):
            x = lateral(x)
            merged = x if merged is None else x + F.interpolate(merged, x.shape[2:])
            pyramid.insert(0, output(merged))
        return [*pyramid, pyramid[-1][:, :, ::2, ::2]]          # a max pooling with a kernel of 1 and a stride of 2

    def vjp(self, maps, frozen_maps=0):
        """The pyramid and its pullback: a gradient for each of its maps -> one for each of ``maps``, None for the first ``frozen_maps``,
        which come out of frozen layers."""
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

    def readers(self, model, path):
        """The path of the layer that reads each map of the body, finest first."""
        return [walk(model, units(f"{path}.inner_blocks.{name}", block)).consumer for name, block in self.inner_blocks.children()]

    def walk(self, model, path):
        """The channel groups, see ``models.channel_groups.walk``: the merged maps are sums, so their channels are one group, and so are the
        outputs'."""
        laterals, outputs = ([walk(model, units(f"{path}.{part}.{name}", block)) for name, block in getattr(self, part).children()]
                             for part in ("inner_blocks", "layer_blocks"))
        merged, out = ([sum((getattr(block, kind) for block in walks), ()) for kind in ("producers", "followers")]
                       for walks in (laterals, outputs))
        groups = [inner for block in (*laterals, *outputs) for inner in block.groups]
        return Walk(None, [*groups, channel_group(model, *merged, [block.consumer for block in outputs])], *out)
