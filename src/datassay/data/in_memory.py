"""Data sets in memory for `read`: torch map-style sets and loaders, Hugging Face data sets; and the arrays of pictures.

Neither torch nor datasets is imported: whoever hands over one of their objects has imported them.
"""

from __future__ import annotations

import contextlib
import io
import math
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from pyarrow import compute as pc
from tqdm import tqdm

from datassay.checks import DataError
from datassay.data.image_size import SeveralSizesError, Side, size_of
from datassay.data.out_of_core import blocks, room

_TWICE = 32  # rows that are read twice: a change made with probability 0.1 stays unseen in one case of 500
_LONG = 5_000  # rows from which on a bar tells how far reading is
_FIRST = 100  # images of which it is looked up first whether they are of one size
_BATCH = 500  # rows of a table that are unpacked at a time


def unwrapped(source: Any) -> Any:
    """The data set of a DataLoader, whose own order may be shuffled; all else as it came, if it can be read."""
    if _is(source, "torch.utils.data", "DataLoader"):
        source = source.dataset
    name = type(source).__name__
    if isinstance(source, Mapping):
        splits = ", ".join(repr(split) for split in list(source)[:10])
        raise DataError(
            f"one data set is needed, and a {name} holds several ({splits}): give one of them, and another as val."
        )
    streams = _is(source, "torch.utils.data", "IterableDataset") or _is(source, "datasets", "IterableDataset")
    if streams or (hasattr(source, "__iter__") and not hasattr(source, "__getitem__")):
        raise DataError(
            f"rows with numbers are needed, and a {name} only streams them: give a data set with len() and [i] "
            "(torch: a map-style Dataset; Hugging Face: without streaming=True)."
        )
    if hasattr(source, "iloc") or not (hasattr(source, "__len__") and hasattr(source, "__getitem__")):
        raise DataError(
            f"a path, a torch Dataset or DataLoader, or a Hugging Face Dataset is needed, got a {name}: "
            "arrays and frames go to da.Dataset(X, y)."
        )
    if len(source) == 0:
        raise DataError(f"{named(source)} has no rows.")
    return source


def is_table(source: Any) -> bool:
    """Whether it is a data set of Hugging Face, which has columns."""
    return _is(source, "datasets", "Dataset")


def named(source: Any) -> str:
    """What errors call it."""
    return "datasets.Dataset" if is_table(source) else type(source).__name__


def read_pairs(source: Any, name: str, side: Side) -> tuple[np.ndarray, list[Any]]:
    """X (n, ...) and the n labels of a data set whose items are pairs (x, label)."""
    labels: list[Any] = []
    deep: list[int] = []

    def rows() -> Iterator[np.ndarray]:
        size = side.pixels
        for row in _bar(range(len(source)), len(source)):
            x, label, picture = _pair(source, row, f"row {row} of {name}", size)
            if row < _TWICE:
                x = x.copy()  # a transform may work in place
                again, label_again, _ = _pair(source, row, f"row {row} of {name}", size)
                # what differs from itself is NaN
                if not np.array_equal(x, again, equal_nan=True) or (label != label_again and label == label):
                    raise DataError(
                        f"row {row} of {name} is not the same when it is read twice: take the random transforms "
                        "(augmentation) off, and leave them to the training recipe."
                    )
            if picture:
                deep.append(row)
            labels.append(label)
            yield x[None]

    def ragged(row: int, shape: tuple[int, ...], first: tuple[int, ...]) -> str:
        return (
            f"row {row} of {name} has shape {shape}, row 0 has {first}: all must be of one shape, so resize or pad "
            "them in the data set (image_size does it for PIL images)."
        )

    try:
        X = stacked(rows(), len(source), ragged)
    except SeveralSizesError:
        items = (source[row][0] for row in range(len(source)))
        sizes = [size_of(x) for x in items if _is(x, "PIL.Image", "Image")]
        if not side.open or len(sizes) < len(source):
            raise
        side.choose(sizes)
        labels.clear()
        deep.clear()
        X = stacked(rows(), len(source), ragged)
    return (_in_eight_bits(X, deep) if deep else X), labels


def read_array(
    source: Any, columns: Sequence[str], name: str, side: Side, broken: list[int] | None = None
) -> np.ndarray | None:
    """The columns of a Hugging Face data set that are best read as an array, images or one column of lists; else None."""
    kind = sys.modules["datasets"].Image
    pictures = [c for c in columns if isinstance(source.features[c], kind)]
    if pictures:
        where = f"{name}, column {pictures[0]!r}"
        return decoded(
            lambda: _encoded(source, pictures[0]), len(source), lambda row: f"row {row} of {where},", side, broken, where
        )
    if len(columns) == 1 and _is_vector(source.features.arrow_schema.field(columns[0]).type):
        of = f"of column {columns[0]!r} of {name}"
        lists = (_unpacked(lists, start, of) for start, lists in _batches(source, columns[0]))
        return stacked(
            lists,
            len(source),
            lambda row, shape, first: (
                f"row {row} {of} has lists of {shape} numbers, row 0 {first}: they must be of one shape."
            ),
        )
    return None


def frame(source: Any, columns: Sequence[str]) -> pd.DataFrame:
    """Columns of a Hugging Face data set; those of classes hold the names of the classes."""
    out = source.select_columns(list(columns)).to_pandas()
    for c in columns:
        if isinstance(source.features[c], sys.modules["datasets"].ClassLabel):
            codes = out[c].fillna(-1).to_numpy(np.int64)  # -1 is how Hugging Face writes that there is no label
            names = np.array([*source.features[c].names, None], dtype=object)
            out[c] = names[codes]
    return out


def stacked(
    parts: Iterable[np.ndarray], n: int, ragged: Callable[[int, tuple[int, ...], tuple[int, ...]], str]
) -> np.ndarray:
    """Blocks of rows one below the other in one array of n rows, in which grey images among colour ones become colour.

    ``ragged`` is the sentence for a row of another shape than the first: its number and both shapes are handed to it.
    """
    out, first, done = np.empty(0), (0,), 0
    for part in parts:
        if done == 0:
            first = part.shape[1:]
            out = room((n, *first), part.dtype)
        row_shape = part.shape[1:]
        if part.ndim == 3 and out.shape[3:] == (3,):
            part = np.repeat(part[..., None], 3, axis=3)
        elif out.ndim == 3 and part.shape[3:] == (3,) and part.shape[1:3] == out.shape[1:]:
            out = _widened(out, (*out.shape, 3), out.dtype)
        if part.shape[1:] != out.shape[1:]:
            raise SeveralSizesError(ragged(done, row_shape, first))
        if (dtype := np.result_type(out.dtype, part.dtype)) != out.dtype:
            out = _widened(out, out.shape, dtype)
        out[done : done + len(part)] = part
        done += len(part)
    return out


def decoded(
    images: Callable[[], Iterable[bytes]],
    n: int,
    where: Callable[[int], str],
    side: Side,
    broken: list[int] | None = None,
    of: str = "the data",
) -> np.ndarray:
    """(n, height, width) grey or (n, height, width, 3) colour, uint8. Images of several sizes are read again, to be resized.

    ``broken`` takes the numbers of the images that can't be read, which the array is then without; None: they are an error.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise ImportError("images need pillow: pip install 'datassay[images]'") from error
    bad: list[int] = []
    good: list[int] = []
    deep: list[int] = []  # of the good ones, those of more than eight bits

    def pictures() -> Iterator[np.ndarray]:
        for row, encoded in enumerate(images()):
            try:
                picture = _levelled(Image.open(io.BytesIO(encoded)), side.pixels)
            except Exception:  # pillow raises many kinds for a broken file
                bad.append(row)
                continue
            if _is_deep(picture):
                deep.append(len(good))
            good.append(row)
            yield np.asarray(picture)[None]

    def ragged(row: int, shape: tuple[int, ...], first: tuple[int, ...]) -> str:
        a, b = ("x".join(map(str, pixels[1::-1])) for pixels in (first, shape))
        at, start = where(good[row]), where(good[0])
        return f"{at} is {b} pixels, {start} is {a}: pass image_size (--image-size) to bring all to one size."

    def sizes() -> Iterator[tuple[int, int]]:
        for encoded in images():
            with contextlib.suppress(Exception):  # a broken file
                yield size_of(Image.open(io.BytesIO(encoded)))

    if side.open and len(set(islice(sizes(), _FIRST))) > 1:  # before room is made for n images as large as the first
        side.choose(sizes())
    try:
        out = stacked(pictures(), n, ragged)
    except SeveralSizesError:
        if not side.open:
            raise
        side.choose(sizes())
        for rows in (bad, good, deep):
            rows.clear()
        out = stacked(pictures(), n, ragged)
    if bad and (broken is None or not good):
        if not good:
            raise DataError(
                f"{of} holds no readable image (the first is {where(bad[0]).rstrip(',')}): mend them, or leave it out."
            )
        more = f" ({len(bad)} such images: {', '.join(where(row).rstrip(',') for row in bad[:5])}{', ...' if len(bad) > 5 else ''})"
        raise DataError(
            f"{where(bad[0])} is not a readable image{more if len(bad) > 1 else ''}: mend or remove it, or pass missing='drop'."
        )
    if broken is not None:
        broken += bad
    return _in_eight_bits(out[: len(good)], deep)


def is_image(encoded: Any) -> bool:
    """Whether the bytes begin as an image does."""
    from PIL import Image

    try:
        Image.open(io.BytesIO(encoded)).close()
    except Exception:
        return False
    return True


def _in_eight_bits(X: np.ndarray, deep: Sequence[int]) -> np.ndarray:
    """Images as uint8; the levels of ``deep`` ones are spread over the depth that all of them have, so that few are lost.

    That is the smallest even number of bits, from 8 on, that holds the largest number; decimals, and what is negative,
    go from their smallest to their largest number, decimals in 0 ... 1 from 0 to 1.
    """
    if X.dtype == np.uint8:
        return X
    chosen, rest = np.asarray(deep), np.setdiff1d(np.arange(len(X)), deep)
    out = room(X.shape, np.uint8)
    low = min(float(np.nanmin(X[i])) for i in chosen)
    high = max(float(np.nanmax(X[i])) for i in chosen)
    if low >= 0 and X.dtype.kind in "iu":
        low, high = 0.0, next(2.0**bits - 1 for bits in range(8, 66, 2) if high < 2.0**bits)
    elif low >= 0 and high <= 1:
        low, high = 0.0, 1.0
    step = (high - low) / 255 or 1.0
    for i in chosen:
        out[i] = np.nan_to_num((X[i].astype(np.float64) - low) / step).clip(0, 255).astype(np.uint8)
    for i in rest:
        out[i] = X[i]
    return out


def _is(source: Any, module: str, kind: str) -> bool:
    """Whether it is of a class of a module that need not be there."""
    known = getattr(sys.modules.get(module), kind, None)
    return isinstance(known, type) and isinstance(source, known)


def _pair(source: Any, row: int, where: str, size: int | None) -> tuple[np.ndarray, Any, bool]:
    """The row, its label, and whether it is a picture of more than eight bits."""
    item = source[row]
    if not isinstance(item, tuple | list) or len(item) != 2:
        came = f"{len(item)} entries" if isinstance(item, tuple | list) else f"a {type(item).__name__}"
        raise DataError(
            f"{where} must be a pair (x, label), and is {came}: wrap the data set so that it gives pairs; "
            "arrays and frames go to da.Dataset(X, y), and a Hugging Face Dataset is given itself, with label=."
        )
    x, label = item
    return _row(x, where, size), _label(label, where), _is(x, "PIL.Image", "Image") and _is_deep(x)


def _row(x: Any, where: str, size: int | None) -> np.ndarray:
    if _is(x, "PIL.Image", "Image"):
        return np.asarray(_levelled(x, size))
    if size is not None:
        raise DataError(f"image_size needs PIL images, and {where} is a {type(x).__name__}: resize it in the data set.")
    if hasattr(x, "detach"):
        x = x.detach().cpu()
        x = (x.float() if "bfloat16" in str(x.dtype) else x).numpy()
        if x.ndim == 3 and x.shape[0] in (1, 3, 4):  # torch keeps the channels first
            x = x[0] if x.shape[0] == 1 else np.moveaxis(x, 0, -1)
    try:
        row = np.atleast_1d(x)
    except (ValueError, TypeError):  # lists of several lengths
        row = np.empty(0, dtype=object)
    if row.dtype.kind not in "fiub":
        raise DataError(
            f"{where} must hold numbers or an image, and holds a {type(x).__name__}: turn it into numbers of one shape in the "
            "data set."
        )
    return row


def _label(label: Any, where: str) -> Any:
    """Tensors and numpy numbers as Python has them, all else as it came."""
    if not hasattr(label, "shape"):
        return label
    if math.prod(label.shape) != 1:
        raise DataError(
            f"{where} must have one label, and has {tuple(label.shape)} numbers: turn one-hot labels into class numbers (argmax)."
        )
    return label.item()


def _is_deep(picture: Any) -> bool:
    """Whether a pixel of the PIL image has more than eight bits."""
    return str(picture.mode).startswith(("I", "F"))


def _levelled(picture: Any, size: int | None) -> Any:
    """The PIL image in grey or colour, resized; one of more than eight bits keeps its levels."""
    if not _is_deep(picture):
        picture = picture.convert("L" if picture.mode in ("1", "L") else "RGB")
    elif size is not None:
        picture = picture.convert("F")
    return picture if size is None else picture.resize((size, size))


def _encoded(source: Any, column: str) -> Iterator[bytes]:
    """The files of the images: in the table, or on this disk; empty where there is none."""
    cells = (cell for _, cells in _batches(source, column) for cell in cells.to_pylist())
    for cell in _bar(cells, len(source)):
        held = (cell or {}).get("bytes") or b""
        path = (cell or {}).get("path")
        yield Path(path).read_bytes() if not held and path and Path(path).is_file() else held


def _batches(source: Any, column: str) -> Iterator[tuple[int, Any]]:
    """Number of the first row, and the cells as Arrow has them: no transform that is set on the data set is applied."""
    start = 0
    for table in source.select_columns([column]).with_format("arrow").iter(batch_size=_BATCH):
        cells = table.column(column).combine_chunks()
        yield start, cells.storage if isinstance(cells.type, pa.ExtensionType) else cells
        start += len(cells)


def _is_list(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def _is_vector(kind: pa.DataType) -> bool:
    """Whether it is lists, also of lists, of numbers."""
    kind = kind.storage_type if isinstance(kind, pa.ExtensionType) else kind
    if not _is_list(kind):
        return False
    while _is_list(kind):
        kind = kind.value_type
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _unpacked(lists: Any, start: int, of: str) -> np.ndarray:
    """Lists, also of lists, as an array, with NaN where a number is missing."""
    shape = [len(lists)]
    while _is_list(lists.type):
        lengths = pc.list_value_length(lists).to_numpy(zero_copy_only=False)  # NaN where there is no list
        if len(other := np.flatnonzero(lengths != lengths[0])) or not lengths[0] > 0:
            at = int(other[0]) if len(other) and lengths[0] > 0 else 0
            row, first = start + at * shape[0] // len(lists), f"{lengths[0]:g}"
            came = "no list" if np.isnan(lengths[at]) else f"a list of length {lengths[at]:g}"
            need = "a list of numbers" if at == 0 else f"lists of length {first}, as row {start} has"
            raise DataError(f"row {row} {of} must have {need}, and has {came}: filter such rows out, or pad them.")
        shape.append(int(lengths[0]))
        lists = lists.flatten()
    return lists.to_numpy(zero_copy_only=False).reshape(shape)


def _widened(out: np.ndarray, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A copy in another type, or with an axis more."""
    wide = room(shape, dtype)
    for rows in blocks(wide):
        part = out[rows]
        wide[rows] = part.reshape(part.shape + (1,) * (wide.ndim - part.ndim))
    return wide


def _bar(rows: Iterable[Any], n: int) -> Iterable[Any]:
    return tqdm(rows, desc="reading", total=n, unit=" rows", disable=None if n >= _LONG else True, leave=False)
