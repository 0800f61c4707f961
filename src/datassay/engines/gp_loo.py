"""Every leave-one-out quantity of a Gaussian process, or of a kernel interpolant, from one Cholesky factorisation.

With K = H + ridge I, z = K^-1 y and d = diag(K^-1): the prediction of row i from all the others is f_i = y_i - z_i / d_i,
its variance 1 / d_i, and y'K^-1 y falls by z_i^2 / d_i = d_i (y_i - f_i)^2 when row i leaves.
engines/panels.py has the factorisation.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.linalg import eigh, get_blas_funcs, get_lapack_funcs
from scipy.optimize import minimize_scalar

from datassay.engines import panels
from datassay.engines.gram import arc_cosine, blocks, equal_rows, part, unit_rows
from datassay.engines.machine import available_memory, blas_on
from datassay.engines.panels import Kernel, Panels, SingularGramError, cholesky

RIDGES = 0.01, 100.0  # not below a fiftieth of H's diagonal: labels under suspicion are never taken to be without noise
FEW = 500  # rows by which bias and trusted rows are chosen; the ridge by more
AT_ONCE = 2**20  # numbers that are formed for several ridges

Report = Callable[[float], Any]  #: called with the share of the work that has just been done


class Solved(NamedTuple):
    """What one factorisation of K (n, n) tells for k columns of targets."""

    z: Float[ndarray, "n k"]  #: K^-1 Y
    d: Float[ndarray, " n"]  #: diag(K^-1)
    residual: float  #: max |K z - Y| / max |Y|


class Left(NamedTuple):
    """Each row against all the others."""

    e: Float[ndarray, "n k"]  #: y - f, what the others fail to predict
    d: Float[ndarray, " n"]  #: 1 / the variance of that prediction
    unbounded: ndarray  #: (n,) rows whose equal rows have other labels, at ridge 0: their complexity has no bound
    residual: float  #: of the solve, as in `Solved`


class Trusted(NamedTuple):
    """Rows whose labels are known to be right: they predict and are never left out."""

    X: Any  #: (m, d) as the rows are, unit rows where the rows are
    Y: Float[ndarray, "m k"]
    ridge: float


def solve(
    kernel: Kernel,
    diagonal: float,
    own: Float[ndarray, " n"],
    Y: Float[ndarray, "n k"],
    L: Panels,
    *,
    first: int = 0,
    entry: float = 0.0,
    report: Report | None = None,
) -> Solved:
    """z, d of K = H + diag(own) for the rows from ``first`` on and all columns of Y, from one Cholesky factorisation.

    (2/3) n^3 + 3 k n^2 operations. H, whose diagonal is constant, is made a panel at a time by ``kernel``; L holds the panels
    and says where. One step of iterative refinement where the residual asks for it.

    Raises
    ------
    SingularGramError
        If K is not positive definite in its own precision.
    """
    n, m = L.n, L.n - first
    eps, Y = float(np.finfo(L.dtype).eps), np.asarray(Y, np.float64)
    full = np.asarray(diagonal, L.dtype) + own.astype(L.dtype)
    steps = np.array([n**3 / 3 + entry * n**2 / 2, entry * n**2 / 2, m**3 / 3 + m**2]) / (
        n**3 / 3 + m**3 / 3 + entry * n**2 + m**2
    )

    def report_step(step: int) -> Report | None:
        return (lambda share: report(share * float(steps[step]))) if report else None

    solved, diagonal_of = L.load_array("solved"), L.load_array("diagonal")
    if solved and diagonal_of and diagonal_of["done"] == len(L.starts):
        return Solved(np.asarray(solved["z"][first:], np.float64), diagonal_of["d"][first:], float(solved["residual"]))
    cholesky(L, kernel, own, entry=entry, report=report_step(0))
    if solved:
        z, residual = solved["z"], float(solved["residual"])
    else:
        z = panels.solve(L, Y)
        r = Y - panels.product(L, kernel, full, z, report_step(1))
        if abs(r).max() > 100 * eps * abs(Y).max():
            z = z + panels.solve(L, r)
            middle = len(L.starts) // 2  # of the refined solution in the rows of one panel: all would cost H once more
            at = slice(L.starts[middle], L.starts[middle] + L[middle].shape[1])
            r = Y[at] - panels.product_rows(L, kernel, full, z, middle)
        residual = float(abs(r).max() / abs(Y).max())
        L.save_array("solved", z=z, residual=residual)
    d = panels.inverse_diagonal(L, first, report_step(2))
    L.clear()
    return Solved(np.asarray(z[first:], np.float64), d, residual)


def solve_torch(U: Float[ndarray, "n d"], Y: Float[ndarray, "n k"], ridge: Float[ndarray, " n"], *, device: str) -> Solved:
    """`arc_cosine` and `solve` on a torch device, in U's dtype, with a ridge for each row.

    Two n x n matrices live on the device: torch factorises beside, not in place.
    """
    import torch

    x, y, own = (torch.as_tensor(np.array(a, dtype=U.dtype), device=device) for a in (U, Y, ridge))
    n = len(x)
    H = x @ x.T
    for rows in blocks(n, 4096):
        g = H[rows].clamp_(-1.0, 1.0)
        g.mul_((torch.pi - torch.arccos(g)) / (2 * torch.pi))
    H.diagonal().copy_(0.5 + own)
    L, info = torch.linalg.cholesky_ex(H)
    if int(info) > 0:
        raise SingularGramError(int(info) - 1)
    z = torch.cholesky_solve(y, L)
    z += torch.cholesky_solve(y - H @ z, L)
    residual = float((y - H @ z).abs().max() / y.abs().max())
    H.zero_().fill_diagonal_(1.0)
    inverse = torch.linalg.solve_triangular(L, H, upper=False, out=H)
    d = torch.einsum("ij,ij->j", inverse, inverse)
    return Solved(z.double().cpu().numpy(), d.double().cpu().numpy(), residual)


def condition_on(
    H: Float[ndarray, "n n"], C: Float[ndarray, "n m"], V: Float[ndarray, "m m"], Y_v: Float[ndarray, "m k"], ridge: float
) -> Float[ndarray, "n k"]:
    """Let m trusted rows be known: H becomes their Schur complement H - C (V + ridge I)^-1 C' in place.

    Returns what they predict for the n rows, C (V + ridge I)^-1 Y_v. Leave-one-out on (H, Y - this) is then the joint
    matrix's leave-one-out over the n rows alone: the trusted rows are never left out, and n + m rows are factorised once.
    """
    potrf, potrs, trtrs = get_lapack_funcs(("potrf", "potrs", "trtrs"), (H,))
    V[np.diag_indices(len(V))] += np.asarray(ridge, V.dtype)
    L, info = potrf(V, lower=1, clean=0)
    if info > 0:
        raise SingularGramError(info - 1)
    W, _ = trtrs(L, C.T, lower=1)  # (m, n)
    H -= W.T @ W
    a, _ = potrs(L, np.asfortranarray(Y_v, H.dtype), lower=1)
    return np.asarray(C @ a)


class RidgePath:
    """The mean leave-one-out log likelihood of a Gaussian process as a function of its ridge, from one eigendecomposition.

    H = Q diag(w) Q' gives z and d for any ridge by one n x n product each, instead of one factorisation each. The scale
    of the process is profiled out: with s = mean z_i^2 / d_i over rows and columns, and variance s / d_i for row i,

        log likelihood = -1/2 (log 2 pi s + 1 - mean log d_i)            (Rasmussen & Williams, eq. 5.11)
    """

    def __init__(self, H: Float[ndarray, "n n"], Y: Float[ndarray, "n k"]) -> None:
        self.w, self.Q = eigh(np.asarray(H, np.float64), overwrite_a=True, check_finite=False, driver="evd")
        self.QY, self.Q2 = self.Q.T @ Y, self.Q**2

    def log_likelihood(self, ridge: float) -> float:
        return float(self.log_likelihoods(np.array([ridge]))[0])

    def log_likelihoods(self, ridges: Float[ndarray, " r"]) -> Float[ndarray, " r"]:
        """Of several at once, which takes two products."""
        found, at_once = np.empty(len(ridges)), max(1, AT_ONCE // max(1, self.QY.size))
        for start in range(0, len(ridges), at_once):
            some = slice(start, start + at_once)
            shrink = 1.0 / np.maximum(self.w[:, None] + ridges[some], 1e-12)  # (n, r)
            d = self.Q2 @ shrink
            z = (self.Q @ (shrink[:, :, None] * self.QY[:, None]).reshape(len(self.w), -1)).reshape(*d.shape, -1)
            s = np.mean(z**2 / d[:, :, None], axis=(0, 2))
            found[some] = -0.5 * (np.log(2 * np.pi * s) + 1 - np.mean(np.log(d), axis=0))
        return found

    def best(self) -> tuple[float, float]:
        """The ridge of greatest likelihood and that likelihood: a grid, then golden section between its neighbours."""
        grid = np.linspace(np.log(RIDGES[0]), np.log(RIDGES[1]), 25)
        at = self.log_likelihoods(np.exp(grid))
        i = int(np.argmax(at))
        bounds = (float(grid[max(i - 1, 0)]), float(grid[min(i + 1, len(grid) - 1)]))
        found = minimize_scalar(lambda g: -self.log_likelihood(float(np.exp(g))), bounds=bounds, options={"xatol": 1e-3})
        return (float(np.exp(found.x)), float(-found.fun)) if -found.fun > at[i] else (float(np.exp(grid[i])), float(at[i]))


def climb(H: Float[ndarray, "n n"], Y: Float[ndarray, "n k"], ridge: float, bend: float) -> tuple[float, float]:
    """The top of the likelihood nearest uphill from a ridge, by secants on the slope, and the likelihood there; ``bend``: about the slope's
    derivative. Where there are several tops, `RidgePath.best` may find another."""
    low, high = np.log(RIDGES)
    g, secant = float(np.log(ridge)), False
    at, slope = likelihood_and_slope(H, Y, ridge)
    for _ in range(8):
        step = min(max(-slope / bend, -1.0), 1.0) if bend < 0 else float(np.sign(slope))
        step = min(max(g + step, low), high) - g
        if abs(step) < (0.01 if secant else 1e-3):  # the next one would be far smaller
            return float(np.exp(g + step)), at + slope * step / 2
        at, there = likelihood_and_slope(H, Y, float(np.exp(g + step)))
        g, slope, bend, secant = g + step, there, (there - slope) / step, True
    return RidgePath(H, Y).best()


def likelihood_and_slope(H: Float[ndarray, "n n"], Y: Float[ndarray, "n k"], ridge: float) -> tuple[float, float]:
    """`RidgePath.log_likelihood` at one ridge, and its derivative in the ridge's logarithm, by one inverse.

    dz / d ridge = -K^-1 z,   dd / d ridge = -diag(K^-2): what the rows of K^-1 have for squared lengths
    """
    K = np.array(H, np.float64, order="F")
    K[np.diag_indices(len(K))] += ridge
    potrf, potri = get_lapack_funcs(("potrf", "potri"), (K,))
    L, info = potrf(K, lower=1, overwrite_a=1, clean=1)
    if info > 0:
        raise SingularGramError(info - 1)
    lower, _ = potri(L, lower=1, overwrite_c=1)
    d, squares = lower.diagonal().copy(), lower**2
    steep = squares.sum(axis=0) + squares.sum(axis=1) - squares.diagonal()
    (symm,) = get_blas_funcs(("symm",), (lower,))
    z = symm(1.0, lower, Y, lower=1)
    steeper = symm(1.0, lower, z, lower=1)
    terms = z**2 / d[:, None]
    s = float(terms.mean())
    slope_of_s = float((terms * (steep / d)[:, None] - 2 * z * steeper / d[:, None]).mean())
    slope = -0.5 * (slope_of_s / s + float(np.mean(steep / d)))
    return -0.5 * (float(np.log(2 * np.pi * s)) + 1 - float(np.mean(np.log(d)))), ridge * slope


class Work(NamedTuple):
    """Where the factor of a large matrix is kept: see `panels.Panels`."""

    folder: Path | None
    in_memory: bool
    run: str


def leave_one_out(
    U: Any,
    Y: Float[ndarray, "n k"],
    ridge: float,
    same: Int[ndarray, " n"],
    trusted: Trusted | None = None,
    *,
    device: str = "cpu",
    work: Work | None = None,
    report: Report | None = None,
) -> Left:
    """Every unit row of U (n, d) predicted from all the others.

    At ridge 0 equal rows (``same``, from `equal_rows`) enter once, with the mean of their labels: the limit of a vanishing
    ridge. Then a row's copies predict it, e is 0 where they agree with it, and the row is `endless` where they do not.
    Trusted rows come first in the joint matrix: what is behind them is the factor of their Schur complement.
    """
    n = len(Y)
    distinct, member = np.unique(same, return_inverse=True) if ridge == 0 else (np.arange(n), np.arange(n))
    size = np.bincount(member)
    target = Y
    if len(distinct) < n:
        total = np.zeros((len(distinct), Y.shape[1]))
        np.add.at(total, member, Y)
        U, target = U[distinct], total / size[:, None]
    own = np.full(len(distinct), float(ridge))
    m = 0 if trusted is None else len(trusted.Y)
    if trusted is not None:
        U, target = _stack(trusted.X, U), np.r_[trusted.Y, target]
        own = np.r_[np.full(m, float(trusted.ridge)), own]
    if device == "cpu":
        z, d, residual = _on_cpu(U, target, own, m, work, report)
    else:
        z, d, residual = solve_torch(U.toarray() if sp.issparse(U) else U, target, own, device=device)
        z, d = z[m:], d[m:]
    e = (z / d[:, None])[member]
    copies = size[member] > 1
    if copies.any():
        others = (total[member] - Y)[copies] / (size[member] - 1)[copies, None]
        e[copies] = Y[copies] - others
    return Left(e, d[member], copies & (abs(e).max(axis=1) > 1e-12), residual)


def _on_cpu(U: Any, Y: ndarray, own: ndarray, first: int, work: Work | None, report: Report | None) -> Solved:
    n, p = U.shape
    work = work or Work(None, True, "")
    L = Panels(n, str(U.dtype), panels.width(n), work.folder, in_memory=work.in_memory, run=work.run)
    load_array: dict[int, ndarray] = {}  # H for the residual, where there is room for it; else it is computed once more
    roomy = work.in_memory and 2.0 * n * n * U.dtype.itemsize < available_memory()

    def kernel(rows: slice, columns: slice) -> ndarray:
        if columns.start in load_array and rows == slice(columns.stop, n):
            return load_array[columns.start]
        H = part(U, rows, columns)
        if roomy and rows.start == columns.start and rows.stop > columns.stop:
            load_array[columns.start] = H[columns.stop - columns.start :].copy()
        return H

    # an entry of H takes a product of 2 p operations and an arcsine, as long as about 1500 operations of a product
    return solve(kernel, 0.5, own, Y, L, first=first, entry=2.0 * p + 1500, report=report)


def energy_terms(Y: Float[ndarray, "n k"], left: Left) -> dict[str, Float[ndarray, "n k"]]:
    """By how much Y'K^-1 Y falls when a row leaves, for each row and column; its three terms; and the prediction f."""
    d, f = left.d[:, None], Y - left.e
    return {"cg_score": d * left.e**2, "cross_term": -2 * d * Y * f, "a2": d * f**2, "b2": d * Y**2, "f": f}


class Choice(NamedTuple):
    """What `choose` found best, and the mean leave-one-out log likelihood it reached."""

    ridge: float
    bias: bool
    trusted_ridge: float | None  #: None: the trusted rows are left aside
    log_likelihood: float


def choose(
    X: Any,
    Y: Float[ndarray, "n k"],
    ridge: float | None,
    bias: bool | None,
    known: Trusted | None,
    use: bool | None,
    trusted_ridges: tuple[float, ...],
) -> Choice:
    """Ridge, bias and use of trusted rows, each only where it is None, of greatest leave-one-out log likelihood.

    Bias and trusted rows are chosen on `FEW` of the rows, drawn at random, by an eigendecomposition for each bias and for each ridge of
    the trusted rows; then the ridge on all of them, from the one found there. X and ``known.X`` are raw rows, none of them zero. On one
    thread: at a sample's size more gain little, and on a busy machine they wait for each other.
    """
    draw = np.random.default_rng(0)  # whatever order the rows are in
    few, few_known = (np.sort(draw.permutation(count)[:FEW]) for count in (len(Y), 0 if known is None else len(known.Y)))

    def matrix(rows: ndarray, trusted: ndarray, b: bool, own: float | None) -> tuple[ndarray, ndarray]:
        """H of these rows and their targets, the trusted ones known."""
        U = unit_rows(X[rows], bias=b)
        distinct = np.unique(equal_rows(X[rows], bias=b))  # a copy would foretell a row without error, at a ridge near 0
        U, target = U[distinct], Y[rows][distinct]
        H = arc_cosine(U)
        if own is not None and known is not None:
            V = unit_rows(known.X[trusted], bias=b)
            target = target - condition_on(H, arc_cosine(U, V), arc_cosine(V), known.Y[trusted], own)
        return H, target

    def at_given(H: ndarray, target: ndarray, given: float) -> float:
        """-inf where H has no inverse at that ridge: the factorisation of all rows says so, if it is the one that is taken."""
        try:
            return likelihood_and_slope(H, target, given)[0]
        except SingularGramError:
            return -np.inf

    def on_few(b: bool, own: float | None) -> tuple[Choice, float]:
        """The best there, and the second derivative of the likelihood."""
        H, target = matrix(few, few_known, b, own)
        if ridge is not None:
            return Choice(ridge, b, own, at_given(H, target, ridge)), 0.0
        path = RidgePath(H, target)
        lam, at = path.best()
        below, above = path.log_likelihoods(lam * np.exp([-0.1, 0.1]))
        return Choice(lam, b, own, at), float((below - 2 * at + above) / 0.1**2)

    biases = (False, True) if bias is None else (bias,)
    ridges: tuple[float | None, ...] = () if known is None or use is False else trusted_ridges
    with blas_on(1):
        best, bend = max((on_few(b, None) for b in biases), key=lambda found: found[0].log_likelihood)
        if ridges:
            with_known = max((on_few(best.bias, own) for own in ridges), key=lambda found: found[0].log_likelihood)
            if use or with_known[0].log_likelihood > best.log_likelihood:
                best, bend = with_known
        whole, whole_known = np.arange(len(Y)), np.arange(0 if known is None else len(known.Y))
        if len(few) == len(whole) and len(few_known) == len(whole_known):
            return best
        H, target = matrix(whole, whole_known, best.bias, best.trusted_ridge)
        if ridge is not None:
            return best._replace(log_likelihood=at_given(H, target, ridge))
        lam, at = climb(H, target, best.ridge, bend)
        return best._replace(ridge=lam, log_likelihood=at)


def _stack(U: Any, V: Any) -> Any:
    return sp.vstack([sp.csr_array(U), sp.csr_array(V)]).tocsr() if sp.issparse(U) or sp.issparse(V) else np.r_[U, V]
