"""Leave-one-out: what is lost when one row is.

    loo_i = U(N) - U(N without i)                     U: utility of the model trained on these rows, on the validation rows

Ridge regression and least squares need one fit: with A = X'X + alpha I (intercept not penalised), e the residuals and
h_i = x_i' A^-1 x_i, the fit without row i predicts q'theta - (q' A^-1 x_i) e_i / (1 - h_i). Other models are trained n + 1 times; logistic
regression to a gradient of 1e-9, since what one row changes is small. Where a training is random all have the same seed, and
``repeats`` takes the mean over several; what is left of the noise is often larger than the effect of a row, see ``stats["stderr"]``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Unpack

import numpy as np
from numpy import ndarray
from sklearn.linear_model import LinearRegression

from datassay.checks import Count
from datassay.data.dataset import Dataset
from datassay.engines import designs
from datassay.engines.designs import Subsets
from datassay.engines.progress import progress_bar
from datassay.methods.definition import SUBSETS, Finding, method
from datassay.subsets.default_model import scaled
from datassay.subsets.study import Study, Trained, Utility, study_of
from datassay.subsets.trainers import RidgeTrainer
from datassay.subsets.utilities import utility_of

PRECISE = 1e-9
MASKS = 256 * 2**20  # bytes of subsets that are held at once
BLOCK = 256  # rows whose predictions without them are held at once


@method("leave-one-out", SUBSETS)
def leave_one_out(
    data: Dataset,
    model: Any = None,
    *,
    utility: Any = None,
    repeats: Count = 1,
    **shared: Unpack[Trained],
) -> Finding:
    """What the utility on the validation rows loses without each row: exactly, by n + 1 trainings or a closed form.

    Parameters
    ----------
    utility
        As for `ame`: "margin" (None), "accuracy", "log-likelihood", "probability", "squared-error", or a scikit-learn scorer.
        Accuracy is a step function: most rows change nothing.
    repeats
        Of random trainings, each with another seed.

    Returns
    -------
    Values
        scores = the column ``leave_one_out`` (n,), high = worth keeping. Flagged: below 0. Suggested label: by models of the other
        folds.

    Examples
    --------
    >>> import datassay as da
    >>> data, wrong = da.plant(da.datasets.drawn("wine", train=60, val=60, test=20).data, "uniform", 0.1, seed=1)
    >>> values = da.value(data, method="leave-one-out")
    >>> int(wrong.sum()), int(wrong[values.suspects(6).index].sum())   # wrong labels; those among the six lowest scores
    (6, 5)
    """
    s = study_of("leave-one-out", data, model, shared, tol=PRECISE, same_seed=True)
    training_utility = utility_of(data, utility, "leave-one-out")
    closed = _least_squares(s, model)
    if closed is not None and _leverage(closed[0], closed[2]).max() > 1 - 1e-8:
        closed = None  # a row that alone decides a coefficient: without it the fit is another one
    stats: dict[str, Any] = {}
    if closed is not None:
        value, everything = _closed(*closed, data.codes, training_utility)
        stats |= {"way": "closed form, one fit", "trainings": 1}
    else:
        repeats = repeats if s.trainer.random else 1
        every = [_retrained(replace(s, seed=s.seed + r), training_utility) for r in range(repeats)]
        value, everything = np.mean([v for v, _ in every], axis=0), float(np.mean([u for _, u in every]))
        stats |= {"way": "every row left out in turn", "trainings": repeats * (len(data) + 1)}
        if repeats > 1:
            stats["stderr"] = np.std([v for v, _ in every], axis=0, ddof=1) / np.sqrt(repeats)
    suggested = replace(s, same_seed=False).suggested()
    stats |= {
        "model": s.text,
        "utility_of_all": everything,
        "flag_rule": "leave-one-out value below 0: the model is better without the row",
    }
    return Finding(value.copy(), value < 0, {"leave_one_out": value}, suggested, stats)


def _retrained(s: Study, training_utility: Utility) -> tuple[ndarray, float]:
    """(n,) U(N) - U(N without i), and U(N)."""
    n = len(s.data)
    everything = Subsets(np.ones((1, n), np.uint8), np.full(1, np.nan))
    block = s.trainer.block
    size = (
        max(1, MASKS // (n * block)) * block
    )  # whole blocks of the trainer: so the bits are those of one list of all subsets
    parts: list[ndarray] = []
    with progress_bar(f"leave-one-out, {n} rows", n, progress=s.progress) as bar:
        s.train(everything)
        utility_of_all = float(s.utilities_of(everything, training_utility)[0])
        for a in range(0, n, size):
            left_out = designs.without_each(n, range(a, min(a + size, n)))
            s.train(left_out, bar=bar)
            parts.append(utility_of_all - s.utilities_of(left_out, training_utility))
    return np.concatenate(parts), utility_of_all


def _least_squares(s: Study, model: Any) -> tuple[ndarray, ndarray, float] | None:
    """X, validation X and penalty, where a closed form holds."""
    trainer = s.trainer
    if isinstance(trainer, RidgeTrainer):
        assert trainer.Q is not None
        return trainer.X, trainer.Q, trainer.alpha
    if type(model) is LinearRegression and model.fit_intercept and not model.positive and s.data.task == "regression":
        X, Q = scaled(s.data)  # least squares does not care for the unit of a column
        design = np.c_[X, np.ones(len(X))]
        if Q is not None and np.linalg.matrix_rank(design) == design.shape[1] < len(X):
            return X, Q, 0.0
    return None


def _leverage(X: ndarray, alpha: float) -> ndarray:
    """(n,) h_i"""
    d = X.shape[1]
    X = np.c_[X, np.ones(len(X))]
    return np.einsum("nd,dn->n", X, np.linalg.solve(X.T @ X + np.diag(np.r_[np.full(d, alpha), 0.0]), X.T))


def _closed(X: ndarray, Q: ndarray, alpha: float, y: ndarray, training_utility: Utility) -> tuple[ndarray, float]:
    """(n,) U(N) - U(N without i), and U(N), from one factorisation."""
    n, d = X.shape
    X, Q = np.c_[X, np.ones(n)], np.c_[Q, np.ones(len(Q))]
    A = X.T @ X + np.diag(np.r_[np.full(d, alpha), 0.0])
    B = np.linalg.solve(A, X.T)  # (d + 1, n)
    theta = B @ y
    e, h = y - X @ theta, np.einsum("nd,dn->n", X, B)
    everything, moved = Q @ theta, (Q @ B) * (e / (1 - h))  # (m,), (m, n)
    utility_of_all = float(training_utility(everything[None, :, None])[0])
    without = [training_utility((everything[:, None] - moved[:, a : a + BLOCK]).T[..., None]) for a in range(0, n, BLOCK)]
    return utility_of_all - np.concatenate(without), utility_of_all
