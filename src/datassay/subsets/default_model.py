"""The default linear model: how its columns are scaled, and its penalty."""

from __future__ import annotations

import functools
import weakref
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy import ndarray

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.engines import designs, linear

CHOICE = 1e-5  # tolerance of the models by which the penalty is chosen
ROUGHLY = 1e-3  # the same where there are many classes
WARM = 10  # classes beyond which such a model begins where the one of the last penalty ended
PREDICTIONS = 2**21  # numbers that are said of the rows by which C is chosen of these
START, FARTHEST = -3, 6  # of C, in halves of a power of ten
SAMPLE = 1000  # rows by which C is chosen
KNOWN = 64  # data sets whose choice is remembered
UNLIKELY = float(np.log(1e-4))  # log-probability below which a fold's row counts no more
DENSE = 2**27  # numbers up to which a sparse matrix is made dense for the engine of linear models


def scaled(data: Dataset, *, together: bool = False) -> tuple[ndarray, ndarray | None]:
    """Columns with mean 0 and standard deviation 1 over the training rows, as float64; a frame's are so already.

    ``together``: all columns divided by one number instead, so that those that vary little, at the edge of a picture say, stay small.
    """
    matrices = _dense(data)
    if matrices is None:
        raise DataError(
            f"{data.X.shape[0]} x {data.X.shape[1]} numbers are too many for the default model: pass one that takes sparse rows, "
            "SGDClassifier(loss='log_loss') say."
        )
    X, Q = matrices
    if data.standardised:
        return X, Q
    mean, std = X.mean(0), X.std(0)
    std = np.full(len(std), np.sqrt((std**2).mean())) if together else std
    std = np.where(std > 0, std, 1)  # a column that is constant tells nothing, and nothing is what it gives
    return (X - mean) / std, None if Q is None else (Q - mean) / std


def default_C(data: Dataset) -> tuple[float, bool]:
    """C of the default logistic regression, and whether one scale for all columns is better; known for data that came before.

    From `START` on C goes to its neighbours as long as the mean log-likelihood of the labels of three folds of at most `SAMPLE` rows
    rises; then down again, by a power of ten at most, to the strongest penalty that is within a standard error of the best. It
    matters: weak penalties fit single wrong labels, and what one row changes drowns in that. The folds follow from the ids. Of
    some classes (`WARM`) models go on from those of the last penalty; of many there are more rows, since each needs some, one fold
    alone, and C goes by powers of ten.
    """
    return _choice(_Content(data.hash, data.standardised, weakref.ref(data)))


@dataclass(frozen=True)
class _Content:
    """What a choice depends on; equal for data sets of the same content, none of which it keeps in memory."""

    hash: str
    standardised: bool
    data: weakref.ref[Dataset] = field(compare=False)


@functools.lru_cache(KNOWN)
def _choice(content: _Content) -> tuple[float, bool]:
    data = content.data()
    assert data is not None  # the caller has it
    return _choose(data)


def _choose(data: Dataset) -> tuple[float, bool]:
    best: tuple[ndarray, float, bool] | None = None
    classes, warm, rough = len(data.classes), len(data.classes) > WARM, len(data.classes) > linear.MANY
    rows = np.argsort(designs.places(data.ids.tolist()))[: max(SAMPLE, PREDICTIONS // classes) if rough else SAMPLE]
    y, fold = data.codes[rows], np.arange(len(rows)) % 3
    if rough:  # one fold is enough, and its models take long
        judged = np.flatnonzero(fold == 0)
        fold, y_judged = fold[judged], y[judged]
    else:
        judged, y_judged = np.arange(len(y)), y
    inside = (np.arange(len(rows)) % 3 != np.arange(1 if rough else 3)[:, None]).astype(np.uint8)
    for together in (False, True)[: 1 if data.standardised else 2]:
        X = scaled(data, together=together)[0][rows]
        models = linear.Logistic(X, y, classes, few=True, rough=warm)
        likelihoods: dict[int, ndarray] = {}
        start = np.zeros((len(inside), X.shape[1] + 1, classes))  # it has not seen the rows of the fold

        def likelihood(
            at: int,
            X: ndarray = X,
            models: linear.Logistic = models,
            start: ndarray = start,
            likelihoods: dict[int, ndarray] = likelihoods,
        ) -> float:
            if at not in likelihoods:
                W = models.penalised(10.0 ** (at / 2))(inside, tol=ROUGHLY if rough else CHOICE, start=start)
                if warm:
                    start[:] = np.where(np.isfinite(W), W, 0.0)
                log_likelihood = linear.log_probabilities(X[judged], W)[fold, np.arange(len(judged)), y_judged]
                likelihoods[at] = np.maximum(log_likelihood, UNLIKELY)
            return float(likelihoods[at].mean())

        top, apart = START, 2 if rough else 1
        for step in (apart, -apart):
            while abs(top + step) <= FARTHEST and likelihood(top + step) > likelihood(top):
                top += step
        at, enough = top, likelihood(top) - likelihoods[top].std() / np.sqrt(len(judged))
        while at - apart >= max(-FARTHEST, top - 2) and likelihood(at - apart) >= enough:
            at -= apart
        if best is not None:  # one scale for all columns has to be better, and not by chance
            gain = likelihoods[top] - best[0]
        if best is None or gain.mean() > gain.std() / np.sqrt(len(judged)):
            best = likelihoods[top], 10.0 ** (at / 2), together
    assert best is not None
    return best[1:]


def _dense(data: Dataset) -> tuple[ndarray, ndarray | None] | None:
    """Float64 matrices, if that is not too much."""
    if sp.issparse(data.X) and data.X.shape[0] * data.X.shape[1] > DENSE:
        return None

    def whole(X: Any) -> ndarray:
        return np.asarray(X.toarray() if sp.issparse(X) else X, np.float64)

    return whole(data.X), None if data.X_val is None else whole(data.X_val)
