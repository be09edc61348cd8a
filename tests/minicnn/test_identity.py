"""What a checkpoint compares; the tests of training and of compression go through every entry."""

import numpy as np
import pytest

import minicnn
from minicnn.errors import InputError
from minicnn.identity import check_identity, network_identity, network_settings


def test_settings_hold_what_layers_hold_besides_arrays_and_arguments():
    settings = network_settings(minicnn.build("fasterrcnn_vgg16", min_size=600, roi_pooling="pool"))
    assert settings["architecture"] == "fasterrcnn_vgg16" and settings["transform.min_size"] == 600
    assert settings["rpn.anchor_sizes"] == [[128, 256, 512]] and settings["roi_heads.bbox_reg_weights"] == [10.0, 10.0, 5.0, 5.0]
    assert not any(name.startswith("backbone.") or name.endswith((".weight", ".training", ".backend")) for name in settings)


def test_neither_loading_nor_freezing_nor_running_changes_the_identity(tmp_path):
    model = minicnn.build("fasterrcnn_mobilenet_v3_large_320_fpn", rng=np.random.default_rng(0), num_classes=3, min_size=64, max_size=64,
                          box_head_width=16)
    before = network_identity(model)
    minicnn.save(tmp_path / "x.npz", model)
    again = minicnn.load(tmp_path / "x.npz", backend="numpy")
    again([np.zeros((3, 64, 64), np.float32)])
    again.freeze(2)
    again.train(np.random.default_rng(0)).eval()
    assert network_identity(again) == before


def test_every_difference_is_named_and_entries_that_older_files_lack_are_returned():
    ours = {"recipe": {"lr": 0.1, "epochs": 3}, "seed": 1, "data": 5, "weights": "a"}
    assert check_identity("c.npz", "training", ours, ours) == []
    assert check_identity("c.npz", "training", {key: ours[key] for key in ("recipe", "seed", "data")}, ours) == ["weights"]
    for saved, named in (({**ours, "seed": 2, "recipe": {"lr": 0.2, "epochs": 4}}, "hyperparameters lr, epochs; seed"),
                         ({**ours, "new": 1}, "new"), ({"seed": 1}, "hyperparameters; data"), (None, "hyperparameters; seed; data")):
        with pytest.raises(InputError, match=rf"c.npz of another training \(other {named}\), expected one with these options"):
            check_identity("c.npz", "training", saved, ours)
