"""The messages while the first run compiles."""

import os
import re
import subprocess
import sys

import pytest

pytest.importorskip("numba")

CODE = """
from numba import njit
from minicnn.fast.numba_kernels.compile_notice import announced

@njit
def twice(x):
    return x + x

@announced
def four_times(x):
    return announced(twice)(announced(twice)(x))

assert four_times(1) == 4
assert four_times(3) == 12
print("between", flush=True)
assert four_times(2.5) == 10
"""


def test_one_message_before_and_one_after():
    done = subprocess.run([sys.executable, "-c", CODE], env={**os.environ, "NUMBA_CACHE_DIR": ""}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    lines = done.stdout.splitlines()
    assert lines[0] == "minicnn: compiling for this processor, once (about a minute)" and lines[2] == "between"
    for line, kernels in ((lines[1], 1), (lines[3], 2)):
        assert re.fullmatch(rf"minicnn: compiled {kernels} kernels in \d+ s; the next start finds them", line)
    assert len(lines) == 4
