"""Matrices that must not be in memory twice, or at all: worked on block by block, and kept in a file where they are large."""

from __future__ import annotations

import math
import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from datassay.checks import DataError

#: Bytes that a matrix would take in float64 from which on what is made of it is float32 or smaller, and lies in a file.
LARGE = 2**30
#: Numbers that keep their type: what they stand for in float64 is the same, in up to eight times the memory.
SMALL = frozenset(np.dtype(t) for t in ("u1", "i1", "u2", "i2", "f2", "f4"))

_ENTRIES = 2**20  # of a block: 8 MB in float64, so that a block and its temporaries stay in the processor's cache


@dataclass(frozen=True)
class Table:
    """A table of numbers alone as one array: what a frame is to a small table, where a frame would take too much memory."""

    values: np.ndarray  #: (n, d), NaN where a cell is missing
    columns: list[str]
    notes: tuple[str, ...] = ()  #: on columns that were left out


def counts_rows(column: str, first: int, n: int) -> str:
    """The sentence on a column that numbers the rows."""
    return (
        f"column {column!r} counts the rows ({first}, {first + 1}, ... {first + n - 1}): left out; to value it, turn it into "
        "decimals"
    )


def is_large(shape: tuple[int, ...]) -> bool:
    return math.prod(shape) * 8 > LARGE


def is_mapped(X: Any) -> bool:
    """Whether X, or the array that it is a view of, lies in a file, from where the system reads it when it is needed."""
    while isinstance(X, np.ndarray):
        X = X.base
    return isinstance(X, mmap.mmap)


def blocks(X: np.ndarray) -> Iterator[slice]:
    """Slices of rows that cover X, each of about a million entries.

    >>> list(blocks(np.broadcast_to(0, (5, 400_000))))
    [slice(0, 2, None), slice(2, 4, None), slice(4, 5, None)]
    """
    step = max(1, _ENTRIES // max(1, math.prod(X.shape[1:])))
    return (slice(start, min(start + step, len(X))) for start in range(0, len(X), step))


def as_floats(block: np.ndarray) -> np.ndarray:
    """Numbers to calculate with: small integers would overflow, and float16 has three digits.

    >>> as_floats(np.array([200], np.uint8)).dtype, as_floats(np.array([200])).dtype
    (dtype('float32'), dtype('float64'))
    """
    return np.asarray(block, np.float32 if block.dtype in SMALL else np.float64)


def room(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """An array to be filled: in memory, or if large in a temporary file without a name, which goes when the array does."""
    if not is_large(shape):
        return np.empty(shape, dtype)
    folder, size = tempfile.gettempdir(), math.prod(shape) * np.dtype(dtype).itemsize
    if size > (free := shutil.disk_usage(folder).free):
        raise _short(shape, size, folder, free)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:  # all of it now: a disk that fills up later would end the process without a word
            os.posix_fallocate(file.fileno(), 0, size)
        except (AttributeError, OSError):  # not every system and file system can
            if size > (free := shutil.disk_usage(folder).free):
                raise _short(shape, size, folder, free) from None
            file.truncate(size)
        return np.memmap(file, dtype, "r+", shape=shape)


def taken(X: np.ndarray, keep: np.ndarray) -> np.ndarray:
    """The rows of X in the mask."""
    if not is_large(X.shape):
        return X[keep]
    out, done = room((int(keep.sum()), *X.shape[1:]), X.dtype), 0
    for rows in blocks(X):
        block = X[rows][keep[rows]]
        out[done : done + len(block)] = block
        done += len(block)
    return out


def _short(shape: tuple[int, ...], size: int, folder: str, free: int) -> DataError:
    return DataError(
        f"{shape[0]:,} rows x {math.prod(shape[1:]):,} columns need {size / 2**30:.1f} GiB for a temporary file, and the folder "
        f"{folder!r} has {free / 2**30:.1f} GiB free: make room there, or let TMPDIR name a folder on another disk."
    )
