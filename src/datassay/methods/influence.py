"""Influence: what a fitted model's answer would lose if it had been fitted without a row, from the one fit.

    influence_i = f(theta) - f(theta_-i)         f: mean log-odds of the validation rows' labels, or one answer of the model

theta_-i is approximated by one step from theta: for linear, ridge and logistic models by Newton's step on the loss without the row
(rescaled influence: Rubinstein & Hopkins, NeurIPS 2025, arXiv 2506.06656; exact for ridge regression), see engines.removal; for
networks by the influence function (Koh & Liang, ICML 2017) with the damped Gauss-Newton matrix, by EK-FAC (Grosse et al., arXiv
2308.03296) or as it is, see networks.influence.

    self_influence_i = log p(y_i | x_i, theta) - log p(y_i | x_i, theta_-i)  >= 0        regression: its squared error, halved

is large for rows that the model knows by heart, and no other row supports. Of linear models the outputs without each row cost one
K x K system; of networks it is the influence function of the row's own loss.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, cast

import numpy as np
from numpy import ndarray
from scipy.special import logsumexp

from datassay.checks import Call, Count, DataError, FromZero, Jobs, Positive, Seed, Whole
from datassay.data.dataset import Dataset
from datassay.engines import noise_model, removal
from datassay.engines.margins import confidences
from datassay.engines.robust import is_outlier, top
from datassay.files import save_npy
from datassay.methods.definition import Finding, network_method
from datassay.subsets.trainers import LogisticTrainer, RidgeTrainer, trainable
from datassay.subsets.utilities import Question, as_question, log_odds, of_labels

NAME = "influence"
PRECISE = 1e-9  # length of the gradient at the fit: the step from it must not be mistaken for a row's
MOST = 20_000  # parameters of a linear model, whose Hessian is formed
ODDS = 1e-6  # 1 - p is at least so much in the derivative of the log-odds
OF_NETWORKS = ("epochs", "batch_size", "lr", "training", "checkpoint", "hessian", "damping")
OTHERS = "ame or datamodels, which ask any model, by trainings on subsets"
BY_VALIDATION = "the model says less for the validation rows' labels with the row: influence below 0"


@network_method("influence")
def influence(
    call: Call,
    data: Dataset,
    model: Any = None,
    *,
    influence: Literal["validation", "self"] = "validation",
    utility: Literal["margin", "log-likelihood", "squared-error"] | None = None,
    query: Annotated[int, Whole(0)] | None = None,
    label: Any = None,
    first_order: bool = False,
    matrix: str | Path | None = None,
    hessian: Literal["ek-fac", "gauss-newton"] | None = None,
    damping: Positive | None = None,
    runs: Count = 1,
    epochs: Annotated[int, Whole(0)] | None = None,
    batch_size: Count | None = None,
    lr: FromZero | None = None,
    training: Any = None,
    progress: bool = True,
    seed: Seed = 0,
    n_jobs: Jobs | None = None,
    checkpoint: str | Path | None = None,
    device: str = "auto",
) -> Finding:
    """What the model's answers would lose without each row, from one fit: leave-one-out without a second training.

    Parameters
    ----------
    data
        n rows; validation rows, but for ``influence="self"``.
    model
        None: logistic regression, or ridge regression for regression targets. A scikit-learn LogisticRegression or Ridge (plain ones: with
        an intercept, a squared penalty, no class weights), fitted here to its minimum. A torch `nn.Module`, drawn anew for each run, or
        a function from a seed to one, trained here.
    influence
        "validation": on the validation rows' labels. "self": on the row's own label; no validation rows needed.
    utility
        What is asked of the validation rows together: "margin" (None), the mean log-odds of their labels, or their mean "log-likelihood";
        regression: "squared-error", minus its mean in variances of the training labels.
    query, label
        One validation row by its position, and a class (None: its own label): the log-odds of that class (regression: the prediction) are
        the answer. If ``label`` is another than its own, rows that speak for it have low scores.
    first_order
        Linear models: the influence function, in place of Newton's step without the row.
    matrix
        A .npy file to write the influence on each validation row's answer to: (n, m), or (n, 1) with ``query``.
    hessian
        Networks: "gauss-newton", the curvature as it is, by conjugate gradients for every answer anew; "ek-fac", layer by layer, one
        approximate inverse for all answers. None: the former for a single answer, the latter for ``matrix`` and "self".
    damping
        Networks: what is added to the curvature. None: 30 times its mean eigenvalue; by "ek-fac" what makes half of the rows' influence on
        themselves.
    epochs, lr, batch_size, training
        Of a network. None: 20 epochs by SGD with momentum.

    Returns
    -------
    Values
        Column ``influence`` (n,): what the answer loses without the row, in log-odds or as ``utility`` says; one prediction in the labels'
        unit. scores (n,), high = worth keeping: the column; minus the column for "self". Suggested label: of linear
        models what the model without the row says, with ``probability_wrong`` (see `noise_model`); of networks what they say. Flagged:
        influence below 0; for "self" labels that are most likely wrong, in regression far residuals. ``stats["way"]``.

    Examples
    --------
    >>> import datassay as da
    >>> data, wrong = da.plant(da.datasets.drawn("wine", train=60, val=60, test=20).data, "uniform", 0.1, seed=1)
    >>> values = da.value(data, method="influence")
    >>> int(wrong.sum()), int(wrong[values.suspects(6).index].sum())   # wrong labels; those among the six lowest scores
    (6, 5)
    """
    if query is not None and influence == "self":
        raise DataError(
            f"{NAME}: query asks about a validation row, and influence='self' about the row itself: leave one out."
        )
    if influence == "self":
        if utility is not None:
            raise DataError(f"{NAME}: utility is about the validation rows together: leave it out.")
        if matrix is not None:
            raise DataError(
                f"{NAME}: matrix is about validation rows, and influence='self' about the row itself: leave one out."
            )
    question = as_question(data, NAME, utility=utility, query=query, label=label, matrix=matrix)
    own = question.own
    if model is None or hasattr(model, "fit"):
        named = [option for option in OF_NETWORKS if call.given[option] is not None] + ["runs"] * (runs > 1)
        if named:
            raise DataError(f"{NAME}: {named[0]} is for networks, and this fits a linear model: leave it out.")
        return _linear(data, model, influence == "self", question, own, first_order, matrix)
    if first_order:
        raise DataError(f"{NAME}: first_order is for linear models: of a network it is always the first order.")
    return _network(call, data, model, question, influence == "self")


class _Fit(NamedTuple):
    """A linear model of all rows."""

    away: removal.Removal
    W: ndarray  #: (D, K)
    outputs: ndarray  #: (n, K)
    Q: ndarray | None  #: (m, D) the validation rows
    text: str  #: what the model is


def without_group(
    data: Dataset, model: Any, rows: ndarray, *, utility: str | None = None, query: int | None = None, label: Any = None
) -> float:
    """What the answer of a linear model, as `influence` has it, loses without all of these rows: it is fitted without them.

    Raises
    ------
    DataError
        The model is not one whose fit is read here.
    """
    question = as_question(data, NAME, utility=utility, query=query, label=label, matrix=None)
    found = trainable(data, model, NAME, tol=PRECISE)
    trainer = _linear_trainer(found.trainer, model)
    there = np.ones((2, len(data)), np.uint8)
    there[1, rows] = 0
    assert trainer.Q is not None
    Q = np.c_[trainer.Q, np.ones(len(trainer.Q))]
    Q = Q if question.query is None else Q[question.query][None]
    before, after = (Q @ _weights(trainer, data, mask[None]) for mask in there)
    return float((_answers(before[None], data, question) - _answers(after[None], data, question)).mean())


def _linear(
    data: Dataset, model: Any, itself: bool, question: Question, own: bool, first_order: bool, matrix: str | Path | None
) -> Finding:
    fit = _fitted(data, model)
    away, W, outputs = fit.away, fit.W, fit.outputs
    without = away.own(outputs)
    stats: dict[str, Any] = {"model": fit.text, "trainings": 1, "parameters": away.parameters}
    if itself:
        value = _log_likelihood(outputs, data) - _log_likelihood(without, data)
        stats["way"] = "Newton's step without the row"
    else:
        assert fit.Q is not None
        Q = fit.Q if question.query is None else fit.Q[question.query][None]
        value, each = (
            _first_order(away, Q, W, data, question, matrix) if first_order else _lost(away, Q, W, data, question, matrix)
        )
        if matrix is not None:
            save_npy(each, Path(matrix))
        stats["way"] = "influence function" if first_order else "Newton's step without the row"
    columns = {NAME: value}
    if data.task == "regression":
        suggested = without[:, 0]
        far, stats["flag_rule"] = is_outlier(data.codes - suggested), "the residual without the row is an outlier"
    else:
        p = np.exp(without - without.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        suggested = data.labels_of(top(p, data.codes))
        noise = noise_model.of_probabilities(p, data.codes)
        columns |= confidences(p, data.codes) | noise.columns()
        stats["wrong_labels"] = noise.wrong_labels()
        far, stats["flag_rule"] = noise.flagged, noise_model.RULE
    flagged = far
    if not itself:
        flagged, stats["flag_rule"] = _below(value, own, question.query)
    scores = -value if itself or not own else value.copy()
    return Finding(scores, flagged, columns, suggested, stats)


def _linear_trainer(trainer: Any, model: Any) -> LogisticTrainer | RidgeTrainer:
    if not isinstance(trainer, LogisticTrainer | RidgeTrainer):
        raise DataError(
            f"{NAME} reads the fit of a LogisticRegression (with scikit-learn's default penalty and intercept, no class weights), of a "
            f"Ridge, or of a network, got {type(model).__name__}: take {OTHERS}."
        )
    return trainer


def _weights(trainer: LogisticTrainer | RidgeTrainer, data: Dataset, there: ndarray) -> ndarray:
    """(D, K) of the fit to the rows that are there, (1, n)."""
    if isinstance(trainer, LogisticTrainer):
        weights: ndarray = trainer.fit(there, tol=PRECISE)[0]
        return weights
    rows = there[0].astype(bool)
    return _ridge(np.c_[trainer.X, np.ones(len(data))][rows], data.codes[rows], trainer.alpha)


def _fitted(data: Dataset, model: Any) -> _Fit:
    found = trainable(data, model, NAME, tol=PRECISE)
    trainer = _linear_trainer(found.trainer, model)
    n, d = trainer.X.shape
    K = max(1, len(data.classes))
    if K * (min(n, d) + 1) > MOST:
        raise DataError(
            f"{NAME} forms the Hessian of {K * (min(n, d) + 1):,} parameters ({min(n, d) + 1:,} x {K} classes), and {MOST:,} are the most: "
            f"value on fewer columns (data.with_features), or take {OTHERS}."
        )
    Z, W = np.c_[trainer.X, np.ones(n)], _weights(trainer, data, np.ones((1, n), np.uint8))
    if isinstance(trainer, LogisticTrainer):
        away, outputs = removal.of_softmax(Z, W, data.codes, trainer.fit.penalty)
    else:
        outputs = Z @ W
        away = removal.Removal(Z, outputs - data.codes[:, None], None, trainer.alpha)
    Q = None if trainer.Q is None else np.c_[trainer.Q, np.ones(len(trainer.Q))]
    return _Fit(away, W, outputs, Q, found.text)


def _network(call: Call, data: Dataset, model: Any, question: Question, itself: bool) -> Finding:
    from datassay.engines.training import Recipe
    from datassay.networks.influence import influence_of_run
    from datassay.networks.problem import problem
    from datassay.networks.recipes import recipe
    from datassay.networks.runs import averaged, options_of, run_all

    given = call.given
    p = problem(data, model, given["device"], NAME)
    used = recipe(
        given["training"], Recipe(), len(data), epochs=given["epochs"], batch_size=given["batch_size"], lr=given["lr"]
    )
    matrix = given["matrix"]
    hessian = given["hessian"] or ("gauss-newton" if matrix is None and not itself else "ek-fac")
    options = options_of(call, used) | {"hessian": hessian}
    work = partial(
        influence_of_run,
        question.utility,
        question.query,
        question.code,
        itself,
        matrix is not None,
        hessian,
        given["damping"],
    )
    results = run_all(work, call, p, used, options, runs=given["runs"], units=used.epochs + 1)
    if matrix is not None:
        save_npy(np.mean([cast(ndarray, r.each) for r in results], axis=0), Path(matrix))
    value, stderr = averaged([r.value for r in results])
    predictions = np.mean([r.predictions for r in results], axis=0)
    if itself:
        flagged, rule = p.disagreeing(predictions, "the networks, which have seen the row, say another class")
    else:
        flagged, rule = _below(value, question.own, question.query)
    stats = {
        "flag_rule": rule,
        "way": "influence function, " + {"ek-fac": "EK-FAC", "gauss-newton": "Gauss-Newton"}[hessian],
        "damping": [r.damping for r in results],
        **{name: [r.solved[name] for r in results] for name in results[0].solved},
        "device": p.device,
    } | stderr
    scores = value.copy() if question.own and not itself else -value
    return Finding(scores, flagged, {NAME: value}, p.suggested(predictions), stats, options)


def _lost(
    away: removal.Removal, Q: ndarray, W: ndarray, data: Dataset, question: Question, keep: Any
) -> tuple[ndarray, ndarray | None]:
    """(n,) the answer by the model of all rows, less that by the model without each; and (n, m) of every row in ``Q``, if they are kept."""
    outputs, value = Q @ W, np.empty(len(data))
    each = None if keep is None else np.empty((len(data), len(Q)))
    everything = _answers(outputs[None], data, question)
    for rows, moved in away.moved(Q):
        lost = everything - _answers(outputs + moved, data, question)
        value[rows] = lost.mean(1)
        if each is not None:
            each[rows] = lost
    return value, each


def _first_order(
    away: removal.Removal, Q: ndarray, W: ndarray, data: Dataset, question: Question, keep: Any
) -> tuple[ndarray, ndarray | None]:
    """The same by the influence function."""
    towards = _towards(Q @ W, data, question)
    value = away.first_order(Q.T @ towards / len(Q))
    if keep is None:
        return value, None
    return value, np.stack([away.first_order(np.outer(q, t)) for q, t in zip(Q, towards, strict=True)], 1)


def _codes(data: Dataset, question: Question) -> ndarray:
    """The classes that are asked for, or the targets."""
    return np.array([question.code]) if question.query is not None and data.classes else cast(ndarray, data.codes_val)


def _answers(outputs: ndarray, data: Dataset, question: Question) -> ndarray:
    """(b, m) of the outputs (b, m, K) of b models: one for each row that is asked about."""
    codes = _codes(data, question)
    if data.task == "regression":
        return outputs[:, :, 0] if question.query is not None else -((outputs[:, :, 0] - codes) ** 2) / data.codes.var()
    own = of_labels(outputs - logsumexp(outputs, axis=2, keepdims=True), codes)
    return own if question.utility == "log-likelihood" and question.query is None else log_odds(own)


def _below(value: ndarray, own: bool, query: int | None) -> tuple[ndarray, str]:
    if query is None:
        return value < 0, BY_VALIDATION
    says = "lowers" if own else "raises"
    return (value < 0) == own, f"score below 0: the row {says} the answer that was asked for"


def _ridge(Z: ndarray, y: ndarray, alpha: float) -> ndarray:
    """(D, 1) the minimum of half the squared errors and alpha / 2 times the squared coefficients."""
    mean = y.mean()
    X = Z[:, :-1] - Z[:, :-1].mean(0)
    n, d = X.shape
    if d <= n:
        b = np.linalg.solve(X.T @ X + alpha * np.eye(d), X.T @ (y - mean))
    else:
        b = X.T @ np.linalg.solve(X @ X.T + alpha * np.eye(n), y - mean)
    return np.r_[b, mean - Z[:, :-1].mean(0) @ b][:, None]


def _log_likelihood(outputs: ndarray, data: Dataset) -> ndarray:
    """(n,) of the labels; in regression minus half the squared error."""
    if data.task == "regression":
        return -0.5 * (outputs[:, 0] - data.codes) ** 2
    shifted = outputs - outputs.max(1, keepdims=True)
    own: ndarray = shifted[np.arange(len(shifted)), data.codes] - np.log(np.exp(shifted).sum(1))
    return own


def _towards(outputs: ndarray, data: Dataset, question: Question) -> ndarray:
    """(m, K) derivative of each answer in the outputs."""
    codes = _codes(data, question)
    if data.task == "regression":
        return np.ones((1, 1)) if question.query is not None else -2 * (outputs - codes[:, None]) / data.codes.var()
    p = np.exp(outputs - outputs.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    own = p[np.arange(len(p)), codes]
    towards: ndarray = (np.arange(p.shape[1]) == codes[:, None]) - p
    if question.utility != "log-likelihood" or question.query is not None:
        towards /= np.maximum(1 - own, ODDS)[:, None]
    return towards
