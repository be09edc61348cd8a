"""Distillation: a teacher detector's outputs on the same anchors and proposals are a second target, besides the ground truth.

The teacher's probabilities show which classes look alike, which a label does not. For a compressed network, the network before its
compression is the natural teacher. The losses are those of ``losses.py``, on the same sample, with the teacher's probabilities and deltas
in place of labels and ground-truth boxes.

Reference: Hinton, Vinyals, Dean, Distilling the knowledge in a neural network (2015), section 2, at temperature 1; Chen, Choi, Yu, Han,
Chandraker, Learning efficient object detection models with knowledge distillation (2017), sections 3.2 and 3.3. Differs: their bound on
the regression loss and their hints from inner layers are left out.
"""

from dataclasses import dataclass

import numpy as np

from minicnn import functional as F
from minicnn.detection.training.losses import add_losses, fastrcnn_losses, rpn_losses
from minicnn.errors import InputError
from minicnn.functional.dispatch import run

PREFIX = "loss_teacher_"


class Teacher:
    """A detector to distil from.

    Args:
        model: the teacher, in evaluation mode.
        student: the detector that is trained.

    Raises:
        InputError: they differ in classes, anchors or image sizes, so that their outputs cannot be compared.
    """

    def __init__(self, model, student):
        own, others = comparable_settings(model), comparable_settings(student)
        different = [name for name, value in own.items() if value != others[name]]
        if different:
            raise InputError(f"got a teacher with other {', '.join(different)} than the detector has, expected the same. Take the "
                             "network that it was made from.")
        self.model = model

    def outputs(self, batch):
        """The ``TeacherOutputs`` on a ``Batch``."""
        maps = run(self.model.backbone, batch.pixels)
        objectness, deltas = (np.concatenate(levels, axis=1) for levels in zip(*(run(self.model.rpn.head, x) for x in maps)))
        return TeacherOutputs(self.model, maps[:self.model.pooled_maps], batch, objectness, deltas)


def comparable_settings(model):
    """The settings in which teacher and student must agree, by name."""
    transform, rpn = model.transform, model.rpn
    return {"class_names": list(model.record["class_names"]), "num_classes": model.num_classes,
            "sizes": (transform.min_size, transform.max_size),
            "last_pool": getattr(model.backbone, "last_pool", False),
            "normalisation": [float(value) for value in (*transform.image_mean, *transform.image_std)],
            "anchors": [[float(value) for value in level] for level in (*rpn.anchor_sizes, *rpn.aspect_ratios)],
            "weights": [float(value) for value in model.roi_heads.bbox_reg_weights]}


@dataclass
class TeacherOutputs:
    """A teacher's outputs on one batch.

    Args:
        model: the teacher.
        maps: its feature maps that boxes are pooled from.
        batch: the ``Batch``.
        objectness: (N, R) logits of every anchor; deltas: (N, R, 4).
    """

    model: object
    maps: list
    batch: object
    objectness: np.ndarray
    deltas: np.ndarray

    def box_head(self, proposals):
        """The teacher's logits (R, K) and deltas (R, 4 K) of the student's proposals, (R_n, 4) of each image."""
        heads = self.model.roi_heads
        pooled = heads.box_roi_pool(self.maps, proposals, self.batch.sizes)
        return run(heads.box_predictor, run(heads.box_head, pooled))

    def add_rpn_losses(self, own, objectness, deltas, positive, negative):
        """Add the distillation losses of the RPN.

        Args:
            own: (losses, pullback) of ``losses.rpn_losses`` against the ground truth.
            objectness, deltas, positive, negative: the student's, as for ``losses.rpn_losses``.

        Returns:
            losses, pullback: of both.
        """
        probabilities, targets = F.sigmoid(self.objectness.reshape(-1)), self.deltas.reshape(-1, 4)[positive]
        return add_losses(own, rpn_losses(objectness, deltas, probabilities, targets, positive, negative), PREFIX)

    def add_fastrcnn_losses(self, own, logits, deltas, labels, proposals):
        """Add the distillation losses of the box head.

        Args:
            own: (losses, pullback) of ``losses.fastrcnn_losses`` against the ground truth.
            logits, deltas, labels: the student's, as for ``losses.fastrcnn_losses``.
            proposals: for each image (R_n, 4), the boxes that these are of.

        Returns:
            losses, pullback: of both.
        """
        theirs, targets = self.box_head(proposals)
        targets = targets.reshape(*theirs.shape, 4)[np.arange(len(labels)), labels]
        return add_losses(own, fastrcnn_losses(logits, deltas, labels, targets, F.softmax(theirs)), PREFIX)
