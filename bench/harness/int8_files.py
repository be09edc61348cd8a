"""int8 files against float32 ones: their sizes, and how long they take to load."""

import statistics
import time
from pathlib import Path

import minicnn


def compare_int8(path, folder, runs=11):
    """Save a network in both dtypes and load both, in turn.

    Args:
        path: of its file. folder: to write into. runs: of each, after a first one that is not counted.

    Returns:
        {"bytes", "seconds": {dtype: size, median time of loading}, "bytes_ratio", "seconds_ratio": int8 over float32}.
    """
    model, files = minicnn.load(path), {dtype: Path(folder, f"{dtype}.npz") for dtype in ("float32", "int8")}
    for dtype, file in files.items():
        minicnn.save(file, model, dtype)
    times = {dtype: [] for dtype in files}
    for _ in range(runs + 1):
        for dtype, file in files.items():
            start = time.perf_counter()
            minicnn.load(file)
            times[dtype].append(time.perf_counter() - start)
    sizes = {dtype: file.stat().st_size for dtype, file in files.items()}
    seconds = {dtype: statistics.median(found[1:]) for dtype, found in times.items()}
    return {"bytes": sizes, "seconds": seconds, "bytes_ratio": sizes["int8"] / sizes["float32"],
            "seconds_ratio": seconds["int8"] / seconds["float32"]}
