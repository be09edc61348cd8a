"""The box head: from what RoIAlign cut out of the maps, a class and a finer box for each proposal.

Reference: Girshick, Fast R-CNN (2015), sections 2.1 and 2.2 (two linear layers, then one for the classes and one for the boxes of
each class).
"""

import numpy as np

from minicnn import functional as F
from minicnn.detection import boxes as B
from minicnn.functional.kernels import run
from minicnn.layers import Conv2d, Flatten, Layer, Linear, ReLU, Sequential

MIN_SIDE = 1e-2         # pixels; smaller detections are dropped


class TwoMLPHead(Layer):
    """Flatten, then two linear layers with ReLU: (R, C, P, P) -> (R, width)."""

    def __init__(self, channels, output_size, width, *, rng=None):
        self.flatten = Flatten()
        self.fc6 = Linear(channels * output_size ** 2, width, rng=rng)
        self.fc7 = Linear(width, width, rng=rng)

    def __call__(self, x):
        x = F.relu(self.fc6(self.flatten(x)))
        return F.relu(self.fc7(x))


def conv_fc_head(channels, output_size, width, norm, *, rng=None):
    """The head of ``fasterrcnn_resnet50_fpn_v2``: four 3 x 3 convolutions with norm and ReLU, then one linear layer with ReLU.

    Reference: Li et al., Benchmarking detection transfer learning with vision transformers (2021), section 3, as torchvision has it.
    """
    blocks = [Sequential([Conv2d(channels, channels, 3, padding=1, bias=False, rng=rng), norm(channels), ReLU()]) for _ in range(4)]
    return Sequential([*blocks, Flatten(), Linear(channels * output_size ** 2, width, rng=rng), ReLU()])


class FastRCNNPredictor(Layer):
    """(R, width) -> a score for each of K classes, (R, K), and four deltas for each, (R, 4 K)."""

    def __init__(self, width, num_classes, *, rng=None):
        self.cls_score = Linear(width, num_classes, rng=rng)
        self.bbox_pred = Linear(width, 4 * num_classes, rng=rng)

    def __call__(self, x):
        return self.cls_score(x), self.bbox_pred(x)


class RoIHeads(Layer):
    """Maps and proposals -> boxes, scores and labels of each picture, by score descending.

    Args:
        box_roi_pool, box_head, box_predictor: the three steps.
        bbox_reg_weights: see ``boxes.decode``.
        score_thresh: detections have more than this score.
        nms_thresh: overlap above which the lower of two of one class is dropped.
        detections_per_img: so many are left.
    """

    def __init__(self, box_roi_pool, box_head, box_predictor, bbox_reg_weights, score_thresh, nms_thresh, detections_per_img):
        self.box_roi_pool, self.box_head, self.box_predictor = box_roi_pool, box_head, box_predictor
        self.bbox_reg_weights = bbox_reg_weights
        self.score_thresh, self.nms_thresh, self.detections_per_img = score_thresh, nms_thresh, detections_per_img

    def __call__(self, maps, proposals, batch):
        """maps: those to pool from, finest first; proposals: (R_n, 4) of each picture; batch: a ``transform.Batch``.

        Returns:
            for each picture boxes (D, 4), scores (D,) and labels (D,) int64.
        """
        pooled = self.box_roi_pool(maps, proposals, batch.sizes)                          # (R, C, P, P)
        logits, deltas = run(self.box_predictor, run(self.box_head, pooled))              # (R, K), (R, 4 K)
        ends = np.cumsum([len(boxes) for boxes in proposals])[:-1]
        return [self.select(*arrays) for arrays in zip(np.split(logits, ends), np.split(deltas, ends), proposals, batch.sizes)]

    def select(self, logits, deltas, proposals, size):
        """The detections of one picture of size (h, w): every class of every proposal is a candidate, the background (0) apart."""
        scores = F.softmax(logits)                                                        # (R, K)
        rows, labels = np.nonzero(scores[:, 1:] > np.float32(self.score_thresh))
        labels += 1
        scores, deltas = scores[rows, labels], deltas.reshape(*logits.shape, 4)[rows, labels]
        boxes = B.clip(B.decode(deltas, proposals[rows], self.bbox_reg_weights)[:, 0], size)

        good = B.are_large(boxes, MIN_SIDE)
        boxes, scores, labels = boxes[good], scores[good], labels[good]
        keep = B.batched_nms(boxes, scores, labels, self.nms_thresh)[:self.detections_per_img]
        return boxes[keep], scores[keep], labels[keep]
