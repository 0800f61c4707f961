"""Trainers: fit a model on each subset and predict other rows.

A scikit-learn estimator, a torch module or a function from a seed to one; without any, logistic regression or ridge regression on
scaled columns, which `engines.linear` fits many at a time and exactly. Predictions are log-probabilities of the classes, or
regression targets; classes that a subset lacks get `LOWEST`.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy import ndarray
from sklearn import __version__ as sklearn_version
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.compose import ColumnTransformer
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.data.encoding import plain
from datassay.engines import linear
from datassay.engines.train_subsets import Trainer
from datassay.engines.training_store import Predictions
from datassay.subsets.default_model import _dense, default_C, scaled
from datassay.subsets.identity import described
from datassay.subsets.utilities import LOWEST

NAMED = 5  # classes and ids of a subset that an error names


@dataclass(frozen=True)
class Trainable:
    """A trainer, and the text by which its trainings are known."""

    trainer: Trainer
    text: str


def trainable(
    data: Dataset,
    model: Any,
    method: str,
    *,
    training: Any = None,
    device: str = "auto",
    tol: float = 1e-4,
    few: bool = False,
) -> Trainable:
    """The trainer for what was given as model; ``tol`` is the precision of logistic regressions, of which ``few`` are asked for.

    Raises
    ------
    DataError
        It is no model, or one for another task.
    ImportError
        It is a torch module, and torch is not installed.
    """
    classification = data.task == "classification"
    if model is None:
        if training is not None:
            raise DataError(f"{method}: training says how a network is trained; pass one as model.")
        if classification:
            C, together = default_C(data)
            X, Q = scaled(data, together=together)
            fit = linear.Logistic(X, data.codes, len(data.classes), C=C, few=few)
            scaling = "columns of a frame" if data.standardised else "columns in one scale" if together else "scaled columns"
            return Trainable(LogisticTrainer(fit, X, Q, tol), f"logistic regression, C={C:.3g}, {scaling}")
        X, Q = scaled(data)
        alpha = float(RidgeCV(len(X) * np.geomspace(1e-5, 10, 13)).fit(X, data.codes).alpha_)
        return Trainable(
            RidgeTrainer(X, data.codes, Q, alpha),
            f"ridge regression, alpha={alpha:.6g}, {'columns of a frame' if data.standardised else 'scaled columns'}",
        )
    if isinstance(model, type) and not _makes_network(model):
        raise DataError(f"{method}: model must be an instance, {model.__name__}() say, not the class.")
    if hasattr(model, "fit") and hasattr(model, "predict") and not isinstance(model, type):
        if training is not None:
            raise DataError(f"{method}: training says how a network is trained, and the model is a {type(model).__name__}.")
        if not hasattr(model, "get_params"):
            raise DataError(
                f"{method}: the model must be a scikit-learn estimator, with get_params, got {type(model).__name__}."
            )
        if is_regressor(model) if classification else is_classifier(model):
            raise DataError(f"{method}: this is {data.task}, and {type(model).__name__} is a model for the other task.")
        text = f"scikit-learn {sklearn_version} {described(model)}"
        dense = _dense(data)
        if dense is not None and classification and (parameters := _logistic_C(model)):
            return Trainable(
                LogisticTrainer(
                    linear.Logistic(dense[0], data.codes, len(data.classes), C=parameters, few=few), *dense, tol
                ),
                f"{text} (exactly)",
            )
        if dense is not None and type(model) is Ridge and not classification and _plain_ridge(model):
            return Trainable(RidgeTrainer(dense[0], data.codes, dense[1], float(model.alpha)), f"{text} (exactly)")
        y, classes = data.y, tuple(data.classes)
        if y.dtype == object and not all(isinstance(label, str) for label in classes):  # scikit-learn can't sort them
            y, classes = data.codes, tuple(range(len(classes)))
        return Trainable(EstimatorTrainer(model, _tables(data, model), y, classes, data.ids), text)
    if not callable(model):
        raise DataError(
            f"{method}: model must be a scikit-learn estimator, a torch nn.Module, or a function from a seed to one, "
            f"got {type(model).__name__}."
        )
    from datassay.subsets.torch_trainer import network  # torch is imported where it is needed

    trainer, text = network(data, model, method, training=training, device=device)
    return Trainable(trainer, text)


def is_linear(model: Any) -> bool:
    """Whether it is a model of scikit-learn that `engines.linear` fits itself.

    >>> is_linear(LogisticRegression(C=0.1)), is_linear(LogisticRegression(class_weight="balanced"))
    (True, False)
    """
    return _logistic_C(model) is not None or (type(model) is Ridge and _plain_ridge(model))


def _makes_network(model: type) -> bool:
    return any(base.__module__.startswith("torch.nn.") for base in model.__mro__)


class Rows(NamedTuple):
    """The training rows and the validation rows in one form."""

    X: Any
    Q: Any  #: or None

    def take(self, rows: ndarray) -> Any:
        """Training rows by position."""
        return self.X.iloc[rows] if hasattr(self.X, "iloc") else self.X[rows]


def _tables(data: Dataset, model: Any) -> tuple[Rows, ...]:
    """The forms in which an estimator may take the rows, the likely one first: numbers, and the frame from which they were made."""
    numbers = Rows(data.X, data.X_val)
    if (
        not isinstance(data.shown, pd.DataFrame) or data.base is not None or not data.encoding
    ):  # other numbers are valued than its own
        return (numbers,)
    if not set(data.encoding) <= {str(c) for c in data.shown.columns}:
        return (numbers,)
    frame = Rows(data.shown, data.shown_val)
    return (frame, numbers) if _names_columns(model) else (numbers, frame)


def _names_columns(model: Any) -> bool:
    """Whether a part of it chooses columns by their names, or by what is in them."""
    parts = [model, *model.get_params(deep=True).values()]
    chosen = [columns for part in parts if isinstance(part, ColumnTransformer) for *_, columns in part.transformers]
    return any(callable(c) or isinstance(c, str) or (np.ndim(c) == 1 and any(isinstance(x, str) for x in c)) for c in chosen)


def _logistic_C(model: Any) -> float | None:
    """C, where it is the logistic regression that `engines.linear` fits."""
    if type(model) is not LogisticRegression:
        return None
    parameters = model.get_params()
    plain = (
        parameters.get("penalty", "l2") in ("l2", "deprecated")
        and parameters.get("l1_ratio", 0) in (0, None)
        and not parameters.get("dual", False)
        and parameters["fit_intercept"]
        and parameters["class_weight"] is None
        and not parameters["warm_start"]
        and parameters["solver"] != "liblinear"  # it shrinks the intercept, too
        and parameters.get("multi_class", "auto") in ("auto", "deprecated", "multinomial")
        and 0 < parameters["C"] < np.inf
    )
    return float(parameters["C"]) if plain else None


def _plain_ridge(model: Ridge) -> bool:
    return isinstance(model.alpha, (int, float)) and model.alpha > 0 and model.fit_intercept and not model.positive


@dataclass(frozen=True)
class LogisticTrainer:
    fit: linear.Logistic
    X: ndarray
    Q: ndarray | None
    tol: float
    block: int = 25
    random: bool = False

    def __call__(self, counts: ndarray, seeds: Sequence[int], *, val: bool, rows: bool) -> list[Predictions]:
        W = self.fit(counts, tol=self.tol)
        matrices = self.Q if val else None, self.X if rows else None
        each = [None if Z is None else np.maximum(linear.log_probabilities(Z, W), LOWEST) for Z in matrices]
        return _split(each, len(counts))


@dataclass(frozen=True)
class RidgeTrainer:
    X: ndarray
    y: ndarray
    Q: ndarray | None
    alpha: float
    block: int = 16
    random: bool = False

    def __call__(self, counts: ndarray, seeds: Sequence[int], *, val: bool, rows: bool) -> list[Predictions]:
        mean = self.y.mean()  # the prediction of a model of no rows
        W = linear.ridge(self.X, self.y - mean, counts, alpha=self.alpha)
        matrices = self.Q if val else None, self.X if rows else None
        return _split([None if Z is None else mean + linear.predictions(Z, W)[..., None] for Z in matrices], len(counts))


def _split(each: list[ndarray | None], b: int) -> list[Predictions]:
    arrays = [
        None if predictions is None else predictions.astype(np.float32 if predictions.shape[-1] > 1 else np.float64)
        for predictions in each
    ]
    return [Predictions(*(None if predictions is None else predictions[i] for predictions in arrays)) for i in range(b)]


@dataclass(frozen=True)
class EstimatorTrainer:
    """A scikit-learn estimator, cloned and fitted for each subset.

    It is given its rows and labels as they are; where it can't be fitted on that, codes 0 to k - 1 of the subset's classes, and the
    frame. Its exception becomes an error that names the subset that caused it.
    """

    model: Any
    tables: tuple[Rows, ...]  #: the form that is tried first, and the others
    y: ndarray
    classes: tuple[Any, ...]
    ids: ndarray
    block: int = 1

    @property
    def random(self) -> bool:
        return bool(self._free)

    @cached_property
    def _free(self) -> list[str]:
        """The parameters that take a training's seed."""
        return [k for k, v in self.model.get_params(deep=True).items() if k.split("__")[-1] == "random_state" and v is None]

    @cached_property
    def _fresh(self) -> Any:
        """What is copied for every training: scikit-learn's `clone` reads signatures, which takes as long as a small tree. None where a
        part is not scikit-learn's: a model may hold what can't be copied, or shall not be."""
        parts = [self.model, *(v for v in self.model.get_params(deep=True).values() if hasattr(v, "get_params"))]
        known = all(type(part).__module__.startswith("sklearn.") for part in parts)
        return clone(self.model) if known else None

    @cached_property
    def _codes(self) -> ndarray:
        """(n,) places of the labels among the classes."""
        code = {label: i for i, label in enumerate(self.classes)}
        return np.array([code[label] for label in self.y.tolist()], np.int64)

    def _model(self, seed: int) -> Any:
        if self._fresh is None:
            other = clone(self.model)
            return other.set_params(**dict.fromkeys(self._free, seed)) if self._free else other
        model = copy.deepcopy(self._fresh)
        for name in self._free:
            if "__" in name:
                model.set_params(**{name: seed})
            else:
                setattr(model, name, seed)  # what `set_params` does after it has read all of them
        return model

    def __call__(self, counts: ndarray, seeds: Sequence[int], *, val: bool, rows: bool) -> list[Predictions]:
        predictions = []
        for c, seed in zip(counts, seeds, strict=True):
            matrices = iter(self._predict_after(np.repeat(np.arange(len(c)), c), seed, val=val, rows=rows))
            predictions.append(Predictions(next(matrices) if val else None, next(matrices) if rows else None))
        return predictions

    def _predict_after(self, inside: ndarray, seed: int, *, val: bool, rows: bool) -> list[ndarray]:
        """Predictions for each matrix of the model trained on these rows."""
        sizes = [Z.shape[0] for Z, wanted in ((self.tables[0].Q, val), (self.tables[0].X, rows)) if wanted]
        if not self.classes:
            if len(inside) == 0:
                return [np.full((size, 1), self.y.astype(float).mean()) for size in sizes]
            model, table, _ = self._fit(inside, [self.y[inside]], seed)
            predictions = [
                self._predict(model.predict, Z, inside) for Z, wanted in ((table.Q, val), (table.X, rows)) if wanted
            ]
            return [answer.astype(np.float64).reshape(-1, 1) for answer in predictions]
        code = {label: i for i, label in enumerate(self.classes)}
        labels, of = self.y[inside], self._codes[inside]
        present = np.unique(of)
        if len(present) < 2:  # no estimator can do anything with that
            p = np.full(len(self.classes), 1 / len(self.classes) if not len(present) else 0.0)
            p[present] = 1.0
            return [np.tile(_log(p), (size, 1)) for size in sizes]
        model, table, by_number = self._fit(inside, [labels, np.searchsorted(present, of)], seed)
        code = {i: int(c) for i, c in enumerate(present)} if by_number else code
        code = {str(label): c for label, c in code.items()} | code  # some models predict all labels as text

        def codes(predictions: Any) -> list[int]:
            return [code[label] for label in np.asarray(predictions).ravel().tolist()]

        columns, answers = codes(model.classes_) if hasattr(model, "classes_") else present.tolist(), []
        for Z, wanted in ((table.Q, val), (table.X, rows)):
            if not wanted:
                continue
            p = np.zeros((Z.shape[0], len(self.classes)))
            if hasattr(model, "predict_proba"):
                p[:, columns] = self._predict(model.predict_proba, Z, inside)
            else:
                p[np.arange(len(p)), codes(self._predict(model.predict, Z, inside))] = 1
            answers.append(_log(p))
        return answers

    def _predict(self, ask: Callable[[Any], Any], Z: Any, inside: ndarray) -> ndarray:
        name = type(self.model).__name__
        try:
            answer = np.asarray(ask(Z))
        except MemoryError:
            raise
        except Exception as error:  # whatever somebody's model does
            raise DataError(
                f"{name} could not say anything after a subset of {self._subset(inside, error)}: pass a model that can, "
                "or draw larger subsets."
            ) from error
        if answer.dtype.kind == "f" and not np.isfinite(answer).all():
            raise DataError(f"{name} said NaN or infinity after a subset of {len(inside)} rows: pass a model that does not.")
        return answer

    def _fit(self, inside: ndarray, forms: list[ndarray], seed: int) -> tuple[Any, Rows, bool]:
        """The fitted model; the form of the rows that it took; and whether it took numbers in place of labels."""
        first: Exception | None = None
        for table in self.tables:
            for place, labels in enumerate(forms):
                model = self._model(seed)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", ConvergenceWarning)
                    try:
                        return model.fit(table.take(inside), labels), table, place > 0
                    except MemoryError:
                        raise
                    except Exception as error:  # whatever somebody's model does
                        first = first or error
        assert first is not None
        raise DataError(
            f"{type(self.model).__name__} could not be fitted on a subset of {self._subset(inside, first)}: pass a model "
            "that can, or draw larger subsets."
        ) from first

    def _subset(self, inside: ndarray, error: Exception) -> str:
        """Which rows these are, in a few words, and the model's own exception."""
        sample = ", ".join(repr(plain(i)) for i in self.ids[inside[:NAMED]]) + (", ..." if len(inside) > NAMED else "")
        description = f"ids {sample}; {type(error).__name__}: {(str(error).strip().splitlines() or ['no more is said'])[0]}"
        if self.classes:
            count: dict[Any, int] = {}
            for label in self.y[inside].tolist():
                count[label] = count.get(label, 0) + 1
            each = [f"{plain(c)!r} {count[c]}" for c in self.classes if c in count]
            description = f"{', '.join(each[:NAMED])}{', ...' if len(each) > NAMED else ''}; {description}"
        return f"{len(inside)} rows ({description})"


def _log(p: ndarray) -> ndarray:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(p), LOWEST).astype(np.float32)
