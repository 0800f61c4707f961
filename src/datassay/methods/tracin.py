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
from functools import partial
from typing import Literal, NamedTuple, Unpack

import numpy as np
import torch

from datassay.checks import Call, Count, DataError
from datassay.data.dataset import Dataset
from datassay.engines.gradients import RowGradients, mean_gradient
from datassay.engines.training import in_batches, set_mode
from datassay.methods.definition import Finding, network_method
from datassay.networks.problem import Model, last_layer, mean_over, problem
from datassay.networks.recipes import small_steps
from datassay.networks.runs import One, Trainings, averaged, chosen, options_of, run_all

CHECKPOINTS = 20
AT_ONCE = 512  # rows in one pass


@network_method("tracin", renamed={"checkpoints": "n_checkpoints"})
def tracin(
    call: Call,
    data: Dataset,
    model: Model | None = None,
    *,
    influence: Literal["validation", "self"] = "validation",
    layers: Literal["all", "last"] = "all",
    n_checkpoints: Count | None = None,
    runs: Count = 1,
    **shared: Unpack[Trainings],
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
    n_checkpoints
        How many checkpoints, evenly spaced over the steps; the last is the end of the training. None: 20, or as many as there are steps.
    epochs, lr
        Of the training on the rows, by SGD without momentum and weight decay. None: 5 epochs at 0.01 for tables, 6 at 0.05 for images.

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
    p = problem(data, model, shared["device"], "tracin")
    used = chosen(shared, small_steps(p, tables=5, images=6), len(data))
    steps = used.epochs * -(-len(data) // used.batch_size)
    if steps == 0:
        raise DataError("tracin follows the steps of a training, and epochs=0 has none: give at least 1.")
    n_checkpoints = min(CHECKPOINTS, steps) if n_checkpoints is None else n_checkpoints
    if n_checkpoints > steps:
        raise DataError(f"tracin: {n_checkpoints} checkpoints need as many steps, and {used.epochs} epochs have {steps}.")
    options = options_of(call, used) | {"n_checkpoints": n_checkpoints}
    work = partial(_run, influence == "self", layers == "last", n_checkpoints)
    results = run_all(work, call, p, used, options, runs=runs)
    column, stderr = averaged([r.value for r in results])
    predictions = np.mean([r.predictions for r in results], axis=0)
    if influence == "validation":
        scores, flagged, rule = column.copy(), column < 0, "opponent of the validation rows: tracin below 0"
    else:
        flagged, rule = p.disagreeing(predictions, "the networks at the checkpoints, on average, say another class")
        scores = -column
    stats = {
        "flag_rule": rule,
        "seconds_gradients": sum(r.seconds for r in results),
        "device": p.device,
        "through_torch_func": results[0].through_func,
    } | stderr
    return Finding(scores, flagged, {"tracin": column}, p.suggested(predictions), stats, options)


class _Run(NamedTuple):
    value: np.ndarray  # (n,)
    predictions: np.ndarray  # (n, outputs) class probabilities, or targets, mean over the checkpoints
    seconds: float
    through_func: list[str]


def _run(self_influence: bool, last: bool, checkpoints: int, one: One) -> _Run:
    p, used, net = one.p, one.recipe, one.net()
    n, x, y = len(p.data), p.x, p.y
    names = last_layer(net) if last else [name for name, q in net.named_parameters() if q.requires_grad]
    state = {"value": torch.zeros(n, dtype=torch.float64), "said": torch.zeros(n, p.outputs, dtype=torch.float64)}
    state["seconds"] = torch.zeros(1)
    run = one.start(x, y, net, state=state)
    through_func: list[str] = []
    x_val, y_val = (None, None) if self_influence else (p.x_val, p.y_val)

    steps = used.epochs * run.batches
    after = {round(k * steps / checkpoints) for k in range(1, checkpoints + 1)}

    def look(done: int) -> None:
        now = time.perf_counter()
        set_mode(net, dropout=False, batch_norm=False)
        g = {}
        if x_val is not None and y_val is not None:
            g = mean_over(len(x_val), AT_ONCE, lambda batch: mean_gradient(net, p.loss, x_val[batch], y_val[batch], names))
        for rows in in_batches(n, AT_ONCE):
            of_rows = RowGradients(net, p.loss, x[rows], y[rows], names)
            products = of_rows.squared_norms() if self_influence else of_rows.dots(g)
            state["value"][rows] += used.rate((done - 1) / steps) * products.double().cpu()
            state["said"][rows] += p.probabilities(of_rows.outputs.double()).cpu() / checkpoints
            through_func[:] = of_rows.through_func
        state["seconds"] += time.perf_counter() - now

    one.tick(run.epoch)
    for step in run:
        if step.step in after:
            look(step.step)
        if step.batch == run.batches - 1:
            one.tick(1)
    look(steps)  # the file of a finished run is from before this
    return _Run(state["value"].numpy(), state["said"].numpy(), float(state["seconds"]), through_func)
