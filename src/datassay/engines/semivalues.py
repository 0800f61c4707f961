"""Semivalues: what a row adds to a random subset of the others, by laws of the subset's size.

    phi_i = sum over S without i of  P(T = |S|) / C(n-1, |S|)  (v(S + i) - v(S)),      T in {0 ... n-1}, distributed as the size

Shapley: T uniform. Banzhaf: binomial with 1/2; weighted with p. Beta Shapley (alpha, beta): t ~ Beta(beta, alpha), binomial with t.
AME: p from its distribution, binomial with p. Leave-one-out: T = n - 1.

With v_s the mean of v over subsets of size s, a_s = P(T = s - 1), b_s = P(T = s), tau = s / n, and delta_is the mean of v over the subsets
of size s that have row i less that over those that do not:

    phi_i = sum_s (a_s - b_s) v_s  +  sum_s omega_s delta_is,        omega_s = a_s (1 - tau) + b_s tau

The first sum is the same for all rows; for Shapley it is (v(N) - v({})) / n. The second needs differences between subsets of one size
only, so that how v grows with size, most of its variance, is taken out before anything is estimated. For subsets drawn with
probability q_s for their size, each subset with (z_i - tau) / (tau (1 - tau)) times omega_s / q_s estimates it without bias, and so does
the weighted regression of v on all z_i - tau at once with weights h_s = omega_s / (q_s tau (1 - tau)) (for Shapley that is KernelSHAP):
its coefficients times sum_s omega_s. Shrinking it (ridge) goes from the second towards the first, and takes the other rows' share of the
variance out. Regression-adjusted maximum sample reuse (Witter, Liu & Musco, NeurIPS 2025, arXiv 2506.11849) has both: the semivalues of
the regression, which are known, and without bias those of what it leaves: see `adjusted`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.special import gammaln
from scipy.stats import betabinom, binom

from datassay.engines import effects


def shapley_law(n: int) -> Float[ndarray, " n"]:
    """Every size with the same probability."""
    return np.full(n, 1 / n)


def banzhaf_law(n: int, p: float = 0.5) -> Float[ndarray, " n"]:
    """Every other row with probability p.

    >>> banzhaf_law(3).round(6).tolist()
    [0.25, 0.5, 0.25]
    """
    return binom.pmf(np.arange(n), n - 1, p)


def beta_law(n: int, alpha: int | float, beta: int | float) -> Float[ndarray, " n"]:
    """t ~ Beta(beta, alpha): (1, 1) is Shapley's, large alpha means small subsets.

    >>> int(beta_law(4, 16, 1).argmax()), int(beta_law(4, 1, 16).argmax())
    (0, 3)
    """
    return betabinom.pmf(np.arange(n), n - 1, beta, alpha)


def inclusion_law(n: int, p: Float[ndarray, " k"]) -> Float[ndarray, " n"]:
    """Every other row with probability p, the mean over these p."""
    return mixture(n - 1, p)


def mixture(n: int, p: Float[ndarray, " k"]) -> Float[ndarray, " n1"]:
    """(n + 1,) distribution of the size of a subset of n rows, each in with probability p, the mean over these p."""
    law = np.zeros(n + 1)
    law[0] += (p == 0).sum()
    law[n] += (p == 1).sum()
    values, counts = np.unique(p[(p > 0) & (p < 1)], return_counts=True)
    k = np.arange(n + 1.0)
    ways = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    for some in np.array_split(np.arange(len(values)), max(1, len(values) // 256)):
        log_pmf = np.log(values[some, None]) * k
        log_pmf += np.log1p(-values[some, None]) * (n - k)
        log_pmf += ways
        law += counts[some] @ np.exp(log_pmf, out=log_pmf)
    return law / len(p)


def exact(v: Float[ndarray, " m"], law: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """(n,) semivalues from the values of all 2^n subsets, as `designs.all_subsets` numbers them.

    >>> exact(np.array([0.0, 1.0, 2.0, 3.0]), shapley_law(2)).tolist()
    [1.0, 2.0]
    """
    n = len(law)
    number = np.arange(2**n)
    size = np.bitwise_count(number).astype(np.int64)  # of 8-bit numbers, gammaln is in single precision in SciPy 1.13
    phi = np.empty(n)
    for i in range(n):
        without = number[(number >> i & 1) == 0]
        s = size[without]
        weight = law[s] * np.exp(gammaln(s + 1) + gammaln(n - s) - gammaln(n))
        phi[i] = weight @ (v[without | 1 << i] - v[without])
    return phi


class Estimate(NamedTuple):
    """Values, and how well they are known."""

    value: Float[ndarray, " n"]
    stderr: Float[ndarray, " n"]
    effective: float  #: trainings of equal weight that would do as well
    shrinkage: float  #: lambda of the ridge, 0 for differences


def weights(
    n: int, size: Int[ndarray, " m"], drawn: Float[ndarray, " n1"], law: Float[ndarray, " n"]
) -> Float[ndarray, " m"]:
    """h_s of each subset; 0 for the empty one and the full one, which say nothing of single rows."""
    omega = per_size(law)
    s = np.arange(n + 1)
    tau = s / n
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):  # of many rows there are sizes that are never drawn
        h = np.where((s > 0) & (s < n) & (omega > 0), omega / (drawn * tau * (1 - tau)), 0.0)
    return h[size]


def per_size(law: Float[ndarray, " n"]) -> Float[ndarray, " n1"]:
    """omega_s for s = 0 ... n."""
    n = len(law)
    tau = np.arange(n + 1) / n
    return np.r_[0, law] * (1 - tau) + np.r_[law, 0] * tau


def estimate(
    keep: Bool[ndarray, "m n"],
    v: Float[ndarray, " m"],
    drawn: Float[ndarray, " n1"],
    law: Float[ndarray, " n"],
    *,
    ends: tuple[float, float],
    by: str = "ridge",
    standardise: bool = False,
    errors: bool = True,
    pairs: bool = False,
) -> Estimate:
    """Semivalues from subsets that were drawn by size, of each size all with the same probability.

    Parameters
    ----------
    keep, v
        m subsets of n rows, and what each is worth.
    drawn
        (n + 1,) q_s: the probability with which a subset of size s was drawn.
    law
        (n,) of T, see above.
    ends
        v({}) and v(N).
    by
        "ridge": the weighted regression, its penalty by leave-one-out; "differences": each row's own weighted mean, which is unbiased;
        "msr-adjusted": such means of what a regression on other subsets leaves, and the regression's own semivalues.
    standardise
        "ridge" as if what a row adds to subsets of one size were to what it adds to those of another as the spreads of v are, for
        subsets of these sizes: v less its mean is divided by that spread c_s, all subsets weigh alike, and the coefficients are
        multiplied with sum_s omega_s c_s. Biased where that is not so, and far less noisy: differences are largest, and noisiest,
        among small subsets.
    errors
        Standard errors: of the regression by the jackknife (they don't count what shrinkage takes away), of differences from their
        variance.
    pairs
        For "msr-adjusted": each second subset is what the one before left out, and the law is symmetric.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> keep = rng.random((4000, 5)) < rng.random((4000, 1))
    >>> found = estimate(keep, keep @ np.arange(5.0), np.full(6, 1 / 6), shapley_law(5), ends=(0.0, 10.0))
    >>> found.value.round(2).tolist()
    [0.0, 1.0, 2.0, 3.0, 4.0]
    """
    if by == "msr-adjusted":
        return adjusted(keep, v, drawn, law, ends=ends, pairs=pairs)
    m, n = keep.shape
    size = keep.sum(axis=1)
    h = weights(n, size, drawn, law)
    use = (size > 0) & (size < n) if standardise else h > 0
    omega = per_size(law)
    Z = of_size(size, n, min(4, len(np.unique(size)) - 1))
    curve = curve_of(size, v, n, ends)
    common = mean_of(law, curve)
    X = keep[use] - size[use, None] / n
    u = v - curve[size]
    if by == "ridge":
        spread = scale(size[use], n, u[use]) if standardise else None
        # of one size, rows compete for places: jointly, coefficients are (n - 1) / n of differences
        factor = n / (n - 1) * float(omega.sum() if spread is None else omega @ spread(np.arange(n + 1)))
        u = u[use] if spread is None else u[use] / spread(size[use])
        w = h[use] if spread is None else np.ones(len(u))
        found = effects.ridge(X, u, Z[use], weights=w, errors=errors)
        value, stderr = found.coef * factor, np.full(n, np.nan) if found.stderr is None else found.stderr * factor
        shrinkage, h = float(found.alpha), w
    else:
        each = X * (h * u)[use, None]  # a training's share of every row's value, times m
        value = each.sum(axis=0) / m
        stderr = np.sqrt(np.maximum((each**2).sum(axis=0) / m - value**2, 0) / m)
        shrinkage = 0.0
    effective = float(h.sum() ** 2 / (h**2).sum()) if use.any() else 0.0
    return Estimate(common + value, stderr, effective, shrinkage)


def adjusted(
    keep: Bool[ndarray, "m n"],
    v: Float[ndarray, " m"],
    drawn: Float[ndarray, " n1"],
    law: Float[ndarray, " n"],
    *,
    ends: tuple[float, float],
    pairs: bool = False,
    folds: int = 10,
) -> Estimate:
    """Without bias, and with a standard error that counts everything: a regression's semivalues, and those of what it leaves.

        f(S)    = g(|S|) + sum_i beta_i (z_i - tau)         fitted to the subsets of the other folds, by ridge
        phi_i f = mean_of(law, g) + sum_s omega_s n / (n - 1) (beta_i - mean beta)
        phi_i   = mean over S of  phi_i f + [(z_i - tau) h_s + (a_s - b_s) / q_s] (v(S) - f(S))

    Of pairs S and what it leaves out the half differences are taken in place of v and f: effects of two rows together, of four, and so
    on cancel there, so that a game of pairs is exact from n pairs on.

    >>> rng = np.random.default_rng(0)
    >>> half = rng.random((60, 5)) < rng.random((60, 1))
    >>> keep = np.stack([half, ~half], 1).reshape(-1, 5)
    >>> both = adjusted(keep, keep[:, 0] * keep[:, 1] * 2.0, np.full(6, 1 / 6), shapley_law(5), ends=(0.0, 2.0), pairs=True)
    >>> abs(both.value.round(3)).tolist(), bool(both.stderr.max() < 1e-3)
    ([1.0, 1.0, 0.0, 0.0, 0.0], True)
    """
    keep, v = (keep[: len(v) // 2 * 2], v[: len(v) // 2 * 2]) if pairs else (keep, v)
    n, step = keep.shape[1], 2 if pairs else 1
    size = keep.sum(axis=1)
    s, X = size[::step], keep[::step] - size[::step, None] / n
    h, omega = weights(n, s, drawn, law), per_size(law)
    with np.errstate(divide="ignore", invalid="ignore"):
        common = np.where(drawn > 0, (np.r_[0, law] - np.r_[law, 0]) / drawn, 0.0)
    common[[0, n]] = 0  # what none and all are worth is known
    y = (v[::2] - v[1::2]) / 2 if pairs else v
    known = ((ends[0] - ends[1]) / 2, (ends[1] - ends[0]) / 2) if pairs else ends
    grown = of_size(np.arange(n + 1), n, min(4, len(np.unique(s)) - 1))  # how v grows with the size
    if pairs:  # of half differences, the odd ones
        grown = np.c_[np.arange(n + 1) / n - 0.5, grown[:, 1::2]]
    some, fold = (s > 0) & (s < n), np.arange(len(y)) % min(folds, len(y))
    each, alphas = np.zeros((len(y), n)), []
    for k in range(fold.max() + 1):
        fit, ask = some & (fold != k), fold == k
        found = effects.ridge(X[fit], y[fit], grown[s[fit]], errors=False)
        alphas.append(float(found.alpha))
        g, beta = grown @ found.fixed, found.coef
        g[[0, n]] = known
        own = mean_of(law, g) + n / (n - 1) * float(omega.sum()) * (beta - beta.mean())
        left = (y - g[s] - X @ beta)[ask, None]
        each[ask] = own + (X[ask] * h[ask, None] + common[s[ask], None]) * left
    value = each.mean(axis=0)
    stderr = np.sqrt(((each - value) ** 2).sum(axis=0) / max(len(y) - 1, 1) / len(y))
    effective = float(step * h.sum() ** 2 / (h**2).sum()) if h.any() else 0.0
    return Estimate(value, stderr, effective, float(np.mean(alphas)))


def of_size(size: Int[ndarray, " m"], n: int, degree: int = 4) -> Float[ndarray, "m k"]:
    """Columns that take up how v grows with the size: polynomials in the log-odds of its share of n."""
    odds = np.log((np.arange(n + 1) + 0.5) / (n - np.arange(n + 1) + 0.5))
    return np.polynomial.legendre.legvander(odds / odds[-1], degree)[size]


def scale(size: Int[ndarray, " m"], n: int, u: Float[ndarray, " m"]) -> Callable[[ndarray], ndarray]:
    """The standard deviation of u, of mean 0, as a smooth function of the size; beyond the sizes seen as at the last of them."""
    tiny = 1e-12 * float(u @ u) / len(u) + 1e-300
    degree = min(2, len(np.unique(size)) - 1)
    g = np.linalg.lstsq(of_size(size, n, degree), np.log(u**2 + tiny), rcond=None)[0]
    low, high = size.min(), size.max()

    def spread(s: ndarray) -> ndarray:
        return np.exp(of_size(np.clip(s, low, high), n, degree) @ g / 2)

    level = np.sqrt(np.mean(u**2) / np.mean(spread(size) ** 2))  # the mean of a logarithm is below the logarithm of the mean
    return lambda s: level * spread(s)


def curve_of(size: Int[ndarray, " m"], v: Float[ndarray, " m"], n: int, ends: tuple[float, float]) -> Float[ndarray, " n1"]:
    """(n + 1,) mean of v over subsets of each size: smooth, and for none and for all rows what they are worth."""
    Z = of_size(np.arange(n + 1), n, min(4, len(np.unique(size)) - 1))
    g = np.linalg.lstsq(Z[size], v, rcond=None)[0]
    curve = Z @ g
    curve[0], curve[-1] = ends
    return curve


def mean_of(law: Float[ndarray, " n"], curve: Float[ndarray, " n1"]) -> float:
    """Mean of all rows' semivalues: the first sum above."""
    return float(np.r_[0, law] @ curve - np.r_[law, 0] @ curve)
