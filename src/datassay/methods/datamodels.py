"""Datamodels (Ilyas et al., ICML 2022): a model's prediction of each validation row, as a linear function of the rows it is trained on.

    theta_q = argmin 1/(2 m) sum_j (f_q(S_j) - theta_q0 - theta_q . 1_S_j)^2 + lambda_q |theta_q|_1
    score_i = mean over q of theta_q,i                                f_q(S): log-odds of q's label by the model trained on S

S_j: every row with probability alpha (``inclusion``). Each validation row q has a LASSO of its own, its lambda by generalised
cross-validation; the trainings are the same for all. theta_q,i is what row i does to q: the whole matrix can be kept, and one q can be
asked for.

Differs from the paper: lambda by generalised cross-validation, not by trainings that are left out; subsets drawn row by row, so that
their size varies a little; log-odds clipped at a million to one instead of the logit margin; hundreds of trainings, not hundreds of
thousands.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, Unpack, cast

import numpy as np
from numpy import ndarray

from datassay.checks import Count, DataError, Share, Whole
from datassay.data.dataset import Dataset
from datassay.engines import effects
from datassay.engines.designs import Inclusion
from datassay.files import check_npy, save_npy
from datassay.methods.definition import SUBSETS, Finding, method
from datassay.subsets.study import Trained, stop_when, study_of
from datassay.subsets.utilities import log_odds, of_labels, query_utility

AT_ONCE = 64  # queries whose LASSOs share the work on the masks
TOL = 1e-5  # duality gap: with about as many trainings as rows further digits take long


@method("datamodels", SUBSETS, renamed={"alpha": "inclusion"})
def datamodels(
    data: Dataset,
    model: Any = None,
    *,
    n_models: Count = 1000,
    budget: str | float | None = None,
    inclusion: Share = 0.5,
    rule: Literal["gcv", "min", "1se"] = "gcv",
    folds: Annotated[int, Whole(2)] = 5,
    query: Annotated[int, Whole(0)] | None = None,
    label: Any = None,
    matrix: str | Path | None = None,
    **shared: Unpack[Trained],
) -> Finding:
    """Effect of every row on a model's prediction of each validation row, by the LASSO on random subsets.

    Parameters
    ----------
    inclusion
        Probability with which a row is in a subset.
    rule, folds
        How the penalty is chosen: "gcv", by the residuals and the number of coefficients of one fit, or by cross-validation, several
        times as long: "min", "1se" and folds as for `ame`.
    query, label
        One validation row by its position, and a class (None: its own label), instead of all rows and their labels. If ``label``
        is another than its own, rows that speak for it have low scores.
    matrix
        A .npy file to write theta to: (n, m), or (n, 1) with ``query``.

    Returns
    -------
    Values
        scores (n,): the column ``datamodel``, high = raises the log-odds of the validation rows' labels. Flagged: below 0. Suggested label:
        by models of the other folds. ``stats["explained"]``: R^2 of new trainings as ``rule`` estimates it, the mean over queries;
        somewhat too high by "gcv" with fewer trainings than rows.

    Examples
    --------
    >>> import datassay as da
    >>> data, wrong = da.plant(da.datasets.drawn("wine", train=60, val=20, test=20).data, "uniform", 0.1, seed=1)
    >>> values = da.value(data, method="datamodels", n_models=200)
    >>> int(wrong.sum()), int(wrong[values.suspects(6).index].sum())   # wrong labels; those among the six lowest scores
    (6, 6)
    """
    if query is None and label is not None:
        raise DataError("datamodels: label is for a query: give the position of a validation row as query, too.")
    if matrix is not None:
        check_npy(matrix, "datamodels")
    stop = stop_when("datamodels", n_models, {"budget": budget})
    s = study_of("datamodels", data, model, shared)
    own = True
    if query is not None:
        one, own = query_utility(data, query, label, "datamodels")
    elif data.task == "classification":
        y = cast(ndarray, data.codes_val)

    def utility_of_training(predictions: ndarray) -> ndarray:
        if query is not None:
            return one(predictions)[:, None]
        if data.task == "classification":
            return log_odds(of_labels(predictions, y))
        return -((predictions[..., 0] - np.asarray(data.codes_val)) ** 2)

    collected, F = s.sample(Inclusion("grid", (float(inclusion),)), stop, utility_of_training)
    X = collected.subsets.counts.astype(np.float64)
    parts, r_squared = [], []
    length = 50 if rule == "gcv" else 100  # alphas: twice as far apart, and as good
    for start in range(0, F.shape[1], AT_ONCE):
        U = F[:, start : start + AT_ONCE]
        fitted = effects.lasso(
            X, U, rule=rule, folds=folds, length=length, tol=TOL, seed=shared["seed"], n_jobs=shared["n_jobs"]
        )
        parts.append(fitted.coef)
        least = np.nanmin(fitted.error, axis=0)
        r_squared.append(1 - least / np.maximum(U.var(axis=0), 1e-300))
    theta = np.concatenate(parts, axis=1)
    if matrix is not None:
        save_npy(theta, Path(matrix))
    value = theta.mean(axis=1)
    scores = value.copy() if own else -value
    stats = {
        "trainings": len(F),
        "model": s.text,
        "stopped": collected.stopped,
        "explained": float(np.concatenate(r_squared).mean()),
        "nonzero": float((theta != 0).mean()),
        "flag_rule": "score below 0: the row "
        + (
            "lowers the log-odds of the label" + ", on average" * (query is None)
            if own
            else "raises the log-odds of the label asked for"
        )
        if data.task == "classification"
        else "score below 0: "
        + ("on average the row raises the squared error" if query is None else "the row lowers the prediction"),
    }
    suggested = s.suggested()
    return Finding(scores, scores < 0, {"datamodel": value}, suggested, stats)
