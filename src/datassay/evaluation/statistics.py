"""Which method is better, and how sure that is: from a tidy frame of results, a line per measurement.

A data set is one block of the tests. Its seeds and rates are repeats, not further data sets: pooled, they would make any
difference look certain. Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7 (2006).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations, permutations
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy import ndarray
from scipy import stats

from datassay.checks import DataError

FEW = 9  # data sets for which chi squared and F are no good approximations
CELL = ["task", "data", "kind", "rate", "method"]  # what seeds repeat


class Blocks(NamedTuple):
    """Data sets x methods, and what the matrix is without."""

    matrix: pd.DataFrame
    methods_left_out: list[str]
    data_left_out: list[str]


class Friedman(NamedTuple):
    """Friedman's test over all methods; ``ranks``: the mean rank of each, 1 = best; ``exact``: p by permutation, of few data sets."""

    statistic: float
    p: float
    f: float
    f_p: float
    ranks: pd.Series
    exact: float | None = None


def means(results: pd.DataFrame, metric: str) -> pd.DataFrame:
    """Mean over seeds of each (task, data, kind, rate, method), with half the width of its 95 % interval.

    half = t(.975, n - 1) sd / sqrt(n), NaN for one seed; ``n`` counts the values that there are, ``failed`` the seeds without one:
    a NaN, or a row of the metric "failed". A cell of which every seed failed has a line too.

    Raises
    ------
    DataError
        If columns are missing, no row has this metric, or a seed has it twice.

    Examples
    --------
    >>> lines = [("t", "iris", "", 0.1, seed, "a", "auc", v, "") for seed, v in enumerate([0.7, 0.8, 0.9])]
    >>> columns = ["task", "data", "kind", "rate", "seed", "method", "metric", "value", "error"]
    >>> means(pd.DataFrame(lines, columns=columns), "auc").iloc[0, 5:].round(3).tolist()
    [0.8, 0.1, 3.0, 0.248, 0.0]
    """
    check_columns(results, "results", [*CELL, "seed", "metric", "value"])
    rows = results[results["metric"].isin([metric, "failed"])]
    own = rows["metric"] == metric
    if not own.any():
        known = ", ".join(sorted(set(results["metric"]) - {"failed"})) or "none"
        raise DataError(f"no result has the metric {metric!r}; there are: {known}.")
    if len(twice := rows[own & rows[own].duplicated([*CELL, "seed"]).reindex(rows.index, fill_value=False)]):
        where = ", ".join(f"{name} {twice.iloc[0][name]!s}" for name in [*CELL, "seed"])
        raise DataError(f"{metric} is there twice for {where}: give each measurement once.")
    groups = rows.assign(value=rows["value"].where(own & np.isfinite(rows["value"]))).groupby(CELL, dropna=False)
    out = groups["value"].agg(mean="mean", sd="std", n="count").reset_index()
    n = out["n"].to_numpy()
    out["half"] = _t(n) * out["sd"] / np.sqrt(np.maximum(n, 1))
    out["failed"] = groups["seed"].nunique().to_numpy() - n
    return out


def check_columns(frame: pd.DataFrame, name: str, needed: Sequence[str]) -> None:
    """Raise a DataError that names the columns that a frame lacks."""
    if missing := [column for column in needed if column not in frame.columns]:
        raise DataError(f"{name} needs the column {missing[0]!r}; it has {', '.join(map(str, frame.columns)) or 'none'}.")


def _t(n: ndarray) -> ndarray:
    """The .975 quantile of Student's t with n - 1 degrees of freedom; NaN where there are none."""
    return stats.t.ppf(0.975, np.where(n > 1, n - 1, np.nan))


def blocks(results: pd.DataFrame, metric: str) -> Blocks:
    """One number for each data set and method: the mean over seeds, then over kinds and rates.

    A method counts on a data set only if it has a value for every kind and rate that any method has there: the mean of another
    mix of rates would compare unlike with unlike. Where cells are missing, either methods or data sets must go. Every threshold "keep
    the methods that are there on at least so many data sets, then the data sets on which all those are there" is tried. Of those
    that leave two methods and two data sets, and half of the data sets if any does, the one with most methods is taken.

    Raises
    ------
    DataError
        If results of several tasks are mixed, or no two methods share two data sets.

    Examples
    --------
    >>> lines = [("t", d, "", 0.1, 0, m, "auc", v, "") for d, m, v in
    ...          [("d1", "a", 1.0), ("d1", "b", 2.0), ("d2", "a", 3.0), ("d2", "b", 4.0), ("d2", "c", 5.0)]]
    >>> columns = ["task", "data", "kind", "rate", "seed", "method", "metric", "value", "error"]
    >>> found = blocks(pd.DataFrame(lines, columns=columns), "auc")
    >>> found.matrix.to_numpy().tolist(), found.methods_left_out, found.data_left_out
    ([[1.0, 2.0], [3.0, 4.0]], ['c'], [])
    """
    whole = means(results, metric)
    if whole["task"].nunique() > 1:
        raise DataError(
            f"the tasks {', '.join(sorted(set(whole['task'])))} can't share one matrix: choose the results of one."
        )
    settings = whole.pivot_table(index=["data", "kind", "rate"], columns="method", values="mean", dropna=False)
    settings = settings[settings.notna().any(axis=1)]
    matrix = settings.groupby(level="data").mean().where(settings.notna().groupby(level="data").all())
    variants = [_with_coverage(matrix, least) for least in range(1, len(matrix) + 1)]
    best = max(variants, key=lambda table: _preference(table, len(matrix)), default=matrix)
    if min(best.shape) < 2:
        n, k = whole["data"].nunique(), whole["method"].nunique()
        raise DataError(f"a comparison needs two methods measured on the same two data sets; methods: {k}, data sets: {n}.")
    return Blocks(
        best, sorted(set(whole["method"]) - set(best.columns)), sorted(set(whole["data"]) - set(best.index), key=str)
    )


def _with_coverage(matrix: pd.DataFrame, least: int) -> pd.DataFrame:
    """The methods that are there on so many data sets, on the data sets that have all of them."""
    return matrix.loc[:, matrix.notna().sum() >= least].dropna()


def _preference(table: pd.DataFrame, all_data: int) -> tuple[bool, bool, int, int]:
    n, k = table.shape
    return (min(n, k) > 1, 2 * n >= all_data, k, n)


def friedman(matrix: pd.DataFrame, *, higher_is_better: bool = True) -> Friedman:
    """Friedman's test that all methods are alike, from a matrix data sets x methods.

    With N data sets, k methods, mean ranks R_j (ties share the mean of their ranks) and T = sum(t^3 - t) over all ties of t::

        chi2 = 12 N / (k (k + 1)) * (sum R_j^2 - k (k + 1)^2 / 4) / (1 - T / (N k (k^2 - 1))),  k - 1 degrees of freedom,
        F = (N - 1) chi2 / (N (k - 1) - chi2),  k - 1 and (k - 1)(N - 1) degrees (Iman and Davenport 1980: less conservative).

    Demšar 2006, section 3.2.2. SciPy's `friedmanchisquare` computes the same but refuses two methods.

    Raises
    ------
    DataError
        For fewer than two methods or data sets, or numbers that are missing.

    Examples
    --------
    >>> found = friedman(pd.DataFrame([[3, 2, 1], [3, 2, 1], [3, 1, 2], [3, 2, 1]], columns=list("abc")))
    >>> round(found.statistic, 3), round(found.p, 4), round(found.f, 3), found.ranks.tolist()
    (6.5, 0.0388, 13.0, [1.0, 2.25, 2.75])
    """
    values = _checked(matrix)
    n, k = values.shape
    ranks = stats.rankdata(-values if higher_is_better else values, axis=1)
    mean = ranks.mean(axis=0)
    ties = sum(float(t**3 - t) for row in ranks for t in np.unique(row, return_counts=True)[1])
    spread = 1 - ties / (n * k * (k**2 - 1))
    raw = 12 * n / (k * (k + 1)) * float(np.sum((mean - (k + 1) / 2) ** 2))
    chi2 = raw / spread if spread > 0 else 0.0  # all methods are tied everywhere: nothing differs
    left = n * (k - 1) - chi2
    f = (n - 1) * chi2 / left if left > 1e-9 else np.inf  # every data set has the same order
    return Friedman(
        chi2,
        float(stats.chi2.sf(chi2, k - 1)),
        float(f),
        float(stats.f.sf(f, k - 1, (k - 1) * (n - 1))),
        pd.Series(mean, index=matrix.columns, name="rank"),
        _permuted(ranks) if n <= FEW else None,
    )


def _permuted(ranks: ndarray) -> float:
    """How often the ranks, in any order within each data set, agree as much as they do: all orders where these are few, else 9,999
    that are drawn, and the one that was seen.

    >>> _permuted(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]))  # one of six orders
    0.16666666666666666
    """
    n, k = ranks.shape
    seen = float(np.sum(ranks.sum(axis=0) ** 2))
    if k <= 8 and math.factorial(k) ** (n - 1) <= 20_000:
        orders = np.array(list(permutations(range(k))))
        sums = ranks[0][None]
        for row in ranks[1:]:
            sums = (sums[:, None] + row[orders][None]).reshape(-1, k)
        return float(np.mean((sums**2).sum(axis=1) >= seen - 1e-9))
    rng = np.random.default_rng(0)
    drawn = np.sum([rng.permuted(np.broadcast_to(row, (9_999, k)), axis=1) for row in ranks], axis=0)
    return float(1 + np.sum((drawn**2).sum(axis=1) >= seen - 1e-9)) / 10_000


def nemenyi_cd(k: int, N: int, alpha: float = 0.05) -> float:
    """Nemenyi's critical difference: two of k methods differ if their mean ranks over N data sets are farther apart.

    CD = q / sqrt(2) * sqrt(k (k + 1) / (6 N)), q: the 1 - alpha quantile of the studentised range of k groups, infinite degrees
    of freedom. Demšar 2006, section 3.2.2; his Table 5(a) lists q / sqrt(2).

    Raises
    ------
    DataError
        For fewer than two methods or data sets, or an alpha that is no probability.

    Examples
    --------
    >>> round(nemenyi_cd(4, 14), 2)  # Demšar's example, section 3.2.4, at .10 is 1.12
    1.25
    >>> round(nemenyi_cd(4, 14, alpha=0.10), 2)
    1.12
    """
    if k < 2 or N < 2:
        raise DataError(f"a critical difference needs two methods and two data sets, got {k} and {N}.")
    if not 0 < alpha < 1:
        raise DataError(f"alpha must be between 0 and 1, got {alpha}.")
    q = float(stats.studentized_range.ppf(1 - alpha, k, np.inf))
    return q / 2**0.5 * (k * (k + 1) / (6 * N)) ** 0.5


def cliques(ranks: pd.Series, cd: float) -> list[list[str]]:
    """The largest groups of methods of which no two differ by more than ``cd``: the bars of a critical-difference diagram.

    Groups of one, and groups within another, are left out. Best group first, best method first.

    >>> cliques(pd.Series({"a": 1.0, "b": 1.5, "c": 2.2, "d": 4.0}), 1.0)
    [['a', 'b'], ['b', 'c']]
    """
    ordered = ranks.sort_values(kind="stable")
    values, found, reached = ordered.to_numpy(), [], 0
    for start in range(len(values)):
        stop = int(np.searchsorted(values, values[start] + cd + 1e-12, side="right"))
        if stop > max(reached, start + 1):
            found.append([str(name) for name in ordered.index[start:stop]])
            reached = stop
    return found


def wilcoxon_pairs(matrix: pd.DataFrame) -> pd.DataFrame:
    """Wilcoxon's signed rank test of each pair of methods over the data sets, and its p by Holm's correction.

    A line a pair: ``a``, ``b``, the median of a - b, on how many data sets a is higher and b is, ``p`` (two-sided) and ``holm``: sorted
    p_(i) of m pairs become max over j <= i of min(1, (m - j + 1) p_(j)). Sorted by p. Equal values are dropped (Wilcoxon's own
    treatment); a pair that is equal everywhere has p = 1. Demšar 2006, section 3.1.3; Holm 1979. With N data sets p can't
    be below 2 / 2^N: five or fewer never reach .05.

    Raises
    ------
    DataError
        For fewer than two methods or data sets, or numbers that are missing.

    Examples
    --------
    >>> wilcoxon_pairs(pd.DataFrame({"a": np.arange(1.0, 7), "b": 0.0, "c": [1.0, -1, 2, -2, 3, -3]}))[["a", "b", "p", "holm"]]
       a  b        p     holm
    0  a  b  0.03125  0.09375
    1  a  c  0.06250  0.12500
    2  b  c  1.00000  1.00000
    """
    values = _checked(matrix)
    lines = [
        (matrix.columns[i], matrix.columns[j], *_signed_rank(values[:, i] - values[:, j]))
        for i, j in combinations(range(values.shape[1]), 2)
    ]
    out = pd.DataFrame(lines, columns=["a", "b", "median", "a_higher", "b_higher", "p"])
    out = out.sort_values("p", kind="stable", ignore_index=True)
    factors = np.arange(len(out), 0, -1)
    out["holm"] = np.maximum.accumulate(np.minimum(1.0, factors * out["p"].to_numpy()))
    return out


def _signed_rank(difference: ndarray) -> tuple[float, int, int, float]:
    rounded = np.round(difference, 12)  # 0.3 - 0.1 and 0.5 - 0.3 are ties
    other = rounded[rounded != 0]
    return float(np.median(difference)), int(np.sum(rounded > 0)), int(np.sum(rounded < 0)), _signed_rank_p(other)


def _signed_rank_p(difference: ndarray) -> float:
    """From all 2^n signs for few data sets; beyond that SciPy's.

    SciPy's `PermutationMethod` gives the same numbers with ties, at 70 ms a pair for 8 data sets and 1.3 s for 12: too long for
    the 253 pairs of 23 methods. These take half a millisecond.
    """
    n = len(difference)
    if n > 12:
        return float(stats.wilcoxon(difference).pvalue)
    ranks = stats.rankdata(np.abs(difference))
    sums = ((np.arange(2**n)[:, None] >> np.arange(n)) & 1) @ ranks
    middle = ranks.sum() / 2
    return float(np.mean(np.abs(sums - middle) >= abs(ranks[difference > 0].sum() - middle) - 1e-9))


def pareto(seconds: Sequence[float] | ndarray, quality: Sequence[float] | ndarray) -> ndarray:
    """Which are not dominated: no other is at least as fast and at least as good, and better in one. NaN never is among them.

    >>> pareto([1, 2, 3, 2], [0.5, 0.9, 0.8, 0.9]).tolist()
    [True, True, False, True]
    """
    s, q = np.asarray(seconds, float), np.asarray(quality, float)
    finite = np.isfinite(s) & np.isfinite(q)
    as_good = (s <= s[:, None]) & (q >= q[:, None])  # line i: who is as fast and as good as i
    better = (s < s[:, None]) | (q > q[:, None])
    return finite & ~(as_good & better & finite).any(axis=1)


def _checked(matrix: pd.DataFrame) -> ndarray:
    values = matrix.to_numpy(np.float64)
    n, k = values.shape
    if n < 2 or k < 2:
        raise DataError(f"a comparison needs two data sets and two methods at least, got {n} and {k}.")
    if not np.isfinite(values).all():
        raise DataError(
            "the matrix of data sets and methods has cells without a number: leave their methods or data sets out."
        )
    return values
