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
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import torch
from numpy import ndarray

from datassay.checks import Count, DataError, Jobs, Number, Positive, Seed, whole
from datassay.data.dataset import Dataset
from datassay.engines.robust import top
from datassay.engines.training import Recipe, Run, Tick, spawned
from datassay.methods.definition import NETWORKS, Finding, method
from datassay.methods.forgetting import DEFAULT, counts
from datassay.networks.problem import Model, Problem, problem
from datassay.networks.runs import Place, do, options_of, recipe


@method("aum", NETWORKS)
def aum(
    data: Dataset,
    model: Model | None = None,
    *,
    threshold_samples: bool = True,
    threshold_rows: Count | None = None,
    percentile: Annotated[float, Number(least=0, most=100)] = 99.0,
    runs: Count = 2,
    epochs: Count | None = None,
    batch_size: Count | None = None,
    lr: Positive | None = None,
    training: Recipe | None = None,
    device: str = "auto",
    checkpoint: str | Path | None = None,
    seed: Seed = 0,
    n_jobs: Jobs | None = None,
    progress: bool = True,
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
    epochs, batch_size, lr, training
        Of the training (6 epochs); ``training`` is a whole `Recipe`, in which the others change what they name.

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
    given = dict(locals())
    n = len(data)
    whole("aum", 2 if threshold_samples else 1, runs=runs)
    if threshold_rows is not None and not threshold_samples:
        raise DataError(
            "aum: threshold_rows says how many threshold samples there are, and threshold_samples=False that none are."
        )
    p = problem(data, model, device, "aum", regression=False)
    k = 0
    if threshold_samples:
        k = max(1, min(n // (p.outputs + 1), n // 10)) if threshold_rows is None else threshold_rows
        whole("aum", 1, threshold_rows=k)
        if k > n // 2:
            raise DataError(f"aum: threshold_rows must be at most {n // 2}, half of the rows, got {k}.")
        p = replace(p, outputs=p.outputs + 1, more=", and one for the threshold samples (threshold_samples=False has none)")
    used = recipe(training, DEFAULT, n, epochs=epochs, batch_size=batch_size, lr=lr)
    whole("aum", 1, epochs=used.epochs)
    options = options_of(given, used)
    work = partial(_run, p, used, k, float(percentile), seed)
    found = do(work, runs, p, options, units=used.epochs, checkpoint=checkpoint, n_jobs=n_jobs, progress=progress)
    margins, own = np.stack([r.margin for r in found]), np.stack([r.own for r in found])
    thresholds = np.array([r.threshold for r in found])
    value = np.average(margins, 0, own)
    below = np.average(margins - thresholds[:, None], 0, own) < 0
    stats = {
        "flag_rule": f"AUM below the {percentile:g}th percentile of the threshold samples' AUM" if k else "AUM below 0",
        "thresholds": thresholds.tolist(),
        "threshold_rows": k,
        "device": p.device,
    }
    suggested = data.labels_of(top(np.sum([r.said for r in found], axis=0), data.codes))
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
    said: ndarray  # (n, c) how often each class was predicted, where the row has its own label


def _run(p: Problem, used: Recipe, k: int, percentile: float, seed: int, r: int, tick: Tick, place: Place) -> _Run:
    y, chosen = p.y.clone(), threshold_set(p.data.ids, k, seed, r)
    if k:
        y[torch.from_numpy(chosen)] = p.outputs - 1
    run = Run(p.make(r, seed), p.loss, p.x, y, used, seed=spawned(seed, r), checkpoint=place.file, key=place.key, watch=True)
    run.through(tick)
    assert run.watched is not None
    margin = run.watched.margin.double().mean(0).numpy()
    own = np.ones(len(p.data), bool)
    own[chosen] = False
    said = counts(run.watched.predicted.numpy(), p.outputs)[:, : len(p.data.classes)] * own[:, None]
    return _Run(margin, float(np.percentile(margin[chosen], percentile)) if k else 0.0, own, said)
