"""The one exception that speaks to the user."""


class InputError(ValueError):
    """Something the user gave cannot be used.

    The message is one line: what was got, what was expected, what to do. The command line prints it and exits 2.
    """
