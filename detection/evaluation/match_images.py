"""Which image of a data set a name in a file of detections stands for.

The name is a path as it was typed where the detections were made, a file name without its suffix (VOC's comp4), or an id. The image whose
path ends with most of the same folders is taken; a number is an id only where no file has that name. What fits several images, or an image
that another name stands for as well, is refused.
"""

import itertools
import os
import posixpath
import unicodedata
from pathlib import PurePosixPath
from typing import NamedTuple

from minicnn.data.annotated import shown
from minicnn.data.image_files import SUFFIXES, UNREADABLE
from minicnn.detection.detect import printable
from minicnn.errors import InputError

PATH, STEM, ID = "path", "stem", "id"       # what the names of a file of detections are
LONGEST_ID = 20                             # digits


class Match(NamedTuple):
    """The image of a name, or several that it fits equally well.

    Args:
        indices: of the images.
        shared: components at the end of both paths that are equal.
        apart: whether both paths go on before these, and so differ.
        attempt: 0 if the name fits as it should, 1 if only with or without its suffix.
    """

    indices: list
    shared: int
    apart: bool
    attempt: int

    def rank(self):
        """Of several names of one image, that of the lowest rank stands for it."""
        return self.apart, -self.shared if self.apart else 0


def match_images(names, annotated, source, form):
    """Find the image of each name.

    Args:
        names: the distinct names in a file of detections.
        annotated: ``AnnotatedImages``.
        source: what messages call the file.
        form: ``PATH``; ``STEM``: paths without their suffix; ``ID``: ids of COCO's results.

    Returns:
        indices: {name: index of the image}, without names that stand for none.
        notes: a line for each thing that was taken for granted.

    Raises:
        InputError: a name fits several images, or several names one image.
    """
    ids = indices_by_id(names, annotated)
    if form == ID:
        files = indices_by_number(names, [{PurePosixPath(image.path).stem} for image in annotated.images])
        return ids, differing(ids, files, f"The images in {source} are matched by their ids, although all are file names, too")
    files = Files(annotated)
    matches = {name: match for name in names if (match := files.find(name, form)) is not None}
    if not matches:
        return ids, [f"The images in {source} are matched by their ids, since no file has such a name."] * bool(ids)
    matches = without_strangers(matches)
    check_single(matches, files, source)
    matches = without_rivals(matches, files, source)
    indices = {name: match.indices[0] for name, match in matches.items()}
    return indices, [*differing(indices, ids, f"The images in {source} are matched by their file names, although all are ids, too"),
                     *notes(matches, files, source, form)]


def differing(taken, other, line):
    """The line if the names could all be read the other way as well, and then meant other images; else nothing."""
    return [f"{line}, of other images."] * (other.keys() >= taken.keys() and any(other[name] != index for name, index in taken.items()))


def notes(matches, files, source, form):
    """A line for each way in which names differ from the paths that they were matched with."""
    lines = []
    for text, names in (("in other folders", [name for name, match in matches.items() if match.apart]),
                        ("of another suffix", [name for name, match in matches.items() if match.attempt and form == PATH])):
        if names:
            lines.append(f"{len(names)} images in {source} are matched with files {text}, such as {shown(names[0])} with "
                         f"{shown(files.paths[matches[names[0]].indices[0]])}.")
    return lines


def without_strangers(matches):
    """The matches without those that fit less than others: where some files have that suffix, or that folder, others are other images."""
    best = min(match.attempt for match in matches.values())
    matches = {name: match for name, match in matches.items() if match.attempt == best}
    if any(match.shared > 1 and not match.apart for match in matches.values()):
        matches = {name: match for name, match in matches.items() if not match.apart}
    return matches


def check_single(matches, files, source):
    """Raise InputError for a name that fits several images equally well."""
    for name, match in matches.items():
        if len(match.indices) > 1:
            listed = ", ".join(shown(files.paths[index]) for index in match.indices[:3])
            more = ", ..." * (len(match.indices) > 3)
            raise InputError(f"got the image {shown(name)} in {source}, which may be {listed}{more}, expected one image. Write "
                             "more of its path.")


def without_rivals(matches, files, source):
    """The matches without those whose image another name fits better; raises InputError if two fit equally well."""
    rivals = {}
    for name, match in matches.items():
        rivals.setdefault(match.indices[0], []).append(name)
    kept = {}
    for index, names in rivals.items():
        first, *others = sorted(names, key=lambda name: matches[name].rank())
        if others and matches[first].rank() == matches[others[0]].rank():
            raise InputError(f"got the image {files.paths[index]} twice in {source}, as {shown(first)} and as {shown(others[0])}, expected "
                             "it once. Remove one of them.")
        kept[first] = matches[first]
    return kept


class Files:
    """The files of a data set, to be found by the end of their path.

    Args:
        annotated: ``AnnotatedImages``.
    """

    def __init__(self, annotated):
        self.paths = [printable(os.path.abspath(image.path)) for image in annotated.images]
        self.whole, self.stems = Ends(self.paths), Ends(map(stem, self.paths))

    def find(self, name, form):
        """The ``Match`` of a name, or None."""
        attempts = [(name, self.whole), (stem(name), self.stems)]
        if form == STEM:
            attempts = [(name, self.stems), (name, self.whole)]
        elif suffix(name).lower() not in {*SUFFIXES, *UNREADABLE}:
            attempts[1] = name, self.stems
        for number, (text, ends) in enumerate(attempts):
            indices = ends.longest(text)
            if len(indices) > 1:
                indices = self.in_place(name, indices)
            if indices:
                parts, paths = components(text), [ends.components[index] for index in indices]
                length = shared(parts, paths[0])
                return Match(indices, length, length < min(map(len, (parts, *paths))), number)
        return None

    def in_place(self, name, indices):
        """Those of the images that are the file of that path, seen from the current folder; all if none is."""
        for place in (os.path.abspath, os.path.realpath):
            found = [index for index in indices if place(self.paths[index]) == place(name)]
            if found:
                return found
        return indices


class Ends:
    """Paths by what they end with.

    Args:
        paths: texts.
    """

    def __init__(self, paths):
        self.raw = [components(path, as_written=True) for path in paths]
        self.components = [components("/".join(parts)) for parts in self.raw]
        self.table, self.split = {}, set()              # {end: indices}, for ends of one component, and of more where they are needed
        for index, parts in enumerate(self.components):
            self.table.setdefault(parts[-1:], []).append(index)

    def longest(self, text):
        """The indices of the paths that share the most components at the end with this one, at least the last."""
        parts, length = components(text), 1
        found = self.table.get(parts[-1:], []) if parts else []
        while len(found) > 1 and length < len(parts):
            self.lengthen(parts[-length:], found)
            length += 1
            longer = self.table.get(parts[-length:])
            if not longer:
                break
            found = longer
        if len(found) > 1:                              # equal but for the form of letters and separators
            raw = components(text, as_written=True)
            most = max(shared(raw, self.raw[index]) for index in found)
            found = [index for index in found if shared(raw, self.raw[index]) == most]
        return found

    def lengthen(self, end, indices):
        """Put these paths, which have that end, into the table by ends that are one component longer."""
        if end not in self.split:
            self.split.add(end)
            for index in indices:
                parts = self.components[index]
                if len(parts) > len(end):
                    self.table.setdefault(parts[-len(end) - 1:], []).append(index)


def components(text, as_written=False):
    """The folders and the file of a path of any system.

    Args:
        as_written: only this system's separators count, and letters with accents stay as they are coded.

    >>> components("./shots\\\\a/../1.jpg"), components("../b/1.jpg")
    (('shots', '1.jpg'), ('b', '1.jpg'))
    """
    text = text.replace(os.sep, "/")
    if not as_written:
        text = unicodedata.normalize("NFC", text).replace("\\", "/")
    folders, _, file = text.rpartition("/")
    parts = [part for part in posixpath.normpath(folders).split("/") if part not in ("", ".", "..")]
    return (*parts, file) if file else tuple(parts)             # the file stays as it is: the stem of "..jpg" is "."


def shared(one, other):
    """The number of components at the end of two paths that are equal."""
    return sum(1 for _ in itertools.takewhile(lambda pair: pair[0] == pair[1], zip(reversed(one), reversed(other))))


def suffix(text):
    return PurePosixPath(text.replace("\\", "/")).suffix


def stem(text):
    """A path without its suffix."""
    return text.removesuffix(suffix(text))


def indices_by_id(names, annotated):
    """{name: index} of the names that are an image's in its data set; if there are none, of numbers that one image has as its name."""
    own = {image.name: index for index, image in enumerate(annotated.images)}
    found = {name: own[name] for name in names if name in own}
    return found or indices_by_number(names, [{image.name, PurePosixPath(image.path).stem} for image in annotated.images])


def indices_by_number(names, texts):
    """{name: index} of the names that are a number as only one image's texts are; texts: a set for each image."""
    numbers = {}
    for index, own in enumerate(texts):
        for number in set(map(number_of, own)) - {None}:
            numbers.setdefault(number, []).append(index)
    return {name: numbers[number_of(name)][0] for name in names if len(numbers.get(number_of(name), ())) == 1}


def number_of(text):
    """The whole number that a text is, or None."""
    return int(text) if text.isdecimal() and len(text) <= LONGEST_ID else None
