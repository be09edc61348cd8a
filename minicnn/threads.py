"""How many threads matrix products use."""

import contextlib


@contextlib.contextmanager
def one_blas_thread():
    """Within the block, products run on one thread, where threadpoolctl is installed; else nothing changes.

    Training a small network is hundreds of products a second of well under a millisecond each, between which BLAS's other threads
    spin and slow down what NumPy does meanwhile. An epoch of LeNet-5 then takes sometimes less, sometimes half as long again, and many
    times as long if something else runs beside it (``bench/lenet.py`` measures both).
    """
    try:
        from threadpoolctl import threadpool_limits
    except ImportError:
        yield
        return
    with threadpool_limits(1, user_api="blas"):
        yield
