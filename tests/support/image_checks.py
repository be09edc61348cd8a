"""Random images, and the check of an error message about an image."""

import numpy as np
import pytest

from minicnn.data.images import read_image
from minicnn.errors import InputError


def noise(*shape):
    """Random bytes."""
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def refused(value, *expected, function=read_image):
    """Check that the function raises an InputError of one line that contains the expected texts; returns the line."""
    with pytest.raises(InputError) as caught:
        function(value)
    message = str(caught.value)
    assert "\n" not in message and len(message) < 400
    for text in ("expected ", *expected):
        assert text in message
    return message
