"""What a network's file contains, as one document."""

import hashlib

import numpy as np

import minicnn
from minicnn.compression.cost_table import cost_table
from minicnn.compression.info import info


def test_a_model_and_its_file_have_the_same_document(tmp_path):
    model, path = minicnn.build("lenet5", rng=np.random.default_rng(0)), tmp_path / "lenet.npz"
    minicnn.save(path, model)
    document = info(path)
    assert document.pop("file") == "lenet.npz"
    assert document.pop("sha256") == hashlib.sha256(path.read_bytes()).hexdigest()
    stored = document.pop("stored")
    assert stored["dtype"] == "float32" and stored["file_bytes"] == path.stat().st_size
    assert stored["bytes"] == document["bytes"] and stored["layers"] == {row["path"]: row["bytes"] for row in document["layers"]}
    loaded = minicnn.load(path)
    assert document == info(loaded)
    assert document["architecture"] == "lenet5" and document["input_shape"] == [1, 28, 28] and document["repeats"] == {}
    assert [entry["path"] for entry in document["description"]] == [path for path, _ in loaded.named_layers() if path]
    costs = cost_table(loaded, (1, 28, 28))
    assert {key: document[key] for key in costs} == costs
