"""Result files: what each holds besides its figures (commit, command, machine, versions), how it is written, and Markdown tables."""

import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "bench" / "results"


def record(name, document, packages=()):
    """Write ``bench/results/NAME.json``: the document, and under "made" the circumstances.

    Args:
        name: of the result.
        document: figures that JSON can hold.
        packages: distributions whose versions matter, besides NumPy.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"made": circumstances(packages), **document}, indent=1, ensure_ascii=False) + "\n")
    print(f"{path.relative_to(ROOT)} written", file=sys.stderr)


def kept(folder, name, made_on, make):
    """A row of a long measurement, read from its file where an earlier run has written it.

    Args:
        folder: of the rows.
        name: of the row; it is kept in FOLDER/NAME.json.
        made_on: ``commit()``, as it was when the program started; it is kept with the row.
        make: () -> the row, a dictionary; called if there is no such file.

    Returns:
        row: with "commit".
    """
    path = Path(folder, f"{name}.json")
    if not path.exists():
        path.write_text(json.dumps({**make(), "commit": made_on}))
        print(f"{name}: made", file=sys.stderr)
    return json.loads(path.read_text())


def circumstances(packages=()):
    """Commit, command, date, machine and versions."""
    return {
        "commit": commit(), "command": " ".join(["python", f"bench/{Path(sys.argv[0]).name}", *map(portable, sys.argv[1:])]),
        "date": datetime.date.today().isoformat(), "machine": platform.machine(), "processor": processor(),
        "cores": len(os.sched_getaffinity(0)), "python": platform.python_version(),
        "versions": {package: importlib.metadata.version(package) for package in ("numpy", *packages)},
        "blas": blas(),
    }


def portable(argument):
    """A command's argument, with absolute paths made relative to the repository."""
    return os.path.relpath(argument, ROOT) if os.path.isabs(argument) else argument


def commit():
    """The commit of the source, marked if its files have been changed since."""
    def git(*args):
        return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "minicnn", "detection", "compression", "bench/*.py")
    return git("rev-parse", "HEAD")[:12] + (" and uncommitted changes" if changed else "")


def processor():
    """The processor's name, where Linux reports it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def blas():
    """NumPy's BLAS and its kernels, as threadpoolctl reports them."""
    import numpy  # noqa: F401  (loads its BLAS)
    import threadpoolctl
    return [f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')} {pool['num_threads']} threads"
            for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


def peak_bytes():
    """The most memory that this process has held so far."""
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])


def table(headers, rows):
    """A Markdown table."""
    lines = [headers, ["---"] + ["--:"] * (len(headers) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
