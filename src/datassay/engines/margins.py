"""By how much the given class is ahead of all others."""

from __future__ import annotations

import numpy as np
from numpy import ndarray


def margin(predictions: ndarray, codes: ndarray) -> ndarray:
    """(n,) the prediction (n, c) for the given class less that for the best other.

    >>> margin(np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]), np.array([0, 1])).round(2).tolist()
    [0.5, -0.5]
    """
    own, others = (np.arange(len(codes)), codes), predictions.copy()
    others[own] = -np.inf
    return predictions[own] - others.max(axis=1)


def confidences(p: ndarray, codes: ndarray) -> dict[str, ndarray]:
    """Columns (n,) by which rows can be ranked, from probabilities (n, c).

    >>> found = confidences(np.array([[0.7, 0.2, 0.1], [0.7, 0.2, 0.1]]), np.array([0, 1]))
    >>> {name: column.round(2).tolist() for name, column in found.items()}
    {'self_confidence': [0.7, 0.2], 'normalized_margin': [0.75, 0.25]}
    """
    return {"self_confidence": p[np.arange(len(codes)), codes], "normalized_margin": (margin(p, codes) + 1) / 2}
