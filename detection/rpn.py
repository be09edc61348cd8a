"""The region proposal network: for every anchor on every feature map, is there an object, and where exactly?

A small convolutional head slides over all maps and predicts an objectness logit and four deltas for each anchor. The anchors of highest
objectness, moved by their deltas and freed of near duplicates, are the proposals that the box head classifies.

Letters: N images, C channels, H_l x W_l cells of map l, A anchors a cell, R_l = H_l W_l A anchors of map l, R proposals.

Reference: Ren et al., Faster R-CNN (2015), section 3.1; Lin et al., Feature pyramid networks (2017), section 4.1, for several maps.
"""

import numpy as np

from minicnn import functional as F
from minicnn.detection import boxes as B
from minicnn.detection.anchors import base_anchors, grid_anchors
from minicnn.functional.dispatch import run
from minicnn.layers import Conv2d, Layer, ReLU, Sequential

MIN_SIDE = 1e-3         # pixels; smaller proposals are dropped
WEIGHTS = (1, 1, 1, 1)  # of the RPN's deltas, see ``boxes.decode``


class RPNHead(Layer):
    """3 x 3 convolutions with ReLU, then two 1 x 1 convolutions: an objectness logit and four deltas for each of A anchors.

    Args:
        channels: C, of the maps and of the hidden layers.
        num_anchors: A.
        conv_depth: number of 3 x 3 convolutions.
        rng: numpy.random.Generator that draws the weights, or None.

    Reference: Ren et al., section 3.1, figure 3 (left).
    """

    def __init__(self, channels, num_anchors, conv_depth=1, *, rng=None):
        self.conv = Sequential([Sequential([Conv2d(channels, channels, 3, padding=1, rng=rng), ReLU()]) for _ in range(conv_depth)])
        self.cls_logits = Conv2d(channels, num_anchors, 1, rng=rng)
        self.bbox_pred = Conv2d(channels, 4 * num_anchors, 1, rng=rng)

    def __call__(self, x):
        """x (N, C, H, W) -> objectness (N, H W A) and deltas (N, H W A, 4), in the order of ``anchors.grid_anchors``."""
        x = self.conv(x)
        n, _, h, w = x.shape
        objectness = self.cls_logits(x).transpose(0, 2, 3, 1)                                       # (N, H, W, A)
        deltas = self.bbox_pred(x).transpose(0, 2, 3, 1)                                            # (N, H, W, 4 A)
        return objectness.reshape(n, -1), deltas.reshape(n, -1, 4)

    def vjp(self, x, input_gradient=True):
        """((objectness, deltas), pullback): pullback(grad_objectness, grad_deltas) -> grad_x."""
        x, to_conv = self.conv.vjp(x, input_gradient)
        n, _, h, w = x.shape
        objectness, to_logits = self.cls_logits.vjp(x)
        deltas, to_boxes = self.bbox_pred.vjp(x)

        def pullback(grad_objectness, grad_deltas):
            grads = (grad.reshape(n, h, w, -1).transpose(0, 3, 1, 2) for grad in (grad_objectness, grad_deltas))
            return to_conv(sum(to(grad) for to, grad in zip((to_logits, to_boxes), grads)))
        return (objectness.transpose(0, 2, 3, 1).reshape(n, -1), deltas.transpose(0, 2, 3, 1).reshape(n, -1, 4)), pullback


class RegionProposalNetwork(Layer):
    """Feature maps -> proposals, an (R, 4) array for each image, by descending objectness.

    Args:
        head: an ``RPNHead``.
        anchor_sizes, aspect_ratios: a list for each map, finest map first; see ``anchors.base_anchors``.
        pre_nms_top_n: anchors kept per feature map before NMS, by objectness.
        post_nms_top_n: proposals kept per image after NMS.
        nms_thresh: IoU above which the lower-scored of two proposals is suppressed.
        score_thresh: least objectness, as a probability.
        pre_nms_top_n_train, post_nms_top_n_train: the same two numbers in training.
        fg_iou_thresh, bg_iou_thresh: in training an anchor is positive from the first IoU on, negative below the second.
        batch_size_per_image, positive_fraction: anchors sampled per image for the loss, and the largest share of positive ones.
    """

    def __init__(self, head, anchor_sizes, aspect_ratios, pre_nms_top_n, post_nms_top_n, nms_thresh, score_thresh, *,
                 pre_nms_top_n_train=2000, post_nms_top_n_train=2000, fg_iou_thresh=0.7, bg_iou_thresh=0.3, batch_size_per_image=256,
                 positive_fraction=0.5):
        self.head = head
        self.anchor_sizes, self.aspect_ratios = anchor_sizes, aspect_ratios
        self.pre_nms_top_n, self.post_nms_top_n = pre_nms_top_n, post_nms_top_n
        self.nms_thresh, self.score_thresh = nms_thresh, score_thresh
        self.pre_nms_top_n_train, self.post_nms_top_n_train = pre_nms_top_n_train, post_nms_top_n_train
        self.fg_iou_thresh, self.bg_iou_thresh = fg_iou_thresh, bg_iou_thresh
        self.batch_size_per_image, self.positive_fraction = batch_size_per_image, positive_fraction

    def __call__(self, maps, batch):
        """The proposals of each image of a batch.

        Args:
            maps: list of (N, C, H_l, W_l), finest first.
            batch: the ``transform.Batch`` that they are the features of.

        Returns:
            proposals: for each image (R, 4) float32: x1, y1, x2, y2 in pixels of the resized image.
        """
        return self.proposals([run(self.head, x) for x in maps], self.anchors(maps, batch), batch.sizes)

    def vjp(self, maps, input_gradient=True):
        """The head on every map, and its pullback.

        Args:
            maps: list of (N, C, H_l, W_l), finest first.
            input_gradient: whether the maps need a gradient.

        Returns:
            outputs: for each map (objectness (N, R_l), deltas (N, R_l, 4)).
            pullback: gradients in the form of ``outputs`` -> a gradient for each map; adds the head's.
        """
        outputs, pullbacks = zip(*(self.head.vjp(x, input_gradient) for x in maps))
        return outputs, lambda grads: [pullback(*grad) for pullback, grad in zip(pullbacks, grads)]

    def anchors(self, maps, batch):
        """A list of (R_l, 4), the anchors of each map; they are the same for every image of the batch."""
        return [grid_anchors(base_anchors(sizes, ratios), x.shape[2:], batch.pixels.shape[2:])
                for sizes, ratios, x in zip(self.anchor_sizes, self.aspect_ratios, maps)]

    def proposals(self, outputs, anchors, sizes):
        """The proposals of each image, from each map's objectness (N, R_l), deltas (N, R_l, 4) and anchors (R_l, 4)."""
        return [self.propose([(objectness[i], deltas[i]) for objectness, deltas in outputs], anchors, size)
                for i, size in enumerate(sizes)]

    def propose(self, outputs, anchors, size):
        """The proposals (R, 4) of one image.

        Args:
            outputs: for each map (objectness (R_l,), deltas (R_l, 4)).
            anchors: for each map (R_l, 4).
            size: (h, w) of the resized image in pixels.
        """
        boxes, scores, levels = self.candidates(outputs, anchors, size)
        count = self.post_nms_top_n_train if self.training else self.post_nms_top_n
        return boxes[B.batched_nms(boxes, scores, levels, self.nms_thresh)[:count]]

    def candidates(self, outputs, anchors, size):
        """The boxes that NMS chooses from: the best anchors of each map, moved by their deltas and clipped to the image.

        Args:
            outputs, anchors, size: as for ``propose``.

        Returns:
            boxes (R, 4), scores (R,) in [0, 1] and levels (R,), the map that each is from.
        """
        count = self.pre_nms_top_n_train if self.training else self.pre_nms_top_n
        boxes, logits, levels = [], [], []
        for level, ((objectness, deltas), level_anchors) in enumerate(zip(outputs, anchors)):
            top = B.top(objectness, count)
            boxes.append(B.decode(deltas[top], level_anchors[top], WEIGHTS)[:, 0])
            logits.append(objectness[top])
            levels.append(np.full(len(top), level))
        boxes, scores, levels = np.concatenate(boxes), F.sigmoid(np.concatenate(logits)), np.concatenate(levels)

        boxes = B.clip(boxes, size)
        good = B.are_large(boxes, MIN_SIDE) & (scores >= np.float32(self.score_thresh))
        return boxes[good], scores[good], levels[good]
