"""torch refuses the calls that we refuse because it does, and gives our results for empty batches."""

import numpy as np
import pytest
from argument_cases import EMPTY, REFUSED
from numpy.testing import assert_array_equal

from minicnn import functional as F

torch = pytest.importorskip("torch")
pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("backend"), pytest.mark.filterwarnings("ignore")]     # torch's own


def torchs(case):
    arguments = {**case.arguments, "dim": -1} if case.operation == "softmax" else case.arguments
    function = torch.sigmoid if case.operation == "sigmoid" else getattr(torch.nn.functional, case.operation)
    return function(*map(torch.tensor, case.arrays), **arguments)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.name)
def test_torch_refuses_it(case):
    with pytest.raises((RuntimeError, ValueError, TypeError, NotImplementedError, IndexError)):
        torchs(case)


@pytest.mark.parametrize("case", EMPTY, ids=lambda case: case.name)
def test_empty_batches_give_torchs_result(case):
    arguments = {**case.arguments, "rng": np.random.default_rng(0)} if case.operation == "dropout" else case.arguments
    y = getattr(F, case.operation)(*case.arrays, **arguments)
    assert_array_equal(y[0] if isinstance(y, tuple) else y, torchs(case).numpy())
