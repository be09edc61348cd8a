"""Files in torch's formats, written byte by byte: what old versions of torch wrote, and what no version would."""

import io
import pickle
import struct
import zipfile

MAGIC = 0x1950A86A20F9469CFC6C


class Code(bytes):
    """Pickle opcodes that leave one object on the stack."""


def encode(value):
    """The pickle opcodes of a value; ``Code`` is returned as it is."""
    if isinstance(value, Code):
        return value
    if isinstance(value, tuple):
        return Code(b"(" + b"".join(map(encode, value)) + b"t")
    if isinstance(value, list):
        return Code(b"](" + b"".join(map(encode, value)) + b"e")
    if isinstance(value, dict):
        return Code(b"}(" + b"".join(encode(key) + encode(one) for key, one in value.items()) + b"u")
    return Code(pickle.dumps(value, 2)[2:-1])           # None, numbers, text: without protocol and end


def name(full):
    module, _, last = full.rpartition(".")
    return Code(f"c{module}\n{last}\n".encode())


def stacked_name(full):
    module, _, last = full.rpartition(".")
    return Code(encode(module) + encode(last) + b"\x93")


def call(full, *arguments):
    return Code(name(full) + encode(arguments) + b"R")


def built(value, state):
    """A value whose state is then set by BUILD."""
    return Code(encode(value) + encode(state) + b"b")


def storage(key="0", count=6, kind="torch.FloatStorage", window=()):
    return Code(encode(("storage", name(kind), key, "cpu", count, *window)) + b"Q")


def tensor(row, size, stride, offset=0):
    return call("torch._utils._rebuild_tensor_v2", row, offset, size, stride, False, call("collections.OrderedDict"))


def program(value):
    return b"\x80\x02" + encode(value) + b"."


def zip_file(value, storages, folder="net", **entries):
    """A file in the zip format: a value, {key: bytes}, and other entries by name."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for entry, data in {"data.pkl": program(value), **entries, **{f"data/{key}": data for key, data in storages.items()}}.items():
            archive.writestr(zipfile.ZipInfo(f"{folder}/{entry}"), data)
    return stream.getvalue()


def legacy_file(value, storages, keys=None, version=1001, little_endian=True):
    """A file in the legacy format: a value and {key: (count, bytes)}."""
    facts = {"protocol_version": version, "little_endian": little_endian, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    pickles = [MAGIC, version, facts, value, list(storages) if keys is None else keys]
    return b"".join([*map(program, pickles), *(struct.pack("<q", count) + data for count, data in storages.values())])


def weight_file(arrays, write=zip_file, kind="torch.FloatStorage", wrap=lambda tensors: tensors):
    """A weight file of {name: array}; write: the format, kind: of the storages, wrap: makes the saved object of {name: tensor}."""
    tensors = {name: tensor(storage(str(key), array.size, kind), array.shape, tuple(step // array.itemsize for step in array.strides))
               for key, (name, array) in enumerate(arrays.items())}
    data = {str(key): array.tobytes() for key, array in enumerate(arrays.values())}
    if write is legacy_file:
        data = {key: (array.size, data[key]) for key, array in zip(data, arrays.values())}
    return write(wrap(tensors), data)
