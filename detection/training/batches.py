"""The batches of an epoch: images in random order, mirrored and resized at random.

Letters: G objects of an image, H x W pixels.
"""

import numpy as np

from minicnn.data.annotated import read_annotated
from minicnn.data.images import as_input
from minicnn.data.reduction import reduced_size, reduction
from minicnn.detection.training.targets import GroundTruth


def plan_epoch(images, hyperparameters, rng):
    """Put the images of an epoch into batches, and the batches into optimizer steps.

    Upright and wide images go into batches of their own, which then need less padding, as in torchvision's reference training.

    Args:
        images: list of ``AnnotatedImage``.
        hyperparameters: a ``DetectorHyperparameters``.
        rng: numpy.random.Generator.

    Returns:
        steps: list of lists of batches; a batch is a list of indices into images.
    """
    batches, waiting = [], {True: [], False: []}
    for index in rng.permutation(len(images)).tolist():
        batch = waiting[images[index].height > images[index].width]
        batch.append(index)
        if len(batch) == hyperparameters.batch_size:
            batches.append(batch.copy())
            batch.clear()
    rest = waiting[False] + waiting[True]
    batches += [rest[start:start + hyperparameters.batch_size] for start in range(0, len(rest), hyperparameters.batch_size)]
    return [batches[start:start + hyperparameters.accumulate] for start in range(0, len(batches), hyperparameters.accumulate)]


def count_images(steps):
    """The number of images in some steps of ``plan_epoch``."""
    return sum(len(batch) for step in steps for batch in step)


def draw_batch(images, hyperparameters, rng, cache=None):
    """Make the random choices for a batch, and read its images.

    Args:
        images: list of ``AnnotatedImage``.
        hyperparameters: a ``DetectorHyperparameters``.
        rng: numpy.random.Generator.
        cache: a ``FeatureCache`` that has the images' features, or None.

    Returns:
        pixels: for each image (3, H, W) float32 in [0, 1]; with a cache (image, whether it is mirrored) instead.
        ground_truth: for each image a ``GroundTruth`` in pixels of the image as it is read, see ``minicnn.data.reduction``.
        min_size: short side in pixels, or None for the detector's own.
    """
    flips = rng.random(len(images)) < 0.5 if hyperparameters.flip else np.zeros(len(images), bool)
    min_size = int(rng.choice(hyperparameters.min_sizes)) if hyperparameters.min_sizes else None
    ground_truth = [ground_truth_of(image, flipped) for image, flipped in zip(images, flips)]
    pixels = list(zip(images, flips)) if cache else [read_pixels(image, flipped) for image, flipped in zip(images, flips)]
    return pixels, ground_truth, min_size


def read_pixels(image, flipped):
    """The pixels of an ``AnnotatedImage``, mirrored or not: (3, H, W) float32 in [0, 1]."""
    pixels = as_input(read_annotated(image))
    return np.ascontiguousarray(pixels[:, :, ::-1]) if flipped else pixels


def ground_truth_of(image, flipped):
    """The ``GroundTruth`` of an ``AnnotatedImage``, mirrored or not, without difficult objects and crowds."""
    kept = ~image.difficult & ~image.crowd
    boxes = image.boxes[kept] / np.float32(reduction(image.height, image.width))
    if flipped:
        width = reduced_size(image.height, image.width)[1]
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    return GroundTruth(boxes.astype(np.float32), image.labels[kept])
