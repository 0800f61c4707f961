"""In-Run Data Shapley (Wang, Mittal, Song & Jia 2024, arXiv 2406.11011): each step shares out what it did to the validation loss.

A step of SGD on a batch B, learning rate eta, is a game among its rows: U(S) = l_val(w - eta/|B| sum_{i in S} g_i) - l_val(w),
where a row that is left out adds nothing and |B| stays. With l_val to the first or second order, its Shapley value is

    phi_i = -eta/|B| g_val . g_i                                                            order=1
    phi_i = -eta/|B| g_val . g_i + (eta/|B|)^2 / 2  g_i' H_val sum_{j in B} g_j             order=2, exact for the quadratic

and a row's value is the sum over its steps. Both are one dot product of g_i with a vector of the step, and those of all rows come
from one backward pass. The values of a batch add up to what the expansion says that the step does.

Signs: ``loss_change`` is the sum of phi, below 0 for a row whose steps lower the loss; the score is minus that.
Differs from the paper: |B| in the step, since the loss here is the mean over the batch; with class weights, a row's share of that
mean stands for 1/|B|; any number of passes over the data; dropout is off, in the steps as in the gradients.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from datassay.checks import Call, Count, DataError
from datassay.data.dataset import Dataset
from datassay.engines.gradients import Loss, RowGradients, hessian_product, mean_gradient
from datassay.engines.training import Rows, outputs, set_mode
from datassay.methods.definition import Finding, network_method
from datassay.networks.problem import Model, Problem, mean_over, problem
from datassay.networks.recipes import small_steps
from datassay.networks.runs import One, Trainings, averaged, chosen, options_of, run_all

AT_ONCE = 512  # validation rows in one pass


@network_method("in-run-shapley", renamed={"val_batch": "val_batch_size"})
def in_run_shapley(
    call: Call,
    data: Dataset,
    model: Model | None = None,
    *,
    order: Literal[1, 2] = 1,
    val_batch_size: Count | None = None,
    runs: Count = 1,
    **shared: Unpack[Trainings],
) -> Finding:
    """Each row's share of what the steps of one training did to the validation loss.

    Parameters
    ----------
    data
        n rows and m validation rows; classification or regression.
    order
        Of the expansion of the validation loss; 2 takes a Hessian-vector product at each step, and pays where steps are large.
    val_batch_size
        So many validation rows, drawn anew for each step; None: all of them.
    epochs, lr
        Of the training on the rows. None: 5 epochs at 0.01 for tables, 8 at 0.05 for images.
    training
        A whole `Recipe`, of SGD without momentum, weight decay, augmentation and mixed precision.

    Returns
    -------
    Values
        scores (n,), high = worth keeping: minus the column ``loss_change`` (n,), the change of the validation loss that is the row's.
        ``stats``: ``validation_loss`` before and after the (first) run, and ``loss_change``, the sum that it should be near to.
        Suggested label: what the network says of the row before its own steps, on average. Flagged: score below 0.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> data = da.Dataset(X[:50], y[:50], X_val=X[[20, 21, 50, 51, 52]], y_val=y[[20, 21, 50, 51, 52]])
    >>> da.value(data, method="in-run-shapley").suspects(1)[["id", "given_label", "suggested_label"]]
       id given_label suggested_label
    3   3           b               a
    """
    p = problem(data, model, shared["device"], "in-run-shapley")
    if val_batch_size is not None and val_batch_size > (m := data.X_val.shape[0]):
        raise DataError(
            f"in-run-shapley: val_batch_size must be at most {m}, the number of validation rows, got {val_batch_size}."
        )
    used = chosen(shared, small_steps(p, tables=5, images=8), len(data))
    if used.optimiser != "sgd" or used.momentum or used.weight_decay or used.augment or used.mixed_precision:
        raise DataError(
            "in-run-shapley values the steps of plain SGD: the recipe must have optimiser='sgd', momentum=0, weight_decay=0, "
            "no augment and no mixed precision."
        )
    if used.epochs == 0:
        raise DataError("in-run-shapley values steps, and epochs=0 has none: give at least 1.")
    options = options_of(call, used)
    results = run_all(partial(_run, order, val_batch_size), call, p, used, options, runs=runs)
    change, stderr = averaged([r.change for r in results])
    stats = {
        "flag_rule": "the row's steps raise the validation loss: score below 0",
        "validation_loss": results[0].loss,
        "loss_change": float(results[0].change.sum()),
        "device": p.device,
        "through_torch_func": results[0].through_func,
    } | stderr
    suggested = p.suggested(np.mean([r.predictions for r in results], axis=0))
    return Finding(-change, change > 0, {"loss_change": change}, suggested, stats, options)


class _Run(NamedTuple):
    change: np.ndarray  # (n,)
    predictions: np.ndarray  # (n, outputs) class probabilities, or targets, mean over the row's steps
    loss: list[float]  # mean over the validation rows, before and after
    through_func: list[str]


def _run(order: int, val_batch: int | None, one: One) -> _Run:
    p, used, own, net = one.p, one.recipe, one.own, one.net()
    n, x, y = len(p.data), p.x, p.y
    x_val, y_val = p.x_val, p.y_val
    state = {"change": torch.zeros(n, dtype=torch.float64), "said": torch.zeros(n, p.outputs, dtype=torch.float64)}
    state["before"] = _mean_loss(p, net, x_val, y_val)
    run = one.start(x, y, net, state=state, dropout=False)
    through_func: list[str] = []
    one.tick(run.epoch)
    for step in run:
        rows, judges = step.rows.to(y.device), (x_val, y_val)
        if val_batch is not None:
            drawn = np.random.default_rng([own, 2, step.step]).choice(len(y_val), val_batch, replace=False)
            judges = (x_val[sample := torch.from_numpy(drawn).to(y.device)], y_val[sample])
        weights = None if run.weights is None else run.weights[y[rows]]
        phi, batch = shares(net, p.loss, (x[rows], y[rows]), judges, step.lr, order, weights)
        state["change"][step.rows] += phi.double().cpu()
        state["said"][step.rows] += p.probabilities(batch.outputs.double()).cpu() / used.epochs
        through_func = batch.through_func
        if step.batch == run.batches - 1:
            one.tick(1)
    loss = [float(state["before"]), float(_mean_loss(p, net, x_val, y_val))]
    return _Run(state["change"].numpy(), state["said"].numpy(), loss, through_func)


def shares(
    net: nn.Module,
    loss: Loss,
    rows: tuple[Tensor, Tensor],
    judges: tuple[Rows, Tensor],
    lr: float,
    order: int,
    weights: Tensor | None = None,
) -> tuple[Tensor, RowGradients]:
    """phi (b,) of a step on these rows, and their gradients; of inputs and targets each. Weights (b,) as in the step's loss."""
    set_mode(net, dropout=False, batch_norm=False)
    batch = RowGradients(net, loss, *rows)
    names, (x, y) = batch.names, judges
    ones = batch.losses.new_ones(len(batch)) if weights is None else weights.to(batch.losses.dtype)

    def uphill(sample: slice) -> dict[str, Tensor]:
        return mean_gradient(net, loss, x[sample], y[sample], names)

    def between(sample: slice) -> dict[str, Tensor]:
        """The gradient half way along the step, by the quadratic."""
        g, bent = hessian_product(net, loss, x[sample], y[sample], step)
        return {name: g[name] - lr / 2 * bent[name] for name in names}

    step = mean_gradient(net, loss, *rows, names, ones) if order == 2 else {}
    v = mean_over(len(y), AT_ONCE, between if order == 2 else uphill)
    return -lr * ones / ones.sum() * batch.dots(v), batch


def _mean_loss(p: Problem, net: nn.Module, x: Rows, y: Tensor) -> Tensor:
    return p.loss(outputs(net, x), y).double().mean().cpu()
