"""PASCAL VOC's folders: an XML file an image.

``Annotations`` holds the XML files, ``ImageSets/Main/SPLIT.txt`` the names of a split's images, ``JPEGImages`` the images, which
are looked for only by who reads them. The files count pixels from 1, and both corners lie inside; here coordinates are continuous:
xmin, ymin, xmax, ymax become xmin - 1, ymin - 1, xmax, ymax.

Reference: Everingham, Winn, The PASCAL Visual Object Classes Challenge 2007 development kit.
"""

import math
import re
from pathlib import Path
from xml.sax.saxutils import escape

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

LONGEST_XML = 4 * 2**20         # bytes; of VOC's own the longest has 12 thousand
LONGEST_LIST = 64 * 2**20       # bytes; a million names have a fifth of it
CORNERS = ("xmin", "ymin", "xmax", "ymax")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)     # float() takes nan and 1_000, too


def load_voc(folder, split, classes=None):
    """Read one split's annotations.

    A box that is empty or not wholly inside its image is left out, and so is an image whose XML is missing or cannot be
    understood; ``problems`` has a line for each. (A missing one is no reason to stop: nothing is known of that image, not even
    that it is empty, and the others are as good as they were.)

    Args:
        folder: holds ``Annotations`` and ``ImageSets``, or a folder VOC2007, or one other folder, that does.
        split: the name of a list in ``ImageSets/Main``, such as "trainval".
        classes: list of str, a name for each label, ``BACKGROUND`` first. None takes VOC's twenty, in the devkit's order, if all names
            in the folder's annotations (of all splits, so that they have the same labels) are among them; else those names, sorted.

    Returns:
        images: ``AnnotatedImages``.

    Raises:
        InputError: no such folder or split, a split that is empty, names something outside the folder, or of which no image is left,
            or an object of a class that is not among the classes given.
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
    if not read:                                                    # there are problems, then: a split has a name at least
        raise InputError(f"got {len(names)} images in the split {split} of {root}, expected some whose annotations can be read. Of the "
                         f"first: {problems[0]}")
    class_names = found_classes(root, read) if classes is None else check_classes(classes)
    labels = label_table(class_names)
    return AnnotatedImages(class_names, [
        one.annotated(name, files.get(name, root / "JPEGImages" / f"{name}.jpg"), labels) for name, one in read.items()], problems)


def is_voc(folder):
    """Whether a folder is in VOC's form."""
    try:
        find_root(Path(folder))
    except InputError:
        return False
    return True


def find_root(folder):
    """The folder itself, its VOC2007, or the only other one in it that has annotations and lists."""
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
        raise InputError(f"got {got} Annotations and ImageSets/Main in {folder}, expected one. Give a folder as PASCAL VOC's VOC2007.")
    return found[0]


def read_split(root, split):
    """The names of a split's images, each once, and a line for each that came again."""
    lists = root / "ImageSets" / "Main"
    path = lists / f"{split}.txt"
    if not is_plain(split) or not path.is_file():
        there = ", ".join(sorted(one.stem for one in lists.glob("*.txt") if "_" not in one.stem)[:20])   # not the lists of one class
        raise InputError(f"got the split {shown(split)}, expected a list in {lists} ({there or 'where is none'}). Choose one.")
    try:
        lines = read_bounded(path, LONGEST_LIST).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"got {path}, which is no text, expected a name a line. Make it again.") from error
    names, problems = {}, []
    for line in filter(None, map(str.strip, lines)):
        if not is_plain(line):
            raise InputError(f"got the name {shown(line)} in {path}, expected the name of an image in the folder, without suffix. "
                             "Remove the line.")
        if line in names:
            problems.append(f"{line}: it is in {path.name} more than once, and taken once.")
        names[line] = None
    if not names:
        raise InputError(f"got {path} without names, expected a name a line. Choose another split.")
    return list(names), problems


def read_bounded(path, most):
    """The bytes of a file that has at most so many."""
    try:
        with open(path, "rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise InputError(f"got {path}, which cannot be read ({error.strerror}), expected a file.") from error
    if len(data) > most:
        raise InputError(f"got {path} of more than {most} bytes, expected at most that.")
    return data


def image_files(folder):
    """{name without suffix: path} of the images there are; of several suffixes the first of ``SUFFIXES`` counts."""
    if not folder.is_dir():
        return {}
    paths = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES]
    return {path.stem: path for path in sorted(paths, key=lambda path: -SUFFIXES.index(path.suffix.lower()))}


def found_classes(root, read):
    """VOC's names if all that are found are among them, else those, sorted; ``BACKGROUND`` first."""
    found = {name for one in read.values() for name in one.names}
    for path in sorted((root / "Annotations").glob("*.xml")):
        if path.stem not in read:
            try:
                found.update(read_xml(path).names)
            except InputError:                                      # another split's affair
                continue
    if not found:
        raise InputError(f"got no object in the annotations of {root}, expected some. Check the files.")
    return list(VOC) if found <= set(VOC) else [VOC[0], *sorted(found)]


class Annotation:
    """What one XML file says: sizes in pixels, and of each sound object its name, box and whether it is difficult.

    Boxes are in continuous coordinates; faults: a line for each object that was left out.
    """

    def __init__(self, height, width):
        self.height, self.width = height, width
        self.names, self.boxes, self.difficult, self.faults = [], [], [], []

    def annotated(self, name, path, labels):
        """The ``AnnotatedImage`` of that name and file, with labels from a ``label_table``."""
        return AnnotatedImage(name, path, self.height, self.width, np.array(self.boxes, np.float32).reshape(-1, 4),
                                np.array([label_of(one, labels, f"{name}.xml") for one in self.names], np.int64),
                                np.array(self.difficult, bool), np.zeros(len(self.boxes), bool), box_areas(self.boxes))


def read_xml(path):
    """Read the ``Annotation`` in an XML file; raise InputError if it is none."""
    root = parse(read_bounded(path, LONGEST_XML), path.name)
    sizes = [number(root.findtext(f"size/{side}")) for side in ("width", "height")]
    if not all(size is not None and size == int(size) >= 1 for size in sizes) or math.prod(sizes) > MAX_PIXELS:
        got = " x ".join(shown(root.findtext(f"size/{side}")) for side in ("width", "height"))
        raise InputError(f"got {path.name} with the size {got}, expected whole pixels, at most {MAX_PIXELS}.")
    width, height = map(int, sizes)
    annotation = Annotation(height, width)
    for place, element in enumerate(root.iterfind("object"), 1):
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
            annotation.faults.append(f"object {place}{f', {name},' * is_class_name(name)} is skipped: {fault}.")
            continue
        annotation.names.append(name)
        annotation.boxes.append((corners[0] - 1, corners[1] - 1, *corners[2:]))
        annotation.difficult.append(difficult != 0)
    return annotation


def number(text):
    """The finite number in a text, or None."""
    text = (text or "").strip()
    return float(text) if len(text) <= 50 and NUMBER.fullmatch(text) and math.isfinite(float(text)) else None


def box_fault(corners, width, height):
    """What is wrong with a box as the file has it, four numbers or None; None if it is fine.

    One of equal corners would be a pixel wide; it comes of a click without a drag, and is taken as empty.
    """
    if None in corners:
        return "its box has corners that are missing or no numbers"
    xmin, ymin, xmax, ymax = corners
    text = f"its box {', '.join(f'{corner:g}' for corner in corners)}"
    if xmax <= xmin or ymax <= ymin:
        return f"{text} is {'inside out' if xmax < xmin or ymax < ymin else 'empty'}"
    if xmin < 1 or ymin < 1 or xmax > width or ymax > height:
        return f"{text} is not inside the image of {width} x {height}"
    return None


def xml_text(image, class_names):
    """What the devkit would have in an image's XML file: the other way round.

    Args:
        image: an ``AnnotatedImage``, its boxes at least a little over a pixel wide and high.
        class_names: list of str, the first is ``BACKGROUND``.

    Returns:
        text: to be encoded as UTF-8.
    """
    lines = ["<annotation>", f"\t<filename>{escape(image.path.name)}</filename>",
             f"\t<size><width>{image.width}</width><height>{image.height}</height><depth>3</depth></size>"]
    for box, label, difficult in zip(image.boxes.astype(np.float64), image.labels, image.difficult):
        corners = box + (1, 1, 0, 0)
        fault = box_fault(corners, image.width, image.height)
        if fault:
            raise ValueError(f"{image.name}: {fault}")            # no user's doing
        text = "".join(f"<{name}>{corner:.12g}</{name}>" for name, corner in zip(CORNERS, corners))
        lines.append(f"\t<object><name>{escape(class_names[label])}</name><difficult>{difficult:d}</difficult><bndbox>{text}</bndbox></object>")
    return "\n".join([*lines, "</annotation>", ""])
