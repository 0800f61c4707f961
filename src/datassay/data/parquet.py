"""Parquet, a file or a folder of parts: tables, and numbers read some rows at a time into one array, however many they are."""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import compute as pc
from pyarrow import dataset, feather
from pyarrow.fs import LocalFileSystem

from datassay.checks import DataError
from datassay.data.out_of_core import SMALL, Table, counts_rows, is_large, room

SUFFIXES = (".parquet", ".pq")
_ENTRIES = 2**22  # of the rows read at a time: 32 MB in float64


class _File:
    """One file, opened; its schema is asked for once, since pyarrow builds it anew each time."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:  # mapped: a group of rows can be as large as the file, and would be read into memory as it is packed
            self._file = pq.ParquetFile(path, memory_map=True)
        except pa.ArrowNotImplementedError as error:  # of one column, which it does not name, and then none can be read
            raise DataError(
                f"{path} has a column of a type that pyarrow does not know ({str(error).splitlines()[0]}): write that column "
                "as 64-bit integers, decimals or text."
            ) from None
        except (pa.ArrowException, OSError) as error:
            raise _unreadable(path, error) from None
        self.schema = self._file.schema_arrow
        self.about = [self._file.metadata]

    def __enter__(self) -> _File:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def table(self, columns: Sequence[str] | None) -> pa.Table:
        return pq.read_table(self.path) if columns is None else self._file.read(list(columns))

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        return self._file.iter_batches(batch_size=rows, columns=list(columns))


class _Folder:
    """The parts in a folder one below the other, in the order of their paths; folders called c=value make a column c."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about: list[pq.FileMetaData] = []
        schemas: list[pa.Schema] = []
        first = None
        for part in (parts := parts_in(path)):
            with _File(part) as file:
                schemas.append(file.schema)
                self.about += file.about
            names = _names(file.schema)
            first = names if first is None else first
            if odd := set(first) ^ set(names):
                name = min(odd)
                what = f"has no column {name!r}" if name in first else f"has a column {name!r}"
                raise DataError(
                    f"{part} {what}, which {parts[0]} has{'' if name in first else ' not'}: all parts of {path} must have the "
                    "same columns."
                )
        try:
            parted = functools.partial(
                dataset.dataset,
                [part.resolve().as_posix() for part in parts],
                format=dataset.ParquetFileFormat(
                    default_fragment_scan_options=dataset.ParquetFragmentScanOptions(pre_buffer=False)
                ),
                partitioning=dataset.partitioning(flavor="hive"),
                partition_base_dir=path.resolve().as_posix(),
                filesystem=LocalFileSystem(use_mmap=True),
            )
            schema = pa.unify_schemas([one.remove_metadata() for one in schemas], promote_options="permissive")
            inside = set(schema.names)
            for field in parted().schema:
                if field.name not in inside:  # of the folders
                    schema = schema.append(field)
            self.schema = schema.with_metadata(schemas[0].metadata)
            self._rows = parted(schema=self.schema)
        except (pa.ArrowInvalid, pa.ArrowTypeError, OSError) as error:
            raise _unreadable(path, error) from None

    def __enter__(self) -> _Folder:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        pass

    def table(self, columns: Sequence[str] | None) -> pa.Table:
        return self._rows.to_table(columns=columns)

    def batches(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        # one part at a time, and no more of it than is asked for
        return self._rows.to_batches(
            columns=list(columns), batch_size=rows, batch_readahead=1, fragment_readahead=1, use_threads=False
        )


def parts_in(folder: Path) -> list[Path]:
    """The Parquet files in a folder and below, in the order of their paths; what begins with _ or . is none.

    Where none is called so, as Hive has it (000000_0), files without a suffix count by how they begin.
    """
    inside = [f.relative_to(folder).parts for f in folder.rglob("*") if f.suffix.lower() in SUFFIXES and f.is_file()]
    if not inside:
        inside = [f.relative_to(folder).parts for f in folder.rglob("*") if not f.suffix and _begins(f)]
    return [folder.joinpath(*parts) for parts in sorted(inside) if not any(p.startswith((".", "_")) for p in parts)]


def _begins(path: Path) -> bool:
    if not path.is_file():
        return False
    with path.open("rb") as file:
        return file.read(4) == b"PAR1"


def read_all(path: Path, but: Sequence[str] = ()) -> pd.DataFrame:
    """All columns, or those that are not to be left out, which then are not read."""
    with _opened(path) as file:
        some = [c for c in file.schema.names if c not in but] if set(but) & set(file.schema.names) else None
        return _frame_of(_table_of(file, some), path)


def read_feather(path: Path) -> pd.DataFrame:
    try:
        table = feather.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} can't be read as Feather: {str(error).splitlines()[0]}.") from None
    return _frame_of(table, path)


def read_columns(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    """Some columns alone, as `read_all` has them."""
    with _opened(path) as file:
        frame = _frame_of(_table_of(file, columns), path)
    kept = [c for c in frame.index.names if c in columns and c not in frame]
    return frame.reset_index(level=kept) if kept else frame


def index_of(path: Path) -> list[str]:
    """The columns in which pandas kept the frame's index."""
    with _opened(path) as file:
        return [c for c in file.schema.names if c not in _names(file.schema)]


def names_of(path: Path) -> list[str]:
    with _opened(path) as file:
        return _names(file.schema)


def read_numbers(path: Path, leave: Sequence[str | None], like: Any = None) -> Table | np.ndarray | None:
    """The columns but those to ``leave``, if they are best read as an array; else None.

    That is one column of lists, an array; or numbers alone, a table, if it is large or was in ``like``, the training rows.
    """
    with _opened(path) as file:
        columns = [c for c in _names(file.schema) if c not in leave]
        kinds = {field.name: field.type for field in file.schema}
        n = sum(about.num_rows for about in file.about)
        if n == 0 or len(kinds) < len(file.schema) or not columns:
            return None
        if len(columns) == 1 and _is_vector(kinds[columns[0]]):
            return _vectors(file, columns[0], kinds[columns[0]].value_type)
        if isinstance(like, Table):
            for c in like.columns:
                if c not in kinds:
                    raise DataError(f"the validation rows in {path} have no column {c!r}; they have {columns[:10]}.")
                if not _is_number(kinds[c]):
                    raise DataError(f"column {c!r} is numbers in the training rows, but not in {path}.")
            return _table(file, like.columns, [kinds[c] for c in like.columns])
        types = [kinds[c] for c in columns]
        if like is None and is_large((n, len(columns))) and all(map(_is_number, types)):
            notes = _counters(file, columns, types) if len(columns) > 1 else {}
            if notes and len(notes) < len(columns):
                columns = [c for c in columns if c not in notes]
                types = [kinds[c] for c in columns]
            return replace(_table(file, columns, types), notes=tuple(notes.values()))
        return None


def _counters(file: _File | _Folder, columns: Sequence[str], types: Sequence[pa.DataType]) -> dict[str, str]:
    """The columns that count the rows from 0 or 1, and a sentence for each, as `Dataset` has it for frames."""
    found = {}
    for c in (c for c, kind in zip(columns, types, strict=True) if pa.types.is_integer(kind)):
        first, n = None, 0
        for _, batch in _batches(file, [c], _ENTRIES // 8):
            if batch.num_rows == 0:
                continue
            cells = batch.column(0)
            first = cells[0].as_py() if first is None else first
            if first not in (0, 1) or cells.null_count or cells[-1].as_py() != first + n + batch.num_rows - 1:
                break
            if (np.diff(_plain(cells).astype(np.int64)) != 1).any():
                break
            n += batch.num_rows
        else:
            if n >= 50 and first is not None:
                found[c] = counts_rows(c, first, n)
    return found


def _opened(path: Path) -> _File | _Folder:
    return _Folder(path) if path.is_dir() else _File(path)


def _table_of(file: _File | _Folder, columns: Sequence[str] | None) -> pa.Table:
    try:
        return file.table(columns)
    except (pa.ArrowException, OSError) as error:
        names = file.schema.names if columns is None else columns
        if len(names) > 1 and len(odd := [c for c in names if not _reads(file, c)]) < len(names) and odd:
            raise _odd_column(file.path, odd[0], error) from None
        raise _unreadable(file.path, error) from None


def _reads(file: _File | _Folder, column: str) -> bool:
    try:
        file.table([column])
    except (pa.ArrowException, OSError):
        return False
    return True


def _frame_of(table: pa.Table, path: Path) -> pd.DataFrame:
    """As pandas has it; times of day without their nanoseconds, which Python's have not."""
    for j, field in enumerate(table.schema):
        if field.type == pa.time64("ns"):
            table = table.set_column(j, field.name, table.column(j).cast(pa.time64("us"), safe=False))
    try:
        return _with_class_names(table.to_pandas(), table.schema)
    except (
        pa.ArrowException,
        ValueError,
        OverflowError,
        KeyError,
        TypeError,
        AttributeError,
    ) as error:  # damaged metadata, too
        for name in table.schema.names:
            try:
                table.select([name]).replace_schema_metadata(None).to_pandas()
            except (pa.ArrowException, ValueError, OverflowError) as its:
                raise _odd_column(path, name, its) from None
        raise _unreadable(path, error) from None


def _with_class_names(frame: pd.DataFrame, schema: pa.Schema) -> pd.DataFrame:
    """Names in place of the numbers of classes, where Hugging Face wrote them along; None for -1, "no label" there."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        named = {c: kind["names"] for c, kind in features.items() if kind.get("_type") == "ClassLabel"}
    except (KeyError, ValueError, TypeError, AttributeError):
        return frame
    for c, classes in named.items():
        if c in frame and pd.api.types.is_numeric_dtype(frame[c]):
            codes = frame[c].fillna(-1).to_numpy(np.int64)
            if len(codes) and codes.min() >= -1 and codes.max() < len(classes):
                frame[c] = np.array([*classes, None], dtype=object)[codes]
    return frame


def _odd_column(path: Path, name: str, error: Exception) -> DataError:
    what = str(error).splitlines()[0].rstrip(".")
    return DataError(f"column {name!r} of {path} can't be read ({what}): leave it out (drop), or write it as another type.")


def _unreadable(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} can't be read as Parquet: {str(error).splitlines()[0]}.")


def _names(schema: pa.Schema) -> list[str]:
    """The columns, without those in which pandas kept the frame's index."""
    try:
        index = {i for i in (schema.pandas_metadata or {}).get("index_columns", []) if isinstance(i, str)}
    except (ValueError, TypeError, AttributeError):  # the metadata are damaged: `_frame_of` says so where it needs them
        index = set()
    return [c for c in schema.names if c not in index]


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _is_vector(kind: pa.DataType) -> bool:
    lists = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return lists and _is_number(kind.value_type)


def _dtype(file: _File | _Folder, columns: Sequence[str], types: Sequence[pa.DataType]) -> np.dtype:
    """float64, or the smaller type in which the numbers came; float32 for small integers with gaps."""
    dtype = np.result_type(*{kind.to_pandas_dtype() for kind in types})
    if dtype not in SMALL:
        return np.dtype(np.float64)
    return np.dtype(np.float32) if dtype.kind in "iu" and _has_gaps(file, set(columns)) else dtype


def _has_gaps(file: _File | _Folder, columns: set[str]) -> bool:
    """Whether a cell may be empty, by the counts in the file."""
    for about in file.about:
        leaves = []
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


def _batches(file: _File | _Folder, columns: Sequence[str], rows: int) -> Iterator[tuple[slice, Any]]:
    start = 0
    try:
        for batch in file.batches(columns, max(1, rows)):
            yield slice(start, start + batch.num_rows), batch
            start += batch.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(file.path, error) from None


def _table(file: _File | _Folder, columns: list[str], types: Sequence[pa.DataType]) -> Table:
    values = room((sum(about.num_rows for about in file.about), len(columns)), _dtype(file, columns, types))
    for rows, batch in _batches(file, columns, _ENTRIES // len(columns)):
        block = np.empty((batch.num_rows, len(columns)), values.dtype)
        place = {c: j for j, c in enumerate(batch.schema.names)}
        for j, c in enumerate(columns):  # the file's order is not always the asked one
            block[:, j] = _plain(batch.column(place[c]))
        values[rows] = block
    return Table(values, columns)


def _vectors(file: _File | _Folder, column: str, kind: pa.DataType) -> np.ndarray:
    """(n, d): the lists of the column, each a row; NaN throughout where there is none."""
    n, d = sum(about.num_rows for about in file.about), _length(file, column)
    dtype = _dtype(file, [column], [kind])
    if dtype == np.float64 and is_large((n, d)):
        dtype = np.dtype(np.float32)
    values = room((n, d), dtype)
    for rows, batch in _batches(file, [column], _ENTRIES // d):
        lists = batch.column(0)
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)
        here = np.asarray(lists.is_valid())
        if len(other := np.flatnonzero(here & (lengths != d))):
            row = int(other[0])
            raise DataError(
                f"column {column!r} of {file.path} holds lists of several lengths, {d} numbers in its first and "
                f"{int(lengths[row])} in row {rows.start + row}: they must be of one length."
            )
        if here.all():
            values[rows] = _plain(lists.flatten()).reshape(-1, d)
        else:
            block = np.full((batch.num_rows, d), np.nan, dtype)
            block[here] = _plain(lists.filter(lists.is_valid()).flatten()).reshape(-1, d)
            values[rows] = block
    return values


def _length(file: _File | _Folder, column: str) -> int:
    """Of the first list that is there."""
    for _, batch in _batches(file, [column], 64):
        present = pc.list_value_length(batch.column(0)).drop_null()
        if len(present) and present[0].as_py():
            return int(present[0].as_py())
        if len(present):
            break
    raise DataError(f"column {column!r} of {file.path} holds no numbers: its lists are empty.")


def _plain(numbers: pa.Array) -> np.ndarray:
    """With NaN where there is none."""
    return np.asarray(numbers.to_numpy(zero_copy_only=False))
