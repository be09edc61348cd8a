"""A data set and networks small enough to train within a test, made once per session."""

import copy
import gzip
import importlib.util
import itertools
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from small_detector import small_detector
from subprocesses import HUNG

import minicnn
from minicnn.cli.main import main
from minicnn.data import mnist
from minicnn.data.digits import make_digits

TRAIN, VALIDATION, TEST = 320, 100, 200     # images


@pytest.fixture(autouse=True)
def fewer_for_validation(monkeypatch):
    """Hold out 100 training images, not 5000, in what runs within this process."""
    monkeypatch.setattr(mnist, "VALIDATION", VALIDATION)


@pytest.fixture(scope="session", autouse=True)
def compiled_in_silence():
    """Suppress the notice about compiling within this process, so that all runs print the same."""
    with pytest.MonkeyPatch.context() as patch:
        if importlib.util.find_spec("numba"):
            from minicnn.fast.numba_kernels import compile_notice
            patch.setattr(compile_notice.Listener, "show", staticmethod(lambda text: None))
        yield


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """A folder of IDX files like MNIST's, of generated digits."""
    return write_mnist(tmp_path_factory.mktemp("mnist"), TRAIN + VALIDATION)


@pytest.fixture(scope="session")
def data_of_a_process(tmp_path_factory):
    """The same with 5000 images more, for a process that holds out as many."""
    return write_mnist(tmp_path_factory.mktemp("mnist"), TRAIN + 5000)


def write_mnist(folder, count):
    """Images and labels for training, plain, and for tests, gzipped."""
    images, labels = make_digits(TRAIN + VALIDATION, np.random.default_rng(0))
    images = (255 * images[:, 0]).astype(np.uint8)
    for prefix, index in (("train", np.arange(count) % len(images)), ("t10k", np.arange(TEST))):
        for name, values in (("images-idx3-ubyte", images), ("labels-idx1-ubyte", labels.astype(np.uint8))):
            header = struct.pack(f">{1 + values.ndim}I", 2048 + values.ndim, len(index), *values.shape[1:])
            packed = gzip.compress(header + values[index].tobytes(), 1) if prefix == "t10k" else header + values[index].tobytes()
            (folder / f"{prefix}-{name}{'.gz' if prefix == 't10k' else ''}").write_bytes(packed)
    return folder


@pytest.fixture(scope="session")
def nets(data, tmp_path_factory):
    """A folder with lenet.npz (lenet5, a few epochs) and small.npz (pruned to half in some rounds)."""
    folder = tmp_path_factory.mktemp("nets")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mnist, "VALIDATION", VALIDATION)
        assert main(["train", "lenet5", "--data", str(data), "--epochs", "4", "--warmup-steps", "5", "--out",
                     str(folder / "lenet.npz")]) == 0
        assert main(["compress", str(folder / "lenet.npz"), "--data", str(data), "--target-parameters", "0.5",
                     "--finetune-epochs", "1", "--out", str(folder / "small.npz")]) == 0
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory):
    """The file of a detector that fires dozens of boxes."""
    path = tmp_path_factory.mktemp("detector") / "detector.npz"
    minicnn.save(path, small_detector())
    return path


@pytest.fixture(scope="session")
def loaded(weights):
    return minicnn.load(weights)


@pytest.fixture
def read_once(monkeypatch, weights, loaded):
    """Give verbs a copy of the loaded detector, instead of reading the 60 MB for every test."""
    load = minicnn.load
    monkeypatch.setattr(minicnn, "load", lambda path: copy.deepcopy(loaded) if str(path) == str(weights) else load(path))


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to work in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def run(capsys):
    """run(*argv): (status, standard output, standard error) of ``minicnn`` in this process."""
    def run(*argv):
        capsys.readouterr()
        try:
            status = main([str(arg) for arg in argv])
        except SystemExit as end:                                   # argparse's
            status = end.code
        return status, *capsys.readouterr()
    return run


@pytest.fixture
def refused(run, tmp_path):
    """refused(*argv): the command ends with 2, one line on standard error, and every file as it was; returns the line."""
    def listing():
        return {str(path): path.read_bytes() if path.is_file() else None for path in tmp_path.rglob("*")}

    def refused(*argv):
        before = listing()
        status, out, err = run(*argv)
        assert status == 2 and out == ""
        assert err.endswith("\n") and err.count("\n") == 1, err
        assert err.startswith(f"minicnn {argv[0]}: error: ")
        assert listing() == before
        return err
    return refused


@pytest.fixture
def open_process(here):
    """open_process(command): a process in the test's folder that does not outlive the test."""
    processes = []

    def open_process(command, **options):
        processes.append(subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=here,
                                          env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, **options))
        return processes[-1]
    yield open_process
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def start(open_process):
    """start(*argv): ``minicnn`` as a process, by the console script where it is installed."""
    def start(*argv, **options):
        script = os.path.join(os.path.dirname(sys.executable), "minicnn")
        command = [script] if os.path.exists(script) else [sys.executable, "-m", "minicnn"]
        return open_process([*command, *argv], **options)
    return start


PAUSED = """
import sys, time
from minicnn.cli.main import main
from minicnn.optim import SGD

step, begun = SGD.step, []

def pausing(*args):
    begun.append(None)
    if len(begun) == {number}:
        print("paused", file=sys.stderr, flush=True)
        time.sleep({seconds})
    return step(*args)

SGD.step = pausing
sys.exit(main())
"""


@pytest.fixture
def start_paused(open_process):
    """start_paused(number, *argv): ``minicnn`` as a process that waits for a signal in its training step of that number.

    Returns the process and the lines that it has written to standard error: whatever the machine's speed, it is there when the test
    sends its signal.
    """
    def start_paused(number, *argv):
        process = open_process([sys.executable, "-c", PAUSED.format(number=number, seconds=HUNG), *argv])
        return process, list(itertools.takewhile("paused\n".__ne__, process.stderr))
    return start_paused
