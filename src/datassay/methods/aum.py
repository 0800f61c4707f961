"""AUM, area under the margin (Pleiss et al., NeurIPS 2020): how far ahead of all other classes the given one is while training.

    AUM_i = mean over epochs of z_y - max_{k != y} z_k        z (c,): logits of row i when its batch comes, before the step

Low = mislabelled: what the other rows teach speaks against the label. The score is the AUM. How low is low tell *threshold
samples*, rows that get a class c + 1 of their own, which is wrong for every one of them: rows whose AUM is below the 99th
percentile of theirs are flagged. A threshold sample says nothing about its own label, so there are two runs with disjoint sets.

Differs from the paper: 6 epochs instead of 150, as a small network soon knows wrong labels by heart. n / (c + 1) threshold samples, but
n / 10 at most: of few classes so many would be of the extra class that right rows could not be told from them. They are drawn by
the rows' ids, so that the order of the rows does not matter.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from functools import partial
from typing import Annotated, NamedTuple, Unpack

import numpy as np
import torch
from numpy import ndarray

from datassay.checks import Call, Count, DataError, Number, whole
from datassay.data.dataset import Dataset
from datassay.engines.robust import counts, top
from datassay.methods.definition import Finding, network_method
from datassay.networks.problem import Model, problem
from datassay.networks.recipes import WATCHED
from datassay.networks.runs import One, Trainings, chosen, options_of, run_all


@network_method("aum")
def aum(
    call: Call,
    data: Dataset,
    model: Model | None = None,
    *,
    threshold_samples: bool = True,
    threshold_rows: Count | None = None,
    percentile: Annotated[float, Number(least=0, most=100)] = 99.0,
    runs: Count = 2,
    **shared: Unpack[Trainings],
) -> Finding:
    """Margin of the given class over the best other one, averaged over the epochs of a training.

    Parameters
    ----------
    data
        n rows of c classes.
    threshold_samples
        False: all rows keep their labels, and rows with a negative AUM are flagged.
    threshold_rows
        How many rows are threshold samples in a run, at most n / 2; None: n / (c + 1), but no more than n / 10.
    percentile
        Which percentile of the threshold samples' AUM is the threshold.
    epochs
        Passes over the rows in a training. None: 6.

    Returns
    -------
    Values
        scores = the column ``aum`` (n,), in logits, low = mislabelled, as in the paper: the mean over the runs in which the row is
        no threshold sample. ``stats``: ``thresholds``, one a run. Suggested label: the class that was predicted most often in
        these runs, the given one among equals. Flagged: in the mean over these runs, AUM less threshold is below 0.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> values = da.value(da.Dataset(X, y), method="aum", threshold_samples=False)
    >>> values.suspects(1)[["id", "flagged", "given_label", "suggested_label"]]
       id  flagged given_label suggested_label
    3   3     True           b               a
    """
    n = len(data)
    whole("aum", 2 if threshold_samples else 1, runs=runs)
    if threshold_rows is not None and not threshold_samples:
        raise DataError(
            "aum: threshold_rows says how many threshold samples there are, and threshold_samples=False that none are."
        )
    p = problem(data, model, shared["device"], "aum")
    k = 0
    if threshold_samples:
        k = max(1, min(n // (p.outputs + 1), n // 10)) if threshold_rows is None else threshold_rows
        whole("aum", 1, threshold_rows=k)
        if k > n // 2:
            raise DataError(f"aum: threshold_rows must be at most {n // 2}, half of the rows, got {k}.")
        p = replace(
            p, outputs=p.outputs + 1, extra_outputs=", and one for the threshold samples (threshold_samples=False has none)"
        )
    used = chosen(shared, WATCHED, n)
    whole("aum", 1, epochs=used.epochs)
    options = options_of(call, used)
    results = run_all(partial(_run, k, float(percentile)), call, p, used, options, runs=runs)
    margins, own = np.stack([r.margin for r in results]), np.stack([r.own for r in results])
    thresholds = np.array([r.threshold for r in results])
    value = np.average(margins, 0, own)
    below = np.average(margins - thresholds[:, None], 0, own) < 0
    stats = {
        "flag_rule": f"AUM below the {percentile:g}th percentile of the threshold samples' AUM" if k else "AUM below 0",
        "thresholds": thresholds.tolist(),
        "threshold_rows": k,
        "device": p.device,
    }
    suggested = data.labels_of(top(np.sum([r.predictions for r in results], axis=0), data.codes))
    return Finding(value, below, {"aum": value.copy()}, suggested, stats, options)


def threshold_set(ids: ndarray, k: int, seed: int, r: int) -> ndarray:
    """(k,) positions of the threshold samples of run r: of runs 0 and 1, 2 and 3, ... they are disjoint.

    >>> sorted(np.concatenate([threshold_set(np.array(list("abcd")), 2, 0, r) for r in (0, 1)]).tolist())
    [0, 1, 2, 3]
    """
    drawn = [hashlib.blake2b(f"{seed} {r // 2} {name!r}".encode(), digest_size=8).digest() for name in ids.tolist()]
    return np.argsort([int.from_bytes(d) for d in drawn], kind="stable")[k * (r % 2) :][:k]


class _Run(NamedTuple):
    margin: ndarray  # (n,) mean over the epochs
    threshold: float  # 0 without threshold samples
    own: ndarray  # (n,) bool: has its own label in this run
    predictions: ndarray  # (n, c) how often each class was predicted, where the row has its own label


def _run(k: int, percentile: float, one: One) -> _Run:
    p = one.p
    y, chosen_rows = p.y.clone(), threshold_set(p.data.ids, k, one.seed, one.number)
    if k:
        y[torch.from_numpy(chosen_rows)] = p.outputs - 1
    run = one.start(p.x, y, watch=True)
    run.through(one.tick)
    assert run.watched is not None
    margin = run.watched.margin.double().mean(0).numpy()
    own = np.ones(len(p.data), bool)
    own[chosen_rows] = False
    predictions = counts(run.watched.predicted.numpy(), p.outputs)[:, : len(p.data.classes)] * own[:, None]
    return _Run(margin, float(np.percentile(margin[chosen_rows], percentile)) if k else 0.0, own, predictions)
