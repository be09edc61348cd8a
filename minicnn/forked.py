"""Locks in a process that is forked: a worker of ``multiprocessing`` or of a web server has none of its parent's other threads.

A lock that one of them holds at that moment is never released in the child.
"""

import os


def released(lock):
    """The lock, which every fork waits for and releases in both processes, so that what it guards is whole in the child."""
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=lock.acquire, after_in_parent=lock.release, after_in_child=lock.release)
    return lock
