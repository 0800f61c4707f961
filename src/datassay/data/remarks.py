"""What is odd about rows and labels, and no error: a sentence on each, and which rows can be used."""

from __future__ import annotations

import re
from collections.abc import Hashable
from typing import Any, Literal

import numpy as np
import pandas as pd

from datassay.data.arriving import as_labels
from datassay.data.encoding import plain
from datassay.data.out_of_core import counts_rows

Task = Literal["classification", "regression"]
NAMED = 5  # rows that an error or a note names, of those that it counts

_NAMELESS = re.compile(r"|Unnamed: \d+(\.\d+)*|__index_level_\d+__|level_\d+")  # how pandas calls what has no name


def infer_task(labels: np.ndarray) -> Task:
    """Regression if the labels are numbers and one of them is not whole.

    >>> infer_task(np.array([0.0, 1.0, 2.0])), infer_task(np.array([0.5, 1.0]))
    ('classification', 'regression')
    """
    if labels.dtype.kind == "f" and np.any(labels != np.round(labels)):
        return "regression"
    return "classification"


def without_counters(frame: Any) -> tuple[Any, list[str]]:
    """A frame without the columns that number its rows, as pandas writes them; and a sentence for each.

    That is a column of whole numbers 0 ... n-1 or 1 ... n in the order of the rows, from 50 rows on, or a column without a
    name of its own ("Unnamed: 0") in which all whole numbers differ.
    """
    if not isinstance(frame, pd.DataFrame):
        return frame, []
    n, counters = len(frame), {}
    whole = [j for j, dtype in enumerate(frame.dtypes) if pd.api.types.is_integer_dtype(dtype)] if n >= 4 else []
    firsts, lasts = ([frame.iloc[row, whole].to_numpy() for row in (0, -1)]) if whole else ((), ())
    for j, first, last in zip(whole, firsts, lasts, strict=True):
        c = frame.columns[j]
        nameless = not isinstance(c, tuple) and bool(_NAMELESS.fullmatch(str(c)))
        counts = not pd.isna(first) and first in (0, 1) and last == first + n - 1 and (nameless or n >= 50)
        if not (nameless or counts) or (column := frame[c]).hasnans:
            continue
        if counts and (np.diff(column.to_numpy(np.int64)) == 1).all():
            counters[c] = counts_rows(str(c), int(first), n)
        elif nameless and column.is_unique:
            counters[c] = (
                f"column {str(c)!r} has no name and another whole number in each row, as an index that was written along: left "
                "out; to value it, turn it into decimals"
            )
    if len(counters) == frame.shape[1]:
        return frame, []
    notes = list(counters.values())
    return (frame.drop(columns=list(counters)) if counters else frame), notes


def have_none(rows: np.ndarray, ids: np.ndarray | None, of: str = "") -> str:
    """That the rows, named and counted, have no label."""
    each = [f"row {r}" + ("" if ids is None else f" (id {plain(ids[r])!r})") for r in rows[:NAMED]]
    if len(rows) == 1:
        return f"{of}{each[0]} has no label"
    return f"{len(rows)} {of}rows have no label ({', '.join(each)}{', ...' if len(rows) > NAMED else ''})"


def without_blanks(labels: np.ndarray, stays: np.ndarray) -> np.ndarray:
    """The labels of the rows that stay; in the type that they would have had without a gap among them."""
    rest = labels[stays]
    return as_labels([plain(v) for v in rest], "y") if labels.dtype == object and pd.isna(labels).any() else rest


def of_use(labels: np.ndarray, task: Task | None, ids: np.ndarray) -> tuple[np.ndarray, list[str]]:
    """Which rows have a label, and one that another row has, too; a sentence on the others."""
    stays, notes = ~pd.isna(labels), []
    if len(blank := np.flatnonzero(~stays)):
        notes.append(f"{have_none(blank, ids)}: left out")
    if (task or infer_task(without_blanks(labels, stays))) == "regression":
        return stays, notes
    counts = pd.Series(labels[stays]).value_counts()
    lone = counts.index[counts == 1]
    if 0 < len(lone) <= stays.sum() / 5 and len(counts) - len(lone) >= 2:
        single = np.flatnonzero(stays)[~pd.Series(labels[stays]).duplicated(keep=False).to_numpy()]
        stays[single] = False
        each = ", ".join(f"{plain(labels[r])!r} in row {r} (id {plain(ids[r])!r})" for r in single[:NAMED])
        more = ", ..." if len(single) > NAMED else ""
        many = "1 label is" if len(single) == 1 else f"{len(single)} labels are"
        notes.append(f"{many} of no other row, {each}{more}: suspects by that alone, and left out; look at them")
    return stays, notes


def about_classes(classes: list[Hashable], codes: np.ndarray, task: Task | None) -> list[str]:
    """Sentences on classes that may be meant otherwise."""
    notes = []
    alike: dict[str, list[str]] = {}
    for c in classes:
        if isinstance(c, str):
            alike.setdefault(" ".join(c.casefold().split()), []).append(c)
    if twins := [names for names in alike.values() if len(names) > 1]:
        some = "; ".join(", ".join(map(repr, names)) for names in twins[:3]) + ("; ..." if len(twins) > 3 else "")
        notes.append(f"classes differ by capitals or blanks alone ({some}): if they are meant as one, write them as one")
    kinds = {type(c) for c in classes}
    if task is not None or len(classes) < 3 or not kinds <= {int, float}:
        return notes
    numbers = sorted(float(c) for c in classes)  # type: ignore[arg-type]
    k, from_0 = len(numbers), numbers == list(range(len(classes)))
    if numbers[0] == -1 and numbers[1:] == list(range(k - 1)):
        notes.append("there is a class -1 beside 0, 1, ...: where it stands for rows without a label, leave these out")
    elif (k >= 5 and not from_0) or (k > 10 and np.bincount(codes).min() < 5):
        notes.append(
            f"the labels are {k} whole numbers from {numbers[0]:g} to {numbers[-1]:g}, taken for classes without an order: "
            "if they are amounts, counts or grades, pass task='regression' (--task regression)"
        )
    return notes
