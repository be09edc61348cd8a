"""The ladder of comparisons with torchvision: every stage ("rung") from an image to its boxes.

Up to the RPN's outputs every stage is continuous, so ours are computed from the image. Selection and suppression are not: two scores that
differ in the last digit change places. So from there on each of our stages gets the *reference's* input, and only the last rung, the
detections, is compared from end to end.
"""

from pathlib import Path

import numpy as np

from minicnn import functional as F
from minicnn.data.images import as_input, read_image
from minicnn.detection.transform import Batch
from minicnn.functional.dispatch import backend, run

IMAGES = Path(__file__).parents[2] / "tests" / "pictures"
RELATIVE, PIXELS, SCORE = 1e-4, 0.05, 1e-3          # tolerances of feature maps, boxes and scores
DETECTORS = ("fasterrcnn_vgg16", "fasterrcnn_resnet50_fpn", "fasterrcnn_resnet50_fpn_v2", "fasterrcnn_mobilenet_v3_large_fpn",
             "fasterrcnn_mobilenet_v3_large_320_fpn")


def images():
    """{name: (3, H, W) float32}: photographs cropped to shapes on which ports fail."""
    chelsea, astronaut, hopper = (read_image(IMAGES / f"{name}.jpg") for name in ("chelsea", "astronaut", "grace_hopper"))
    gray = np.repeat(chelsea.mean(axis=2, keepdims=True).astype(np.uint8), 3, axis=2)
    return {name: as_input(np.ascontiguousarray(image)) for name, image in (
        ("gray 300x451", gray),
        ("trap 161x214", astronaut[20:181, 150:364]),               # 161 (800 / 161) < 800
        ("tall 480x150", hopper[60:540, 180:330]),
        ("tiny 30x40", astronaut[20:260:8, 120:440:8]))}


def our_rungs(model, images):
    """Our rungs up to the RPN's outputs, and the detections.

    The body's maps are among them only on the reference backend: a plan computes the pyramid together with the body.
    """
    batch = model.transform(images)
    separate = backend() == "reference" and "backbone.body" in dict(model.named_layers())
    body = model.backbone.body(batch.pixels) if separate else []
    maps = run(model.backbone, batch.pixels)
    outputs = [run(model.rpn.head, x) for x in maps]
    return {
        "pixels": batch.pixels, "sizes": batch.sizes, "body": body, "maps": maps,
        "objectness": [objectness for objectness, _ in outputs], "deltas": [deltas for _, deltas in outputs],
        "anchors": np.concatenate(model.rpn.anchors(maps, batch)), "found": model(images),
    }


def our_steps(model, theirs):
    """Our rungs after the RPN's outputs, each computed from the reference's input."""
    batch = Batch(theirs["pixels"], theirs["sizes"], theirs["sizes"])
    ends = np.cumsum([x.shape[1] for x in theirs["objectness"]])[:-1]
    proposals = [model.rpn.propose([(objectness[n], deltas[n]) for objectness, deltas in zip(theirs["objectness"], theirs["deltas"])],
                                   np.split(theirs["anchors"], ends), size)
                 for n, size in enumerate(theirs["sizes"])]
    pooled = model.roi_heads.box_roi_pool(theirs["maps"][:model.pooled_maps], theirs["proposals"], batch.sizes)
    logits, deltas = box_outputs(model, theirs["pooled"])
    return {"proposals": proposals, "pooled": pooled, "logits": logits, "box_deltas": deltas}


def box_outputs(model, pooled):
    """Logits and deltas of pooled features."""
    return run(model.roi_heads.box_predictor, run(model.roi_heads.box_head, pooled))


def differences(model, images, theirs):
    """Compare all rungs.

    Returns:
        worst: {rung: the largest difference};
        unmatched: {rung: number of boxes on either side without a partner}.
    """
    ours, steps = our_rungs(model, images), our_steps(model, theirs)
    assert ours["sizes"] == theirs["sizes"]
    worst = {"input": relative(ours["pixels"], theirs["pixels"])}
    for name, levels in (("body map", "body"), ("map", "maps")):
        assert len(ours[levels]) == len(theirs[levels]) or backend() != "reference" and levels == "body"
        worst.update({f"{name} {i}": relative(a, b) for i, (a, b) in enumerate(zip(ours[levels], theirs[levels]))})
    for name in ("objectness", "deltas"):
        worst[name] = max(relative(a, b) for a, b in zip(ours[name], theirs[name]))
    worst["anchors, px"] = float(np.abs(ours["anchors"] - theirs["anchors"]).max())
    unmatched = {"proposals": 0, "detections": 0}
    worst["proposals, px"] = 0.0
    for a, b in zip(steps["proposals"], theirs["proposals"]):
        pixels, _, count = match((a, None, None), (b, None, None))
        worst["proposals, px"] = max(worst["proposals, px"], pixels)
        unmatched["proposals"] += count
    worst["pooled"] = relative(steps["pooled"], theirs["pooled"])
    worst["class scores"] = float(np.abs(F.softmax(steps["logits"]) - F.softmax(theirs["logits"])).max())
    worst["box deltas"] = relative(steps["box_deltas"], theirs["box_deltas"])
    worst["boxes, px"] = worst["scores"] = 0.0
    for a, b in zip(ours["found"], theirs["found"]):
        pixels, score, count = match(a, b)
        worst["boxes, px"], worst["scores"] = max(worst["boxes, px"], pixels), max(worst["scores"], score)
        unmatched["detections"] += count
    return worst, unmatched


def relative(a, b):
    """max |a - b| / max |b|."""
    assert a.shape == b.shape, (a.shape, b.shape)
    return float(np.abs(a.astype(np.float64) - b).max(initial=0) / np.abs(b).max(initial=1e-30))


def match(ours, theirs):
    """The largest differences in pixels and in score among ``pairs``, and the number of boxes on either side without a partner."""
    i, j = np.array(pairs(ours, theirs), int).reshape(-1, 2).T
    pixels = float(np.abs(ours[0][i] - theirs[0][j]).max(initial=0))
    score = 0.0 if ours[1] is None else float(np.abs(ours[1][i] - theirs[1][j]).max(initial=0))
    return pixels, score, len(ours[0]) + len(theirs[0]) - 2 * len(i)


def pairs(ours, theirs):
    """Pair detections of one image by label, position and score, whatever their order.

    Args:
        ours, theirs: boxes (D, 4), scores and labels (D,), or None for both.

    Returns:
        list of (index in ours, index in theirs).
    """
    (boxes, scores, labels), (other, other_scores, other_labels) = ours, theirs
    free, found = np.ones(len(boxes), bool), []
    for j, box in enumerate(other):
        distance = np.abs(boxes - box).max(axis=1, initial=0)
        good = free & (distance <= PIXELS)
        if scores is not None:
            good &= (labels == other_labels[j]) & (np.abs(scores - other_scores[j]) <= SCORE)
        if good.any():
            i = np.flatnonzero(good)[distance[good].argmin()]
            free[i] = False
            found.append((i, j))
    return found
