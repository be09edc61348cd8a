"""Features of frozen stages on disk: their values, training on them, and caches that are stale, foreign or damaged."""

from dataclasses import replace

import numpy as np
import pytest
from numpy.testing import assert_allclose
from rectangles import HYPERPARAMETERS, arrays, network, same

from minicnn.data.annotated import AnnotatedImages
from minicnn.detection.training.batches import read_pixels
from minicnn.detection.training.feature_cache import FeatureCache
from minicnn.detection.training.train import train_detector
from minicnn.errors import InputError


def cached(folder, data, model=None, trainable=1):
    model = model or network()
    model.freeze(trainable)
    return model, FeatureCache(folder, model, data.images)


@pytest.mark.parametrize("places", [(1, 2), (0, 1)], ids=["one size", "two sizes"])
def test_kept_features_are_those_of_each_image(data, tmp_path, places):
    model, cache = cached(tmp_path / "cache", data)
    images = [data.images[place] for place in places]
    for _ in range(2):                                      # made, and read again
        batch, state = cache.start(model, [(image, False) for image in images])
        whole, expected = model.start([read_pixels(image, False) for image in images])
        assert batch.pixels.shape == whole.pixels.shape and batch[1:] == whole[1:] and len(state) == len(expected)
        for row, image in enumerate(images):
            alone = model.start([read_pixels(image, False)])[1][0][0]
            h, w = alone.shape[1:]
            assert_allclose(state[0][row, :, :h, :w], alone, rtol=1e-3, atol=1e-4)
            assert not state[0][row, :, h:].any() and not state[0][row, :, :, w:].any()
        assert state[0].shape == expected[0].shape and state[0].dtype == np.float32
    assert sorted(path.suffix for path in (tmp_path / "cache").iterdir()) == [".json", ".npz", ".npz"]


def test_training_on_kept_features_is_nearly_the_same_and_repeats_itself(data, tmp_path):
    hyperparameters = replace(HYPERPARAMETERS, trainable_backbone_layers=1)
    ends = []
    for _ in range(2):
        model = network()
        ends.append((train_detector(model, data, hyperparameters, 0, cache_features=tmp_path / "cache"), arrays(model)))
    plain = network()
    losses = train_detector(plain, data, hyperparameters, 0)
    assert ends[0][0] == ends[1][0] and same(ends[0][1], ends[1][1])
    assert_allclose(ends[0][0][-1]["loss"], losses[-1]["loss"], rtol=0.05)


def test_a_stale_cache_is_refused(data, tmp_path):
    cached(tmp_path / "cache", data)
    other = network()
    other.transform.min_size = 40
    changed = data.images[0]
    for make, expected in ((lambda: cached(tmp_path / "cache", data, network(1)), "another frozen network"),
                           (lambda: cached(tmp_path / "cache", data, other), "another size"),
                           (lambda: cached(tmp_path / "cache", data, trainable=2), "another frozen network"),
                           (lambda: cached(tmp_path / "cache", data, trainable=3), "expected a frozen stage")):
        with pytest.raises(InputError, match=expected):
            make()
    moved = tmp_path / "other.npy"
    np.save(moved, np.zeros((60, 44, 3), np.uint8))
    with pytest.raises(InputError, match="another image 0"):
        cached(tmp_path / "cache", AnnotatedImages(data.class_names, [replace(changed, path=moved)]))


def test_folders_that_are_no_cache(data, tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(InputError, match="holds something else"):
        cached(tmp_path, data)
    for text in ("{", "[]", '{"network": 1, "pictures": {}}'):
        folder = tmp_path / "cache"
        folder.mkdir(exist_ok=True)
        (folder / "cache.json").write_text(text)
        with pytest.raises(InputError, match="cannot be read"):
            cached(folder, data)


def test_a_damaged_feature_file_and_a_missing_image(data, tmp_path):
    model, cache = cached(tmp_path / "cache", data)
    cache.start(model, [(data.images[0], False)])
    path = next((tmp_path / "cache").glob("*.npz"))
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="Delete it"):
        cache.start(model, [(data.images[0], False)])
    with pytest.raises(InputError, match="cannot read"):
        cached(tmp_path / "other", AnnotatedImages(data.class_names, [replace(data.images[0], path=tmp_path / "none.npy")]))
    assert not (tmp_path / "other").exists()
