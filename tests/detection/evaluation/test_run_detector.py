"""Running a detector on annotated images: large ones are reduced, and everything is in pixels of the file."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from rectangles import annotated
from small_detector import scene, small_detector

from minicnn.data.annotated import AnnotatedImages
from minicnn.detection.evaluation.evaluate import evaluate
from minicnn.detection.evaluation.run_detector import run_detector
from minicnn.detection.evaluation.worst_images import worst_images

CLASSES = ["__background__", "cat", "traffic light", "dog"]


@pytest.fixture
def large(tmp_path, monkeypatch):
    """large.npy of 120 x 180 pixels, which count as large: half as wide and high they are the scene."""
    for module in ("reduction", "array_files"):
        monkeypatch.setattr(f"minicnn.data.{module}.MAX_PIXELS", 6000)
    np.save(tmp_path / "large.npy", np.kron(scene(60, 90), np.ones((2, 2, 1), np.uint8)))
    np.save(tmp_path / "small.npy", scene(60, 90))
    return tmp_path / "large.npy"


def test_what_is_found_in_a_large_image_is_in_pixels_of_the_file(large):
    model = small_detector()
    runs = [run_detector(model, AnnotatedImages(CLASSES, [annotated(path, h, w, [[2, 2, 50, 50]], [1])]))
            for path, h, w in ((large, 120, 180), (large.with_name("small.npy"), 60, 90))]
    (_, ((boxes, scores, labels),), (proposals,), problems, _), (_, (expected,), (offered,), _, _) = runs
    assert problems == [] and len(boxes) > 10
    assert_allclose(boxes, 2 * expected[0], atol=0.02)
    assert_allclose(proposals, 2 * offered, atol=0.02)
    assert_array_equal(labels, expected[2])
    assert proposals.max() > 90


def test_the_page_draws_boxes_on_the_reduced_image(large):
    data = AnnotatedImages(CLASSES, [annotated(large, 120, 180, [[20, 30, 100, 90]], [1])])
    found = [(np.float32([[100, 2, 160, 60]]), np.float32([0.9]), np.array([1]))]
    evaluation = evaluate(data, found)
    worst, = worst_images(evaluation)
    assert_array_equal(worst["pixels"], scene(60, 90))
    assert worst["truths"][0][0] == [10, 15, 50, 45] and worst["found"][0][0] == [50, 1, 80, 30]
