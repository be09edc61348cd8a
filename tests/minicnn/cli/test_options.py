"""Numbers that options take, and those that they refuse."""

import argparse

import pytest

from minicnn.cli.options import at_least


@pytest.mark.parametrize("low, kind, text, expected",
                         [(0, int, "3", 3), (0, float, "0", 0.0), (2, int, "2", 2), (0, float, "1e-3", 0.001)])
def test_numbers_that_are_taken(low, kind, text, expected):
    value = at_least(low, kind)(text)
    assert value == expected and type(value) is kind


@pytest.mark.parametrize("low, kind, text",
                         [(0, int, "-1"), (2, int, "1"), (0, float, "nan"), (0, float, "inf"), (0, float, "-0.1")])
def test_numbers_that_are_not(low, kind, text):
    with pytest.raises(argparse.ArgumentTypeError, match=f"got {text}, expected a number of at least {low}"):
        at_least(low, kind)(text)
