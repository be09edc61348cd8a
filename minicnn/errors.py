"""The exception for mistakes of the user."""


class InputError(ValueError):
    """An input of the user cannot be used.

    The message is one line: what was got, what was expected, what to do. The command line prints it and exits with status 2.
    """
