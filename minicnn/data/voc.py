"""Data sets in PASCAL VOC's layout: one XML file per image.

``Annotations`` contains the XML files, ``ImageSets/Main/SPLIT.txt`` the names of a split's images, ``JPEGImages`` the images, which are
not opened here. The files count pixels from 1, and a box includes both corner pixels; here coordinates are continuous: xmin, ymin,
xmax, ymax become xmin - 1, ymin - 1, xmax, ymax.

Reference: Everingham, Winn, The PASCAL Visual Object Classes Challenge 2007 development kit.
"""

import html
import math
import re
from pathlib import Path

import numpy as np

from minicnn.data.annotated import (
    AnnotatedImage,
    AnnotatedImages,
    box_areas,
    check_classes,
    is_class_name,
    is_plain,
    label_of,
    label_table,
    shown,
)
from minicnn.data.class_names import VOC
from minicnn.data.images import MAX_PIXELS, SUFFIXES
from minicnn.data.safe_xml import parse
from minicnn.errors import InputError

LONGEST_XML = 4 * 2**20         # bytes; the longest of VOC's own has 12 thousand
LONGEST_LIST = 64 * 2**20       # bytes; enough for five million names
CORNERS = ("xmin", "ymin", "xmax", "ymax")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)     # float() accepts nan and 1_000, too


def load_voc(folder, split, classes=None):
    """Read one split's annotations.

    Skipped, with a line in ``problems`` for each, are boxes that are empty or not within their image, and images whose XML file is
    missing or invalid.

    Args:
        folder: contains ``Annotations`` and ``ImageSets``, or a folder VOC2007 or a single other folder that does.
        split: the name of a list in ``ImageSets/Main``, such as "trainval".
        classes: list of str, the class name of each label, ``BACKGROUND`` first. None takes VOC's twenty, in the devkit's order, if
            they include all names in the folder's annotations (of all splits, so that the splits' labels agree), else these names,
            sorted.

    Returns:
        annotated: ``AnnotatedImages``.

    Raises:
        InputError: the folder or the split does not exist; the split is empty, has a name that leads out of the folder, or no image
            that can be used; or an object's class is not among ``classes``.
    """
    root = find_root(Path(folder))
    names, problems = read_split(root, split)
    files = image_files(root / "JPEGImages")
    read = {}
    for name in names:
        try:
            read[name] = read_xml(root / "Annotations" / f"{name}.xml")
        except InputError as error:
            problems.append(f"{name}: {error} The image is skipped.")
        else:
            problems += [f"{name}: {fault}" for fault in read[name].faults]
    if not read:                                                    # then there are problems, since a split has at least one name
        raise InputError(f"got {len(names)} images in the split {split} of {root}, expected some whose annotations can be read. The "
                         f"first problem: {problems[0]}")
    class_names = found_classes(root, read) if classes is None else check_classes(classes)
    labels = label_table(class_names)
    return AnnotatedImages(class_names, [
        annotation.annotated(name, files.get(name, root / "JPEGImages" / f"{name}.jpg"), labels) for name, annotation in read.items()],
        problems)


def is_voc(folder):
    """Whether a folder has PASCAL VOC's layout."""
    try:
        find_root(Path(folder))
    except InputError:
        return False
    return True


def find_root(folder):
    """The folder itself, its VOC2007, or the only other folder in it, with Annotations and ImageSets/Main."""
    def is_root(path):
        return (path / "Annotations").is_dir() and (path / "ImageSets" / "Main").is_dir()
    try:
        for path in (folder, folder / "VOC2007"):
            if is_root(path):
                return path
        found = sorted(path for path in folder.iterdir() if is_root(path))
    except OSError as error:
        raise InputError(f"got {folder}, which cannot be read ({error.strerror}), expected a folder. Check the path.") from error
    if len(found) != 1:
        got = f"{len(found)} folders ({', '.join(path.name for path in found[:5])}) with" if found else "no"
        raise InputError(f"got {got} Annotations and ImageSets/Main in {folder}, expected one. Give a folder laid out as VOC2007.")
    return found[0]


def read_split(root, split):
    """The distinct names of a split's images, and a line for each that is repeated."""
    lists = root / "ImageSets" / "Main"
    path = lists / f"{split}.txt"
    if not is_plain(split) or not path.is_file():
        existing = ", ".join(sorted(path.stem for path in lists.glob("*.txt") if "_" not in path.stem)[:20])     # without lists per class
        raise InputError(f"got the split {shown(split)}, expected a list in {lists} ({existing or 'there is none'}). Choose one.")
    try:
        lines = read_bounded(path, LONGEST_LIST).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"got {path}, which is not text, expected one name per line. Make it again.") from error
    names, problems = {}, []
    for line in filter(None, map(str.strip, lines)):
        if not is_plain(line):
            raise InputError(f"got the name {shown(line)} in {path}, expected the name of an image in the folder, without its suffix. "
                             "Remove the line.")
        if line in names:
            problems.append(f"{line}: it is in {path.name} more than once, and used once.")
        names[line] = None
    if not names:
        raise InputError(f"got {path} without names, expected one per line. Choose another split.")
    return list(names), problems


def read_bounded(path, most):
    """The bytes of a file; raises InputError if it has more than ``most``."""
    try:
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(f"got {path}, which cannot be read ({error.strerror}), expected a file.") from error
    if len(data) > most:
        raise InputError(f"got {path} of more than {most} bytes, expected at most that.")
    return data


def image_files(folder):
    """{name without suffix: path} of a folder's images; of files of the same name, the one whose suffix comes first in ``SUFFIXES``."""
    if not folder.is_dir():
        return {}
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]
    return {path.stem: path for path in sorted(paths, key=lambda path: -SUFFIXES.index(path.suffix.lower()))}


def found_classes(root, read):
    """VOC's class names if they include all names in the annotations, else these, sorted; ``BACKGROUND`` first."""
    found = {name for annotation in read.values() for name in annotation.names}
    for path in sorted((root / "Annotations").glob("*.xml")):
        if path.stem not in read:
            try:
                found.update(read_xml(path).names)
            except InputError:                                      # reported when its split is loaded
                continue
    if not found:
        raise InputError(f"got no object in the annotations of {root}, expected some. Check the files.")
    return list(VOC) if found <= set(VOC) else [VOC[0], *sorted(found)]


class Annotation:
    """The content of one XML file.

    Args:
        height, width: of the image, pixels.

    Attributes:
        names, boxes, difficult: of each valid object; boxes in continuous coordinates.
        faults: a line for each object that is skipped.
    """

    def __init__(self, height, width):
        self.height, self.width = height, width
        self.names, self.boxes, self.difficult, self.faults = [], [], [], []

    def annotated(self, name, path, labels):
        """The ``AnnotatedImage`` of that name and file; ``labels`` is a ``label_table``."""
        return AnnotatedImage(name, path, self.height, self.width, np.array(self.boxes, np.float32).reshape(-1, 4),
                              np.array([label_of(class_name, labels, f"{name}.xml") for class_name in self.names], np.int64),
                              np.array(self.difficult, bool), np.zeros(len(self.boxes), bool), box_areas(self.boxes))


def read_xml(path):
    """Read an XML file as an ``Annotation``; raises InputError if the file is invalid."""
    root = parse(read_bounded(path, LONGEST_XML), path.name)
    sizes = [number(root.findtext(f"size/{side}")) for side in ("width", "height")]
    if not all(size is not None and size == int(size) >= 1 for size in sizes) or math.prod(sizes) > MAX_PIXELS:
        got = " x ".join(shown(root.findtext(f"size/{side}")) for side in ("width", "height"))
        raise InputError(f"got {path.name} with the size {got}, expected whole pixels, at most {MAX_PIXELS}.")
    width, height = map(int, sizes)
    annotation = Annotation(height, width)
    for index, element in enumerate(root.iterfind("object"), 1):
        name = (element.findtext("name") or "").strip()
        corners = [number(element.findtext(f"bndbox/{corner}")) for corner in CORNERS]
        difficult = number(element.findtext("difficult", "0"))
        if not is_class_name(name):
            fault = f"it has the name {shown(element.findtext('name'))}"
        elif difficult is None:
            fault = f"difficult is {shown(element.findtext('difficult'))}, expected 0 or 1"
        else:
            fault = box_fault(corners, width, height)
        if fault:
            annotation.faults.append(f"object {index}{f', {name},' * is_class_name(name)} is skipped: {fault}.")
            continue
        annotation.names.append(name)
        annotation.boxes.append((corners[0] - 1, corners[1] - 1, *corners[2:]))
        annotation.difficult.append(difficult != 0)
    return annotation


def number(text):
    """The finite number that a text is, or None."""
    text = (text or "").strip()
    return float(text) if len(text) <= 50 and NUMBER.fullmatch(text) and math.isfinite(float(text)) else None


def box_fault(corners, width, height):
    """What is wrong with the four corners of a box as in the file (numbers, or None where there is none); None if it is valid.

    A box of equal corners, though a pixel wide by the devkit's counting, results from a click without a drag, and counts as empty.
    """
    if None in corners:
        return "its box has corners that are missing or not numbers"
    xmin, ymin, xmax, ymax = corners
    text = f"its box {', '.join(f'{corner:g}' for corner in corners)}"
    if xmax <= xmin or ymax <= ymin:
        return f"{text} is {'inside out' if xmax < xmin or ymax < ymin else 'empty'}"
    if xmin < 1 or ymin < 1 or xmax > width or ymax > height:
        return f"{text} is not inside the image of {width} x {height}"
    return None


def xml_text(image, class_names):
    """The XML file of an image, in the devkit's format: the inverse of ``read_xml``.

    Args:
        image: an ``AnnotatedImage``; its boxes are more than a pixel wide and high.
        class_names: list of str, the first is ``BACKGROUND``.

    Returns:
        text: to be written as UTF-8.
    """
    lines = ["<annotation>", f"\t<filename>{html.escape(image.path.name, quote=False)}</filename>",
             f"\t<size><width>{image.width}</width><height>{image.height}</height><depth>3</depth></size>"]
    for box, label, difficult in zip(image.boxes.astype(np.float64), image.labels, image.difficult):
        corners = box + (1, 1, 0, 0)
        fault = box_fault(corners, image.width, image.height)
        if fault:
            raise ValueError(f"{image.name}: {fault}")            # a bug of the caller, not the user's
        text = "".join(f"<{name}>{corner:.12g}</{name}>" for name, corner in zip(CORNERS, corners))
        name = html.escape(class_names[label], quote=False)
        lines.append(f"\t<object><name>{name}</name><difficult>{difficult:d}</difficult><bndbox>{text}</bndbox></object>")
    return "\n".join([*lines, "</annotation>", ""])
