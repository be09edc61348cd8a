"""Record what torchvision's detectors compute on the way from small images to boxes, into detectors.npz:

    python tests/recorded/record_detectors.py

Needs torch and torchvision. Of long arrays a sample is recorded.
"""

import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
sys.path[:0] = map(str, (HERE.parent / "support", HERE.parents[1] / "bench" / "harness"))

from detector_cases import CASES, SETTINGS, anchors_hash, sample  # noqa: E402
from ladder import differences, images  # noqa: E402
from sane import sane_detector, vectors  # noqa: E402
from torch_twins import torch_rungs, torch_twin  # noqa: E402


def main():
    arrays = {}
    small = {"gray 300x451": (slice(0, 300, 3), slice(0, 450, 3)), "trap 161x214": (slice(0, 161), slice(60, 160)),
             "tall 480x150": (slice(0, 480, 3), slice(0, 150, 3)), "tiny 30x40": (slice(0, 30), slice(0, 40))}
    for name, image in images().items():
        image = image[(slice(None), *small[name])]
        arrays[f"{name.split()[0]}/picture"] = np.round(image * 255).astype(np.uint8)
    for architecture, shown in CASES:
        seed, model, rungs = next(robust(architecture, arrays[f"{shown}/picture"].astype(np.float32) / 255))
        key = f"{architecture}/{shown}"
        arrays[f"{key}/seed"] = np.array(seed)
        for path, array in vectors(model).items():
            arrays[f"{key}/vectors/{path}"] = array
        arrays[f"{key}/sizes"] = np.array(rungs["sizes"])
        arrays[f"{key}/anchors"] = anchors_hash(rungs["anchors"])
        for rung in ("body", "maps", "objectness", "deltas"):
            for level, x in enumerate(rungs[rung]):
                arrays[f"{key}/{rung}/{level}"] = sample(x)
        for rung in ("pixels", "pooled", "logits", "box_deltas"):
            arrays[f"{key}/{rung}"] = sample(rungs[rung])
        arrays[f"{key}/proposals"] = rungs["proposals"][0]
        for part, x in zip(("boxes", "scores", "labels"), rungs["found"][0]):
            arrays[f"{key}/found/{part}"] = x
        print(key, "seed", seed, "found", len(x))
    np.savez_compressed(HERE / "detectors.npz", **arrays)


def robust(architecture, image):
    """Yield seeds whose proposals and detections stay the same when the image changes in its last digits, with model and rungs."""
    for seed in range(20):
        model = sane_detector(architecture, image, seed, **SETTINGS)
        rungs = torch_rungs(torch_twin(model), [image])
        noise = np.random.default_rng(0)
        for size in (0, 2e-6, 2e-6, 2e-6):
            changed = (image + size * noise.standard_normal(image.shape)).astype(np.float32)
            worst, unmatched = differences(model, [changed], rungs)
            if any(unmatched.values()) or worst["boxes, px"] > 0.02 or worst["scores"] > 5e-4:
                break
        else:
            yield seed, model, rungs


if __name__ == "__main__":
    main()
