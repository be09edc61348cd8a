"""The detections of one class in all images, by descending score, beside the objects of that class: what every metric counts on."""

from dataclasses import dataclass

import numpy as np

from minicnn.detection.boxes import box_iou
from minicnn.errors import InputError

FALSE_POSITIVE, TRUE_POSITIVE, IGNORED = 0, 1, -1       # the outcome of a detection; an ignored one is neither true nor false
DECIMALS = 5                            # of a side's length: more than files have, fewer than float32 spoils


@dataclass
class Ranking:
    """D detections and G ground-truth objects of one class, in P images.

    Args:
        name: of the class.
        scores: (D,) float64, descending; equal ones in the order of the images, and in one image as they were given.
        images: (D,) int, indices of the detections' images in their set.
        boxes: (D, 4) float64, x1, y1, x2, y2 in continuous pixels.
        gt_images: (G,) int, ascending, indices of the objects' images.
        gt_boxes: (G, 4) float64.
        ignored: (G,) bool, difficult objects and crowds, which do not count, found or missed.
        crowd: (G,) bool.
        areas: (G,) float64, square pixels.
        objects: (P,) int64, the number of objects that count in each image.
    """

    name: str
    scores: np.ndarray
    images: np.ndarray
    boxes: np.ndarray
    gt_images: np.ndarray
    gt_boxes: np.ndarray
    ignored: np.ndarray
    crowd: np.ndarray
    areas: np.ndarray
    objects: np.ndarray

    def by_image(self):
        """For each image that has both: the indices of its detections, by descending score, and of its objects, in their order."""
        order = np.argsort(self.images, kind="stable")
        for start, end, first, last in common(self.images[order], self.gt_images):
            yield order[start:end], np.arange(first, last)

    def ranks(self):
        """(D,) int: the number of detections of this class with a higher score in the same image."""
        order = np.argsort(self.images, kind="stable")
        ordered = self.images[order]
        ranks = np.empty(len(order), np.int64)
        ranks[order] = np.arange(len(order)) - np.searchsorted(ordered, ordered)
        return ranks


def common(images, gt_images):
    """For each image that is in both of two ascending lists: its start and end in the first, its start and end in the second."""
    both = np.intersect1d(images, gt_images)
    return zip(*(np.searchsorted(column, both, side) for column in (images, gt_images) for side in ("left", "right")))


def rank(annotated, found):
    """Sort detections and objects by class.

    Args:
        annotated: ``AnnotatedImages``.
        found: for each of its images (boxes (D, 4), scores (D,), labels (D,)), in continuous pixels, in any order.

    Returns:
        list of ``Ranking``, one for each class, without the background.

    Raises:
        InputError: the numbers of images, boxes, scores or labels differ, or a value is not valid.
    """
    if len(found) != len(annotated.images):
        raise InputError(f"got detections of {len(found)} images, expected those of {len(annotated.images)}. Give a list for each, "
                         "empty where nothing was found.")
    for image, (boxes, scores, labels) in zip(annotated.images, found):
        check(image.name, np.asarray(boxes), np.asarray(scores), np.asarray(labels), len(annotated.class_names))
    boxes, scores, labels, images = joined([(np.asarray(boxes).reshape(-1, 4), scores, labels) for boxes, scores, labels in found])
    gt_boxes, gt_labels, difficult, crowd, areas, gt_images = joined(
        [(image.boxes.reshape(-1, 4), image.labels, image.difficult, image.crowd, image.areas) for image in annotated.images])
    boxes, scores, ignored = np.asarray(boxes, np.float64), np.asarray(scores, np.float64), difficult | crowd
    gt_boxes = as_written(gt_boxes)
    rankings = []
    for label, name in enumerate(annotated.class_names[1:], start=1):
        mine = np.flatnonzero(labels == label)
        mine = mine[np.argsort(-scores[mine], kind="stable")]
        true = np.flatnonzero(gt_labels == label)
        objects = np.bincount(gt_images[true[~ignored[true]]], minlength=len(found))
        rankings.append(Ranking(name, scores[mine], images[mine], boxes[mine], gt_images[true], gt_boxes[true], ignored[true],
                                crowd[true], areas[true], objects))
    return rankings


def joined(rows):
    """Each column's arrays concatenated, and (N,) the row that each element is from."""
    if not rows:
        raise InputError("got no images, expected at least one. Choose another split.")
    columns = [np.concatenate(column) for column in zip(*rows)]
    return *columns, np.repeat(np.arange(len(rows)), [len(row[0]) for row in rows])


def as_written(boxes):
    """Boxes (G, 4) as float64: the numbers of their file, recovered from float32 where possible.

    An overlap of exactly 0.6 must not become 0.59999995. The shortest decimal that rounds to a float32 is the number that was rounded,
    where that had few digits; and COCO's files, whose numbers have two decimals, hold x and width, of which x2 is the sum.
    """
    if boxes.dtype != np.float32:
        return boxes.astype(np.float64)
    corners = boxes.astype(str).astype(np.float64)
    return np.hstack([corners[:, :2], corners[:, :2] + np.round(corners[:, 2:] - corners[:, :2], DECIMALS)])


def check(name, boxes, scores, labels, classes):
    """Raise InputError unless boxes, scores and labels are valid detections of the image ``name``."""
    if not len(boxes) == len(scores) == len(labels):
        raise InputError(f"got {len(boxes)} boxes, {len(scores)} scores and {len(labels)} labels in {name}, expected as many of each. "
                         "Give those of one image.")
    if not len(boxes):
        return
    if not (np.isfinite(boxes).all() and np.isfinite(scores).all()):
        raise InputError(f"got a box or score in {name} that is not finite, expected numbers. Check the program that made the detections.")
    if (boxes[:, 2:] < boxes[:, :2]).any():
        box = boxes[(boxes[:, 2:] < boxes[:, :2]).any(axis=1)][0]
        raise InputError(f"got the box {', '.join(f'{side:g}' for side in box)} in {name}, which is inside out, expected x1, y1, x2, y2 "
                         "with x1 <= x2 and y1 <= y2. Exchange its sides.")
    if labels.min() < 1 or labels.max() >= classes:
        raise InputError(f"got the labels {labels.min()} to {labels.max()} in {name}, expected 1 to {classes - 1}, the data's classes. "
                         "Map them by name.")


def overlaps(boxes, gt_boxes, crowd=None):
    """Intersection over union (D, G), 0 where neither box has an area.

    Args:
        boxes: (D, 4); gt_boxes: (G, 4).
        crowd: (G,) bool; for crowds the intersection is divided by the detection's own area. None: there are none.
    """
    iou = np.nan_to_num(box_iou(boxes, gt_boxes))
    if crowd is not None and crowd.any():
        sides = np.minimum(boxes[:, None, 2:], gt_boxes[crowd, 2:]) - np.maximum(boxes[:, None, :2], gt_boxes[crowd, :2])
        intersection = np.maximum(sides, 0).prod(axis=2)                                    # (D, crowds)
        area = (boxes[:, 2:] - boxes[:, :2]).prod(axis=1)[:, None]
        iou[:, crowd] = np.divide(intersection, area, out=np.zeros_like(intersection), where=area > 0)
    return iou
