"""The examples in docstrings, run in modules imported under their installed names."""

import doctest
import importlib

import pytest
from source_files import FILES

LEAST = 20          # functions with examples
MODULES = [name for name, path in FILES.items() if ">>> " in path.read_text("utf-8")]


class Runner(doctest.DocTestRunner):
    """Skips the test where an example asks for it, as of what this Pillow cannot draw."""

    def report_unexpected_exception(self, out, test, example, exc_info):
        if isinstance(exc_info[1], pytest.skip.Exception):
            raise exc_info[1]
        super().report_unexpected_exception(out, test, example, exc_info)


def examples(name):
    """The docstrings with examples of one module."""
    return [test for test in doctest.DocTestFinder(recurse=True).find(importlib.import_module(name)) if test.examples]


@pytest.mark.parametrize("name", MODULES)
def test_examples_print_what_they_say(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for example in examples(name):
        lines = []
        failed, tried = Runner(optionflags=doctest.NORMALIZE_WHITESPACE).run(example, out=lines.append)
        assert tried and not failed, "".join(lines)


def test_many_functions_have_examples():
    named = {example.name for name in MODULES for example in examples(name)}
    assert len(named) >= LEAST, sorted(named)
