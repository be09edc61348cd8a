"""The one place that says which code computes an operation.

Every function of ``minicnn.functional`` is called through ``TABLE``. The readable NumPy code registers itself there; a
faster twin with the same signature takes its place by ``TABLE[name] = twin``, forward and backward alike. Layers and models
do not notice.
"""

import functools

TABLE = {}


def kernel(reference):
    """Enter ``reference`` into the table under its own name; the result calls whatever stands there now."""
    name = reference.__name__
    TABLE[name] = reference

    @functools.wraps(reference)
    def call(*args, **kwargs):
        return TABLE[name](*args, **kwargs)

    return call
