"""The number of threads."""

import os
import subprocess
import sys

import numpy as np
import pytest

from minicnn.errors import InputError
from minicnn.fast import threads
from minicnn.fast.threads import numpy_threads, one_blas_thread, tell_libraries, thread_count


def blas_threads():
    threadpoolctl = pytest.importorskip("threadpoolctl")
    return [pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


def test_one_thread_within_and_as_before_after():
    before = blas_threads()
    with pytest.raises(KeyError), one_blas_thread():
        assert set(blas_threads()) == {1}
        raise KeyError
    assert blas_threads() == before


def test_without_threadpoolctl_nothing_changes(monkeypatch):
    monkeypatch.setitem(sys.modules, "threadpoolctl", None)
    with one_blas_thread():
        assert (np.ones((2, 2)) @ np.ones((2, 2)) == 2).all()


def test_the_number_is_the_variables_or_that_of_cores(monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", "3")
    assert thread_count() == 3
    monkeypatch.delenv("MINICNN_NUM_THREADS")
    assert 1 <= thread_count() <= os.cpu_count()


def test_an_empty_variable_counts_as_not_set(monkeypatch):
    monkeypatch.delenv("MINICNN_NUM_THREADS", raising=False)
    cores, blas = thread_count(), numpy_threads()
    monkeypatch.setenv("MINICNN_NUM_THREADS", "")
    assert (thread_count(), numpy_threads()) == (cores, blas)


@pytest.mark.parametrize("value", ["0", "-1", "2.5", "two", " ", "1025", "99999999999999999999"])
def test_no_number_of_threads_is_refused(monkeypatch, value):
    monkeypatch.setenv("MINICNN_NUM_THREADS", value)
    counters = [thread_count, *([numpy_threads] if threads.blas_threads() else [])]
    for count in counters:
        with pytest.raises(InputError, match=f"^got MINICNN_NUM_THREADS={value}, expected a number of threads, from 1 to 1024. Unset"):
            count()


@pytest.mark.parametrize("value", ["0", "two"])
def test_with_a_wrong_number_the_package_can_be_imported_and_the_first_result_is_refused(value):
    code = "import minicnn, numpy; print('imported'); minicnn.build('lenet5')(numpy.zeros((1, 1, 28, 28), 'f4'))"
    done = subprocess.run([sys.executable, "-c", code], env={**os.environ, "MINICNN_NUM_THREADS": value}, capture_output=True, text=True)
    assert done.stdout == "imported\n"
    assert f"InputError: got MINICNN_NUM_THREADS={value}, expected" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("before, after", [
    ({"MINICNN_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1"},
     {"MINICNN_NUM_THREADS": "3", "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "3", "MKL_NUM_THREADS": "3", "NUMBA_NUM_THREADS": "3"}),
    ({"OMP_NUM_THREADS": "2"}, {"OMP_NUM_THREADS": "2"}),
    ({"MINICNN_NUM_THREADS": "0"}, {"MINICNN_NUM_THREADS": "0"}),
    ({"MINICNN_NUM_THREADS": ""}, {"MINICNN_NUM_THREADS": ""})], ids=["set", "not set", "wrong", "empty"])
def test_libraries_variables_are_set_unless_they_are(monkeypatch, before, after):
    with monkeypatch.context() as patch:
        patch.setattr(os, "environ", environment := dict(before))
        tell_libraries()
    assert environment == after


@pytest.mark.parametrize("count", [1, 2])
def test_a_process_computes_on_as_many(count):
    """BLAS and Numba alike; both read their variables when they are loaded."""
    pytest.importorskip("numba")
    pytest.importorskip("threadpoolctl")
    environment = {name: value for name, value in os.environ.items() if not name.endswith("_NUM_THREADS")}
    code = """
import minicnn, numba, threadpoolctl
from minicnn.fast.numba_kernels.threads import workers
print(workers(), numba.get_num_threads(), *{pool["num_threads"] for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"})
"""
    environment["MINICNN_NUM_THREADS"] = str(count)
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True)
    assert done.stdout.split() == [str(count)] * 3, done.stderr
