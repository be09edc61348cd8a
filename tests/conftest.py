"""What several test files share."""

from pathlib import Path

import pytest
from checks import BACKENDS

from minicnn.functional.dispatch import use

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"


@pytest.fixture(params=BACKENDS)
def backend(request):
    """Each installed backend in turn, by its name; the test computes on it."""
    with use(request.param):
        yield request.param


@pytest.fixture(scope="session", autouse=True)
def nothing_tuned(tmp_path_factory):
    """What was measured on this machine decides no test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MINICNN_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def mnist_folder():
    """The folder of the real MNIST; tests that need it are left out where it is not."""
    if not MNIST.is_dir():
        pytest.skip(f"the real MNIST is not in {MNIST}")
    return MNIST
