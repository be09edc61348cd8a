"""The settings of a Faster R-CNN that its weights do not show: image sizes, anchors, thresholds, sample sizes."""

from dataclasses import dataclass

PYRAMID_SIZES = (32, 64, 128, 256, 512)         # pixels; an anchor size for each of the five maps of the pyramid
ASPECT_RATIOS = (0.5, 1.0, 2.0)                 # height / width


@dataclass
class Settings:
    """Settings of a detector, with the names and defaults of torchvision's ``FasterRCNN``.

    What torchvision takes as objects has a plain name: ``anchor_sizes`` and ``aspect_ratios`` (a list for each feature map),
    ``box_head_width``, ``roi_output_size``, ``roi_sampling_ratio``, ``roi_pooling`` ("align" or "pool"). If ``min_size`` is a list, from
    which torchvision draws in training, its last entry is kept, as torchvision does in evaluation.

    Raises:
        ValueError: a value is of another type or out of its range, or the anchors differ in number between the maps.

    >>> Settings(min_size=600).min_size
    600
    >>> Settings(anchor_sizes=((128, 256, 512),), aspect_ratios=((0.5, 1.0, 2.0),)).num_anchors
    9
    >>> Settings(rpn_nms_thresh=70)
    Traceback (most recent call last):
    ValueError: rpn_nms_thresh=70, expected a number from 0 to 1
    """

    min_size: int = 800
    max_size: int = 1333
    image_mean: tuple = (0.485, 0.456, 0.406)
    image_std: tuple = (0.229, 0.224, 0.225)
    anchor_sizes: tuple = tuple((size,) for size in PYRAMID_SIZES)
    aspect_ratios: tuple = (ASPECT_RATIOS,) * 5
    rpn_pre_nms_top_n_train: int = 2000
    rpn_pre_nms_top_n_test: int = 1000
    rpn_post_nms_top_n_train: int = 2000
    rpn_post_nms_top_n_test: int = 1000
    rpn_nms_thresh: float = 0.7
    rpn_fg_iou_thresh: float = 0.7
    rpn_bg_iou_thresh: float = 0.3
    rpn_batch_size_per_image: int = 256
    rpn_positive_fraction: float = 0.5
    rpn_score_thresh: float = 0.0
    roi_pooling: str = "align"
    roi_output_size: int = 7
    roi_sampling_ratio: int = 2
    box_head_width: int = 1024
    box_score_thresh: float = 0.05
    box_nms_thresh: float = 0.5
    box_detections_per_img: int = 100
    box_fg_iou_thresh: float = 0.5
    box_bg_iou_thresh: float = 0.5
    box_batch_size_per_image: int = 512
    box_positive_fraction: float = 0.25
    bbox_reg_weights: tuple = (10.0, 10.0, 5.0, 5.0)

    def __post_init__(self):
        for name in ("image_mean", "image_std", "bbox_reg_weights"):           # for these, torchvision takes None for the default
            if getattr(self, name) is None:
                setattr(self, name, type(self).__dataclass_fields__[name].default)
        if isinstance(self.min_size, (list, tuple)) and self.min_size:
            self.min_size = self.min_size[-1]
        for name, (expected, is_valid) in CHECKS.items():
            check(name, getattr(self, name), expected, is_valid)
        if len(self.anchor_sizes) != len(self.aspect_ratios):
            raise ValueError(f"{len(self.anchor_sizes)} lists of anchor_sizes and {len(self.aspect_ratios)} of aspect_ratios, expected "
                             "one of each for every map")
        counts = {len(sizes) * len(ratios) for sizes, ratios in zip(self.anchor_sizes, self.aspect_ratios)}
        if len(counts) > 1:
            raise ValueError(f"{sorted(counts)} anchors a cell on different maps, expected the same number on each")

    @property
    def num_anchors(self) -> int:
        """Number of anchors in a cell."""
        return len(self.anchor_sizes[0]) * len(self.aspect_ratios[0])


def check(name, value, expected, is_valid):
    """Raise a ValueError unless ``is_valid(value)``; values of another type are not."""
    try:
        valid = is_valid(value)
    except TypeError:
        valid = False
    if not valid:
        raise ValueError(f"{name}={value!r}, expected {expected}")


def is_number(value, low, high, kind=(int, float)):
    return isinstance(value, kind) and not isinstance(value, bool) and low <= value <= high


def are_numbers(values, low, high, count=None):
    return len(values) == (count or len(values)) > 0 and all(is_number(value, low, high) for value in values)


HUGE = 10**6
BOOL = ("true or false", lambda value: isinstance(value, bool))
COUNT = ("an integer of at least 1", lambda value: is_number(value, 1, HUGE, int))
FRACTION = ("a number from 0 to 1", lambda value: is_number(value, 0, 1))
LISTS = ("a list of positive numbers for each map",
         lambda lists: len(lists) > 0 and all(are_numbers(values, 1e-6, HUGE) for values in lists))
CHECKS = {
    **dict.fromkeys(("min_size", "max_size", "rpn_pre_nms_top_n_train", "rpn_pre_nms_top_n_test", "rpn_post_nms_top_n_train",
                     "rpn_post_nms_top_n_test", "rpn_batch_size_per_image", "roi_output_size", "box_head_width",
                     "box_detections_per_img", "box_batch_size_per_image"), COUNT),
    **dict.fromkeys(("rpn_nms_thresh", "rpn_fg_iou_thresh", "rpn_bg_iou_thresh", "rpn_positive_fraction", "rpn_score_thresh",
                     "box_score_thresh", "box_nms_thresh", "box_fg_iou_thresh", "box_bg_iou_thresh", "box_positive_fraction"), FRACTION),
    **dict.fromkeys(("anchor_sizes", "aspect_ratios"), LISTS),
    "image_mean": ("three numbers", lambda values: are_numbers(values, -HUGE, HUGE, 3)),
    "image_std": ("three positive numbers", lambda values: are_numbers(values, 1e-6, HUGE, 3)),
    "bbox_reg_weights": ("four positive numbers", lambda values: are_numbers(values, 1e-6, HUGE, 4)),
    "roi_pooling": ("'align' or 'pool'", lambda value: value in ("align", "pool")),
    "roi_sampling_ratio": ("an integer; 0 adapts to the box", lambda value: is_number(value, -1, 1000, int)),
}
