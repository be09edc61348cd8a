"""Record torchvision's losses and gradients of one training step of each detector, into training.npz:

    python tests/recorded/record_training.py

Needs torch and torchvision. Recorded of each gradient are a sample and the largest magnitude, of each detector what its seed does not
determine: biases and statistics, whose last digits depend on the machine.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = map(str, (HERE.parent / "support", HERE.parents[1] / "bench" / "harness"))

from detector_cases import sample  # noqa: E402
from torch_twins import torch_training  # noqa: E402
from training_case import DETECTORS, training_case  # noqa: E402

from minicnn.layers import Norm2d  # noqa: E402


def main():
    arrays = {}
    for architecture in DETECTORS:
        model, batch, targets = training_case(architecture)
        losses, gradients, _ = torch_training(model, batch, targets)
        for path, layer in model.named_layers():
            for name in ("running_mean", "running_var") if isinstance(layer, Norm2d) else ("bias",):
                if getattr(layer, name, None) is not None:
                    arrays[f"{architecture}/vectors/{path}.{name}"] = getattr(layer, name)
        for name, loss in losses.items():
            arrays[f"{architecture}/losses/{name}"] = np.array(loss)
        for name, gradient in gradients.items():
            arrays[f"{architecture}/gradients/{name}"] = np.append(np.abs(gradient).max(), sample(gradient)[::3]).astype(np.float32)
        print(architecture, losses)
    np.savez_compressed(HERE / "training.npz", **arrays)


if __name__ == "__main__":
    main()
