"""The utility of a training, from its predictions of the validation rows."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any, NamedTuple, cast

import numpy as np
from numpy import ndarray

from datassay.checks import DataError, one_of
from datassay.data.dataset import Dataset
from datassay.files import check_npy

LOWEST = float(np.log(1e-12))  #: lower limit of log-probabilities
CLIP = float(np.log(1e-6))  # log-odds beyond 14 carry no information, and would outweigh all others


def log_odds(predictions: ndarray) -> ndarray:
    """log p / (1 - p) of log-probabilities, clipped at odds of a million.

    >>> log_odds(np.log([0.5, 0.9, 1e-30])).round(3).tolist()
    [0.0, 2.197, -13.816]
    """
    logp = np.minimum(predictions.astype(np.float64), -1e-7)
    return np.clip(logp - np.log(-np.expm1(logp)), CLIP, -CLIP)


def of_labels(predictions: ndarray, codes: ndarray) -> ndarray:
    """(k, q) the prediction for the label of each row, from (k, q, c)."""
    return np.take_along_axis(predictions, codes[None, :, None], axis=2)[..., 0]


def accuracy(predictions: ndarray, codes: ndarray) -> ndarray:
    """(k, q) whether the likeliest class is the label: among equal ones in equal shares."""
    top = predictions.max(2, keepdims=True) == predictions
    return of_labels(top / top.sum(2, keepdims=True), codes)


Scorer = Callable[[Any, Any, Any], float]


def utility_of(
    data: Dataset, utility: str | Scorer | None, method: str, *, default: str = "margin"
) -> Callable[[ndarray], ndarray]:
    """The function from predictions of the validation rows, (k, m, c), to utilities, (k,).

    None: ``default``; in regression "squared-error", minus its mean in variances of the training labels. "margin" is the mean
    log-odds of the validation rows' labels.

    Raises
    ------
    DataError
        There is no such utility.
    """
    utility = utility or (default if data.task == "classification" else "squared-error")
    y = cast(ndarray, data.codes_val)
    if data.task == "classification":
        known: dict[str, Callable[[ndarray], ndarray]] = {
            "margin": lambda predictions: log_odds(of_labels(predictions, y)).mean(1),
            "accuracy": lambda predictions: accuracy(predictions, y).mean(1),
            "log-likelihood": lambda predictions: np.maximum(of_labels(predictions, y).astype(np.float64), CLIP).mean(1),
            "probability": lambda predictions: np.exp(of_labels(predictions, y).astype(np.float64)).mean(1),
        }
    else:
        variance = data.codes.var()
        known = {"squared-error": lambda predictions: -((predictions[..., 0] - y) ** 2).mean(1) / variance}
    if isinstance(utility, str) and utility in known:
        return known[utility]
    scorer = utility
    if isinstance(utility, str):
        from sklearn.metrics import get_scorer, get_scorer_names

        if utility not in get_scorer_names():
            raise DataError(
                f"{method}: utility must be {', '.join(map(repr, known))}, or a scikit-learn scorer, got {utility!r}."
            )
        scorer = get_scorer(utility)
    if not callable(scorer):
        raise DataError(f"{method}: utility must be a name or a scorer, scorer(model, X, y), got {type(utility).__name__}.")
    rows = np.arange(len(y))[:, None]

    def scored(predictions: ndarray) -> ndarray:
        try:
            return np.array([float(scorer(_as_estimator(data, one), rows, data.y_val)) for one in predictions])
        except Exception as error:  # whatever somebody's scorer does
            raise DataError(
                f"{method}: the utility failed ({type(error).__name__}: {error}); it is called as scorer(model, X, y), where X are the "
                "validation rows' positions, and it must return a number."
            ) from error

    return scored


def other_utility(
    data: Dataset, utility: Any, method: str, *, default: str = "margin"
) -> dict[str, Callable[[ndarray], ndarray]]:
    """A utility beside the one that is asked for, by its name: the accuracy, or if that is asked for ``default``; regression has one."""
    if data.task != "classification":
        return {}
    name = default if utility == "accuracy" else "accuracy"
    return {name: utility_of(data, name, method)}


def query_utility(
    data: Dataset, query: int, label: Any, method: str, *, probability: bool = False
) -> tuple[Callable[[ndarray], ndarray], bool]:
    """The log-odds (or probability) of one class for one validation row (regression: the prediction), and whether that class is its
    label.

    Raises
    ------
    DataError
        There is no such row, or no such class.
    """
    m = len(cast(ndarray, data.codes_val))
    if isinstance(query, bool) or not isinstance(query, (int, np.integer)) or not 0 <= query < m:
        raise DataError(f"{method}: query must be the position of a validation row, from 0 to {m - 1}, got {query!r}.")
    if data.task == "regression":
        if label is not None:
            raise DataError(f"{method}: label is a class, and this is regression.")
        return (lambda predictions: predictions[:, query, 0].astype(np.float64)), True
    own = int(cast(ndarray, data.codes_val)[query])
    if label is None:
        code = own
    elif isinstance(label, Hashable) and label in data.classes:
        code = data.classes.index(label)
    else:
        raise DataError(f"{method}: label must be one of the classes {data.classes[:10]}, got {label!r}.")
    if probability:
        return (lambda predictions: np.exp(predictions[:, query, code].astype(np.float64))), code == own
    return (lambda predictions: log_odds(predictions[:, query, code])), code == own


class Question(NamedTuple):
    """What is asked of a fitted model."""

    utility: str  #: of all validation rows
    query: int | None  #: or of one of them
    code: int  #: the class whose log-odds are asked for there; -1: none
    own: bool = True  #: whether that is its label


def as_question(data: Dataset, method: str, *, utility: str | None, query: int | None, label: Any, matrix: Any) -> Question:
    """The question that a method's options ask; and the file for all answers can be written.

    Raises
    ------
    DataError
        There is no such utility, row, class or folder, or the options don't go together.
    """
    if query is None and label is not None:
        raise DataError(f"{method}: label is for a query: give the position of a validation row as query, too.")
    known = ("margin", "log-likelihood") if data.task == "classification" else ("squared-error",)
    one_of(method, (None, *known), utility=utility)
    if utility is not None and query is not None:
        raise DataError(f"{method}: utility is about the validation rows together: leave it out.")
    if matrix is not None:
        check_npy(matrix, method)
    own, code = True, -1
    if query is not None:
        own = query_utility(data, query, label, method)[1]
        if data.task == "classification":
            code = data.classes.index(label) if label is not None else int(cast(ndarray, data.codes_val)[query])
    return Question(utility or known[0], query, code, own)


def _as_estimator(data: Dataset, predictions: ndarray) -> Any:
    """The predictions as a fitted estimator."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    class Classifier(ClassifierMixin, BaseEstimator):
        classes_ = np.asarray(data.labels_of(np.arange(len(data.classes)))) if data.classes else None

        def predict_proba(self, X: Any) -> ndarray:
            p = np.exp(predictions[X[:, 0]].astype(np.float64))
            return cast(ndarray, p / p.sum(1, keepdims=True))

        def predict(self, X: Any) -> ndarray:
            return data.labels_of(predictions[X[:, 0]].argmax(1))

        def __sklearn_is_fitted__(self) -> bool:
            return True

    class Regressor(RegressorMixin, BaseEstimator):
        def predict(self, X: Any) -> ndarray:
            return predictions[X[:, 0], 0]

        def __sklearn_is_fitted__(self) -> bool:
            return True

    return Classifier() if data.classes else Regressor()
