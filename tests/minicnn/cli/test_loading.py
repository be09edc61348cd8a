"""Errors of a network's first run."""

import pytest

from minicnn import InputError
from minicnn.cli.loading import trying


def test_an_input_error_passes_through_trying():
    for error, expected in ((InputError("got no backend. Choose one."), "^got no backend. Choose one.$"),
                            (ValueError("5 is not 6"), "got net.npz, whose layers do not fit each other .5 is not 6.")):
        with pytest.raises(InputError, match=expected), trying("net.npz"):
            raise error
