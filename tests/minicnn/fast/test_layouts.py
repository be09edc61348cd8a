"""Memory orders, and where arrays begin."""

import numpy as np
import pytest
from numpy.testing import assert_array_equal

from minicnn.fast import layouts


@pytest.mark.parametrize("shape", [(7,), (3, 5, 2), (1000, 100)])
def test_a_new_array_begins_on_a_cache_line(shape):
    for _ in range(5):
        array = layouts.empty(*shape)
        assert array.shape == shape and array.dtype == np.float32 and array.flags.c_contiguous and array.flags.writeable
        assert array.ctypes.data % layouts.LINE == 0


def test_the_batch_goes_innermost_and_comes_back():
    x = np.random.default_rng(0).standard_normal((5, 3, 4, 2), np.float32)
    for laid_out in (x, np.asfortranarray(x), x[:, :, ::-1]):
        y = layouts.batch_innermost(laid_out, 16, padding=(1, 2))
        assert y.shape == (3, 6, 6, 16) and y.flags.c_contiguous
        assert_array_equal(layouts.batch_first(y, 5)[:, :, 1:5, 2:4], laid_out)
        assert np.count_nonzero(y) == np.count_nonzero(laid_out)
        again = layouts.batch_innermost(layouts.batch_first(y, 16), 16)
        assert np.shares_memory(again, y) and layouts.is_batch_innermost(layouts.batch_first(y, 16))
