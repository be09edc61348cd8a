"""The five detectors that torchvision's weights fit: a backbone for each, and ``assemble``, which puts RPN and box head on it.

An archive names its detector by the function here, such as "fasterrcnn_vgg16".
"""

import functools

from minicnn.detection.backbone import BackboneWithFPN, SingleMapBackbone
from minicnn.detection.faster_rcnn import FasterRCNN
from minicnn.detection.fpn import FeaturePyramidNetwork
from minicnn.detection.roi_align import MultiScaleRoIAlign
from minicnn.detection.roi_heads import FastRCNNPredictor, RoIHeads, TwoMLPHead, conv_fc_head
from minicnn.detection.roi_pool import MultiScaleRoIPool
from minicnn.detection.rpn import RegionProposalNetwork, RPNHead
from minicnn.detection.settings import ASPECT_RATIOS, BOOL, COUNT, PYRAMID_SIZES, Settings, check, is_number
from minicnn.detection.transform import Transform
from minicnn.layers import BatchNorm2d, FrozenBatchNorm2d
from minicnn.models.mobilenet import MobileNetV3Large
from minicnn.models.resnet import ResNet50
from minicnn.models.vgg import vgg16_features

FPN_CHANNELS = 256


def fasterrcnn_vgg16(num_classes=21, last_pool=False, *, rng=None, **settings):
    """Faster R-CNN on VGG16's ``features``: one feature map, of stride 16 without the last pooling, as in the paper.

    Args:
        num_classes: number of classes, background included.
        last_pool: keep the last pooling, as detectors built on the whole ``features`` do: stride 32. The weights are of the same names
            and shapes.
        rng: numpy.random.Generator that draws the weights; None leaves them zero, to be loaded.
        settings: fields of ``Settings``; by default anchors of 128, 256 and 512 pixels.

    Returns:
        model: a ``FasterRCNN``.

    Raises:
        ValueError: a setting or number is out of its range.

    Reference: Ren et al., Faster R-CNN (2015); Simonyan, Zisserman, Very deep convolutional networks (2014), configuration D.
    """
    settings = Settings(**{"anchor_sizes": ((128, 256, 512),), "aspect_ratios": (ASPECT_RATIOS,), **settings})
    check("last_pool", last_pool, *BOOL)
    features = vgg16_features(rng=rng)
    backbone = SingleMapBackbone(features if last_pool else features[:-1])
    return assemble(backbone, 512, 1, 1, num_classes, settings, rng=rng)


def fasterrcnn_resnet50_fpn(num_classes=91, norm="frozen", norm_eps=1e-5, *, rng=None, **settings):
    """Faster R-CNN on ResNet-50 with a feature pyramid of five maps, strides 4 to 64.

    Args:
        num_classes, rng, settings: as for ``fasterrcnn_vgg16``.
        norm: "frozen" (torchvision's choice where training starts from ImageNet weights) or "batch".
        norm_eps: epsilon of the norms; torchvision's published COCO weights need 0.

    Reference: Lin et al., Feature pyramid networks for object detection (2017), section 4.2.
    """
    norm = norm_layer(norm, norm_eps)
    body = ResNet50(norm, rng=rng)
    backbone = BackboneWithFPN(body, FeaturePyramidNetwork(body.out_channels, FPN_CHANNELS, rng=rng))
    return assemble(backbone, FPN_CHANNELS, 5, 4, num_classes, Settings(**settings), rng=rng)


def fasterrcnn_resnet50_fpn_v2(num_classes=91, *, rng=None, **settings):
    """``fasterrcnn_resnet50_fpn`` with norms in the pyramid, two convolutions in the RPN and four in the box head.

    Args:
        num_classes, rng, settings: as for ``fasterrcnn_vgg16``.

    Reference: Li et al., Benchmarking detection transfer learning with vision transformers (2021), section 3.
    """
    settings = Settings(**settings)
    body = ResNet50(BatchNorm2d, rng=rng)
    backbone = BackboneWithFPN(body, FeaturePyramidNetwork(body.out_channels, FPN_CHANNELS, BatchNorm2d, rng=rng))
    head = conv_fc_head(FPN_CHANNELS, settings.roi_output_size, settings.box_head_width, BatchNorm2d, rng=rng)
    return assemble(backbone, FPN_CHANNELS, 5, 4, num_classes, settings, head, rpn_depth=2, rng=rng)


def fasterrcnn_mobilenet_v3_large_fpn(num_classes=91, norm="frozen", norm_eps=1e-5, *, rng=None, **settings):
    """Faster R-CNN on MobileNetV3-large with a feature pyramid of three maps, strides 32, 32 and 64, and 15 anchors a cell.

    Args:
        num_classes, norm, rng, settings: as for ``fasterrcnn_resnet50_fpn``.
        norm_eps: 1e-5 as in torchvision's detectors; its classifier has 0.001.

    Reference: Howard et al., Searching for MobileNetV3 (2019).
    """
    settings = Settings(**{"anchor_sizes": (PYRAMID_SIZES,) * 3, "aspect_ratios": (ASPECT_RATIOS,) * 3, "rpn_score_thresh": 0.05,
                           **settings})
    body = MobileNetV3Large(norm_layer(norm, norm_eps), rng=rng)
    backbone = BackboneWithFPN(body, FeaturePyramidNetwork(body.out_channels, FPN_CHANNELS, rng=rng))
    return assemble(backbone, FPN_CHANNELS, 3, 2, num_classes, settings, rng=rng)


def fasterrcnn_mobilenet_v3_large_320_fpn(num_classes=91, norm="frozen", norm_eps=1e-5, *, rng=None, **settings):
    """``fasterrcnn_mobilenet_v3_large_fpn`` for small images: short side 320, long side at most 640, 150 proposals."""
    return fasterrcnn_mobilenet_v3_large_fpn(num_classes, norm, norm_eps, rng=rng, **{
        "min_size": 320, "max_size": 640, "rpn_pre_nms_top_n_test": 150, "rpn_post_nms_top_n_test": 150, **settings})


def norm_layer(norm, eps):
    """A function: num_features -> norm layer."""
    if norm not in ("frozen", "batch") or not is_number(eps, 0, 1):
        raise ValueError(f"norm={norm!r}, norm_eps={eps!r}, expected 'frozen' or 'batch', and a number from 0 to 1")
    return functools.partial({"frozen": FrozenBatchNorm2d, "batch": BatchNorm2d}[norm], eps=eps)


def assemble(backbone, channels, maps, pooled_maps, num_classes, settings, box_head=None, rpn_depth=1, *, rng=None):
    """Build the detector on a backbone.

    Args:
        backbone: images (N, 3, H, W) -> a list of feature maps, finest first.
        channels: number of channels of each map.
        maps: number of maps, which the RPN reads.
        pooled_maps: number of maps that boxes are pooled from, the finest ones.
        num_classes: number of classes, background included.
        settings: a ``Settings``.
        box_head: the layers before the predictor; None: a ``TwoMLPHead``.
        rpn_depth: number of 3 x 3 convolutions in the RPN's head.
        rng: numpy.random.Generator that draws the weights, or None.

    Returns:
        model: a ``FasterRCNN``.

    Raises:
        ValueError: num_classes is no positive integer, or the settings have anchors for another number of maps.
    """
    s = settings
    check("num_classes", num_classes, *COUNT)
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
