"""Facility location: so few points that every point of a set is near one of them.

    f(S) = sum_i max_{j in S} (d_max - d_ij),   f({}) = 0

is monotone and submodular, so that taking the greatest gain again and again reaches (1 - 1/e) of the best f for that many points
(Nemhauser, Wolsey and Fisher 1978). Lazy (Minoux 1978): a gain can only fall, so what it was is a bound, and few are computed again.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial.distance import cdist

MOST = 2**30  # bytes of distances that are held; of more, each row is computed when it is needed
BLOCK = 256  # rows of distances in one go


class Facilities(NamedTuple):
    """What `locate` chose; in the order of choice."""

    chosen: Int[ndarray, " k"]  #: positions
    gains: Float[ndarray, " k"]  #: by how much each made f grow
    nearest: Int[
        ndarray, " n"
    ]  #: place in ``chosen`` of the chosen point that is nearest, the earliest of equally near ones
    distance: Float[ndarray, " n"]  #: to it
    largest: float  #: d_max


def locate(P: Float[ndarray, "n d"], k: int, *, most: int = MOST) -> Facilities:
    """Choose k of n points by lazy greedy, for Euclidean distances; of equal gains the first point.

    Examples
    --------
    >>> P = np.array([[0.0], [1.0], [2.0], [50.0], [51.0]])
    >>> found = locate(P, 2)
    >>> found.chosen.tolist(), found.nearest.tolist(), found.distance.tolist()
    ([2, 3], [0, 0, 0, 1, 1], [2.0, 1.0, 0.0, 0.0, 1.0])
    """
    n, row = len(P), _distances(P, most)
    if not 1 <= k <= n:
        raise ValueError(f"from 1 to {n} of {n} points can be chosen, not {k}.")
    largest = max(float(row(j).max()) for j in range(n))
    distance, nearest = np.full(n, largest), np.zeros(n, np.int64)

    def gain(j: int) -> float:
        # each term falls as the chosen come nearer, and a sum in one order keeps that to the last bit: bounds are bounds
        return float(np.maximum(distance - row(j), 0).sum())

    bounds = [(-gain(j), j, 0) for j in range(n)]  # minus the gain, the point, how many were chosen then
    heapq.heapify(bounds)
    chosen, gains = np.empty(k, np.int64), np.empty(k)
    for t in range(k):
        while bounds[0][2] < t:
            j = bounds[0][1]
            heapq.heapreplace(bounds, (-gain(j), j, t))
        less, j, _ = heapq.heappop(bounds)
        chosen[t], gains[t] = j, -less
        d = row(j)
        nearer = d < distance
        distance[nearer], nearest[nearer] = d[nearer], t
    return Facilities(chosen, gains, nearest, distance, largest)


def _distances(P: Float[ndarray, "n d"], most: int) -> Callable[[int], ndarray]:
    """A function from j to (n,) distances from point j, in the precision of float32 whether they are held or not."""
    P = np.ascontiguousarray(P, np.float64)
    n = len(P)
    if 4 * n * n > most:
        return lambda j: cdist(P[j : j + 1], P)[0].astype(np.float32).astype(np.float64)
    D = np.empty((n, n), np.float32)
    for start in range(0, n, BLOCK):
        D[start : start + BLOCK] = cdist(P[start : start + BLOCK], P)
    return lambda j: D[j].astype(np.float64)
