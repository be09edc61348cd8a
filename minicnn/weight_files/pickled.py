"""What the unpickler makes: records of tensors, and inert placeholders for everything else that a checkpoint holds.

``GLOBALS`` lists the names that mean something here. Any other name (an optimizer's, ``argparse.Namespace``, or an attacker's) becomes an
``Unknown``, which is not imported, not called, and forgets what it is given.
"""

from dataclasses import dataclass

from minicnn.errors import InputError
from minicnn.weight_files.tensors import DTYPES, UNREAD, Storage, Tensor, Unreadable, is_count, itemsize, printable

STORAGES = {"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
            "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
            "ByteStorage": "uint8", "BoolStorage": "bool", "ComplexFloatStorage": "complex64", "ComplexDoubleStorage": "complex128",
            "QInt8Storage": "qint8", "QUInt8Storage": "quint8", "QInt32Storage": "qint32", "QUInt4x2Storage": "quint4x2",
            "QUInt2x4Storage": "quint2x4"}
UNTYPED = "torch.storage.UntypedStorage"        # of bytes; the dtype stands with each tensor


@dataclass(frozen=True)
class Global:
    """A name in the file, ``module.name``; nothing is imported."""

    name: str


class Unknown:
    """An object, or a function or class, of a name that means nothing here; nothing is known of it but the name.

    ``module`` says that it has the parts of a ``torch.nn.Module``: a whole network was pickled, not its state dict.
    """

    __slots__ = ("module", "name")

    def __init__(self, name):
        self.name, self.module = name, False


@dataclass
class Parameter:
    """A parameter as torch before 0.4 saved it: an object that holds a tensor."""

    tensor: Tensor | None = None


def add_items(target, pairs):
    """Add pairs to a dict.

    Pairs whose key is neither text nor a count are left out, which no state dict has: hashing nested tuples can take forever, and so can
    huge numbers of equal hash, which are refused.
    """
    for key, value in pairs:
        if isinstance(key, str) or is_count(key):
            target[key] = value
        elif type(key) is int and not -2**63 <= key < 2**63:
            raise damaged("a key of more than 64 bits")


# the functions of GLOBALS

def ordered_dict(items=None):
    """A dict; Python 2 wrote its items as a list of pairs."""
    result = {}
    if items is not None:
        if type(items) is not list:
            raise damaged("items that are not a list")
        add_items(result, items)
        items.clear()                           # moved, not copied: else a few bytes could make copy after copy
    return result


def rebuild_tensor(storage, offset, size, stride, requires_grad=False, hooks=None, metadata=None):
    """A tensor of a typed storage."""
    return rebuild(storage, offset, size, stride, metadata)


def rebuild_tensor_v3(storage, offset, size, stride, requires_grad, hooks, dtype, metadata=None):
    """A tensor of an untyped storage, whose sizes count bytes."""
    named = dtype.name.removeprefix("torch.")
    if named in UNREAD or isinstance(dtype, Unknown):
        return Unreadable(f"of type {printable(named)}")
    count, rest = divmod(storage.count, itemsize(named))
    if rest or storage.length != storage.count:
        raise damaged("a storage that ends within a number")
    return rebuild(Storage(storage.key, named, count, 0, count), offset, size, stride, metadata)


def rebuild(storage, offset, size, stride, metadata):
    """The ``Tensor``, unless its numbers differ from the storage's by a pending operation."""
    if not isinstance(storage, Storage):
        raise damaged("a tensor without a storage")
    if metadata:                                # negation or conjugation that the storage's numbers lack
        raise InputError("got a tensor with a pending negation or conjugation, expected plain numbers. Save it after resolve_neg().")
    if storage.dtype in UNREAD:
        return Unreadable(f"of type {storage.dtype}")
    return Tensor(storage, storage.dtype, offset, size, stride)


def rebuild_parameter(data, requires_grad, hooks, state=None):
    """The tensor of a parameter of today's torch."""
    return tensor_of(data)


def parameter(data=None, requires_grad=True):
    """A parameter of torch before 0.4; ``Unpickler.build`` adds the tensor if it is missing here."""
    return Parameter(None if data is None else tensor_of(data))


def tensor_of(value):
    """The ``Tensor`` of a tensor or a ``Parameter``."""
    value = value.tensor if isinstance(value, Parameter) else value
    if not isinstance(value, (Tensor, Unreadable)):
        raise damaged("something that is not a tensor")
    return value


def rebuild_from_type(function, kind, arguments, state):
    """The tensor within one of a subclass, or of one with attributes of its own."""
    make = GLOBALS[function.name] if isinstance(function, Global) else None
    if make is None:                            # a subclass with a layout of its own
        return Unreadable("of a type of its own")
    return make(*arguments)


def unreadable(what):
    """A function of ``GLOBALS`` that makes an ``Unreadable`` of any arguments."""
    return lambda *arguments: Unreadable(what)


def torch_size(sizes):
    """A tensor's sizes, as they are."""
    return sizes


def torch_device(*place):
    """A device, which nothing here needs."""
    return place


# name in the file: the function that a call of it runs here, or None for a name that is not called
GLOBALS = {
    "collections.OrderedDict": ordered_dict,
    "torch._utils._rebuild_tensor": rebuild_tensor,
    "torch._utils._rebuild_tensor_v2": rebuild_tensor,
    "torch._utils._rebuild_tensor_v3": rebuild_tensor_v3,
    "torch._utils._rebuild_parameter": rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": rebuild_parameter,
    "torch._tensor._rebuild_from_type_v2": rebuild_from_type,
    "torch._utils._rebuild_qtensor": unreadable("quantised"),
    "torch._utils._rebuild_sparse_tensor": unreadable("sparse"),
    "torch._utils._rebuild_nested_tensor": unreadable("nested"),
    "torch._utils._rebuild_meta_tensor_no_storage": unreadable("without numbers (of the device meta)"),
    "torch.nn.parameter.Parameter": parameter,
    "torch.Size": torch_size,
    "torch.device": torch_device,
    **{f"torch.{name}": None for name in (*STORAGES, *DTYPES, *UNREAD)},
    UNTYPED: None,
}
STORAGE_NAMES = {UNTYPED: "uint8", **{f"torch.{name}": dtype for name, dtype in STORAGES.items()}}


def damaged(what):
    """The InputError for a pickle with such a defect."""
    return InputError(f"got a pickle with {what}, expected one written by torch. The file is damaged, or is not a state dict.")
