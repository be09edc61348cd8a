"""Drawing boxes with readable labels on an image.

Colours: the eight of Okabe and Ito, which can be distinguished with any colour vision, then the same ones lighter and darker. Lines and
letters grow with the image; each line has a dark or a light rim, so that it is visible on any ground.

Reference: Okabe, Ito, Color universal design (2008); W3C, Web content accessibility guidelines 2.1, "relative luminance".
"""

import math

import numpy as np

from minicnn.data.images import as_image, import_pillow, read_reduced
from minicnn.data.reduction import ReadImage
from minicnn.detection.label_font import drawable
from minicnn.errors import InputError

# in an order in which neighbours stay far apart in every shade, for protanopes and deuteranopes too (as its test computes)
PALETTE = ((0, 158, 115), (230, 159, 0), (0, 0, 0), (86, 180, 233), (213, 94, 0), (204, 121, 167), (240, 228, 66), (0, 114, 178))
SHADES = (0, -0.55, 0.45, -0.3, 0.25, -0.7, 0.65, -0.4, 0.35, -0.2, 0.15, -0.6)     # share of white mixed in; negative: of black
WHITE, BLACK = (255, 255, 255), (0, 0, 0)
LEAST_LETTER = 10               # pixels; smaller letters run together
LONGEST_NAME = 100              # characters


def draw(image, boxes, labels, scores, names, font=None):
    """Draw boxes and their labels, the highest score on top.

    Args:
        image: anything ``minicnn.data.images.read_reduced`` takes, or what it returns.
        boxes: (D, 4), x1, y1, x2, y2 in pixels; boxes outside the image, with NaN or inside out are left out.
        labels: (D,) integers, which determine the colours.
        scores: (D,) numbers.
        names: D strings.
        font: file of a TrueType or OpenType font for the names; None: Pillow's own, and fonts of the system for letters that it lacks.

    Returns:
        drawn: (H, W, 3) uint8, a copy; of a large file reduced as it is read.

    Raises:
        InputError: their numbers differ, Pillow is missing, or ``font`` cannot be read.
    """
    read = image if isinstance(image, ReadImage) else read_reduced(image)
    drawn = as_image(read.values)
    canvas = import_pillow("drawing").fromarray(drawn)
    from PIL import ImageDraw
    boxes = np.asarray(boxes, np.float64).reshape(-1, 4) / read.reduced
    if not len(boxes) == len(labels) == len(scores) == len(names):
        raise InputError(f"got {len(boxes)} boxes, {len(labels)} labels, {len(scores)} scores and {len(names)} names, expected as many "
                         "of each. Give those of one image.")
    height, width = drawn.shape[:2]
    side = math.sqrt(height * width)                                # of a square as large as the image
    line, size = math.ceil(0.004 * side), max(LEAST_LETTER, round(5 + 0.02 * side))
    pen = ImageDraw.Draw(canvas)

    by_score = [i for i in np.argsort(-np.asarray(scores, np.float64), kind="stable") if shows(boxes[i], width, height)]
    boxes = np.clip(boxes, 0, [width, height] * 2)
    for i in reversed(by_score):
        draw_box(pen, boxes[i], line, colour(labels[i]))
    tags, fonts = [], {}
    for i in by_score:                                              # a box of higher score chooses the place of its tag first
        name, face = drawable(one_line(names[i]), font)
        if face not in fonts:
            fonts[face] = face.at(size)
        text = fitting_text(name, scores[i], fonts[face], width - 2 * line)
        place = free_place(boxes[i], tag_size(text, fonts[face], line), [place for place, *_ in tags], width, height)
        tags.append((place, text, fonts[face], labels[i]))
    for place, text, letters, label in reversed(tags):
        draw_tag(pen, place, text, letters, line, colour(label))
    return np.array(canvas)


def colour(label):
    """The colour of a class, the same in every image: (red, green, blue), 0 to 255. 96 classes have different ones."""
    shade, index = divmod(int(label) - 1, len(PALETTE))
    base, share = PALETTE[index], SHADES[shade % len(SHADES)]
    ground = 0 if share < 0 and base != BLACK else 255              # black becomes no darker: its shades are greys
    return tuple(round(channel + abs(share) * (ground - channel)) for channel in base)


def ink(ground):
    """Black or white, whichever has more contrast with a colour."""
    return BLACK if contrast(ground, BLACK) >= contrast(ground, WHITE) else WHITE


def contrast(one, other):
    """The contrast ratio of two colours, 1 to 21; from 4.5 on, text is readable."""
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def luminance(rgb):
    """The relative luminance of an sRGB colour, 0 to 1."""
    red, green, blue = (value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in (part / 255 for part in rgb))
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def shows(box, width, height):
    """Whether a part of the box is in the image; False with NaN, for which every comparison is false."""
    x1, y1, x2, y2 = box
    return x1 <= x2 and y1 <= y2 and x1 < width and y1 < height and x2 > 0 and y2 > 0


def draw_box(pen, box, line, rgb):
    """Draw a frame just inside the box, between two rims."""
    x1, y1, x2, y2 = map(round, box)
    x2, y2 = max(x1, x2 - 1), max(y1, y2 - 1)                       # the last pixels inside
    rim = round(line / 3)
    if rim:
        pen.rectangle((x1 - rim, y1 - rim, x2 + rim, y2 + rim), outline=ink(rgb), width=line + 2 * rim)
    pen.rectangle((x1, y1, x2, y2), outline=rgb, width=line)


def one_line(name):
    """A name as it can be drawn in one line: what cannot be printed becomes a question mark."""
    return "".join(letter if letter.isprintable() else "?" for letter in " ".join(str(name).split())[:LONGEST_NAME])


def fitting_text(name, score, font, width):
    """Name and score; if ``width`` is too small for both, the name or its beginning."""
    for text in (f"{name} {score:.2f}", name):
        if font.getlength(text) <= width:
            return text
    return next((name[:count] + "." for count in range(len(name), 0, -1) if font.getlength(name[:count] + ".") <= width), "")


def tag_size(text, font, line):
    """(width, height) of a tag, the same height for all texts."""
    _, top, _, bottom = font.getbbox("Åg")
    return round(font.getlength(text)) + 2 * line, bottom - top + 2 * line


def free_place(box, size, taken, width, height):
    """The place (x1, y1, x2, y2) of a tag near its box: within the image, and where it hides least of the tags placed before."""
    x1, y1, x2, y2 = map(round, box)
    w, h = size
    places = [(max(0, min(x, width - w)), max(0, min(y, height - h)))
              for x in (x1, x2 - w) for y in (y1 - h, y1, y2, y2 - h)]       # above, inside on top, below, inside at the bottom
    places = [(x, y, x + w, y + h) for x, y in places]
    return min(places, key=lambda place: sum(overlap(place, other) for other in taken))      # the first of equals


def overlap(one, other):
    """The area that two rectangles share."""
    w = min(one[2], other[2]) - max(one[0], other[0])
    h = min(one[3], other[3]) - max(one[1], other[1])
    return max(w, 0) * max(h, 0)


def draw_tag(pen, place, text, font, line, ground):
    """Draw a filled rectangle with the text on it."""
    x1, y1, x2, y2 = place
    pen.rectangle((x1, y1, x2 - 1, y2 - 1), fill=ground)
    pen.text((x1 + line, y1 + line - font.getbbox("Åg")[1]), text, fill=ink(ground), font=font)
