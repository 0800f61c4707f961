"""Which subsets of n rows are trained on: drawn up front, by number.

Subset j is the same however many are asked for, so that a longer run goes on from a shorter one. Columns are places, not rows: who
gives each row a place by its id gets the same subsets of ids whatever the order of the rows.

    inclusion      p_j from a distribution, then each row with probability p_j                (AME, semivalues)
    bags           n draws with replacement                                                                            (Data-OOB)
    permutations   prefixes of random orders                                                                  (Data Shapley, TMC)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Float, Int, UInt8
from numpy import ndarray
from scipy.special import betaincinv, expit, logit

WITHIN = (
    7  # the first of two streams of a seed's generators that draw rows within groups; 0 to 3 are below, 5 and 6 in knockoffs
)
CELLS = 10  # of the unit interval, from each of which one of so many consecutive p comes


class Subsets(NamedTuple):
    """What is to be trained on."""

    counts: UInt8[ndarray, "m n"]  #: how often each row is in: 0 or 1, in a bag more
    p: Float[ndarray, " m"]  #: each row's probability to be in; NaN where it was not drawn row by row


@dataclass(frozen=True)
class Inclusion:
    """The distribution of p, the probability with which each row enters a subset.

    Examples
    --------
    >>> round(Inclusion("grid", (0.2, 0.4, 0.6, 0.8)).variance, 6), Inclusion("uniform", (0.0, 1.0)).quantile(np.array([0.25]))
    (5.208333, array([0.25]))
    """

    kind: Literal["grid", "uniform", "log-odds", "beta"]
    parameters: tuple[float, ...]  #: the grid; (lowest, highest) p; of log-odds: p with uniform logit p; of beta: (a, b)

    def __post_init__(self) -> None:
        a = self.parameters
        fine = len(a) > 0 if self.kind == "grid" else len(a) == 2
        if self.kind == "beta":
            fine = fine and min(a) > 0
        else:
            inside = all(0 < p < 1 for p in a) if self.kind in ("grid", "log-odds") else all(0 <= p <= 1 for p in a)
            fine = fine and inside and (self.kind == "grid" or a[0] < a[1])
        if not fine:
            raise ValueError(f"{self.kind} needs probabilities between 0 and 1 (beta: two numbers above 0), got {a}.")

    def quantile(self, u: Float[ndarray, " m"]) -> Float[ndarray, " m"]:
        """p below which a share u of the distribution lies."""
        a = self.parameters
        if self.kind == "grid":
            return np.asarray(a, float)[np.minimum((u * len(a)).astype(int), len(a) - 1)]
        if self.kind == "uniform":
            return a[0] + (a[1] - a[0]) * u
        if self.kind == "log-odds":
            low, high = logit(a)
            return expit(low + (high - low) * u)
        return betaincinv(*a, u)

    @property
    def symmetric(self) -> bool:
        """Whether 1 - p has the distribution of p."""
        a = self.parameters
        if self.kind == "beta":
            return a[0] == a[1]
        return bool(np.allclose(sorted(a), sorted(1 - p for p in a)))

    @property
    def variance(self) -> float:
        """v = E[1 / (p (1 - p))], by which AME's coding has variance 1; inf where p comes near 0 or 1."""
        a = self.parameters
        if self.kind == "grid":
            return float(np.mean([1 / (p * (1 - p)) for p in a]))
        if self.kind == "uniform":
            return float((logit(a[1]) - logit(a[0])) / (a[1] - a[0])) if a[0] > 0 and a[1] < 1 else np.inf
        if self.kind == "beta":
            return (a[0] + a[1] - 1) * (a[0] + a[1] - 2) / ((a[0] - 1) * (a[1] - 1)) if min(a) > 1 else np.inf
        return _log_odds_variance(*a)

    def draw(self, n: int, seed: int, start: int, stop: int, *, antithetic: bool = False) -> Subsets:
        """Subsets start ... stop - 1. Antithetic: each odd one is what the one before left out."""
        strata = len(self.parameters) if self.kind == "grid" else CELLS
        counts, p = np.empty((stop - start, n), np.uint8), np.empty(stop - start)
        cells: dict[int, ndarray] = {}
        for k, j in enumerate(range(start, stop)):
            twin = j // 2 if antithetic else j
            if twin // strata not in cells:
                cells = {twin // strata: np.random.default_rng([seed, 1, twin // strata]).permutation(strata)}
            rng = np.random.default_rng([seed, 0, twin])
            p[k] = self.quantile(np.array([(cells[twin // strata][twin % strata] + rng.random()) / strata]))[0]
            inside = rng.random(n) < p[k]
            if antithetic and j % 2:
                p[k], inside = 1 - p[k], ~inside
            counts[k] = inside
        return Subsets(counts, p)


def _log_odds_variance(low: float, high: float) -> float:
    # density 1 / (L p (1 - p)), L = logit(high) - logit(low); the integral of 1 / (p (1 - p))^2 is 2 logit p + (2 p - 1) / (p (1 - p))
    def integral(p: float) -> float:
        return float(2 * logit(p) + (2 * p - 1) / (p * (1 - p)))

    return (integral(high) - integral(low)) / float(logit(high) - logit(low))


def bags(n: int, seed: int, start: int, stop: int) -> Subsets:
    """n draws with replacement, for each number."""
    counts = np.empty((stop - start, n), np.uint8)
    for k, j in enumerate(range(start, stop)):
        drawn = np.bincount(np.random.default_rng([seed, 2, j]).integers(0, n, n), minlength=n)
        counts[k] = np.minimum(drawn, 255)
    return Subsets(counts, np.full(stop - start, np.nan))


def permutation(n: int, seed: int, j: int) -> Int[ndarray, " n"]:
    """Order number j."""
    return np.random.default_rng([seed, 3, j]).permutation(n)


def prefixes(order: Int[ndarray, " n"], lengths: Iterable[int]) -> Subsets:
    """The first so many of an order.

    >>> prefixes(np.array([2, 0, 1]), [0, 2]).counts.tolist()
    [[0, 0, 0], [1, 0, 1]]
    """
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    counts = (rank[None] < np.array(list(lengths))[:, None]).astype(np.uint8)
    return Subsets(counts, np.full(len(counts), np.nan))


def all_subsets(n: int) -> Subsets:
    """All 2^n of them, for n of 20 or so at most; number j has row i where bit i of j is set."""
    counts = (np.arange(2**n)[:, None] >> np.arange(n) & 1).astype(np.uint8)
    return Subsets(counts, np.full(2**n, np.nan))


def without_each(n: int, rows: Iterable[int]) -> Subsets:
    """All rows but one, for each of these."""
    left_out = list(rows)
    counts = np.ones((len(left_out), n), np.uint8)
    counts[np.arange(len(left_out)), left_out] = 0
    return Subsets(counts, np.full(len(left_out), np.nan))


def places(names: Iterable[Any]) -> Int[ndarray, " n"]:
    """(n,) a place for each name, that follows from the names alone: for columns of subsets.

    >>> one, other = places(["a", "b", "c"]), places(["c", "a", "b"])
    >>> bool((one[[2, 0, 1]] == other).all())
    True
    """
    digests = [hashlib.blake2b(repr(name).encode(), digest_size=8).digest() for name in names]
    rank = np.empty(len(digests), np.int64)
    rank[np.argsort([int.from_bytes(d) for d in digests], kind="stable")] = np.arange(len(digests))
    return rank


Draw = Callable[[int, int], Subsets]  #: numbers from, up to


def in_places(draw: Draw, place: Int[ndarray, " n"]) -> Draw:
    """The same subsets, with the columns of the rows at these places."""

    def placed(start: int, stop: int) -> Subsets:
        found = draw(start, stop)
        return found._replace(counts=np.ascontiguousarray(found.counts[:, place]))

    return placed
