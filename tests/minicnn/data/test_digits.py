"""Generated digits: reproducible, balanced, and too hard for a linear classifier."""

import numpy as np
import PIL.Image
import pytest
from numpy.testing import assert_array_equal

import minicnn
from minicnn import InputError
from minicnn.data import digits as digits_module
from minicnn.data import scenes
from minicnn.data.digits import COUNTS, SEEDS, draw_digit, load_digits, make_digits
from minicnn.evaluate_classifier import evaluate_classifier
from minicnn.hyperparameters import Hyperparameters
from minicnn.layers import Flatten, Linear
from minicnn.models.classifier import Classifier
from minicnn.train_classifier import train_classifier

CHECK = digits_module.check_pillow         # also where conftest.py replaces it


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


@pytest.mark.parametrize("version", ["9.4.0", "10.0.1"])
def test_an_older_pillow_would_draw_other_digits_and_is_refused(monkeypatch, tmp_path, version):
    monkeypatch.setattr(PIL.Image, "__version__", version)
    monkeypatch.setattr(digits_module, "check_pillow", CHECK)
    monkeypatch.setattr(scenes, "check_pillow", CHECK)
    for draw in (lambda: digits(10), lambda: scenes.write_scenes(tmp_path / "new", count=9)):
        with pytest.raises(InputError, match=f"got Pillow {version} for generated (digits|scenes), expected at least 10.1") as caught:
            draw()
        assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("version", ["10.1.0", "10.10", "13.0.0.dev0"])
def test_newer_pillows_draw_them(monkeypatch, version):
    monkeypatch.setattr(PIL.Image, "__version__", version)
    CHECK("digits")
