"""Files of NumPy: rows where they lie, archives of rows and labels; and files of features, which may be Parquet."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from datassay.checks import DataError
from datassay.data import parquet
from datassay.data.names import listed, near
from datassay.data.out_of_core import LARGE, Table


def is_npy(path: str | Path) -> bool:
    return Path(path).suffix.lower() == ".npy"


def beside(path: str | Path, name: str | None) -> str | None:
    """Where the file with the labels or ids of an npy file is: as it is named, else in the same folder."""
    if name is None:
        return None
    near = Path(path).parent / name
    return str((near if near.is_file() and not Path(name).is_file() else Path(name)).resolve())


def npy(
    path: Path, label: str | None, id: str | None, drop: tuple[str, ...]
) -> tuple[np.ndarray, np.ndarray, Any, tuple[None, None]]:
    """The rows where they lie, read when needed; labels and ids from files of their own."""
    if label is None:
        raise DataError(f"{path} has no labels: name the .npy file that has them (label='y.npy', or --label y.npy).")
    if drop:
        raise DataError(f"{path} has no column {drop[0]!r} to leave out: the columns of an array have no names.")
    for name, holds in ((label, "labels"), (id, "ids")):
        if name is not None and not (is_npy(name) and Path(name).is_file()):
            raise DataError(f"{path} needs its {holds} in another .npy file, and {name!r} is none.")
    return _array(path, mapped=True), _array(Path(label)), None if id is None else _array(Path(id)), (None, None)


def _array(path: Path, mapped: bool = False) -> np.ndarray:
    try:
        return _with_rows(_sound(np.load(path, mmap_mode="r" if mapped else None, allow_pickle=False), path), path)
    except DataError:
        raise
    except Exception as error:  # a damaged head shows in many ways
        if "Python objects" in str(error) or "Object arrays" in str(error):
            raise DataError(
                f"{path} holds Python objects, which can run code when opened: save numbers, or text by y.astype(str)."
            ) from None
        raise DataError(f"{path} can't be read as npy: it is no array.") from None


def _sound(array: np.ndarray, path: Path) -> np.ndarray:
    """The array; text in it is of characters that there are, which NumPy does not look at.

    Raises
    ------
    DataError
        It is not.
    """
    if array.dtype.kind == "U" and array.size and array.dtype.itemsize:
        points = np.ascontiguousarray(array).view(np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
        if points.max() > sys.maxunicode:
            raise DataError(f"{path} is damaged: it holds text with characters that there are not. Write it again.")
    return array


def _with_rows(array: np.ndarray, where: str | Path) -> np.ndarray:
    """The array.

    Raises
    ------
    DataError
        It has no axis, so no rows.
    """
    if array.ndim == 0:
        raise DataError(f"{where} holds a single value: an array with an entry for each row is needed.")
    return array


def npz(path: Path) -> tuple[Any, Any, Any, tuple[Any, Any]]:
    try:
        with np.load(path, allow_pickle=False) as held:
            arrays = {name: _sound(held[name], path) for name in held.files}
    except DataError:
        raise
    except ValueError as error:
        if "Object arrays" not in str(error):
            raise DataError(f"{path} can't be read as npz: it is no archive of arrays.") from None
        raise DataError(
            f"{path} holds Python objects, which can run code when opened: save y as numbers, or as text by y.astype(str)."
        ) from None
    except Exception as error:  # a broken zip shows in many ways
        raise DataError(f"{path} can't be read as npz: {error}.") from None
    for name in ("X", "y"):
        if name not in arrays:
            raise DataError(f"{path} needs the arrays X and y, and has {listed(list(arrays))}{near(name, arrays)}")
    X, y, ids, X_val, y_val = (
        None if name not in arrays else _with_rows(arrays[name], f"{path}, {name}")
        for name in ("X", "y", "ids", "X_val", "y_val")
    )
    return X, y, ids, (X_val, y_val)


def features_for(path: Path, kept: np.ndarray | None) -> Any:
    """Numbers for the rows that stayed."""
    F = _feature_file(path)
    if kept is not None and len(F) != len(kept):
        raise DataError(f"{path} has {len(F)} rows of features, and the data {len(kept)} rows: there must be one for each.")
    return F if kept is None or kept.all() else F[kept]


def _feature_file(path: Path) -> Any:
    if not path.is_file():
        raise DataError(f"there is no features file {str(path)!r}.")
    if path.suffix == ".npy":
        try:
            F = np.load(path, mmap_mode="r" if path.stat().st_size > LARGE else None, allow_pickle=False)
        except Exception:  # a damaged head shows in many ways
            raise DataError(f"{path} can't be read as an array of numbers.") from None
        return _with_rows(F, path)
    if path.suffix in (".parquet", ".pq"):
        if (numbers := parquet.read_numbers(path, [])) is not None:
            return numbers.values if isinstance(numbers, Table) else numbers
        frame = parquet.read_all(path)
        text = [c for c in frame if not pd.api.types.is_numeric_dtype(frame[c])]
        if text:
            raise DataError(f"{path} must hold numbers only, and column {text[0]!r} does not.")
        return frame.to_numpy(np.float64)
    raise DataError(f"{path} must be .npy or .parquet, with one row of numbers for each row of the data.")
