"""The file of what ``minicnn tune`` measured: the fastest algorithm of each convolution on this machine.

An entry holds for one processor, number of threads, backend, and set of versions; under others it is ignored. Images vary in shape,
so a convolution uses the entry of the nearest number of pixels, if that is near.
"""

import functools
import json
import math
import sys

from minicnn.errors import InputError
from minicnn.fast import machine
from minicnn.files import atomic_write, cache_folder, make_cache_folder

NAME, FORMAT = "tuned.json", 1
NEAR = 1.5              # ratio of numbers of pixels up to which an entry holds


def lookup(backend, key, pixels):
    """The entry of a convolution for about this number of pixels.

    Args:
        backend: "numpy" or "numba".
        key: the convolution, without its number of pixels (``choose.key``).
        pixels: of its result.

    Returns:
        {"algorithm", "options", ...} as it was saved, or None. Its values come from a file, and may be anything.
    """
    sizes = entries().get(machine_key(backend), {}).get(key, {})
    distance, nearest = min(((abs(math.log(pixels / int(size))), size) for size in sizes), default=(math.inf, None))
    return sizes[nearest] if distance <= math.log(NEAR) else None


def lookup_exact(backend, key, pixels):
    """The entry of a convolution for exactly this number of pixels, or None."""
    return entries().get(machine_key(backend), {}).get(key, {}).get(str(pixels))


def save(backend, key, pixels, entry):
    """Add an entry, with "algorithm" and "options", to the file."""
    path = tuned_file()
    make_cache_folder(path.parent)
    read.cache_clear()                                  # another process may have added an entry
    settings = read(path)
    settings.setdefault(machine_key(backend), {}).setdefault(key, {})[str(pixels)] = entry
    with atomic_write(path) as file:
        file.write(json.dumps({"format": FORMAT, "settings": settings}, indent=1, ensure_ascii=False).encode())


def forget():
    """Remove the file; returns whether there was one."""
    read.cache_clear()
    path = tuned_file()
    try:
        path.unlink()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise InputError(f"cannot remove {path} ({error.strerror or error}), expected a file of your own. Remove it yourself.") from error
    return True


def tuned_file():
    """The path of the file, in the cache folder.

    Raises:
        InputError: there is no home folder.
    """
    return cache_folder() / NAME


def machine_key(backend):
    """Everything that a measurement depends on besides the convolution, in words: processor, threads, backend, versions."""
    packages = {"minicnn", "numpy", backend}
    return ", ".join([machine.processor(), f"{machine.cores()} cores", f"{machine.threads(backend)} threads", backend,
                      *(f"{name} {version}" for name, version in sorted(installed().items()) if name in packages)])


@functools.cache
def installed():
    """{package: version} of the packages that speed depends on."""
    return machine.versions("numba")


def entries():
    """{machine key: {convolution's key: {pixels: entry}}}; empty if there is no file, or no usable one."""
    try:
        return read(tuned_file())
    except InputError:
        return {}


@functools.cache
def read(path):
    """The entries of a file; it is read once in a process. If it cannot be used, a warning is printed once, and there are none."""
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, expected {FORMAT}")
        check_entries(document["settings"])
        return document["settings"]
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        print(f"minicnn: warning: {path} is ignored, since it cannot be used ({reason}). Run minicnn tune --forget, and tune again.",
              file=sys.stderr)
        return {}


def check_entries(settings):
    """Raise ValueError, or another error of a wrong type, unless every entry has the form that ``save`` writes."""
    for sizes in (sizes for keys in settings.values() for sizes in keys.values()):
        for size, entry in sizes.items():
            if int(size) < 1 or not isinstance(entry["algorithm"], str) or not all(
                    isinstance(value, int) for value in entry["options"].values()):
                raise ValueError(f"got an entry {entry}")
