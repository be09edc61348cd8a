"""The transform: torchvision's sizes to the pixel, padding, and boxes back to the original."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from minicnn.detection.transform import Transform
from minicnn.errors import InputError

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def transform(min_size=800, max_size=1333):
    return Transform(min_size, max_size, MEAN, STD)


def draw(*size):
    image = np.random.default_rng(0).random((3, *size), np.float32)
    image.flags.writeable = False                       # writing it raises
    return image


@pytest.mark.parametrize("size, at_800, at_600, at_320", [      # torchvision's; 161 and 303 fall one short, nothing is rounded up
    ((480, 640), (800, 1066), (600, 800), (320, 426)),
    ((427, 640), (800, 1199), (600, 899), (320, 479)),
    ((375, 500), (800, 1066), (600, 800), (320, 426)),
    ((1080, 1920), (749, 1333), (562, 1000), (320, 568)),
    ((161, 214), (799, 1063), (600, 797), (320, 425)),
    ((333, 100), (1333, 400), (999, 300), (640, 192)),
    ((303, 500), (800, 1320), (600, 990), (319, 528)),
], ids=str)
def test_sizes_are_torchvisions(size, at_800, at_600, at_320):
    assert transform().size(*size) == at_800
    assert transform(600, 1000).size(*size) == at_600
    assert transform(320, 640).size(*size) == at_320


@pytest.mark.parametrize("limits, short, count_short, long, count_long", [
    ((800, 1333), [97, 161, 167, 193, 194, 195, 199, 289, 305, 322, 334, 335, 337, 369], 85, [149, 153, 298, 306, 311, 317, 329, 596], 91),
    ((600, 1000), [281, 291, 562, 582, 1109, 1124, 1164, 1171, 1187], 9, [19, 38, 61, 76, 87, 93, 99, 103, 121], 351),
    ((320, 640), [77, 154, 303, 308, 319, 581, 606, 616, 623, 638], 22, [77, 154, 303], 55),
], ids=str)
def test_the_sides_that_fall_one_pixel_short_are_torchvisions(limits, short, count_short, long, count_long):
    size = transform(*limits).size
    fallen = [side for side in range(1, 2001) if size(side, side)[0] == limits[0] - 1]
    assert fallen[:len(short)] == short and len(fallen) == count_short
    fallen = [side for side in range(2, 3001) if size(1, side)[1] == limits[1] - 1]
    assert fallen[:len(long)] == long and len(fallen) == count_long


def test_the_scale_is_float64():
    assert transform().size(103, 103) == (800, 800)             # a scale in float32 gives 799


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3000), st.integers(1, 3000), st.integers(1, 1000), st.integers(1, 1500))
def test_a_size_keeps_the_shape_and_the_limits(h, w, min_size, max_size):
    new_h, new_w = transform(min_size, max_size).size(h, w)
    assert 1 <= min(new_h, new_w) <= min_size and max(new_h, new_w) <= max_size
    scale = min(min_size / min(h, w), max_size / max(h, w))
    for new, side in ((new_h, h), (new_w, w)):
        assert abs(new - side * scale) < 1                      # cut off, or raised to one pixel


def test_normalizing_is_float32_to_the_last_bit():
    image = draw(5, 7)
    expected = np.stack([(channel - np.float32(mean)) / np.float32(std) for channel, mean, std in zip(image, MEAN, STD)])
    got = transform().normalize(image)
    assert got.dtype == np.float32
    assert_array_equal(got, expected)


def test_a_image_that_fits_is_not_resized():
    image = draw(32, 64)
    batch = transform(32, 64)([image])
    assert_array_equal(batch.pixels[0], transform().normalize(image))
    assert batch.sizes == batch.original_sizes == [(32, 64)]


def test_a_resized_pixel_is_the_bilinear_mean_of_normalized_ones():
    image = draw(6, 9)
    got = transform(15, 99).resize(transform().normalize(image))
    assert got.shape == (3, 15, 22) and got.dtype == np.float32
    normalized = ((image.astype(float).transpose(1, 2, 0) - MEAN) / STD).transpose(2, 0, 1)
    for i, j in np.ndindex(15, 22):
        y, x = (max((at + 0.5) * n / out - 0.5, 0) for at, n, out in ((i, 6, 15), (j, 9, 22)))
        top, left = math.floor(y), math.floor(x)
        rows, columns = [top, min(top + 1, 5)], [left, min(left + 1, 8)]
        expected = [1 - y + top, y - top] @ normalized[:, rows][:, :, columns] @ [1 - x + left, x - left]
        np.testing.assert_allclose(got[:, i, j], expected, atol=3e-6)


def test_a_batch_is_padded_to_multiples_of_32_with_the_mean_colour():
    batch = transform()([draw(161, 214), draw(100, 300)])
    assert batch.pixels.shape == (2, 3, 800, 1344) and batch.pixels.dtype == np.float32
    assert batch.sizes == [(799, 1063), (444, 1333)] and batch.original_sizes == [(161, 214), (100, 300)]
    for pixels, (h, w) in zip(batch.pixels, batch.sizes):
        assert not pixels[:, h:].any() and not pixels[:, :, w:].any() and pixels[:, h - 1, w - 1].all()


def test_a_image_in_a_batch_has_the_pixels_it_has_alone():
    images = [draw(40, 30), draw(20, 61), draw(33, 33)]
    batch = transform(48, 96)(images)
    for image, pixels, size in zip(images, batch.pixels, batch.sizes):
        alone = transform(48, 96)([image])
        assert alone.sizes == [size]
        assert_array_equal(pixels[:, :size[0], :size[1]], alone.pixels[0, :, :size[0], :size[1]])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 40), st.integers(1, 40)), min_size=1, max_size=3), st.integers(1, 50), st.integers(1, 80))
def test_a_batch_is_as_small_as_it_can_be(sizes, min_size, max_size):
    batch = transform(min_size, max_size)([draw(*size) for size in sizes])
    assert batch.original_sizes == sizes
    for got, sides in zip(batch.pixels.shape[2:], zip(*batch.sizes)):
        assert got % 32 == 0 and 0 <= got - max(sides) < 32


def test_a_image_as_thin_as_a_thread_keeps_a_pixel():
    assert transform().size(1, 10000) == (1, 1333)
    assert transform(64, 100)([draw(1, 10000)]).pixels.shape == (1, 3, 32, 128)


def test_boxes_go_back_by_a_ratio_for_each_axis():
    boxes = np.array([[0, 0, 1066, 800], [533, 400, 1066, 400]], np.float32)
    boxes.flags.writeable = False
    got = Transform.scale_boxes(boxes, (800, 1066), (480, 640))
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [[0, 0, 640, 480], [320, 240, 640, 240]], rtol=1e-6)
    assert_array_equal(got[:, 0::2], boxes[:, 0::2] * (np.float32(640) / np.float32(1066)))     # 0.600375, not 0.6
    assert_array_equal(got[:, 1::2], boxes[:, 1::2] * (np.float32(480) / np.float32(800)))


def test_boxes_are_not_clipped_on_the_way_back():
    got = Transform.scale_boxes(np.array([[0, 0, 800, 800]], np.float32), (800, 800), (107, 107))
    assert got[0, 2] == got[0, 3] == 107.00000762939453


def test_no_boxes_go_back_as_none():
    got = Transform.scale_boxes(np.zeros((0, 4), np.float32), (800, 1066), (480, 640))
    assert got.shape == (0, 4) and got.dtype == np.float32


@pytest.mark.parametrize("image, got", [
    (np.zeros((3, 40, 50), np.uint8), r"an array \(3, 40, 50\) of uint8"), (np.zeros((3, 40, 50), int), r"an array \(3, 40, 50\) of int"),
    (np.zeros((40, 50, 3), np.float32), r"an array \(40, 50, 3\) of float32"), (np.zeros((40, 50), np.float32), r"an array \(40, 50\)"),
    (np.zeros((1, 3, 40, 50), np.float32), r"an array \(1, 3, 40, 50\)"), (np.zeros((3, 0, 50), np.float32), r"an array \(3, 0, 50\)"),
    ([[0.5]], "a list")])
def test_what_is_no_image_of_floats_is_refused(image, got):
    with pytest.raises(InputError, match=rf"^got {got}.* for an image, expected an array \(3, H, W\) of floats in \[0, 1\]. Call detect"):
        transform()([draw(40, 50), image])


@pytest.mark.parametrize("images, got", [
    (draw(8, 9), r"an array \(3, 8, 9\)"), (draw(8, 9)[0], r"an array \(8, 9\)"), (np.float32(1), r"an array \(\)"), (None, "a NoneType"),
    (5, "a int"), ("photo.jpg", "a str")], ids=["image", "plane", "number", "None", "int", "path"])
def test_what_is_no_list_of_images_is_refused(images, got):
    with pytest.raises(InputError, match=rf"^got {got}, expected a list of images, each an array .* Call model\(\[image\]\), or"):
        transform()(images)


def test_a_batch_is_any_series_of_images():
    image = draw(40, 50)
    expected = transform(32, 64)([image, image]).pixels
    for images in ((image, image), np.stack([image, image]), (one for one in (image, image))):
        assert_array_equal(transform(32, 64)(images).pixels, expected)
    with pytest.raises(InputError, match="^got no image, expected at least one"):
        transform()([])
