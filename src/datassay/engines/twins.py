"""Rows that are nearly the same and have different labels: at least one of the labels is wrong, or nothing tells the classes apart.

A row's twins are those of its nearest K rows before the last gap d_j / d_(j+1) < t, if it is among theirs, too. Where rows are spread
evenly about each of them in D dimensions, such a ratio is below t with probability t^(jD) (Facco et al. 2017, "Estimating the intrinsic
dimension of datasets by a minimal neighborhood information"); the median of d_1 / d_2 is 2^(-1/D), which gives D, and

    t = min(1/2, (CHANCE / n)^(1/D))

leaves about `CHANCE` gaps of the first kind in all n rows, of whatever labels, to chance. Rows that are equal are twins, but where equal
rows are usual, as in tables of a few kinds, they prove nothing, and there are none.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Int
from numpy import ndarray
from scipy.sparse.csgraph import connected_components

from datassay.engines.neighbours import equal_rows, nearest

K = 5  # rows among which twins are sought
CHANCE = 0.1  # gaps that may be chance, in all rows
HALF = 0.5  # a gap is never nearer to 1
USUAL = 0.2  # share of rows that equal an earlier one, from which on it says nothing
EFFORT = 1e11  # multiplications that a search may take, about five seconds of a core
EACH = (
    400  # multiplications that a distance costs beside those of its columns: it is written, and compared to find the nearest
)
NUMBERS = 2**28  # of X up to which nearly equal rows are sought


class Twins(NamedTuple):
    """Groups of rows, the surest first: equal ones, then by how much nearer they are to one another than to the next row."""

    groups: list[Int[ndarray, " g"]]  #: positions, of two labels or more
    gap: list[float]  #: of each group the largest d_j / d_(j+1), 0 where rows are equal
    looked: int  #: rows whose neighbours were sought


def twins(X: Any, codes: Int[ndarray, " n"], order: Int[ndarray, " n"] | None = None) -> Twins:
    """Groups of twins with different labels; where n (d + `EACH`) multiplications a row are too many, of the first rows of ``order`` alone.

    Examples
    --------
    >>> X = np.random.default_rng(0).normal(size=(100, 4))
    >>> X[7] = X[3] + 1e-3
    >>> found = twins(X, np.arange(100) % 5)
    >>> [group.tolist() for group in found.groups]
    [[3, 7]]
    """
    n, d = X.shape
    order = np.arange(n) if order is None else order
    same = equal_rows(X)
    distinct, place = np.unique(same, return_inverse=True)
    if len(distinct) < (1 - USUAL) * n or len(distinct) < 2 * K:
        return Twins([], [], 0)
    edges, gaps, looked = np.zeros((0, 2), np.int64), np.zeros(0), 0
    numbers = X.nnz if sp.issparse(X) else n * d
    if numbers <= NUMBERS:
        rows = X if len(distinct) == n else X[distinct]
        first = place[order]
        first = first[np.sort(np.unique(first, return_index=True)[1])][: max(K, int(EFFORT / (numbers + EACH * n)))]
        looked = len(first)
        edges, gaps = _near(rows, first)
    number, group = connected_components(
        sp.coo_array((np.ones(len(edges)), (edges[:, 0], edges[:, 1])), shape=(len(distinct),) * 2), directed=False
    )
    of_gap = np.zeros(number)
    np.maximum.at(of_gap, group[edges[:, 0]], gaps)
    of_row = group[place]
    several = np.flatnonzero(np.bincount(of_row, minlength=number) > 1)
    by_group = np.argsort(of_row, kind="stable")
    ends = np.searchsorted(of_row[by_group], several, side="right")
    begins = np.searchsorted(of_row[by_group], several)
    found = [(of_gap[g], by_group[a:b]) for g, a, b in zip(several, begins, ends, strict=True)]
    found = sorted((one for one in found if len(np.unique(codes[one[1]])) > 1), key=lambda one: (one[0], one[1][0]))
    return Twins([members for _, members in found], [float(gap) for gap, _ in found], looked)


def _near(X: Any, rows: ndarray) -> tuple[Int[ndarray, "e 2"], ndarray]:
    """Pairs of rows that are each other's twins, and the larger of their two gaps."""
    n = X.shape[0]
    squares, at = nearest(X, X, K + 1, turn=rows, itself=True)
    ratios = _ratios(squares)
    middle = float(np.median(ratios[:, 0]))
    dimension = np.log(2) / max(-np.log(max(middle, 1e-300)), 1e-12)
    bar = min(HALF, (CHANCE / n) ** (1 / dimension))
    said: dict[tuple[int, int], float] = {}

    def note(who: ndarray, ratios: ndarray, at: ndarray) -> None:
        for row, own, others in zip(who.tolist(), ratios, at, strict=True):
            if len(gap := np.flatnonzero(own < bar)):
                said.update({(row, int(other)): float(own[gap[-1]]) for other in others[: gap[-1] + 1]})

    note(rows, ratios, at)
    asked = np.setdiff1d(np.array([b for _, b in said], np.int64), rows)
    if len(asked):
        squares, at = nearest(X, X, K + 1, turn=asked, itself=True)
        note(asked, _ratios(squares), at)
    both = [(a, b) for a, b in said if a < b and (b, a) in said]
    pairs = np.array(both, np.int64).reshape(-1, 2)
    return pairs, np.array([max(said[a, b], said[b, a]) for a, b in both])


def _ratios(squares: ndarray) -> ndarray:
    """d_j / d_(j+1)."""
    lengths = np.sqrt(np.maximum(squares, 0))
    ratios: ndarray = lengths[:, :-1] / np.maximum(lengths[:, 1:], 1e-300)
    return ratios
