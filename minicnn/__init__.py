"""minicnn: convolutional networks in NumPy, readable line by line, and their compression."""

from minicnn.archive import load, save
from minicnn.errors import InputError
from minicnn.models import build

__version__ = "0.1.0"

__all__ = ["InputError", "__version__", "build", "load", "save"]
