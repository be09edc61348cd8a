"""The backends that make plans."""

import pytest
from numeric_checks import BACKENDS

from minicnn.functional.dispatch import use


@pytest.fixture(scope="module", params=[name for name in BACKENDS if name != "reference"])
def engine(request):
    """Each of them in turn, by its name; the test computes on it."""
    with use(request.param):
        yield request.param
