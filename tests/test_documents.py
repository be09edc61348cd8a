"""README and docs: every command parses, every block that is not marked is run as it stands, and every link leads somewhere.

A block stands under ``<!-- not run: reason -->`` if it takes hours, or needs a network connection, a board or files that are not here.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from calibration_cases import RATES
from sane import sane_detector

import minicnn
from minicnn.cli.parser import build_parser
from minicnn.data.images import as_input, read_image, write_image
from minicnn.data.scenes import CLASS_NAMES
from minicnn.fast.timing import calibration
from minicnn.functional import dispatch

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
GUIDE = sorted((ROOT / "docs" / "guide").glob("*.md"))
PAGES = [README, *GUIDE]
DOCUMENTS = [*PAGES, *sorted((ROOT / "docs").glob("*.md")), *sorted(ROOT.glob("[!R]*.md"))]
BLOCK = re.compile(r"(?P<mark><!-- not run: (?P<reason>.+) -->\n)?^```(?P<language>.*)\n(?P<text>[\s\S]*?)^```$", re.MULTILINE)
README_LINES = 150
LOADING = "import sys; from minicnn.cli.main import main; sys.exit(main())"


def name_of(page):
    return page.name


def blocks(page, language):
    """(text, whether it is run) of each block of a language."""
    found = BLOCK.finditer(page.read_text(encoding="utf-8"))
    return [(block["text"], not block["mark"]) for block in found if block["language"] == language]


def minicnn_commands(script):
    """The arguments of each ``minicnn`` in a shell script."""
    for line in script.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True)
        ends = [place for place, word in enumerate(words) if word in ("&&", "||", "|", ";")]
        for start, end in zip([0, *(end + 1 for end in ends)], [*ends, len(words)]):
            if start < end and Path(words[start]).name == "minicnn":
                yield words[start + 1:end]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_blocks_are_of_a_language_and_commands_parse(page):
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        assert block["language"] in ("sh", "python"), block[0]
        if block["mark"]:
            assert len(block["reason"]) > 10, block[0]
    for text, _ in blocks(page, "sh"):
        for command in minicnn_commands(text):
            try:
                build_parser().parse_args(command)
            except SystemExit:
                pytest.fail(f"{page.name}: minicnn {shlex.join(command)}")
        for program in re.findall(r"python (bench/\S+\.py)", text):
            assert (ROOT / program).is_file()
    for text, _ in blocks(page, "python"):
        compile(text, page.name, "exec")


def test_commands_are_found_in_a_script():
    script = "echo 1 > a && minicnn info a.npz   # a comment\n~/with/bin/minicnn detect 'b c' \\\n    --weights d\nminicnnx\n"
    assert list(minicnn_commands(script)) == [["info", "a.npz"], ["detect", "b c", "--weights", "d"]]


def test_readme_is_short_and_has_the_command_that_the_gate_looks_for():
    text = README.read_text(encoding="utf-8")
    assert text.count("\n") <= README_LINES
    assert "pip install -e '.[test]' && pytest" in text
    gate = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert "pip install -e '.\\[test\\]' && pytest" in gate


def anchors(page):
    """The names of a page's headings, as hosts of repositories form them."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```[\s\S]*?```", "", page.read_text(encoding="utf-8")), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), link
        if anchor:
            assert anchor in anchors(path), link


def test_changelog_and_citation_have_the_version():
    released = re.findall(r"^## \[(\d[^]]*)\] - (\S+)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    cited = re.findall(r"^(?:version|date-released): (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)
    assert released[0] == (minicnn.__version__, cited[1]) and cited[0] == minicnn.__version__


def test_tables_are_those_of_the_results():
    """What needs a package that is not installed is left out by the program itself."""
    done = subprocess.run([sys.executable, "bench/readme.py", "--check"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def files(drawing, tmp_path_factory):
    """What the pages take as given: a detector of the scenes' classes that sees very small images, photographs, a data set.

    The machine's rates are recorded ones, so that the ranks that ``compress`` finds do not depend on how busy it is.
    """
    calibration.write_rates(calibration.rates_file(), calibration.machine_key(dispatch.backend()), RATES)
    folder = tmp_path_factory.mktemp("files")
    photograph = ROOT / "tests" / "pictures" / "chelsea.jpg"
    model = sane_detector("fasterrcnn_mobilenet_v3_large_320_fpn", as_input(read_image(photograph)), num_classes=len(CLASS_NAMES),
                          box_head_width=16, min_size=64, max_size=96)
    model.record["class_names"] = list(CLASS_NAMES)
    minicnn.save(folder / "model.npz", model)
    shutil.copy(photograph, folder / "photo.jpg")
    for place in ("folder", "shots"):
        (folder / place).mkdir()
        pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)
        write_image(folder / place / "one.png", pixels)
    command(folder, "minicnn scenes VOC2007/ --size 80x64 --count 36")
    return folder


def command(folder, script):
    """Run a shell script in a folder, where ``minicnn`` is the one that is tested."""
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "minicnn"
    program.write_text(f"#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {shlex.quote(LOADING)} \"$@\"\n")
    program.chmod(0o755)
    done = subprocess.run(["bash", "-euo", "pipefail", "-c", script], cwd=folder, capture_output=True, text=True,
                          env={**os.environ, "PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"})
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_what_is_not_marked_runs_as_it_stands(page, files, tmp_path):
    if os.name == "nt":
        pytest.skip("the pages' commands are for a POSIX shell")
    folder = tmp_path / "here"
    shutil.copytree(files, folder)
    for block in BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block["mark"]:
            continue
        if block["language"] == "sh":
            command(folder, block["text"])
        else:
            done = subprocess.run([sys.executable, "-c", block["text"]], cwd=folder, capture_output=True, text=True)
            assert done.returncode == 0, f"{block['text']}\n{done.stderr}"
