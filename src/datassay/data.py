"""Dataset: rows that keep their ids, checked once at the door.

Everything behind this door may rely on: X is a finite 2-D array of numbers (or scipy CSR), y has one label a row, ids are
unique, every class has at least two rows.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Hashable, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp

from datassay.errors import DataError

Task = Literal["classification", "regression"]
Missing = Literal["error", "drop", "mean"]


class Dataset:
    """Training rows, and optionally the validation rows their value is measured against.

    Parameters
    ----------
    X
        (n, d) numbers: numpy, torch, scipy sparse; or (n, height, width[, channels]) images; or a pandas or polars frame,
        whose numeric columns are standardised and whose text, boolean and categorical columns become one-hot columns
        (``encoding`` records how).
    y
        (n,) labels of any hashable kind, or numbers for regression.
    X_val, y_val
        (m, d) and (m,), the validation rows, encoded as the training rows were.
    ids
        (n,) unique names of the rows; default 0 ... n-1.
    task
        "classification" or "regression"; default: regression if y holds a number that is not whole.
    missing
        What to do with NaN and infinity: "error", "drop" the row, or fill in the column's "mean" (text: the commonest).
    standardise
        Bring numeric columns to mean 0 and standard deviation 1; default: frames yes, arrays no.

    Raises
    ------
    DataError
        With the first row and column that is wrong.

    Examples
    --------
    >>> import datassay as da
    >>> X = [[0., 1.], [1., 0.], [1., .1], [.1, 1.]]
    >>> data = da.Dataset(X, ["cat", "dog", "dog", "cat"], ids=["a", "b", "c", "d"])
    >>> data
    Dataset: 4 rows x 2 columns, classification, 2 classes ('cat' 2, 'dog' 2), no validation rows
    >>> data.classes
    ['cat', 'dog']
    """

    X: Any  #: (n, d) float array or CSR array
    y: np.ndarray  #: (n,) the labels as they came
    ids: np.ndarray  #: (n,) unique
    codes: np.ndarray  #: (n,) int64 index into ``classes``; regression: float64 targets
    classes: list[Hashable]  #: the original labels, sorted where they can be; regression: empty
    X_val: Any  #: (m, d) or None
    y_val: np.ndarray | None  #: (m,) or None
    codes_val: np.ndarray | None  #: (m,) or None
    task: Task  #: classification or regression
    columns: list[str]  #: names of the columns of X
    encoding: dict[str, str]  #: for each column of the frame, what was done to it
    shown: pd.DataFrame | np.ndarray  #: what a person looks at: (n, ...) original frame, images, or numbers
    shown_val: pd.DataFrame | np.ndarray | None  #: the same for the validation rows
    dropped: np.ndarray  #: ids of rows that ``missing="drop"`` left out
    kept: np.ndarray  #: mask over the rows that came: which stayed
    kept_val: np.ndarray | None  #: the same for the validation rows
    source: dict[str, Any]  #: how `read` was called, so that a report can find the rows again

    def __init__(
        self,
        X: Any,
        y: Any,
        X_val: Any = None,
        y_val: Any = None,
        ids: Any = None,
        task: Task | None = None,
        *,
        missing: Missing = "error",
        standardise: bool | None = None,
    ) -> None:
        if task not in (None, "classification", "regression"):
            raise DataError(f"task must be 'classification' or 'regression', got {task!r}.")
        if missing not in ("error", "drop", "mean"):
            raise DataError(f"missing must be 'error', 'drop' or 'mean', got {missing!r}.")
        shown, labels = _rows(X, "X"), _labels(y, "y")
        n = shown.shape[0]
        if n == 0:
            raise DataError("X has no rows: at least four are needed, two in each of two classes.")
        if len(labels) != n:
            raise DataError(f"X has {n} rows but y has {len(labels)} labels: they must be of one length.")
        names = np.arange(n) if ids is None else _labels(ids, "ids")
        if len(names) != n:
            raise DataError(f"X has {n} rows but ids has {len(names)} entries: they must be of one length.")
        _unique(names)
        if (X_val is None) != (y_val is None):
            raise DataError("X_val and y_val go together, but only one of them was given.")
        shown_val = None if X_val is None else _rows(X_val, "X_val")
        labels_val = None if y_val is None else _labels(y_val, "y_val")
        if shown_val is not None and labels_val is not None and shown_val.shape[0] != len(labels_val):
            raise DataError(f"X_val has {shown_val.shape[0]} rows but y_val has {len(labels_val)} labels.")

        if shown_val is not None and shown_val.shape[0] == 0:
            raise DataError("X_val has no rows: leave the validation rows out, or give some.")
        encoder = _Encoder(shown, names, missing, standardise)
        matrix, keep = encoder.fit()
        self.dropped, self.kept, self.kept_val = names[~keep], keep, None
        if not keep.all():
            shown, labels, names = shown[keep], labels[keep], names[keep]
        self.X, self.columns, self.encoding = _read_only(matrix), encoder.columns, encoder.encoding
        self.shown, self.ids, self.source = shown, names, {}
        self.X_val = self.shown_val = self.y_val = self.codes_val = None
        self._set_labels(labels, task)
        if shown_val is not None and labels_val is not None:
            matrix_val, keep_val = encoder.transform(shown_val)
            self.X_val, self.shown_val = _read_only(matrix_val), shown_val[keep_val]
            self.y_val, self.kept_val = labels_val[keep_val], keep_val
            self.codes_val = self._codes_of(self.y_val)

    def _set_labels(self, labels: np.ndarray, task: Task | None) -> None:
        """Check the labels and number them."""
        if len(blank := np.flatnonzero(pd.isna(labels))):
            raise DataError(f"row {blank[0]} (id {plain(self.ids[blank[0]])!r}) has no label: give it one or drop the row.")
        self.y, self.task = labels, task or infer_task(labels)
        if self.task == "regression":
            try:
                self.codes = labels.astype(np.float64)
            except (TypeError, ValueError):
                raise DataError(f"regression needs numbers as labels, got {plain(labels[0])!r} in row 0.") from None
            if len(bad := np.flatnonzero(~np.isfinite(self.codes))):
                raise DataError(
                    f"the label of row {bad[0]} (id {plain(self.ids[bad[0]])!r}) is {labels[bad[0]]}, not a number."
                )
            if np.ptp(self.codes) == 0:
                raise DataError(
                    f"all {len(labels)} labels are {plain(labels[0])!r}: there is nothing to value rows against."
                )
            self.classes = []
            return
        self.codes, self.classes = _number(labels)
        counts = np.bincount(self.codes)
        if len(counts) == 1:
            raise DataError(
                f"all {len(labels)} rows are of one class, {self.classes[0]!r}: at least two classes are needed."
            )
        if (lonely := int(counts.argmin())) >= 0 and counts[lonely] == 1:
            row = int(np.flatnonzero(self.codes == lonely)[0])
            hint = " If the labels are amounts, pass task='regression'." if len(counts) > len(labels) / 5 else ""
            raise DataError(
                f"class {self.classes[lonely]!r} has one row only (row {row}, id {plain(self.ids[row])!r}): "
                f"a class needs two rows, so that one can vouch for the other; drop the row or merge the class.{hint}"
            )

    def _codes_of(self, labels: np.ndarray) -> np.ndarray:
        """Validation labels in the training classes' numbers."""
        if self.task == "regression":
            try:
                values = labels.astype(np.float64)
            except (TypeError, ValueError):
                raise DataError(
                    f"regression needs numbers as validation labels, got {plain(labels[0])!r} in row 0."
                ) from None
            if len(bad := np.flatnonzero(~np.isfinite(values))):
                raise DataError(f"the label of validation row {bad[0]} is {labels[bad[0]]}, not a number.")
            return values
        index = {label: code for code, label in enumerate(self.classes)}
        for row, label in enumerate(labels):
            if label not in index:
                known = ", ".join(repr(c) for c in self.classes[:10])
                raise DataError(
                    f"validation row {row} has label {plain(label)!r}, which no training row has (they have {known})."
                )
        return np.array([index[label] for label in labels], dtype=np.int64)

    def labels_of(self, codes: np.ndarray) -> np.ndarray:
        """Class numbers back to the original labels, in the dtype in which they came."""
        names = np.empty(len(self.classes), dtype=object)
        names[:] = self.classes
        return names[codes] if self.y.dtype == object else names[codes].astype(self.y.dtype)

    # -- variations: each returns a new Dataset that shares the arrays it does not change

    def take(self, rows: Any) -> Dataset:
        """The rows chosen by position or mask, ids kept; validation rows stay."""
        rows = np.asarray(rows)
        if rows.dtype == bool and len(rows) != len(self):
            raise DataError(f"take needs a mask of {len(self)} entries, one a row, got {len(rows)}.")
        rows = np.flatnonzero(rows) if rows.dtype == bool else rows
        if len(rows) == 0 or rows.dtype.kind not in "iu" or rows.max() >= len(self) or rows.min() < -len(self):
            raise DataError(f"take needs positions from 0 to {len(self) - 1}, at least one, got {rows.tolist()[:10]}.")
        _unique(self.ids[rows])
        new = copy.copy(self)
        new.X, new.ids = _read_only(self.X[rows]), self.ids[rows]
        new.shown = self.shown.iloc[rows] if isinstance(self.shown, pd.DataFrame) else self.shown[rows]
        new._set_labels(self.y[rows], self.task)
        if self.y_val is not None:
            new.codes_val = new._codes_of(self.y_val)
        return new

    def with_labels(self, y: Any) -> Dataset:
        """The same rows with other labels (corrected, or planted wrong)."""
        labels = _labels(y, "y")
        if len(labels) != len(self):
            raise DataError(f"with_labels needs {len(self)} labels, one a row, got {len(labels)}.")
        new = copy.copy(self)
        new._set_labels(labels, self.task)
        if self.y_val is not None:
            new.codes_val = new._codes_of(self.y_val)
        return new

    def with_features(self, F: Any, F_val: Any = None) -> Dataset:
        """Value the rows on the features F (n, p), an embedding say, and go on showing the originals.

        Where there are validation rows, F_val (m, p) must come with F.
        """
        if (self.X_val is None) != (F_val is None):
            need = "F_val" if F_val is None else "no F_val"
            have = "has validation rows" if F_val is None else "has none"
            raise DataError(f"with_features needs {need} here, since the data set {have}.")
        if (came := _rows(F, "F").shape[0]) != len(self):
            raise DataError(f"with_features needs {len(self)} rows of features, one for each row of the data, got {came}.")
        try:
            features = Dataset(F, self.y, F_val, self.y_val, ids=self.ids, task=self.task)
        except DataError as error:
            raise DataError(f"in the features: {error}") from None
        new = copy.copy(self)
        new.X, new.X_val, new.columns, new.encoding = features.X, features.X_val, features.columns, features.encoding
        return new

    def without_validation(self) -> Dataset:
        """The same training rows alone."""
        new = copy.copy(self)
        new.X_val = new.y_val = new.codes_val = new.shown_val = None
        return new

    @property
    def hash(self) -> str:
        """16 bytes in hex over features, labels and ids: the same data, the same hash."""
        digest = hashlib.blake2b(digest_size=16)
        for part in (self.X, self.X_val):
            arrays = [part.data, part.indices, part.indptr] if sp.issparse(part) else [part]
            for array in arrays:
                if array is not None:
                    digest.update(f"{array.shape}{array.dtype}".encode())
                    digest.update(np.ascontiguousarray(array).view(np.uint8).data)
        for labels in (self.y, self.y_val, self.ids):
            if labels is not None:
                digest.update(repr(labels.tolist()).encode())
        return digest.hexdigest()

    def __len__(self) -> int:
        return len(self.ids)

    def __repr__(self) -> str:
        if self.task == "regression":
            what = f"regression, labels {self.codes.min():g} to {self.codes.max():g}"
        else:
            counts = np.bincount(self.codes, minlength=len(self.classes))
            some = ", ".join(f"{c!r} {k}" for c, k in zip(self.classes[:5], counts, strict=False))
            what = f"classification, {len(self.classes)} classes ({some}{', ...' if len(self.classes) > 5 else ''})"
        val = "no validation rows" if self.X_val is None else f"{self.X_val.shape[0]} validation rows"
        return f"Dataset: {len(self)} rows x {self.X.shape[1]} columns, {what}, {val}"


def infer_task(labels: np.ndarray) -> Task:
    """Regression if the labels are numbers and one of them is not whole.

    >>> infer_task(np.array([0.0, 1.0, 2.0])), infer_task(np.array([0.5, 1.0]))
    ('classification', 'regression')
    """
    if labels.dtype.kind == "f" and np.any(labels != np.round(labels)):
        return "regression"
    return "classification"


def plain(value: Any) -> Any:
    """A numpy scalar as Python shows it: 'a', not np.str_('a')."""
    return value.item() if isinstance(value, np.generic) else value


def is_images(shown: Any) -> bool:
    """Whether what is shown are pictures: (n, height, width) or (n, height, width, channels)."""
    return isinstance(shown, np.ndarray) and shown.ndim in (3, 4)


class _Encoder:
    """From what is shown to the matrix that is valued; learned on the training rows, used again on validation rows."""

    def __init__(self, shown: Any, ids: np.ndarray, missing: Missing, standardise: bool | None) -> None:
        self.shown, self.ids, self.missing = shown, ids, missing
        self.frame = isinstance(shown, pd.DataFrame)
        self.standardise = self.frame if standardise is None else standardise
        self.columns: list[str] = []
        self.encoding: dict[str, str] = {}

    def fit(self) -> tuple[Any, np.ndarray]:
        if sp.issparse(self.shown):
            return self._sparse(self.shown, "X", self.ids)
        if self.frame:
            return self._fit_frame(self.shown)
        flat = _numbers(self.shown, "X")
        self.columns = [f"x{j}" for j in range(flat.shape[1])]
        self.mean, self.scale = np.zeros(flat.shape[1]), np.ones(flat.shape[1])
        flat, keep = self._finite(flat, self.columns, "X", self.ids, fill=None)
        if self.standardise:
            self.mean, self.scale = flat.mean(axis=0, dtype=np.float64), flat.std(axis=0, dtype=np.float64)
            self.scale[self.scale == 0] = 1.0
            flat = (flat - self.mean) / self.scale
        elif self.missing == "mean":
            self.mean = flat.mean(axis=0, dtype=np.float64)
        return flat, keep

    def transform(self, shown: Any) -> tuple[Any, np.ndarray]:
        """Validation rows; the same columns are needed."""
        names = np.arange(len(shown) if not sp.issparse(shown) else shown.shape[0])
        if self.frame != isinstance(shown, pd.DataFrame) or sp.issparse(self.shown) != sp.issparse(shown):
            raise DataError("X_val must be of the same kind as X: a frame, a sparse matrix or an array as X is.")
        if self.frame:
            if absent := [c for c in self.shown.columns if c not in shown.columns]:
                raise DataError(f"the validation rows have no column {absent[0]!r}; they have {list(shown.columns)[:10]}.")
            return self._transform_frame(shown[list(self.shown.columns)], "X_val", names)
        if shown.shape[1:] != self.shown.shape[1:]:
            raise DataError(
                f"a row of X_val has shape {shown.shape[1:]}, a row of X {self.shown.shape[1:]}: they must agree."
            )
        if sp.issparse(shown):
            return self._sparse(shown, "X_val", names)
        flat, keep = self._finite(_numbers(shown, "X_val"), self.columns, "X_val", names, fill=self.mean)
        return ((flat - self.mean) / self.scale if self.standardise else flat), keep

    def _sparse(self, X: Any, name: str, ids: np.ndarray) -> tuple[Any, np.ndarray]:
        X = sp.csr_array(X, dtype=np.float64)
        self.columns = [f"x{j}" for j in range(X.shape[1])]
        if len(bad := np.flatnonzero(~np.isfinite(X.data))):
            row = int(np.searchsorted(X.indptr, bad[0], side="right") - 1)
            raise DataError(
                f"{name} has {X.data[bad[0]]} in row {row} (id {plain(ids[row])!r}), column {X.indices[bad[0]]}."
            )
        return X, np.ones(X.shape[0], bool)

    def _finite(
        self, X: np.ndarray, columns: Sequence[str], name: str, ids: np.ndarray, fill: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        """X without NaN and infinity, and which rows stayed."""
        good = np.isfinite(X)
        keep = np.ones(len(X), bool)
        if good.all():
            return X, keep
        if self.missing == "error":
            row, column = (int(i) for i in np.argwhere(~good)[0])
            raise DataError(
                f"{name} has {X[row, column]} in row {row} (id {plain(ids[row])!r}), column {columns[column]!r} "
                f"({int((~good).sum())} such cells): pass missing='drop' or missing='mean', or mend them."
            )
        if self.missing == "drop":
            keep = good.all(axis=1)
            if not keep.any():
                raise DataError(
                    f"every row of {name} has a missing cell, so missing='drop' leaves none: use missing='mean'."
                )
            return X[keep], keep
        if fill is None:
            if len(empty := np.flatnonzero(~good.any(axis=0))):
                raise DataError(f"column {columns[empty[0]]!r} of {name} has no value at all: drop the column.")
            fill = np.nanmean(np.where(good, X, np.nan), axis=0)
        return np.where(good, X, fill).astype(X.dtype), keep

    def _fit_frame(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.compose import ColumnTransformer
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        # inside, columns are c0, c1, ...: their own names can be numbers, dates or tuples, and scikit-learn wants text
        self.names = {f"c{j}": str(c) for j, c in enumerate(frame.columns)}
        frame = frame.set_axis(list(self.names), axis=1)
        kinds = {c: _is_numeric(frame[c], self.names[c]) for c in frame}
        self.numeric, self.text = [c for c in kinds if kinds[c]], [c for c in kinds if not kinds[c]]
        ready, absent = self._typed(frame)
        if self.missing == "mean":
            self.fill = {c: self._usual(ready[c][~absent[:, j]], c) for j, c in enumerate(ready)}
        ready, keep = self._filled(ready, absent, "X", self.ids)
        self.transformer = ColumnTransformer(
            [
                ("number", StandardScaler() if self.standardise else "passthrough", self.numeric),
                ("text", OneHotEncoder(handle_unknown="ignore", sparse_output=False), self.text),
            ]
        )
        matrix = self._encoded(ready, fit=True)
        self.columns = [self.names[c] for c in self.numeric]
        for j, c in enumerate(self.numeric):
            how = "number, as it is"
            if self.standardise:
                scaler = self.transformer.named_transformers_["number"]
                how = f"number, mean {scaler.mean_[j]:.6g}, standard deviation {scaler.scale_[j]:.6g}"
            self.encoding[self.names[c]] = how
        for j, c in enumerate(self.text):
            values = self.transformer.named_transformers_["text"].categories_[j]
            self.columns += [f"{self.names[c]}={v}" for v in values]
            self.encoding[self.names[c]] = f"text, one-hot, {len(values)} values"
        return matrix, keep

    def _transform_frame(self, frame: pd.DataFrame, name: str, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frame = frame.set_axis(list(self.names), axis=1)
        for c in self.numeric:
            if not _is_numeric(frame[c], self.names[c]):
                raise DataError(f"column {self.names[c]!r} is text in the validation rows and numbers in the training rows.")
        ready, keep = self._filled(*self._typed(frame), name, ids)
        return self._encoded(ready, fit=False), keep

    def _typed(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
        """Numbers as float64, text as it is; and which cells have neither."""
        out = {c: _to_float(frame[c]) for c in self.numeric}
        out |= {c: frame[c].astype(object).where(frame[c].notna(), None) for c in self.text}
        ready = pd.DataFrame(out, index=frame.index, columns=list(frame.columns))
        absent = {c: ~np.isfinite(ready[c]) if c in self.numeric else ready[c].isna() for c in ready}
        return ready, pd.DataFrame(absent).to_numpy(bool)

    def _usual(self, present: pd.Series, c: str) -> Any:
        if present.empty:
            raise DataError(f"column {self.names[c]!r} has no value at all: drop the column.")
        return present.mean() if c in self.numeric else present.astype(str).mode().iloc[0]

    def _filled(
        self, ready: pd.DataFrame, absent: np.ndarray, name: str, ids: np.ndarray
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """Missing cells treated as asked; which rows stayed."""
        keep: Any = np.ones(len(ready), bool)
        if absent.any() and self.missing == "error":
            row, j = (int(i) for i in np.argwhere(absent)[0])
            came = str(ready.iloc[row, j]) if ready.columns[j] in self.numeric else "nothing"
            raise DataError(
                f"{name} has {came} in row {row} (id {plain(ids[row])!r}), column {self.names[ready.columns[j]]!r} "
                f"({int(absent.sum())} such cells): pass missing='drop' or missing='mean', or mend them."
            )
        if absent.any() and self.missing == "drop":
            keep = ~absent.any(axis=1)
            if not keep.any():
                raise DataError(
                    f"every row of {name} has a missing cell, so missing='drop' leaves none: use missing='mean'."
                )
            ready = ready[keep]
        elif absent.any():
            for j, c in enumerate(ready):
                ready[c] = ready[c].mask(absent[:, j], self.fill[c])
        return ready.astype(dict.fromkeys(self.text, str)), keep

    def _encoded(self, ready: pd.DataFrame, *, fit: bool) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            matrix = self.transformer.fit_transform(ready) if fit else self.transformer.transform(ready)
        matrix = np.ascontiguousarray(matrix, dtype=np.float64)
        # n standardised numbers are at most sqrt(n - 1) large, unless their squares overflowed
        bound = 2 * np.sqrt(len(matrix)) if fit and self.standardise else np.inf
        if len(bad := np.flatnonzero(~(abs(matrix) <= bound).all(axis=0))):
            c = self.numeric[int(bad[0])]
            raise DataError(
                f"column {self.names[c]!r} holds numbers too large to standardise, up to {ready[c].abs().max():g}."
            )
        return matrix


def _to_float(column: pd.Series) -> pd.Series:
    """Numbers, and dates as days, in float64."""
    if column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) == "date":
        column = pd.to_datetime(column)
    if pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        start = (
            column.dropna().iloc[0] * 0 if pd.api.types.is_timedelta64_dtype(column) else pd.Timestamp(0, tz=column.dt.tz)
        )
        return (column - start) / pd.Timedelta(days=1)
    if column.dtype == object or pd.api.types.is_string_dtype(column):
        return pd.to_numeric(column, errors="coerce").astype(np.float64)
    return column.astype("Float64").astype(np.float64) if column.isna().any() else column.astype(np.float64)


def _is_numeric(column: pd.Series, name: str) -> bool:
    """Numbers are a column's if nine in ten of its cells are numbers; then the tenth is an error, not a category."""
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(column):
        return False
    if pd.api.types.is_complex_dtype(column):
        raise DataError(f"column {name!r} holds complex numbers: give real ones.")
    if not (column.dtype == object or pd.api.types.is_string_dtype(column)):
        return True
    present = column.dropna()
    if present.empty or pd.api.types.infer_dtype(present) == "date":
        return True
    as_number = pd.to_numeric(present, errors="coerce")
    share = float(as_number.notna().mean())
    if share == 1:
        return True
    text = present.astype(str)
    distinct = text.nunique()
    without_separators = float(pd.to_numeric(text.str.replace(r"[,\s']", "", regex=True), errors="coerce").notna().mean())
    # a few values, some of them numbers, are kinds ("1", "2", "3 or more"); many are numbers with something wrong among them
    if share >= 0.9 or (max(share, without_separators) >= 0.2 and distinct > 20):
        row = int(np.flatnonzero(as_number.isna())[0])
        position = int(np.flatnonzero(column.notna())[row])
        marks = " without thousands separators" if without_separators > share else ""
        raise DataError(
            f"column {name!r} needs numbers, but row {position} has {plain(present.iloc[row])!r} ({share:.1%} of the column "
            f"are numbers): write them{marks} with a decimal point, empty where they are missing, or leave the column out."
        )
    if distinct > max(50, len(present) // 5) or distinct == len(present) >= 10:
        raise DataError(
            f"column {name!r} is text with {distinct} different values in {len(present)} rows, such as "
            f"{plain(present.iloc[0])!r}: leave it out (drop), or turn it into features; if it names the rows, make it the id."
        )
    return False


def _rows(X: Any, name: str) -> Any:
    """What came, as a frame, a CSR array, or a numpy array with at least two axes."""
    if hasattr(X, "detach"):  # torch, without importing it
        X = X.detach().cpu()
        X = (X.float() if "bfloat16" in str(X.dtype) else X).numpy()
    if sp.issparse(X):
        return sp.csr_array(X)
    if not isinstance(X, pd.DataFrame) and hasattr(X, "to_pandas") and hasattr(X, "columns"):  # polars
        X = X.to_pandas()
    if isinstance(X, pd.DataFrame):
        if X.shape[1] == 0:
            raise DataError(f"{name} has no columns.")
        if X.columns.duplicated().any():
            raise DataError(f"{name} has two columns named {X.columns[X.columns.duplicated()][0]!r}: rename one.")
        return X.reset_index(drop=True)
    try:
        X = np.asarray(X)
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


def _numbers(X: np.ndarray, name: str) -> np.ndarray:
    """(n, d) floats; float32 stays, 8-bit images become float32 in 0 ... 1."""
    if X.dtype.kind in "OUS":
        flat = X.reshape(len(X), -1)
        for row, column in np.ndindex(*flat.shape):
            try:
                float(flat[row, column])
            except (TypeError, ValueError):
                raise DataError(
                    f"{name} needs numbers, but row {row}, column {column} has {plain(flat[row, column])!r}: "
                    "pass a pandas frame, whose text columns are encoded, or turn it into numbers."
                ) from None
        return flat.astype(np.float64)
    if X.dtype.kind not in "fiub":
        raise DataError(f"{name} needs real numbers, but came with dtype {X.dtype}.")
    if X.dtype == np.uint8 and X.ndim > 2:
        return (X.reshape(len(X), -1) / np.float32(255)).astype(np.float32)
    # a copy, so that the data does not change when the caller's array does
    return np.array(X.reshape(len(X), -1), dtype=np.float32 if X.dtype == np.float32 else np.float64, order="C")


def _labels(y: Any, name: str) -> np.ndarray:
    """(n,) labels as they came; tuples and mixed kinds in an object array."""
    if hasattr(y, "detach"):
        y = y.detach().cpu().numpy()
    if hasattr(y, "to_numpy"):
        y = y.to_numpy()
    if not isinstance(y, np.ndarray):
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
    if y.ndim != 1:
        raise DataError(f"{name} must have one entry a row, (n,); it came with shape {y.shape}.")
    return y


def _unique(ids: np.ndarray) -> None:
    if len(blank := np.flatnonzero(pd.isna(ids))):
        raise DataError(f"row {blank[0]} has no id: give it one, or leave the ids out to use the row number.")
    doubled = pd.Series(ids).duplicated().to_numpy()
    if doubled.any():
        second = int(np.flatnonzero(doubled)[0])
        first = next(i for i, value in enumerate(ids) if value == ids[second])
        raise DataError(f"rows {first} and {second} have the same id, {plain(ids[second])!r}: ids must be unique.")


def _number(labels: np.ndarray) -> tuple[np.ndarray, list[Hashable]]:
    """Codes 0 ... k-1 and the original labels, sorted where Python can sort them."""
    try:
        codes, distinct = pd.factorize(labels)
    except TypeError as error:
        raise DataError(f"labels must be hashable: {error}.") from None
    classes = list(distinct.tolist() if isinstance(distinct, np.ndarray) else distinct)
    try:
        order = sorted(range(len(classes)), key=lambda c: classes[c])
    except TypeError:
        order = list(range(len(classes)))
    rank = np.empty(len(classes), np.int64)
    rank[order] = np.arange(len(classes))
    return rank[codes], [classes[c] for c in order]


def _read_only(X: Any) -> Any:
    if isinstance(X, np.ndarray):
        X = X.view()
        X.flags.writeable = False
    return X
