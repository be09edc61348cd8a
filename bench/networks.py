"""The files of one task of ``peers.py``: its input and its network, in the form that each engine reads.

``input.npy`` is the image or the pixels; ``minicnn.npz`` ours; ``torch.pt`` the whole module; ``NAME.onnx`` is named after the exporter
that worked; ``ncnn.param`` and ``ncnn.bin`` are there for the features alone. A folder that is there is not made again.

    python bench/networks.py vgg16_features ../runs/peers/vgg16_features
"""

import json
import os
import shutil
import sys
from pathlib import Path

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
import torch
from detect import photograph
from engines import TASKS
from sane import sane_detector
from torch_twins import torch_twin
from voc import WEIGHTS

import minicnn
from minicnn.data.images import as_input
from minicnn.functional import dispatch
from minicnn.layers import Conv2d, MaxPool2d
from minicnn.weight_files.convert import convert

VGG_SIZES = {"min_size": 600, "max_size": 1000}         # the image of 384 x 512 becomes 600 x 800, in a batch of 608 x 800
EXPORTERS = {"torch.export": True, "TorchScript": False}        # the names of torch's two -> torch.onnx.export's ``dynamo``
OPSET = 18
NCNN_MAGIC = 7767517


def prepare(task, folder):
    """Write the files; the folder appears when it is complete."""
    partial = Path(f"{folder}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model = detector(TASKS[task].detector, partial)
    twin = torch_twin(model)
    if TASKS[task].features:
        write_features(model, twin, partial)
    else:
        np.save(partial / "input.npy", photograph())
        minicnn.save(partial / "minicnn.npz", model)
        torch.save(twin, partial / "torch.pt")
        export(twin, [torch.from_numpy(as_input(photograph()))], ["boxes", "labels", "scores"], partial)
    os.replace(partial, folder)


def detector(name, folder):
    """VGG16's with the real weights, the others with random ones that behave like them."""
    if name != "fasterrcnn_vgg16":
        return sane_detector(name, as_input(photograph()))
    if not WEIGHTS.exists():
        sys.exit(f"{WEIGHTS} is missing, the detector's weights. Put them there, or leave its tasks out with --tasks.")
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(WEIGHTS.with_suffix(".json").read_text()) | VGG_SIZES))
    return convert(WEIGHTS, config=config)[0]


def write_features(model, twin, folder):
    pixels = model.transform([as_input(photograph())]).pixels
    np.save(folder / "input.npy", pixels)
    np.savez(folder / "minicnn.npz", **dict(model.backbone.named_arrays()))
    torch.save(twin.backbone, folder / "torch.pt")
    export(twin.backbone, torch.from_numpy(pixels), ["map"], folder)
    write_ncnn(model.backbone, pixels.shape, folder)


def export(module, x, outputs, folder):
    """ONNX by the first of torch's exporters that can. The newer cannot read torchvision's detectors (torchvision issue 9306)."""
    for name, dynamo in EXPORTERS.items():
        options = {"external_data": False, "verbose": False} if dynamo else {}
        try:
            torch.onnx.export(module, (x,), str(folder / f"{name}.onnx"), input_names=["input"], output_names=outputs, dynamo=dynamo,
                              opset_version=OPSET, **options)
            return
        except (torch.onnx.errors.OnnxExporterError, ImportError) as error:        # ImportError: the newer needs onnxscript
            print(f"torch.onnx by {name}: {type(error).__name__}", file=sys.stderr)
    sys.exit("torch.onnx writes no ONNX file of it")


def write_ncnn(network, shape, folder):
    """VGG16's features as ncnn's two files: a line a layer, ReLU fused into the convolution; the weights one after the other."""
    _, channels, height, width = shape
    lines, last = [f"Input input 0 1 input 0={width} 1={height} 2={channels}"], "input"
    with open(folder / "ncnn.bin", "wb") as weights:
        for name, layer in network.children():
            if isinstance(layer, Conv2d):
                filters, _, side, _ = layer.weight.shape
                lines.append(f"Convolution {name} 1 1 {last} {name} 0={filters} 1={side} 4={layer.padding[0]} 5=1 "
                             f"6={layer.weight.size} 9=1")
                weights.write(bytes(4))                                     # a tag: float32 as it is
                weights.write(layer.weight.tobytes() + layer.bias.tobytes())
            elif isinstance(layer, MaxPool2d):
                lines.append(f"Pooling {name} 1 1 {last} {name} 0=0 1=2 2=2")
            else:
                continue
            last = name
    (folder / "ncnn.param").write_text("\n".join([str(NCNN_MAGIC), f"{len(lines)} {len(lines)}", *lines, ""]))


if __name__ == "__main__":
    with dispatch.use("reference"):          # the weights must not depend on what is to be measured
        prepare(sys.argv[1], sys.argv[2])
