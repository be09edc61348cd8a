"""Bytes of layers in files, beside their parameters."""

import numpy as np
import pytest

import minicnn
from minicnn.compression.cost_table import cost_table
from minicnn.compression.stored import stored


@pytest.mark.parametrize("dtype, fc1", [("float32", 4 * 120 * 401), ("float16", 120 * 400 * 2 + 120 * 4),
                                        ("int8", 120 * 400 + 120 * 4 * 4 + 120 * 4)])
def test_bytes_are_those_in_the_file_whose_parameters_stay(tmp_path, dtype, fc1):
    model, path = minicnn.build("lenet5", rng=np.random.default_rng(0)), tmp_path / "lenet.npz"
    minicnn.save(path, model, dtype)
    found = stored(path, model)
    assert found["dtype"] == dtype and found["file_bytes"] == path.stat().st_size and found["layers"]["fc1"] == fc1
    assert found["convolution_bytes"] == found["layers"]["conv1"] + found["layers"]["conv2"]
    assert found["bytes"] == found["convolution_bytes"] + found["linear_bytes"] == sum(found["layers"].values())
    with np.load(path) as file:
        assert found["bytes"] == sum(file[name].nbytes for name in file.files if name.count(".") and name != "minicnn.json")
    assert cost_table(minicnn.load(path), (1, 28, 28)) == cost_table(model, (1, 28, 28))


def test_of_torchs_weights_and_pipes_float32_is_assumed(tmp_path):
    model = minicnn.build("lenet5", rng=np.random.default_rng(0))
    (tmp_path / "weights.pth").write_bytes(b"\x80" + bytes(99))
    for path, size in ((tmp_path / "weights.pth", 100), ("/dev/null", None)):
        found = stored(path, model)
        assert found["dtype"] == "float32" and found["file_bytes"] == size and found["bytes"] == 4 * 61706
