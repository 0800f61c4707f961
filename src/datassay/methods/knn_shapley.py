"""KNN-Shapley (Jia et al., VLDB 2019): the exact Shapley value of a row in the game of a K-nearest-neighbour classifier.

A judge is a validation row with label t. Of the rows in S the K nearest count; for row j, 1_j = [y_j = t], s_j is its value
and j its rank, 1 = nearest of N. The value of a row is the mean over the judges. alpha_j = min(K, j) / (K j).

    hard       v(S) = sum of 1_j over the K nearest of S, by K                                             (Jia et al.)
               s_i = 1_i alpha_i - sum_{j>i} 1_j (alpha_{j-1} - alpha_j)                            (Theorem 1, summed up)
    soft       v(S) = mean of 1_j over the K nearest of S, v({}) = 1 / classes               (Wang & Jia, arXiv 2304.04258)
               the same with delta_j for alpha_j, and (h sum_j 1_j / (N - 1) + 1 / classes) / N taken from every row; k = min(K, N),
               delta_j = (H_k + min(k, j) (N - 1) / (k j) - 1) / (N - 1), H_k = 1 + 1/2 + ... + 1/k, h = H_k - 1
    threshold  v(S) = mean of 1_j over the rows of S within the radius (Wang et al., NeurIPS 2023, arXiv 2308.15709):
               soft among the c rows within it, K = c: s_i = (1_i - 1/classes)/c + (H_c - 1) (1_i - others' mean match) / c
    regression v(S) = -((1/K) sum of y_j over the K nearest of S - t)^2, see `_squares`             (Jia et al., Theorem 6)

Differs from the papers: right for K > N too (Theorem 1 has s_N = 1_N / N); rows equally far from a judge are valued as the
mean over all their orders, so that no row gains by standing earlier in the file; v({}) = -t^2 in regression, where labels are
standardised. tests/test_knn_shapley.py has the definitions, over all subsets.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from joblib import effective_n_jobs
from numpy import ndarray

from datassay.checks import Count, DataError, Jobs, Number, Positive, Seed
from datassay.data.dataset import Dataset
from datassay.data.encoding import plain
from datassay.engines import gram
from datassay.engines.neighbours import each, nearest, ranked
from datassay.engines.progress import progress_bar
from datassay.methods.definition import Finding, method

SAMPLE = 1000  # judges from whose neighbours the radius is taken
BLOCK = 1024  # judges of one class whose nearest rows are valued at once


@method("knn-shapley")
def knn_shapley(
    data: Dataset,
    *,
    k: Count = 10,
    form: Literal["hard", "soft", "threshold"] = "hard",
    radius: Positive | None = None,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    judge: Literal["validation", "rows"] = "validation",
    search: Literal["exact", "faiss"] = "exact",
    tolerance: Annotated[float, Number(least=0, most=1)] = 0.0,
    dtype: Literal["float64", "float32"] = "float64",
    seed: Seed = 0,
    n_jobs: Jobs | None = None,
    progress: bool = True,
) -> Finding:
    """Exact Shapley value of every row for a k-nearest-neighbour classifier or regression: no model is trained.

    Parameters
    ----------
    data
        n rows and m validation rows; classification or regression. Columns count as they are: scale them first.
    k
        Neighbours that vote; may be more than there are rows.
    form
        "hard": matches among the k nearest, by k. "soft": by the number of rows there are, if fewer; no rows guess, 1 / classes.
        "threshold": the mean match of all rows within the radius. Regression knows its own form only.
    radius
        For "threshold", in the units of the distance (cosine: 1 - cosine). None: the median distance from a judge to its k-th
        nearest row, over all judges or a random 1000.
    metric
        "euclidean" or "cosine".
    judge
        "validation": the validation rows. "rows": every row is judged by all others, itself left out; validation rows are not
        looked at.
    search
        With a tolerance: "exact", or "faiss" (pip install 'datassay[faiss]'; float32).
    tolerance
        Above 0, only the max(k, 1 / tolerance) nearest rows of each judge are valued by it: an error of at most ``tolerance``
        in any row's value (Theorem 2), and no full ranking. Form "hard" only.
    dtype
        Of the distances; "float32" halves their memory.

    Returns
    -------
    Values
        scores = the column ``knn_shapley`` (n,), high = worth keeping, as in the papers. They add up to v(all rows) - v(no
        rows), the mean over the judges: "hard" and "soft" in shares of the judges classified right, regression in variances
        of the training labels. Column ``label_margin`` (n,), classification: the value with the given label less that with the
        best other label, which is the suggested one if this is negative. In regression the suggested label is the mean
        of the judges' labels, weighted with what a row of its rank contributes. Flagged: value below 0.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> from datassay.methods.knn_shapley import knn_shapley
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (20, 3)), rng.normal(-2, 1, (20, 3))]
    >>> y = np.repeat(["a", "b"], 20); y[3] = "b"                      # one wrong label
    >>> data = da.Dataset(X, y, X_val=[[2, 2, 2], [-2, -2, -2]], y_val=["a", "b"])
    >>> knn_shapley(data).suspects(1)[["id", "given_label", "suggested_label"]]
       id given_label suggested_label
    3   3           b               a
    """
    options = {name: value for name, value in locals().items() if name not in ("data", "start")}
    _check(data, options)
    options = {name: plain(value) for name, value in options.items() if name not in ("n_jobs", "progress")}
    regression, rows_judge = data.task == "regression", judge == "rows"
    Q, labels = data.X if rows_judge else data.X_val, data.codes
    t = np.asarray(data.codes if rows_judge else data.codes_val)
    if regression:
        labels, t = ((c - data.codes.mean()) / data.codes.std() for c in (labels, t))
    if metric == "cosine":
        _directions(data, Q, rows_judge)
    n, m, N = len(data), len(t), len(data) - rows_judge
    turn = np.arange(m) if regression else np.argsort(t, kind="stable")  # class by class, see _Sums
    engine: dict[str, Any] = {"metric": metric, "itself": rows_judge, "dtype": dtype}
    engine["threads"] = None if n_jobs is None else effective_n_jobs(n_jobs)
    reach = N if tolerance == 0 else min(N, max(k, math.ceil(1 / tolerance - 1e-9)))
    stats: dict[str, Any] = {"k": k, "judges": m, "rows_per_judge": reach, "search": search, "radius": None}
    a, common = _soft(k, N, len(data.classes)) if form == "soft" else (_alpha(k, N), (0.0, 0.0))
    sums = _Sums(n, None if regression else data.codes)
    bar = progress_bar(f"knn-shapley, {m} judges, {n} rows", m, progress=progress)

    def in_rank(i: int, d: ndarray) -> tuple[Any, ndarray, ndarray]:
        order, tied = ranked(d)
        if regression:
            s, w = _squares(labels[order], t[i], k, tied)
        else:
            match = (labels == t[i])[order]
            s, w = _linear(match, a, tied)
            if form == "soft":
                s -= common[0] * np.count_nonzero(match) + common[1]
                w = w - common[0]
        everywhere = np.zeros((2, n))
        everywhere[0][order] = s
        everywhere[1][order] = w
        return slice(None), everywhere[0], everywhere[1]

    def within(i: int, d: ndarray) -> tuple[Any, ndarray, ndarray]:
        rows = np.flatnonzero((np.sqrt(d) if metric == "euclidean" else d) <= stats["radius"])
        c, match = len(rows), (labels[rows] == t[i]).astype(float)
        H = np.sum(1 / np.arange(1.0, c + 1))
        others = (match.sum() - match) / max(c - 1, 1)
        s = (match - 1 / len(data.classes)) / max(c, 1) + (H - 1) * (match - others) / max(c, 1) * (c > 1)
        return rows, s, np.full(c, H / max(c, 1))

    def among_nearest() -> Iterator[tuple[Any, ndarray, ndarray, float]]:
        d, rows = nearest(Q, data.X, reach, turn=turn, search=search, report=bar.update, **engine)
        label = t[turn]
        short = np.where(np.arange(reach) < reach - (reach < N), a[:reach], 0)
        begins = np.unique(np.r_[np.flatnonzero(np.diff(label, prepend=-1)), np.arange(0, m, BLOCK)])
        for begin, end in zip(begins, np.r_[begins[1:], m], strict=True):
            match = labels[rows[begin:end]] == label[begin]
            s, w = _linear(match, short, None)
            w = np.tile(w, (len(s), 1))
            tied = np.diff(d[begin:end], axis=1, prepend=-1) == 0
            for i in np.flatnonzero(tied.any(axis=1)):
                s[i], w[i] = _linear(match[i], short, tied[i])
            yield rows[begin:end], s, w, label[begin]

    empty = 0
    with bar:
        try:
            if tolerance > 0:
                for rows, s, w, label in among_nearest():
                    sums.add(rows, s, w, label)
            else:
                if form == "threshold":
                    stats["radius"] = float(radius or _radius(Q, data.X, k, seed, engine))
                work = within if form == "threshold" else in_rank
                for i, (rows, s, w) in zip(turn, each(work, Q, data.X, turn=turn, **engine), strict=True):
                    sums.add(rows, s, w, t[i])
                    empty += len(s) == 0
                    bar.update()
        except OverflowError as error:
            raise DataError(f"knn-shapley: {error} Scale the columns first.") from None
    scores, margin, suggested = sums.close(m)
    columns = {"knn_shapley": scores.copy()}
    if regression:
        suggestion = suggested * data.codes.std() + data.codes.mean()
    else:
        columns["label_margin"], suggestion = margin, data.labels_of(suggested)
    if form == "threshold":
        stats["without_neighbours"] = empty
    stats |= {"flag_rule": "Shapley value below 0: on average the row does harm"}
    return Finding(scores, scores < 0, columns, suggestion, stats, options)


# ------------------------------------------------------------------------------------------- one judge, rows by their rank


def _alpha(K: int, N: int) -> ndarray:
    j = np.arange(1.0, N + 1)
    return np.minimum(K, j) / (K * j)


def _soft(K: int, N: int, classes: int) -> tuple[ndarray, tuple[float, float]]:
    """delta (N,), and what every row loses: for each match, and once."""
    k, j = min(K, N), np.arange(1.0, N + 1)
    H = float(np.sum(1 / np.arange(1.0, k + 1)))
    delta = (H + np.minimum(k, j) * (N - 1) / (k * j) - 1) / (N - 1)
    return delta, ((H - 1) / (N * (N - 1)), 1 / (classes * N))


def _linear(x: ndarray, a: ndarray, tied: ndarray | None) -> tuple[ndarray, ndarray]:
    """s_i = x_i a_i + sum_{j>i} x_j (a_j - a_{j-1}) along the last axis, and what x_i adds to its own value.

    Among g rows equally far, at ranks from p to q, and M the sum of their x: every row has each rank with probability 1/g, and
    every other row has each of the remaining ones. So with b the mean of a over these ranks, x_i is multiplied with b, the others'
    mean x with a_q - b, and to all nearer rows the group gives (a_q - a_{p-1}) M / g.
    """
    if tied is None:
        after = x * np.diff(a, prepend=0)
        after = np.cumsum(after[..., ::-1], axis=-1)[..., ::-1]
        s = x * a
        s[..., :-1] += after[..., 1:]
        return s, a
    begin = np.flatnonzero(~tied)
    g = np.diff(begin, append=len(x))
    last, M, b = a[begin + g - 1], np.add.reduceat(x * 1.0, begin), np.add.reduceat(a, begin) / g
    to_nearer = _after(M / g * np.diff(last, prepend=0))
    other = (last - b) / np.maximum(g - 1, 1)
    return np.repeat(to_nearer + M * other, g) + x * np.repeat(b - other, g), np.repeat(b, g)


def _squares(y: ndarray, t: float, K: int, tied: ndarray | None) -> tuple[ndarray, ndarray]:
    """Regression: -(1/K sum)^2 + 2 t (1/K sum) - t^2, whose parts are games of one row and of two rows; and w of `_linear`.

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

    alpha = _alpha(K, n)
    linear, w = _linear(y, alpha, tied)
    squares, _ = _linear(y * y, alpha, tied)
    T, W = total(y), total(y * y)  # of each group
    before = np.cumsum(T) - T
    one, two = np.maximum(g - 1, 1), np.maximum((g - 1) * (g - 2), 1)
    later = _after(T / g * total(e + c))
    pushed = _after(before * T / g * total(c) + (T * T - W) / (g * one) * total(inside * c))
    # the same sums within the group: another row has mean (T - y) / (g - 1), two others a mean product of the pair below
    other = (T[group] - y) / one[group]
    pair = ((T[group] - y) ** 2 - (W[group] - y * y)) / two[group]
    e_in, c_in, c_two = (total(x) / g for x in (inside * e, inside * c, inside * (inside - 1) * c))
    mine = y * (before * total(e) / g + later)[group] + y * other * (2 * e_in + c_in)[group]
    lost = pushed[group] + c_in[group] * other * (before[group] + y) + c_two[group] * pair
    return 2 * t * linear - (K * squares + 2 * mine - 2 * lost) / K**2, w


def _after(x: ndarray) -> ndarray:
    """Sum of all later entries."""
    return np.cumsum(x[::-1])[::-1] - x


# ----------------------------------------------------------------------------------------------------------- all the judges


class _Sums:
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
            mine = self.codes == self.label
            self.given[mine] = self.w[mine]
            better = ~mine & (self.w > self.best)
            self.best[better], self.which[better] = self.w[better], self.label
        self.w[:], self.label = 0, label

    def close(self, m: int) -> tuple[ndarray, ndarray, ndarray]:
        """Means over the judges: values, margin of the given label, suggested label (code, or amount)."""
        if self.codes is None or self.which is None:
            return self.scores / m, self.given, self.wt / self.w
        self._next(-1)
        margin = (self.given - self.best) / m
        return self.scores / m, margin, np.where(margin < 0, self.which, self.codes)


def _radius(Q: Any, X: Any, k: int, seed: int, engine: dict[str, Any]) -> float:
    some = np.sort(np.random.default_rng(seed).permutation(Q.shape[0])[:SAMPLE])
    d, _ = nearest(Q, X, k, turn=some, **engine)
    return float(np.median(np.sqrt(d[:, -1]) if engine["metric"] == "euclidean" else d[:, -1]))


def _directions(data: Dataset, Q: Any, rows_judge: bool) -> None:
    for what, X in (("row", data.X), ("validation row", None if rows_judge else Q)):
        if X is not None and len(zero := gram.zero_rows(X)):
            name = f" (id {plain(data.ids[zero[0]])!r})" if what == "row" else ""
            raise DataError(
                f"knn-shapley: {what} {zero[0]}{name} is zero in every column, as are {len(zero)} in all, so it has no direction "
                "and no cosine: drop such rows, or pass metric='euclidean'."
            )


def _check(data: Dataset, options: dict[str, Any]) -> None:
    """Every option against what it may be; `options` are those of `knn_shapley` by name."""

    def need(holds: Any, what: str) -> None:
        if not holds:
            raise DataError(f"knn-shapley: {what}.")

    form, tolerance = options["form"], options["tolerance"]
    need(options["radius"] is None or form == "threshold", "radius belongs to form='threshold'")
    need(
        data.task == "classification" or form == "hard",
        f"form={form!r} is about classes, and this is regression: leave it out",
    )
    need(
        tolerance == 0 or (form == "hard" and data.task == "classification"),
        "tolerance is for form='hard' and classes, whose error it bounds",
    )
    need(
        options["search"] == "exact" or tolerance > 0,
        "search='faiss' finds the nearest rows only: pass a tolerance above 0, or search='exact'",
    )
    need(
        options["judge"] == "rows" or data.X_val is not None,
        "it needs validation rows, X_val and y_val (file: --val), by which the rows are judged; without any, "
        "judge='rows' lets the training rows judge one another",
    )
