"""Downloads from a server in a thread: complete, resumed, damaged, and refused ones."""

import errno
import hashlib
import importlib.util
import os
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from minicnn import InputError
from minicnn.weight_files import download as module
from minicnn.weight_files.download import check_address, download
from minicnn.weight_files.published import FILES

CONTENT = np.random.default_rng(0).bytes(300_000)
NAME = f"net_coco-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


class Handler(BaseHTTPRequestHandler):
    """Serves the server's ``content`` with the faults of its ``behaviour``, and records the requests."""

    def do_GET(self):
        server, asked = self.server, self.headers["Range"]
        server.requests.append((self.path, asked))
        if server.behaviour == "redirect":
            self.answer(302, b"", ("Location", server.target))
        elif self.path != f"/models/{NAME}":
            self.answer(404, b"nothing here")
        elif asked and server.behaviour != "no ranges":
            start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1])
            if start < len(server.content):
                self.answer(206, server.content[start:], ("Content-Range", f"bytes {start}-/{len(server.content)}"))
            else:
                self.answer(416, b"")
        else:
            self.answer(200, server.content)

    def answer(self, status, body, *headers):
        self.send_response(status)
        for header in headers:
            self.send_header(*header)
        if self.server.behaviour != "no length":
            self.send_header("Content-Length", self.server.announced or len(body))
        self.end_headers()
        if self.server.behaviour == "cut":
            body = body[:100_000]
        self.wfile.write(body)
        if self.server.behaviour == "silent":
            self.server.released.wait(10)

    def log_message(self, *arguments):
        pass


@pytest.fixture
def server(monkeypatch):
    """A server with CONTENT, published as NAME for the architecture ``net``."""
    monkeypatch.setitem(FILES, "net", NAME)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.content, server.behaviour, server.announced, server.requests, server.target = CONTENT, "", None, [], ""
        server.base = f"http://127.0.0.1:{server.server_port}/models/"
        server.released = threading.Event()
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.released.set()
        server.shutdown()
        thread.join()


@pytest.fixture
def get(server, tmp_path):
    """get(): ``download`` from the server into a folder; get.part, get.path: its files."""
    def get():
        return download("net", get.folder, server.base)
    get.folder = tmp_path / "cache"
    get.path, get.part = get.folder / NAME, get.folder / f"{NAME}.part"
    return get


def refusal(get):
    """The one-line message of a download that fails; no file is left that could be taken for a complete one."""
    with pytest.raises(InputError) as caught:
        get()
    assert "\n" not in str(caught.value) and not get.path.exists()
    return str(caught.value)


def test_the_file_comes_into_the_cache_and_stays_there_without_network(get, server):
    assert get() == get.path and get.path.read_bytes() == CONTENT
    assert server.requests == [(f"/models/{NAME}", None)] and os.listdir(get.folder) == [NAME]
    assert get() == get.path and len(server.requests) == 1


def test_a_base_without_a_final_slash_is_the_same(get, server):
    server.base = server.base.rstrip("/")
    assert get().read_bytes() == CONTENT


def test_a_damaged_file_of_the_cache_is_fetched_anew(get):
    get().write_bytes(CONTENT[:-1] + b"\0")
    assert get().read_bytes() == CONTENT


def test_what_is_missing_is_fetched_after_a_lost_connection(get, server):
    server.behaviour, server.announced = "cut", len(CONTENT)
    message = refusal(get)
    assert "200000 of 300000 bytes missing" in message and "same command again" in message
    assert get.part.read_bytes() == CONTENT[:100_000]
    server.behaviour, server.announced = "", None
    assert get().read_bytes() == CONTENT and server.requests[-1][1] == "bytes=100000-"
    assert os.listdir(get.folder) == [NAME]


def test_a_server_that_knows_no_ranges_sends_all_again(get, server):
    get.folder.mkdir()
    get.part.write_bytes(CONTENT[:1000])
    server.behaviour = "no ranges"
    assert get().read_bytes() == CONTENT and len(server.requests) == 1


def test_a_part_that_was_whole_is_verified_and_taken(get, server):
    get.folder.mkdir()
    get.part.write_bytes(CONTENT)
    assert get().read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("part", [b"something else", CONTENT + b"and more"], ids=["another", "longer"])
def test_a_part_of_another_file_is_given_up_for_a_download_from_the_beginning(get, server, part):
    get.folder.mkdir()
    get.part.write_bytes(part)
    assert get().read_bytes() == CONTENT
    assert [asked for _, asked in server.requests] == [f"bytes={len(part)}-", None]


def test_another_file_under_the_name_is_refused_and_removed(get, server):
    server.content = b"not " + CONTENT
    message = refusal(get)
    assert NAME[9:17] in message and "removed" in message and not get.part.exists() and len(server.requests) == 1


def test_ctrl_c_leaves_the_part(get, monkeypatch):
    monkeypatch.setattr(module, "PIECE", 100_000)
    sizes = []

    def update(progress, count):
        sizes.append(count)
        if sum(sizes) > 150_000:
            raise KeyboardInterrupt
    monkeypatch.setattr(module.Progress, "update", update)
    with pytest.raises(KeyboardInterrupt):
        get()
    assert get.part.read_bytes() == CONTENT[:sum(sizes)] and not get.path.exists()


def test_a_body_longer_than_announced_is_stopped(get, server):
    server.announced = 1000
    assert "SHA-256" in refusal(get)
    assert not get.part.exists()


@pytest.mark.parametrize("behaviour, announced, expected", [("", 2**31 + 1, "2147483649 bytes"), ("no length", None, "no length")])
def test_a_file_of_absurd_or_unknown_length_is_refused_before_it_comes(get, server, behaviour, announced, expected):
    server.behaviour, server.announced = behaviour, announced
    assert expected in refusal(get) and not get.part.exists()


def test_a_server_that_falls_silent_is_given_up(get, server, monkeypatch):
    monkeypatch.setattr(module, "TIMEOUT", 0.2)
    server.behaviour, server.announced = "silent", len(CONTENT) + 1
    assert "timed out" in refusal(get) and get.part.read_bytes() == CONTENT


def test_an_address_without_the_file_is_told(get, server):
    server.base += "elsewhere/"
    assert "404" in refusal(get) and not get.part.exists()


def test_no_server_is_told(get, server):
    server.base = "http://127.0.0.1:1/"             # a port that nobody listens to
    assert "refused" in refusal(get)


@pytest.mark.parametrize("base", ["http://example.org/models", "ftp://example.org", "file:///etc", "models", "", "https://",
                                  "http://127.0.0.1@example.org/", "http://localhost.example.org/", "http://[::1/"])
def test_weights_come_over_https_or_from_this_computer(tmp_path, base):
    with pytest.raises(InputError, match="https"):
        download("vgg16", tmp_path, base)


@pytest.mark.parametrize("base", ["https://example.org/models", "http://localhost:8000", "http://127.0.0.1:8000/", "http://[::1]:8000"])
def test_addresses_that_may_be_used(base):
    check_address(base)


def test_a_redirect_leads_to_no_other_kind_of_address(get, server):
    server.behaviour, server.target = "redirect", "http://example.org/file.pth"
    assert "example.org" in refusal(get) and len(server.requests) == 1


def test_this_computer_is_never_asked_through_a_proxy(get, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert get().read_bytes() == CONTENT


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is full")
def test_a_full_disk_is_told(get):
    get.folder.mkdir()
    get.part.symlink_to("/dev/full")
    assert os.strerror(errno.ENOSPC) in refusal(get)


def test_a_folder_that_cannot_be_made_is_told(get):
    get.folder.write_text("a file")
    assert "cannot write" in refusal(get)


def test_an_architecture_without_a_published_file_is_refused(tmp_path):
    with pytest.raises(InputError, match="lenet5.*fasterrcnn_resnet50_fpn_v2"):
        download("lenet5", tmp_path)


def test_the_names_are_torchvisions():
    torchvision = importlib.util.find_spec("torchvision")           # its source is read, not run
    if torchvision is None:
        pytest.skip("no torchvision")
    models = Path(torchvision.origin).with_name("models")
    sources = "".join((models / path).read_text("utf-8") for path in ("vgg.py", "detection/faster_rcnn.py"))
    assert all(f'"{module.BASE}{name}"' in sources for name in FILES.values())
