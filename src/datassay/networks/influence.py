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


class Question(NamedTuple):
    """What is asked of the network."""

    query: int | None  #: position of a validation row; None: the mean log-likelihood (minus the loss) of all
    code: int  #: the class whose log-odds are asked for


class Influence(NamedTuple):
    value: np.ndarray  #: (n,) what the answer loses without the row
    predictions: np.ndarray  #: (n, outputs) of the network, which has seen the rows
    damping: float
    steps: int
    residual: float


def influence_of_run(question: Question, damping: float | None, one: One) -> Influence:
    """Of one training."""
    p, x, y, n = one.p, one.p.x, one.p.y, len(one.p.data)
    net = one.start(x, y).through(one.tick).eval()
    names = [name for name, w in net.named_parameters() if w.requires_grad]
    classes = p.data.task == "classification"
    x_val, y_val = p.x_val, p.y_val
    if question.query is None:
        mean = mean_over(len(x_val), AT_ONCE, lambda rows: mean_gradient(net, p.loss, x_val[rows], y_val[rows], names))
        g = {name: -a for name, a in mean.items()}
    else:
        row = slice(question.query, question.query + 1)
        g = mean_gradient(net, lambda outputs, _: answer(outputs, question.code, classes), x_val[row], y_val[row], names)
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
        value[rows] = -of_rows.dots(solved.solution).double().cpu() / n
        predictions[rows] = p.probabilities(of_rows.outputs.double()).cpu()
    one.tick(1)
    return Influence(value.numpy(), predictions.numpy(), damping, solved.steps, solved.residual)


def answer(outputs: Tensor, code: int, classes: bool) -> Tensor:
    """(n,) log-odds of a class, at most those of a million to one; or the prediction.

    >>> round(answer(torch.log(torch.tensor([[0.2, 0.2, 0.6]])), 2, True).item(), 4), answer(torch.tensor([[3.0]]), 0, False).item()
    (0.4055, 3.0)
    """
    if not classes:
        return outputs[:, 0]
    logits = outputs.log_softmax(1)
    others = torch.cat([logits[:, :code], logits[:, code + 1 :]], 1)
    return logits[:, code] - others.logsumexp(1)
