"""torch's file format since 1.6: a zip of uncompressed entries, ``NAME/data.pkl`` and one ``NAME/data/KEY`` for each storage."""

import io
import os
import zipfile

from minicnn.errors import InputError
from minicnn.weight_files.tensors import printable, read_bytes
from minicnn.weight_files.unpickler import MAX_BYTES, Unpickler

PICKLE = "/data.pkl"
HEADER_BYTES = 30               # before each entry, besides its name


def open_zip(file):
    """Open a file in the zip format; its tensors are not read yet.

    An entry's checksum is verified when it is read.

    Args:
        file: binary; it must stay open while ``read`` is used.

    Returns:
        value: the saved object, with a ``Tensor`` for each tensor.
        read: a function from a Storage to its bytes, (nbytes,) uint8.
        byteorder: "little" or "big".

    Raises:
        InputError: the zip is damaged, was not written by torch, or contains other objects than tensors.
    """
    size = os.fstat(file.fileno()).st_size
    archive = zipfile.ZipFile(file)
    check_kind(archive.namelist())
    entries = check_entries(archive.infolist(), size)
    pickles = [name for name in entries if name.endswith(PICKLE)]
    if len(pickles) != 1:
        raise InputError(f"got a zip with {len(pickles)} entries data.pkl, expected one written by torch.save. "
                         "Check that it is a weight file.")
    folder = pickles[0].removesuffix("data.pkl")
    length = entries[pickles[0]].file_size
    if length > MAX_BYTES:
        raise InputError(f"got a pickle of {length} bytes, expected at most {MAX_BYTES}. Save model.state_dict() alone.")
    value = Unpickler(io.BytesIO(archive.read(pickles[0])), length).load()

    def read(storage):
        info = entries.get(f"{folder}data/{storage.key}")
        if info is None or info.file_size != storage.nbytes:
            raise InputError(f"got {'no entry' if info is None else f'{info.file_size} bytes'} for the storage "
                             f"{printable(storage.key)}, expected {storage.nbytes} bytes. The file is damaged.")
        with archive.open(info) as entry:
            return read_bytes(entry, info.file_size)

    return value, read, read_byteorder(archive, entries.get(f"{folder}byteorder"))


def check_kind(names):
    """Raise InputError for zips that look like torch's weights, or are what a conversion makes."""
    if any(name.endswith("/constants.pkl") for name in names):
        raise InputError("got a TorchScript program (torch.jit.save), expected a state dict. In torch, save "
                         "torch.jit.load(FILE).state_dict() by torch.save and convert that.")
    if "minicnn.json" in names:
        raise InputError("got an archive of minicnn, which needs no conversion, expected a weight file of torch. Use it as it is.")


def check_entries(infos, size):
    """{name: entry}, after checking that entries are uncompressed, do not overlap, lie within the file, and have safe names."""
    end = 0
    for info in sorted(infos, key=lambda info: info.header_offset):
        name = printable(info.filename)
        if info.filename.startswith("/") or ".." in info.filename.replace("\\", "/").split("/"):
            raise InputError(f"got an entry {name} that leads out of its folder, expected torch's names. Do not trust this file.")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
            raise InputError(f"got a compressed entry {name}, expected uncompressed ones. Save the file with torch.save.")
        if info.header_offset < end:
            raise InputError(f"got an entry {name} that overlaps another, expected one after the other. The file is damaged.")
        end = info.header_offset + HEADER_BYTES + info.file_size
        info.CRC = info.CRC or None             # torch can save without checksums, as 0: None makes zipfile skip the check
    if end > size:
        raise InputError(f"got entries up to byte {end}, expected at most {size}. The file is damaged.")
    entries = {info.filename: info for info in infos}
    if len(entries) != len(infos):
        raise InputError("got two entries of the same name, expected different names. The file is damaged.")
    return entries


def read_byteorder(archive, info):
    """The byte order of the numbers; files written before torch 2.1 have no such entry, and are little-endian."""
    if info is None:
        return "little"
    order = archive.read(info)[:10].decode("ascii", "replace")
    if order not in ("little", "big"):
        raise InputError(f"got the byte order {printable(order)}, expected little or big. The file is damaged.")
    return order
