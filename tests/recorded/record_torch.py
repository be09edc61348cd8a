"""Record torch's outputs and gradients of every case of torch_cases.py: ``python tests/recorded/record_torch.py``.

Needs the ``parity`` extra. Writes torch_ops.npz: ``values``, all arrays one after the other in float32, and ``cases.json``
(UTF-8), which holds for each case, in order, the names and shapes of its arrays, of the gradient that went in, and of its results.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torchvision

sys.path.insert(0, str(Path(__file__).parents[1] / "support"))
from torch_cases import CASES, draw, torchs  # noqa: E402

FILE = Path(__file__).with_name("torch_ops.npz")


def main():
    torch.manual_seed(0)
    torch.set_num_threads(1)
    values, cases = [], []
    for case in CASES:
        arrays = draw(case)
        grad_y, results = torchs(case, arrays)
        entry = {"name": case.name, "operation": case.operation, "arguments": case.arguments}
        for part, named in (("arrays", arrays), ("gradient", {"grad_y": grad_y}), ("results", results)):
            entry[part] = {name: list(array.shape) for name, array in named.items()}
            values += [np.ravel(array) for array in named.values()]
        cases.append(entry)
    written = {"versions": {"torch": torch.__version__, "torchvision": torchvision.__version__, "numpy": np.__version__},
               "cases": cases}
    text = np.frombuffer(json.dumps(written, indent=1).encode(), np.uint8)
    np.savez_compressed(FILE, **{"values": np.concatenate(values), "cases.json": text})
    print(f"{len(cases)} cases, {sum(v.size for v in values)} values, {FILE.stat().st_size} bytes: {FILE}")


if __name__ == "__main__":
    main()
