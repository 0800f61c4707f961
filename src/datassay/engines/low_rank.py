"""Leave-one-out of a kernel matrix that is low rank between blocks of rows and exact within them: time linear in n.

    K = F F' + blocks of (H - F F') + diag(own)                     partially independent conditional (Snelson & Ghahramani
    F (n, r) = H(rows, Z) R,   R' H(Z, Z) R = I                     2007); blocks of one row: FITC (2005)
    K^-1 = Lam^-1 - P A^-1 P',   P = Lam^-1 F,   A = I + F' P       Lam: the blocks; Woodbury

Z are M landmark rows and R (M, r) spans about the r leading directions of H(Z, Z): M = 4 r landmarks cut down to r directions
are nearer to the best matrix of rank r than r landmarks are, and all that grows with r^2 costs a sixteenth.
Two passes over the blocks: one sums A and F' Lam^-1 Y, the other gives z = K^-1 Y and d = diag(K^-1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from numpy import ndarray
from scipy.linalg import cholesky, get_blas_funcs, get_lapack_funcs, solve_triangular

from datassay.engines.gram import arc_cosine, unit_rows
from datassay.engines.machine import available_memory, one_thread, spread, task
from datassay.engines.panels import SingularGramError
from datassay.engines.partition import partition, project

CHUNK = 16_384  # rows a task takes, at most: A (r, r) comes back from each, and should not outweigh the rows
HALF = (
    1e-3,
    1e4,
)  # ridges between which half precision is enough: Lam^-1 is about 1 / ridge, and its diagonal comes from a difference
TASKS = 8  # at least, where there are so many blocks


class Basis(NamedTuple):
    """Landmarks and what turns their kernel values into features."""

    Z: Float[ndarray, "M d"]  #: unit rows
    R: Float[ndarray, "M r"]


def basis(Z: Float[ndarray, "M d"], rank: int, seed: int) -> Basis:
    """The r leading directions of H(Z, Z), by a randomised range finder (Halko, Martinsson & Tropp 2011, algorithm 4.4).

    Z are the landmarks' unit rows. On one thread: the same bits for any number of them.
    """
    with one_thread():
        H = np.asarray(arc_cosine(Z), np.float64)
        H[np.diag_indices(len(H))] += 1e-6
        if rank >= len(Z):
            return Basis(Z, np.asarray(solve_triangular(cholesky(H, lower=True), np.eye(len(Z)), lower=True).T, Z.dtype))
        V = np.random.default_rng(np.random.SeedSequence(seed).spawn(4)[3]).normal(size=(len(Z), rank))
        for _ in range(2):
            V, _ = np.linalg.qr(H @ V)
        C = cholesky(V.T @ H @ V, lower=True)
        return Basis(Z, np.asarray(solve_triangular(C, V.T, lower=True).T, Z.dtype))


class _Block(NamedTuple):
    """What the second pass needs of a block, where there is room to keep it."""

    P: Float[
        ndarray, "rows r"
    ]  #: Lam^-1 F, in half precision where that is enough: sums over r are needed, whose rounding evens out
    z: Float[ndarray, "rows k"]  #: Lam^-1 y
    d: Float[ndarray, " rows"]  #: diag(Lam^-1)


def leave_one_out(
    take: Callable[[ndarray], Any],
    Y: Float[ndarray, "n k"],
    own: Float[ndarray, " n"],
    B: Basis,
    *,
    block: int,
    bias: bool,
    n_jobs: int | None,
    report: Callable[[float], Any],
) -> tuple[Float[ndarray, "n k"], Float[ndarray, " n"]]:
    """e = y - f and d of every row; ``take(index)`` hands out raw rows, ``own`` is each row's ridge.

    About ``block`` rows are exact among each other; 1: low rank plus diagonal. The same bits for any number of workers.

    Raises
    ------
    SingularGramError
        If a block is not positive definite.
    """
    n, k = Y.shape
    with one_thread():
        if block > 1:
            T = project(n, lambda index: dense_unit_rows(take(index), bias), B.Z, lambda share: report(0.05 * share))
            groups = partition(T, block)
        else:
            report(0.05)
            groups = [np.arange(i, min(i + 2048, n)) for i in range(0, n, 2048)]
    r = B.R.shape[1]
    chunks = list(_chunks(groups))
    kind = np.float16 if HALF[0] <= own.min() and own.max() <= HALF[1] else np.float32
    # where there is room for P; else the second pass makes the blocks anew: twice the time
    keep = n * r * np.dtype(kind).itemsize < 0.3 * available_memory()
    share = 0.95 if keep else 0.475

    def tasks(of: Callable[..., Any], *last: Any) -> Iterator[Any]:
        for chunk in chunks:
            parts = [take(index) for index in chunk], [Y[index] for index in chunk], [own[index] for index in chunk]
            yield task(of, *parts, B, bias, kind, *last)

    A, b, kept_blocks = np.eye(r), np.zeros((r, k)), []
    for chunk, (A_part, b_part, each) in zip(chunks, spread(n_jobs, tasks(_sums, block > 1, keep)), strict=True):
        A += A_part
        b += b_part
        kept_blocks.append(each)
        report(share * sum(map(len, chunk)) / n)
    with one_thread():
        LA = cholesky(A, lower=True)
        g = solve_triangular(LA, solve_triangular(LA, b, lower=True), lower=True, trans=1)
        root = np.asfortranarray(solve_triangular(LA, np.eye(r), lower=True).T, np.float32)  # upper; A^-1 = root root'
    again = tasks(_refine, block > 1, g, root)
    seconds: Iterator[Any] = (task(_finish, each, g, root) for each in kept_blocks) if keep else again
    e, d = np.empty((n, k)), np.empty(n)
    for chunk, found in zip(chunks, spread(n_jobs, seconds), strict=True):
        for index, (z_B, d_B) in zip(chunk, found, strict=True):
            e[index], d[index] = z_B / d_B[:, None], d_B
        if not keep:
            report(share * sum(map(len, chunk)) / n)
    return e, d


def dense_unit_rows(X: Any, bias: bool) -> Float[ndarray, "n d"]:
    """float32, dense."""
    U = unit_rows(X, bias=bias, dtype=np.float32)
    return U.toarray() if sp.issparse(U) else U


def _chunks(groups: list[ndarray]) -> Iterator[list[ndarray]]:
    """Neighbouring blocks, as many as a task takes."""
    chunk: list[ndarray] = []
    most = min(CHUNK, sum(map(len, groups)) // TASKS)
    for group in groups:
        if chunk and sum(map(len, chunk)) + len(group) > most:
            yield chunk
            chunk = []
        chunk.append(group)
    yield chunk


def _solved(
    X: Any, y: ndarray, own: ndarray, B: Basis, bias: bool, kind: Any, exact: bool
) -> tuple[ndarray, ndarray, _Block]:
    """W'W = F' Lam^-1 F, F' Lam^-1 y, and the rest of one block."""
    U = dense_unit_rows(X, bias)
    F = arc_cosine(U, B.Z) @ B.R
    y = y.astype(np.float32)
    if not exact:
        d = 1.0 / (np.maximum(0.5 - np.einsum("nr,nr->n", F, F), 0) + own).astype(np.float32)
        P = d[:, None] * F
        W = np.sqrt(d)[:, None] * F
        return W.T @ W, P.T @ y, _Block(P.astype(kind), d[:, None] * y, d)
    potrf, trtri = get_lapack_funcs(("potrf", "trtri"), (F,))
    (trmm,) = get_blas_funcs(("trmm",), (F,))
    Lam = arc_cosine(U)
    Lam -= F @ F.T
    Lam[np.diag_indices(len(Lam))] += own.astype(np.float32)
    L, info = potrf(Lam.T, lower=1, overwrite_a=1)  # symmetric: its transpose lies in LAPACK's order
    if info > 0:
        raise SingularGramError(info - 1)
    inverse, _ = trtri(L, lower=1, overwrite_c=1)
    W = trmm(1.0, inverse, F.T, side=1, lower=1, trans_a=1, overwrite_b=1).T  # L^-1 F, in F's place
    WW = W.T @ W
    P = trmm(1.0, inverse, W.T, side=1, lower=1, overwrite_b=1).T
    d = np.einsum("ij,ij->j", inverse, inverse)
    return WW, P.T @ y, _Block(P.astype(kind), inverse.T @ (inverse @ y), d)


def _sums(
    Xs: list[Any], Ys: list[ndarray], owns: list[ndarray], B: Basis, bias: bool, kind: Any, exact: bool, keep: bool
) -> tuple[ndarray, ndarray, list[_Block]]:
    """A task's share of F' Lam^-1 F and F' Lam^-1 Y, and its blocks where they are kept."""
    r = B.R.shape[1]
    A, b, each = np.zeros((r, r)), np.zeros((r, Ys[0].shape[1])), []
    with one_thread():
        for X, y, own in zip(Xs, Ys, owns, strict=True):
            A_part, b_part, found = _solved(X, y, own, B, bias, kind, exact)
            A += A_part
            b += b_part
            if keep:
                each.append(found)
    return A, b, each


def _finish(each: list[_Block], g: ndarray, root: ndarray) -> list[tuple[ndarray, ndarray]]:
    """z and d of each block, A known."""
    (trmm,) = get_blas_funcs(("trmm",), (root,))
    found = []
    with one_thread():
        for kept, z, d in each:
            P = kept.astype(np.float32)
            z_B = z - P @ g
            P = trmm(1.0, root, P.T, trans_a=1, overwrite_b=1).T
            found.append((z_B, d.astype(np.float64) - np.einsum("nr,nr->n", P, P, dtype=np.float64)))
    return found


def _refine(
    Xs: list[Any],
    Ys: list[ndarray],
    owns: list[ndarray],
    B: Basis,
    bias: bool,
    kind: Any,
    exact: bool,
    g: ndarray,
    root: ndarray,
) -> list[tuple[ndarray, ndarray]]:
    out = []
    for X, y, own in zip(Xs, Ys, owns, strict=True):
        with one_thread():
            found = _solved(X, y, own, B, bias, kind, exact)[2]
        out += _finish([found], g, root)
    return out
