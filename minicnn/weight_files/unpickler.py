"""An unpickler that can make tensors and nothing else.

A pickle is a program for a stack machine. Python's own unpickler imports and calls whatever the program names; this one does
neither. Its instructions are those that ``torch.save`` writes, the names it accepts are the table ``GLOBALS``, and its results are
dicts, lists, tuples, strings, numbers, and the plain records of ``tensors.py``. A file that names anything else is refused.

Reference: the comments of ``pickletools`` in Python's standard library describe every instruction.
"""

import pickle  # only for the names of the instructions
import struct
from dataclasses import dataclass

from minicnn.errors import InputError
from minicnn.weight_files.tensors import DTYPES, Storage, Tensor, is_count, itemsize, printable

# Enough for twenty thousand tensors. A hostile pickle can make us allocate some hundred bytes with each byte of its own.
MAX_BYTES = 4 * 2**20

STORAGES = {"DoubleStorage": "float64", "FloatStorage": "float32", "HalfStorage": "float16", "BFloat16Storage": "bfloat16",
            "LongStorage": "int64", "IntStorage": "int32", "ShortStorage": "int16", "CharStorage": "int8",
            "ByteStorage": "uint8", "BoolStorage": "bool"}
UNTYPED = "torch.storage.UntypedStorage"        # of bytes; the dtype stands with each tensor


@dataclass(frozen=True)
class Global:
    """A name in the file, ``module.name``; nothing is imported."""

    name: str


@dataclass
class Parameter:
    """A parameter as torch before 0.4 saved it: an object that holds a tensor."""

    tensor: Tensor | None = None


class Unpickler:
    """Reads pickles that follow each other in a file.

    Args:
        file: binary, at the first instruction.
        size: bytes that may be read in total.

    Attributes:
        storages: {key: Storage} of all storages that the pickles refer to.
    """

    def __init__(self, file, size):
        self.file = file
        self.limit = self.left = min(size, MAX_BYTES)
        self.storages = {}

    def load(self):
        """The object of the next pickle.

        Raises:
            InputError: the pickle is damaged, or contains other objects than tensors.
        """
        self.stack, self.marks, self.memo = [], [], {}
        try:
            while True:
                instruction = self.read(1)
                if instruction == pickle.STOP:
                    return self.stack.pop()
                if instruction not in INSTRUCTIONS:
                    raise damaged(f"the instruction {instruction!r}")
                INSTRUCTIONS[instruction](self)
        except InputError:
            raise
        except Exception as error:              # a damaged program fails in as many ways as there are instructions
            raise damaged(f"an instruction that fails ({type(error).__name__})") from error

    # reading

    def read(self, size):
        """The next ``size`` bytes; raises InputError, before allocating, if there are fewer."""
        if size > self.left:
            raise damaged(f"no end within {self.limit} bytes")
        self.left -= size
        data = self.file.read(size)
        if len(data) < size:
            raise damaged("no end before the end of the file")
        return data

    def number(self, form):
        """The next number, in the format of ``struct``."""
        return struct.unpack(form, self.read(struct.calcsize(form)))[0]

    def text(self, form):
        """The next text, after its length, a number in the format of ``struct``."""
        return self.read(self.number(form)).decode()

    def line(self):
        """The text up to the next newline."""
        data = bytearray()
        while (byte := self.read(1)) != b"\n":
            data += byte
        return data.decode()

    # the stack

    def push(self, value):
        self.stack.append(value)

    def pop_marked(self):
        """The values pushed since the last mark."""
        items, self.stack = self.stack, self.marks.pop()
        return items

    def mark(self):
        self.marks.append(self.stack)
        self.stack = []

    def remember(self, number):
        self.memo[number] = self.stack[-1]

    def push_tuple(self, length):
        items = [self.stack.pop() for _ in range(length)]
        self.push(tuple(items[::-1]))

    def append(self, items):
        top = self.stack[-1]
        if type(top) is not list:
            raise damaged("items for what is not a list")
        top.extend(items)

    def set_items(self, items):
        top = self.stack[-1]
        if type(top) is not dict or len(items) % 2:
            raise damaged("items for what is not a dict")
        add_items(top, zip(items[::2], items[1::2], strict=True))

    def set_item(self):
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    # names and objects

    def push_global(self, module, name):
        name = f"{module}.{name}"
        if name not in GLOBALS:
            raise InputError(f"got a file that names {printable(name)}, which is not part of a tensor, expected a state dict. "
                             "Save model.state_dict() alone and convert that.")
        self.push(Global(name))

    def stack_global(self):
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise damaged("a name that is not text")
        self.push_global(module, name)

    def reduce(self):
        """Call a function of the table ``GLOBALS`` with the arguments on the stack."""
        arguments, called = self.stack.pop(), self.stack.pop()
        make = GLOBALS[called.name] if isinstance(called, Global) else None
        if make is None or type(arguments) is not tuple:
            raise damaged("a call of something that is not a function")
        self.push(make(*arguments))

    def build(self):
        """Set attributes: only the tensor of a ``Parameter``; a dict's (``_metadata``) are ignored."""
        state, top = self.stack.pop(), self.stack[-1]
        if isinstance(top, Parameter) and type(state) is tuple and len(state) == 5:
            top.tensor = tensor_of(state[0])
        elif type(top) is not dict and not isinstance(top, Parameter):
            raise damaged("attributes of something that has none")

    def persistent(self):
        """Push the ``Storage`` that a reference describes; its numbers lie elsewhere in the file."""
        reference = self.stack.pop()
        if type(reference) is not tuple or not reference:
            raise damaged("a malformed reference")
        if reference[0] == "module":
            raise InputError("got a file that holds a whole module, expected a state dict. Open it with the program that made it, "
                             "save model.state_dict() alone and convert that.")
        kind, storage, key, _, count, *window = reference
        start, length = (0, count) if window in ([], [None]) else window[0][1:]         # the legacy format has (key, start, length)
        dtype = STORAGE_NAMES[storage.name]
        if kind != "storage" or not isinstance(key, str) or not all(map(is_count, (count, start, length))):
            raise damaged("a malformed storage")
        known = self.storages.setdefault(key, Storage(key, dtype, count, 0, count))
        if (known.dtype, known.count) != (dtype, count):
            raise damaged("two descriptions of the same storage")
        self.push(Storage(key, dtype, count, start, length))


def add_items(target, pairs):
    """Add pairs to a dict; keys must be text or counts, since hashing nested tuples, or huge numbers of equal hash, can take forever."""
    for key, value in pairs:
        if not (isinstance(key, str) or is_count(key)):
            raise damaged("a key that is neither text nor a count")
        target[key] = value


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
    if not isinstance(value, Tensor):
        raise damaged("something that is not a tensor")
    return value


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
    "torch.nn.parameter.Parameter": parameter,
    "torch.Size": torch_size,
    "torch.device": torch_device,
    **{f"torch.{name}": None for name in (*STORAGES, *DTYPES)},
    UNTYPED: None,
}
STORAGE_NAMES = {UNTYPED: "uint8", **{f"torch.{name}": dtype for name, dtype in STORAGES.items()}}

INSTRUCTIONS = {
    pickle.PROTO: lambda machine: machine.read(1),                  # the protocol's number, not needed
    pickle.FRAME: lambda machine: machine.read(8),                  # the length of a block, not needed
    pickle.NONE: lambda machine: machine.push(None),
    pickle.NEWTRUE: lambda machine: machine.push(True),
    pickle.NEWFALSE: lambda machine: machine.push(False),
    pickle.BININT1: lambda machine: machine.push(machine.number("<B")),
    pickle.BININT2: lambda machine: machine.push(machine.number("<H")),
    pickle.BININT: lambda machine: machine.push(machine.number("<i")),
    pickle.LONG1: lambda machine: machine.push(int.from_bytes(machine.read(machine.number("<B")), "little", signed=True)),
    pickle.BINFLOAT: lambda machine: machine.push(machine.number(">d")),
    pickle.SHORT_BINUNICODE: lambda machine: machine.push(machine.text("<B")),
    pickle.BINUNICODE: lambda machine: machine.push(machine.text("<I")),
    pickle.BINUNICODE8: lambda machine: machine.push(machine.text("<Q")),
    pickle.SHORT_BINSTRING: lambda machine: machine.push(machine.text("<B")),           # the text of Python 2
    pickle.BINSTRING: lambda machine: machine.push(machine.text("<I")),
    pickle.SHORT_BINBYTES: lambda machine: machine.push(machine.read(machine.number("<B"))),
    pickle.BINBYTES: lambda machine: machine.push(machine.read(machine.number("<I"))),
    pickle.EMPTY_TUPLE: lambda machine: machine.push(()),
    pickle.TUPLE1: lambda machine: machine.push_tuple(1),
    pickle.TUPLE2: lambda machine: machine.push_tuple(2),
    pickle.TUPLE3: lambda machine: machine.push_tuple(3),
    pickle.MARK: Unpickler.mark,
    pickle.TUPLE: lambda machine: machine.push(tuple(machine.pop_marked())),
    pickle.EMPTY_LIST: lambda machine: machine.push([]),
    pickle.APPEND: lambda machine: machine.append([machine.stack.pop()]),
    pickle.APPENDS: lambda machine: machine.append(machine.pop_marked()),
    pickle.EMPTY_DICT: lambda machine: machine.push({}),
    pickle.SETITEM: Unpickler.set_item,
    pickle.SETITEMS: lambda machine: machine.set_items(machine.pop_marked()),
    pickle.BINPUT: lambda machine: machine.remember(machine.number("<B")),
    pickle.LONG_BINPUT: lambda machine: machine.remember(machine.number("<I")),
    pickle.MEMOIZE: lambda machine: machine.remember(len(machine.memo)),
    pickle.BINGET: lambda machine: machine.push(machine.memo[machine.number("<B")]),
    pickle.LONG_BINGET: lambda machine: machine.push(machine.memo[machine.number("<I")]),
    pickle.GLOBAL: lambda machine: machine.push_global(machine.line(), machine.line()),
    pickle.STACK_GLOBAL: Unpickler.stack_global,
    pickle.REDUCE: Unpickler.reduce,
    pickle.NEWOBJ: Unpickler.reduce,
    pickle.BUILD: Unpickler.build,
    pickle.BINPERSID: Unpickler.persistent,
}


def damaged(what):
    """The InputError for a pickle with such a defect."""
    return InputError(f"got a pickle with {what}, expected one written by torch. The file is damaged, or is not a state dict.")
