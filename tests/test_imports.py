"""Imports point one way, optional packages stay optional, and our folders do not hide the standard library's."""

import ast
import configparser
import functools
import os
import subprocess
import sys

import pytest
from source_files import FILES, ROOT

OPTIONAL = {"PIL", "tqdm", "scipy", "numba", "threadpoolctl", "defusedxml", "safetensors"}     # inside functions only
COMPILED, COMPILERS = "minicnn.fast.numba_kernels", {"numba", "llvmlite"}     # the package imported only where these are installed


def imports(path):
    """(module, at module level?) of every import statement of a file; ``from a import b`` counts as a and as a.b."""
    tree = ast.parse(path.read_text("utf-8"))
    inside = {id(node) for function in ast.walk(tree) if isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
              for node in ast.walk(function)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        for name in names:
            yield name, id(node) not in inside


def within(name, package):
    return name == package or name.startswith(f"{package}.")


# who (a package; and what of it is excepted) may not import what; minicnn.__main__ alone imports the command line from outside of it
CLI, MAIN = "minicnn.cli", "minicnn.__main__"
ABOVE_MODELS = ("minicnn.detection", "minicnn.compression", CLI)
ABOVE_LAYERS = ("minicnn.models", "minicnn.archive", "minicnn.train_classifier", "minicnn.optim")
ARROWS = [
    ("minicnn", (CLI, MAIN, "minicnn.detection", "minicnn.compression"), ABOVE_MODELS),
    ("minicnn.compression", (), ("minicnn.detection", CLI)),
    ("minicnn.detection", (), ("minicnn.compression", CLI)),
    ("minicnn.functional", (), ("minicnn.layers", *ABOVE_LAYERS)),
    ("minicnn.layers", (), ABOVE_LAYERS),
    ("minicnn.models", (), ("minicnn.fast", "minicnn.archive", "minicnn.train_classifier")),
    ("minicnn.fast", (), ABOVE_LAYERS),
    ("minicnn.report", (), ABOVE_MODELS),
]


@pytest.mark.parametrize("who, excepted, what", ARROWS, ids=[arrow[0] for arrow in ARROWS])
def test_arrows(who, excepted, what):
    files = {name: path for name, path in FILES.items() if within(name, who) and not any(within(name, part) for part in excepted)}
    assert files
    wrong = [f"{name} imports {imported}" for name, path in files.items() for imported, _ in imports(path)
             if any(within(imported, forbidden) for forbidden in what)]
    assert wrong == []


def test_the_programs_of_bench_import_nothing_from_the_command_line():
    wrong = [f"{path.name} imports {imported}" for path in sorted((ROOT / "bench").rglob("*.py")) for imported, _ in imports(path)
             if within(imported, CLI)]
    assert wrong == []


# circles

FOLDERS = [name for name, path in FILES.items() if path.name == "__init__.py"]

def imported_file(name):
    """The file that an imported name stands for or in: ``minicnn.layers.conv.Conv2d`` -> ``minicnn.layers.conv``."""
    while name and name not in FILES:
        name = name.rpartition(".")[0]
    return name


@functools.cache
def file_arrows():
    """{file: files that it imports, those inside functions included}.

    ``from package import module`` counts as the module alone, and not as the package that lists it.
    """
    arrows = {}
    for name, path in FILES.items():
        found = [imported for imported, _ in imports(path)]
        # imports() yields the package before what is taken from it
        found = [imported for imported in found
                 if not any(other in FILES and other.rpartition(".")[0] == imported for other in found)]
        arrows[name] = {imported_file(imported) for imported in found if within(imported, "minicnn")} - {name, ""}
    return arrows


def circles(arrows):
    """Lists of nodes that reach each other, in a graph {node: set of nodes}."""
    reached = {}
    for start in arrows:
        seen, left = set(), [start]
        while left:
            for node in arrows.get(left.pop(), ()):
                if node not in seen:
                    seen.add(node)
                    left.append(node)
        reached[start] = seen
    return sorted({tuple(sorted(other for other in seen if node in reached.get(other, ()))) for node, seen in reached.items()
                   if node in seen})


def test_no_circles_between_files():
    assert circles(file_arrows()) == []


def child_of(folder, name):
    """What holds a file directly within a folder: another folder, or the file itself; None for a file elsewhere."""
    if not within(name, folder):
        return None
    depth = folder.count(".") + 1
    return ".".join(name.split(".")[:depth + 1])


@pytest.mark.parametrize("folder", sorted({name.rpartition(".")[0] for name in FOLDERS} - {""}))
def test_no_circles_between_folders(folder):
    """Within each folder, the folders in it and its own files, one by one."""
    arrows = {}
    for name, others in file_arrows().items():
        if child := child_of(folder, name):
            arrows.setdefault(child, set()).update(other for other in (child_of(folder, other) for other in others) if other)
    assert circles({child: others - {child} for child, others in arrows.items()}) == []


@pytest.mark.parametrize("name", FILES)
def test_numpy_alone_is_imported_at_module_level(name):
    everywhere = {"numpy"} | (COMPILERS if within(name, COMPILED) else set())
    for imported, top in imports(FILES[name]):
        package = imported.partition(".")[0]
        if package not in sys.stdlib_module_names | {"minicnn"}:
            assert package in (everywhere if top else everywhere | OPTIONAL), imported


def test_the_compiled_engine_is_imported_by_itself_and_inside_functions_only():
    wrong = [f"{name} imports {imported}" for name, path in FILES.items() if not within(name, COMPILED)
             for imported, top in imports(path) if top and within(imported, COMPILED)]
    assert wrong == []


def test_our_folders_are_imported_by_their_installed_names():
    """``import compression`` is the standard library's since Python 3.14."""
    wrong = [(name, imported) for name, path in FILES.items() for imported, _ in imports(path)
             if imported.partition(".")[0] in ("compression", "detection")]
    assert wrong == []


def python(code, *path):
    """Run code at the repository's root, which stands first on the path, ``path`` last, and NumPy computes."""
    code = f"import sys; sys.path += {[str(one) for one in path]!r}\n{code}"
    result = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True,
                            env={**os.environ, "MINICNN_BACKEND": "numpy"})
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


@pytest.fixture
def package(tmp_path):
    """As on Python 3.14, whose gzip, bz2 and lzma import compression._common: here a stand-in, to be behind us on the path."""
    package = tmp_path / "compression"
    for folder in (package / "_common", package / "zstd"):
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text("HERE = True\n")
    (package / "__init__.py").write_text("")
    (package / "_common" / "_streams.py").write_text("class BaseStream: pass\n")
    return tmp_path


def test_the_standard_librarys_compression_stays_importable(package):
    assert python("""
import compression
assert compression.__file__.startswith(sys.path[0] or __import__("os").getcwd()), compression.__file__     # ours comes first
import compression._common, compression.zstd
from compression._common import _streams
assert compression._common.HERE and compression.zstd.HERE and _streams.BaseStream
import gzip, bz2, lzma
assert gzip.decompress(gzip.compress(b"x")) == b"x"
import minicnn.compression.channels, minicnn.compression.rounds
assert minicnn.compression is not compression and minicnn.compression.channels.prune_group
print("fine")
""", package) == "fine"


def test_it_does_so_for_the_programs_of_bench(package):
    assert python("""
sys.path.insert(0, "bench")
import compression
from compression._common import _streams
assert compression.__file__.endswith("bench/compression.py") and compression.markdown and _streams.BaseStream
print("fine")
""", package) == "fine"


def test_the_installed_names_are_minicnn_and_below():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    packages = setup["options"]["packages"].split()
    assert all(within(package, "minicnn") for package in packages)
    assert set(packages) == {name for name, path in FILES.items() if path.name == "__init__.py"}       # none is forgotten
    places = dict(line.split(" = ") for line in setup["options"]["package_dir"].strip().splitlines() if "=" in line)
    assert places == {"minicnn": "minicnn", "minicnn.detection": "detection", "minicnn.compression": "compression"}


def test_type_checkers_are_told_that_the_package_has_types():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert setup["options.package_data"]["minicnn"].split() == ["py.typed"] and (ROOT / "minicnn" / "py.typed").is_file()


def test_no_distribution_installs_our_folders_at_the_top():
    from importlib import metadata
    try:
        top = metadata.distribution("minicnn").read_text("top_level.txt")
    except metadata.PackageNotFoundError:
        pytest.skip("minicnn is not installed, only on the path")
    assert top.split() == ["minicnn"]


@pytest.mark.parametrize("code", [
    "import minicnn",
    "import minicnn, numpy as np; minicnn.build('lenet5', rng=np.random.default_rng(0))(np.zeros((1, 1, 28, 28), np.float32))",
    "import minicnn.cli.parser; minicnn.cli.parser.build_parser()",
])
def test_numpy_is_all_that_is_imported(code):
    others = sorted(OPTIONAL | {"torch", "matplotlib"})
    assert python(f"{code}; print([name for name in {others!r} if name in sys.modules])") == "[]"


def test_saving_and_loading_import_numpy_alone(tmp_path):
    code = f"""
import numpy as np, minicnn
minicnn.save({str(tmp_path / 'a.npz')!r}, minicnn.build("lenet5", rng=np.random.default_rng(0)))
minicnn.load({str(tmp_path / 'a.npz')!r})(np.zeros((1, 1, 28, 28), np.float32))
packages = {{name.partition(".")[0] for name in set(sys.modules) - before if getattr(sys.modules[name], "__file__", None)}}
print(sorted(name for name in packages - sys.stdlib_module_names if not name.startswith("__editable")))
"""
    assert python(f"before = set(sys.modules)\n{code}") == "['minicnn', 'numpy']"
