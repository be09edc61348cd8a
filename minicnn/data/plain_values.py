"""Plain values in the spellings that annotation files have for them."""

import math
import re

NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)     # float() accepts nan and 1_000, too
FLAGS = {"false": False, "no": False, "true": True, "yes": True, "": False, "unspecified": False, "none": False, "null": False}


def number(text):
    """The finite number that a text is, or None.

    >>> number(" 1e1 "), number("1,5"), number("nan")
    (10.0, None, None)
    """
    text = (text or "").strip()
    return float(text) if len(text) <= 50 and NUMBER.fullmatch(text) and math.isfinite(float(text)) else None


def integer(value):
    """The integer that a text or a float stands for, or the value itself if it stands for none.

    >>> integer("7"), integer(60.0), integer(60.5), integer(True), integer("a.jpg")
    (7, 60, 60.5, True, 'a.jpg')
    """
    found = number(value) if isinstance(value, str) else value
    return int(found) if isinstance(found, float) and math.isfinite(found) and found == int(found) and abs(found) < 2**53 else value


def flag(value):
    """Whether a flag is set, from a number, a word, a bool, or nothing; None if it cannot be told.

    >>> [flag(value) for value in ("1", "False", " Unspecified ", None, True, 0, "very")]
    [True, False, False, False, True, False, None]
    """
    if isinstance(value, str):
        word = value.strip().lower()
        found = FLAGS.get(word, number(word))
    else:
        found = False if value is None else value
    return bool(found) if isinstance(found, (int, float)) and math.isfinite(found) else None
