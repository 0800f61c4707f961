"""`read`: a file, a folder or a data set in memory becomes a Dataset.

CSV, Parquet, npy, npz, JSON lines, files of other programs, a folder of images with a sub-folder a class; data sets of torch and
Hugging Face.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp

from datassay.checks import DataError
from datassay.data import formats, in_memory, json_lines, parquet
from datassay.data.array_files import beside, features_for, is_npy, npy, npz
from datassay.data.csv_files import COMPRESSED, NOTHING, content_of, read_csv
from datassay.data.dataset import Dataset, Task
from datassay.data.encoders import is_path
from datassay.data.encoding import Missing, plain, refused
from datassay.data.features import WITHOUT_MODEL, is_asked
from datassay.data.image_size import FOR_MODELS, WORKING, Side
from datassay.data.kinds import numbers_of
from datassay.data.names import listed, near
from datassay.data.out_of_core import Table

_IMAGES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"}
_SPLITS = {"train", "training", "val", "valid", "validation", "dev", "test", "testing", "holdout"}
_TABLES = {
    ".csv",
    ".tsv",
    ".txt",
    ".parquet",
    ".pq",
    ".npy",
    ".npz",
    ".jsonl",
    ".json",
    ".feather",
    ".dta",
    ".svm",
    ".arff",
    ".xlsx",
}


def read(
    path: str | Path | Any,
    *,
    label: str | None = None,
    id: str | None = None,
    val: str | Path | Any = None,
    features: str | Path | Any = None,
    val_features: str | Path | None = None,
    drop: Sequence[str] = (),
    missing: Missing = "error",
    task: Task | None = None,
    image_size: int | None = None,
    encoding: str = "utf-8",
    text: Sequence[str] = (),
    encoder: Any = None,
) -> Dataset:
    """Read training rows, and optionally validation rows, from files or from data sets of torch and Hugging Face.

    A torch Dataset gives pairs (x, label): row i is its item i, also where a DataLoader that shuffles is given. A Hugging
    Face Dataset has columns as a file has; a column of classes gives the names of the classes. The rows are read into one
    array. They must be the same at every reading, so random augmentation is refused.

    Parameters
    ----------
    path
        CSV (also .tsv, .csv.gz; the separator is found), JSON lines, Feather, Stata (.dta), ARFF, Excel (.xlsx), SVMlight (rows and
        validation rows with columns of one base), Parquet (also with a column of encoded images, or of lists of numbers), a folder
        of Parquet parts, npz with arrays X and y (and optionally X_val, y_val, ids),
        npy with X alone, or a folder with a sub-folder of images for each class. Parts are taken in the order of their paths,
        and folders called ``c=value`` make a column c. Or a torch Dataset or DataLoader, anything else with ``len`` and ``[i]``
        that gives pairs (x, label), or a Hugging Face Dataset.
    label
        The column of labels; for npy the file of labels, another npy; not for npz, folders and pairs.
    id
        The column of ids; default: the row number (folders of images: the path below the folder). For npy another npy file.
    val
        A file or data set of the same form with the validation rows; not for npy.
    features, val_features
        .npy or .parquet with one row of numbers for each row: value the rows on these, show the originals. Or a name, a function, a torch
        module or a dict of such, as in `Dataset.with_features`: "patches" of images, say, or "auto".
    drop
        Columns to leave out.
    missing
        "error", "drop" or "mean", as in `Dataset`.
    task
        "classification" or "regression"; default: as `Dataset` finds.
    image_size
        Bring all images to this many pixels a side; default: as they are, and where they are of several sizes, to the middle of
        their shorter sides, at most 64 (224 where a model makes the features), which `Dataset.notes` says.
    encoding
        Of CSV files.
    text
        Columns of free text, as in `Dataset`; others are found by what is in them.
    encoder
        A transformer that makes the numbers of a table, as in `Dataset`: a ColumnTransformer, skrub's TableVectorizer.

    Raises
    ------
    DataError
        One sentence: what is needed, what came (file, row, column), what to do.
    ImportError
        If there are images and pillow is not installed.

    Examples
    --------
    >>> import datassay as da, pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp(), "pets.csv")
    >>> _ = path.write_text("name,weight,kind\\nrex,30,dog\\ntom,4,cat\\nace,25,dog\\nmia,3,cat\\n")
    >>> da.read(path, label="kind", id="name")
    Dataset: 4 rows x 1 columns, classification, 2 classes ('cat' 2, 'dog' 2), no validation rows
    >>> da.read([([30.0, 1.0], "dog"), ([4.0, 0.0], "cat"), ([25.0, 1.0], "dog"), ([3.0, 0.0], "cat")])
    Dataset: 4 rows x 2 columns, classification, 2 classes ('cat' 2, 'dog' 2), no validation rows
    """
    for column in (id, *drop):
        if column is not None and column == label:
            raise DataError(f"column {column!r} is the label: it can't be the id or be left out as well.")
    if id in drop and id is not None:
        raise DataError(f"column {id!r} is the id: it can't be left out as well.")
    asked = features is not None and is_asked(features)
    if val_features is not None and asked:
        raise DataError(
            "val_features (--val-features) goes with a file of features: a name or a model makes those of the validation rows."
        )
    if val_features is not None and features is None:
        raise DataError("val_features (--val-features) goes with features (--features), which was not given.")
    held = not _is_path(path)
    if val is not None and held == _is_path(val):
        raise DataError("the rows and the validation rows (val) must both be files, or both be data sets in memory.")
    if held:
        path, val = in_memory.unwrapped(path), None if val is None else in_memory.unwrapped(val)
        if val is not None and in_memory.is_table(path) != in_memory.is_table(val):
            raise DataError(
                f"the training rows are a {in_memory.named(path)}, the validation rows (val) a {in_memory.named(val)}: "
                "give two data sets of pairs (x, label), or two of Hugging Face."
            )
    elif is_npy(path):
        label, id = beside(path, label), beside(path, id)
        if val is not None:
            raise DataError(f"validation rows have no place beside {path}: use npz (X, y, X_val, y_val), or da.Dataset.")
    elif val is not None and is_npy(val):
        raise DataError(f"{val} has no labels, which validation rows need: use npz (X, y), or da.Dataset.")
    broken: list[int] | None = [] if missing == "drop" else None
    broken_val: list[int] | None = [] if missing == "drop" else None
    by_model = asked and any(
        not (isinstance(one, str) and one in WITHOUT_MODEL)
        for one in (features.values() if isinstance(features, Mapping) else [features])
    )
    side = Side(image_size, FOR_MODELS if by_model else WORKING)
    X, y, ids, inner = _parts(path, label, id, tuple(drop), side, encoding, broken=broken)
    X_val, y_val = inner
    name, name_val = (in_memory.named(path), f"{in_memory.named(val)} (val)") if held else (path, val)
    if val is not None:
        X_val, y_val, _, _ = _parts(
            val, label, id, tuple(drop), Side(side.pixels, None), encoding, like=X, broken=broken_val
        )
        if sp.issparse(X) != sp.issparse(X_val) and not held:
            raise DataError(
                f"{path if sp.issparse(X) else val} is a file of SVMlight, and the other is none: give two of a kind."
            )
        if isinstance(X, Table) and isinstance(X_val, pd.DataFrame):
            X_val = _as_table(X_val, X.columns, val)
    if isinstance(X, np.ndarray) and isinstance(X_val, np.ndarray) and X.shape[1:] != X_val.shape[1:] and val is not None:
        raise DataError(
            f"a row of {name_val} has shape {X_val.shape[1:]}, a row of {name} has {X.shape[1:]}: they must agree."
        )
    if sp.issparse(X) and not held:
        X, X_val = formats.of_one_base(X, X_val)
    shown, shown_val, unused = X, X_val, []
    if features is not None and encoder is None and isinstance(X, pd.DataFrame) and (unused := refused(X, prose=not asked)):
        # the features are valued, and these columns, sentences say, only shown
        X = X.drop(columns=unused) if len(unused) < X.shape[1] else np.zeros((len(X), 1))
        if isinstance(X_val, pd.DataFrame):
            X_val = X_val.drop(columns=unused) if isinstance(X, pd.DataFrame) else np.zeros((len(X_val), 1))
    all_ids, there = (np.arange(len(y)) if ids is None else ids), _others(broken, len(y))
    there_val = None if y_val is None else _others(broken_val, len(y_val))
    if broken:
        y, ids = _of_rows(y, there), all_ids[there]
    if broken_val:
        y_val = _of_rows(y_val, there_val)
    try:
        data = Dataset(X, y, X_val, y_val, ids=ids, task=task, missing=missing, text=text, encoder=encoder)
    except DataError as error:
        at = name_val if val is not None and ("X_val" in str(error) or "validation" in str(error)) else name
        raise DataError(f"{at}: {error}") from None
    if broken:
        there[np.flatnonzero(there)[~data.kept]] = False
        data.kept, data.dropped = there, all_ids[~there]
    if broken_val and there_val is not None:
        there_val[np.flatnonzero(there_val)[~data.kept_val]] = False  # type: ignore[operator]
        data.kept_val = there_val
    for rows, of, known in ((broken, "", all_ids), (broken_val, "validation ", None)):
        if rows:
            each = [f"row {r}" + ("" if known is None else f" (id {plain(known[r])!r})") for r in rows[:5]]
            some = ", ".join(each) + (", ..." if len(rows) > 5 else "")
            data.notes += (f"{len(rows)} {of}rows have no readable image ({some}): left out",)
    data.notes += () if side.note is None else (side.note,)
    if unused:
        data = data.showing(shown[data.kept], None if data.kept_val is None else shown_val[data.kept_val])
    if asked:
        data = data.with_features(features)
    elif features is not None:
        F = features_for(Path(features), data.kept)
        F_val = None if val_features is None else features_for(Path(val_features), data.kept_val)
        data = data.with_features(F, F_val)
    if held:  # there is no file in which a report could find the rows again
        return data
    data.source = {
        "path": str(Path(path).resolve()),
        "label": label,
        "id": id,
        "val": None if val is None else str(Path(val).resolve()),
        "features": _source_of(features, asked),
        "val_features": None if val_features is None else str(Path(val_features).resolve()),
        "drop": list(drop),
        "missing": missing,
        "task": task,
        "image_size": side.pixels,
        "encoding": encoding,
        "text": [text] if isinstance(text, str) else list(text),
    }
    return data


def _source_of(features: Any, asked: bool) -> str | None:
    """For `Dataset.source`: a name, or a file; of a model there is nothing that could be read again."""
    if asked and not is_path(features):
        return features if isinstance(features, str) else None
    return None if features is None else str(Path(features).resolve())


def _parts(
    path: str | Path | Any,
    label: str | None,
    id: str | None,
    drop: tuple[str, ...],
    side: Side,
    encoding: str,
    like: Any = None,
    broken: list[int] | None = None,
) -> tuple[Any, Any, Any, tuple[Any, Any]]:
    """X, y, ids and (X_val, y_val) of one source; ``like`` is the X of the training rows where these are validation rows.

    ``broken`` takes the numbers of rows whose image can't be read, and X is without these; None: they are an error.
    """
    if not _is_path(path):
        return *_held(path, label, id, drop, side, like, broken), (None, None)
    path = Path(path)
    parted = path.is_dir() and bool(parts := parquet.parts_in(path))
    if path.is_dir():
        pictures = _images_in(path)
        if not parted:
            return *_folder(path, pictures, side, broken), (None, None)
        if pictures:
            first = pictures[0].relative_to(path).as_posix()
            raise DataError(
                f"the folder {str(path)!r} holds images ({first}) and Parquet parts "
                f"({parts[0].relative_to(path).as_posix()}): put them into folders of their own."
            )
    if not path.exists():
        if path.is_symlink():
            raise DataError(f"{str(path)!r} is a link, and there is nothing where it leads to.")
        instead = near(path.name, [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else [])
        raise DataError(f"there is no file or folder {str(path)!r}{instead}")
    if not parted and path.stat().st_size == 0:
        raise DataError(f"{path} is empty: rows under a line of column names are needed.")
    kind = _kind(path)
    if kind == "npz":
        return npz(path)
    if kind == "npy":
        return npy(path, label, id, drop)
    if (parted or kind in ("parquet", "pq", "feather", "arrow")) and str(path).encode(errors="replace") != os.fsencode(path):
        raise DataError(f"{str(path)!r} has a name that is no UTF-8, under which Arrow opens no file: rename it.")
    if parted or kind in ("parquet", "pq"):
        names = parquet.names_of(path)
        if id is not None and id in parquet.index_of(path):
            names = [*names, id]
        _check_columns(path, names, label, id, drop, like)
        if (X := parquet.read_numbers(path, [label, id, *drop], like)) is not None:
            beside = parquet.read_columns(path, [c for c in (label, id) if c is not None and c in names])
            return X, beside[label], beside[id].to_numpy() if id in beside else None, (None, None)
        frame = parquet.read_all(path, drop)
        if id is not None and id not in frame and id in frame.index.names:
            frame = frame.reset_index(level=id)
    elif _is_svmlight(path, kind):
        if (odd := label or id or (drop[0] if drop else None)) is not None:
            raise DataError(
                f"{path} is a file of SVMlight, whose columns have no names, and labels stand in front: leave {odd!r} out."
            )
        return *formats.svmlight(path, content_of(path)), None, (None, None)
    else:
        frame = _table(path, kind, label, id, encoding)
    frame = frame.reset_index(drop=True)  # rows of files are numbered, also where pandas kept an index
    if len(frame) == 0:
        raise DataError(f"{path} has column names but no rows.")
    names = [str(c) for c in frame.columns]
    frame.columns = names
    _check_columns(path, [*names, *(d for d in drop if parted or kind in ("parquet", "pq"))], label, id, drop, like)
    return *_of_frame(frame, path, label, id, drop, side, broken), (None, None)


def _table(path: Path, kind: str, label: str | None, id: str | None, encoding: str) -> pd.DataFrame:
    """A file of a kind that is read as a whole."""
    if kind in ("csv", "tsv", "txt"):
        return read_csv(path, label, id, encoding).to_pandas()
    if kind in ("jsonl", "ndjson", "json"):
        return json_lines.read(path, content_of(path), label, encoding)
    if kind in ("feather", "arrow"):
        return parquet.read_feather(path)
    if kind == "dta":
        return formats.stata(path)
    if kind == "arff":
        return formats.arff(path, content_of(path), encoding)
    if kind in formats.EXCEL:
        return formats.excel(path, content_of(path), (label, id), NOTHING)
    if kind in ("xls", "xlsb", "ods"):
        raise DataError(f"{path} is no kind that is read here: save it as .xlsx or CSV.")
    raise DataError(
        f"{path} is of no kind that can be read: give {', '.join(sorted(_TABLES))}, a folder of Parquet parts or one of images."
    )


def read_column(path: str | Path, name: str, encoding: str = "utf-8") -> np.ndarray:
    """(rows of the file,) one column of a table, by the readers of `read`: it need not be among those that are valued.

    Raises
    ------
    DataError
        The file is no table, or has no such column.
    """
    path = Path(path)
    kind = _kind(path)
    if path.is_dir() and parquet.parts_in(path):
        kind = "parquet"
    if kind in ("npz", "npy") or path.is_dir() or _is_svmlight(path, kind):
        raise DataError(f"{str(path)!r} is no table with named columns, of which {name!r} could be one.")
    if kind in ("parquet", "pq"):
        names = parquet.names_of(path)
        frame = parquet.read_columns(path, [name]) if name in names else None
    else:
        frame = _table(path, kind, name, None, encoding)
        frame.columns = names = [str(c) for c in frame.columns]
    if frame is None or name not in names:
        raise DataError(f"{path} has no column {name!r}; it has {listed(names)}.")
    return np.asarray(frame[name].to_numpy(), dtype=object)


def _kind(path: Path) -> str:
    """The suffix by which a file is read, without that of its compression."""
    return "".join(s for s in path.suffixes[-2:] if s.lower() not in COMPRESSED).lower().split(".")[-1]


def _held(
    source: Any,
    label: str | None,
    id: str | None,
    drop: tuple[str, ...],
    side: Side,
    like: Any,
    broken: list[int] | None,
) -> tuple[Any, Any, Any]:
    """X, y and ids of a data set in memory; ``like`` as in `_parts`."""
    name = in_memory.named(source) if like is None else f"{in_memory.named(source)} (val)"
    if not in_memory.is_table(source):
        for what, column in [("label", label), ("id", id)] + [("drop", d) for d in drop]:
            if column is not None:
                raise DataError(f"{name} gives pairs (x, label), which have no column {column!r}: leave {what} out.")
        return *in_memory.read_pairs(source, name, side), None
    names = source.column_names
    _check_columns(name, names, label, id, drop, like)
    beside = [c for c in names if c in (label, id)]
    others = [c for c in names if c not in (label, id, *drop)]
    if (X := in_memory.read_array(source, others, name, side, broken)) is not None:
        table = in_memory.frame(source, beside)
        return X, table[label], table[id].to_numpy() if id in beside else None
    return _of_frame(in_memory.frame(source, beside + others), name, label, id, drop, side, broken)


def _of_frame(
    frame: pd.DataFrame,
    path: str | Path,
    label: str | None,
    id: str | None,
    drop: tuple[str, ...],
    side: Side,
    broken: list[int] | None,
) -> tuple[Any, Any, Any]:
    """X, y and ids of a table, whose first column of encoded images makes the rows if it has one."""
    y = frame.pop(label)
    ids = frame.pop(id).to_numpy() if id is not None and id in frame else None
    frame = frame.drop(columns=[d for d in drop if d in frame])
    if frame.shape[1] == 0:
        raise DataError(f"{path} has no column left beside {label!r} to value the rows on.")
    firsts = {c: 0 if getattr(dtype, "kind", "O") in "iufbM" else _first(frame[c]) for c, dtype in frame.dtypes.items()}
    for c, cell in firsts.items():
        if isinstance(cell, dict) and "bytes" not in cell:
            raise DataError(f"column {c!r} of {path} holds records: leave it out (drop), or give its fields as columns.")
        if isinstance(cell, list | np.ndarray) and len(firsts) == 1:  # lists of lists, too
            return numbers_of(frame[c], f"column {c!r} of {path}"), y, ids
    for c, cell in firsts.items():
        if (
            isinstance(cell, bytes)
            and not in_memory.is_image(cell)
            and not any(map(in_memory.is_image, frame[c].dropna()[:20]))
        ):
            frame[c] = _decoded_text(frame[c], f"column {c!r} of {path}")
            firsts[c] = ""
    pictures = [c for c, cell in firsts.items() if isinstance(cell, (bytes, dict))]
    if pictures:
        cells, where = frame[pictures[0]], f"column {pictures[0]!r}"
        X = in_memory.decoded(
            lambda: (cell["bytes"] if isinstance(cell, dict) else cell for cell in cells),
            len(frame),
            lambda i: f"{path}, row {i}, {where},",
            side,
            broken,
            f"{where} of {path}",
        )
        return X, y, ids
    return frame, y, ids


def _decoded_text(column: pd.Series, name: str) -> pd.Series:
    """Text of a column of bytes, which some tools write for text."""
    try:
        text = [cell.decode() if isinstance(cell, bytes) else None for cell in column]
    except UnicodeDecodeError:
        raise DataError(f"{name} holds bytes that are no images: leave it out (drop).") from None
    return pd.Series(text, index=column.index, dtype=object)


def _others(rows: list[int] | None, n: int) -> np.ndarray:
    """(n,) mask: which are not among the rows."""
    mask = np.ones(n, bool)
    mask[rows or []] = False
    return mask


def _of_rows(labels: Any, mask: np.ndarray | None) -> Any:
    """Those of the labels, an array, a Series or a list, that are in the mask."""
    if mask is None or isinstance(labels, np.ndarray | pd.Series):
        return labels[mask]
    return [label for label, here in zip(labels, mask, strict=True) if here]


def _as_table(frame: pd.DataFrame, columns: list[str], path: str | Path) -> Table:
    """Validation rows from a small file for training rows from a large one."""
    for c in columns:
        if c not in frame:
            raise DataError(f"the validation rows in {path} have no column {c!r}; they have {listed(list(frame))}.")
        if not pd.api.types.is_numeric_dtype(frame[c]):
            raise DataError(f"column {c!r} is numbers in the training rows, but not in {path}.")
    return Table(frame[columns].to_numpy(np.float64, na_value=np.nan), columns)


def _check_columns(
    path: str | Path, names: list[str], label: str | None, id: str | None, drop: tuple[str, ...], like: Any
) -> None:
    """What was named is there; validation rows need the label alone."""
    if label is None:
        raise DataError(f"{path} needs the name of its label column (label=..., or --label); it has {listed(names)}.")
    for what, column in [("label", label), ("id", id)] + [("drop", d) for d in drop]:
        if column is not None and column not in names and (like is None or what == "label"):
            raise DataError(f"{path} has no column {column!r} ({what}); it has {listed(names)}{near(column, names)}")


def _is_svmlight(path: Path, kind: str) -> bool:
    """By the name; or by the first line, where the name says nothing else."""
    known = {suffix[1:] for suffix in _TABLES} - {"csv", "tsv", "txt"} | {"pq", "arrow", "ndjson", *formats.EXCEL}
    return kind in formats.SVMLIGHT or (kind not in known and formats.looks_like_svmlight(content_of(path, 100_000)))


def _is_path(source: Any) -> bool:
    return isinstance(source, str | os.PathLike)


def _images_in(folder: Path) -> list[Path]:
    """Images in sub-folders, in order; what is hidden, at any depth, is none."""
    return sorted(
        f
        for f in folder.glob("*/**/*")
        if f.suffix.lower() in _IMAGES
        and not any(part.startswith(".") for part in f.relative_to(folder).parts)
        and f.is_file()
    )


def _folder(
    path: Path, files: list[Path], side: Side, broken: list[int] | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    if not files:
        raise DataError(
            f"the folder {str(path)!r} has no images in sub-folders: one sub-folder for each class is needed, or Parquet parts."
        )
    names = [f.relative_to(path) for f in files]
    tops = sorted({n.parts[0] for n in names})
    if len(tops) > 1 and all(top.lower() in _SPLITS for top in tops):
        first = next((top for top in tops if top.lower() in ("train", "training")), tops[0])
        second = next(top for top in tops if top != first)
        raise DataError(
            f"the sub-folders of {str(path)!r} are splits ({', '.join(tops)}), not classes: read one of them, "
            f"da.read({str(path / first)!r}, val={str(path / second)!r}) (datassay value {path / first} --val {path / second}), "
            "with a sub-folder inside for each class."
        )
    where = f"the folder {str(path)!r}"
    X = in_memory.decoded(lambda: (f.read_bytes() for f in files), len(files), lambda i: str(files[i]), side, broken, where)
    return X, np.array([n.parts[0] for n in names]), np.array([n.as_posix() for n in names])


def _first(column: pd.Series) -> Any:
    present = column.dropna()
    return present.iloc[0] if len(present) else None
