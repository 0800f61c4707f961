"""Which rows look wrong beside rows that are known to be right: conformal p-values, and how many finds may be false.

n rows have scores s_i, m others that are right have scores r_j; low is suspicious. If right rows among the n are exchangeable with the m,

    p_i = (1 + #{j: r_j <= s_i}) / (m + 1)

is at most u with probability at most u for a right row i, and what Benjamini and Hochberg's rule takes at level q, the rows of the k
least p-values for the largest k with p_(k) <= q k / n, has an expected share of right rows of at most q.

For all cut-offs at once: A_j, the number of right rows of which at most j of the m score no more, is the number of n_0 points that fall
below the (j + 1)-th of m uniform ones, whatever the scores are. B_j with P(A_j <= B_j for all j) >= 1 - a comes from a simulation of that;
then of the R_j rows that reach as far, at least R_j - B_j are wrong, wherever one cuts and whatever one looked at before. n_0 is n at
first, then n less the wrong rows that are certain.

Sources: Bates, Candes, Lei, Romano & Sesia, "Testing for outliers with conformal p-values", Annals of Statistics 51 (2023), for p and the
rule; the bound for all cut-offs has the idea of Song, Jin & Candes (arXiv 2605.20726, 2026).
"""

from __future__ import annotations

import numpy as np
from numpy import ndarray

DRAWS = 2000  # of the simulation
POINTS = 200  # values of j, at most


def p_values(scores: ndarray, right: ndarray) -> ndarray:
    """(n,) of scores (n,) beside those of right rows (m,); low scores have low p-values.

    >>> p_values(np.array([0.0, 2.5, 9.0]), np.array([1.0, 2.0, 3.0])).tolist()
    [0.25, 0.75, 1.0]
    """
    return (1 + np.searchsorted(np.sort(right), scores, side="right")) / (len(right) + 1)


def step_up(p: ndarray, q: float) -> ndarray:
    """(n,) which rows Benjamini and Hochberg's rule takes at level q.

    >>> step_up(np.array([0.01, 0.9, 0.04, 0.03]), 0.1).tolist()
    [True, False, True, True]
    """
    n, ordered = len(p), np.sort(p)
    fits = np.flatnonzero(ordered <= q * np.arange(1, n + 1) / n)
    return p <= (ordered[fits[-1]] if len(fits) else -1.0)


def most_right(n: int, m: int, level: float = 0.95, *, seed: int = 0) -> tuple[ndarray, ndarray]:
    """(J,) values of j, the last m, and (J,) bounds B_j on the right rows among n: all hold together with this probability.

    >>> j, most = most_right(100, 20)
    >>> j[[0, -1]].tolist(), int(most[-1]), bool((np.diff(most) >= 0).all())
    ([0, 20], 100, True)
    """
    rng = np.random.default_rng(seed)
    j = np.unique(np.round(np.geomspace(1, m + 1, POINTS)).astype(int)) - 1 if m >= POINTS else np.arange(m + 1)
    widths = np.diff(j, prepend=-1)  # points of the m that lie between two of the j
    gaps = rng.gamma(widths, size=(DRAWS, len(j)))
    ends = np.cumsum(gaps, 1)
    below = ends / (ends[:, -1:] + rng.gamma(1e-12 + m - j[-1], size=(DRAWS, 1)))
    below[:, -1] = 1.0  # no score is above the last of m and one more
    share = np.diff(below, axis=1, prepend=0.0)
    share[:, -1] = np.maximum(1 - share[:, :-1].sum(1), 0)
    counts = np.cumsum(rng.multinomial(n, share), 1)
    ordered = np.sort(counts, 0)
    rank = np.array([np.searchsorted(ordered[:, i], counts[:, i], side="left") for i in range(len(j))])  # draws with fewer
    rank[-1] = 0  # which is n always
    reach = int(np.quantile(rank.max(0), level, method="higher"))  # a draw whose every count is below so many holds
    return j, np.maximum.accumulate(ordered[min(reach, DRAWS - 1)])


def wrong_at_least(scores: ndarray, right: ndarray, level: float = 0.95, *, seed: int = 0) -> ndarray:
    """(n,) of the first 1, 2, ... n rows by their scores, so many are wrong at least: all bounds hold together with this probability.

    >>> rng = np.random.default_rng(1)
    >>> least = wrong_at_least(np.r_[rng.normal(-8, 1, 50), rng.normal(size=950)], rng.normal(size=500))
    >>> int(least[49]) > 30, int(least[-1]) <= 50
    (True, True)
    """
    n, m = len(scores), len(right)
    reaches = np.searchsorted(np.sort(right), np.sort(scores), side="right")  # right rows that score no more
    left = n
    for _ in range(3):  # what is certain to be wrong is not right
        j, most = most_right(left, m, level, seed=seed)
        allowed = most[np.searchsorted(j, reaches)]  # right rows among the first k: those of the next j
        least = np.maximum.accumulate(np.maximum(np.arange(1, n + 1) - allowed, 0))
        if n - least[-1] == left:
            break
        left = n - int(least[-1])
    return least
