"""What methods that retrain on subsets ask of a model: trained on these rows, what does it say of those?

A scikit-learn estimator, a torch module or a function from a seed to one; without any, logistic regression or ridge regression on
scaled columns, which `engines.linear` fits many at a time and exactly. Answers are log-probabilities of the classes, or
predictions; classes that a subset lacks get `LOWEST`.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import scipy.sparse as sp
from numpy import ndarray
from sklearn import __version__ as sklearn_version
from sklearn.base import clone, is_classifier, is_regressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge, RidgeCV

from datassay.data import DataError, Dataset
from datassay.engines import designs, linear
from datassay.engines.submodels import Said, Trainer

LOWEST = float(np.log(1e-12))  #: log-probability of what a model holds for impossible
CHOICE = 1e-5  # tolerance of the models by which the penalty is chosen
START, FARTHEST = -3, 6  # of C, in halves of a power of ten
SAMPLE = 1000  # rows by which C is chosen
KNOWN = 64  # data sets whose choice is remembered
UNLIKELY = float(np.log(1e-4))  # log-probability below which a fold's row counts no more
DENSE = 2**27  # numbers up to which a sparse matrix is made dense for the engine of linear models


@dataclass(frozen=True)
class Trainable:
    """A trainer, and the text by which its trainings are known."""

    trainer: Trainer
    text: str


def trainable(
    data: Dataset, model: Any, method: str, *, training: Any = None, device: str = "auto", tol: float = 1e-4
) -> Trainable:
    """The trainer for what was given as model; ``tol`` is the precision of logistic regressions.

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
            C, together = _chosen(data)
            X, Q = scaled(data, together=together)
            fit = linear.Logistic(X, data.codes, len(data.classes), C=C)
            what = "columns of a frame" if data.encoding else "columns in one scale" if together else "scaled columns"
            return Trainable(LogisticTrainer(fit, X, Q, tol), f"logistic regression, C={C:.3g}, {what}")
        X, Q = scaled(data)
        alpha = float(RidgeCV(len(X) * np.geomspace(1e-5, 10, 13)).fit(X, data.codes).alpha_)
        return Trainable(
            RidgeTrainer(X, data.codes, Q, alpha),
            f"ridge regression, alpha={alpha:.6g}, {'columns of a frame' if data.encoding else 'scaled columns'}",
        )
    if isinstance(model, type):
        raise DataError(f"{method}: model must be an instance, {model.__name__}() say, not the class.")
    if hasattr(model, "fit") and hasattr(model, "predict"):
        if training is not None:
            raise DataError(f"{method}: training says how a network is trained, and the model is a {type(model).__name__}.")
        if not hasattr(model, "get_params"):
            raise DataError(
                f"{method}: the model must be a scikit-learn estimator, with get_params, got {type(model).__name__}."
            )
        if is_regressor(model) if classification else is_classifier(model):
            raise DataError(f"{method}: this is {data.task}, and {type(model).__name__} is a model for the other task.")
        text = f"scikit-learn {sklearn_version} {_named(model)}"
        dense = _dense(data)
        if dense is not None and classification and (given := _logistic_C(model)):
            return Trainable(
                LogisticTrainer(linear.Logistic(dense[0], data.codes, len(data.classes), C=given), *dense, tol),
                f"{text} (exactly)",
            )
        if dense is not None and type(model) is Ridge and not classification and _plain_ridge(model):
            return Trainable(RidgeTrainer(dense[0], data.codes, dense[1], float(model.alpha)), f"{text} (exactly)")
        y, classes = data.y, tuple(data.classes)
        if y.dtype == object and not all(isinstance(label, str) for label in classes):  # scikit-learn can't sort them
            y, classes = data.codes, tuple(range(len(classes)))
        return Trainable(EstimatorTrainer(model, data.X, y, data.X_val, classes), text)
    if not callable(model):
        raise DataError(
            f"{method}: model must be a scikit-learn estimator, a torch nn.Module, or a function from a seed to one, "
            f"got {type(model).__name__}."
        )
    from datassay.stacks import network  # torch is imported where it is needed

    trainer, text = network(data, model, method, training=training, device=device)
    return Trainable(trainer, text)


def scaled(data: Dataset, *, together: bool = False) -> tuple[ndarray, ndarray | None]:
    """Columns with mean 0 and standard deviation 1 over the training rows, as float64; a frame's are so already.

    ``together``: all columns divided by one number instead, so that those that vary little, at the edge of a picture say, stay small.
    """
    found = _dense(data)
    if found is None:
        raise DataError(
            f"{data.X.shape[0]} x {data.X.shape[1]} numbers are too many for the default model: pass one that takes sparse rows, "
            "SGDClassifier(loss='log_loss') say."
        )
    X, Q = found
    if data.encoding:
        return X, Q
    mean, std = X.mean(0), X.std(0)
    std = np.full(len(std), np.sqrt((std**2).mean())) if together else np.where(std > 0, std, 1)
    return (X - mean) / std, None if Q is None else (Q - mean) / std


def _chosen(data: Dataset) -> tuple[float, bool]:
    """C of the default logistic regression, and whether one scale for all columns is better; known for data that came before.

    From `START` on C goes to its neighbours as long as the mean log-likelihood of the labels of three folds of at most `SAMPLE` rows
    rises; then down again, by a power of ten at most, to the strongest penalty that is within a standard error of the best. It
    matters: weak penalties fit single wrong labels, and what one row changes drowns in that. The folds follow from the ids.
    """
    if (key := f"{data.hash} {bool(data.encoding)}") not in _known:
        while len(_known) >= KNOWN:
            _known.pop(next(iter(_known)))
        _known[key] = _choose(data)
    return _known[key]


_known: dict[str, tuple[float, bool]] = {}  # by the hash of the data


def _choose(data: Dataset) -> tuple[float, bool]:
    best: tuple[ndarray, float, bool] | None = None
    rows = np.argsort(designs.places(data.ids.tolist()))[:SAMPLE]
    y, fold = data.codes[rows], np.arange(len(rows)) % 3
    inside = (fold != np.arange(3)[:, None]).astype(np.uint8)
    for together in (False, True)[: 1 if data.encoding else 2]:
        X = scaled(data, together=together)[0][rows]
        models = linear.Logistic(X, y, len(data.classes), few=True)
        nothing = np.zeros((X.shape[1] + 1, len(data.classes)))  # a start that has not seen the rows of the fold
        found: dict[int, ndarray] = {}

        def likelihood(
            at: int,
            X: ndarray = X,
            models: linear.Logistic = models,
            start: ndarray = nothing,
            found: dict[int, ndarray] = found,
        ) -> float:
            if at not in found:
                W = models.penalised(10.0 ** (at / 2))(inside, tol=CHOICE, start=start)
                said = linear.log_probabilities(X, W)[fold, np.arange(len(y)), y]
                found[at] = np.maximum(said, UNLIKELY)
            return float(found[at].mean())

        top = START
        for step in (1, -1):
            while abs(top + step) <= FARTHEST and likelihood(top + step) > likelihood(top):
                top += step
        at, enough = top, likelihood(top) - found[top].std() / np.sqrt(len(y))
        while at > max(-FARTHEST, top - 2) and likelihood(at - 1) >= enough:
            at -= 1
        if best is not None:  # one scale for all columns has to be better, and not by chance
            gain = found[top] - best[0]
        if best is None or gain.mean() > gain.std() / np.sqrt(len(y)):
            best = found[top], 10.0 ** (at / 2), together
    assert best is not None
    return best[1:]


def _dense(data: Dataset) -> tuple[ndarray, ndarray | None] | None:
    """Float64 matrices, if that is not too much."""
    if sp.issparse(data.X) and data.X.shape[0] * data.X.shape[1] > DENSE:
        return None

    def whole(X: Any) -> ndarray:
        return np.asarray(X.toarray() if sp.issparse(X) else X, np.float64)

    return whole(data.X), None if data.X_val is None else whole(data.X_val)


def _named(model: Any) -> str:
    """Class and options as text; functions by their code, since their addresses differ from run to run."""
    options = {name: coded(value) for name, value in sorted(model.get_params(deep=True).items())}
    return f"{type(model).__module__}.{type(model).__qualname__} {options!r}"


def coded(value: Any) -> Any:
    if isinstance(value, ndarray):  # repr leaves digits and entries out
        return f"{value.dtype} {value.shape} {hashlib.blake2b(np.ascontiguousarray(value).tobytes(), digest_size=8).hexdigest()}"
    if hasattr(value, "get_params"):  # its options stand beside it, by longer names
        return f"{type(value).__module__}.{type(value).__qualname__}"
    if isinstance(value, (list, tuple)):
        return [coded(part) for part in value]
    code = getattr(value, "__code__", None)
    if code is None:
        return value
    held = [coded(cell.cell_contents) for cell in value.__closure__ or ()]
    text = f"{code.co_code!r} {code.co_consts!r} {code.co_names!r} {value.__defaults__!r} {held!r}"
    return f"{value.__module__}.{value.__qualname__} {hashlib.blake2b(text.encode(), digest_size=8).hexdigest()}"


def _logistic_C(model: Any) -> float | None:
    """C, where it is the logistic regression that `engines.linear` fits."""
    if type(model) is not LogisticRegression:
        return None
    given = model.get_params()
    plain = (
        given.get("penalty", "l2") in ("l2", "deprecated")
        and given.get("l1_ratio", 0) in (0, None)
        and not given.get("dual", False)
        and given["fit_intercept"]
        and given["class_weight"] is None
        and not given["warm_start"]
        and given["solver"] != "liblinear"  # it shrinks the intercept, too
        and given.get("multi_class", "auto") in ("auto", "deprecated", "multinomial")
        and 0 < given["C"] < np.inf
    )
    return float(given["C"]) if plain else None


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

    def __call__(self, counts: ndarray, seeds: Sequence[int], *, val: bool, rows: bool) -> list[Said]:
        W = self.fit(counts, tol=self.tol)
        asked = self.Q if val else None, self.X if rows else None
        each = [None if Z is None else np.maximum(linear.log_probabilities(Z, W), LOWEST) for Z in asked]
        return _split(each, len(counts))


@dataclass(frozen=True)
class RidgeTrainer:
    X: ndarray
    y: ndarray
    Q: ndarray | None
    alpha: float
    block: int = 16
    random: bool = False

    def __call__(self, counts: ndarray, seeds: Sequence[int], *, val: bool, rows: bool) -> list[Said]:
        mean = self.y.mean()  # what a model of no rows says
        W = linear.ridge(self.X, self.y - mean, counts, alpha=self.alpha)
        asked = self.Q if val else None, self.X if rows else None
        return _split([None if Z is None else mean + linear.predictions(Z, W)[..., None] for Z in asked], len(counts))


def _split(each: list[ndarray | None], b: int) -> list[Said]:
    said = [None if found is None else found.astype(np.float32 if found.shape[-1] > 1 else np.float64) for found in each]
    return [Said(*(None if found is None else found[i] for found in said)) for i in range(b)]


@dataclass(frozen=True)
class EstimatorTrainer:
    """A scikit-learn estimator, cloned and fitted for each subset."""

    model: Any
    X: Any
    y: ndarray
    Q: Any
    classes: tuple[Any, ...]
    block: int = 1

    @property
    def random(self) -> bool:
        return any(k.split("__")[-1] == "random_state" and v is None for k, v in self.model.get_params(deep=True).items())

    def __call__(self, counts: ndarray, seeds: Sequence[int], *, val: bool, rows: bool) -> list[Said]:
        asked = [Z for Z, wanted in ((self.Q, val), (self.X, rows)) if wanted]
        said = []
        for c, seed in zip(counts, seeds, strict=True):
            found = iter(self._ask(np.repeat(np.arange(len(c)), c), seed, asked))
            said.append(Said(next(found) if val else None, next(found) if rows else None))
        return said

    def _ask(self, rows: ndarray, seed: int, asked: list[Any]) -> list[ndarray]:
        """What the model says of each matrix, trained on these rows."""
        labels = self.y[rows]
        if not self.classes:
            if len(rows) == 0:
                return [np.full((Z.shape[0], 1), self.y.astype(float).mean()) for Z in asked]
            model = self._fitted(rows, labels, seed)
            return [self._says(model.predict, Z, len(rows)).astype(np.float64).reshape(-1, 1) for Z in asked]
        code = {label: i for i, label in enumerate(self.classes)}
        present = sorted({code[label] for label in labels.tolist()})
        if len(present) < 2:  # no estimator can do anything with that
            p = np.full(len(self.classes), 1 / len(self.classes) if not present else 0.0)
            p[present] = 1.0
            return [np.tile(_log(p), (Z.shape[0], 1)) for Z in asked]
        model = self._fitted(rows, labels, seed)
        columns = [code[label] for label in model.classes_.tolist()]
        answers = []
        for Z in asked:
            p = np.zeros((Z.shape[0], len(self.classes)))
            if hasattr(model, "predict_proba"):
                p[:, columns] = self._says(model.predict_proba, Z, len(rows))
            else:
                p[np.arange(len(p)), [code[label] for label in self._says(model.predict, Z, len(rows)).tolist()]] = 1
            answers.append(_log(p))
        return answers

    def _says(self, ask: Callable[[Any], Any], Z: Any, rows: int) -> ndarray:
        name = type(self.model).__name__
        try:
            answer = np.asarray(ask(Z))
        except ValueError as error:
            raise DataError(
                f"{name} could not say anything after a subset of {rows} rows ({str(error).splitlines()[0]}): pass a model that can, "
                "or draw larger subsets."
            ) from error
        if answer.dtype.kind == "f" and not np.isfinite(answer).all():
            raise DataError(f"{name} said NaN or infinity after a subset of {rows} rows: pass a model that does not.")
        return answer

    def _fitted(self, rows: ndarray, labels: ndarray, seed: int) -> Any:
        model = clone(self.model)
        free = {k: seed for k, v in model.get_params(deep=True).items() if k.split("__")[-1] == "random_state" and v is None}
        model.set_params(**free)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            try:
                return model.fit(self.X[rows], labels)
            except ValueError as error:
                raise DataError(
                    f"{type(model).__name__} could not be fitted on a subset of {len(rows)} rows ({str(error).splitlines()[0]}): "
                    "pass a model that can, or draw larger subsets."
                ) from error


def _log(p: ndarray) -> ndarray:
    with np.errstate(divide="ignore"):
        return np.maximum(np.log(p), LOWEST).astype(np.float32)


# ------------------------------------------------------------------------------------------------------------- utilities


CLIP = float(np.log(1e-6))  # log-odds beyond 14 say no more, and would outweigh all others


def log_odds(said: ndarray) -> ndarray:
    """log p / (1 - p) of log-probabilities, clipped at odds of a million.

    >>> log_odds(np.log([0.5, 0.9, 1e-30])).round(3).tolist()
    [0.0, 2.197, -13.816]
    """
    logp = np.minimum(said.astype(np.float64), -1e-7)
    return np.clip(logp - np.log(-np.expm1(logp)), CLIP, -CLIP)


def of_labels(said: ndarray, codes: ndarray) -> ndarray:
    """(k, q) what is said of the label of each row, from (k, q, c)."""
    return np.take_along_axis(said, codes[None, :, None], axis=2)[..., 0]


def accuracy(said: ndarray, codes: ndarray) -> ndarray:
    """(k, q) whether the likeliest class is the label: among equal ones in equal shares."""
    top = said.max(2, keepdims=True) == said
    return of_labels(top / top.sum(2, keepdims=True), codes)


Scorer = Callable[[Any, Any, Any], float]


def utility_of(
    data: Dataset, what: str | Scorer | None, method: str, *, default: str = "margin"
) -> Callable[[ndarray], ndarray]:
    """The function from what trainings say of the validation rows, (k, m, c), to what each is worth, (k,).

    None: ``default``; in regression "squared-error", minus its mean in variances of the training labels. "margin" is the mean
    log-odds of the validation rows' labels.

    Raises
    ------
    DataError
        There is no such utility.
    """
    what = what or (default if data.task == "classification" else "squared-error")
    y = cast(ndarray, data.codes_val)
    if data.task == "classification":
        known: dict[str, Callable[[ndarray], ndarray]] = {
            "margin": lambda said: log_odds(of_labels(said, y)).mean(1),
            "accuracy": lambda said: accuracy(said, y).mean(1),
            "log-likelihood": lambda said: np.maximum(of_labels(said, y).astype(np.float64), CLIP).mean(1),
            "probability": lambda said: np.exp(of_labels(said, y).astype(np.float64)).mean(1),
        }
    else:
        variance = data.codes.var()
        known = {"squared-error": lambda said: -((said[..., 0] - y) ** 2).mean(1) / variance}
    if isinstance(what, str) and what in known:
        return known[what]
    scorer = what
    if isinstance(what, str):
        from sklearn.metrics import get_scorer, get_scorer_names

        if what not in get_scorer_names():
            raise DataError(
                f"{method}: utility must be {', '.join(map(repr, known))}, or a scikit-learn scorer, got {what!r}."
            )
        scorer = get_scorer(what)
    if not callable(scorer):
        raise DataError(f"{method}: utility must be a name or a scorer, scorer(model, X, y), got {type(what).__name__}.")
    rows = np.arange(len(y))[:, None]

    def scored(said: ndarray) -> ndarray:
        try:
            return np.array([float(scorer(_speaker(data, one), rows, data.y_val)) for one in said])
        except Exception as error:  # whatever somebody's scorer does
            raise DataError(
                f"{method}: the utility failed ({type(error).__name__}: {error}); it is called as scorer(model, X, y), where X are the "
                "validation rows' positions, and it must return a number."
            ) from error

    return scored


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
        return (lambda said: said[:, query, 0].astype(np.float64)), True
    own = int(cast(ndarray, data.codes_val)[query])
    if label is None:
        code = own
    elif isinstance(label, Hashable) and label in data.classes:
        code = data.classes.index(label)
    else:
        raise DataError(f"{method}: label must be one of the classes {data.classes[:10]}, got {label!r}.")
    if probability:
        return (lambda said: np.exp(said[:, query, code].astype(np.float64))), code == own
    return (lambda said: log_odds(said[:, query, code])), code == own


def _speaker(data: Dataset, said: ndarray) -> Any:
    """An estimator that says what was said."""
    from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

    class Classifier(ClassifierMixin, BaseEstimator):
        classes_ = np.asarray(data.labels_of(np.arange(len(data.classes)))) if data.classes else None

        def predict_proba(self, X: Any) -> ndarray:
            p = np.exp(said[X[:, 0]].astype(np.float64))
            return cast(ndarray, p / p.sum(1, keepdims=True))

        def predict(self, X: Any) -> ndarray:
            return data.labels_of(said[X[:, 0]].argmax(1))

        def __sklearn_is_fitted__(self) -> bool:
            return True

    class Regressor(RegressorMixin, BaseEstimator):
        def predict(self, X: Any) -> ndarray:
            return said[X[:, 0], 0]

        def __sklearn_is_fitted__(self) -> bool:
            return True

    return Classifier() if data.classes else Regressor()
