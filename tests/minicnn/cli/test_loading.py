"""Where the checkpoint of unfinished work lies."""

import pytest

from minicnn.cli.loading import checkpoint_path


@pytest.mark.parametrize("out, expected", [("a/net.npz", "a/net.checkpoint.npz"), ("net", "net.checkpoint.npz")])
def test_a_checkpoint_lies_beside_the_output(out, expected):
    assert checkpoint_path(out) == expected
