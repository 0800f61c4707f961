"""GraNd (Paul, Ganguli & Dziugaite, NeurIPS 2021): how hard a row pulls at the weights, early in training.

    GraNd_i = mean over runs r of |g_i|,   g_i = grad l(f_theta(x_i), y_i)        theta: initialisation r after t epochs

High = hard, so the score is -GraNd. The norms of all rows come from one backward pass, and no gradient is formed.

Differs from the paper: t is that of EL2N here (2 epochs for tables, 5 for images), Adam instead of SGD, 5 runs instead of 10;
evaluation mode; regression too, with squared error. What the paper says of GraNd at initialisation (``epochs=0``) does not
reproduce: Kirsch (2023, arXiv 2303.14753) finds it no better than chance, and an error in how the first code loaded its networks.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from datassay.checks import Count, Jobs, Positive, Seed
from datassay.data.dataset import Dataset
from datassay.engines.gradients import RowGradients
from datassay.engines.robust import FAR, far
from datassay.engines.training import Recipe, Run, Tick, in_batches, spawned
from datassay.methods.definition import NETWORKS, Finding, method
from datassay.methods.el2n import early
from datassay.networks.problem import Model, Problem, last_layer, problem
from datassay.networks.runs import Place, do, options_of, recipe

AT_ONCE = 512  # rows in one pass


@method("grand", NETWORKS)
def grand(
    data: Dataset,
    model: Model | None = None,
    *,
    layers: Literal["all", "last"] = "all",
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
    """Norm of the gradient of each row's loss, early in training, averaged over initialisations.

    Parameters
    ----------
    data
        n rows; classification or regression.
    layers
        "all" parameters, or those of the "last" layer alone, which takes a fraction of the time.
    epochs
        When to look; None: after 2 epochs for tables, 5 for images. 0, before training, says little about a row.

    Returns
    -------
    Values
        scores (n,) = minus the column ``grand`` (n,), which is 0 or more and high for hard rows. ``stats``: ``stderr`` (n,) over
        the runs, where there are several. Suggested label: what the networks say on average. Flagged: another class than the
        given one; in regression a residual that is 3 robust standard deviations or more from their median.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> da.value(da.Dataset(X, y), method="grand", runs=2, epochs=5).suspects(1)[["id", "given_label", "suggested_label"]]
       id given_label suggested_label
    3   3           b               a
    """
    given = dict(locals())
    p = problem(data, model, device, "grand")
    used = recipe(training, early(p), len(data), epochs=epochs, batch_size=batch_size, lr=lr)
    options = options_of(given, used)
    work = partial(_run, p, used, layers == "last", seed)
    found = do(work, runs, p, options, units=used.epochs + 1, checkpoint=checkpoint, n_jobs=n_jobs, progress=progress)
    each, said = np.stack([r.value for r in found]), np.mean([r.said for r in found], axis=0)
    value, suggested = each.mean(0), p.suggested(said)
    if data.task == "classification":
        rule, flagged = "the class with the largest mean probability is not the given one", said.argmax(1) != data.codes
    else:
        rule = f"the residual is {FAR:g} robust standard deviations or more from the median residual"
        flagged = far(data.codes - suggested)
    stats = {
        "flag_rule": rule,
        "device": p.device,
        "through_torch_func": found[0].through_func,
    }
    if runs > 1:
        stats["stderr"] = each.std(0, ddof=1) / np.sqrt(runs)
    return Finding(-value, flagged, {"grand": value}, suggested, stats, options)


class _Run(NamedTuple):
    value: np.ndarray  # (n,)
    said: np.ndarray  # (n, outputs) class probabilities or amounts
    through_func: list[str]


def _run(p: Problem, used: Recipe, last: bool, seed: int, r: int, tick: Tick, place: Place) -> _Run:
    x, y, n = p.x, p.y, len(p.data)
    run = Run(p.make(r, seed), p.loss, x, y, used, seed=spawned(seed, r), checkpoint=place.file, key=place.key)
    net = run.through(tick).eval()
    value, said = torch.empty(n, dtype=torch.float64), torch.empty(n, p.outputs, dtype=torch.float64)
    through_func: list[str] = []
    for rows in in_batches(n, AT_ONCE):
        of_rows = RowGradients(net, p.loss, x[rows], y[rows], last_layer(net) if last else None)
        value[rows] = of_rows.squared_norms().double().sqrt().cpu()
        said[rows] = p.says(of_rows.outputs.double()).cpu()
        through_func = of_rows.through_func
    tick(1)
    return _Run(value.numpy(), said.numpy(), through_func)
