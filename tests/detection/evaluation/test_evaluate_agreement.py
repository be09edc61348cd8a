"""Running two detectors: unreadable images, thresholds of their own, class names, and several networks against one original."""

import numpy as np
import pytest
from small_detector import CLASSES, scene, small_detector

from minicnn.data.images import write_image
from minicnn.detection import AgreementWith, evaluate_agreement
from minicnn.detection.evaluation.differing_images import differing_images
from minicnn.detection.evaluation.evaluate_agreement import check_same_classes
from minicnn.errors import InputError


@pytest.fixture(scope="module")
def model():
    return small_detector()


@pytest.fixture(scope="module")
def other():
    """The same with another bias of one class, so that some objects are lost and others invented."""
    model = small_detector()
    model.roi_heads.box_predictor.cls_score.bias[1:] += np.float32([-1.0, 0.6, 0, 0.3])
    return model


@pytest.fixture
def photos(tmp_path):
    """A folder of two images and a file that is none."""
    for name, seed in (("a.ppm", 1), ("c.ppm", 2)):
        write_image(tmp_path / name, scene(60, 90, seed))
    (tmp_path / "b.png").write_bytes(b"no image")
    return tmp_path


def test_a_network_agrees_with_itself(model):
    result = evaluate_agreement(model, model, [scene(60, 90)])
    assert result.document["agreement"] == 1 and result.document["original"]["objects"] > 3 and result.problems == []
    assert result.names == ["image 0"] and differing_images(result) == []


def test_images_that_cannot_be_read_are_left_out_for_both(model, other, photos):
    errors = []
    result = evaluate_agreement(other, model, photos, np.random.default_rng(0), on_error=errors.append)
    document = result.document
    assert [path.name for path in result.images] == ["a.ppm", "c.ppm"] and document["pictures"] == 2
    assert len(errors) == 1 and result.problems == [str(errors[0])] and "b.png" in result.problems[0]
    assert 0 < document["agreement"] < 1 and document["interval"][0] <= document["agreement"] <= document["interval"][1]
    for path, *found in zip(result.images, result.original, result.model):
        for network, detections in zip((model, other), found):
            own = network.detect(path)
            count = (own.scores >= 0.3).sum()
            np.testing.assert_array_equal(detections.boxes[:count], own.boxes[:count])
            assert detections.names[:count] == own.names[:count]
    reverse = evaluate_agreement(model, other, photos, on_error=errors.append).document
    assert reverse["agreement"] == document["agreement"] and reverse["lost"] == document["invented"]


def test_the_original_runs_once_for_several_networks(model, other, photos, monkeypatch):
    measure, runs = AgreementWith(model, photos), []
    run = measure.run
    monkeypatch.setattr(measure, "run", lambda network, label: runs.append(network) or run(network, label))
    one, again = measure(other), measure(model)
    assert runs == [model, other, model] and again.document["agreement"] == 1
    assert one.document == evaluate_agreement(other, model, photos).document
    assert len(measure.problems) == 1 and one.images == again.images


def test_a_networks_own_score_threshold_makes_no_difference(model, other):
    images = [scene(60, 90, seed) for seed in range(3)]
    expected = evaluate_agreement(other, model, images).document
    own = other.roi_heads.score_thresh
    other.roi_heads.score_thresh = 0.8
    try:
        assert evaluate_agreement(other, model, images).document == expected and other.roi_heads.score_thresh == 0.8
    finally:
        other.roi_heads.score_thresh = own


def test_an_image_that_takes_too_much_memory_in_one_of_them(model, other, monkeypatch):
    images, errors, detect = [scene(60, 90), scene(61, 90)], [], other.detect

    def short(pixels):
        if len(pixels) == 61:
            raise MemoryError
        return detect(pixels)
    monkeypatch.setattr(other, "detect", short)
    measure = AgreementWith(model, images, on_error=errors.append)
    assert measure(other).document["pictures"] == 1 and len(errors) == 1 and "memory" in str(errors[0])
    assert measure(model).document["pictures"] == 1
    with pytest.raises(InputError, match="none of which can be read"):
        evaluate_agreement(other, model, images[1:])


def test_classes_go_by_their_names(model, other, monkeypatch):
    monkeypatch.setitem(other.record, "class_names", [CLASSES[0], *CLASSES[:0:-1]])
    check_same_classes(other, model)                                # in another order
    swapped = evaluate_agreement(other, model, [scene(60, 90)]).document
    monkeypatch.setitem(other.record, "class_names", CLASSES)
    assert swapped["agreement"] != evaluate_agreement(other, model, [scene(60, 90)]).document["agreement"]
    monkeypatch.setitem(other.record, "class_names", [*CLASSES[:-1], "wolf"])
    with pytest.raises(InputError, match=r"class names differ \(only the network: 'wolf'; only the original: 'dog'\)"):
        evaluate_agreement(other, model, [scene(60, 90)])


def test_the_images_that_differ_most(model, other, photos):
    result = evaluate_agreement(other, model, [*photos.glob("*.ppm"), scene(60, 90)])
    images = differing_images(result)
    numbers = [sum(verdict != "found by both" for *_, verdict in image["found"]) for image in images]
    assert numbers == sorted((row["lost"] + row["invented"] for row in result.document["per_image"]), reverse=True)[:len(images)]
    lost = [(name, score) for image in images for _, name, score, verdict in image["found"] if verdict == "lost"]
    assert sorted(lost) == sorted((row["name"], row["score"]) for row in result.lost()) and numbers[-1] > 0
    assert all(image["pixels"].shape == (60, 90, 3) for image in images) and len(differing_images(result, most=1)) == 1
