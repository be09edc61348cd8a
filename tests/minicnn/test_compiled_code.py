"""The folder for compiled code."""

import pytest

from minicnn import compiled_code


@pytest.fixture
def chosen(monkeypatch, tmp_path):
    """A function that chooses anew, for variables of the environment; "FILE" in their values is a file, below which nothing can be made.

    ``home`` can be written or not, and so can the folder of the package.
    """
    (tmp_path / "file").write_text("no folder")

    def choose(package=True, **variables):
        for name in ("NUMBA_CACHE_DIR", "MINICNN_CACHE", "XDG_CACHE_HOME"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, value.replace("FILE", str(tmp_path / "file")).replace("HERE", str(tmp_path)))
        monkeypatch.setattr(compiled_code, "__file__", str(tmp_path / ("package" if package else "file") / "compiled_code.py"))
        return compiled_code.compiled_folder.__wrapped__()
    return choose


def test_compiled_code_is_below_the_cache_folder(chosen, tmp_path):
    assert chosen(MINICNN_CACHE="HERE/cache") == tmp_path / "cache" / "numba"
    assert chosen(XDG_CACHE_HOME="HERE/own", HOME="FILE/home") == tmp_path / "own" / "minicnn" / "numba"


def test_numbas_own_variable_comes_first(chosen, tmp_path):
    assert chosen(NUMBA_CACHE_DIR="HERE/theirs", MINICNN_CACHE="HERE/cache") == tmp_path / "theirs"
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("variables", [{"MINICNN_CACHE": "FILE/cache"}, {"NUMBA_CACHE_DIR": "FILE/theirs", "MINICNN_CACHE": "HERE/cache"},
                                       {"HOME": "FILE/home"}], ids=str)
def test_beside_the_kernels_where_the_chosen_folder_cannot_be_written(chosen, tmp_path, variables):
    assert chosen(**variables) == tmp_path / "package" / "fast" / "numba_kernels" / "__pycache__"
    assert chosen(package=False, **variables) is None
