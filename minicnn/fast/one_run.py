"""The lock round a run of the engine."""

import concurrent.futures.thread  # noqa: F401  # it registers its own lock: what is registered later is taken first, and so it is in a run
import threading

from minicnn.forked import released

lock = released(threading.RLock())          # Numba's workqueue does not allow two threads to start parallel work
