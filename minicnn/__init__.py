"""minicnn: convolutional networks in NumPy, readable line by line, and their compression.

Names are imported from their files when they are first used: so the command line starts without NumPy, and handles Ctrl-C from then on.
"""

import importlib
from typing import TYPE_CHECKING, Any

from minicnn.fast.threads import tell_libraries
from minicnn.version import __version__

if TYPE_CHECKING:
    from minicnn.archive import save
    from minicnn.errors import InputError
    from minicnn.models import build
    from minicnn.network_files import load

FILES = {"save": "archive", "InputError": "errors", "build": "models", "load": "network_files"}
__all__ = ["InputError", "__version__", "build", "load", "save"]

tell_libraries()        # before NumPy is loaded


def __getattr__(name: str) -> Any:
    """Import an exported name from its file, or one of the packages that ``import minicnn`` has always brought along."""
    if name in FILES:
        return getattr(importlib.import_module(f"minicnn.{FILES[name]}"), name)
    if name in (*FILES.values(), "functional", "layers", "files"):
        return importlib.import_module(f"minicnn.{name}")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
