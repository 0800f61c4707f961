"""Values inside scikit-learn: a classifier that is fitted without the worst rows, or with weights, and a sampler that drops them.

`ValuedClassifier` wraps any classifier. `ValueSampler` has imbalanced-learn's ``fit_resample``, to be a step of its Pipeline:
scikit-learn's own pipelines have no step that drops rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from sklearn.base import BaseEstimator, ClassifierMixin, clone
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import _safe_indexing
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import assert_all_finite, check_is_fitted, column_or_1d, has_fit_parameter

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.methods import value
from datassay.values import Values

try:
    from sklearn.utils.validation import validate_data
except ImportError:  # scikit-learn 1.5

    def validate_data(
        estimator: Any, X: Any, y: Any = "no_validation", *, skip_check_array: bool = False, **params: Any
    ) -> Any:
        """The method that it was before it became a function."""
        return estimator._validate_data(X, y, cast_to_ndarray=not skip_check_array, **params)


LEFT = 2  # rows that every class keeps


class ValuedClassifier(ClassifierMixin, BaseEstimator):
    """Value the training rows, drop the worst of them or give all of them weights, and fit a classifier on what is left.

    Parameters
    ----------
    estimator
        Any classifier, a pipeline too; a clone of it is fitted. Default: logistic regression on standardised columns.
    method
        A name in `METHODS`. The rows are valued as ``datassay.value(Dataset(X, y), method)`` would.
    drop
        What is dropped: a share of the rows from 0.0 to 1.0, a whole number of rows, or "flagged", the rows that the method flags.
        The worst go first, and each class keeps two rows at least. "weigh" drops nothing: all rows are fitted with
        `Values.to_sample_weight` as their ``sample_weight``; a tree that is grown to the last row
        fits rows of small weight too, so drop them there.
    options
        Options of the method, by name; default: none.
    seed
        All randomness of the method follows from it; that of the estimator is its own affair.

    Attributes
    ----------
    values_ : Values
        Of the rows that were given to `fit`.
    kept_ : (n,) bool
        Which of these rows the estimator was fitted on.
    estimator_
        The fitted clone.
    classes_ : (c,) labels
        As they came, sorted.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> wrong = [3, 60, 140]
    >>> y[wrong] = [2, 0, 1]
    >>> model = ValuedClassifier(drop=0.05).fit(X, y)
    >>> int((~model.kept_).sum()), model.kept_[wrong].tolist()
    (7, [False, False, False])
    >>> model.predict(X[wrong]).tolist()
    [0, 1, 2]
    """

    def __init__(
        self,
        estimator: Any = None,
        method: str = "cg-score",
        drop: float | int | str = 0.05,
        options: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.estimator = estimator
        self.method = method
        self.drop = drop
        self.options = options
        self.seed = seed

    def fit(self, X: Any, y: Any, X_val: Any = None, y_val: Any = None) -> ValuedClassifier:
        """Value the rows, drop or weigh them, fit a clone of the estimator.

        Parameters
        ----------
        X
            (n, d) numbers, sparse too, or a frame, which the estimator gets as a frame.
        y
            (n,) labels of classes.
        X_val, y_val
            (m, d) and (m,) validation rows, for methods that need them; the estimator does not see them.

        Raises
        ------
        DataError
            If the data, the method, its options or ``drop`` are not what is needed, or the method needs validation rows and
            there are none, or rows are to be weighed and the estimator takes no weights.
        """
        _check_drop(self.drop, weigh=True)
        X, y = _checked(self, X, y)
        estimator = _default(X) if self.estimator is None else clone(self.estimator)
        name = _weight_name(estimator) if self.drop == "weigh" else ""
        self.values_ = _valued(self, X, y, X_val, y_val)
        self.classes_ = np.unique(y)
        self.kept_ = _kept(self.values_, y, self.drop)
        if self.drop == "weigh":
            self.estimator_ = estimator.fit(X, y, **{name: self.values_.to_sample_weight()})
        else:
            self.estimator_ = estimator.fit(_safe_indexing(X, self.kept_), y[self.kept_])
        return self

    def predict(self, X: Any) -> np.ndarray:
        """(m,) labels the fitted estimator gives."""
        X = self._rows(X)
        found: np.ndarray = self.estimator_.predict(X)
        return found

    @available_if(lambda self: _has(self, "predict_proba"))
    def predict_proba(self, X: Any) -> np.ndarray:
        """(m, c) probabilities of the classes, where the estimator has them."""
        X = self._rows(X)
        found: np.ndarray = self.estimator_.predict_proba(X)
        return found

    @available_if(lambda self: _has(self, "decision_function"))
    def decision_function(self, X: Any) -> np.ndarray:
        """(m,) or (m, c) decisions, where the estimator has them."""
        X = self._rows(X)
        found: np.ndarray = self.estimator_.decision_function(X)
        return found

    def _rows(self, X: Any) -> Any:
        check_is_fitted(self, "estimator_")
        if _is_frame(X):
            return validate_data(self, X, reset=False, skip_check_array=True)
        return validate_data(self, X, reset=False, accept_sparse="csr")

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import get_tags

        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = self.estimator is None or get_tags(self.estimator).input_tags.sparse
        return tags


class ValueSampler(BaseEstimator):
    """Drop the worst rows: a step of imbalanced-learn's Pipeline, which drops them while fitting and never while predicting.

    Parameters
    ----------
    method
        A name in `METHODS`. The rows are valued as ``datassay.value(Dataset(X, y), method)`` would.
    drop
        What is dropped: a share of the rows from 0.0 to 1.0, a whole number of rows, or "flagged", the rows that the method flags.
        The worst go first, and each class keeps two rows at least.
    options
        Options of the method, by name; default: none.
    seed
        All randomness follows from it.

    Attributes
    ----------
    values_ : Values
        Of the rows that came.
    sample_indices_ : (k,) int
        Positions of the rows that were kept, ascending.
    n_features_in_, feature_names_in_
        As everywhere in scikit-learn.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> y[[3, 60, 140]] = [2, 0, 1]
    >>> sampler = ValueSampler(drop=7)
    >>> X_kept, y_kept = sampler.fit_resample(X, y)
    >>> X_kept.shape, bool(set(sampler.sample_indices_) & {3, 60, 140})
    ((143, 4), False)
    """

    def __init__(
        self,
        method: str = "cg-score",
        drop: float | int | str = 0.05,
        options: dict[str, Any] | None = None,
        seed: int = 0,
    ) -> None:
        self.method = method
        self.drop = drop
        self.options = options
        self.seed = seed

    def fit(self, X: Any, y: Any, X_val: Any = None, y_val: Any = None) -> ValueSampler:
        """Value the rows and note which are kept; the arguments of `fit_resample`."""
        _check_drop(self.drop, weigh=False)
        X, y = _checked(self, X, y)
        self.values_ = _valued(self, X, y, X_val, y_val)
        self.sample_indices_ = np.flatnonzero(_kept(self.values_, y, self.drop))
        return self

    def fit_resample(self, X: Any, y: Any, X_val: Any = None, y_val: Any = None) -> tuple[Any, Any]:
        """The rows that are kept, and their labels, as what they came: frames stay frames.

        Parameters
        ----------
        X
            (n, d) numbers, sparse too, or a frame.
        y
            (n,) labels of classes.
        X_val, y_val
            (m, d) and (m,) validation rows, for methods that need them.

        Raises
        ------
        DataError
            If the data, the method, its options or ``drop`` are not what is needed, or the method needs validation rows and
            there are none.
        """
        self.fit(X, y, X_val, y_val)
        rows = self.sample_indices_
        if sp.issparse(X):
            X = X.tocsr()
        return _safe_indexing(X, rows), _safe_indexing(y, rows)


def _is_frame(X: Any) -> bool:
    return hasattr(X, "columns") and hasattr(X, "shape")


def _checked(estimator: Any, X: Any, y: Any) -> tuple[Any, np.ndarray]:
    """Arrays as scikit-learn checks them, frames as they are; labels in one dimension."""
    if y is None:
        raise DataError(f"{type(estimator).__name__} requires y to be passed, but the target y is None: give a label a row.")
    if _is_frame(X):
        X = validate_data(estimator, X, reset=True, skip_check_array=True)
        y = column_or_1d(y, warn=True)
        assert_all_finite(y, input_name="y")
    else:
        X, y = validate_data(estimator, X, y, reset=True, accept_sparse="csr")
    check_classification_targets(y)
    return X, np.asarray(y)


def _valued(estimator: Any, X: Any, y: np.ndarray, X_val: Any, y_val: Any) -> Values:
    # by position, as everything in scikit-learn: a frame's index may have doubles here, in a bootstrap sample say
    data = Dataset(X, y, X_val, y_val, ids=np.arange(len(y)), task="classification")
    options = {"progress": False} | (estimator.options or {})
    return value(data, estimator.method, seed=estimator.seed, **options)


def _check_drop(drop: Any, *, weigh: bool) -> None:
    if isinstance(drop, str):
        right = drop == "flagged" or (weigh and drop == "weigh")
    elif isinstance(drop, (bool, np.bool_)) or not isinstance(drop, (int, float, np.integer, np.floating)):
        right = False
    else:
        right = bool(drop >= 0 and (isinstance(drop, (int, np.integer)) or drop <= 1))
    if not right:
        known = "'flagged' or 'weigh'" if weigh else "or 'flagged'"
        raise DataError(f"drop must be a share from 0.0 to 1.0, a whole number of rows, {known}, got {drop!r}.")


def _kept(values: Values, y: np.ndarray, drop: Any) -> np.ndarray:
    """(n,) which rows stay: of those to be dropped the worst go first, as long as their class has more than `LEFT`."""
    kept = np.ones(len(values), bool)
    if drop == "weigh":
        return kept
    order = np.argsort(values.ranks())
    if drop == "flagged":
        order = order[values.flagged[order]]
    else:
        order = order[: drop if isinstance(drop, (int, np.integer)) else int(drop * len(values) + 1e-9)]
    for label in np.unique(y):
        rows = order[y[order] == label]
        kept[rows[: max(0, int((y == label).sum()) - LEFT)]] = False
    return kept


def _default(X: Any) -> Pipeline:
    return make_pipeline(StandardScaler(with_mean=not sp.issparse(X)), LogisticRegression(max_iter=1000))


def _weight_name(estimator: Any) -> str:
    """The keyword by which `fit` of an estimator, or of the last step of a pipeline, takes weights."""
    name, last = "sample_weight", estimator
    while isinstance(last, Pipeline):
        step, last = last.steps[-1]
        name = f"{name.removesuffix('sample_weight')}{step}__sample_weight"
    if not has_fit_parameter(last, "sample_weight"):
        raise DataError(
            f"drop='weigh' needs an estimator whose fit takes sample_weight, got {type(last).__name__}: drop a share of the rows instead."
        )
    return name


def _has(classifier: ValuedClassifier, name: str) -> bool:
    """Whether the estimator, fitted if it is, has such a method."""
    if hasattr(classifier, "estimator_"):
        return hasattr(classifier.estimator_, name)
    return classifier.estimator is None or hasattr(classifier.estimator, name)
