"""The tasks and the engines of ``peers.py``, and the contestant that runs one task with one engine.

An engine's maker takes the task, the folder of its files (see ``networks.py``) and the number of threads, and returns ``run``, from the
input to NumPy arrays, and its settings as text. It imports its engine itself, so that a process holds one engine and no more.
"""

import contextlib
import importlib.metadata
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import harness  # noqa: F401  puts bench/harness on the path
from record import blas, peak_bytes


class Task(NamedTuple):
    """title: for a reader; detector: its architecture; features: whether the backbone alone runs."""

    title: str
    detector: str
    features: bool = False


TASKS = {
    "vgg16_features": Task("VGG16 `features` to conv5_3 at 608 × 800", "fasterrcnn_vgg16", features=True),
    "fasterrcnn_vgg16": Task("`fasterrcnn_vgg16` at 600 × 800", "fasterrcnn_vgg16"),
    "fasterrcnn_resnet50_fpn": Task("`fasterrcnn_resnet50_fpn` at 800 × 1066", "fasterrcnn_resnet50_fpn"),
    "fasterrcnn_mobilenet_v3_large_320_fpn": Task("`fasterrcnn_mobilenet_v3_large_320_fpn` at 320 × 426",
                                                  "fasterrcnn_mobilenet_v3_large_320_fpn"),
}


def make_ours(backend):
    """The maker of one of our backends."""
    settings = f"dispatch.use({backend!r}), MINICNN_NUM_THREADS"

    def make(task, folder, threads):
        import minicnn
        from minicnn.functional import dispatch
        if task.features:
            network = our_features(folder / "minicnn.npz")

            def features(x):
                with dispatch.use(backend):
                    return dispatch.run(network, x)
            return features, settings
        model = minicnn.load(folder / "minicnn.npz")

        def detect(image):
            with dispatch.use(backend):
                found = model.detect(image)
            return found.boxes, found.scores, found.labels
        return detect, settings
    return make


def our_features(path):
    """VGG16's features with the weights of an ``.npz`` file."""
    import numpy as np

    from minicnn.layers import Sequential
    from minicnn.models.vgg import vgg16_features
    network = Sequential(vgg16_features()[:-1])
    network.load_arrays(dict(np.load(path)))
    return network


def make_torch(channels_last):
    """The maker of torch in one of its memory formats."""
    settings = f"inference_mode, {'channels_last' if channels_last else 'contiguous_format'}, set_num_threads"

    def make(task, folder, threads):
        import torch
        torch.set_num_threads(threads)
        module = torch.load(folder / "torch.pt", weights_only=False)
        if channels_last:
            (module if task.features else module.backbone).to(memory_format=torch.channels_last)

        @torch.inference_mode()
        def features(x):
            return module(torch.from_numpy(x)).numpy()

        @torch.inference_mode()
        def detect(image):
            found = module([torch.from_numpy(image).permute(2, 0, 1).float() / 255])[0]
            return tuple(found[name].numpy() for name in ("boxes", "scores", "labels"))
        return features if task.features else detect, settings
    return make


def make_onnxruntime(task, folder, threads):
    import numpy as np
    import onnxruntime
    path, exporter = exported(folder)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])

    def features(x):
        return session.run(None, {"input": x})[0]

    def detect(image):
        x = image.transpose(2, 0, 1).astype(np.float32, order="C") / 255
        return tuple(session.run(["boxes", "scores", "labels"], {"input": x}))
    return features if task.features else detect, f"CPUExecutionProvider, ORT_ENABLE_ALL, intra_op_num_threads; {exporter}"


def make_ncnn(task, folder, threads):
    import ncnn
    import numpy as np
    from ncnn_files import SETTINGS, open_ncnn
    net, output = open_ncnn(folder, threads)

    def features(x):
        extractor = net.create_extractor()
        extractor.input("input", ncnn.Mat(x[0]))
        return np.array(extractor.extract(output)[1])[None]
    return features, SETTINGS


def make_opencv(task, folder, threads):
    import cv2
    path, exporter = exported(folder)
    cv2.setNumThreads(threads)
    net = cv2.dnn.readNetFromONNX(path)
    net.enableWinograd(True)

    def features(x):
        net.setInput(x)
        return net.forward()
    return features, f"enableWinograd, setNumThreads; {exporter}"


def make_openvino(task, folder, threads):
    import openvino
    path, exporter = exported(folder)
    core = openvino.Core()
    model = core.compile_model(core.read_model(path), "CPU", {
        "PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads})
    request = model.create_infer_request()

    def features(x):
        return request.infer([x])[0]
    return features, f"LATENCY, f32, INFERENCE_NUM_THREADS; {exporter}"


def exported(folder):
    """The ONNX file, and which exporter wrote it."""
    path, = folder.glob("*.onnx")
    return str(path), f"exported by torch.onnx, {path.stem}"


class Engine(NamedTuple):
    """title: for a reader; packages: that must be installed; make: its maker; detectors: whether it runs them too."""

    title: str
    packages: tuple
    make: Callable
    detectors: bool = True


TORCH = ("torch", "torch_channels_last")
OURS = ("reference", "numpy", "numba")
ENGINES = {
    "reference": Engine("minicnn, reference", ("minicnn", "numpy"), make_ours("reference")),
    "numpy": Engine("minicnn, NumPy", ("minicnn", "numpy"), make_ours("numpy")),
    "numba": Engine("minicnn, Numba", ("minicnn", "numpy", "numba"), make_ours("numba")),
    "torch": Engine("torch", ("torch", "torchvision"), make_torch(False)),
    "torch_channels_last": Engine("torch, channels last", ("torch", "torchvision"), make_torch(True)),
    "onnxruntime": Engine("ONNX Runtime", ("onnxruntime",), make_onnxruntime),
    "ncnn": Engine("ncnn", ("ncnn",), make_ncnn, detectors=False),
    "opencv": Engine("OpenCV DNN", ("opencv-python-headless",), make_opencv, detectors=False),
    "openvino": Engine("OpenVINO", ("openvino",), make_openvino, detectors=False),
}


def missing(engine):
    """The engine's packages that are not installed."""
    return [package for package in ENGINES[engine].packages if not versions([package])]


def versions(packages):
    """{package: version} of the installed ones."""
    found = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


@contextlib.contextmanager
def contestant(engine, task, folder, threads):
    """An engine that answers "show" with its output, "time" with the seconds of a run, and "facts" with what is recorded of it.

    "facts" is the last order: it also checks that the process never imported Numba where it must not.
    """
    import numpy as np
    folder = Path(folder)
    x = np.load(folder / "input.npy")
    run, settings = ENGINES[engine].make(TASKS[task], folder, threads)

    def seconds():
        start = time.perf_counter()
        output = run(x)
        seconds = time.perf_counter() - start
        del output                              # not within the time
        return seconds

    def facts():
        if engine in ("reference", "numpy") and "numba" in sys.modules:
            raise RuntimeError(f"{engine} is for installations without Numba, but imported it")
        found = {"peak_mib": round(peak_bytes() / 2**20, 1), "threads": threads, "settings": settings}
        if engine in OURS:
            found["blas"] = blas()
        if engine == "numba":
            found["threading_layer"] = threading_layer()
        return found
    yield {"show": lambda: run(x), "time": seconds, "facts": facts}


def threading_layer():
    """Numba's threading layer, None if nothing ran in parallel."""
    import numba
    try:
        return numba.threading_layer()
    except ValueError:
        return None
