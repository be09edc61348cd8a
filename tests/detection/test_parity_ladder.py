"""All five detectors against torchvision, rung by rung, on photographs of shapes on which ports fail."""

import pytest
from ladder import DETECTORS, PIXELS, RELATIVE, SCORE, differences, images
from sane import sane_detector

pytest.importorskip("torch")
pytest.importorskip("torchvision")
from torch_twins import torch_rungs, torch_twin  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.slow, pytest.mark.usefixtures("backend")]


@pytest.fixture(scope="module", params=[(architecture, image) for architecture in DETECTORS for image in images()], ids="-".join)
def case(request):
    """A detector, an image, and what torchvision computes; all backends in turn take it."""
    architecture, name = request.param
    image = images()[name]
    model = sane_detector(architecture, image)
    return model, image, torch_rungs(torch_twin(model), [image])


def test_every_rung_equals_torchvisions(case):
    model, image, theirs = case
    assert 20 <= len(theirs["found"][0][0]) < 100               # sane: dozens, and not cut off
    check(*differences(model, [image], theirs))


def test_a_batch_is_padded_as_torchvision_pads_it():
    image = images()["gray 300x451"]
    batch = [image, image[:, :220, :300].copy(), image[:, 60:, 40:420].copy(), image[:, 20:, 200:380].copy()]
    model = sane_detector("fasterrcnn_mobilenet_v3_large_320_fpn", image)
    theirs = torch_rungs(torch_twin(model), batch)
    assert len({tuple(size) for size in theirs["sizes"]}) == 4 and all(len(found[0]) > 5 for found in theirs["found"])
    check(*differences(model, batch, theirs))


@pytest.mark.parametrize("architecture, arguments", [
    ("fasterrcnn_vgg16", {"box_head_width": 4096, "min_size": 300, "num_classes": 4}),
    ("fasterrcnn_vgg16", {"last_pool": True, "min_size": 256, "max_size": 400, "num_classes": 5}),
    ("fasterrcnn_resnet50_fpn", {"norm": "batch", "min_size": 256, "max_size": 300}),
    ("fasterrcnn_resnet50_fpn", {"norm_eps": 0.0, "min_size": 256, "num_classes": 2}),
    ("fasterrcnn_mobilenet_v3_large_320_fpn", {"box_score_thresh": 0.2, "box_nms_thresh": 0.3, "box_detections_per_img": 7,
                                               "rpn_nms_thresh": 0.5, "rpn_score_thresh": 0.3, "image_mean": (0.5, 0.4, 0.3)}),
])
def test_other_settings_than_the_defaults(architecture, arguments):
    image = images()["gray 300x451"]
    model = sane_detector(architecture, image, **arguments)
    theirs = torch_rungs(torch_twin(model), [image])
    assert len(theirs["found"][0][0])
    check(*differences(model, [image], theirs))


def check(worst, unmatched):
    assert unmatched == {"proposals": 0, "detections": 0}
    assert worst.pop("anchors, px") == 0
    for name, difference in worst.items():
        assert difference <= (PIXELS if name.endswith("px") else SCORE if name.endswith("scores") else RELATIVE), (name, difference)
