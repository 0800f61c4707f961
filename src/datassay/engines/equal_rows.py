"""Rows that are equal, and labels that are not."""

from __future__ import annotations

import numpy as np
from numpy import ndarray


def conflicts(same: ndarray, codes: ndarray) -> tuple[list[ndarray], ndarray]:
    """Groups of equal rows with different labels, and the rows in them whose label is not the group's strict majority.

    >>> groups, outvoted = conflicts(np.array([0, 1, 0, 0]), np.array([0, 1, 1, 0]))
    >>> [group.tolist() for group in groups], outvoted.tolist()
    ([[0, 2, 3]], [False, False, True, False])
    """
    copied = np.flatnonzero(np.bincount(same, minlength=len(same))[same] > 1)
    order = copied[np.argsort(same[copied], kind="stable")]
    groups = np.split(order, np.flatnonzero(np.diff(same[order])) + 1)
    groups = [g for g in groups if len(g) > 1 and len(np.unique(codes[g])) > 1]
    outvoted = np.zeros(len(same), bool)
    for g in groups:
        outvoted[g] = [2 * np.sum(codes[g] == c) <= len(g) for c in codes[g]]
    return groups, outvoted
