"""PASCAL VOC's XML file of one image: reading and writing.

VOC's own files count pixels from 1, and a box includes both corner pixels; here coordinates are continuous: xmin, ymin, xmax, ymax become
xmin - 1, ymin - 1, xmax, ymax. Many tools write continuous coordinates from 0 instead, xmin, ymin, xmax, ymax themselves: ``box_origin`` 0.

Reference: Everingham, Winn, The PASCAL Visual Object Classes Challenge 2007 development kit.
"""

import html
import math

import numpy as np

from minicnn.data.annotated import BAD_BOX, CLIPPED, EXCESS, FROM_0, SPELLING, AnnotatedImage, box_areas, is_class_name, label_of, shown
from minicnn.data.plain_values import flag, number
from minicnn.data.reduction import LARGEST
from minicnn.data.safe_xml import parse
from minicnn.errors import InputError

LONGEST_XML = 4 * 2**20         # bytes; the longest of VOC's own has 12 thousand
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class Annotation:
    """The content of one XML file.

    Args:
        height, width: of the image, pixels.
        filename, path: of the image, as the file has them; "" where it has none.

    Attributes:
        names, boxes, difficult: of each valid object; boxes in continuous coordinates.
        faults: a line and a reason for each object that is skipped.
        normalised: what was normalised, once for each time.
    """

    def __init__(self, height, width, filename="", path=""):
        self.height, self.width, self.filename, self.path = height, width, filename, path
        self.names, self.boxes, self.difficult, self.faults, self.normalised = [], [], [], [], []

    def annotated(self, name, path, labels):
        """The ``AnnotatedImage`` of that name and file; ``labels`` is a ``label_table``."""
        return AnnotatedImage(name, path, self.height, self.width, np.array(self.boxes, np.float32).reshape(-1, 4),
                              np.array([label_of(class_name, labels, f"{name}.xml") for class_name in self.names], np.int64),
                              np.array(self.difficult, bool), np.zeros(len(self.boxes), bool), box_areas(self.boxes))


def read_xml(path, box_origin=1):
    """Read an XML file as an ``Annotation``; raises InputError if the file is invalid.

    Args:
        path: the file.
        box_origin: 1 for corners that count pixels from 1, as VOC's; 0 for continuous ones, from 0 to the image's sides.
    """
    root = parse(read_bounded(path, LONGEST_XML), path.name)
    sizes = [number(root.findtext(f"size/{side}")) for side in ("width", "height")]
    if not all(size is not None and size == int(size) >= 1 for size in sizes) or math.prod(sizes) > LARGEST:
        got = " x ".join(shown(root.findtext(f"size/{side}")) for side in ("width", "height"))
        raise InputError(f"got {path.name} with the size {got}, expected whole pixels, at most {LARGEST}.")
    width, height = map(int, sizes)
    annotation = Annotation(height, width, *((root.findtext(name) or "").strip() for name in ("filename", "path")))
    for index, element in enumerate(root.iterfind("object"), 1):
        add_object(annotation, index, element, box_origin)
    return annotation


def add_object(annotation, index, element, box_origin):
    """Add an ``object`` element, the index-th from 1 on, to an ``Annotation``, or a fault if it cannot be used."""
    name = (element.findtext("name") or "").strip()
    corners = [number(element.findtext(f"bndbox/{corner}")) for corner in CORNERS]
    text = element.findtext("difficult", "0")
    difficult, box, normalised = flag(text), None, None
    if not is_class_name(name):
        fault, reason = f"it has the name {shown(element.findtext('name'))}", "name that is none"
    elif difficult is None:
        fault, reason = f"difficult is {shown(text)}, expected 0 or 1", "difficult neither 0 nor 1"
    else:
        box, normalised = box_of(corners, annotation.width, annotation.height, box_origin)
        fault, reason = None if box else box_fault(corners, annotation.width, annotation.height), BAD_BOX
    if fault:
        annotation.faults.append((f"object {index}{f', {name},' * is_class_name(name)} is skipped: {fault}.", reason))
        return
    annotation.names.append(name)
    annotation.boxes.append(box)
    annotation.difficult.append(difficult)
    annotation.normalised += [what for what in (normalised, SPELLING * (number(text) is None)) if what]


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
        made, changed = box_of(corners.tolist(), image.width, image.height)
        if made is None or changed:                                 # a bug of the caller, not the user's
            raise ValueError(f"{image.name}: {box_fault(corners, image.width, image.height)}")
        text = "".join(f"<{name}>{corner:.12g}</{name}>" for name, corner in zip(CORNERS, corners))
        name = html.escape(class_names[label], quote=False)
        lines.append(f"\t<object><name>{name}</name><difficult>{difficult:d}</difficult><bndbox>{text}</bndbox></object>")
    return "\n".join([*lines, "</annotation>", ""])


def box_of(corners, width, height, box_origin=1):
    """(box, what was normalised or None) of the four corners in a file, numbers or None; (None, None) if they are no box in the image.

    What lies up to ``EXCESS`` outside is cut off. A box of equal corners, though a pixel wide by the devkit's counting, results from a
    click without a drag, and counts as empty.
    """
    if None in corners or corners[2] <= corners[0] or corners[3] <= corners[1]:
        return None, None
    xmin, ymin, x2, y2 = corners
    x1, y1 = xmin - box_origin, ymin - box_origin
    if x1 < -EXCESS or y1 < -EXCESS or x2 > width + EXCESS or y2 > height + EXCESS or x1 >= width or y1 >= height or min(x2, y2) <= 0:
        return None, None
    clipped = max(x1, 0), max(y1, 0), min(x2, width), min(y2, height)
    if clipped == (x1, y1, x2, y2):
        return clipped, None
    return clipped, FROM_0 if box_origin == 1 and min(x1, y1) < 0 else CLIPPED


def box_fault(corners, width, height):
    """What is wrong with four corners that ``box_of`` makes no box of."""
    if None in corners:
        return "its box has corners that are missing or not numbers"
    xmin, ymin, xmax, ymax = corners
    text = f"its box {', '.join(f'{corner:g}' for corner in corners)}"
    if xmax <= xmin or ymax <= ymin:
        return f"{text} is {'inside out' if xmax < xmin or ymax < ymin else 'empty'}"
    return f"{text} is not inside the image of {width} x {height}"


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
