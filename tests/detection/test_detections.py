"""Detections: the value a detector returns."""

import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn.detection.detections import Detections
from minicnn.detection.draw import draw


@pytest.fixture
def found():
    return Detections(np.array([[1, 2, 30.1, 40], [5, 5, 9, 9], [0, 0, 3, 3]], np.float32), np.array([3, 1, 3]),
                      np.array([0.9, 0.5, 0.1], np.float32), ["cat", "dog", "cat"])


def test_length(found):
    assert len(found) == 3 and len(found.above(1)) == 0


def test_above_takes_what_scores_higher(found):
    some = found.above(0.4)
    assert_array_equal(some.boxes, found.boxes[:2])
    assert_array_equal(some.labels, [3, 1])
    assert_array_equal(some.scores, found.scores[:2])
    assert some.names == ["cat", "dog"]
    assert len(found.above(0.5)) == 1                               # as torchvision: not what scores just that
    assert len(found.above(0)) == 3


def test_document_is_json_of_the_exact_numbers(found):
    document = json.loads(json.dumps(found.document()))
    assert document[1] == {"label": 1, "name": "dog", "score": 0.5, "box": [5, 5, 9, 9]}
    assert document[0]["score"] == float(np.float32(0.9)) and document[0]["box"][2] == float(np.float32(30.1))
    assert found.above(1).document() == []


def test_draw_is_the_function_of_its_parts(found):
    image = np.full((50, 60, 3), 99, np.uint8)
    assert_array_equal(found.draw(image), draw(image, found.boxes, found.labels, found.scores, found.names))
    assert (found.draw(image) != image).any() and not (found.above(1).draw(image) != image).any()
