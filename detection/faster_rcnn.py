"""Faster R-CNN: the whole way from images to boxes, and the five detectors that torchvision's weights fit.

Parameter paths are torchvision's keys.

Reference: Ren, He, Girshick, Sun, Faster R-CNN: towards real-time object detection with region proposal networks (2015).
"""

import functools
from dataclasses import dataclass

from minicnn.data.images import as_input
from minicnn.detection.backbone import BackboneWithFPN, SingleMapBackbone
from minicnn.detection.detections import Detections
from minicnn.detection.fpn import FeaturePyramidNetwork
from minicnn.detection.roi_align import MultiScaleRoIAlign
from minicnn.detection.roi_heads import FastRCNNPredictor, RoIHeads, TwoMLPHead, conv_fc_head
from minicnn.detection.roi_pool import MultiScaleRoIPool
from minicnn.detection.rpn import RegionProposalNetwork, RPNHead
from minicnn.detection.transform import Transform
from minicnn.functional.dispatch import on_own_backend, run
from minicnn.layers import BatchNorm2d, FrozenBatchNorm2d, Layer
from minicnn.models.channel_groups import group, units, walk
from minicnn.models.mobilenet import MobileNetV3Large
from minicnn.models.resnet import ResNet50
from minicnn.models.vgg import vgg16_features

FPN_CHANNELS = 256
FPN_SIZES, RATIOS = (32, 64, 128, 256, 512), (0.5, 1.0, 2.0)


class FasterRCNN(Layer):
    """A detector. In evaluation:

        detections = model.detect("photo.jpg")           # or an array, a Pillow image, a list of them
        boxes, scores, labels = model([image])[0]        # image (3, H, W) float32 in [0, 1]

    Args:
        backbone: images (N, 3, H, W) -> maps, finest first.
        rpn, roi_heads: see their files.
        transform: a ``Transform``.
        pooled_maps: from so many of the maps, the finest, boxes are pooled; the rest, the pyramid's extra one, only the RPN reads.
    """

    task = "detection"

    def __init__(self, transform, backbone, rpn, roi_heads, pooled_maps):
        self.transform, self.backbone, self.rpn, self.roi_heads = transform, backbone, rpn, roi_heads
        self.pooled_maps = pooled_maps

    @on_own_backend
    def __call__(self, images):
        """images: (3, H, W) float32 in [0, 1] each -> for each boxes (D, 4) in its pixels, scores (D,), labels (D,)."""
        batch = self.transform(images)                                            # pixels (N, 3, Hp, Wp)
        maps = run(self.backbone, batch.pixels)                                   # (N, C, Hl, Wl), finest first
        proposals = self.rpn(maps, batch)                                         # (R, 4) for each image
        found = self.roi_heads(maps[:self.pooled_maps], proposals, batch)         # boxes, scores, labels for each image
        return [(self.transform.scale_boxes(boxes, size, original), scores, labels)
                for (boxes, scores, labels), size, original in zip(found, batch.sizes, batch.original_sizes)]

    def freeze(self, trainable_backbone_layers):
        """Train only the last so many stages of the backbone, besides the pyramid and the heads: see ``FeatureExtractor.freeze``."""
        self.backbone.freeze(trainable_backbone_layers)

    def train(self, rng=None):
        super().train(rng)
        if self.backbone.frozen():
            self.backbone.frozen().eval()
        return self

    def start(self, images, min_size=None):
        """Training's first step, through what is frozen: images as for a call -> a ``Batch`` and the backbone's state for ``vjp``."""
        batch = self.transform(images, min_size)
        return batch, self.backbone.start(batch.pixels)

    def vjp(self, batch, state, targets, permutation, lesson=None):
        """Training's second step: the four losses and their pullback.

        Args:
            batch, state: from ``start``.
            targets: a ``losses.Target`` for each image, boxes in the pixels of the resized image.
            permutation: see ``losses.sample``. It is asked image by image for the RPN, then for the box head, as torchvision asks.
            lesson: a teacher's ``distillation.TeacherOutputs`` of the batch, which brings four losses more, or None.

        Returns:
            losses: {"loss_classifier", "loss_box_reg", "loss_objectness", "loss_rpn_box_reg": float}.
            pullback: scale -> None; adds the gradients of scale times the losses' sum to the layers.

        Reference: Ren et al., section 3.2, "approximate joint training": no gradient flows through the proposals' places.
        """
        maps, to_backbone = self.backbone.vjp(state)
        needed = self.backbone.has_parameters()
        proposals, rpn_losses, to_rpn = self.rpn.vjp(maps, batch, targets, permutation, needed, lesson)
        roi_losses, to_heads = self.roi_heads.vjp(maps[:self.pooled_maps], proposals, batch, targets, permutation, needed, lesson)

        def pullback(scale=1.0):
            from_heads, grads = to_heads(scale), to_rpn(scale)
            if needed:
                to_backbone([a + b for a, b in zip(from_heads, grads)] + grads[self.pooled_maps:])
        return {**roi_losses, **rpn_losses}, pullback

    def channel_groups(self):
        """The ``ChannelGroup``s of the backbone, of its maps, which the RPN and the box head read, and of these two."""
        maps = self.backbone.walk(self, "backbone")
        readers, groups = [], []
        for head, answers in (("rpn.head.conv", ("rpn.head.cls_logits", "rpn.head.bbox_pred")),
                              ("roi_heads.box_head", ("roi_heads.box_predictor.cls_score", "roi_heads.box_predictor.bbox_pred"))):
            inside, *outside = (walk(self, units(path, self.get_layer(path))) for path in (head, *answers))
            readers.append(inside.reader)
            groups += [*inside.groups, group(self, inside.producers, inside.followers, [one.reader for one in outside])]
        return [*maps.groups, group(self, maps.producers, maps.followers, readers), *groups]

    # the parts of ``__call__``, one by one: see ``models.protocol.CompressibleDetector``

    def prepare(self, image):
        """A ``Batch`` of one image, see ``as_input``."""
        return self.transform([as_input(image)])

    def backbone_and_rpn(self, pixels):
        """The backbone's maps of a batch's pixels, and (logits, deltas) of the RPN's head on each."""
        maps = run(self.backbone, pixels)
        return maps, [run(self.rpn.head, x) for x in maps]

    def pool_rois(self, maps, batch, proposals=None):
        """(proposals, pooled): what the box head reads, (R, C, P, P), of proposals (R, 4) in pixels of the resized image, as another
        network made them, or None: its own."""
        if proposals is None:
            proposals = self.rpn(maps, batch)[0]
        return proposals, self.roi_heads.box_roi_pool(maps[:self.pooled_maps], [proposals], batch.sizes)

    def box_head(self, pooled):
        """The box head's scores and deltas of what ``pool_rois`` returned."""
        return run(self.roi_heads.box_predictor, run(self.roi_heads.box_head, pooled))

    def detect(self, images):
        """Find the objects in an image, or in each of a list, which then goes through as one batch.

        Args:
            images: a path, a Pillow image, or an array: (H, W, 3) uint8, (3, H, W) or (H, W, 3) float in [0, 1]
                (``minicnn.data.images.as_input`` says what else); or a list of them.

        Returns:
            A ``Detections``, or a list of them.

        Raises:
            InputError: something is not an image.
        """
        if not isinstance(images, (list, tuple)):
            return self.detect([images])[0]
        if not images:
            return []
        return [Detections(boxes, labels, scores, [self.class_name(label) for label in labels])
                for boxes, scores, labels in self([as_input(image) for image in images])]

    def class_name(self, label):
        """The name of a label, "class 7" where the model's file does not tell."""
        names = self.record["class_names"]
        return names[label] if label < len(names) else f"class {label}"

    @property
    def num_classes(self):
        """With the background."""
        return self.roi_heads.box_predictor.cls_score.out_features

    @property
    def input_shape(self):
        """(C, H, W) of an image that is not resized, 3 : 4: what costs are counted at."""
        return 3, self.transform.min_size, min(self.transform.max_size, self.transform.min_size * 4 // 3)

    @property
    def repeats(self):
        """{path: n}: what stands there runs on each of up to n proposals of an image, not once."""
        return {"roi_heads": self.rpn.post_nms_top_n}


@dataclass
class Settings:
    """What a state dict does not tell, with the names and defaults of torchvision's ``FasterRCNN``.

    Those that torchvision takes as objects have plain names: ``anchor_sizes`` and ``aspect_ratios`` (for each map),
    ``box_head_width``, ``roi_output_size``, ``roi_sampling_ratio``, ``roi_pooling`` ("align" or "pool"). Of several ``min_size``,
    from which torchvision draws in training, the last is taken, as it does in evaluation.
    """

    min_size: int = 800
    max_size: int = 1333
    image_mean: tuple = (0.485, 0.456, 0.406)
    image_std: tuple = (0.229, 0.224, 0.225)
    anchor_sizes: tuple = tuple((size,) for size in FPN_SIZES)
    aspect_ratios: tuple = (RATIOS,) * 5
    rpn_pre_nms_top_n_train: int = 2000
    rpn_pre_nms_top_n_test: int = 1000
    rpn_post_nms_top_n_train: int = 2000
    rpn_post_nms_top_n_test: int = 1000
    rpn_nms_thresh: float = 0.7
    rpn_fg_iou_thresh: float = 0.7
    rpn_bg_iou_thresh: float = 0.3
    rpn_batch_size_per_image: int = 256
    rpn_positive_fraction: float = 0.5
    rpn_score_thresh: float = 0.0
    roi_pooling: str = "align"
    roi_output_size: int = 7
    roi_sampling_ratio: int = 2
    box_head_width: int = 1024
    box_score_thresh: float = 0.05
    box_nms_thresh: float = 0.5
    box_detections_per_img: int = 100
    box_fg_iou_thresh: float = 0.5
    box_bg_iou_thresh: float = 0.5
    box_batch_size_per_image: int = 512
    box_positive_fraction: float = 0.25
    bbox_reg_weights: tuple = (10.0, 10.0, 5.0, 5.0)

    def __post_init__(self):
        for name in ("image_mean", "image_std", "bbox_reg_weights"):           # None is torchvision's way to say the default
            if getattr(self, name) is None:
                setattr(self, name, type(self).__dataclass_fields__[name].default)
        if isinstance(self.min_size, (list, tuple)) and self.min_size:
            self.min_size = self.min_size[-1]
        for name, (expected, holds) in CHECKS.items():
            value = getattr(self, name)
            try:
                good = holds(value)
            except TypeError:
                good = False
            if not good:
                raise ValueError(f"{name}={value!r}, expected {expected}")
        if len(self.anchor_sizes) != len(self.aspect_ratios):
            raise ValueError(f"{len(self.anchor_sizes)} lists of anchor_sizes and {len(self.aspect_ratios)} of aspect_ratios, expected "
                             "one of each for every map")
        counts = {len(sizes) * len(ratios) for sizes, ratios in zip(self.anchor_sizes, self.aspect_ratios)}
        if len(counts) > 1:
            raise ValueError(f"{sorted(counts)} anchors a cell on different maps, expected the same number on each")

    @property
    def num_anchors(self):
        """Anchors in a cell."""
        return len(self.anchor_sizes[0]) * len(self.aspect_ratios[0])


def is_number(value, low, high, kind=(int, float)):
    return isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high


def are_numbers(values, low, high, count=None):
    return len(values) == (count or len(values)) > 0 and all(is_number(value, low, high) for value in values)


HUGE = 10**6
COUNT = ("an integer of at least 1", lambda value: is_number(value, 1, HUGE, int))
SHARE = ("a number from 0 to 1", lambda value: is_number(value, 0, 1))
LISTS = ("a list of positive numbers for each map", lambda lists: len(lists) > 0 and all(are_numbers(one, 1e-6, HUGE) for one in lists))
CHECKS = {
    **dict.fromkeys(("min_size", "max_size", "rpn_pre_nms_top_n_train", "rpn_pre_nms_top_n_test", "rpn_post_nms_top_n_train",
                     "rpn_post_nms_top_n_test", "rpn_batch_size_per_image", "roi_output_size", "box_head_width",
                     "box_detections_per_img", "box_batch_size_per_image"), COUNT),
    **dict.fromkeys(("rpn_nms_thresh", "rpn_fg_iou_thresh", "rpn_bg_iou_thresh", "rpn_positive_fraction", "rpn_score_thresh",
                     "box_score_thresh", "box_nms_thresh", "box_fg_iou_thresh", "box_bg_iou_thresh", "box_positive_fraction"), SHARE),
    **dict.fromkeys(("anchor_sizes", "aspect_ratios"), LISTS),
    "image_mean": ("three numbers", lambda values: are_numbers(values, -HUGE, HUGE, 3)),
    "image_std": ("three positive numbers", lambda values: are_numbers(values, 1e-6, HUGE, 3)),
    "bbox_reg_weights": ("four positive numbers", lambda values: are_numbers(values, 1e-6, HUGE, 4)),
    "roi_pooling": ("'align' or 'pool'", lambda value: value in ("align", "pool")),
    "roi_sampling_ratio": ("an integer; 0 adapts to the box", lambda value: is_number(value, -1, 1000, int)),
}


def fasterrcnn_vgg16(num_classes=21, *, rng=None, **settings):
    """torchvision's ``FasterRCNN`` over VGG16's ``features`` without the last pooling: one map of stride 16.

    Args:
        num_classes: with the background.
        settings: see ``Settings``; the anchors are of 128, 256 and 512 pixels.
    """
    settings = Settings(**{"anchor_sizes": ((128, 256, 512),), "aspect_ratios": (RATIOS,), **settings})
    backbone = SingleMapBackbone(vgg16_features(rng=rng)[:-1])
    return assemble(backbone, 512, 1, 1, num_classes, settings, rng=rng)


def fasterrcnn_resnet50_fpn(num_classes=91, norm="frozen", norm_eps=1e-5, *, rng=None, **settings):
    """ResNet-50 with a feature pyramid of five maps, strides 4 to 64.

    Args:
        num_classes: with the background.
        norm: "frozen" (torchvision's, where it starts from weights) or "batch".
        norm_eps: of the norms; torchvision's published COCO weights need 0.
        settings: see ``Settings``.
    """
    norm = norms(norm, norm_eps)
    body = ResNet50(norm, rng=rng)
    backbone = BackboneWithFPN(body, FeaturePyramidNetwork(body.out_channels, FPN_CHANNELS, rng=rng))
    return assemble(backbone, FPN_CHANNELS, 5, 4, num_classes, Settings(**settings), rng=rng)


def fasterrcnn_resnet50_fpn_v2(num_classes=91, *, rng=None, **settings):
    """ResNet-50 with norms in the pyramid, two convolutions in the RPN and four in the box head.

    Args:
        num_classes, settings: as for ``fasterrcnn_resnet50_fpn``.
    """
    settings = Settings(**settings)
    body = ResNet50(BatchNorm2d, rng=rng)
    backbone = BackboneWithFPN(body, FeaturePyramidNetwork(body.out_channels, FPN_CHANNELS, BatchNorm2d, rng=rng))
    head = conv_fc_head(FPN_CHANNELS, settings.roi_output_size, settings.box_head_width, BatchNorm2d, rng=rng)
    return assemble(backbone, FPN_CHANNELS, 5, 4, num_classes, settings, head, rpn_depth=2, rng=rng)


def fasterrcnn_mobilenet_v3_large_fpn(num_classes=91, norm="frozen", norm_eps=1e-5, *, rng=None, **settings):
    """MobileNetV3-large with a feature pyramid of three maps, strides 32, 32 and 64, and fifteen anchors a cell.

    Args:
        num_classes, norm, settings: as for ``fasterrcnn_resnet50_fpn``.
        norm_eps: 1e-5 in detection, not the classifier's 0.001.
    """
    settings = Settings(**{"anchor_sizes": (FPN_SIZES,) * 3, "aspect_ratios": (RATIOS,) * 3, "rpn_score_thresh": 0.05, **settings})
    body = MobileNetV3Large(norms(norm, norm_eps), rng=rng)
    backbone = BackboneWithFPN(body, FeaturePyramidNetwork(body.out_channels, FPN_CHANNELS, rng=rng))
    return assemble(backbone, FPN_CHANNELS, 3, 2, num_classes, settings, rng=rng)


def fasterrcnn_mobilenet_v3_large_320_fpn(num_classes=91, norm="frozen", norm_eps=1e-5, *, rng=None, **settings):
    """``fasterrcnn_mobilenet_v3_large_fpn`` for small images: short side 320, long side at most 640, 150 proposals."""
    return fasterrcnn_mobilenet_v3_large_fpn(num_classes, norm, norm_eps, rng=rng, **{
        "min_size": 320, "max_size": 640, "rpn_pre_nms_top_n_test": 150, "rpn_post_nms_top_n_test": 150, **settings})


def norms(norm, eps):
    """num_features -> a norm layer."""
    if norm not in ("frozen", "batch") or not is_number(eps, 0, 1):
        raise ValueError(f"norm={norm!r}, norm_eps={eps!r}, expected 'frozen' or 'batch', and a number from 0 to 1")
    return functools.partial({"frozen": FrozenBatchNorm2d, "batch": BatchNorm2d}[norm], eps=eps)


def assemble(backbone, channels, maps, pooled_maps, num_classes, settings, box_head=None, rpn_depth=1, *, rng=None):
    """The detector over a backbone that makes ``maps`` maps of ``channels`` each."""
    s = settings
    expected, holds = COUNT
    if not holds(num_classes):
        raise ValueError(f"num_classes={num_classes!r}, expected {expected}")
    if len(s.anchor_sizes) != maps:
        raise ValueError(f"anchor_sizes for {len(s.anchor_sizes)} maps, expected {maps}")
    transform = Transform(s.min_size, s.max_size, s.image_mean, s.image_std)
    rpn = RegionProposalNetwork(
        RPNHead(channels, s.num_anchors, rpn_depth, rng=rng), s.anchor_sizes, s.aspect_ratios, s.rpn_pre_nms_top_n_test,
        s.rpn_post_nms_top_n_test, s.rpn_nms_thresh, s.rpn_score_thresh, pre_nms_top_n_train=s.rpn_pre_nms_top_n_train,
        post_nms_top_n_train=s.rpn_post_nms_top_n_train, fg_iou_thresh=s.rpn_fg_iou_thresh, bg_iou_thresh=s.rpn_bg_iou_thresh,
        batch_size_per_image=s.rpn_batch_size_per_image, positive_fraction=s.rpn_positive_fraction)
    pool = MultiScaleRoIPool(s.roi_output_size) if s.roi_pooling == "pool" else MultiScaleRoIAlign(s.roi_output_size, s.roi_sampling_ratio)
    roi_heads = RoIHeads(
        pool, box_head or TwoMLPHead(channels, s.roi_output_size, s.box_head_width, rng=rng),
        FastRCNNPredictor(s.box_head_width, num_classes, rng=rng),
        s.bbox_reg_weights, s.box_score_thresh, s.box_nms_thresh, s.box_detections_per_img, fg_iou_thresh=s.box_fg_iou_thresh,
        bg_iou_thresh=s.box_bg_iou_thresh, batch_size_per_image=s.box_batch_size_per_image, positive_fraction=s.box_positive_fraction)
    return FasterRCNN(transform, backbone, rpn, roi_heads, pooled_maps)
