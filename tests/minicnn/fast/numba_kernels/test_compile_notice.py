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


def run(code):
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "NUMBA_CACHE_DIR": ""}, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    assert done.returncode == 0, done.stdout
    return done.stdout.decode()


def test_a_log_has_one_line_however_many_kernels_are_compiled():
    assert run(CODE) == "minicnn: compiling for this processor, once (about a minute)\nbetween\n"


def test_a_terminal_shows_one_line_that_is_removed():
    text = run("import sys\nsys.stderr.isatty = lambda: True\n" + CODE)
    notice, shown = "minicnn: compiling for this processor, once (about a minute)", [part.rstrip("\x1b[K") for part in text.split("\r")]
    assert shown[1] == notice and text.count("\n") == 1 and text.endswith("\r\x1b[K") and "\r\x1b[Kbetween\n" in text
    assert [re.sub(r"\d+ s", "S s", part) for part in shown if "kernels" in part] == [f"{notice}: {count} kernels, S s" for count in (1, 2)]
