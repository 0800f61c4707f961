"""To how many pixels a side images are brought: as asked, or where they are of several sizes, to a size that is chosen."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np

from datassay.checks import DataError
from datassay.engines import machine

WORKING = 64  # pixels a side; what is made of images without a network looks at 32
FOR_MODELS = 224  # what networks that were trained on photographs expect


class SeveralSizesError(DataError):
    """Rows, or images, are of several shapes."""


class Side:
    """What was asked for (None: images stay as they are), and what was chosen where images of several sizes came.

    ``most`` is the largest that is chosen; None: none is.
    """

    def __init__(self, asked: int | None, most: int | None = WORKING) -> None:
        self.asked, self.most = asked, most
        self.chosen: int | None = None
        self.note: str | None = None
        if asked is None:
            return
        need, have = 9.0 * asked * asked, machine.available_memory()  # three colours; pillow holds two, the array is a third
        if have and need > have:
            raise DataError(
                f"image_size (--image-size) {asked}: one image of {asked} x {asked} pixels needs {machine.size(need)} of memory, "
                f"and {machine.size(have)} are free: give a smaller size, such as 224."
            )

    @property
    def pixels(self) -> int | None:
        return self.chosen if self.asked is None else self.asked

    @property
    def open(self) -> bool:
        """Whether one may be chosen."""
        return self.pixels is None and self.most is not None

    def choose(self, sizes: Iterable[tuple[int, int]]) -> None:
        """The middle of the shorter sides, at most ``most``: few images are blown up."""
        assert self.most is not None
        each = np.array(list(sizes), dtype=np.int64).reshape(-1, 2)
        self.chosen = min(self.most, max(1, int(np.median(each.min(axis=1)))))
        self.note = (
            f"images of {each.min()} to {each.max()} pixels a side were brought to {self.chosen}x{self.chosen}: image_size (--image-size) "
            "gives another size"
        )


def size_of(picture: Any) -> tuple[int, int]:
    """Width and height of a PIL image."""
    width, height = picture.size
    return int(width), int(height)
