"""``python -m minicnn`` is the command line."""

import subprocess
import sys

import minicnn


def run(*arguments):
    return subprocess.run([sys.executable, "-m", "minicnn", *arguments], capture_output=True, text=True, timeout=60)


def test_it_runs_a_command():
    result = run("--version")
    assert (result.returncode, result.stdout, result.stderr) == (0, f"minicnn {minicnn.__version__}\n", "")


def test_its_exit_status_is_the_commands():
    result = run("info", "nothing.npz")
    assert result.returncode == 2 and result.stderr.startswith("minicnn info: error: ") and result.stderr.count("\n") == 1
