"""Tensors: every description is checked before a view is made."""

import io

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn import InputError
from minicnn.weight_files.tensors import Storage, Tensor, decode, make_arrays, printable, read_bytes

NUMBERS = np.arange(24, dtype="<f4")
ROW = Storage("0", "float32", 24, 0, 24)


def read(storage):
    return np.frombuffer(NUMBERS.tobytes(), np.uint8)


def make(*tensors, file_size=1000):
    arrays = make_arrays(dict(enumerate(tensors)), read, "little", file_size)
    return [arrays[number] for number in range(len(tensors))]


def tensor(offset, size, stride, storage=ROW):
    return Tensor(storage, storage.dtype, offset, size, stride)


@pytest.mark.parametrize("offset, size, stride", [
    (0, (4, 6), (6, 1)), (8, (4, 3), (1, 6)), (0, (24,), (1,)), (23, (), ()), (3, (2, 2, 2), (0, 1, 7)), (0, (1, 24), (0, 1)),
    (5, (1, 1), (1000, 10**15)), (0, (0, 4), (4, 1)), (24, (3, 0), (1, 1)), (1, (3,), (0,)),
])
def test_a_view_holds_the_elements_that_offset_size_and_stride_name(offset, size, stride):
    array, = make(tensor(offset, size, stride))
    assert array.shape == size and array.dtype == np.float32
    for index in np.ndindex(*size):
        assert array[index] == offset + sum(i * s for i, s in zip(index, stride, strict=True))


def test_tensors_of_one_storage_share_it_and_it_is_read_once():
    calls = []
    tensors = {"a": tensor(0, (4, 6), (6, 1)), "b": tensor(8, (4, 3), (1, 6))}
    arrays = make_arrays(tensors, lambda storage: calls.append(storage) or read(storage), "little", 1000)
    assert np.shares_memory(arrays["a"], arrays["b"]) and len(calls) == 1


def test_a_window_of_a_storage_is_where_it_says():
    part = Storage("0", "float32", 24, 4, 6)
    assert_array_equal(make(tensor(1, (5,), (1,), part))[0], NUMBERS[5:10])
    with pytest.raises(InputError, match="beyond its storage of 6"):
        make(tensor(1, (6,), (1,), part))
    with pytest.raises(InputError, match="beyond"):
        make(tensor(0, (1,), (1,), Storage("0", "float32", 24, 20, 5)))


@pytest.mark.parametrize("offset, size, stride, expected", [
    (0, (25,), (1,), "beyond"), (24, (), (), "beyond"), (1, (24,), (1,), "beyond"), (0, (4, 6), (7, 1), "beyond"),
    (2**62, (1,), (1,), "beyond"), (0, (2,), (2**62,), "beyond"), (0, (2**59,), (1,), "beyond"),
    (-1, (1,), (1,), "not counts"), (0, (-1,), (1,), "not counts"), (0, (2,), (-1,), "not counts"), (23, (2,), (-1,), "not counts"),
    (True, (1,), (1,), "not counts"), (0, (True,), (1,), "not counts"), (0.0, (1,), (1,), "not counts"),
    (0, (1.5,), (1,), "not counts"), (0, ("1",), (1,), "not counts"), (0, (None,), (1,), "not counts"), (None, (1,), (1,), "not counts"),
    (0, [1], (1,), "not counts"), (0, (1,), [1], "not counts"), (0, 1, 1, "not counts"), (0, (1, 1), (1,), "not counts"),
    (0, (1,) * 33, (1,) * 33, "not counts"), (2**64, (1,), (1,), "not counts"), (0, (0, 2**64), (1, 1), "not counts"),
    (0, (2**40, 2**40), (0, 0), "addresses"), (0, (0, 2**62), (1, 1), "addresses"),
    (0, (2**40,), (0,), "16 times"), (0, (2**12, 2**12), (0, 0), "16 times"),
])
def test_claims_that_do_not_fit_are_refused_before_a_view_is_made(offset, size, stride, expected):
    with pytest.raises(InputError, match=expected):
        make_arrays({"w": tensor(offset, size, stride)}, None, "little", 1000)         # and before anything is read


def test_many_tensors_together_are_at_most_sixteen_times_their_file():
    make(*[tensor(0, (24,), (1,))] * 16, file_size=96)
    with pytest.raises(InputError, match="16 times"):
        make(*[tensor(0, (24,), (1,))] * 17, file_size=96)


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32",
                                   "uint64"])
@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_numbers_of_either_byte_order_come_in_the_machines(dtype, byteorder):
    values = np.array([0, 1, 2, 100], dtype)
    stored = values.astype(values.dtype.newbyteorder("<" if byteorder == "little" else ">"))
    array = decode(np.frombuffer(stored.tobytes(), np.uint8), dtype, byteorder)
    assert array.dtype == np.dtype(dtype) and array.dtype.isnative
    assert_array_equal(array, values)


@pytest.mark.parametrize("byteorder", ["little", "big"])
def test_bfloat16_is_the_upper_half_of_a_float32(byteorder):
    values = np.array([0, -0.0, 1, -2.5, np.inf, -np.inf, np.nan, 3.3895314e38, 9.2e-41], np.float32)
    halves = (values.view(np.uint32) >> 16).astype("<u2" if byteorder == "little" else ">u2")
    array = decode(np.frombuffer(halves.tobytes(), np.uint8), "bfloat16", byteorder)
    assert array.dtype == np.float32
    assert_array_equal(array.view(np.uint32), values.view(np.uint32) & 0xFFFF0000)


def test_any_byte_but_0_is_true():
    array = decode(np.array([0, 1, 2, 255], np.uint8), "bool", "little")
    assert_array_equal(array.view(np.uint8), [0, 1, 1, 1])


def test_half_a_number_is_refused():
    with pytest.raises(InputError, match="multiple of 4"):
        decode(np.zeros(6, np.uint8), "float32", "little")


def test_bytes_that_end_too_early_are_refused():
    assert_array_equal(read_bytes(io.BytesIO(b"abc"), 3), list(b"abc"))
    assert read_bytes(io.BytesIO(), 0).shape == (0,)
    with pytest.raises(InputError, match="got 3 of 5 bytes"):
        read_bytes(io.BytesIO(b"abc"), 5)


def test_text_of_a_file_stays_on_one_short_line():
    assert printable("conv1.weight") == "conv1.weight" and printable(3) == "3"
    assert "\n" not in printable("a\nb") and "\x1b" not in printable("\x1b[31m")
    assert len(printable("x" * 10**6)) < 120
