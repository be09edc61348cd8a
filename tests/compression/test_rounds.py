"""Rounds of pruning: targets are met and not overshot, records are true, resumed runs end alike."""

import copy
import json

import numpy as np
import pytest
from numpy.testing import assert_array_equal

import minicnn
from minicnn.archive import describe, restore
from minicnn.compression.channels import prune_group
from minicnn.compression.cost_table import cost_table
from minicnn.compression.criteria import METHODS
from minicnn.compression.filter_statistics import Clusters
from minicnn.compression.rounds import PruningOptions, PruningTarget, plan_round, prune_in_rounds, removed_counts, trim
from minicnn.errors import InputError
from minicnn.hyperparameters import Hyperparameters
from minicnn.layers import Linear, ReLU
from minicnn.models.classifier import Classifier
from minicnn.train_classifier import train_classifier

PLAIN, AT_LEAST_TWO = PruningOptions(compensate=False, minimum=2), PruningOptions(minimum=2)
FIRST = {"conv1": 6, "conv2": 16, "fc1": 120, "fc2": 84}      # widths before any round


def lenet(seed=0):
    """LeNet-5 whose filters differ in scale, so that there are clusters to find."""
    model = minicnn.build("lenet5", rng=np.random.default_rng(seed))
    rng = np.random.default_rng(seed + 100)
    for path in FIRST:
        model.get_layer(path).weight *= rng.uniform(0.2, 2, (FIRST[path], *(1,) * (model.get_layer(path).weight.ndim - 1)))
    return model


def chain(*widths):
    """Linear layers of these widths, all weights 1."""
    layers = {}
    for number, (a, b) in enumerate(zip(widths, widths[1:]), start=1):
        layers.update({f"fc{number}": Linear(a, b), f"relu{number}": ReLU()})
        layers[f"fc{number}"].weight[:] = 1
    return Classifier((widths[0],), layers)


def size(model, kind="parameters"):
    return cost_table(model, model.input_shape)[kind]


def arrays(model):
    return {path: array.copy() for path, array in model.named_arrays()}


def widths(model):
    return {group.producers[0]: len(model.get_layer(group.producers[0]).weight) for group in model.channel_groups()}


def assert_same(a, b):
    assert list(a) == list(b)
    for path in a:
        assert_array_equal(a[path], b[path])


def noise(model, number):
    """Stands in for fine-tuning: moves the weights by what depends on them and the round."""
    rng = np.random.default_rng(number)
    for _, array in model.named_parameters():
        array += rng.normal(0, 0.05, array.shape).astype(np.float32) * np.abs(array).mean()
    return [1.0 / number]


# targets

@pytest.mark.parametrize("kind, share", [
    ("parameters", 0.9), ("parameters", 0.5), ("parameters", 0.1), ("macs", 0.6), ("macs", 0.2)])
@pytest.mark.parametrize("method", METHODS)
def test_the_target_is_met_and_one_filter_less_would_miss_it(kind, share, method):
    model = lenet()
    target = PruningTarget(kind, share * size(model, kind))
    states = [copy.deepcopy(model)]
    rounds = prune_in_rounds(model, target, PLAIN._replace(method=method), seed=0,
                      on_round=lambda model, rounds: states.append(copy.deepcopy(model)))
    assert size(model, kind) == rounds[-1][kind] <= target.value
    assert [entry["parameters"] for entry in rounds] == [size(state) for state in states[1:]]
    assert all(size(state, kind) > target.value for state in states[:-1])

    if method == "statistics":      # put back the last one of its order
        steps = rounds[-1]["groups"]
        gone = {step["path"]: [step["filters"].index(number) for number in step["removed"]] for step in steps}
        _, path, index = max((scores(step)[index], step["path"], index) for step in steps for index in gone[step["path"]])
        gone[path].remove(index)
        trial = states[-2]
        for group in trial.channel_groups():
            prune_group(trial, group, gone.get(group.producers[0], []))
        assert size(trial, kind) > target.value


def scores(step):
    """Mean square over the mean of the layer, from its record or clusters."""
    square = np.square(step["mean"]) + step["variance"]
    return square / square.mean()


@pytest.mark.parametrize("share", [0.97, 0.8])
def test_the_only_round_takes_the_first_of_the_order(share):
    """Everything the weak clusters hold, least mean square over the layer's mean first, up to the target."""
    model = lenet()
    plan = plan_round(model, PruningTarget("parameters", 1), PLAIN, np.random.default_rng([0, 1]))     # out of reach: the whole plan
    order = []
    for step in plan:
        score = scores(step["clusters"]._asdict())
        order += [(score[index], step["group"].producers[0], index) for index in step["remove"]]
    order.sort()
    rounds = prune_in_rounds(model, PruningTarget("parameters", share * 61706), PLAIN, seed=0)
    assert len(rounds) == 1
    removed = {(step["path"], index) for step in rounds[0]["groups"] for index in step["removed"]}
    assert removed == {(path, index) for _, path, index in order[:len(removed)]}


@pytest.mark.parametrize("value, expected", [
    (49, [[0], []]), (41, [[0], []]), (40, [[0], [0]]), (35, [[0], [0]]), (34, [[0, 1], [0]]), (27, [[0, 1], [0]]),
    (26, [[0, 1], [0, 1]]), (15, [[0, 1, 2], [0, 1]]), (11, [[0, 1, 2], [0, 1, 2]]), (10, [[0, 1, 2], [0, 1, 2]])])
def test_trim_by_hand(value, expected):
    """Widths a, b have 5a + ab + 3b + 2 parameters: 50, 41, 35, 27, 22, 15, 11 along the order a0 b0 a1 b1 a2 b2.

    Over their means the squares are .4 .8 1.2 1.6 and .6 1 1.3 1.1, so the order alternates though those of a are a hundred times
    as large. A target of 10 is out of reach: the plan stays whole.
    """
    model = chain(4, 4, 4, 2)
    groups, squares = model.channel_groups(), ([100.0, 200, 300, 400], [1.5, 2.5, 3.25, 2.75])
    plan = [{"group": group, "clusters": Clusters(np.zeros(4), np.array(square), None, 0, 0), "remove": np.arange(3)}
            for group, square in zip(groups, squares)]
    before = arrays(model)
    trim(model, plan, PruningTarget("parameters", value))
    assert [step["remove"].tolist() for step in plan] == expected
    assert_same(arrays(model), before)


def test_a_target_that_is_met_needs_no_round():
    model = lenet()
    before = arrays(model)
    assert prune_in_rounds(model, PruningTarget("parameters", 61706), PLAIN, seed=0, finetune=pytest.fail, evaluate=pytest.fail) == []
    assert_same(arrays(model), before)


@pytest.mark.parametrize("minimum", [1, 2, 5])
def test_every_layer_keeps_the_minimum(minimum):
    """The least that is reachable leaves just the minimum everywhere."""
    model = lenet()
    m = minimum
    least = 26 * m + (25 * m + 1) * m + (25 * m + 1) * m + (m + 1) * m + (m + 1) * 10
    rounds = prune_in_rounds(model, PruningTarget("parameters", least), PLAIN._replace(minimum=minimum), seed=0)
    assert widths(model) == dict.fromkeys(FIRST, minimum)
    assert size(model) == rounds[-1]["parameters"] == least
    with pytest.raises(InputError, match=f"expected at least {least}: .* keeps {minimum} channels. Choose"):
        prune_in_rounds(lenet(), PruningTarget("parameters", least - 1), PLAIN._replace(minimum=minimum), seed=0)


@pytest.mark.parametrize("kind, value, options, words", [
    ("parameters", 100, PLAIN, "got a target of 100 parameters, expected at least 292: .* keeps 2 channels. Choose"),
    ("macs", 100, PLAIN, "got a target of 100 macs, expected at least 49324: "),     # 39200 + 10000 + 124
    ("parameters", 17287, PLAIN._replace(linear=False), "at least 17288: .* keeps 2 channels and linear layers all of theirs"),
])
def test_an_unreachable_target_is_refused_before_anything_is_changed(kind, value, options, words):
    model = lenet()
    before = arrays(model)
    with pytest.raises(InputError, match=words):
        prune_in_rounds(model, PruningTarget(kind, value), options, seed=0, on_round=pytest.fail)
    assert_same(arrays(model), before)


def test_layers_below_the_minimum_are_left_alone():
    model = lenet()
    prune_group(model, model.channel_groups()[0], [1, 2, 3, 4, 5])
    prune_in_rounds(model, PruningTarget("parameters", 20000), PLAIN._replace(minimum=3), seed=0)
    assert widths(model)["conv1"] == 1 and min(widths(model).values()) == 1
    assert sorted(widths(model).values())[1] >= 3


def test_without_linear_the_neurons_stay():
    model = lenet()
    rounds = prune_in_rounds(model, PruningTarget("macs", 100000), PLAIN._replace(linear=False), seed=0)
    left = widths(model)
    assert left["fc1"] == 120 and left["fc2"] == 84 and left["conv2"] < 16
    assert {step["path"] for entry in rounds for step in entry["groups"]} <= {"conv1", "conv2"}
    assert model.fc1.in_features == 25 * left["conv2"]


# accuracy

def test_accuracy_stops_before_it_falls_below_and_returns_the_last_good_network():
    model, states, tuned = lenet(), [], []

    def finetune(model, number):
        tuned.append(number)
        return noise(model, number)

    rounds = prune_in_rounds(model, PruningTarget("accuracy", 0.1), PLAIN, seed=0, finetune=finetune,
                      evaluate=lambda model: size(model) / 61706,
                      on_round=lambda model, rounds: states.append((arrays(model), len(rounds))))
    assert [count for _, count in states] == list(range(1, len(rounds) + 1)) and len(rounds) >= 1
    assert tuned == list(range(1, len(rounds) + 2))          # one more was tried
    assert all(entry["accuracy"] >= 0.1 for entry in rounds) and size(model) / 61706 == rounds[-1]["accuracy"]
    assert_same(arrays(model), states[-1][0])
    assert model.architecture == "lenet5" and model(np.zeros((1, 1, 28, 28), np.float32)).shape == (1, 10)


def test_an_accuracy_missed_at_once_returns_the_network_as_it_came():
    model = lenet()
    before = arrays(model)
    assert prune_in_rounds(model, PruningTarget("accuracy", 0.5), PLAIN, seed=0, evaluate=lambda model: 0.4, finetune=noise) == []
    assert_same(arrays(model), before)


def test_an_accuracy_never_missed_ends_with_the_smallest_network():
    model = lenet()
    prune_in_rounds(model, PruningTarget("accuracy", 0.5), PLAIN, seed=0, evaluate=lambda model: 1.0)
    assert widths(model) == dict.fromkeys(FIRST, 2)


# controls

@pytest.mark.parametrize("method", ["l1", "fpgm", "random"])
def test_controls_remove_as_many_of_each_layer_and_round(method):
    target = PruningTarget("parameters", 12000)
    rounds = prune_in_rounds(lenet(), target, PLAIN, seed=0, finetune=noise)
    counts = removed_counts(rounds)
    assert len(counts) > 1 and counts == [{step["path"]: len(step["removed"]) for step in entry["groups"]} for entry in rounds]
    model = lenet()
    like = prune_in_rounds(model, target, PLAIN._replace(method=method), seed=3, counts=counts, finetune=noise)
    assert removed_counts(like) == counts
    assert [entry["parameters"] for entry in like] == [entry["parameters"] for entry in rounds]
    assert [[step["removed"] for step in entry["groups"]] for entry in like] != [
        [step["removed"] for step in entry["groups"]] for entry in rounds]


@pytest.mark.parametrize("method", METHODS)
def test_a_control_takes_those_of_least_score(method):
    model, counts = lenet(), [{"conv2": 5, "fc2": 10}]
    original = copy.deepcopy(model)
    rounds = prune_in_rounds(model, PruningTarget("parameters", 0), PLAIN._replace(method=method), seed=0, counts=counts)
    removed = {step["path"]: step["removed"] for step in rounds[0]["groups"]}
    assert {path: len(gone) for path, gone in removed.items()} == counts[0] and len(rounds) == 1
    if method in ("l1", "fpgm"):
        for path, gone in removed.items():
            assert set(gone) == set(np.argsort(METHODS[method](original.get_layer(path).weight))[:len(gone)])


def test_random_depends_on_the_seed_and_the_round():
    def removed(seed, round):
        """By that round, were it the first to change anything."""
        before = [{"groups": []}] * (round - 1)
        return prune_in_rounds(lenet(), PruningTarget("parameters", 0), PLAIN._replace(method="random"), seed=seed, rounds=before,
                        counts=[{"fc1": 9}] * round)[-1]["groups"][0]["removed"]

    assert removed(0, 1) == removed(0, 1)
    assert len({tuple(removed(seed, round)) for seed in (0, 1) for round in (1, 2)}) == 4


# the record

def test_what_is_recorded_is_true_and_speaks_of_the_original_network():
    """Every filter carries its number as its bias through all rounds."""
    model = lenet()
    for path, count in FIRST.items():
        model.get_layer(path).bias[:] = np.arange(count)
    states = [copy.deepcopy(model)]
    rounds = prune_in_rounds(model, PruningTarget("parameters", 8000), PLAIN, seed=0, evaluate=size,
                             finetune=lambda model, number: [number], on_round=lambda model, rounds: states.append(copy.deepcopy(model)))
    assert len(rounds) > 1 and len({step["path"] for entry in rounds for step in entry["groups"]}) > 1
    for before, after, entry in zip(states, states[1:], rounds):
        assert list(entry) == ["groups", "accuracy_pruned", "losses", "accuracy", "parameters", "macs"]
        assert entry["losses"] == [rounds.index(entry) + 1]
        assert entry["accuracy"] == entry["accuracy_pruned"] == entry["parameters"] == size(after)
        assert entry["macs"] == size(after, "macs")
        touched = {step["path"]: step for step in entry["groups"]}
        for path in FIRST:
            numbers, left = before.get_layer(path).bias, after.get_layer(path).bias
            if path not in touched:
                assert_array_equal(numbers, left)
                continue
            step = touched[path]
            assert step["filters"] == numbers.tolist()
            assert step["removed"] == np.setdiff1d(numbers, left).tolist()
            weight = before.get_layer(path).weight.reshape(len(numbers), -1).astype(np.float64)
            np.testing.assert_allclose(step["mean"], weight.mean(axis=1), rtol=1e-12, atol=1e-15)
            np.testing.assert_allclose(step["variance"], weight.var(axis=1), rtol=1e-12)
            weak = [number for number, label in zip(step["filters"], step["labels"]) if label == step["weak"]]
            assert set(step["removed"]) <= set(weak)
            assert entry is rounds[-1] or len(step["removed"]) == min(len(weak), len(numbers) - 2)
    assert json.loads(json.dumps(rounds)) == rounds


def test_without_finetune_and_evaluate_the_record_says_so():
    entry = prune_in_rounds(lenet(), PruningTarget("parameters", 60000), PLAIN, seed=0)[0]
    assert entry["losses"] == [] and entry["accuracy"] is None and entry["accuracy_pruned"] is None


def test_filters_all_alike_have_no_silhouette():
    model = chain(3, 4, 2)
    rounds = prune_in_rounds(model, PruningTarget("parameters", 14), PLAIN, seed=0)
    assert rounds[0]["groups"][0]["silhouette"] is None
    assert rounds[0]["groups"][0]["removed"] == [0, 1] and size(model) == 14


def test_a_given_number_of_clusters():
    entry = prune_in_rounds(lenet(), PruningTarget("parameters", 60000), PLAIN._replace(n_clusters=3), seed=0)[0]
    assert all(set(step["labels"]) == {0, 1, 2} for step in entry["groups"])


def test_compensation_is_an_option():
    """fc3 reads fc2: the mean answer over the images is kept only with it."""
    images = np.random.default_rng(1).random((20, 1, 28, 28), np.float32)
    moved = {}
    for compensate in (True, False):
        model = lenet()
        for path in FIRST:
            model.get_layer(path).bias += 0.5       # the means are not near zero
        expected = model(images).mean(axis=0)
        prune_in_rounds(model, PruningTarget("parameters", 0), PruningOptions("l1", compensate=compensate), seed=0, images=images,
                 counts=[{"fc2": 40}])
        moved[compensate] = np.abs(model(images).mean(axis=0) - expected).max()
    assert moved[True] < 1e-5 < 1e-2 < moved[False]


# once more

class Interrupted(Exception):
    pass


def run(model, target, rounds=(), options=AT_LEAST_TWO, finetune=noise, stop=None, **more):
    """A run with compensation; ``stop``: interrupted after that round, what its checkpoint would hold."""
    kept = []

    def keep(model, rounds):
        kept[:] = copy.deepcopy(model), json.loads(json.dumps(rounds))
        if len(rounds) == stop:
            raise Interrupted

    images = np.random.default_rng(1).random((8, 1, 28, 28), np.float32)
    try:
        return model, prune_in_rounds(model, target, options, seed=0, images=images, finetune=finetune, rounds=rounds, on_round=keep,
                               **more)
    except Interrupted:
        return kept


def test_same_seed_same_network_and_record():
    (a, first), (b, second) = (run(lenet(), PruningTarget("parameters", 9000)) for _ in range(2))
    assert_same(arrays(a), arrays(b))
    assert first == second


@pytest.mark.parametrize("stop", [1, 2])
@pytest.mark.parametrize("target", [PruningTarget("parameters", 6000), PruningTarget("macs", 60000)])
def test_a_resumed_run_is_bit_identical(stop, target):
    whole, expected = run(lenet(), target)
    assert len(expected) > stop
    model, rounds = run(lenet(), target, stop=stop)
    assert len(rounds) == stop
    model, rounds = run(model, target, rounds)
    assert rounds == expected
    assert_same(arrays(model), arrays(whole))


@pytest.mark.parametrize("target, more", [
    (PruningTarget("parameters", 9000), {}),
    (PruningTarget("parameters", 0), {"options": PruningOptions("l1"), "counts": [{"fc2": 20}, {"conv1": 1}]}),
], ids=["statistics", "counts"])
def test_a_run_resumed_from_a_file_is_bit_identical(target, more):
    """Real fine-tuning, and the network built again from its arrays and description, as the command line does."""
    rng = np.random.default_rng(2)
    images, labels = rng.random((32, 1, 28, 28), np.float32), rng.integers(0, 10, 32)

    def finetune(model, number):
        return train_classifier(model, images, labels, Hyperparameters(epochs=1, batch_size=8, warmup_steps=0), [0, number])

    whole, expected = run(lenet(), target, finetune=finetune, **more)
    assert len(expected) > 1
    model, rounds = run(lenet(), target, finetune=finetune, stop=1, **more)
    model = restore(arrays(model), json.loads(json.dumps(describe(model))))
    model, rounds = run(model, target, rounds, finetune=finetune, **more)
    assert_same(arrays(model), arrays(whole))
    assert rounds == expected


def test_resuming_a_finished_run_changes_nothing():
    model, rounds = run(lenet(), PruningTarget("parameters", 9000))
    before = arrays(model)
    assert run(model, PruningTarget("parameters", 9000), rounds, finetune=pytest.fail)[1] == rounds
    assert_same(arrays(model), before)
