"""int8 weights in files: how far they are from the float32 ones, what computes on them, and files that attack."""

import subprocess
import sys
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

import minicnn
from minicnn import InputError
from minicnn.archive import describe, load_outline, read_archive, read_header, write_archive
from minicnn.int8 import BLOCK, decode, encode, encoded


@pytest.fixture
def model():
    return minicnn.build("lenet5", rng=np.random.default_rng(0))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.npz"


def by_loops(weight):
    """Integers, and half a step of each one's block, from the definition."""
    rows = weight.reshape(len(weight), -1).astype(np.float64)
    steps = np.empty(rows.shape)
    for row in range(len(rows)):
        for start in range(0, rows.shape[1], BLOCK):
            steps[row, start:start + BLOCK] = max(abs(rows[row, start:start + BLOCK])) / 127
    return np.rint(np.divide(rows, steps, out=np.zeros(rows.shape), where=steps > 0)), steps / 2


@settings(max_examples=60)
@given(st.integers(1, 5), st.integers(1, 3 * BLOCK + 5), st.sampled_from([(), (1, 1), (3, 3), (2, 5)]), st.integers(0, 9),
       st.sampled_from([1.0, 1e-30, 1e30]))
def test_every_weight_is_within_half_a_step(rows, width, kernel, seed, size):
    weight = np.float32(size) * np.random.default_rng(seed).standard_normal((rows, width, *kernel), np.float32)
    values, scales = encode("w", weight)
    assert values.dtype == np.int8 and values.shape == weight.shape and np.abs(values.astype(int)).max() == 127
    assert scales.dtype == np.float32 and scales.shape == (rows, -(-weight[0].size // BLOCK))
    again = decode(values, scales)
    integers, half = by_loops(weight)
    assert again.dtype == np.float32 and again.shape == weight.shape
    error = np.abs(again.astype(np.float64) - weight).reshape(rows, -1)
    assert (error <= half * (1 + 2.0**-15) + 127 * 2 * half * 2.0**-16).all()
    assert (np.abs(integers - values.reshape(rows, -1)) <= 1).all() and (integers == values.reshape(rows, -1)).mean() > 0.9
    for one, other in zip(encode("w", again), (values, scales)):       # exact in float32, so that nothing drifts
        assert_array_equal(one, other)


@pytest.mark.parametrize("value", [0.0, 1e-45, 1e-38, 1.6e38])
def test_extreme_blocks(value):
    weight = np.full((2, 130), value, np.float32)
    again = decode(*encode("w", weight))
    assert np.abs(again - weight).max() <= max(value / 254, 2.0**-127)


def test_weights_without_columns_or_rows():
    for shape in ((3, 0), (0, 5), (0, 2, 3, 3)):
        values, scales = encode("w", np.zeros(shape, np.float32))
        assert decode(values, scales).shape == shape and scales.size == 0


def test_a_file_is_a_quarter_computes_in_float32_and_is_written_again_as_it_is(tmp_path, model):
    minicnn.save(tmp_path / "whole.npz", model)
    minicnn.save(tmp_path / "int8.npz", model, dtype="int8")
    with np.load(tmp_path / "int8.npz") as file:
        assert file["fc1.weight"].dtype == np.int8 and file["fc1.weight.scale"].shape == (120, 4)
        assert file["conv2.weight"].shape == (16, 6, 5, 5) and file["fc1.bias"].dtype == np.float32
        scales = np.repeat(file["fc1.weight.scale"], BLOCK, axis=1)[:, :400]         # as the guide says
        assert_array_equal(file["fc1.weight"] * scales, minicnn.load(tmp_path / "int8.npz").fc1.weight)
    sizes = [(tmp_path / name).stat().st_size for name in ("int8.npz", "whole.npz")]
    assert sizes[0] / sizes[1] < 0.3
    again = minicnn.load(tmp_path / "int8.npz")
    assert describe(again) == describe(model) and {array.dtype for _, array in again.named_arrays()} == {np.dtype(np.float32)}
    for name, array in model.named_arrays():
        assert array.ndim > 1 or np.array_equal(array, dict(again.named_arrays())[name])
    x = np.random.default_rng(0).random((3, 1, 28, 28), np.float32)
    assert again(x).dtype == np.float32 and 0 < np.abs(again(x) - model(x)).max() < 0.01
    minicnn.save(tmp_path / "again.npz", again, dtype="int8")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "int8.npz").read_bytes()
    minicnn.save(tmp_path / "float32.npz", again)
    assert read_archive(tmp_path / "float32.npz", read_header)[0]["fc1.weight"].dtype == np.float32


def test_an_outline_reads_no_values(path, model):
    minicnn.save(path, model, "int8")
    assert not load_outline(path).fc1.weight.any()
    assert read_archive(path, read_header)[0]["fc1.weight"].nbytes == 120 * 400 + 4 * 120 * 4


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -2e38])
def test_weights_that_int8_cannot_hold_are_refused_and_the_old_file_stays(path, model, value):
    minicnn.save(path, model)
    old = path.read_bytes()
    model.fc2.weight[3, 119] = value
    with pytest.raises(InputError, match="in fc2.weight, expected less for int8. Use float32"):
        minicnn.save(path, model, "int8")
    assert path.read_bytes() == old and list(path.parent.iterdir()) == [path]


def scale(value):
    return lambda arrays: arrays["fc1.weight.scale"].__setitem__((119, 3), value)


@pytest.mark.parametrize("outline", [False, True])
@pytest.mark.parametrize("change, expected, seen", [
    (scale(np.nan), "NaN or not from", False), (scale(np.inf), "NaN or not from", False), (scale(-0.01), "NaN or not from", False),
    (scale(0.0), "NaN or not from", False), (scale(1e-45), "NaN or not from", False), (scale(3e38), "NaN or not from", False),
    (lambda arrays: arrays["conv1.weight"].__setitem__((5, 0, 4, 4), -128), "-128 in conv1.weight", False),
    (lambda arrays: arrays.pop("fc1.weight.scale"), "fc1.weight without fc1.weight.scale", True),
    (lambda arrays: arrays.pop("fc1.weight"), "fc1.weight.scale without fc1.weight", True),
    (lambda arrays: arrays.update({"fc1.bias.scale": np.ones((120, 1), np.float32)}), "float32 (120,) for fc1.bias", True),
    (lambda arrays: arrays.update({"fc1.bias": np.ones(120, np.int8)}), "fc1.bias without fc1.bias.scale", True),
    (lambda arrays: arrays.update({"fc1.bias": np.ones(120, np.int8), "fc1.bias.scale": np.ones(120, np.float32)}), "expected int8", True),
    (lambda arrays: arrays.update({"fc1.weight.scale": np.ones((120, 3), np.float32)}), "scales float32 (120, 3)", True),
    (lambda arrays: arrays.update({"fc1.weight.scale": np.ones((4, 120), np.float32)}), "scales float32 (4, 120)", True),
    (lambda arrays: arrays.update({"fc1.weight.scale": np.ones((120, 4, 1), np.float32)}), "expected int8", True),
    (lambda arrays: arrays.update({"fc1.weight.scale": np.ones((120, 4))}), "scales float64", True),
    (lambda arrays: arrays.update({"fc1.weight.scale": np.ones((120, 4), np.int8)}), "scales int8", True),
    (lambda arrays: arrays.update({"fc1.weight": np.ones((120, 400), np.uint8)}), "uint8 (120, 400) for fc1.weight", True),
    (lambda arrays: arrays.update({"fc1.weight": np.ones((120, 400), np.float32)}), "float32 (120, 400) for fc1.weight", True),
    (lambda arrays: arrays.update({"fc1.weight": np.ones((120, 401), np.int8)}), "(120, 401)", True),
    (lambda arrays: arrays.update({"fc9.weight": np.ones((1, 1), np.int8), "fc9.weight.scale": np.ones((1, 1), np.float32)}),
     "extra fc9.weight", True),
], ids=str)
def test_files_that_attack(path, model, outline, change, expected, seen):
    """seen: in the headers, too."""
    arrays = encoded(dict(model.named_arrays()))
    change(arrays)
    write_archive(path, arrays, {"format": 2, **describe(model)})
    if outline and not seen:
        load_outline(path)                                  # reads no values
        return
    with pytest.raises(InputError) as caught:
        (load_outline if outline else minicnn.load)(path)
    assert expected in str(caught.value) and str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_of_format_1_holds_no_scales(path, model):
    """As an older minicnn reads int8 files, if their format did not stop it."""
    write_archive(path, encoded(dict(model.named_arrays())), describe(model))
    with pytest.raises(InputError, match="extra conv1.weight.scale"):
        minicnn.load(path)


def test_fewer_bytes_than_the_header_says(path, model):
    minicnn.save(path, model, "int8")
    with zipfile.ZipFile(path) as archive:
        entries = {info.filename: archive.read(info) for info in archive.infolist()}
    entries["fc1.weight.scale.npy"] = entries["fc1.weight.scale.npy"][:-4]
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    with pytest.raises(InputError, match="fc1.weight.scale.npy"):
        minicnn.load(path)


def test_float32_files_stay_of_format_1(path, model):
    for dtype, form in (("float32", b'{\n "format": 1,'), ("float16", b'{\n "format": 1,'), ("int8", b'{\n "format": 2,')):
        minicnn.save(path, model, dtype)
        assert zipfile.ZipFile(path).read("minicnn.json").startswith(form)


def test_numpy_is_all_that_loading_needs(path, model):
    minicnn.save(path, model, "int8")
    code = ("import sys\nfor name in ('PIL', 'scipy', 'numba', 'tqdm', 'threadpoolctl'): sys.modules[name] = None\n"
            f"import minicnn; print(minicnn.load({str(path)!r}).fc1.weight.shape)")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.stdout == "(120, 400)\n", result.stderr
