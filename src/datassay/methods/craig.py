"""CRAIG (Mirzasoleiman, Bilmes & Leskovec, ICML 2020): so few rows that their gradients, with weights, stand for those of all.

    S = argmax_{|S| = k} sum_i max_{j in S} (d_max - d_ij),   d_ij = |(p_i - y_i) - (p_j - y_j)|,   in each class by itself

p_i: class probabilities of a network after ``epochs``; y_i: one-hot; p_i - y_i is the gradient in the logits, which bounds how far
the gradients of two rows are apart. Lazy greedy, within (1 - 1/e) of the best S. A chosen row j weighs gamma_j, the number of rows
that are nearest to it (of equally near ones the earliest chosen): the weights of a class add up to its rows.

The paper chooses sets and has no value for a row. Here: every row has a representative, its nearest chosen row m(i), and in the
coreset's gradient it is replaced by it. score_i = -|p_m(i) - y_m(i)|: low where a row stands for it at which the network is far
from the label. The share of the class with the same representative, gamma_m(i) / n_c, is weak for two classes, where the large crowd of
typical rows is broken up into small groups (docs/methods/craig.md has both).

Differs from the paper: chosen once, early in a training on all rows, not again and again while training on S.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import numpy as np

from datassay.checks import Count, Number, Positive, Seed
from datassay.data.dataset import Dataset
from datassay.engines.facility import locate
from datassay.engines.training import Recipe, Run, Tick, outputs, spawned
from datassay.methods.definition import NETWORKS, Finding, method
from datassay.networks.problem import Model, Problem, problem
from datassay.networks.runs import Place, do, options_of, recipe

TABLES = Recipe(epochs=10, lr=0.01, momentum=0.0, weight_decay=0.0)
IMAGES = replace(TABLES, epochs=8, lr=0.05)


@method("craig", NETWORKS)
def craig(
    data: Dataset,
    model: Model | None = None,
    *,
    fraction: Annotated[float, Number(above=0, most=1)] = 0.1,
    epochs: Count | None = None,
    batch_size: Count | None = None,
    lr: Positive | None = None,
    training: Recipe | None = None,
    device: str = "auto",
    checkpoint: str | Path | None = None,
    seed: Seed = 0,
    progress: bool = True,
) -> Finding:
    """A weighted coreset of each class, and what stands for each row in it.

    Parameters
    ----------
    data
        n rows in classes.
    model
        A torch `nn.Module`, drawn anew (all that has ``reset_parameters``), or a function from a seed to one, which is used as it
        comes. None: a perceptron for tables, a small ResNet for images.
    fraction
        Of each class is chosen, rounded, and one row at least.
    epochs, batch_size, lr, training
        Of the training on the rows, after which the coreset is chosen; ``training`` is a whole `Recipe`, in which the others change
        what they name. Default: SGD without momentum and weight decay, 10 epochs at 0.01 for tables, 8 at 0.05 for images.

    Returns
    -------
    Values
        scores (n,), high = worth keeping: minus the length of the representative's gradient in the logits. Columns (n,):
        ``craig_weight``, gamma, 0 for a row that is not chosen; ``craig_order``, place in the choice within the class from 0 on, -1
        for a row that is not chosen; ``representative``, position of the row that stands for this one; ``distance`` to it; ``share``
        of the class for which it stands. ``stats``: ``chosen``, how many rows of each class.
        Suggested label: what the network says of the row. Flagged: the network says another label of the representative.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> values = da.value(da.Dataset(X, y), method="craig", fraction=0.1)
    >>> values.suspects(1)[["id", "given_label", "suggested_label"]]
       id given_label suggested_label
    3   3           b               a
    >>> int(values.columns["craig_weight"].sum()), values.stats["chosen"]
    (60, {'a': 3, 'b': 3})
    """
    given = dict(locals())
    p = problem(data, model, device, "craig", regression=False)
    used = recipe(training, IMAGES if len(p.shape) > 1 else TABLES, len(data), epochs=epochs, batch_size=batch_size, lr=lr)
    options = options_of(given, used)
    work = partial(_said, p, used, seed)
    start = time.perf_counter()
    (said,) = do(work, 1, p, options, units=used.epochs, checkpoint=checkpoint, n_jobs=None, progress=progress)
    trained = time.perf_counter()
    n, codes = len(data), data.codes
    weight, order, representative = np.zeros(n), np.full(n, -1), np.zeros(n, np.int64)
    distance, share = np.zeros(n), np.zeros(n)
    chosen = {}
    for c, label in enumerate(data.classes):
        rows = np.flatnonzero(codes == c)
        k = max(1, round(fraction * len(rows)))
        found = locate(said[rows], k)  # y is the same for all, and falls out of the distances
        gamma = np.bincount(found.nearest, minlength=k)
        weight[rows[found.chosen]], order[rows[found.chosen]] = gamma, np.arange(k)
        representative[rows], distance[rows] = rows[found.chosen[found.nearest]], found.distance
        share[rows] = gamma[found.nearest] / len(rows)
        chosen[str(label)] = k
    of_label = said[np.arange(n), codes]
    length = np.sqrt((said**2).sum(1) - of_label**2 + (1 - of_label) ** 2)
    stats = {
        "flag_rule": "the network says another class of the row's representative",
        "chosen": chosen,
        "seconds_training": trained - start,
        "device": p.device,
    }
    columns = {"craig_weight": weight, "craig_order": order, "representative": representative}
    columns |= {"distance": distance, "share": share}
    scores, says = -length[representative], said.argmax(1)
    return Finding(scores, says[representative] != codes, columns, p.suggested(said), stats, options)


def _said(p: Problem, used: Recipe, seed: int, r: int, tick: Tick, place: Place) -> np.ndarray:
    """(n, classes) probabilities after the training."""
    x = p.x
    run = Run(p.make(r, seed), p.loss, x, p.y, used, seed=spawned(seed, r), checkpoint=place.file, key=place.key)
    said: np.ndarray = p.says(outputs(run.through(tick), x).double()).cpu().numpy()
    return said
