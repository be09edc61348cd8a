"""Tables fit a terminal; numbers as they are printed."""

import pytest

from minicnn.cli.tables import fitted, percent, points, shape, shortened, span, table


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


def test_a_table_gives_its_names_what_room_there_is():
    rows = [("a" * 90 + "b", "winograd 2x1024", "12345.67"), ("short", "copy", "1.00")]
    lines = fitted(("step", "algorithm", "ms"), rows).splitlines()
    assert max(map(len, lines)) == 80 and lines[2].startswith("..aaa") and "ab  " in lines[2] and lines[3].startswith("short ")
    assert shortened("abcdef", 6) == "abcdef" and shortened("abcdefg", 6) == "..defg"


def test_what_is_none_is_a_dash():
    assert (points(None), points(0.12345), span(None), span([0.1, 0.2])) == ("-", "12.35", "-", "10.00 to 20.00")
