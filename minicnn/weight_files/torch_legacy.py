"""torch's legacy file format (before 1.6): five pickles, then the storages, one after the other.

The pickles are a magic number, a version, facts about the machine, the object, and the storages' keys. Each storage is an int64,
its number of elements, and its bytes. The bytes are little-endian whatever machine wrote them: on a big-endian one torch swaps
them. The facts about the machine are not needed.
"""

import os

from minicnn.errors import InputError
from minicnn.weight_files.tensors import itemsize, printable, read_bytes
from minicnn.weight_files.unpickler import Unpickler

MAGIC = 0x1950A86A20F9469CFC6C
VERSION = 1001


def open_legacy(file):
    """Open a file in the legacy format; its tensors are not read yet.

    Args:
        file: binary, at its beginning; it must stay open while ``read`` is used.

    Returns:
        value: the saved object, with a ``Tensor`` for each tensor.
        read: a function from a Storage to its bytes, (nbytes,) uint8.
        byteorder: "little".

    Raises:
        InputError: the file has another format, is damaged, or contains other objects than tensors.
    """
    size = os.fstat(file.fileno()).st_size
    unpickler = Unpickler(file, size)
    if unpickler.load() != MAGIC:
        raise InputError("got a pickle that is not torch's, expected a state dict saved by torch.save.")
    version, _, value, keys = (unpickler.load() for _ in range(4))
    if version != VERSION:
        raise InputError(f"got torch's legacy format of version {printable(version)}, expected {VERSION}. Save it with a newer torch.")
    if type(keys) is not list:
        raise damaged()
    places = find_storages(file, size, keys, unpickler.storages)

    def read(storage):
        if storage.key not in places or places[storage.key][1] != storage.nbytes:
            raise damaged()
        place, nbytes = places[storage.key]
        file.seek(place)
        return read_bytes(file, nbytes)

    return value, read, "little"


def find_storages(file, size, keys, storages):
    """{key: (offset in the file, bytes)} of the storages, from the number of elements before each."""
    places = {}
    place = file.tell()
    for key in keys:
        if not isinstance(key, str) or key not in storages:
            raise damaged()
        file.seek(place)
        count = int.from_bytes(file.read(8), "little", signed=True)
        place, nbytes = place + 8, count * itemsize(storages[key].dtype)
        if not 0 <= nbytes <= size - place:
            raise InputError("got a file that ends within a storage, expected all of its numbers. The file is truncated.")
        places[key] = place, nbytes
        place += nbytes
    return places


def damaged():
    return InputError("got storages that do not match the tensors, expected one for each tensor. The file is damaged.")
