"""What ``minicnn tune`` measured: the fastest algorithm of each convolution on this machine, kept in a file.

It holds for one processor, number of threads, backend, and versions; under others it is as if nothing had been measured. Images vary
in shape, so a convolution takes what won on the nearest number of pixels, if that is near.
"""

import functools
import json
import math
import sys

from minicnn.errors import InputError
from minicnn.fast import machine
from minicnn.files import atomic_write, cache_folder, make_folder

NAME, FORMAT = "tuned.json", 1
NEAR = 1.5              # times as many pixels, or as few, that a choice still holds for


def lookup(backend, key, pixels):
    """What won.

    Args:
        backend: "numpy" or "numba".
        key: the convolution, without its number of pixels (``choose.key``).
        pixels: of its result.

    Returns:
        {"algorithm", "options", ...} as it was saved, or None. Its values come from a file, and may be anything.
    """
    sizes = table().get(setting(backend), {}).get(key, {})
    distance, nearest = min(((abs(math.log(pixels / int(size))), size) for size in sizes), default=(math.inf, None))
    return sizes[nearest] if distance <= math.log(NEAR) else None


def exactly(backend, key, pixels):
    """What was saved for just this number of pixels, or None."""
    return table().get(setting(backend), {}).get(key, {}).get(str(pixels))


def save(backend, key, pixels, entry):
    """Add an entry, with "algorithm" and "options", to the file."""
    path = tuned_file()
    make_folder(path.parent)
    read.cache_clear()                                  # another process may have added something
    settings = read(path)
    settings.setdefault(setting(backend), {}).setdefault(key, {})[str(pixels)] = entry
    with atomic_write(path) as file:
        file.write(json.dumps({"format": FORMAT, "settings": settings}, indent=1, ensure_ascii=False).encode())


def forget():
    """Remove the file; returns whether there was one."""
    read.cache_clear()
    path = tuned_file()
    try:
        path.unlink()
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InputError(f"cannot remove {path} ({error.strerror or error}), expected a file of your own. Remove it yourself.") from error
    return True


def tuned_file():
    """Where the choices are kept: beside the downloads.

    Raises:
        InputError: there is no home folder.
    """
    return cache_folder() / NAME


def setting(backend):
    """What a choice depends on, as a text."""
    packages = {"minicnn", "numpy", backend}
    return ", ".join([machine.processor(), f"{machine.cores()} cores", f"{machine.threads(backend)} threads", backend,
                      *(f"{name} {version}" for name, version in sorted(installed().items()) if name in packages)])


@functools.cache
def installed():
    return machine.versions("numba")


def table():
    """{setting: {key: {pixels: entry}}}; empty where there is nothing, or nothing that can be used."""
    try:
        return read(tuned_file())
    except InputError:
        return {}


@functools.cache
def read(path):
    """The settings of a file, once a process."""
    try:
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT:
            raise ValueError(f"format {document['format']!r}, expected {FORMAT}")
        for keys in document["settings"].values():
            for sizes in keys.values():
                for size, entry in sizes.items():
                    if int(size) < 1 or not isinstance(entry["algorithm"], str) or not all(
                            isinstance(value, int) for value in entry["options"].values()):
                        raise ValueError(f"got an entry {entry}")
        return document["settings"]
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, LookupError, AttributeError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:120]
        print(f"minicnn: warning: {path} is left aside, since it cannot be used ({reason}). Run minicnn tune --forget, and tune again.",
              file=sys.stderr)
        return {}
