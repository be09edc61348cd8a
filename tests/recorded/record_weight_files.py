"""Record weight files of every kind, and the arrays that torch reads from them: ``python tests/recorded/record_weight_files.py``.

Needs the ``parity`` extra and ``safetensors``. Writes a few kB each into ``weight_files/``, and ``expected.npz``: the arrays of
each file under ``FILE/NAME``. Formats that torch no longer writes are written byte by byte, and read by torch here.
"""

import io
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from torch_files import Code, built, call, encode, legacy_file, name, storage  # noqa: E402

FOLDER = Path(__file__).with_name("weight_files")
NUMBERS = np.arange(6, dtype="<f4") / 4 - 1


def state_dict():
    """Tensors of every kind: each dtype, shared, transposed, empty, a parameter."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(4, 6, generator=generator)
    state = OrderedDict({
        "weight": weight, "tied": weight, "slice": weight[1:, 2:].T, "row": weight[2], "expanded": weight[0, 3].expand(5),
        "parameter": torch.nn.Parameter(torch.randn(3, 2, generator=generator)), "scalar": torch.tensor(2.5),
        "num_batches_tracked": torch.tensor(7), "empty": torch.zeros(0, 4), "ünïcode": torch.ones(1),
    })
    for dtype in (torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8,
                  torch.uint16, torch.uint32, torch.uint64):
        state[str(dtype).removeprefix("torch.")] = (torch.randn(2, 3, generator=generator) * 50).abs().to(dtype)
    state["bool"] = torch.tensor([True, False, True])
    state._metadata = OrderedDict({"": {"version": 1}, "layer": {"version": 2}})
    return state


def save(value, **options):
    stream = io.BytesIO()
    torch.save(value, stream, **options)
    return stream.getvalue()


def big_endian(data):
    """A file as a big-endian machine writes it: each number's four bytes reversed, and the byte order noted."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(stream, "w") as new:
        for info in old.infolist():
            content = old.read(info)
            if "/data/" in info.filename:
                content = np.frombuffer(content, "<f4").astype(">f4").tobytes()
            new.writestr(zipfile.ZipInfo(info.filename), b"big" if info.filename.endswith("byteorder") else content)
    return stream.getvalue()


def old_tensor(count, size, stride, offset=0, window=(None,)):
    return call("torch._utils._rebuild_tensor", storage("94", count, window=window), offset, size, stride)


def python2():
    """As torch 0.1 wrote under Python 2: parameters around tensors, an OrderedDict of pairs, short text."""
    text = [Code(b"U" + bytes([len(key)]) + key) for key in (b"conv.weight", b"conv.bias", b"fc.weight")]
    hooks = call("collections.OrderedDict", [])
    first = built(call("torch.nn.parameter.Parameter", old_tensor(6, (2, 3), (3, 1))), (True, False, hooks))
    older = built(Code(name("torch.nn.parameter.Parameter") + encode(()) + b"\x81"), (old_tensor(6, (2,), (1,), 4), None, hooks, True,
                                                                                    False))
    value = call("collections.OrderedDict", [[text[0], first], [text[1], older], [text[2], old_tensor(6, (3, 2), (1, 3))]])
    return legacy_file(value, {"94": (6, NUMBERS.tobytes())})


def windows():
    """As torch 0.3 wrote a storage that is part of another."""
    value = call("collections.OrderedDict")
    items = {"whole": old_tensor(6, (6,), (1,)), "part": old_tensor(6, (3,), (1,), 1, (("95", 2, 4),))}
    return legacy_file(Code(value + encode(items)[1:]), {"94": (6, NUMBERS.tobytes())}, little_endian=False)


def training():
    """A training checkpoint as ``DataParallel`` on several GPUs writes it."""
    torch.manual_seed(0)
    model = torch.nn.DataParallel(torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2)))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    return {"epoch": 3, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "best": 0.5, "name": None, "done": False,
            "device": torch.device("cpu"), "dtype": torch.float32, "shape": torch.Size([4, 3])}


def main():
    FOLDER.mkdir(exist_ok=True)
    state, plain = state_dict(), OrderedDict({"a": torch.arange(6.0).reshape(2, 3), "b": torch.tensor([1, -2], dtype=torch.int32)})
    old = OrderedDict((key, value) for key, value in state.items() if not key.startswith("uint") or key == "uint8")
    files = {"zip.pth": save(state), "zip_protocol4.pth": save(state, pickle_protocol=4), "big_endian.pth": big_endian(save(plain)),
             "legacy.pth": save(old, _use_new_zipfile_serialization=False),
             "legacy_protocol4.pth": save(old, _use_new_zipfile_serialization=False, pickle_protocol=4),
             "training.pth": save(training()), "training_legacy.pth": save(training(), _use_new_zipfile_serialization=False),
             "python2.pth": python2(), "windows.pth": windows(),
             "net.safetensors": safetensors.torch.save({key: value.contiguous().clone() for key, value in state.items()},
                                                       {"format": "pt"})}
    expected = {}
    for file, data in files.items():
        (FOLDER / file).write_bytes(data)
        read = safetensors.torch.load(data) if file.endswith("safetensors") else torch.load(io.BytesIO(data), weights_only=False)
        for key, value in read.get("model", read).items():
            value = value.detach()
            value = value.float() if value.dtype == torch.bfloat16 else value
            expected[f"{file}/{key.removeprefix('module.')}"] = value.numpy()
        print(f"{len(read)} entries, {len(data)} bytes: {file}")
    np.savez_compressed(FOLDER / "expected.npz", **expected)


if __name__ == "__main__":
    main()
