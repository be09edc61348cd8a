"""The engine: fast kernels for single operations, and plans that run a finished network.

Layers and models do not know of it: ``minicnn.functional.dispatch`` calls its kernels, and ``run`` runs a network by its plan. A user may
print a plan (``compile``), estimate times (``timing``), find the slow steps of a model (``profile``) or choose the fastest algorithms for
this machine (``tune``). Names are imported from their files when they are first used, since ``minicnn`` imports ``threads`` before NumPy.
"""

import importlib

FILES = {"compile": "plan", "Plan": "plan", "break_even": "timing", "calibrate": "timing", "chain_milliseconds": "timing",
         "machine_rates": "timing", "profile": "timing.profile", "tune": "timing.tune"}

__all__ = sorted(FILES)


def __getattr__(name):
    """Import an exported name from its file."""
    if name in FILES:
        return getattr(importlib.import_module(f"{__name__}.{FILES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
