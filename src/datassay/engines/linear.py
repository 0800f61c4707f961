"""Many linear models on weighted subsets of the same rows: logistic regressions and ridge regressions, exactly and fast.

For each row of weights w (counts, or zeros and ones), p_i = softmax(x_i'W + v):

    logistic   min_{W, v}  C sum_i w_i (-log p_i[y_i]) + 1/2 |W|^2          C / 2 in place of C where w leaves two classes
    ridge      min_{b, v}  sum_i w_i (x_i'b + v - y_i)^2 + alpha |b|^2

They are what scikit-learn's LogisticRegression and Ridge converge to on the rows with weight. Its logistic regression of two classes
has one vector b; softmax has W = (-b/2, b/2), of which |W|^2 = |b|^2 / 2, whence C / 2.

What makes many logistic regressions cheap is that they resemble each other. On a random subset with the share s of the weight, the
expected objective is that of all rows with s C; its minimiser is where the models of about this share begin, and the inverse of its
Hessian, P, is the metric in which they descend (L-BFGS with P in the place of a multiple of the identity). On scikit-learn's digits
that takes a fifth of the steps of L-BFGS from zero, and fewer the more exact it has to be.

Models advance side by side, for Python's sake, and no number of one enters another: sums over rows and parameters are one call of BLAS
or numpy for each model (P is applied to several in one call, of one shape, if all places in it give the same bits). So, with BLAS on one
thread, a model has the same bits in any company.
"""

from __future__ import annotations

import warnings
from contextlib import suppress
from copy import copy
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int, Shaped
from numpy import ndarray
from scipy.linalg import LinAlgError, cho_solve, cholesky, qr
from scipy.linalg.lapack import dpotri

DENSE = 1024  # parameters up to which P is the inverse of the whole Hessian; of more, of a block for each class
FEW = 128  # likewise, where few models are asked for
MANY = 32  # classes beyond which rows are gone through a cacheful at a time, and models begin near a minimum, not at it
CACHE = 2**16  # numbers of that
BLOCK = 2048  # columns up to which that is done; of more, P is diagonal
SIDE = 2**23  # bytes of rows and steps that models side by side may hold: more saves no more of Python's time
MEMORY = 10  # steps that L-BFGS remembers
SHARED = 0.9  # share of the rows from which weights of zero cost less than a copy of the others
SAMPLE = 8192  # rows from which P is computed
LANES = 16  # models that are multiplied by P at once
NARROW = 128  # columns up to which one is, where P has a block for each of many classes
SINGLE = 64 * 1.2e-7  # times the root of the columns: length of the gradient down to which single precision does
UNSURE = 0.005  # share of probabilities that all of many classes have alike, where P is made
MIXED = 1e-7  # length of the gradient down to which products in double precision, and the rest in single, do
LONG = 100  # steps after which double precision may do better
TRIES = 30  # of a shorter step


class Logistic:
    """Rows, made ready for logistic regressions on many weightings of them.

    Parameters
    ----------
    X
        (n, d) rows, finite.
    y
        (n,) codes of their classes, 0 to classes - 1; a class may have no row.
    classes
        How many there are, at least 1.
    C
        Weight of the losses against the penalty 1/2 |W|^2 that spares the intercepts; above 0.
    few
        A few models are asked for: P is whole where it is small, else a block for each class, or where these are large one for all
        classes: more steps, and far less before.
    rough
        A few models, to a coarse tolerance, from a start that is given: there P is one block, as it is where the first begins.

    Examples
    --------
    >>> model = Logistic(np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([0, 0, 1, 1]), 3)
    >>> W = model(np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 0, 0]]))
    >>> np.exp(log_probabilities(np.array([[1.5]]), W)).round(2)
    array([[[0.5, 0.5, 0. ]],
           [[0.5, 0.5, 0. ]],
           [[1. , 0. , 0. ]]])
    """

    def __init__(
        self,
        X: Float[ndarray, "n d"],
        y: Int[ndarray, " n"],
        classes: int,
        *,
        C: float = 1.0,
        few: bool = False,
        rough: bool = False,
    ) -> None:
        if not 0 < C < np.inf:
            raise ValueError(f"C has to be a number above 0, not {C}.")
        if len(y) and not 0 <= y.min() <= y.max() < classes:
            raise ValueError(f"codes of {classes} classes are 0 to {classes - 1}; these go from {y.min()} to {y.max()}.")
        self.y, self.classes = np.asarray(y, np.int64), classes
        # An intercept that costs nothing lets rows be moved, and the length of all can be one if C follows: tol then means the
        # same in any unit. More columns than rows are turned into the space of the rows, where the minimiser lies.
        X = np.asarray(X, np.float64)
        self.mean = X.mean(0) if len(X) else np.zeros(X.shape[1])
        Z = X - self.mean
        self.unit = float(np.sqrt(np.mean(Z * Z))) if Z.size else 1.0
        self.unit = self.unit or 1.0
        Z /= self.unit
        self.turn = None
        if 0 < len(Z) < Z.shape[1]:
            self.turn, R = qr(Z.T, mode="economic")
            Z = R.T
        self.X = np.vstack([Z.T, np.ones(len(Z))])  # (D, n): columns, then the intercept's ones
        self.X32, self.single = self.X.astype(np.float32), SINGLE * np.sqrt(len(self.X))
        self.ridge, self.few, self.rough = 1 / (C * self.unit**2), few, rough
        self.levels: dict[int, _Level] = {}

    @property
    def penalty(self) -> float:
        """c, where the minimised is the sum of all rows' losses and c / 2 |W|^2.

        >>> Logistic(np.eye(3), np.arange(3), 3, C=0.5).penalty.__round__(9)
        2.0
        """
        return (2 if self.classes == 2 else 1) * self.ridge * self.unit**2

    def penalised(self, C: float) -> Logistic:
        """The same rows with another penalty.

        >>> model = Logistic(np.array([[-1.0], [1.0]]), np.array([0, 1]), 2)
        >>> bool(abs(model.penalised(9.0)(np.ones((1, 2)))).max() > abs(model(np.ones((1, 2)))).max())
        True
        """
        other = copy(self)
        other.ridge, other.levels = 1 / (C * self.unit**2), {}
        return other

    def __call__(
        self,
        weights: Shaped[ndarray, "b n"],
        *,
        tol: float = 1e-4,
        start: Float[ndarray, "d1 classes"] | Float[ndarray, "b d1 classes"] | None = None,
        max_iter: int = 1000,
    ) -> Float[ndarray, "b d1 classes"]:
        """The b minimisers, and their intercepts in the last row; the same bits for a weighting, whatever the others are.

        A class without weight has coefficients 0 and the intercept minus infinity, so that its probability is 0. Where one class
        is left its probability is 1, and where nothing has weight all classes have the same.

        Parameters
        ----------
        weights
            (b, n) how often each row counts, not below 0.
        tol
            The gradient's length at most: of the mean loss of a unit of weight (with penalty), rows centred and of mean square 1.
            Where it is long enough, float32 tells it, to some percent: from 6e-5 on for 64 columns, rising with their root.
            scikit-learn's default stops between 3e-4 and 6e-4 on subsets of its digits.
        start
            Where all begin, or each of them; None: each at the minimiser of its share of all rows.
        max_iter
            Steps, after which a model stays where it is, with a warning.
        """
        _check(weights)
        W = np.zeros((len(weights), self.classes, len(self.X)))
        missing = np.zeros((len(weights), self.classes), bool)
        begin = None if start is None else [self._inside(own) for own in (start if start.ndim == 3 else start[None])]
        X = self.X32 if tol >= self.single else self.X
        going, steps = [], max_iter
        for i in np.argsort(weights.sum(1), kind="stable"):  # neighbours have P in common, which stays in the cache
            total = np.bincount(self.y, weights[i], minlength=self.classes)
            missing[i] = total == 0 if total.any() else False
            if self.rough and begin is not None:
                self._look(float(weights[i].sum()), begin[i % len(begin)])
            if np.count_nonzero(total) > 1:
                W[i] = self._level(float(weights[i].sum())).W if begin is None else begin[i % len(begin)]
                going.append(int(i))
        if X is self.X32:
            going = self._advance(X, going, weights, missing, W, tol, min(max_iter, LONG))
            max_iter -= min(max_iter, LONG)
        left = len(self._advance(self.X, going, weights, missing, W, tol, max_iter))
        if left:
            warnings.warn(
                f"{left} of {len(W)} logistic regressions have a gradient above tol={tol:g} after {steps} steps or at the"
                " end of float64: raise max_iter or tol, or scale the columns.",
                RuntimeWarning,
                stacklevel=2,
            )
        return self._outside(W, missing)

    def _advance(
        self, X: ndarray, models: list[int], weights: ndarray, missing: ndarray, W: ndarray, tol: float, max_iter: int
    ) -> list[int]:
        """Bring W (b, c, D) of some models to its minimum, in the precision of X; those that have not arrived."""
        left: list[int] = []
        side: dict[int, _Problem] = {}
        size = 0
        for last, i in enumerate(models, 1 - len(models)):
            side[i] = self._problem(X, weights[i], missing[i], W[i], tol)
            own = 0 if side[i].X is X else side[i].X.nbytes
            size += own + 2 * MEMORY * W[i].nbytes + 2 * self.classes * side[i].w.nbytes
            if size > SIDE or last == 0:
                places = list(side)
                W[places], arrived = _minimise(list(side.values()), max_iter)
                left += [place for place, there in zip(places, arrived, strict=True) if not there]
                side, size = {}, 0
        return left

    def _problem(self, X: ndarray, w: ndarray, missing: ndarray, W: ndarray, tol: float) -> _Problem:
        """The problem of weights w (n,) that leave two classes or more, from W (c, D) on, in the precision of X."""
        total = float(w.sum())
        P, y, rows = self._level(total).P, self.y, np.flatnonzero(w)
        if len(rows) < SHARED * len(w):
            X, y, w = np.take(X, rows, axis=1), y[rows], w[rows]
        W = W.copy()
        W[missing] = 0
        W[~missing] -= W[~missing].mean(0)
        two = 2 if np.count_nonzero(~missing) == 2 else 1
        w = w.astype(X.dtype)
        T = _targets(X, y, w, self.classes)
        return _Problem(X, w, T, two * self.ridge, missing, W, P, tol * total, self._mixed(tol))

    def _mixed(self, tol: float) -> bool:
        return self.classes > MANY and tol >= MIXED

    def _share(self, total: float) -> int:
        return int(np.clip(np.rint(np.log2(total / len(self.y))), -8, 8))

    def _look(self, total: float, W: ndarray) -> None:
        """A metric for models with this sum of weights as it is where one of them begins: one block for all classes."""
        j = self._share(total)
        if total > 0 and j not in self.levels:
            missing = np.bincount(self.y, minlength=self.classes) == 0
            p, w = _softmax(W, self.X, missing), np.full(len(self.y), 2.0**j)
            self.levels[j] = _Level(W, _metric(self.X, p, w, self.ridge, whole=False, one=True))

    def _level(self, total: float) -> _Level:
        """Where models with this sum of weights begin, and the metric in which they descend: those of a share of 2^j."""
        j = self._share(total)
        if j not in self.levels:
            w = np.full(len(self.y), 2.0**j)
            missing = np.bincount(self.y, minlength=self.classes) == 0
            ridge = self.ridge * (2 if np.count_nonzero(~missing) == 2 else 1)
            T = _targets(self.X, self.y, w, self.classes)

            def minimum(W: ndarray, P: _Metric, tol: float) -> ndarray:
                X = self.X32 if self.classes > MANY and tol >= self.single else self.X
                problem = _Problem(X, w.astype(X.dtype), T, ridge, missing, W, P, tol * float(w.sum()), self._mixed(tol))
                return _minimise([problem], 1000)[0][0]

            if j == 0:  # from nothing; at zero the blocks of all classes that have rows are the same
                W = np.zeros((self.classes, len(self.X)))
                W = minimum(W, _metric(self.X, _softmax(W, self.X, missing), w, ridge, whole=False, one=True), 1e-3)
            else:
                W = minimum(*self._level(float(len(self.y))), 1e-4)
            p = _softmax(W, self.X, missing)
            if self.classes > MANY:  # rows that it has seen look certain, and then bend nothing; without them it is less so
                p[~missing] = (1 - UNSURE) * p[~missing] + UNSURE / np.count_nonzero(~missing)
            P = _metric(self.X, p, w, ridge, whole=not self.few or W.size <= FEW, one=self.few and W.size > DENSE)
            if j == 0:
                W = minimum(W, P, 1e-9 if self.classes <= MANY else 1e-4)
            self.levels[j] = _Level(W, P)
        return self.levels[j]

    def _inside(self, W: ndarray) -> ndarray:
        """Coefficients (d + 1, c) of the caller's columns as (c, D) of ours; of classes without weight, 0."""
        V = np.where(np.isfinite(W[-1]), W, 0.0)
        own = V[:-1] * self.unit
        if self.turn is not None:
            own = self.turn.T @ own
        return np.vstack([own, V[-1] + self.mean @ V[:-1]]).T

    def _outside(self, W: ndarray, missing: ndarray) -> ndarray:
        """Coefficients (b, c, D) of our columns as (b, d + 1, c) of the caller's."""
        out = np.empty((len(W), len(self.mean) + 1, self.classes))
        for V, own, gone in zip(out, W, missing, strict=True):
            turned = own[:, :-1].T if self.turn is None else self.turn @ own[:, :-1].T
            V[:-1] = turned / self.unit
            V[-1] = own[:, -1] - self.mean @ V[:-1]
            V[-1] -= V[-1, ~gone].mean()  # the same for all classes, so free: as scikit-learn's, their sum is 0
            V[-1, gone] = -np.inf
        return out


def logistic(
    X: Float[ndarray, "n d"],
    y: Int[ndarray, " n"],
    weights: Shaped[ndarray, "b n"],
    classes: int,
    *,
    C: float = 1.0,
    tol: float = 1e-4,
    start: Float[ndarray, "d+1 classes"] | None = None,
    max_iter: int = 1000,
) -> Float[ndarray, "b d+1 classes"]:
    """`Logistic` for rows that are used once.

    Examples
    --------
    >>> logistic(np.array([[-1.0], [1.0]]), np.array([0, 1]), np.array([[1, 1], [2, 2]]), 2).round(3).tolist()
    [[[-0.337, 0.337], [0.0, 0.0]], [[-0.521, 0.521], [0.0, 0.0]]]
    """
    return Logistic(X, y, classes, C=C)(weights, tol=tol, start=start, max_iter=max_iter)


def log_probabilities(Q: Float[ndarray, "q d"], W: Float[ndarray, "b d+1 classes"]) -> Float[ndarray, "b q classes"]:
    """What b logistic regressions say of the rows of Q; minus infinity for classes that had no weight.

    Examples
    --------
    >>> W = np.array([[[1.0, -1.0, 0.0], [0.0, 0.0, -np.inf]]])
    >>> log_probabilities(np.array([[0.0], [500.0]]), W).round(3).tolist()
    [[[-0.693, -0.693, -inf], [0.0, -1000.0, -inf]]]
    """
    b, _, c = W.shape
    columns = np.ascontiguousarray(Q.T)
    said = np.empty((b, c, len(Q)))  # classes first: sums over them are then sums of long rows
    step = len(Q) if c <= MANY else max(16, CACHE // c)
    for own, V in zip(said, W, strict=True):
        slopes = np.ascontiguousarray(V[:-1].T)
        for start in range(0, len(Q), step):
            Z = np.matmul(slopes, columns[:, start : start + step])
            Z += V[-1][:, None]
            Z -= Z.max(0)
            Z -= np.log(np.exp(Z if c <= MANY else Z.astype(np.float32)).sum(0, dtype=np.float64))
            own[:, start : start + step] = Z
    return said.transpose(0, 2, 1)


def ridge(
    X: Float[ndarray, "n d"], y: Float[ndarray, " n"], weights: Shaped[ndarray, "b n"], *, alpha: float
) -> Float[ndarray, "b d+1"]:
    """Ridge regressions in closed form, the intercept last; the same bits for a weighting, whatever the others are.

    Where nothing has weight all coefficients are 0 and so is the intercept. With alpha = 0, or where rounding leaves no other
    choice, the coefficients are the shortest of those that minimise the sum.

    Parameters
    ----------
    X, y
        Rows and what is to be predicted of them.
    weights
        (b, n) how often each row counts, not below 0.
    alpha
        Of the penalty alpha |b|^2 that spares the intercept; not below 0.

    Examples
    --------
    >>> X, y = np.array([[0.0], [1.0], [2.0]]), np.array([1.0, 3.0, 5.0])
    >>> ridge(X, y, np.array([[1, 1, 1], [1, 2, 0], [0, 0, 0]]), alpha=0.0).round(6).tolist()
    [[2.0, 1.0], [2.0, 1.0], [0.0, 0.0]]
    """
    if not 0 <= alpha < np.inf:
        raise ValueError(f"alpha has to be a number from 0 on, not {alpha}.")
    _check(weights)
    X, y, turn = np.asarray(X, np.float64), np.asarray(y, np.float64), None
    if 0 < len(X) < X.shape[1]:  # the shortest coefficients lie in the space of the rows
        turn, R = qr(X.T, mode="economic")
        X = R.T
    W = np.zeros((len(weights), X.shape[1] + 1))
    for b, w in zip(W, weights, strict=True):
        rows = np.flatnonzero(w)
        if len(rows) == 0:
            continue
        share = w[rows] / w[rows].sum()
        A, r, root = X[rows], y[rows], np.sqrt(w[rows].astype(np.float64))
        mean, middle = share @ A, share @ r
        A = (A - mean) * root[:, None]
        b[:-1] = _shortest(A, (r - middle) * root, alpha)
        b[-1] = middle - mean @ b[:-1]
    return W if turn is None else np.hstack([_each(W[:, :-1], turn), W[:, -1:]])


def predictions(Q: Float[ndarray, "q d"], W: Float[ndarray, "b d+1"]) -> Float[ndarray, "b q"]:
    """What b ridge regressions predict of the rows of Q.

    Examples
    --------
    >>> predictions(np.array([[0.0], [10.0]]), np.array([[2.0, 1.0]]))
    array([[ 1., 21.]])
    """
    return _each(W[:, :-1], Q) + W[:, -1:]


def _check(weights: ndarray) -> None:
    if weights.size and not (weights.min() >= 0 and np.isfinite(weights.max())):
        raise ValueError(f"weights have to be from 0 on and finite; these go from {weights.min()} to {weights.max()}.")


class _Metric(NamedTuple):
    """P: the inverse of a Hessian (1, N, N), of a block of it for each class (c, D, D) or for all (1, D, D), or of its diagonal (c, D)."""

    P: ndarray
    lanes: int  #: models that are multiplied at once

    def lower(self, G: ndarray) -> ndarray:
        """P G for G (b, c, D)."""
        if self.P.ndim == 2:
            return self.P * G
        if len(self.P) == 1 < G.shape[1] and self.P.shape[1] == G.shape[2]:  # one block for all classes
            if G.shape[1] > MANY:
                return np.matmul(
                    G.astype(self.P.dtype, copy=False), self.P[0]
                )  # classes are lanes enough, and always as many
            return self.lower(G.reshape(-1, 1, G.shape[2])).reshape(G.shape)
        H = np.empty_like(G)
        for start in range(0, len(G), self.lanes):
            g = G[start : start + self.lanes]
            wide = np.zeros((len(self.P), self.lanes, self.P.shape[1]), self.P.dtype)  # always as wide, for the same bits
            wide[:, : len(g)] = g.reshape(len(g), len(self.P), -1).transpose(1, 0, 2)
            H[start : start + self.lanes] = np.matmul(wide, self.P)[:, : len(g)].transpose(1, 0, 2).reshape(g.shape)
        return H


class _Level(NamedTuple):
    W: ndarray  #: (c, D)
    P: _Metric


class _Problem(NamedTuple):
    """What one logistic regression is made of; float32 or float64 is the precision in which its rows are gone through."""

    X: ndarray  #: (D, m) rows with weight as columns, ones last
    w: ndarray  #: (m,)
    T: ndarray  #: (c, D) sums of the rows of each class, w times each
    ridge: float
    missing: ndarray  #: (c,) classes without weight
    start: ndarray  #: (c, D)
    P: _Metric
    limit: float  #: of the gradient's length
    mixed: bool  #: products in double precision, the rest in single


def _targets(X: ndarray, y: ndarray, w: ndarray, classes: int) -> ndarray:
    """(c, D) sums of the rows of each class, w times each."""
    Y = np.zeros((classes, len(w)), X.dtype)
    Y[y, np.arange(len(w))] = w
    return np.matmul(Y, X.T)


def _minimise(problems: list[_Problem], max_iter: int) -> tuple[ndarray, ndarray]:
    """Minimisers (b, c, D), and which of them are reached, by L-BFGS in the metric P of each problem, side by side.

        d = -H g,   H = P + S N'(diag(S'Y) + Y'P Y) N S' - S N' Y'P - P Y N S',   N = triu(S'Y)^-1          (Byrd et al. 1994)

    for the last steps S and changes Y of the gradient g. Only S and P Y are kept; a new step adds a column to N.
    """
    b, (c, D) = len(problems), problems[0].start.shape
    M = min(MEMORY, max(max_iter, 1))
    found, reached = np.empty((b, c, D)), np.zeros(b, bool)
    at = _Side(problems)
    W = np.stack([problem.start for problem in problems])
    f, G = at.evaluate(W)
    PG = at.lower(G)
    U = np.empty((b, M, 2, c * D))  # S and P Y, a step in each place; the oldest gives way
    N, YPY, SY = np.zeros((b, M, M)), np.zeros((b, M, M)), np.zeros((b, M))
    fresh = np.ones(b, bool)  # remembers nothing
    lost = np.zeros(b, bool)
    SG = PYG = np.zeros((b, 0))
    for step in range(max_iter + 1):
        near = np.sqrt(_dots(G, G)) <= at.limit
        for i in np.flatnonzero(near | lost | (step == max_iter))[::-1]:
            found[at.alive[i]], reached[at.alive[i]] = W[i], near[i]
            b -= 1
            at.drop(int(i))
            for state in (W, f, G, PG, U, N, YPY, SY, fresh, SG, PYG):
                state[i] = state[b]  # the last one takes the place
        if b == 0:
            break
        W, f, G, PG, U, N, YPY, SY, fresh = (state[:b] for state in (W, f, G, PG, U, N, YPY, SY, fresh))
        d = -PG
        if step:
            k, n = min(step, M), N[:, : min(step, M), : min(step, M)]
            u = np.matmul(n, SG[:b, :, None])
            v = np.matmul(n.transpose(0, 2, 1), SY[:, :k, None] * u + np.matmul(YPY[:, :k, :k], u) - PYG[:b, :, None])
            shares = np.stack([v, -u], axis=2).reshape(b, 1, 2 * k)
            d -= np.matmul(shares, U[:, :k].reshape(b, 2 * k, c * D)).reshape(b, c, D)
        slope = _dots(G, d)
        for i in np.flatnonzero(slope >= 0):  # rounding has spoilt what it remembers
            N[i], fresh[i], d[i] = 0, True, -PG[i]
            slope[i] = _dots(G[i : i + 1], d[i : i + 1])[0]
        V, f, H, failed = _search(at, W, f, G, d, slope)
        lost = np.zeros(b, bool)
        lost[failed] = fresh[failed]
        k, new = min(step + 1, M), step % M
        PH = at.lower(H)
        y = H - G
        U[:, new, 0], U[:, new, 1] = (V - W).reshape(b, -1), (PH - PG).reshape(b, -1)
        both = np.stack([y.reshape(b, -1), H.reshape(b, -1)], axis=2)
        inner = np.matmul(U[:, :k].reshape(b, 2 * k, c * D), both).reshape(b, k, 2, 2)
        Sy, SG, PYG = inner[:, :, 0, 0], inner[:, :, 0, 1], inner[:, :, 1, 1]
        sy = np.where(Sy[:, new] > 0, Sy[:, new], np.inf)  # a step that shows no curvature is as if it had not been
        N[:, new], N[:, :, new] = 0, 0
        N[:, :k, new] = -np.matmul(N[:, :k, :k], Sy[:, :, None])[:, :, 0] / sy[:, None]
        N[:, new, new] = 1 / sy
        SY[:, new] = Sy[:, new]
        YPY[:, new, :k] = YPY[:, :k, new] = inner[:, :, 1, 0]
        fresh[:] = False
        for i in failed:
            N[i], fresh[i] = 0, True
        W, G, PG = V, H, PH
    return found, reached


def _search(
    at: _Side, W: ndarray, f: ndarray, G: ndarray, d: ndarray, slope: ndarray
) -> tuple[ndarray, ndarray, ndarray, ndarray]:
    """W + t d with f lower there, f and its gradient, and the models that found no t and stay.

    f is convex: where the slope has turned but little, or not yet, t is good enough. That can be told when f itself no longer
    changes in float64 (Hager and Zhang 2005).
    """
    t, V = np.ones(len(W)), W + d
    h, H = at.evaluate(V)
    going, slack = np.arange(len(W)), at.slack * abs(f)
    for _ in range(TRIES):
        after = _dots(H[going], d[going])
        lower = h[going] <= f[going] + 1e-4 * t[going] * slope[going]
        flat = (after <= -0.5 * slope[going]) & (h[going] <= f[going] + slack[going])
        going, after = going[~(lower | flat)], after[~(lower | flat)]
        if len(going) == 0:
            return V, h, H, going
        turned = np.maximum(after - slope[going], 1e-300)
        t[going] *= np.clip(-slope[going] / turned, 0.1, 0.5)  # where a parabola of these slopes is lowest
        V[going] = W[going] + t[going, None, None] * d[going]
        h[going], H[going] = at.evaluate(V[going], going)
    V[going], h[going], H[going] = W[going], f[going], G[going]
    return V, h, H, going


class _Side:
    """Problems side by side: f and its gradient, a model's numbers from its own rows alone."""

    def __init__(self, problems: list[_Problem]) -> None:
        self.problems = list(problems)
        self.alive = list(range(len(problems)))
        self.T = np.stack([problem.T for problem in problems]).astype(np.float64)
        self.ridge = np.array([problem.ridge for problem in problems])
        self.limit = np.array([problem.limit for problem in problems])
        self.there = np.stack([~problem.missing[:, None] for problem in problems]).astype(np.float64)
        self.slack = 1e-6 if problems[0].X.dtype == np.float64 else 1e-4  # what may be noise, as a share of f

    def drop(self, i: int) -> None:
        """Model i is done; the last one takes its place."""
        self.problems[i], self.alive[i] = self.problems[-1], self.alive[-1]
        self.problems.pop()
        self.alive.pop()
        states = (self.T, self.ridge, self.limit, self.there)
        for state in states:
            state[i] = state[-1]
        self.T, self.ridge, self.limit, self.there = (state[:-1] for state in states)

    def evaluate(self, W: ndarray, which: ndarray | None = None) -> tuple[ndarray, ndarray]:
        """f (b,) and its gradient (b, c, D) at W (b, c, D) of all that are alive, or of those in ``which``."""
        problems = self.problems if which is None else [self.problems[i] for i in which]
        T, ridge = (self.T, self.ridge) if which is None else (self.T[which], self.ridge[which])
        dtype = problems[0].X.dtype
        if W.shape[1] > MANY:
            f, G = self._in_parts(problems, W.astype(dtype, copy=False))
        else:
            f, G = self._at_once(problems, W.astype(dtype, copy=False))
        R = ridge[:, None, None] * W
        R[:, :, -1] = 0  # the intercepts are free
        f += _dots(W, R / 2 - T)
        R -= T
        R += G
        return f, R

    @staticmethod
    def _at_once(problems: list[_Problem], W: ndarray) -> tuple[ndarray, ndarray]:
        """Sums of w log sum_k exp(z_k), and their gradients, of all rows of all problems at once."""
        dtype = W.dtype
        ends = np.cumsum([len(problem.w) for problem in problems])
        spans = [slice(end - len(problem.w), end) for end, problem in zip(ends, problems, strict=True)]
        Z = np.empty((W.shape[1], ends[-1]), dtype)
        for problem, V, span in zip(problems, W, spans, strict=True):
            np.matmul(V, problem.X, out=Z[:, span])
            if problem.missing.any():
                Z[problem.missing, span] = -np.inf
        w = np.concatenate([problem.w for problem in problems])
        top = Z.max(0)
        Z -= top
        np.exp(Z, out=Z)
        S = Z.sum(0)
        Z *= w / S
        loss = (np.log(S) + top) * w
        f, G = np.empty(len(W)), np.empty(W.shape, dtype)
        for i, (problem, span) in enumerate(zip(problems, spans, strict=True)):
            f[i] = loss[span].sum(dtype=np.float64)
            np.matmul(Z[:, span], problem.X.T, out=G[i])
        return f, G

    @staticmethod
    def _in_parts(problems: list[_Problem], W: ndarray) -> tuple[ndarray, ndarray]:
        """The same, of some rows of one problem at a time: of many classes all numbers are more than caches hold."""
        f, G = np.zeros(len(W)), np.zeros(W.shape, W.dtype)
        step = max(16, CACHE * 8 // W.dtype.itemsize // W.shape[1])
        for i, (problem, V) in enumerate(zip(problems, W, strict=True)):
            none = problem.missing.any()
            for start in range(0, len(problem.w), step):
                X, w = problem.X[:, start : start + step], problem.w[start : start + step]
                Z = np.matmul(V, X)
                if none:
                    Z[problem.missing] = -np.inf
                top = Z.max(0)
                Z -= top
                if problem.mixed:
                    Z, X = Z.astype(np.float32), X.astype(np.float32)
                np.exp(Z, out=Z)
                S = Z.sum(0)
                f[i] += ((np.log(S) + top) * w).sum(dtype=np.float64)
                G[i] += np.matmul(Z, (X * (w / S).astype(X.dtype, copy=False)).T)
        return f, G

    def lower(self, G: ndarray) -> ndarray:
        """P G (b, c, D), less what all classes have in common: it would change no probability, and intercepts could run away."""
        H = np.empty_like(G)
        together: dict[int, list[int]] = {}
        for i, problem in enumerate(self.problems):
            together.setdefault(id(problem.P), []).append(i)
        for some in together.values():
            H[some] = self.problems[some[0]].P.lower(G[some])
        H *= self.there
        H -= H.sum(1, keepdims=True) / self.there.sum(1, keepdims=True) * self.there
        return H


def _softmax(W: ndarray, X: ndarray, missing: ndarray) -> ndarray:
    """Probabilities (c, n)."""
    Z = np.matmul(W, X)
    Z[missing] = -np.inf
    Z -= Z.max(0)
    np.exp(Z, out=Z)
    Z /= Z.sum(0)
    return Z


def _metric(X: ndarray, p: ndarray, w: ndarray, ridge: float, *, whole: bool = True, one: bool = False) -> _Metric:
    """P, about the inverse of the Hessian of f where the probabilities are p (c, n).

    (1, c D, c D) whole, or (c, D, D) a block for each class, or (1, D, D) their mean, or (c, D) its diagonal;
    H_kl = X diag(w p_k (1{k = l} - p_l)) X' and the ridge.
    """
    every = -(-len(w) // SAMPLE)
    X, p, w = X[:, ::every], p[:, ::every], w[::every] * every
    (D, _), c = X.shape, len(p)
    free = np.full(D, ridge)
    free[-1] = 0
    if D > BLOCK:
        diagonal = np.matmul(w * p * (1 - p), (X * X).T) + free
        return _Metric(1 / np.maximum(diagonal, 1e-10 * diagonal.max()), 0)
    if not whole or c > MANY or c * D > DENSE:
        spread = p * (1 - p)
        there = spread[spread.any(1)]  # of the classes with rows
        roots = (X * np.sqrt(w * v) for v in (there.mean(0, keepdims=True) if one and len(there) else spread))
        return _inverses(np.stack([np.matmul(root, root.T) + np.diag(free) for root in roots]))  # half the work: symmetric
    H = np.empty((c, D, c, D))
    for k in range(c):
        for m in range(k + 1):
            H[k, :, m, :] = H[m, :, k, :] = np.matmul(X * (w * p[k] * ((k == m) - p[m])), X.T)
        H[k, :, k, :] += np.diag(free)
    H[:, -1, :, -1] += H[:, -1, :, -1].trace() / c**2  # what adds the same to all intercepts changes nothing, and costs here
    return _inverses(H.reshape(1, c * D, c * D))


def _inverses(H: ndarray) -> _Metric:
    """Inverses of positive semidefinite matrices (k, N, N), in float32, which is read faster, where they stay positive definite."""
    P = np.empty_like(H)
    small = True
    for A, B in zip(H, P, strict=True):
        diagonal = A.diagonal()
        scale = 1 / np.sqrt(np.maximum(diagonal, 1e-10 * diagonal.max()))
        A *= scale * scale[:, None]
        more = 1e-10
        while True:
            try:
                L = cholesky(A + more * np.eye(len(A)), lower=True)
                break
            except LinAlgError:
                more *= 100
        B[:] = np.tril(dpotri(L, lower=1)[0])
        B += np.tril(B, -1).T
        unit = 1 / np.sqrt(B.diagonal())
        try:
            cholesky((B * unit * unit[:, None]).astype(np.float32) - 1e-5 * np.eye(len(B)))
        except LinAlgError:
            small = False
        B *= scale * scale[:, None]
    P = P.astype(np.float32) if small else P
    lanes = max(1, min(LANES, 10**6 // P.shape[1] ** 2))  # of more, OpenBLAS would copy P
    if len(P) > MANY and P.shape[1] <= NARROW:
        lanes = 1
    same = np.matmul(np.repeat(P[:, :1], lanes, axis=1), P)  # BLAS may sum in another order in another row
    return _Metric(P, lanes if (same == same[:, :1]).all() else 1)


def _dots(A: ndarray, B: ndarray) -> ndarray:
    """(b,) sums of products of (b, c, D), each model's by itself."""
    return np.matmul(A.reshape(len(A), 1, -1), B.reshape(len(B), -1, 1))[:, 0, 0]


def _shortest(A: ndarray, r: ndarray, alpha: float) -> ndarray:
    """The shortest b of those that minimise |A b - r|^2 + alpha |b|^2."""
    m, d = A.shape
    if alpha > 0:
        K = A.T @ A if d <= m else A @ A.T
        K[np.diag_indices_from(K)] += alpha
        with suppress(LinAlgError):
            L = cholesky(K, lower=True)
            if L.diagonal().min() > 1e-6 * L.diagonal().max():  # else rounding may weigh more than alpha
                return cho_solve((L, True), A.T @ r) if d <= m else A.T @ cho_solve((L, True), r)
        A, r = np.vstack([A, np.sqrt(alpha) * np.eye(d)]), np.concatenate([r, np.zeros(d)])
    return np.linalg.lstsq(A, r)[0]


def _each(W: ndarray, Q: ndarray) -> ndarray:
    """Q w for each w of W (b, d): (b, q)."""
    return np.matmul(Q, W[:, :, None])[:, :, 0]
