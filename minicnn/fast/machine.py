"""The machine that a time was measured on: processor, cores, threads, caches, versions, temperature."""

import contextlib
import functools
import os
import platform
from pathlib import Path

import numpy as np

from minicnn.fast.threads import blas_threads, numba_threads, numpy_threads
from minicnn.version import __version__

ARM_PARTS = {"0xd03": "Cortex-A53", "0xd08": "Cortex-A72", "0xd0b": "Cortex-A76"}         # /proc/cpuinfo's "CPU part"


def describe(backend):
    """The machine, versions, and number of threads that a backend uses, as a dictionary for JSON."""
    return {"processor": processor(), "board": board(), "architecture": platform.machine(), "system": platform.platform(),
            "cores": cores(), "threads": threads(backend), "caches": caches(), "memory_mib": memory(),
            "python": platform.python_version(), "versions": versions("minicnn", "numpy", "numba", "llvmlite", "scipy", "threadpoolctl"),
            "blas": blas(), "variables": variables()}


@functools.cache
def processor():
    """The processor's name, as far as the system reports it."""
    lines = dict(line.split(":", 1) for line in text("/proc/cpuinfo").splitlines() if ":" in line)
    lines = {name.strip(): value.strip() for name, value in lines.items()}
    name = lines.get("model name") or ARM_PARTS.get(lines.get("CPU part")) or platform.processor() or platform.machine()
    clock = text("/sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq")
    return f"{name}, {int(clock) / 1e6:.1f} GHz" if clock.isdigit() and "model name" not in lines else name


def board():
    """The name of a small computer, such as "Raspberry Pi 4 Model B Rev 1.4", or None."""
    return text("/proc/device-tree/model").rstrip("\0") or None


def cores():
    """Number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


def threads(backend):
    """Number of threads that a backend uses now."""
    if backend == "numba":
        return numba_threads()
    if backend == "numpy":
        return numpy_threads()
    found = blas_threads()
    return found[0]() if found else cores()


def caches():
    """Bytes of the first core's caches by level, without instruction caches; empty where the system does not report them."""
    found = {}
    for folder in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        size, level = text(folder / "size"), text(folder / "level")
        if text(folder / "type") != "Instruction" and size[:-1].isdigit() and size[-1] in "KM":
            found[f"L{level}"] = int(size[:-1]) * (2**10 if size[-1] == "K" else 2**20)
    return found


def memory():
    """MiB of memory, or None."""
    first = text("/proc/meminfo").partition("\n")[0].split()
    return int(first[1]) // 1024 if first[:1] == ["MemTotal:"] else None


def versions(*packages):
    """{package: version} of those that are installed."""
    import importlib.metadata  # here: it is slow to import
    found = {}
    for package in packages:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return {**found, "minicnn": __version__, "numpy": np.__version__}         # as imported


def blas():
    """The BLAS libraries in use and their kernels, as threadpoolctl reports them; None where it is not installed."""
    try:
        import threadpoolctl
    except ImportError:
        return None
    return [f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')} {pool['num_threads']} threads"
            for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


def variables():
    """Environment variables that affect the speed, where they are set."""
    names = ("MINICNN_NUM_THREADS", "MINICNN_WINOGRAD", "NUMBA_NUM_THREADS", "NUMBA_THREADING_LAYER", "OMP_NUM_THREADS",
             "OPENBLAS_NUM_THREADS", "OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE")
    return {name: os.environ[name] for name in names if name in os.environ}


def celsius():
    """The processor's temperature, where the system (a small computer, mostly) reports it, or None."""
    value = text("/sys/class/thermal/thermal_zone0/temp")
    return int(value) / 1000 if value.lstrip("-").isdigit() else None


def text(path):
    """The text of a small system file; "" if it cannot be read."""
    try:
        return Path(path).read_text(errors="replace").strip()
    except OSError:
        return ""
