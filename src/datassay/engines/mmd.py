"""Mean embeddings with a Gaussian kernel: what each row adds to the distance between two samples, and labels expected where a row lies.

k(x, x') = exp(-|x - x'|^2 / (2 h^2))
MMD^2 = mean k(x_i, x_j) - 2 mean k(x_i, z_j) + mean k(z_i, z_j)                    all pairs, (i, i) too
MMD^2 without row i follows from the sums over the rows of the kernel matrix: all n of them cost one pass over it
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from datassay.engines.transport import half_squared_distances

BLOCK = 2**22  # numbers of the kernel matrix at once
MOST = 4_000  # rows from whose eigenvectors labels are expected
PENALTIES = 10.0 ** np.arange(-4, 3)  # of the mean embedding of labels, in units of k(x, x)


class Left(NamedTuple):
    """Squared distances between n rows and a sample: of all, and without each."""

    whole: float
    without: Float[ndarray, " n"]


class Expected(NamedTuple):
    """Labels that are expected of n rows by others."""

    labels: Float[ndarray, "n k"]
    penalty: float
    error: float  #: mean squared error on the others, each left out


def kernel(x: Float[ndarray, "n d"], z: Float[ndarray, "m d"], h: float) -> Float[ndarray, "n m"]:
    """exp(-|x_i - z_j|^2 / (2 h^2)).

    >>> kernel(np.array([[0.0], [2.0]]), np.array([[0.0]]), 2.0).round(3).tolist()
    [[1.0], [0.607]]
    """
    K = half_squared_distances(x, z)
    K *= -1 / h**2
    np.exp(K, out=K)
    return K


def row_sums(
    x: Float[ndarray, "n d"], z: Float[ndarray, "m d"] | None, h: float, tick: Callable[[int], Any] = lambda rows: None
) -> Float[ndarray, " n"]:
    """Sums of k(x_i, z_j) over j; without ``z`` of k(x_i, x_j), which are symmetric: half of them are computed."""
    n, m = len(x), len(x if z is None else z)
    step, sums = max(1, BLOCK // m), np.zeros(n)
    for i in range(0, n, step):
        rows = slice(i, min(i + step, n))
        K = kernel(x[rows], x[i:] if z is None else z, h)
        sums[rows] += K.sum(1, dtype=float)
        if z is None:
            sums[rows.stop :] += K[:, rows.stop - i :].sum(0, dtype=float)
        tick(rows.stop - i)
    return sums


def leave_one_out(own: Float[ndarray, " n"], across: Float[ndarray, " n"], m: int, other: float) -> Left:
    """Squared distances to a sample of m rows, whose own kernel matrix has the mean ``other``, from sums over the kernel matrices of each
    row with all n (itself, too) and with that sample.

    >>> leave_one_out(np.array([1.0, 1.0]), np.array([1.0, 0.0]), 1, 1.0)     # rows at 0 and far away, beside one at 0
    Left(whole=0.5, without=array([2., 0.]))
    """
    n, S, T = len(own), own.sum(), across.sum()
    whole = S / n**2 - 2 * T / (n * m) + other
    left = n - 1
    if not left:
        return Left(float(whole), np.full(1, whole))
    return Left(float(whole), (S - 2 * own + 1) / left**2 - 2 * (T - across) / (left * m) + other)


def expected(z: Float[ndarray, "m d"], Y: Float[ndarray, "m k"], h: float) -> Callable[[Float[ndarray, "n d"]], Expected]:
    """The mean embedding of labels where a row lies: kernel ridge regression of the labels, less their mean, on m rows.

    The penalty is that of PENALTIES with the least error where each of the m rows is left out.
    """
    mean = Y.mean(0)
    w, V = np.linalg.eigh(kernel(z.astype(float), z.astype(float), h))
    w, R = w.clip(0), V.T @ (Y - mean)
    best = (np.inf, 0.0)
    for penalty in PENALTIES:
        share = w / (w + penalty)
        left = (Y - mean - V @ (share[:, None] * R)) / (1 - (V * V) @ share)[:, None]
        best = min(best, (float((left**2).mean()), float(penalty)))
    error, penalty = best
    A = V @ (R / (w + penalty)[:, None])

    def of(x: ndarray) -> Expected:
        step, out = max(1, BLOCK // len(z)), np.empty((len(x), Y.shape[1]))
        for i in range(0, len(x), step):
            out[i : i + step] = kernel(x[i : i + step], z, h) @ A
        return Expected(out + mean, penalty, error)

    return of
