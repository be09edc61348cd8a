"""Other processes after a first detection: however they are started, they compute the same, and no lock stops them."""

import os
import subprocess
import sys

import pytest
from numeric_checks import BACKENDS
from subprocesses import HUNG

NETWORK = """
import multiprocessing, os, sys, threading, time
import numpy as np
from minicnn.layers import Conv2d, MaxPool2d, ReLU, Sequential
from minicnn.functional.dispatch import run

rng = np.random.default_rng(0)
network = Sequential([Conv2d(3, 16, 3, padding=1, rng=rng), ReLU(), MaxPool2d(2), Conv2d(16, 32, 3, padding=1, rng=rng)]).eval()
images = [rng.standard_normal((1, 3, 64, 48)).astype(np.float32) for _ in range(4)]

def total(number):
    return float(run(network, images[number]).sum(dtype=np.float64))
"""

POOL = NETWORK + """
if __name__ == "__main__":
    expected = [total(number) for number in range(4)]
    context = multiprocessing.get_context(sys.argv[1])
    with context.Pool(2) as pool:
        found = pool.map(total, range(4))
    assert np.allclose(found, expected, rtol=1e-6), (found, expected)
    assert [total(number) for number in range(4)] == expected           # and the parent goes on
    print("done")
"""

LOCKED = NETWORK + """
from minicnn.data.images import PILLOW, read_image, write_image
from minicnn.fast import scratch
from minicnn.fast.one_run import lock

def child():
    read_image("image.png")
    scratch.memory((scratch.LARGE,), np.float32)
    return total(0) == expected

write_image("image.png", np.zeros((8, 8, 3), np.uint8))
expected, held = total(0), threading.Event()

def hold(lock):
    with lock:
        held.set()
        time.sleep(0.5)                         # the process is forked meanwhile

for lock in (lock, scratch._lock, PILLOW):
    held.clear()
    thread = threading.Thread(target=hold, args=[lock])
    thread.start()
    held.wait()
    forked = os.fork()
    if not forked:
        os._exit(0 if child() else 1)
    assert os.waitpid(forked, 0)[1] == 0
    thread.join()
    assert child()
print("done")
"""


def done(code, folder, backend, *args):
    (folder / "program.py").write_text(code)
    ended = subprocess.run([sys.executable, "-W", "ignore", "program.py", *args], cwd=folder, capture_output=True, text=True, timeout=HUNG,
                           env={**os.environ, "MINICNN_BACKEND": backend, "MINICNN_NUM_THREADS": "2"})
    assert ended.returncode == 0 and ended.stdout == "done\n", ended.stdout + ended.stderr


@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_a_pool_of_processes_computes_what_its_parent_does(tmp_path, backend, method):
    if sys.platform == "win32" and method != "spawn":
        pytest.skip("Windows has spawn alone")
    done(POOL, tmp_path, backend, method)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no os.fork")
@pytest.mark.parametrize("backend", BACKENDS[1:])
def test_a_lock_that_is_held_at_a_fork_does_not_stop_the_child(tmp_path, backend):
    done(LOCKED, tmp_path, backend)
