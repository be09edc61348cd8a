"""Files that NumPy reads alone, binary PPM and PGM and .npy: pixels as they were written, and damaged headers refused."""

import os
import struct
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from image_checks import noise, refused
from numpy.testing import assert_array_equal
from PIL import Image

from minicnn.data.images import MAX_PIXELS, as_image, as_input, read_image, write_image


@pytest.fixture
def path(tmp_path):
    return tmp_path / "image"


@pytest.fixture
def no_pillow(monkeypatch):
    """Make Pillow impossible to import."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "PIL"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "PIL", None)


@pytest.mark.parametrize("magic, shape", [(b"P6", (2, 3, 3)), (b"P5", (2, 3))])
@pytest.mark.parametrize("header", [b"%s\n3 2\n255\n", b"%s 3 2 255 ", b"%s\r\n3\t2\r255\t", b"%s\n# by hand # 9\n3 # wide\n2\n#\n\n255\n",
                                    b"%s#x\n3 2\n255\n"])
def test_netpbm(path, no_pillow, magic, shape, header):
    values = noise(*shape)
    path.write_bytes(header % magic + values.tobytes() + b"what follows is another image's")
    expected = values if values.ndim == 3 else np.stack([values] * 3, axis=2)
    assert_array_equal(read_image(path), expected)


@pytest.mark.parametrize("white, values, expected", [
    (65535, [0, 257, 128, 129, 65535], [0, 1, 0, 1, 255]), (1023, [0, 1023, 512, 2000, 1], [0, 255, 128, 255, 0]),
    (1, [0, 1, 1, 0, 9], [0, 255, 255, 0, 255]), (100, [0, 50, 100, 101, 1], [0, 128, 255, 255, 3]),
    (256, [0, 256, 128, 1, 2], [0, 255, 128, 1, 2])])
def test_netpbm_of_other_maxima(path, no_pillow, white, values, expected):
    path.write_bytes(b"P5 5 1 %d\n" % white + np.array(values, np.uint8 if white < 256 else ">u2").tobytes())
    assert_array_equal(read_image(path)[0, :, 0], expected)


@pytest.mark.parametrize("data, expected", [
    (b"P6 2 2 255\n" + bytes(11), "got 11 bytes"), (b"P6 2 2 255", "header"), (b"P6\n", "header"), (b"P6 2 -2 255\n", "header"),
    (b"P5 0 2 255\n", "0 x 2"), (b"P5 2 2 0\n", "up to 0"), (b"P5 2 2 70000\n" + bytes(8), "70000"),
    (b"P6 999999999 999999999 255\n", str(MAX_PIXELS)), (b"P6 99999999999999999999 2 255\n", "header"),
    (b"P6 10000 5001 255\n", str(MAX_PIXELS)),
    (b"P5 #" + bytes(100000), "header"), (b"P6 2 2 65535\n" + bytes(23), "got 23 bytes")])
def test_damaged_netpbm(path, data, expected):
    path.write_bytes(data)
    refused(path, str(path), expected)


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_ppm_round_trip(tmp_path_factory, image):
    path = tmp_path_factory.getbasetemp() / "round.ppm"
    write_image(path, image)
    assert_array_equal(read_image(path), image)
    with Image.open(path) as opened:
        assert_array_equal(np.asarray(opened), image)


@pytest.mark.parametrize("values", [
    noise(4, 5, 3), noise(4, 5), noise(4, 5, 1), noise(4, 5, 4), noise(4, 5) > 99, noise(4, 5).astype(np.uint16) * 257,
    noise(4, 5).astype(">u2"),
    noise(4, 5, 3) / 255, (noise(3, 4, 5) / 255).astype(np.float32), np.asfortranarray(noise(4, 5, 3) / 255).astype(np.float16)],
    ids=lambda values: f"{values.shape}{values.dtype}")
def test_npy_is_as_its_array(path, no_pillow, values):
    with open(path, "wb") as file:
        np.save(file, values)
    assert_array_equal(as_input(path), as_input(values))
    assert_array_equal(read_image(path), as_image(values))


class Bomb:
    """Runs when it is unpickled."""

    def __reduce__(self):
        return os.system, ("echo unpickled > unpickled",)


def npy(shape, dtype, data=b"", version=1):
    """A .npy file of any header."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': False, 'shape': {shape!r}, }}\n".encode()
    return b"\x93NUMPY" + bytes([version, 0]) + struct.pack("<H" if version == 1 else "<I", len(text)) + text + data


@pytest.mark.parametrize("data, expected", [
    (npy((4, 5, 3), "|u1", bytes(59)), "59 bytes"), (npy((4, 5, 3), "|u1", bytes(61)), "61 bytes"),
    (npy((4, 5), "|O", bytes(160)), "object"), (npy((4, 5), "<i8", bytes(160)), "int64"),
    (npy((4, 5), "<c8", bytes(160)), "complex64"), (npy((4, 5), "<U1", bytes(80)), "<U1"),
    (npy((2**31, 2**31), "|u1"), str(MAX_PIXELS)), (npy((-4, -5), "|u1", bytes(20)), "(-4, -5)"), (npy((4, 0, 3), "|u1"), "pixels"),
    (npy((20,), "|u1", bytes(20)), "(20,)"), (npy((2, 4, 5, 3), "|u1", bytes(120)), "(2, 4, 5, 3)"),
    (npy((4, 5), "|u1", bytes(20), 3), "header"),
    (npy((4, 5), "__import__('os')", bytes(20)), "header"), (b"\x93NUMPY", "header"), (b"\x93NUMPY\x01\x00\xff\xff{", "header"),
    (npy((4, 5), "<f4", struct.pack("<20f", *[200] * 20)), "divide by 255")])
def test_damaged_npy(path, data, expected):
    path.write_bytes(data)
    refused(path, str(path), expected)


def test_a_pickle_in_npy_is_not_run(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with open(path, "wb") as file:
        np.save(file, np.array([[Bomb()] * 2] * 2), allow_pickle=True)
    refused(path, "object")
    assert not (tmp_path / "unpickled").exists()
