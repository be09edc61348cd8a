"""Rows that an interrupted run left are taken up exactly; files that are damaged, or of another run, are refused and left as they are."""

import copy
import json
from pathlib import Path

import numpy as np
import pytest

import minicnn
from minicnn.data.reduction import ReadImage
from minicnn.detection.detect import DetectedImage
from minicnn.detection.detections import Detections
from minicnn.detection.results import Results
from minicnn.errors import InputError

PATHS = [Path("a, b/1\r.jpg"), Path("2.jpg"), Path('"3".jpg')]


@pytest.fixture(scope="module")
def model():
    model = minicnn.build("fasterrcnn_mobilenet_v3_large_320_fpn", num_classes=3, min_size=32, max_size=32, box_head_width=8)
    model.record["class_names"] = ["__background__", "cat", 'a "dog", or\r\nso\r']
    return model


def image(path, model, count=2):
    """A ``DetectedImage`` with some detections, whose numbers have all their digits."""
    rng = np.random.default_rng(len(str(path)))
    labels = 1 + np.arange(count) % 2
    found = Detections(rng.random((count, 4), np.float32), labels, 0.5 + rng.random(count, np.float32) / 2,
                       [model.class_name(label) for label in labels])
    return DetectedImage(path, ReadImage(np.zeros((4, 6, 3), np.uint8), 4, 6), found, {"total": 1.0})


def results(target, model, form, paths=PATHS, **options):
    """The ``Results`` in which the first two images are finished."""
    with Results(target, paths, model, form, **options) as found:
        for path in found.missing()[:2]:
            found.add(image(path, model))
    return found


@pytest.mark.parametrize("form", ["json", "csv"])
def test_rows_are_taken_up_exactly_and_stay_in_the_order_of_the_images(model, tmp_path, form):
    results(tmp_path / "r", model, form)
    found = results(tmp_path / "r", model, form, resume=True)               # finishes the third
    assert found.missing() == [] and list(found.rows) == PATHS
    again = Results(tmp_path / "r", PATHS, model, form, resume=True)
    for path in PATHS:
        assert again.rows[path]["detections"] == image(path, model).document()["detections"]
    text = (tmp_path / "r").read_bytes()
    again.write()
    assert (tmp_path / "r").read_bytes() == text
    reversed_ = Results(tmp_path / "r", PATHS[::-1], model, form, resume=True)
    reversed_.write()
    assert Results(tmp_path / "r", PATHS, model, form, resume=True).rows == again.rows != {}


def test_keys_that_rows_have_besides_are_kept(model, tmp_path):
    results(tmp_path / "r", model, "json")
    rows = json.loads((tmp_path / "r").read_text())
    rows[0]["reduced"] = 4
    (tmp_path / "r").write_text(json.dumps(rows))
    assert Results(tmp_path / "r", PATHS, model, "json", resume=True).rows[PATHS[0]]["reduced"] == 4


def test_images_of_one_printable_name_are_done_again(model, tmp_path):
    paths = [Path("caf\udce9.jpg"), Path("caf\udce8.jpg"), Path("x.jpg")]
    with Results(tmp_path / "r", paths, model, "json") as found:
        for path in paths:
            found.add(image(path, model))
    assert Results(tmp_path / "r", paths, model, "json", resume=True).missing() == paths[:2]


DAMAGED = {
    "half of json": ("json", lambda text: text[:len(text) // 2]),
    "no list": ("json", lambda text: "{}"),
    "empty": ("json", lambda text: ""),
    "numbers": ("json", lambda text: "[1, 2]"),
    "deep": ("json", lambda text: "[" * 10 ** 5),
    "no text": ("json", lambda text: "\udcff"),
    "without width": ("json", lambda text: text.replace('"width"', '"w"')),
    "name": ("json", lambda text: text.replace('"cat"', "3")),
    "score": ("json", lambda text: text.replace('"score": 0', '"score": "0"')),
    "another json": ("json", lambda text: '[{"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}]'),
    "another class": ("json", lambda text: text.replace('"cat"', '"cow"')),
    "label": ("json", lambda text: text.replace('"label": 1', '"label": 7')),
    "another image": ("json", lambda text: text.replace("2.jpg", "4.jpg")),
    "an image twice": ("json", lambda text: text.replace("2.jpg", "a, b/1.jpg")),
    "json": ("csv", lambda text: "[]"),
    "half of csv": ("csv", lambda text: text[:-9]),
    "no lines": ("csv", lambda text: ""),
    "half a line": ("csv", lambda text: text.rpartition(",")[0] + "\n"),
    "word": ("csv", lambda text: text.replace(",0.", ",x")),
    "another header": ("csv", lambda text: text.replace("score", "confidence")),
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_or_foreign_file_is_refused_and_not_overwritten(model, tmp_path, kind):
    form, damage = DAMAGED[kind]
    results(tmp_path / "r", model, form)
    text = damage((tmp_path / "r").read_text()).encode(errors="surrogateescape")
    assert text != (tmp_path / "r").read_bytes()
    (tmp_path / "r").write_bytes(text)
    with pytest.raises(InputError, match="to resume, which .*Give --json another file, or leave out --resume"):
        Results(tmp_path / "r", PATHS, model, form, resume=True)
    assert (tmp_path / "r").read_bytes() == text


def test_a_higher_threshold_than_the_rows_were_made_with_is_refused(model, tmp_path):
    results(tmp_path / "r", model, "csv")
    strict = copy.copy(model)
    strict.roi_heads = copy.copy(model.roi_heads)
    strict.roi_heads.score_thresh = 0.99
    with pytest.raises(InputError, match="which the threshold 0.99 leaves out"):
        Results(tmp_path / "r", PATHS, strict, "csv", resume=True)


def test_a_folder_is_no_file_of_results(model, tmp_path):
    with pytest.raises(InputError, match="cannot read .*expected results"):
        Results(tmp_path, PATHS, model, resume=True)


def test_python_users_keep_what_is_finished_when_interrupted(model, tmp_path):
    with pytest.raises(KeyboardInterrupt, match="after 1 of 3 images, which are in .*r: add --resume"), \
            Results(tmp_path / "r", PATHS, model) as found:
        found.add(image(PATHS[0], model))
        raise KeyboardInterrupt
    assert [row["image"] for row in json.loads((tmp_path / "r").read_text())] == [str(PATHS[0])]
