"""Rounded weights, and the mean of their error in biases and norms."""

import copy

import numpy as np
import pytest
from calibration_cases import generator, images
from numpy.testing import assert_allclose, assert_array_equal
from toy_detector import toy_detector

import minicnn
from minicnn.archive import load_described
from minicnn.compression.int8_weights import check_dtype, input_means, linear_parts, norms_behind, round_weights
from minicnn.compression.low_dimensional import shallow_copy
from minicnn.compression.low_rank import LowRank
from minicnn.compression.options import DetectorOptions
from minicnn.compression.rules import RankRule
from minicnn.errors import InputError
from minicnn.hooks import watch
from minicnn.layers import BatchNorm2d, Conv2d, Sequential


def coarse(monkeypatch):
    """Weights in few steps, so that their error is large; it has a mean, since all are rounded down."""
    monkeypatch.setattr("minicnn.compression.int8_weights.int8.decode",
                        lambda values, scales: (np.floor(values / 16) * np.repeat(16 * scales[:, :1], 1, 1).reshape(
                            -1, *[1] * (values.ndim - 1))).astype(np.float32))


def test_without_images_it_is_what_a_file_holds(tmp_path):
    model = minicnn.build("lenet5", rng=generator())
    rounded = shallow_copy(model)
    round_weights(rounded)
    minicnn.save(tmp_path / "a.npz", model, "int8")
    for (name, array), (_, other) in zip(rounded.named_arrays(), load_described(tmp_path / "a.npz")[0].named_arrays()):
        assert_array_equal(array, other, err_msg=name)
    minicnn.save(tmp_path / "b.npz", rounded, "int8")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def output_errors(model, original, paths, run):
    """{path: mean over channels of |mean error of the outputs|}; paths in both."""
    found = []
    for network in (model, original):
        means = {}
        with watch(network, {path: lambda x, y, path=path, means=means: means.update({path: y.mean(axis=(0, *range(2, y.ndim)))})
                             for path in paths}):
            run(network)
        found.append(means)
    return {path: np.abs(found[0][path] - found[1][path]).mean() for path in paths}


def test_the_mean_error_of_a_classifier_falls(monkeypatch):
    model = minicnn.build("lenet5_caffe", rng=generator())
    x = generator(1).random((40, 1, 28, 28), np.float32)
    coarse(monkeypatch)
    plain, folded = shallow_copy(model), shallow_copy(model)
    round_weights(plain)
    round_weights(folded, x)
    paths = ["conv1", "conv2", "fc1", "fc2"]
    before, after = (output_errors(network, model, paths, lambda network: network(x)) for network in (plain, folded))
    assert all(after[path] < 0.5 * before[path] for path in paths), (before, after)


def test_of_a_decomposed_detector_the_last_factor_takes_it_and_the_original_stays(monkeypatch):
    original = toy_detector(rng=generator(), min_size=96, max_size=128)
    for path, ranks in {"backbone.6": (8, 8), "roi_heads.box_head.fc6": (8, 8)}.items():
        original.replace_layer(path, LowRank(original.get_layer(path)).layers(ranks))
    kept = copy.deepcopy(original)
    assert ["backbone.6.0", "backbone.6.1", "backbone.6.2"] in linear_parts(original)
    pictures = images(4)
    coarse(monkeypatch)
    plain, folded = shallow_copy(original), shallow_copy(original)
    round_weights(plain)
    round_weights(folded, pictures)

    def run(network):
        for image in pictures[:1]:
            batch = network.prepare(image)
            maps, _ = network.backbone_and_rpn(batch.pixels)
            proposals = original.pool_rois(original.backbone_and_rpn(batch.pixels)[0], batch)[0]
            network.box_head(network.pool_rois(maps, batch, proposals)[1])

    last = [paths[-1] for paths in linear_parts(original)]
    before, after = (output_errors(network, original, last, run) for network in (plain, folded))
    assert sum(after[path] < before[path] for path in last) >= len(last) - 1 and after["backbone.6.2"] < 0.7 * before["backbone.6.2"]
    assert folded.get_layer("backbone.6.0").bias is None
    for (name, array), (_, other) in zip(original.named_arrays(), kept.named_arrays()):
        assert_array_equal(array, other, err_msg=name)


def test_where_a_norm_follows_its_mean_moves(monkeypatch):
    model = minicnn.build("lenet5", rng=generator())
    first = Sequential([Conv2d(1, 6, 1, bias=False, rng=generator()), BatchNorm2d(6)])
    first.get_layer("1").running_mean[:] = generator(2).random(6)
    model.replace_layer("conv1", first)
    x = generator(1).random((10, 1, 28, 28), np.float32)
    assert norms_behind(model) == {"conv1.0": first.get_layer("1")}
    coarse(monkeypatch)
    rounded = shallow_copy(model)
    round_weights(rounded, x)
    expected, found = (network.get_layer("conv1")(x).mean(axis=(0, 2, 3)) for network in (model, rounded))
    assert_allclose(found, expected, atol=1e-5)
    assert not np.array_equal(rounded.get_layer("conv1.1").running_mean, first.get_layer("1").running_mean)


def test_means_are_over_images_and_pixels():
    model = minicnn.build("lenet5", rng=generator())
    x = generator(1).random((130, 1, 28, 28), np.float32)          # more than are run at a time
    means = input_means(model, x)
    assert_allclose(means["conv1"], x.mean(axis=(0, 2, 3)), rtol=1e-5)
    assert {path: len(mean) for path, mean in means.items()} == {"conv1": 1, "conv2": 6, "fc1": 400, "fc2": 120, "fc3": 84}


def test_grouped_convolutions():
    model = minicnn.build("lenet5", rng=generator())
    grouped = Conv2d(6, 16, 5, groups=2, rng=generator())
    model.replace_layer("conv2", grouped)
    x = generator(1).random((10, 1, 28, 28), np.float32)
    round_weights(model, x)
    assert model.conv2.bias.shape == (16,) and np.isfinite(model(x)).all()


@pytest.mark.parametrize("dtype", ["float16", "int4", None])
def test_other_dtypes(dtype):
    with pytest.raises(InputError, match="expected one of float32, int8"):
        check_dtype(dtype)
    with pytest.raises(InputError, match="expected one of float32, int8"):
        DetectorOptions(RankRule("energy", 0.9), dtype=dtype)
