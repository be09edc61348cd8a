"""Data sets in COCO's layout: one JSON file per split.

The file is ``annotations/instances_SPLIT.json``, plain or gzipped; its images are in a folder SPLIT, images/SPLIT or images, or at the
root. They are not opened here.

Reference: Lin et al., Microsoft COCO: common objects in context (2014), https://cocodataset.org/#format-data.
"""

import gzip
import json
import math
import os
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from minicnn.data.annotated import (
    BACKGROUND,
    BAD_BOX,
    CLIPPED,
    EXCESS,
    SPELLING,
    AnnotatedImage,
    AnnotatedImages,
    check_classes,
    is_class_name,
    is_plain,
    label_of,
    label_table,
    shown,
)
from minicnn.data.plain_values import flag, integer, number
from minicnn.data.reduction import LARGEST
from minicnn.errors import InputError

LONGEST_JSON = 2**30            # bytes, unpacked; instances_train2017.json, the largest of COCO's own, has 0.45e9
ROUNDING = 0.02                 # pixels; x and width are rounded to two decimals, so that their sum may exceed the image slightly
KEYS = ("images", "annotations", "categories")
ROBOFLOW = "_annotations.coco.json"
INTEGERS = {"images": ("id", "height", "width"), "annotations": ("id", "image_id", "category_id"), "categories": ("id",)}
BAD_IMAGE = "image without a valid id, file name or size"


def is_coco(folder):
    """Whether a folder has COCO's layout, or Roboflow's: a file ``_annotations.coco.json`` beside the images of each split."""
    return any(any(Path(folder).glob(pattern)) for pattern in ("annotations/instances_*.json*", ROBOFLOW, f"*/{ROBOFLOW}"))


def is_coco_file(source):
    """Whether the source is a ``.json`` or ``.json.gz`` file, which is one split by itself, or Roboflow's folder of one split."""
    path = Path(source)
    return path.name.endswith((".json", ".json.gz")) and path.is_file() or (path / ROBOFLOW).is_file()


def load_coco(source, split, classes=None):
    """Read one split's annotations.

    Skipped, with a line in ``problems`` for each, are boxes that are empty, not within their image, or of an unknown image or
    category, and images without a valid size and file name. An image's name is its id, as in COCO's result files.

    Args:
        source: the folder that contains ``annotations``; or a ``.json`` or ``.json.gz`` file, for which ``split`` has no effect, and
            whose images are beside it or, if it is in a folder ``annotations``, as above.
        split: such as "val2017".
        classes: list of str, the class name of each label, ``BACKGROUND`` first. None takes the file's categories by ascending id, as
            labels 1, 2, ... without gaps.

    Returns:
        annotated: ``AnnotatedImages``; COCO's crowds are difficult as well.

    Raises:
        InputError: the file does not exist, is not in COCO's format, has no images, has an image outside the folder, or an object of
            a class that is not among ``classes``.
    """
    path = find_json(Path(source), split)
    document, data = read_json(path), AnnotatedImages([], [])
    plain_integers(document, data)
    leave_out_root(document, data)
    data.category_ids = categories = read_categories(document, path)
    data.class_names = [BACKGROUND, *categories.values()] if classes is None else check_classes(classes)
    (folder, root), sizes = image_folder(path), read_images(document, path, data)
    if not sizes:
        first = f" ({data.problems[0]})" if data.problems else ""
        raise InputError(f"got {path} without images{first}, expected some. Choose another file.")
    objects = read_objects(document, path, sizes, categories, data)
    data.images = [annotated(key, find_file(folder, root, file), height, width, objects[key])
                   for key, (file, height, width) in sizes.items()]
    return data


def annotated(key, path, height, width, objects):
    """The ``AnnotatedImage`` with these objects, (label, box, area, crowd) each."""
    labels, boxes, areas, crowd = zip(*objects) if objects else ((), (), (), ())
    crowd = np.array(crowd, bool)
    return AnnotatedImage(str(key), path, height, width, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64),
                          crowd.copy(), crowd, np.array(areas, np.float64))


def find_json(source, split):
    """The JSON file of a split."""
    if not source.is_dir():
        return source
    if (source / ROBOFLOW).is_file():
        return source / ROBOFLOW
    folder = source / "annotations"
    paths = [*(folder / f"instances_{split}{suffix}" for suffix in (".json", ".json.gz")), source / str(split) / ROBOFLOW]
    found = next((path for path in paths if is_plain(str(split)) and path.is_file()), None)
    if found is None:
        existing = {*map(split_of, folder.glob("instances_*.json*")), *(path.parent.name for path in source.glob(f"*/{ROBOFLOW}"))}
        raise InputError(f"got the split {shown(split)}, expected a file instances_SPLIT.json in {folder} "
                         f"({', '.join(sorted(existing)[:20]) or 'there is none'}). Choose one.")
    return found


def split_of(path):
    """instances_val2017.json.gz -> val2017"""
    return path.name.partition(".json")[0].removeprefix("instances_")


def find_file(folder, root, file):
    """The path of a ``file_name``: in the images' folder, else from the root on; its folders may be separated as on Windows."""
    path = folder / file
    if set("/\\") & set(file) and not os.path.lexists(path):
        file = file.replace("\\", "/")
        path = next((parent / file for parent in (folder, root) if os.path.lexists(parent / file)), folder / file)
    return path


def image_folder(path):
    """The folder of a JSON file's images, and the root of the data set."""
    root, split = path.absolute().parent, split_of(path)
    if root.name == "annotations":
        root = root.parent
    return next((folder for folder in (root / split, root / "images" / split, root / "images") if folder.is_dir()), root), root


def read_json(path):
    """The object in a JSON file, checked to have the lists ``KEYS``."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            data = file.read(LONGEST_JSON + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"got {path}, which cannot be read ({reason}), expected COCO's JSON. Check the file.") from error
    if len(data) > LONGEST_JSON:
        raise InputError(f"got {path} of more than {LONGEST_JSON} bytes, expected at most that. Split it.")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"got {path}, which is not JSON ({str(error)[:100]}), expected COCO's. Download it again.") from error
    for key in KEYS:
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise InputError(f"got {path} without a list {key!r}, expected COCO's {', '.join(KEYS)}. Give a file of instances.")
    return document


def plain_integers(document, data):
    """Make integers of those that are written as text or with a decimal point, in place; ``data`` counts them."""
    for key, names in INTEGERS.items():
        for entry in document[key]:
            for name in names if isinstance(entry, dict) else ():
                value = entry.get(name)
                if isinstance(value, (str, float)) and (found := integer(value)) is not value:
                    entry[name] = found
                    data.normalise(SPELLING)


def leave_out_root(document, data):
    """Remove the category that Roboflow adds as the parent of the others, in place: without a parent ("none"), and of no object."""
    parents = {str(entry.get("supercategory")) for entry in document["categories"] if isinstance(entry, dict)}
    used = {entry["category_id"] for entry in document["annotations"] if is_id(entry, "category_id")}

    def is_root(entry):
        return is_id(entry) and entry.get("supercategory") == "none" and entry.get("name") in parents and entry["id"] not in used
    kept = [entry for entry in document["categories"] if not is_root(entry)]
    data.normalise("parent categories without an object, left out of the classes", len(document["categories"]) - len(kept))
    document["categories"] = kept


def read_categories(document, path):
    """{id: name} of the classes, by ascending id."""
    categories, names = {}, set()
    for index, category in enumerate(document["categories"]):
        name = category.get("name") if is_id(category) else None
        if not isinstance(name, str) or not is_class_name(name) or category["id"] in categories or name in names:
            raise InputError(f"got category {index} of the list in {path} with the name {quoted(name)}, expected a unique id and a unique "
                             "name. Correct the file.")
        categories[category["id"]] = name
        names.add(name)
    return dict(sorted(categories.items()))


def read_images(document, path, data):
    """{id: (file, height, width)} by ascending id; images that are skipped are noted in ``data``, an ``AnnotatedImages``.

    COCO's metric takes the images in this order, which decides between detections of equal score.
    """
    sizes = {}
    for index, image in enumerate(document["images"]):
        if not is_id(image):
            data.skip_image(f"image {index} of the list is skipped: it has no id.", BAD_IMAGE)
            continue
        file, height, width = (image.get(key) for key in ("file_name", "height", "width"))
        if image["id"] in sizes:
            fault = "its id occurs before"
        elif not isinstance(file, str) or not file.isprintable() or not file:
            fault = f"its file_name is {quoted(file)}"
        elif not (is_integer(height) and is_integer(width) and min(height, width) >= 1 and height * width <= LARGEST):
            fault = f"its size is {quoted(width)} x {quoted(height)}, expected whole pixels, at most {LARGEST}"
        elif leads_out(file):
            raise InputError(f"got the file_name {shown(file)} in {path}, expected one in the folder of the images. Remove it.")
        else:
            sizes[image["id"]] = file, height, width
            continue
        data.skip_image(f"image {image['id']} is skipped: {fault}.", BAD_IMAGE)
    return dict(sorted(sizes.items()))


def leads_out(file):
    """Whether a path leads out of the folder that it is relative to, on any system."""
    windows = PureWindowsPath(file)
    return bool(windows.anchor or windows.drive) or ".." in windows.parts or PurePosixPath(file).is_absolute()


class Fault(ValueError):
    """Why an annotation is skipped; ``reason`` is what it is counted by."""

    def __init__(self, text, reason="annotation without a valid value"):
        super().__init__(text)
        self.reason = reason


def read_objects(document, path, sizes, categories, data):
    """{image id: [(label, box, area, crowd), ...]}; annotations that are skipped are noted in ``data``, an ``AnnotatedImages``."""
    objects, table = {key: [] for key in sizes}, label_table(data.class_names)
    skipped = {image["id"] for image in document["images"] if is_id(image)} - set(sizes)
    for index, annotation in enumerate(document["annotations"]):
        place = annotation["id"] if is_id(annotation) else f"{index} of the list"
        try:
            name, *rest, normalised = read_object(annotation, sizes, categories)
        except Fault as fault:
            if not (is_id(annotation, "image_id") and annotation["image_id"] in skipped):       # else its image has been reported
                data.skip_object(f"annotation {place} is skipped: {fault}.", fault.reason)
        else:
            objects[annotation["image_id"]].append((label_of(name, table, f"{path.name}, annotation {place}"), *rest))
            for what in normalised:
                data.normalise(what)
    return objects


def read_object(annotation, sizes, categories):
    """(class name, box, area, crowd, what was normalised) of an annotation; raises Fault if it cannot be used."""
    if not isinstance(annotation, dict):
        raise Fault("it is not a JSON object")
    key, category = (known_id(annotation, name, ids) for name, ids in (("image_id", sizes), ("category_id", categories)))
    bbox, iscrowd, area = annotation.get("bbox"), annotation.get("iscrowd", 0), annotation.get("area")
    sides = [plain_number(side) for side in bbox] if isinstance(bbox, list) else []
    if len(sides) != 4 or not all(map(is_number, sides)):
        raise Fault(f"its bbox is {quoted(bbox)}, expected four numbers")
    crowd = flag(iscrowd)
    if crowd is None or is_number(iscrowd) and iscrowd not in (0, 1):
        raise Fault(f"its iscrowd is {quoted(iscrowd)}, expected 0 or 1")
    _, height, width = sizes[key]
    x, y, w, h = map(float, sides)
    box, clipped = corners(x, y, w, h, height, width)
    respelt = sides != bbox or not is_number(iscrowd) or isinstance(annotation.get("area", 0), (str, type(None)))
    return categories[category], box, area_of(area, w * h), crowd, [CLIPPED] * clipped + [SPELLING] * respelt


def area_of(area, of_box):
    """An annotation's area, square pixels: that of its box where it has none."""
    pixels = of_box if area is None else plain_number(area)
    if not is_number(pixels) or pixels < 0:
        raise Fault(f"its area is {quoted(area)}, expected a number of pixels")
    return float(pixels)


def plain_number(value):
    """The number that a text is, or the value itself."""
    found = number(value) if isinstance(value, str) else None
    return value if found is None else found


def known_id(annotation, name, known):
    """The id under that name, which must be one of the known ones."""
    value = annotation.get(name)
    if not is_integer(value) or value not in known:
        raise Fault(f"its {name} {quoted(value)} is unknown")
    return value


def corners(x, y, w, h, height, width):
    """COCO's box as x1, y1, x2, y2, (4,) float32, and whether it was clipped; raises Fault if it is empty or not within the image."""
    text, excess = f"its bbox {x:g}, {y:g}, {w:g}, {h:g}", max(-x, -y, x + w - width, y + h - height)
    if w <= 0 or h <= 0:
        raise Fault(f"{text} is {'inside out' if w < 0 or h < 0 else 'empty'}", BAD_BOX)
    if excess > EXCESS + ROUNDING:
        raise Fault(f"{text} is not inside the image of {width} x {height}", BAD_BOX)
    box = np.clip(np.array((x, y, x + w, y + h)), 0, (width, height, width, height)).astype(np.float32)
    if not (box[0] < box[2] and box[1] < box[3]):                       # outside, or so thin that it is empty in float32
        raise Fault(f"{text} is empty", BAD_BOX)
    return box, excess > ROUNDING


def is_id(entry, key="id"):
    """Whether an entry of a list is an object with an integer under the key."""
    return isinstance(entry, dict) and is_integer(entry.get(key))


def is_integer(value):
    """Whether a value is an int (no bool) that fits in 64 bits."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def quoted(value):
    """A value of the file for an error message."""
    if isinstance(value, list):
        return f"[{', '.join(quoted(item) if not isinstance(item, list) else 'a list' for item in value[:5])}{', ...' * (len(value) > 5)}]"
    return "an object" if isinstance(value, dict) else shown(value) if isinstance(value, str) else str(value)[:50]


def is_number(value):
    """Whether a value is a finite number of moderate size; Python's JSON also reads NaN, infinity, and integers beyond any float."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15 and math.isfinite(value)
