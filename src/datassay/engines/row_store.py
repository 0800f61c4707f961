"""Numbers of rows, filled block by block, in memory or in a folder where what a killed run has written is found again."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from datassay.checks import DataError
from datassay.engines.machine import size

AT_ONCE = 2**24  # numbers that are looked at together


class RowStore:
    """(n, width) numbers. Without a folder they are held in memory.

    Examples
    --------
    >>> store = RowStore(None, 3, 2, "float32", block=2)
    >>> for b, rows in store.missing():
    ...     store.put(b, np.ones((rows.stop - rows.start, 2)))
    >>> list(store.missing()), store.times(np.array([[1.0], [2.0]])).T
    ([], array([[3., 3., 3.]], dtype=float32))
    """

    numbers: ndarray  #: (n, width)

    def __init__(self, folder: Path | None, n: int, width: int, dtype: str, *, block: int) -> None:
        self.block, blocks = block, -(-n // block)
        if folder is None:
            self.numbers, self._done = np.empty((n, width), dtype), np.zeros(blocks, np.uint8)
            return
        folder.mkdir(parents=True, exist_ok=True)
        self.numbers = _file(folder / "numbers.npy", (n, width), dtype)
        self._done = _file(folder / "done.npy", (blocks,), "uint8")

    def missing(self) -> list[tuple[int, slice]]:
        """Numbers and rows of the blocks that are still to be filled."""
        n = len(self.numbers)
        return [
            (int(b), slice(b * self.block, min((b + 1) * self.block, n)))
            for b in map(int, np.flatnonzero(np.asarray(self._done) == 0))
        ]

    def put(self, b: int, numbers: Any) -> None:
        """Fill a block. It counts once it is written.

        Raises
        ------
        DataError
            Its numbers are larger than the type can hold.
        """
        if not (abs(np.asarray(numbers)).max(initial=0.0) <= np.finfo(self.numbers.dtype).max):
            raise DataError(
                f"numbers up to {abs(np.asarray(numbers)).max():.3g} don't fit into {self.numbers.dtype}: take float32 (precision)."
            )
        self.numbers[b * self.block : (b + 1) * self.block] = numbers
        _flush(self.numbers)
        self._done[b] = 1
        _flush(self._done)

    def times(self, V: Float[ndarray, "width q"]) -> Float[ndarray, "n q"]:
        """Its product with V, in float32."""
        V, out = V.astype(np.float32), np.empty((len(self.numbers), V.shape[1]), np.float32)
        for rows in self._parts():
            out[rows] = np.asarray(self.numbers[rows], np.float32) @ V
        return out

    def gram(self) -> Float[ndarray, "width width"]:
        """Products of the columns, added up in float64."""
        total = np.zeros((self.numbers.shape[1],) * 2)
        for rows in self._parts():
            part = np.asarray(self.numbers[rows], np.float32)
            total += part.T @ part
        return total

    def _parts(self) -> list[slice]:
        step = max(1, AT_ONCE // max(1, self.numbers.shape[1]))
        return [slice(start, start + step) for start in range(0, len(self.numbers), step)]


def _file(path: Path, shape: tuple[int, ...], dtype: str) -> ndarray:
    """The array in the file, of zeros if it is new."""
    if path.is_file():
        there: ndarray = np.load(path, mmap_mode="r+", allow_pickle=False)
        if there.shape == shape and there.dtype == np.dtype(dtype):
            return there
        raise DataError(
            f"{path} holds {there.shape} numbers of {there.dtype}, and {shape} of {dtype} are needed: remove it."
        )
    need, free = int(np.prod(shape)) * np.dtype(dtype).itemsize, shutil.disk_usage(path.parent).free
    if need > free:
        raise DataError(f"{path} needs {size(need)}, and {size(free)} are free there: give a folder on another disk.")
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def _flush(array: ndarray) -> None:
    if isinstance(array, np.memmap):
        array.flush()
