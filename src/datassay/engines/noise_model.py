"""How many labels are wrong, and which: a noise model on out-of-sample predictions, with what can't be told from them.

L (n, K) says of each row what models that have not seen its label say of the K classes: leave-one-out predictions, or log-probabilities.
A temperature s makes probabilities of the right class of them, and noise makes the given label of the right class:

    p_i = softmax(s L_i)
    q_i = sum_c p_ic T_{c, y_i}             probability of the given label y_i;   T = (1 - e) I + e / (K - 1) (ones - I)

s and e maximise sum_i log q_i; where it predicts better out of sample, T is a matrix, class by class, with a prior towards one rate.

What overlaps can be read in two ways, and the predictions don't say which is right:

    overlap is ambiguity    the given label is right unless noise made it:  r_i = 1 - p_{i y_i} T_{y_i, y_i} / q_i
    overlap is noise        without noise, too, a label where classes overlap is drawn anew from p_i, and says nothing of the right
                            class:  R_i = 1 - (1 - r_i) p_{i y_i}

The number of wrong labels lies between sum r and sum R if errors lie anywhere between these two, as random errors and people's do. Both
bounds are widened by their sampling error: of e by the likelihood (profile, 95 %), of sum R by its variance. With a matrix the lower
bound, and each row's r as the least that is promised, are the lower of its own and those of one rate: a matrix may take classes that look
alike for classes that are confused. ``probability`` mixes the two,

    a r_i + (1 - a) R_i,    a = min(1, mean r / share of rows of which another class is predicted),

since errors that are made at random explain nearly all disagreement, and overlap leaves disagreement that they can't explain.

A row is flagged if ``probability`` is above .6 and another class is more probable than the given one by the factor 1 / (1 - D)^2, at most
4, where D is the share of rows of which another class is predicted: weak features predict other classes all the time. Both numbers were
chosen on the data sets of docs/what-it-says.md (benchmarks/promises.py), not derived.

Sources: Natarajan et al. (2013) and Patrini et al. (2017) for T; Guo et al. (2017) for s. The two bounds are this project's.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, no_type_check

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray
from scipy.optimize import brentq, minimize, minimize_scalar

MOST = 0.9  #: of e
LEAST = 2e-4  #: a rate that can't be told from none
DROP = (
    1.92  #: of the log likelihood at an end of a 95 % interval: half the quantile of chi-squared with one degree of freedom
)
SAMPLE = 20_000  #: rows on which the model is fitted, of more
LATTICE = 1000  #: rows, at least, on which a fit begins
PRIOR = 10.0  #: labels' worth, for each class, of the prior towards one rate
GAIN = 3.0  #: log likelihood out of sample that a matrix must win
LIKELY = 0.6  #: probability above which a row may be flagged
FACTOR = 4.0  #: of the odds, at most
RARE = 2.0  #: a label so much likelier than all others, were the classes as frequent, is not flagged
RULE = "most likely wrong, by a noise model on predictions without the row"  #: by which rows are flagged
TINY = 1e-6  #: a probability below this says no more than this
FARTHEST = 1e6  #: of a residual, in usual ones
FEW = 50  #: classes, at most, of a matrix
GAP = 0.1  #: between logarithms of s at which probabilities of more classes are made
Matrix = Float[ndarray, "n K"]
Codes = Int[ndarray, " n"]


class NoiseModel(NamedTuple):
    """The fitted model, of n rows."""

    probability: Float[ndarray, " n"]  #: that the given label is wrong, between the two readings
    ambiguity: Float[ndarray, " n"]  #: the same where all overlap is ambiguity
    noise: Float[ndarray, " n"]  #: the same where all overlap is noise
    clean: Matrix  #: p, of the right class
    temperature: float  #: s
    rate: float  #: mean of r
    transition: Float[ndarray, "K K"] | None  #: T where it was fitted class by class
    low: float  #: wrong labels at least
    high: float  #: wrong labels at most
    flagged: Bool[ndarray, " n"]  #: most likely wrong
    told: bool  #: the two bounds are so near to each other that the number is known

    def columns(self) -> dict[str, ndarray]:
        """For `Values.columns`."""
        return {
            "probability_wrong": self.probability,
            "probability_wrong_least": self.ambiguity,
            "probability_wrong_most": self.noise,
        }

    def wrong_labels(self) -> dict[str, Any]:
        """For ``stats``: numbers of rows."""
        return _counts(self.low, self.high, self.flagged, self.told, len(self.probability) * self.rate)


def _counts(low: float, high: float, flagged: ndarray, told: bool, random: float) -> dict[str, Any]:
    return {
        "low": int(np.floor(low)),
        "high": int(np.ceil(high)),
        "likely": int(flagged.sum()),
        "told": told,
        "random": round(random, 1),
    }


def fit(L: Matrix, codes: Codes, *, seed: int = 0) -> NoiseModel:
    """Fit the model to the given labels, in time n K.

    Parameters
    ----------
    L
        (n, K) Out-of-sample: the larger, the likelier is the class. What is not finite counts as the least that is.
    codes
        (n,) The given labels, 0 to K - 1.
    seed
        For the rows on which it is fitted, where there are more than 20,000.
    """
    n, K = L.shape
    L = np.asfortranarray(_finite(L))  # sums over few classes go column by column
    if K < 2 or n == 0:
        nothing = np.zeros(n)
        return NoiseModel(
            nothing, nothing, nothing, np.ones((n, K)), 1.0, 0.0, None, 0.0, float(n), np.zeros(n, bool), False
        )
    X, y = L, codes
    if n > SAMPLE:
        pick = np.sort(np.random.default_rng(seed).permutation(n)[:SAMPLE])
        X, y = np.asfortranarray(L[pick]), codes[pick]
    owns = _owns(X, y)
    s, e = one_rate(X, y, owns)
    fitted, T, uniform = s, None, _uniform(e, K)
    if 2 < K <= FEW and uneven(X, y, s, uniform) and won(X, y) > GAIN:
        fitted, T = class_rates(X, y, s, e)
    low = least_rate(X, y, s, uniform, owns)
    if (
        T is not None
    ):  # which may take classes that look alike for classes that are confused: the lower of the two bounds counts
        low = min(low, least_rate(X, y, fitted, T))
    p = softmax(L, fitted)
    r, R = readings(p, uniform if T is None else T, codes)
    spread = 1.96 * np.sqrt(np.sum(R * (1 - R)))
    least = r if T is None else np.minimum(r, readings(softmax(L, s), uniform, codes)[0])
    bottom, top = low * n, min(float(n), R.sum() + spread)
    other = np.mean(p.argmax(1) != codes)
    a = min(1.0, r.mean() / other) if other else 1.0
    probability = a * r + (1 - a) * R
    flagged = (probability > LIKELY) & (odds(p, codes) > min(FACTOR, 1 / max(1 - other, 1e-9) ** 2))
    flagged &= odds(p, codes, shares=np.maximum(np.bincount(codes, minlength=K), 1) / n) > 1 / RARE
    told = top - bottom <= 0.03 * n or (top - r.sum() <= 0.5 * r.sum() and r.sum() - bottom <= 0.5 * r.sum())
    return NoiseModel(
        probability, least, R, p, fitted, float(r.mean()), T, min(bottom, least.sum()), top, flagged, bool(told)
    )


def of_probabilities(p: Matrix, codes: Codes, *, votes: int | None = None) -> NoiseModel:
    """Fit the model to out-of-sample probabilities, or to shares of so many votes at least: half a vote is added to each class."""
    K = p.shape[1]
    smooth = np.maximum(p, TINY) if votes is None else (p * votes + 0.5) / (votes + 0.5 * K)
    return fit(np.log(smooth), codes)


def softmax(L: Matrix, s: float) -> Matrix:
    """(n, K) softmax(s L), row by row."""
    p = _raised(_below_most(L), s)
    p /= p.sum(1, keepdims=True)
    return p


def _below_most(L: Matrix) -> Matrix:
    return L - L.max(1, keepdims=True)


@no_type_check  # this and the two others are called hundreds of times in one fit: the tests' look at shapes would take longer than all
def _raised(below: Matrix, s: float) -> Matrix:
    """exp(s L) of L less its rows' maxima, which need not be taken anew for each s."""
    p = below * s
    np.exp(p, out=p)
    return p


@no_type_check
def _own(below: Matrix, s: float, own: tuple[ndarray, ndarray]) -> Float[ndarray, " n"]:
    """(n,) softmax of the given classes alone."""
    p = _raised(below, s)
    mine: ndarray = p[own] / p.sum(1)
    return mine


class _Owns:
    """`_own` of rows of many classes at whatever s: its logarithm at s = exp(GAP j), which costs, and polynomials of degree 5 between."""

    def __init__(self, below: Matrix, own: tuple[ndarray, ndarray]) -> None:
        self.below, self.own = below.astype(np.float32), own
        self.known: dict[int, ndarray] = {}

    def at(self, x: float) -> tuple[Float[ndarray, " n"], Float[ndarray, " n"]]:
        """At s = exp(x); and the slope of its logarithm by x."""
        first = int(np.floor(x / GAP)) - 2
        for j in range(first, first + 6):
            if j not in self.known:
                self.known[j] = np.log(np.maximum(_own(self.below, float(np.exp(GAP * j)), self.own), 1e-30))
        t, powers = x / GAP - first, np.arange(6)
        values = np.stack([self.known[j] for j in range(first, first + 6)])
        slope = powers[1:] * t ** powers[:-1] / GAP
        return np.exp(t**powers @ _POLYNOMIAL @ values), slope @ _POLYNOMIAL[1:] @ values


def _owns(L: Matrix, codes: Codes) -> _Owns | None:
    return _Owns(_below_most(L), (np.arange(len(L)), codes)) if L.shape[1] > FEW else None


_POLYNOMIAL = np.linalg.inv(np.vander(np.arange(6.0), increasing=True))  #: coefficients from values at 0, 1, ..., 5


def readings(p: Matrix, T: ndarray, codes: Codes) -> tuple[ndarray, ndarray]:
    """r and R (n,): the probability that a label is wrong, where overlap is ambiguity and where it is noise."""
    own = p[np.arange(len(p)), codes]
    q = np.maximum(_given(p, T, codes), 1e-300)
    r = np.clip(1 - own * T[codes, codes] / q, 0.0, 1.0)
    return r, 1 - (1 - r) * own


def odds(p: Matrix, codes: Codes, shares: Float[ndarray, " K"] | None = None) -> Float[ndarray, " n"]:
    """(n,) How many times likelier the best other class is than the given one; with the classes' ``shares``, were all as frequent.

    >>> odds(np.array([[0.8, 0.2]]), np.array([1])), odds(np.array([[0.8, 0.2]]), np.array([1]), np.array([0.9, 0.1])).round(3)
    (array([4.]), array([0.444]))
    """
    rows = np.arange(len(p))
    weights = np.ones(p.shape[1]) if shares is None else 1 / shares
    own, others = p[rows, codes] * weights[codes], p * weights
    others[rows, codes] = 0.0
    return others.max(1) / np.maximum(own, 1e-300)


def one_rate(L: Matrix, codes: Codes, owns: _Owns | None = None) -> tuple[float, float]:
    """s and e of the greatest likelihood: from the best point of a lattice."""
    K = L.shape[1]
    own, below = (np.arange(len(L)), codes), _below_most(L)
    owns = owns or _owns(L, codes)

    def minus(x: ndarray) -> tuple[float, ndarray]:
        s, e = np.exp(x[0]), MOST / (1 + np.exp(-x[1]))
        if owns is None:
            p = _raised(below, s)
            p /= p.sum(1, keepdims=True)
            mine = p[own]
            slope, unit = L[own] - (p * L).sum(1), s
        else:
            mine, slope = owns.at(float(x[0]))
            unit = 1.0
        q = np.maximum((1 - e) * mine + e * (1 - mine) / (K - 1), 1e-300)
        by_s = (1 - e - e / (K - 1)) * mine * slope * unit
        by_e = ((1 - mine) / (K - 1) - mine) * e * (1 - e / MOST)
        return -float(np.log(q).sum()), -np.array([(by_s / q).sum(), (by_e / q).sum()])

    some = slice(None, None, max(1, len(L) // LATTICE))
    points = _lattice(L[some], (np.arange(len(codes[some])), codes[some]))
    s, e, _ = max(points, key=lambda top: top[2])  # there may be two tops, and far from both the slope leads nowhere
    near = [(np.log(s) - 0.5, np.log(s) + 0.5), (-9, 7)]
    found = minimize(minus, [np.log(s), np.log(e / (MOST - e))], jac=True, method="L-BFGS-B", bounds=near)
    return float(np.exp(found.x[0])), float(MOST / (1 + np.exp(-found.x[1])))


def _lattice(L: Matrix, own: tuple[ndarray, ndarray]) -> Iterator[tuple[float, float, float]]:
    """s, e and the log likelihood, all over."""
    K, below = L.shape[1], _below_most(L)
    for s in np.exp(np.arange(-3, 5, 0.5)):
        mine = _own(below, float(s), own)
        for e in (LEAST, 0.01, 0.03, 0.1, 0.2, 0.4, 0.6):
            yield float(s), e, float(np.log(np.maximum((1 - e) * mine + e * (1 - mine) / (K - 1), 1e-300)).sum())


def class_rates(L: Matrix, codes: Codes, s: float, e: float, *, most: int = 60) -> tuple[float, ndarray]:
    """s and T (K, K), T[c, j] the probability of label j where class c is right, by expectation and maximisation.

    Each row of T has a prior of `PRIOR` labels towards the one rate that the whole T comes to.
    """
    n, K = L.shape
    hot = np.zeros((n, K))
    hot[np.arange(n), codes] = 1
    T, last = _uniform(max(e, 0.01), K), -np.inf
    for _ in range(most):
        s, top = _temperature(L, codes, T, s)
        p = softmax(L, s)
        for _ in range(4):  # p stays, which is what costs
            right = p * T[:, codes].T
            right /= np.maximum(right.sum(1, keepdims=True), 1e-300)
            counts = right.T @ hot
            counts += PRIOR * _uniform(1 - np.trace(counts) / n, K)
            T = counts / counts.sum(1, keepdims=True)
        if top - last < 0.02:
            break
        last = top
    return s, T


def uneven(L: Matrix, codes: Codes, s: float, T: ndarray) -> bool:
    """Whether errors prefer some pairs of classes, as the one-rate model sees them: a look that spares most data the matrix.

    The expected number of errors of each pair, by that model, has a variance about as large; far more spread than that is none of chance.
    """
    p = softmax(L, s)
    right = p * T[:, codes].T
    right /= np.maximum(right.sum(1, keepdims=True), 1e-300)
    K = L.shape[1]
    counts = np.zeros((K, K))
    np.add.at(counts.T, codes, right)
    off = counts[~np.eye(K, dtype=bool)]
    return bool(off.sum() > 1 and np.sum((off - off.mean()) ** 2) / off.mean() > 0.5 * len(off))


def won(L: Matrix, codes: Codes, *, folds: int = 3) -> float:
    """Log likelihood that T class by class wins out of sample: fitted on the other folds, summed over the rows."""
    which, gain = np.random.default_rng(0).permutation(len(L)) % folds, 0.0
    for fold in range(folds):
        rest, here = which != fold, which == fold
        X, X_here = np.asfortranarray(L[rest]), np.asfortranarray(L[here])
        s, e = one_rate(X, codes[rest])
        plain = _given(softmax(X_here, s), _uniform(e, L.shape[1]), codes[here])
        s, T = class_rates(X, codes[rest], s, e, most=30)
        by_class = _given(softmax(X_here, s), T, codes[here])
        more = float(np.sum(np.log(np.maximum(by_class, 1e-300)) - np.log(np.maximum(plain, 1e-300))))
        gain += more
        if more < -GAIN:  # the other folds would have to win it back
            break
    return gain


def least_rate(L: Matrix, codes: Codes, s: float, T: ndarray, owns: _Owns | None = None) -> float:
    """Lower end of the rate's 95 % interval, by the profile likelihood of T(x) = I + x (T - I): s is fitted anew for each x."""
    eye = np.eye(len(T))
    rate = float(np.mean(1 - np.diag(T)[codes]))
    if rate < LEAST:
        return 0.0
    owns = owns or _owns(L, codes)
    best, top = _temperature(L, codes, T, s, owns=owns)

    def drop(x: float) -> float:
        return top - _temperature(L, codes, eye + x * (T - eye), best, reach=0.15, owns=owns)[1] - DROP

    least = 1e-4 / max(rate, 1e-4)  # a rate that can't be told from none
    return 0.0 if drop(least) <= 0 else rate * float(brentq(drop, least, 1.0, xtol=5e-3))


def _temperature(
    L: Matrix, codes: Codes, T: ndarray, s: float, reach: float = 0.4, owns: _Owns | None = None
) -> tuple[float, float]:
    """The s near this one of the greatest likelihood with this T, and that log likelihood: by Brent's method, going on from an end."""
    off = T[~np.eye(len(T), dtype=bool)]
    one, rows = np.ptp(off) == 0 == np.ptp(np.diag(T)), np.arange(len(L))  # of one rate only the given class counts
    weights, below = None if one else T[:, codes].T, _below_most(L)

    @no_type_check
    def minus(x: float) -> float:
        if weights is None:
            mine = _own(below, float(np.exp(x)), (rows, codes)) if owns is None else owns.at(float(x))[0]
            q = off[0] + (T[0, 0] - off[0]) * mine
        else:
            p = _raised(below, float(np.exp(x)))
            p /= p.sum(1, keepdims=True)
            q = (p * weights).sum(1)
        return -float(np.log(np.maximum(q, 1e-300)).sum())

    x = float(np.log(s))
    for _ in range(12):
        low, high = max(x - reach, -4.0), min(x + reach, 6.0)
        found = minimize_scalar(minus, bounds=(low, high), method="bounded", options={"xatol": 4e-3})
        x = float(found.x)
        if low + 0.01 < x < high - 0.01 or x < -3.98 or x > 5.98:
            break
    return float(np.exp(x)), -float(found.fun)


def _given(p: Matrix, T: ndarray, codes: Codes) -> ndarray:
    """(n,) the probability of the given label."""
    q: ndarray = (p * T[:, codes].T).sum(1)
    return q


def _uniform(e: float, K: int) -> ndarray:
    """T of one rate."""
    T = np.full((K, K), e / (K - 1))
    np.fill_diagonal(T, 1 - e)
    return T


def _finite(L: Matrix) -> Matrix:
    L = np.asarray(L, np.float64)
    if np.isfinite(L).all():
        return L
    there = L[np.isfinite(L)]
    return np.where(np.isfinite(L), L, there.min() if len(there) else 0.0)


class Outliers(NamedTuple):
    """Of n residuals: which are too large for the rest."""

    probability: Float[ndarray, " n"]  #: that the target is wrong
    random: float  #: expected number of wrong targets, where the mixture is right
    low: float  #: wrong targets at least
    high: float  #: wrong targets at most
    flagged: Bool[ndarray, " n"]
    told: bool

    def columns(self) -> dict[str, ndarray]:
        """For `Values.columns`."""
        return {"probability_wrong": self.probability}

    def wrong_labels(self) -> dict[str, Any]:
        """For ``stats``: numbers of rows."""
        return _counts(self.low, self.high, self.flagged, self.told, self.random)


def outliers(residuals: Float[ndarray, " n"]) -> Outliers:
    """Residuals of predictions without the row, as a mixture of two normal distributions about their median.

    (1 - e) N(0, s) + e N(0, S) with S of 2 s at least; probability: of the wide one. Low: by the likelihood of e (95 %), but 0 where a
    Student distribution, whose tails are no errors, predicts as well (by the Bayesian information criterion). High: by the same likelihood,
    or the rows beyond three s where these are more.

    >>> rng = np.random.default_rng(0)
    >>> found = outliers(np.r_[rng.normal(size=950), 8 * rng.normal(size=50)])
    >>> found.low < 50 < found.high, 35 < found.random < 65
    (True, True)
    """
    from scipy.stats import t as student  # a quarter of a second that classes don't need

    n = len(residuals)
    there = np.isfinite(residuals)
    r = np.asarray(residuals, np.float64) - (np.median(residuals[there]) if there.any() else 0.0)
    usual = 1.4826 * np.median(np.abs(r[there])) if there.any() else 0.0
    if not 1e-150 < usual < 1e150:  # half of the rows are predicted exactly, or nothing is
        none = np.zeros(n)
        return Outliers(none, 0.0, 0.0, float(n), np.zeros(n, bool), False)
    x = np.clip(np.nan_to_num(r, nan=0.0, posinf=1e300, neginf=-1e300) / usual, -FARTHEST, FARTHEST)

    def fitted(e: float | None) -> tuple[float, float, float, float]:
        """e, s, S and the log likelihood; with e held where it is given."""
        best = (0.0, 1.0, 2.0, -np.inf)
        for start in (3.0, 10.0):
            share, s, S, last = 0.1 if e is None else e, 1.0, start, -np.inf
            for _ in range(300):
                narrow, wide = (1 - share) * _normal(x, s), share * _normal(x, S)
                top = float(np.log(np.maximum(narrow + wide, 1e-300)).sum())
                w = wide / np.maximum(narrow + wide, 1e-300)
                if top - last < 1e-4:
                    break
                share, last = (float(w.mean()) if e is None else e), top
                s = float(np.sqrt(((1 - w) * x**2).sum() / max((1 - w).sum(), 1e-12)))
                S = max(2 * s, float(np.sqrt((w * x**2).sum() / max(w.sum(), 1e-12))))
            best = max(best, (share, s, S, last), key=lambda found: found[3])
        return best

    e, s, S, top = fitted(None)
    wide, narrow = e * _normal(x, S), (1 - e) * _normal(x, s)
    probability = wide / np.maximum(wide + narrow, 1e-300)
    df, _, scale = student.fit(x, floc=0.0)
    heavy = float(student.logpdf(x, df, 0.0, scale).sum()) >= top - 0.5 * np.log(max(n, 2))

    def drop(share: float) -> float:
        return top - fitted(share)[3] - DROP

    low = 0.0 if heavy or e < 1e-3 or drop(1e-4) <= 0 else brentq(drop, 1e-4, e, xtol=1e-3)
    high = 0.9 if drop(0.9) <= 0 else brentq(drop, e, 0.9, xtol=1e-3)
    beyond = float(np.sum(np.abs(x) > 3))
    bottom, most = min(low * n, probability.sum()), max(high * n, beyond)
    flagged = (probability > LIKELY) & (np.abs(x) > 2)
    told = most - bottom <= 0.03 * n or (most <= 1.5 * probability.sum() and bottom >= 0.5 * probability.sum())
    return Outliers(probability, float(probability.sum()), bottom, most, flagged, bool(told))


def _normal(x: ndarray, scale: float) -> ndarray:
    return np.exp(-0.5 * (x / scale) ** 2) / (scale * np.sqrt(2 * np.pi))
