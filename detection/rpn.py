"""The region proposal network: for every anchor on every map, is there an object, and where exactly?

A small convolutional head slides over all maps; its best answers, moved to where it says and freed of near duplicates, are the
proposals that the box head looks at.

Reference: Ren et al., Faster R-CNN (2015), section 3.1; Lin et al., Feature pyramid networks (2017), section 4.1, for several maps.
"""

import numpy as np

from minicnn import functional as F
from minicnn.detection import boxes as B
from minicnn.detection.anchors import base_anchors, grid_anchors
from minicnn.functional.kernels import run
from minicnn.layers import Conv2d, Layer, ReLU, Sequential

MIN_SIDE = 1e-3         # pixels; smaller proposals are dropped


class RPNHead(Layer):
    """``conv_depth`` 3 x 3 convolutions with ReLU, then two 1 x 1: one logit and four deltas for each of A anchors."""

    def __init__(self, channels, num_anchors, conv_depth=1, *, rng=None):
        self.conv = Sequential([Sequential([Conv2d(channels, channels, 3, padding=1, rng=rng), ReLU()]) for _ in range(conv_depth)])
        self.cls_logits = Conv2d(channels, num_anchors, 1, rng=rng)
        self.bbox_pred = Conv2d(channels, 4 * num_anchors, 1, rng=rng)

    def __call__(self, x):
        """x (N, C, H, W) -> objectness (N, H W A) and deltas (N, H W A, 4), in the order of the anchors."""
        x = self.conv(x)
        n, _, h, w = x.shape
        objectness = self.cls_logits(x).transpose(0, 2, 3, 1)                                       # (N, H, W, A)
        deltas = self.bbox_pred(x).transpose(0, 2, 3, 1)                                            # (N, H, W, 4 A)
        return objectness.reshape(n, -1), deltas.reshape(n, -1, 4)


class RegionProposalNetwork(Layer):
    """Maps -> proposals, one (R, 4) array a picture, best first.

    Args:
        head: an ``RPNHead``.
        anchor_sizes, aspect_ratios: for each map, finest first.
        pre_nms_top_n: of each map the so many highest logits go on.
        post_nms_top_n: so many proposals of a picture are left.
        nms_thresh: overlap above which the lower of two is dropped.
        score_thresh: least score.
    """

    def __init__(self, head, anchor_sizes, aspect_ratios, pre_nms_top_n, post_nms_top_n, nms_thresh, score_thresh):
        self.head = head
        self.anchor_sizes, self.aspect_ratios = anchor_sizes, aspect_ratios
        self.pre_nms_top_n, self.post_nms_top_n = pre_nms_top_n, post_nms_top_n
        self.nms_thresh, self.score_thresh = nms_thresh, score_thresh

    def __call__(self, maps, batch):
        """maps: (N, C, H_l, W_l), finest first; batch: a ``transform.Batch``."""
        answers = [run(self.head, x) for x in maps]
        anchors = self.anchors(maps, batch)
        return [self.propose([(objectness[i], deltas[i]) for objectness, deltas in answers], anchors, size)
                for i, size in enumerate(batch.sizes)]

    def anchors(self, maps, batch):
        """A list of (H_l W_l A, 4), one for each map; the same for every picture of the batch."""
        return [grid_anchors(base_anchors(sizes, ratios), x.shape[2:], batch.pixels.shape[2:])
                for sizes, ratios, x in zip(self.anchor_sizes, self.aspect_ratios, maps)]

    def propose(self, answers, anchors, size):
        """The proposals of one picture of size (h, w), from each map's (objectness, deltas) and anchors."""
        boxes, scores, levels = self.candidates(answers, anchors, size)
        return boxes[B.batched_nms(boxes, scores, levels, self.nms_thresh)[:self.post_nms_top_n]]

    def candidates(self, answers, anchors, size):
        """What ``propose`` chooses from: boxes (R, 4), scores (R,) and levels (R,), before near duplicates are suppressed."""
        boxes, logits, levels = [], [], []
        for level, ((objectness, deltas), level_anchors) in enumerate(zip(answers, anchors)):
            top = B.top(objectness, self.pre_nms_top_n)
            boxes.append(B.decode(deltas[top], level_anchors[top], (1, 1, 1, 1))[:, 0])
            logits.append(objectness[top])
            levels.append(np.full(len(top), level))
        boxes, scores, levels = np.concatenate(boxes), F.sigmoid(np.concatenate(logits)), np.concatenate(levels)

        boxes = B.clip(boxes, size)
        good = B.are_large(boxes, MIN_SIDE) & (scores >= np.float32(self.score_thresh))
        return boxes[good], scores[good], levels[good]
