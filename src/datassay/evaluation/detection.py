"""How well scores find rows that are known to be wrong."""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from scipy.stats import rankdata
from sklearn.metrics import average_precision_score, roc_auc_score

from datassay.engines.two_means import lower_group


def detection(scores: ndarray, wrong: ndarray) -> dict[str, float]:
    """How well low scores find the wrong rows: ROC AUC, average precision, and precision among the first sum(wrong) suspects.

    >>> detection(np.array([3.0, 1.0, 2.0]), np.array([False, True, False]))
    {'auc': 1.0, 'average_precision': 1.0, 'precision': 1.0}
    """
    first = np.argsort(scores, kind="stable")[: int(wrong.sum())]
    ranks = -rankdata(scores)  # equal scores stay equal, and what is infinite has a rank too
    return {
        "auc": float(roc_auc_score(wrong, ranks)),
        "average_precision": float(average_precision_score(wrong, ranks)),
        "precision": float(wrong[first].mean()),
    }


def two_groups(scores: ndarray, wrong: ndarray) -> float:
    """F1 of the lower of two groups of scores, by exact 2-means in one dimension, as the wrong rows.

    >>> two_groups(np.array([3.0, 1.0, 3.1, 2.9]), np.array([False, True, False, False]))
    1.0
    """
    inside = scores[np.isfinite(scores)]
    low = lower_group(np.clip(scores, inside.min(), inside.max()) if len(inside) else np.zeros(len(scores)))
    return float(2 * (low & wrong).sum() / (low.sum() + wrong.sum()))


def found_curve(scores: ndarray, wrong: ndarray, points: int = 51) -> tuple[ndarray, ndarray]:
    """Share of the wrong rows among the first suspects, against the share of rows that were looked at.

    >>> x, y = found_curve(np.array([3.0, 1.0, 2.0, 4.0]), np.array([False, True, False, False]), points=5)
    >>> x.tolist(), y.tolist()
    ([0.0, 0.25, 0.5, 0.75, 1.0], [0.0, 1.0, 1.0, 1.0, 1.0])
    """
    n = len(scores)
    hits = np.concatenate([[0], np.cumsum(wrong[np.argsort(scores, kind="stable")])]) / wrong.sum()
    x = np.linspace(0, 1, points)
    return x, np.interp(x * n, np.arange(n + 1), hits)


def found_area(scores: ndarray, wrong: ndarray) -> float:
    """Area under that curve, over all rows: 1 - rate / 2 if the wrong rows come first, 1/2 by chance.

    >>> found_area(np.array([3.0, 1.0, 2.0, 4.0]), np.array([False, True, False, False]))
    0.875
    """
    hits = np.concatenate([[0], np.cumsum(wrong[np.argsort(scores, kind="stable")])]) / wrong.sum()
    return float((hits[1:] + hits[:-1]).mean() / 2)
