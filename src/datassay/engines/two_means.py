"""Numbers in two groups, so that the squares of their distances to their group's mean add up to the least: exactly."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from numpy import ndarray


def lower_group(values: Float[ndarray, " n"]) -> Bool[ndarray, " n"]:
    """Which of n numbers belong to the lower of two groups; where they are all equal, none.

    The best groups are the first k and the others, in order (Fisher 1958), so that sums over the sorted numbers tell all of them.

    Examples
    --------
    >>> lower_group(np.array([5.0, 0.0, 6.0, 1.0]))
    array([False,  True, False,  True])
    >>> lower_group(np.ones(3)).any()
    np.False_
    """
    n, order = len(values), np.argsort(values, kind="stable")
    if n < 2 or values[order[0]] == values[order[-1]]:
        return np.zeros(n, bool)
    sums = np.cumsum(values[order] - values.mean())  # about the mean: no cancellation
    k = np.arange(1, n)
    between = sums[:-1] ** 2 * (1 / k + 1 / (n - k))  # the sum of squares within is what is left of the total
    between[values[order[1:]] == values[order[:-1]]] = -1  # equal numbers stay together
    low = np.zeros(n, bool)
    low[order[: int(np.argmax(between)) + 1]] = True
    return low


def suspicious(scores: Float[ndarray, " n"], share: float | None = None) -> tuple[Bool[ndarray, " n"], str]:
    """The lower of two groups, or this share of the rows, the lowest; and that rule in words.

    >>> suspicious(np.array([5.0, 0.0, 6.0, 1.0]), 0.25)
    (array([False,  True, False, False]), 'the lowest 25% of the scores')
    """
    if share is None:
        return lower_group(scores), "the lower of two groups of scores (2-means)"
    low = np.zeros(len(scores), bool)
    low[np.argsort(scores, kind="stable")[: round(share * len(scores))]] = True
    return low, f"the lowest {share:.0%} of the scores"
