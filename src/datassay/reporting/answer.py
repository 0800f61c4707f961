"""The page of an answer: what was asked, and the rows that speak for and against it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.reporting.plain import named, plain
from datassay.reporting.rows import Cells, Entries, Pictures, rows_of
from datassay.reporting.summary import check_same
from datassay.values import Values

SAID = ("answer", "asked", "why", "forecast", "verified", "wrong_labels", "method")  # which stand elsewhere on the page
_COMPARED = 6  # columns of rows in one table


def summarize_answer(values: Values, data: Dataset, *, top: int = 24) -> dict[str, Any]:
    """The answer, the rows that are asked about, and those that speak most for and against it.

    Parameters
    ----------
    values, data
        What `explain` found, and the data set that it was given.
    top
        How many rows for the answer and how many against it to show.

    Raises
    ------
    DataError
        If the values are none of `explain`'s, or were computed on other data.
    """
    check_same(values, data)
    if top < 1:
        raise DataError(f"a page of an answer needs top >= 1, got {top}.")
    asked, validation = values.stats["asked"]["rows"], values.stats["asked"]["validation"]
    whole = data.joined() if validation else data  # the rows that are asked about stand behind the others
    at = [one + len(data) if validation else one for one in asked]
    sides = {"for": _strongest(values.scores, set() if validation else set(at), top)}
    sides["against"] = _strongest(-values.scores, set() if validation else set(at), top)
    rows = rows_of(whole, pictures=len(at) + sum(map(len, sides.values())))
    speak = {"for": values.scores > 0, "against": values.scores < 0}
    finite = np.where(np.isfinite(values.scores), values.scores, 0.0)
    most = float(np.abs(finite).max()) or 1.0
    return {
        "question": str(values.stats["answer"]),
        "method": values.method,
        "why": plain(values.stats["why"]),
        "kind": rows.kind,
        "regression": data.task == "regression",
        "rows": len(data),
        "asked": [_asked(whole, rows, one, number, validation) for one, number in zip(at, asked, strict=True)],
        "asked_in_all": int(values.stats["asked"]["of"]),
        "sides": {
            name: {
                "rows": int(speak[name].sum()),
                "total": float(np.abs(finite[speak[name]]).sum()),
                "shown": [_one(values, data, rows, row, most) for row in chosen],
                "tables": _tables(values, data, rows, at, chosen),
            }
            for name, chosen in sides.items()
        },
        "forecast": values.stats.get("forecast"),
        "verified": values.stats.get("verified"),
        "options": named(values.options, len(data)),
        "stats": named({k: v for k, v in values.stats.items() if k not in SAID}, len(data)),
        "hash": data.hash,
        "versions": dict(values.versions),
    }


def _strongest(scores: ndarray, without: set[int], top: int) -> list[int]:
    order = np.argsort(-scores, kind="stable").tolist()
    return [row for row in order if scores[row] > 0 and row not in without][:top]


def _asked(data: Dataset, rows: Pictures | Cells | Entries, row: int, number: int, validation: bool) -> dict[str, Any]:
    own, _ = rows.show(row, [])
    name = f"validation row {number}" if validation else f"row {plain(data.ids[row])}"
    return {"name": name, "label": plain(data.y[row])} | own


def _one(values: Values, data: Dataset, rows: Pictures | Cells | Entries, row: int, most: float) -> dict[str, Any]:
    score = float(values.scores[row])
    own, _ = rows.show(row, [])
    share = min(1.0, abs(score) / most)
    return {"id": plain(values.ids[row]), "label": plain(data.y[row]), "score": plain(score), "share": share} | own


def _tables(
    values: Values, data: Dataset, rows: Pictures | Cells | Entries, at: list[int], chosen: list[int]
) -> list[dict[str, Any]]:
    """Of one row that is asked about: its cells beside those of the rows that speak, a few rows a table."""
    if len(at) != 1 or isinstance(rows, Pictures):
        return []
    tables = []
    for start in range(0, len(chosen), _COMPARED):
        some = chosen[start : start + _COMPARED]
        own, others = rows.show(at[0], some)
        heads = [
            {"id": plain(values.ids[r]), "label": plain(data.y[r]), "score": plain(float(values.scores[r]))} for r in some
        ]
        tables.append(own | {"others": [head | other for head, other in zip(heads, others, strict=True)]})
    return tables
