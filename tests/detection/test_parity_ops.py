"""Live comparison of each detection operation with torchvision's: to the last bit where both compute the same steps."""

from collections import OrderedDict

import numpy as np
import pytest
from numeric_checks import FORWARD, assert_close
from numpy.testing import assert_allclose, assert_array_equal

from minicnn.detection import boxes as B
from minicnn.detection.anchors import base_anchors, grid_anchors
from minicnn.detection.fpn import FeaturePyramidNetwork
from minicnn.detection.roi_align import MultiScaleRoIAlign, map_levels, map_scales, roi_align
from minicnn.detection.roi_heads import RoIHeads
from minicnn.detection.roi_pool import roi_pool
from minicnn.detection.rpn import RegionProposalNetwork, RPNHead
from minicnn.detection.transform import Batch, Transform
from minicnn.layers import BatchNorm2d

torch = pytest.importorskip("torch")
pytest.importorskip("torchvision")

from torchvision import ops  # noqa: E402
from torchvision.models.detection import _utils, roi_heads, rpn, transform  # noqa: E402
from torchvision.models.detection.anchor_utils import AnchorGenerator  # noqa: E402
from torchvision.models.detection.image_list import ImageList  # noqa: E402
from torchvision.ops import poolers  # noqa: E402
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool  # noqa: E402

pytestmark = [pytest.mark.parity, pytest.mark.usefixtures("backend")]

f32 = np.float32
SEEDS = range(4)
MEAN, STD = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CORNERS = np.array([[0, 0, 40, 28], [4, 8, 30.5, 21.25], [-3, -3, 5, 5], [30, 20, 60, 50], [-50, -50, -20, -20], [200, 5, 300, 9],
                    [12, 12, 12, 12], [12, 3, 13, 27], [20, 20, 8, 10], [40, 28, 44, 32], [2, 6, 10, 14], [-2, -6, 2, 6]], f32)
AREALESS = np.array([[5, 5, 5, 5], [5, 5, 5, 5], [7, 0, 7, 9], [9, 9, 4, 4]], f32)


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tensor(array):
    return torch.from_numpy(np.ascontiguousarray(array))


def draw_boxes(count, rng, side=100, whole=False):
    corner = rng.uniform(-10, side, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, side / 2, (count, 2))], axis=1)
    return (np.round(boxes / 5) if whole else boxes).astype(f32)


def distinct(count, rng):
    """Scores without ties, whose order torch leaves open."""
    return ((rng.permutation(count) + 1) / (count + 1)).astype(f32)


# boxes


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("whole", [False, True], ids=["", "whole coordinates"])
def test_box_iou_to_the_last_bit(seed, whole):
    rng = np.random.default_rng(seed)
    a, b = (np.concatenate([draw_boxes(count, rng, whole=whole), AREALESS]) for count in (60, 40))
    assert_array_equal(B.box_iou(a, b), ops.box_iou(tensor(a), tensor(b)).numpy())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("threshold", [0, 0.3, 0.5, 0.6, 0.7, 1])
def test_nms_keeps_the_same(seed, threshold):
    rng = np.random.default_rng(seed)
    for count, whole in ((0, False), (1, False), (300, False), (300, True)):    # whole: many overlaps of just 0.3, 0.5, 0.6
        boxes = np.concatenate([draw_boxes(count, rng, 60, whole), AREALESS])
        scores = rng.integers(0, 50, len(boxes)).astype(f32)                    # its own sort is stable: ties may be compared
        assert_array_equal(B.nms(boxes, scores, threshold), ops.nms(tensor(boxes), tensor(scores), threshold).numpy())


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("count", [0, 1, 60, 999, 1000, 1001, 3000])            # to 1000 moved apart, from 1001 group by group
def test_batched_nms_keeps_the_same(seed, count):
    rng = np.random.default_rng(seed)
    for groups, threshold, side in ((3, 0.7, 300), (90, 0.5, 1333)):
        boxes, scores, group = np.maximum(draw_boxes(count, rng, side), 0), distinct(count, rng), rng.integers(0, groups, count)
        expected = ops.batched_nms(tensor(boxes), tensor(scores), tensor(group), threshold)
        assert_array_equal(B.batched_nms(boxes, scores, group, threshold), expected.numpy())


@pytest.mark.parametrize("pairs", [500, 501])                                   # 1000 and 1002 boxes
def test_the_rounding_of_moved_boxes_is_the_same(pairs):
    """Pairs that overlap by hardly more or less than the threshold: moving them decides."""
    rng = np.random.default_rng(0)
    corner, side = rng.uniform(0, 1300, (pairs, 2)), rng.uniform(0.5, 2, (pairs, 1))
    first = np.concatenate([corner, corner + side], axis=1)
    second = first + side * rng.uniform(0.32, 0.35, (pairs, 1)) * [1, 0, 1, 0]              # at a third of the side it is 0.5
    boxes, scores = np.concatenate([first, second]).astype(f32), distinct(2 * pairs, rng)
    groups = np.tile(rng.integers(80, 91, pairs), 2)
    expected = ops.batched_nms(tensor(boxes), tensor(scores), tensor(groups), 0.5).numpy()
    assert pairs < len(expected) < 2 * pairs
    assert_array_equal(B.batched_nms(boxes, scores, groups, 0.5), expected)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("weights", [(1.0, 1.0, 1.0, 1.0), (10.0, 10.0, 5.0, 5.0)])
@pytest.mark.parametrize("classes", [1, 21])
def test_decode(seed, weights, classes):
    rng = np.random.default_rng(seed)
    boxes, deltas = draw_boxes(50, rng, 500), rng.normal(0, 3, (50, 4 * classes)).astype(f32)
    deltas[0] = 1000
    expected = _utils.BoxCoder(weights).decode(tensor(deltas), [tensor(boxes)]).numpy().reshape(50, classes, 4)
    got = B.decode(deltas, boxes, weights)
    sides = np.abs(expected[..., 2:] - expected[..., :2]).max()
    assert np.abs(got - expected).max() <= 2e-6 * (sides + 500)                 # exp may differ in its last bit
    deltas.reshape(50, classes, 4)[..., 2:] = 0
    expected = _utils.BoxCoder(weights).decode(tensor(deltas), [tensor(boxes)]).numpy().reshape(50, classes, 4)
    assert_array_equal(B.decode(deltas, boxes, weights), expected)


def test_clip_and_large():
    rng = np.random.default_rng(0)
    boxes = np.concatenate([draw_boxes(200, rng), AREALESS])
    side, less = f32(0.01), np.nextafter(f32(0.01), f32(0))
    for size in ((64, 48), (33, 100)):
        clipped = B.clip(boxes, size)
        assert_array_equal(clipped, ops.clip_boxes_to_image(tensor(boxes), size).numpy())
        clipped[:5] = [[0, 0, side, 1], [0, 0, 1, side], [0, 0, side / 2, 1], [0, 0, less, 1], [0, 0, side, side]]
        for least in (1e-2, 1e-3, 5):
            assert_array_equal(np.flatnonzero(B.are_large(clipped, least)), ops.remove_small_boxes(tensor(clipped), least).numpy())


# anchors


def test_anchors_of_a_cell_to_the_last_bit():
    ratios, sizes = (0.2, 0.5, 1.0, 1.7, 2.0), tuple(range(4, 700))
    generator = AnchorGenerator((sizes,), (ratios,))
    assert_array_equal(base_anchors(sizes, ratios), generator.cell_anchors[0].numpy())


@pytest.mark.parametrize("batch_size, map_sizes", [
    ((800, 1344), [(200, 336), (100, 168), (50, 84), (25, 42), (13, 21)]), ((320, 640), [(10, 20), (10, 20), (5, 10)]),
    ((32, 64), [(2, 4)])])
def test_anchors_of_all_maps_to_the_last_bit(batch_size, map_sizes):
    sizes, ratios = ((32, 64, 128),) * len(map_sizes), ((0.5, 1.0, 2.0),) * len(map_sizes)
    images = ImageList(torch.zeros(1, 3, *batch_size), [batch_size])
    expected, = AnchorGenerator(sizes, ratios)(images, [torch.zeros(1, 1, *size) for size in map_sizes])
    got = [grid_anchors(base_anchors(*pair), size, batch_size) for *pair, size in zip(sizes, ratios, map_sizes)]
    assert_array_equal(np.concatenate(got), expected.numpy())


# transform


@pytest.mark.parametrize("limits", [(800, 1333), (600, 1000), (320, 640)])
def test_resized_sizes(limits):
    ours, theirs = Transform(*limits, MEAN, STD), transform.GeneralizedRCNNTransform(*limits, MEAN, STD).eval()
    for h in (2, 7, 40, 97, 103, 153, 161, 199, 214, 289, 303, 305, 333):
        for w in (h, 30, 500):
            assert ours.size(h, w) == tuple(theirs.resize(torch.zeros(1, h, w))[0].shape[1:])


@pytest.mark.parametrize("sizes", [[(161, 214), (100, 300)], [(40, 30)], [(97, 131), (200, 64), (64, 200)], [(192, 128)]], ids=str)
def test_transformed_pixels_and_boxes(sizes):
    rng = np.random.default_rng(0)
    images = [rng.random((3, *size), f32) for size in sizes]
    ours, theirs = Transform(192, 320, MEAN, STD), transform.GeneralizedRCNNTransform(192, 320, MEAN, STD).eval()
    batch, (expected, _) = ours(images), theirs([tensor(image) for image in images])
    assert batch.sizes == [tuple(size) for size in expected.image_sizes] and batch.original_sizes == sizes
    assert batch.pixels.shape == tuple(expected.tensors.shape)
    assert np.abs(batch.pixels - expected.tensors.numpy()).max() <= 2e-6
    for image in images:
        assert_array_equal(ours.normalize(image), theirs.normalize(tensor(image)).numpy())
    boxes = [draw_boxes(20, rng, 190) for _ in sizes]
    back = theirs.postprocess([{"boxes": tensor(one)} for one in boxes], batch.sizes, sizes)
    for one, size, original, answer in zip(boxes, batch.sizes, sizes, back):
        assert_array_equal(Transform.scale_boxes(one, size, original), answer["boxes"].numpy())


# fpn


@pytest.mark.parametrize("sizes", [[(50, 68), (25, 34), (13, 17), (7, 9)], [(10, 20), (10, 20)], [(1, 1)]], ids=str)
@pytest.mark.parametrize("norm", [None, BatchNorm2d], ids=["bias", "norm"])
def test_feature_pyramid(sizes, norm):
    rng = np.random.default_rng(0)
    channels = (8, 16, 24, 32)[:len(sizes)]
    ours = FeaturePyramidNetwork(channels, 16, norm, rng=rng)
    theirs = ops.FeaturePyramidNetwork(list(channels), 16, LastLevelMaxPool(), norm_layer=norm and torch.nn.BatchNorm2d).eval()
    for path, array in ours.named_arrays():
        if path.endswith(("running_mean", "bias")):
            array[...] = rng.normal(0, 0.3, array.shape)
    theirs.load_state_dict({path: tensor(array) for path, array in ours.named_arrays()}, strict=norm is None)
    maps = [rng.standard_normal((2, c, *size)).astype(f32) for c, size in zip(channels, sizes)]
    with torch.no_grad():
        expected = theirs(OrderedDict((str(level), tensor(x)) for level, x in enumerate(maps)))
    assert list(expected)[-1] == "pool"
    for got, (name, answer) in zip(ours(maps), expected.items(), strict=True):
        assert_close(got, answer.numpy(), FORWARD, name)


# pooling


def with_index(boxes, n=0):
    """Boxes as torchvision's pooling wants them, the image's number in front."""
    return tensor(np.concatenate([np.full((len(boxes), 1), n, f32), boxes], axis=1))


@pytest.mark.parametrize("sampling_ratio", [0, 1, 2, 3])
@pytest.mark.parametrize("output_size, scale", [(7, 0.25), (2, 0.5), (1, 1.0), (7, 1 / 32), (14, 0.125)])
def test_roi_align(output_size, scale, sampling_ratio):
    rng = np.random.default_rng(0)
    x, boxes = rng.standard_normal((5, 7, 10)).astype(f32), np.concatenate([CORNERS, draw_boxes(60, rng, 60), draw_boxes(20, rng, 9, True)])
    expected = ops.roi_align(tensor(x[None]), with_index(boxes), output_size, scale, sampling_ratio or -1)
    assert_close(roi_align(x, boxes, output_size, scale, sampling_ratio), expected.numpy(), FORWARD)


@pytest.mark.parametrize("output_size", [1, 2, 7])
@pytest.mark.parametrize("scale", [1.0, 0.5, 0.25, 1 / 16])
def test_roi_pool_to_the_last_bit(output_size, scale):
    rng = np.random.default_rng(0)
    x = rng.standard_normal((5, 9, 12)).astype(f32)
    boxes = np.concatenate([CORNERS, draw_boxes(100, rng, 60), rng.integers(-10, 60, (100, 4)).astype(f32) / 2])
    assert_array_equal(roi_pool(x, boxes, output_size, scale), ops.roi_pool(tensor(x[None]), with_index(boxes), output_size, scale).numpy())


def test_scales_of_all_heights():
    for height in range(8, 900):
        rows = -(-height // 32) * 32
        maps = [np.zeros((1, 1, max(rows // stride, 1), 1), f32) for stride in (4, 8, 16, 32)]
        assert map_scales(maps, [(height, 5)]) == [poolers._infer_scale(tensor(x), [height, 5]) for x in maps]


def test_levels_of_boxes_at_the_steps_and_between():
    rng = np.random.default_rng(0)
    sides = np.array([step * factor for step in (56, 112, 224, 448, 896)
                      for factor in (1, 1 - 1e-7, 1 - 3e-7, 1 - 1e-6, 1 - 1e-5, 1 + 1e-7)])
    boxes = np.concatenate([np.stack([0 * sides, 0 * sides, sides, sides], axis=1),
                            np.cumsum(rng.uniform(0, 700, (500, 4)), axis=1), AREALESS[:3]]).astype(f32)
    for scales in ([1 / 4, 1 / 8, 1 / 16, 1 / 32], [1 / 32, 1 / 32], [1 / 2, 1 / 4]):
        finest, coarsest = (int(-np.log2(scale)) for scale in (scales[0], scales[-1]))
        assert_array_equal(map_levels(boxes, scales), poolers.LevelMapper(finest, coarsest)([tensor(boxes)]).numpy())


@pytest.mark.parametrize("sizes", [[(128, 190)], [(100, 64), (128, 90)], [(33, 60)], [(46, 60), (40, 64)]], ids=str)
@pytest.mark.parametrize("strides", [(4, 8, 16, 32), (32, 32), (16,)], ids=str)
def test_multi_scale_roi_align(sizes, strides):
    rng = np.random.default_rng(0)
    padded = [-(-max(sides) // 32) * 32 for sides in zip(*sizes)]
    maps = [rng.standard_normal((len(sizes), 5, *(side // stride for side in padded))).astype(f32) for stride in strides]
    drawn = [np.concatenate([draw_boxes(count, rng, 128), [[0, 0, 999, 999]], AREALESS[:3]]).astype(f32) for count in (30, 20)]
    proposals = [B.clip(boxes, size) for boxes, size in zip(drawn, sizes)]
    names = [str(level) for level in range(len(maps))]
    theirs = ops.MultiScaleRoIAlign(names, 7, 2)                                # a new one: it would keep its scales
    expected = theirs(OrderedDict((name, tensor(x)) for name, x in zip(names, maps)), [tensor(boxes) for boxes in proposals], sizes)
    assert_close(MultiScaleRoIAlign(7, 2)(maps, proposals, sizes), expected.numpy(), FORWARD)


# proposals and detections


@pytest.mark.parametrize("exact", [True, False], ids=["moved", "moved and scaled"])
@pytest.mark.parametrize("pre, post, nms_thresh, score_thresh", [
    (1000, 1000, 0.7, 0.0), (150, 150, 0.7, 0.05), (300, 40, 0.5, 0.5), (2000, 2000, 0.3, 0.0), (1000, 1000, 0.7, 1.0)])
def test_proposals(pre, post, nms_thresh, score_thresh, exact):
    rng = np.random.default_rng(0)
    sizes, ratios, batch_size = ((16,), (32,), (64,)), ((0.5, 1.0, 2.0),) * 3, (160, 256)
    map_sizes, image_sizes = [(40, 64), (20, 32), (10, 16)], [(150, 250), (97, 256)]
    anchors = [grid_anchors(base_anchors(*pair), size, batch_size) for *pair, size in zip(sizes, ratios, map_sizes)]
    counts = [len(level) for level in anchors]
    logits = np.stack([rng.permutation(sum(counts)) for _ in image_sizes]).astype(f32) / sum(counts) * 12 - 6        # distinct scores
    deltas = rng.normal(0, 0.4, (2, sum(counts), 4)).astype(f32)
    if exact:
        deltas[..., 2:] = 0

    network = rpn.RegionProposalNetwork(AnchorGenerator(sizes, ratios), None, 0.7, 0.3, 256, 0.5, {"testing": pre}, {"testing": post},
                                        nms_thresh, score_thresh).eval()
    decoded = network.box_coder.decode(tensor(deltas).reshape(-1, 4), 2 * [tensor(np.concatenate(anchors))]).reshape(2, -1, 4)
    expected, _ = network.filter_proposals(decoded, tensor(logits), image_sizes, counts)

    ours = RegionProposalNetwork(None, sizes, ratios, pre, post, nms_thresh, score_thresh)
    ends = np.cumsum(counts)[:-1]
    for n, size in enumerate(image_sizes):
        got = ours.propose(list(zip(np.split(logits[n], ends), np.split(deltas[n], ends))), anchors, size)
        assert got.shape == tuple(expected[n].shape) and (len(got) > 20 or score_thresh == 1)
        assert_allclose(got, expected[n].numpy(), atol=0 if exact else 1e-3, rtol=0)


@pytest.mark.parametrize("depth", [1, 2])
def test_the_whole_region_proposal_network(depth):
    rng = np.random.default_rng(0)
    sizes, ratios, image_sizes = ((16, 24), (32, 48)), ((0.5, 1.0, 2.0),) * 2, [(90, 100), (96, 70)]
    maps = [rng.standard_normal((2, 8, 24, 32)).astype(f32), rng.standard_normal((2, 8, 12, 16)).astype(f32)]
    ours = RegionProposalNetwork(RPNHead(8, 6, depth, rng=rng), sizes, ratios, 200, 100, 0.7, 0.0)
    theirs = rpn.RegionProposalNetwork(AnchorGenerator(sizes, ratios), rpn.RPNHead(8, 6, depth), 0.7, 0.3, 256, 0.5, {"testing": 200},
                                       {"testing": 100}, 0.7).eval()
    theirs.load_state_dict({path: tensor(array) for path, array in ours.named_arrays()})
    batch = Batch(np.zeros((2, 3, 96, 128), f32), image_sizes, image_sizes)
    with torch.no_grad():
        expected, _ = theirs(ImageList(tensor(batch.pixels), image_sizes), OrderedDict(enumerate(map(tensor, maps))))
    for got, answer in zip(ours(maps, batch), expected, strict=True):
        assert_allclose(got, answer.numpy(), atol=1e-3)


@pytest.mark.parametrize("exact", [True, False], ids=["moved", "moved and scaled"])
@pytest.mark.parametrize("classes, score_thresh, nms_thresh, count", [(21, 0.05, 0.5, 100), (91, 0.001, 0.5, 100), (4, 0.0, 0.3, 1000),
                                                                      (2, 0.5, 0.9, 5), (21, 1.0, 0.5, 100)])
def test_detections(classes, score_thresh, nms_thresh, count, exact):
    rng = np.random.default_rng(0)
    sizes, counts = [(150, 250), (97, 256), (60, 60)], (400, 30, 0)             # more than 1000 candidates, fewer, none
    proposals = [B.clip(draw_boxes(n, rng, 200), size) for n, size in zip(counts, sizes)]
    logits = rng.normal(0, 2, (sum(counts), classes)).astype(f32)
    deltas = rng.normal(0, 2, (sum(counts), 4 * classes)).astype(f32)
    if exact:
        deltas.reshape(-1, classes, 4)[..., 2:] = 0
    theirs = roi_heads.RoIHeads(None, None, None, 0.5, 0.5, 512, 0.25, (10.0, 10.0, 5.0, 5.0), score_thresh, nms_thresh, count).eval()
    expected = theirs.postprocess_detections(tensor(logits), tensor(deltas), [tensor(boxes) for boxes in proposals], sizes)
    ours = RoIHeads(None, None, None, (10.0, 10.0, 5.0, 5.0), score_thresh, nms_thresh, count)
    ends = np.cumsum(counts)[:-1]
    for n, (one, some) in enumerate(zip(np.split(logits, ends), np.split(deltas, ends))):
        boxes, scores, labels = ours.select(one, some, proposals[n], sizes[n])
        assert_array_equal(labels, expected[2][n].numpy())
        assert_allclose(scores, expected[1][n].numpy(), rtol=1e-5)
        assert_allclose(boxes, expected[0][n].numpy(), atol=0 if exact else 1e-3, rtol=0)
        assert counts[n] == 0 or score_thresh == 1 or len(boxes) > 3
