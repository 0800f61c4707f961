"""What the rows of each level of score do while a network is trained."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy import ndarray

from datassay.checks import DataError
from datassay.data.dataset import Dataset

if TYPE_CHECKING:  # torch is imported where a network is trained
    from datassay.engines.training import Recipe
    from datassay.networks.problem import Model


def levels(scores: ndarray, groups: int = 10, size: int = 125) -> list[ndarray]:
    """So many groups of rows, from low scores to high: each is the first ``size`` of its share of the sorted rows.

    >>> [rows.tolist() for rows in levels(np.array([5.0, 1.0, 4.0, 0.0, 2.0, 3.0]), groups=3, size=1)]
    [[3], [4], [2]]
    """
    if not 1 <= size * groups <= len(scores):
        raise DataError(f"{len(scores)} rows don't have {groups} groups of {size}: take fewer or smaller ones.")
    return [rows[:size] for rows in np.array_split(np.argsort(scores, kind="stable"), groups)]


def by_tenths(
    data: Dataset,
    scores: ndarray,
    model: Model | None = None,
    *,
    groups: int = 10,
    training: Recipe | None = None,
    seed: int = 0,
) -> tuple[ndarray, ndarray]:
    """Mean loss, and share of right answers, of each tenth of the rows (low scores first) in every epoch of a training on all rows:
    (epochs, groups) each. What counts is what a row said in its batch, before the step.

    Examples
    --------
    >>> import datassay as da
    >>> X = np.concatenate([np.full((20, 2), -1.0), np.full((20, 2), 1.0)])
    >>> loss, right = by_tenths(da.Dataset(X, np.repeat([0, 1], 20)), np.arange(40.0), groups=2)
    >>> loss.shape[1], bool(loss[0].mean() > loss[-1].mean())
    (2, True)
    """
    from datassay.engines.training import Recipe, Run, spawned
    from datassay.networks.problem import problem
    from datassay.networks.recipes import recipe

    if data.task == "regression":
        raise DataError("by_tenths is about classes, and this is regression.")
    p = problem(data, model, "auto", "by_tenths")
    used = recipe(training, Recipe(epochs=20, optimiser="adam", lr=1e-3, weight_decay=0.0), len(data))
    run = Run(p.make(0, seed), p.loss, p.x, p.y, used, seed=spawned(seed, 0), watch=True)
    run.through()
    watched = run.watched
    assert watched is not None
    parts = np.array_split(np.argsort(scores, kind="stable"), groups)
    loss, right = watched.loss.numpy(), watched.margin.numpy() > 0
    return np.stack([loss[:, rows].mean(1) for rows in parts], 1), np.stack([right[:, rows].mean(1) for rows in parts], 1)


def kernel_velocity(
    data: Dataset,
    groups: Sequence[ndarray],
    model: Model | None = None,
    *,
    epochs: int | None = None,
    batch_size: int | None = None,
    lr: float | None = None,
    training: Recipe | None = None,
    device: str = "auto",
    seed: int = 0,
    progress: bool = True,
) -> ndarray:
    """How fast the kernel of each group of rows turns while a network is trained on all rows: (epochs, groups), from 0 to 1.

    v_t(S) = 1 - <K_t, K_t+1> / (|K_t| |K_t+1|),  K = Psi Psi',  Psi: gradients of all logits of the rows in S (CG-score paper, eq. 13;
    Fort et al. 2020). Row t compares the network after t and after t + 1 epochs. There, groups of rows with high CG-scores are faster.

    Parameters
    ----------
    data
        The rows; validation rows don't count.
    groups
        Positions of the rows of each group: `levels` makes them as the paper does. A kernel has (rows x classes)^2 numbers.
    model
        A torch `nn.Module`, drawn anew (all that has ``reset_parameters``), or a function from a seed to one; None: the default.
    epochs, batch_size, lr, training
        ``training`` is a whole `Recipe`, in which the others change what they name; default: that of `network_features`.
    device, seed, progress
        "auto", "cpu", "cuda"; all randomness; a bar on stderr.

    Raises
    ------
    DataError
        Groups that are no positions of rows, a model that doesn't fit the data, an invalid option.
    ImportError
        Without torch.

    Examples
    --------
    >>> import datassay as da
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> data = da.Dataset(X[:300], y[:300])
    >>> values = da.value(data, method="cg-score")
    >>> v = kernel_velocity(data, levels(values.scores, groups=3, size=8), epochs=2)
    >>> v.shape, bool((0 < v).all() and (v < 1).all())
    ((2, 3), True)
    """
    from datassay.checks import Call, whole
    from datassay.networks.features import default, velocities
    from datassay.networks.problem import problem
    from datassay.networks.recipes import recipe
    from datassay.networks.runs import run_all

    whole("kernel_velocity", 0, seed=seed)
    rows = [np.asarray(group) for group in groups]
    for g, some in enumerate(rows):
        if some.ndim != 1 or not len(some) or some.dtype.kind not in "iu" or some.min() < 0 or some.max() >= len(data):
            raise DataError(
                f"kernel_velocity: group {g} must hold positions of rows, from 0 to {len(data) - 1}, one at least."
            )
    p = problem(data, model, device, "kernel_velocity")
    used = recipe(training, default(p), len(data), epochs=epochs, batch_size=batch_size, lr=lr)
    call = Call(p.method, {"seed": seed, "progress": progress})
    (found,) = run_all(partial(velocities, rows), call, p, used)
    return found
