"""What a data set lost, and how much is too much."""

from pathlib import Path

import numpy as np
import pytest

from minicnn.data.annotated import AnnotatedImage, AnnotatedImages
from minicnn.data.skipped import Skipped, check_skipped, total
from minicnn.errors import InputError


def test_counts_by_reason():
    skipped = Skipped()
    skipped.image("unreadable")
    skipped.object("empty")
    skipped.object("empty")
    assert skipped.document() == {"images": 1, "objects": 2, "reasons": {"unreadable": 1, "empty": 2}}
    assert str(skipped) == "1 image and 2 objects (empty: 2, unreadable: 1)"
    assert skipped and not Skipped() and str(Skipped()) == "nothing"


def test_a_sum_leaves_its_parts_alone():
    one, other = Skipped(1, 0, {"a": 1}), Skipped(0, 3, {"a": 1, "b": 2})
    assert total([one, other]).document() == {"images": 1, "objects": 3, "reasons": {"a": 2, "b": 2}}
    assert one.document() == {"images": 1, "objects": 0, "reasons": {"a": 1}} and total([]).document()["reasons"] == {}


@pytest.mark.parametrize("skipped, images, objects, refused", [
    (Skipped(1, 0), 19, 0, False), (Skipped(1, 0), 18, 50, True),            # 1 of 20 is 5 %, 1 of 19 is more
    (Skipped(0, 5), 1, 95, False), (Skipped(0, 5), 1, 94, True), (Skipped(), 0, 0, False)])
def test_more_than_five_percent_of_images_or_of_objects_are_refused(skipped, images, objects, refused):
    if not refused:
        return check_skipped(skipped, images, objects, "data")
    with pytest.raises(InputError, match=r"got data, of whose \d+ (images|objects) \d cannot be used; .*5% of each.*--allow-skipped"):
        check_skipped(skipped, images, objects, "data")


def test_images_know_what_they_lost():
    none = np.zeros(19, bool)
    image = AnnotatedImage("p", Path("p.jpg"), 9, 9, np.zeros((19, 4), np.float32), np.ones(19, np.int64), none, none, np.zeros(19))
    data = AnnotatedImages(["__background__", "cat"], [image])
    data.skip_object("p: object 2 is skipped.", "empty")
    data.normalise("clipped", 3)
    data.normalise("clipped", 0)
    data.check_skipped()
    assert data.problems == ["p: object 2 is skipped."] and data.normalised == {"clipped": 3}
    data.skip_image("q: no XML.", "unreadable")
    with pytest.raises(InputError, match="got folder, of whose 2 images 1 cannot be used"):
        data.check_skipped("folder")
