"""Knockoffs (Barber and Candes 2015; model-X: Candes, Fan, Janson and Lv 2018): which rows have an effect, with a bound on false finds.

Each training gets a second mask that nobody trained on, drawn with the same p. Given p the two masks can be swapped row by row
without a change of their joint distribution, and the second tells nothing of U: exact model-X knockoffs. With b of X and b~ of the
knockoffs X~ from one regression of U on [X | X~] that treats both alike, and

    W_n = max(b_n, 0) - max(b~_n, 0)      (helpful; of -b and -b~: harmful; of |b| and |b~|: both)

the signs of W of the rows without effect are coins. So #{W <= -t} estimates how many of them are among {W >= t}, and

    tau = least t > 0 among the |W| with (o + #{W <= -t}) / max(1, #{W >= t}) <= q

selects {W >= tau}. o = 1 (knockoff+): the false discovery rate, E[false / max(1, selected)], is at most q. o = 0: E[false / (selected +
1/q)] is at most q. Knockoff+ needs 1/q selected rows at least, 10 for q = 0.1, or selects none. With o = 0 few rows can be found, at
a price: if no row has an effect, some are selected in half of all studies, whenever the largest |W| is on the side of the rows.

A row without effect is one that U does not depend on, given p and the other rows. Many small effects are effects.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float, Shaped
from numpy import ndarray

from datassay.engines import effects

STREAM, COINS = 5, 6  # of the generators of a seed; designs.py has 0 to 3, 7 and 8


def knockoff_masks(p: Float[ndarray, " m"], n: int, seed: int, *, antithetic: bool = False) -> Bool[ndarray, "m n"]:
    """A second mask for each training, with its p; mask j depends on ``seed`` and j alone, so that more trainings extend fewer.

    Of antithetic designs, where each odd training (from 0) has the rows that the one before had not, the knockoffs are antithetic
    too: else a column could be told from its knockoff.

    Examples
    --------
    >>> knockoff_masks(np.array([0.2, 0.8]), 5, seed=0).astype(int)
    array([[0, 0, 0, 0, 1],
           [1, 0, 1, 0, 1]])
    """
    out = np.empty((len(p), n), bool)
    for j in range(len(p)):
        if antithetic and j % 2:
            out[j] = ~out[j - 1]
        else:
            out[j] = np.random.default_rng([seed, STREAM, j]).random(n) < p[j]
    return out


def statistics(
    coef: Float[ndarray, " n *t"], knockoff_coef: Float[ndarray, " n *t"], direction: str
) -> Float[ndarray, " n *t"]:
    """W, large where a row's coefficient says more than its knockoff's, of rows that are ``helpful``, ``harmful``, or ``both``.

    Examples
    --------
    >>> b, knockoff = np.array([0.5, -0.4, 0.1]), np.array([0.1, 0.0, -0.3])
    >>> statistics(b, knockoff, "helpful"), statistics(b, knockoff, "harmful"), statistics(b, knockoff, "both")
    (array([0.4, 0. , 0.1]), array([ 0. ,  0.4, -0.3]), array([ 0.4,  0.4, -0.2]))
    """
    if direction == "both":
        return np.abs(coef) - np.abs(knockoff_coef)
    if direction not in ("helpful", "harmful"):
        raise ValueError(f"direction must be 'helpful', 'harmful' or 'both', got {direction!r}.")
    sign = 1 if direction == "helpful" else -1
    return np.maximum(sign * coef, 0) - np.maximum(sign * knockoff_coef, 0)


def threshold(W: Float[ndarray, " n"], q: float, *, plus: bool = True) -> float:
    """tau, from which on W is selected at level q; inf if no level of W qualifies.

    It is the least whose estimated share of rows without effect, (o + #{W <= -tau}) / max(1, #{W >= tau}), is at most q.

    Examples
    --------
    >>> W = np.array([5.0, 4.0, 3.0, -3.0, 2.0])
    >>> threshold(W, 0.2, plus=False), threshold(W, 0.2, plus=True), threshold(W, 0.5, plus=True)
    (4.0, inf, 2.0)
    """
    size = np.unique(np.abs(W[W != 0]))
    above = len(W) - np.searchsorted(np.sort(W), size)  # #{W >= t}
    below = np.searchsorted(np.sort(W), -size, side="right")  # #{W <= -t}
    fine = (plus + below) / np.maximum(1, above) <= q
    return float(size[np.argmax(fine)]) if fine.any() else np.inf


def joint(
    X: Float[ndarray, "m n"],
    knockoffs: Float[ndarray, "m n"],
    U: Float[ndarray, " m *t"],
    Z: Float[ndarray, "m k"] | None = None,
    *,
    how: str = "lasso",
    direction: str = "helpful",
    rule: str = "min",
    folds: int = 20,
    strata: Shaped[ndarray, " m"] | None = None,
    seed: int = 0,
    n_jobs: int | None = None,
) -> Float[ndarray, " n *t"]:
    """W from one regression of U on [X | knockoffs], for one U or for several.

    Parameters
    ----------
    X, knockoffs, U
        Coded masks, knockoff masks in the same coding, what each training gave.
    Z
        Columns that are not penalised, functions of p alone: one that knows X from the knockoffs, such as the size of the subset,
        would make W invalid. None: a constant.
    how
        ``"lasso"`` finds more; ``"ridge"``, with alpha by leave-one-out, takes a fraction of the time where m < n.
    direction
        As for `statistics`.
    rule, folds, strata, seed, n_jobs
        Of `effects.lasso`. By ``"1se"`` fewer W differ from 0, and fewer rows are found.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> p = rng.choice([0.2, 0.4, 0.6, 0.8], 300)
    >>> X = effects.centred(rng.random((300, 50)) < p[:, None], p)
    >>> knockoffs = effects.centred(knockoff_masks(p, 50, seed=0), p)
    >>> W = joint(X, knockoffs, X[:, :12].sum(axis=1), effects.covariates(p), strata=p)
    >>> np.flatnonzero(W >= threshold(W, 0.1)).tolist()
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    """
    if how not in ("lasso", "ridge"):
        raise ValueError(f"how must be 'lasso' or 'ridge', got {how!r}.")
    n = X.shape[1]
    # each pair in either order by a coin: so whatever the solver makes of the order of columns, it treats both alike
    coins = np.random.default_rng([seed, COINS]).random(n) < 0.5
    both = np.hstack([np.where(coins, knockoffs, X), np.where(coins, X, knockoffs)])
    if how == "lasso":
        coef = effects.lasso(both, U, Z, rule=rule, folds=folds, strata=strata, seed=seed, n_jobs=n_jobs).coef
    else:
        coef = effects.ridge(both, U, Z).coef
    places = np.arange(n)
    return statistics(coef[places + n * coins], coef[places + n * ~coins], direction)
