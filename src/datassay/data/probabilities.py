"""Out-of-sample probabilities that somebody has already: a column a class, from a file, a frame or an array."""

from __future__ import annotations

from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy import ndarray

from datassay.checks import DataError, shown
from datassay.data.dataset import Dataset


def read_probabilities(path: str | PathLike[str]) -> pd.DataFrame | ndarray:
    """The probabilities in a file: Parquet or CSV with a column for each class, named like it; or npy, classes in sorted order.

    Raises
    ------
    DataError
        There is no such file, or it is none of these.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"there is no file {str(path)!r} of probabilities.")
    try:
        if path.suffix == ".npy":
            found: pd.DataFrame | ndarray = np.load(path, allow_pickle=False)
        elif path.suffix == ".parquet":
            found = pd.read_parquet(path)
        elif path.suffix == ".csv":
            found = pd.read_csv(path)
        else:
            raise DataError(f"probabilities come as .parquet, .csv or .npy, got {path.name!r}.")
    except DataError:
        raise
    except Exception as error:  # of three libraries, each with its own
        raise DataError(f"{path.name!r} can't be read as probabilities: {str(error).splitlines()[0]}.") from error
    return found


def by_class(data: Dataset, probabilities: Any, method: str) -> tuple[ndarray, list[Any]]:
    """(n, K) probabilities, each row's sum 1, and the K classes of the columns: the data's own, and behind them such as no row has.

    Columns of a frame go by their names, in any order, and a column that is named like none of the labels is one more class where
    the rest are all there; those of an array are ``data.classes``; a text or path is a file with such. A frame may have the rows' ids
    in a column ``id``: then it may be in any order.

    Raises
    ------
    DataError
        A shape or a name that does not fit, numbers that are no probabilities.
    """
    classes = list(data.classes)
    if isinstance(probabilities, (str, PathLike)):
        probabilities = read_probabilities(probabilities)
    if hasattr(probabilities, "to_pandas"):  # polars
        probabilities = probabilities.to_pandas()
    if isinstance(probabilities, pd.DataFrame):
        probabilities, classes = _named(data, probabilities, method)
    if sp.issparse(probabilities):
        probabilities = probabilities.toarray()
    try:
        p = np.asarray(probabilities, np.float64)
    except (TypeError, ValueError):
        raise DataError(f"{method}: probabilities must be numbers, got {shown(probabilities)}.") from None
    if p.shape != (len(data), len(classes)):
        more = (
            ": columns of classes that no row has need names, so pass a DataFrame"
            if p.ndim == 2 and p.shape[0] == len(data) and p.shape[1] > len(classes)
            else ""
        )
        raise DataError(
            f"{method}: probabilities must have a row for each row and a column for each class, {len(data)} x {len(classes)}, "
            f"got shape {p.shape}{more}."
        )
    bad = np.flatnonzero(~((p >= 0).all(1) & (np.abs(p.sum(1) - 1) < 1e-3)))
    if len(bad):
        raise DataError(
            f"{method}: probabilities must be from 0 on and sum to 1; those of row {bad[0]} are {p[bad[0]].tolist()[:10]}."
        )
    return p / p.sum(1, keepdims=True), classes


def _named(data: Dataset, frame: pd.DataFrame, method: str) -> tuple[ndarray, list[Any]]:
    """By the names of the columns, and the ids."""
    if "id" in frame.columns and "id" not in map(str, data.classes):
        by_id = frame.set_index(frame["id"].astype(str)).drop(columns="id")
        ids = [str(i) for i in data.ids.tolist()]
        if by_id.index.has_duplicates or set(ids) - set(by_id.index):
            lacking = next((i for i in ids if i not in by_id.index), None)
            what = "ids come twice" if by_id.index.has_duplicates else f"the row with id {lacking!r} has none"
            raise DataError(f"{method}: probabilities go by the column 'id', and {what}.")
        frame = by_id.loc[ids]
    names = {str(label): label for label in data.classes}
    columns = {str(column): column for column in frame.columns}
    missing = [name for name in names if name not in columns]
    if missing:
        raise DataError(
            f"{method}: probabilities need a column for each class, named like it; there is none for {', '.join(map(repr, missing[:5]))} "
            f"among {', '.join(map(repr, list(columns)[:8]))}."
        )
    other = [name for name in columns if name not in names]
    order = [columns[name] for name in [*names, *other]]
    return frame[order].to_numpy(), [*names.values(), *other]
