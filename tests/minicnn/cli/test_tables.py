"""Tables fit a terminal; numbers as they are printed."""

import pytest

from minicnn.cli.tables import percent, shape, table


def test_table():
    assert table(("name", "n"), [("a", 1), ("longer", "1,000"), ("x", "")]) == (
        "name        n\n"
        "------  -----\n"
        "a           1\n"
        "longer  1,000\n"
        "x")


@pytest.mark.parametrize("function, value, expected", [
    (shape, (20, 1, 5, 5), "20x1x5x5"), (percent, 0.98765, "98.77 %"), (percent, 1, "100.00 %"),
])
def test_small_ones(function, value, expected):
    assert function(value) == expected
