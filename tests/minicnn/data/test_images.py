"""Images: files, Pillow images and arrays of every kind become RGB; damaged or oversized ones are refused in one line."""

import io
import os
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra import numpy as hnp
from image_checks import noise, refused
from numpy.testing import assert_array_equal
from PIL import Image

from minicnn import InputError
from minicnn.data.images import as_image, as_input, as_values, read_image, read_reduced, write_image
from minicnn.data.reduction import LARGEST, LARGEST_WHOLE, MAX_PIXELS, block_means


@pytest.fixture
def path(tmp_path):
    return tmp_path / "picture"


@pytest.fixture
def stored(path):
    """stored(image, format, **options): write a file with Pillow, and read it with read_image."""
    def stored(image, format="PNG", **options):
        image.save(path, format, **options)
        return read_image(path)
    return stored


# files that Pillow reads

@pytest.mark.parametrize("format", ["PNG", "BMP", "GIF", "TIFF", "WEBP", "PPM", "TGA"])
def test_a_colour_image_is_read_as_it_was_written(stored, format):
    image = noise(5, 7, 3) // 64 * 64                             # 64 colours, which a GIF's palette holds
    options = {"WEBP": {"lossless": True}}.get(format, {})
    got = stored(Image.fromarray(image), format, **options)
    assert got.dtype == np.uint8
    assert_array_equal(got, image)


def test_a_jpeg_is_read_as_pillow_decodes_it(stored, path):
    got = stored(Image.fromarray(noise(40, 30, 3)), "JPEG")
    with Image.open(path) as image:
        assert_array_equal(got, np.asarray(image))


def test_grayscale_has_three_equal_channels(stored):
    grey = noise(5, 7)
    assert_array_equal(stored(Image.fromarray(grey)), np.stack([grey] * 3, axis=2))


def test_one_bit_is_black_and_white(stored):
    bits = noise(5, 9) > 127
    assert_array_equal(stored(Image.fromarray(bits)), 255 * np.stack([bits] * 3, axis=2).astype(np.uint8))


def test_alpha_is_laid_over_white(stored):
    rgba = np.zeros((1, 4, 4), np.uint8)
    rgba[0] = [(10, 20, 30, 255), (10, 20, 30, 0), (0, 0, 0, 128), (100, 200, 50, 51)]
    assert_array_equal(stored(Image.fromarray(rgba))[0], [(10, 20, 30), (255, 255, 255), (127, 127, 127), (224, 244, 214)])
    gray_alpha = Image.fromarray(np.array([[(10, 255), (10, 0), (0, 128)]], np.uint8))
    assert_array_equal(stored(gray_alpha)[0, :, 0], [10, 255, 127])


def test_palettes_and_their_transparency(stored):
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255])
    image.putdata([0, 1, 2])
    assert_array_equal(stored(image)[0], [(255, 0, 0), (0, 255, 0), (0, 0, 255)])
    assert_array_equal(stored(image, transparency=1)[0], [(255, 0, 0), (255, 255, 255), (0, 0, 255)])
    assert_array_equal(stored(image, transparency=bytes([255, 51, 0]))[0], [(255, 0, 0), (204, 255, 204), (255, 255, 255)])
    assert_array_equal(stored(image, "GIF", transparency=0)[0], [(255, 255, 255), (0, 255, 0), (0, 0, 255)])


def test_a_transparent_colour_is_white(stored):
    image = Image.fromarray(np.array([[(1, 2, 3), (4, 5, 6)]], np.uint8))
    assert_array_equal(stored(image, transparency=(4, 5, 6))[0], [(1, 2, 3), (255, 255, 255)])
    assert_array_equal(stored(Image.fromarray(np.array([[1, 4]], np.uint8)), transparency=4)[0, :, 0], [1, 255])


@pytest.mark.parametrize("format, options", [("JPEG", {"quality": 100, "subsampling": 0}), ("TIFF", {})])
def test_cmyk_is_not_inverted(stored, format, options):
    """A JPEG's CMYK is stored inverted, as Adobe does; a TIFF's is not."""
    image = Image.new("CMYK", (8, 8), (255, 0, 0, 0))
    assert np.abs(stored(image, format, **options).astype(int) - (0, 255, 255)).max() <= 3
    image = Image.new("CMYK", (8, 8), (0, 0, 0, 200))
    assert np.abs(stored(image, format, **options).astype(int) - 55).max() <= 3


def test_ycbcr_and_lab_become_rgb(stored):
    image = Image.new("YCbCr", (8, 8), (76, 85, 255))
    assert np.abs(as_image(image).astype(int) - (254, 0, 0)).max() <= 2
    lab = Image.new("LAB", (8, 8), (255, 128, 128))                 # as light as can be, no colour
    assert stored(lab, "TIFF").min() >= 250


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
@pytest.mark.parametrize("brightest", [255, 65535])
def test_16_bits_are_scaled_not_clipped(stored, format, brightest):
    values = np.linspace(0, brightest, 12).astype(np.uint16).reshape(3, 4)
    got = stored(Image.fromarray(values.astype(np.int32), "I").convert("I;16"), format)
    assert_array_equal(got, np.stack([np.rint(values / 257)] * 3, axis=2))


def test_16_bits_of_the_other_byte_order(path):
    path.write_bytes(tiff(np.array([[0, 257, 65535, 1000]], np.uint16)))
    assert_array_equal(read_image(path)[0, :, 0], [0, 1, 255, 4])


def test_16_bits_of_colour_keep_their_high_bytes(path):
    """Pillow's own rule for colour; a PNG made by hand, since Pillow cannot write it."""
    values = np.array([[(0, 0x1234, 0xffff), (0x8080, 0x0100, 0x00ff)]], ">u2")
    path.write_bytes(png(2, 1, 16, 2, b"\0" + values.tobytes()))
    assert_array_equal(read_image(path)[0], [(0, 0x12, 255), (0x80, 1, 0)])


@pytest.mark.parametrize("values, expected", [
    ([0, 0.5, 1], [0, 128, 255]), ([0, 100.4, 255], [0, 100, 255]), ([-3, 1000, 2000], [0, 128, 255]), ([0, 0, 0], [0, 0, 0])])
def test_floats_are_scaled_by_their_range(stored, values, expected):
    got = stored(Image.fromarray(np.array([values], np.float32)), "TIFF")
    assert_array_equal(got[0], np.stack([expected] * 3, axis=1))


def test_32_bit_integers_are_scaled_by_their_range(stored):
    assert_array_equal(stored(Image.fromarray(np.array([[-5, 0, 257, 65535]], np.int32)), "TIFF")[0, :, 1], [0, 0, 1, 255])
    assert_array_equal(stored(Image.fromarray(np.array([[0, 10**6, 2 * 10**6]], np.int32)), "TIFF")[0, :, 2], [0, 128, 255])


def test_floats_that_are_not_finite_are_refused(path):
    Image.fromarray(np.array([[0, np.nan]], np.float32)).save(path, "TIFF")
    refused(path, "NaN")


@pytest.mark.parametrize("format", ["GIF", "TIFF", "PNG", "WEBP"])
def test_of_several_frames_the_first_is_read(stored, format):
    frames = [Image.new("RGB", (6, 4), colour) for colour in ("red", "blue", "lime")]
    got = stored(frames[0], format, save_all=True, append_images=frames[1:], **{"WEBP": {"lossless": True}}.get(format, {}))
    assert_array_equal(got, np.broadcast_to((255, 0, 0), (4, 6, 3)))


@pytest.mark.parametrize("orientation, turn", [
    (1, lambda a: a), (2, lambda a: a[:, ::-1]), (3, lambda a: a[::-1, ::-1]), (4, lambda a: a[::-1]),
    (5, lambda a: a.transpose(1, 0, 2)), (6, lambda a: np.rot90(a, -1)), (7, lambda a: a[::-1, ::-1].transpose(1, 0, 2)),
    (8, lambda a: np.rot90(a)), (0, lambda a: a), (9, lambda a: a)])
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_exif_orientation_turns_the_image_upright(stored, format, orientation, turn):
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = noise(3, 5, 3)
    options = {"WEBP": {"lossless": True}}.get(format, {})
    assert_array_equal(stored(Image.fromarray(image), format, exif=exif, **options), turn(image))


def test_exif_orientation_of_a_jpeg_and_of_16_bits(stored, path):
    exif = Image.Exif()
    exif[0x0112] = 6
    got = stored(Image.fromarray(noise(40, 30, 3)), "JPEG", exif=exif)
    with Image.open(path) as image:
        assert_array_equal(got, np.rot90(np.asarray(image), -1))
    values = np.array([[0, 257, 514]], np.int32)
    got = stored(Image.fromarray(values).convert("I;16"), exif=exif)
    assert_array_equal(got[:, 0, 0], [0, 1, 2])


@pytest.mark.parametrize("exif", [b"Exif\0\0rubbish!", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0",
                                  b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x02\xff\xff\xff\xff"])
def test_damaged_exif_does_not_cost_the_image(stored, exif):
    assert stored(Image.fromarray(noise(40, 30, 3)), "JPEG", exif=exif).shape == (40, 30, 3)


# Pillow that is not installed

def test_without_pillow_one_line_says_what_to_install(path, monkeypatch):
    write_image(path.with_suffix(".png"), noise(3, 4, 3))
    monkeypatch.setitem(sys.modules, "PIL", None)
    refused(path.with_suffix(".png"), "pip install pillow", "PPM", str(path))
    refused(path.with_suffix(".jpg"), "pip install pillow", function=lambda path: write_image(path, noise(3, 4, 3)))
    write_image(path.with_suffix(".ppm"), noise(3, 4, 3))
    assert_array_equal(read_image(path.with_suffix(".ppm")), noise(3, 4, 3))


# files that are no images

def test_files_that_are_no_images(path, tmp_path):
    refused(tmp_path / "none.jpg", "none.jpg", "does not exist")
    refused(tmp_path, str(tmp_path), "folder")
    refused("", "does not exist")
    refused("a\0b", "does not exist")
    refused("x" * 5000, "does not exist", function=lambda path: read_image(path[:9]))
    (tmp_path / "link.jpg").symlink_to("card/1.jpg")
    refused(tmp_path / "link.jpg", "link.jpg", "a link to card/1.jpg, which does not exist")
    os.mkfifo(tmp_path / "pipe.png")                                # opening it would wait for a writer
    refused(tmp_path / "pipe.png", "no regular file")
    for data, expected in ((b"", "empty"), (b"hello", "not recognise"), (b"<html>", "not recognise"), (bytes(1000), "not recognise"),
                           (b"\xff\xd8\xff", "not recognise"), (b"\x89PNG\r\n\x1a\n", "")):
        path.write_bytes(data)
        refused(path, str(path), expected)


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_that_may_not_be_read(path):
    path.write_bytes(b"x")
    path.chmod(0)
    refused(path, str(path), "Permission denied")


FORMATS = [("JPEG", {}), ("PNG", {}), ("GIF", {}), ("BMP", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_adobe_deflate"}), ("WEBP", {}),
           ("TGA", {}), ("ICO", {}), ("JPEG2000", {}), ("PPM", {})]


@pytest.mark.parametrize("format, options", FORMATS)
def test_truncated_files_are_refused_or_read_and_nothing_else_is_said(path, capfd, format, options):
    """Wherever the file ends: it is refused, or read in the right size."""
    stream = io.BytesIO()
    Image.fromarray(noise(32, 32, 3)).save(stream, format, **options)
    data = stream.getvalue()
    refusals = 0
    for length in np.linspace(0, len(data) - 1, 25).astype(int):
        path.write_bytes(data[:length])
        try:
            assert read_image(path).shape == (32, 32, 3)
        except InputError as error:
            assert str(path) in str(error) and "\n" not in str(error)
            refusals += 1
    assert refusals >= 20
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("format, options", FORMATS)
def test_damaged_files_are_refused_or_read(path, capfd, format, options):
    rng = np.random.default_rng(1)
    stream = io.BytesIO()
    Image.fromarray(noise(32, 32, 3)).save(stream, format, **options)
    for _ in range(40):
        data = bytearray(stream.getvalue())
        for place in rng.integers(0, min(len(data), 400), 6):
            data[place] = rng.integers(256)
        path.write_bytes(data)
        try:
            image = read_image(path)
        except InputError as error:
            assert "\n" not in str(error)
        else:
            assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3
    if not options:                                                 # libtiff itself writes a line for damaged compressed data
        assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("suffix, kind", [(".heic", "an image in HEIC"), (".JXL", "an image in JXL"), (".raf", "a camera's raw file")])
def test_files_of_cameras_that_pillow_cannot_read_are_named_as_what_they_are(path, suffix, kind):
    path = path.with_suffix(suffix)
    path.write_bytes(b"\0\0\0\x18ftyp" + noise(1000).tobytes())
    refused(path, str(path), kind, "Convert it to JPEG")
    Image.fromarray(noise(40, 30, 3)).save(path, "JPEG")            # which a telephone may send under its old name
    assert read_image(path).shape == (40, 30, 3)


@pytest.mark.parametrize("suffix", [".dng", ".NEF", ".cr2"])
def test_the_preview_in_a_raw_file_is_not_taken_for_the_image(path, suffix):
    """A raw file is a TIFF whose first image is often a preview of 160 x 120."""
    path = path.with_suffix(suffix)
    Image.fromarray(noise(120, 160, 3)).save(path, "TIFF")
    refused(path, str(path), "a camera's raw file")


def png(width, height, bits, colour, data):
    """A PNG made by hand."""
    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def tiff(values):
    """A grayscale TIFF of 16 bits, the most significant byte first, made by hand."""
    height, width = values.shape
    entries = ((256, width), (257, height), (258, 16), (259, 1), (262, 1), (273, 8), (277, 1), (278, height), (279, values.nbytes))
    directory = struct.pack(">H", len(entries)) + b"".join(struct.pack(">HHIHxx", tag, 3, 1, value) for tag, value in entries)
    return struct.pack(">2sHI", b"MM", 42, 8 + values.nbytes) + values.astype(">u2").tobytes() + directory + bytes(4)


@pytest.mark.parametrize("width, height", [(10000, 5001), (9500, 9500), (14000, 14000), (60000, 60000), (2**31 - 1, 2**31 - 1)])
def test_oversized_images_are_refused_by_their_header(path, width, height):
    """Pillow's own limit is above ours: it would only warn of the second size, and raise its own error for the others."""
    path.write_bytes(png(width, height, 8, 0, b""))
    refused(path, str(path), str(MAX_PIXELS))


def test_the_largest_image_is_read(monkeypatch, path):
    monkeypatch.setattr("minicnn.data.images.MAX_PIXELS", 12)
    write_image(path.with_suffix(".png"), noise(3, 4, 3))
    assert read_image(path.with_suffix(".png")).shape == (3, 4, 3)
    write_image(path.with_suffix(".png"), noise(1, 13, 3))
    refused(path.with_suffix(".png"), "13 x 1")


# large files: the limits are lowered, so that small ones are large

@pytest.fixture
def low_limits(monkeypatch):
    """Images of more than 130 pixels are reduced; of more than 1000 refused, or 4000 where they are decoded in parts."""
    for name, value in (("MAX_PIXELS", 130), ("LARGEST_WHOLE", 1000), ("LARGEST", 4000)):
        for module in ("reduction", "array_files", "images"):
            monkeypatch.setattr(f"minicnn.data.{module}.{name}", value, raising=module == "reduction")
    monkeypatch.setattr("minicnn.data.reduction.STRIP", 40)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "BMP", "WEBP", "PPM", "GIF"])
def test_a_large_file_is_read_as_the_means_of_blocks(low_limits, path, format):
    image = noise(19, 25, 3) // 64 * 64
    Image.fromarray(image).save(path, format, **{"WEBP": {"lossless": True}}.get(format, {}))
    values, height, width, reduced = read_reduced(path)
    assert (height, width, reduced) == (19, 25, 2)
    assert_array_equal(values, block_means(image, 2))
    refused(path, "25 x 19", "at most 130")                         # where the caller would take the pixels for the file's
    refused(path, "25 x 19", "at most 130", function=as_values)


def test_up_to_the_limit_reading_stays_as_it_is(low_limits, path):
    Image.fromarray(noise(10, 12, 3)).save(path, "PNG")
    read = read_reduced(path)
    assert read[1:] == (10, 12, 1)
    assert_array_equal(read.values, as_values(path))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_large_jpeg_is_decoded_reduced(low_limits, path, monkeypatch, progressive):
    slope = np.broadcast_to(np.arange(0, 240, 8, dtype=np.uint8)[:, None, None], (30, 31, 3))
    Image.fromarray(slope).save(path, "JPEG", quality=95, progressive=progressive)
    monkeypatch.setattr("minicnn.data.images.reduce_strips", lambda *args: pytest.fail("decoded at full size"))
    values, height, width, reduced = read_reduced(path)
    assert (height, width, reduced) == (30, 31, 4) and values.shape == (8, 8, 3)
    assert np.abs(values[:7].astype(float) - block_means(slope, 4)[:7]).max() <= 6


def test_a_jpeg_may_be_larger_where_it_is_decoded_in_parts(low_limits, path):
    image = Image.fromarray(noise(50, 60, 3))
    image.save(path, "JPEG")
    assert read_reduced(path)[1:] == (50, 60, 8)
    image.save(path, "JPEG", progressive=True)
    refused(path, "60 x 50", "at most 1000", function=read_reduced)
    Image.fromarray(noise(70, 60, 3)).save(path, "JPEG")
    refused(path, "60 x 70", "at most 4000", function=read_reduced)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_a_large_file_is_turned_upright_too(low_limits, path, orientation, format):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(noise(16, 28, 3)).save(path, format, exif=exif)
    values, height, width, reduced = read_reduced(path)
    assert (height, width, reduced) == ((28, 16, 2) if orientation >= 5 else (16, 28, 2))
    Image.fromarray(block_means(noise(16, 28, 3), 2)).save(path, format, exif=exif)
    assert_array_equal(values, as_values(path))


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "I;16", "I", "F"])
def test_every_kind_of_pixels_is_reduced_after_it_became_rgb(low_limits, monkeypatch, path, mode):
    grey = np.kron(noise(8, 10), np.ones((2, 2), np.uint8))
    image = {"I;16": lambda: Image.fromarray(grey.astype(np.int32) * 257, "I").convert("I;16"),
             "I": lambda: Image.fromarray(grey.astype(np.int32) * 257), "F": lambda: Image.fromarray(grey / np.float32(255)),
             "LA": lambda: Image.fromarray(np.stack([grey, 255 - grey], axis=2))}.get(mode, lambda: Image.fromarray(grey).convert(mode))()
    image.save(path, "PNG" if mode in ("LA", "P", "RGBA") else "TIFF")
    values = read_reduced(path).values
    monkeypatch.setattr("minicnn.data.images.MAX_PIXELS", 400)
    monkeypatch.setattr("minicnn.data.reduction.MAX_PIXELS", 400)
    assert np.abs(values.astype(int) - block_means(as_values(path), 2)).max() <= (1 if mode in ("I", "F") else 0)


def test_large_arrays_on_disk_are_reduced_without_pillow(low_limits, path, monkeypatch):
    monkeypatch.setitem(sys.modules, "PIL", None)
    floats = noise(19, 25, 3).astype(np.float32) / 255
    for array, expected in ((noise(19, 25, 3), block_means(noise(19, 25, 3), 2)), (floats, block_means(floats, 2)),
                            (floats.transpose(2, 0, 1), block_means(floats, 2)), (np.asfortranarray(floats), block_means(floats, 2)),
                            (noise(19, 25), np.repeat(block_means(noise(19, 25)[:, :, None], 2), 3, axis=2)),
                            ((noise(19, 25) > 99), block_means(255 * np.stack([noise(19, 25) > 99] * 3, axis=2).astype(np.uint8), 2))):
        np.save(path.with_suffix(".npy"), array)
        values, *size = read_reduced(path.with_suffix(".npy"))
        assert size == [19, 25, 2] and values.dtype == expected.dtype
        assert_array_equal(values, expected)
    path.write_bytes(b"P6 25 19 1000\n" + np.full((19, 25, 3), 500, ">u2").tobytes())
    assert_array_equal(read_reduced(path).values, np.full((10, 13, 3), 128))
    path.write_bytes(b"P6 25 19 255\n" + bytes(19 * 25 * 3 - 1))
    refused(path, "1424 bytes", "1425", function=read_reduced)


def test_a_callers_pillow_image_is_reduced_and_stays_as_it_is(low_limits, path):
    Image.fromarray(noise(19, 25, 3)).save(path, "JPEG")
    with Image.open(path) as image:
        values, *size = read_reduced(image)
        assert size == [19, 25, 2] and image.size == (25, 19)
        assert_array_equal(values, block_means(np.asarray(image), 2))


@pytest.mark.parametrize("width, height", [(60000, 60000), (16000, 15626), (2**31 - 1, 2**31 - 1)])
def test_a_png_that_would_fill_the_memory_is_refused_by_its_header(path, width, height):
    path.write_bytes(png(width, height, 8, 0, b""))
    refused(path, str(path), str(LARGEST_WHOLE), function=read_reduced)


def test_pillows_own_limit_is_lifted_while_a_file_is_opened_and_no_longer(path):
    path.write_bytes(png(15000, 13000, 1, 0, b""))                  # 195 million, which Pillow refuses; too short to be decoded
    before = Image.MAX_IMAGE_PIXELS
    assert "cannot be decoded" in refused(path, function=read_reduced)
    path.write_bytes(b"no image")
    refused(path, function=read_reduced)
    assert before == Image.MAX_IMAGE_PIXELS and LARGEST > LARGEST_WHOLE > MAX_PIXELS


def test_postscript_is_not_run(path):
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF\n")
    refused(path, "PostScript")


# values

def test_input_divides_bytes_as_torchvision():
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    x = as_input(levels)
    assert x.dtype == np.float32 and x.shape == (3, 16, 16) and x.flags.c_contiguous
    assert_array_equal(x[1].ravel(), np.array([np.float32(level) / np.float32(255) for level in range(256)]))


def test_floats_are_taken_as_they_are():
    x = np.random.default_rng(0).random((3, 5, 7), np.float32)
    assert_array_equal(as_input(x), x)
    assert_array_equal(as_input(x.transpose(1, 2, 0)), x)
    assert_array_equal(as_input(x[0]), np.stack([x[0]] * 3))
    assert_array_equal(as_input(x.astype(np.float64)), x)
    assert as_input(x.astype(np.float16)).dtype == np.float32


def test_uint16_and_bool_are_scaled():
    assert_array_equal(as_input(np.array([[0, 13107, 65535]], np.uint16))[0, 0], np.array([0, 0.2, 1], np.float32))
    assert_array_equal(as_input(np.array([[False, True]]))[2, 0], [0, 1])


@pytest.mark.parametrize("shape, expected", [((3, 5, 7), (5, 7)), ((3, 5, 3), (3, 5)), ((3, 5, 4), (3, 5)), ((3, 5, 1), (3, 5)),
                                             ((1, 1), (1, 1)), ((1, 1, 3), (1, 1)), ((9, 2, 4), (9, 2))])
def test_which_side_is_the_channels(shape, expected):
    for values in (noise(*shape), noise(*shape) / 255):
        assert as_image(values).shape == (*expected, 3)
        assert as_input(values).shape == (3, *expected)


def test_floats_with_alpha_are_laid_over_white():
    got = as_input(np.array([[(0.5, 0.25, 0, 1), (0.5, 0.25, 0, 0), (0, 0, 0, 0.25)]]))
    assert_array_equal(got.transpose(1, 2, 0)[0], [(0.5, 0.25, 0), (1, 1, 1), (0.75, 0.75, 0.75)])


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.uint8, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6)))
def test_bytes_come_back_from_floats(image):
    assert_array_equal(as_image(as_values(image) / np.float32(255)), as_image(image))


def test_a_pillow_image_is_taken_as_its_pixels_lie():
    image = Image.fromarray(noise(3, 5, 3))
    image.getexif()[0x0112] = 6
    assert_array_equal(as_image(image), noise(3, 5, 3))
    assert_array_equal(as_input(image.convert("L")), as_input(np.asarray(image.convert("L"))))
    assert_array_equal(as_image(Image.new("RGBA", (2, 2), (0, 0, 0, 0))), np.full((2, 2, 3), 255))


def test_a_damaged_pillow_image_is_refused(path):
    Image.fromarray(noise(32, 32, 3)).save(path, "PNG")
    path.write_bytes(path.read_bytes()[:1000])
    with Image.open(path) as image:
        refused(image, "truncated", function=as_image)


class Tensor:
    """Another library's array, such as torch's."""

    def __array__(self, dtype=None, copy=None):
        return noise(3, 5, 7) / 255


def test_other_libraries_arrays_are_arrays():
    assert_array_equal(as_input(Tensor()), as_input(noise(3, 5, 7) / 255))


@pytest.mark.parametrize("value, expected", [
    (noise(3, 5) * 1.0, "divide by 255"), (np.full((3, 5), np.nan), "nan"), (np.full((3, 5), np.inf), "inf"),
    (np.full((3, 5), -0.1), "-0.1"), (noise(3, 5).astype(int), "int64"), (noise(3, 5).astype(np.int16), "int16"), (noise(5), "(5,)"),
    (noise(2, 3, 5, 3), "list"), (noise(2, 5, 7), "(2, 5, 7)"), (noise(5, 7, 2), "(5, 7, 2)"), (np.zeros((0, 5, 3)), "pixels"),
    (np.zeros((3, 5, 0), np.uint8), "pixels"),
    (np.zeros((3, 5), object), "object"), (np.zeros((3, 5), "U1"), "U1"), (np.zeros((3, 5), complex), "complex"),
    ([[1, 2], [3, 4]], "list"), (None, "NoneType"), (b"a.jpg", "bytes"), (7, "int")])
def test_values_that_are_no_image(value, expected):
    refused(value, expected, function=as_input)
    refused(value, expected, function=as_image)


# writing

@pytest.mark.parametrize("suffix", [".png", ".PNG", ".ppm"])
def test_writing_without_loss(path, suffix):
    path = path.with_suffix(suffix)
    for image in (noise(3, 5, 3), noise(3, 5), noise(7, 5, 3)[::2, ::-1], noise(3, 5) / 255):
        write_image(path, image)
        assert_array_equal(read_image(path), as_image(image))


@pytest.mark.parametrize("suffix", [".jpg", ".JPEG"])
def test_writing_a_jpeg_of_good_quality(path, suffix):
    slope = np.broadcast_to(np.arange(0, 240, 2, dtype=np.uint8)[:, None, None], (120, 100, 3))
    path = path.with_suffix(suffix)
    write_image(path, slope)
    assert np.abs(read_image(path).astype(int) - slope).max() <= 4
    assert path.read_bytes()[:3] == b"\xff\xd8\xff"


def test_places_where_no_image_can_be_written(path, tmp_path):
    for target, expected in ((path.with_suffix(".bmp"), ".png"), (path, ".png"), (tmp_path / "none" / "x.png", "none"),
                             (tmp_path / "none" / "x.ppm", "none")):
        refused(target, str(target), expected, function=lambda target: write_image(target, noise(3, 5, 3)))
    assert not list(tmp_path.iterdir())


def test_an_interrupted_write_leaves_the_old_file(path, monkeypatch):
    path = path.with_suffix(".png")
    write_image(path, noise(3, 5, 3))

    def fail(self, file, **options):
        file.write(b"half")
        raise KeyboardInterrupt
    monkeypatch.setattr(Image.Image, "save", fail)
    with pytest.raises(KeyboardInterrupt):
        write_image(path, noise(30, 50, 3))
    assert_array_equal(read_image(path), noise(3, 5, 3))
    assert list(path.parent.iterdir()) == [path]


def test_pillows_warnings_do_not_leak_and_stay_as_they_were():
    before = list(warnings.filters)
    as_image(Image.new("P", (2, 2)))
    assert warnings.filters == before


class GradientTensor:
    """As torch's that needs a gradient: it says that it is an array, and refuses to become one."""

    shape, ndim = (4, 6, 3), 3

    def __array__(self, *args, **kwargs):
        raise RuntimeError("Can't call numpy() on Tensor that requires grad. Use tensor.detach().numpy() instead.")


@pytest.mark.parametrize("convert", [as_values, as_image, as_input, read_reduced])
def test_what_numpy_cannot_read_is_refused_with_its_reason(convert):
    with pytest.raises(InputError, match=r"^got a GradientTensor that NumPy cannot read \(Can't call .*\), expected an array\. Convert it"):
        convert(GradientTensor())


@pytest.mark.parity
def test_tensors_of_torch_are_images_or_refused():
    torch = pytest.importorskip("torch")
    plain = torch.rand(3, 4, 6)
    assert_array_equal(as_input(plain), plain.numpy())
    for tensor in (plain.clone().requires_grad_(), plain.bfloat16(), plain.to_sparse(), torch.empty(3, 4, 6, device="meta")):
        with pytest.raises(InputError, match="^got a Tensor that NumPy cannot read"):
            as_input(tensor)
    assert_array_equal(as_input(plain.clone().requires_grad_().detach().cpu().float().numpy()), plain.numpy())     # as the message says
