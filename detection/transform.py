"""Images of any size -> one batch for the network; boxes back to the pixels of each image.

Each image is normalised, resized so that its short side becomes ``min_size`` unless its long side would exceed ``max_size``, and
put into the upper left corner of the batch, whose sides are multiples of 32.

Reference: Ren et al., Faster R-CNN (2015), section 3.3, "rescale the images such that their shorter side is s = 600 pixels".
"""

from typing import NamedTuple

import numpy as np

from minicnn import functional as F
from minicnn.errors import InputError
from minicnn.layers import Layer

SIZE_DIVISIBLE = 32         # of the batch's sides: the coarsest stride of a backbone


class Batch(NamedTuple):
    """Images as the network takes them.

    Args:
        pixels: (N, 3, H, W) float32, normalised; zero (the mean colour) to the right of and below each image.
        sizes: (h, w) of each image in the batch.
        original_sizes: (h, w) of each image before resizing.
    """

    pixels: np.ndarray
    sizes: list
    original_sizes: list


def batch_size(sizes):
    """(H, W) of the batch for images of the sizes (h, w)."""
    return tuple(-(-max(sides) // SIZE_DIVISIBLE) * SIZE_DIVISIBLE for sides in zip(*sizes))


def as_list(images):
    """A batch of images as a list; raises InputError unless it is one, and has images that ``check_image`` takes."""
    if getattr(images, "ndim", 4) != 4 or isinstance(images, (str, bytes)) or not hasattr(images, "__iter__"):
        got = f"an array {tuple(images.shape)}" if hasattr(images, "shape") else f"a {type(images).__name__}"
        raise InputError(f"got {got}, expected a list of images, each an array (3, H, W) of floats in [0, 1]. Call model([image]), or "
                         "detect(), which takes every form of image.")
    images = list(images)
    if not images:
        raise InputError("got no image, expected at least one. Leave the call out.")
    for image in images:
        check_image(image)
    return images


def check_image(image):
    """Raise InputError unless an image is an array of floats (3, H, W), or (1, H, W), with pixels."""
    if not isinstance(image, np.ndarray) or image.dtype.kind != "f" or image.ndim != 3 or image.shape[0] not in (1, 3) or not image.size:
        got = f"an array {image.shape} of {image.dtype}" if isinstance(image, np.ndarray) else f"a {type(image).__name__}"
        raise InputError(f"got {got} for an image, expected an array (3, H, W) of floats in [0, 1]. "
                         "Call detect(), which takes every form of image, or convert it by minicnn.data.images.as_input.")


class Transform(Layer):
    """Normalise, resize and batch images: torchvision's GeneralizedRCNNTransform. It has no parameters.

    Args:
        min_size: the short side after resizing, pixels.
        max_size: limit of the long side, pixels.
        image_mean, image_std: three numbers each, for images in [0, 1].
    """

    def __init__(self, min_size, max_size, image_mean, image_std):
        self.min_size, self.max_size = min_size, max_size
        self.image_mean, self.image_std = image_mean, image_std

    def __call__(self, images, min_size=None):
        """Make a batch.

        Args:
            images: list of (3, H, W) float32 in [0, 1].
            min_size: short side for this batch; None: the transform's own.

        Returns:
            A ``Batch``.

        Raises:
            InputError: there is no image, or one is no array of floats, or not (3, H, W).
        """
        images = as_list(images)
        resized = [self.resize(self.normalize(image), min_size) for image in images]
        sizes = [image.shape[1:] for image in resized]
        pixels = np.zeros((len(resized), 3, *batch_size(sizes)), np.float32)
        for row, image, (h, w) in zip(pixels, resized, sizes):
            row[:, :h, :w] = image
        return Batch(pixels, sizes, [image.shape[1:] for image in images])

    def normalize(self, image):
        """(image - mean) / std of each channel; (3, H, W)."""
        mean, std = (np.array(values, np.float32)[:, None, None] for values in (self.image_mean, self.image_std))
        image = image - mean
        image /= std                # in place: copies of a large photograph take memory
        return image

    def resize(self, image, min_size=None):
        """Resize an image (3, H, W) bilinearly to ``size``."""
        size = self.size(*image.shape[1:], min_size)
        return image if size == image.shape[1:] else F.interpolate(image[None], size, "bilinear")[0]

    def size(self, h, w, min_size=None):
        """The (h, w) that an image of h x w pixels is resized to.

        Computed in float64 and rounded down, as in torchvision: 161 x 214 becomes 799 x 1063 at 800, since 161 (800 / 161) < 800.
        """
        scale = min((min_size or self.min_size) / min(h, w), self.max_size / max(h, w))
        return max(1, int(h * scale)), max(1, int(w * scale))

    def batch_size(self, h, w):
        """(H, W) of the batch of one image of h x w pixels."""
        return batch_size([self.size(h, w)])

    @staticmethod
    def scale_boxes(boxes, size, new_size):
        """Boxes (D, 4) in an image of size (h, w) -> the same boxes after resizing it to new_size; not clipped, as in torchvision."""
        ratio_h, ratio_w = (np.float32(new) / np.float32(old) for new, old in zip(new_size, size))
        return boxes * np.array([ratio_w, ratio_h, ratio_w, ratio_h], np.float32)
