"""What every result file says besides its figures: commit, command, machine, versions; and where it is written."""

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
    """Write ``bench/results/NAME.json``: the document and how it came about.

    Args:
        name: of the result.
        document: JSON-able figures.
        packages: distributions whose versions matter, besides NumPy.
    """
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps({"made": circumstances(packages), **document}, indent=1, ensure_ascii=False) + "\n")
    print(f"{path.relative_to(ROOT)} written", file=sys.stderr)


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
    """An argument as it would stand in a command on another machine: paths from the repository."""
    return os.path.relpath(argument, ROOT) if os.path.isabs(argument) else argument


def commit():
    """The commit of the code that ran, marked if files of it were changed."""
    def git(*args):
        return subprocess.run(["git", *args], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    changed = git("status", "--porcelain", "--untracked-files=no", "--", "minicnn", "detection", "compression", "bench/*.py")
    return git("rev-parse", "HEAD")[:12] + (" and uncommitted changes" if changed else "")


def processor():
    """The processor's name, where Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())


def blas():
    """NumPy's BLAS and its kernel, as threadpoolctl sees them."""
    import numpy  # noqa: F401  (loads its BLAS)
    import threadpoolctl
    return [f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')} {pool['num_threads']} threads"
            for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]


def table(headers, rows):
    """A Markdown table."""
    lines = [headers, ["---"] + ["--:"] * (len(headers) - 1), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
