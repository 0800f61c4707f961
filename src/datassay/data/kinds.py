"""What other tools write, as the kinds that can be valued and saved: decimals, durations, bytes, Arrow's types, lists of numbers."""

from __future__ import annotations

import datetime as dt
import uuid
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from datassay.checks import DataError

_DAY = np.timedelta64(1, "D")


def plain_labels(labels: np.ndarray, name: str) -> np.ndarray:
    """Labels or ids of kinds that have no place in a file as numbers or text: all else as it came.

    Decimals become whole numbers where all are, else decimals in float64 (ids: text, where these would fall together);
    durations days; bytes text if they are in UTF-8, else (ids) their digits; UUIDs, times, periods and intervals text.
    """
    if labels.ndim != 1 or labels.dtype.kind not in "OSm":
        return labels
    if labels.dtype.kind == "m":
        return _days(labels) if name != "ids" else labels.astype(str)
    kinds = {type(v) for v in labels}
    there = kinds - {type(None), type(pd.NaT), float}
    if not there:
        return labels
    if there <= {Decimal, int} and Decimal in there:
        return _from_decimals(labels, name)
    if all(issubclass(kind, dt.timedelta) for kind in there):
        durations = pd.to_timedelta(pd.Series(labels)).to_numpy()
        return _days(durations) if name != "ids" else durations.astype(str)
    if there <= {bytes, np.bytes_}:
        return _changed(labels, lambda cell: _text_of(cell, name), (bytes,))
    if there <= {uuid.UUID, dt.time, pd.Period, pd.Interval}:
        return _changed(labels, str, (uuid.UUID, dt.time, pd.Period, pd.Interval))
    return labels


def check_savable(labels: np.ndarray, name: str) -> None:
    """Refuse labels or ids that a file of values could not hold, before anything is calculated.

    >>> check_savable(np.array([1, 2]), "y")
    >>> check_savable(np.array([1j, 2j]), "y")
    Traceback (most recent call last):
    ...
    datassay.checks.DataError: y holds 1j in row 0, and labels are numbers, text, dates or tuples of these: turn them into text.
    """
    if labels.dtype.kind in "biufUM":
        return
    if labels.dtype == object and {type(label) for label in labels} <= {str, int, float, bool, type(None)}:
        return
    row = next((row for row, label in enumerate(labels) if not has_place(label)), None)
    if row is not None:
        label, what = labels[row], "ids" if name == "ids" else "labels"
        several = isinstance(label, list | set | frozenset | dict | np.ndarray) and name != "ids"
        way = (
            "several labels a row are not supported: give one, or a data set for each" if several else "turn them into text"
        )
        raise DataError(
            f"{name} holds {_short(label)} in row {row}, and {what} are numbers, text, dates or tuples of these: {way}."
        )


def has_place(label: Any) -> bool:
    """Whether a file of values can hold it: a number, text, a truth value, a date, nothing, or a tuple of these.

    >>> has_place(("a", 1)), has_place(frozenset("a"))
    (True, False)
    """
    if isinstance(label, tuple):
        return all(map(has_place, label))
    if isinstance(label, np.generic):
        label = label.item()
    return label is None or label is pd.NA or isinstance(label, str | int | float | dt.date)


def _short(label: Any) -> str:
    shown = repr(label.item() if isinstance(label, np.generic) else label)
    return shown if len(shown) <= 60 else f"{shown[:60]}..."


def plain_frame(frame: pd.DataFrame, name: str) -> pd.DataFrame:
    """A frame whose columns are numbers, dates, truth values or text: Arrow's types as pandas has them, bytes as text, lists of
    numbers as a column for each."""
    parts: dict[int, pd.Series | pd.DataFrame] = {}
    for j, dtype in enumerate(frame.dtypes):
        if isinstance(dtype, np.dtype) and dtype.kind in "iufbM":
            continue
        column = frame.iloc[:, j]
        new = _plain_column(column, f"column {str(frame.columns[j])!r} of {name}")
        if new is not column:
            parts[j] = new
    if not parts:
        return frame
    whole = [parts[j] if j in parts else frame.iloc[:, [j]] for j in range(frame.shape[1])]
    return pd.concat([part.to_frame() if isinstance(part, pd.Series) else part for part in whole], axis=1)


def _plain_column(column: pd.Series, where: str) -> Any:
    dtype = column.dtype
    if isinstance(dtype, pd.ArrowDtype):
        kind = dtype.pyarrow_dtype
        if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
            return column
        new = _to_pandas(column, where)
        return _plain_column(new, where) if new.dtype == object else new
    if isinstance(dtype, pd.PeriodDtype):
        return column.dt.to_timestamp()
    if not pd.api.types.is_object_dtype(dtype):
        return column
    present = column.dropna()
    first = present.iloc[0] if len(present) else None
    if isinstance(first, bytes):
        try:
            return column.map(lambda cell: cell.decode() if isinstance(cell, bytes) else cell)
        except UnicodeDecodeError:
            raise DataError(f"{where} holds bytes that are no text: leave it out (drop).") from None
    if isinstance(first, list | tuple | np.ndarray):
        return _expanded(column, where)
    return column


def _to_pandas(column: pd.Series, where: str) -> pd.Series:
    try:
        values = pa.array(column.array)
        new: pd.Series = values.to_pandas()
    except (pa.ArrowException, ValueError, OverflowError) as error:
        raise DataError(f"{where} can't be read ({str(error).splitlines()[0]}): cast it, or leave it out (drop).") from None
    return new.set_axis(column.index).rename(column.name)


def _expanded(column: pd.Series, where: str) -> pd.DataFrame:
    """Lists of numbers of one length, also nested, as a column for each number."""
    array = numbers_of(column, where)
    inner = array.shape[1:]
    names = [f"{column.name}[{', '.join(map(str, at))}]" for at in np.ndindex(*inner)]
    return pd.DataFrame(array.reshape(len(array), -1), columns=names, index=column.index)


def numbers_of(column: pd.Series, where: str) -> np.ndarray:
    """(n, ...) the lists of numbers in a column; NaN where there is none."""
    here = column.notna().to_numpy()
    cells = [np.asarray(_nested(cell)) if here[i] else None for i, cell in enumerate(column)]
    shape = next(cell.shape for cell in cells if cell is not None)
    for i, cell in enumerate(cells):
        if cell is None:
            continue
        if cell.dtype.kind not in "iufb" or cell.size == 0:
            raise DataError(f"{where} holds lists, but not of numbers (row {i}): leave it out (drop).")
        if cell.shape != shape:
            a, b = ("x".join(map(str, s)) for s in (shape, cell.shape))
            raise DataError(
                f"{where} holds lists of several lengths, {a} in its first and {b} in row {i}: pad them, or leave it out."
            )
    out = np.full((len(column), *shape), np.nan)
    for i, cell in enumerate(cells):
        if cell is not None:
            out[i] = cell
    return out


def _nested(cell: Any) -> Any:
    """Arrays of arrays, as pandas has nested lists, as lists of lists."""
    if isinstance(cell, np.ndarray) and cell.dtype != object:
        return cell
    if isinstance(cell, list | tuple | np.ndarray):
        inner = [_nested(v) for v in cell]
        try:
            return np.array([np.nan if v is None else v for v in inner])
        except ValueError:  # of several lengths
            return np.empty(0, dtype=object)
    return cell


def _from_decimals(values: np.ndarray, name: str) -> np.ndarray:
    gaps = pd.isna(values)
    if not gaps.any() and all(_finite(v) and v == int(v) and abs(v) < 2**63 for v in values):
        return np.array([int(v) for v in values], np.int64)
    numbers = np.array([np.nan if gap else float(v) for v, gap in zip(values, gaps, strict=True)])
    if name == "ids" and (gaps.any() or len(np.unique(numbers)) < len(set(values))):
        return _changed(values, str, (Decimal,))
    return numbers


def _finite(value: Any) -> bool:
    return not isinstance(value, Decimal) or value.is_finite()


def _days(durations: np.ndarray) -> np.ndarray:
    return np.where(np.isnat(durations), np.nan, durations / _DAY)


def _text_of(cell: bytes, name: str) -> str:
    try:
        return cell.decode()
    except UnicodeDecodeError:
        if name == "ids":
            return str(uuid.UUID(bytes=bytes(cell))) if len(cell) == 16 else cell.hex()
        raise DataError(f"{name} holds bytes that are no text in UTF-8 ({cell[:20]!r}): decode them.") from None


def _changed(values: np.ndarray, change: Any, kinds: tuple[type, ...]) -> np.ndarray:
    out = np.empty(len(values), dtype=object)
    out[:] = [change(v) if isinstance(v, kinds) else v for v in values]
    return out
