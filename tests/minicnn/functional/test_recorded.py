"""Every operation against what torch computed once (recorded/record_torch.py): forward to 1e-5, gradients to 1e-4."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from numeric_checks import BACKWARD, FORWARD, assert_close
from torch_cases import CASES, ours

pytestmark = pytest.mark.usefixtures("backend")

FILE = Path(__file__).parents[2] / "recorded" / "torch_ops.npz"


def read():
    """{case name: (arrays, grad_y, results)} and the description of the cases."""
    with np.load(FILE, allow_pickle=False) as file:
        values, written = file["values"], json.loads(file["cases.json"].tobytes())
    start, recorded = 0, {}
    for entry in written["cases"]:
        parts = []
        for part in "arrays", "gradient", "results":
            parts.append({})
            for name, shape in entry[part].items():
                parts[-1][name] = values[start:start + math.prod(shape)].reshape(shape)
                start += math.prod(shape)
        recorded[entry["name"]] = parts
    assert start == values.size
    return recorded, written["cases"]


RECORDED, ENTRIES = read()


def test_the_record_holds_the_cases():
    """Otherwise: python tests/recorded/record_torch.py"""
    now = [{"name": case.name, "operation": case.operation, "arguments": case.arguments,
            "arrays": {name: shape for name, (_, shape) in case.arrays.items()}} for case in CASES]
    assert json.loads(json.dumps(now)) == [{key: entry[key] for key in now[0]} for entry in ENTRIES]
    assert len(RECORDED) == len(CASES)                               # no name stands for two
    assert FILE.stat().st_size < 100_000


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_equals_torch(case):
    arrays, gradient, expected = RECORDED[case.name]
    got = ours(case, arrays, gradient["grad_y"])
    assert got.keys() == expected.keys()
    for name in expected:
        assert np.asarray(got[name]).dtype == np.float32 or isinstance(got[name], float)     # a loss
        assert_close(got[name], expected[name], BACKWARD if name.startswith("grad") else FORWARD, name)
