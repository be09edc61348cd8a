"""Fixtures of several test files, and what keeps the tests apart from the machine and the shell that run them."""

import contextlib
import signal
from pathlib import Path

import PIL
import pytest
from numeric_checks import BACKENDS

from minicnn.compiled_code import compiled_folder
from minicnn.functional.dispatch import use

with contextlib.suppress(ImportError):                  # without hypothesis the test files that need it are skipped or fail by themselves
    from hypothesis import HealthCheck, settings
    settings.register_profile("any speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any speed")                  # a busy machine fails no test

OLD_PILLOW = tuple(map(int, PIL.__version__.split(".")[:2])) < (10, 1)
MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"


@pytest.fixture(params=BACKENDS)
def backend(request):
    """The name of each installed backend in turn; the test runs on it."""
    with use(request.param):
        yield request.param


@pytest.fixture(scope="session", autouse=True)
def nothing_tuned(tmp_path_factory):
    """An empty cache folder: nothing that was measured on this machine affects a test; compiled code stays where it is."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NUMBA_CACHE_DIR", str(compiled_folder() or ""))
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


@pytest.fixture(scope="session", autouse=True)
def drawn_data():
    """With a Pillow that cannot draw digits and scenes, tests that ask for them are skipped. CI runs these with Pillow 10.1."""
    with pytest.MonkeyPatch.context() as patch:
        if OLD_PILLOW:
            for module in ("digits", "scenes"):
                patch.setattr(f"minicnn.data.{module}.check_pillow", lambda what: pytest.skip(f"{what} need Pillow 10.1"))
        yield


@pytest.fixture(scope="session")
def drawing():
    """For tests whose digits and scenes are drawn by another process: they are skipped where Pillow cannot draw them."""
    if OLD_PILLOW:
        pytest.skip("generated digits and scenes need Pillow 10.1")


@pytest.fixture(scope="session")
def mnist_folder():
    """The folder of the real MNIST; tests that need it are skipped where it is missing."""
    if not MNIST.is_dir():
        pytest.skip(f"the real MNIST is not in {MNIST}")
    return MNIST
