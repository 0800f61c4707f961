"""EL2N (Paul, Ganguli & Dziugaite, NeurIPS 2021): how far from its label a row is said to be, early in training.

    EL2N_i = mean over runs r of |softmax(f_t^r(x_i)) - onehot(y_i)|        f_t^r: the network of initialisation r after t epochs

From 0 (sure and right) to sqrt 2 (sure and wrong); sqrt(1 - 1/c) where nothing is known. High = hard, so the score is -EL2N.
p - y is the gradient of the loss in the logits: EL2N is GraNd without what the network does before its last sum.

Differs from the paper: t is smaller, for small networks on some thousand rows: there wrong labels stand out after 2 epochs
(tables) or 5 (images), and after 20 they are learned by heart. Adam instead of SGD, 5 runs instead of 10.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datassay.checks import Count, Jobs, Positive, Seed
from datassay.data.dataset import Dataset
from datassay.engines.training import Recipe, Run, Tick, outputs, spawned
from datassay.methods.definition import NETWORKS, Finding, method
from datassay.networks.problem import Model, Problem, problem
from datassay.networks.runs import Place, do, options_of, recipe

TABLES, IMAGES = 2, 5  # epochs after which planted wrong labels are told best from right ones


@method("el2n", NETWORKS)
def el2n(
    data: Dataset,
    model: Model | None = None,
    *,
    runs: Count = 5,
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
    """Distance of the class probabilities from the given label, early in training, averaged over initialisations.

    Parameters
    ----------
    data
        n rows of c classes.
    epochs
        When to look; None: after 2 epochs for tables, 5 for images. 0: before training.

    Returns
    -------
    Values
        scores (n,) = minus the column ``el2n`` (n,), which is high for hard rows, from 0 to sqrt 2. ``stats``: ``stderr`` (n,)
        over the runs, where there are several. Suggested label: the class with the largest mean probability. Flagged: that is
        not the given one.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> da.value(da.Dataset(X, y), method="el2n", runs=2, epochs=5).suspects(1)[["id", "given_label", "suggested_label"]]
       id given_label suggested_label
    3   3           b               a
    """
    given = dict(locals())
    p = problem(data, model, device, "el2n", regression=False)
    used = recipe(training, early(p), len(data), epochs=epochs, batch_size=batch_size, lr=lr)
    options = options_of(given, used)
    work = partial(_run, p, used, seed)
    found = do(work, runs, p, options, units=used.epochs + 1, checkpoint=checkpoint, n_jobs=n_jobs, progress=progress)
    each, said = np.stack([r.value for r in found]), np.mean([r.said for r in found], axis=0)
    stats = {
        "flag_rule": "the class with the largest mean probability is not the given one",
        "device": p.device,
    }
    if runs > 1:
        stats["stderr"] = each.std(0, ddof=1) / np.sqrt(runs)
    value, flagged = each.mean(0), said.argmax(1) != data.codes
    return Finding(-value, flagged, {"el2n": value}, p.suggested(said), stats, options)


def early(p: Problem) -> Recipe:
    """A training that ends while wrong labels are still wrong to the network."""
    return replace(Recipe(optimiser="adam", lr=1e-3, weight_decay=0.0), epochs=TABLES if len(p.shape) == 1 else IMAGES)


class _Run(NamedTuple):
    value: np.ndarray  # (n,)
    said: np.ndarray  # (n, c) class probabilities


def _run(p: Problem, used: Recipe, seed: int, r: int, tick: Tick, place: Place) -> _Run:
    x, y = p.x, p.y
    run = Run(p.make(r, seed), p.loss, x, y, used, seed=spawned(seed, r), checkpoint=place.file, key=place.key)
    said = p.says(outputs(run.through(tick), x).double())
    tick(1)
    return _Run(distance(said, y).cpu().numpy(), said.cpu().numpy())


def distance(said: Tensor, y: Tensor) -> Tensor:
    """(n,) |p - onehot(y)| of probabilities (n, c).

    >>> distance(torch.tensor([[0.6, 0.4], [0.0, 1.0]]), torch.tensor([0, 0])).tolist()
    [0.565..., 1.414...]
    """
    return torch.linalg.vector_norm(said - F.one_hot(y, said.shape[1]), dim=1)
