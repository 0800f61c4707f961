"""A file with decisions done to it, in the form in which it came: what was not decided stays as it is, in CSV byte for byte.

A new label is written as the file has it in a row that bears it.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
from numpy import ndarray
from pyarrow import feather
from pyarrow import parquet as pq

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.decisions.records import Settled
from datassay.files import check_paths, replacing

KINDS = "CSV, JSON lines, Parquet, Feather, npz, or a folder of images"


def write_applied(
    source: str | Path, data: Dataset, decided: Settled, output: str | Path, *, label: str | None = None, encoding: str = "utf-8",
    weights: tuple[str, ndarray] | None = None, force: bool = False,
) -> Path:  # fmt: skip
    """Write the file from which the data were read with the decisions done; a folder of images gives a CSV file of paths and labels.

    Parameters
    ----------
    source
        The file.
    data, decided
        What was read from it, and what was decided about its rows.
    output
        The file to write, of the same form.
    label
        Its column of labels.
    encoding
        Of a CSV file.
    weights
        Name of a column to add, and (n,) what it holds; rows of the file that were not read have none.
    force
        Replace a file of others.

    Raises
    ------
    DataError
        Files of this form can't be written, the source is not what was read, or the output is the source, or a file of others.
    """
    source, output = Path(source), Path(output)
    check_paths([source], [output], force=force, or_force=", or add --force")
    rows = np.flatnonzero(data.kept)  # of the file
    if len(rows) != len(data):
        raise DataError("apply: these rows are not as they were read from the file: read it again.")
    like, number = _examples(data, decided)
    drops = rows[decided.action == "drop"]
    changed: dict[int, tuple[int | None, float]] = {}  # row of the file: a row that bears the new label, or the new number
    for row in np.flatnonzero(decided.action == "relabel"):
        changed[int(rows[row])] = (None if like[row] < 0 else int(rows[like[row]]), float(number[row]))
    kind, more = source.suffix.lower(), None
    if weights is not None:
        more = Added(weights[0], np.full(len(data.kept), np.nan))
        more.of[rows] = weights[1]
    if source.is_dir():
        return _manifest(data, decided, output, weights)
    if kind in (".csv", ".tsv", ".txt"):
        return _csv(source, output, label, encoding, changed, set(drops.tolist()), len(data.kept), more)
    if kind in (".jsonl", ".ndjson"):
        return _json_lines(source, output, label, encoding, changed, set(drops.tolist()), len(data.kept), more)
    if kind in (".parquet", ".pq", ".feather"):
        return _arrow(source, output, label, changed, drops, len(data.kept), kind == ".feather", more)
    if kind == ".npz":
        return _npz(source, output, data, decided, rows, drops, more)
    raise DataError(
        f"apply writes {KINDS}, and {str(source)!r} is none of these: use da.apply, and write the rows from Python."
    )


class Added(NamedTuple):
    """A column that the file gets."""

    name: str
    of: ndarray  #: (rows of the file,) NaN: none

    def absent(self, names: list[str], source: Path) -> None:
        if self.name in names:
            raise DataError(f"{source} has a column {self.name!r} already: give the weights another name.")

    def text(self, row: int) -> str:
        """Six digits are more than a weight knows.

        >>> Added("weight", np.array([0.25, np.nan])).text(0), Added("weight", np.array([0.25, np.nan])).text(1)
        ('0.25', '')
        """
        return "" if np.isnan(self.of[row]) else f"{self.of[row]:.6g}"


def _examples(data: Dataset, decided: Settled) -> tuple[ndarray, ndarray]:
    """(n,) for each relabelled row one that bears the label, -1 in regression; and the new number there."""
    like, number = np.full(len(data), -1), np.full(len(data), np.nan)
    for row in np.flatnonzero(decided.action == "relabel"):
        if data.classes:
            like[row] = int(np.flatnonzero(data.codes == decided.code[row])[0])
        else:
            number[row] = decided.code[row]
    return like, number


# ---------------------------------------------------------------------------------------------------------------- CSV

Field = tuple[int, int]  # where it begins and ends in the text


def records(text: str, separator: str) -> Iterator[tuple[int, int, list[Field]]]:
    """Where each record begins and ends, with its line end, and its fields with their quotes; empty lines are none.

    >>> [text[a:b] for text in ['x,"a,b"\\n\\n1,2'] for _, _, fields in records(text, ",") for a, b in fields]
    ['x', '"a,b"', '1', '2']
    """
    field = re.compile(rf'(?:"(?:[^"]|"")*"[^{re.escape(separator)}\r\n]*|[^{re.escape(separator)}\r\n]*)')
    end = re.compile(r"\r\n|\n|\r")
    at = 0
    while at < len(text):
        begin, fields = at, []
        while True:
            found = field.match(text, at)
            assert found is not None
            fields.append((found.start(), found.end()))
            at = found.end()
            if at < len(text) and text[at] == separator:
                at += 1
                continue
            break
        if newline := end.match(text, at):
            at = newline.end()
        if len(fields) > 1 or fields[0][0] < fields[0][1]:
            yield begin, at, fields


def _csv(
    source: Path, output: Path, label: str | None, encoding: str, changed: dict[int, tuple[int | None, float]], drops: set[int], n: int,
    more: Added | None,
) -> Path:  # fmt: skip
    raw = source.read_bytes()
    mark = b"\xef\xbb\xbf" if raw.startswith(b"\xef\xbb\xbf") else b""
    try:
        text = raw[len(mark) :].decode(encoding)
    except UnicodeDecodeError:
        raise DataError(f"{source} is not {encoding} text: pass its encoding, such as latin-1.") from None
    said = re.match(r'"?sep=(.)"?\r?\n', text)
    start = said.end() if said else 0
    first = text[start:].split("\n", 1)[0]
    separator = said[1] if said else max([",", ";", "\t", "|"], key=first.count)
    lines = list(records(text[start:], separator))
    body = text[start:]
    names = [_unquoted(body[a:b]) for a, b in lines[0][2]] if lines else []
    if label not in names:
        raise DataError(
            f"{source} has no column {label!r} in its first line ({', '.join(map(repr, names[:10]))}): pass --label."
        )
    column, rows = names.index(label), lines[1:]
    if len(rows) != n:
        raise DataError(f"{source} has {len(rows)} rows, and {n} were read: it was changed since.")
    parts, at = [text[:start]], 0
    if more is not None:
        more.absent(names, source)
        at = lines[0][2][-1][1]
        parts += [body[:at], separator, _quoted(more.name, separator)]
    for row, (begin, end, fields) in enumerate(rows):
        if row in drops:
            parts.append(body[at:begin])
            at = end
            continue
        if row in changed:
            a, b = fields[column]
            like, number = changed[row]
            new = body[slice(*rows[like][2][column])] if like is not None else _shortest(number)
            parts += [body[at:a], new]
            at = b
        if more is not None:
            parts += [body[at : fields[-1][1]], separator, more.text(row)]
            at = fields[-1][1]
    parts.append(body[at:])
    with replacing(output) as beside:
        beside.write_bytes(mark + "".join(parts).encode(encoding))
    return output


def _unquoted(field: str) -> str:
    return field[1:-1].replace('""', '"') if len(field) > 1 and field[0] == field[-1] == '"' else field


def _quoted(field: str, separator: str) -> str:
    line = io.StringIO()
    csv.writer(line, delimiter=separator, lineterminator="").writerow([field])
    return line.getvalue()


def _shortest(number: float) -> str:
    return str(int(number)) if float(number).is_integer() and abs(number) < 1e15 else repr(float(number))


# ------------------------------------------------------------------------------------------------------- other formats


def _json_lines(
    source: Path, output: Path, label: str | None, encoding: str, changed: dict[int, tuple[int | None, float]], drops: set[int], n: int,
    more: Added | None,
) -> Path:  # fmt: skip
    """Lines that nothing was done to are there byte for byte; the others have their fields in their order."""
    try:
        text = source.read_bytes().decode(encoding)
    except UnicodeDecodeError:
        raise DataError(f"{source} is not {encoding} text: pass its encoding, such as latin-1.") from None
    mark = "\ufeff" if text.startswith("\ufeff") else ""
    raw = re.findall(r"[^\n]*\n|[^\n]+", text[len(mark) :])
    where = [at for at, line in enumerate(raw) if line.strip()]  # blank lines are no rows
    if len(where) != n:
        raise DataError(f"{source} has {len(where)} rows, and {n} were read: it was changed since.")
    fields: list[dict[str, Any]] = [json.loads(raw[at]) for at in where]
    if label is None or not any(label in one for one in fields):
        raise DataError(f"{source} has no field {label!r}: pass --label.")
    if more is not None:
        more.absent([name for one in fields for name in one], source)
    for row, at in enumerate(where):
        if row in drops:
            raw[at] = ""
            continue
        one = dict(fields[row])
        if row in changed:
            like, number = changed[row]
            one[label] = fields[like][label] if like is not None else json.loads(_shortest(number))
        if more is not None and more.text(row):
            one[more.name] = float(more.text(row))
        if one != fields[row]:
            end = raw[at][len(raw[at].rstrip("\r\n")) :]
            raw[at] = json.dumps(one, ensure_ascii=raw[at].isascii()) + end
    with replacing(output) as beside:
        beside.write_bytes((mark + "".join(raw)).encode(encoding))
    return output


def _arrow(
    source: Path, output: Path, label: str | None, changed: dict[int, tuple[int | None, float]], drops: ndarray, n: int, feathered: bool,
    more: Added | None,
) -> Path:  # fmt: skip
    table = feather.read_table(source) if feathered else pq.read_table(source)
    if label not in table.column_names:
        raise DataError(f"{source} has no column {label!r}: pass --label.")
    if table.num_rows != n:
        raise DataError(f"{source} has {table.num_rows} rows, and {n} were read: it was changed since.")
    at = table.column_names.index(label)
    column = table.column(at)
    if changed:
        taken = np.arange(n)
        numbers: dict[int, float] = {}
        for row, (like, number) in changed.items():
            if like is None:
                numbers[row] = number
            else:
                taken[row] = like
        column = column.take(pa.array(taken))
        if numbers:
            values = column.to_pylist()
            for row, number in numbers.items():
                values[row] = number
            try:
                column = pa.chunked_array([pa.array(values, column.type)])
            except pa.ArrowInvalid as error:
                raise DataError(f"column {label!r} of {source} holds {column.type}: {str(error).splitlines()[0]}.") from None
        table = table.set_column(at, table.schema.field(at), column)
    if more is not None:
        more.absent(table.column_names, source)
        table = table.append_column(more.name, pa.array(more.of, from_pandas=True))
    if len(drops):
        table = table.take(pa.array(np.setdiff1d(np.arange(n), drops)))
    with replacing(output) as beside:
        if feathered:
            feather.write_feather(table, beside)
        else:
            pq.write_table(table, beside, compression=_compression(source))
    return output


def _compression(source: Path) -> str:
    about = pq.ParquetFile(source).metadata
    if about.num_row_groups == 0 or about.num_columns == 0:
        return "snappy"
    found = about.row_group(0).column(0).compression.lower()
    return "none" if found == "uncompressed" else str(found)


def _npz(
    source: Path, output: Path, data: Dataset, decided: Settled, rows: ndarray, drops: ndarray, more: Added | None
) -> Path:
    with np.load(source, allow_pickle=False) as file:
        arrays: dict[str, Any] = {name: file[name] for name in file.files}
    n = len(data.kept)
    y = np.array(arrays["y"])
    new = rows[decided.action == "relabel"]
    codes = decided.code[decided.action == "relabel"]
    y[new] = data.labels_of(codes) if data.classes else codes
    arrays["y"] = y
    stays = np.setdiff1d(np.arange(n), drops)
    added: tuple[str, ...] = ()
    if more is not None:
        more.absent(list(arrays), source)
        arrays[more.name], added = more.of, (more.name,)
    for name in ("X", "y", "ids", *added):
        if name in arrays:
            arrays[name] = arrays[name][stays]
    with replacing(output) as beside, beside.open("wb") as file:
        np.savez(file, **arrays)
    return output


def _manifest(data: Dataset, decided: Settled, output: Path, weights: tuple[str, ndarray] | None) -> Path:
    """Paths and labels of the images that stay."""
    with replacing(output) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        lines = csv.writer(file)
        more = None if weights is None else Added(*weights)
        if more is not None:
            more.absent(["path", "label"], output)
        lines.writerow(["path", "label"] if more is None else ["path", "label", more.name])
        for row, (one, label) in enumerate(zip(data.ids.tolist(), data.y.tolist(), strict=True)):
            if decided.action[row] != "drop":
                new = data.classes[decided.code[row]] if decided.action[row] == "relabel" else label
                lines.writerow([one, new] if more is None else [one, new, more.text(row)])
    return output
