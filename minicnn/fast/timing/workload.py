"""What is run when a model is profiled or tuned: one image, and a function that runs the model on it."""

import contextlib

import numpy as np

from minicnn.errors import InputError


@contextlib.contextmanager
def workload(model, image=None, size=None):
    """Within the block, the model runs on images of that size.

    Args:
        model: a classifier or a detector.
        image: (C, H, W) float32; None: random pixels.
        size: (height, width) that the network sees, pixels; None: the model's own. For a classifier, it holds for random pixels only.

    Yields:
        image: (C, H, W).
        call: function without arguments that runs the model on the image.

    Raises:
        InputError: the image has not the shape that a classifier takes.
    """
    if image is None:
        channels, *own = model.input_shape
        image = np.random.default_rng(0).random((channels, *(size or own)), np.float32)
    else:
        check_image(model, image)
    if model.task != "detection":
        yield image, lambda: model(image[None])
        return
    sides = model.transform.min_size, model.transform.max_size
    if size is not None:
        model.transform.min_size, model.transform.max_size = min(size), max(size)
    try:
        yield image, lambda: model([image])
    finally:
        model.transform.min_size, model.transform.max_size = sides


def check_image(model, image):
    """Raise InputError unless the model takes an image (C, H, W) of this shape; a detector takes any."""
    if model.task != "detection" and image.shape != model.input_shape:
        got, expected = ("x".join(map(str, shape)) for shape in (image.shape, model.input_shape))
        raise InputError(f"got an image of {got}, expected {expected}, which {model.architecture} takes. Give one of that size, or none.")
