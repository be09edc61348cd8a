"""Generated digits: reproducible, balanced, and too hard for a linear classifier."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minicnn
from minicnn.data.digits import COUNTS, SEEDS, draw_digit, load_digits, make_digits
from minicnn.evaluate_classifier import evaluate_classifier
from minicnn.hyperparameters import Hyperparameters
from minicnn.layers import Flatten, Linear
from minicnn.models.classifier import Classifier
from minicnn.train_classifier import train_classifier


def digits(count, seed=0):
    return make_digits(count, np.random.default_rng(seed))


def test_shapes_range_and_balance():
    images, labels = digits(205)
    assert images.shape == (205, 1, 28, 28) and images.dtype == np.float32
    assert labels.shape == (205,) and labels.dtype == np.int64
    assert images.min() >= 0 and images.max() <= 1
    assert_array_equal(np.sort(labels), np.sort(np.arange(205) % 10))
    assert not np.array_equal(labels[:10], np.arange(10))       # in random order
    assert all(image.std() > 0.05 for image in images)          # none is blank


def test_the_seed_decides():
    for one, other in zip(digits(20), digits(20)):
        assert_array_equal(one, other)
    assert not np.array_equal(digits(20)[0], digits(20, seed=1)[0])


def test_a_digit_is_never_drawn_twice_the_same():
    rng = np.random.default_rng(0)
    drawn = [draw_digit(3, rng) for _ in range(20)]
    assert all(image.shape == (28, 28) and 0 <= image.min() < 0.01 and 0.5 < image.max() <= 1 for image in drawn)
    assert len({image.tobytes() for image in drawn}) == 20


def test_splits_are_drawn_from_seeds_of_their_own(monkeypatch):
    assert len(set(SEEDS.values())) == 3
    for split in COUNTS:
        monkeypatch.setitem(COUNTS, split, 30)
        images, labels = load_digits(split)
        expected = digits(30, SEEDS[split])
        assert_array_equal(images, expected[0])
        assert_array_equal(labels, expected[1])


@pytest.fixture(scope="module")
def splits():
    return {split: load_digits(split) for split in ("train", "test")}


@pytest.mark.slow
def test_a_linear_classifier_stays_under_90_percent(splits):
    """Softmax regression, trained until it no longer gains: until the training loss has reached its second plateau."""
    model = Classifier((1, 28, 28), {"flatten": Flatten(), "fc": Linear(784, 10, rng=np.random.default_rng(0))})
    model.architecture, model.architecture_arguments, model.record = "linear", {}, {}
    hyperparameters = Hyperparameters(epochs=200, batch_size=64, lr=0.02, weight_decay=0, patience=5)
    losses = train_classifier(model, *splits["train"], hyperparameters, seed=0)
    assert len(losses) < 200
    assert 0.5 < evaluate_classifier(model, *splits["test"])["accuracy"] < 0.9


@pytest.mark.slow
def test_lenet_passes_97_percent(splits):
    model = minicnn.build("lenet5", rng=np.random.default_rng(0))
    train_classifier(model, *splits["train"], Hyperparameters(epochs=6), seed=0)
    assert evaluate_classifier(model, *splits["test"])["accuracy"] > 0.97
