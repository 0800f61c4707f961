"""How much of an order of rows another one keeps."""

from __future__ import annotations

import numpy as np
from numpy import ndarray


def spearman(a: ndarray, b: ndarray) -> float:
    """Rank correlation; 1 of equal constants, 0 where one alone is constant.

    >>> spearman(np.arange(4.0), np.array([0.0, 1.0, 9.0, 3.0])), spearman(np.ones(3), np.ones(3))
    (0.8, 1.0)
    """
    from scipy.stats import spearmanr  # a quarter of a second that few calls need

    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float(np.ptp(a) == np.ptp(b))
    return float(round(spearmanr(a, b).statistic, 12))


def of_twice(r: float) -> float:
    """Rank correlation of two orders from twice as much each, where two of half as much have r (Spearman and Brown's formula, which is
    about linear correlations: of ranks it is near).

    >>> of_twice(0.5), of_twice(1.0), of_twice(-0.2)
    (0.6666666666666666, 1.0, 0.0)
    """
    return max(0.0, 2 * r / (1 + r)) if r > 0 else 0.0
