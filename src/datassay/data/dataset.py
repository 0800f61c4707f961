"""Dataset: rows that keep their ids, checked once at the door.

Everything behind this door may rely on: X is a finite 2-D array of real numbers (or scipy CSR), y has one label a row, ids
are unique, every class has at least two rows. X is float64 or the smaller type in which it came, and it may lie in a file:
what calculates with it turns blocks of rows into floats.
"""

from __future__ import annotations

import copy
import functools
import hashlib
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from datassay.checks import DataError
from datassay.data.arriving import (
    as_labels,
    as_rows,
    check_order,
    check_unique,
    index_of,
    is_images,
    named_text,
    numbered,
    to_show,
)
from datassay.data.encoding import Encoder, Missing, plain
from datassay.data.given_encoder import GivenEncoder
from datassay.data.out_of_core import Table, blocks, taken
from datassay.data.remarks import NAMED, Task, about_classes, have_none, infer_task, of_use, without_blanks, without_counters


class Dataset:
    """Training rows, and optionally the validation rows their value is measured against.

    It stays as it was made: its arrays can't be written, and `take`, `with_labels` and their like return another. Labels and
    ids are copies of what came.

    Parameters
    ----------
    X
        (n, d) numbers: numpy, torch, scipy sparse; or (n, height, width[, channels]) images; or a pandas or polars frame,
        whose numeric columns are standardised and whose text, boolean and categorical columns become one-hot columns
        (``encoding`` records how). Arrays of float32, float16 and integers of at most two bytes keep their type, memory
        maps any, and both are used where they lie: don't change them afterwards. All else becomes float64; only uint8
        images become float32, divided by 255.
    y
        (n,) labels, text, numbers, truth values, dates or tuples of these, or numbers for regression; by position, as in
        scikit-learn: a Series whose index has the labels of X's in another order is refused.
    X_val, y_val
        (m, d) and (m,), the validation rows, encoded as the training rows were.
    ids
        (n,) unique names of the rows; default: the index of a pandas frame, so that ``frame.loc[values.suspects().id]`` are
        the suspects, else 0 ... n-1.
    task
        "classification" or "regression"; default: regression if y holds a number that is not whole.
    missing
        What to do with NaN and infinity: "error", "drop" the row, or fill in the column's "mean" (text: a kind of its own,
        "(empty)"). "drop" also leaves out rows without a label, and a row whose class no other row has; ``notes`` names them.
    standardise
        Bring numeric columns to mean 0 and standard deviation 1; default: frames yes, arrays no.

    text
        Columns of a frame to take for free text, whatever is in them. Others are free text if most of their values differ and have
        several words.
    encoder
        A transformer of scikit-learn's kind that makes the numbers of a table in place of the encoding above: a ColumnTransformer, a
        Pipeline, skrub's TableVectorizer. A copy is fitted on the training rows, without labels, and applied to the validation rows;
        its numbers are taken as they are, unless ``standardise`` says otherwise.

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

    X: Any  #: (n, d) real array or CSR array; float64, or the smaller type in which it came
    y: np.ndarray  #: (n,) the labels as they came
    ids: np.ndarray  #: (n,) unique
    codes: np.ndarray  #: (n,) int64 index into ``classes``; regression: float64 targets
    classes: list[Hashable]  #: the original labels, sorted where they can be; regression: empty
    X_val: Any  #: (m, d) or None
    y_val: np.ndarray | None  #: (m,) or None
    codes_val: np.ndarray | None  #: (m,) or None
    task: Task  #: classification or regression
    columns: list[str]  #: names of the columns of X
    one_hot: list[slice]  #: where in X the columns of each text column of the frame are
    standardised: bool  #: whether numeric columns were brought to mean 0 and standard deviation 1
    encoding: dict[str, str]  #: for each column of the frame, what was done to it
    shown: pd.DataFrame | np.ndarray  #: what a person looks at: (n, ...) original frame, images, or numbers
    shown_val: pd.DataFrame | np.ndarray | None  #: the same for the validation rows
    dropped: np.ndarray  #: ids of rows that ``missing="drop"`` left out
    kept: np.ndarray  #: mask over the rows that came: which stayed
    kept_val: np.ndarray | None  #: the same for the validation rows
    notes: tuple[str, ...] = ()  #: what was odd, and what was done about it: a sentence each; no errors
    source: dict[str, Any]  #: how `read` was called, so that a report can find the rows again
    features: Mapping[
        str, Any
    ]  #: for `Values.stats`: what `with_features` took, by name and weight; empty: the rows as they came
    prose: dict[str, slice]  #: where in X the columns of each free text are
    written: np.ndarray | None = None  #: (n, t) these texts: they, and not the numbers, make the hash
    written_val: np.ndarray | None = None  #: (m, t)
    text_key: str = ""  #: of the texts from which the words were learned
    encoder: Any = None  #: the caller's transformer that made X, not fitted
    base: Dataset | None = None  #: the rows as they came, where they are valued on other features
    recipe: str = ""  #: of features that follow from the rows: these, and not the numbers, then make the hash

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
        text: Sequence[str] = (),
        encoder: Any = None,
    ) -> None:
        if task not in (None, "classification", "regression"):
            raise DataError(f"task must be 'classification' or 'regression', got {task!r}.")
        if missing not in ("error", "drop", "mean"):
            raise DataError(f"missing must be 'error', 'drop' or 'mean', got {missing!r}.")
        text = named_text(text, X)
        if text and encoder is not None:
            raise DataError(
                "text names columns for the encoding that is built in; with encoder= it is the encoder that takes them."
            )
        check_order(X, y, "X", "y")
        check_order(X, ids, "X", "ids")
        check_order(X_val, y_val, "X_val", "y_val")
        shown, labels = as_rows(X, "X"), as_labels(y, "y")
        n = shown.shape[0]
        if n == 0:
            raise DataError("X has no rows: at least four are needed, two in each of two classes.")
        if len(labels) != n:
            raise DataError(f"X has {n} rows but y has {len(labels)} labels: they must be of one length.")
        if ids is None:
            names = index_of(X) if isinstance(X, pd.DataFrame) else np.arange(n)
        else:
            names = as_labels(ids, "ids")
        if len(names) != n:
            raise DataError(f"X has {n} rows but ids has {len(names)} entries: they must be of one length.")
        check_unique(names)
        if (X_val is None) != (y_val is None):
            raise DataError("X_val and y_val go together, but only one of them was given.")
        shown_val = None if X_val is None else as_rows(X_val, "X_val")
        labels_val = None if y_val is None else as_labels(y_val, "y_val")
        if shown_val is not None and labels_val is not None and shown_val.shape[0] != len(labels_val):
            raise DataError(f"X_val has {shown_val.shape[0]} rows but y_val has {len(labels_val)} labels.")

        if shown_val is not None and shown_val.shape[0] == 0:
            raise DataError("X_val has no rows: leave the validation rows out, or give some.")
        shown, noticed = without_counters(shown) if encoder is None else (shown, [])  # which may name any column
        noticed += X.notes if isinstance(X, Table) else ()
        left: list[str] = []
        all_names, stays = names, np.ones(n, bool)
        if missing == "drop":
            stays, left = of_use(labels, task, names)
            if not stays.all():
                labels = without_blanks(labels, stays)
                shown, names = _chosen(shown, stays), names[stays]
        rows = np.flatnonzero(stays)
        named = X.columns if isinstance(X, Table) else None
        encode: Encoder
        if encoder is None:
            encode = Encoder(shown, names, missing, standardise, named, rows, text)
        else:
            encode = GivenEncoder(encoder, shown, names, missing, standardise, named, rows)
            self.encoder = encode.unfitted
        matrix, keep = encode.fit()
        if not keep.all():  # of a class of two rows one may have gone
            still, more = of_use(labels[keep], task, names[keep])
            if not still.all():
                matrix, left = taken(matrix, still) if isinstance(matrix, np.ndarray) else matrix[still], left + more
                keep[np.flatnonzero(keep)[~still]] = False
                encode.written = None if encode.written is None else encode.written[still]
        kept = np.zeros(n, bool)
        kept[rows[keep]] = True
        self.dropped, self.kept, self.kept_val = _read_only(all_names[~kept]), _read_only(kept), None
        self.X, self.columns, self.encoding = _read_only(matrix), encode.columns, encode.encoding
        self.one_hot = encode.one_hot
        self.standardised = encode.standardise and not sp.issparse(matrix)
        self.shown = self.X if encode.shows(matrix) else _chosen(shown, keep)
        if not keep.all():
            labels, names = labels[keep], names[keep]
        self.ids, self.source, self.features = _read_only(names), {}, encode.features()
        self.prose = encode.prose_columns
        if self.prose:
            self.written = encode.written
            self.text_key = " ".join(it.key for it in encode.prose.values())
        self.X_val = self.shown_val = self.y_val = self.codes_val = None
        self._set_labels(labels, task)
        if shown_val is not None and labels_val is not None:
            there = np.ones(len(labels_val), bool)
            if missing == "drop" and (blank := pd.isna(labels_val)).any():
                there = ~blank
                left.append(f"{have_none(np.flatnonzero(blank), None, 'validation ')}: left out")
            encode.rows_val = np.flatnonzero(there)
            try:
                matrix_val, keep_val = encode.transform(_chosen(shown_val, there))
            except DataError as error:
                if "X_val" in str(error) or "validation" in str(error):
                    raise
                raise DataError(f"in the validation rows, {error}") from None
            there[np.flatnonzero(there)[~keep_val]] = False
            self.X_val, self.shown_val = _read_only(matrix_val), _chosen(shown_val, there)
            self.written_val = encode.written_val
            self.y_val, self.kept_val = _read_only(labels_val[there]), _read_only(there)
            self.codes_val = self._codes_of(self.y_val)
        self.notes = (*noticed, *encode.notes, *left, *about_classes(self.classes, self.codes, task))

    def _set_labels(self, labels: np.ndarray, task: Task | None) -> None:
        """Check the labels and number them."""
        if len(blank := np.flatnonzero(pd.isna(labels))):
            ways = "give it one or drop the row" if len(blank) == 1 else "give them one or drop the rows"
            raise DataError(f"{have_none(blank, self.ids)}: {ways} (missing='drop' does).")
        self.y, self.task = _read_only(labels), task or infer_task(labels)
        if self.task == "regression":
            try:
                self.codes = _read_only(labels.astype(np.float64))
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
        codes, self.classes = numbered(labels)
        self.codes = _read_only(codes)
        counts = np.bincount(self.codes)
        if len(counts) == 1:
            raise DataError(
                f"all {len(labels)} rows are of one class, {self.classes[0]!r}: at least two classes are needed."
            )
        if len(lone := np.flatnonzero(counts == 1)):
            hint = " If the labels are amounts, pass task='regression'." if len(counts) > len(labels) / 5 else ""
            rows = [int(np.flatnonzero(self.codes == c)[0]) for c in lone[:NAMED]]
            each = [
                f"{plain(self.classes[c])!r} (row {r}, id {plain(self.ids[r])!r})" for c, r in zip(lone, rows, strict=False)
            ]
            which = (
                f"class {plain(self.classes[lone[0]])!r} has one row only (row {rows[0]}, id {plain(self.ids[rows[0]])!r})"
            )
            if len(lone) > 1:
                which = f"{len(lone)} classes have one row only, {', '.join(each)}{', ...' if len(lone) > NAMED else ''}"
            raise DataError(
                f"{which}: a class needs two rows, so that one can vouch for the other; if it is a slip, mend it; else drop "
                f"the row (missing='drop' does) or merge the class.{hint}"
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
            codes: np.ndarray = _read_only(values)
            return codes
        index = {label: code for code, label in enumerate(self.classes)}
        if labels.dtype.kind in "mM" and self.y.dtype.kind == labels.dtype.kind:
            labels = labels.astype(self.y.dtype)  # days, or seconds, of the same moments
        names = [plain(label) for label in labels]
        odd = [row for row, label in enumerate(names) if label not in index]
        if odd:
            known = ", ".join(repr(c) for c in self.classes[:10])
            count = f" ({len(odd)} such rows)" if len(odd) > 1 else ""
            raise DataError(
                f"validation row {odd[0]} has label {names[odd[0]]!r}, which no training row has (they have "
                f"{known}){count}: leave such rows out, or mend their labels."
            )
        codes = _read_only(np.array([index[label] for label in names], dtype=np.int64))
        return codes

    def labels_of(self, codes: np.ndarray) -> np.ndarray:
        """Class numbers back to the original labels, in the dtype in which they came."""
        names = np.empty(len(self.classes), dtype=object)
        names[:] = self.classes
        return names[codes] if self.y.dtype == object else names[codes].astype(self.y.dtype)

    # -- variations: each returns a new Dataset that shares the arrays it does not change

    def take(self, rows: Any) -> Dataset:
        """The rows chosen by position or mask, ids kept; validation rows stay."""
        rows = _positions("take", rows, len(self))
        check_unique(self.ids[rows])
        new = copy.copy(self)
        new.X, new.ids = _read_only(self.X[rows]), _read_only(self.ids[rows])
        new.shown = new.X if self.shown is self.X else _at(self.shown, rows)
        new.base = self.base and self.base._taken(rows)
        new.written = None if self.written is None else self.written[rows]
        new._set_labels(self.y[rows], self.task)
        if self.y_val is not None:
            new.codes_val = new._codes_of(self.y_val)
        return new

    def _taken(self, rows: np.ndarray) -> Dataset:
        """`take` for rows whose labels don't matter: a class may keep one row."""
        new = copy.copy(self)
        new.X, new.ids, new.y = _read_only(self.X[rows]), _read_only(self.ids[rows]), _read_only(self.y[rows])
        new.codes = _read_only(self.codes[rows])
        new.shown = new.X if self.shown is self.X else _at(self.shown, rows)
        new.written = None if self.written is None else self.written[rows]
        return new

    def with_labels(self, y: Any) -> Dataset:
        """The same rows with other labels (corrected, or planted wrong)."""
        labels = as_labels(y, "y")
        if len(labels) != len(self):
            raise DataError(f"with_labels needs {len(self)} labels, one a row, got {len(labels)}.")
        new = copy.copy(self)
        new._set_labels(labels, self.task)
        if self.y_val is not None:
            new.codes_val = new._codes_of(self.y_val)
        return new

    def with_features(
        self,
        F: Any,
        F_val: Any = None,
        *,
        seed: int = 0,
        k: int | None = None,
        cache: str | Path | None = None,
        device: str = "auto",
        progress: bool = True,
    ) -> Dataset:
        """Value the rows on the features F, and go on showing the originals.

        Parameters
        ----------
        F
            (n, p) numbers, an embedding say. Or a name: "patches", what images show in terms of random whitened patches of them
            (engines/patches.py), no network is needed; "mirrored-patches", the mean of these with the mirror image's; "tfidf", the columns
            of free text alone; "pixels" or "table", the rows as they came (beside "tfidf": without free text); "auto", for images
            patches, mirrored ones or pixels, by the leave-one-out likelihood of the labels. Or a function from a list of rows (pictures
            as arrays, texts, dicts) to one row of numbers each; a torch module, which gets pictures as (n, c, h, w) in 0 ... 1, or a
            pair of it and a transform of one row. Or an encoder: "efficientnet-lite0" of images or "use-multilingual" of texts, whose
            weights come with `datassay[encoders]`; the name of an .onnx file, or a pair of it and a transform; what has ``encode``, of
            texts. Or a dict of a name to any of these: blocks side by side, weighed by the same likelihood.
        F_val
            (m, p), with an array, where there are validation rows; with a dict, a dict of the arrays.
        seed
            Of the patches, and of the sample by which features are chosen and weighed.
        k
            Patches in the dictionary; each makes 8 columns. Default: 512, and 1024 for more than 2,000 rows.
        cache
            A folder for the features of patches, ONNX files and named encoders: the same rows find them there again.
        device, progress
            "auto", "cpu", "cuda", of models and patches; bars on stderr.

        Raises
        ------
        DataError
            The features are of other rows, or not numbers; there is no such name; patches of what is no image.

        Examples
        --------
        >>> from sklearn.datasets import load_digits
        >>> digits = load_digits()
        >>> data = Dataset(digits.images[:200], digits.target[:200])
        >>> data.with_features("patches", k=64).X.shape
        (200, 512)
        >>> both = data.with_features({"pixels": "pixels", "rows": lambda rows: [row.mean(axis=1) for row in rows]})
        >>> sorted(both.features["features"])
        ['pixels', 'rows']
        """
        from datassay.data.features import featured, is_named  # which needs this module

        if is_named(F):
            return featured(self, F, F_val, seed=seed, k=k, cache=cache, device=device, progress=progress)
        if (self.X_val is None) != (F_val is None):
            need = "F_val" if F_val is None else "no F_val"
            have = "has validation rows" if F_val is None else "has none"
            raise DataError(f"with_features needs {need} here, since the data set {have}.")
        if (came := as_rows(F, "F").shape[0]) != len(self):
            raise DataError(f"with_features needs {len(self)} rows of features, one for each row of the data, got {came}.")
        try:
            features = Dataset(F, self.y, F_val, self.y_val, ids=self.ids, task=self.task)
        except DataError as error:
            raise DataError(f"in the features: {error}") from None
        new = copy.copy(self)
        new.X, new.X_val, new.columns, new.encoding = features.X, features.X_val, features.columns, features.encoding
        new.one_hot, new.standardised = features.one_hot, features.standardised
        new.base, new.recipe, new.features = self.base or self, "", {"features": {"array": 1.0}}
        new.prose, new.written, new.written_val = {}, None, None
        return new

    def showing(self, rows: Any, rows_val: Any = None) -> Dataset:
        """The same rows and numbers, and others for people to look at: the sentences behind an embedding or TF-IDF, say.

        ``rows`` is a frame, images, or one text (or number) a row; where there are validation rows, rows_val may be given, too.

        >>> X = [[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.8]]
        >>> data = Dataset(X, ["good", "good", "bad", "bad"]).showing(["fine", "a joy", "dull", "a bore"])
        >>> data.shown["text"].tolist()
        ['fine', 'a joy', 'dull', 'a bore']
        """
        new = copy.copy(self)
        new.shown = to_show(rows, len(self), "rows")
        if rows_val is not None:
            if self.y_val is None:
                raise DataError("showing got rows_val, but there are no validation rows.")
            new.shown_val = to_show(rows_val, len(self.y_val), "rows_val")
        return new

    def with_matrix(self, X: Any) -> Dataset:
        """The same rows with other numbers in the same columns, encoded and scaled as they were; these are also shown."""
        X = np.asarray(X)
        if X.shape != self.X.shape or X.dtype.kind not in "iuf":
            need = " x ".join(map(str, self.X.shape))
            raise DataError(f"with_matrix needs {need} numbers, as X has, got {X.shape} of {X.dtype}.")
        for rows in blocks(X):
            if len(bad := np.argwhere(~np.isfinite(X[rows]))):
                row, column = (int(i) for i in bad[0])
                raise DataError(f"with_matrix needs finite numbers, and row {rows.start + row} has {X[rows][row, column]}.")
        new = copy.copy(self)
        new.X = new.shown = _read_only(X)
        new.shown_val, new.base, new.recipe, new.encoder = self.X_val, None, "", None
        new.prose, new.written, new.written_val = {}, None, None
        return new

    def as_standardised(self) -> Dataset:
        """The same numbers, known to be scaled: default models and networks take the columns as they are.

        For columns that you scaled yourself. Without it the defaults standardise what is no standardised frame.

        >>> data = Dataset([[1.0, 0.0], [-1.0, 0.1], [0.0, 1.0], [0.1, 0.8]], ["a", "a", "b", "b"])
        >>> data.standardised, data.as_standardised().standardised
        (False, True)
        """
        new = copy.copy(self)
        new.standardised = True
        return new

    def take_validation(self, rows: Any) -> Dataset:
        """The validation rows chosen by position or mask; all training rows stay."""
        if self.X_val is None or self.y_val is None:
            raise DataError(
                "take_validation needs validation rows, and there are none: make the Dataset with X_val and y_val."
            )
        rows = _positions("take_validation", rows, len(self.y_val))
        new = copy.copy(self)
        new.X_val, new.shown_val = _read_only(self.X_val[rows]), _at(self.shown_val, rows)
        new.y_val, new.kept_val = _read_only(self.y_val[rows]), _read_only(np.ones(len(rows), bool))
        new.codes_val = self._codes_of(new.y_val)
        new.base = self.base and self.base.take_validation(rows)
        new.written_val = None if self.written_val is None else self.written_val[rows]
        return new

    def judged_by(self, rows: Any) -> Dataset:
        """The same rows, and those chosen by position or mask as validation rows, too.

        >>> data = Dataset([[1.0], [2.0], [3.0], [4.0]], ["a", "a", "b", "b"])
        >>> data.judged_by([2]).y_val.tolist()
        ['b']
        """
        rows = _positions("judged_by", rows, len(self))
        new = self.without_validation()
        new.X_val, new.shown_val = _read_only(self.X[rows]), _at(self.shown, rows)
        new.y_val, new.kept_val = _read_only(self.y[rows]), _read_only(np.ones(len(rows), bool))
        new.codes_val = _read_only(self.codes[rows])
        new.base = self.base and self.base.judged_by(rows)
        new.written_val = None if self.written is None else self.written[rows]
        return new

    def without_validation(self) -> Dataset:
        """The same training rows alone."""
        new = copy.copy(self)
        new.X_val = new.y_val = new.codes_val = new.shown_val = None
        new.base, new.written_val = self.base and self.base.without_validation(), None
        return new

    def joined(self) -> Dataset:
        """The training rows, behind them the validation rows as training rows, too, and no validation rows, whose ids become
        ("validation", 0) and so on."""
        if self.X_val is None or self.y_val is None:
            raise DataError("joined needs validation rows, and there are none: make the Dataset with X_val and y_val.")
        new = self.without_validation()
        stack = sp.vstack if sp.issparse(self.X) else np.concatenate
        new.X = _read_only(sp.csr_array(stack([self.X, self.X_val])) if sp.issparse(self.X) else stack([self.X, self.X_val]))
        new.shown = new.X
        if is_images(self.shown) and is_images(self.shown_val):  # a network for images looks at their shape
            new.shown = _read_only(np.concatenate([self.shown, self.shown_val]))
        elif isinstance(self.shown, pd.DataFrame) and isinstance(
            self.shown_val, pd.DataFrame
        ):  # which a pipeline may be given
            new.shown = pd.concat([self.shown, self.shown_val], ignore_index=True)
        ids = np.empty(new.X.shape[0], object)
        ids[:] = [*self.ids.tolist(), *(("validation", row) for row in range(len(self.y_val)))]
        new.ids = _read_only(ids)
        new._set_labels(np.concatenate([self.y, self.y_val]), self.task)
        new.base, new.recipe, new.prose, new.written = None, "", {}, None
        return new

    def _hashed(self) -> list[Any]:
        """The arrays that make the hash: of texts themselves, since what becomes of them may differ in its last digits."""
        if not self.prose:
            return [self.X, self.X_val]
        numbers = np.ones(self.X.shape[1], bool)
        for columns in self.prose.values():
            numbers[columns] = False
        texts = [[self.text_key], *(w.tolist() for w in (self.written, self.written_val) if w is not None)]
        said = [np.frombuffer(repr(cells).encode("utf-8", "surrogatepass"), np.uint8)[:, None] for cells in texts]
        return [self.X[:, numbers], None if self.X_val is None else self.X_val[:, numbers], *said]

    @functools.cached_property
    def hash(self) -> str:
        """16 bytes in hex over features, labels and ids: the same data, the same hash."""
        digest = hashlib.blake2b(digest_size=16)
        rows_of = self.base if self.recipe and self.base is not None else self
        digest.update(self.recipe.encode())
        for part in rows_of._hashed():
            arrays = [part.data, part.indices, part.indptr] if sp.issparse(part) else [part]
            for array in arrays:
                if array is not None:
                    digest.update(f"{array.shape}{array.dtype}".encode())
                    for rows in blocks(array):
                        digest.update(np.ascontiguousarray(array[rows]).view(np.uint8).data)
        for labels in (self.y, self.y_val, self.ids):
            if labels is not None:
                digest.update(repr(labels.tolist()).encode())
        return digest.hexdigest()

    def __getstate__(self) -> dict[str, Any]:
        """Without the hash: a copy is made to be changed."""
        return {name: value for name, value in self.__dict__.items() if name != "hash"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy, or what came from another process, is as read-only as the first."""
        frozen: dict[int, Any] = {}  # what was one array stays one
        for name, value in state.items():
            if isinstance(value, np.ndarray) and value.flags.writeable and name not in ("shown", "shown_val"):
                frozen[id(value)] = _read_only(value)
        self.__dict__.update({name: frozen.get(id(value), value) for name, value in state.items()})

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
        notes = f", {len(self.notes)} note{'s'[: len(self.notes) > 1]} (see .notes)" if self.notes else ""
        return f"Dataset: {len(self)} rows x {self.X.shape[1]} columns, {what}, {val}{notes}"


def _chosen(shown: Any, keep: np.ndarray) -> Any:
    """The rows in the mask, without a copy where that is all of them."""
    if keep.all():
        return shown
    return taken(shown, keep) if isinstance(shown, np.ndarray) else shown[keep]


def _positions(asks: str, rows: Any, n: int) -> np.ndarray:
    rows = np.asarray(rows)
    if rows.dtype == bool and len(rows) != n:
        raise DataError(f"{asks} needs a mask of {n} entries, one a row, got {len(rows)}.")
    rows = np.flatnonzero(rows) if rows.dtype == bool else rows
    if len(rows) == 0 or rows.dtype.kind not in "iu" or rows.max() >= n or rows.min() < -n:
        raise DataError(f"{asks} needs positions from 0 to {n - 1}, at least one, got {rows.tolist()[:10]}.")
    return rows


def _at(shown: Any, rows: np.ndarray) -> Any:
    return shown.iloc[rows] if isinstance(shown, pd.DataFrame) else shown[rows]


def _read_only(X: Any) -> Any:
    if isinstance(X, np.ndarray):
        X = X.view()
        X.flags.writeable = False
    return X
