"""What a few wrong labels can't move: residuals in units of the median absolute deviation, and the class that most speak for."""

from __future__ import annotations

import numpy as np
from numpy import ndarray

FAR = 3.0  # standard deviations
SPREAD = 1.4826  # standard deviation of normal numbers over their median absolute deviation


def robust_z(residual: ndarray) -> ndarray:
    """(n,) distance from the median in standard deviations that a few large residuals don't move; 0 where there is no other number.

    >>> robust_z(np.array([0.1, -0.2, 0.0, 0.2, -0.1, 5.0])).round(1).tolist()
    [0.2, 1.1, 0.2, 0.7, 0.7, 22.3]
    """
    distance = np.abs(residual - np.median(residual))
    unit = SPREAD * np.median(distance)
    return distance / (unit or distance.max() or 1.0)


def is_outlier(residual: ndarray) -> ndarray:
    """(n,) which are ``FAR`` such standard deviations or more from their median, and not the median itself.

    >>> is_outlier(np.array([0.1, -0.2, 0.0, 0.2, -0.1, 5.0])).tolist()
    [False, False, False, False, False, True]
    """
    distance = np.abs(residual - np.median(residual))
    return (distance > 0) & (distance >= limit(distance))


def limit(distance: ndarray) -> float:
    """``FAR`` standard deviations, from distances (n,) that are 0 or more."""
    return float(FAR * SPREAD * np.median(distance))


def top(predictions: ndarray, codes: ndarray) -> ndarray:
    """(n,) the class with the largest probability or count (n, c), the given one among equals.

    >>> top(np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0], [0.2, 0.5, 0.3]]), np.array([0, 1, 2])).tolist()
    [0, 1, 1]
    """
    return np.where(predictions[np.arange(len(codes)), codes] == predictions.max(1), codes, predictions.argmax(1))


def counts(predicted: ndarray, classes: int) -> ndarray:
    """(n, classes) how often each class was predicted (epochs, n)."""
    n = predicted.shape[1]
    result = np.zeros((n, classes), np.int64)
    for epoch in predicted:
        result[np.arange(n), epoch] += 1
    return result
