"""Whole weight files: recorded ones give the arrays that torch reads; other files are refused in one line."""

import io
import pickle
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from torch_files import call, encode, legacy_file, name, storage, tensor, zip_file

from minicnn import InputError
from minicnn.weight_files.read import read_state_dict

RECORDED = Path(__file__).parents[2] / "recorded" / "weight_files"
VOC = Path(__file__).parents[4] / "shared" / "weights" / "fasterrcnn_vgg16_voc.pth"
FILES = sorted(path.name for path in RECORDED.iterdir() if path.suffix != ".npz")
NUMBERS = np.arange(6, dtype="<f4")
TENSOR = tensor(storage(), (2, 3), (3, 1))


def as_zip(value):
    return zip_file(value, {"0": NUMBERS.tobytes()})


def as_legacy(value):
    return legacy_file(value, {"0": (6, NUMBERS.tobytes())} if b"FloatStorage" in encode(value) else {})


both = pytest.mark.parametrize("write", [as_zip, as_legacy])


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pth"


@pytest.fixture(scope="module")
def expected():
    with np.load(RECORDED / "expected.npz") as file:
        return dict(file)


def refused(path, data, *expected):
    path.write_bytes(data)
    with pytest.raises(InputError) as caught:
        read_state_dict(path)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 1000
    for text in (str(path), *expected):
        assert text in message


# what torch reads

@pytest.mark.parametrize("file", FILES)
def test_a_recorded_file_holds_what_torch_reads(file, expected):
    arrays = read_state_dict(RECORDED / file)
    names = [key.removeprefix(f"{file}/") for key in expected if key.startswith(f"{file}/")]
    assert sorted(arrays) == sorted(names) and len(names) > 1
    for key, array in arrays.items():
        assert array.dtype == expected[f"{file}/{key}"].dtype and array.dtype.isnative
        assert array.shape == expected[f"{file}/{key}"].shape
        assert_array_equal(array, expected[f"{file}/{key}"])


@pytest.mark.parametrize("file", [file for file in FILES if file.endswith(".pth")])
def test_names_stand_in_the_files_order(file, expected):
    assert list(read_state_dict(RECORDED / file)) == [key.partition("/")[2] for key in expected if key.startswith(f"{file}/")]


@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth"])
def test_shared_storages_are_shared(file):
    arrays = read_state_dict(RECORDED / file)
    assert np.shares_memory(arrays["weight"], arrays["tied"]) and np.shares_memory(arrays["weight"], arrays["slice"])
    assert not np.shares_memory(arrays["weight"], arrays["parameter"])


@pytest.mark.parametrize("suffix", [".pth", ".safetensors", ""])
def test_the_format_is_told_from_the_content(path, expected, suffix):
    path = path.with_suffix(suffix)
    for file in ("zip.pth", "legacy.pth", "net.safetensors"):
        path.write_bytes((RECORDED / file).read_bytes())
        assert_array_equal(read_state_dict(path)["weight"], expected[f"{file}/weight"])


@both
def test_a_state_dict_is_found_under_the_usual_keys(path, write):
    for key in ("model", "state_dict", "model_state_dict"):
        path.write_bytes(write({"epoch": 5, "optimizer": {"state": {0: {}}}, key: {"w": TENSOR}}))
        assert list(read_state_dict(path)) == ["w"]
    path.write_bytes(write({"model": TENSOR}))
    assert list(read_state_dict(path)) == ["model"]             # a tensor of that name


@both
def test_module_in_front_of_all_names_is_taken_off(path, write):
    path.write_bytes(write({"module.a": TENSOR, "module.module.b": TENSOR}))
    assert list(read_state_dict(path)) == ["a", "module.b"]
    path.write_bytes(write({"module.a": TENSOR, "b": TENSOR}))
    assert list(read_state_dict(path)) == ["module.a", "b"]


def test_the_real_detector():
    if not VOC.is_file():
        pytest.skip(f"the real detector is not in {VOC.parent}")
    tracemalloc.start()
    try:
        arrays = read_state_dict(VOC)
        assert tracemalloc.get_traced_memory()[1] < VOC.stat().st_size * 1.05           # one copy
    finally:
        tracemalloc.stop()
    assert len(arrays) == 40 and sum(array.size for array in arrays.values()) == 43_961_332
    assert {array.dtype for array in arrays.values()} == {np.dtype(np.float16)}
    assert all(np.isfinite(array).all() for array in arrays.values())


def test_torch_and_safetensors_are_not_needed():
    code = (f"import sys; sys.modules['torch'] = sys.modules['safetensors'] = None\n"
            f"from minicnn.weight_files.read import read_state_dict\n"
            f"print(*(len(read_state_dict({str(RECORDED)!r} + '/' + file)) for file in {FILES!r}))")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert len(result.stdout.split()) == len(FILES), result.stderr


# files that are no state dicts

@pytest.mark.parametrize("data", [b"", b"a text\n", b"\x89PNG\r\n\x1a\n" + bytes(99), bytes(1000), b"\xff\xd8\xff" + bytes(99)])
def test_other_files_are_refused_with_the_formats_that_are_read(path, data):
    refused(path, data, "expected torch's zip format (PK), torch's legacy format")


def test_other_pickles_and_zips_are_refused(path):
    refused(path, b"\x80", "a pickle with no end")
    refused(path, pickle.dumps({"w": 1}, 2), "a pickle that is not torch's")
    refused(path, pickle.dumps({"w": NUMBERS}, 2), "numpy")
    refused(path, b"PK\x03\x04" + bytes(50), "cannot be read")
    stream = io.BytesIO()
    np.savez(stream, w=NUMBERS)
    refused(path, stream.getvalue(), "0 entries data.pkl")


def test_a_missing_file_and_a_folder(tmp_path):
    for path, expected in ((tmp_path / "none.pth", "No such file"), (tmp_path, "cannot be read"), (tmp_path / "a" / "b", "cannot be read")):
        with pytest.raises(InputError, match=expected):
            read_state_dict(path)


def test_a_name_that_says_safetensors_is_believed(tmp_path):
    refused(tmp_path / "net.safetensors", b"a text", "header")


@both
@pytest.mark.parametrize("value, expected", [
    ({"epoch": 5, "net": {"w": TENSOR}}, "holds the keys epoch, net, expected a state dict, or one under model, state_dict"),
    ({}, "holds the keys (none)"), ({"model": {}}, "the keys model"), ({"model": {"model": {"w": TENSOR}}}, "the keys model"),
    ({"a\nb" * 100: 1}, "a\\nb"), (dict.fromkeys(map(str, range(1000)), 1), "0, 1, 2"),
    ([TENSOR], "an object of type list"), (TENSOR, "of type Tensor"), (5, "of type int"), (None, "of type NoneType"),
    ({"w": TENSOR, "epoch": 5}, "got epoch of type int in the state dict, expected names and tensors"),
    ({"w": TENSOR, "layer": {"w": TENSOR}}, "got layer of type dict"), ({"w": TENSOR, 5: TENSOR}, "got 5"),
    ({"w": TENSOR, "s": storage()}, "got s of type Storage"), ({"w": TENSOR, "p": call("torch.nn.parameter.Parameter")}, "got p"),
    ({"model": {"w": TENSOR, "extra": None}}, "got extra"), ({"w": name("os.system")}, "names os.system"),
    ({"model": {"w": TENSOR}, "args": name("argparse.Namespace")}, "names argparse.Namespace, which is not part of a tensor"),
])
def test_what_is_no_state_dict_is_told(path, write, value, expected):
    refused(path, write(value), expected)


@both
@pytest.mark.parametrize("size, stride, offset", [((2, 3), (3, 1), 1), ((2, 3), (-3, 1), 5), ((-2, 3), (3, 1), 0), ((2**40,), (0,), 0),
                                                  ((2, 3), (3, 1), -1), ((2**62, 4), (0, 0), 0), ((2,), (1, 1), 0)])
def test_tensors_that_do_not_fit_are_refused(path, write, size, stride, offset):
    refused(path, write({"w": tensor(storage(), size, stride, offset)}), "expected")


@both
def test_a_pickle_that_runs_something_is_refused_unrun(path, write):
    mark = path.parent / "mark"
    for code in (call("os.system", f"touch {mark}"), call("builtins.eval", f"open({str(mark)!r}, 'w')"),
                 tensor(call("os.system", f"touch {mark}"), (1,), (1,)), tensor(f"touch {mark}", (1,), (1,))):
        refused(path, write({"w": code}), "got a ")
    assert not mark.exists()


def test_more_numbers_than_memory_are_told(path, monkeypatch):
    def fail(*shape):
        raise MemoryError

    monkeypatch.setattr("minicnn.weight_files.tensors.np.empty", fail)
    refused(path, as_legacy({"w": TENSOR}), "more numbers than fit in memory")


# damage

@pytest.mark.parametrize("file", ["zip.pth", "legacy.pth", "legacy_protocol4.pth", "training.pth", "python2.pth", "net.safetensors"])
def test_a_truncated_file_is_refused_wherever_it_ends(path, file):
    data = (RECORDED / file).read_bytes()
    for length in {*range(0, len(data), 1 + len(data) // 100), *range(len(data) - 40, len(data))}:
        refused(path, data[:length])


@pytest.mark.parametrize("file, times", [("big_endian.pth", 300), ("zip.pth", 50), ("legacy.pth", 300), ("python2.pth", 300),
                                         ("net.safetensors", 300)])
def test_flipped_bytes_are_refused_or_harmless(path, file, times):
    """Whatever byte is damaged: no other exception, and little memory."""
    good, rng = (RECORDED / file).read_bytes(), np.random.default_rng(0)
    tracemalloc.start()
    try:
        for _ in range(times):
            data = bytearray(good)
            for place in rng.integers(0, len(good), rng.integers(1, 5)):
                data[place] = rng.integers(256)
            path.write_bytes(data)
            try:
                arrays = read_state_dict(path)
            except InputError as error:
                assert "\n" not in str(error)
            else:
                assert sum(np.array(array).nbytes for array in arrays.values()) <= 32 * len(good)       # twice 16: bfloat16 doubles
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()
