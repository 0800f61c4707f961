"""Fitted gradient-boosted trees of scikit-learn, LightGBM and XGBoost in one form: in which leaf of which tree every row lies."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy import ndarray
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from datassay.checks import DataError
from datassay.data.dataset import Dataset
from datassay.engines.boosting import Trees, leaves_of_nodes

KNOWN = (
    "HistGradientBoostingClassifier",
    "HistGradientBoostingRegressor",
    "LGBMClassifier",
    "LGBMRegressor",
    "XGBClassifier",
    "XGBRegressor",
)
OTHERS = "ame or datamodels, which ask any model, by trainings on subsets"


def default(data: Dataset, seed: int) -> Any:
    """Scikit-learn's, fitted to all rows."""
    kind = HistGradientBoostingClassifier if data.task == "classification" else HistGradientBoostingRegressor
    return kind(early_stopping=False, random_state=seed)


def fitted(data: Dataset, X: ndarray, Q: ndarray, model: Any, seed: int, method: str) -> tuple[Trees, ndarray, str]:
    """The model, fitted to the rows; what it says of them (n, K), to compare with; and its text.

    Raises
    ------
    DataError
        It is no model of KNOWN, or for the other task, or it fits to a part of the rows.
    """
    classes = data.task == "classification"
    if model is None:
        model = default(data, seed)
    kind = type(model).__name__
    if kind not in KNOWN:
        raise DataError(f"{method} reads the trees of {', '.join(KNOWN)}, got {kind}: take {OTHERS}.")
    if kind.endswith("Classifier") != classes:
        raise DataError(f"{method}: this is {data.task}, and {kind} is a model for the other task.")
    net = clone(model)
    if "random_state" in net.get_params() and net.get_params()["random_state"] is None:
        net.set_params(random_state=seed)
    net.fit(X, data.codes)
    by = _sklearn if kind.startswith("Hist") else _lightgbm if kind.startswith("LGBM") else _xgboost
    try:
        trees, says = by(net, data, X, Q)
    except ValueError as error:
        raise DataError(f"{method}: of this {kind} values can't be computed ({error}): take {OTHERS}.") from None
    return trees, says, f"{kind}, {len(trees.leaves)} iterations"


def _sklearn(net: Any, data: Dataset, X: ndarray, Q: ndarray) -> tuple[Trees, ndarray]:
    if net.do_early_stopping_:
        raise ValueError("early_stopping leaves rows out: pass early_stopping=False")
    if net.loss not in ("log_loss", "squared_error"):
        raise ValueError(f"its loss is {net.loss}, and log_loss or squared_error is needed")
    grown = [[tree.nodes for tree in trees] for trees in net._predictors]
    leaves, asked = (np.array([[leaves_of_nodes(nodes, Z) for nodes in step] for step in grown]) for Z in (X, Q))
    says = np.asarray(net.decision_function(X) if data.classes else net.predict(X), float).reshape(len(X), -1)
    base = np.ravel(net._baseline_prediction)
    still = np.array([[len(nodes) == 1 and nodes["value"][0] == 0 for nodes in step] for step in grown])
    return Trees(leaves, asked, base, net.learning_rate, net.l2_regularization, still=still), says


def _lightgbm(net: Any, data: Dataset, X: ndarray, Q: ndarray) -> tuple[Trees, ndarray]:
    K = len(data.classes) if len(data.classes) > 2 else 1
    leaves, asked = (_by_step(net.predict(Z, pred_leaf=True), K) for Z in (X, Q))
    if not data.classes:
        base = np.array([data.codes.mean()])
    else:
        share = np.bincount(data.codes, minlength=len(data.classes)) / len(data)
        base = np.log(share) if K > 1 else np.log(share[1:] / share[:1])
    says = np.asarray(net.predict(X, raw_score=True), float).reshape(len(X), K)
    return Trees(leaves, asked, base, net.learning_rate, net.reg_lambda, K / (K - 1) if K > 1 else 1.0), says


def _xgboost(net: Any, data: Dataset, X: ndarray, Q: ndarray) -> tuple[Trees, ndarray]:
    import json

    K = len(data.classes) if len(data.classes) > 2 else 1
    leaves, asked = (_by_step(net.apply(Z), K) for Z in (X, Q))
    config = json.loads(net.get_booster().save_config())["learner"]
    base = np.atleast_1d(np.asarray(json.loads(config["learner_model_param"]["base_score"]), float))
    if data.classes and K == 1:
        base = np.log(base / (1 - base))
    if len(base) != K:
        base = np.full(K, float(base[0]))
    trained = config["gradient_booster"]["tree_train_param"]
    says = np.asarray(net.predict(X, output_margin=True), float).reshape(len(X), K)
    return Trees(leaves, asked, base, float(trained["eta"]), float(trained["lambda"]), 2.0 if K > 1 else 1.0), says


def _by_step(leaves: ndarray, K: int) -> ndarray:
    """(t, K, n) of (n, t K)."""
    return np.asarray(leaves).astype(np.int64).T.reshape(-1, K, len(leaves))
