"""Data sets of OpenML, each fetched once by scikit-learn and then kept in one Parquet file of our own.

Only a call with ``download=True`` can reach the network: without it nothing but our own file is read.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

from datassay.checks import DataError
from datassay.files import PARQUET_KEY, replacing

COLUMNS = PARQUET_KEY + b".openml.columns"  #: names of the columns of a frame
WIDTH = PARQUET_KEY + b".openml.width"  #: columns of a sparse matrix


def parsed_name(name: str) -> tuple[str, int | None]:
    """The name at OpenML, and the version or None.

    >>> parsed_name("openml:electricity@1"), parsed_name("openml:pol")
    (('electricity', 1), ('pol', None))
    """
    match = re.fullmatch(r"openml:([^/\\?#@\s]+)(?:@(\d+))?", name)
    if match is None or set(match[1]) == {"."}:
        raise DataError(f"a set of OpenML is openml:<name> or openml:<name>@<version>, got {name!r}.")
    return match[1], None if match[2] is None else int(match[2])


def cache_file(name: str, home: Path) -> Path:
    """The Parquet file of a set below the cache folder; without a version a file of its own."""
    title, version = parsed_name(name)
    return home / "openml" / "datassay" / f"{quote(title.lower(), safe='')}@{version or 'active'}.parquet"


def load(name: str, download: bool, home: Path) -> tuple[pd.DataFrame | sp.csr_array, pd.Series]:
    """Features, a frame or sparse, and the column of labels.

    Raises
    ------
    DataError
        The set is not in the cache, or it is damaged there, and ``download`` is False; or OpenML can't be reached, or the set has no
        single column of labels.
    """
    path = cache_file(name, home)
    if path.is_file():
        try:
            return _read(path)
        except (OSError, ValueError, KeyError, IndexError, pa.ArrowException) as error:
            if not download:
                raise DataError(
                    f"set {name!r} is damaged in the cache, {str(path)!r}: pass download=True (--download) to fetch it again."
                ) from error
    if not download:
        raise DataError(
            f"set {name!r} is not in the cache {str(home)!r}, and nothing is downloaded unasked: pass download=True (--download), "
            "or the cache (--cache) that has it."
        )
    X, y = _fetch(name, home)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(X, y, path)
    except OSError as error:
        raise DataError(f"set {name!r} can't be kept in {str(path)!r} ({error.strerror}): pass another cache.") from error
    return _read(path)


def _fetch(name: str, home: Path) -> tuple[pd.DataFrame | sp.csr_array, pd.Series]:
    """By scikit-learn, which has files of its own in the same folder and asks for what these lack."""
    from sklearn.datasets import fetch_openml

    title, version = parsed_name(name)
    try:
        # not the parser that is pandas': from pandas 3.1 on scikit-learn 1.9 fails with it where classes are whole numbers
        fetched = fetch_openml(title, version=version or "active", as_frame="auto", parser="liac-arff", data_home=str(home))
    except (OSError, ValueError) as error:
        message = " ".join(str(error).split()).rstrip(".")
        raise DataError(f"set {name!r} could not be had from OpenML: {message}.") from error
    X, y = fetched.data, fetched.target
    if y is None or np.ndim(y) != 1 or X.shape[1] == 0:
        raise DataError(f"set {name!r} has no single column of labels, or none beside it: choose another set or version.")
    return sp.csr_array(X) if sp.issparse(X) else pd.DataFrame(X), pd.Series(y)


def _write(X: pd.DataFrame | sp.csr_array, y: pd.Series, path: Path) -> None:
    """Columns of features, then the labels; of a sparse matrix the column numbers and values of each row, as lists."""
    if isinstance(X, pd.DataFrame):
        table = pa.Table.from_pandas(X.set_axis([f"x{j}" for j in range(X.shape[1])], axis=1), preserve_index=False)
        own = {COLUMNS: json.dumps([str(name) for name in X.columns])}
    else:
        starts = pa.array(X.indptr, pa.int32())
        lists = [pa.ListArray.from_arrays(starts, pa.array(part)) for part in (X.indices, X.data)]
        table = pa.Table.from_arrays(lists, ["columns", "values"])
        own = {WIDTH: str(X.shape[1])}
    labels = pa.Table.from_pandas(pd.DataFrame({"y": y.array}), preserve_index=False)
    table = table.append_column("y", labels["y"])
    table = table.replace_schema_metadata(
        (table.schema.metadata or {}) | {name: text.encode() for name, text in own.items()}
    )
    with replacing(path) as beside:
        pq.write_table(table, beside, write_page_checksum=True)


def _read(path: Path) -> tuple[pd.DataFrame | sp.csr_array, pd.Series]:
    table = pq.read_table(path, page_checksum_verification=True)
    own = table.schema.metadata or {}
    y = table["y"].to_pandas()
    if WIDTH in own:
        columns, values = (table[name].combine_chunks() for name in ("columns", "values"))
        starts = np.asarray(columns.offsets)
        shape = (len(table), int(own[WIDTH]))
        return sp.csr_array((np.asarray(values.flatten()), np.asarray(columns.flatten()), starts), shape=shape), y
    names = json.loads(own[COLUMNS])
    return table.drop_columns(["y"]).to_pandas().set_axis(names, axis=1), y
