"""The file of measured choices: near sizes find them, other machines do not, and nothing in it can harm."""

import json

import pytest

from minicnn.errors import InputError
from minicnn.fast import machine, tuned

ENTRY = {"algorithm": "winograd", "options": {"tiles": 24, "together": True}}
KEY = "16x16x3x3"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache folder of its own."""
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    tuned.read.cache_clear()
    yield tmp_path / "cache"
    tuned.read.cache_clear()


def test_what_was_saved_holds_for_about_as_many_pixels():
    tuned.save("numpy", KEY, 1000, ENTRY)
    other = {"algorithm": "direct", "options": {}}
    tuned.save("numpy", KEY, 2000, other)
    for pixels, expected in ((1000, ENTRY), (1400, ENTRY), (1430, other), (2990, other), (670, ENTRY), (3010, None), (660, None)):
        assert tuned.lookup("numpy", KEY, pixels) == expected, pixels
    assert tuned.lookup("numpy", "another convolution", 1000) is None
    assert tuned.lookup_exact("numpy", KEY, 1000) == ENTRY and tuned.lookup_exact("numpy", KEY, 1001) is None


@pytest.mark.parametrize("name, value", [("processor", "another"), ("cores", 99), ("threads", 99)])
def test_another_machine_finds_nothing(monkeypatch, name, value):
    tuned.save("numpy", KEY, 1000, ENTRY)
    monkeypatch.setattr(machine, name, lambda *backend: value)
    assert tuned.lookup("numpy", KEY, 1000) is None


@pytest.mark.parametrize("package", ["minicnn", "numpy"])
def test_other_versions_find_nothing(monkeypatch, package):
    tuned.save("numpy", KEY, 1000, ENTRY)
    monkeypatch.setattr(tuned, "installed", lambda: {**machine.versions(), package: "0.0"})
    assert tuned.lookup("numpy", KEY, 1000) is None


def test_another_backend_finds_nothing(monkeypatch):
    monkeypatch.setattr(machine, "threads", lambda backend: 2)
    tuned.save("numpy", KEY, 1000, ENTRY)
    assert tuned.lookup("numba", KEY, 1000) is None
    tuned.save("numba", KEY, 1000, {**ENTRY, "algorithm": "direct"})
    assert tuned.lookup("numpy", KEY, 1000) == ENTRY


def test_the_file_is_read_once(folder):
    tuned.save("numpy", KEY, 1000, ENTRY)
    assert tuned.lookup("numpy", KEY, 1000) == ENTRY
    (folder / "tuned.json").unlink()
    assert tuned.lookup("numpy", KEY, 1000) == ENTRY


def test_saving_keeps_what_another_process_saved_meanwhile(folder):
    assert tuned.lookup("numpy", KEY, 1000) is None
    tuned.save("numpy", KEY, 1000, ENTRY)
    text = (folder / "tuned.json").read_text()
    assert tuned.lookup("numpy", KEY, 1000) == ENTRY
    (folder / "tuned.json").write_text(text.replace(KEY, "theirs"))
    tuned.save("numpy", KEY, 1000, ENTRY)
    assert tuned.lookup("numpy", "theirs", 1000) == tuned.lookup("numpy", KEY, 1000) == ENTRY


def settings(entry, size="1000"):
    return {"format": 1, "settings": {tuned.machine_key("numpy"): {KEY: {size: entry}}}}


WRONG = {
    "empty": b"", "no JSON": b"\x93NUMPY\x01\x00", "cut": b'{"format": 1, "settings": {"a', "a list": b"[1, 2]", "a number": b"7",
    "deep": b"[" * 100_000, "another format": b'{"format": 2, "settings": {}}', "no settings": b'{"format": 1}',
    "settings are a list": b'{"format": 1, "settings": [3]}',
    "the size is a word": settings(ENTRY, "many"), "the size is nothing": settings(ENTRY, "0"), "an entry is a text": settings("winograd"),
    "an entry has no options": settings({"algorithm": "direct"}), "an algorithm is a number": settings({"algorithm": 3, "options": {}}),
    "an option is a text": settings({"algorithm": "winograd", "options": {"tiles": "24", "together": True}}),
}


@pytest.mark.parametrize("content", WRONG.values(), ids=list(WRONG))
def test_a_damaged_or_foreign_file_is_left_aside_with_one_line(folder, capsys, content):
    folder.mkdir()
    path = folder / "tuned.json"
    path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
    assert tuned.lookup("numpy", KEY, 1000) is None and tuned.lookup("numpy", KEY, 2000) is None
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and err.startswith("minicnn: warning: ") and str(path) in err and "minicnn tune --forget" in err
    tuned.save("numpy", KEY, 1000, ENTRY)
    assert tuned.lookup("numpy", KEY, 1000) == ENTRY


def test_a_folder_in_its_place_is_left_aside(folder, capsys):
    (folder / "tuned.json").mkdir(parents=True)
    assert tuned.lookup("numpy", KEY, 1000) is None
    assert capsys.readouterr().err.count("\n") == 1
    with pytest.raises(InputError, match="tuned.json"):
        tuned.save("numpy", KEY, 1000, ENTRY)
    with pytest.raises(InputError, match="tuned.json"):
        tuned.forget()


def test_without_a_home_folder_nothing_is_known(monkeypatch):
    for name in ("MINICNN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("pathlib.Path.home", lambda: (_ for _ in ()).throw(RuntimeError("no home")))
    assert tuned.lookup("numpy", KEY, 1000) is None


def test_forgetting(folder):
    assert tuned.forget() is False
    tuned.save("numpy", KEY, 1000, ENTRY)
    assert tuned.lookup("numpy", KEY, 1000) == ENTRY
    assert tuned.forget() is True
    assert tuned.lookup("numpy", KEY, 1000) is None and list(folder.iterdir()) == []
