"""A table as numbers by the caller's own transformer, of scikit-learn or skrub, fitted on the training rows alone.

It never sees the labels: numbers that were made from a row's own label would vouch for it, right or wrong.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from datassay.checks import DataError
from datassay.data.arriving import is_images
from datassay.data.encoding import Encoder, Missing

_APART = 30  # times as large as the median of all is a column's standard deviation that is spoken of


class GivenEncoder(Encoder):
    """A transformer with ``fit`` and ``transform``: a copy of it is fitted. Gaps that it leaves are treated as asked."""

    def __init__(
        self,
        transformer: Any,
        shown: Any,
        ids: np.ndarray,
        missing: Missing,
        standardise: bool | None,
        columns: Sequence[str] | None,
        rows: np.ndarray,
    ) -> None:
        from sklearn.base import clone

        self.name = type(transformer).__name__
        if isinstance(transformer, type) or not all(hasattr(transformer, f) for f in ("fit", "transform", "get_params")):
            what = f"the class {transformer.__name__}" if isinstance(transformer, type) else f"a {self.name}"
            raise DataError(
                "encoder needs a transformer of scikit-learn's kind (fit, transform), such as a ColumnTransformer or skrub's "
                f"TableVectorizer(), got {what}."
            )
        if is_images(shown):
            raise DataError(
                "encoder takes tables, and these rows are images: what makes numbers of them goes to with_features."
            )
        self.unfitted, self.transformer = clone(transformer), clone(transformer)
        self.came = columns
        super().__init__(shown, ids, missing, bool(standardise), None, rows)

    def fit(self) -> tuple[Any, np.ndarray]:
        rows = self._table(self.shown)
        try:
            came = self.transformer.fit_transform(rows)
        except Exception as error:  # of any kind
            raise DataError(
                f"the encoder {self.name} can't be fitted on the training rows, which it gets without their labels: "
                f"{type(error).__name__}: {_line(error)}"
            ) from error
        self.shown, self.frame = self._numbers(came, rows.shape[0], "training"), False
        self.columns = names = self._names(came, self.shown.shape[1])
        matrix, keep = super().fit()
        self.columns, self.encoding = names, {self.name: f"made by {self.name}, {len(names)} columns"}
        self.notes += [] if self.standardise else self._apart(matrix)
        return matrix, keep

    def shows(self, matrix: Any) -> bool:
        return False

    def features(self) -> dict[str, Any]:
        return {"features": {self.name: 1.0}}

    def transform(self, shown: Any) -> tuple[Any, np.ndarray]:
        rows = self._table(shown)
        try:
            came = self.transformer.transform(rows)
        except Exception as error:
            raise DataError(
                f"the encoder {self.name} can't take the validation rows: {type(error).__name__}: {_line(error)}"
            ) from error
        return super().transform(self._numbers(came, rows.shape[0], "validation"))

    def _table(self, shown: Any) -> Any:
        """With the names of its columns, where it is a large table that came as an array."""
        return shown if self.came is None else pd.DataFrame(shown, columns=self.came)

    def _apart(self, matrix: Any) -> list[str]:
        """A sentence, where one column is so much larger than the others that it hides them."""
        if sp.issparse(matrix) or len(matrix) < 2:
            return []
        spread = matrix.std(axis=0, dtype=np.float64)
        middle = float(np.median(spread[spread > 0])) if (spread > 0).any() else 0.0
        at = int(np.argmax(spread))
        if not spread[at] > _APART * middle > 0:
            return []
        return [
            f"column {self.columns[at]!r} of the encoder {self.name} has the standard deviation {spread[at]:.3g}, and half of its columns "
            f"have at most {middle:.3g}: it hides them where rows are compared; scale it in the encoder (StandardScaler), or pass "
            "standardise=True"
        ]

    def _numbers(self, came: Any, n: int, which: str) -> Any:
        if hasattr(came, "to_pandas"):  # a frame of polars
            came = came.to_pandas()
        if isinstance(came, pd.DataFrame):
            for c in came:
                if not (pd.api.types.is_numeric_dtype(came[c]) or isinstance(came[c].dtype, pd.SparseDtype)):
                    raise DataError(
                        f"the encoder {self.name} leaves column {str(c)!r} as it is, {came[c].dtype}, and numbers are needed: let it "
                        "encode or drop that column."
                    )
            came = came.to_numpy(np.result_type(*(_kind(dtype) for dtype in came.dtypes)), na_value=np.nan)
        if sp.issparse(came):
            came = sp.csr_array(came)
        else:
            came = np.asarray(came)
            if came.dtype.kind not in "fiub":
                came = self._read(came)
        if came.ndim != 2 or came.shape[0] != n or came.shape[1] == 0:
            raise DataError(
                f"the encoder {self.name} must make a table with one row for each of the {n} {which} rows, and made one of shape "
                f"{came.shape}."
            )
        return came

    def _read(self, came: np.ndarray) -> np.ndarray:
        try:
            return came.astype(np.float64)
        except (TypeError, ValueError):
            odd = next(str(cell) for cell in came.ravel() if not _is_number(cell))
            raise DataError(
                f"the encoder {self.name} leaves text as it is, such as {odd!r}, and numbers are needed: let it encode all columns."
            ) from None

    def _names(self, came: Any, p: int) -> list[str]:
        names: Any = came.columns if isinstance(came, pd.DataFrame) else None
        if names is None:
            try:
                names = self.transformer.get_feature_names_out()
            except Exception:  # it, or a part of it, has no names to give
                names = ()
        return [str(name) for name in names] if len(names) == p else [f"{self.name}{j}" for j in range(p)]


def _kind(dtype: Any) -> np.dtype:
    """The numpy type of a column's numbers; of nullable ones one that has NaN."""
    if isinstance(dtype, pd.SparseDtype):
        return np.dtype(dtype.subtype)
    if isinstance(dtype, np.dtype):
        return np.dtype(np.float32) if dtype.kind == "b" else dtype
    return np.dtype(np.float64)


def _is_number(cell: Any) -> bool:
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return True


def _line(error: Exception) -> str:
    said = str(error).strip().splitlines()
    return (said[0] if said else "no more is said").rstrip(".") + "."
