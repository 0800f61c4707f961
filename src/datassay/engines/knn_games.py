"""Shapley values in the games of nearest-neighbour classifiers and regressions: one judge, whose rows come by their rank.

`datassay.methods.knn_shapley` has the games and their sources.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray


def alpha(K: int, N: int) -> ndarray:
    """(N,) what a match of rank 1 ... N is worth in itself.

    >>> alpha(2, 3).round(2).tolist()
    [0.5, 0.5, 0.33]
    """
    j = np.arange(1.0, N + 1)
    return np.minimum(K, j) / (K * j)


def soft(K: int, N: int, classes: int) -> tuple[ndarray, tuple[float, float]]:
    """delta (N,), and what every row loses: for each match, and once."""
    k, j = min(K, N), np.arange(1.0, N + 1)
    H = float(np.sum(1 / np.arange(1.0, k + 1)))
    delta = (H + np.minimum(k, j) * (N - 1) / (k * j) - 1) / (N - 1)
    return delta, ((H - 1) / (N * (N - 1)), 1 / (classes * N))


def linear(x: ndarray, a: ndarray, tied: ndarray | None, r: int | None = None) -> tuple[ndarray, ndarray]:
    """s_i = x_i a_i + sum_{j>i} x_j (a_j - a_{j-1}) along the last axis, and what x_i = 1 adds to its own value.

    ``r``: the r nearest rows play alone, and the others have 0.

    Among g rows equally far, at ranks from p to q, and M the sum of their x: every row has each rank with probability 1/g, and
    every other row has each of the remaining ones. So with b the mean of a over these ranks, x_i is multiplied with b, the others'
    mean x with a_q - b, and to all nearer rows the group gives (a_q - a_{p-1}) M / g. Of ranks beyond r, b has 0, a_q is a_r, and of
    a_q - b counts the share of ranks up to r.
    """
    n = x.shape[-1]
    own = a if r is None else np.where(np.arange(n) < r, a, 0)
    step = a[1:] - a[:-1]
    step[n if r is None else r - 1 :] = 0
    later = np.zeros(x.shape)
    np.multiply(x[..., 1:], step, out=later[..., 1:])
    if tied is not None:
        e, first, g = _groups(tied)
        x_e, rank, size = x.ravel()[e], e % n, np.repeat(g, g)
        M = np.repeat(np.add.reduceat(x_e * 1.0, first), g)
        later.reshape(-1)[e] = M / size * np.append(0.0, step)[rank]
    s = np.zeros(x.shape)
    np.cumsum(later[..., :0:-1], axis=-1, out=s[..., : n - 1][..., ::-1])
    if tied is not None:
        q = np.repeat(e[first + g - 1], g)
        b, plays = (np.repeat(np.add.reduceat(v, first) / g, g) for v in (own[rank], (rank < (r or n)) * 1.0))
        last = plays * a[np.minimum(q % n, (r or n) - 1)]
        inside = s.reshape(-1)[q] + x_e * b + (M - x_e) * (last - b) / (size - 1)
    np.multiply(x, own, out=later)
    s += later
    w = np.broadcast_to(own, x.shape)
    if tied is not None:
        s.reshape(-1)[e] = inside
        w = w.copy()
        w.reshape(-1)[e] = b
    return s, w


def _groups(tied: ndarray) -> tuple[ndarray, ndarray, ndarray]:
    """Places of all rows that are as far as another one, flat; where each group of them begins among these; how many it has."""
    tied = tied.ravel()
    e = np.flatnonzero(tied | np.append(tied[1:], False))
    first = np.flatnonzero(~tied[e])
    return e, first, np.diff(first, append=len(e))


def squares(y: ndarray, t: float, K: int, tied: ndarray | None) -> tuple[ndarray, ndarray]:
    """Regression: -(1/K sum)^2 + 2 t (1/K sum) - t^2, whose parts are games of one row and of two rows; and w of `linear`.

    Both j and l, j nearer, are among the K nearest of S: Shapley gives j and l e_l = min(K, l)(min(K, l) - 1) / (2 l (l - 1))
    each, every other row nearer than l, which pushes l out, -c_l = -K(K - 1) / (l (l - 1)(l - 2)) for l > K, and rows beyond l 0.
    With Y_i the sum of y before rank i, the square of the sum therefore gives row i (without ties)

        K (linear in y^2) + 2 y_i Y_i e_i + 2 y_i sum_{l>i} y_l (e_l + c_l) - 2 sum_{l>i} y_l c_l Y_l .
    """
    n = len(y)
    begin = np.arange(n) if tied is None else np.flatnonzero(~tied)
    g = np.diff(begin, append=n)
    group = np.repeat(np.arange(len(g)), g)
    l = np.arange(1.0, n + 1)  # noqa: E741
    inside = np.arange(n) - begin[group]  # rank within the group, from 0
    top = np.minimum(K, l)
    e = top * (top - 1) / (2 * l * np.maximum(l - 1, 1))
    c = np.where(l > K, K * (K - 1) / (l * np.maximum(l - 1, 1) * np.maximum(l - 2, 1)), 0)

    def total(x: ndarray) -> ndarray:
        return np.add.reduceat(x, begin)

    a = alpha(K, n)
    of_y, w = linear(y, a, tied)
    of_squares, _ = linear(y * y, a, tied)
    T, W = total(y), total(y * y)  # of each group
    before = np.cumsum(T) - T
    one, two = np.maximum(g - 1, 1), np.maximum((g - 1) * (g - 2), 1)
    later = after(T / g * total(e + c))
    pushed = after(before * T / g * total(c) + (T * T - W) / (g * one) * total(inside * c))
    # the same sums within the group: another row has mean (T - y) / (g - 1), two others a mean product of the pair below
    other = (T[group] - y) / one[group]
    pair = ((T[group] - y) ** 2 - (W[group] - y * y)) / two[group]
    e_in, c_in, c_two = (total(x) / g for x in (inside * e, inside * c, inside * (inside - 1) * c))
    value = y * (before * total(e) / g + later)[group] + y * other * (2 * e_in + c_in)[group]
    lost = pushed[group] + c_in[group] * other * (before[group] + y) + c_two[group] * pair
    return 2 * t * of_y - (K * of_squares + 2 * value - 2 * lost) / K**2, w


def after(x: ndarray) -> ndarray:
    """Sum of all later entries."""
    return np.cumsum(x[::-1])[::-1] - x


def within(match: ndarray, classes: int) -> tuple[ndarray, ndarray]:
    """Values (c,) in the mean match of the c rows within a radius, and what a row's own match adds."""
    c = len(match)
    H = np.sum(1 / np.arange(1.0, c + 1))
    others = (match.sum() - match) / max(c - 1, 1)
    s = (match - 1 / classes) / max(c, 1) + (H - 1) * (match - others) / max(c, 1) * (c > 1)
    return s, np.full(c, H / max(c, 1))


def of_nearest(x: ndarray, d: ndarray, a: ndarray) -> tuple[ndarray, ndarray]:
    """`linear` for the nearest rows of several judges, (judges, r), at distances d."""
    tied = np.diff(d, axis=1, prepend=-1) == 0
    return linear(x, a, tied if tied.any() else None)


class Sums:
    """Values and weights added up judge by judge, classes one after the other: memory is a few numbers a row.

    A row's value is w [own label = t] + the rest, so that the label with the greatest sum of w would be worth most.
    """

    def __init__(self, n: int, codes: ndarray | None) -> None:
        self.scores, self.w, self.wt = np.zeros(n), np.zeros(n), np.zeros(n)
        self.codes, self.label = codes, None if codes is None else -1
        self.given, self.best = np.zeros(n), np.zeros(n)
        self.which = None if codes is None else codes.copy()

    def add(self, rows: Any, s: ndarray, w: ndarray, t: Any) -> None:
        """``rows``: all of them, distinct ones (r,), or those of several judges with one label (judges, r)."""
        if self.codes is not None and t != self.label:
            self._next(t)
        sums = [(self.scores, s), (self.w, w)] + ([(self.wt, w * t)] if self.codes is None else [])
        for total, x in sums:
            if isinstance(rows, ndarray) and rows.ndim == 2:
                np.add.at(total, rows.ravel(), x.ravel())
            else:
                total[rows] += x

    def _next(self, label: Any) -> None:
        """Keep what the class gave, and start another."""
        if self.label is not None and self.label >= 0 and self.which is not None:
            value = self.codes == self.label
            self.given[value] = self.w[value]
            better = ~value & (self.w > self.best)
            self.best[better], self.which[better] = self.w[better], self.label
        self.w[:], self.label = 0, label

    def close(self, m: int) -> tuple[ndarray, ndarray, ndarray]:
        """Means over the judges: values, margin of the given label, suggested label (code, or amount)."""
        if self.codes is None or self.which is None:
            return self.scores / m, self.given, self.wt / self.w
        self._next(-1)
        margin = (self.given - self.best) / m
        return self.scores / m, margin, np.where(margin < 0, self.which, self.codes)
