"""minicnn demo: the whole method on generated digits, by the other verbs."""

import json
import re

import pytest
from subprocesses import HUNG

import minicnn


@pytest.mark.slow
def test_the_whole_demo(start, drawing, here):
    process = start("demo", "--out", "demo/", "--json", "-")
    out, err = process.communicate(timeout=HUNG)
    assert process.returncode == 0, err
    document = json.loads(out)
    assert document["after"]["parameters"] <= 0.1 * document["before"]["parameters"] == 43108
    assert document["before"]["test"]["accuracy"] > 0.95 and document["after"]["test"]["accuracy"] > 0.94
    assert sorted(path.name for path in (here / "demo").iterdir()) == ["lenet.npz", "report.html", "small.npz"]
    text = (here / "demo" / "report.html").read_text()
    sources = re.findall(r"\bsrc=(.{23})", text)
    assert len(sources) == 20 + 50 and set(sources) == {'"data:image/png;base64,'}     # an image for each filter
    assert "<script" not in text and "href=" not in text and "url(" not in text
    assert not re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text)
    provenance = minicnn.load(here / "demo" / "small.npz").record["provenance"]
    assert provenance["before"]["command"].startswith("minicnn train lenet5_caffe")
    assert all(len(line) <= 80 for line in err.splitlines() if not line.startswith("$ "))


def test_it_runs_the_other_verbs_and_shows_their_commands(run, here, monkeypatch):
    ran = []

    def verb(name):
        def fake(args):
            ran.append((name, args))
            print(f"{name} is done")
        return fake
    for name in ("train", "compress"):
        monkeypatch.setattr(f"minicnn.cli.{name}.run", verb(name))
    status, out, err = run("demo", "--out", "a b", "--seed", 3, "--json", "-")
    assert status == 0 and out == "compress is done\n"      # standard output is the JSON's: train prints elsewhere
    commands = [line for line in err.splitlines() if line.startswith("$ ")]
    assert commands[0] == "$ minicnn train lenet5_caffe --data digits --epochs 4 --seed 3 --out 'a b/lenet.npz'"
    assert commands[1].startswith("$ minicnn compress 'a b/lenet.npz' --data digits --target-parameters 0.1")
    (_, train), (_, compress) = ran
    assert train.seed == compress.seed == 3 and compress.file == train.out == "a b/lenet.npz" and compress.json == "-"
    assert compress.report == "a b" and (here / "a b").is_dir()


@pytest.mark.parametrize("options, expected", [
    (["--out", "file"], "file"), (["--out", "file/demo"], "file"), (["--json", "none/x.json"], "none/x.json"),
])
def test_places_that_cannot_be_used(refused, here, options, expected):
    (here / "file").write_bytes(b"old")
    assert expected in refused("demo", *options)
