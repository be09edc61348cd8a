"""safetensors: NumPy alone and the package read the same arrays; false headers are refused."""

import json
import struct
import sys
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn import InputError
from minicnn.weight_files.safetensors import read_safetensors

RECORDED = Path(__file__).parents[2] / "recorded" / "weight_files"
DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "i1", "U64": "<u8", "U32": "<u4",
          "U16": "<u2", "U8": "u1"}
ENTRY = {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}


def file_of(header, data=bytes(24)):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def every_dtype():
    """A header of an array of each dtype, its numbers, and the arrays."""
    header, data, arrays = {"__metadata__": {"format": "pt"}}, b"", {}
    for number, (name, dtype) in enumerate(DTYPES.items()):
        array = arrays[name] = np.arange(number * 2).reshape(2, number).astype(dtype)
        header[name] = {"dtype": name, "shape": [2, number], "data_offsets": [len(data), len(data) + array.nbytes]}
        data += array.tobytes()
    header["scalar"] = {"dtype": "F32", "shape": [], "data_offsets": [len(data), len(data) + 4]}
    return header, data + struct.pack("<f", 2.5), {**arrays, "scalar": np.float32(2.5)}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.safetensors"


@pytest.fixture(params=["ours", "package"])
def reader(request, monkeypatch):
    """With the package and without it."""
    if request.param == "ours":
        monkeypatch.setitem(sys.modules, "safetensors", None)
    else:
        pytest.importorskip("safetensors")
    return request.param


def test_every_dtype(path, reader):
    header, data, expected = every_dtype()
    path.write_bytes(file_of(header, data))
    arrays = read_safetensors(path)
    assert list(arrays) == list(expected)
    for name, array in arrays.items():
        assert array.dtype == expected[name].dtype and array.shape == expected[name].shape
        assert_array_equal(array, expected[name])


def test_the_recorded_file_that_has_bfloat16_and_bool(reader):
    expected = np.load(RECORDED / "expected.npz")
    arrays = read_safetensors(RECORDED / "net.safetensors")
    assert arrays["bfloat16"].dtype == np.float32 and arrays["bool"].dtype == np.bool_ and len(arrays) == 22
    for name, array in arrays.items():
        assert array.dtype == expected[f"net.safetensors/{name}"].dtype
        assert_array_equal(array, expected[f"net.safetensors/{name}"])


def test_the_package_is_used_where_it_can(path, monkeypatch):
    package = pytest.importorskip("safetensors.numpy")
    monkeypatch.setattr(package, "load_file", lambda path: {"w": "from the package"})
    path.write_bytes(file_of({"w": ENTRY}))
    assert read_safetensors(path) == {"w": "from the package"}


def test_what_the_package_refuses_is_told_in_one_line(path, monkeypatch):
    package = pytest.importorskip("safetensors")

    def refuse(path):
        raise package.SafetensorError("this\nand that")

    monkeypatch.setattr("safetensors.numpy.load_file", refuse)
    path.write_bytes(file_of({"w": ENTRY}))
    with pytest.raises(InputError, match="this.{1,2}nand that"):
        read_safetensors(path)


def test_a_file_without_tensors(path, reader):
    path.write_bytes(file_of({}, b""))
    assert read_safetensors(path) == {}


@pytest.mark.parametrize("changes", [
    {"dtype": "F8_E4M3"}, {"dtype": "float32"}, {"dtype": None}, {"dtype": ["F32"]}, {"dtype": "F64"}, {"dtype": "F16"},
    {"shape": [2, 2]}, {"shape": [2, -3]}, {"shape": [-2, -3]}, {"shape": [2.0, 3]}, {"shape": [True, 6]}, {"shape": 6}, {"shape": None},
    {"shape": "23"}, {"shape": ["2", "3"]}, {"shape": [2**62, 2**62]}, {"shape": [0, 2**62]}, {"shape": [2**64]}, {"shape": [1] * 33},
    {"shape": {"2": 3}}, {"data_offsets": [0]}, {"data_offsets": [0, 24, 24]}, {"data_offsets": [0, 23]}, {"data_offsets": [1, 25]},
    {"data_offsets": [24, 0]}, {"data_offsets": [-24, 0]}, {"data_offsets": [0, 2**60]}, {"data_offsets": [0.0, 24.0]},
    {"data_offsets": None}, {"data_offsets": "01"}, {"data_offsets": {"0": 24}}, {"data_offsets": [False, 24]},
])
def test_an_entry_that_does_not_fit_the_file_is_refused(path, reader, changes):
    path.write_bytes(file_of({"w": {**ENTRY, **changes}}))
    with pytest.raises(InputError):
        read_safetensors(path)


@pytest.mark.parametrize("header", [
    [], 5, None, "w", {"w": []}, {"w": None}, {"w": {}}, {"w": 5}, b"", b"{", b"{}}", b"\xff\xfe", b'{"w": NaN}', b"[" * 10**5,
    {"a": ENTRY, "b": ENTRY}, {"a": ENTRY, "b": {**ENTRY, "data_offsets": [12, 36]}}, {}, {"__metadata__": {}},
    {"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "b": {"dtype": "F32", "shape": [4], "data_offsets": [8, 24]}},
], ids=str)
def test_headers_that_do_not_fit_the_file_are_refused(path, reader, header):
    path.write_bytes(file_of(header))
    with pytest.raises(InputError):
        read_safetensors(path)


@pytest.mark.parametrize("length", [0, 100, 2**24, 2**40, 2**63, 2**64 - 1])
def test_a_header_longer_than_the_file_is_refused(path, length):
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    with pytest.raises(InputError):
        read_safetensors(path)


def test_a_header_of_more_than_the_limit_is_refused(path, monkeypatch):
    path.write_bytes(file_of(b"{}" + b" " * 98, b""))
    assert read_safetensors(path) == {}
    monkeypatch.setattr("minicnn.weight_files.safetensors.MAX_HEADER", 99)
    with pytest.raises(InputError, match="header of 100 bytes, expected at most 99"):
        read_safetensors(path)


def test_a_file_cut_anywhere_is_refused(path, reader):
    header, data, _ = every_dtype()
    whole = file_of(header, data)
    for length in [*range(0, len(whole), 11), len(whole) - 1]:
        path.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_safetensors(path)
