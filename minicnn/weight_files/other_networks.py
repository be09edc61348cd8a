"""Name torchvision's networks that cannot be converted, from the names of their arrays, so that the refusal says what the file is."""

# (an array that only this kind of network has, its name); of two that fit the first counts
HEADS = (
    ("roi_heads.mask_predictor.mask_fcn_logits.weight", "Mask R-CNN"),
    ("roi_heads.keypoint_predictor.kps_score_lowres.weight", "Keypoint R-CNN"),
    ("head.regression_head.bbox_ctrness.weight", "FCOS"),
    ("head.classification_head.cls_logits.weight", "RetinaNet"),
)
RESNETS = {(False, 2): "ResNet-18", (False, 6): "ResNet-34", (True, 6): "ResNet-50", (True, 23): "ResNet-101", (True, 36): "ResNet-152"}
VGG16 = {0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28}        # its convolutions


def other_network(arrays):
    """The name of a network that is none of those that ``convert`` knows; None where it may be one of them.

    Args:
        arrays: {name: array}.

    >>> other_network({"roi_heads.mask_predictor.mask_fcn_logits.weight": None, "backbone.body.layer3.0.conv1.weight": None,
    ...                "backbone.body.layer3.1.conv1.weight": None})
    'a Mask R-CNN on ResNet-18'
    """
    backbone = backbone_name(arrays)
    for mark, name in HEADS:
        if mark in arrays:
            return f"{'an' if name == 'FCOS' else 'a'} {name}" + (f" on {backbone}" if backbone else "")
    if any(name.startswith("head.classification_head.module_list.") for name in arrays):
        return "an SSD"
    if any(name.startswith("backbone.") for name in arrays):
        return None if backbone in ("ResNet-50", "MobileNetV3-Large", "VGG16") else f"a Faster R-CNN on {backbone or 'another backbone'}"
    if vgg_name(arrays, "features.") == "a VGG other than VGG16":
        return "a VGG other than VGG16"
    resnet = resnet_name(arrays, "")
    if resnet:
        return f"the classifier {resnet}" if "fc.weight" in arrays else f"the backbone {resnet}, without a detector"
    return "a classifier MobileNet or EfficientNet" if "features.0.0.weight" in arrays else None


def backbone_name(arrays):
    """The name of a detector's backbone, or None."""
    resnet = resnet_name(arrays, "backbone.body.")
    if resnet:
        return resnet
    if "backbone.body.0.0.weight" in arrays:
        return "MobileNetV3-Large" if "backbone.body.16.0.weight" in arrays else "another network with a pyramid"
    if "backbone.0.0.weight" in arrays:
        return "MobileNetV2 or the like, without a pyramid"
    return vgg_name(arrays, "backbone.")


def vgg_name(arrays, prefix):
    """The name of a VGG whose features' arrays have that prefix, or None."""
    names = [name.removeprefix(prefix).split(".") for name in arrays if name.startswith(prefix)]
    if f"{prefix}0.weight" not in arrays or any(len(parts) != 2 or not parts[0].isdecimal() or len(parts[0]) > 3 for parts in names):
        return None
    layers = {int(number) for number, _ in names}
    return "a VGG other than VGG16" if len(layers) >= 8 and len(VGG16 - layers) > 2 else "VGG16"        # VGG19 lacks three of VGG16's


def resnet_name(arrays, prefix):
    """The name of a ResNet whose arrays have that prefix, or None."""
    stage = f"{prefix}layer3."
    blocks = {name.removeprefix(stage).partition(".")[0] for name in arrays if name.startswith(stage)}
    if not blocks:
        return None
    bottleneck = any(name.startswith(f"{prefix}layer1.0.conv3.") for name in arrays)
    first = arrays.get(f"{prefix}layer1.0.conv1.weight")
    if bottleneck and first is not None and len(first) != 64:
        return "a ResNeXt or a wide ResNet"
    return RESNETS.get((bottleneck, len(blocks)), "another ResNet")
