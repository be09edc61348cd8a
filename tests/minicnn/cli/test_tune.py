"""minicnn tune."""

import json

import numpy as np
import pytest
from calibration_cases import RATES

import minicnn
from minicnn.cli import tune as tune_verb
from minicnn.fast import tuned
from minicnn.fast.timing import calibration, profile, tune
from minicnn.layers import Conv2d, Linear


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    """The file of a LeNet whose convolutions are 3 x 3, so that there is something to choose."""
    model, rng = minicnn.build("lenet5", rng=np.random.default_rng(0)), np.random.default_rng(1)
    for path, layer in (("conv1", Conv2d(1, 16, 3, padding=1, rng=rng)), ("conv2", Conv2d(16, 16, 3, padding=1, rng=rng)),
                        ("fc1", Linear(16 * 7 * 7, 120, rng=rng))):
        model.replace_layer(path, layer)
    path = tmp_path_factory.mktemp("network") / "network.npz"
    minicnn.save(path, model)
    return path


@pytest.fixture(autouse=True)
def no_speeds(monkeypatch):
    """The machine's two speeds take seconds to measure."""
    monkeypatch.setattr(profile, "product_speed", lambda backend: 100.0)
    monkeypatch.setattr(profile, "memory_speed", lambda backend: 10.0)


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of its own."""
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "cache"))
    tuned.read.cache_clear()
    yield tmp_path / "cache" / "tuned.json"
    tuned.read.cache_clear()


@pytest.fixture
def wins(monkeypatch):
    """wins(text): in every contest the choice of that description takes 1 ms, the others 10."""
    def wins(text):
        trial = tune.Trial

        class Fixed(trial):
            def __init__(self, operation, backend, choices):
                super().__init__(operation, backend, choices)
                self.speeds = {id(call): 1.0 if str(choice) == text else 10.0 for call, choice in zip(self.calls, choices)}
                contests.append(self)
        contests = []
        monkeypatch.setattr(tune, "Trial", Fixed)
        monkeypatch.setattr(tune, "interleaved_milliseconds", lambda calls, runs, *rest: [
            contests[-1].speeds.get(id(call), 3.0) if contests else 3.0 for call in calls])
        return contests
    return wins


def tune_document(run, *argv):
    status, out, err = run("tune", *argv, "--json", "-")
    assert status == 0
    return json.loads(out)


def test_the_fastest_is_kept_and_used_and_forgotten(run, network, backend, cache, wins):
    if backend == "reference":
        pytest.skip("has no choice")
    wins("direct")
    before = minicnn.load(network)(image())
    found = tune_document(run, network, "--runs", "1")
    row, = found["convolutions"]
    assert row["layers"] == ["conv2"] and row["algorithm"] == "direct" and row["rules"].startswith("winograd")
    assert (row["ms"], row["rules_ms"], row["before"], row["result"]) == (1.0, 10.0, False, [1, 16, 14, 14])
    assert len(row["tried"]) >= 3 and found["backend"] == backend and cache.exists()

    after = minicnn.load(network)(image())
    assert np.abs(after - before).max() <= 1e-5 * np.abs(before).max()
    steps = json.loads(run("bench", network, "--runs", "1", "--json", "-")[1])["steps"]
    assert next(step for step in steps if step["name"] == "conv2")["algorithm"] == "direct"
    status, out, err = run("tune", "--forget")
    assert status == 0 and str(cache) in out and "was removed" in out and not cache.exists()
    steps = json.loads(run("bench", network, "--runs", "1", "--json", "-")[1])["steps"]
    assert next(step for step in steps if step["name"] == "conv2")["algorithm"].startswith("winograd")
    assert "is not there" in run("tune", "--forget")[1]


def image():
    return np.random.default_rng(2).random((1, 1, 28, 28), np.float32)


def test_it_runs_for_real_and_its_lines_fit_80_columns(run, network, backend, cache):
    if backend == "reference":
        pytest.skip("has no choice")
    status, out, err = run("tune", network, "--runs", "3")
    lines = out.splitlines()
    assert status == 0 and all(len(line) <= 80 for line in lines[:-1]) and lines[-1] == f"kept in {cache}"
    assert lines[0] == f"lenet5, 28x28, by {backend}" and any(line.startswith("conv2 ") for line in lines)
    entry, = next(iter(json.loads(cache.read_text())["settings"].values())).popitem()[1].values()
    least = min(entry["tried"].values())
    assert entry["ms"] == entry["rules_ms"] or entry["ms"] == least <= 0.97 * entry["rules_ms"]
    assert all(milliseconds > 0 for milliseconds in entry["tried"].values())


def test_what_was_measured_is_not_measured_again_unless_asked(run, network, wins):
    contests = wins("direct")
    assert tune_document(run, network, "--backend", "numpy", "--runs", "1")["convolutions"][0]["before"] is False
    assert len(contests) == 1
    row, = tune_document(run, network, "--backend", "numpy", "--runs", "1")["convolutions"]
    assert row["before"] is True and row["algorithm"] == "direct" and len(contests) == 1
    text = run("tune", network, "--backend", "numpy", "--runs", "1")[1]
    assert "1 of 1 changed; 1 were measured before" in text
    assert tune_document(run, network, "--backend", "numpy", "--runs", "1", "--again")["convolutions"][0]["before"] is False
    assert len(contests) == 2


def test_after_ctrl_c_what_was_measured_is_there(run, tmp_path, cache, monkeypatch):
    model = minicnn.build("fasterrcnn_mobilenet_v3_large_320_fpn", num_classes=3, box_head_width=16, min_size=64,
                          rng=np.random.default_rng(0))
    minicnn.save(tmp_path / "detector.npz", model)
    measure, turns = tune.measure, []

    def interrupted(*args):
        turns.append(1)
        if len(turns) == 4:
            raise KeyboardInterrupt
        return measure(*args)
    monkeypatch.setattr(tune, "measure", interrupted)
    status, out, err = run("tune", tmp_path / "detector.npz", "--runs", "1", "--backend", "numpy")
    assert status == 130 and out == ""
    sizes, = json.loads(cache.read_text())["settings"].values()
    assert sum(map(len, sizes.values())) == 3 and [path.name for path in cache.parent.iterdir()] == ["tuned.json"]
    kept = cache.read_text()

    turns.clear()
    turns.extend([1] * 4)
    rows = tune_document(run, tmp_path / "detector.npz", "--runs", "1", "--backend", "numpy")["convolutions"]
    assert sum(row["before"] for row in rows) == 3 and len(rows) == len(turns) - 4 + 3 > 10
    sizes = json.loads(cache.read_text())["settings"].popitem()[1]
    for key, entries in json.loads(kept)["settings"].popitem()[1].items():
        assert entries.items() <= sizes[key].items()
    names = [(layer, *row["result"]) for row in rows for layer in row["layers"]]
    assert len(set(names)) == len(names)
    lines = run("tune", tmp_path / "detector.npz", "--runs", "1", "--backend", "numpy")[1].splitlines()
    row = next(line for line in lines if line.startswith("rpn.head.conv.0.0 ")).split()
    assert row[1] == "1x2"                                          # on the other maps it is the pyramid's last convolutions over again
    assert all(len(line) <= 80 for line in lines[:-1])


def test_the_verdict():
    assert tune_verb.verdict(100.0, 90.0) == "10.0 ms won" and tune_verb.verdict(100.0, 101.0) == "0.0 ms won"
    assert "--again" in tune_verb.verdict(100.0, 104.0)


@pytest.mark.parametrize("options, expected", [
    ([], "--forget"), (["{network}", "--backend", "reference"], "reference"), (["none.npz"], "none.npz"),
    (["{network}", "--json", "none/x.json"], "none/x.json"), (["{network}", "--size", "5"], "600x800")])
def test_what_cannot_be_done_is_one_line(refused, network, cache, here, options, expected):
    cache.parent.mkdir()
    assert expected in refused("tune", *[option.format(network=network) for option in options])


def test_a_cache_that_cannot_be_written_is_an_error_before_the_work(refused, network, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINICNN_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(tune_verb, "planned_networks", lambda *args: pytest.fail("it began"))
    assert str(tmp_path / "file") in refused("tune", network)


def test_the_speeds_of_the_machine_are_written_without_a_network(run, refused, here, monkeypatch, cache):
    cache.parent.mkdir()
    monkeypatch.setattr(calibration, "calibrate", lambda backend: calibration.write_rates(
        calibration.rates_file(), calibration.machine_key(backend), RATES) or RATES)
    status, out, err = run("tune", "--rates-out", "board.json", "--backend", "numpy")
    assert status == 0 and out == "" and err.startswith("minicnn tune: board.json has the speeds of ") and err.count("\n") == 1
    assert calibration.read_machine("board.json")[1:] == ("numpy", RATES) and not cache.exists()
    assert "no/board.json" in refused("tune", "--rates-out", "no/board.json")
    assert "got the backend 'reference'" in refused("tune", "--rates-out", "other.json", "--backend", "reference")
    assert "--rates-out" in refused("tune")
