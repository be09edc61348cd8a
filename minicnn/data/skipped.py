"""What a data set lost when it was read: counts by reason, and how much is too much.

The rule: what is unambiguous is normalised and counted; what is ambiguous is refused; what is skipped is named and summed up at the end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from minicnn.errors import InputError
from minicnn.plural import counted

MOST_SKIPPED = 0.05         # share of the images, or of the objects, above which a data set is refused


@dataclass
class Skipped:
    """Counts of what was left out of a data set.

    Args:
        images: number of images; their objects are not counted.
        objects: number of objects in images that are used.
        reasons: {reason: number of images and objects}.
    """

    images: int = 0
    objects: int = 0
    reasons: dict[str, int] = field(default_factory=dict)

    def image(self, reason: str) -> None:
        """Count an image."""
        self.images += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def object(self, reason: str) -> None:
        """Count an object."""
        self.objects += 1
        self.reasons[reason] = self.reasons.get(reason, 0) + 1

    def document(self) -> dict:
        """{"images", "objects", "reasons"}, as in the JSON of the commands."""
        return {"images": self.images, "objects": self.objects, "reasons": dict(self.reasons)}

    def __bool__(self):
        return bool(self.images or self.objects)

    def __str__(self):
        reasons = ", ".join(f"{reason}: {count}" for reason, count in sorted(self.reasons.items(), key=lambda item: -item[1]))
        return f"{counted(self.images, 'image')} and {counted(self.objects, 'object')} ({reasons})" if self else "nothing"


def total(parts: Iterable[Skipped]) -> Skipped:
    """The sum of several.

    >>> str(total([Skipped(1, 0, {"unreadable": 1}), Skipped(1, 2, {"unreadable": 1, "empty": 2})]))
    '2 images and 2 objects (unreadable: 2, empty: 2)'
    """
    sums = Skipped()
    for part in parts:
        sums.images += part.images
        sums.objects += part.objects
        for reason, count in part.reasons.items():
            sums.reasons[reason] = sums.reasons.get(reason, 0) + count
    return sums


def check_skipped(skipped: Skipped, images: int, objects: int, source: str) -> None:
    """Raise InputError if more than ``MOST_SKIPPED`` of the images or of the objects were skipped.

    Args:
        skipped: the counts.
        images, objects: numbers of those that are left.
        source: what the message calls the data, such as their folder.
    """
    for kind, lost, left in (("images", skipped.images, images), ("objects", skipped.objects, objects)):
        if lost > MOST_SKIPPED * (lost + left):
            raise InputError(f"got {source}, of whose {lost + left} {kind} {lost} cannot be used; skipped are {skipped}; expected at most "
                             f"{MOST_SKIPPED:.0%} of each. Correct the files, or allow it with --allow-skipped.")
