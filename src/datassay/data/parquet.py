"""Parquet files of numbers, read some rows at a time: one array, however large the file is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import compute as pc

from datassay.checks import DataError
from datassay.data.out_of_core import SMALL, Table, is_large, room

_ENTRIES = 2**22  # of the rows read at a time: 32 MB in float64


def read_all(path: Path) -> pa.Table:
    try:
        return pq.read_table(path)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None


def read_numbers(path: Path, leave: Sequence[str | None], like: Any = None) -> Table | np.ndarray | None:
    """The columns but those to ``leave``, if they are best read as an array; else None.

    That is one column of lists, an array; or numbers alone, a table, if it is large or was in ``like``, the training rows.
    """
    file = _opened(path)
    with file:
        columns = [c for c in _names(file) if c not in leave]
        types = [file.schema_arrow.field(c).type for c in columns if file.schema_arrow.names.count(c) == 1]
        n = file.metadata.num_rows
        if n == 0 or len(types) < len(columns):
            return None
        if len(columns) == 1 and _is_vector(types[0]):
            return _vectors(path, file, columns[0])
        if isinstance(like, Table):
            for c in like.columns:
                if c not in columns:
                    raise DataError(f"the validation rows in {path} have no column {c!r}; they have {columns[:10]}.")
                if not _is_number(file.schema_arrow.field(c).type):
                    raise DataError(f"column {c!r} is numbers in the training rows, but not in {path}.")
            return _table(path, file, like.columns)
        if like is None and is_large((n, len(columns))) and all(map(_is_number, types)):
            return _table(path, file, columns)
        return None


def read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns alone, as `read_all` has them."""
    try:
        with _opened(path) as file:
            return file.read(list(columns)).to_pandas()
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None


def names_of(path: Path) -> list[str]:
    with _opened(path) as file:
        return _names(file)


def _opened(path: Path) -> pq.ParquetFile:
    try:  # mapped: a group of rows can be as large as the file, and would be read into memory as it is packed
        return pq.ParquetFile(path, memory_map=True)
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} can't be read as Parquet: {str(error).splitlines()[0]}.")


def _names(file: pq.ParquetFile) -> list[str]:
    """The columns, without those in which pandas kept the frame's index."""
    index = (file.schema_arrow.pandas_metadata or {}).get("index_columns", [])
    return [c for c in file.schema_arrow.names if c not in [i for i in index if isinstance(i, str)]]


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_vector(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return lists and _is_number(kind.value_type)


def _dtype(file: pq.ParquetFile, columns: Sequence[str], types: Sequence[pa.DataType]) -> np.dtype:
    """float64, or the smaller type in which the numbers came; float32 for small integers with gaps."""
    dtype = np.result_type(*(kind.to_pandas_dtype() for kind in types))
    if dtype not in SMALL:
        return np.dtype(np.float64)
    return np.dtype(np.float32) if dtype.kind in "iu" and _has_gaps(file, columns) else dtype


def _has_gaps(file: pq.ParquetFile, columns: Sequence[str]) -> bool:
    """Whether a cell may be empty, by the counts in the file."""
    about, leaves = file.metadata, []
    for j in range(about.num_columns):
        path = about.schema.column(j).path  # of a list: its name, then how it is nested
        if path in columns or path.split(".")[0] in columns:
            leaves.append(j)
    for group in range(about.num_row_groups):
        for j in leaves:
            counted = about.row_group(group).column(j).statistics
            if counted is None or not counted.has_null_count or counted.null_count:
                return True
    return False


def _batches(path: Path, file: pq.ParquetFile, columns: Sequence[str], rows: int) -> Iterator[tuple[slice, Any]]:
    start = 0
    try:
        for batch in file.iter_batches(batch_size=max(1, rows), columns=list(columns)):
            yield slice(start, start + batch.num_rows), batch
            start += batch.num_rows
    except (pa.ArrowInvalid, OSError) as error:
        raise _unreadable(path, error) from None


def _table(path: Path, file: pq.ParquetFile, columns: list[str]) -> Table:
    types = [file.schema_arrow.field(c).type for c in columns]
    values = room((file.metadata.num_rows, len(columns)), _dtype(file, columns, types))
    for rows, batch in _batches(path, file, columns, _ENTRIES // len(columns)):
        block = np.empty((batch.num_rows, len(columns)), values.dtype)
        for j, c in enumerate(columns):  # the file's order is not always the asked one
            block[:, j] = _plain(batch.column(batch.schema.get_field_index(c)))
        values[rows] = block
    return Table(values, columns)


def _vectors(path: Path, file: pq.ParquetFile, column: str) -> np.ndarray:
    """(n, d): the lists of the column, each a row; NaN throughout where there is none."""
    n, kind = file.metadata.num_rows, file.schema_arrow.field(column).type.value_type
    d = _length(path, file, column)
    dtype = _dtype(file, [column], [kind])
    if dtype == np.float64 and is_large((n, d)):
        dtype = np.dtype(np.float32)
    values = room((n, d), dtype)
    for rows, batch in _batches(path, file, [column], _ENTRIES // d):
        lists = batch.column(0)
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        here = np.asarray(lists.is_valid())
        if len(other := np.flatnonzero(here & (lengths != d))):
            row = int(other[0])
            raise DataError(
                f"column {column!r} of {path} holds lists of several lengths, {d} numbers in its first and "
                f"{int(lengths[row])} in row {rows.start + row}: they must be of one length."
            )
        if here.all():
            values[rows] = _plain(lists.flatten()).reshape(-1, d)
        else:
            block = np.full((batch.num_rows, d), np.nan, dtype)
            block[here] = _plain(lists.filter(lists.is_valid()).flatten()).reshape(-1, d)
            values[rows] = block
    return values


def _length(path: Path, file: pq.ParquetFile, column: str) -> int:
    """Of the first list that is there."""
    for _, batch in _batches(path, file, [column], 64):
        present = pc.list_value_length(batch.column(0)).drop_null()
        if len(present) and present[0].as_py():
            return int(present[0].as_py())
        if len(present):
            break
    raise DataError(f"column {column!r} of {path} holds no numbers: its lists are empty.")


def _plain(numbers: pa.Array) -> np.ndarray:
    """With NaN where there is none."""
    return np.asarray(numbers.to_numpy(zero_copy_only=False))
