"""Running by plans: the network may change, threads may come at once, and memory stays bounded."""

import gc
import threading
import weakref

import numpy as np
import pytest
from numeric_checks import BACKENDS, assert_close
from numpy.testing import assert_array_equal
from small_networks import TOLERANCE, Composite, arrays_of, assert_runs_like_its_layers, block, conv, draw, norm, plain, plan_of, pyramid

import minicnn
from minicnn.compression.channels import prune_group
from minicnn.fast import run as engine_of
from minicnn.fast.plan import compile
from minicnn.functional import dispatch
from minicnn.functional.dispatch import run, use
from minicnn.hooks import timed, watch
from minicnn.layers import Dropout, Flatten, Hardswish, Layer, Linear, MaxPool2d, ReLU, Sequential
from minicnn.models.classifier import Classifier
from minicnn.optim import SGD

pytestmark = pytest.mark.usefixtures("engine")

SHAPE = (2, 16, 12, 9)


def network(seed=0):
    """Something of everything: (N, 16, 12, 9) -> (N, 5)."""
    return Classifier(SHAPE[1:], {
        "stem": conv(16, 24, 3, 1, 1, seed=seed), "norm": norm(24, seed), "relu": ReLU(), "pool": MaxPool2d(2),
        "body": Sequential([conv(24, 13, 1, seed=seed), Dropout(0.5), Hardswish()]),
        "flatten": Flatten(), "top": Linear(13 * 6 * 4, 5, rng=np.random.default_rng(seed))})


def is_planned(model):
    """Whether its latest run was by a plan."""
    return plan_of(model) is not None


def plans(model):
    return engine_of._finished[model].plans


# the network may change


def test_arrays_are_read_only_while_there_is_a_plan():
    model, x = network(), draw(*SHAPE)
    assert_runs_like_its_layers(model, x)
    for path, array in model.named_arrays():
        before = array.copy()
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0
        with pytest.raises(ValueError, match="read-only"):
            array += 1
        assert_array_equal(array, before, path)


def changed_by_assigning(model):
    model.stem.weight = 2 * model.stem.weight


def changed_bias(model):
    model.top.bias = model.top.bias + 1


def without_bias(model):
    model.stem.bias = None


def changed_statistics(model):
    model.norm.running_var = model.norm.running_var + 1


def changed_by_loading(model):
    model.load_arrays({path: array + 1 for path, array in model.named_arrays()})


def changed_by_loading_a_part(model):
    model.load_arrays({"norm.bias": np.ones(24)}, strict=False)


def another_layer(model):
    model.replace_layer("body.0", conv(24, 13, 1, seed=5))


def another_activation(model):
    model.replace_layer("body.2", ReLU())


def a_layer_that_no_plan_can_hold(model):
    model.replace_layer("relu", Composite(np.tanh))


def a_layer_more(model):
    model.replace_layer("relu", Sequential([ReLU(), Hardswish()]))


def another_setting(model):
    model.norm.eps = 0.5


def one_channel_less(model):
    prune_group(model, model.channel_groups()[0], [3])


def trained_further(model):
    model.train(np.random.default_rng(0))
    y, pullback = model.vjp(draw(*SHAPE, seed=1))
    pullback(y)
    SGD(model, lr=0.01).step()
    model.eval()


CHANGES = [changed_by_assigning, changed_bias, without_bias, changed_statistics, changed_by_loading, changed_by_loading_a_part,
           another_layer, another_activation, a_layer_that_no_plan_can_hold, a_layer_more, another_setting, one_channel_less,
           trained_further]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_change_is_noticed(change):
    model, x = network(), draw(*SHAPE)
    before = model(x)
    change(model)
    expected = plain(model, x)
    assert np.abs(expected - before).max() > 1e-3
    assert_close(model(x), expected, 1e-5)
    assert_close(model(x), expected, 1e-5)
    assert is_planned(model) == (change is not a_layer_that_no_plan_can_hold)


@pytest.mark.parametrize("change", [changed_by_loading, trained_further])
def test_parts_of_arrays_may_be_assigned_and_then_written(change):
    """A part of a read-only array cannot be made writeable: it becomes a copy."""
    model, x = Sequential({"body": conv(16, 5), "top": conv(5, 3), "norm": norm(3)}), draw(*SHAPE)
    run(model, x)
    model.body.weight, model.body.bias, model.top.weight = model.body.weight[:4], model.body.bias[1:], model.top.weight[:, 1:]
    before = run(model, x)
    change(model)
    assert np.abs(assert_runs_like_its_layers(model, x) - before).max() > 1e-3


def test_training_mode_runs_the_layers_and_its_steps_are_noticed():
    model, x = network(), draw(*SHAPE)
    model(x)
    model.train(np.random.default_rng(0))
    assert all(array.flags.writeable for _, array in model.named_arrays())
    moved = model.norm.running_mean.copy()
    dropped = [model(x) for _ in range(2)]
    assert (dropped[0] != dropped[1]).any() and (model.norm.running_mean != moved).all()
    model.eval()
    assert_runs_like_its_layers(model, x)


def test_a_part_that_another_network_shares_is_not_taken_for_unchanged():
    """Loading thaws the arrays; the first run freezes them again, but the second network's plan is outdated too."""
    inner = Sequential([block(16, 24), conv(24, 5, 1)])
    outer, x = Sequential({"inner": inner, "relu": ReLU()}), draw(*SHAPE)
    for first, second in ((inner, outer), (outer, inner)):
        run(first, x), run(second, x)
        inner.load_arrays({path: array + 0.5 for path, array in inner.named_arrays()})
        for one in (first, second):
            assert_runs_like_its_layers(one, x)


def test_a_network_without_a_plan_stays_as_it_is():
    class Counting(Layer):
        """Counts its calls in an array of its own, which no plan would do."""

        buffer_names = ("count",)

        def __init__(self):
            self.count = np.zeros(1, np.float32)

        def __call__(self, x):
            self.count += x.size > 0
            return x

    model, x = Sequential([conv(16, 5), Counting()]), draw(*SHAPE)
    for _ in range(3):
        run(model, x)
    assert model.get_layer("1").count == 3 and not is_planned(model)
    model.get_layer("0").weight[...] = 1                                # nothing is read-only
    assert_array_equal(run(model, x), model.forward(x))


# what no plan is made for


@pytest.mark.parametrize("x", [draw(*SHAPE).astype(np.float64), draw(*SHAPE).astype(np.float16), draw(0, *SHAPE[1:])],
                         ids=lambda x: f"{x.dtype} {len(x)}")
def test_other_inputs_than_float32_are_computed_by_the_layers(x):
    model = network()
    expected = plain(model, x)
    got = model(x)
    assert got.dtype == expected.dtype and not is_planned(model)
    assert_array_equal(got, model.forward(x))
    assert_close(got, expected, 0 if x.dtype == np.float64 else TOLERANCE)          # of the others, all but the first layer is float32


def test_whole_numbers_are_refused_also_where_there_is_a_plan():
    model, x = network(), draw(*SHAPE)
    model(x)
    assert is_planned(model)
    with pytest.raises(TypeError, match="conv2d: got x of uint8, expected NumPy arrays of a floating dtype"):
        run(model, x.astype(np.uint8))                      # a classifier's own call refuses them before


def test_other_weights_than_float32_are_computed_by_the_layers():
    model, x = network(), draw(*SHAPE)
    model.top.weight = model.top.weight.astype(np.float64)
    assert model(x).dtype == np.float64 and not is_planned(model)
    assert_array_equal(model(x), model.forward(x))
    assert_close(model(x), plain(model, x), TOLERANCE)


def test_watched_layers_are_seen_and_timed():
    model, x, seen = network(), draw(*SHAPE), []
    expected = model(x)
    with watch(model, {path: lambda x, y: seen.append(y.shape) for path in ("stem", "body.0", "top")}):
        assert_close(model(x), expected, 1e-5)
    assert seen == [(2, 24, 12, 9), (2, 13, 6, 4), (2, 5)]
    with timed(model, ["stem", "body"]) as milliseconds:
        assert_close(model(x), expected, 1e-5)
    assert min(milliseconds.values()) > 0
    assert_array_equal(model(x), expected)                              # the plan is still there
    assert len(plans(model)) == 1


def test_inputs_of_different_numbers_are_left_to_the_layers():
    model = Composite(lambda x, y: x.reshape(len(x), -1)[:1] if isinstance(x, np.ndarray) else x + y)
    for x, y in ((draw(20, 3), draw(1, 3)), (draw(1, 3), draw(20, 3))):
        assert_array_equal(run(model, x, y), x[:1])


# what comes in and what goes out


def test_the_input_may_lie_in_memory_in_any_way_and_is_not_written():
    model, x = network(), draw(*SHAPE)
    expected = plain(model, x)
    last = np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2)
    for given in (x, last, np.asfortranarray(x), np.repeat(x, 2, axis=3)[..., ::2], x[:, :, ::-1][:, :, ::-1], x[::-1][::-1]):
        given.flags.writeable = False
        before = given.copy()
        assert_close(model(given), expected, 1e-5)
        assert_array_equal(given, before)


@pytest.mark.parametrize("kernel", [1, 3, 5])
def test_a_image_with_its_channels_last_is_read_where_it_lies(kernel):
    """With eights of channels nothing is copied; either way the numbers are right."""
    for channels in (16, 13, 3):
        model, x = Sequential([conv(channels, 24, kernel, 1, kernel // 2), ReLU()]), draw(2, channels, 12, 9)
        assert_runs_like_its_layers(model, np.ascontiguousarray(x.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2))


def test_results_own_their_memory():
    model, first, second = pyramid(16, 13), [draw(*SHAPE), draw(2, 13, 6, 5)], [draw(*SHAPE, seed=1), draw(2, 13, 6, 5, seed=1)]
    results = run(model, *first)
    before = [result.copy() for result in results]
    run(model, *second)
    for result, same in zip(results, before):
        assert_array_equal(result, same)
        assert not np.shares_memory(result, engine_of._finished[model].arena)
    for result in results:
        result[...] = 7                                                 # the caller's, to do with as he likes
    for result, same in zip(run(model, *first), before):
        assert_array_equal(result, same)


def test_what_one_network_gives_another_takes_as_it_lies():
    """As the RPN's head takes the backbone's maps."""
    body, head, x = Sequential([block(16, 24)]), Sequential([block(24, 13)]), draw(*SHAPE)
    between = run(body, x)
    assert between.shape == (2, 24, 10, 7) and between.transpose(0, 2, 3, 1).flags.c_contiguous
    assert_close(run(head, between), plain(head, plain(body, x)), 1e-5)


def test_the_form_of_the_result_is_the_networks():
    part = conv(16, 5)
    for function, kind in ((lambda a, x: a(x), np.ndarray), (lambda a, x: (a(x),), tuple), (lambda a, x: [a(x), (a(x), a(x))], list)):
        assert isinstance(assert_runs_like_its_layers(Composite(function, part), draw(*SHAPE)), kind)


# how many and how large


@pytest.mark.parametrize("count, planned", [(1, 1), (5, 5), (16, 16), (17, 128), (100, 128), (128, 128), (129, 256), (300, 384)])
def test_many_inputs_share_the_plan_of_the_next_multiple(count, planned):
    model, x = Sequential([block(5, 13, 3, 1, 1), Flatten(), Linear(13 * 12, 7, rng=np.random.default_rng(0))]), draw(count, 5, 4, 3)
    assert_runs_like_its_layers(model, x)
    assert [shape[0] for (_, (shape,)) in plans(model)] == [planned]


def test_fewer_inputs_than_planned_have_the_results_they_have_alone():
    model, x = Sequential([conv(16, 24, 3, 1, 1), ReLU(), MaxPool2d(2), conv(24, 13, 1), Flatten()]), draw(100, 16, 8, 8)
    whole = run(model, x)
    for count in (99, 50, 17):
        assert_close(run(model, x[:count]), whole[:count], 1e-6)
    assert len(plans(model)) == 1
    assert_close(whole, plain(model, x), 1e-5)


def test_of_many_shapes_the_latest_are_remembered():
    model = Sequential([block(5, 13), conv(13, 3, 1)])
    shapes = [(1, 5, 4 + side, 5) for side in range(3 * engine_of.PLANS)]
    for shape in shapes:
        assert_runs_like_its_layers(model, draw(*shape))
    assert [shape for _, (shape,) in plans(model)] == shapes[-engine_of.PLANS:]
    run(model, draw(*shapes[-engine_of.PLANS]))                         # the oldest becomes the latest
    run(model, draw(1, 5, 3, 3))
    assert [shape for _, (shape,) in plans(model)] == [*shapes[-engine_of.PLANS + 2:], shapes[-engine_of.PLANS], (1, 5, 3, 3)]


def test_twenty_shapes_need_the_weights_once_and_the_room_of_the_largest():
    model = Sequential([block(16, 40, 3, 1, 1), MaxPool2d(2), block(40, 24, 3, 1, 1), conv(24, 5, 1)])
    rng = np.random.default_rng(0)
    sizes, needed, weights = [tuple(rng.integers(20, 80, 2).tolist()) for _ in range(20)], [], None
    for size in sizes:
        run(model, draw(1, 16, *size))
        finished = engine_of._finished[model]
        needed.append(plan_of(model).arena_size)
        assert finished.arena.size == max(needed)
        weights = weights or {key: list(map(id, arrays)) for key, arrays in finished.weights.items()}
        assert {key: list(map(id, arrays)) for key, arrays in finished.weights.items()} == weights
    assert len(set(needed)) > 10


def test_a_network_that_is_forgotten_takes_its_plans_along():
    model = network()
    model(draw(*SHAPE))
    gone = [weakref.ref(one) for one in (model, engine_of._finished[model], plan_of(model))]
    del model
    gc.collect()
    assert [one() for one in gone] == [None] * 3


# several at once


def test_threads_may_come_at_once(engine):
    """Two networks, one of them in two threads, and shapes that change; each finds its own numbers."""
    one, other = network(), network(seed=1)
    x = [draw(1 + number % 3, *SHAPE[1:], seed=number) for number in range(12)]
    expected = {model: [plain(model, each) for each in x] for model in (one, other)}
    wrong, start = [], threading.Barrier(3)

    def work(model):
        with use(engine):
            start.wait()
            for _ in range(5):
                for each, right in zip(x, expected[model]):
                    got = model(each)
                    if got.shape != right.shape or np.abs(got - right).max() > 1e-5 * np.abs(right).max():
                        wrong.append(got)

    threads = [threading.Thread(target=work, args=(model,)) for model in (one, one, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert wrong == [] and not any(thread.is_alive() for thread in threads)


def test_one_network_on_all_backends_in_turn():
    model, x = network(), draw(*SHAPE)
    expected = plain(model, x)
    for name in 2 * BACKENDS:
        with use(name):
            assert_close(model(x), expected, 1e-5)
    assert {backend for backend, _ in plans(model)} == set(BACKENDS) - {"reference"}


def test_a_model_may_have_a_backend_of_its_own(engine):
    model, x = network(), draw(*SHAPE)
    model.backend = "reference"
    expected = plain(model, x)
    assert_array_equal(model(x), expected)
    assert model not in engine_of._finished
    model.backend = engine
    with use("reference"):
        assert_close(model(x), expected, 1e-5)
    assert is_planned(model) and dispatch.backend() == engine


def test_a_run_is_repeatable_to_the_last_bit():
    x = draw(3, 16, 40, 31)
    assert_array_equal(*(run(network_of_one_kind, x) for network_of_one_kind in (Sequential([block(16, 40, 3, 1, 1)]) for _ in range(2))))


def test_plans_do_not_hinder_saving_and_loading(tmp_path):
    model, x = minicnn.build("lenet5", rng=np.random.default_rng(0)), draw(2, 1, 28, 28)
    expected = model(x)
    minicnn.save(tmp_path / "net.npz", model)
    assert_array_equal(minicnn.load(tmp_path / "net.npz")(x), expected)
    again = minicnn.build("lenet5")
    assert not again(x).any()
    again.load_arrays(dict(model.named_arrays()))
    assert_array_equal(again(x), expected)
    assert [one.shape for one in arrays_of(compile(again, x.shape).run([x], np.empty(10**6, np.float32)))] == [(2, 10)]
