"""What the operations ask of their arguments: they refuse what torch refuses, and dtypes that they do not support.

Each file has, beside the formulas, the checks of its operations (``dispatch.check_of``), which run before any backend's kernel.
"""

from typing import Any


def floating(function: str, **arrays: Any) -> None:
    """Raise TypeError unless each array is a NumPy array of a floating dtype; None, such as a missing bias, passes."""
    wrong = [name for name, array in arrays.items() if array is not None and kind(array) != "f"]
    if wrong:
        got = ", ".join(f"{name} of {getattr(arrays[name], 'dtype', type(arrays[name]).__name__)}" for name in wrong)
        raise TypeError(f"{function}: got {got}, expected NumPy arrays of a floating dtype. Convert them, as by x.astype(np.float32).")


def one_dtype(function: str, **arrays: Any) -> None:
    """Raise TypeError unless all arrays have the same floating dtype, see ``floating``."""
    floating(function, **arrays)
    dtypes = {name: array.dtype for name, array in arrays.items() if array is not None}
    if len(set(dtypes.values())) > 1:
        got = ", ".join(f"{name} of {dtype}" for name, dtype in dtypes.items())
        raise TypeError(f"{function}: got {got}, expected one dtype. Convert one of them, as by x.astype(np.float32).")


def shape(function: str, name: str, array: Any, expected: tuple) -> None:
    """Raise ValueError unless an array has a shape; None, such as a missing bias, passes. A letter stands for any number."""
    if array is None or array.shape == expected:
        return
    if array.ndim != len(expected) or any(side != wanted for side, wanted in zip(array.shape, expected) if not isinstance(wanted, str)):
        wanted = ", ".join(map(str, expected)) + ("," if len(expected) == 1 else "")
        raise ValueError(f"{function}: got {name} {array.shape}, expected ({wanted}). Reshape or cut it.")


def kind(array: Any) -> str:
    """The kind of an array's dtype: "f" for floating, "i" and "u" for integers; "?" if it is no NumPy array."""
    return getattr(getattr(array, "dtype", None), "kind", "?")
