"""Sharing strips among threads."""

import functools
import threading

import numpy as np
import pytest

from minicnn.fast.numpy_kernels.threads import run_strips, strips_of
from minicnn.fast.threads import blas_threads


@pytest.fixture(params=[1, 2, 3])
def threads(request, monkeypatch):
    monkeypatch.setenv("MINICNN_NUM_THREADS", str(request.param))
    return request.param if blas_threads() else 1


def test_each_strip_is_done_once_and_workers_are_numbered(threads):
    done, workers = [], []

    def work(worker, strips):
        workers.append(worker)
        done.extend(strips)

    run_strips(work, range(1000))
    assert sorted(done) == list(range(1000))
    assert sorted(workers) == list(range(threads))


def test_one_worker_is_the_thread_that_called(threads):
    names = []
    run_strips(lambda worker, strips: names.extend((threading.current_thread(), strip) for strip in strips), range(3), 1)
    assert names == [(threading.current_thread(), strip) for strip in range(3)]


def test_an_error_in_any_thread_comes_out_and_blas_has_its_threads_again(threads):
    before = blas_threads() and blas_threads()[0]()

    def work(worker, strips):
        if worker == threads - 1:
            raise KeyError("strip")

    with pytest.raises(KeyError, match="strip"):
        run_strips(work, range(10))
    assert before == (blas_threads() and blas_threads()[0]())


def test_products_run_on_one_blas_thread_while_strips_are_shared(threads):
    if not blas_threads():
        pytest.skip("NumPy uses another BLAS than OpenBLAS")
    seen = []
    run_strips(lambda worker, strips: seen.append(blas_threads()[0]()), range(10))
    assert seen == [1] * threads


def test_a_step_within_a_step_runs_on_its_thread(threads):
    done = []

    def work(_, strips):
        for strip in strips:
            run_strips(functools.partial(note, strip), range(4))

    def note(strip, _, inner):
        done.extend((strip, i) for i in inner)
    run_strips(work, range(5))
    assert sorted(done) == list(np.ndindex(5, 4))


@pytest.mark.parametrize("count, step, workers", [(0, 3, 2), (1, 3, 2), (7, 3, 1), (7, 3, 2), (19, 10, 2), (5, 100, 4), (12, 1, 5)])
def test_strips_cover_everything_in_order_by_at_most_the_step(count, step, workers):
    pieces = strips_of(count, step, workers)
    assert [i for piece in pieces for i in range(piece.start, piece.stop)] == list(range(count))
    assert all(0 < piece.stop - piece.start <= step for piece in pieces)
    assert not count >= workers or len(pieces) % workers == 0 or len(pieces) == count
