"""Plans compute what the layers do, in any network; networks that no plan can hold are left to their layers."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numeric_checks import assert_close
from random_networks import graph
from small_networks import (
    Composite,
    assert_runs_like_its_layers,
    conv,
    draw,
    plain,
)

from minicnn import functional as F
from minicnn.fast.plan import compile
from minicnn.functional import dispatch
from minicnn.layers import (
    Linear,
)
from minicnn.trace import Untraceable

pytestmark = pytest.mark.usefixtures("engine")


# what no plan can hold


UNPLANNED = {
    "the input returned": (lambda a, x: [a(x), x], conv(13, 5)),
    "a view of the input returned": (lambda a, x: [a(x), x[:, :, ::2, ::2]], conv(13, 5)),
    "nothing but flattened": (lambda x: x.reshape(2, -1),),
    "a view read": (lambda a, x: a(x[:, :, ::2, ::2]), conv(13, 5)),
    "a view added": (lambda a, b, x: a(x)[:, :, 1:, 1:] + b(x), conv(13, 5), conv(13, 5, 4)),
    "an activation of a flattened map": (lambda a, b, x: b(F.relu(a(x).reshape(2, -1))), conv(13, 5), Linear(5 * 16 * 17, 3)),
    "a sum of flattened maps": (lambda a, b, x: b(a(x).reshape(2, -1) + a(x).reshape(2, -1)), conv(13, 5), Linear(5 * 16 * 17, 3)),
    "a resized map returned": (lambda a, x: F.interpolate(a(x), (9, 9)), conv(13, 5)),
    "a resized map read": (lambda a, b, x: b(F.interpolate(a(x), (9, 9))), conv(13, 5), conv(5, 3)),
    "a resized map read twice": (lambda a, x: (lambda y: [x + y, x + y])(F.interpolate(a(x), (18, 19))), conv(13, 13)),
    "a resized map flattened": (lambda a, b, x: b(F.interpolate(a(x), (2, 2)).reshape(2, -1)), conv(13, 5), Linear(20, 3)),
    "two resized maps added": (lambda a, x: F.interpolate(a(x), (9, 9)) + F.interpolate(x, (9, 9)), conv(13, 13)),
    "an activation of a sum with a resized map": (lambda a, x: F.relu(x + F.interpolate(a(x), (18, 19))), conv(13, 13)),
    "groups of several channels": (lambda a, x: a(x), conv(13, 26, 3, groups=13)),
    "groups that are not depthwise": (lambda a, b, x: b(a(x)), conv(13, 12), conv(12, 6, 3, groups=3)),
}


@pytest.mark.parametrize("parts", UNPLANNED.values(), ids=UNPLANNED)
def test_what_no_plan_can_hold_is_computed_by_the_layers(parts):
    network, x = Composite(*parts), draw(2, 13, 18, 19)
    with pytest.raises(Untraceable):
        compile(network, x.shape)
    assert_runs_like_its_layers(network, x, plans=False)


# any network


@given(seed=st.integers(0, 10**6))
@settings(derandomize=True, max_examples=150, deadline=None)
def test_any_network_is_computed_as_its_layers_do_whole_and_in_part(engine, seed):
    network, x = graph(seed)
    try:
        compile(network, x.shape)
        plans = True
    except Untraceable:
        plans = False
    assert_runs_like_its_layers(network, x, plans=plans)
    for one, other in zip(dispatch.run(network, x[:1]), plain(network, x[:1])):
        assert_close(one, other, 1e-5)


def test_most_of_those_networks_have_plans():
    """Otherwise the test above would compare the layers with themselves."""
    planned = 0
    for seed in range(50):
        network, x = graph(seed)
        with contextlib.suppress(Untraceable):
            planned += len(compile(network, x.shape).steps) > 0
    assert planned >= 25
