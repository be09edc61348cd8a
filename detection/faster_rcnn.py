"""Faster R-CNN, from images to boxes: transform, backbone, region proposal network, box head.

Each step is a layer in the file of its name. Parameter paths are torchvision's keys. ``architectures.py`` builds the five detectors.

Reference: Ren, He, Girshick, Sun, Faster R-CNN: towards real-time object detection with region proposal networks (2015).
"""

from typing import Any

import numpy as np

from minicnn.data.images import as_input, read_reduced
from minicnn.detection.detections import Detections
from minicnn.errors import InputError
from minicnn.functional.dispatch import on_own_backend, run
from minicnn.layers import Layer
from minicnn.models.channel_groups import channel_group, units, walk


class FasterRCNN(Layer):
    """A detector: images -> boxes, scores and labels.

        detections = model.detect("photo.jpg")           # or an array, a Pillow image, a list of them
        boxes, scores, labels = model([image])[0]        # image (3, H, W) float32 in [0, 1]

    Args:
        transform: a ``Transform``: images of any size -> one batch.
        backbone: pixels (N, 3, H, W) -> a list of feature maps (N, C, H_l, W_l), finest first.
        rpn: a ``RegionProposalNetwork``: feature maps -> proposals.
        roi_heads: a ``RoIHeads``: feature maps and proposals -> detections.
        pooled_maps: number of maps that boxes are pooled from, the finest ones; the pyramid's extra coarse map serves the RPN alone.
    """

    task = "detection"

    def __init__(self, transform: Any, backbone: Any, rpn: Any, roi_heads: Any, pooled_maps: Any):
        self.transform, self.backbone, self.rpn, self.roi_heads = transform, backbone, rpn, roi_heads
        self.pooled_maps = pooled_maps

    @on_own_backend
    def __call__(self, images: list) -> list:
        """Detect objects in a batch of arrays.

        Args:
            images: list of (3, H, W) float32 in [0, 1], each of any size.

        Returns:
            For each image boxes (D, 4) in its pixels, scores (D,) and labels (D,), by descending score.
        """
        batch = self.transform(images)                                            # pixels (N, 3, Hp, Wp)
        maps = run(self.backbone, batch.pixels)                                   # (N, C, Hl, Wl), finest first
        proposals = self.rpn(maps, batch)                                         # (R, 4) for each image
        found = self.roi_heads(maps[:self.pooled_maps], proposals, batch)         # boxes, scores, labels for each image
        return [(self.transform.scale_boxes(boxes, size, original), scores, labels)
                for (boxes, scores, labels), size, original in zip(found, batch.sizes, batch.original_sizes)]

    def detect(self, images: Any, batch_size: int = 1) -> Detections | list[Detections]:
        """Detect objects in one image, or in each of a list.

        Each image is read and run by itself, so that a long list takes no more memory than its largest image, and an image's boxes do
        not depend on the others, next to which it would be padded.

        Args:
            images: a path, a Pillow image, or an array: (H, W, 3) uint8, (3, H, W) or (H, W, 3) float in [0, 1]
                (``minicnn.data.images.as_input`` lists every form); or a list of them.
            batch_size: number of images of a list that are read and run at once.

        Returns:
            A ``Detections``, or a list of them; boxes are in pixels of the file also where it is large and read reduced.

        Raises:
            InputError: something is not an image, or the batch size is not at least 1.
        """
        if not isinstance(batch_size, (int, np.integer)) or batch_size < 1:
            raise InputError(f"got batch_size={batch_size!r}, expected an integer of at least 1. Leave it out for one image at a time.")
        if not isinstance(images, (list, tuple)):
            return self.detect_batch([images])[0]
        return [found for start in range(0, len(images), batch_size) for found in self.detect_batch(images[start:start + batch_size])]

    def detect_batch(self, images):
        """The ``Detections`` of each of a list of images, which are run as one batch."""
        read = [read_reduced(image) for image in images]
        return [Detections(image.enlarge(boxes), labels, scores, [self.class_name(label) for label in labels])
                for image, (boxes, scores, labels) in zip(read, self([as_input(image.values) for image in read]))]

    def class_name(self, label: int) -> str:
        """The name of a label; "class 7" where the model's file has no name for it."""
        names = self.record["class_names"]
        return names[label] if label < len(names) else f"class {label}"

    @property
    def num_classes(self) -> int:
        """Number of classes, background included."""
        return self.roi_heads.box_predictor.cls_score.out_features

    def unseen_settings(self) -> dict:
        """{name: value} of the settings that weights do not show: other values fit the same weights, and find other objects."""
        transform, rpn, heads = self.transform, self.rpn, self.roi_heads
        pool = heads.box_roi_pool
        align = {"roi_sampling_ratio": pool.sampling_ratio} if pool.kind == "MultiScaleRoIAlign" else {}
        return {
            **({"last_pool": self.backbone.last_pool} if hasattr(self.backbone, "last_pool") else {}),
            "min_size": transform.min_size, "max_size": transform.max_size,
            "image_mean": transform.image_mean, "image_std": transform.image_std,
            "anchor_sizes": rpn.anchor_sizes, "aspect_ratios": rpn.aspect_ratios,
            "rpn_pre_nms_top_n_test": rpn.pre_nms_top_n, "rpn_post_nms_top_n_test": rpn.post_nms_top_n,
            "rpn_nms_thresh": rpn.nms_thresh, "rpn_score_thresh": rpn.score_thresh,
            "roi_pooling": "align" if align else "pool", **align,
            "bbox_reg_weights": heads.bbox_reg_weights, "box_score_thresh": heads.score_thresh, "box_nms_thresh": heads.nms_thresh,
            "box_detections_per_img": heads.detections_per_img,
        }

    # training, see ``training/step.py``

    def freeze(self, trainable_backbone_layers: int) -> None:
        """Freeze the backbone except its last ``trainable_backbone_layers`` stages; pyramid and heads are always trained.

        Raises:
            InputError: the backbone has fewer stages.
        """
        self.backbone.freeze(trainable_backbone_layers)

    def train(self, rng=None):
        """Training mode; frozen stages stay in evaluation mode."""
        super().train(rng)
        if self.backbone.frozen():
            self.backbone.frozen().eval()
        return self

    def start(self, images, min_size=None):
        """The frozen part of a training step, as plain inference.

        Args:
            images: as for a call.
            min_size: short side of this batch in pixels; None: the transform's own.

        Returns:
            batch: a ``Batch``.
            state: what the frozen stages made of it, for ``vjp``.
        """
        batch = self.transform(images, min_size)
        return batch, self.backbone.start(batch.pixels)

    def vjp(self, state):
        """Backbone and RPN head in training, as far as there is a gradient.

        What the box head is trained on depends on the proposals, so its forward pass is a call of its own, ``roi_heads.vjp``.

        Args:
            state: from ``start``.

        Returns:
            (maps, rpn_outputs): feature maps (N, C, H_l, W_l), and of each map objectness (N, R_l) and deltas (N, R_l, 4).
            pullback: (grad_maps, grad_rpn_outputs) -> None; adds the parameters' gradients. grad_maps are those of the pooled maps,
                from the box head; grad_rpn_outputs has the form of rpn_outputs.
        """
        maps, to_backbone = self.backbone.vjp(state)
        input_gradient = self.backbone.has_parameters()
        rpn_outputs, to_maps = self.rpn.vjp(maps, input_gradient)

        def pullback(grad_maps, grad_rpn_outputs):
            from_rpn = to_maps(grad_rpn_outputs)
            if input_gradient:
                to_backbone([a + b for a, b in zip(grad_maps, from_rpn)] + from_rpn[self.pooled_maps:])
        return (maps, rpn_outputs), pullback

    # compression, see ``minicnn.models.protocol``

    def prepare(self, image):
        """A ``Batch`` of one image, anything that ``as_input`` takes."""
        return self.transform([as_input(image)])

    def backbone_and_rpn(self, pixels):
        """The backbone's maps of a batch's pixels (N, 3, H, W), and the RPN's (objectness, deltas) on each map."""
        maps = run(self.backbone, pixels)
        return maps, [run(self.rpn.head, x) for x in maps]

    def pool_rois(self, maps, batch, proposals=None):
        """The box head's input.

        Args:
            maps: from ``backbone_and_rpn``. batch: the ``Batch`` of one image.
            proposals: (R, 4) in pixels of the resized image, such as another network's; None: this network's own.

        Returns:
            proposals: (R, 4). pooled: (R, C, P, P).
        """
        if proposals is None:
            proposals = self.rpn(maps, batch)[0]
        return proposals, self.roi_heads.box_roi_pool(maps[:self.pooled_maps], [proposals], batch.sizes)

    def box_head(self, pooled):
        """The class logits (R, K) and deltas (R, 4 K) of pooled proposals (R, C, P, P)."""
        return run(self.roi_heads.box_predictor, run(self.roi_heads.box_head, pooled))

    def channel_groups(self) -> list:
        """The ``ChannelGroup``s within the backbone, of the feature maps that RPN and box head read, and within these two."""
        maps = self.backbone.walk(self, "backbone")
        consumers: list[str] = []
        groups: list = []
        for head, outputs in (("rpn.head.conv", ("rpn.head.cls_logits", "rpn.head.bbox_pred")),
                              ("roi_heads.box_head", ("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"))):
            inside, *outside = (walk(self, units(path, self.get_layer(path))) for path in (head, *outputs))
            consumers += [inside.consumer] if inside.consumer else []
            within = [output.consumer for output in outside if output.consumer]
            groups += [*inside.groups, channel_group(self, inside.producers, inside.followers, within)]
        return [*maps.groups, channel_group(self, maps.producers, maps.followers, consumers), *groups]

    def batch_shape(self, image_shape):
        """(3, H, W) of the batch of one image (3, h, w)."""
        return 3, *self.transform.batch_size(*image_shape[1:])

    def pooled_shape(self, maps):
        """(C, P, P) of one proposal pooled from the backbone's maps."""
        side = self.roi_heads.box_roi_pool.output_size
        return maps[0].shape[1], side, side

    @property
    def input_shape(self) -> tuple:
        """(C, H, W) of a 3 : 4 image that needs no resizing: the size at which costs are counted."""
        return 3, self.transform.min_size, min(self.transform.max_size, self.transform.min_size * 4 // 3)

    @property
    def repeats(self) -> dict:
        """{path: n}: the layers below this path run on each of up to n proposals of an image, not once an image."""
        return {"roi_heads": self.rpn.post_nms_top_n}
