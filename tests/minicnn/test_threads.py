"""The number of BLAS threads."""

import sys

import numpy as np
import pytest

from minicnn.threads import one_blas_thread


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
