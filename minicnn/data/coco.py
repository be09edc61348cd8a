"""COCO's form: one JSON file a split.

``annotations/instances_SPLIT.json``, plain or gzipped; its images in a folder SPLIT, images/SPLIT or images, or at the root. They are
looked for only by who reads them.

Reference: Lin et al., Microsoft COCO: common objects in context (2014), https://cocodataset.org/#format-data.
"""

import gzip
import json
import math
import zlib
from pathlib import Path, PurePosixPath, PureWindowsPath

import numpy as np

from minicnn.data.annotated import (
    BACKGROUND,
    AnnotatedImage,
    AnnotatedImages,
    check_classes,
    is_class_name,
    is_plain,
    label_of,
    label_table,
    shown,
)
from minicnn.data.images import MAX_PIXELS
from minicnn.errors import InputError

LONGEST_JSON = 2**30            # bytes, unpacked; instances_train2017.json, the largest of COCO's own, has 0.45e9
ROUNDING = 0.02                 # pixels; x and width have two decimals each, so that their sum may exceed the image by one unit or two
KEYS = ("images", "annotations", "categories")


def is_coco(folder):
    """Whether a folder is in COCO's form."""
    return any(Path(folder).glob("annotations/instances_*.json*"))


def is_coco_file(source):
    """Whether it is one of COCO's ``.json``, which is one list of images, without splits to choose from."""
    path = Path(source)
    return path.name.endswith((".json", ".json.gz")) and path.is_file()


def load_coco(source, split, classes=None):
    """Read one split's annotations.

    A box that is empty or not wholly inside its image is left out, as is one of an unknown image or category, and an image
    without sane size and name; ``problems`` has a line for each. An image's name is its id, as in COCO's results.

    Args:
        source: the folder that holds ``annotations``; or one ``.json`` or ``.json.gz`` file, which is the split, whatever ``split``
            says, and whose images lie beside it or, if it lies in a folder ``annotations``, as above.
        split: such as "val2017".
        classes: list of str, a name for each label, ``BACKGROUND`` first. None takes the file's own categories, by ascending id:
            the labels 1 to their number, so that COCO's eighty have no gaps.

    Returns:
        images: ``AnnotatedImages``; COCO's crowds are difficult, too.

    Raises:
        InputError: no such file, or it is not in this form, names an image outside the folder, has no image, or an object of a class
            that is not among the classes given.
    """
    path = find_json(Path(source), split)
    document = read_json(path)
    categories = read_categories(document, path)
    class_names = [BACKGROUND, *categories.values()] if classes is None else check_classes(classes)
    folder, problems = image_folder(path), []
    sizes = read_images(document, path, problems)
    if not sizes:
        raise InputError(f"got {path} without images{f' ({problems[0]})' if problems else ''}, expected some. Choose another file.")
    table, objects = label_table(class_names), {key: [] for key in sizes}
    skipped = {one["id"] for one in document["images"] if is_id(one)} - set(sizes)
    for place, annotation in enumerate(document["annotations"]):
        number = annotation.get("id") if isinstance(annotation, dict) and is_integer(annotation.get("id")) else f"at place {place}"
        found = read_object(annotation, sizes, categories)
        if isinstance(found, str):
            if not (is_id(annotation, "image_id") and annotation["image_id"] in skipped):       # its image has been reported
                problems.append(f"annotation {number} is skipped: {found}.")
            continue
        name, *rest = found
        objects[annotation["image_id"]].append((label_of(name, table, f"{path.name}, annotation {number}"), *rest))
    return AnnotatedImages(class_names, [annotated(key, folder / file, height, width, objects[key])
                                           for key, (file, height, width) in sizes.items()], problems)


def annotated(key, path, height, width, objects):
    """The ``AnnotatedImage`` of these objects: (label, box, area, crowd) each."""
    labels, boxes, areas, crowd = zip(*objects) if objects else ((), (), (), ())
    crowd = np.array(crowd, bool)
    return AnnotatedImage(str(key), path, height, width, np.array(boxes, np.float32).reshape(-1, 4), np.array(labels, np.int64),
                            crowd.copy(), crowd, np.array(areas, np.float64))


def find_json(source, split):
    """The file of a split."""
    if not source.is_dir():
        return source
    folder = source / "annotations"
    paths = [folder / f"instances_{split}{suffix}" for suffix in (".json", ".json.gz")]
    found = next((path for path in paths if is_plain(split) and path.is_file()), None)
    if found is None:
        there = sorted({split_of(path) for path in folder.glob("instances_*.json*")})[:20]
        raise InputError(f"got the split {shown(split)}, expected a file instances_SPLIT.json in {folder} "
                         f"({', '.join(there) or 'where is none'}). Choose one.")
    return found


def split_of(path):
    """instances_val2017.json.gz -> val2017"""
    return path.name.partition(".json")[0].removeprefix("instances_")


def image_folder(path):
    """Where the images of a JSON file are."""
    root, split = path.absolute().parent, split_of(path)
    if root.name == "annotations":
        root = root.parent
    return next((folder for folder in (root / split, root / "images" / split, root / "images") if folder.is_dir()), root)


def read_json(path):
    """The outermost object of a file, with the three lists that it must have."""
    try:
        with (gzip.open if path.suffix == ".gz" else open)(path, "rb") as file:
            data = file.read(LONGEST_JSON + 1)
    except (OSError, EOFError, zlib.error) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"got {path}, which cannot be read ({reason}), expected COCO's JSON. Check the file.") from error
    if len(data) > LONGEST_JSON:
        raise InputError(f"got {path} of more than {LONGEST_JSON} bytes, expected at most that. Split it up.")
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise InputError(f"got {path}, which is no JSON ({str(error)[:100]}), expected COCO's. Fetch it again.") from error
    for key in KEYS:
        if not isinstance(document, dict) or not isinstance(document.get(key), list):
            raise InputError(f"got {path} without a list {key!r}, expected COCO's {', '.join(KEYS)}. Give a file of instances.")
    return document


def read_categories(document, path):
    """{id: name}, ids ascending."""
    categories, names = {}, set()
    for place, one in enumerate(document["categories"]):
        name = one.get("name") if is_id(one) else None
        if not isinstance(name, str) or not is_class_name(name) or one["id"] in categories or name in names:
            raise InputError(f"got the category at place {place} in {path} with the name {told(name)}, expected an id and a name of its "
                             "own. Mend the file.")
        categories[one["id"]] = name
        names.add(name)
    return dict(sorted(categories.items()))


def read_images(document, path, problems):
    """{id: (file, height, width)}, ids ascending; adds a line to problems for each image that is skipped.

    COCO's metric goes through the images in this order, on which equal scores depend.
    """
    sizes = {}
    for place, one in enumerate(document["images"]):
        if not is_id(one):
            problems.append(f"image at place {place} is skipped: it has no id.")
            continue
        file, height, width = (one.get(key) for key in ("file_name", "height", "width"))
        if one["id"] in sizes:
            fault = "its id came before"
        elif not isinstance(file, str) or not file.isprintable() or not file:
            fault = f"its file_name is {told(file)}"
        elif not (is_integer(height) and is_integer(width) and min(height, width) >= 1 and height * width <= MAX_PIXELS):
            fault = f"its size is {told(width)} x {told(height)}, expected whole pixels, at most {MAX_PIXELS}"
        elif leads_out(file):
            raise InputError(f"got the file_name {shown(file)} in {path}, expected one in the folder of the images. Remove it.")
        else:
            sizes[one["id"]] = file, height, width
            continue
        problems.append(f"image {one['id']} is skipped: {fault}.")
    return dict(sorted(sizes.items()))


def leads_out(file):
    """Whether a relative path leaves its folder, on any system."""
    windows = PureWindowsPath(file)
    return bool(windows.anchor or windows.drive) or ".." in windows.parts or PurePosixPath(file).is_absolute()


def read_object(annotation, sizes, categories):
    """(name, box, area, crowd) of an annotation, or a text: what is wrong with it."""
    if not isinstance(annotation, dict):
        return "it is no object"
    key, category = annotation.get("image_id"), annotation.get("category_id")
    if not is_integer(key) or key not in sizes:
        return f"its image_id {told(key)} is unknown"
    if not is_integer(category) or category not in categories:
        return f"its category_id {told(category)} is unknown"
    bbox, crowd = annotation.get("bbox"), annotation.get("iscrowd", 0)
    if not (isinstance(bbox, list) and len(bbox) == 4 and all(map(is_number, bbox))):
        return f"its bbox is {told(bbox)}, expected four numbers"
    if not is_integer(crowd) or crowd not in (0, 1):
        return f"its iscrowd is {told(crowd)}, expected 0 or 1"
    _, height, width = sizes[key]
    x, y, w, h = map(float, bbox)
    text = f"its bbox {x:g}, {y:g}, {w:g}, {h:g}"
    if w <= 0 or h <= 0:
        return f"{text} is {'inside out' if w < 0 or h < 0 else 'empty'}"
    if x < -ROUNDING or y < -ROUNDING or x + w > width + ROUNDING or y + h > height + ROUNDING:
        return f"{text} is not inside the image of {width} x {height}"
    box = np.clip(np.array((x, y, x + w, y + h)), 0, (width, height, width, height)).astype(np.float32)
    if not (box[0] < box[2] and box[1] < box[3]):                       # so thin that float32 does not see it
        return f"{text} is empty"
    area = annotation.get("area", w * h)
    if not is_number(area) or area < 0:
        return f"its area is {told(area)}, expected a number of pixels"
    return categories[category], box, float(area), bool(crowd)


def is_id(one, key="id"):
    return isinstance(one, dict) and is_integer(one.get(key))


def is_integer(value):
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63


def told(value):
    """A value of the file in a message."""
    if isinstance(value, list):
        return f"[{', '.join(told(one) if not isinstance(one, list) else 'a list' for one in value[:5])}{', ...' * (len(value) > 5)}]"
    return "an object" if isinstance(value, dict) else shown(value) if isinstance(value, str) else str(value)[:50]


def is_number(value):
    """JSON as Python reads it has NaN and infinity, and integers that no float holds."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e15 and math.isfinite(value)
