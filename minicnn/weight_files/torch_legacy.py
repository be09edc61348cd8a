"""torch's older file format (before 1.6): five pickles back to back, then the storages one after the other.

The pickles: a magic number, a version, facts of the machine, the object, the storages' keys. Each storage is an int64, its
number of elements, and its bytes. They are little-endian whatever machine wrote them: torch turns them round on a big-endian
one, and reads no more of the facts.
"""

import os

from minicnn.errors import InputError
from minicnn.weight_files.tensors import itemsize, read_bytes
from minicnn.weight_files.unpickler import Unpickler

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001


def open_legacy(file):
    """The object in a file of the older format, its tensors still claims.

    Args:
        file: binary, at its beginning; it must stay open while ``read`` is used.

    Returns:
        value: the saved object.
        read: function of a Storage, giving its bytes, (nbytes,) uint8.
        byteorder: "little".

    Raises:
        InputError: the file is of another kind, damaged, or names what no tensor needs.
    """
    size = os.fstat(file.fileno()).st_size
    unpickler = Unpickler(file, size)
    if unpickler.load() != MAGIC:
        raise InputError("got a pickle that is not torch's, expected a state dict saved by torch.save.")
    version, _, value, keys = (unpickler.load() for _ in range(4))
    if version != VERSION or type(keys) is not list:
        raise InputError(f"got torch's older format in another version than {VERSION}, expected that. Save it with a newer torch.")
    places = find_storages(file, size, keys, unpickler.storages)

    def read(storage):
        if storage.key not in places or places[storage.key][1] != storage.nbytes:
            raise damaged()
        place, nbytes = places[storage.key]
        file.seek(place)
        return read_bytes(file, nbytes)

    return value, read, "little"


def find_storages(file, size, keys, storages):
    """{key: (place in the file, bytes)}, by the counts in front of each storage."""
    places = {}
    place = file.tell()
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise damaged()
        file.seek(place)
        count = int.from_bytes(file.read(8), "little", signed=True)
        place, nbytes = place + 8, count * itemsize(storages[key].dtype)
        if not 0 <= nbytes <= size - place:
            raise InputError("got a file that ends within its numbers, expected all of them. The file is truncated.")
        places[key] = place, nbytes
        place += nbytes
    return places


def damaged():
    return InputError("got storages that are not those of the tensors, expected the same. The file is damaged.")
