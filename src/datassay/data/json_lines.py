"""JSON, a row on each line or a list of rows: of Hugging Face, Prodigy, doccano, Label Studio and others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datassay.checks import DataError

_ANSWERS = {"accept", "reject", "ignore"}  # of Prodigy, in the column answer


def read(path: Path, content: bytes, label: str | None, encoding: str) -> pd.DataFrame:
    """A column for each field. A label in a list of one is this one; of rows that Prodigy did not accept there is none."""
    try:
        text = content.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError:
        raise DataError(f"{path} is not {encoding} text: pass its encoding, such as latin-1 or utf-16.") from None
    rows = [_of_label_studio(row, path) for row in _rows(path, text)]
    frame = pd.DataFrame(rows)
    if "answer" in frame and label != "answer" and set(frame["answer"].dropna()) <= _ANSWERS and len(frame):
        own = [c for c in frame if c.startswith("_") and c != label]
        accepted = (frame["answer"] == "accept").to_numpy()
        frame = frame.drop(columns=["answer", *own])
        if label in frame:
            frame[label] = frame[label].astype(object).where(accepted, None)
    if label in frame and frame[label].map(lambda cell: isinstance(cell, list)).any():
        frame[label] = [_single(cell, row, label, path) for row, cell in enumerate(frame[label])]
    for c in frame:
        if frame[c].map(lambda cell: isinstance(cell, dict)).any() and c != label:
            frame = frame.drop(columns=c).join(_fields(frame[c]))
    return frame


def _rows(path: Path, text: str) -> list[Any]:
    if text.lstrip().startswith("["):
        try:
            rows = json.loads(text)
        except ValueError as error:
            raise DataError(f"{path} can't be read as JSON: {error}.") from None
    else:
        rows = []
        for number, line in enumerate(text.split("\n"), 1):
            if line.strip():
                try:
                    rows.append(json.loads(line))
                except ValueError as error:
                    raise DataError(
                        f"{path} needs a row in JSON on each line, and line {number} is none ({error}): mend it."
                    ) from None
    for number, row in enumerate(rows):
        if not isinstance(row, dict):
            raise DataError(f"{path} needs rows with named fields, {{...}}, and row {number} is a {type(row).__name__}.")
    if not rows:
        raise DataError(f"{path} has no rows.")
    return list(rows)


def _of_label_studio(row: dict[str, Any], path: Path) -> dict[str, Any]:
    """A task with its annotations as a row: the data, and for each question what was chosen."""
    if not (isinstance(row.get("data"), dict) and isinstance(row.get("annotations"), list)):
        return row
    chosen: dict[str, list[Any]] = {}
    for annotation in row["annotations"][:1]:  # the first is the one that counts; more are of other people
        for one in [] if annotation.get("was_cancelled") else annotation.get("result", []):
            value = one.get("value", {})
            for kind in ("choices", "rating", "number", "taxonomy"):
                if kind in value:
                    held = value[kind] if isinstance(value[kind], list) else [value[kind]]
                    chosen.setdefault(one.get("from_name", kind), []).extend(held)
    return {"id": row.get("id"), **row["data"], **{name: c[0] if len(c) == 1 else c for name, c in chosen.items()}}


def _single(cell: Any, row: int, label: str | None, path: Path) -> Any:
    if not isinstance(cell, list):
        return cell
    if len(cell) > 1:
        raise DataError(
            f"{path}: row {row} has {len(cell)} labels in {label!r} ({cell[:3]}), and one a row is needed: several labels a row "
            "are not supported; keep one, or make a file for each label."
        )
    return cell[0] if cell else None


def _fields(cells: pd.Series) -> pd.DataFrame:
    """Records as a column for each of their fields."""
    fields = pd.DataFrame([cell if isinstance(cell, dict) else {} for cell in cells], index=cells.index)
    return fields.replace({np.nan: None}).infer_objects().add_prefix(f"{cells.name}.")
