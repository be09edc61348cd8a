"""Running two detectors on the same images, and how far they agree; what that means is in ``agreement.py``."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from minicnn.data.annotated import shown
from minicnn.data.image_files import find_images
from minicnn.data.images import read_reduced
from minicnn.detection.detect import printable, too_large
from minicnn.detection.detections import Detections
from minicnn.detection.evaluation.agreement import LEAST, Agreement, agreement
from minicnn.detection.evaluation.write_detections import NO_CLASS
from minicnn.detection.faster_rcnn import FasterRCNN
from minicnn.errors import InputError
from minicnn.prefetch import prefetch
from minicnn.progress import Progress

NAMED = 5               # class names in a message, at most


def evaluate_agreement(model: FasterRCNN, original: FasterRCNN, images: str | Path | Sequence[Any], rng: np.random.Generator | None = None,
                       *, sources: tuple[str, str] = ("the network", "the original"),
                       on_error: Callable[[InputError], None] | None = None) -> Agreement:
    """Run two detectors on images without labels and measure how far they agree.

        result = evaluate_agreement(minicnn.load("small.npz"), minicnn.load("det.npz"), "photos/", np.random.default_rng(0))
        result.document["agreement"], result.document["interval"], result.lost()

    Of the sure detections (score at least 0.5) of both, it is the share that the other has, too (same class, IoU at least 0.5, score at
    least 0.3, one to one):

        agreement = (kept of the original + kept of the network) / (all of the original + all of the network)

    Args:
        model, original: two ``FasterRCNN`` of the same classes, by name.
        images: a folder, a pattern, or a list of paths, Pillow images and arrays.
        rng: draws the bootstrap's interval; None: there is none.
        sources: what error messages call the two, such as their files.
        on_error: called with the error of an image that cannot be read or takes too much memory. Such an image is left out for both, its
            error is a line of ``problems``.

    Returns:
        An ``Agreement``.

    Raises:
        InputError: the class names differ, or no image can be read.
    """
    return AgreementWith(original, images, source=sources[1], on_error=on_error)(model, rng, source=sources[0])


class AgreementWith:
    """A function of a detector: its agreement with an original on given images. The original is run once, by the first call.

        measure = AgreementWith(minicnn.load("det.npz"), "photos/")
        [measure(small).document["agreement"] for small in candidates]

    Images that cannot be read are left out from the first call on, so that all detectors are measured on the same ones.

    Args:
        original, images, source, on_error: as for ``evaluate_agreement``.
    """

    def __init__(self, original: FasterRCNN, images: str | Path | Sequence[Any], *, source: str = "the original",
                 on_error: Callable[[InputError], None] | None = None):
        self.original, self.source, self.on_error = original, source, on_error
        self.images = list(find_images([images]) if isinstance(images, (str, os.PathLike)) else images)
        self.found: list[Detections] | None = None              # by the original
        self.problems: list[str] = []

    def __call__(self, model: FasterRCNN, rng: np.random.Generator | None = None, *, source: str = "the network") -> Agreement:
        """The ``Agreement`` of a network with the original; its ``problems`` are those of all calls so far."""
        check_same_classes(model, self.original, (source, self.source))
        if self.found is None:
            found = self.run(self.original, "original")
            self.keep(found)
            self.found = [one for one in found if one is not None]
        found = self.run(model, "network")
        self.found = [one for one, other in zip(self.found, found) if other is not None]
        self.keep(found)
        result = agreement([one for one in found if one is not None], self.found, self.images, rng)
        result.problems = list(self.problems)
        return result

    def keep(self, found):
        """Leave out the images in which nothing could be searched."""
        self.images = [image for image, one in zip(self.images, found) if one is not None]
        if not self.images:
            raise InputError(f"got {len(found)} images, none of which can be read, expected some. Give others.")

    def run(self, model, label):
        """The ``Detections`` of a network in each image; None where it cannot be read."""
        found = []
        with scores_from(model, LEAST / 2), Progress(len(self.images), label) as bar:
            for image, reading in prefetch(read_reduced, self.images):
                try:
                    found.append(detect(model, image, reading()))
                except InputError as error:
                    if self.on_error is not None:
                        self.on_error(error)
                    self.problems.append(str(error))
                    found.append(None)
                bar.update(1)
        return found


def detect(model, image, read):
    """The ``Detections`` in an image that was read, in pixels of its file; raises InputError if memory does not suffice."""
    try:
        found = model.detect(read.values)
    except MemoryError as error:
        name = printable(image) if isinstance(image, (str, os.PathLike)) else "an image"
        raise too_large(name, read.values, "the model's min_size and max_size, or the image,") from error
    return replace(found, boxes=read.enlarge(found.boxes))


@contextlib.contextmanager
def scores_from(model, score):
    """Let a detector return everything of at least this score for a moment, whatever its own threshold.

    Detections of lower scores suppress none of higher ones, so nothing else changes.
    """
    own, model.roi_heads.score_thresh = model.roi_heads.score_thresh, score
    try:
        yield
    finally:
        model.roi_heads.score_thresh = own


def check_same_classes(model: FasterRCNN, original: FasterRCNN, sources: tuple[str, str] = ("the network", "the original")) -> None:
    """Raise InputError unless two detectors have the same class names, in any order.

    Args:
        model, original: the detectors. sources: what the message calls them.
    """
    one, other = ({network.class_name(label) for label in range(1, network.num_classes)} - {NO_CLASS} for network in (model, original))
    if one != other:
        parts = [f"only {source}: {', '.join(map(shown, names[:NAMED]))}{', ...' * (len(names) > NAMED)}"
                 for names, source in ((sorted(one - other), sources[0]), (sorted(other - one), sources[1])) if names]
        raise InputError(f"got {sources[0]} and {sources[1]}, whose class names differ ({'; '.join(parts)}), expected the same ones. "
                         "Compare a network with the one that it was made from.")
