"""Running a detector on every image of an annotated data set."""

from collections import Counter
from dataclasses import replace

import numpy as np

from minicnn.data.annotated import read_annotated, shown
from minicnn.data.images import as_input
from minicnn.data.reduction import enlarge
from minicnn.detection.detect import too_large
from minicnn.detection.evaluation.proposal_recall import with_proposals
from minicnn.detection.evaluation.read_detections import other_classes
from minicnn.detection.evaluation.write_detections import NO_CLASS
from minicnn.errors import InputError
from minicnn.prefetch import prefetch
from minicnn.progress import Progress


def run_detector(model, annotated, source="the detector", on_error=None):
    """Run a detector on each image. The next file is read while the detector runs on the current one.

    Args:
        model: a ``FasterRCNN``.
        annotated: ``AnnotatedImages``.
        source: what error messages call the detector.
        on_error: called with the error of each image that is left out, or None.

    Returns:
        annotated: with the images that could be read.
        found: for each (boxes (D, 4), scores (D,), labels (D,)) in its pixels, with the data's labels.
        proposals: for each (R, 4).
        problems: a line for each image that could not be read.
        notes: a line about detections of classes that the data does not have, if there are any; they are left out.

    Raises:
        InputError: the model lacks a class of which the data has objects, or no image can be read.
    """
    names = model.record["class_names"]
    labels = label_map(names, annotated, source)
    kept, found, proposals, problems, others = [], [], [], [], Counter()
    with Progress(len(annotated.images), "evaluate") as bar:
        for image, reading in prefetch(read_annotated, annotated.images):
            try:
                (boxes, scores, own), offered = detect(model, image, reading())
            except InputError as error:
                if on_error is not None:
                    on_error(error)
                problems.append(str(error))
            else:
                mine = labels[own]
                others.update(names[label] for label in own[mine == 0])
                kept.append(image)
                found.append((boxes[mine > 0], scores[mine > 0], mine[mine > 0]))
                proposals.append(offered)
            bar.update(1)
    if not kept:
        raise InputError(f"got {len(problems)} images, none of which can be read, expected some. Put them where their annotations say.")
    others.pop(NO_CLASS, None)
    return replace(annotated, images=kept), found, proposals, problems, other_classes(others)


def detect(model, image, pixels):
    """``with_proposals`` of an ``AnnotatedImage`` that was read, in pixels of its file; raises InputError if memory does not suffice."""
    try:
        (boxes, *rest), proposals = with_proposals(model, as_input(pixels))
    except MemoryError as error:
        raise too_large(image.path, pixels, "the model's min_size and max_size, or the image,") from error
    return (enlarge(boxes, image.height, image.width), *rest), enlarge(proposals, image.height, image.width)


def label_map(names, annotated, source):
    """(K,) int64: the data's label for each of the network's class names; 0 for names that are no class of the data.

    Raises:
        InputError: the network does not know a class of which the data has objects.
    """
    labels = {name: label for label, name in enumerate(annotated.class_names) if name != NO_CLASS}
    there = {annotated.class_names[label] for image in annotated.images for label in image.labels}
    missing = sorted(there - set(names[1:]))
    if missing:
        texts = f"{', '.join(map(shown, missing[:5]))}{', ...' * (len(missing) > 5)}"
        raise InputError(f"got {source}, which does not know {len(missing)} of the classes of the data's objects ({texts}), expected a "
                         "detector of all. Choose the data that it was trained for.")
    return np.array([0, *(labels.get(name, 0) for name in names[1:])])
