"""``import minicnn`` is quick: what it does not need is imported later."""

import subprocess
import sys


def test_what_is_used_later_is_imported_later():
    code = "import sys, numpy; before = set(sys.modules); import minicnn; minicnn.load; print(*sorted(set(sys.modules) - before))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = result.stdout.split()
    assert "minicnn.layers.conv" in loaded
    later = ("numpy.random", "tempfile", "shutil", "hashlib", "minicnn.detection", "minicnn.compression", "minicnn.cli",
             "minicnn.data", "minicnn.fast.plan", "minicnn.optim", "minicnn.trace", "minicnn.weight_files")
    assert [name for name in loaded if name.startswith(later)] == []


def test_the_command_line_is_loaded_without_numpy():
    code = "import sys, minicnn.cli.main, minicnn; print(minicnn.__version__, 'numpy' in sys.modules, minicnn.layers.Conv2d.__name__)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.split()[1:] == ["False", "Conv2d"]
