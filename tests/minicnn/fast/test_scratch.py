"""Memory of large results is reused when no array refers to it any more."""

import gc

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn.detection.roi_align import roi_align
from minicnn.fast import scratch as module
from minicnn.fast.scratch import memory
from minicnn.functional.dispatch import use


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Few bytes are many here, and none are kept from before."""
    monkeypatch.setattr(module, "LARGE", 1000)
    monkeypatch.setattr(module, "_kept", [])


def address(array):
    return array.__array_interface__["data"][0]


def test_it_is_used_again_when_the_last_view_is_gone():
    first = memory((30, 10), np.float32)
    assert (first.shape, first.dtype, first.flags.c_contiguous, first.flags.writeable) == ((30, 10), np.float32, True, True)
    first[...] = 1
    place, view = address(first), first.reshape(-1)[5:9]
    del first
    second = memory((300,), np.float32)
    assert address(second) != place
    second[...] = 2
    assert_array_equal(view, 1)
    del view
    gc.collect()
    assert address(memory((20, 13), np.float32)) == place                       # a smaller one, too


def test_what_is_too_small_makes_room_and_no_more_than_two_are_kept():
    sizes = [300, 400, 500, 600]
    held = [memory((size,), np.float32) for size in sizes]
    assert [block.bytes.nbytes for block in module._kept] == [1200, 1600]
    del held
    assert memory((1000,), np.float32).nbytes == 4000
    assert [block.bytes.nbytes for block in module._kept] == [4000]


def test_a_small_result_is_memory_of_its_own():
    assert memory((3, 4), np.float64).base is None
    assert module._kept == []


@pytest.mark.parametrize("backend", ["numpy", "numba"])
def test_a_result_that_is_held_stays_as_it_is(backend):
    if backend == "numba":
        pytest.importorskip("numba")
    rng = np.random.default_rng(0)
    x, boxes = rng.standard_normal((8, 10, 12), np.float32), np.array([[0, 0, 9, 9], [2, 3, 11, 8]], np.float32)
    with use("reference"):
        expected = [roi_align(one, boxes, 7, 1, 2) for one in (x, -x)]
    with use(backend):
        held = [roi_align(one, boxes, 7, 1, 2) for one in (x, -x)]
        assert len(module._kept) == 2
        np.testing.assert_allclose(held, expected, rtol=1e-5, atol=1e-5)
        place = address(held.pop())
        np.testing.assert_allclose(again := roi_align(2 * x, boxes, 7, 1, 2), 2 * expected[0], rtol=1e-5, atol=1e-5)
        assert address(again) == place
        np.testing.assert_allclose(held[0], expected[0], rtol=1e-5, atol=1e-5)
