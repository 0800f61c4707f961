"""The stochastic scheme of the CG-score paper (appendix A.2): a class against a random draw of the others, several times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from datassay.engines.gp_loo import Left, Report, Trusted, energy_terms, leave_one_out
from datassay.engines.machine import one_thread, spread, task


class Draw(NamedTuple):
    """Class c, and the rows that are solved together: all of the class, and the others that were drawn."""

    c: int
    rows: Int[ndarray, " drawn"]


def draw(codes: Int[ndarray, " n"], r: float | int, repeats: int, seed: int) -> list[Draw]:
    """For each class c and repeat, its n_c rows and round(r n_c) random others, all drawn before any work starts.

    >>> [(d.c, d.rows.tolist()) for d in draw(np.array([0, 0, 1, 1, 1]), 1, repeats=1, seed=0)]
    [(0, [0, 1, 3, 4]), (1, [0, 1, 2, 3, 4])]
    """
    k = int(codes.max()) + 1
    rngs = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(k * repeats)]
    draws = []
    for c in range(k):
        inside, outside = np.flatnonzero(codes == c), np.flatnonzero(codes != c)
        take = min(len(outside), round(r * len(inside)))
        for rng in rngs[c * repeats : (c + 1) * repeats]:
            draws.append(Draw(c, np.sort(np.r_[inside, rng.choice(outside, take, replace=False)])))
    return draws


def over_draws(
    draws: Sequence[Draw],
    U: Any,
    Y: Float[ndarray, "n k"],
    ridge: float,
    same: Int[ndarray, " n"],
    trusted: Trusted | None,
    *,
    device: str,
    n_jobs: int | None,
    report: Report,
) -> tuple[dict[str, Float[ndarray, "n k"]], Bool[ndarray, " n"], float]:
    """`energy_terms`, each the mean over the draws of class c that held the row (nan where none did); unbounded rows; residual."""
    n, k = Y.shape
    names = ("cg_score", "cross_term", "a2", "b2", "f")
    sums, count = {name: np.zeros((n, k)) for name in names}, np.zeros((n, k))
    unbounded, residual = np.zeros(n, bool), 0.0
    known = [None if trusted is None else trusted._replace(Y=trusted.Y[:, [c]]) for c in range(k)]
    tasks = (task(_one, U[d.rows], Y[d.rows][:, [d.c]], ridge, same[d.rows], known[d.c], device) for d in draws)
    runs = spread(n_jobs, tasks)
    for (c, rows), left in zip(draws, runs, strict=True):
        for name, term in energy_terms(Y[rows][:, [c]], left).items():
            sums[name][rows, c] += term[:, 0]
        count[rows, c] += 1
        unbounded[rows] |= left.unbounded & (Y[rows, c] > 0)
        residual = max(residual, left.residual)
        report(1 / len(draws))
    return (
        {s: np.divide(t, count, out=np.full((n, k), np.nan), where=count > 0) for s, t in sums.items()},
        unbounded,
        residual,
    )


def _one(U: Any, Y: ndarray, ridge: float, same: ndarray, trusted: Trusted | None, device: str) -> Left:
    with one_thread():
        return leave_one_out(U, Y, ridge, same, trusted, device=device)
