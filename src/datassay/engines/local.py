"""Leave-one-out of each row against its nearest rows alone: time linear in n.

    f_i = h_i' (H_N + diag(own_N))^-1 Y_N,   1 / d_i = 1/2 + own_i - h_i' (H_N + diag(own_N))^-1 h_i        N: k rows near i

The nearest are sought among the rows of the nearest blocks (engines/partition.py), which is all rows where there are few.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from datassay.engines.gram import arc_cosine_values, blocks
from datassay.engines.low_rank import dense_unit_rows
from datassay.engines.machine import one_thread, spread, task
from datassay.engines.partition import partition, project

BLOCK = 2048
PROBED = 8  # blocks in which a row's neighbours are sought


def leave_one_out(
    take: Callable[[ndarray], Any],
    Y: Float[ndarray, "n c"],
    own: Float[ndarray, " n"],
    sample: Int[ndarray, " some"],
    *,
    k: int,
    bias: bool,
    n_jobs: int | None,
    report: Callable[[float], Any],
) -> tuple[Float[ndarray, "n c"], Float[ndarray, " n"]]:
    """e = y - f and d of every row; ``take(index)`` hands out raw rows, ``own`` is each row's ridge."""
    n, k = len(Y), min(k, len(Y) - 1)
    with one_thread():
        S = dense_unit_rows(take(sample), bias)
        T = project(n, lambda index: dense_unit_rows(take(index), bias), S, lambda share: report(0.05 * share))
        groups = partition(T, BLOCK)
    centres = np.stack([T[group].mean(axis=0, dtype=np.float64) for group in groups])
    near = np.argsort(((centres[:, None] - centres) ** 2).sum(axis=2), axis=1, kind="stable")[:, :PROBED]

    def tasks() -> Iterator[Any]:
        for b, group in enumerate(groups):
            among = np.concatenate([groups[c] for c in [b, *(c for c in near[b] if c != b)][: near.shape[1]]])
            yield task(_block, take(among), Y[among], own[among], len(group), k, bias)

    e, d = np.empty(Y.shape), np.empty(n)
    for group, (e_b, d_b) in zip(groups, spread(n_jobs, tasks()), strict=True):
        e[group], d[group] = e_b, d_b
        report(0.95 * len(group) / n)
    return e, d


def _block(X: Any, Y: ndarray, own: ndarray, queries: int, k: int, bias: bool) -> tuple[ndarray, ndarray]:
    """The first rows of X, ``queries`` of them, each against its k nearest in X."""
    e, d = np.empty((queries, Y.shape[1])), np.empty(queries)
    with one_thread():
        U = dense_unit_rows(X, bias)
        for at in blocks(queries, max(1, 2**22 // (k * max(k, U.shape[1])))):
            G = U[at] @ U.T
            i = np.arange(at.start, at.stop)
            G[i - at.start, i] = -np.inf
            N = np.argpartition(-G, k - 1, axis=1)[:, :k]
            V = U[N]
            H = arc_cosine_values(V @ V.transpose(0, 2, 1))
            H[:, np.arange(k), np.arange(k)] = 0.5 + own[N]
            h = arc_cosine_values(np.take_along_axis(G, N, axis=1))
            a = np.linalg.solve(H, h[:, :, None].astype(np.float64))[:, :, 0]
            e[at] = Y[at] - np.einsum("nk,nkc->nc", a, Y[N])
            d[at] = 1.0 / (0.5 + own[at] - np.einsum("nk,nk->n", a, h))
    return e, d
