"""Generated scenes: a detection data set without a download.

Digits and shapes, rotated and stretched, on textured backgrounds, lighter or darker than what is behind them; no two boxes overlap.
Boxes are exact: the smallest that contain every pixel an object has changed. A data set is a folder in PASCAL VOC's layout.
"""

import math
from pathlib import Path

import numpy as np

from minicnn.data.annotated import BACKGROUND, AnnotatedImage, box_areas
from minicnn.data.digits import check_pillow, digit_font, distorted
from minicnn.data.images import JPEG_QUALITY, import_pillow
from minicnn.data.voc import load_voc
from minicnn.data.voc_xml import xml_text
from minicnn.errors import InputError
from minicnn.files import atomic_folder, cache_folder, make_cache_folder
from minicnn.progress import Progress

SHAPES = ("circle", "square", "triangle")
CLASS_NAMES = (BACKGROUND, *map(str, range(10)), *SHAPES)
SIZE = (160, 120)               # width, height: small enough to train on within minutes
COUNT = 900
SMALLEST, LARGEST = 64, 4096    # pixels of a side
FACTOR = 2                      # objects are drawn larger by this factor, then averaged down
SIDES = (0.18, 0.45)            # range of an object's longer side, relative to the image's shorter side
MOST = 6                        # objects per image
TRIES = 20                      # attempts to place an object without overlap
FAINTEST = 32                   # of 255: pixels covered less stay unchanged, so that every box ends at a visible edge
CONTRAST = 60                   # of 255: least difference in brightness between an object and what is behind it
LUMA = np.array([0.299, 0.587, 0.114])      # ITU-R BT.601
VERSION = 1                     # in the cached folder's name: raise it when the drawing changes


def load_scenes(split, classes=None):
    """Load a split of the built-in scenes, which are generated in the cache folder when they are first used.

    900 images of 160 x 120 pixels, equal on all machines with the same Pillow: 600 in "train", 100 in "val", 200 in "test";
    "trainval" is "train" and "val".

    Args:
        split: one of these names.
        classes: list of str, the class name of each label, ``BACKGROUND`` first; None means ``CLASS_NAMES``.

    Returns:
        annotated: ``minicnn.data.annotated.AnnotatedImages``.

    Raises:
        InputError: an unknown split, a cache folder that cannot be written, or classes that lack one of the scenes'.
    """
    folder = cache_folder() / f"scenes-{VERSION}"
    if not folder.exists():
        try:
            make_cache_folder(folder.parent)
            write_scenes(folder)
        except InputError:
            if not folder.exists():             # else another process has generated them meanwhile
                raise
    return load_voc(folder, split, CLASS_NAMES if classes is None else classes)


def write_scenes(folder: str | Path, size: tuple[int, int] = SIZE, count: int = COUNT, seed: int = 0) -> dict[str, int]:
    """Write a generated data set, whole or not at all.

    Args:
        folder: a new or empty folder.
        size: (width, height) of each image, pixels, 64 to 4096.
        count: number of images, at least 9: two thirds for training, a ninth for validation, two ninths for tests.
        seed: of all random choices; image i depends on the seed and the size, not on the count.

    Returns:
        splits: {name: number of images}.

    Raises:
        InputError: a size or count out of range, or a folder that cannot be written.
    """
    width, height = size
    if min(size) < SMALLEST or max(size) > LARGEST:
        raise InputError(f"got images of {width} x {height}, expected sides of {SMALLEST} to {LARGEST} pixels. Choose another size.")
    if not 9 <= count <= 999_999:
        raise InputError(f"got {count} images, expected 9 to 999999: some for each split. Choose another number.")
    image_module = import_pillow("drawing scenes")
    check_pillow("generated scenes")
    names = [f"{i:06}" for i in range(1, count + 1)]
    first, second = count - count // 9 - 2 * count // 9, count - 2 * count // 9
    splits = {"train": names[:first], "val": names[first:second], "trainval": names[:second], "test": names[second:]}
    with atomic_folder(folder) as root, Progress(count, "scenes") as progress:
        for part in ("JPEGImages", "Annotations", "ImageSets/Main"):
            (root / part).mkdir(parents=True)
        for i, name in enumerate(names):
            image, boxes, labels = make_scene(width, height, 1 + i % (len(CLASS_NAMES) - 1), np.random.default_rng([seed, i]))
            none = np.zeros(len(boxes), bool)
            annotated = AnnotatedImage(name, Path(f"{name}.jpg"), height, width, boxes, labels, none, none, box_areas(boxes))
            image_module.fromarray(image).save(root / "JPEGImages" / annotated.path, quality=JPEG_QUALITY)
            (root / "Annotations" / f"{name}.xml").write_bytes(xml_text(annotated, CLASS_NAMES).encode())
            progress.update(1)
        for split, members in splits.items():
            (root / "ImageSets" / "Main" / f"{split}.txt").write_bytes("".join(f"{name}\n" for name in members).encode())
    return {split: len(members) for split, members in splits.items()}


def make_scene(width, height, label, rng):
    """Draw one image.

    Args:
        width, height: pixels.
        label: of the first object, so that a data set has enough of each class; the others are random.
        rng: numpy.random.Generator.

    Returns:
        image: (H, W, 3) uint8; boxes: (G, 4) float32, whole pixels, continuous coordinates; labels: (G,) int64.
    """
    image, boxes, labels = background(width, height, rng), [], []
    for _ in range(rng.integers(1, MOST + 1)):
        side = round(rng.uniform(*SIDES) * min(width, height))
        cover = draw_object(label, side, rng)
        h, w = cover.shape
        for _ in range(TRIES):
            x, y = int(rng.integers(0, width - w + 1)), int(rng.integers(0, height - h + 1))
            box = (x, y, x + w, y + h)
            if not any(overlap(box, other) for other in boxes):
                paint(image[y:y + h, x:x + w], cover, rng)
                boxes.append(box)
                labels.append(label)
                break
        label = int(rng.integers(1, len(CLASS_NAMES)))
    return image, np.array(boxes, np.float32), np.array(labels, np.int64)


def overlap(a, b):
    """Whether two boxes (x1, y1, x2, y2) share a pixel."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def background(width, height, rng):
    """Draw a texture of two similar colours with noise: (H, W, 3) uint8."""
    y, x = np.mgrid[:height, :width] * (120 / min(width, height))           # the same texture relative to the image's size
    angle, period = rng.uniform(0, math.pi), rng.uniform(8, 40)
    across, along = x * math.cos(angle) + y * math.sin(angle), y * math.cos(angle) - x * math.sin(angle)
    across, along = (values / period - np.floor(values / period) for values in (across, along))
    blotches = smooth_noise(width, height, rng)
    share = (blotches, across < 0.5, (across < 0.5) ^ (along < 0.5), abs(across - 0.5) * 2)[rng.integers(4)]
    colour = rng.uniform(40, 215, 3)
    colour = (colour + colour.mean()) / 2                                          # pale, so that objects stand out
    other = colour + rng.uniform(-45, 45, 3)
    values = colour + share[:, :, None] * (other - colour) + 40 * (blotches[:, :, None] - 0.5) + rng.integers(-8, 9, (height, width, 1))
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


def smooth_noise(width, height, rng):
    """Random numbers on a coarse grid, interpolated smoothly: (H, W) in [0, 1]."""
    from PIL import Image
    grid = Image.fromarray(rng.integers(0, 256, (5, 6), np.uint8))
    return np.asarray(grid.resize((width, height), Image.Resampling.BICUBIC), np.float64) / 255


def draw_object(label, side, rng):
    """Coverage of each pixel by an object: (h, w) uint8, the longer side is ``side``; no edge row or column is empty."""
    from PIL import Image, ImageDraw
    canvas = 3 * FACTOR * side // 2
    image = Image.new("L", (canvas, canvas))
    draw, name = ImageDraw.Draw(image), CLASS_NAMES[label]
    if name in SHAPES:
        draw_shape(draw, name, canvas, rng)
    else:
        font = digit_font(round(0.75 * canvas))
        draw.text((canvas / 2, canvas / 2), name, fill=255, font=font, anchor="mm", stroke_width=round(canvas * rng.uniform(0, 0.04)))
    image = distorted(image, rng)
    image = image.crop(image.getbbox())
    scale = side / max(image.size)
    cover = np.asarray(image.resize([max(4, round(scale * length)) for length in image.size], Image.Resampling.BOX))
    visible = cover >= FAINTEST
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    return (cover * visible)[rows[0]:rows[-1] + 1, columns[0]:columns[-1] + 1]


def draw_shape(draw, name, canvas, rng):
    """Draw a filled circle, square or triangle, rotated at random, in the middle of a square canvas."""
    middle, radius = canvas / 2, 0.33 * canvas
    if name == "circle":
        draw.ellipse([middle - radius, middle - radius, middle + radius, middle + radius], fill=255)
        return
    corners, start = {"square": 4, "triangle": 3}[name], rng.uniform(0, 2 * math.pi)
    angles = [start + 2 * math.pi * corner / corners for corner in range(corners)]
    draw.polygon([(middle + radius * math.cos(angle), middle + radius * math.sin(angle)) for angle in angles], fill=255)


def paint(part, cover, rng):
    """Paint a random colour onto part (h, w, 3) uint8 of an image, in place, with opacity cover (h, w), lighter or darker than it was."""
    brightness = float((part @ LUMA).mean())
    while True:
        colour = rng.integers(0, 256, 3)
        if abs(float(colour @ LUMA) - brightness) >= CONTRAST:
            break
    opaque = cover[:, :, None] / 255
    part[:] = np.rint(part + opaque * (colour - part.astype(np.float64))).astype(np.uint8)
