"""What a person sees of a row: its picture, or the cells that tell it from other rows.

Every kind of data has one class here with one method, ``show(row, near)``: the suspect, and the rows beside it.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from datassay.data.dataset import Dataset, is_images
from datassay.reporting.plain import plain
from datassay.reporting.png import data_uri, shrink
from datassay.reporting.typical import Typical

Shown = tuple[dict[str, Any], list[dict[str, Any]]]

_SIDE = 96  # pixels of a thumbnail
_BYTES = 32_000_000  # of all pictures together, before packing: a page of 1,000 suspects must still open
_ALL_CELLS, _SOME_CELLS = 16, 12  # rows up to the first are shown whole, wider ones by so many cells
_FAR_OUT = 5.0  # times as far as what is unusual
_ENTRY = re.compile(r"(.+)\[\d+(?:, \d+)*\]")  # the name of a column that came of a column of lists


class Pictures:
    """(n, h, w) or (n, h, w, c) images."""

    kind = "images"

    def __init__(self, images: np.ndarray, pictures: int) -> None:
        self.images = images if images.ndim == 4 else images[..., None]
        self.made: dict[int, str] = {}
        channels = self.images.shape[3]
        self.side = int(np.clip((_BYTES / max(1, pictures) / channels) ** 0.5, 16, _SIDE))

    @cached_property
    def range(self) -> tuple[float, float]:
        """Black and white, one pair for all images, so that they can be compared."""
        if self.images.dtype == np.uint8:
            return 0.0, 255.0
        low, high = float(self.images.min()), float(self.images.max())
        if not np.isfinite(high - low):
            finite = self.images[np.isfinite(self.images)]
            low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
        return low, high if high > low else low + 1

    def uri(self, row: int) -> str:
        if row not in self.made:
            image = shrink(self.images[row], self.side)
            if image.shape[2] not in (1, 3, 4):
                image = image.mean(axis=2, keepdims=True)
            if image.dtype != np.uint8:
                low, high = self.range
                image = np.nan_to_num((image.astype(np.float64) - low) / (high - low) * 255, posinf=255.0, neginf=0.0)
                image = np.clip(np.round(image), 0, 255).astype(np.uint8)
            self.made[row] = data_uri(image)
        return self.made[row]

    def show(self, row: int, near: list[int]) -> Shown:
        return {"picture": self.uri(row)}, [{"picture": self.uri(other)} for other in near]


class Cells:
    """A frame, or (n, d) numbers."""

    kind = "table"

    def __init__(self, data: Dataset) -> None:
        shown = data.shown
        if isinstance(shown, pd.DataFrame):
            self.names = [str(c) for c in shown.columns]
            shown = shown.astype(object).to_numpy()
        else:
            self.names = _names(data, shown.shape[1])
        self.shown = shown
        self.typical = Typical(data)
        self.told = _telling(self.names)

    def value(self, row: int, column: int) -> Any:
        cell = self.shown[row, column]
        return None if isinstance(cell, float | np.floating) and np.isnan(cell) else plain(cell)

    def show(self, row: int, near: list[int]) -> Shown:
        severity = self.typical.severity(row)
        differs = self.typical.differs(row, near)
        # a number of a list is shown where it is far out
        columns = sorted({*self.told, *np.flatnonzero(severity > _FAR_OUT).tolist()})
        if len(columns) > _ALL_CELLS:  # the most unusual, then those in which most of the rows held against it differ
            order = np.lexsort((-differs.sum(axis=0)[columns], -np.where(severity > 1, severity, 0)[columns]))
            columns = np.sort(np.asarray(columns)[order[:_SOME_CELLS]]).tolist()
        own = []
        for j in columns:
            unusual = bool(severity[j] > 1)
            cell = {"column": self.names[j], "value": self.value(row, j), "unusual": unusual}
            own.append(cell | ({"reason": self.typical.reason(row, j)} if unusual else {}))
        others = [
            {
                "cells": [
                    {"column": self.names[j], "value": self.value(other, j), "differs": bool(differs[k, j])} for j in columns
                ]
            }
            for k, other in enumerate(near)
        ]
        return {"cells": own, "hidden": len(self.names) - len(columns)}, others


class Entries:
    """CSR rows: of thousands of columns, the few with the largest entries here or in the rows held against it."""

    kind = "sparse"

    def __init__(self, data: Dataset) -> None:
        self.shown = sp.csr_array(data.shown)
        self.names = _names(data, self.shown.shape[1])

    def show(self, row: int, near: list[int]) -> Shown:
        few = self.shown[[row, *near]]
        used = np.unique(few.indices)
        dense = few[:, used].toarray()
        here = dense[0] != 0
        weight = np.abs(dense[0]) + (np.abs(dense[1:]).mean(axis=0) if near else 0.0)
        chosen = [int(j) for j in np.argsort(-weight, kind="stable")[:_SOME_CELLS]]
        own = [{"column": self.names[used[j]], "value": plain(dense[0, j]), "unusual": False} for j in chosen]
        others = [
            {
                "cells": [
                    {"column": self.names[used[j]], "value": plain(v[j]), "differs": bool(is_set[j] != here[j])}
                    for j in chosen
                ]
            }
            for v, is_set in zip(dense[1:], dense[1:] != 0, strict=True)
        ]
        left = np.count_nonzero(here) - np.count_nonzero(here[chosen])
        return {"cells": own, "hidden": int(left)}, others


def _telling(names: list[str]) -> list[int]:
    """All columns but those of long lists (embeddings), of which one number says nothing; all where there are no others."""
    lists = [found[1] if (found := _ENTRY.fullmatch(name)) else None for name in names]
    lengths = Counter(lists)
    few = [j for j, of in enumerate(lists) if of is None or lengths[of] <= _ALL_CELLS]
    return few or list(range(len(names)))


def _names(data: Dataset, d: int) -> list[str]:
    """The columns' names; after `Dataset.with_features` those of X are not those of what is shown."""
    return [str(c) for c in data.columns] if len(data.columns) == d else [f"x{j}" for j in range(d)]


def rows_of(data: Dataset, pictures: int) -> Pictures | Cells | Entries:
    """The way to show this data; ``pictures`` is how many the page will hold at most."""
    if is_images(data.shown):
        assert isinstance(data.shown, np.ndarray)
        return Pictures(data.shown, pictures)
    return Entries(data) if sp.issparse(data.shown) else Cells(data)
