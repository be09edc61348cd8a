"""Why one side's detection may be missing on the other: it, or what suppressed it, came close to a threshold."""

import numpy as np
from ladder import PIXELS, SCORE

from minicnn import functional as F
from minicnn.detection import boxes as B
from minicnn.functional.dispatch import run

CLOSE = 1e-3            # of a score or an overlap to its threshold


def explain(model, image, box, score, label):
    """The threshold that a detection came within ``CLOSE`` of, in words, or None.

    Args:
        model: a detector of ours.
        image: (3, H, W) float32 in [0, 1].
        box, score, label: a detection in it that only one side has, ours or the reference's.
    """
    heads = model.roi_heads
    if abs(score - heads.score_thresh) <= CLOSE:
        return f"score {score:.4f} at the threshold {heads.score_thresh}"
    batch = model.transform([image])
    size = batch.sizes[0]
    maps = run(model.backbone, batch.pixels)
    outputs = [tuple(array[0] for array in run(model.rpn.head, x)) for x in maps]
    proposed, objectness, levels = model.rpn.candidates(outputs, model.rpn.anchors(maps, batch), size)
    kept = B.batched_nms(proposed, objectness, levels, model.rpn.nms_thresh)
    last = model.rpn.post_nms_top_n

    pooled = heads.box_roi_pool(maps[:model.pooled_maps], [proposed], batch.sizes)
    logits, deltas = run(heads.box_predictor, run(heads.box_head, pooled))
    boxes = B.clip(B.decode(deltas, proposed, heads.bbox_reg_weights), size)[:, label]
    scores = F.softmax(logits)[:, label]
    here = model.transform.scale_boxes(boxes, size, batch.original_sizes[0])
    sources = np.flatnonzero((np.abs(here - box).max(axis=1) <= PIXELS) & (np.abs(scores - score) <= SCORE))
    used = kept[:last]
    candidates = used[scores[used] > heads.score_thresh]
    rivals = candidates[B.nms(boxes[candidates], scores[candidates], heads.nms_thresh)]
    for source in sources:
        suppressed, near = judge(proposed, objectness, kept[levels[kept] == levels[source]], source, model.rpn.nms_thresh)
        if near:
            return f"proposal: {near}"
        if suppressed:
            continue
        if len(kept) > last and abs(objectness[source] - objectness[kept[last]]) <= CLOSE:
            return f"proposal: score {objectness[source]:.4f} at that of the last one taken"
        _, near = judge(boxes, scores, rivals, source, heads.nms_thresh)
        if near:
            return f"detection: {near}"
    found = heads.select(logits[used], deltas[used], proposed[used], size)[1]
    if len(found) == heads.detections_per_img and abs(found[-1] - score) <= CLOSE:
        return f"score {score:.4f} at that of the last one taken"
    return None


def judge(boxes, scores, rivals, index, iou_threshold):
    """Whether suppression surely removes a box, and if not, which threshold decides.

    Args:
        boxes, scores: of all candidates.
        rivals: indices of the boxes that suppression keeps.
        index: of the box.
        iou_threshold: of suppression.

    Returns:
        suppressed: whether a rival surely removes it;
        near: in words, an overlap at the threshold, or the equal score of a rival that it overlaps; None if there is neither.
    """
    rivals = rivals[(rivals != index) & (scores[rivals] >= scores[index] - CLOSE)]
    iou = B.box_iou(boxes[[index]], boxes[rivals])[0].astype(np.float64)
    even = np.abs(scores[rivals] - scores[index]) <= CLOSE
    if ((iou > iou_threshold + CLOSE) & ~even).any():
        return True, None
    if (at := np.flatnonzero(np.abs(iou - iou_threshold) <= CLOSE)).size:
        return False, f"overlap {iou[at[0]]:.4f} at the threshold {iou_threshold}"
    if (at := np.flatnonzero((iou > iou_threshold) & even)).size:
        return False, f"score {scores[index]:.4f} at that of a box it overlaps by {iou[at[0]]:.4f}"
    return False, None
