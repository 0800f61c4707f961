"""Shapley values in the game of a weighted vote of the K nearest rows, for or against: one judge, whose rows come by their rank.

    v(S) = step(sum of x_j over the K nearest of S),   step(u) = 1 for u > 0, 1/2 for u = 0, 0 for u < 0

x_j, a whole number: the row's weight, below 0 if it votes against the judge's label. Row i changes the vote of S where S has fewer than
K rows, and where it takes the place of m, the K-th nearest of S, which is farther than i. With N rows, m = 1 nearest ... N:

    s_i = sum_{l<K} G_l / (N C(N-1, l)) + sum_{m>i} R_m / (m C(m-1, K))
    G_l = sum of step(x(S) + x_i) - step(x(S)), over the sets S of l rows without i
    R_m = sum of step(x(A) + x_i) - step(x(A) + x_m), over the sets A of K - 1 rows nearer than m, without i

(Wang, Mittal & Jia, arXiv 2401.11103; they count the sets for every i.) Both depend on i by x_i alone. So they are found here for each
weight w that occurs, from one table for all rows: h_l(p, u), the sum of step(x(A) + u) over the sets A of l of the p nearest rows,

    h_l(p, u) = sum_{j<=p} h_{l-1}(j - 1, u + x_j),     without a row of weight w: sum_j (-1)^j h_{l-j}(p, u + j w)

in time linear in N. Where p < 2 K that sum would cost digits: there a row of weight w is left out from the start.
tests/test_weighted_votes.py has the definition, over all subsets.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.special import betaln, comb, gammaln

NUMBERS = 2**19  # of h at a time, 4 MB
MOST = 690.0  # logarithm of a number of sets


def shapley(
    x: Int[ndarray, " n"], K: int, tied: Bool[ndarray, " n"] | None = None
) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
    """Values of the rows, nearest first; and what each would have if it voted the other way.

    ``tied``: as far as the one before, and of the same weight, for or against; values are means over all orders of such rows.

    >>> value, turned = shapley(np.array([2, -1, -1]), 1)
    >>> value.round(3).tolist(), turned.round(3).tolist()
    ([0.833, -0.167, -0.167], [-0.167, 0.333, 0.167])

    Raises
    ------
    OverflowError
        If the sets of K - 1 rows are more than float64 can count.
    """
    n = len(x)
    if n == 0:
        return np.zeros(0), np.zeros(0)
    K = min(K, n)
    if gammaln(n + 1) - gammaln(K) - gammaln(n - K + 2) > MOST:
        raise OverflowError(f"the sets of {K - 1} of {n} rows are more than float64 can count.")
    w, first, of = np.unique(x, return_index=True, return_inverse=True)
    U = int(np.sort(abs(x))[::-1][: K - 1].sum()) + 1  # from there on u decides alone
    near = min(n, 2 * K)
    groups = [] if tied is None else _groups(x, tied)

    R = np.zeros((2, len(w), n))  # and with -w for w
    both = np.stack([w, -w])
    less = {p: np.zeros((len(w), K, 2 * U + 1)) for p in [n, *(p for p, _ in groups)] if p <= near}
    for v in np.flatnonzero(first < near):
        h = _table(np.delete(x[:near], first[v]), K, U)
        m = np.arange(max(K, first[v] + 1), near)
        R[:, v, m] = h[K - 1, m - 1][:, _place(both[:, v], U)].T - h[K - 1, m - 1, _place(x[m], U)]
        for p in less:
            less[p][v] = h[:, max(p - 1, 0)]
    value, end, pushed = np.zeros((2, n)), np.arange(1, n + 1), []  # end of the group
    for begin, h in _blocks(x, K, U):
        m = np.arange(max(begin, near), begin + h.shape[1] - 1)
        for j in range(K if len(m) else 0):
            of_l = h[K - 1 - j]
            replaced = np.moveaxis(of_l[m - begin][:, _place(both + j * w, U)], 0, -1)
            replaced -= of_l[m - begin, _place(x[m] + j * w[:, None], U)]
            R[:, :, m] += replaced if j % 2 == 0 else -replaced
        while groups and groups[0][0] < begin + h.shape[1] - 1:
            p, g = groups.pop(0)
            group, before = x[p : p + g], h[:, p - begin]
            end[p : p + g] = p + g
            for sign in np.unique(group):
                here = np.flatnonzero(group == sign)
                alone = np.array([[sign], [-sign]])
                value[:, p + here] = _replaced(before[None], U, alone, np.delete(group, here[0]), p, K, among=True)
            if (group != group[0]).any():  # else their order is the same to all before them
                seen = np.flatnonzero(first < p)
                others = less[p][seen] if p in less else _without(before, w[seen], U)
                pushed.append((p, g, seen, _replaced(others, U, both[:, seen], group, p - 1, K)))
    m = np.arange(n)
    R *= np.where(m >= K, 1 / ((m + 1) * comb(np.maximum(m, K), K)), 0)
    for p, g, seen, all_of_it in pushed:
        R[:, :, p : p + g] = 0
        R[:, seen, p] = all_of_it
    later = np.zeros((2, len(w), n + 1))
    later[:, :, :-1] = np.cumsum(R[:, :, ::-1], axis=2)[:, :, ::-1]
    h = less[n] if n in less else _without(h[:, -1], w, U)
    each = np.arange(len(w))
    G = (h[each, :, _place(both, U)] - h[each, :, U]) @ (1 / (n * comb(n - 1, np.arange(K))))
    value += G[:, of] + later[:, of, end]
    return value[0], value[1]


def _place(u: Any, U: int) -> Any:
    """Where h(u) stands: beyond U, with h(U)."""
    return np.clip(u, -U, U) + U


def _blocks(x: ndarray, K: int, U: int) -> Iterator[tuple[int, ndarray]]:
    """h (K, b + 1, 2 U + 1) of the first ``begin`` ... ``begin`` + b rows, with its begin."""
    b = max(64, NUMBERS // (K * (2 * U + 1)))
    start = _none(K, U)
    for begin in range(0, len(x), b):
        h = _table(x[begin : begin + b], K, U, start)
        start = h[:, -1]
        yield begin, h


def _none(K: int, U: int) -> ndarray:
    """h of no rows: the one set is the empty one."""
    h = np.zeros((K, 2 * U + 1))
    h[0] = (np.sign(np.arange(-U, U + 1)) + 1) / 2
    return h


def _table(x: ndarray, K: int, U: int, start: ndarray | None = None) -> ndarray:
    """h (K, len(x) + 1, 2 U + 1) after 0, 1, ... of these rows; ``start``: h before them."""
    start = _none(K, U) if start is None else start
    h = np.empty((K, len(x) + 1, 2 * U + 1))
    h[0] = start[0]
    place = _place(np.arange(-U, U + 1) + x[:, None], U) + (2 * U + 1) * np.arange(len(x))[:, None]
    for l in range(1, K):  # noqa: E741
        h[l, 0] = start[l]
        np.take(h[l - 1], place, out=h[l, 1:], mode="clip")
        np.cumsum(h[l], axis=0, out=h[l])
    return h


def _groups(x: ndarray, tied: ndarray) -> list[tuple[int, int]]:
    """Begin and size of the groups of equally far rows; among rows of weight 0 no order makes a difference."""
    begin = np.flatnonzero(~tied)
    size = np.diff(begin, append=len(x))
    some = (size > 1) & (x[begin] != 0)
    return list(zip(begin[some].tolist(), size[some].tolist(), strict=True))


def _without(h: ndarray, w: ndarray, U: int) -> ndarray:
    """h (weights, K, 2 U + 1) of all but one row of each weight, from h of all."""
    less = np.repeat(h[None], len(w), axis=0)
    place = _place(np.arange(-U, U + 1) + w[:, None], U)
    for l in range(1, len(h)):  # noqa: E741
        less[:, l] -= np.take_along_axis(less[:, l - 1], place, 1)
    return less


def _replaced(h: ndarray, U: int, w: ndarray, group: ndarray, r: int, K: int, *, among: bool = False) -> ndarray:
    """What i, of the weights w (2, weights), adds where the K-th nearest of S is in a group of equally far rows, some of which S has.

    h (weights, K, 2 U + 1): of the r rows nearer than the group, without i. ``group``: the weights of its rows, without i. ``among``: i is
    one of them, else it is nearer. a of the K nearest are nearer than the group, the others are any of the group's c rows in S; i
    takes the place of one of these, ``among`` them with probability (K - a) / (c + 1).
    """
    g, weight = len(group), abs(int(group[0]))
    up = int(np.count_nonzero(group > 0))
    total = np.zeros(w.shape)
    for a in range(max(0, K - g), min(K - 1, r) + 1):
        b = K - a
        c = np.arange(b, g + 1)
        log = gammaln(g + 1) - gammaln(c + 1) - gammaln(g - c + 1) + betaln(a + c + 1, r + g + 1 - a - c)
        chance = np.exp(log) * (b / (c + 1) if among else 1)
        total += chance.sum() * (_mean(h[:, a], U, w, weight, b - 1, up, g) - _mean(h[:, a], U, 0 * w, weight, b, up, g))
    return total


def _mean(h: ndarray, U: int, u: ndarray, weight: int, b: int, up: int, g: int) -> ndarray:
    """Mean of h(u + x(B)) over the sets B of b of g rows, of which ``up`` vote for and the others against."""
    k = np.arange(max(0, b - (g - up)), min(b, up) + 1)  # of B, that vote for
    drawn = comb(up, k) * comb(g - up, b - k) / comb(g, b)
    place = _place(u[..., None] + weight * (2 * k - b), U)
    found: ndarray = h[np.arange(len(h))[:, None], place] @ drawn
    return found
