"""The one place that says which code computes an operation.

The readable NumPy code of ``minicnn.functional`` (and of detection's few operations) enters itself into ``TABLE``. A faster twin with
the same name, arguments and result, forward or backward, goes before it where a faster backend is chosen. Layers and models do not
notice.

Backends: "reference" (``TABLE`` alone), "numpy" and "numba" (the engine, ``minicnn.fast``). ``use`` chooses one for a block, the
environment variable MINICNN_BACKEND for a process; otherwise it is numba where that is installed, else numpy.
"""

import contextlib
import contextvars
import functools
import importlib
import importlib.util
import os

import numpy as np

from minicnn.errors import InputError

TABLE = {}              # name -> the readable function
TWINS = {"reference": None, "numpy": "minicnn.fast.numpy_kernels", "numba": "minicnn.fast.numba_kernels",
         "trace": "minicnn.trace"}         # backend -> the module whose TWINS go before the table; "trace" is the engine's own
BACKENDS = ("reference", "numpy", "numba")

_chosen = contextvars.ContextVar("backend", default=None)


def kernel(reference):
    """Enter ``reference`` into the table under its own name; the result calls the backend's twin, or else what stands there."""
    name = reference.__name__
    TABLE[name] = reference

    @functools.wraps(reference)
    def call(*args, **kwargs):
        return (twins(backend()).get(name) or TABLE[name])(*args, **kwargs)

    return call


@kernel
def run(network, *inputs):
    """A finished network, or a part of one, on its inputs; the engine's twin makes a plan of it and runs that."""
    return network.forward(*inputs)


@kernel
def memory(shape, dtype):
    """A new array for a large result, its numbers not set."""
    return np.empty(shape, dtype)


def backend():
    """The name of the backend in use."""
    return _chosen.get() or default_backend()


@contextlib.contextmanager
def use(name):
    """Within the block, in this thread, operations are computed by that backend; None leaves things as they are.

    Raises:
        InputError: no such backend, or its packages are not installed.
    """
    token = _chosen.set(_chosen.get() if name is None else checked(name))
    try:
        yield
    finally:
        _chosen.reset(token)


def on_own_backend(method):
    """A method of a layer that computes on the layer's own ``backend``, or the one in use if that is None."""
    @functools.wraps(method)
    def call(layer, *args, **kwargs):
        with use(layer.backend):
            return method(layer, *args, **kwargs)

    return call


@functools.cache
def default_backend():
    name = os.environ.get("MINICNN_BACKEND")
    if name:
        return checked(name)
    return "numba" if importlib.util.find_spec("numba") else "numpy"


def checked(name):
    """The name of a backend that can be used."""
    if name not in BACKENDS:
        raise InputError(f"got the backend {name!r}, expected one of {', '.join(BACKENDS)}. Choose one of them, or none.")
    if name == "numba" and not importlib.util.find_spec("numba"):
        raise InputError("got the backend 'numba', expected Numba to be installed. Run pip install 'minicnn[fast]', or choose 'numpy'.")
    return name


@functools.cache
def twins(name):
    """{operation: function} of a backend."""
    return importlib.import_module(TWINS[name]).TWINS if TWINS[name] else {}
