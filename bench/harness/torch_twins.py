"""torchvision's detectors with our weights: their rungs of the ladder, and their training."""

from unittest import mock

import torch
from torchvision.models import detection, vgg16
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FasterRCNN, FastRCNNConvFCHead, FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.misc import FrozenBatchNorm2d

from minicnn.layers import FrozenBatchNorm2d as OurFrozenBatchNorm2d


def torch_twin(model):
    """The torchvision detector of the same architecture, in evaluation mode, with the arrays of ``model``."""
    name = model.architecture
    num_classes = model.roi_heads.box_predictor.cls_score.out_features
    width = model.roi_heads.box_predictor.cls_score.in_features
    arguments = {key: value for key, value in model.architecture_arguments.items() if key not in (
        "norm", "norm_eps", "num_classes", "box_head_width", "anchor_sizes", "aspect_ratios", "roi_output_size", "roi_sampling_ratio")}
    if name == "fasterrcnn_vgg16":
        features = vgg16(weights=None).features
        features = features if arguments.pop("last_pool", False) else features[:-1]
        features.out_channels = 512
        anchors = AnchorGenerator(model.rpn.anchor_sizes, model.rpn.aspect_ratios)
        twin = FasterRCNN(features, num_classes, rpn_anchor_generator=anchors, box_roi_pool=MultiScaleRoIAlign(["0"], 7, 2), **arguments)
    else:
        twin = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=num_classes, **arguments)
        frozen = [layer.eps for _, layer in model.named_layers() if isinstance(layer, OurFrozenBatchNorm2d)]
        if frozen:
            freeze(twin, frozen[0])
    if width != 1024:
        channels = twin.backbone.out_channels
        twin.roi_heads.box_head = (FastRCNNConvFCHead((channels, 7, 7), [channels] * 4, [width], torch.nn.BatchNorm2d)
                                   if name.endswith("v2") else TwoMLPHead(channels * 7 * 7, width))
        twin.roi_heads.box_predictor = FastRCNNPredictor(width, num_classes)
    state = {path: torch.from_numpy(array.copy()) for path, array in model.named_arrays()}
    missing, unexpected = twin.load_state_dict(state, strict=False)
    assert not unexpected and all(path.endswith("num_batches_tracked") for path in missing), (missing, unexpected)
    return twin.eval()


def freeze(module, eps):
    """Replace every BatchNorm2d by a FrozenBatchNorm2d, which torchvision builds where weights are given."""
    for name, child in module.named_children():
        if isinstance(child, torch.nn.BatchNorm2d):
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps))
        else:
            freeze(child, eps)


def torch_rungs(twin, images):
    """{rung: NumPy arrays} that torchvision computes from images (3, H, W) to boxes.

    The pooling scales that torchvision keeps from its first batch are reset.
    """
    twin.roi_heads.box_roi_pool.scales = None
    kept = {}

    def keep(name):
        def hook(module, inputs, output):
            kept[name] = output
        return hook
    hooks = [module.register_forward_hook(keep(name)) for name, module in (
        ("batch", twin.transform), ("maps", twin.backbone), ("rpn_head", twin.rpn.head), ("anchors", twin.rpn.anchor_generator),
        *([("body", twin.backbone.body)] if hasattr(twin.backbone, "body") else []),
        ("proposals", twin.rpn), ("pooled", twin.roi_heads.box_roi_pool), ("predictor", twin.roi_heads.box_predictor))]
    with torch.no_grad():
        found = twin([torch.from_numpy(image) for image in images])
    for hook in hooks:
        hook.remove()
    batch = kept["batch"][0]
    maps = {"0": kept["maps"]} if isinstance(kept["maps"], torch.Tensor) else kept["maps"]
    objectness, deltas = kept["rpn_head"]
    order = lambda x, last: x.permute(0, 2, 3, 1).reshape(len(x), -1, *last).numpy()                  # noqa: E731
    return {
        "pixels": batch.tensors.numpy(), "sizes": [tuple(size) for size in batch.image_sizes],
        "body": [x.numpy() for x in kept.get("body", {}).values()], "maps": [x.numpy() for x in maps.values()],
        "objectness": [order(x, ()) for x in objectness], "deltas": [order(x, (4,)) for x in deltas],
        "anchors": kept["anchors"][0].numpy(), "proposals": [x.numpy() for x in kept["proposals"][0]],
        "pooled": kept["pooled"].numpy(), "logits": kept["predictor"][0].numpy(), "box_deltas": kept["predictor"][1].numpy(),
        "found": [tuple(of_image[name].numpy() for name in ("boxes", "scores", "labels")) for of_image in found],
    }


def torch_training(model, batch, targets):
    """torchvision's losses and gradients of one training step, and its buffers afterwards.

    Instead of random anchors and proposals the first ones are sampled.

    Args:
        model: ours, whose weights it takes.
        batch, targets: as ``step.detector_losses`` takes them (batch, ground truth); torchvision computes in the dtype of the pixels.
    """
    pixels = torch.from_numpy(batch.pixels)
    twin = torch_twin(model).train().to(pixels.dtype)
    ground_truth = [{"boxes": torch.from_numpy(boxes).to(pixels.dtype), "labels": torch.from_numpy(labels)} for boxes, labels in targets]
    twin.transform.forward = lambda images, _: (ImageList(pixels, list(batch.sizes)), ground_truth)
    with mock.patch("torch.randperm", lambda n, device=None: torch.arange(n)):
        losses = twin([torch.zeros(3, *size) for size in batch.original_sizes], ground_truth)
    sum(losses.values()).backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in twin.named_parameters() if parameter.grad is not None}
    return {name: loss.item() for name, loss in losses.items()}, gradients, dict(twin.named_buffers())
