"""How many of n rows are wrong, from a few that somebody looked at: intervals that hold whenever one stops.

Rows lie in strata. Before each draw a stratum is drawn by its share among those that have rows left, then one of its rows by chance,
without replacement. So draw t shows row I with a known probability, and of what the remaining rows have, c_1 w_1 + c_2 w_2 + ... (w: 1 for
a wrong row, else 0),

    Z_t = sum over remaining rows of c_i p_i + (R / q) c_I (w_I - p_I)     R: rows left in I's stratum, q: its probability to be drawn

is an unbiased estimate, whatever p (n,) was guessed from the answers before. For a true total m the wealth of a gambler

    W_t = mean over b of the product over s <= t of (1 + b / sigma_s (Z_s - m_s))       m_s: what of m is left before draw s

is a martingale of mean 1, so by Ville's inequality it passes 1 / a at any time with probability a at most: the totals under which it
never did are a confidence set of level 1 - a at all times at once; the interval is its hull. Bets are cut so that no outcome takes more
than 99 % of the wealth. Ratios of two totals (a recall) are tested in the same way by U - h V, whose mean is 0 where the ratio is h.

Sources: Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting", JRSSB 86 (2024), section 5 (without
replacement), and "Confidence sequences for sampling without replacement", NeurIPS 2020; Shekhar, Xu, Lipton, Liang & Ramdas,
"Risk-limiting financial audits via weighted sampling without replacement", UAI 2023 (unequal probabilities, guesses as control variates).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy import ndarray
from scipy.optimize import isotonic_regression
from scipy.special import expit, logit

STRATA = 10
FINER = 1.3  # powers of this many steps: the first strata are smaller
EVEN = 0.3  # of the draws go to all rows alike, the others where guesses say that answers vary most
TRUST = 6.0  # answers that a stratum's guess is worth
BETS = np.concatenate([-np.geomspace(0.55, 0.15, 8), np.geomspace(0.15, 0.55, 8)])  # in units of 1 / sigma
GRID = 101


def strata_of(order: ndarray) -> ndarray:
    """(n,) strata, from 0: slices of the order of suspicion, thinner at its head.

    >>> strata_of(np.arange(12)[::-1]).tolist()
    [2, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0]
    """
    n = len(order)
    number = min(STRATA, max(1, n // 4))
    ends = np.round(n * np.linspace(0, 1, number + 1) ** FINER).astype(int)[1:]
    out = np.empty(n, np.int64)
    out[order] = np.searchsorted(ends, np.arange(n), side="right")
    return out


def usual(n: int) -> ndarray:
    """(n,) shares of wrong rows along a ranking, as a first guess where nothing is known: .53 at its head, .04 at its end.

    >>> usual(4).round(2).tolist()
    [0.33, 0.14, 0.07, 0.05]
    """
    return 0.5 * np.exp(-(np.arange(n) + 0.5) / n / 0.25) + 0.03


def shares(strata: ndarray, guess: ndarray) -> ndarray:
    """(S,) probabilities of the strata: most draws by size and by the standard deviation of the guesses (Neyman), the rest by size.

    >>> shares(np.array([0, 0, 1, 1]), np.array([.5, .5, .02, .02])).round(3).tolist()
    [0.697, 0.303]
    """
    sizes = np.bincount(strata)
    p = np.bincount(strata, guess) / sizes
    neyman = sizes * np.sqrt(p * (1 - p))
    return (1 - EVEN) * neyman / neyman.sum() + EVEN * sizes / sizes.sum()


def draw(strata: ndarray, share: ndarray, n: int, seed: int) -> ndarray:
    """(n,) rows in the order of drawing; the first of a larger sample are those of a smaller one.

    >>> strata, share = np.repeat([0, 1], 5), np.array([.8, .2])
    >>> bool((draw(strata, share, 4, 1) == draw(strata, share, 10, 1)[:4]).all()), sorted(draw(strata, share, 10, 1).tolist())
    (True, [0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
    """
    uniform = np.random.default_rng([seed, 0]).random(n)
    within = [
        np.random.default_rng([seed, 1, s]).permutation(np.flatnonzero(strata == s)).tolist()[::-1]
        for s in range(len(share))
    ]
    left = np.array([len(rows) for rows in within])
    out = np.empty(n, np.int64)
    bounds = np.cumsum(share)
    for t in range(n):
        s = min(int(np.searchsorted(bounds, uniform[t] * bounds[-1], side="right")), len(share) - 1)
        out[t] = within[s].pop()
        left[s] -= 1
        if left[s] == 0:
            bounds = np.cumsum(np.where(left > 0, share, 0))
    return out


def inclusion(sizes: ndarray, share: ndarray, n: int) -> ndarray:
    """(S,) probability of a row of each stratum to be among n draws: n share / size, less where a stratum can run out.

    This is computed as if draws came at random times (Poisson), which is exact where no stratum runs out.

    >>> inclusion(np.array([10, 990]), np.array([.1, .9]), 10).round(4).tolist()
    [0.1, 0.0091]
    """
    from scipy.optimize import brentq
    from scipy.stats import poisson

    if n >= sizes.sum():
        return np.ones(len(sizes))
    if n <= sizes.min():
        out: ndarray = n * share / sizes
        return np.minimum(out, 1)

    def expected(log_time: float) -> ndarray:  # of min(Poisson, size)
        mean = share * np.exp(log_time)
        drawn: ndarray = mean * poisson.cdf(sizes - 1, mean) + sizes * poisson.sf(sizes, mean)
        return drawn

    time = brentq(lambda log_time: expected(log_time).sum() - n, np.log(n) - 1, np.log(n) + 60)
    return np.clip(expected(time) / sizes, 0, 1)


def calibrated(
    z: ndarray, count: ndarray, wrong: ndarray, start: tuple[float, float] = (0.0, 1.0), steps: int = 8
) -> tuple[float, float]:
    """a, b of P(wrong) = 1 / (1 + exp(-(a + b z))), drawn to 0 and 1 by normal priors of standard deviation .7 and 1.

    z: log odds guessed for S groups; ``count`` were checked in each and ``wrong`` of these are wrong.

    >>> calibrated(np.zeros(2), np.zeros(2), np.zeros(2))
    (0.0, 1.0)
    """
    a, b = start
    for _ in range(steps):
        p = expit(a + b * z)
        r, v = wrong - count * p, count * p * (1 - p)
        g0, g1 = r.sum() - 2 * a, (r * z).sum() - (b - 1)
        h00, h01, h11 = v.sum() + 2, (v * z).sum(), (v * z * z).sum() + 1
        det = h00 * h11 - h01 * h01
        da, db = (h11 * g0 - h01 * g1) / det, (h00 * g1 - h01 * g0) / det
        cut = min(1.0, 1 / max(abs(da), abs(db), 1e-12))
        a, b = a + cut * da, b + cut * db
    return float(a), float(b)


@dataclass(frozen=True)
class History:
    """What was known before each of T draws, and what it showed; S strata."""

    strata: ndarray  #: (n,) of all rows
    rows: ndarray  #: (T,) rows drawn, in order
    wrong: ndarray  #: (T,) 1 or 0
    left: ndarray  #: (T, S) rows left before
    chance: ndarray  #: (T, S) probability of each stratum
    guess: ndarray  #: (T, S) share of wrong rows, guessed from the answers before

    @classmethod
    def of(cls, strata: ndarray, share: ndarray, prior: ndarray, rows: ndarray, wrong: ndarray) -> History:
        """From what was drawn and the (n,) guesses with which one began."""
        sizes, T, S = np.bincount(strata, minlength=len(share)), len(rows), len(share)
        z = logit(np.clip(np.bincount(strata, prior, S) / sizes, 1e-3, 1 - 1e-3))
        seen, bad, fit = np.zeros(S), np.zeros(S), (0.0, 1.0)
        left, guess = np.empty((T, S)), np.empty((T, S))
        for t in range(T):
            left[t] = sizes - seen
            guess[t] = (TRUST * expit(fit[0] + fit[1] * z) + bad) / (TRUST + seen)
            s = strata[rows[t]]
            seen[s] += 1
            bad[s] += wrong[t]
            fit = calibrated(z, seen, bad, fit, steps=2)
        chance = np.where(left > 0, share, 0)
        return cls(strata, rows, np.asarray(wrong, np.int64), left, chance / chance.sum(1, keepdims=True), guess)


def count_interval(history: History, inside: ndarray | None = None, level: float = 0.95) -> tuple[int, int]:
    """Bounds of the number of wrong rows, among all or among those ``inside`` (n,), that hold at all times at once with this level.

    >>> strata = np.zeros(20, int)
    >>> h = History.of(strata, np.ones(1), np.full(20, .5), np.arange(20), np.arange(20) < 7)
    >>> count_interval(h)
    (7, 7)
    """
    if inside is None:
        inside = np.ones(len(history.strata), bool)
    arrays, drawn, bad = _count(history, inside)
    return _hull(*arrays, bad, int(inside.sum()) - (drawn - bad), level)


def recall_interval(history: History, first: ndarray, level: float = 0.95) -> tuple[float, float]:
    """Bounds of the share of the wrong rows that are among the ``first`` (n,), at all times at once; to within .0025, outwards."""
    among, wrong = first[history.rows], history.wrong
    bad_first, bad_rest = int(wrong[among].sum()), int(wrong[~among].sum())
    most_first = int(first.sum()) - int((1 - wrong[among]).sum())
    most_rest = int((~first).sum()) - int((1 - wrong[~among]).sum())
    least = bad_first / max(bad_first + most_rest, 1)
    most = most_first / max(most_first + bad_rest, 1)
    low, high = _hull(*_ratio(history, first), 0, 400, level, 400)
    return max(low / 400, least), min(high / 400, most)


def recalibrated(history: History, prior: ndarray) -> ndarray:
    """(n,) probabilities to be wrong: 1 and 0 for rows that were checked; else the guesses brought to what was found.

    Two numbers for all (`calibrated`), then each stratum to its own answers, of which its guess counts for 6; never rising along the
    order of the guesses.
    """
    strata, S = history.strata, history.left.shape[1]
    drawn = strata[history.rows]
    seen, bad = np.bincount(drawn, minlength=S), np.bincount(drawn, history.wrong, S)
    sizes = np.bincount(strata, minlength=S)
    z = logit(np.clip(prior, 1e-3, 1 - 1e-3))
    a, b = calibrated(logit(np.clip(np.bincount(strata, prior, S) / sizes, 1e-3, 1 - 1e-3)), seen, bad, steps=30)
    p = expit(a + max(b, 0.05) * z)
    fitted = np.bincount(strata, p, S) / sizes
    target = (TRUST * fitted + bad) / (TRUST + seen)
    p = expit(logit(p) + (logit(target) - logit(fitted))[strata])
    p = np.clip(p * (target / (np.bincount(strata, p, S) / sizes))[strata], 0, 1)
    order = np.lexsort((-p, strata))
    p[order] = isotonic_regression(p[order], increasing=False).x
    p[history.rows] = history.wrong
    return p


def rows_for(width: float, now: float, checked: int, n: int) -> int:
    """How many rows must have been checked for an interval of this width, where ``checked`` gave one of ``now``; about.

    >>> rows_for(50.0, 100.0, 60, 10**9), rows_for(50.0, 100.0, 60, 240)
    (240, 138)
    """
    spread = (1 / checked - 1 / n) * (width / max(now, 1e-12)) ** 2
    return min(n, int(np.ceil(1 / (1 / n + spread) - 1e-6)))


def _count(history: History, inside: ndarray) -> tuple[tuple[ndarray, ndarray, ndarray, ndarray], int, int]:
    """What `_wealth` needs for the number of wrong rows inside; how many of these were drawn, and how many were wrong."""
    S, counts_in = history.left.shape[1], inside[history.rows]
    here, wrong = history.strata[history.rows][counts_in], history.wrong[counts_in]
    left = np.bincount(history.strata[inside], minlength=S) - _before(here, S)
    chance = history.chance[counts_in] * left / np.maximum(history.left[counts_in], 1)  # given that the draw is inside
    chance /= chance.sum(1, keepdims=True)
    guess = history.guess[counts_in]
    U = _outcomes(left, chance, guess, np.ones(S)) + (np.cumsum(wrong) - wrong)[:, None]
    return (U, np.ones_like(U), _weights(chance, guess), here + S * wrong), len(wrong), int(wrong.sum())


def _ratio(history: History, first: ndarray) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """What `_wealth` needs for the share of the wrong rows that are among the first: cells are strata, within and without these."""
    S, wrong = history.left.shape[1], history.wrong
    cells = history.strata + S * ~first
    here = cells[history.rows]
    left = np.bincount(cells, minlength=2 * S) - _before(here, 2 * S)
    chance = np.tile(history.chance / np.maximum(history.left, 1), 2) * left
    guess = np.tile(history.guess, 2)
    hits = wrong * (here < S)
    U = _outcomes(left, chance, guess, (np.arange(2 * S) < S).astype(float)) + (np.cumsum(hits) - hits)[:, None]
    V = _outcomes(left, chance, guess, np.ones(2 * S)) + (np.cumsum(wrong) - wrong)[:, None]
    return U, V, _weights(chance, guess), here + 2 * S * wrong


def _before(cell: ndarray, S: int) -> ndarray:
    """(T, S) how many draws from each cell came before each draw."""
    one = np.zeros((len(cell), S))
    one[np.arange(len(cell)), cell] = 1
    return np.cumsum(one, 0) - one


def _outcomes(left: ndarray, chance: ndarray, guess: ndarray, c: ndarray) -> ndarray:
    """(T, 2 S) estimates Z of what the remaining rows have, if the draw shows a right row of each cell, then if it shows a wrong one."""
    base = (left * guess * c).sum(1, keepdims=True)
    step = np.divide(left, chance, out=np.zeros_like(left, dtype=float), where=chance > 0) * c
    return np.concatenate([base - step * guess, base + step * (1 - guess)], 1)


def _weights(chance: ndarray, guess: ndarray) -> ndarray:
    """(T, 2 S) guessed probabilities of the outcomes: they size the bets; 0 only where the outcome can't come."""
    guess = np.clip(guess, 1e-6, 1 - 1e-6)
    return np.concatenate([chance * (1 - guess), chance * guess], 1)


def _wealth(U: ndarray, V: ndarray, weight: ndarray, which: ndarray, h: ndarray) -> ndarray:
    """(T, H) log wealth of the bets against each h after each draw."""
    logs, out = np.zeros((len(BETS), len(h))), np.empty((len(which), len(h)))
    for t in range(len(which)):
        can = weight[t] > 0
        u, v, w = U[t, can], V[t, can], weight[t, can]
        mean_u, mean_v = w @ u, w @ v
        du, dv = u - mean_u, v - mean_v
        variance = w @ (du * du) - 2 * h * (w @ (du * dv)) + h * h * (w @ (dv * dv))
        D = u[:, None] - h * v[:, None]
        lowest, highest = D.min(0), D.max(0)
        scale = np.maximum(np.sqrt(np.maximum(variance, 0)), 1e-3 * np.maximum(np.maximum(highest, -lowest), 1e-9))
        up = 0.99 / np.maximum(-lowest, 1e-9)
        down = 0.99 / np.maximum(highest, 1e-9)
        bets = np.clip(BETS[:, None] / scale, -down, up)
        logs += np.log1p(bets * (U[t, which[t]] - h * V[t, which[t]]))
        top = logs.max(0)
        out[t] = top + np.log(np.exp(logs - top).mean(0))
    return out


def _greatest(U: ndarray, V: ndarray, weight: ndarray, which: ndarray, h: ndarray) -> ndarray:
    """(H,) log of the greatest wealth that the bets against each h ever had."""
    greatest: ndarray = _wealth(U, V, weight, which, h).max(0, initial=0.0)
    return greatest


def _hull(
    U: ndarray, V: ndarray, weight: ndarray, which: ndarray, least: int, most: int, level: float, unit: int = 1
) -> tuple[int, int]:
    """The least and the greatest whole number in [least, most] that is never rejected as h times ``unit``."""
    bar, step = -np.log(1 - level), max(1, -(-(most - least) // (GRID - 1)))
    grid = np.unique(np.append(np.arange(least, most + 1, step), most))
    wealth = _greatest(U, V, weight, which, grid / unit)
    while wealth.min() >= bar and step > 1:  # what is kept may lie between two points of the grid
        middle, finer = int(grid[wealth.argmin()]), max(1, step // 20)
        grid = np.arange(max(least, middle - step), min(most, middle + step) + 1, finer)
        wealth, step = _greatest(U, V, weight, which, grid / unit), finer
    kept = np.flatnonzero(wealth < max(bar, np.nextafter(wealth.min(), np.inf)))  # the likeliest, if all are rejected
    low, high = int(grid[kept[0]]), int(grid[kept[-1]])
    while step > 1:  # the edges lie between a rejected and a kept point
        finer = max(1, step // 20)
        below = np.arange(max(least, low - step + 1), low, finer)
        above = np.arange(min(most, high + step - 1), high, -finer)
        both = np.concatenate([below, above])
        fine = _greatest(U, V, weight, which, both / unit) < bar if len(both) else np.zeros(0, bool)
        low = int(min(below[fine[: len(below)]], default=low))
        high = int(max(above[fine[len(below) :]], default=high))
        step = finer
    return low, high
