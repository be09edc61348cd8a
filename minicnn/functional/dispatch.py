"""The one place that chooses the code by which an operation is computed.

The readable NumPy functions of ``minicnn.functional`` (and of detection's few operations) are decorated with ``operation``, which enters
them in ``REFERENCE``. A backend has kernels: faster functions with the name, arguments and result of the reference function, forward or
backward. Where the backend in use has a kernel, it is called; otherwise the reference function. Layers and models do not know of it.
Arguments are checked once, before (``check_of``), so that every backend refuses the same.

Backends: "reference" (no kernels), "numpy" and "numba" (``minicnn.fast``). ``use`` chooses one for a block, the environment variable
MINICNN_BACKEND for a process; the default is "numba" where it is installed, otherwise "numpy".
"""

import contextlib
import contextvars
import functools
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Iterator
from typing import ParamSpec, TypeVar

import numpy as np

from minicnn.compiled_code import compiled_folder
from minicnn.errors import InputError

P = ParamSpec("P")
R = TypeVar("R")

REFERENCE: dict[str, Callable] = {}         # {operation: readable function}
CHECKS: dict[str, Callable] = {}            # {operation: function with its arguments, which raises where they are wrong}
# {backend: module whose KERNELS are {operation: function}}; "trace" serves ``minicnn.trace`` alone
MODULES = {"reference": None, "numpy": "minicnn.fast.numpy_kernels", "numba": "minicnn.fast.numba_kernels", "trace": "minicnn.trace"}
BACKENDS = ("reference", "numpy", "numba")

_chosen: contextvars.ContextVar[str | None] = contextvars.ContextVar("backend", default=None)


def operation(reference: Callable[P, R]) -> Callable[P, R]:
    """Decorator: enter a function in ``REFERENCE``; calls go to the kernel of the backend in use, if it has one."""
    name = reference.__name__
    REFERENCE[name] = reference

    @functools.wraps(reference)
    def call(*args, **kwargs):
        check = CHECKS.get(name)
        if check:
            check(*args, **kwargs)
        return (kernels(backend()).get(name) or REFERENCE[name])(*args, **kwargs)

    return call


def check_of(*operations: Callable) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorator: enter a function in ``CHECKS``; it has the operations' arguments, and runs before the kernel of any backend."""
    def enter(check: Callable[P, R]) -> Callable[P, R]:
        CHECKS.update({operation.__name__: check for operation in operations})
        return check

    return enter


@operation
def run(network, *inputs):
    """Run a network, or a part of one, on its inputs. The kernels of "numpy" and "numba" make a plan of it and run that."""
    return network.forward(*inputs)


@operation
def memory(shape, dtype):
    """An uninitialised array for a large result."""
    return np.empty(shape, dtype)


def backend() -> str:
    """The name of the backend in use."""
    return _chosen.get() or default_backend()


@contextlib.contextmanager
def use(name: str | None) -> Iterator[None]:
    """Context manager: compute operations by a backend, in this thread; None changes nothing.

    Raises:
        InputError: there is no such backend, or its packages are not installed.
    """
    with override(_chosen.get() if name is None else checked(name)):
        yield


@contextlib.contextmanager
def override(name: str | None) -> Iterator[None]:
    """``use`` without a check, so that "trace" can be chosen, too; None: the default backend."""
    token = _chosen.set(name)
    try:
        yield
    finally:
        _chosen.reset(token)


def on_own_backend(method: Callable[P, R]) -> Callable[P, R]:
    """Decorator of a layer's method: compute by the layer's own ``backend``, or by the one in use if that is None."""
    @functools.wraps(method)
    def call(*args, **kwargs):                      # args[0] is the layer
        with use(args[0].backend):
            return method(*args, **kwargs)

    return call


@functools.cache
def default_backend() -> str:
    """The backend of MINICNN_BACKEND; without that variable "numba" where it is installed and can keep what it compiles, otherwise "numpy".

    Raises:
        InputError: the variable names no backend, or one that cannot be used.
    """
    name = os.environ.get("MINICNN_BACKEND")
    if name:
        return checked(name)
    if not importlib.util.find_spec("numba"):
        return "numpy"
    if compiled_folder():
        return "numba"
    print("minicnn: warning: no folder for compiled code can be written, so NumPy computes, which is slower. Set MINICNN_CACHE to a folder "
          "that can be written.", file=sys.stderr)
    return "numpy"


def checked(name: str) -> str:
    """The name of a backend, if it can be used.

    Raises:
        InputError: there is no such backend, its packages are not installed, or there is no place for what it compiles.
    """
    if name not in BACKENDS:
        raise InputError(f"got the backend {name!r}, expected one of {', '.join(BACKENDS)}. Choose one of them, or none.")
    if name == "numba" and not importlib.util.find_spec("numba"):
        raise InputError("got the backend 'numba', expected Numba to be installed. Run pip install 'minicnn[fast]', or choose 'numpy'.")
    if name == "numba" and not compiled_folder():
        raise InputError("got the backend 'numba', expected a folder for compiled code that can be written. Set MINICNN_CACHE to one, or "
                         "choose 'numpy'.")
    return name


@functools.cache
def kernels(name: str) -> dict[str, Callable]:
    """{operation: kernel} of a backend."""
    module = MODULES[name]
    return importlib.import_module(module).KERNELS if module else {}
