"""Influence functions of a trained network: what an answer would lose without a row, by one solve with its Gauss-Newton matrix.

    f(theta) - f(theta_-i)  ~=  - grad f' (G + weight decay + damping)^-1 grad l_i / n

f: what is asked of the network; G: the Gauss-Newton matrix of the mean loss (engines.curvature); damping: a tenth of the mean eigenvalue
of G (Grosse et al., arXiv 2308.03296, section 3.3). Where the network is not at a minimum this is the change of the minimum of
the loss that is quadratic about it (Bae et al., NeurIPS 2022).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datassay.engines.curvature import gauss_newton_product, mean_eigenvalue, solve
from datassay.engines.gradients import RowGradients, mean_gradient
from datassay.engines.training import in_batches, spawned
from datassay.networks.problem import mean_over
from datassay.networks.runs import One

AT_ONCE = 512  # rows in one pass
SAMPLE = 4096  # rows by which the curvature is measured, at most
SHARE = 0.1  # of the mean eigenvalue
TRACES = 4  # random vectors for it


class Influence(NamedTuple):
    value: np.ndarray  #: (n,) what the answer loses without the row
    predictions: np.ndarray  #: (n, outputs) of the network, which has seen the rows
    damping: float
    steps: int
    residual: float


def influence_of_run(utility: str, query: int | None, code: int, damping: float | None, one: One) -> Influence:
    """Of one training: on a utility of all validation rows, or on one row's log-odds of a class (regression: its prediction)."""
    p, x, y, n = one.p, one.p.x, one.p.y, len(one.p.data)
    net = one.start(x, y).through(one.tick).eval()
    names = [name for name, w in net.named_parameters() if w.requires_grad]
    classes = p.data.task == "classification"
    x_val, y_val = p.x_val, p.y_val

    def asked(outputs: Tensor, y: Tensor) -> Tensor:
        if not classes:
            return outputs[:, 0] if query is not None else -((outputs[:, 0] - y) ** 2)
        return -p.loss(outputs, y) if utility == "log-likelihood" and query is None else log_odds(outputs, y)

    rows_asked = slice(0, len(x_val)) if query is None else slice(query, query + 1)
    x_asked, y_asked = x_val[rows_asked], y_val[rows_asked]
    if classes and query is not None:
        y_asked = torch.full_like(y_asked, code)
    g = mean_over(len(y_asked), AT_ONCE, lambda rows: mean_gradient(net, asked, x_asked[rows], y_asked[rows], names))
    unit = (
        float(p.data.codes.std()) if query is not None and not classes else 1.0
    )  # a network sees targets in standard deviations
    some = torch.from_numpy(np.linspace(0, n - 1, min(n, SAMPLE)).astype(np.int64)).to(y.device)

    def product(v: dict[str, Tensor]) -> dict[str, Tensor]:
        def of(rows: slice) -> dict[str, Tensor]:
            return gauss_newton_product(net, x[some[rows]], v, classes=classes)

        return mean_over(len(some), AT_ONCE, of)

    if damping is None:
        damping = SHARE * mean_eigenvalue(product, g, [spawned(one.own, 4, k) for k in range(TRACES)])
    solved = solve(product, g, damping + one.recipe.weight_decay)
    value, predictions = torch.empty(n, dtype=torch.float64), torch.empty(n, p.outputs, dtype=torch.float64)
    for rows in in_batches(n, AT_ONCE):
        of_rows = RowGradients(net, p.loss, x[rows], y[rows], names)
        value[rows] = -unit * of_rows.dots(solved.solution).double().cpu() / n
        predictions[rows] = p.probabilities(of_rows.outputs.double()).cpu()
    one.tick(1)
    return Influence(value.numpy(), predictions.numpy(), damping, solved.steps, solved.residual)


def log_odds(outputs: Tensor, y: Tensor) -> Tensor:
    """(n,) of each row's class.

    >>> log_odds(torch.log(torch.tensor([[0.2, 0.2, 0.6]])), torch.tensor([2])).round(decimals=4)
    tensor([0.4055])
    """
    log_p = outputs.log_softmax(1)
    own = log_p.gather(1, y[:, None])[:, 0]
    return own - log_p.scatter(1, y[:, None], -torch.inf).logsumexp(1)
