"""The page of a training: the losses, and images with what was found."""

import numpy as np
import pytest

from minicnn.data.annotated import AnnotatedImage, AnnotatedImages
from minicnn.detection.detections import Detections
from minicnn.errors import InputError
from minicnn.report.training_page import IMAGES, spread, write_report

LOSSES = [{"loss": 3.5 / n, "loss_classifier": 2 / n, "loss_box_reg": 0.5 / n, "loss_objectness": 0.7 / n, "loss_rpn_box_reg": 0.3 / n}
          for n in (1, 2, 3)]
DOCUMENT = {"architecture": "fasterrcnn_vgg16", "images": 1234, "classes": ["<cat>", "dog"], "losses": LOSSES}


class Finder:
    """Finds one sure and one doubtful object everywhere."""

    def detect(self, values):
        return Detections(np.float32([[2, 2, 30, 20], [5, 5, 9, 9]]), np.array([1, 2]), np.float32([0.9, 0.4]), ["<cat>", "dog"])


def images(folder, count):
    made = []
    for number in range(count):
        path = folder / f"<{number}>.npy"
        np.save(path, np.full((24, 36, 3), 10 * number, np.uint8))
        made.append(AnnotatedImage(path.stem, path, 24, 36, np.zeros((3, 4), np.float32), np.ones(3, int), np.zeros(3, bool),
                                     np.zeros(3, bool), np.ones(3)))
    return AnnotatedImages(["__background__", *DOCUMENT["classes"]], made)


def test_losses_and_images(tmp_path):
    path = write_report(tmp_path, DOCUMENT, Finder(), images(tmp_path, 3))
    text = (tmp_path / "report.html").read_text()
    assert path == str(tmp_path / "report.html")
    assert "1,234 images of 2 classes in 3 epochs" in text and "from 3.500 to 1.167" in text
    assert text.count("<svg ") == 1 and text.count("<img src=\"data:image/jpeg;base64,") == 3 and "<script" not in text
    assert text.count("<td>") == 18 and "&lt;1&gt;: 1 objects found, 3 annotated" in text and "<1>" not in text


def test_without_images(tmp_path):
    write_report(tmp_path, DOCUMENT, None)
    text = (tmp_path / "report.html").read_text()
    assert "<img" not in text and "Detections</h2>" not in text and "loss_rpn_box_reg" in text


def test_a_image_that_cannot_be_read(tmp_path):
    annotated = images(tmp_path, 1)
    annotated.images[0].path.unlink()
    with pytest.raises(InputError):
        write_report(tmp_path, DOCUMENT, Finder(), annotated)
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize("count, places", [
    (3, [0, 1, 2]), (IMAGES, list(range(IMAGES))), (2 * IMAGES, list(range(0, 2 * IMAGES, 2)))])
def test_few_of_many_images(count, places):
    assert spread(list(range(count)), IMAGES) == places
