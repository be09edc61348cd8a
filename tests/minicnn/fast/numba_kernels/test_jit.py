"""Where compiled kernels are kept, and what happens where they cannot be."""

import os
import subprocess
import sys

import pytest

pytest.importorskip("numba")

CODE = """
import sys
from pathlib import Path
import numpy as np
import numba
from minicnn.fast.numba_kernels import relu
from minicnn.compiled_code import compiled_folder

@numba.njit
def theirs(x):
    return 2 * x

if "full" in sys.argv:                          # after the kernels were found: no file can be written there any more
    for folder in compiled_folder().iterdir():
        folder.rmdir()
        folder.write_text("a file")
x, y = np.linspace(-1, 1, 9, dtype=np.float32), np.empty(9, np.float32)
relu.forward(x, y)
assert np.array_equal(y, np.maximum(x, 0)) and theirs(2) == 4
print(sum(relu.forward.stats.cache_hits.values()), repr(numba.config.CACHE_DIR))
"""


def process(folder, *args, **variables):
    """(what a process prints, its messages), with MINICNN_CACHE set to a folder."""
    environment = {name: value for name, value in os.environ.items() if name != "NUMBA_CACHE_DIR"}
    done = subprocess.run([sys.executable, "-c", CODE, *args], env={**environment, "MINICNN_CACHE": str(folder), **variables},
                          capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout, [line for line in done.stderr.splitlines() if "compil" not in line or "warning" in line]


def test_compiled_code_is_kept_in_the_cache_folder_and_found_there(tmp_path):
    assert process(tmp_path) == ("0 ''\n", [])                          # and the folder of other compiled code stays Numba's choice
    kept = {path.suffix for path in (tmp_path / "numba").rglob("relu.forward*")}
    assert kept == {".nbi", ".nbc"}
    assert process(tmp_path) == ("1 ''\n", [])


def test_the_users_own_folder_is_used(tmp_path):
    theirs = str(tmp_path / "theirs")
    assert process(tmp_path / "cache", NUMBA_CACHE_DIR=theirs)[0] == f"0 {theirs!r}\n"
    assert list((tmp_path / "theirs").rglob("relu.forward*")) and not (tmp_path / "cache").exists()


def test_a_kernel_that_cannot_be_kept_runs_with_one_warning(tmp_path):
    out, (line,) = process(tmp_path, "full")
    assert out == "0 ''\n"
    assert line.startswith(f"minicnn: warning: cannot keep compiled code in {tmp_path / 'numba'} (") and "Set MINICNN_CACHE" in line
