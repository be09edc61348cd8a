"""Calibration images: large ones are read reduced."""

import numpy as np
from numpy.testing import assert_array_equal

from minicnn.compression.calibration_images import draw_images
from minicnn.detection.transform import Transform


def test_a_large_image_is_read_reduced(tmp_path, monkeypatch):
    for module in ("reduction", "array_files"):
        monkeypatch.setattr(f"minicnn.data.{module}.MAX_PIXELS", 1000)
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    np.save(tmp_path / "large.npy", np.kron(image, np.ones((2, 2, 1), np.uint8)))
    transform = Transform(20, 30, (0, 0, 0), (1, 1, 1))
    images = draw_images([tmp_path / "large.npy"], transform, np.random.default_rng(0), 0)
    assert_array_equal(images, [image])
