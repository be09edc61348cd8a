"""Files and folders are written whole or not at all; paths that cannot be written are refused in advance."""

import contextlib
import hashlib
import os
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from subprocesses import HUNG

import minicnn
from minicnn.data.images import write_image
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


def test_a_sigterm_that_is_handled_waits_until_the_file_is_whole(tmp_path):
    class Terminated(Exception):
        pass

    def handler(number, frame):
        raise Terminated
    before = signal.signal(signal.SIGTERM, handler)
    try:
        with pytest.raises(Terminated), atomic_write(tmp_path / "a") as file:
            signal.raise_signal(signal.SIGTERM)
            file.write(b"whole")
        assert (tmp_path / "a").read_bytes() == b"whole" and signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


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


@pytest.fixture
def links(tmp_path):
    """Links to a file: relative, over another link, through a linked folder, and to a file that is still to be made."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_bytes(b"old")
    for name, target in (("relative", "deep/file"), ("twice", "relative"), ("folder", "deep"), ("dangling", "deep/later")):
        (tmp_path / name).symlink_to(target)
    return {"relative": "deep/file", "twice": "deep/file", "folder/file": "deep/file", "dangling": "deep/later"}


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path, links):
    for number, (name, target) in enumerate(links.items()):
        before = {path.name: os.readlink(path) for path in tmp_path.iterdir() if path.is_symlink()}
        check_writable(tmp_path / name)
        write(tmp_path / name, b"%d" % number)
        assert (tmp_path / target).read_bytes() == b"%d" % number and not (tmp_path / target).is_symlink()
        assert {path.name: os.readlink(path) for path in tmp_path.iterdir() if path.is_symlink()} == before
    assert sorted(path.name for path in (tmp_path / "deep").iterdir()) == ["file", "later"]


def test_links_in_a_circle_or_to_nowhere_are_refused(tmp_path):
    for name, target in (("one", "two"), ("two", "one"), ("nowhere", "none/file")):
        (tmp_path / name).symlink_to(target)
    for name in ("one", "nowhere"):
        for function in (write, check_writable):
            with pytest.raises(InputError, match=f"cannot write .*{name} "):
                function(tmp_path / name)
    with pytest.raises(InputError, match="cannot write"):
        make_folder(tmp_path / "one")
    assert all(path.is_symlink() for path in tmp_path.iterdir())


def test_folders_are_made_where_links_lead_to(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).symlink_to(f"real {name}")
    make_folder(tmp_path / "one")
    with atomic_folder(tmp_path / "two") as folder:
        (folder / "a").write_bytes(b"x")
    assert (tmp_path / "one").is_symlink() and (tmp_path / "two").is_symlink()
    assert (tmp_path / "real one").is_dir() and (tmp_path / "real two" / "a").read_bytes() == b"x"


def test_a_name_may_be_as_long_as_the_file_system_takes(tmp_path):
    write(tmp_path / ("x" * 255))
    with atomic_folder(tmp_path / ("y" * 255)):
        pass
    assert sorted(len(path.name) for path in tmp_path.iterdir()) == [255, 255]


@contextlib.contextmanager
def reader(path):
    """A pipe at ``path``, and what was written into it, in a list, after the block."""
    os.mkfifo(path)
    got = []
    thread = threading.Thread(target=lambda: got.append(path.read_bytes()), daemon=True)
    thread.start()
    yield got
    thread.join(60)


def test_a_pipe_is_written_through_and_stays(tmp_path):
    with reader(tmp_path / "pipe") as got:
        check_writable(tmp_path / "pipe")               # without waiting for the reader
        write(tmp_path / "pipe", b"through")
    assert got == [b"through"] and (tmp_path / "pipe").is_fifo() and list(tmp_path.iterdir()) == [tmp_path / "pipe"]


@pytest.mark.parametrize("limit", [2**26, 100])
def test_archives_and_images_go_through_a_pipe_though_it_cannot_seek(tmp_path, monkeypatch, limit):
    monkeypatch.setattr("minicnn.files.IN_MEMORY", limit)
    model = minicnn.build("lenet5", rng=np.random.default_rng(0))
    with reader(tmp_path / "pipe") as got:
        minicnn.save(tmp_path / "pipe", model)
    minicnn.save(tmp_path / "file", model)
    assert got == [(tmp_path / "file").read_bytes()]
    with reader(tmp_path / "pipe.png") as got:
        write_image(tmp_path / "pipe.png", np.zeros((3, 4, 3), np.uint8))
    assert got[0].startswith(b"\x89PNG") and got[0].endswith(b"IEND\xaeB`\x82")


def test_after_an_error_nothing_goes_into_a_pipe(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ValueError, match="x"), atomic_write(tmp_path / "pipe") as file:
        file.write(b"half")
        raise ValueError("x")


PRINTING = """
import sys
from minicnn.files import atomic_write, check_writable
print("first")
check_writable(sys.argv[1])
with atomic_write(sys.argv[1]) as file:
    file.write(b"second\\n")
print("third")
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="there is no /proc")
@pytest.mark.parametrize("name", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", "link"])
def test_what_leads_to_standard_output_is_printed_in_order_and_the_device_stays(tmp_path, name):
    if name == "link":
        name = str(tmp_path / "link")
        os.symlink("/dev/stdout", name)
    before = os.lstat(name if "self" not in name else "/dev")
    with open(tmp_path / "out", "wb") as out:
        subprocess.run([sys.executable, "-c", PRINTING, name], stdout=out, check=True, timeout=HUNG)
    assert (tmp_path / "out").read_text() == "first\nsecond\nthird\n"
    assert subprocess.run([sys.executable, "-c", PRINTING, name], capture_output=True, text=True, timeout=HUNG).stdout == (
        "first\nsecond\nthird\n")
    after = os.lstat(name if "self" not in name else "/dev")
    assert (after.st_ino, after.st_mode) == (before.st_ino, before.st_mode)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_devices_are_written_through(tmp_path):
    check_writable("/dev/null")
    write("/dev/null")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    check_writable("/dev/full")
    with pytest.raises(InputError, match="cannot write /dev/full .No space left"):
        write("/dev/full")
    with open(tmp_path / "a", "wb") as file:
        (tmp_path / "b").symlink_to(f"/proc/self/fd/{file.fileno()}")
        write(tmp_path / "b")
    assert (tmp_path / "a").read_bytes() == b"new"
    with open(tmp_path / "a", "rb") as file, pytest.raises(InputError, match="not open for writing"):
        check_writable(f"/dev/fd/{file.fileno()}")


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
    (tmp_path / "link").symlink_to("full/a")
    monkeypatch.chdir(tmp_path / "here")
    for path, expected in ((tmp_path / "full", "not empty"), (tmp_path / "full" / "a", "a file"), (tmp_path / "link", "a file"),
                           (tmp_path / "here", "the current folder"), (tmp_path / "full" / "a" / "b", "cannot write")):
        with pytest.raises(InputError, match=expected):
            fill(path)
    assert listing(tmp_path) == {"full/a": b"old", "link": b"old"} and len(list(tmp_path.iterdir())) == 3


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
