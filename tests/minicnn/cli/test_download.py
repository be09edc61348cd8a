"""minicnn download, from a server in a thread: the weights become a file of minicnn."""

import functools
import hashlib
import json
import struct
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minicnn
from minicnn.weight_files.download import FILES

ARCHITECTURE = "fasterrcnn_mobilenet_v3_large_320_fpn"


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A weight file with the smallest heads, in a folder, named as torchvision's are; and its arrays."""
    model = minicnn.build(ARCHITECTURE, num_classes=2, box_head_width=4, rng=np.random.default_rng(0))
    arrays = dict(model.named_arrays())
    content = safetensors(arrays)
    path = tmp_path_factory.mktemp("models") / f"net-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    path.write_bytes(content)
    return path, arrays


def safetensors(arrays):
    """The bytes of a safetensors file: the length of a JSON header, the header, the arrays."""
    header, end = {}, 0
    for name, array in arrays.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"".join(array.tobytes() for array in arrays.values())


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def url(published, tmp_path, monkeypatch):
    """The address of a server with the weight file, published for ARCHITECTURE; the cache is empty."""
    path, _ = published
    monkeypatch.setitem(FILES, ARCHITECTURE, path.name)
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=path.parent)) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def test_what_is_published_becomes_a_file_named_after_the_architecture(run, here, url, published):
    status, out, err = run("download", ARCHITECTURE, "--url", url)
    assert (status, err) == (0, "") and f"{ARCHITECTURE}.npz" in out and "2 classes" in out
    model = minicnn.load(f"{ARCHITECTURE}.npz")
    assert model.architecture == ARCHITECTURE                       # not asked which of the two that share their names it is
    for name, array in model.named_arrays():
        assert_array_equal(array, published[1][name])
    provenance = model.record["provenance"]
    assert provenance["source"]["file"] == published[0].name and provenance["command"].startswith(f"minicnn download {ARCHITECTURE}")


def test_the_second_time_needs_no_network(run, here, url, tmp_path):
    assert run("download", ARCHITECTURE, "--url", url)[0] == 0
    status, out, err = run("download", ARCHITECTURE, "--url", "https://nowhere.invalid", "-o", "half.npz", "--dtype", "float16",
                           "--json", "-")
    document = json.loads(out)
    assert (status, err) == (0, "") and document["file"] == "half.npz" and document["architecture"] == ARCHITECTURE
    assert (here / "half.npz").stat().st_size < 0.6 * (here / f"{ARCHITECTURE}.npz").stat().st_size


def test_a_file_that_is_not_the_published_one_is_refused(refused, here, url, published, monkeypatch):
    path, _ = published
    monkeypatch.setitem(FILES, ARCHITECTURE, "net-00000000.pth")
    (path.parent / "net-00000000.pth").write_bytes(path.read_bytes())
    (here.parent / "cache").mkdir()
    assert "00000000" in refused("download", ARCHITECTURE, "--url", url)


@pytest.mark.parametrize("options, expected", [
    (["lenet5"], "lenet5"), ([], "ARCH"), ([ARCHITECTURE, "-o", "none/x.npz"], "none/x.npz"), ([ARCHITECTURE, "-o", ""], "folder"),
    ([ARCHITECTURE, "--url", "http://example.org"], "https"), ([ARCHITECTURE, "--dtype", "int4"], "int4"),
])
def test_what_cannot_be_used_is_refused_before_anything_is_fetched(refused, here, url, options, expected):
    assert expected in refused("download", *options)
