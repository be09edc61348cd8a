"""The box head: from what RoIAlign cut out of the maps, a class and a finer box for each proposal.

Reference: Girshick, Fast R-CNN (2015), sections 2.1 and 2.2 (two linear layers, then one for the classes and one for the boxes of
each class).
"""

import numpy as np

from minicnn import functional as F
from minicnn.detection import boxes as B
from minicnn.detection.training.losses import assign, fastrcnn_losses, sample
from minicnn.functional.dispatch import run
from minicnn.layers import Conv2d, Flatten, Layer, Linear, ReLU, Sequential

MIN_SIDE = 1e-2         # pixels; smaller detections are dropped


class TwoMLPHead(Layer):
    """Flatten, then two linear layers with ReLU: (R, C, P, P) -> (R, width)."""

    def __init__(self, channels, output_size, width, *, rng=None):
        self.flatten = Flatten()
        self.fc6 = Linear(channels * output_size ** 2, width, rng=rng)
        self.fc7 = Linear(width, width, rng=rng)

    def steps(self):
        return Sequential([self.flatten, self.fc6, ReLU(), self.fc7, ReLU()])

    def __call__(self, x):
        return self.steps()(x)

    def vjp(self, x, input_gradient=True):
        return self.steps().vjp(x, input_gradient)


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

    def vjp(self, x, input_gradient=True):
        """((scores, deltas), pullback): pullback(grad_scores, grad_deltas) -> grad_x."""
        scores, to_scores = self.cls_score.vjp(x)
        deltas, to_deltas = self.bbox_pred.vjp(x)
        return (scores, deltas), lambda grad_scores, grad_deltas: to_scores(grad_scores) + to_deltas(grad_deltas)


class RoIHeads(Layer):
    """Maps and proposals -> boxes, scores and labels of each image, by score descending.

    Args:
        box_roi_pool, box_head, box_predictor: the three steps.
        bbox_reg_weights: see ``boxes.decode``.
        score_thresh: detections have more than this score.
        nms_thresh: overlap above which the lower of two of one class is dropped.
        detections_per_img: so many are left.
        fg_iou_thresh, bg_iou_thresh: in training a proposal is an object from that overlap on, background below this.
        batch_size_per_image, positive_fraction: so many proposals of an image are learnt from, at most such a share of them objects.
    """

    def __init__(self, box_roi_pool, box_head, box_predictor, bbox_reg_weights, score_thresh, nms_thresh, detections_per_img, *,
                 fg_iou_thresh=0.5, bg_iou_thresh=0.5, batch_size_per_image=512, positive_fraction=0.25):
        self.box_roi_pool, self.box_head, self.box_predictor = box_roi_pool, box_head, box_predictor
        self.bbox_reg_weights = bbox_reg_weights
        self.score_thresh, self.nms_thresh, self.detections_per_img = score_thresh, nms_thresh, detections_per_img
        self.fg_iou_thresh, self.bg_iou_thresh = fg_iou_thresh, bg_iou_thresh
        self.batch_size_per_image, self.positive_fraction = batch_size_per_image, positive_fraction

    def __call__(self, maps, proposals, batch):
        """maps: those to pool from, finest first; proposals: (R_n, 4) of each image; batch: a ``transform.Batch``.

        Returns:
            for each image boxes (D, 4), scores (D,) and labels (D,) int64.
        """
        pooled = self.box_roi_pool(maps, proposals, batch.sizes)                          # (R, C, P, P)
        logits, deltas = run(self.box_predictor, run(self.box_head, pooled))              # (R, K), (R, 4 K)
        ends = np.cumsum([len(boxes) for boxes in proposals])[:-1]
        return [self.select(*arrays) for arrays in zip(np.split(logits, ends), np.split(deltas, ends), proposals, batch.sizes)]

    def vjp(self, maps, proposals, batch, targets, permutation, input_gradient=True, lesson=None):
        """Training: the losses on a sample of the proposals, and their pullback.

        Args:
            maps, proposals, batch: as for ``__call__``.
            targets: a ``losses.Target`` for each image.
            permutation: see ``losses.sample``.
            lesson: a teacher's ``distillation.TeacherOutputs``, or None.

        Returns:
            losses: see ``losses.fastrcnn_losses``.
            pullback: scale -> a gradient for each map.
        """
        proposals, labels, encoded = self.sample(proposals, targets, permutation)
        pooled, to_maps = self.box_roi_pool.vjp(maps, proposals, batch.sizes)                       # (R, C, P, P)
        features, to_pooled = self.box_head.vjp(pooled, input_gradient)                             # (R, width)
        (logits, deltas), to_features = self.box_predictor.vjp(features)                            # (R, K), (R, 4 K)
        found = fastrcnn_losses(logits, deltas, labels, encoded)
        losses, to_answers = lesson.add_fastrcnn_losses(found, logits, deltas, labels, proposals) if lesson else found

        def pullback(scale):
            grad_pooled = to_pooled(to_features(*to_answers(scale)))
            return to_maps(grad_pooled) if input_gradient else None
        return losses, pullback

    def sample(self, proposals, targets, permutation):
        """The proposals (R_n, 4) of each image to learn from, the true boxes among them, with labels (R,) and deltas (R, 4) of all."""
        chosen, labels, encoded = [], [], []
        for boxes, target in zip(proposals, targets):
            boxes = np.concatenate([boxes, target.boxes])
            own, true_boxes = assign(boxes, target, self.fg_iou_thresh, self.bg_iou_thresh)
            rows = np.sort(np.concatenate(sample(own, self.batch_size_per_image, self.positive_fraction, permutation)))
            chosen.append(boxes[rows])
            labels.append(own[rows])
            encoded.append(B.encode(true_boxes[rows], boxes[rows], self.bbox_reg_weights))
        return chosen, np.concatenate(labels), np.concatenate(encoded)

    def select(self, logits, deltas, proposals, size):
        """The detections of one image of size (h, w): every class of every proposal is a candidate, the background (0) apart."""
        scores = F.softmax(logits)                                                        # (R, K)
        rows, labels = np.nonzero(scores[:, 1:] > np.float32(self.score_thresh))
        labels += 1
        scores, deltas = scores[rows, labels], deltas.reshape(*logits.shape, 4)[rows, labels]
        boxes = B.clip(B.decode(deltas, proposals[rows], self.bbox_reg_weights)[:, 0], size)

        good = B.are_large(boxes, MIN_SIDE)
        boxes, scores, labels = boxes[good], scores[good], labels[good]
        keep = B.batched_nms(boxes, scores, labels, self.nms_thresh)[:self.detections_per_img]
        return boxes[keep], scores[keep], labels[keep]
