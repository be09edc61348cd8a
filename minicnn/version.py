"""The version of minicnn, the only place where it is written; imports nothing, so that ``setup.cfg`` can read it."""

__version__ = "0.3.0"
