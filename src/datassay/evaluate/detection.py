"""Plant errors that are known, and see where they stand among the suspects."""

from __future__ import annotations

import numpy as np
from numpy import ndarray
from sklearn.metrics import average_precision_score, roc_auc_score

from datassay.data import DataError, Dataset


def plant_wrong_labels(data: Dataset, rate: float, *, seed: int = 0) -> tuple[Dataset, ndarray]:
    """Give round(rate * n) rows, drawn without replacement, a label drawn uniformly from the other classes.

    Returns the data with the wrong labels and the (n,) mask of the rows that have one; validation rows keep theirs.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> data = da.Dataset(np.eye(10), ["a", "b"] * 5)
    >>> planted, wrong = plant_wrong_labels(data, 0.2)
    >>> int(wrong.sum()), bool(np.all((planted.y != data.y) == wrong))
    (2, True)
    """
    if data.task != "classification":
        raise DataError("wrong labels can be planted in classification only, and this is regression.")
    if not 0 < rate < 1:
        raise DataError(f"rate must be between 0 and 1, got {rate}.")
    rng = np.random.default_rng(seed)
    k = len(data.classes)
    wrong = np.zeros(len(data), bool)
    wrong[rng.permutation(len(data))[: round(rate * len(data))]] = True
    codes = data.codes.copy()
    codes[wrong] = (codes[wrong] + rng.integers(1, k, wrong.sum())) % k
    return data.with_labels(data.labels_of(codes)), wrong


def detection(scores: ndarray, wrong: ndarray) -> dict[str, float]:
    """How well low scores find the wrong rows: ROC AUC, average precision, and precision among the first sum(wrong) suspects.

    >>> detection(np.array([3.0, 1.0, 2.0]), np.array([False, True, False]))
    {'auc': 1.0, 'average_precision': 1.0, 'precision': 1.0}
    """
    first = np.argsort(scores, kind="stable")[: int(wrong.sum())]
    return {
        "auc": float(roc_auc_score(wrong, -scores)),
        "average_precision": float(average_precision_score(wrong, -scores)),
        "precision": float(wrong[first].mean()),
    }
