"""Fonts for labels: the first that has all letters of a label, of Pillow's own, one the user names, and those of the system.

Pillow does not say which letters a font has, but draws the same crossed box for all that it lacks. Letters that no font has are drawn as
question marks.
"""

import subprocess
import unicodedata
import warnings
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from minicnn.errors import InputError

# tried in this order, then what fontconfig proposes; Pillow searches the system's folders for them
SYSTEM = ("DejaVuSans.ttf", "NotoSans-Regular.ttf", "NotoSansCJK-Regular.ttc", "NotoSansArabic-Regular.ttf", "wqy-microhei.ttc",
          "wqy-zenhei.ttc", "DroidSansFallbackFull.ttf", "FreeSans.ttf", "arial.ttf", "segoeui.ttf", "msyh.ttc", "msgothic.ttc",
          "malgun.ttf", "Arial Unicode.ttf", "PingFang.ttc")
PROBE = 40                      # pixels, at which letters are compared with the box
NO_LETTER = "\U0010ffff"        # never a letter, so that every font draws its box for it
SECONDS = 5                     # that fontconfig may take


class Face(NamedTuple):
    """A font of any size: a file and the number of the font in it; without a file Pillow's own."""

    file: str | None = None
    number: int = 0

    def at(self, size: int) -> Any:
        """Pillow's font at that size in pixels."""
        from PIL import ImageFont
        if self.file is not None:
            return ImageFont.truetype(self.file, size, self.number)
        try:
            return ImageFont.load_default(size)
        except (TypeError, ImportError):                            # before Pillow 10.1, or without FreeType: small letters of one size
            return ImageFont.load_default()


    def has_sizes(self):
        """Whether it has letters of any size; Pillow's own font has since Pillow 10.1, with FreeType."""
        return hasattr(self.at(PROBE), "getname")


class Label(NamedTuple):
    """How a name is drawn: its text, in which letters that no font has are question marks, and the font."""

    text: str
    face: Face


@lru_cache(maxsize=10_000)
def drawable(name: str, font: str | Path | None = None) -> Label:
    """How to draw a name.

    Args:
        name: the text.
        font: file of the font to prefer, or None: Pillow's own.

    Returns:
        label: its text and font; there is a warning, once for each name, if the text is not the name.

    Raises:
        InputError: ``font`` cannot be read as a font.
    """
    letters = frozenset(letter for letter in name if visible(letter))
    best, missing = None, letters
    for face in faces(letters, None if font is None else given(font)):
        lacking = frozenset() if face == Face() and name.isascii() else lacking_letters(face, letters)
        if best is None or len(lacking) < len(missing):
            best, missing = face, lacking
        if not missing:
            return Label(name, best)
    warnings.warn(f"the label '{name}' is drawn with '?' for {' '.join(sorted(missing))}, which no font here has; give one that does, "
                  "by --font or font=", stacklevel=2)
    return Label("".join("?" if letter in missing else letter for letter in name), best or Face())


def visible(letter):
    """Whether a letter has a picture of its own: no space, no mark for the layout."""
    return not letter.isspace() and unicodedata.category(letter) not in ("Cf", "Mn")


def faces(letters: Iterable[str], first: Face | None) -> Iterator[Face]:
    """The fonts to try for some letters."""
    if first is not None:
        yield first
    own = Face()
    if own.has_sizes():
        yield own
    yield from filter(None, map(system_face, SYSTEM))
    if not own.has_sizes():
        yield own
    proposal = proposed_face(frozenset(letters))
    if proposal is not None:
        yield proposal


@lru_cache
def given(font):
    """The face in a file."""
    from PIL import ImageFont
    try:
        ImageFont.truetype(str(font), PROBE)
    except (OSError, ImportError) as error:
        raise InputError(f"got {font}, which cannot be read as a font ({error}), expected a TrueType or OpenType file. Check the "
                         "path.") from error
    return Face(str(font))


@lru_cache
def system_face(name):
    """The face in a file of that name in the system's folders, or None."""
    from PIL import ImageFont
    try:
        return Face(ImageFont.truetype(name, PROBE).path)
    except (OSError, ImportError):
        return None


@lru_cache(maxsize=1000)
def proposed_face(letters):
    """What fontconfig proposes for some letters, or None where it is not installed."""
    codes = " ".join(f"{ord(letter):x}" for letter in sorted(letters))
    try:
        done = subprocess.run(["fc-match", "--format=%{file}\n%{index}", f"sans:charset={codes}"], capture_output=True, text=True,
                              timeout=SECONDS)
        file, index = done.stdout.split("\n")
        face = Face(file, int(index) & 0xffff)                      # the high bits choose an instance of a variable font
        face.at(PROBE)
    except (OSError, ImportError, ValueError, subprocess.SubprocessError):
        return None
    return face


@lru_cache(maxsize=1000)
def lacking_letters(face, letters):
    """Those of the letters for which a font draws its box."""
    font = face.at(PROBE)

    def picture(letter):
        mask = font.getmask(letter)
        return mask.size, bytes(mask)
    if not face.has_sizes():                                        # it raises an error for others
        return frozenset(letter for letter in letters if not letter.isascii())
    box = picture(NO_LETTER)
    return frozenset(letter for letter in letters if picture(letter) == box)


def warnings_of(names: Iterable[str], font: str | Path | None = None) -> list[str]:
    """Choose the fonts of some names before they are drawn: the warnings there are, which later drawing does not repeat."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for name in names:
            drawable(name, font)
    return [str(warning.message) for warning in caught]
