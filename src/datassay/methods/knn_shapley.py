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
    calibrated hard, of the 2 K nearest rows alone: all others have 0                 (Yang et al., arXiv 2405.17489, with T = N - 2 K)
    weighted   v(S) = 1 if of the K nearest of S the weight of the matches is more than that of the others, 1/2 if as much, else 0:
               see `weighted_votes`. Weights exp((d_1 - d_j) / (2 d_K)), d the squared distance, are rounded to whole numbers up to
               ``levels``                                                                 (Wang, Mittal & Jia, arXiv 2401.11103)
    weighted-soft  v(S) = sum of 1_j times that weight, not rounded, over the K nearest of S, by K
    regression v(S) = -((1/K) sum of y_j over the K nearest of S - t)^2, see `knn_games.squares`             (Jia et al., Theorem 6)

Differs from the papers: right for K > N too (Theorem 1 has s_N = 1_N / N); rows equally far from a judge are valued as the
mean over all their orders, so that no row gains by standing earlier in the file; v({}) = -t^2 in regression, where labels are
standardised; in the weighted vote a tie is half right, which no rows are, too, and all labels but the judge's vote together (the paper
adds up votes against each of them). tests/test_knn_shapley.py has the definitions, over all subsets.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Annotated, Any, Literal

import numpy as np
from joblib import effective_n_jobs
from numpy import ndarray

from datassay.checks import Count, DataError, Jobs, Number, Positive, Seed, refuse
from datassay.data.dataset import Dataset
from datassay.data.encoding import plain
from datassay.engines import gram, noise_model, weighted_votes
from datassay.engines.knn_games import Sums, alpha, linear, of_nearest, soft, squares, within
from datassay.engines.neighbours import each, nearest, ranked
from datassay.engines.progress import progress_bar
from datassay.methods.definition import Finding, method

SAMPLE = 1000  # judges from whose neighbours the radius is taken
BLOCK = 1024  # judges of one class whose nearest rows are valued at once
Found = list[
    tuple[Any, ndarray, ndarray, Any]
]  # rows, values, what an own match adds, label: of a judge, or summed over some of one label


@method("knn-shapley", renamed={"tolerance": "max_error"})
def knn_shapley(
    data: Dataset,
    *,
    k: Count = 10,
    form: Literal["hard", "soft", "threshold", "calibrated", "weighted", "weighted-soft"] = "hard",
    radius: Positive | None = None,
    levels: Count | None = None,
    metric: Literal["euclidean", "cosine"] = "euclidean",
    judge: Literal["validation", "rows"] = "validation",
    flag: Literal["likely", "sign"] | None = None,
    search: Literal["exact", "faiss"] = "exact",
    max_error: Annotated[float, Number(least=0, most=1)] = 0.0,
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
        "threshold": the mean match of all rows within the radius. "calibrated": "hard", where the 2 k rows nearest to a judge share
        alone, so that below 0 is what does harm among many rows. "weighted": whether near rows, which weigh more, outvote the others;
        "weighted-soft": "hard" with such weights. Regression knows its own form only.
    radius
        For "threshold", in the units of the distance (cosine: 1 - cosine). None: the median distance from a judge to its k-th
        nearest row, over all judges or a random 1000.
    levels
        For "weighted": weights are whole numbers from 0 to this one; time grows with it. None: 8.
    metric
        "euclidean" or "cosine".
    judge
        "validation": the validation rows. "rows": every row is judged by all others, itself left out; validation rows are not
        looked at.
    flag
        "sign": the value is below 0. "likely": most likely wrong, by a noise model on the votes of the k nearest rows
        (engines.noise_model), where rows judge one another by classes. None: "likely" there, else "sign".
    search
        With a ``max_error``: "exact", or "faiss" (pip install 'datassay[faiss]'; float32).
    max_error
        Above 0, only the max(k, 1 / max_error) nearest rows of each judge are valued by it: an error of at most ``max_error``
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
        of the judges' labels, weighted with what a row of its rank contributes. Where rows judge one another by classes, columns
        ``probability_wrong``, between ``probability_wrong_least`` and ``probability_wrong_most``, and ``stats["wrong_labels"]``: see
        `noise_model`.

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
    regression, rows_judge = data.task == "regression", judge == "rows"
    vote = rows_judge and not regression
    refuse(
        "knn-shapley",
        (
            flag == "likely" and not vote,
            "flag='likely' goes by the votes of a row's nearest rows: it needs judge='rows', and classes",
        ),
        (radius is not None and form != "threshold", "radius belongs to form='threshold'"),
        (levels is not None and form != "weighted", "levels belongs to form='weighted'"),
        (regression and form != "hard", f"form={form!r} is about classes, and this is regression: leave it out"),
        (
            max_error > 0 and (form != "hard" or regression),
            "max_error is for form='hard' and classes, whose error it bounds",
        ),
        (
            search == "faiss" and max_error == 0,
            "search='faiss' finds the nearest rows only: pass a max_error above 0, or search='exact'",
        ),
    )
    Q, labels = data.X if rows_judge else data.X_val, data.codes
    t = np.asarray(data.codes if rows_judge else data.codes_val)
    if regression:
        labels, t = ((c - data.codes.mean()) / data.codes.std() for c in (labels, t))
    if metric == "cosine":
        _directions(data, Q, rows_judge)
    n, m, N = len(data), len(t), len(data) - rows_judge
    turn = np.arange(m) if regression else np.argsort(t, kind="stable")  # class by class, see Sums
    engine: dict[str, Any] = {"metric": metric, "itself": rows_judge, "dtype": dtype}
    engine["threads"] = None if n_jobs is None else effective_n_jobs(n_jobs)
    reach = (
        min(N, 2 * k) if form == "calibrated" else N if max_error == 0 else min(N, max(k, math.ceil(1 / max_error - 1e-9)))
    )
    stats: dict[str, Any] = {"k": k, "judges": m, "rows_per_judge": reach, "search": search, "radius": None}
    a, common = soft(k, N, len(data.classes)) if form == "soft" else (alpha(k, N), (0.0, 0.0))
    sums = Sums(n, None if regression else data.codes)
    votes = np.zeros((n, len(data.classes) if vote else 0))  # of the k nearest other rows

    small = labels if regression else labels.astype(np.min_scalar_type(len(data.classes)))  # less to fetch

    def count(i: ndarray, near: ndarray) -> None:
        if vote:
            code = data.codes[near[:, : min(k, N)]] + votes.shape[1] * np.arange(len(i))[:, None]
            votes[i] = np.bincount(code.ravel(), minlength=len(i) * votes.shape[1]).reshape(len(i), -1)

    def in_rank(i: ndarray, D: ndarray) -> Found:
        order, tied = ranked(D, itself=rows_judge)
        count(i, order)
        if regression:
            ties = [None] * len(i) if tied is None else tied
            games = [squares(*of) for of in zip(labels[order], t[i], [k] * len(i), ties, strict=True)]
            s, w = (np.stack(part) for part in zip(*games, strict=True))
        else:
            match = np.take(small, order) == t[i, None]
            if form.startswith("weighted"):
                s, w = weighted(match, np.take_along_axis(D, order, 1), tied)
            else:
                s, w = linear(match, a, tied, reach if form == "calibrated" else None)
            if form == "soft":
                s -= common[0] * np.count_nonzero(match, axis=1)[:, None] + common[1]
                w = w - common[0]
        everywhere = np.empty((2, len(i), n))
        if rows_judge:
            everywhere[:, np.arange(len(i)), i] = 0
        for j, at in enumerate(order):
            everywhere[0, j][at] = s[j]
            everywhere[1, j][at] = w[j]
        one = np.arange(len(i) + 1) if regression else np.flatnonzero(np.diff(t[i], prepend=-1, append=-1))
        return [(slice(None), *everywhere[:, begin:end].sum(axis=1), t[i[begin]]) for begin, end in pairwise(one)]

    def weighted(match: ndarray, d: ndarray, tied: ndarray | None) -> tuple[ndarray, ndarray]:
        kth = d[:, min(k, N) - 1, None]
        weight = np.where(kth > 0, np.exp((d[:, :1] - d) / np.where(kth > 0, 2 * kth, 1)), d == 0)
        if form == "weighted-soft":
            s, w = linear(match * weight, a, tied)
            return s, w * weight
        x = np.rint((levels or 8) * weight).astype(np.int64)
        ties = [None] * len(d) if tied is None else tied
        try:
            games = [weighted_votes.shapley(*of) for of in zip(np.where(match, x, -x), [k] * len(d), ties, strict=True)]
        except OverflowError as error:
            raise DataError(f"knn-shapley: {error} Lower k={k}, or take form='weighted-soft'.") from None
        s, turned = (np.stack(part) for part in zip(*games, strict=True))
        return s, np.where(match, s - turned, turned - s)

    def in_radius(i: ndarray, D: ndarray) -> Found:
        inside = [np.flatnonzero(d <= stats["radius"]) for d in (np.sqrt(D) if metric == "euclidean" else D)]
        count(i, np.argpartition(D, min(k, N) - 1, axis=1))
        return [
            (rows, *within((labels[rows] == of).astype(float), len(data.classes)), of)
            for rows, of in zip(inside, t[i], strict=True)
        ]

    def counted(i: ndarray, D: ndarray) -> tuple[int, Found]:
        return len(i), (in_radius if form == "threshold" else in_rank)(i, D)

    empty = 0
    with progress_bar(f"knn-shapley, {m} judges, {n} rows", m, progress=progress) as bar:
        try:
            if max_error > 0:
                d, rows = nearest(Q, data.X, reach, turn=turn, search=search, report=bar.update, **engine)
                label = t[turn]
                short = np.where(np.arange(reach) < reach - (reach < N), a[:reach], 0)
                begins = np.unique(np.r_[np.flatnonzero(np.diff(label, prepend=-1)), np.arange(0, m, BLOCK)])
                count(turn, rows)
                for begin, end in zip(begins, np.r_[begins[1:], m], strict=True):
                    sample = slice(begin, end)  # of one label
                    sums.add(rows[sample], *of_nearest(labels[rows[sample]] == label[begin], d[sample], short), label[begin])
            else:
                if form == "threshold":
                    stats["radius"] = float(radius or _radius(Q, data.X, k, seed, engine))
                for judges, found in each(counted, Q, data.X, turn=turn, **engine):
                    for at, s, w, of in found:
                        sums.add(at, s, w, of)
                        empty += len(s) == 0
                    bar.update(judges)
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
    flagged, stats["flag_rule"] = scores < 0, "Shapley value below 0: on average the row does harm"
    if vote:
        noise = noise_model.of_probabilities(votes / votes.sum(1, keepdims=True), data.codes, votes=min(k, N))
        columns |= noise.columns()
        stats["wrong_labels"] = noise.wrong_labels()
        if flag != "sign":
            flagged, stats["flag_rule"] = noise.flagged, noise_model.RULE
    return Finding(scores, flagged, columns, suggestion, stats)


def _radius(Q: Any, X: Any, k: int, seed: int, engine: dict[str, Any]) -> float:
    sample = np.sort(np.random.default_rng(seed).permutation(Q.shape[0])[:SAMPLE])
    d, _ = nearest(Q, X, k, turn=sample, **engine)
    return float(np.median(np.sqrt(d[:, -1]) if engine["metric"] == "euclidean" else d[:, -1]))


def _directions(data: Dataset, Q: Any, rows_judge: bool) -> None:
    for what, X in (("row", data.X), ("validation row", None if rows_judge else Q)):
        if X is not None and len(zero := gram.zero_rows(X)):
            name = f" (id {plain(data.ids[zero[0]])!r})" if what == "row" else ""
            raise DataError(
                f"knn-shapley: {what} {zero[0]}{name} is zero in every column, as are {len(zero)} in all, so it has no direction "
                "and no cosine: drop such rows, or pass metric='euclidean'."
            )
