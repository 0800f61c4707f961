"""Several features of the same rows: how much each should count, by the leave-one-out likelihood of the labels.

Rows of a block are scaled to unit length, and its columns by the square root of its weight; weights add up to 1. The cosine of two rows
of all blocks side by side is then the weighted mean of the blocks' cosines, so every method takes the blocks together as it takes one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float
from numpy import ndarray

from datassay.engines.gp_loo import RidgePath
from datassay.engines.gram import arc_cosine_values, row_lengths
from datassay.engines.machine import blas_on

_STEPS = (4.0, 2.0, 2.0**0.5)  # by which a weight is multiplied or divided, the coarse ones first
_GAIN = 1e-4  # of mean log likelihood; below it a step is not taken


def scaled(X: Any, weight: float = 1.0) -> Any:
    """Rows of length sqrt(weight) in float32, rows of zeros as they are; CSR stays CSR.

    >>> scaled(np.array([[3.0, 4.0], [0.0, 0.0]]), 0.25).tolist()
    [[0.30000001192092896, 0.4000000059604645], [0.0, 0.0]]
    """
    lengths = row_lengths(X)
    scale = np.sqrt(weight) / np.where(lengths == 0, 1.0, lengths)
    if sp.issparse(X):
        return sp.csr_array(sp.diags_array(scale) @ X, dtype=np.float32)
    out = np.empty(X.shape, np.float32)
    for start in range(0, len(X), 4096):
        rows = slice(start, start + 4096)
        out[rows] = X[rows] * scale[rows, None]
    return out


def side_by_side(blocks: Sequence[Any], weights: Sequence[float]) -> Any:
    """One matrix of all blocks with a weight above 0; CSR where all are."""
    parts = [scaled(X, w) for X, w in zip(blocks, weights, strict=True) if w > 0]
    if all(sp.issparse(part) for part in parts):
        return sp.csr_array(sp.hstack(parts))
    return np.concatenate([part.toarray() if sp.issparse(part) else part for part in parts], axis=1)


def weigh(
    blocks: Sequence[Any], Y: Float[ndarray, "n k"], report: Callable[[float], Any] | None = None
) -> tuple[list[float], float, list[float]]:
    """Weights of greatest leave-one-out likelihood, that likelihood, and that of each block alone.

    From the best of equal weights and single blocks, one weight after another is multiplied or divided by a step, or set to 0. An
    eigendecomposition of the n x n kernel for each that is tried, on one thread: n is a sample.
    """
    units = [scaled(X).astype(np.float64) for X in blocks]
    grams = [np.asarray((U @ U.T).toarray() if sp.issparse(U) else U @ U.T, np.float64) for U in units]
    distinct = np.flatnonzero(~_copies(np.mean(grams, axis=0)))  # a copy would foretell a row without error
    grams, target = [G[np.ix_(distinct, distinct)] for G in grams], Y[distinct]

    @cache
    def tried(weights: tuple[float, ...]) -> float:
        H = arc_cosine_values(sum((w * G for w, G in zip(weights, grams, strict=True)), np.zeros_like(grams[0])))
        np.fill_diagonal(H, 0.5)
        if report:
            report(1)
        return RidgePath(H, target).best()[1]

    b = len(blocks)
    singles = [tuple(float(i == j) for j in range(b)) for i in range(b)]
    with blas_on(1):
        alone = [tried(one) for one in singles]
        best = max([_normed([1.0] * b), *singles], key=tried)
        for step in _STEPS if b > 1 else ():
            moved = True
            while moved:
                moved = False
                for j in range(b):
                    for factor in (step, 1 / step, 0.0):
                        if best[j] == 0 and factor != step:
                            continue
                        changed = list(best)
                        changed[j] = changed[j] * factor if changed[j] > 0 else 0.02 * step
                        if sum(changed) == 0 or max(_normed(changed)) > 0.995 > max(best):
                            continue
                        if tried(_normed(changed)) > tried(best) + _GAIN:
                            best, moved = _normed(changed), True
    return list(best), tried(best), alone


def _normed(weights: Sequence[float]) -> tuple[float, ...]:
    """With the sum 1, in four digits."""
    total = sum(weights)
    first = [round(w / total, 4) for w in weights]
    return tuple(first)


def _copies(G: Float[ndarray, "n n"]) -> ndarray:
    """(n,) rows that point in the direction of an earlier one."""
    near = np.tril(G > 1 - 1e-9, -1)
    return np.asarray(near.any(axis=1))
