"""What the packages' ``__all__`` names: it is there, it is described, and it has types on all parameters and the return."""

import importlib
import inspect

import pytest

PACKAGES = ("minicnn", "minicnn.functional", "minicnn.layers", "minicnn.data", "minicnn.models", "minicnn.detection", "minicnn.compression",
            "minicnn.fast")
FUNCTIONS = [(package, name) for package in PACKAGES for name in getattr(importlib.import_module(package), "__all__", ())]


@pytest.mark.parametrize("package", PACKAGES)
def test_names_are_listed_once_and_are_there(package):
    module = importlib.import_module(package)
    assert len(set(module.__all__)) == len(module.__all__) and all(hasattr(module, name) for name in module.__all__)


@pytest.mark.parametrize("package, name", FUNCTIONS)
def test_public_functions_have_types_and_docstrings(package, name):
    value = getattr(importlib.import_module(package), name)
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        return
    assert value.__doc__, name
    for function in [value] if inspect.isfunction(value) else constructor(value):
        signature = inspect.signature(function)
        bare = [parameter for place, parameter in enumerate(signature.parameters.values())
                if parameter.annotation is parameter.empty and not (place == 0 and parameter.name in ("self", "cls"))]
        assert not bare, f"{function.__qualname__}: no types on {', '.join(parameter.name for parameter in bare)}"
        if function.__name__ != "__init__":
            assert signature.return_annotation is not signature.empty, f"{function.__qualname__}: no type on what it returns"


def constructor(kind):
    """A class's own constructor."""
    return [function for name, function in vars(kind).items() if inspect.isfunction(function) and name == "__init__"]
