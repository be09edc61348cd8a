"""Where compiled kernels are kept: below the cache folder, so that ``MINICNN_CACHE`` moves them with everything else."""

import contextlib
import functools
import os
from pathlib import Path

from minicnn.errors import InputError
from minicnn.files import cache_folder, make_folder


@functools.cache
def compiled_folder():
    """The first of these that can be written: Numba's own NUMBA_CACHE_DIR, or else "numba" in the cache folder; the kernels' own
    ``__pycache__``. None if none can: each start would then compile for a minute."""
    for folder in candidates():
        with contextlib.suppress(InputError):
            make_folder(folder)
            return folder
    return None


def candidates():
    """Folders for compiled code, in the order of preference."""
    if os.environ.get("NUMBA_CACHE_DIR"):
        yield Path(os.environ["NUMBA_CACHE_DIR"])
    else:
        with contextlib.suppress(InputError):           # no home folder
            yield cache_folder() / "numba"
    yield Path(__file__).parent / "fast" / "numba_kernels" / "__pycache__"
