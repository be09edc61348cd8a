"""The networks by name; what they consist of, and what compression needs of them, is in the files of this folder."""

from minicnn.models.builders import BUILDERS, build

__all__ = ["BUILDERS", "build"]
