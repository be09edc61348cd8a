"""Each operation is in the table of reference functions; the kernel of the backend in use runs in its place."""

import importlib
import inspect
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from minicnn import functional as F
from minicnn import layers
from minicnn.errors import InputError
from minicnn.functional import dispatch
from minicnn.functional.dispatch import BACKENDS, MODULES, REFERENCE, backend, operation, run, use


@pytest.mark.parametrize("name", F.__all__)
def test_each_operation_is_in_the_table_and_keeps_its_documentation(name):
    function, reference = getattr(F, name), REFERENCE[name]
    assert (function.__name__, function.__doc__) == (name, reference.__doc__)
    assert inspect.signature(function) == inspect.signature(reference)
    assert len(function.__doc__) > 3


def test_the_table_holds_nothing_else_but_what_detection_and_the_optimizer_add():
    detection = {"nms", "roi_align", "roi_align_backward", "roi_pool", "roi_pool_backward"}
    assert set(REFERENCE) - {"run", "memory", "sgd_update"} - detection == set(F.__all__)


@pytest.fixture
def reference():
    """The reference functions run."""
    with use("reference"):
        yield


@pytest.mark.usefixtures("reference")
def test_another_function_runs_everywhere_until_the_end(monkeypatch):
    x = np.array([[-1.0, 2]])
    layer = layers.ReLU()
    with monkeypatch.context() as patch:
        patch.setitem(REFERENCE, "relu", lambda x: x + 100)
        patch.setitem(REFERENCE, "relu_backward", lambda grad_y, x: grad_y + 1000)
        assert F.relu(x).tolist() == layer(x).tolist() == [[99, 102]]
        y, pullback = layer.vjp(x)
        assert y.tolist() == [[99, 102]] and pullback(x).tolist() == [[999, 1002]]
    assert F.relu(x).tolist() == layer(x).tolist() == [[0, 2]]


@pytest.mark.usefixtures("reference")
def test_operations_call_one_another_through_the_table(monkeypatch):
    monkeypatch.setitem(REFERENCE, "batch_norm", lambda *arguments: "another")
    assert F.batch_norm_training(np.zeros((2, 1, 1, 1)), np.ones(1), np.zeros(1))[0] == "another"


def test_arguments_pass_through(monkeypatch):
    monkeypatch.setattr("minicnn.functional.dispatch.REFERENCE", {})

    @operation
    def example(x, *, scale=1):
        """Documented."""
        return x * scale

    assert example(2, scale=3) == 6 and example.__doc__ == "Documented."


# backends


@pytest.mark.parametrize("name", [name for name in BACKENDS if name != "reference"])
def test_kernels_are_of_operations_and_take_their_arguments(name):
    """Each has the parameters of its reference function, in the same order."""
    for entering in ("minicnn.detection.architectures", "minicnn.optim"):         # operations of their own
        importlib.import_module(entering)
    module = pytest.importorskip(MODULES[name])
    assert set(module.KERNELS) <= set(REFERENCE) and "run" in module.KERNELS
    for name, kernel in module.KERNELS.items():
        arguments, expected = (list(inspect.signature(function).parameters.values()) for function in (kernel, REFERENCE[name]))
        assert [(one.name, one.kind, one.default) for one in arguments] == [(one.name, one.kind, one.default) for one in expected]


def test_within_the_block_a_backend_is_in_use_and_afterwards_the_one_before(monkeypatch):
    monkeypatch.setattr(dispatch, "kernels", lambda name: {"relu": lambda x: "fast"} if name == "numpy" else {})
    outside = backend()
    with use("numpy"):
        assert (backend(), F.relu(np.ones(1))) == ("numpy", "fast")
        with use(None):
            assert backend() == "numpy"
        with pytest.raises(ZeroDivisionError), use("reference"):
            assert (backend(), F.relu(np.ones(1)).tolist()) == ("reference", [1])
            raise ZeroDivisionError
        assert (backend(), F.relu(np.ones(1))) == ("numpy", "fast")
    assert backend() == outside


def test_a_backend_is_in_use_in_its_own_thread_only():
    seen = []
    with use("reference"):
        thread = threading.Thread(target=lambda: seen.append(backend()))
        thread.start()
        thread.join()
    assert seen == [dispatch.default_backend()] != ["reference"]


def test_an_unknown_backend_is_refused():
    expected = "^got the backend 'torch', expected one of reference, numpy, numba. Choose one of them, or none."
    with pytest.raises(InputError, match=expected), use("torch"):
        pass
    with pytest.raises(InputError, match="'trace'"), use("trace"):          # for minicnn.trace alone
        pass


def test_a_backend_that_is_not_installed_is_refused(monkeypatch):
    monkeypatch.setattr(dispatch.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"^got the backend 'numba', expected Numba to be installed. Run pip install 'minicnn\[fast\]', "
                                         "or choose 'numpy'.$"), use("numba"):
        pass
    dispatch.default_backend.cache_clear()
    monkeypatch.delenv("MINICNN_BACKEND", raising=False)
    try:
        assert dispatch.default_backend() == "numpy"
    finally:
        dispatch.default_backend.cache_clear()


def test_without_a_place_for_compiled_code_numpy_computes_and_one_line_says_so(monkeypatch, capsys):
    pytest.importorskip("numba")
    monkeypatch.setattr(dispatch, "compiled_folder", lambda: None)
    monkeypatch.delenv("MINICNN_BACKEND", raising=False)
    assert dispatch.default_backend.__wrapped__() == "numpy"
    line, = capsys.readouterr().err.splitlines()
    assert line.startswith("minicnn: warning: no folder for compiled code can be written, so NumPy computes") and "MINICNN_CACHE" in line
    with pytest.raises(InputError, match="^got the backend 'numba', expected a folder for .* Set MINICNN_CACHE"), use("numba"):
        pass
    with use("numpy"):
        assert backend() == "numpy"


def process(code, name):
    """Standard output and standard error of a process with MINICNN_BACKEND set to ``name``."""
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "MINICNN_BACKEND": name}, capture_output=True, text=True)
    return done.stdout.strip(), done.stderr


@pytest.mark.parametrize("name", ["reference", "numpy"])
def test_the_environment_chooses_for_a_process(name):
    code = "from minicnn.functional.dispatch import backend, use; print(backend())\nwith use('reference'): print(backend())"
    assert process(code, name) == (f"{name}\nreference", "")


def test_a_wrong_name_in_the_environment_is_reported_in_one_line():
    code = "import minicnn, numpy; minicnn.build('lenet5')(numpy.zeros((1, 1, 28, 28), 'f4'))"
    assert "InputError: got the backend 'fast', expected one of reference, numpy, numba" in process(code, "fast")[1].splitlines()[-1]


def test_run_of_the_reference_is_the_networks_forward():
    class Pair(layers.Layer):
        def forward(self, x, y):
            return x, y

    with use("reference"):
        assert run(Pair(), 1, 2) == (1, 2)
