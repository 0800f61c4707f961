"""Linear datamodelling score (Park et al., ICML 2023): do a method's values, added up over a subset, tell what a model of that subset says?

    LDS_q = Spearman correlation over subsets S_1, ..., S_M between f_q(S_j) and the sum over i in S_j of tau_q,i

S_j: half of the rows, at random. f_q(S): the log-odds of validation row q's label by a model that is trained on S (regression: minus its
squared error). tau_q,i: the value of row i for q. Reported: the mean over the validation rows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import numpy as np
from numpy import ndarray
from scipy.stats import rankdata

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.engines.designs import Subsets
from datassay.methods import find, takes, value
from datassay.subsets.study import TOL, study
from datassay.subsets.utilities import log_odds, of_labels
from datassay.values import Values

MASKS = 100  # subsets
QUERIES = 50  # validation rows, at most


def asked(data: Dataset) -> ndarray:
    """Positions of the validation rows that are asked about, evenly spaced."""
    m = len(cast(ndarray, data.codes_val))
    return np.unique(np.linspace(0, m - 1, min(m, QUERIES)).round().astype(int))


def ask(data: Dataset, method: Any, seed: int, options: Mapping[str, Any]) -> tuple[Values, ndarray]:
    """Values, and (n, q) what every row is worth to each validation row of `asked`: from one call, where the method keeps a matrix of
    them, else from as many calls, which share their trainings.

    Raises
    ------
    DataError
        The method can't be asked about one validation row.
    """
    rows = asked(data)
    with TemporaryDirectory() as folder:
        if takes("matrix", method):
            path = Path(folder) / "matrix.npy"
            found = value(data, method, seed=seed, matrix=path, **options)
            return found, np.load(path)[:, rows]
        if not takes("query", method):
            raise DataError(f"{find(method)[0]} can't be asked about one validation row.")
        kept = {"store": Path(folder) / "trainings.sqlite"} if takes("store", method) and "store" not in options else {}
        each = [value(data, method, seed=seed, query=int(q), **kept, **options) for q in rows]
    return each[0], np.stack([values.scores for values in each], 1)


def halves(n: int, masks: int, seed: int) -> ndarray:
    """(masks, n) random halves of n rows.

    >>> halves(6, 4, 0).sum(1).tolist()
    [3, 3, 3, 3]
    """
    rng, found = np.random.default_rng(seed), np.zeros((masks, n), np.uint8)
    for mask in found:
        mask[rng.permutation(n)[: n // 2]] = 1
    return found


@lru_cache(maxsize=2)
def retrained(data: Dataset, model: Any, training: Any, seed: int, masks: int = MASKS) -> tuple[ndarray, ndarray]:
    """(masks, n) halves of the rows, and (masks, m) what models of them say of each validation row.

    Kept for the next method of the same model.
    """
    counts = halves(len(data), masks, seed)
    subsets = Subsets(counts, np.full(masks, np.nan))
    trained = study(
        "evaluate", data, model, training=training, device="auto", store=None, seed=seed, n_jobs=1, progress=False, tol=TOL
    )
    trained.train(subsets)
    codes = cast(ndarray, data.codes_val)

    def said(predictions: ndarray) -> ndarray:
        if data.task == "regression":
            return -((predictions[..., 0] - codes) ** 2)
        return log_odds(of_labels(predictions, codes))

    return counts, trained.utilities_of(subsets, said)


def scores(matrix: ndarray, counts: ndarray, said: ndarray) -> ndarray:
    """(q,) Spearman correlation over the masks, of validation rows whose models differ at all; 0 where values say nothing.

    >>> counts = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 1]])
    >>> scores(np.array([[5.0], [2.0], [1.0]]), counts, np.array([[9.0], [8.0], [1.0]]))
    array([1.])
    """
    a, b = rankdata(counts @ matrix, axis=0), rankdata(said, axis=0)
    a, b = a - a.mean(0), b - b.mean(0)
    length = np.sqrt((a * a).sum(0) * (b * b).sum(0))
    return np.where(length > 0, (a * b).sum(0) / np.maximum(length, 1e-300), 0.0)


@lru_cache(maxsize=2)
def default_network(data: Dataset) -> Callable[[int], Any]:
    """A function from a seed to the network that methods train on these rows where they are given none."""
    from datassay.networks.problem import problem

    return partial(problem(data, None, "cpu", "evaluate").make, 0)


@lru_cache(maxsize=2)
def default_trees(data: Dataset) -> Any:
    """The boosted trees that methods fit to these rows where they are given no model."""
    from datassay.subsets.boosted import default

    return default(data, 0)
