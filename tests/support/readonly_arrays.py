"""Arrays that raise when a test's subject writes to them."""

import numpy as np


def array(values, *shape):
    """A read-only float32 array of these values, of a shape if one is given."""
    out = np.array(values, np.float32)
    out = out.reshape(shape) if shape else out
    out.flags.writeable = False
    return out
