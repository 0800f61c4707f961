"""What comes as rows, labels and ids, of whatever type, as arrays and frames; refused where they can't belong together."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from datassay.checks import DataError
from datassay.data.encoding import plain
from datassay.data.kinds import check_savable, plain_frame, plain_labels
from datassay.data.out_of_core import Table


def as_rows(X: Any, name: str) -> Any:
    """What came, as a frame, a CSR array, or a numpy array with at least two axes."""
    if isinstance(X, Table):
        return X.values
    if hasattr(X, "detach"):  # torch, without importing it
        X = X.detach().cpu()
        X = (X.float() if "bfloat16" in str(X.dtype) else X).numpy()
    if sp.issparse(X):
        return sp.csr_array(X)
    if not isinstance(X, pd.DataFrame) and hasattr(X, "to_pandas") and hasattr(X, "columns"):
        X = _from_polars(X, name)
    if isinstance(X, pd.DataFrame):
        if X.shape[1] == 0:
            raise DataError(f"{name} has no columns.")
        if X.columns.duplicated().any():
            raise DataError(f"{name} has two columns named {X.columns[X.columns.duplicated()][0]!r}: rename one.")
        return plain_frame(X.reset_index(drop=True), name)
    try:
        X = X if isinstance(X, np.memmap) else np.asarray(X)
    except ValueError:
        raise DataError(f"the rows of {name} are not all of one length: a table with equal rows is needed.") from None
    if X.ndim == 1:
        raise DataError(f"{name} must have one row an example, (n, d); it came with shape {X.shape}: reshape it.")
    if X.ndim == 4 and X.shape[-1] not in (1, 3, 4) and X.shape[1] in (1, 3, 4):
        X = np.moveaxis(X, 1, -1)  # torch keeps the channels first
    if X.ndim > 4:
        raise DataError(f"{name} has {X.ndim} axes; rows, or images with at most (n, height, width, channels), are needed.")
    if X.ndim == 0 or (len(X) and X[0].size == 0):
        raise DataError(f"{name} has shape {X.shape}: there is nothing in a row.")
    return X


def _from_polars(X: Any, name: str) -> pd.DataFrame:
    """A frame of polars; integers of 128 bits, which pandas does not have, become decimals."""
    wide = [c for c, kind in zip(X.columns, X.dtypes, strict=True) if str(kind) in ("Int128", "UInt128")]
    try:
        if wide:
            X = X.with_columns([X[c].cast(type(X)({"a": [0.5]}).dtypes[0]) for c in wide])
        frame: pd.DataFrame = X.to_pandas()
    except Exception as error:
        odd = next((c for c in X.columns if not _converts(X[c])), X.columns[0])
        what = str(error).splitlines()[0]
        raise DataError(f"column {odd!r} of {name} can't be read ({what}): cast it, or leave it out.") from None
    return frame


def _converts(column: Any) -> bool:
    try:
        column.to_frame().to_pandas()
    except Exception:
        return False
    return True


def is_images(shown: Any) -> bool:
    """Whether what is shown are pictures: (n, height, width) or (n, height, width, channels)."""
    return isinstance(shown, np.ndarray) and shown.ndim in (3, 4)


def named_text(text: Sequence[str], X: Any) -> tuple[str, ...]:
    """The columns that are said to be free text."""
    names = (text,) if isinstance(text, str) else tuple(text)
    if names and not hasattr(X, "columns"):
        raise DataError("text names columns of a frame, and X is none.")
    there = [str(c) for c in X.columns] if names else []
    for name in names:
        if name not in there:
            raise DataError(f"there is no column {name!r} (text); X has {', '.join(map(repr, there[:20]))}.")
    return names


def to_show(rows: Any, n: int, name: str) -> Any:
    if not isinstance(rows, pd.DataFrame) and hasattr(rows, "to_pandas") and hasattr(rows, "columns"):
        rows = rows.to_pandas()
    if not isinstance(rows, pd.DataFrame | np.ndarray) or (isinstance(rows, np.ndarray) and rows.ndim == 1):
        name_of = getattr(rows, "name", None)
        rows = pd.DataFrame({"text" if name_of is None else name_of: list(rows)})
    if len(rows) != n:
        raise DataError(f"showing needs {n} {name}, one for each row of the data, got {len(rows)}.")
    return rows.reset_index(drop=True) if isinstance(rows, pd.DataFrame) else rows


def as_labels(y: Any, name: str) -> np.ndarray:
    """(n,) labels as they came; tuples and mixed kinds in an object array."""
    if hasattr(y, "detach"):
        y = y.detach().cpu().numpy()
    if hasattr(y, "to_numpy"):
        y = y.to_numpy()
    if isinstance(y, np.ndarray):
        y = np.array(y)  # it is the caller's
    elif not isinstance(y, Iterable):
        raise DataError(f"{name} must have one entry a row; it came as {type(y).__name__}.")
    else:
        y = list(y)
        kinds = {type(v) for v in y}
        array = np.empty(len(y), dtype=object)
        array[:] = y
        y = np.asarray(y) if len(kinds) == 1 and kinds <= {int, float, str, bool} else array
        if kinds == {int, float} and all(v == float(v) for v in array):
            y = array.astype(np.float64)
    if y.dtype == object and len(y) and {type(v) for v in y.ravel()} == {float}:
        y = y.astype(np.float64)  # as pandas hands out its nullable floats
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    y = plain_labels(y, name)
    if y.ndim != 1:
        more = "; several labels a row are not supported: argmax of one-hot labels gives one" if name != "ids" else ""
        raise DataError(f"{name} must have one entry a row, (n,); it came with shape {y.shape}{more}.")
    check_savable(y, name)
    return y


def check_order(X: Any, y: Any, name: str, other: str) -> None:
    """Rows go by position; where the index of a pandas object says that they belong together otherwise, that is an error."""
    if not (isinstance(X, pd.DataFrame) and isinstance(y, pd.Series | pd.DataFrame)):
        return
    a, b = X.index, y.index
    if len(a) != len(b) or a.nlevels != b.nlevels or a.equals(b) or not (a.is_unique and b.is_unique and b.isin(a).all()):
        return
    row = next(i for i, (one, two) in enumerate(zip(a, b, strict=True)) if one != two)
    raise DataError(
        f"the index of {other} has the labels of {name}'s in another order (row {row}: {plain(b[row])!r}, {name} "
        f"{plain(a[row])!r}): pass {other}.loc[{name}.index], or {other}.to_numpy() if the rows match by position."
    )


def index_of(frame: pd.DataFrame) -> np.ndarray:
    """(n,) names of the rows of a frame: its index."""
    ids, ways = frame.index.to_numpy(), "call X.reset_index(drop=True) to number the rows, or pass ids=."
    if len(blank := np.flatnonzero(pd.isna(ids))):
        raise DataError(f"the index of X has nothing in row {blank[0]}: {ways}")
    if ids.dtype.kind not in "biufUM":  # others have no place in a file of values
        odd = next((label for label in ids if not _is_name(label)), None)
        if odd is not None:
            raise DataError(f"the index of X holds {odd!r}, and ids are numbers, text, dates or tuples of these: {ways}")
    if not frame.index.is_unique:
        second = int(np.flatnonzero(frame.index.duplicated())[0])
        first = next(i for i, label in enumerate(ids) if label == ids[second])
        raise DataError(f"the index of X has {plain(ids[second])!r} twice, in rows {first} and {second}: {ways}")
    return ids


def _is_name(label: Any) -> bool:
    if isinstance(label, tuple):
        return all(map(_is_name, label))
    return isinstance(label, str | int | float | np.bool_ | np.integer | np.floating)


def check_unique(ids: np.ndarray) -> None:
    if len(blank := np.flatnonzero(pd.isna(ids))):
        raise DataError(f"row {blank[0]} has no id: give it one, or leave the ids out to use the row number.")
    doubled = pd.Series(ids).duplicated().to_numpy()
    if doubled.any():
        second = int(np.flatnonzero(doubled)[0])
        first = next(i for i, value in enumerate(ids) if value == ids[second])
        large = ids.dtype.kind == "f" and abs(ids[second]) >= 2.0**53
        why = " (decimals of this size fall together: write such ids as text, or as whole numbers)" if large else ""
        raise DataError(f"rows {first} and {second} have the same id, {plain(ids[second])!r}: ids must be unique{why}.")


def numbered(labels: np.ndarray) -> tuple[np.ndarray, list[Hashable]]:
    """Codes 0 ... k-1 and the original labels, sorted where Python can sort them."""
    codes, distinct = pd.factorize(labels)
    classes = list(distinct.tolist() if isinstance(distinct, np.ndarray) else distinct)
    try:
        order = sorted(range(len(classes)), key=lambda c: classes[c])
    except TypeError:
        order = list(range(len(classes)))
    rank = np.empty(len(classes), np.int64)
    rank[order] = np.arange(len(classes))
    return rank[codes], [classes[c] for c in order]
