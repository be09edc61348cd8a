"""What several test files share."""

from pathlib import Path

import pytest

MNIST = Path(__file__).parents[2] / "shared" / "data" / "mnist"


@pytest.fixture(scope="session")
def mnist_folder():
    """The folder of the real MNIST; tests that need it are left out where it is not."""
    if not MNIST.is_dir():
        pytest.skip(f"the real MNIST is not in {MNIST}")
    return MNIST
