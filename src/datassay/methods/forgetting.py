"""Forgetting events (Toneva et al., ICLR 2019): how often training loses a row that it had right.

    events_i = number of times row i is right in its batch and wrong the next time it comes, an epoch later
             = number of epochs, where it was never right
    score_i  = -(sum of events_i over runs + 1 - mean of p_y)        p_y: probability of its label when its batch comes

High = hard. A row is looked at in training mode, before the step. The mean of p_y orders the many rows with as many events, and
never those with more or fewer: it is 1 at most, above 0 for rows that were right, and below 1 for rows that were lost.

Differs from the paper: where it has 200 epochs of a large network, here are 6 of a small one, three times over. Such a network soon
knows wrong labels by heart; then they are forgotten no more, and look like any other row. The paper leaves ties as they are.
"""

from __future__ import annotations

from typing import NamedTuple, Unpack

import numpy as np
from numpy import ndarray

from datassay.checks import Call, Count, whole
from datassay.data.dataset import Dataset
from datassay.engines.robust import counts, top
from datassay.methods.definition import Finding, network_method
from datassay.networks.problem import Model, problem
from datassay.networks.recipes import WATCHED
from datassay.networks.runs import One, Trainings, chosen, options_of, run_all


@network_method("forgetting")
def forgetting(
    call: Call, data: Dataset, model: Model | None = None, *, runs: Count = 3, **shared: Unpack[Trainings]
) -> Finding:
    """How often each row is forgotten: right in its batch, wrong in that of the next epoch.

    Parameters
    ----------
    data
        n rows of c classes.
    epochs
        Passes over the rows in a training. None: 6.

    Returns
    -------
    Values
        scores (n,): minus the events, and equal ones by confidence. Columns (n,): ``forgetting_events`` over all runs, high for hard
        rows; ``accuracy``, the share of presentations that were right; ``confidence``, the mean probability of the given label in
        them; ``learned_at``, the first epoch, from 0, in which the row was right, mean over the runs in which there is one, -1
        where there is none. Suggested label: the class that was predicted most often, the given one among equals. Flagged: wrong in
        more than half of the presentations.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> values = da.value(da.Dataset(X, y), method="forgetting")
    >>> values.suspects(1)[["id", "flagged", "suggested_label", "forgetting_events", "learned_at"]]
       id  flagged suggested_label  forgetting_events  learned_at
    3   3     True               a                 18        -1.0
    """
    p = problem(data, model, shared["device"], "forgetting")
    used = chosen(shared, WATCHED, len(data))
    whole("forgetting", 1, epochs=used.epochs)
    options = options_of(call, used)
    results = run_all(_run, call, p, used, options, runs=runs)
    lost = np.sum([r.lost for r in results], axis=0)
    accuracy = np.sum([r.right for r in results], axis=0) / (runs * used.epochs)
    confidence = np.mean([r.confidence for r in results], axis=0)
    first = np.ma.masked_less([r.first for r in results], 0)
    columns = {"forgetting_events": lost, "accuracy": accuracy, "confidence": confidence}
    columns["learned_at"] = first.mean(0).filled(-1.0)
    stats = {"flag_rule": "wrong in more than half of its presentations", "device": p.device}
    suggested = data.labels_of(top(np.sum([r.predictions for r in results], axis=0), data.codes))
    scores = -(lost + 1 - confidence)
    return Finding(scores, accuracy < 0.5, columns, suggested, stats, options)


def events(right: ndarray) -> ndarray:
    """(n,) how often each row is lost, from whether it was right (epochs, n); the number of epochs where it never was.

    >>> events(np.array([[0, 1, 1, 0, 1, 0], [0, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1]], bool).T).tolist()
    [2, 6, 0]
    """
    return np.where(right.any(0), (right[:-1] & ~right[1:]).sum(0), len(right))


class _Run(NamedTuple):
    lost: ndarray  # (n,) events
    right: ndarray  # (n,) presentations
    confidence: ndarray  # (n,) mean probability of the given label
    first: ndarray  # (n,) the epoch in which it was right first; -1 never
    predictions: ndarray  # (n, c) how often each class was predicted


def _run(one: One) -> _Run:
    p, run = one.p, one.start(one.p.x, one.p.y, watch=True)
    run.through(one.tick)
    assert run.watched is not None
    predicted = run.watched.predicted.numpy()
    right = predicted == p.data.codes
    first = np.where(right.any(0), right.argmax(0), -1)
    confidence = (-run.watched.loss.double()).exp().mean(0).numpy()
    return _Run(events(right), right.sum(0), confidence, first, counts(predicted, p.outputs))
