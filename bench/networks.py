"""The files of one task of ``peers.py``: its input and its network, in the form that each engine reads.

``input.npy`` is the image or the pixels; ``minicnn.npz`` our network; ``torch.pt`` the whole module; ``NAME.onnx`` is named after the
exporter that worked; ``ncnn.param`` and ``ncnn.bin`` are written for the features alone. A folder that exists is not made again.

    python bench/networks.py vgg16_features ../runs/peers/vgg16_features
"""

import os
import shutil
import sys
from pathlib import Path

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
import torch
from engines import TASKS
from ncnn_files import write_ncnn
from timed_detectors import photograph, real_or_tuned_detector
from torch_twins import torch_twin
from voc import WEIGHTS

import minicnn
from minicnn.data.images import as_input
from minicnn.functional import dispatch

EXPORTERS = {"torch.export": True, "TorchScript": False}        # the names of torch's two -> torch.onnx.export's ``dynamo``
OPSET = 18


def prepare(task, folder):
    """Write the files; the folder appears when it is complete."""
    if TASKS[task].detector == "fasterrcnn_vgg16" and not WEIGHTS.exists():
        sys.exit(f"{WEIGHTS} is missing, the detector's weights. Put them there, or leave its tasks out with --tasks.")
    partial = Path(f"{folder}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    model = real_or_tuned_detector(TASKS[task].detector, partial)
    twin = torch_twin(model)
    if TASKS[task].features:
        write_features(model, twin, partial)
    else:
        np.save(partial / "input.npy", photograph())
        minicnn.save(partial / "minicnn.npz", model)
        torch.save(twin, partial / "torch.pt")
        export(twin, [torch.from_numpy(as_input(photograph()))], ["boxes", "labels", "scores"], partial)
    os.replace(partial, folder)


def write_features(model, twin, folder):
    """The backbone alone, and the batch that the detector's transform makes of the photograph."""
    pixels = model.transform([as_input(photograph())]).pixels
    np.save(folder / "input.npy", pixels)
    np.savez(folder / "minicnn.npz", **dict(model.backbone.named_arrays()))
    torch.save(twin.backbone, folder / "torch.pt")
    export(twin.backbone, torch.from_numpy(pixels), ["map"], folder)
    write_ncnn(model.backbone.children(), pixels.shape, folder)


def export(module, x, outputs, folder):
    """Write ONNX by the first of torch's exporters that can. The newer one cannot read its detectors (torchvision issue 9306)."""
    for name, dynamo in EXPORTERS.items():
        options = {"external_data": False, "verbose": False} if dynamo else {}
        try:
            torch.onnx.export(module, (x,), str(folder / f"{name}.onnx"), input_names=["input"], output_names=outputs, dynamo=dynamo,
                              opset_version=OPSET, **options)
            return
        except (torch.onnx.errors.OnnxExporterError, ImportError) as error:        # ImportError: the newer needs onnxscript
            print(f"torch.onnx by {name}: {type(error).__name__}", file=sys.stderr)
    sys.exit("torch.onnx writes no ONNX file of it")


if __name__ == "__main__":
    with dispatch.use("reference"):          # so that the weights do not depend on the backends that are measured
        prepare(sys.argv[1], sys.argv[2])
