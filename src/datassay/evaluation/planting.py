"""Plant known errors in labels and features."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy import ndarray
from sklearn.neighbors import NearestNeighbors

from datassay.checks import DataError, whole
from datassay.data.dataset import Dataset

NEIGHBOURS = 10  # of a row, whose classes say what it could be taken for
LABELS = ("uniform", "pair-flip", "balanced", "near", "confused", "human")
KINDS = (*LABELS, "features", "mixed")


def plant(
    data: Dataset, kind: str, rate: float, *, seed: int = 0, sigma: float = 1.0, human: Any = None
) -> tuple[Dataset, ndarray]:
    """Make round(rate * n) rows wrong in a way that is known.

    Parameters
    ----------
    data
        The rows; validation rows are left as they are.
    kind
        "uniform": a label drawn uniformly from the other classes. "pair-flip": the label of the next class, the last class's rows
        that of the first. In regression both are the target of another row. "balanced": labels are swapped
        among rows of different classes, so that every class stays as large as it was: ``rate`` of each class's rows, of the largest
        no more than of all others. "near", as people err: rows with many neighbours of other
        classes first, and the label of such a neighbour. "confused": any row, and the label of a class that is often among the
        neighbours of its class. "features": normal noise of ``sigma`` standard deviations of
        all numbers of X is added to every column of numbers; a cell of a text column becomes that of a row drawn at random with
        probability 1 - 1 / sqrt(1 + sigma^2), so that it tells as much of what it was as a number does. "mixed": half of the rows
        "uniform", half "features". "human": the labels in ``human``, which disagree with the data's own in some rows; of ``rate`` 0
        all of these are taken, else so many are drawn.
    rate
        Share of the rows, above 0 and below 1; "human": 0 too.
    seed
        Which rows, and what they get.
    sigma
        Size of the noise in features.
    human
        (n,) labels that people gave.

    Returns
    -------
    tuple
        The data with errors, and the (n,) mask of the rows that have one.

    Raises
    ------
    DataError
        No such kind, an invalid rate (every class keeps two rows), human labels that are missing or too few of which are wrong.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> data = da.Dataset(np.eye(10), ["a", "b"] * 5)
    >>> spoilt, wrong = plant(data, "mixed", 0.4)
    >>> int(wrong.sum()), int((spoilt.y != data.y).sum()), int((spoilt.X != data.X).any(1).sum())
    (4, 2, 2)
    """
    if kind not in KINDS:
        raise DataError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}.")
    if not (0 < rate < 1 or (kind == "human" and rate == 0)):
        raise DataError(f"rate must be between 0 and 1, got {rate}.")
    whole("plant", 0, seed=seed)
    rng = np.random.default_rng(seed)
    if kind == "human":
        return _human(data, rate, human, rng)
    n = len(data)
    k = round(rate * n)
    if k == 0:
        raise DataError(f"a share of {rate:g} of {n} rows is no row: take a higher rate.")
    if kind == "balanced" and data.task == "classification":
        return _swapped(data, rate, rng)
    half = {"features": 0, "mixed": (k + 1) // 2}.get(kind, k)
    near = _neighbours(data) if kind in ("near", "confused") else None
    first = rng.permutation(n) if kind != "near" or near is None else _hard_first(near, rng)
    rows = _spared(data, first, half)[:k]
    mislabelled, noisy = rows[:half], rows[half:]
    wrong = np.isin(np.arange(n), rows)
    if len(mislabelled):
        mask = np.isin(np.arange(n), mislabelled)
        labels = _other_labels(data, mask, rng, kind) if near is None else _labels_nearby(data, mask, rng, kind, near)
        data = data.with_labels(labels)
    if len(noisy):
        data = _noisy(data, noisy, sigma, rng)
    return data, wrong


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
    return plant(data, "uniform", rate, seed=seed)


def _other_labels(data: Dataset, wrong: ndarray, rng: np.random.Generator, kind: str) -> ndarray:
    """The labels, in these rows others."""
    if data.task == "regression":
        y = data.codes.copy()
        for row in np.flatnonzero(wrong):
            others = np.flatnonzero(data.codes != data.codes[row])
            y[row] = data.codes[rng.choice(others)]
        return y
    k = len(data.classes)
    codes = data.codes.copy()
    codes[wrong] = (codes[wrong] + (1 if kind == "pair-flip" else rng.integers(1, k, wrong.sum()))) % k
    return data.labels_of(codes)


def _swapped(data: Dataset, rate: float, rng: np.random.Generator) -> tuple[Dataset, ndarray]:
    """Of each class a share of the rows, and the labels of all these dealt out again so that none gets its own class."""
    sizes = np.bincount(data.codes, minlength=len(data.classes))
    take = np.minimum(np.maximum(np.round(rate * sizes).astype(np.int64), 1), np.maximum(sizes - 2, 0))
    largest = int(take.argmax())
    take[largest] = min(take[largest], take.sum() - take[largest])  # else some would get their own back
    if not take.any():
        raise DataError(
            "labels can't be swapped so that every class keeps two of its rows: two classes need three rows or more."
        )
    parts = [rng.permutation(np.flatnonzero(data.codes == c))[: take[c]] for c in rng.permutation(len(take))]
    rows = np.concatenate(parts)
    codes = data.codes.copy()
    codes[rows] = np.roll(data.codes[rows], take.max())
    wrong = np.isin(np.arange(len(data)), rows)
    return data.with_labels(data.labels_of(codes)), wrong


def _neighbours(data: Dataset) -> ndarray:
    """(n, K) share of a row's nearest rows that are of each class, and none of its own."""
    if data.task == "regression":
        raise DataError("kinds 'near' and 'confused' are about classes, and this is regression: take 'uniform'.")
    n, k = len(data), min(NEIGHBOURS, len(data) - 1)
    X = data.X
    if not sp.issparse(X):
        deviation = X.std(0)
        X = (X - X.mean(0)) / np.where(deviation > 0, deviation, 1)
    rows = NearestNeighbors(n_neighbors=k).fit(X).kneighbors(return_distance=False)
    share = np.zeros((n, len(data.classes)))
    np.add.at(share, (np.repeat(np.arange(n), k), data.codes[rows].ravel()), 1 / k)
    share[np.arange(n), data.codes] = 0.0
    return share


def _hard_first(near: ndarray, rng: np.random.Generator) -> ndarray:
    """An order of the rows in which each is next with a chance in proportion to its neighbours of other classes (and a little)."""
    weights = near.sum(1) + 0.02
    return np.argsort(-(rng.random(len(near)) ** (1 / weights)), kind="stable")  # Efraimidis and Spirakis (2006)


def _labels_nearby(data: Dataset, wrong: ndarray, rng: np.random.Generator, kind: str, near: ndarray) -> ndarray:
    """The labels, in these rows those of classes nearby: of the row ("near"), or of its class ("confused")."""
    if kind == "confused":
        near = np.stack([near[data.codes == c].mean(0) for c in range(len(data.classes))])[data.codes]
    codes = data.codes.copy()
    for row in np.flatnonzero(wrong):
        chance = near[row] + 0.005  # no class is out of the question
        chance[data.codes[row]] = 0.0
        codes[row] = rng.choice(len(chance), p=chance / chance.sum())
    return data.labels_of(codes)


def _spared(data: Dataset, order: ndarray, k: int) -> ndarray:
    """The same order of rows, but those without which a class would have fewer than two come after the first k."""
    if data.task == "regression" or k == 0:
        return order
    codes = data.codes[order]
    nth = np.zeros(len(order), np.int64)  # how many of its class come before
    for c in range(len(data.classes)):
        of_class = np.flatnonzero(codes == c)
        nth[of_class] = np.arange(len(of_class))
    free = nth < np.bincount(data.codes, minlength=len(data.classes))[codes] - 2
    if free.sum() < k:
        raise DataError(f"{k} wrong labels can't be planted so that every class keeps two rows: take a lower rate.")
    return np.concatenate([order[free][:k], order[~np.isin(order, order[free][:k])]])


def _noisy(data: Dataset, rows: ndarray, sigma: float, rng: np.random.Generator) -> Dataset:
    """These rows with noise in all columns, text as text. What is shown becomes the numbers: pictures of noise are seen as such."""
    if sp.issparse(data.X):
        raise DataError("noise in features makes sparse columns dense: pass a dense X.")
    X = np.array(data.X, np.float64 if data.X.dtype == np.float64 else np.float32)
    number = np.ones(X.shape[1], bool)
    for columns in data.one_hot:
        number[columns] = False
    if not data.one_hot:
        X[rows] += sigma * X.std() * rng.standard_normal((len(rows), X.shape[1]))
    elif number.any():
        X[np.ix_(rows, number)] += sigma * X[:, number].std() * rng.standard_normal((len(rows), int(number.sum())))
    for columns in data.one_hot:
        redrawn = rows[rng.random(len(rows)) < 1 - 1 / np.sqrt(1 + sigma**2)]
        X[redrawn, columns] = data.X[rng.integers(len(X), size=len(redrawn)), columns]
    if data.one_hot and not number.any():
        movable = [columns for columns in data.one_hot if columns.stop - columns.start > 1]
        if not movable:
            raise DataError("noise in features needs a column with two values at least, and each column here has one only.")
        for row in rows[(X[rows] == data.X[rows]).all(axis=1)]:  # a row that is called wrong is not what it was
            columns = movable[rng.integers(len(movable))]
            others = np.flatnonzero((data.X[:, columns] != data.X[row, columns]).any(axis=1))
            X[row, columns] = data.X[rng.choice(others), columns]
    return data.with_matrix(X)


def _human(data: Dataset, rate: float, human: Any, rng: np.random.Generator) -> tuple[Dataset, ndarray]:
    if human is None or len(human) != len(data):
        received = "none" if human is None else f"{len(human)}"
        raise DataError(f"kind 'human' needs the {len(data)} labels that people gave, one a row, got {received}.")
    human = np.asarray(human)
    differs = human != data.y
    share = differs.mean()
    if not differs.any() or rate > share:
        raise DataError(f"{share:.1%} of the human labels differ from the data's own: a rate of {rate:g} can't be had.")
    rows = rng.permutation(np.flatnonzero(differs))
    chosen = rows[: round(rate * len(data))] if rate else rows
    wrong = np.isin(np.arange(len(data)), chosen)
    return data.with_labels(np.where(wrong, human, data.y)), wrong
