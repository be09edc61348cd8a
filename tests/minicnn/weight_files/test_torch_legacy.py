"""The legacy format: its pickles and its storages, valid and damaged."""

import struct

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from torch_files import MAGIC, legacy_file, program, storage, tensor

from minicnn import InputError
from minicnn.weight_files.tensors import make_arrays
from minicnn.weight_files.torch_legacy import open_legacy

NUMBERS = np.arange(6, dtype="<f4")
VALUE = {"w": tensor(storage("7"), (2, 3), (3, 1)), "b": tensor(storage("11", 2, "torch.LongStorage"), (2,), (1,))}
STORAGES = {"11": (2, np.array([5, -6], "<i8").tobytes()), "7": (6, NUMBERS.tobytes())}       # in the keys' order, as text


def arrays_of(path, data):
    path.write_bytes(data)
    with open(path, "rb") as file:
        value, read, byteorder = open_legacy(file)
        return make_arrays(value, read, byteorder, 1000)


def refused(path, data, expected):
    with pytest.raises(InputError, match=expected):
        arrays_of(path, data)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pth"


@pytest.mark.parametrize("little_endian", [True, False])
def test_numbers_are_little_endian_whatever_the_file_says_of_its_machine(path, little_endian):
    arrays = arrays_of(path, legacy_file(VALUE, STORAGES, little_endian=little_endian))
    assert_array_equal(arrays["w"], NUMBERS.reshape(2, 3))
    assert_array_equal(arrays["b"], [5, -6])


def test_other_pickles_are_refused(path):
    for value in (MAGIC + 1, "magic", [MAGIC], None):
        refused(path, program(value), "a pickle that is not torch's")
    refused(path, legacy_file(VALUE, STORAGES, version=1002), "legacy format of version .*, expected 1001")
    refused(path, legacy_file(VALUE, STORAGES, keys={"7": 1}), "storages that do not match")


@pytest.mark.parametrize("keys", [["7"], ["11"], ["11", "8"], [11, 7], ["11", "7", "9"], ["11", ["7"]], [None], ["7", "11"], []])
def test_keys_that_are_not_the_tensors_are_refused(path, keys):
    refused(path, legacy_file(VALUE, STORAGES, keys=keys), "storages that do not match|truncated")


@pytest.mark.parametrize("count", [-1, 0, 5, 7, 2**60, 2**63 - 1, -2**63])
def test_counts_that_are_not_the_tensors_are_refused(path, count):
    refused(path, legacy_file(VALUE, {**STORAGES, "7": (count, NUMBERS.tobytes())}), "storages that do not match|truncated")


def test_a_claim_of_a_storage_that_is_longer_than_the_file_is_refused(path):
    value = {"w": tensor(storage("7", 2**60), (1,), (1,))}
    refused(path, legacy_file(value, {"7": (2**60, bytes(24))}), "truncated")


def test_a_file_cut_anywhere_is_refused(path):
    data = legacy_file(VALUE, STORAGES)
    for length in [*range(0, len(data), 3), *range(len(data) - 50, len(data))]:
        refused(path, data[:length], "no end|truncated")
    assert arrays_of(path, data + struct.pack("<q", 5)).keys() == VALUE.keys()         # torch, too, reads no further than it must
