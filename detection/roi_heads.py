"""The box head: for each proposal, class scores and a refined box for each class.

RoIAlign cuts a P x P grid of features out of the maps for each proposal; hidden layers make a vector of it, and two linear layers predict
from that a logit for each class and four deltas for each class. NMS within each class leaves the detections.

Letters: R proposals, C channels, P x P bins, K classes with the background as class 0, D detections.

Reference: Girshick, Fast R-CNN (2015), sections 2.1 and 2.2; Ren et al., Faster R-CNN (2015), section 3.2.
"""

import numpy as np

from minicnn import functional as F
from minicnn.detection import boxes as B
from minicnn.functional.dispatch import run
from minicnn.layers import Conv2d, Flatten, Layer, Linear, ReLU, Sequential

MIN_SIDE = 1e-2         # pixels; smaller detections are dropped


class TwoMLPHead(Layer):
    """Flatten, then two linear layers with ReLU: (R, C, P, P) -> (R, width).

    Args:
        channels: C. output_size: P. width: number of features of both layers.
        rng: numpy.random.Generator that draws the weights, or None.
    """

    def __init__(self, channels, output_size, width, *, rng=None):
        self.flatten = Flatten()
        self.fc6 = Linear(channels * output_size ** 2, width, rng=rng)
        self.fc7 = Linear(width, width, rng=rng)

    def steps(self):
        """The head as one ``Sequential``."""
        return Sequential([self.flatten, self.fc6, ReLU(), self.fc7, ReLU()])

    def __call__(self, x):
        return self.steps()(x)

    def vjp(self, x, input_gradient=True):
        return self.steps().vjp(x, input_gradient)


def conv_fc_head(channels, output_size, width, norm, *, rng=None):
    """The box head of ``fasterrcnn_resnet50_fpn_v2``: four 3 x 3 convolutions with norm and ReLU, then one linear layer with ReLU.

    Args:
        channels, output_size, width, rng: as for ``TwoMLPHead``.
        norm: a function num_features -> norm layer.

    Returns:
        head: a ``Sequential``, (R, C, P, P) -> (R, width).

    Reference: Li et al., Benchmarking detection transfer learning with vision transformers (2021), section 3, as torchvision has it.
    """
    blocks = [Sequential([Conv2d(channels, channels, 3, padding=1, bias=False, rng=rng), norm(channels), ReLU()]) for _ in range(4)]
    return Sequential([*blocks, Flatten(), Linear(channels * output_size ** 2, width, rng=rng), ReLU()])


class FastRCNNPredictor(Layer):
    """Two linear layers: (R, width) -> a logit for each of K classes, (R, K), and four deltas for each class, (R, 4 K).

    Args:
        width: number of input features. num_classes: K.
        rng: numpy.random.Generator that draws the weights, or None.
    """

    def __init__(self, width, num_classes, *, rng=None):
        self.cls_score = Linear(width, num_classes, rng=rng)
        self.bbox_pred = Linear(width, 4 * num_classes, rng=rng)

    def __call__(self, x):
        return self.cls_score(x), self.bbox_pred(x)

    def vjp(self, x, input_gradient=True):
        """((scores, deltas), pullback): pullback(grad_scores, grad_deltas) -> grad_x."""
        scores, to_scores = self.cls_score.vjp(x)
        deltas, to_deltas = self.bbox_pred.vjp(x)
        return (scores, deltas), lambda grad_scores, grad_deltas: to_scores(grad_scores) + to_deltas(grad_deltas)


class RoIHeads(Layer):
    """Feature maps and proposals -> boxes, scores and labels of each image, by descending score.

    Args:
        box_roi_pool: maps and proposals -> (R, C, P, P): a ``MultiScaleRoIAlign`` or ``MultiScaleRoIPool``.
        box_head: (R, C, P, P) -> (R, width).
        box_predictor: (R, width) -> class logits and box deltas: a ``FastRCNNPredictor``.
        bbox_reg_weights: see ``boxes.decode``.
        score_thresh: a detection's score exceeds this.
        nms_thresh: IoU above which the lower-scored of two detections of one class is suppressed.
        detections_per_img: detections kept per image, by score.
        fg_iou_thresh, bg_iou_thresh: in training a proposal is an object from the first IoU on, background below the second.
        batch_size_per_image, positive_fraction: proposals sampled per image for the loss, and the largest share of objects.
    """

    def __init__(self, box_roi_pool, box_head, box_predictor, bbox_reg_weights, score_thresh, nms_thresh, detections_per_img, *,
                 fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=512, positive_fraction=0.25):
        self.box_roi_pool, self.box_head, self.box_predictor = box_roi_pool, box_head, box_predictor
        self.bbox_reg_weights = bbox_reg_weights
        self.score_thresh, self.nms_thresh, self.detections_per_img = score_thresh, nms_thresh, detections_per_img
        self.fg_iou_thresh, self.bg_iou_thresh = fg_iou_thresh, bg_iou_thresh
        self.batch_size_per_image, self.positive_fraction = batch_size_per_image, positive_fraction

    def __call__(self, maps, proposals, batch):
        """The detections of each image of a batch.

        Args:
            maps: list of (N, C, H_l, W_l), the maps to pool from, finest first.
            proposals: for each image (R_n, 4), in pixels of the resized image.
            batch: the ``transform.Batch``.

        Returns:
            For each image boxes (D, 4), in pixels of the resized image, scores (D,) and labels (D,) int64.
        """
        pooled = self.box_roi_pool(maps, proposals, batch.sizes)                          # (R, C, P, P)
        logits, deltas = run(self.box_predictor, run(self.box_head, pooled))              # (R, K), (R, 4 K)
        ends = np.cumsum([len(boxes) for boxes in proposals])[:-1]
        return [self.select(*arrays) for arrays in zip(np.split(logits, ends), np.split(deltas, ends), proposals, batch.sizes)]

    def vjp(self, maps, proposals, sizes, input_gradient=True):
        """The box head's outputs on given proposals, and their pullback.

        Args:
            maps: as for ``__call__``.
            proposals: for each image (R_n, 4), such as the sample that training learns from; no gradient flows through their coordinates.
            sizes: (h, w) of each image in the batch.
            input_gradient: whether the maps need a gradient.

        Returns:
            (logits (R, K), deltas (R, 4 K)).
            pullback: (grad_logits, grad_deltas) -> a gradient for each map, or None without ``input_gradient``; adds the head's.
        """
        pooled, to_maps = self.box_roi_pool.vjp(maps, proposals, sizes)                             # (R, C, P, P)
        features, to_pooled = self.box_head.vjp(pooled, input_gradient)                             # (R, width)
        outputs, to_features = self.box_predictor.vjp(features)                                     # (R, K), (R, 4 K)

        def pullback(grad_logits, grad_deltas):
            grad_pooled = to_pooled(to_features(grad_logits, grad_deltas))
            return to_maps(grad_pooled) if input_gradient else None
        return outputs, pullback

    def select(self, logits, deltas, proposals, size):
        """The detections of one image. Every class of every proposal is a candidate, except the background, class 0.

        Args:
            logits: (R, K); deltas: (R, 4 K); proposals: (R, 4).
            size: (h, w) of the resized image in pixels.

        Returns:
            boxes (D, 4), scores (D,), labels (D,), by descending score.
        """
        scores = F.softmax(logits)                                                        # (R, K)
        rows, labels = np.nonzero(scores[:, 1:] > np.float32(self.score_thresh))
        labels += 1
        scores, deltas = scores[rows, labels], deltas.reshape(*logits.shape, 4)[rows, labels]
        boxes = B.clip(B.decode(deltas, proposals[rows], self.bbox_reg_weights)[:, 0], size)

        good = B.are_large(boxes, MIN_SIDE)
        boxes, scores, labels = boxes[good], scores[good], labels[good]
        keep = B.batched_nms(boxes, scores, labels, self.nms_thresh)[:self.detections_per_img]
        return boxes[keep], scores[keep], labels[keep]
