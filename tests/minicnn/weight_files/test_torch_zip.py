"""The zip format: its entries, and malicious zips."""

import io
import struct
import tracemalloc
import zipfile

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from torch_files import program, storage, tensor, zip_file

from minicnn import InputError
from minicnn.weight_files.tensors import make_arrays
from minicnn.weight_files.torch_zip import open_zip

NUMBERS = np.arange(6, dtype="<f4")
VALUE = {"w": tensor(storage("0"), (2, 3), (3, 1)), "b": tensor(storage("1", 2, "torch.LongStorage"), (2,), (1,))}
STORAGES = {"0": NUMBERS.tobytes(), "1": np.array([5, -6], "<i8").tobytes()}


def arrays_of(path, data):
    path.write_bytes(data)
    with open(path, "rb") as file:
        value, read, byteorder = open_zip(file)
        return make_arrays(value, read, byteorder, 1000)


def refused(path, data, expected):
    """The file is refused with little memory."""
    tracemalloc.start()
    try:
        with pytest.raises((InputError, zipfile.BadZipFile), match=expected) as caught:        # read.py makes one of the other
            arrays_of(path, data)
        assert tracemalloc.get_traced_memory()[1] < 10 * 2**20
    finally:
        tracemalloc.stop()
    assert "\n" not in str(caught.value)


def zip_of(entries, compression=zipfile.ZIP_STORED):
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, data in entries:
            archive.writestr(zipfile.ZipInfo(name), data, compression)
    return stream.getvalue()


def entries(folder="net"):
    return [(f"{folder}/data.pkl", program(VALUE)), *((f"{folder}/data/{key}", data) for key, data in STORAGES.items())]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "net.pth"


@pytest.mark.parametrize("folder", ["net", "archive", "a..b", "ünï"])
def test_the_folder_has_any_name(path, folder):
    arrays = arrays_of(path, zip_file(VALUE, STORAGES, folder))
    assert_array_equal(arrays["w"], NUMBERS.reshape(2, 3))
    assert_array_equal(arrays["b"], [5, -6])


def test_other_entries_are_let_be(path):
    data = zip_file(VALUE, STORAGES, **{"version": b"3\n", ".format_version": b"1", ".data/serialization_id": b"5", "data/9": b"x"})
    assert arrays_of(path, data).keys() == VALUE.keys()


def test_the_byte_order_is_told_by_the_file(path):
    turned = {"0": NUMBERS.astype(">f4").tobytes(), "1": np.array([5, -6], ">i8").tobytes()}
    for order, storages in ((b"little", STORAGES), (b"big", turned)):
        arrays = arrays_of(path, zip_file(VALUE, storages, byteorder=order))
        assert_array_equal(arrays["w"], NUMBERS.reshape(2, 3))
        assert_array_equal(arrays["b"], [5, -6])
    for order in (b"", b"middle", b"little\n", b"\xff" * 10**4):
        refused(path, zip_file(VALUE, STORAGES, byteorder=order), "byte order")


def test_zips_that_are_not_torchs(path):
    refused(path, zip_of([]), "not a zip file|0 entries data.pkl")
    refused(path, zip_of([("weight.npy", b"x")]), "0 entries data.pkl")
    refused(path, zip_of([("data.pkl", program(VALUE))]), "0 entries data.pkl")
    refused(path, zip_of(entries() + entries("other")), "2 entries data.pkl")
    refused(path, b"PK\x03\x04" + bytes(100), "not a zip")


@pytest.mark.parametrize("data", [{}, {"0": b""}, {"0": bytes(20)}, {"0": bytes(28)}, {"1": STORAGES["0"]}, {"../0": STORAGES["0"]}])
def test_a_storage_that_is_missing_or_of_another_length(path, data):
    refused(path, zip_file({"w": VALUE["w"]}, data), "for the storage 0, expected 24 bytes|leads out of its folder")


@pytest.mark.parametrize("name", ["../../x/data.pkl", "/x/data.pkl", "net/../../data.pkl", "..\\..\\x/data.pkl", "net/data/../../0"])
def test_a_path_that_climbs_out_is_refused(path, name):
    refused(path, zip_of([*entries(), (name, program(VALUE))]), "leads out of its folder")


def test_a_key_that_climbs_out_finds_nothing(path):
    (path.parent / "0").write_bytes(bytes(24))
    value = {"w": tensor(storage("../../0"), (2, 3), (3, 1))}
    refused(path, zip_file(value, STORAGES), "no entry for the storage ../../0")


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_entries_are_refused(path, compression):
    value = {"w": tensor(storage("0", 10**8), (1,), (1,))}
    refused(path, zip_of([("net/data.pkl", program(value)), ("net/data/0", bytes(10**6))], compression), "compressed entry")


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_two_entries_of_one_name_are_refused(path):
    refused(path, zip_of([*entries(), ("net/data/0", bytes(24))]), "two entries of the same name")


# the directory at the end of a zip is edited; each of its records begins with PK 01 02

def records(data):
    place = 0
    while (place := data.find(b"PK\x01\x02", place)) >= 0:
        yield place
        place += 1


def edited(data, number, offset, form, *values):
    data = bytearray(data)
    struct.pack_into(form, data, list(records(data))[number] + offset, *values)
    return bytes(data)


def test_overlapping_entries_are_refused(path):
    data = zip_of(entries())
    place, = struct.unpack_from("<I", data, list(records(data))[1] + 42)
    refused(path, edited(data, 2, 42, "<I", place), "overlaps another")
    refused(path, edited(data, 1, 20, "<II", 60, 60), "overlaps another")


def test_sizes_beyond_the_file_are_refused(path):
    refused(path, edited(zip_of(entries()), 2, 20, "<II", 2**31, 2**31), "expected at most")
    refused(path, edited(zip_of(entries()), 2, 24, "<I", 2**31), "compressed entry")
    refused(path, edited(zip_of(entries()), 2, 42, "<I", 2**31), "expected at most")


@pytest.mark.parametrize("number", [0, 2])
def test_a_claim_of_2_to_the_60_bytes_is_refused(path, number):
    """In the field that zip64 has for sizes beyond 2**32."""
    stream, value = io.BytesIO(), {**VALUE, "b": tensor(storage("1", 2**57, "torch.LongStorage"), (2,), (1,))}
    with zipfile.ZipFile(stream, "w") as archive:
        for name, data in [("net/data.pkl", program(value)), *entries()[1:]]:
            info = zipfile.ZipInfo(name)
            info.extra = struct.pack("<HHQQ", 1, 16, 2**60, 2**60)
            archive.writestr(info, data)
    data = edited(stream.getvalue(), number, 20, "<II", 2**32 - 1, 2**32 - 1)
    refused(path, data, "overlaps another" if number == 0 else "expected at most")


def test_an_encrypted_entry_is_refused(path):
    path.write_bytes(edited(zip_of(entries()), 0, 8, "<H", 1))
    with open(path, "rb") as file, pytest.raises(RuntimeError, match="encrypted|password"):     # read.py makes an InputError of it
        open_zip(file)


def test_a_number_that_was_damaged_is_found_by_its_checksum(path):
    data = zip_of(entries())
    place = data.index(NUMBERS.tobytes())
    for changed in [*range(place, place + 24), data.index(b"FloatStorage")]:
        damaged = bytearray(data)
        damaged[changed] ^= 16
        refused(path, bytes(damaged), "CRC")


def test_an_entry_without_a_checksum_is_read(path):
    data = zip_of(entries())
    for number in range(3):
        data = edited(data, number, 16, "<I", 0)
    assert_array_equal(arrays_of(path, data)["w"], NUMBERS.reshape(2, 3))


def test_a_pickle_beyond_the_limit_is_refused(path, monkeypatch):
    monkeypatch.setattr("minicnn.weight_files.torch_zip.MAX_BYTES", 50)
    refused(path, zip_of(entries()), "expected at most 50")


def test_a_file_cut_anywhere_is_refused(path):
    data = zip_of(entries())
    for length in [*range(4, len(data), 7), *range(len(data) - 30, len(data))]:
        refused(path, data[:length], "not a zip")
