"""Entropic optimal transport in the log domain: dual potentials, which are also the gradient in the masses.

    OT(a, b) = min over plans p >= 0 of  <p, C> + eps KL(p | a b')         rows sum to a, columns to b
             = max over f, g of          <a, f> + <b, g> - eps <a b', exp((f + g - C) / eps) - 1>

    f = softmin_j(C - g, b),  g = softmin_i(C' - f, a),   softmin_j(z, b) = -eps log sum_j b_j exp(-z_j / eps)
    p_ij = a_i b_j exp((f_i + g_j - C_ij) / eps)

With ``reach``, sums may differ from a and b at the price reach^2 KL (unbalanced transport), and each softmin is multiplied by
reach^2 / (reach^2 + eps). Debiased, with f_aa from OT(a, a) and g_bb from OT(b, b) (Feydy et al. 2019; Sejourne et al. 2019):

    S(a, b) = OT(a, b) - OT(a, a) / 2 - OT(b, b) / 2 + eps (|a| - |b|)^2 / 2 >= 0,    dS/da = f - f_aa,   dS/db = g - g_bb

By the envelope theorem this gradient needs nothing but the potentials: no iteration is differentiated. Between equal masses it is
defined up to a constant, as are f and g. Costs are |x - y|^2 / 2, so that S of two unit masses is half their squared distance.

All arrays are numpy's or torch's, alike in kind; leading axes are a batch. A cost matrix that is too large to be held is made block by
block, again and again. An iteration costs one product with the held matrix exp((f + g - C) / eps) for each side; the exponential is
taken anew only when the potentials have moved far.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy import ndarray

from datassay.checks import DataError

Array = Any  #: ndarray or torch.Tensor

HELD = 2**30  # bytes of a matrix that is held
BLOCK = 2**24  # numbers in a block of one that is not
FAR = 30.0  # by so many eps potentials may move before the exponential is taken anew; exp(2 FAR) is a float32


class Potentials(NamedTuple):
    """What `solve` found."""

    f: Array  #: (..., n) of the rows
    g: Array  #: (..., m) of the columns
    steps: int
    error: float  #: mass that is not where it should be, by all mass; unbalanced: the last change, in eps


class Divergence(NamedTuple):
    """A distance between two weighted clouds, and its gradient."""

    value: Array  #: (...)
    da: Array  #: (..., n) in the masses of x; between equal masses up to a constant
    db: Array  #: (..., m) in those of y


@dataclass(frozen=True)
class Cost:
    """|x_i - y_j|^2 / 2, and a table of what classes cost: made where and when it is asked for.

    Examples
    --------
    >>> x, y = np.array([[0.0], [3.0]]), np.array([[0.0], [1.0]])
    >>> Cost(x, y)[:]
    array([[0. , 0.5],
           [4.5, 2. ]])
    >>> Cost(x, y, np.array([[0.0, 7.0]]), np.array([0, 0]), np.array([0, 1]))[:]
    array([[0. , 7.5],
           [4.5, 9. ]])
    """

    x: Array  #: (..., n, d)
    y: Array  #: (..., m, d)
    table: Array | None = None  #: (classes of x, classes of y), added
    x_class: Array | None = None  #: (n,)
    y_class: Array | None = None  #: (m,)

    @property
    def shape(self) -> tuple[int, ...]:
        return (*self.x.shape[:-1], self.y.shape[-2])

    @property
    def T(self) -> Cost:
        turned = None if self.table is None else self.table.T
        return Cost(self.y, self.x, turned, self.y_class, self.x_class)

    def __getitem__(self, rows: Any) -> Array:
        C = half_squared_distances(self.x[..., rows, :], self.y)
        if self.table is not None and self.x_class is not None and self.y_class is not None:
            C += self.table[self.x_class[rows]][:, self.y_class]
        return C

    def held(self, most: int | None = None) -> Array | Cost:
        """The matrix, unless it takes more than so many bytes (HELD)."""
        size = 8 if "64" in str(self.x.dtype) else 4
        return self[:] if size * math.prod(self.shape) <= (HELD if most is None else most) else self


def centred(X: Any, Z: Any, name: str) -> tuple[ndarray, ndarray]:
    """Rows and validation rows, dense, in their precision, less the mean of the latter: the distances are the same, and a common offset
    costs them no digits.

    Raises
    ------
    DataError
        The square of a row's length can't be represented.
    """
    x, z = (
        np.ascontiguousarray(rows, np.float32 if rows.dtype == np.float32 else np.float64)
        for rows in (part.toarray() if sp.issparse(part) else np.asarray(part) for part in (X, Z))
    )
    centre = z.mean(0, dtype=float)
    x, z = (rows - centre.astype(rows.dtype) for rows in (x, z))
    for what, rows in (("row", x), ("validation row", z)):
        with np.errstate(over="ignore"):
            lengths = np.einsum("id,id->i", rows, rows)
        if not np.isfinite(lengths).all():
            at = int(np.argmin(np.isfinite(lengths)))
            raise DataError(
                f"{name}: the square of the length of {what} {at} is beyond {rows.dtype}. Scale the columns first."
            )
    return x, z


def half_squared_distances(x: Array, y: Array) -> Array:
    """(..., n, m) |x_i - y_j|^2 / 2 of x (..., n, d) and y (..., m, d), not below 0; by way of products."""
    C = x @ turned(y)
    C *= -1.0
    C += (x * x).sum(-1)[..., :, None] / 2
    C += (y * y).sum(-1)[..., None, :] / 2
    return C.clip(0)


def solve(
    C: Array | Cost,
    a: Array,
    b: Array,
    eps: float,
    *,
    reach: float | None = None,
    start: Array | tuple[Array, Array] | None = None,
    tol: float = 1e-6,
    steps: int = 10_000,
) -> Potentials:
    """Potentials of OT(a, b).

    Parameters
    ----------
    C
        (..., n, m) costs, or a `Cost`, which is not held.
    a, b
        (..., n) and (..., m) masses, >= 0; without ``reach`` their sums must be equal.
    eps
        In the unit of the costs.
    reach
        Unbalanced, in the unit of the coordinates: from there on a mass is rather made or lost than moved. None: balanced.
    start
        (..., m) potentials g of the columns from which to begin, or f (..., n) and g of masses that were nearly these, where one matrix
        does; None: eps is halved step by step from the largest cost.
    tol, steps
        Ends when so small a share of the mass is not where it should be, or after so many steps.

    Raises
    ------
    ValueError
        Masses below 0, without any, or unequal without reach; an eps that is not above 0.

    Examples
    --------
    >>> x, y = np.array([[0.0], [2.0]]), np.array([[0.0], [1.0]])
    >>> half = np.full(2, 0.5)
    >>> found = solve(half_squared_distances(x, y), half, half, 1e-3)
    >>> round(float(found.f @ half + found.g @ half), 3)                # half of the mass goes one unit far
    0.251
    """
    damping, la, lb = _checked(a, b, eps, reach)
    sides = _Sides(C)
    done, error = 0, math.inf
    if start is None:
        g = lb * 0
        for e in schedule(math.sqrt(2 * max(sides.largest(), eps / 2)), math.sqrt(eps), 0.5)[:-1]:
            f = damping_of(e, reach) * sides.softmin(e, lb + g / e)
            g = damping_of(e, reach) * sides.softmin_back(e, la + f / e)
    elif isinstance(start, tuple):
        f, g = start
        f, g, done, error = _scaled(sides, f, g, a, b, eps, damping, reach, tol, steps)
        if error <= tol:
            return Potentials(f, g, done, error)
    else:
        g = start
    while done < steps:
        f = damping * sides.softmin(eps, lb + g / eps)
        before, g = g, damping * sides.softmin_back(eps, la + f / eps)
        g = g - _shift(f, g, la, lb, reach)
        done += 1
        error = _off(b, before, g, eps, reach)
        if error <= tol:
            break
        if _largest(abs(g - before)) > FAR * eps:
            continue
        f, g, more, error = _scaled(sides, f, g, a, b, eps, damping, reach, tol, steps - done)
        done += more
        if error <= tol:
            return Potentials(f, g, done, error)
    return Potentials(damping * sides.softmin(eps, lb + g / eps), g, done, error)


def own(
    C: Array | Cost, a: Array, eps: float, *, reach: float | None = None, start: Array | None = None, tol: float = 1e-6
) -> Potentials:
    """Potential f_aa of OT(a, a), which is the same on both sides: f <- (f + softmin(C - f)) / 2, quick to converge."""
    damping, la, _ = _checked(a, a, eps, reach)
    sides = _Sides(C)
    f = la * 0 if start is None else start
    if start is None:
        for e in schedule(math.sqrt(2 * max(sides.largest(), eps / 2)), math.sqrt(eps), 0.5)[:-1]:
            f = (f + damping_of(e, reach) * sides.softmin(e, la + f / e)) / 2
    error, done = math.inf, 0
    while error > tol and done < 1000:
        before = f
        f = (f + damping * sides.softmin(eps, la + f / eps)) / 2
        done, error = done + 1, _off(a, before, f, eps, reach)
    return Potentials(f, f, done, error)


def divergence(
    x: Array, y: Array, a: Array, b: Array, eps: float, *, reach: float | None = None, debias: bool = True, tol: float = 1e-7
) -> Divergence:
    """S(a, b), or OT(a, b) without debiasing, of masses a (..., n) at x (..., n, d) and b (..., m) at y (..., m, d), to convergence.

    Raises
    ------
    ValueError
        As `solve`.

    Examples
    --------
    >>> one = np.ones(1)
    >>> found = divergence(np.array([[0.0, 0.0]]), np.array([[3.0, 4.0]]), one, one, 0.01)
    >>> float(found.value), found.da
    (12.5, array([12.5]))
    """
    f, g, *_ = solve(Cost(x, y).held(), a, b, eps, reach=reach, tol=tol)
    if debias:
        f_aa, g_bb = (own(Cost(z, z).held(), w, eps, reach=reach, tol=tol).f for z, w in ((x, a), (y, b)))
    else:
        f_aa = g_bb = None
    return joined(a, b, f, g, f_aa, g_bb, eps, reach)


def schedule(diameter: float, blur: float, scaling: float) -> list[float]:
    """eps from diameter^2, twice, by factors scaling^2 while above blur^2, and blur^2 at last.

    >>> [round(eps, 6) for eps in schedule(4.0, 1.0, 0.5)]
    [16.0, 16.0, 4.0, 1.0]
    """
    between = np.arange(2 * math.log(diameter), 2 * math.log(blur), 2 * math.log(scaling))
    return [float(diameter) ** 2, *np.exp(between).tolist(), float(blur) ** 2]


class _Sides:
    """Softmins along both sides of a cost matrix, held or not; and the two sides of exp((f + g - C) / eps)."""

    def __init__(self, C: Array | Cost) -> None:
        self.C, self.turned = C, None if isinstance(C, Cost) else turned(C)
        n, m = C.shape[-2:]
        self.rows = (
            [slice(i, i + max(1, BLOCK // m)) for i in range(0, n, max(1, BLOCK // m))] if isinstance(C, Cost) else []
        )
        self.columns = (
            [slice(i, i + max(1, BLOCK // n)) for i in range(0, m, max(1, BLOCK // n))] if isinstance(C, Cost) else []
        )

    def largest(self) -> float:
        if not isinstance(self.C, Cost):
            return float(self.C.max())
        return max(float(self.C[rows].max()) for rows in self.rows)

    def softmin(self, eps: float, h: Array) -> Array:
        if not isinstance(self.C, Cost):
            return softmin_of(self.C, eps, h)
        return _together([softmin_of(self.C[rows], eps, h) for rows in self.rows])

    def softmin_back(self, eps: float, h: Array) -> Array:
        if not isinstance(self.C, Cost):
            return softmin_of(self.turned, eps, h)
        turned = self.C.T
        return _together([softmin_of(turned[columns], eps, h) for columns in self.columns])

    def kernel(self, f: Array, g: Array, eps: float) -> tuple[Callable[[Array], Array], Callable[[Array], Array]]:
        """v (..., m) -> K v, and u (..., n) -> K' u, of K = exp((f + g - C) / eps)."""
        f, g = f / eps, g / eps
        if not isinstance(self.C, Cost):
            K = self.C / -eps
            K += f[..., :, None]
            K += g[..., None, :]
            K = _exp(K)
            return (lambda v: (K @ v[..., None])[..., 0]), (lambda u: (turned(K) @ u[..., None])[..., 0])

        def block(rows: slice) -> Array:
            K = self.C[rows]
            K /= -eps
            K += f[..., rows, None]
            K += g[..., None, :]
            return _exp(K)

        def back(u: Array) -> Array:
            return sum((turned(block(rows)) @ u[..., rows, None])[..., 0] for rows in self.rows)

        return (lambda v: _together([(block(rows) @ v[..., None])[..., 0] for rows in self.rows])), back


def _scaled(
    sides: _Sides,
    f: Array,
    g: Array,
    a: Array,
    b: Array,
    eps: float,
    damping: float,
    reach: float | None,
    tol: float,
    steps: int,
) -> tuple[Array, Array, int, float]:
    """Sinkhorn's steps by products with one matrix, for as long as the potentials stay within FAR eps of where they are now."""
    times, back = sides.kernel(f, g, eps)
    la, lb = log_masses(a), log_masses(b)
    # the potentials are f + eps u, g + eps v
    u, v, error = f * 0, g * 0, math.inf
    pull_f, pull_g = (1 - damping) * f / eps, (1 - damping) * g / eps  # what is unbalanced draws potentials to 0
    for step in range(steps):
        u_new = -damping * log_masses(times(b * _exp(v * 1))) - pull_f
        v_new = -damping * log_masses(back(a * _exp(u_new * 1))) - pull_g
        if not max(_largest(abs(u_new)), _largest(abs(v_new))) <= FAR:  # not a number, too
            return f + eps * u, g + eps * v, step, math.inf
        v_new = v_new - _shift(f + eps * u_new, g + eps * v_new, la, lb, reach) / eps
        error = _off(b, v, v_new, 1.0, reach)
        u, v = u_new, v_new
        if error <= tol:
            u = -damping * log_masses(times(b * _exp(v * 1))) - pull_f  # what belongs to this v
            return f + eps * u, g + eps * v, step + 1, error
    return f + eps * u, g + eps * v, steps, error


def _shift(f: Array, g: Array, la: Array, lb: Array, reach: float | None) -> Array | float:
    """The c for which f + c and g - c are best (Sejourne et al. 2022): unbalanced steps alone get there slowly where reach is long."""
    if reach is None:
        return 0.0
    rho = reach**2
    return (rho / 2 * (_log_sum(la - f / rho) - _log_sum(lb - g / rho)))[..., None]


def _off(b: Array, before: Array, after: Array, eps: float, reach: float | None) -> float:
    """Balanced: the share of mass that was in the wrong column before the last step, which put it right."""
    if reach is not None:
        return _largest(abs(after - before)) / eps
    z = ((before - after) / eps).clip(-50, 50)
    return _largest((b * abs(_exp(z) - 1)).sum(-1) / b.sum(-1))


def joined(
    a: Array, b: Array, f: Array, g: Array, f_aa: Array | None, g_bb: Array | None, eps: float, reach: float | None
) -> Divergence:
    """What these potentials of OT(a, b) say, and of OT(a, a) and OT(b, b) if it is debiased."""
    if reach is None:
        da, db = (f, g) if f_aa is None or g_bb is None else (f - f_aa, g - g_bb)
        return Divergence((a * da).sum(-1) + (b * db).sum(-1), da, db)
    # the derivative of the dual problem in a_i, with sum_j b_j exp((f_i + g_j - C_ij) / eps) = exp(-f_i / rho)
    rho, mass_a, mass_b = reach**2, a.sum(-1), b.sum(-1)
    at_f, at_g = _exp(f / -rho), _exp(g / -rho)
    if f_aa is None or g_bb is None:
        da, db = rho - (rho + eps) * at_f + eps * mass_b[..., None], rho - (rho + eps) * at_g + eps * mass_a[..., None]
        moved = (a * at_f).sum(-1)  # mass of the plan
        value = rho * (mass_a - moved) + (b * (rho - rho * at_g)).sum(-1) + eps * (mass_a * mass_b - moved)
        return Divergence(value, da, db)
    change_a, change_b = _exp(f_aa / -rho) - at_f, _exp(g_bb / -rho) - at_g
    value = (rho + eps / 2) * ((a * change_a).sum(-1) + (b * change_b).sum(-1))
    return Divergence(value, (rho + eps) * change_a, (rho + eps) * change_b)


def _checked(a: Array, b: Array, eps: float, reach: float | None) -> tuple[float, Array, Array]:
    if not eps > 0 or not math.isfinite(eps) or (reach is not None and not reach > 0):
        raise ValueError(f"eps and reach must be above 0, got {eps!r} and {reach!r}.")
    for name, w in (("a", a), ("b", b)):
        if float(w.min()) < 0 or not math.isfinite(float(w.max())) or not float(w.sum(-1).min()) > 0:
            raise ValueError(
                f"masses must be numbers from 0 on, and some above 0; {name} goes from {float(w.min()):g} to {float(w.max()):g}."
            )
    if reach is None and _largest(abs(a.sum(-1) - b.sum(-1))) > 1e-4 * _largest(b.sum(-1)):
        raise ValueError(
            f"balanced transport needs equal masses, got {_largest(a.sum(-1)):g} and {_largest(b.sum(-1)):g}; reach allows others."
        )
    return damping_of(eps, reach), log_masses(a), log_masses(b)


def damping_of(eps: float, reach: float | None) -> float:
    return 1.0 if reach is None else reach**2 / (reach**2 + eps)


def softmin_of(C: Array, eps: float, h: Array) -> Array:
    """(..., n) -eps log sum_j exp(h_j - C_ij / eps)"""
    z = C * (-1 / eps)
    z += h[..., None, :]
    if not isinstance(z, ndarray):
        return z.logsumexp(-1) * -eps
    most = z.max(-1)
    z -= most[..., None]
    return -eps * (np.log(np.exp(z, out=z).sum(-1)) + most)


def turned(C: Array) -> Array:
    return C.swapaxes(-1, -2)


def _together(parts: list[Array]) -> Array:
    if isinstance(parts[0], ndarray):
        return np.concatenate(parts, -1)
    import torch

    return torch.cat(parts, -1)


def _exp(z: Array) -> Array:
    """In place."""
    return np.exp(z, out=z) if isinstance(z, ndarray) else z.exp_()


def log_masses(w: Array) -> Array:
    """Of what is above 0; else so low that exp gives 0, and no infinity that would meet another."""
    if isinstance(w, ndarray):
        return np.where(w > 0, np.log(np.where(w > 0, w, 1)), -1e5)
    return w.clamp(min=1e-45).log().where(w > 0, -1e5)


def _log_sum(z: Array) -> Array:
    """(...,) log sum exp(z)"""
    return -softmin_of(z[..., None, :] * 0, 1.0, z)[..., 0]


def _largest(z: Array) -> float:
    return float(z.max())
