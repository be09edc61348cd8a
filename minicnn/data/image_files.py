"""Which files are images, by their names: what a folder or a pattern yields, and what of it cannot be read.

The list of suffixes is Pillow's where it is installed. A file that has an image's suffix is always found, also if it cannot be read (a
camera's raw file, a link to nowhere): reading it then says why. Nothing else is left out of a folder without being counted.
"""

import glob
import os
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from minicnn.errors import InputError
from minicnn.plural import counted

# in the order in which files of the same name are preferred
SUFFIXES = (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".avif", ".jp2", ".ppm", ".pgm",
            ".pbm", ".pnm", ".npy")
RAW = {".3fr", ".arw", ".cr2", ".cr3", ".crw", ".dcr", ".dng", ".erf", ".iiq", ".kdc", ".mef", ".mos", ".mrw", ".nef", ".nrw", ".orf",
       ".pef", ".raf", ".raw", ".rw2", ".rwl", ".sr2", ".srf", ".srw", ".x3f"}         # of cameras
UNREADABLE = RAW | {".heic", ".heif", ".hif", ".jxl"}               # unless a plugin of Pillow reads them
NO_PICTURES = {"EPS", "MPEG"}   # Pillow opens them, but would run the first and cannot decode the second


def find_images(arguments: Iterable[str | Path], on_others: Callable[[str], None] | None = None) -> list[Path]:
    """Find the image files that a command's arguments name.

    Args:
        arguments: paths of files, of folders (the files directly in them that have an image's suffix, sorted), and patterns such as
            ``shots/*.png``, in which the folders that exist are taken as they are named, brackets and all: ``'shots [2024]/*.jpg'``.
        on_others: called with a line about what else a folder holds, which is left out.

    Returns:
        paths: each file once, in the arguments' order, files that do not exist or cannot be read included: ``read_image`` reports them.

    Raises:
        InputError: a folder or a pattern yields no image, or a folder cannot be read.
    """
    paths: dict[str, Path] = {}
    for argument in map(str, arguments):
        if os.path.isdir(argument):
            found = images_in(argument, on_others)
        elif not os.path.lexists(argument) and glob.has_magic(argument):
            found = matches(Path(argument))
        else:
            found = [Path(argument)]
        if not found:
            raise InputError(f"got {argument}, which has no images, expected some ({' '.join(SUFFIXES)}). Check the path.")
        for path in found:
            paths.setdefault(os.path.abspath(path), path)
    return list(paths.values())


def matches(pattern):
    """The files of a pattern, sorted. Its brackets are a choice of letters, or, if nothing is found so, themselves."""
    folder = next(parent for parent in pattern.parents if parent.is_dir())
    rest = str(pattern.relative_to(folder))
    for text in (rest, rest.replace("[", "[[]")):
        found = [Path(folder, name) for name in sorted(glob.glob(text, root_dir=folder, recursive=True))]
        if found := [path for path in found if not path.is_dir()]:
            return found
    return []


def images_in(folder: str | Path, on_others: Callable[[str], None] | None = None) -> list[Path]:
    """The files directly in a folder that have an image's suffix, sorted, without hidden ones; ``on_others`` is as in ``find_images``."""
    try:
        with os.scandir(folder) as entries:
            shown = {entry.name: entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    except OSError as error:
        raise InputError(f"got the folder {folder}, which cannot be read ({error.strerror}), expected one of images. Check its "
                         "permissions.") from error
    files = [name for name in sorted(shown) if not shown[name]]
    suffixes = known_suffixes({suffix_of(name) for name in files})
    found = [Path(folder, name) for name in files if suffix_of(name) in suffixes]
    if on_others is not None and 0 < len(found) < len(shown):
        others = Counter(suffix_of(name) or "without a suffix" for name in files if suffix_of(name) not in suffixes)
        on_others(others_line(folder, others, len(shown) - len(files)))
    return found


def others_line(folder, others, folders):
    """What a folder holds besides images: {suffix: number of files}, and the number of folders."""
    kinds = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5)) + ", ..." * (len(others) > 5)
    number = others.total()
    parts = [f"{counted(number, 'other file')} ({kinds})"] * bool(number)
    parts += [counted(folders, "folder")] * bool(folders)
    return f"left out of {folder}: {' and '.join(parts)}"


def suffix_of(path):
    """A file's suffix in lower case, such as ".jpg"."""
    return os.path.splitext(path)[1].lower()


def known_suffixes(suffixes):
    """Those of the suffixes that images have. Pillow is asked, and so imported, only about one that is not listed here."""
    known = suffixes & {*SUFFIXES, *UNREADABLE}
    return known if known == suffixes else known | suffixes & pillow_suffixes()


def pillow_suffixes():
    """The suffixes of the formats that Pillow decodes; none if it is not installed."""
    try:
        from PIL import Image, ImageFile
    except ImportError:
        return set()
    Image.init()
    # a stub only recognises a format: its images cannot be decoded without another library
    formats = {name for name, (factory, _) in Image.OPEN.items()
               if not (isinstance(factory, type) and issubclass(factory, ImageFile.StubImageFile))} - NO_PICTURES
    return {suffix for suffix, name in Image.registered_extensions().items() if name in formats}


def preferred(path: Path, other: Path) -> Path:
    """Of two images of the same name the one that can be read, or whose suffix comes first in ``SUFFIXES``."""
    def rank(path):
        suffix = suffix_of(path)
        return not path.is_file(), suffix in UNREADABLE, SUFFIXES.index(suffix) if suffix in SUFFIXES else len(SUFFIXES)
    return min(path, other, key=rank)
