"""Compiled resizing against the reference; and which of these operations the backends have."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from minicnn.functional.dispatch import REFERENCE, kernels

f32 = np.float32


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 2), st.integers(1, 4), st.integers(1, 40), st.integers(1, 40), st.integers(1, 60), st.integers(1, 60))
def test_bilinear_resizing_equals_the_reference_to_the_last_bit(n, c, h, w, ho, wo):
    interpolate = pytest.importorskip("minicnn.fast.numba_kernels.resize").interpolate
    x = np.random.default_rng(0).standard_normal((n, c, h, w)).astype(f32)
    for laid_out in (x, np.asfortranarray(x), np.repeat(x, 2, axis=3)[..., ::2]):
        laid_out.flags.writeable = False
        assert_array_equal(interpolate(laid_out, (ho, wo), "bilinear"), REFERENCE["interpolate"](x, (ho, wo), "bilinear"))


def test_other_resizing_is_the_reference():
    interpolate = pytest.importorskip("minicnn.fast.numba_kernels.resize").interpolate
    x = np.random.default_rng(0).standard_normal((1, 2, 5, 7)).astype(f32)
    assert_array_equal(interpolate(x, (9, 3)), REFERENCE["interpolate"](x, (9, 3)))
    assert_array_equal(interpolate(x, 9, "bilinear"), REFERENCE["interpolate"](x, 9, "bilinear"))
    exact = interpolate(x.astype(np.float64), (9, 3), "bilinear")
    assert exact.dtype == np.float64
    assert_array_equal(exact, REFERENCE["interpolate"](x.astype(np.float64), (9, 3), "bilinear"))


@pytest.mark.parametrize("backend, names", [
    ("numpy", ["nms"]), ("numba", ["nms", "roi_align", "roi_align_backward", "roi_pool", "interpolate"])])
def test_the_backend_uses_them(backend, names):
    if backend == "numba":
        pytest.importorskip("numba")
    assert set(names) <= set(kernels(backend))
