"""BoostIn (Brophy, Hammoudeh & Lowd, JMLR 2023, arXiv 2205.00359): what gradient-boosted trees' answers owe to each row, from one fit.

    boostin_i = mean over validation rows z of sum over trees, where i and z are in one leaf, of  a_z . d value / d weight_i
    d value of a leaf / d weight of row i = -(rate g_i + value h_i) / (H + l2)

a_z: derivative of the answer for z in what the trees before say of it; g, h: gradient and Hessian of the row's loss; H: sum over the leaf.
The splits, and the gradients that later trees see, stay as they are. It is TracIn, along the iterations of boosting.

Differs from the paper: the answer is the log-odds of the label where that has the loss, unless ``utility="log-likelihood"``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, cast

import numpy as np
import scipy.sparse as sp
from numpy import ndarray
from scipy.special import expit, softmax

from datassay.checks import DataError, Seed, Whole
from datassay.data.dataset import Dataset
from datassay.engines.boosting import boostin as computed
from datassay.files import save_npy
from datassay.methods.definition import Finding, method
from datassay.subsets.boosted import OTHERS, fitted
from datassay.subsets.utilities import as_question

NAME = "boostin"
NEAR = 1e-3  # of what the trees say, by which values computed anew may differ


@method("boostin")
def boostin(
    data: Dataset,
    model: Any = None,
    *,
    utility: Literal["margin", "log-likelihood", "squared-error"] | None = None,
    query: Annotated[int, Whole(0)] | None = None,
    label: Any = None,
    matrix: str | Path | None = None,
    seed: Seed = 0,
) -> Finding:
    """What the answers of gradient-boosted trees for the validation rows owe to each row.

    Parameters
    ----------
    data
        n rows; m validation rows.
    model
        A HistGradientBoostingClassifier or Regressor of scikit-learn, or that of LightGBM (LGBMClassifier, LGBMRegressor) or XGBoost
        (XGBClassifier, XGBRegressor), fitted here to all rows: without early stopping, sub-sampling of rows or class weights. None:
        scikit-learn's.
    utility
        What is asked of the validation rows: "margin" (None), the log-odds of their labels, or their "log-likelihood", as in the paper;
        regression: "squared-error", minus that, in variances of the training labels.
    query, label
        One validation row by its position, and a class (None: its own label), in place of all rows and their labels; regression: the
        prediction. If ``label`` is another than its own, rows that speak for it have low scores.
    matrix
        A .npy file to write the values for each validation row to: (n, m), or (n, 1) with ``query``.

    Returns
    -------
    Values
        Column ``boostin`` (n,): by how much the answer would fall without the row, to first order. scores (n,), high = worth keeping: the
        column. Flagged: below 0. Suggested label: what the trees say. ``stats["model"]``.

    Examples
    --------
    >>> import datassay as da
    >>> data, wrong = da.plant(da.datasets.drawn("wine", train=90, val=60, test=20).data, "uniform", 0.1, seed=1)
    >>> values = da.value(data, method="boostin")
    >>> int(wrong.sum()), int(wrong[values.suspects(9).index].sum())   # wrong labels; those among the nine lowest scores
    (9, 7)
    """
    q = as_question(data, NAME, utility=utility, query=query, label=label, matrix=matrix)
    codes = cast(ndarray, data.codes_val)
    X, Q = (np.asarray(Z.toarray() if sp.issparse(Z) else Z, float) for Z in (data.X, data.X_val))
    if query is not None:
        Q, codes = Q[query][None], np.array([q.code]) if data.classes else codes[query][None]
    trees, says, text = fitted(data, X, Q, model, seed, NAME)
    c, variance = len(data.classes), float(data.codes.var())

    def towards(f: ndarray) -> ndarray:
        if not c:
            return np.ones_like(f) if query is not None else -2 * (f - codes[:, None]) / variance
        if f.shape[1] == 1:
            sign = 2.0 * codes[:, None] - 1
            return sign * (expit(-sign * f) if q.utility == "log-likelihood" else 1.0)
        p = softmax(f, axis=1)
        away = (np.arange(c) == codes[:, None]) - p
        return away if q.utility == "log-likelihood" else away / np.maximum(1 - p[np.arange(len(p)), codes], 1e-9)[:, None]

    found = computed(trees, data.codes, c, towards, keep=matrix is not None)
    far = (np.abs(found.outputs - says) / (1 + np.abs(says))).max(1)
    at = int(far.argmax())
    if not far[at] < NEAR:
        raise DataError(
            f"{NAME}: the trees of this {text.split(',')[0]} don't say what their leaves' rows make of them (of row {at} "
            f"{says[at][0]:g}, where "
            f"{found.outputs[at][0]:g} was computed): weights, sub-sampling, a prior or constraints are at work. Leave them out, or take "
            f"{OTHERS}."
        )
    if found.each is not None and matrix is not None:
        save_npy(found.each, Path(matrix))
    if not c:
        suggested = found.outputs[:, 0]
    else:
        ahead = (found.outputs[:, 0] > 0).astype(int) if found.outputs.shape[1] == 1 else found.outputs.argmax(1)
        suggested = data.labels_of(ahead)
    what = "lowers what the trees say for the validation rows' labels"
    if query is not None:
        what = f"{'lowers' if q.own else 'raises'} the answer that was asked for"
    value = found.total
    stats = {"model": text, "trainings": 1, "flag_rule": f"score below 0: the row {what}"}
    return Finding(value.copy() if q.own else -value, (value < 0) == q.own, {NAME: value}, suggested, stats)
