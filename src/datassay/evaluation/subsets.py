"""Train on what values say to keep: accuracy on test rows, of trainings on the highest, the lowest, or a window of the rows.

All are trained in one call as a method's trainings on subsets are: a linear model in closed form or many at once, networks for the
same number of steps whatever the size of the subset.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy import ndarray

from datassay.data.dataset import Dataset
from datassay.engines.designs import Subsets
from datassay.subsets.study import study
from datassay.subsets.utilities import utility_of

FRACTIONS = tuple(np.round(np.arange(0, 0.91, 0.1), 2))  # that are removed
SMALL = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 1.0)  # that are added
OFFSETS = tuple(np.round(np.arange(0, 0.51, 0.05), 2))  # at which a window of half of the rows begins


def by_class(scores: ndarray, codes: ndarray | None) -> ndarray:
    """(n,) each row's place among the scores, from 0 for the lowest to just below 1; with codes, among its class.

    >>> by_class(np.array([3.0, 1.0, 2.0, 9.0]), None).tolist(), by_class(np.array([3.0, 1.0, 2.0, 9.0]), np.array([0, 0, 1, 1])).tolist()
    ([0.5, 0.0, 0.25, 0.75], [0.5, 0.0, 0.0, 0.5])
    """
    place = np.empty(len(scores))
    groups = [np.arange(len(scores))] if codes is None else [np.flatnonzero(codes == c) for c in np.unique(codes)]
    for rows in groups:
        place[rows[np.argsort(scores[rows], kind="stable")]] = np.arange(len(rows)) / len(rows)
    return place


def between(place: ndarray, low: float, high: float) -> ndarray:
    """Rows whose place is from ``low`` on and below ``high``.

    >>> between(np.array([0.0, 0.25, 0.5, 0.75]), 0.25, 0.75).tolist()
    [False, True, True, False]
    """
    return (place >= low - 1e-9) & (place < high - 1e-9)


def accuracies(
    data: Dataset,
    X_test: Any,
    y_test: Any,
    masks: Mapping[str, ndarray],
    learner: Any,
    *,
    training: Any = None,
    seed: int = 0,
) -> dict[str, ndarray]:
    """For each name the accuracy on the test rows (regression: R^2, 1 - squared error / variance) of trainings on (m, n) masks of rows.

    >>> import datassay as da
    >>> X = np.arange(20.0)[:, None]
    >>> data = da.Dataset(X, np.arange(20) >= 10)
    >>> accuracies(data, X[::3], np.arange(0, 20, 3) >= 10, {"all": np.ones((1, 20), bool)}, None)["all"].tolist()
    [1.0]
    """
    with_test_rows = Dataset(data.X, data.y, X_test, y_test, ids=data.ids, task=data.task)
    found = study(
        "evaluate", with_test_rows, learner, training=training, device="auto", store=None, seed=seed, n_jobs=1, progress=False,
        same_seed=True,
    )  # fmt: skip
    utility = utility_of(with_test_rows, "accuracy" if data.task == "classification" else "squared-error", "evaluate")
    counts = np.concatenate(list(masks.values())).astype(np.uint8)
    subsets = Subsets(counts, np.full(len(counts), np.nan))
    found.train(subsets)
    accuracy_of_masks = found.utilities_of(subsets, utility) + (data.task == "regression")
    ends = np.cumsum([len(mask) for mask in masks.values()])[:-1]
    return dict(zip(masks, np.split(accuracy_of_masks, ends), strict=True))


def removed(place: ndarray, fractions: tuple[float, ...] = FRACTIONS) -> dict[str, ndarray]:
    """Masks of what is left when so much is removed, the highest first and the lowest first."""
    return {
        "high": np.stack([between(place, 0, 1 - f) for f in fractions]),
        "low": np.stack([between(place, f, 1 + 1e-6) for f in fractions]),
    }


def windows(place: ndarray, offsets: tuple[float, ...] = OFFSETS, width: float = 0.5) -> ndarray:
    """Masks of half of the rows, from the highest scores down: at 0 the easiest half, at 0.5 the other."""
    return np.stack([between(1 - place - 1e-6, f, f + width) for f in offsets])
