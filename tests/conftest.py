"""Fixtures of several test files, and what keeps the tests apart from the machine and the shell that run them."""

import contextlib
import signal
from pathlib import Path

import pytest
from numeric_checks import BACKENDS

from minicnn.functional.dispatch import use

with contextlib.suppress(ImportError):                  # without hypothesis the test files that need it are skipped or fail by themselves
    from hypothesis import HealthCheck, settings
    settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any speed")                  # a busy machine fails no test

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"


@pytest.fixture(params=BACKENDS)
def backend(request):
    """The name of each installed backend in turn; the test runs on it."""
    with use(request.param):
        yield request.param


@pytest.fixture(scope="session", autouse=True)
def nothing_tuned(tmp_path_factory):
    """An empty cache folder: nothing that was measured on this machine affects a test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINICNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def interruptible():
    """SIGINT raises KeyboardInterrupt, here and in subprocesses.

    A shell starts background jobs (``pytest &`` in a script) with SIGINT ignored, which Python and its subprocesses inherit.
    """
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="session")
def mnist_folder():
    """The folder of the real MNIST; tests that need it are skipped where it is missing."""
    if not MNIST.is_dir():
        pytest.skip(f"the real MNIST is not in {MNIST}")
    return MNIST
