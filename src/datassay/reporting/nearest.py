"""The rows most alike to a suspect, by cosine similarity in the features that were valued."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy.sparse as sp

from datassay.data.out_of_core import as_floats, blocks
from datassay.engines.gram import row_lengths

_ENTRIES = 16_000_000  # of one block of similarities: 128 MB


def similarities(X: Any, rows: np.ndarray) -> Iterator[np.ndarray]:
    """For each of ``rows`` its (n,) cosine similarity with every row of X; -inf with itself, 0 with a row of zeros."""
    n = X.shape[0]
    norms = row_lengths(X)
    norms[norms == 0] = np.inf
    step = max(1, min(256, _ENTRIES // n))
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        dots = _dots(X, block)
        cosines = dots / norms / norms[block, None]
        cosines[np.arange(len(block)), block] = -np.inf
        yield from cosines


def _dots(X: Any, rows: np.ndarray) -> np.ndarray:
    """(len(rows), n) products of some rows with all, as float64."""
    if sp.issparse(X):
        return np.asarray((X[rows] @ X.T).toarray(), dtype=np.float64)
    out, some = np.empty((len(rows), len(X))), as_floats(X[rows])
    for others in blocks(X):
        out[:, others] = some @ as_floats(X[others]).T
    return out


def nearest(similarity: np.ndarray, among: np.ndarray, k: int) -> np.ndarray:
    """Positions of the k most similar rows of the mask ``among``, best first; equal ones in the order of the rows.

    >>> nearest(np.array([.1, .9, -np.inf, .9]), np.array([True, True, True, True]), 2)
    array([1, 3])
    """
    candidates = np.flatnonzero(among & (similarity > -np.inf))
    if len(candidates) > k > 0:
        bar = np.partition(similarity[candidates], -k)[-k]
        candidates = candidates[similarity[candidates] >= bar]
    return candidates[np.argsort(-similarity[candidates], kind="stable")][:k]
