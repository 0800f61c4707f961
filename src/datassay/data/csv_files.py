"""CSV, strictly: every row as long as the header, labels and ids as they are written."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import compute as pc
from pyarrow import csv

from datassay.checks import DataError
from datassay.data.names import listed

COMPRESSED = {".gz": "gzip", ".zst": "zstd", ".bz2": "bz2"}


NOTHING = ["", "NA", "N/A", "NaN", "nan", "null", "NULL", "?", "n/a", "#N/A", "<NA>"]  # cells that say that there is nothing


_NUMBER = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"


_DECIMAL = re.compile(_NUMBER)


def read_csv(path: Path, label: str | None, id: str | None, encoding: str) -> pa.Table:
    """Strict: every row has as many fields as the header. Labels and ids stay as they are written."""
    ragged: list[Any] = []

    def remember(row: Any) -> str:
        ragged.append(row)
        return "skip"

    def parsed(only: Sequence[str], null_values: list[str], column_types: dict[str, Any] | None = None) -> pa.Table:
        return csv.read_csv(
            pa.BufferReader(content),
            # one block: the row numbers of errors count from the top, and a column's type is settled by all its cells
            read_options=csv.ReadOptions(block_size=len(content) + 1, use_threads=False),
            parse_options=csv.ParseOptions(delimiter=separator, invalid_row_handler=remember, newlines_in_values=True),
            convert_options=csv.ConvertOptions(
                include_columns=list(only), strings_can_be_null=True, null_values=null_values, column_types=column_types
            ),
        )

    try:
        content = content_of(path)
        text = content.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
        if said := re.match(r'"?sep=(.)"?\r?\n', text):  # as Excel writes it
            text = text[said.end() :]
        content = text.encode()
        first = text.split("\n", 1)[0]
        separator = said[1] if said else max([",", ";", "\t", "|"], key=first.count)
        table = parsed([], null_values=NOTHING)
        _check_header(path, table.column_names)
        as_written = [c for c in (label, id) if c is not None and table.column_names.count(c) == 1]
        if as_written and not ragged:
            plain = parsed(as_written, null_values=[""], column_types=dict.fromkeys(as_written, pa.string()))
            for c in as_written:
                held = plain.column(c)
                if c == label and c != id:
                    _check_commas(path, c, held)
                    held = _without_words(held)
                table = table.set_column(table.column_names.index(c), c, _as_number(held, whole=c == id))
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise DataError(
            f"{path} is not {encoding} text (line {line}): pass its encoding, such as latin-1 or utf-16."
        ) from None
    except LookupError:
        raise DataError(f"there is no encoding {encoding!r}; utf-8, latin-1 and utf-16 are common.") from None
    except pa.ArrowInvalid as error:
        raise DataError(f"{path} can't be read as CSV: {str(error).splitlines()[0]}.") from None
    except OSError as error:
        raise DataError(f"{path} can't be read: {error}.") from None
    if ragged:
        row = ragged[0]
        where = f"line {row.number}" if row.number is not None else "a line"
        raise DataError(
            f"{path} is ragged: {where} has {row.actual_columns} fields, the header {row.expected_columns} "
            f"({len(ragged)} such lines): {row.text[:80]!r}; quote fields that hold the separator {separator!r}, or mend them."
        )
    return _tidied(table, [label, id])


def content_of(path: Path, most: int | None = None) -> bytes:
    """The bytes of a file, or its first ones; of one that is compressed, what was in it."""
    kind = COMPRESSED.get(path.suffix.lower())
    try:
        with path.open("rb") as file:  # Arrow itself opens no file whose name is no UTF-8
            if kind is None:
                return file.read() if most is None else file.read(most)
            with pa.input_stream(file, compression=kind) as stream:
                content: bytes = stream.read() if most is None else stream.read(most)
    except OSError as error:
        raise DataError(f"{path} can't be read: {error}.") from None
    return content


def _check_header(path: Path, names: list[str]) -> None:
    """A first line of numbers is a row, and the names of the columns are missing."""
    numbers = [name for name in names if _DECIMAL.fullmatch(name)]
    if len(names) > 1 and len(numbers) >= len(names) - 1 and any("." in name for name in numbers):
        raise DataError(
            f"the first line of {path} holds numbers ({listed(names[:5])}), and would be lost as column names: put a line of "
            "names above it."
        )


def _check_commas(path: Path, column: str, labels: pa.ChunkedArray) -> None:
    """Numbers with commas would be classes of text."""
    there = pc.drop_null(labels)
    odd = pc.filter(there, pc.match_substring_regex(there, r"^\s*[+-]?\d+([.,' ]\d+)*[,'](\d+)([.,]\d+)?\s*$"))
    if len(odd) and pc.all(pc.match_substring_regex(there, r"^\s*[+-]?\d+([.,' ]\d+)*\s*$")).as_py():
        raise DataError(
            f"{path}: the labels in column {column!r} are numbers with commas or marks between digits, such as {odd[0].as_py()!r}: "
            "write amounts with a decimal point and without thousands separators; several labels a row are not supported."
        )


def _without_words(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Among numbers, words and blanks that stand for a gap become one; all else stays as it is."""
    words = pc.is_in(pc.utf8_trim_whitespace(column), value_set=pa.array([*NOTHING, "None", "none", "-", "--", "."]))
    rest = pc.drop_null(pc.filter(column, pc.invert(words)))
    if len(rest) and pc.any(words).as_py() and pc.all(pc.match_substring_regex(rest, _NUMBER)).as_py():
        return pc.if_else(words, pa.scalar(None, pa.string()), column)
    return column


def _tidied(table: pa.Table, as_written: Sequence[str | None]) -> pa.Table:
    """Blank cells of text are empty; a column of numbers and words for gaps is one of numbers; one without name or cells goes."""
    blank = [j for j, name in enumerate(table.column_names) if not name.strip()]
    empty = [j for j in blank if table.column(j).null_count == len(table)]  # of a separator at the end of each line
    names = [f"Unnamed: {j}" if j in blank and len(blank) - len(empty) > 1 else c for j, c in enumerate(table.column_names)]
    table = table.rename_columns(names)
    for j, name in enumerate(names):
        column = table.column(j)
        if not pa.types.is_string(column.type) or name in as_written:
            continue
        gaps = pc.equal(pc.utf8_trim_whitespace(column), "")
        new = pc.if_else(gaps, pa.scalar(None, pa.string()), column) if pc.any(gaps).as_py() else column
        new = _without_words(new)
        there = pc.drop_null(new)
        if new is not column and len(there) and pc.all(pc.match_substring_regex(there, _NUMBER)).as_py():
            new = pc.cast(pc.utf8_trim_whitespace(new), pa.float64())
        if new is not column:
            table = table.set_column(j, name, new)
    return table.select([j for j in range(len(names)) if j not in empty])


def _as_number(column: pa.ChunkedArray, whole: bool) -> pa.ChunkedArray:
    """Text of whole numbers alone, or unless ``whole`` of decimals alone, becomes numbers; where "007" is among it, all stays text.

    So it does where a number would be another one than is written: whole numbers beyond 64 bits, decimals beyond 2^53.
    """
    if pc.all(pc.match_substring_regex(column, r"^-?(0|[1-9]\d{0,17})$")).as_py():
        return pc.cast(column, pa.int64())
    if whole or not pc.all(pc.match_substring_regex(column, r"^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$")).as_py():
        return column
    if pc.all(pc.match_substring_regex(column, r"^-?\d+$")).as_py():
        try:
            return pc.cast(column, pa.int64())
        except pa.ArrowInvalid:
            return column
    numbers = pc.cast(column, pa.float64())
    large = pc.greater_equal(pc.abs(numbers), 2.0**53)
    pairs = zip(pc.filter(column, large).to_pylist(), pc.filter(numbers, large).to_pylist(), strict=True)
    return numbers if all(math.isfinite(x) and Decimal(text) == Decimal(repr(x)) for text, x in pairs) else column
