"""The lists of a data set in PASCAL VOC's layout: which images a split holds.

A list has an image's name in each line. VOC's lists by class, such as ``cat_train.txt``, have a number behind each name: 1 where the
class is in the image, 0 where it is so as a difficult object alone, -1 where it is not. Each of them names all images of the split, so a
split whose own list is missing, as where VoTT wrote them, is what its lists by class name.
"""

import glob
import re

from minicnn.data.annotated import is_plain, shown
from minicnn.data.image_files import known_suffixes, suffix_of
from minicnn.data.voc_xml import read_bounded
from minicnn.errors import InputError
from minicnn.files import decoded

LONGEST_LIST = 64 * 2**20       # bytes; enough for five million names
NUMBERED = re.compile(r"(.*\S)\s+(?:-1|0|1)")
REPEATED = "images that are in their list more than once"
LONG_NAMES = "names in lists with a suffix or a number behind them"


def read_split(lists, split, known, data):
    """The distinct names of a split's images.

    Args:
        lists: the folder ImageSets/Main.
        split: name of the split.
        known: set of the names that have an XML file, which tell "a 1", a name, from "a 1", the name a and a number.
        data: ``AnnotatedImages``, in which repeated and unusual names are counted.

    Raises:
        InputError: there is no such list, or it is empty, not text, or has a name that is none or that can be read in two ways.
    """
    path = lists / f"{split}.txt"
    paths = [path] if is_plain(split) and path.is_file() else class_lists(lists, split)
    if not paths:
        existing = ", ".join(splits_in(lists)[:20]) or "there is none"
        raise InputError(f"got the split {shown(split)}, expected a list in {lists} ({existing}). Choose one.")
    names = {}
    for path in paths:
        names.update(dict.fromkeys(names_in(path, known, data)))
    return list(names)


def class_lists(lists, split):
    """The lists by class of a split, which have a number in each line."""
    paths = sorted(lists.glob(f"*_{glob.escape(split)}.txt")) if is_plain(split) else []
    return [path for path in paths if all(map(NUMBERED.fullmatch, list_lines(path)))]


def splits_in(lists):
    """The names of the splits that a folder has lists of, sorted."""
    names = set()
    for path in lists.glob("*.txt"):
        by_class = "_" in path.stem and all(map(NUMBERED.fullmatch, list_lines(path)))
        names.add(path.stem.rpartition("_")[2] if by_class else path.stem)
    return sorted(names)


def list_lines(path):
    """The lines of a list that are not empty."""
    try:
        lines = decoded(read_bounded(path, LONGEST_LIST)).splitlines()
    except UnicodeDecodeError as error:
        raise InputError(f"got {path}, which is not text, expected one name per line. Make it again.") from error
    return list(filter(None, map(str.strip, lines)))


def names_in(path, known, data):
    """The distinct names in a list."""
    lines = list_lines(path)
    if not lines:
        raise InputError(f"got {path} without names, expected one per line. Choose another split.")
    numbered, names = all(map(NUMBERED.fullmatch, lines)), {}
    for line in lines:
        name = name_of(line, known, numbered, path)
        if not is_plain(name):
            raise InputError(f"got the name {shown(line)} in {path}, expected the name of an image in the folder. Remove the line.")
        data.normalise(REPEATED, name in names)
        data.normalise(LONG_NAMES, name != line)
        names[name] = None
    return list(names)


def name_of(line, known, numbered, path):
    """The image's name in a line: the line itself, without the file's suffix, without a number behind it, whichever has an XML file."""
    match = NUMBERED.fullmatch(line)
    whole, short = ([name for name in (text, without_suffix(text)) if name in known] for text in (line, match[1] if match else line))
    if match and numbered and whole and short:
        raise InputError(f"got {shown(line)} in {path}, which may be the name {shown(whole[0])} or {shown(short[0])} with a number, "
                         "expected one that can be told. Remove the numbers from the list.")
    return [*whole, *short, without_suffix(match[1] if match and numbered else line)][0]


def without_suffix(text):
    """a.jpg -> a; other dots are part of the name."""
    suffix = suffix_of(text)
    return text[:-len(suffix)] if suffix and (suffix == ".xml" or known_suffixes({suffix})) else text
