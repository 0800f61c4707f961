"""Rows by their distance to a query, exactly, for many queries: nearest rows, or all of them in order.

Squared distances |x|^2 + |q|^2 - 2 x'q, by BLAS, for a tile of queries at a time; memory is tile x n, never queries x n, and
X is converted block by block. Two things are fixed so that neither the number of threads nor the order of the rows can turn
a tie into a difference:

- every product has one shape (short tiles and blocks are padded) and runs on one thread, so that the same pair of rows
  meets the same kernel wherever it stands;
- rows equal in every column are found once, and the copies take the distance of the first of them.

Columns are first moved by a multiple of a power of two near their mean, which is exact for whole numbers and takes away
the cancellation of a common offset.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal

import numpy as np
import scipy.sparse as sp
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from datassay.engines.gram import blocks, row_lengths
from datassay.engines.machine import blas_threads, thread_pools

Metric = Literal["euclidean", "cosine"]
Work = Callable[[ndarray, ndarray], Any]

TILE = 32  # queries in one product, at least: wide enough for BLAS; the distances of a tile are 256 n bytes
AT_ONCE = 2**20  # distances of a tile of more queries, where there are few rows: 8 MB
NUMBERS = 2**18  # of X in one block, 2 MB: it stays in the cache while a tile is multiplied
HELD = 2**21  # of X, at most, that are converted once for all tiles: 16 MB
TOGETHER = 2**16  # distances that `each` hands over at a time, of several queries where there are few rows


def each(
    work: Work,
    Q: Any,
    X: Any,
    *,
    metric: Metric = "euclidean",
    turn: Int[ndarray, " t"] | None = None,
    itself: bool = False,
    dtype: str = "float64",
    threads: int | None = None,
) -> Iterator[Any]:
    """`work(i, D)` for the rows i (b,) of Q (m, p), in order or as ``turn`` names them, D (b, n): squared distances to X (n, p).

    The cosine distance is 1 - cosine. ``itself``: Q is X, and the distance of a row to itself is infinite. `work` runs on several
    threads and must not keep D, which the next tile overwrites. Results come in turn.

    Raises
    ------
    OverflowError
        If the square of a row's length is no longer a number.
    """
    n, threads = X.shape[0], threads or blas_threads()
    turn = np.arange(Q.shape[0]) if turn is None else turn
    move = None if metric == "cosine" or sp.issparse(X) else _offset(X)
    rows, queries = _Rows(X, metric, move, dtype), _Rows(Q, metric, move, dtype)
    first = equal_rows(X)
    copies = np.flatnonzero(first != np.arange(n))
    size = min(max(64, NUMBERS // max(1, X.shape[1]) // 64 * 64), -(-n // 64) * 64)
    norms = np.concatenate([rows.squares(rows.take(at)) for at in blocks(n, size)])
    if not np.isfinite(norms).all():
        raise OverflowError(f"the square of the length of row {np.flatnonzero(~np.isfinite(norms))[0]} is beyond {dtype}.")
    held = None
    if not sp.issparse(X) and n * X.shape[1] <= HELD:
        held = {at.start: rows.dense(at, size) for at in blocks(n, size)}
    wide = TILE * max(1, min(AT_ONCE // (n * TILE), -(-len(turn) // TILE)))
    D = np.empty((wide, -(-n // size) * size), dtype)
    norms = np.append(norms, np.zeros(D.shape[1] - n, dtype))
    alone = thread_pools()
    with ThreadPoolExecutor(threads) as pool:
        over = pool.map if threads > 1 else map
        for tile in (turn[at] for at in blocks(len(turn), wide)):
            T = queries.dense(tile, wide)
            q = queries.squares(T)[:, None]
            T = T * T.dtype.type(-2)

            def fill(at: slice, T: ndarray = T, q: ndarray = q) -> None:
                Z = rows.take(at) if sp.issparse(X) else rows.dense(at, size) if held is None else held[at.start]
                d = D[:, at.start : at.start + Z.shape[0]]  # of -2 q, which rounds as q does
                if sp.issparse(Z):
                    d[:] = np.asarray(Z @ T.T).T
                else:
                    np.matmul(T, Z.T, out=d)
                d += norms[at.start : at.start + Z.shape[0]]
                d += q
                np.maximum(d, 0, out=d)  # rounding can leave an equal row at -1e-16
                if metric == "cosine":
                    d /= 2

            def some(at: slice, tile: ndarray = tile) -> Any:
                d, i = D[at, :n], tile[at]
                if len(copies):
                    d[:, copies] = d[:, first[copies]]
                if itself:
                    d[np.arange(len(i)), i] = np.inf
                return work(i, d)

            with alone.limit(limits=1, user_api="blas"):
                for _ in over(fill, blocks(n, size)):
                    pass
            yield from over(some, blocks(len(tile), max(1, TOGETHER // n)))


def nearest(
    Q: Any,
    X: Any,
    k: int,
    *,
    metric: Metric = "euclidean",
    turn: Int[ndarray, " t"] | None = None,
    itself: bool = False,
    search: Literal["exact", "faiss"] = "exact",
    dtype: str = "float64",
    threads: int | None = None,
    report: Callable[[int], Any] | None = None,
) -> tuple[Float[ndarray, "t k"], Int[ndarray, "t k"]]:
    """Squared distances (cosine: 1 - cosine) and positions of the k nearest rows of X, nearest first; all rows if k is larger.

    Of equal distances the lower position comes first. "faiss" compares in float32 with the index that compares all rows,
    and among equal distances at the end of the list takes what faiss gives.

    >>> d, at = nearest(np.array([[0.0]]), np.array([[2.0], [1.0], [-1.0]]), 2)
    >>> d.tolist(), at.tolist()
    ([[1.0, 1.0]], [[1, 2]])
    """
    k, turn = min(k, X.shape[0] - itself), np.arange(Q.shape[0]) if turn is None else turn
    if search == "faiss":
        return _by_faiss(Q, X, k, metric, turn, itself)

    def work(i: ndarray, D: ndarray) -> tuple[ndarray, ndarray]:
        row, at = np.nonzero(
            np.partition(D, k - 1, axis=1)[:, k - 1, None] >= D
        )  # more than k where some are as far as the k-th
        order = np.lexsort((D[row, at], row))
        place = order[np.arange(len(row)) - np.searchsorted(row, np.arange(len(i)))[row] < k]
        best = at[place].reshape(len(i), k)
        return np.take_along_axis(D, best, 1), best

    distance, index = np.empty((len(turn), k)), np.empty((len(turn), k), np.int64)
    found, done = each(work, Q, X, metric=metric, turn=turn, itself=itself, dtype=dtype, threads=threads), 0
    for d, best in found:
        distance[done : done + len(d)], index[done : done + len(d)] = d, best
        done += len(d)
        if report:
            report(len(d))
    return distance, index


def ranked(D: Float[ndarray, "b n"], *, itself: bool = False) -> tuple[Int[ndarray, "b r"], Bool[ndarray, "b r"] | None]:
    """Positions by (distance, position), row by row, and which are as far as the one before (None: none is).

    ``itself``: one infinite distance, a row's to itself, is left out of each row, and r is n - 1.

    >>> ranked(np.array([[2.0, 1.0, np.inf, 1.0]]), itself=True)
    (array([[1, 3, 0]]), array([[False,  True, False]]))
    """
    # Distance and position packed into one integer, then a sort of values: the bits of floats >= 0 are in the order of the
    # floats. For 1,000,000 float64 on one core 22 ms, where np.argsort takes 54 ms and kind="stable" 151 ms. The position
    # replaces the last bits of the distance (20 of 52 for 1,000,000 rows); where that hid a difference, it is looked up.
    n = D.shape[1]
    if D.dtype == np.float32:
        key, mask = (D + 0).view(np.uint32).astype(np.uint64) << np.uint64(32), np.uint64(2**32 - 1)
    else:
        key, mask = (D + 0.0).view(np.uint64), np.uint64(2 ** max(1, (n - 1).bit_length()) - 1)
        key &= ~mask
    key |= np.arange(n, dtype=np.uint64)
    key.view(np.int64).sort(axis=1)  # no key has the first bit, and this sort is faster
    key = key[:, : n - itself]
    near = np.zeros(key.shape, bool)  # equal to the one before but for the bits that were replaced
    np.less_equal(key[:, 1:] ^ key[:, :-1], mask, out=near[:, 1:])
    key &= mask
    order = key.view(np.int64)
    if not near.any():
        return order, None
    tied = near.copy()
    tied[:, :-1] |= near[:, 1:]
    e = np.flatnonzero(tied)
    row, at = np.divmod(e, order.shape[1])
    position, same = order[row, at], near.reshape(-1)[e]
    d = D[row, position]
    hidden = np.flatnonzero(same[1:] & (d[1:] != d[:-1])) + 1
    if len(hidden):  # the others are equal to the last bit, and lie by position already
        run = np.cumsum(~same) - 1
        mixed = np.zeros(run[-1] + 1, bool)
        mixed[run[hidden]] = True
        these = np.flatnonzero(mixed[run])
        right = these[np.lexsort((position[these], d[these], run[these]))]
        order[row[these], at[these]], d[these] = position[right], d[right]
        near.reshape(-1)[e[1:]] &= d[1:] == d[:-1]
    return order, near if near.any() else None


def equal_rows(X: Any) -> Int[ndarray, " n"]:
    """For each row the first that equals it in every column, itself if there is none before it; n p operations.

    >>> equal_rows(np.array([[1, 0], [0, 1], [1, 0]]))
    array([0, 1, 0])
    """
    n, p = X.shape
    odd = np.random.default_rng(0).integers(2**63, size=p, dtype=np.uint64) * np.uint64(2) + np.uint64(1)
    if sp.issparse(X):
        words = (X.data.astype(np.float64) + 0.0).view(np.uint64) * odd[X.indices]
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(words, dtype=np.uint64)])  # modulo 2^64, so exact
        code = sums[X.indptr[1:]] - sums[X.indptr[:-1]]
    else:
        parts = [(X[at].astype(np.float64) + 0.0).view(np.uint64) @ odd for at in blocks(n, max(64, NUMBERS // max(1, p)))]
        code = np.concatenate(parts)
    order = np.argsort(code, kind="stable")
    again = np.flatnonzero(code[order[1:]] == code[order[:-1]]) + 1
    first = np.arange(n)
    if len(again):
        begins = np.ones(n, bool)
        begins[again] = False
        head = order[np.maximum.accumulate(np.where(begins, np.arange(n), 0))]
        for at in blocks(len(again), max(64, NUMBERS // max(1, p))):
            copy, original = order[again[at]], head[again[at]]
            differ = X[copy] != X[original]  # two rows with one code, which 64 bits make a rarity
            same = ~np.asarray(differ.sum(axis=1), bool).ravel()
            first[copy[same]] = original[same]
    return first


class _Rows:
    """Rows as they are compared: moved, or scaled to unit length, and of one precision; block by block."""

    def __init__(self, X: Any, metric: Metric, move: ndarray | None, dtype: str) -> None:
        self.X, self.move, self.dtype = X, move, dtype
        self.lengths = row_lengths(X) if metric == "cosine" else None

    def take(self, at: slice | ndarray) -> Any:
        """These rows, CSR where X is."""
        Z = self.X[at]
        if sp.issparse(Z):
            scale = np.ones(Z.shape[0]) if self.lengths is None else 1 / self.lengths[at]
            return sp.csr_array(sp.diags_array(scale) @ Z).astype(self.dtype)
        if self.lengths is not None:
            Z = Z / self.lengths[at, None]
        elif self.move is not None:
            Z = Z - self.move
        return np.ascontiguousarray(Z, self.dtype)

    def dense(self, at: slice | ndarray, pad: int = 0) -> ndarray:
        """These rows, and rows of zeros up to ``pad`` in all."""
        Z = self.take(at)
        Z = Z.toarray() if sp.issparse(Z) else Z
        if len(Z) >= pad:
            return np.asarray(Z)
        padded = np.zeros((pad, Z.shape[1]), self.dtype)
        padded[: len(Z)] = Z
        return padded

    def squares(self, Z: Any) -> ndarray:
        """Squared lengths."""
        with np.errstate(over="ignore"):
            if sp.issparse(Z):
                return np.asarray(Z.multiply(Z).sum(axis=1)).ravel().astype(self.dtype)
            return np.einsum("np,np->n", Z, Z)


def _offset(X: ndarray) -> ndarray | None:
    """For each column the multiple of a power of two, near its standard deviation, that is nearest to its mean."""
    n, start = len(X), X[0].astype(np.float64)
    total, squares = np.zeros(X.shape[1]), np.zeros(X.shape[1])
    with np.errstate(over="ignore", invalid="ignore"):
        for at in blocks(n, 4096):
            Z = X[at] - start
            total += Z.sum(axis=0)
            squares += np.einsum("np,np->p", Z, Z)
        mean = start + total / n
        spread = np.sqrt(np.maximum(squares / n - (total / n) ** 2, 0))
        step = np.exp2(np.ceil(np.log2(np.where(spread > 0, spread, np.maximum(abs(start), 1e-300)))))
        move = np.where(spread > 0, np.rint(mean / step) * step, start)
    return move if np.isfinite(move).all() and move.any() else None


def _by_faiss(
    Q: Any, X: Any, k: int, metric: Metric, turn: ndarray, itself: bool
) -> tuple[Float[ndarray, "t k"], Int[ndarray, "t k"]]:
    try:
        import faiss
    except ImportError:
        raise ImportError("search='faiss' needs faiss: pip install 'datassay[faiss]'") from None

    move = None if metric == "cosine" or sp.issparse(X) else _offset(X)
    rows, queries = _Rows(X, metric, move, "float32"), _Rows(Q, metric, move, "float32")
    index, m = faiss.IndexFlatL2(X.shape[1]), len(turn)

    for at in blocks(X.shape[0], 8192):
        index.add(rows.dense(at))
    distance, found = np.empty((m, k)), np.empty((m, k), np.int64)
    for at in blocks(m, 1024):
        d, order = index.search(queries.dense(turn[at]), k + itself)
        d = np.maximum(d.astype(np.float64), 0)
        if itself:
            d[order == turn[at, None]] = np.inf
        best = np.lexsort((order, d))[:, :k]
        distance[at], found[at] = np.take_along_axis(d, best, 1), np.take_along_axis(order, best, 1)
    return (distance / 2 if metric == "cosine" else distance), found
