"""TracIn (Pruthi et al., NeurIPS 2020): what the steps on a row did to the loss of another, looked at from a few checkpoints.

    TracInCP(z, z') = sum over checkpoints c of eta_c grad l(w_c, z) . grad l(w_c, z'),   eta_c the learning rate there

influence="validation": the mean over the validation rows z', which is one dot product with the gradient of their mean loss.
Positive = proponent: steps on the row lower their loss. influence="self": TracInCP(z, z), high for rows that are learned by heart.

Checkpoints are evenly spaced over the steps of one training, and the last is its end. The paper trains networks to the end and
takes checkpoints from then on. A small network then knows wrong labels by heart, and their gradients are gone: the defaults are a
short training by small steps without momentum. The loss is that of the row alone, without weight decay and class weights.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch

from datassay.checks import Count, DataError, Jobs, Positive, Seed
from datassay.data.dataset import Dataset
from datassay.engines.gradients import RowGradients, mean_gradient
from datassay.engines.robust import FAR, far
from datassay.engines.training import Recipe, Run, Tick, in_batches, set_mode, spawned
from datassay.methods.definition import NETWORKS, Finding, method
from datassay.networks.problem import Model, Problem, last_layer, mean_over, problem
from datassay.networks.runs import Place, do, options_of, recipe

TABLES = Recipe(epochs=5, lr=0.01, momentum=0.0, weight_decay=0.0)
IMAGES = replace(TABLES, epochs=6, lr=0.05)
CHECKPOINTS = 20
AT_ONCE = 512  # rows in one pass


@method("tracin", NETWORKS)
def tracin(
    data: Dataset,
    model: Model | None = None,
    *,
    influence: Literal["validation", "self"] = "validation",
    layers: Literal["all", "last"] = "all",
    checkpoints: Count | None = None,
    runs: Count = 1,
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
    """Influence of each row on the validation rows' loss, or on its own, along a training on the rows.

    Parameters
    ----------
    data
        n rows; classification or regression; validation rows for ``influence="validation"``.
    influence
        "validation": mean over the validation rows. "self": of the row on itself; needs no validation rows.
    layers
        "all" parameters, or the "last" layer alone, as in the paper's experiments.
    checkpoints
        How many, evenly spaced over the steps; the last is the end of the training. None: 20, or as many as there are steps.
    epochs, batch_size, lr, training
        Of the training on the rows; ``training`` is a whole `Recipe`, in which the others change what they name. Default: SGD without
        momentum and weight decay, 5 epochs at 0.01 for tables, 6 at 0.05 for images.

    Returns
    -------
    Values
        Column ``tracin`` (n,) in the paper's sign. scores (n,), high = worth keeping: the column for "validation", where a low one
        marks an opponent; minus the column for "self", where a high one marks a suspicious row. Suggested label: what the networks
        say, on average over the checkpoints. Flagged: opponents (column below 0); for "self", rows of which the networks say
        another class than the label, and in regression those with a far residual.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> data = da.Dataset(X[:50], y[:50], X_val=X[[20, 21, 50, 51, 52]], y_val=y[[20, 21, 50, 51, 52]])
    >>> da.value(data, method="tracin").suspects(1)[["id", "given_label", "suggested_label"]]
       id given_label suggested_label
    3   3           b               a
    """
    given = dict(locals())
    p = problem(data, model, device, "tracin", validation=influence == "validation")
    used = recipe(training, IMAGES if len(p.shape) > 1 else TABLES, len(data), epochs=epochs, batch_size=batch_size, lr=lr)
    steps = used.epochs * -(-len(data) // used.batch_size)
    if steps == 0:
        raise DataError("tracin follows the steps of a training, and epochs=0 has none: give at least 1.")
    checkpoints = given["checkpoints"] = min(CHECKPOINTS, steps) if checkpoints is None else checkpoints
    if checkpoints > steps:
        raise DataError(f"tracin: {checkpoints} checkpoints need as many steps, and {used.epochs} epochs have {steps}.")
    options = options_of(given, used)
    work = partial(_run, p, used, influence == "self", layers == "last", checkpoints, seed)
    found = do(work, runs, p, options, units=used.epochs, checkpoint=checkpoint, n_jobs=n_jobs, progress=progress)
    column = np.mean([r.value for r in found], axis=0)
    said = np.mean([r.said for r in found], axis=0)
    suggested = p.suggested(said)
    if influence == "validation":
        scores, flagged, rule = column.copy(), column < 0, "opponent of the validation rows: tracin below 0"
    elif data.task == "classification":
        scores, flagged = -column, said.argmax(1) != data.codes
        rule = "the networks at the checkpoints, on average, say another class"
    else:
        scores, flagged = -column, far(data.codes - suggested)
        rule = f"the residual is {FAR:g} robust standard deviations or more from the median residual"
    stats = {
        "flag_rule": rule,
        "seconds_gradients": sum(r.seconds for r in found),
        "device": p.device,
        "through_torch_func": found[0].through_func,
    }
    if runs > 1:
        stats["stderr"] = np.std([r.value for r in found], axis=0, ddof=1) / np.sqrt(runs)
    columns = {"tracin": column}
    return Finding(scores, flagged, columns, suggested, stats, options)


class _Run(NamedTuple):
    value: np.ndarray  # (n,)
    said: np.ndarray  # (n, outputs) class probabilities or amounts, mean over the checkpoints
    seconds: float
    through_func: list[str]


def _run(
    p: Problem, used: Recipe, itself: bool, last: bool, checkpoints: int, seed: int, r: int, tick: Tick, place: Place
) -> _Run:
    net, n, x, y = p.make(r, seed), len(p.data), p.x, p.y
    names = last_layer(net) if last else [name for name, q in net.named_parameters() if q.requires_grad]
    state = {"value": torch.zeros(n, dtype=torch.float64), "said": torch.zeros(n, p.outputs, dtype=torch.float64)}
    state["seconds"] = torch.zeros(1)
    run = Run(net, p.loss, x, y, used, seed=spawned(seed, r), state=state, checkpoint=place.file, key=place.key)
    through_func: list[str] = []
    x_val, y_val = (None, None) if itself else (p.x_val, p.y_val)

    steps = used.epochs * run.batches
    after = {round(k * steps / checkpoints) for k in range(1, checkpoints + 1)}

    def look(done: int) -> None:
        now = time.perf_counter()
        set_mode(net, dropout=False, batch_norm=False)
        g = {}
        if x_val is not None and y_val is not None:
            g = mean_over(len(x_val), AT_ONCE, lambda some: mean_gradient(net, p.loss, x_val[some], y_val[some], names))
        for rows in in_batches(n, AT_ONCE):
            of_rows = RowGradients(net, p.loss, x[rows], y[rows], names)
            found = of_rows.squared_norms() if itself else of_rows.dots(g)
            state["value"][rows] += used.rate((done - 1) / steps) * found.double().cpu()
            state["said"][rows] += p.says(of_rows.outputs.double()).cpu() / checkpoints
            through_func[:] = of_rows.through_func
        state["seconds"] += time.perf_counter() - now

    tick(run.epoch)
    for step in run:
        if step.step in after:
            look(step.step)
        if step.batch == run.batches - 1:
            tick(1)
    look(steps)  # the file of a finished run is from before this
    return _Run(state["value"].numpy(), state["said"].numpy(), float(state["seconds"]), through_func)
