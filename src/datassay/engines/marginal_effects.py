"""Average marginal effects from the masks of random trainings and what these are worth: estimated, and selected by knockoffs.

The regressions are those of `engines.effects`, the mean over all rows and the spread at each size those of `engines.semivalues`.
"""

from __future__ import annotations

from typing import NamedTuple, cast

import numpy as np
from numpy import ndarray

from datassay.engines import effects, knockoffs, semivalues
from datassay.engines.designs import Inclusion, Subsets


class MarginalEffects(NamedTuple):
    """How effects are estimated, and rows selected by knockoffs."""

    distribution: Inclusion
    shapley: bool
    estimator: str
    rule: str
    standardise: bool
    ends: tuple[float, float]
    seed: int
    n_jobs: int | None
    reuse: bool

    def columns(self, keep: ndarray, p: ndarray) -> tuple[ndarray, float]:
        """Coded masks, and the factor from their coefficients to effects."""
        if self.shapley:
            return effects.centred(keep, p), 1.0
        v = effects.inclusion_variance(p) if self.reuse else self.distribution.variance
        return effects.coded(keep, p, v), float(np.sqrt(v))

    def prepared(self, size: ndarray, U: ndarray, n: int) -> tuple[ndarray, ndarray, ndarray]:
        """U less its mean for subsets of such a size, in standard deviations for it; columns that stay unpenalised; the means."""
        curve = semivalues.curve_of(size, U, n, self.ends)
        u = U - curve[size]
        some = (size > 0) & (size < n)  # what none and all are worth is known: there the spread is 0
        if self.standardise and some.any():
            spread = semivalues.scale(size[some], n, u[some])(size)
            u = u * (spread[some].mean() / spread)
        return u, semivalues.of_size(size, n, min(4, len(np.unique(size)) - 1)), curve

    def law_of_size(self, n: int) -> ndarray:
        """(n,) of the size of the subset of other rows, whose mean effects are wanted."""
        u = (np.arange(1000) + 0.5) / 1000
        low, high = self.distribution.parameters[0], self.distribution.parameters[-1]
        return semivalues.inclusion_law(n, low + (high - low) * u if self.shapley else self.distribution.quantile(u))

    def estimate(self, subsets: Subsets, U: ndarray, bootstrap: int = 0) -> tuple[ndarray, ndarray, float]:
        """(n,) effects, (n,) standard errors, and the penalty."""
        keep, p = subsets.counts.astype(bool), subsets.p
        n = keep.shape[1]
        u, Z, curve = self.prepared(keep.sum(axis=1), U, n)
        X, factor = self.columns(keep, p)
        # standard errors go by what differs among trainings of one p, where there are several
        levels = p if self.distribution.kind == "grid" and np.unique(p, return_counts=True)[1].min() > 1 else None
        if self.estimator == "ridge":
            found = effects.ridge(X, u, Z, errors=True, strata=levels)
            coef, error, penalty = found.coef, cast(ndarray, found.stderr), float(found.alpha)
        else:
            fit = effects.lasso(X, u, Z, rule=self.rule, strata=p, seed=self.seed, n_jobs=self.n_jobs)
            coef, penalty = fit.coef, float(fit.alpha)

            def again(rows: ndarray) -> ndarray:
                return effects.lasso(X[rows], u[rows], Z[rows], alpha=penalty, n_jobs=1).coef

            error = np.full(n, np.nan)
            if bootstrap:
                error = effects.bootstrap(again, len(u), times=bootstrap, strata=levels, seed=self.seed, n_jobs=self.n_jobs)
        effect = factor * coef
        # what all rows have in common is what one more row adds, whichever
        return effect - effect.mean() + semivalues.mean_of(self.law_of_size(n), curve), factor * error, penalty

    def select(self, subsets: Subsets, U: ndarray, place: ndarray, direction: str, antithetic: bool) -> ndarray:
        """(n,) W: by how much rows stand out from their knockoffs. U is prepared by p alone, of which both are drawn: the size of a
        subset would tell its rows from the knockoffs."""
        keep, p = subsets.counts.astype(bool), subsets.p
        n = keep.shape[1]
        u, _, _ = self.prepared(np.rint(p * n).astype(np.int64), U, n)
        if self.reuse:  # pairs of antithetic subsets could be told from their knockoffs: one of each stays
            first = without_antithetic(keep)
            keep, p, u = keep[first], p[first], u[first]
        other = knockoffs.knockoff_masks(p, n, self.seed, antithetic=antithetic)[:, place]
        X, K = self.columns(keep, p)[0], self.columns(other, p)[0]
        Z = effects.covariates(p)
        return knockoffs.joint(
            X, K, u, Z, how=self.estimator, direction=direction, strata=p, seed=self.seed, n_jobs=self.n_jobs
        )


class Selection(NamedTuple):
    """Which rows, or groups of rows, are flagged."""

    select: str  #: "harmful" or "helpful"
    q: float  #: false discovery rate
    knockoff: str | None  #: "plus" or "plain"
    own: bool  #: whether scores have the sign of the effects

    @property
    def direction(self) -> str:
        """Of the effects."""
        return "harmful" if (self.select == "harmful") == self.own else "helpful"

    @property
    def rule(self) -> str:
        """In words."""
        return (
            f"selected by {'knockoffs' if self.knockoff == 'plain' else 'knockoff+'} at a false discovery rate of {self.q:g}"
        )

    def threshold(self, W: ndarray) -> float:
        """From which knockoff statistic on rows are flagged; infinite where none are."""
        return knockoffs.threshold(W, self.q, plus=self.knockoff != "plain")

    def beyond(self, scores: ndarray, distance: float | ndarray) -> ndarray:
        """(n,) farther from 0 on the wanted side."""
        return scores < -distance if self.select == "harmful" else scores > distance


def without_antithetic(keep: ndarray) -> ndarray:
    """Positions of subsets of which no earlier one has just the rows that they leave out.

    >>> without_antithetic(np.array([[1, 0, 0], [0, 1, 1], [1, 1, 0]], bool)).tolist()
    [0, 2]
    """
    seen: set[bytes] = set()
    chosen = []
    for j, mask in enumerate(keep):
        if np.packbits(~mask).tobytes() not in seen:
            chosen.append(j)
            seen.add(np.packbits(mask).tobytes())
    return np.array(chosen)
