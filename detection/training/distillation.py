"""Learning from another detector: what it says of the same anchors and proposals is a second target, besides the true boxes.

Its probabilities tell which classes look alike, which a label does not, and for a network that was made smaller the one before it is the
natural teacher. The losses are those of ``losses`` with the teacher's answers in the place of labels and true boxes, on the same sample.

Reference: Hinton, Vinyals, Dean, Distilling the knowledge in a neural network (2015), section 2, at temperature 1; Chen, Choi, Yu, Han,
Chandraker, Learning efficient object detection models with knowledge distillation (2017), sections 3.2 and 3.3. Differs: their bound on
the regression loss and their hints from inner layers are left out.
"""

from dataclasses import dataclass

import numpy as np

from minicnn import functional as F
from minicnn.detection.training.losses import fastrcnn_losses, rpn_losses, together
from minicnn.errors import InputError
from minicnn.functional.dispatch import run

PREFIX = "loss_teacher_"


class Teacher:
    """A detector to learn from.

    Args:
        model: the teacher, in evaluation mode.
        student: the detector that is trained.

    Raises:
        InputError: they have other classes, anchors or sizes of images, so that their answers cannot be compared.
    """

    def __init__(self, model, student):
        def told(one):
            transform, rpn = one.transform, one.rpn
            return {"class_names": list(one.record["class_names"]), "num_classes": one.num_classes,
                    "sizes": (transform.min_size, transform.max_size),
                    "normalisation": [float(value) for value in (*transform.image_mean, *transform.image_std)],
                    "anchors": [[float(value) for value in level] for level in (*rpn.anchor_sizes, *rpn.aspect_ratios)],
                    "weights": [float(value) for value in one.roi_heads.bbox_reg_weights]}
        own, others = told(model), told(student)
        different = [name for name, value in own.items() if value != others[name]]
        if different:
            raise InputError(f"got a teacher with other {', '.join(different)} than the detector has, expected the same. Take the "
                             "network that it was made from.")
        self.model = model

    def look(self, batch):
        """What it says of a ``Batch``: a ``TeacherOutputs``."""
        maps = run(self.model.backbone, batch.pixels)
        objectness, deltas = (np.concatenate(levels, axis=1) for levels in zip(*(run(self.model.rpn.head, x) for x in maps)))
        return TeacherOutputs(self.model, maps[:self.model.pooled_maps], batch, objectness, deltas)


@dataclass
class TeacherOutputs:
    """A teacher's answers: objectness (N, R) and deltas (N, R, 4) of every anchor, and ``of`` proposals."""

    model: object
    maps: list
    batch: object
    objectness: np.ndarray
    deltas: np.ndarray

    def of(self, proposals):
        """Logits (R, K) and deltas (R, 4 K) of proposals (R_n, 4) of each image."""
        heads = self.model.roi_heads
        pooled = heads.box_roi_pool(self.maps, proposals, self.batch.sizes)
        return run(heads.box_predictor, run(heads.box_head, pooled))

    def add_rpn_losses(self, own, objectness, deltas, positive, negative):
        """The losses and pullback of ``losses.rpn_losses``, and the same with the teacher's probabilities and deltas as targets."""
        wanted, targets = F.sigmoid(self.objectness.reshape(-1)), self.deltas.reshape(-1, 4)[positive]
        return together(own, rpn_losses(objectness, deltas, wanted, targets, positive, negative), PREFIX)

    def add_fastrcnn_losses(self, own, logits, deltas, labels, proposals):
        """The losses and pullback of ``losses.fastrcnn_losses``, and the same with the teacher's probabilities and deltas as targets."""
        theirs, targets = self.of(proposals)
        targets = targets.reshape(*theirs.shape, 4)[np.arange(len(labels)), labels]
        return together(own, fastrcnn_losses(logits, deltas, labels, targets, F.softmax(theirs)), PREFIX)
