"""No verb shows a traceback or leaves half a file where nothing can be written, the disk is full, or a signal or a closed pipe ends it.

One command a verb, on inputs as small as can be. Moments of signals are random shares of the time that the command takes, so nothing
depends on the machine's speed: whatever the moment, the same holds.
"""

import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from subprocesses import HUNG
from torch_files import weight_file

import minicnn
from minicnn.archive import read_archive
from minicnn.cli.main import main
from minicnn.cli.parser import VERBS
from minicnn.data.scenes import CLASS_NAMES, write_scenes

pytestmark = pytest.mark.slow

ARCHITECTURE = "fasterrcnn_mobilenet_v3_large_320_fpn"
TRAINING = ["--data", "small", "--epochs", "1", "--trainable-backbone-layers", "1", "--out", "{out}/new.npz"]
COMMANDS = {            # {out}: the folder of everything that is written
    "detect": ["small/JPEGImages", "--weights", "det.npz", "--json", "{out}/d.json", "--out", "{out}/drawn"],
    "convert": ["det.pth", "--config", "config.json", "-o", "{out}/new.npz", "--json", "{out}/c.json"],
    "download": [ARCHITECTURE, "--url", "http://127.0.0.1:9", "-o", "{out}/new.npz"],
    "scenes": ["{out}/made", "--count", "30"],
    "train": [ARCHITECTURE, "--min-size", "48", "--max-size", "64", "--report", "{out}/page", "--validation", "test", *TRAINING],
    "finetune": ["det.npz", "--cache-features", "{out}/features", *TRAINING],
    "compress": ["det.npz", "--method", "tucker", "--ranks", "16", "--layers", "rpn.head.conv*", "--data", "small", "--repair", "10",
                 "--report", "{out}/page", "--out", "{out}/new.npz"],
    "evaluate": ["det.npz", "--data", "small", "--report", "{out}/page", "--json", "{out}/e.json"],
    "compare": ["evaluation.json", "evaluation.json", "--json", "{out}/c.json"],
    "info": ["det.npz", "--json", "{out}/i.json"],
    "bench": ["lenet.npz", "--runs", "1", "--backend", "numpy", "--report", "{out}/page"],
    "tune": ["lenet.npz", "--runs", "1", "--backend", "numpy", "--json", "{out}/t.json"],
    "demo": ["--out", "{out}/demo"],
}
MOMENTS = {"detect": 20, "train": 20, "compress": 20, "evaluate": 20}       # 3 of the others
BEGUN = "import sys; from minicnn.cli.main import main; print('begun', file=sys.stderr, flush=True); sys.exit(main())"


@pytest.fixture(scope="module")
def inputs(tmp_path_factory):
    """A folder with all that the commands read."""
    folder = tmp_path_factory.mktemp("inputs")
    write_scenes(folder / "small", (80, 64), 18, 0)
    settings = {"num_classes": len(CLASS_NAMES), "min_size": 48, "max_size": 64, "box_head_width": 16}
    detector = minicnn.build(ARCHITECTURE, rng=np.random.default_rng(0), **settings)
    detector.record["class_names"] = list(CLASS_NAMES)
    minicnn.save(folder / "det.npz", detector)
    (folder / "det.pth").write_bytes(weight_file(dict(detector.named_arrays())))
    (folder / "config.json").write_text(json.dumps({"architecture": ARCHITECTURE, "min_size": 48, "max_size": 64}))
    minicnn.save(folder / "lenet.npz", minicnn.build("lenet5", rng=np.random.default_rng(0)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["evaluate", "det.npz", "--data", "small", "--json", "evaluation.json"]) == 0
    (folder / "file").write_bytes(b"not a folder")
    return folder


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache with the machine's rates, which take some seconds to measure."""
    return tmp_path_factory.mktemp("filled cache")


def environment(**changes):
    """This process's variables with changes, None: removed; compiling is not the point."""
    found = {**os.environ, "MINICNN_BACKEND": "numpy", "OPENBLAS_NUM_THREADS": "1", **changes}
    return {name: str(value) for name, value in found.items() if value is not None}


def arguments(verb, out):
    return [verb, *(word.format(out=out) for word in COMMANDS[verb])]


def ended(inputs, verb, out, env, **options):
    """(status, standard error) of a command."""
    done = subprocess.run([sys.executable, "-m", "minicnn", *arguments(verb, out)], cwd=inputs, env=env, timeout=HUNG, text=True,
                          **{"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, **options})
    return done.returncode, done.stderr


def check(verb, status, err, allowed, out):
    """No traceback, an expected status, and whole files only."""
    assert "Traceback" not in err and "Exception ignored" not in err, f"{verb}: {err}"
    assert status in allowed, f"{verb}: {status} {err}"
    if status == 2:
        assert [line for line in err.splitlines() if line.startswith(f"minicnn {verb}: error: ")], err
    if out.is_dir():
        whole(out)


def whole(folder):
    """Every file below a folder is complete, and none is temporary."""
    for path in folder.rglob("*"):
        assert not path.name.startswith("."), path
        if path.suffix == ".npz" and path.parent.name != "features":
            read_archive(path)
        elif path.suffix == ".npz":
            np.load(path).close()
        elif path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>")


def each(function, items):
    """function(item) of all, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(function, items))


def test_the_table_has_every_verb():
    assert sorted(COMMANDS) == sorted(VERBS)


def test_where_nothing_can_be_written(inputs, cache, tmp_path):
    """A path below a file cannot be written by root either. demo, which is three of the other verbs in turn, tries its output alone."""
    def run(case):
        name, verb, number = case
        out, env = tmp_path / str(number), environment(MINICNN_CACHE=cache)
        out.mkdir()
        if name == "output":
            status, err = ended(inputs, verb, "file", env)
            check(verb, status, err, [2], out)
        else:
            env = environment(**{"cache": {"MINICNN_CACHE": inputs / "file" / "cache"},
                                 "home": {"MINICNN_CACHE": None, "XDG_CACHE_HOME": None, "HOME": inputs / "file" / "home"},
                                 "no home": {"MINICNN_CACHE": None, "XDG_CACHE_HOME": tmp_path / "other", "HOME": None}}[name])
            status, err = ended(inputs, verb, out, env)
            check(verb, status, err, [0, 1, 2], out)
    cases = [(name, verb) for name in ("output", "cache", "home", "no home") for verb in VERBS if verb != "demo" or name == "output"]
    each(run, [(*case, number) for number, case in enumerate(cases)])
    assert (inputs / "file").read_bytes() == b"not a folder"


@pytest.mark.parametrize("limit", [0, 20000])
def test_a_full_disk(inputs, cache, tmp_path, limit):
    def run(verb):
        out = tmp_path / verb
        out.mkdir()
        status, err = ended(inputs, verb, out, environment(MINICNN_CACHE=cache),
                            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)))
        check(verb, status, err, [0, 1, 2], out)
        return status
    verbs = [verb for verb in VERBS if verb != "demo" or limit == 0]
    statuses = dict(zip(verbs, each(run, verbs)))
    assert all(status == 2 for verb, status in statuses.items() if limit == 0), statuses


def test_a_full_file_system(inputs, cache, tmp_path):
    if os.name != "posix" or shutil.which("mount") is None or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        for verb in ("convert", "train", "compress", "scenes"):
            status, err = ended(inputs, verb, tmp_path, environment(MINICNN_CACHE=cache))
            check(verb, status, err, [2], tmp_path)
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_closed_pipe_or_a_full_device_as_standard_output(inputs, cache, tmp_path):
    def run(case):
        kind, verb = case
        out = tmp_path / f"{verb} {kind}"
        out.mkdir()
        reading, writing = os.pipe()
        os.close(reading)
        try:
            with open("/dev/full", "wb") as full:
                stream = {"closed": writing, "full": full}.get(kind)
                options = {"preexec_fn": lambda: os.close(1)} if kind == "none" else {"stdout": stream}
                status, err = ended(inputs, verb, out, environment(MINICNN_CACHE=cache), **options)
        finally:
            os.close(writing)
        check(verb, status, err, {"closed": [0, 1, 2], "full": [0, 1, 2], "none": [0, 1, 2]}[kind], out)
        assert status != 0 or kind == "none", f"{verb} {kind}"
    kinds = ("closed", "full", "none") if os.path.exists("/dev/full") else ("closed", "none")
    each(run, [(kind, verb) for kind in kinds for verb in VERBS if verb != "demo"])


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_signal_at_random_moments(inputs, cache, tmp_path, verb, name):
    number, rng = getattr(signal, name), np.random.default_rng(0)

    def start(out):
        out.mkdir()
        process = subprocess.Popen([sys.executable, "-c", BEGUN, *arguments(verb, out)], cwd=inputs, env=environment(MINICNN_CACHE=cache),
                                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        assert process.stderr.readline() == "begun\n"
        return process, time.perf_counter()

    def run(moment):
        process, begun = start(tmp_path / str(moment))
        time.sleep(max(0, moment * seconds - (time.perf_counter() - begun)))
        process.send_signal(number)
        err = process.communicate(timeout=HUNG)[1]
        check(verb, process.returncode, err, [0, 128 + number, -number, *([2] if verb == "download" else [])], tmp_path / str(moment))
        return process.returncode
    seconds = 5
    if verb != "demo":                                          # which would take minutes
        process, begun = start(tmp_path / "whole")
        process.communicate(timeout=HUNG)
        seconds = time.perf_counter() - begun
    statuses = each(run, rng.random(MOMENTS.get(verb, 3)).tolist())
    assert verb == "download" or any(status != 0 for status in statuses), statuses
