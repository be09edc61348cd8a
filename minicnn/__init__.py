"""minicnn: convolutional networks in NumPy, readable line by line, and their compression."""

from minicnn.fast.threads import tell_libraries

tell_libraries()        # before NumPy is loaded

from minicnn.archive import load, save  # noqa: E402
from minicnn.errors import InputError  # noqa: E402
from minicnn.models import build  # noqa: E402
from minicnn.version import __version__  # noqa: E402

__all__ = ["InputError", "__version__", "build", "load", "save"]
