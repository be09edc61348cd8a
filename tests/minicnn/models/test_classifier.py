"""What a classifier takes."""

import numpy as np
import pytest

import minicnn
from minicnn.errors import InputError
from minicnn.evaluate_classifier import predict
from minicnn.hyperparameters import Hyperparameters
from minicnn.train_classifier import train_classifier

IMAGES = np.zeros((2, 1, 28, 28), np.float32)


@pytest.mark.parametrize("x, got", [
    (IMAGES[0], r"an array \(1, 28, 28\) of float32"), (IMAGES.astype(np.uint8), r"an array \(2, 1, 28, 28\) of uint8"),
    (np.zeros((2, 28, 28, 1), np.float32), r"an array \(2, 28, 28, 1\)"),
    (list(IMAGES), "a list"), ("digit.png", "a str"), (None, "a NoneType")], ids=str)
def test_what_is_no_batch_of_images_is_refused(x, got):
    model = minicnn.build("lenet5", rng=np.random.default_rng(0))
    with pytest.raises(InputError, match=rf"^got {got}.*, expected images: an array \(N, 1, 28, 28\) of floats. Give one image x as x"):
        model(x)
    if isinstance(x, np.ndarray) and x.ndim == 4:
        with pytest.raises(InputError, match="expected images"):
            predict(model, x)


def test_a_size_that_the_layers_do_not_take_is_refused():
    model = minicnn.build("lenet5", rng=np.random.default_rng(0))
    with pytest.raises(InputError, match="^got images of 20 x 28, expected 28 x 28, which lenet5 takes .*. Resize them.$"):
        model(IMAGES[:, :, :20])


def test_with_adaptive_pooling_any_size_will_do():
    model = minicnn.build("vgg16", rng=np.random.default_rng(0))
    assert model(np.zeros((1, 3, 40, 64), np.float32)).shape == (1, 1000)
    with pytest.raises(InputError, match="^got images of 16 x 64, expected 224 x 224"):
        model(np.zeros((1, 3, 16, 64), np.float32))


@pytest.mark.parametrize("images, labels, message", [
    (IMAGES.astype(np.uint8), [0, 1], "of uint8 to train on, expected images"), (IMAGES[0], [0], "got an array (1, 28, 28)"),
    (IMAGES[:0], [], "N at least 1"), (list(IMAGES), [0, 1], "got a list"), (IMAGES, [0, 1, 2], "got labels of shape (3,) for 2 images")])
def test_what_cannot_be_trained_on_is_refused(images, labels, message):
    model = minicnn.build("lenet5", rng=np.random.default_rng(0))
    with pytest.raises(InputError) as refused:
        train_classifier(model, images, np.array(labels, int), Hyperparameters(epochs=1), 0)
    assert message in str(refused.value)
