"""The region proposal network: for every anchor on every map, is there an object, and where exactly?

A small convolutional head slides over all maps; its best answers, moved to where it says and freed of near duplicates, are the
proposals that the box head looks at.

Reference: Ren et al., Faster R-CNN (2015), section 3.1; Lin et al., Feature pyramid networks (2017), section 4.1, for several maps.
"""

import numpy as np

from minicnn import functional as F
from minicnn.detection import boxes as B
from minicnn.detection.anchors import base_anchors, grid_anchors
from minicnn.detection.training.losses import assign, rpn_losses, sample
from minicnn.functional.dispatch import run
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
    """Maps -> proposals, one (R, 4) array an image, best first.

    Args:
        head: an ``RPNHead``.
        anchor_sizes, aspect_ratios: for each map, finest first.
        pre_nms_top_n: of each map the so many highest logits go on.
        post_nms_top_n: so many proposals of an image are left.
        nms_thresh: overlap above which the lower of two is dropped.
        score_thresh: least score.
        pre_nms_top_n_train, post_nms_top_n_train: the same two in training.
        fg_iou_thresh, bg_iou_thresh: an anchor is positive from that overlap on, negative below this.
        batch_size_per_image, positive_fraction: so many anchors of an image are learnt from, at most such a share of them positive.
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
        """maps: (N, C, H_l, W_l), finest first; batch: a ``transform.Batch``."""
        return self.proposals([run(self.head, x) for x in maps], self.anchors(maps, batch), batch.sizes)

    def vjp(self, maps, batch, targets, permutation, input_gradient=True, lesson=None):
        """Training: what ``__call__`` returns, the losses, and their pullback.

        Args:
            maps, batch: as for ``__call__``.
            targets: a ``losses.Target`` for each image.
            permutation: see ``losses.sample``.
            lesson: a teacher's ``distillation.TeacherOutputs``, or None.

        Returns:
            proposals: (R, 4) of each image; no gradient flows through them.
            losses: see ``losses.rpn_losses``.
            pullback: scale -> a gradient for each map.
        """
        answers, to_maps = zip(*(self.head.vjp(x, input_gradient) for x in maps))
        anchors = self.anchors(maps, batch)
        proposals = self.proposals(answers, anchors, batch.sizes)
        ends = np.cumsum([len(level) for level in anchors])[:-1]
        anchors = np.concatenate(anchors)
        objectness, deltas = (np.concatenate(arrays, axis=1) for arrays in zip(*answers))               # (N, R), (N, R, 4)
        labels, encoded, positive, negative = [], [], [], []
        for i, target in enumerate(targets):
            own, true_boxes = assign(anchors, target, self.fg_iou_thresh, self.bg_iou_thresh, low_quality=True)
            chosen, others = sample(own, self.batch_size_per_image, self.positive_fraction, permutation)
            labels.append(own)
            encoded.append(B.encode(true_boxes[chosen], anchors[chosen], (1, 1, 1, 1)))
            positive.append(chosen + i * len(anchors))
            negative.append(others + i * len(anchors))
        labels, encoded, positive, negative = map(np.concatenate, (labels, encoded, positive, negative))
        answers = objectness.reshape(-1), deltas.reshape(-1, 4)
        found = rpn_losses(*answers, labels > 0, encoded, positive, negative)
        losses, to_answers = lesson.add_rpn_losses(found, *answers, positive, negative) if lesson else found

        def pullback(scale):
            grads = (grad.reshape(whole.shape) for grad, whole in zip(to_answers(scale), (objectness, deltas)))
            levels = zip(*(np.split(grad, ends, axis=1) for grad in grads))
            return [to_map(*level) for to_map, level in zip(to_maps, levels)]
        return proposals, losses, pullback

    def proposals(self, answers, anchors, sizes):
        """The proposals of each image, from each map's objectness (N, R_l), deltas (N, R_l, 4) and anchors (R_l, 4)."""
        return [self.propose([(objectness[i], deltas[i]) for objectness, deltas in answers], anchors, size)
                for i, size in enumerate(sizes)]

    def anchors(self, maps, batch):
        """A list of (H_l W_l A, 4), one for each map; the same for every image of the batch."""
        return [grid_anchors(base_anchors(sizes, ratios), x.shape[2:], batch.pixels.shape[2:])
                for sizes, ratios, x in zip(self.anchor_sizes, self.aspect_ratios, maps)]

    def propose(self, answers, anchors, size):
        """The proposals of one image of size (h, w), from each map's (objectness, deltas) and anchors."""
        boxes, scores, levels = self.candidates(answers, anchors, size)
        count = self.post_nms_top_n_train if self.training else self.post_nms_top_n
        return boxes[B.batched_nms(boxes, scores, levels, self.nms_thresh)[:count]]

    def candidates(self, answers, anchors, size):
        """What ``propose`` chooses from: boxes (R, 4), scores (R,) and levels (R,), before near duplicates are suppressed."""
        count = self.pre_nms_top_n_train if self.training else self.pre_nms_top_n
        boxes, logits, levels = [], [], []
        for level, ((objectness, deltas), level_anchors) in enumerate(zip(answers, anchors)):
            top = B.top(objectness, count)
            boxes.append(B.decode(deltas[top], level_anchors[top], (1, 1, 1, 1))[:, 0])
            logits.append(objectness[top])
            levels.append(np.full(len(top), level))
        boxes, scores, levels = np.concatenate(boxes), F.sigmoid(np.concatenate(logits)), np.concatenate(levels)

        boxes = B.clip(boxes, size)
        good = B.are_large(boxes, MIN_SIDE) & (scores >= np.float32(self.score_thresh))
        return boxes[good], scores[good], levels[good]
