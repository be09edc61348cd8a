"""An unpickler that can make tensors and nothing else.

A pickle is a program for a stack machine. Python's own unpickler imports and calls whatever the program names; this one does
neither. Its instructions are those that ``torch.save`` writes, the names that mean something to it are the table ``GLOBALS``, and its
results are dicts, lists, tuples, strings, numbers, the plain records of ``tensors.py``, and for all that other names make, in a training's
checkpoint or in an attack, an ``Unknown``.

Reference: the comments of ``pickletools`` in Python's standard library describe every instruction.
"""

import pickle  # only for the names of the instructions
import struct

from minicnn.errors import InputError
from minicnn.weight_files.pickled import GLOBALS, STORAGE_NAMES, Global, Parameter, Unknown, add_items, damaged, tensor_of
from minicnn.weight_files.tensors import Storage, is_count

# Enough for twenty thousand tensors. A hostile pickle can make us allocate some hundred bytes with each byte of its own.
MAX_BYTES = 4 * 2**20

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
        if isinstance(top, Unknown):
            return
        if type(top) is not list:
            raise damaged("items for what is not a list")
        top.extend(items)

    def add(self, items):
        if not isinstance(self.stack[-1], Unknown):
            raise damaged("items for what is not a set")

    def frozen_set(self):
        self.pop_marked()
        self.push(Unknown("builtins.frozenset"))

    def set_items(self, items):
        top = self.stack[-1]
        if isinstance(top, Unknown):
            return
        if type(top) is not dict or len(items) % 2:
            raise damaged("items for what is not a dict")
        add_items(top, zip(items[::2], items[1::2], strict=True))

    def set_item(self):
        value, key = self.stack.pop(), self.stack.pop()
        self.set_items([key, value])

    # names and objects

    def push_global(self, module, name):
        name = f"{module}.{name}"
        self.push(Global(name) if name in GLOBALS else Unknown(name))

    def stack_global(self):
        name, module = self.stack.pop(), self.stack.pop()
        if not (isinstance(name, str) and isinstance(module, str)):
            raise damaged("a name that is not text")
        self.push_global(module, name)

    def reduce(self):
        """Call a function of the table ``GLOBALS`` with the arguments on the stack; what an ``Unknown`` returns is another."""
        arguments, called = self.stack.pop(), self.stack.pop()
        make = GLOBALS[called.name] if isinstance(called, Global) else None
        if type(arguments) is tuple and isinstance(called, Unknown):
            self.push(Unknown(called.name))
        elif make is None or type(arguments) is not tuple:
            raise damaged("a call of something that is not a function")
        else:
            self.push(make(*arguments))

    def reduce_with_names(self):
        """As ``reduce``; keyword arguments are the third value."""
        if type(self.stack.pop()) is not dict or not isinstance(self.stack[-2], Unknown):
            raise damaged("a call of something that is not a function")
        self.reduce()

    def build(self):
        """Set attributes: only the tensor of a ``Parameter``; a dict's (``_metadata``) are ignored, and an ``Unknown``'s are looked at."""
        state, top = self.stack.pop(), self.stack[-1]
        if isinstance(top, Unknown):
            top.module = top.module or type(state) is dict and "_parameters" in state and "_modules" in state
        elif isinstance(top, Parameter) and type(state) is tuple and len(state) == 5:
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
    pickle.BINBYTES8: lambda machine: machine.push(machine.read(machine.number("<Q"))),
    pickle.BYTEARRAY8: lambda machine: machine.push(machine.read(machine.number("<Q"))),
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
    pickle.EMPTY_SET: lambda machine: machine.push(Unknown("builtins.set")),
    pickle.ADDITEMS: lambda machine: machine.add(machine.pop_marked()),
    pickle.FROZENSET: Unpickler.frozen_set,
    pickle.REDUCE: Unpickler.reduce,
    pickle.NEWOBJ_EX: Unpickler.reduce_with_names,
    pickle.NEWOBJ: Unpickler.reduce,
    pickle.BUILD: Unpickler.build,
    pickle.BINPERSID: Unpickler.persistent,
}
