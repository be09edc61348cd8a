"""Files and folders are written whole or not at all; paths that cannot be written are refused in advance."""

import hashlib
import os
import signal
import stat
import threading
from pathlib import Path

import pytest

from minicnn.errors import InputError
from minicnn.files import atomic_folder, atomic_write, cache_folder, check_writable, make_folder, sha256, source_file


def write(path, data=b"new"):
    with atomic_write(path) as file:
        file.write(data)


@pytest.fixture
def unwritable(tmp_path):
    """Paths that cannot be written, even by root: below a file, and in a folder that does not exist."""
    (tmp_path / "file").write_bytes(b"old")
    return [tmp_path / "file" / "x", tmp_path / "none" / "x"]


def listing(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_atomic_write_makes_and_replaces(tmp_path):
    write(tmp_path / "a", b"one")
    write(str(tmp_path / "a"), b"two")
    assert listing(tmp_path) == {"a": b"two"}


def test_atomic_write_gives_the_permissions_of_an_ordinary_file(tmp_path):
    write(tmp_path / "a")
    (tmp_path / "b").write_bytes(b"")
    assert stat.S_IMODE(os.stat(tmp_path / "a").st_mode) == stat.S_IMODE(os.stat(tmp_path / "b").st_mode)


def test_atomic_write_in_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write("a")
    assert listing(tmp_path) == {"a": b"new"}


@pytest.mark.parametrize("old", [{}, {"a": b"old"}])
@pytest.mark.parametrize("error, raised", [(ValueError("x"), ValueError), (KeyboardInterrupt(), KeyboardInterrupt),
                                           (OSError(28, "No space left on device"), InputError)])
def test_an_error_inside_changes_nothing(tmp_path, old, error, raised):
    for name, data in old.items():
        (tmp_path / name).write_bytes(data)
    with pytest.raises(raised), atomic_write(tmp_path / "a") as file:
        file.write(b"half")
        raise error
    assert listing(tmp_path) == old


def test_unwritable_places(tmp_path, unwritable):
    before = listing(tmp_path)
    for path in unwritable:
        for function in (write, check_writable):
            with pytest.raises(InputError, match="cannot write .*expected a writable place") as caught:
                function(path)
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    assert listing(tmp_path) == before


def test_a_folder_in_the_place_of_the_file(tmp_path):
    (tmp_path / "a").mkdir()
    for function in (write, check_writable):
        with pytest.raises(InputError, match="a"):
            function(tmp_path / "a")
    assert listing(tmp_path) == {} and (tmp_path / "a").is_dir()


def test_check_writable_leaves_no_trace(tmp_path):
    check_writable(tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_make_folder_makes_parents_and_takes_what_is_there(tmp_path):
    for _ in range(2):
        make_folder(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir() and listing(tmp_path) == {}


def test_make_folder_at_or_below_a_file(tmp_path, unwritable):
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(InputError, match="cannot write"):
            make_folder(path)
    assert listing(tmp_path) == {"file": b"old"}


def test_ctrl_c_waits_until_the_file_is_whole(tmp_path):
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a") as file:
        file.write(b"first, ")
        signal.raise_signal(signal.SIGINT)
        file.write(b"second")
    assert (tmp_path / "a").read_bytes() == b"first, second" and [path.name for path in tmp_path.iterdir()] == ["a"]
    assert signal.getsignal(signal.SIGINT) is before


def test_ctrl_c_before_an_error_leaves_the_old_file(tmp_path):
    (tmp_path / "a").write_bytes(b"old")
    with pytest.raises(KeyboardInterrupt), atomic_write(tmp_path / "a") as file:
        file.write(b"new")
        signal.raise_signal(signal.SIGINT)
        raise OSError
    assert (tmp_path / "a").read_bytes() == b"old" and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_an_ignored_ctrl_c_stays_ignored(tmp_path):
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with atomic_write(tmp_path / "a"):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN and (tmp_path / "a").exists()
    finally:
        signal.signal(signal.SIGINT, before)


def test_another_thread_can_write(tmp_path):
    def write():
        with atomic_write(tmp_path / "a") as file:
            file.write(b"x")
    thread = threading.Thread(target=write)
    thread.start()
    thread.join()
    assert (tmp_path / "a").read_bytes() == b"x"


@pytest.mark.parametrize("size", [0, 3, 2**20, 2**20 + 1, 3 * 2**20])        # it is read in pieces of 2^20
def test_sha256_is_the_standard_librarys(tmp_path, size):
    data = os.urandom(size)
    (tmp_path / "a").write_bytes(data)
    assert sha256(tmp_path / "a") == hashlib.sha256(data).hexdigest()


def test_sha256_of_what_is_no_file(tmp_path):
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(InputError, match="cannot read .*expected a file") as caught:
            sha256(path)
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("write", [check_writable, lambda path: atomic_write(path).__enter__()])
def test_a_device_is_not_replaced_by_a_file(write, tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="a device or a pipe, expected a file"):
        write(pipe)
    assert pipe.is_fifo() and list(tmp_path.iterdir()) == [pipe]


def fill(path, error=None):
    with atomic_folder(path) as folder:
        assert folder.parent == path.parent
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_bytes(b"new")
        assert not path.exists() or not any(path.iterdir())
        if error:
            raise error


def test_atomic_folder_makes_one_with_its_parents_or_fills_an_empty_one(tmp_path):
    (tmp_path / "empty").mkdir()
    for name in ("x", "y/z", "empty"):
        fill(tmp_path / name)
    assert listing(tmp_path) == {"x/sub/a": b"new", "y/z/sub/a": b"new", "empty/sub/a": b"new"}
    (tmp_path / "ordinary").mkdir()
    assert stat.S_IMODE(os.stat(tmp_path / "x").st_mode) == stat.S_IMODE(os.stat(tmp_path / "ordinary").st_mode)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "ordinary", "x", "y"]


@pytest.mark.parametrize("error, raised", [(ValueError("x"), ValueError), (KeyboardInterrupt(), KeyboardInterrupt),
                                           (OSError(28, "No space left on device"), InputError)])
@pytest.mark.parametrize("there", [False, True])
def test_atomic_folder_after_an_error_leaves_nothing(tmp_path, error, raised, there):
    if there:
        (tmp_path / "x").mkdir()
    with pytest.raises(raised):
        fill(tmp_path / "x", error)
    assert list(tmp_path.iterdir()) == [tmp_path / "x"] * there and listing(tmp_path) == {}


def test_atomic_folder_replaces_nothing(tmp_path, monkeypatch):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a").write_bytes(b"old")
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("none")
    monkeypatch.chdir(tmp_path / "here")
    for path, expected in ((tmp_path / "full", "not empty"), (tmp_path / "full" / "a", "a file"), (tmp_path / "link", "a file"),
                           (tmp_path / "here", "the current folder"), (tmp_path / "full" / "a" / "b", "cannot write")):
        with pytest.raises(InputError, match=expected):
            fill(path)
    assert listing(tmp_path) == {"full/a": b"old"} and len(list(tmp_path.iterdir())) == 3


def test_atomic_folder_when_another_was_faster(tmp_path):
    with pytest.raises(InputError, match="not empty"), atomic_folder(tmp_path / "x") as folder:
        (folder / "a").write_bytes(b"late")
        fill(tmp_path / "x")
    assert listing(tmp_path) == {"x/sub/a": b"new"} and len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("platform, variables, expected", [
    ("linux", {"MINICNN_CACHE": "/c", "XDG_CACHE_HOME": "/x"}, "/c"),
    ("linux", {"XDG_CACHE_HOME": "/x"}, "/x/minicnn"),
    ("linux", {}, "/home/me/.cache/minicnn"),
    ("darwin", {"XDG_CACHE_HOME": "/x"}, "/home/me/Library/Caches/minicnn"),
    ("win32", {"LOCALAPPDATA": "/local"}, "/local/minicnn"),
    ("win32", {}, "/home/me/AppData/Local/minicnn"),
])
def test_the_cache_is_where_the_platform_keeps_caches(monkeypatch, platform, variables, expected):
    for name in ("MINICNN_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", platform)
    monkeypatch.setattr(Path, "home", lambda: Path("/home/me"))
    assert cache_folder() == Path(expected)


def test_a_source_is_named_with_its_hash(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert source_file(tmp_path / "x") == {"file": "x", "sha256": hashlib.sha256(b"abc").hexdigest()}
