"""The toy detector among the builders, and images to train it on."""

import pytest
from rectangles import write_rectangles

from minicnn.models import BUILDERS


@pytest.fixture(autouse=True)
def known(monkeypatch):
    monkeypatch.setitem(BUILDERS, "toy", "toy_detector:toy_detector")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_rectangles(tmp_path_factory.mktemp("pictures"))
