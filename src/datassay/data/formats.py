"""Files of other programs: Stata, SVMlight, ARFF, Excel."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from datassay.checks import DataError

SVMLIGHT = ("svm", "svmlight", "libsvm")
EXCEL = ("xlsx", "xlsm")
_ROW = re.compile(rb"[+-]?[\d.][\d.eE+,-]*(\s+qid:\d+)?(\s+\d+:[^\s:]+)+\s*(#.*)?")  # of SVMlight


def stata(path: Path) -> pd.DataFrame:
    """Numbers that have names (value labels) by these; as kinds, since Stata says of none whether they have an order."""
    try:
        frame: pd.DataFrame = pd.read_stata(path, order_categoricals=False)
    except Exception as error:  # pandas raises many kinds
        raise DataError(f"{path} can't be read as a file of Stata: {_line(error)}.") from None
    return frame


def looks_like_svmlight(content: bytes) -> bool:
    """Whether the first line that is no comment is a label, and numbers with their places.

    >>> looks_like_svmlight(b"# of the station\\n-1 3:0.5 17:2\\n"), looks_like_svmlight(b"time 12:30\\n")
    (True, False)
    """
    lines = (line.strip() for line in content[:100_000].splitlines())
    first = next((line for line in lines if line and not line.startswith(b"#")), b"")
    return bool(_ROW.fullmatch(first))


def svmlight(path: Path, content: bytes) -> tuple[Any, np.ndarray]:
    """Rows whose columns are numbered as in the file, from 0 or from 1, which `of_one_base` settles; and labels.

    Whole labels are whole numbers.
    """
    from sklearn.datasets import load_svmlight_file

    try:
        X, y = load_svmlight_file(io.BytesIO(content), zero_based=True)
    except Exception as error:  # scikit-learn raises many kinds
        raise DataError(
            f"{path} can't be read as SVMlight ({_line(error)}): each line needs a number as label, and column:number in rising "
            "order; several labels a row are not supported."
        ) from None
    whole = np.isfinite(y).all() and (y == np.round(y)).all() and (np.abs(y) < 2.0**53).all()
    return sp.csr_array(X), y.astype(np.int64) if whole else y


def of_one_base(X: Any, X_val: Any = None) -> tuple[Any, Any]:
    """Rows and validation rows with the same columns: numbered from 0 if any of the two has a column 0, else from 1."""
    both = [X] if X_val is None else [X, X_val]
    first = 0 if any(part.nnz and part.indices.min() == 0 for part in both) else 1
    width = max(part.shape[1] for part in both) - first
    if width < 1:
        raise DataError("there is no column in these files of SVMlight: the rows are empty.")
    found = [sp.csr_array((part.data, part.indices - first, part.indptr), shape=(part.shape[0], width)) for part in both]
    return found[0], (found[1] if len(found) > 1 else None)


def arff(path: Path, content: bytes, encoding: str) -> pd.DataFrame:
    """Nominal attributes as categories, all else as numbers, dates or text; sparse rows, too."""
    try:
        text = content.decode("utf-8-sig" if encoding.lower() in ("utf-8", "utf8") else encoding)
    except UnicodeDecodeError:
        raise DataError(f"{path} is not {encoding} text: pass its encoding, such as latin-1 or utf-16.") from None
    except LookupError:
        raise DataError(f"there is no encoding {encoding!r}; utf-8, latin-1 and utf-16 are common.") from None
    if re.search(r"^\s*@attribute\s+('[^']*'|\"[^\"]*\"|\S+)\s+date\b", text, re.IGNORECASE | re.MULTILINE):
        return _arff_with_dates(path, text)
    try:
        from sklearn.externals import _arff as reader  # text and sparse rows, which SciPy's does not read
    except ImportError:
        return _arff_with_dates(path, text)
    try:
        found = reader.loads(text)
    except Exception as error:  # of its own, or of what it calls
        raise DataError(f"{path} can't be read as ARFF: {_line(error)}.") from None
    frame = pd.DataFrame(found["data"], columns=[name for name, _ in found["attributes"]])
    for name, kind in found["attributes"]:
        if isinstance(kind, list):
            frame[name] = pd.Categorical(frame[name], categories=kind)
        elif kind != "STRING":
            frame[name] = frame[name].astype(np.float64 if frame[name].isna().any() or kind != "INTEGER" else np.int64)
    return frame


def _arff_with_dates(path: Path, text: str) -> pd.DataFrame:
    from scipy.io.arff import loadarff

    try:
        rows, about = loadarff(io.StringIO(text))
    except Exception as error:
        raise DataError(f"{path} can't be read as ARFF: {_line(error)}.") from None
    frame = pd.DataFrame(rows)
    for name, kind in zip(about.names(), about.types(), strict=True):
        if kind == "nominal":
            cells = frame[name].str.decode("utf-8")
            frame[name] = pd.Categorical(cells.where(cells != "?"), categories=about[name][1])
    return frame


def excel(path: Path, content: bytes, as_written: Sequence[str | None], words: Sequence[str]) -> pd.DataFrame:
    """The only sheet with rows; ``words`` stand for gaps, but in the columns ``as_written``."""
    try:
        sheets = pd.read_excel(
            io.BytesIO(content), sheet_name=None, engine="openpyxl", keep_default_na=False, na_values=[""]
        )
    except ImportError as error:
        raise ImportError(f"{path} needs openpyxl: pip install 'datassay[excel]'; or save it as CSV") from error
    except Exception as error:  # a broken zip shows in many ways
        raise DataError(f"{path} can't be read as Excel: {_line(error)}.") from None
    full = [name for name, frame in sheets.items() if len(frame)]
    if len(full) != 1:
        some = (
            f"{len(full)} sheets with rows ({', '.join(full[:5])}): save one of them" if full else "no rows: save the sheet"
        )
        raise DataError(f"{path} has {some} in a file of its own, with the names of the columns in its first line.")
    frame = sheets[full[0]]
    nameless = [c for c in frame if re.fullmatch(r"Unnamed: \d+", str(c))]
    frame = frame.drop(columns=[c for c in nameless if frame[c].isna().all()])
    if len(frame.columns) > 1 and sum(c in nameless for c in frame) > len(frame.columns) / 2:
        raise DataError(f"the first line of {path} names few of its columns: delete what stands above the names.")
    for c in frame:
        if frame[c].dtype == object or isinstance(frame[c].dtype, pd.StringDtype):
            cells = frame[c].astype(object)
            cells = cells.map(lambda cell: None if isinstance(cell, str) and not cell.strip() else cell)
            if str(c) not in as_written:
                cells = cells.map(lambda cell: None if isinstance(cell, str) and cell.strip() in words else cell)
            frame[c] = cells.where(cells.notna(), None).infer_objects()
    return frame


def _line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
