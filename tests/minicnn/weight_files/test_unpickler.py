"""The unpickler: it makes tensors, and of everything else in a pickle inert placeholders, without running it."""

import argparse
import collections
import datetime as dt
import io
import pathlib
import pickle
import random
import struct
import sys
import tracemalloc

import numpy as np
import pytest
from torch_files import Code, built, call, encode, name, program, stacked_name, storage, tensor

from minicnn import InputError
from minicnn.weight_files.pickled import Global, Parameter, Unknown
from minicnn.weight_files.state_dict import find_state_dict
from minicnn.weight_files.tensors import Storage, Tensor, Unreadable
from minicnn.weight_files.unpickler import Unpickler

ROW = Storage("0", "float32", 6, 0, 6)


def load(data, size=10**9):
    return Unpickler(io.BytesIO(data), size).load()


def refused(data, expected=""):
    with pytest.raises(InputError) as caught:
        load(data)
    message = str(caught.value)
    assert expected in message and "\n" not in message and len(message) < 500
    return message


# what it makes

@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("value", [
    None, True, False, 0, 255, 256, -1, 2**31, -2**31, 2**62, -2**62, 0x1950a86a20f9469cfc6c, 1.5, float("inf"), "", "weight", "ü" * 300,
    (), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], [1], [1, 2, [3]], {}, {"a": 1}, {"a": [1, {"b": (2,)}], 3: None},
    ["again", "again"], list(range(2000)), {str(number): number for number in range(2000)},
])
def test_plain_values_come_out_as_they_went_in(value, protocol):
    result = load(pickle.dumps(value, protocol))
    assert result == value and type(result) is type(value)


@pytest.mark.parametrize("protocol", [3, 4, 5])         # 2 has none
def test_bytes_come_out_as_they_went_in(protocol):
    assert load(pickle.dumps([b"", b"bytes" * 100], protocol)) == [b"", b"bytes" * 100]
    assert load(pickle.dumps(bytearray(b"ab"), 5)) == b"ab"


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_an_ordered_dict_is_a_dict_in_its_order_and_its_attributes_are_left(protocol):
    value = collections.OrderedDict([("b", 1), ("a", 2)])
    value._metadata = collections.OrderedDict({"": {"version": 1}})
    result = load(pickle.dumps(value, protocol))
    assert type(result) is dict and list(result.items()) == [("b", 1), ("a", 2)]


def test_what_is_shared_stays_shared():
    shared = [1]
    result = load(pickle.dumps([shared, shared], 2))
    assert result[0] is result[1]


def test_pickles_stand_one_behind_the_other():
    unpickler = Unpickler(io.BytesIO(pickle.dumps(1, 2) + pickle.dumps("x", 4) + b"rest"), 100)
    assert (unpickler.load(), unpickler.load(), unpickler.file.read()) == (1, "x", b"rest")


HOOKS = call("collections.OrderedDict")


@pytest.mark.parametrize("code", [
    tensor(storage(), (2, 3), (3, 1)),
    call("torch._utils._rebuild_tensor", storage(), 0, (2, 3), (3, 1)),
    call("torch._utils._rebuild_tensor_v2", storage(), 0, (2, 3), (3, 1), True, HOOKS),
    call("torch._utils._rebuild_tensor_v2", storage(), 0, (2, 3), (3, 1), True, HOOKS, {}),
    call("torch._utils._rebuild_tensor_v2", storage(), 0, call("torch.Size", (2, 3)), (3, 1), False, HOOKS),
    call("torch._utils._rebuild_tensor_v3", storage("0", 24, "torch.storage.UntypedStorage"), 0, (2, 3), (3, 1), False, HOOKS,
         name("torch.float32")),
    call("torch._utils._rebuild_parameter", tensor(storage(), (2, 3), (3, 1)), True, HOOKS),
    call("torch._utils._rebuild_parameter_with_state", tensor(storage(), (2, 3), (3, 1)), True, HOOKS, {"a": 1}),
])
def test_tensors_are_records(code):
    assert load(program(code)) == Tensor(ROW, "float32", 0, (2, 3), (3, 1))


@pytest.mark.parametrize("code", [
    call("torch.nn.parameter.Parameter", tensor(storage(), (6,), (1,))),
    built(call("torch.nn.parameter.Parameter", tensor(storage(), (6,), (1,))), (True, False, HOOKS)),
    built(Code(name("torch.nn.parameter.Parameter") + b")\x81"), (tensor(storage(), (6,), (1,)), None, HOOKS, True, False)),
])
def test_old_parameters_are_records_around_tensors(code):
    assert load(program(code)) == Parameter(Tensor(ROW, "float32", 0, (6,), (1,)))


@pytest.mark.parametrize("kind, dtype", [
    ("Double", "float64"), ("Float", "float32"), ("Half", "float16"), ("BFloat16", "bfloat16"), ("Long", "int64"), ("Int", "int32"),
    ("Short", "int16"), ("Char", "int8"), ("Byte", "uint8"), ("Bool", "bool")])
def test_storages_have_their_dtype(kind, dtype):
    assert load(program(storage("x", 3, f"torch.{kind}Storage"))) == Storage("x", dtype, 3, 0, 3)


def test_a_storage_of_the_older_format_may_be_a_part():
    assert load(program(storage("x", 9, window=(None,)))) == Storage("x", "float32", 9, 0, 9)
    assert load(program(storage("x", 9, window=(("y", 2, 4),)))) == Storage("x", "float32", 9, 2, 4)


def test_names_of_training_checkpoints_are_inert():
    value = {"device": call("torch.device", "cuda", 0), "dtype": name("torch.bfloat16"), "size": call("torch.Size", (1, 2))}
    assert load(program(value)) == {"device": ("cuda", 0), "dtype": Global("torch.bfloat16"), "size": (1, 2)}


# what other names make: nothing

@pytest.mark.parametrize("full", ["os.system", "posix.system", "builtins.eval", "builtins.getattr", "builtins.__import__", "torch.load",
                                  "torch.hub.load", "torch._utils._rebuild_wrapper", "argparse.Namespace", "collections.Counter",
                                  "minicnn.weight_files.unpickler.Unpickler", "torch.FloatStorage.__init__", "numpy.ndarray"])
@pytest.mark.parametrize("named", [name, stacked_name])
def test_any_other_name_makes_a_placeholder_of_that_name(full, named):
    for code in (named(full), Code(named(full) + encode(("true",)) + b"R"), Code(named(full) + encode(()) + b"\x81"),
                 Code(named(full) + encode(("true",)) + encode({"shell": True}) + b"\x92"),
                 built(named(full), {"a": 1}), built(Code(named(full) + b")R"), (None, {"a": 1})), Code(named(full) + b")R(K\x01K\x02u"),
                 Code(named(full) + b")R(K\x01e"), Code(named(full) + b")RK\x01a"), Code(named(full) + b")RK\x01K\x02s"),
                 Code(named(full) + b")R)R")):
        value = load(program(code))
        assert type(value) is Unknown and value.name == full and not value.module
        with pytest.raises(InputError, match=f"holds an object of type {full}, expected a state dict"):
            find_state_dict(value)
        assert load(program({"again": code, "w": TENSOR}))["w"] == Tensor(ROW, "float32", 0, (6,), (1,))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_a_training_keeps_besides_its_tensors_is_left(protocol):
    value = {"scheduler": {"milestones": collections.Counter([16, 22]), "gamma": 0.1}, "args": argparse.Namespace(lr=0.02, layers=None),
             "names": {"a", "b"}, "frozen": frozenset([1]), "last": collections.deque([1, 2], 5),
             "by": collections.defaultdict(list, a=[1]), "path": pathlib.PurePosixPath("a/b"), "made": dt.datetime(2026, 1, 1),
             "random": random.Random(0).getstate(),
             "array": np.arange(5), "number": np.float64(3), "code": b"\0\xff", "call": print, "kind": dict, "range": range(3),
             "complex": 1j, "slice": slice(3), "epoch": 5}
    result = load(pickle.dumps(value, protocol))
    assert result["epoch"] == 5 and result["scheduler"]["gamma"] == 0.1 and list(result) == list(value)
    for left in ("args", "names", "frozen", "last", "by", "path", "made", "array", "number", "call", "kind", "range", "complex", "slice"):
        assert type(result[left]) is Unknown, left
    assert result["args"].name == "argparse.Namespace" and type(result["scheduler"]["milestones"]) is Unknown


def test_a_placeholder_keeps_nothing_of_what_it_was_given():
    code = Code(name("os.system") + encode(("x" * 10**6,)) + b"R")
    value = load(program(code), 2 * 10**6)
    assert sorted(Unknown.__slots__) == ["module", "name"] and (value.name, value.module) == ("os.system", False)


@pytest.mark.parametrize("key", [TENSOR := tensor(storage(), (6,), (1,)), storage(), (1, 2), 1.5, True, -1, None, Code(b"]"),
                                 name("os.system")])
def test_pairs_with_keys_that_no_state_dict_has_are_left_out(key):
    assert load(program({key: 1, "a": 2})) == {"a": 2}
    assert load(program(call("collections.OrderedDict", [[key, 1], ["a", 2]]))) == {"a": 2}


@pytest.mark.parametrize("code, what", [
    (call("torch._utils._rebuild_sparse_tensor", 1, 2), "sparse"), (call("torch._utils._rebuild_qtensor", *range(7)), "quantised"),
    (call("torch._utils._rebuild_nested_tensor"), "nested"), (call("torch._utils._rebuild_meta_tensor_no_storage"), "without numbers"),
    (call("torch._utils._rebuild_tensor_v3", storage("8", 6, "torch.storage.UntypedStorage"), 0, (6,), (1,), False, HOOKS,
          name("torch.float8_e4m3fn")), "of type float8_e4m3fn"),
    (call("torch._utils._rebuild_tensor_v3", storage("8", 6, "torch.storage.UntypedStorage"), 0, (6,), (1,), False, HOOKS,
          name("torch.int1")), "of type int1"),
    (tensor(storage("8", kind="torch.ComplexFloatStorage"), (6,), (1,)), "of type complex64"),
    (tensor(storage("8", kind="torch.QUInt8Storage"), (6,), (1,)), "of type quint8"),
    (call("torch._tensor._rebuild_from_type_v2", name("torchao.rebuild"), name("torchao.Tensor"), (), {}), "of a type of its own"),
])
def test_tensors_that_cannot_be_read_are_told_as_what_they_are(code, what):
    for value in (code, call("torch._utils._rebuild_parameter", code, True, HOOKS)):
        value = load(program({"a": TENSOR, "w": value}))
        assert isinstance(value["w"], Unreadable) and value["w"].what.startswith(what)
        with pytest.raises(InputError, match=f"got the tensor w, which is {what}"):
            find_state_dict(value)
        assert find_state_dict({"model": {"backbone.0.weight": value["a"]}, "rest": value})      # what is not asked for does not matter


def test_a_tensor_with_attributes_is_a_tensor():
    code = call("torch._tensor._rebuild_from_type_v2", name("torch._utils._rebuild_tensor_v2"), name("torchvision.tv_tensors._image.Image"),
                (storage(), 0, (2, 3), (3, 1), False, HOOKS), {"tag": 1})
    assert load(program(code)) == Tensor(ROW, "float32", 0, (2, 3), (3, 1))


# what it refuses


def test_nothing_is_run_or_imported(tmp_path):
    class Bomb:
        def __reduce__(self):
            return eval, (f"open({str(tmp_path / 'mark')!r}, 'w')",)

    sys.modules.pop("this", None)
    for protocol in (2, 4):
        assert load(pickle.dumps({"model": [Bomb()]}, protocol))["model"][0].name.endswith("builtin__.eval"[2 * (protocol > 2):][-4:])
        assert type(load(pickle.dumps(Bomb(), protocol))) is Unknown
        with pytest.raises(InputError, match="eval"):
            find_state_dict(load(pickle.dumps(Bomb(), protocol)))
    assert load(program(name("this.s"))).name == "this.s"
    assert not (tmp_path / "mark").exists() and "this" not in sys.modules


@pytest.mark.parametrize("module, last", [("", ""), ("torch", "load\x1b[31m"), ("os\n", "system"), ("o" * 10**5, "system"), ("os", "ü")])
def test_strange_names_are_shown_on_one_short_line(module, last):
    with pytest.raises(InputError, match="holds an object of type") as caught:
        find_state_dict(load(program(Code(encode(module) + encode(last) + b"\x93"))))
    assert "\n" not in str(caught.value) and str(caught.value).isprintable() and len(str(caught.value)) < 300


@pytest.mark.parametrize("code", [
    tensor("0", (6,), (1,)), tensor(None, (6,), (1,)), tensor(name("torch.FloatStorage"), (6,), (1,)), tensor(TENSOR, (6,), (1,)),
    call("torch._utils._rebuild_tensor_v2"), call("torch._utils._rebuild_tensor_v2", *range(20)),
    call("torch._utils._rebuild_parameter", storage(), True, HOOKS), call("torch._utils._rebuild_parameter", "x", True, HOOKS),
    call("torch._utils._rebuild_tensor_v3", storage("0", 25, "torch.storage.UntypedStorage"), 0, (1,), (1,), False, HOOKS,
         name("torch.float32")),
    call("torch._utils._rebuild_tensor_v3", storage(), 0, (1,), (1,), False, HOOKS, "float32"),
    call("torch._utils._rebuild_tensor_v3", storage(), 0, (1,), (1,), False, HOOKS, name("torch.FloatStorage")),
    call("torch.nn.parameter.Parameter", 5), call("torch.FloatStorage", 5), call("torch.float32"), call("torch.Size"),
    call("collections.OrderedDict", 5), call("collections.OrderedDict", "ab"), call("collections.OrderedDict", [5]),
    call("collections.OrderedDict", [("a", 1, 2)]), call("collections.OrderedDict", [[2**63, 1]]),
    Code(encode("os.system") + encode(("true",)) + b"R"), Code(name("torch.Size") + encode([1]) + b"R"),
    Code(encode(TENSOR) + encode(()) + b"R"), Code(encode(()) + encode(()) + b"\x81"),
    built(TENSOR, {"offset": 2**40}), built(TENSOR, (storage(), 10**9, (6,), (1,))), built(name("torch.Size"), {"name": "os.system"}),
    built(storage(), {"count": 10**9}), built((1,), {}), built([], {}), built("x", {}), built(None, (None, {"offset": 1})),
    built(call("torch.nn.parameter.Parameter"), ("x", None, None, True, False)),
    Code(encode(5) + b"Q"), Code(encode("storage") + b"Q"), Code(encode(()) + b"Q"), Code(encode(("storage",)) + b"Q"),
    Code(encode(("tensor", name("torch.FloatStorage"), "0", "cpu", 6)) + b"Q"),
    Code(encode(("storage", "torch.FloatStorage", "0", "cpu", 6)) + b"Q"),
    Code(encode(("storage", name("torch.float32"), "0", "cpu", 6)) + b"Q"), storage(key=5), storage(key=("a",)), storage(count=-1),
    storage(count=True), storage(count=1.5), storage(count="6"), storage(count=None), storage(count=2**63), storage(window=(5,)),
    storage(window=("ab",)), storage(window=(("y", 1),)), storage(window=(("y", -1, 2),)), storage(window=(("y", 1, True),)),
    [storage(count=6), storage(count=7)], [storage(count=6), storage(count=6, kind="torch.IntStorage")],
    {2**63: 1}, {-2**63 - 1: 1}, Code(name("os.system") + b"K\x01R"),
    Code(name("torch.Size") + b")}\x92"), Code(name("os.system") + b")]\x92"),
    Code(b"](K\x01\x90"), Code(b"}(K\x01\x90"),
    *map(Code, [b"(aa", b"0", b"e", b"u", b"s", b"}(K\x01u", b"](K\x01u", b"}(K\x01e", b"K\x01K\x02a", b"K\x01K\x02K\x03s", b"\x85", b"t",
                b"h\0", b"j\0\0\0\0", b"q\0", b"\x94", b"R", b"b", b"Q", b"\x93", b"K\x01K\x02\x93", b"", b"X\x01\0\0\0\xff",
                b"c\xff\n\xff\n", b"\xff", b"\0", b"I01\n", b"i", b"o", b"(d", b"(l", b"S'x'\n", b"P0\n", b"2", b"\x82\x01", b"\x92",
                b"\x90", b"\x91", b"\x97"]),
])
def test_whatever_else_is_wrong_is_told_in_one_line(code):
    refused(program(code))


def test_attributes_set_by_the_file_change_no_record():
    row, size = storage(), (6,)
    value = load(program({"w": tensor(row, size, (1,)), "again": built({}, {"w": 5, "__class__": 5})}))
    assert value == {"w": Tensor(ROW, "float32", 0, (6,), (1,)), "again": {}}
    with pytest.raises(AttributeError):
        value["w"].offset = 5


def test_whole_networks_are_told_from_other_objects():
    whole = built(Code(name("net.Net") + b")\x81"), {"training": False, "_parameters": {}, "_modules": {}})
    value = load(program(whole))
    assert (value.name, value.module) == ("net.Net", True)
    for saved in (value, {"model": value, "epoch": 3}):
        with pytest.raises(InputError, match=r"got a whole pickled network \(net.Net\), expected its state dict: .* save model.state_dict"):
            find_state_dict(saved)
    tensors = {"backbone.0.weight": load(program(TENSOR))}
    assert find_state_dict({"criterion": value, "state_dict": tensors}) == tensors


def test_whole_modules_are_refused():
    told = ("module", name("torch.Size"), "net.py", "class Net")
    refused(program(Code(encode(told) + b"Q")), "holds a whole module, expected a state dict")


def test_pending_negations_are_refused():
    refused(program(call("torch._utils._rebuild_tensor_v2", storage(), 0, (6,), (1,), False, HOOKS, {"neg": True})), "resolve_neg")


# claims and bombs

@pytest.mark.parametrize("code", [
    b"X\xff\xff\xff\x7f", b"\x8d" + struct.pack("<Q", 2**60), b"\x96" + struct.pack("<Q", 2**60),
    b"\x8e" + struct.pack("<Q", 2**60), b"B\xff\xff\xff\xff", b"T\xff\xff\xff\xff", b"C\xff", b"\x8a\xff",
    b"\x8c\xff", b"U\xff", b"\x95", b"ctorch",
])
def test_a_claim_of_bytes_that_are_not_there_costs_nothing(code):
    tracemalloc.start()
    try:
        with pytest.raises(InputError, match="no end"):
            load(b"\x80\x02" + code, size=100)
        refused(b"\x80\x02" + code, "no end")
        assert tracemalloc.get_traced_memory()[1] < 5 * 2**20
    finally:
        tracemalloc.stop()


def test_a_huge_number_of_a_memo_costs_nothing():
    assert load(b"\x80\x02K\x05r\xff\xff\xff\xffj\xff\xff\xff\xff\x86.") == (5, 5)


def test_pickles_are_of_limited_length(monkeypatch):
    monkeypatch.setattr("minicnn.weight_files.unpickler.MAX_BYTES", 100)
    load(b"\x80\x02" + b"N" * 97 + b".")
    refused(b"\x80\x02" + b"N" * 98 + b".", "no end within 100 bytes")


@pytest.mark.parametrize("code", [
    b")" + b"\x85" * 10**5, b"]" * 10**5 + b"a" * (10**5 - 1), b"}K\x00" * 10**5 + b"N" + b"s" * 10**5,
], ids=["tuples", "lists", "dicts"])
def test_deep_nests_come_out_and_are_put_away(code):
    value = load(b"\x80\x02" + code + b".")
    for _ in range(1000):
        value = value[0]
    assert len(value) == 1
    del value


def doubling(times, end):
    """Tuples nested ``times`` deep, each with the same tuple twice: 2**times leaves; and an end that would visit them all."""
    return b"\x80\x02)" + b"q\0h\0\x86" * times + end + b"."


def test_a_key_that_would_take_forever_to_hash_is_left_out():
    assert load(doubling(100, b"q\0}h\0Ns")) == {}


@pytest.mark.parametrize("end", [b"Q", b")R", b"N\x93", b"NQ", b"(tR"])
def test_what_would_take_forever_to_visit_is_not_visited(end):
    """2^100 leaves: visiting them would never end."""
    refused(doubling(100, end))


def test_keys_of_one_hash_are_refused_before_they_cost_time():
    """200 000 keys: a dict of them would take 2 * 10^10 comparisons, which is hours."""
    prime = sys.hash_info.modulus
    pairs = b"".join(encode(number * prime) + b"N" for number in range(3, 200_000))
    refused(b"\x80\x02}(" + pairs + b"u.", "key")


def test_a_list_can_be_made_a_dict_only_once():
    """Otherwise each of a few repeated bytes would copy a long list."""
    code = encode([("a", 1), ("b", 2)]) + b"q\0"
    again = name("collections.OrderedDict") + b"h\0\x85R"
    assert load(b"\x80\x02" + code + again + again + b"\x87.") == ([], {"a": 1, "b": 2}, {})


@pytest.mark.parametrize("unit", [b"}", b"]", b"(", b"\x94", b"K\x01\x94", b"N", b"\x85", b"X\0\0\0\0", b"ctorch\nSize\n", b"ca\nb\n",
                                  b"\x8f", b"(\x91"])
def test_a_byte_of_a_pickle_costs_at_most_150_bytes(unit):
    data = b"\x80\x02N" + unit * (100_000 // len(unit))
    tracemalloc.start()
    try:
        refused(data)
        assert tracemalloc.get_traced_memory()[1] < 150 * len(data)
    finally:
        tracemalloc.stop()


def test_flipped_bytes_are_refused_or_harmless():
    """Whatever byte is damaged: no other exception."""
    good = program({f"layer{number}.weight": tensor(storage(str(number)), (2, 3), (3, 1)) for number in range(5)})
    rng = np.random.default_rng(0)
    for _ in range(2000):
        data = bytearray(good)
        for place in rng.integers(0, len(good), rng.integers(1, 4)):
            data[place] = rng.integers(256)
        try:
            load(bytes(data))
        except InputError as error:
            assert "\n" not in str(error)
