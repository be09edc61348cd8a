"""Small arrays for the tests of detection."""

import numpy as np


def array(values, *shape):
    """Read-only float32: writing it raises."""
    out = np.array(values, np.float32)
    out = out.reshape(shape) if shape else out
    out.flags.writeable = False
    return out
