"""Spellings of plain values, and what is none."""

import pytest

from minicnn.data.plain_values import flag, integer, number


@pytest.mark.parametrize("text, expected", [("1", 1), (" 2.5 ", 2.5), ("1e1", 10), ("+.5", 0.5), (None, None), ("", None), ("1,5", None),
                                            ("nan", None), ("inf", None), ("1e999", None), ("1_1", None), ("0x1F", None),
                                            ("1" * 100, None)])
def test_numbers(text, expected):
    assert number(text) == expected


@pytest.mark.parametrize("value, expected", [(7, 7), ("7", 7), (" 007 ", 7), (7.0, 7), ("7.0", 7), (7.5, 7.5), ("b.jpg", "b.jpg"),
                                             (float("inf"), float("inf")), (1e300, 1e300), (None, None)])
def test_integers(value, expected):
    found = integer(value)
    assert found == expected and type(found) is type(expected)


def test_a_flag_is_on_off_or_unknown():
    assert all(flag(value) is True for value in (1, 1.0, True, "1", "true", "Yes", " TRUE "))
    assert all(flag(value) is False for value in (0, 0.0, False, None, "", "0", "0.0", "False", "no", "Unspecified", "null"))
    assert all(flag(value) is None for value in ("very", "nan", float("nan"), [], {}, "1,5"))
