"""Running a detector on every image of an annotated data set."""

from dataclasses import replace

import numpy as np

from minicnn.data.annotated import read_annotated
from minicnn.data.images import as_input
from minicnn.detection.detect import too_large
from minicnn.detection.evaluation.proposal_recall import with_proposals
from minicnn.detection.evaluation.read_detections import check_classes
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

    Raises:
        InputError: model and data have different classes, or no image can be read.
    """
    labels = label_map(model.record["class_names"], annotated.class_names, source)
    kept, found, proposals, problems = [], [], [], []
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
                kept.append(image)
                found.append((boxes[mine > 0], scores[mine > 0], mine[mine > 0]))
                proposals.append(offered)
            bar.update(1)
    if not kept:
        raise InputError(f"got {len(problems)} images, none of which can be read, expected some. Put them where their annotations say.")
    return replace(annotated, images=kept), found, proposals, problems


def detect(model, image, pixels):
    """``with_proposals`` of an ``AnnotatedImage`` that was read; raises InputError if the memory does not suffice."""
    try:
        return with_proposals(model, as_input(pixels))
    except MemoryError as error:
        raise too_large(image.path, pixels, "the model's min_size and max_size, or the image,") from error


def label_map(names, class_names, source):
    """(K,) int64: the data's label for each of the network's, by name; 0 for names that stand for no class."""
    labels = {name: label for label, name in enumerate(class_names)}
    check_classes(source, {name for name in names[1:] if name != NO_CLASS}, set(class_names[1:]))
    return np.array([0, *(labels.get(name, 0) for name in names[1:])])
