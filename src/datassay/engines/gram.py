"""The arc-cosine kernel of unit rows: the Gram matrix of an infinitely wide two-layer ReLU network.

H_ij = x_i'x_j (pi - arccos x_i'x_j) / (2 pi),  |x_i| = 1,  so H_ii = 1/2            (Arora et al. 2019)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.linalg import get_blas_funcs

from datassay.engines.machine import blas_threads


def zero_rows(X: Any) -> Int[ndarray, " zeros"]:
    """Rows without a direction."""
    return np.flatnonzero(row_lengths(X) == 0)


def unit_rows(X: Any, *, bias: bool = False, dtype: Any = np.float64) -> Any:
    """Rows of X (n, d) scaled to length 1, after appending a constant 1 to each where ``bias``; CSR stays CSR.

    >>> unit_rows(np.array([[3., 4.]]))
    array([[0.6, 0.8]])
    """
    norms = row_lengths(X)
    scale = 1.0 / np.hypot(norms, 1.0) if bias else 1.0 / norms
    if sp.issparse(X):
        U = sp.csr_array(sp.diags_array(scale) @ X)
        return sp.csr_array(sp.hstack([U, scale[:, None]]), dtype=dtype) if bias else U.astype(dtype)
    n, p = X.shape
    U = np.empty((n, p + bias), dtype)
    for rows in blocks(n):  # the scaling in float64 even where the result is float32, without a float64 copy of X
        U[rows, :p] = X[rows] * scale[rows, None]
    if bias:
        U[:, p] = scale
    return U


def equal_rows(X: Any, *, bias: bool = False) -> Int[ndarray, " n"]:
    """For each row of X, the first that points in the same direction (with ``bias``: equals it); itself if none before it does.

    Sorting by a random projection brings equal rows together: n d operations, a block of rows at a time, no n x n matrix.

    >>> equal_rows(np.array([[1., 0.], [0., 1.], [2., 0.]]))
    array([0, 1, 0])
    """
    n, p = X.shape
    direction = np.random.default_rng(0).normal(size=p + bias) / np.sqrt(p)
    along = np.concatenate([np.asarray(unit_rows(X[rows], bias=bias) @ direction) for rows in blocks(n, 4096)])
    order = np.argsort(along, kind="stable")
    close = np.diff(along[order], prepend=-np.inf, append=np.inf) <= 1e-11
    begins, ends = np.flatnonzero(~close[:-1] & close[1:]), np.flatnonzero(close[:-1] & ~close[1:]) + 1
    first = np.arange(n)
    for begin, end in zip(begins, ends, strict=True):  # runs of two rows or more
        rest = np.sort(order[begin:end])
        U = unit_rows(X[rest], bias=bias)
        while len(rest) > 1:
            gap = U - U[[0] * len(rest)] if sp.issparse(U) else U - U[0]
            same = (
                np.asarray(abs(gap).max(axis=1).todense()).ravel() < 1e-9 if sp.issparse(U) else abs(gap).max(axis=1) < 1e-9
            )
            first[rest[same]] = rest[0]
            rest, U = rest[~same], U[~same]
    return first


def arc_cosine(U: Any, V: Any = None, out: Any = None) -> Float[ndarray, "n m"]:
    """H between unit rows U (n, d) and V (m, d), default U itself, of which only one triangle is computed; C order.

    Tile by tile on as many threads as BLAS has. ``out`` (n, m): where H between U and V goes.
    """
    if V is not None:
        H = _product(U, V, out)
        deque(_over_threads(lambda rows: _transform(H[rows]), blocks(len(H), max(1, 2**17 // max(1, H.shape[1])))), maxlen=0)
        return H
    n = U.shape[0]
    H = _product(U, U) if sp.issparse(U) else _gram_lower(U)

    def tile(at: tuple[slice, slice]) -> None:
        rows, columns = at
        block = np.array(H[rows, columns])
        if rows == columns:
            block = np.tril(block) + np.tril(block, -1).T
        _transform(block)
        if rows == columns:
            np.fill_diagonal(block, 0.5)
        else:
            H[columns, rows] = block.T
        H[rows, columns] = block

    size = max(64, min(512, n // 16))  # a core's cache holds a tile and its temporaries, and all threads' are a tenth of H
    deque(_over_threads(tile, [(r, c) for r in blocks(n, size) for c in blocks(n, size) if r.start >= c.start]), maxlen=0)
    return H


def part(U: Any, rows: slice, columns: slice) -> Float[ndarray, "some few"]:
    """H[rows, columns] of unit rows U; where both begin at one row, the square on the diagonal is symmetric to the bit."""
    if rows.start != columns.start:
        return arc_cosine(U[rows], U[columns])
    square = arc_cosine(U[columns])
    if rows.stop == columns.stop:
        return square
    H = np.empty((rows.stop - rows.start, len(square)), square.dtype)
    H[: len(square)] = square
    arc_cosine(U[columns.stop : rows.stop], U[columns], out=H[len(square) :])
    return H


def arc_cosine_values(G: np.ndarray) -> np.ndarray:
    """Kernel values of cosines of any shape, in place."""
    _transform(G)
    return G


def row_lengths(X: Any) -> Float[ndarray, " n"]:
    """Lengths of the rows; each is first divided by its largest entry, whose square could overflow."""
    if sp.issparse(X):
        largest = np.asarray(abs(X).max(axis=1).todense(), np.float64).ravel()
        Z = sp.csr_array(sp.diags_array(1.0 / np.where(largest == 0, 1.0, largest)) @ X)
        return largest * np.sqrt(np.asarray(Z.multiply(Z).sum(axis=1), np.float64).ravel())
    norms = []
    for rows in blocks(len(X)):
        Z = X[rows].astype(np.float64)
        largest = abs(Z).max(axis=1)
        Z /= np.where(largest == 0, 1.0, largest)[:, None]
        norms.append(largest * np.sqrt(np.einsum("nd,nd->n", Z, Z)))
    return np.concatenate(norms)


def _transform(G: np.ndarray) -> None:
    """Cosines to kernel values, in place; rounding can leave a cosine at 1 + 1e-16, whose arc is not a number."""
    np.clip(G, -1.0, 1.0, out=G)
    angle = np.arcsin(G)  # pi - arccos = pi / 2 + arcsin, which is the cheaper of the two
    angle += np.pi / 2
    angle /= 2 * np.pi
    G *= angle


def _product(U: Any, V: Any, out: Any = None) -> np.ndarray:
    """U V' dense."""
    if sp.issparse(U) or sp.issparse(V):
        return np.asarray((sp.csr_array(U) @ sp.csr_array(V).T.tocsr()).toarray(out=out))
    return np.asarray(np.matmul(U, V.T, out=out))


def _gram_lower(U: np.ndarray) -> np.ndarray:
    """U U', lower triangle, by BLAS's symmetric product: half the work of a full one."""
    n = len(U)
    (syrk,) = get_blas_funcs(("syrk",), (U,))
    H = np.empty((n, n), U.dtype, order="F")
    return np.asarray(syrk(1.0, U.T, beta=0.0, c=H, trans=1, lower=0, overwrite_c=1)).T


def blocks(n: int, size: int = 512) -> Iterator[slice]:
    return (slice(i, min(i + size, n)) for i in range(0, n, size))


def _over_threads(work: Callable[[Any], Any], items: Any) -> Iterator[Any]:
    """`work` on each item, on as many threads as BLAS may use; numpy lets go of the lock in its loops."""
    threads = blas_threads()
    if threads == 1:
        yield from map(work, items)
        return
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(work, items)
