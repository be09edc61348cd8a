"""MNIST: small IDX files, plain, gzipped and damaged, and the real ones where they are available."""

import gzip
import struct

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn.data import mnist
from minicnn.data.mnist import load_mnist
from minicnn.errors import InputError

NAMES = {(split, kind): f"{prefix}-{kind}-idx{dimensions}-ubyte"
         for split, prefix in (("train", "train"), ("test", "t10k")) for kind, dimensions in (("images", 3), ("labels", 1))}
IMAGES, LABELS = NAMES["test", "images"], NAMES["test", "labels"]


def idx(values):
    """An IDX file's bytes, from its description."""
    header = {3: 0x00000803, 1: 0x00000801}[values.ndim]
    return struct.pack(f">{1 + values.ndim}I", header, *values.shape) + values.astype(np.uint8).tobytes()


def numbers(count, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 28, 28)), np.arange(count) % 10


def write(folder, name, data, gz):
    path = folder / (f"{name}.gz" if gz else name)
    path.write_bytes(gzip.compress(data) if gz else data)
    return path


@pytest.fixture(params=[False, True], ids=["plain", "gz"])
def gz(request):
    return request.param


@pytest.fixture
def folder(tmp_path, gz, monkeypatch):
    """Thirty training images, the last eight of them held out, and twelve test images."""
    monkeypatch.setattr(mnist, "VALIDATION", 8)
    for split, count in (("train", 30), ("test", 12)):
        for kind, values in zip(("images", "labels"), numbers(count, count)):
            write(tmp_path, NAMES[split, kind], idx(values), gz)
    return tmp_path


@pytest.mark.parametrize("split, source, part",
                         [("train", 30, slice(0, 22)), ("validation", 30, slice(22, 30)), ("test", 12, slice(12))])
def test_small_files(folder, split, source, part):
    images, labels = load_mnist(folder, split)
    expected = numbers(source, source)
    assert images.dtype == np.float32 and labels.dtype == np.int64
    assert_array_equal(images, (expected[0][part, None] / 255).astype(np.float32))
    assert_array_equal(labels, expected[1][part])
    assert images.min() >= 0 and images.max() <= 1
    images[0], labels[0] = 0, 0                                 # they are the caller's own


def test_plain_and_gzipped_may_stand_side_by_side(tmp_path):
    images, labels = numbers(3)
    write(tmp_path, IMAGES, idx(images), True)
    write(tmp_path, LABELS, idx(labels), False)
    assert_array_equal(load_mnist(str(tmp_path), "test")[1], labels)


def refused(folder, split, *expected):
    with pytest.raises(InputError) as caught:
        load_mnist(folder, split)
    message = str(caught.value)
    assert "\n" not in message
    for text in (str(folder), *expected):
        assert text in message


@pytest.mark.parametrize("name", [IMAGES, LABELS])
@pytest.mark.parametrize("change, expected", [
    (lambda data: b"\x00\x00\x09\x99" + data[4:], "magic number 2457"),
    (lambda data: data[::-1], "magic number"),
    (lambda data: b"", "got 0 bytes"),
    (lambda data: data[:3], "got 3 bytes"),
    (lambda data: data[:7], "got 7 bytes"),
    (lambda data: data[:-1], "as its header says"),
    (lambda data: data[:len(data) // 2], "bytes of data"),
    (lambda data: data + b"\x00", "got more than"),
    (lambda data: data[:4] + b"\xff" * 4 + data[8:], "4294967295"),
    (lambda data: data[:4] + b"\x00\x10\x00\x00" + data[8:], "1048576"),
])
def test_damaged_files(folder, gz, name, change, expected):
    data = idx(numbers(12)[0 if name == IMAGES else 1])
    path = write(folder, name, change(data), gz)
    refused(folder, "test", expected, path.name)


def test_sizes_that_no_memory_holds(folder, gz):
    write(folder, IMAGES, struct.pack(">4I", 2051, *[2**32 - 1] * 3) + bytes(1000), gz)
    refused(folder, "test", "got 1000 bytes", str((2**32 - 1) ** 3))


def test_labels_in_the_place_of_images(folder, gz):
    write(folder, IMAGES, idx(numbers(12)[1]), gz)
    refused(folder, "test", "magic number 2049", "expected 2051", "images")


def test_images_and_labels_of_different_length(folder, gz):
    write(folder, LABELS, idx(np.zeros(11)), gz)
    refused(folder, "test", "12 images", "11 labels")


@pytest.mark.parametrize("images, labels, expected", [
    (np.zeros((4, 28, 27)), np.zeros(4), "4 x 28 x 27"), (np.zeros((0, 28, 28)), np.zeros(0), "0 x 28 x 28"),
    (np.zeros((4, 28, 28)), np.array([0, 9, 10, 255]), "label 255"),
])
def test_other_data_sets(folder, gz, images, labels, expected):
    write(folder, IMAGES, idx(images), gz)
    write(folder, LABELS, idx(labels), gz)
    refused(folder, "test", expected)


def test_a_training_set_too_small_to_hold_some_out(folder, monkeypatch):
    monkeypatch.setattr(mnist, "VALIDATION", 30)
    for split in ("train", "validation"):
        refused(folder, split, "30 images", "expected more than the 30")


@pytest.mark.parametrize("name", [IMAGES, LABELS])
def test_a_missing_file(folder, gz, name):
    (folder / (f"{name}.gz" if gz else name)).unlink()
    refused(folder, "test", f"{name} or {name}.gz")


@pytest.mark.parametrize("change", [
    lambda data: data[:len(data) // 2], lambda data: data[:-1], lambda data: data[:15], lambda data: b"no gzip at all",
    lambda data: data[:-8] + b"\x00" * 8,                                           # another checksum
    lambda data: data[:12] + bytes(byte ^ 0x55 for byte in data[12:40]) + data[40:],
    lambda data: data + b"garbage behind",
])
def test_a_truncated_or_corrupt_gzip(tmp_path, change):
    images, labels = numbers(12)
    path = write(tmp_path, IMAGES, idx(images), True)
    write(tmp_path, LABELS, idx(labels), True)
    path.write_bytes(change(path.read_bytes()))
    refused(tmp_path, "test", path.name)


def test_the_real_one(mnist_folder):
    splits = {split: load_mnist(mnist_folder, split) for split in ("train", "validation", "test")}
    assert {split: images.shape for split, (images, _) in splits.items()} == {
        "train": (55000, 1, 28, 28), "validation": (5000, 1, 28, 28), "test": (10000, 1, 28, 28)}
    counts = {split: np.bincount(labels, minlength=10) for split, (_, labels) in splits.items()}
    assert_array_equal(counts["train"] + counts["validation"], [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    assert_array_equal(counts["test"], [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    images = splits["train"][0]
    assert images.dtype == np.float32 and images.min() == 0 and images.max() == 1
    assert images.mean(dtype=np.float64) == pytest.approx(0.1307, abs=1e-3)         # MNIST's well-known mean
