"""Encoder: from what is shown, frames, images, numbers, to the matrix that is valued."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import scipy.sparse as sp

from datassay.checks import DataError
from datassay.data.cells import FEWEST, amounts, cycles, is_date, is_ordered, places, truths
from datassay.data.out_of_core import SMALL, blocks, is_large, is_mapped, room, taken
from datassay.data.prose import Prose, as_texts, is_prose, names_rows

Missing = Literal["error", "drop", "mean"]
Kind = Literal["number", "kind", "many", "text", "name"]

_FAR = 30  # a cell this many times as far from the median as all others says something else than they do
_SIGN = 2
_MOST = 50  # columns of one-hot for a text with very many values
_SIGNS = tuple(1.0 - 10.0**k for k in range(2, 13))  # -99, -999, ...
EMPTY = "(empty)"  #: the kind of an empty cell among kinds of text, where gaps are filled


class Encoder:
    """From what is shown to the matrix that is valued; learned on the training rows, used again on validation rows."""

    def __init__(
        self,
        shown: Any,
        ids: np.ndarray,
        missing: Missing,
        standardise: bool | None,
        columns: Sequence[str] | None = None,
        rows: np.ndarray | None = None,
        text: Sequence[str] = (),
    ) -> None:
        self.rows = rows
        self.rows_val: np.ndarray | None = None  # their numbers before some were left out
        self.shown, self.ids, self.missing = shown, ids, missing
        self.as_text = text  # columns that are free text by the caller's word
        self.prose: dict[str, Prose] = {}
        self.prose_columns: dict[str, slice] = {}
        self.left: list[str] = []  # columns that are not valued
        self.written: np.ndarray | None = None  # (n, t) the texts, and of the validation rows
        self.written_val: np.ndarray | None = None
        self.frame = isinstance(shown, pd.DataFrame)
        self.standardise = (self.frame or columns is not None) if standardise is None else standardise
        self.named = columns is not None
        self.columns: list[str] = list(columns or [])
        self.encoding: dict[str, str] = {}
        self.one_hot: list[slice] = []
        self.notes: list[str] = []  #: what was found odd, and what was done about it

    def fit(self) -> tuple[Any, np.ndarray]:
        if sp.issparse(self.shown):
            return self._sparse(self.shown, "X", self.ids)
        if self.frame:
            return self._fit_frame(self.shown)
        flat = _numbers(self.shown, "X")
        self.columns = self.columns or [f"x{j}" for j in range(flat.shape[1])]
        self.mean, self.scale = np.zeros(flat.shape[1]), np.ones(flat.shape[1])
        flat, keep = self._finite(self._tamed(flat, "X"), self.columns, "X", self.ids, fill=None)
        if self.standardise:
            self.mean, self.scale = self._moments(flat)
            flat = self._standardised(flat)
        elif self.missing == "mean":
            self.mean, _ = self._moments(flat)
        if self.named:
            for c, mean, scale in zip(self.columns, self.mean, self.scale, strict=True):
                self.encoding[c] = _how(mean, scale) if self.standardise else "number, as it is"
        return flat, keep

    def shows(self, matrix: Any) -> bool:
        """Whether the matrix holds what is shown, cell by cell, so that it need not be kept beside it."""
        came = self.shown
        return (
            isinstance(came, np.ndarray)
            and came.ndim == 2
            and came.dtype == matrix.dtype
            and not self.standardise
            and self.missing != "mean"
        )

    def features(self) -> dict[str, Any]:
        """For `Values.stats`, where there are texts: by name and weight what the rows are valued on."""
        if not self.prose:
            return {}
        named = {"table": 1.0} if len(self.prose) < len(self.encoding) - len(self.left) else {}
        total = len(self.prose) + len(named)
        return {"features": {name: weight / total for name, weight in {**named, "tfidf": len(self.prose)}.items()}}

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
        flat = self._tamed(_numbers(shown, "X_val"), "X_val")
        flat, keep = self._finite(flat, self.columns, "X_val", names, fill=self.mean)
        return (self._standardised(flat) if self.standardise else flat), keep

    def _tamed(self, X: np.ndarray, name: str) -> np.ndarray:
        """Numbers to be standardised; a cell that would flatten its column counts as the nearest ordinary one, and is named.

        What is worked on in blocks stays as it is.
        """
        if not self.standardise or _blockwise(X) or X.size == 0:
            return X
        if name == "X":
            self.ordinary = _Ordinary(X)
        elif not hasattr(self, "ordinary"):
            return X
        out, numbers = X, self.rows if name == "X" else self.rows_val
        numbers = np.arange(len(X)) if numbers is None else numbers
        for j, far in self.ordinary.far(X):
            low, high = self.ordinary.low[j], self.ordinary.high[j]
            out = X.astype(np.float64) if out is X else out
            out[far, j] = np.clip(out[far, j], low, high)
            cells = ", ".join(f"{X[i, j]:g} in row {numbers[i]}" for i in far[:3]) + (", ..." if len(far) > 3 else "")
            of = " of the validation rows" if name == "X_val" else ""
            self.notes.append(
                f"column {self.columns[j]!r}{of} has {cells} ({len(far)} such cells), far beyond all others "
                f"({low:g} to {high:g}): counted as the nearest of these; mend it, or empty it where it stands for a gap"
            )
        return out

    def _moments(self, X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation of each column; 1 where a column holds one number."""
        if not _blockwise(X):
            mean, scale = X.mean(axis=0, dtype=np.float64), X.std(axis=0, dtype=np.float64)
            scale[scale == 0] = 1.0
            return mean, scale
        mean, squares = np.zeros(X.shape[1]), np.zeros(X.shape[1])
        with np.errstate(over="ignore", invalid="ignore"):
            for rows in blocks(X):
                mean += X[rows].sum(axis=0, dtype=np.float64)
            mean /= len(X)
            for rows in blocks(X):
                away = X[rows] - mean
                squares += np.einsum("nd,nd->d", away, away)
            scale = np.sqrt(squares / len(X))
        if len(bad := np.flatnonzero(~np.isfinite(scale))):
            largest = max(float(abs(X[rows, bad[0]]).max()) for rows in blocks(X))
            raise DataError(f"column {self.columns[bad[0]]!r} holds numbers too large to standardise, up to {largest:g}.")
        scale[scale <= len(X) * np.finfo(np.float64).eps * abs(mean)] = 1.0  # what rounding the mean leaves of one number
        return mean, scale

    def _standardised(self, X: np.ndarray) -> np.ndarray:
        if not _blockwise(X):
            return (X - self.mean) / self.scale
        out = room(X.shape, np.float32)
        for rows in blocks(X):
            out[rows] = (X[rows] - self.mean) / self.scale
        return out

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
        keep = np.ones(len(X), bool)
        if X.dtype.kind != "f":
            return X, keep
        gaps, first = 0, (0, 0)
        for rows in blocks(X):
            good = np.isfinite(X[rows])
            if not good.all():
                if gaps == 0:
                    row, column = (int(i) for i in np.argwhere(~good)[0])
                    first = (rows.start + row, column)
                gaps += int(good.size - good.sum())
                keep[rows] = good.all(axis=1)
        if gaps == 0:
            return X, keep
        if self.missing == "error":
            raise DataError(
                f"{name} has {X[first]} in row {first[0]} (id {plain(ids[first[0]])!r}), column {columns[first[1]]!r} "
                f"({gaps} such cells): pass missing='drop' or missing='mean', or mend them."
            )
        if self.missing == "drop":
            if not keep.any():
                raise DataError(
                    f"every row of {name} has a missing cell, so missing='drop' leaves none: use missing='mean'."
                )
            return taken(X, keep), keep
        if fill is None:
            fill = _present_mean(X)
            if len(empty := np.flatnonzero(np.isnan(fill))):
                raise DataError(f"column {columns[empty[0]]!r} of {name} has no value at all: drop the column.")
        out = room(X.shape, X.dtype)
        for rows in blocks(X):
            out[rows] = np.where(np.isfinite(X[rows]), X[rows], fill)
        return out, np.ones(len(X), bool)

    def _fit_frame(self, frame: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        from sklearn.preprocessing import OneHotEncoder, StandardScaler

        # inside, columns are c0, c1, ...: their own names can be numbers, dates or tuples, and scikit-learn wants text
        self.names = {f"c{j}": str(c) for j, c in enumerate(frame.columns)}
        frame = frame.set_axis(list(self.names), axis=1)
        frame = self._read_cells(frame)
        kinds: dict[Any, Kind] = {}
        refused: dict[str, str] = {}
        for c, dtype in frame.dtypes.items():
            if self.names[c] in self.as_text:
                kinds[c] = "text"
                continue
            if _is_plain(dtype):
                kinds[c] = "number"
                continue
            try:
                kinds[c] = _kind(frame[c], self.names[c])
            except DataError as error:
                refused[self.names[c]] = str(error)
        if refused:
            first, *others = refused
            also = ", ".join(map(repr, others[:10])) + (", ..." if len(others) > 10 else "")
            more = f" The same goes for {also}: leave all of them out by drop={list(refused)}." if others else ""
            raise DataError(refused[first] + more)
        self._left_out(frame, kinds)
        self.numeric = [c for c in kinds if kinds[c] == "number"]
        self.text = [c for c in kinds if kinds[c] in ("kind", "many")]
        self.many = [c for c in kinds if kinds[c] == "many"]
        self.prose = {c: Prose() for c in kinds if kinds[c] == "text"}
        self.columns = [self.names[c] for c in self.numeric]
        whole = frame
        if self.prose or self.left:
            frame = frame[[c for c in kinds if kinds[c] in ("number", "kind", "many")]]
        ready, absent = self._typed(frame)
        ready = self._tamed_frame(ready, "X")
        if self.missing == "mean":
            self.fill = {c: self._usual(ready[c][~absent[:, j]], c) for j, c in enumerate(ready)}
        ready, keep = self._filled(ready, absent, "X", self.ids, whole)
        # not in a ColumnTransformer, which looks for each name among all
        self.scaler = StandardScaler() if self.standardise and self.numeric else None
        self.few = [c for c in self.text if c not in self.many]
        self.hot = OneHotEncoder(handle_unknown="ignore") if self.few else None
        rest = OneHotEncoder(handle_unknown="infrequent_if_exist", max_categories=_MOST)
        self.rest = rest if self.many else None
        matrix = self._encoded(ready, fit=True)
        for j, c in enumerate(self.numeric):
            how = "number, as it is"
            if self.scaler is not None:
                how = _how(self.scaler.mean_[j] + self.bases.get(c, 0), self.scaler.scale_[j])
            if c not in self.parts:
                self.encoding[self.names[c]] = how
        for j, c in enumerate(self.few):
            values = self.hot.categories_[j]  # type: ignore[union-attr]
            self.one_hot.append(slice(len(self.columns), len(self.columns) + len(values)))
            self.columns += [f"{self.names[c]}={v}" for v in values]
            self.encoding[self.names[c]] = f"text, one-hot, {len(values)} values"
        for j, c in enumerate(self.many):
            values, seldom = self.rest.categories_[j], set(self.rest.infrequent_categories_[j])  # type: ignore[union-attr]
            common = [v for v in values if v not in seldom]
            self.one_hot.append(slice(len(self.columns), len(self.columns) + len(common) + 1))
            self.columns += [*(f"{self.names[c]}={v}" for v in common), f"{self.names[c]}: another"]
            self.encoding[self.names[c]] = f"text, one-hot, the {len(common)} commonest of {len(values)} values"
        for c, said in self.said.items():
            self.encoding[self.names[c]] += said
        return self._with_prose(matrix, whole[keep]), keep

    def _read_cells(self, frame: pd.DataFrame) -> pd.DataFrame:
        """Truth values in one spelling, amounts and ordered kinds as numbers, and behind all columns weekday, season and hour of dates."""
        self.parts: dict[str, tuple[str, str]] = {}  # columns behind the others: of which date, and what
        self.forms: dict[str, tuple[str, str]] = {}  # of amounts
        self.spelled: list[str] = []
        self.orders: dict[str, list[Any]] = {}  # of ordered categories
        self.said: dict[str, str] = {}
        changed: dict[str, Any] = {}
        for c, dtype in frame.dtypes.items():
            if _is_plain(dtype) or self.names[c] in self.as_text:
                continue
            column = frame[c]
            if is_ordered(column):
                order = self.orders[c] = column.cat.categories.tolist()
                changed[c] = places(column, order, self.names[c])
                ends = f", from {str(order[0])!r} to {str(order[-1])!r}" if order else ""
                self.said[c] = f"; the place among {len(order)} ordered values{ends}"
            elif isinstance(dtype, pd.CategoricalDtype):
                continue
            elif is_date(column):
                found = cycles(column) if len(frame) >= FEWEST else {}
                for what, numbers in found.items():
                    part = f"{c}, {what}"
                    self.parts[part], self.names[part], changed[part] = (c, what), f"{self.names[c]}: {what}", numbers
                if found:
                    self.said[c] = f"; of its date also {', '.join(dict.fromkeys(what.split(',')[0] for what in found))}"
            elif pd.api.types.is_object_dtype(dtype) or pd.api.types.is_string_dtype(dtype):
                if (words := truths(column)) is not None:
                    changed[c], self.said[c] = words, ", of several spellings"
                    self.spelled.append(c)
                elif (read := amounts(column)) is not None:
                    changed[c], self.forms[c] = read
                    before, unit = read[1]
                    self.said[c] = f", in {before or unit}" if before or unit else ", written with thousands separators"
        return self._with_cells(frame, changed)

    def _read_cells_again(self, frame: pd.DataFrame) -> pd.DataFrame:
        """The same of validation rows."""
        changed: dict[str, Any] = {}
        for c in self.spelled:
            words = frame[c].map(lambda cell: cell if pd.isna(cell) else str(cell).strip().casefold())
            mixed = pd.concat([words, pd.Series(["yes", "no", "y"], index=[-1, -2, -3])])
            read = truths(mixed)
            changed[c] = frame[c] if read is None else read.iloc[:-3]
        for c, order in self.orders.items():
            changed[c] = places(frame[c], order, self.names[c])
        for c, form in self.forms.items():
            found = amounts(frame[c], form) if not _is_plain(frame.dtypes[c]) else None
            changed[c] = frame[c] if found is None else found[0]
        for date in dict.fromkeys(date for date, _ in self.parts.values()):
            kept = [what for of, what in self.parts.values() if of == date]
            numbers = cycles(frame[date], kept) if is_date(frame[date]) else {}
            for what in kept:
                changed[f"{date}, {what}"] = numbers.get(what, np.full(len(frame), np.nan))
        return self._with_cells(frame, changed)

    def _with_cells(self, frame: pd.DataFrame, changed: dict[str, Any]) -> pd.DataFrame:
        if not changed:
            return frame
        frame = frame.copy()
        for c, cells in changed.items():
            frame[c] = cells
        return frame

    def _left_out(self, frame: pd.DataFrame, kinds: dict[Any, Kind]) -> None:
        """Columns that name the rows are not valued, unless there is no other."""
        names = [c for c in kinds if kinds[c] == "name"]
        self.left = names
        for c in names:
            if len(names) == len(kinds):
                raise DataError(_of_names(frame[c], self.names[c]))
            self.encoding[self.names[c]] = "left out: another name in nearly each row"
            first = plain(frame[c].dropna().iloc[0])
            self.notes.append(
                f"column {self.names[c]!r} has another name in nearly each row, such as {first!r}: left out; if it names the rows, make "
                "it the id"
            )

    def _with_prose(self, matrix: np.ndarray, frame: pd.DataFrame) -> np.ndarray:
        """Beside the other columns those of texts, each text as much as all others together: no block drowns the rest."""
        if not self.prose:
            return matrix
        others = float(np.mean(np.einsum("nd,nd->n", matrix, matrix))) if matrix.shape[1] else 0.0
        parts, written = [matrix], []
        for c, it in self.prose.items():
            written.append(as_texts(frame[c]))
            parts.append(it.fit(written[-1], others or 1.0))
            names = it.columns(self.names[c])
            self.prose_columns[self.names[c]] = slice(len(self.columns), len(self.columns) + len(names))
            self.columns += names
            self.encoding[self.names[c]] = it.how
        self.written = np.array(written, dtype=object).T
        return np.concatenate(parts, axis=1)

    def _transform_frame(self, frame: pd.DataFrame, name: str, ids: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        frame = self._read_cells_again(frame.set_axis([c for c in self.names if c not in self.parts], axis=1))
        dtypes = dict(frame.dtypes)
        for c in self.numeric:
            if not _is_plain(dtypes[c]) and not _is_numeric(frame[c], self.names[c]):
                raise DataError(f"column {self.names[c]!r} is text in the validation rows and numbers in the training rows.")
        whole = frame
        if self.prose or self.left:
            frame = frame.drop(columns=[*self.prose, *self.left])
        ready, absent = self._typed(frame)
        ready, keep = self._filled(self._tamed_frame(ready, name), absent, name, ids, whole)
        matrix = self._encoded(ready, fit=False)
        if not self.prose:
            return matrix, keep
        written = [as_texts(whole[c][keep]) for c in self.prose]
        self.written_val = np.array(written, dtype=object).T
        return np.concatenate(
            [matrix, *(it.transform(cells) for it, cells in zip(self.prose.values(), written, strict=True))], axis=1
        ), keep

    def _tamed_frame(self, ready: pd.DataFrame, name: str) -> pd.DataFrame:
        came = ready[self.numeric].to_numpy(np.float64)
        tamed = self._tamed(came, name)
        if tamed is not came:
            ready = ready.copy()
            ready[self.numeric] = tamed
        return ready

    def _typed(self, frame: pd.DataFrame) -> tuple[pd.DataFrame, np.ndarray]:
        """Numbers as float64, text as it is; and which cells have neither."""
        dtypes, place = dict(frame.dtypes), {c: j for j, c in enumerate(self.numeric)}
        numbers = np.empty((len(place), len(frame))).T  # column by column, as pandas keeps it
        if not hasattr(self, "bases"):
            long = [c for c in self.numeric if self.standardise and dtypes[c] in (np.int64, np.uint64)]
            self.bases = {c: base for c in long if (base := _base(frame[c])) is not None}
        for c, base in self.bases.items():  # exactly, where floats would merge neighbours
            whole = isinstance(dtypes[c], np.dtype) and dtypes[c].kind in "iu"
            numbers[:, place[c]] = [i - base for i in frame[c].tolist()] if whole else _to_float(frame[c]).to_numpy() - base
        plain_ones = [c for c in self.numeric if _is_plain(dtypes[c]) and c not in self.bases]
        if plain_ones:
            numbers[:, [place[c] for c in plain_ones]] = frame[plain_ones].to_numpy(np.float64)
        for c in self.numeric:
            if not _is_plain(dtypes[c]) and c not in self.bases:
                numbers[:, place[c]] = _to_float(frame[c]).to_numpy()
        ready = pd.DataFrame(numbers, index=frame.index, columns=self.numeric)
        absent = np.zeros(frame.shape, bool)
        at = frame.columns.get_indexer(self.numeric)
        absent[:, at] = ~np.isfinite(numbers)
        if self.text:
            text = {c: frame[c].astype(object).where(frame[c].notna(), None) for c in self.text}
            for c, cells in text.items():
                absent[:, frame.columns.get_loc(c)] = cells.isna()
            ready = pd.concat([ready, pd.DataFrame(text, index=frame.index)], axis=1)[list(frame.columns)]
        return ready, absent

    def _usual(self, present: pd.Series, c: str) -> Any:
        """What stands for a gap: a column's mean; in text, where empty is often a kind of its own ("has none"), that kind."""
        if present.empty:
            raise DataError(f"column {self.names[c]!r} has no value at all: drop the column.")
        return present.mean() if c in self.numeric else EMPTY

    def _filled(
        self, ready: pd.DataFrame, absent: np.ndarray, name: str, ids: np.ndarray, whole: pd.DataFrame
    ) -> tuple[pd.DataFrame, np.ndarray]:
        """Missing cells treated as asked; which rows stayed. Free text that is missing is empty, unless rows are to be left out."""
        keep: Any = np.ones(len(ready), bool)
        if self.missing == "drop" and self.prose:
            absent = np.c_[absent, whole[list(self.prose)].isna().to_numpy()]
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
            for j in np.flatnonzero(absent.any(axis=0)).tolist():
                c = ready.columns[j]
                ready[c] = ready[c].mask(absent[:, j], self.fill[c])
        return (ready.astype(dict.fromkeys(self.text, str)) if self.text else ready), keep

    def _encoded(self, ready: pd.DataFrame, *, fit: bool) -> np.ndarray:
        if not self.numeric and not self.text:
            return np.empty((len(ready), 0))
        numbers, hot = np.empty((len(ready), 0)), list[Any]()
        with np.errstate(over="ignore", invalid="ignore"):
            if self.numeric:
                numbers = ready[self.numeric].to_numpy(np.float64) if self.text else ready.to_numpy(np.float64)
                if self.scaler is not None:
                    numbers = self.scaler.fit_transform(numbers) if fit else self.scaler.transform(numbers)
            if self.hot is not None:
                hot.append(self.hot.fit_transform(ready[self.few]) if fit else self.hot.transform(ready[self.few]))
            if self.rest is not None:
                hot.append(self.rest.fit_transform(ready[self.many]) if fit else self.rest.transform(ready[self.many]))
        if not hot:
            matrix = np.ascontiguousarray(numbers, dtype=np.float64)
        else:  # some rows at a time: dense, these columns can be nearly all of the matrix
            at = np.cumsum([numbers.shape[1], *(part.shape[1] for part in hot)])
            matrix = np.empty((len(ready), at[-1]))
            matrix[:, : at[0]] = numbers
            for part, start, stop in zip(hot, at, at[1:], strict=False):
                for rows in blocks(matrix):
                    matrix[rows, start:stop] = part[rows].toarray()
        # n standardised numbers are at most sqrt(n - 1) large, unless their squares overflowed
        bound = 2 * np.sqrt(len(matrix)) if fit and self.standardise else np.inf
        largest = np.maximum(matrix.max(axis=0, initial=-np.inf), -matrix.min(axis=0, initial=np.inf))
        if len(bad := np.flatnonzero(~(largest <= bound))):
            c = self.numeric[int(bad[0])]
            raise DataError(
                f"column {self.names[c]!r} holds numbers too large to standardise, up to {ready[c].abs().max():g}."
            )
        return matrix


def _to_float(column: pd.Series) -> pd.Series:
    """Numbers, and dates as days, in float64."""
    dates = column.dtype == object and pd.api.types.infer_dtype(column, skipna=True) in ("date", "datetime")
    if dates or pd.api.types.is_datetime64_any_dtype(column) or pd.api.types.is_timedelta64_dtype(column):
        try:
            return _in_days(pd.to_datetime(column) if dates else column)
        except pd.errors.OutOfBoundsDatetime:  # 9999-12-31, which stands for never
            if not dates:
                column = column.dt.tz_convert("UTC").dt.tz_localize(None) if column.dt.tz is not None else column
                days = column.to_numpy("datetime64[us]")
            else:
                days = np.array(
                    [None if gap else cell for cell, gap in zip(column, column.isna(), strict=True)], "datetime64[us]"
                )
            return pd.Series(np.where(np.isnat(days), np.nan, days.astype(np.int64) / 86_400e6), index=column.index)
    if column.dtype == object or pd.api.types.is_string_dtype(column):
        return pd.to_numeric(column, errors="coerce").astype(np.float64)
    return column.astype("Float64").astype(np.float64) if column.isna().any() else column.astype(np.float64)


def _in_days(column: pd.Series) -> pd.Series:
    start = column.dropna().iloc[0] * 0 if pd.api.types.is_timedelta64_dtype(column) else pd.Timestamp(0, tz=column.dt.tz)
    return (column - start) / pd.Timedelta(days=1)


def _is_plain(dtype: Any) -> bool:
    """Whether it is numpy's, of numbers."""
    return isinstance(dtype, np.dtype) and dtype.kind in "iuf"


def refused(frame: pd.DataFrame, prose: bool = True) -> list[Any]:
    """The columns that can't be made into numbers or kinds, and, with ``prose``, those of free text and of names."""
    odd = []
    for c in frame:
        try:
            if _kind(frame[c], str(c)) in ("text", "name") and prose:
                odd.append(c)
        except DataError:
            odd.append(c)
    return odd


def _kind(column: pd.Series, name: str) -> Kind:
    """What a column holds."""
    if _is_numeric(column, name):
        return "number"
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(column):
        return "kind"
    cells = column.dropna().astype(str)
    distinct = cells.nunique()
    large = distinct > max(50, len(cells) // 5) or distinct == len(cells) >= 10
    if (large or len(cells) >= 4) and is_prose(cells.tolist(), distinct):
        return "text"
    if not large:
        return "kind"
    return "name" if names_rows(cells.tolist(), distinct) else "many"


def _of_names(column: pd.Series, name: str) -> str:
    present = column.dropna()
    return (
        f"column {name!r} is text with {present.nunique()} different values in {len(present)} rows, such as "
        f"{plain(present.iloc[0])!r}: leave it out (drop), or turn it into features; if it names the rows, make it the id."
    )


def _is_numeric(column: pd.Series, name: str) -> bool:
    """Numbers are a column's if nine in ten of its cells are numbers; then the tenth is an error, not a category."""
    if isinstance(column.dtype, pd.CategoricalDtype) or pd.api.types.is_bool_dtype(column):
        return False
    if pd.api.types.is_complex_dtype(column):
        raise DataError(f"column {name!r} holds complex numbers: give real ones.")
    if not (column.dtype == object or pd.api.types.is_string_dtype(column)):
        return True
    present = column.dropna()
    if present.empty or pd.api.types.infer_dtype(present) in ("date", "datetime"):
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
        commas = text[text.str.fullmatch(r"\s*[+-]?\d+,\d+\s*")]
        if len(commas) and not commas.str.fullmatch(r"\s*[+-]?\d{1,3},\d{3}\s*").all():
            marks = " with a decimal point in place of the comma"
        else:
            marks = (" without thousands separators" if without_separators > share else "") + " with a decimal point"
        raise DataError(
            f"column {name!r} needs numbers, but row {position} has {plain(present.iloc[row])!r} ({share:.1%} of the column "
            f"are numbers): write them{marks}, empty where they are missing, or leave the column out."
        )
    return False


class _Ordinary:
    """The range of each column's ordinary numbers, and the bounds beyond which a number is not one of them.

    Beyond are, in columns of 20 numbers and more, one cell in a hundred at most (or one) that is `_FAR` times as far from the
    median as all others, and -99, -999, ..., which stand for gaps, if they are `_SIGN` times as far.
    """

    def __init__(self, X: np.ndarray) -> None:
        X = X.astype(np.float64)
        X[~np.isfinite(X)] = np.nan
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)  # of columns without a number
            self.low, self.high = np.nanmin(X, axis=0), np.nanmax(X, axis=0)
            mean, scale = np.nanmean(X, axis=0), np.nanstd(X, axis=0)
            reach = np.maximum(self.high - mean, mean - self.low)
            self.lowest, self.highest = mean - _FAR * reach, mean + _FAR * reach
            steep = ~(reach <= 4 * scale) | np.isin(self.low, _SIGNS)  # the others can't have such a cell
        known = np.isfinite(reach) & (reach > 0)
        self.lowest[~known], self.highest[~known] = -np.inf, np.inf
        for j in np.flatnonzero(steep) if len(X) >= 20 else ():
            self._narrow(X[:, j][~np.isnan(X[:, j])], int(j))

    def _narrow(self, x: np.ndarray, j: int) -> None:
        if len(x) < 20:
            return
        signs = np.isin(x, _SIGNS)
        rest = x[~signs]
        if 0 < signs.sum() < len(x) / 2 and len(np.unique(rest)) >= 3:
            reach = max(np.ptp(rest), np.abs(rest - np.median(rest)).max())
            if x[signs].max() < rest.min() - _SIGN * reach:
                self.low[j], self.high[j] = rest.min(), rest.max()
                self.lowest[j], self.highest[j] = rest.min() - _SIGN * reach, np.median(rest) + _FAR * reach
                x = rest
        middle = np.median(x)
        away = np.abs(x - middle)
        largest = np.sort(away)[-1 - max(1, len(x) // 100) :]
        gaps = np.flatnonzero((largest[1:] > _FAR * largest[:-1]) & (largest[:-1] > 0))
        if len(gaps) == 0:
            return
        reach = largest[gaps[0]]
        near = x[away <= reach]
        if len(np.unique(near)) < 3:  # mostly one value, or a few kinds
            return
        self.low[j], self.high[j] = near.min(), near.max()
        self.highest[j] = middle + _FAR * reach
        self.lowest[j] = max(self.lowest[j], middle - _FAR * reach)

    def far(self, X: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
        """The columns with cells beyond the bounds, and these."""
        beyond = ((self.lowest > X) | (self.highest < X)) & np.isfinite(X)
        for j in np.flatnonzero(beyond.any(axis=0)):
            yield int(j), np.flatnonzero(beyond[:, j])


def _how(mean: float, scale: float) -> str:
    return f"number, mean {mean:.6g}, standard deviation {scale:.6g}"


def _blockwise(X: np.ndarray) -> bool:
    """Whether X is worked on in blocks; what fits the memory in float64 already is not, nor is what is small."""
    return is_large(X.shape) and (is_mapped(X) or X.dtype != np.float64)


def _present_mean(X: np.ndarray) -> np.ndarray:
    """Means of the finite numbers of the columns; NaN where there are none."""
    total, present = np.zeros(X.shape[1]), np.zeros(X.shape[1], np.int64)
    for rows in blocks(X) if _blockwise(X) else [slice(None)]:
        good = np.isfinite(X[rows])
        total += np.where(good, X[rows], 0).sum(axis=0, dtype=np.float64)
        present += good.sum(axis=0)
    return np.divide(total, present, out=np.full(X.shape[1], np.nan), where=present > 0)


def _numbers(X: np.ndarray, name: str) -> np.ndarray:
    """(n, d) numbers; small types and what lies in a file stay as they are, 8-bit images become float32 in 0 ... 1."""
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
    flat = X.reshape(len(X), -1)
    if X.dtype == np.uint8 and X.ndim > 2:
        out = room(flat.shape, np.float32)
        for rows in blocks(flat):
            np.divide(flat[rows], np.float32(255), out=out[rows])
        return out
    if is_mapped(flat) and X.dtype.isnative and X.dtype.itemsize <= 8:
        return flat.view(np.uint8) if X.dtype == bool else flat
    if X.dtype in SMALL and flat.flags.c_contiguous:
        return flat
    # a copy, so that the data does not change when the caller's array does
    return np.array(flat, dtype=X.dtype if X.dtype in SMALL else np.float64, order="C")


def _base(column: pd.Series) -> int | None:
    """The least of whole numbers beyond 2^53 that lie within 2^53 of one another; None of all others.

    >>> _base(pd.Series([2**60 + 1, 2**60 + 3])), _base(pd.Series([1, 3]))
    (1152921504606846977, None)
    """
    if column.empty:
        return None
    low, high = int(column.min()), int(column.max())
    return low if max(-low, high) > 2**53 and high - low <= 2**53 else None


def plain(value: Any) -> Any:
    """A numpy scalar as Python shows it: 'a', not np.str_('a')."""
    return value.item() if isinstance(value, np.generic) else value
