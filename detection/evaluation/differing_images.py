"""The images in which two detectors disagree most."""

import numpy as np

from minicnn.data.images import as_image, read_reduced
from minicnn.detection.evaluation.agreement import SURE
from minicnn.errors import InputError

LOST, INVENTED, BOTH = "lost", "invented", "found by both"


def differing_images(agreement, most=8):
    """The images with most lost and invented objects.

    Args:
        agreement: an ``Agreement`` whose ``images`` are paths, arrays or Pillow images.
        most: largest number of images.

    Returns:
        list of {"name", "pixels": (H, W, 3) uint8, "found": [(box, class name, score, LOST, INVENTED or BOTH)]}, boxes in these pixels.
        What both found is the original's. Images without a difference and images that cannot be read are left out.
    """
    there, keeping, offered, accepted = agreement.counts()
    differences = there - keeping + offered - accepted
    images = []
    for index in np.argsort(-differences, kind="stable"):
        if differences[index] == 0 or len(images) == most:
            break
        try:
            read = read_reduced(agreement.images[index])
        except InputError:
            continue
        images.append({"name": agreement.names[index], "pixels": as_image(read.values), "found": [
            *drawn(agreement.original[index], agreement.original_kept[index], read.reduced, LOST, BOTH),
            *drawn(agreement.model[index], agreement.model_kept[index], read.reduced, INVENTED, None)]})
    return images


def drawn(found, kept, reduced, missing, common):
    """[(box, name, score, verdict)] of the sure detections; those of the verdict None are left out."""
    rows = zip((found.boxes / reduced).tolist(), found.names, found.scores.tolist(), kept)
    return [(box, name, score, verdict) for box, name, score, is_kept in rows
            if score >= SURE and (verdict := common if is_kept else missing) is not None]
