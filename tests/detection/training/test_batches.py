"""The batches of an epoch: what is drawn, mirrored and left out."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from rectangles import COLOURS, HYPERPARAMETERS, annotated

from minicnn.detection.training.batches import draw_batch, ground_truth_of, plan_epoch, read_pixels
from minicnn.detection.training.train import DetectorHyperparameters


def test_mirrored_boxes_lie_on_the_mirrored_objects(data):
    for image in data.images:
        pixels, target = read_pixels(image, True), ground_truth_of(image, True)
        assert pixels.flags.c_contiguous and target.boxes.dtype == np.float32
        assert_array_equal(pixels[:, :, ::-1], read_pixels(image, False))
        for (x1, y1, x2, y2), label in zip(target.boxes.astype(int), target.labels):
            if len(target.labels) == 1:                     # not hidden by another
                assert_allclose(pixels[:, y1:y2, x1:x2], np.broadcast_to(np.array(COLOURS[label])[:, None, None] / 255,
                                                                        (3, y2 - y1, x2 - x1)), rtol=1e-6)


@pytest.mark.parametrize("flipped", [False, True])
def test_boxes_of_a_large_image_lie_on_the_objects_of_the_reduced_one(tmp_path, monkeypatch, flipped):
    monkeypatch.setattr("minicnn.data.reduction.MAX_PIXELS", 1000)
    monkeypatch.setattr("minicnn.data.array_files.MAX_PIXELS", 1000)
    pixels = np.zeros((40, 61, 3), np.uint8)
    pixels[10:20, 4:34] = 255
    np.save(tmp_path / "x.npy", pixels)
    image = annotated(tmp_path / "x.npy", 40, 61, [[4, 10, 34, 20]], [1])
    read, target = read_pixels(image, flipped), ground_truth_of(image, flipped)
    assert read.shape == (3, 20, 31) and target.boxes.dtype == np.float32
    (x1, y1, x2, y2), = target.boxes.astype(int)
    expected = np.zeros((3, 20, 31), np.float32)
    expected[:, y1:y2, x1:x2] = 1
    assert_array_equal(read, expected)


def test_nothing_is_learnt_from_what_is_difficult_or_a_crowd(tmp_path):
    image = annotated(tmp_path / "x.npy", 40, 40, [[0, 0, 9, 9], [10, 10, 20, 20], [5, 5, 30, 30]], [1, 2, 3], [False, True, False])
    image.crowd[2] = True
    target = ground_truth_of(image, False)
    assert target.labels.tolist() == [1] and target.boxes.tolist() == [[0, 0, 9, 9]]


@pytest.mark.parametrize("batch_size, accumulate", [(1, 1), (2, 1), (5, 1), (2, 3), (4, 2), (100, 1)])
def test_an_epoch_takes_every_image_once(data, batch_size, accumulate):
    hyperparameters = DetectorHyperparameters(batch_size=batch_size, accumulate=accumulate)
    steps = plan_epoch(data.images, hyperparameters, np.random.default_rng(0))
    batches = [batch for step in steps for batch in step]
    assert sorted(place for batch in batches for place in batch) == list(range(12))
    assert all(len(step) == accumulate for step in steps[:-1]) and all(len(batch) <= batch_size for batch in batches)
    mixed = [batch for batch in batches if len({data.images[place].height > data.images[place].width for place in batch}) > 1]
    assert len(mixed) <= 1
    assert steps != plan_epoch(data.images, hyperparameters, np.random.default_rng(1))


def test_what_is_drawn_for_a_batch(data):
    rng = np.random.default_rng(0)
    drawn = [draw_batch(data.images[:2], replace(HYPERPARAMETERS, min_sizes=(30, 40)), rng) for _ in range(40)]
    assert {min_size for _, _, min_size in drawn} == {30, 40}
    flips = [not np.array_equal(target.boxes, image.boxes) for _, targets, _ in drawn for target, image in zip(targets, data.images)]
    assert 20 < sum(flips) < 60
    pixels, targets, min_size = draw_batch(data.images[:2], replace(HYPERPARAMETERS, flip=False), rng)
    assert min_size is None and all(np.array_equal(target.boxes, image.boxes) for target, image in zip(targets, data.images))
    assert [one.shape for one in pixels] == [(3, 60, 44), (3, 48, 64)]
