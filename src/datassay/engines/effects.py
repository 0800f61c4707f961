"""Average marginal effects (AME; Lin, Zhang, Lecuyer, Li, Panda and Sen, ICML 2022) by regression on the masks of random trainings.

    AME_n = E_p E_S [U(S + n) - U(S)],   S without n, each other row in S with probability p, p from the design's distribution
    X_n = 1 / (sqrt(v) p) if n is in, -1 / (sqrt(v) (1 - p)) if not;   v = E_p[1 / (p (1 - p))]
    E X_n = 0, Var X_n = 1, Cov(X_n, X_k) = 0, and so  E[X_n U] = AME_n / sqrt(v):   AME = sqrt(v) b   of the least squares

    p-coding: X_n = 1{n is in} - p. With logit p uniform on [logit e, logit(1 - e)], b itself is the AME for p uniform on [e, 1 - e].

(The released code divides its coefficients by v where this needs sqrt(v) as a factor; the order of the rows is the same.)

Both regressions have columns Z that are not penalised. They take up E[U | p], which varies far more than what one row adds:

    lasso   min_{g,b} 1/(2m) |U - Z g - X b|^2 + alpha |b|_1      few rows matter; alpha by (generalised) cross-validation
    ridge   min_{g,b} 1/(2m) |U - Z g - X b|^2 + alpha/2 |b|^2    many rows matter a little; alpha by exact leave-one-out

For given b the best g is a least squares, so that g leaves both by projection (Frisch and Waugh): U and X lose their part in the span
of Z, once, and within each fold once more. Rows may have weights; then m is their sum and each square has its weight.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from joblib import Parallel, delayed
from numpy import ndarray
from scipy.linalg import eigh, qr, solve_triangular
from scipy.special import logit
from sklearn.linear_model import lasso_path

from datassay.engines.machine import one_thread, workers

LEVELS = 16  # distinct p up to which each has a column of its own
MOST = 2**31  # bytes of the folds' Gram matrices, up to which the solver works on these; else on the rows themselves
WIDE = 3  # columns for each row, likewise: a look at a column costs m numbers without the Gram matrix, and a step n with it
STEPS = 10  # alphas that all folds go down together before it's asked whether the error still falls
BEYOND = 3.0  # standard errors above the lowest error, paired by fold, at which the path ends
RISE = 1.1  # times the lowest error of the generalised cross-validation, likewise
NOTHING = 1e-9  # of the square of a column, a share so small that it is rounding if Z leaves no more


class Lasso(NamedTuple):
    """What `lasso` found; of several U each field has an axis more, the last."""

    coef: ndarray  #: (n,) b, of the columns as they were given
    fixed: ndarray  #: (k,) g, of the columns of Z
    alpha: ndarray  #: () the penalty of ``coef``
    alphas: ndarray  #: (length,) the path, falling
    error: ndarray  #: (length,) mean squared error of rows left out, the mean over folds, or "gcv"; NaN where the path wasn't followed
    stderr: ndarray  #: (length,) its standard error; NaN by "gcv"
    at: ndarray  #: () place of ``alpha`` in ``alphas``; -1 if alpha was given


class Ridge(NamedTuple):
    """What `ridge` found; of several U each field has an axis more, the last."""

    coef: ndarray  #: (n,) b
    fixed: ndarray  #: (k,) g, of the columns of Z
    alpha: ndarray  #: () the penalty
    residuals: ndarray  #: (m,) of each row from the fit to the others; NaN if the others don't determine its g
    alphas: ndarray  #: (length,) the penalties that were compared
    error: ndarray  #: (length,) mean square of the residuals
    stderr: ndarray | None  #: (n,) standard errors of ``coef`` over trainings, if they were asked for


def inclusion_variance(p: Float[ndarray, " k"]) -> float:
    """v = mean of 1 / (p (1 - p)), of a grid of equally likely p, or of many draws.

    Examples
    --------
    >>> round(inclusion_variance(np.array([0.2, 0.4, 0.6, 0.8])), 6)
    5.208333
    """
    return float(np.mean(1 / (p * (1 - p))))


def coded(keep: Bool[ndarray, "m n"], p: Float[ndarray, " m"], v: float, dtype: Any = np.float64) -> Float[ndarray, "m n"]:
    """AME's coding of masks: mean 0 and variance 1 over the design, in which AME = sqrt(v) b.

    v is a number of the design, not of the p that were drawn: so a column's coding does not change with more trainings.

    Examples
    --------
    >>> coded(np.array([[True, False]]), np.array([0.2]), v=4.0)
    array([[ 2.5  , -0.625]])
    """
    inside, outside = 1 / (np.sqrt(v) * p), -1 / (np.sqrt(v) * (1 - p))
    return np.where(keep, inside[:, None].astype(dtype), outside[:, None].astype(dtype))


def centred(keep: Bool[ndarray, "m n"], p: Float[ndarray, " m"], dtype: Any = np.float64) -> Float[ndarray, "m n"]:
    """The p-coding, 1{n is in} - p: bounded however near p comes to 0 or 1. See the head for what its b is.

    Examples
    --------
    >>> centred(np.array([[True, False]]), np.array([0.25]))
    array([[ 0.75, -0.25]])
    """
    return keep.astype(dtype) - p[:, None].astype(dtype)


def covariates(
    p: Float[ndarray, " m"], *, size: Float[ndarray, " m"] | None = None, degree: int = 3
) -> Float[ndarray, "m k"]:
    """Columns Z that take up E[U | p]: one for each distinct p, or of more than `LEVELS` a constant and smooth functions of p.

    The smooth ones are Legendre polynomials in p and in logit p. With ``size``, such as ``X.sum(axis=1)``, there is a last column:
    if it is that sum, its coefficient h is an effect that all rows share, b what a row departs from it by, and b + h what b is
    without that column.

    Examples
    --------
    >>> covariates(np.array([0.4, 0.2, 0.4]), size=np.array([3.0, 1.0, 2.0]))
    array([[0., 1., 3.],
           [1., 0., 1.],
           [0., 1., 2.]])
    """
    levels, place = np.unique(p, return_inverse=True)
    if len(levels) <= LEVELS:
        Z = np.eye(len(levels))[place]
    else:
        odds = logit(p)
        odds = 2 * (odds - odds.min()) / np.ptp(odds) - 1
        legendre = np.polynomial.legendre.legvander
        Z = np.hstack([legendre(2 * p - 1, degree), legendre(odds, degree)[:, 1:]])
    return Z if size is None else np.column_stack([Z, size])


def folds_of(m: int, folds: int, seed: int, strata: Shaped[ndarray, " m"] | None = None) -> Int[ndarray, " m"]:
    """Each row's fold: at random, of equal size to one row, and so that rows near in ``strata`` are in different folds.

    Examples
    --------
    >>> folds_of(6, 3, 0, np.array([0.2, 0.4, 0.2, 0.4, 0.2, 0.4])).tolist()
    [1, 0, 0, 1, 2, 2]
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed).spawn(1)[0])
    order = np.lexsort((rng.permutation(m), np.zeros(m) if strata is None else strata))
    out = np.empty(m, np.int64)
    out[order] = np.concatenate([rng.permutation(folds) for _ in range(-(-m // folds))])[:m]
    return out


class _Basis(NamedTuple):
    """An orthonormal basis Q of the span of Z, and C with Q = Z C: also rows that Z did not have get their coordinates by C."""

    Q: ndarray  # (m, r)
    C: ndarray  # (k, r)


def _basis(Z: ndarray) -> _Basis:
    """Householder QR with pivots, columns scaled before: columns that depend on others get no coefficient."""
    k = Z.shape[1]
    norms = np.linalg.norm(Z, axis=0)
    some = np.flatnonzero(norms > 0)
    C = np.zeros((k, 0))
    if not len(some):
        return _Basis(np.zeros((len(Z), 0)), C)
    Q, R, pivot = qr(Z[:, some] / norms[some], mode="economic", pivoting=True)
    r = int((np.abs(np.diag(R)) > 1e-10).sum())
    C = np.zeros((k, r))
    C[some[pivot[:r]]] = solve_triangular(R[:r, :r], np.eye(r)) / norms[some[pivot[:r]], None]
    return _Basis(np.ascontiguousarray(Q[:, :r]), C)


class _Problem:
    """Rows scaled by the roots of their weights, without their part in the span of Z; U as (m, t), in units of its own deviation."""

    def __init__(
        self, X: ndarray, U: ndarray, Z: ndarray | None, weights: ndarray | None, fold: ndarray, dtype: Any
    ) -> None:
        m, n = X.shape
        self.root = np.ones(m) if weights is None else np.sqrt(weights)
        self.total = float(self.root @ self.root)
        self.Z = self.root[:, None] * (np.ones((m, 1)) if Z is None else Z)
        self.basis = _basis(self.Z)
        Q = self.basis.Q
        U = self.root[:, None] * U.reshape(m, -1)
        self.QU = Q.T @ U
        norms = np.linalg.norm(U, axis=0)
        self.U = U - Q @ self.QU
        left = np.linalg.norm(self.U, axis=0)
        self.U[:, left <= NOTHING * norms] = 0  # a function of Z
        self.unit = np.where(left > NOTHING * norms, left, 1) / np.sqrt(self.total)
        self.U /= self.unit
        self.X = np.array(X, dtype)
        if weights is not None:
            self.X *= self.root[:, None].astype(dtype)
        # the moments are those of the columns as they were given: glmnet's scale, and what the part that Z leaves is compared with
        self.fold, folds = fold, int(fold.max()) + 1
        self.sums, self.squares = np.zeros((folds, n)), np.zeros((folds, n))
        for f in range(folds):
            rows = fold == f
            self.sums[f] = self.root[rows] @ self.X[rows]
            self.squares[f] = np.einsum("ij,ij->j", self.X[rows], self.X[rows], dtype=np.float64)
        self.QX = Q.T @ self.X
        self.X -= (Q @ self.QX).astype(dtype)

    def scale(self, f: int | None, left: ndarray, standardize: bool) -> ndarray:
        """(n,) factors of the columns for the rows outside fold f; 0 for those of whose square, ``left``, Z leaves only rounding."""
        held = np.zeros(len(self.root), bool) if f is None else self.fold == f
        total = self.root[~held] @ self.root[~held]
        sums, squares = self.sums.sum(axis=0), self.squares.sum(axis=0)
        if f is not None:
            sums, squares = sums - self.sums[f], squares - self.squares[f]
        some = left > NOTHING * squares
        spread = np.sqrt(np.maximum(squares / total - (sums / total) ** 2, 0)) if standardize else np.ones(len(left))
        return np.divide(1.0, spread, out=np.zeros(len(left)), where=some & (spread > 0))

    def fixed(self, coef: ndarray) -> ndarray:
        """(k, t) g that belongs to b (n, t), both of U in its own unit."""
        return self.basis.C @ (self.QU - self.QX @ coef)


class _Training(NamedTuple):
    """What coordinate descent needs of the rows it fits: a Gram matrix and products, or the rows; columns scaled."""

    matrix: ndarray  # (n, n) Gram matrix, or (rows, n)
    Xy: ndarray  # (t, n) products with U
    U: ndarray  # (rows, t)
    total: float  # sum of weights
    scale: ndarray  # (n,)
    gram: bool

    def path(self, j: int, alphas: ndarray, start: ndarray | None, tol: float) -> ndarray:
        """(n, length) coefficients of the scaled columns for the j-th U along ``alphas``, falling, from ``start`` on."""
        dtype = self.matrix.dtype
        y = self.U[:, j].astype(dtype)
        if dtype == np.float32:
            tol = max(tol, 1e-5)  # of a gap that is a difference of numbers near 1 single precision shows no less
        options: dict[str, Any] = {
            "coef_init": start,
            "tol": tol,
            "max_iter": 10_000,
            "check_input": False,
            "random_state": 0,
        }
        if self.gram:
            # of the rows the solver uses their number and |y|^2 alone: one row can stand for all of them
            X, y = np.zeros((1, len(self.matrix)), dtype), np.array([np.linalg.norm(y)], dtype)
            options |= {"precompute": self.matrix, "Xy": self.Xy[j].astype(dtype)}
        else:
            X = self.matrix
            options |= {"precompute": False}
        alphas = alphas * (self.total / len(X))  # it divides by the number of rows, not by the sum of weights
        return lasso_path(X, y, alphas=alphas.astype(dtype), **options)[1]


class _Held(NamedTuple):
    """A fold: what it is fitted to, and the rows left out, without what the others' g says of them."""

    training: _Training
    X: ndarray  # (rows, n), columns scaled
    U: ndarray  # (rows, t)
    total: float  # sum of weights of the rows left out


def _whole(problem: _Problem, gram: ndarray | None, standardize: bool) -> _Training:
    left = np.einsum("ij,ij->j", problem.X, problem.X, dtype=np.float64) if gram is None else np.diag(gram)
    scale = problem.scale(None, left, standardize)
    factor = scale.astype(problem.X.dtype)
    matrix = np.asfortranarray(problem.X * factor) if gram is None else gram * scale[:, None] * scale
    return _Training(matrix, (problem.U.T @ problem.X) * scale, problem.U, problem.total, scale, gram is not None)


def _held(problem: _Problem, gram: ndarray | None, Xy: ndarray, f: int, standardize: bool) -> _Held:
    """The fold's own projection, from sums over all rows: X'X of the others is that of all, less that of the fold and that of Q'X."""
    out = problem.fold == f
    Q, C = _basis(problem.Z[~out])
    padded = np.zeros((len(out), Q.shape[1]), problem.X.dtype)
    padded[~out] = Q  # so that the rows of X need no copy
    X_out, U_out, U_in = problem.X[out], problem.U[out], problem.U[~out]
    QX, QU = padded.T @ problem.X, Q.T @ U_in
    if gram is None:
        matrix = problem.X[~out] - padded[~out] @ QX
        left = np.einsum("ij,ij->j", matrix, matrix, dtype=np.float64)
    else:
        less = np.vstack([X_out, QX])
        matrix = gram - less.T @ less
        left = np.diag(matrix).copy()
    scale = problem.scale(f, left, standardize)
    # half the precision is enough for errors of prediction, and twice as fast
    if gram is None:
        matrix = np.asfortranarray(matrix * scale, np.float32)
    else:
        matrix *= scale[:, None]
        matrix *= scale
        matrix = matrix.astype(np.float32)
    E = problem.Z[out] @ C
    training = _Training(
        matrix,
        (Xy - U_out.T @ X_out - QU.T @ QX) * scale,
        U_in - Q @ QU,
        problem.total - float(problem.root[out] @ problem.root[out]),
        scale,
        gram is not None,
    )
    X_out = ((X_out - E @ QX) * scale).astype(matrix.dtype)
    return _Held(training, X_out, (U_out - E @ QU).astype(matrix.dtype), problem.total - training.total)


def lasso(
    X: Float[ndarray, "m n"],
    U: Float[ndarray, " m *t"],
    Z: Float[ndarray, "m k"] | None = None,
    *,
    rule: str = "1se",
    alpha: float | Float[ndarray, " *t"] | None = None,
    folds: int = 20,
    strata: Shaped[ndarray, " m"] | None = None,
    seed: int = 0,
    weights: Float[ndarray, " m"] | None = None,
    standardize: bool = True,
    length: int = 100,
    ratio: float | None = None,
    tol: float = 1e-7,
    n_jobs: int | None = None,
) -> Lasso:
    """min over g, b of 1/(2m) |U - Z g - X b|^2 + alpha |b|_1, for one U or for several that share the work on X.

    The coefficients are shrunk. Least squares on those that are not 0 are not:
    ``ridge(X[:, coef != 0], U, Z, alphas=np.zeros(1))``, whose standard errors don't know of the choice.

    Parameters
    ----------
    X
        Coded masks.
    U
        What each training gave; (m,) or (m, t).
    Z
        Columns that are not penalised; None: a constant.
    rule
        ``"min"``: the alpha of lowest error; ``"1se"``: the largest whose error is within one standard error of that; ``"gcv"``: that of
        the lowest |U - Z g - X b|^2 / m / (1 - df / m)^2 with df the number of coefficients that are not 0 (Zou, Hastie & Tibshirani
        2007), and Z's: one path in the place of one a fold.
    alpha
        The penalty, one or one for each U; then there is no cross-validation.
    folds, strata, seed
        Of the cross-validation: at most m folds, at random but so that each has rows of all ``strata``, such as p.
    weights
        Of the rows.
    standardize
        Penalise b of columns scaled to variance 1, each in the rows that are fitted, as glmnet does; ``coef`` is of columns as given.
    length, ratio
        So many alphas, from the least that makes all b zero down to ``ratio`` of it; None, as glmnet: 0.01 if m < n, else 0.0001.
    tol
        Duality gap of the last fit, as a share of U's variance about Z; 1e-5 at least where the solver works on rows in single
        precision. Cross-validation has 1e-4.
    n_jobs
        Threads, over folds and over U; the same bits for any number. None: as many as BLAS has.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.choice([0.2, 0.4, 0.6, 0.8], 300)
    >>> keep = rng.random((300, 50)) < p[:, None]
    >>> v = inclusion_variance(np.array([0.2, 0.4, 0.6, 0.8]))
    >>> found = lasso(coded(keep, p, v), 3.0 * keep[:, 7] + p, covariates(p), strata=p)
    >>> np.flatnonzero(found.coef).tolist(), (np.sqrt(v) * found.coef[7]).round(2)
    ([7], np.float64(2.83))
    """
    if rule not in ("1se", "min", "gcv"):
        raise ValueError(f"rule must be '1se', 'min' or 'gcv', got {rule!r}.")
    if alpha is not None and np.min(alpha) <= 0:
        raise ValueError(f"alpha must be above 0, got {alpha}; for least squares see ridge.")
    m, n = X.shape
    folds = min(folds, m)
    by_folds = alpha is None and rule != "gcv"
    if by_folds and folds < 2:
        raise ValueError(f"cross-validation needs 2 folds and 2 rows at least, got {folds} and {m}.")
    by_gram = n <= WIDE * m and 4 * n * n * folds <= MOST
    fold = folds_of(m, folds, seed, strata) if by_folds else np.zeros(m, np.int64)
    jobs = workers(n_jobs)
    with one_thread(), Parallel(n_jobs=jobs, require="sharedmem") as parallel:
        problem = _Problem(X, U, Z, weights, fold, np.float64 if by_gram or X.dtype != np.float32 else np.float32)
        gram = _gram(problem.X, parallel) if by_gram else None
        whole = _whole(problem, gram, standardize)
        top = np.abs(whole.Xy).max(axis=1, initial=0) / problem.total  # (t,)
        top[top == 0] = 1  # any alpha will do where U is a function of Z
        t = len(top)
        starts: list[ndarray | None] = [None] * t
        if alpha is None:
            grid = np.geomspace(1, (0.01 if m < n else 1e-4) if ratio is None else ratio, length)
        if alpha is None and rule == "gcv":
            half = whole._replace(matrix=whole.matrix.astype(np.float32, copy=False))
            scaled = (problem.X * whole.scale).astype(np.float32)
            found = parallel(delayed(_generalised)(problem, scaled, half, j, top[j] * grid) for j in range(t))
            error, at = np.stack([f.error for f in found], axis=1), np.array([f.at for f in found])
            stderr = np.full_like(error, np.nan)
            starts = [f.coef for f in found]
            paths = [top[j] * grid[at[j] : at[j] + 1] for j in range(t)]
        elif alpha is None:
            Xy = problem.U.T @ problem.X
            held = parallel(delayed(_held)(problem, gram, Xy, f, standardize) for f in range(folds))
            error, stderr = _validate(held, top, grid, parallel)
            del held
            least = np.nanargmin(error, axis=0)
            bound = error[least, range(t)] + (stderr[least, range(t)] if rule == "1se" else 0)
            at = np.argmax(error <= bound, axis=0)  # NaN is False
            paths = [top[j] * grid[: at[j] + 1] for j in range(t)]
        else:
            grid, at = np.ones(0), np.full(t, -1)
            error = stderr = np.zeros((0, t))
            given = np.broadcast_to(np.asarray(alpha, float).reshape(-1), t) / problem.unit
            # down from the top: warm starts cost less than one fit of many coefficients
            paths = [np.geomspace(max(top[j], given[j]), given[j], STEPS) for j in range(t)]
        coef = np.array(parallel(delayed(_final)(whole, j, paths[j], starts[j], tol) for j in range(t))).T * problem.unit
        unit, square = problem.unit, problem.unit**2
        last = np.array([path[-1] for path in paths])
        out = (coef, problem.fixed(coef), last * unit, np.outer(grid, top * unit), error * square, stderr * square, at)
    return Lasso(*(a.reshape((*a.shape[:-1], *U.shape[1:])) for a in out))


def _gram(X: ndarray, parallel: Parallel) -> ndarray:
    """X'X by blocks of columns, which are the same whatever the number of threads."""
    out = np.empty((X.shape[1], X.shape[1]))

    def block(start: int) -> None:
        np.matmul(X.T, X[:, start : start + 512], out=out[:, start : start + 512])

    parallel(delayed(block)(start) for start in range(0, X.shape[1], 512))
    return out


def _final(whole: _Training, j: int, alphas: ndarray, start: ndarray | None, tol: float) -> ndarray:
    """(n,) coefficients of the columns as given, at the last of ``alphas``, from ``start`` or down the others."""
    if len(alphas) > 1:
        start = whole.path(j, alphas[:-1], None, 1e-4)[:, -1].copy()
    return whole.path(j, alphas[-1:], start, tol)[:, 0] * whole.scale


class _Best(NamedTuple):
    """Of the j-th U, the lowest error of the generalised cross-validation."""

    error: ndarray  # (length,), NaN where the path wasn't followed
    at: int
    coef: ndarray  # (n,) of the scaled columns, there


def _generalised(problem: _Problem, X: ndarray, half: _Training, j: int, alphas: ndarray) -> _Best:
    """Down the path, some alphas at a time, in half the precision, until the error is far above its lowest."""
    u, m, of_Z = problem.U[:, j].astype(np.float32), len(problem.U), problem.basis.Q.shape[1]
    error, best, start = np.full(len(alphas), np.nan), _Best(alphas, 0, np.zeros(X.shape[1], np.float32)), None
    for begin in range(0, len(alphas), STEPS):
        part = slice(begin, min(begin + STEPS, len(alphas)))
        path = half.path(j, alphas[part], start, 1e-4)
        start = path[:, -1].copy()
        misses = u[:, None] - X @ path
        left = 1 - ((path != 0).sum(axis=0) + of_Z) / m
        error[part] = np.where(
            left > 0, np.square(misses).sum(axis=0) / problem.total / np.maximum(left, NOTHING) ** 2, np.inf
        )
        at = int(np.nanargmin(error))
        if at >= begin:
            best = _Best(error, at, path[:, at - begin].copy())
        if error[part.stop - 1] > RISE * error[at] and at < part.stop - 1:
            break
    return best


def _validate(held: list[_Held], top: ndarray, grid: ndarray, parallel: Parallel) -> tuple[ndarray, ndarray]:
    """(length, t) mean squared error of the rows left out and its standard error, as glmnet: folds weighted by their size.

    All folds go down the path together, some alphas at a time. For a U whose error has passed its lowest beyond doubt they stop:
    the rest of the path has the most coefficients and takes the longest.
    """
    t, length = len(top), len(grid)
    n = held[0].X.shape[1]
    each = np.full((len(held), length, t), np.nan)
    starts = np.zeros((len(held), t, n), held[0].X.dtype)
    share = np.array([h.total for h in held])
    share = share / share.sum()
    left = np.arange(t)

    def down(f: int, at: slice, columns: ndarray) -> None:
        fold = held[f]
        for j in columns:
            path = fold.training.path(int(j), top[j] * grid[at], starts[f, j], 1e-4)
            starts[f, j] = path[:, -1]
            misses = fold.U[:, j, None] - fold.X @ path
            each[f, at, j] = np.einsum("ij,ij->j", misses, misses, dtype=np.float64) / fold.total

    for begin in range(0, length, STEPS):
        at = slice(begin, min(begin + STEPS, length))
        parallel(delayed(down)(f, at, left) for f in range(len(held)))
        mean = np.einsum("f,flt->lt", share, each[:, : at.stop])
        least = np.argmin(mean, axis=0)
        rise = each[:, at.stop - 1, :] - each[:, least, range(t)]
        far = share @ rise > BEYOND * np.sqrt(share @ (rise - share @ rise) ** 2 / (len(held) - 1))
        left = left[~(far & (least < at.stop - 1))[left]]
        if not len(left):
            break
    mean = np.einsum("f,flt->lt", share, each)
    stderr = np.sqrt(np.einsum("f,flt->lt", share, (each - mean) ** 2) / (len(held) - 1))
    return mean, stderr


def ridge(
    X: Float[ndarray, "m n"],
    U: Float[ndarray, " m *t"],
    Z: Float[ndarray, "m k"] | None = None,
    *,
    alphas: Float[ndarray, " length"] | None = None,
    weights: Float[ndarray, " m"] | None = None,
    strata: Shaped[ndarray, " m"] | None = None,
    errors: bool = False,
) -> Ridge:
    """min over g, b of 1/(2m) |U - Z g - X b|^2 + alpha/2 |b|^2, for one U or for several; alpha by exact leave-one-out.

    With Q an orthonormal basis of Z's span, V S W' the singular value decomposition of what Z leaves of X:

        h_i = |Q_i|^2 + sum_r V_ir^2 s_r^2 / (s_r^2 + m alpha),    residual from the fit to the others = (U_i - fit_i) / (1 - h_i)

    with m alpha kept. One eigendecomposition, of X'X or XX', whichever is smaller, serves every alpha and every U.

    Parameters
    ----------
    X, U, Z, weights
        As for `lasso`; the columns of X are not scaled.
    alphas
        From which to choose; 0 is the least squares of least |b|. None: 61, for signal to noise from 1000 to 1/1000.
    strata, errors
        With ``errors``, standard errors by the jackknife: b less b without row i is (X'X + m alpha)^-1 x_i times that residual, and the
        variance is the sum of squares of these, about their mean in each stratum. They tell how b varies, not how far it is shrunk.
        With more columns than half the rows they are somewhat large (by 1.1 to 1.4); the bootstrap's are too small there.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> X, p = rng.choice([-1.0, 1.0], (40, 3)), np.full(40, 0.5)
    >>> found = ridge(X, X @ np.array([1.0, 2.0, 3.0]) + 5, covariates(p), alphas=np.array([0.0, 1.0]))
    >>> found.coef.round(6), found.fixed.round(6), float(found.alpha)
    (array([1., 2., 3.]), array([5.]), 0.0)
    """
    m, n = X.shape
    problem = _Problem(X, U, Z, weights, np.zeros(m, np.int64), np.float64)
    Xr, Ur, total = problem.X, problem.U, problem.total
    s, B = eigh(Xr @ Xr.T if m <= n else Xr.T @ Xr, driver="evd", overwrite_a=True)
    some = s > 1e-12 * s[-1]
    s, B = s[some], B[:, some]
    V, T = (B, Xr.T @ B) if m <= n else (Xr @ B / np.sqrt(s), B * np.sqrt(s))  # T = X' V = W S
    if alphas is None:
        alphas = s.sum() / total**2 * np.geomspace(1e-3, 1e3, 61)
    c = V.T @ Ur  # (r, t)
    own = np.square(problem.basis.Q).sum(axis=1)

    def left_out(alpha: float, columns: Any) -> ndarray:
        """(m, some of t) residuals from the fit to the others, of rows scaled; NaN where that fit does not determine them."""
        d = s / (s + total * alpha)
        rest = (1 - own - np.square(V) @ d)[:, None]
        misses = Ur[:, columns] - V @ (d[:, None] * c[:, columns])
        return np.divide(misses, rest, out=np.full_like(misses, np.nan), where=rest > NOTHING)

    counted = 1 - own > NOTHING  # the others tell nothing of a row that has a column of Z to itself
    D = s[:, None] / (s[:, None] + total * alphas)  # (r, length)
    rest = 1 - own[:, None] - np.square(V) @ D
    error = np.empty((len(alphas), Ur.shape[1]))
    for t in range(Ur.shape[1]):  # the same as `left_out` of every alpha, by one product
        misses = Ur[:, t, None] - V @ (D * c[:, t, None])
        misses = np.divide(misses, rest, out=np.full_like(misses, np.nan), where=rest > NOTHING)
        error[:, t] = np.square(misses[counted]).sum(axis=0)
    error = np.where(np.isnan(error), np.inf, error) / np.square(problem.root[counted]).sum()
    at = np.argmin(error, axis=0)
    coef = T @ (c / (s[:, None] + total * alphas[at]))
    residuals = np.empty_like(Ur)
    stderr = np.empty_like(coef) if errors else None
    stratum = np.unique(np.zeros(m) if strata is None else strata, return_inverse=True)[1]
    for i in np.unique(at):
        columns = np.flatnonzero(at == i)
        residuals[:, columns] = r = left_out(alphas[i], columns)
        if stderr is not None:
            stderr[:, columns] = _jackknife(T / (s + total * alphas[i]) @ V.T, np.nan_to_num(r), stratum)
    root = problem.root[:, None]
    residuals = np.divide(residuals, root, out=np.full_like(residuals, np.nan), where=root > 0)
    unit = problem.unit

    def shaped(a: ndarray) -> ndarray:
        return a.reshape((*a.shape[:-1], *U.shape[1:]))

    return Ridge(
        coef=shaped(coef * unit),
        fixed=shaped(problem.fixed(coef * unit)),
        alpha=shaped(alphas[at]),
        residuals=shaped(residuals * unit),
        alphas=alphas,
        error=shaped(error * unit**2),
        stderr=None if stderr is None else shaped(stderr * unit),
    )


def _jackknife(M: Float[ndarray, "n m"], r: Float[ndarray, "m t"], stratum: Int[ndarray, " m"]) -> Float[ndarray, "n t"]:
    """Standard errors of sums over rows i whose jackknife differences are M_i r_i, rows taken out within their stratum."""
    strata = np.eye(int(stratum.max()) + 1)[stratum]  # (m, strata)
    size = strata.sum(axis=0)
    share = (size - 1) / size
    variance = np.square(M) @ (share[stratum, None] * np.square(r))
    for j in range(r.shape[1]):
        variance[:, j] -= np.square(M @ (r[:, j, None] * strata)) @ (share / size)
    return np.sqrt(np.maximum(variance, 0))


def bootstrap(
    fit: Callable[[ndarray], ndarray],
    m: int,
    *,
    times: int = 50,
    seed: int = 0,
    strata: Shaped[ndarray, " m"] | None = None,
    n_jobs: int | None = None,
) -> ndarray:
    """Standard errors of ``fit`` over trainings: its deviation over ``times`` draws of m rows with replacement.

    ``fit`` gets the (m,) numbers of a draw, some more than once. With ``strata``, such as p from a grid, each row is replaced by one
    of its own stratum. ``n_jobs`` threads, with the same bits for any number.

    Examples
    --------
    >>> U = np.random.default_rng(0).normal(size=400)
    >>> bootstrap(lambda rows: U[rows].mean(keepdims=True), 400, times=200).round(3), round(1 / 400**0.5, 3)
    (array([0.052]), 0.05)
    """
    stratum = np.unique(np.zeros(m) if strata is None else strata, return_inverse=True)[1]
    groups = [np.flatnonzero(stratum == g) for g in range(stratum.max() + 1)]
    if max(map(len, groups)) == 1:
        raise ValueError("each stratum has one row: there is nothing to draw from. Pass strata=None.")

    def one(child: np.random.SeedSequence) -> ndarray:
        rng = np.random.default_rng(child)
        return np.asarray(fit(np.sort(np.concatenate([rng.choice(g, len(g)) for g in groups]))))

    jobs, children = workers(n_jobs), np.random.SeedSequence(seed).spawn(times)
    with one_thread():
        found = Parallel(n_jobs=jobs, require="sharedmem")(delayed(one)(child) for child in children)
    return np.std(found, axis=0, ddof=1)
