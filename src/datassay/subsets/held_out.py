"""Out-of-sample predictions: by folds, or by all subsets that lack a row."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy import ndarray

from datassay.checks import DataError, one_of
from datassay.data.dataset import Dataset
from datassay.data.probabilities import by_class
from datassay.engines.designs import Draw, Subsets
from datassay.subsets.study import Stop, Study, Trained, study_of
from datassay.subsets.utilities import accuracy, log_odds, of_labels

AT_ONCE = 2**23  # predictions that are held at once
TOL = 1e-6  # of logistic regressions for folds, which begin at a model of all rows: nothing of that may remain


def out_of_sample_predictions(s: Study, repeats: int, ask: Callable[[Study], ndarray]) -> ndarray:
    """(repeats, n, c) out-of-sample probabilities (regression: predictions), of studies that differ by their seeds."""
    seeds = [s.seed, *np.random.SeedSequence(s.seed).generate_state(repeats - 1).tolist()]
    predictions = np.stack([ask(replace(s, seed=seed)) for seed in seeds])
    if s.data.task == "regression":
        return predictions
    p = np.exp(predictions)
    return p / p.sum(2, keepdims=True)


def class_probabilities(
    name: str, data: Dataset, model: Any, given: Any, folds: int, repeats: int, shared: Trained
) -> tuple[ndarray, list[Any], dict[str, Any], dict[str, Any]]:
    """(n, K) out-of-sample probabilities, the K classes, and what `Values.stats` and ``options`` say of them: those that were given, or
    out-of-fold ones.

    Raises
    ------
    DataError
        A model came beside the probabilities, or these don't fit.
    """
    if given is None:
        s = study_of(name, data, model, shared, tol=TOL, few=True)
        p = out_of_sample_predictions(s, repeats, lambda t: t.out_of_fold(folds)).mean(0)
        return p, list(data.classes), {"model": s.text, "trainings": folds * repeats}, {}
    if model is not None:
        raise DataError(f"{name}: probabilities say what a model would: leave one of them out.")
    p, classes = by_class(data, given, name)
    return p, classes, {}, {"probabilities": f"given, {p.shape[0]} x {p.shape[1]}"}


RowUtility = Callable[[ndarray], ndarray]  #: from predictions of the rows, (k, n, c), to the utility for each row, (k, n)


def utility_of_rows(data: Dataset, utility: str | None, method: str) -> RowUtility:
    """T; None is the first of those for the task.

    Raises
    ------
    DataError
        There is no such utility.
    """
    y = data.codes
    known: dict[str, RowUtility] = {
        "accuracy": lambda predictions: accuracy(predictions, y),
        "probability": lambda predictions: np.exp(of_labels(predictions, y).astype(np.float64)),
        "margin": lambda predictions: log_odds(of_labels(predictions, y)),
    }
    if data.task == "regression":
        known = {"squared-error": lambda predictions: -((predictions[..., 0] - y) ** 2)}
    one_of(method, (None, *known), utility=utility)
    return known[utility or next(iter(known))]


class Without(NamedTuple):
    """Predictions of each row by trainings without it: the mean over groups of trainings of the mean in each group."""

    value: ndarray  #: (n,) of the utility; NaN where all trainings had the row
    stderr: ndarray  #: (n,) of the value; infinite where too few trainings lacked the row
    votes: ndarray  #: (n, c) shares of the trainings that predict each class, (n, 1) the prediction
    trainings: ndarray  #: (groups, n) how many were without the row

    def check(self, s: Study, where: str) -> None:
        """Each row must have been left out once.

        Raises
        ------
        DataError
            It was not.
        """
        never = np.flatnonzero(self.trainings.sum(0) == 0)
        if len(never):
            raise DataError(
                f"{s.method}: {len(never)} of {len(s.data)} rows are {where} (the first has id {s.data.ids[never[0]]!r}), so nothing can "
                "be said of them: ask for more n_models."
            )


def outside(
    s: Study, draw: Draw, stop: Stop, row_utility: RowUtility, where: str, levels: Sequence[float] = ()
) -> tuple[Without, dict[str, Any]]:
    """Train until the stopping rule holds, and evaluate each training on the rows that it lacks; all ``levels`` of p have the same weight.

    Raises
    ------
    DataError
        A row was in all subsets.
    """

    def evaluate(subsets: Subsets) -> Without:
        m = len(subsets.p)
        group = np.abs(subsets.p[:, None] - np.array(levels)).argmin(1) if levels else np.zeros(m, np.int64)
        return without(s, subsets, row_utility, group, max(1, len(levels)))

    def look(subsets: Subsets) -> tuple[ndarray, ndarray]:
        result = evaluate(subsets)
        return np.nan_to_num(result.value), result.stderr

    collected = s.collect(s.drawn(draw), stop, rows=True, look=look)
    result = evaluate(collected.subsets)
    result.check(s, where)
    return result, s.about(collected) | {"stderr": result.stderr}


def without(s: Study, subsets: Subsets, row_utility: RowUtility, group: ndarray, groups: int) -> Without:
    """Evaluate trainings (m of them, each in a group) on the rows that they lack."""
    m, n = subsets.counts.shape
    c = max(1, len(s.data.classes))
    trainings = np.stack([(subsets.counts[group == g] == 0).sum(0) for g in range(groups)])
    with np.errstate(divide="ignore"):
        weight = np.where(trainings > 0, 1 / trainings, 0) / np.maximum(1, (trainings > 0).sum(0))
    total, squares, votes = np.zeros((groups, n)), np.zeros((groups, n)), np.zeros((n, c))
    step = max(1, AT_ONCE // (n * c))
    for a in range(0, m, step):
        part, of = Subsets(subsets.counts[a : a + step], subsets.p[a : a + step]), group[a : a + step]
        predictions = s.utilities_of(part, lambda predictions: predictions, rows=True)
        out = part.counts == 0
        value = np.where(out, row_utility(predictions), 0.0)
        np.add.at(total, of, value)
        np.add.at(squares, of, value**2)
        if s.data.classes:
            likeliest = predictions == predictions.max(2, keepdims=True)
            predictions = likeliest / likeliest.sum(2, keepdims=True)
        votes += np.einsum("kn,knc->nc", out * weight[of], predictions)
    with np.errstate(invalid="ignore"):
        value = (total / np.maximum(1, trainings)).sum(0) / (trainings > 0).sum(0)
    return Without(value, _stderr(trainings, total, squares, weight), votes, trainings)


def _stderr(trainings: ndarray, total: ndarray, squares: ndarray, weight: ndarray) -> ndarray:
    """(n,) of the mean of means; a group with a single training is taken to vary as the others do."""
    with np.errstate(divide="ignore", invalid="ignore"):
        variance = np.maximum(squares - total**2 / trainings, 0) / (trainings - 1)
    known = trainings > 1
    usual = np.where(known, variance, 0).sum(0) / np.maximum(1, known.sum(0))
    stderr = np.sqrt((np.where(known, variance, usual) * weight**2 * trainings).sum(0))
    return np.where(known.any(0), stderr, np.inf)
