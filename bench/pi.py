"""Predicted times on a Raspberry Pi 4 and 5: the roofline, from published speeds, for the steps of three detectors.

``minicnn bench`` measures the detectors here, on both backends; two predictions follow. The bound: no step is faster than the board's
cores multiply, or than its memory delivers the numbers (``minicnn.report.roofline_page.predict``). The scaled one: each step exceeds its
bound there by the same factor as here. Both go into ``docs/guide/raspberry-pi.md``, marked as predictions.

    python bench/pi.py --runs ../runs/pi
"""

import argparse
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import harness  # noqa: F401  puts bench/harness on the path
import numpy as np
import turns  # noqa: F401  removes the variables that choose OpenBLAS's kernels
from record import ROOT, record, table
from timed_detectors import photograph, real_or_tuned_detector

import minicnn
from minicnn.report.roofline_page import predict


class Board(NamedTuple):
    """A board's speeds.

    cores; ghz; flop: float32 operations of a core in a cycle; gbytes: GB/s of memory, measured by others; sources: of flop and of gbytes.
    """

    cores: int
    ghz: float
    flop: int
    gbytes: float
    sources: tuple

    @property
    def gflops(self):
        return self.cores * self.ghz * self.flop


A72 = "https://github.com/OpenMathLib/OpenBLAS/issues/4149"
PI4 = (A72, "https://www.sci-pi.org.uk/bench/stream.html")
PI5 = ("https://github.com/OpenMathLib/OpenBLAS/issues/4581", "https://github.com/geerlingguy/sbc-reviews/issues/21")
BOARDS = {
    "Raspberry Pi 4, 1.5 GHz": Board(4, 1.5, 8, 4.84, PI4),        # STREAM triad, one thread
    "Raspberry Pi 4, 1.8 GHz": Board(4, 1.8, 8, 4.84, PI4),
    "Raspberry Pi 5, 2.4 GHz": Board(4, 2.4, 16, 9.74, PI5),       # tinymembench's C copy, 4.87 GB/s each way, one thread
}
TASKS = {
    "fasterrcnn_vgg16": "`fasterrcnn_vgg16` at 600 × 800",
    "fasterrcnn_resnet50_fpn": "`fasterrcnn_resnet50_fpn` at 800 × 1066",
    "fasterrcnn_mobilenet_v3_large_320_fpn": "`fasterrcnn_mobilenet_v3_large_320_fpn` at 320 × 426",
}
BACKENDS = {"numba": "Numba", "numpy": "NumPy"}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", required=True, help="folder for networks and measurements; what it holds is not made again")
    folder = Path(parser.parse_args().runs)
    folder.mkdir(parents=True, exist_ok=True)
    rows, machine = [], None
    for task in TASKS:
        for backend in BACKENDS:
            document = measured(task, backend, folder)
            machine = machine or {"roofs": document["roofs"], **document["machine"]}
            rows.append({"task": task, "backend": backend, "here_ms": document["total"]["ms"],
                         "between_ms": sum(document["between"].values()), "gflop": document["total"]["flop"] / 1e9,
                         "arithmetic_gflop": sum(step["arithmetic"] for step in document["steps"]) / 1e9,
                         "predictions": {name: prediction(document, board) for name, board in BOARDS.items()}})
    boards = {name: {**board._asdict(), "gflops": board.gflops} for name, board in BOARDS.items()}
    record("pi", {"boards": boards, "measured_on": machine, "rows": rows})
    write(ROOT / "docs" / "guide" / "raspberry-pi.md", {"boards": boards_table(), "prediction": prediction_table(rows)})


def measured(task, backend, folder):
    """The document of ``minicnn bench`` for a detector here, in a process of its own."""
    path, result = folder / f"{task}.npz", folder / f"{task}.{backend}.json"
    if not path.exists():
        minicnn.save(path, real_or_tuned_detector(task, folder))
        np.save(folder / "picture.npy", photograph())
    if not result.exists():
        subprocess.run([sys.executable, "-m", "minicnn", "bench", path, "--picture", folder / "picture.npy", "--backend", backend, "--json",
                        result], check=True, stdout=subprocess.DEVNULL)
    return json.loads(result.read_text())


def prediction(document, board):
    """{"bound_ms", "scaled_ms"} of one detection on a board.

    The work between the plans has no bound; it is scaled like all steps together.
    """
    steps, roofs = document["steps"], document["roofs"]
    there, here = (np.array(predict(steps, *speeds)) for speeds in ((board.gflops, board.gbytes), (roofs["gflops"], roofs["gbytes"])))
    milliseconds = np.array([step["ms"] for step in steps])
    scaled = milliseconds * there / here
    between = sum(document["between"].values())
    return {"bound_ms": there.sum(), "scaled_ms": scaled.sum() * (1 + between / milliseconds.sum())}


def boards_table():
    rows = [(name, f"{board.cores} × {board.ghz:g} GHz × {board.flop} [¹]({board.sources[0]})", f"{board.gflops:.1f}",
             f"{board.gbytes:.2f} [²]({board.sources[1]})") for name, board in BOARDS.items()]
    return table(("board", "cores, clock, float32 FLOP a cycle", "GFLOP/s", "memory, GB/s"), rows)


def prediction_table(rows):
    cells = [(TASKS[row["task"]], BACKENDS[row["backend"]], f"{row['here_ms'] / 1000:.2f} s",
              *(f"{times['bound_ms'] / 1000:.2f} to {times['scaled_ms'] / 1000:.2f} s" for times in row["predictions"].values()))
             for row in rows]
    return table(("one detection", "by", "measured here", *(f"PREDICTION: {name}" for name in BOARDS)), cells)


def write(path, blocks):
    """Replace the blocks of a page, each between the comments with its name."""
    text = path.read_text()
    for name, block in blocks.items():
        whole = f"<!-- {name} -->\n{block}\n<!-- /{name} -->"
        text = re.sub(rf"<!-- {name} -->.*?<!-- /{name} -->", lambda _, whole=whole: whole, text, flags=re.DOTALL)
    path.write_text(text)


if __name__ == "__main__":
    main()
