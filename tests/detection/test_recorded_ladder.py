"""All five detectors against what torchvision computed on small images, recorded by ``tests/recorded/record_detectors.py``."""

from pathlib import Path

import numpy as np
import pytest
from detector_cases import CASES, SETTINGS, anchors_hash, sample
from ladder import PIXELS, RELATIVE, SCORE, box_outputs, match, our_rungs, relative
from sane import sane_detector

from minicnn import functional as F

RECORDED = np.load(Path(__file__).parents[1] / "recorded" / "detectors.npz")


def under(key):
    """{name: array} of what is recorded under a key."""
    return {name.removeprefix(f"{key}/"): RECORDED[name] for name in RECORDED.files if name.startswith(f"{key}/")}


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def case(request):
    """A detector, its image, and what was recorded; all backends in turn take it."""
    architecture, name = request.param
    recorded = under(f"{architecture}/{name}")
    image = RECORDED[f"{name}/picture"].astype(np.float32) / 255
    vectors = {name.removeprefix("vectors/"): array for name, array in recorded.items() if name.startswith("vectors/")}
    return sane_detector(architecture, image, int(recorded["seed"]), vectors, **SETTINGS), image, recorded


def test_every_rung_equals_what_torchvision_computed(case, backend):
    model, image, recorded = case
    ours = our_rungs(model, [image])

    assert ours["sizes"] == [tuple(size) for size in recorded["sizes"].tolist()]
    assert relative(sample(ours["pixels"]), recorded["pixels"]) <= RELATIVE
    for rung in ("body", "maps", "objectness", "deltas"):
        levels = [name for name in recorded if name.startswith(f"{rung}/")]
        assert len(ours[rung]) == len(levels) or backend != "reference" and rung == "body"
        for level, x in enumerate(ours[rung]):
            assert relative(sample(x), recorded[f"{rung}/{level}"]) <= RELATIVE, (rung, level)
    assert (anchors_hash(ours["anchors"]) == recorded["anchors"]).all()

    batch = model.transform([image])
    proposals = model.rpn(ours["maps"], batch)[0]
    assert match((proposals, None, None), (recorded["proposals"], None, None))[2] == 0
    pooled = model.roi_heads.box_roi_pool(ours["maps"][:model.pooled_maps], [recorded["proposals"]], batch.sizes)
    assert relative(sample(pooled), recorded["pooled"]) <= RELATIVE
    logits, deltas = box_outputs(model, pooled)
    assert relative(sample(logits), recorded["logits"]) <= RELATIVE
    assert relative(sample(deltas), recorded["box_deltas"]) <= RELATIVE
    assert np.abs(F.softmax(logits).sum(axis=1) - 1).max() < 1e-5

    found = tuple(recorded[f"found/{part}"] for part in ("boxes", "scores", "labels"))
    assert len(found[0]) >= 20
    pixels, score, alone = match(ours["found"][0], found)
    assert alone == 0 and pixels <= PIXELS and score <= SCORE
