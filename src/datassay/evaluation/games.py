"""Cooperative games whose Shapley and Banzhaf values are known: to see how near estimates from subsets come.

A player stands for a row, a coalition for a subset. With v(S) the worth of a coalition, the Shapley value of i is the mean of
v(S + i) - v(S) over the players S before i in all orders, the Banzhaf value that over all subsets S of the others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy import ndarray

from datassay import checks
from datassay.checks import DataError


@dataclass(frozen=True)
class Game:
    """A game of n players and what each of them is worth."""

    name: str
    players: int
    worth: Callable[[ndarray], ndarray]  #: (m, n) masks of who is in to (m,) worths; the empty coalition's is 0
    shapley: ndarray  #: (n,) exact
    banzhaf: ndarray  #: (n,) exact


def additive(worths: Sequence[float] | ndarray) -> Game:
    """Each player adds the same to every coalition, which is its Shapley and its Banzhaf value.

    >>> additive([1.0, -2.0]).worth(np.array([[True, True], [True, False]])).tolist()
    [-1.0, 1.0]
    """
    w = _numbers("additive", "worths", worths)
    return Game("additive", len(w), lambda masks: _masks(masks, len(w)) @ w, w, w)


def threshold(players: int, special: int = 3, need: int = 2) -> Game:
    """A coalition is worth 1 if at least ``need`` of the first ``special`` players are in, else 0.

    A special player decides where need - 1 of the others are in: by symmetry in 1 / special of all orders, and in
    C(special - 1, need - 1) of 2^(special - 1) subsets of the other special ones.

    >>> game = threshold(5)
    >>> game.worth(np.array([[1, 1, 0, 0, 0], [1, 0, 0, 1, 1]], bool)).tolist(), game.shapley.round(3).tolist()
    ([1.0, 0.0], [0.333, 0.333, 0.333, 0.0, 0.0])
    """
    checks.whole("threshold", 1, players=players, special=special, need=need)
    if not need <= special <= players:
        raise DataError(f"threshold: need <= special <= players is needed, got {need}, {special} and {players}.")
    shapley, banzhaf = np.zeros(players), np.zeros(players)
    shapley[:special] = 1 / special
    banzhaf[:special] = math.comb(special - 1, need - 1) / 2 ** (special - 1)  # whole numbers, which don't overflow

    def worth(masks: ndarray) -> ndarray:
        return (_masks(masks, players)[:, :special].sum(axis=1) >= need).astype(float)

    return Game("threshold", players, worth, shapley, banzhaf)


def majority(players: int) -> Game:
    """A coalition of more than half of the players is worth 1, any other 0.

    >>> majority(3).shapley.round(3).tolist(), majority(3).banzhaf.tolist()
    ([0.333, 0.333, 0.333], [0.5, 0.5, 0.5])
    """
    checks.whole("majority", 1, players=players)
    game = threshold(players, players, players // 2 + 1)
    return Game("majority", players, game.worth, game.shapley, game.banzhaf)


def airport(costs: Sequence[float] | ndarray) -> Game:
    """A runway for aircraft costs what the one that needs most needs; costs are not negative.

    Each stretch of the runway is a game of its own among those that need it, where one is enough. They share it equally by
    Shapley (Littlechild & Owen, 1973); by Banzhaf each counts where none of the others is in.

    >>> game = airport([1.0, 3.0])
    >>> game.worth(np.array([[True, True], [True, False]])).tolist(), game.shapley.tolist(), game.banzhaf.tolist()
    ([3.0, 1.0], [0.5, 2.5], [0.5, 2.5])
    """
    c = _numbers("airport", "costs", costs)
    if c.min() < 0:
        raise DataError(f"airport: costs must not be negative, got {c.min():g}.")
    order = np.argsort(c, kind="stable")
    stretches, users = np.diff(c[order], prepend=0.0), len(c) - np.arange(len(c))
    shapley, banzhaf = np.empty(len(c)), np.empty(len(c))
    shapley[order] = np.cumsum(stretches / users)
    banzhaf[order] = np.cumsum(stretches * 0.5 ** (users - 1))
    return Game("airport", len(c), lambda masks: (_masks(masks, len(c)) * c).max(axis=1), shapley, banzhaf)


def _numbers(game: str, what: str, numbers: Sequence[float] | ndarray) -> ndarray:
    w = np.array(numbers, dtype=np.float64)
    if w.ndim != 1 or len(w) == 0 or not np.isfinite(w).all():
        raise DataError(f"{game}: {what} must be finite numbers, one a player, got an array of shape {w.shape}.")
    return w


def _masks(masks: ndarray, players: int) -> ndarray:
    masks = np.asarray(masks)
    if masks.ndim != 2 or masks.shape[1] != players or masks.dtype != bool:
        raise DataError(f"masks must be truth values of shape (m, {players}), got {masks.dtype} of shape {masks.shape}.")
    return masks
