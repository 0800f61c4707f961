"""TRAK of one training: what a step on every row does to an answer, by the kernel of the rows' gradients, or by projections of these.

    S = k (K + damping)^-1 = phi_q' (Phi' Phi + damping)^-1 Phi'            K = Phi Phi' (n, n), k = Phi phi_q

Phi (n, parameters): gradients of what is said of each row's own label. The left side needs no projection: K comes from the factors of
the layers (engines.gradients), and n rows are n equations. Beyond `MOST` rows the right side is solved, with Phi projected.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from datassay.engines.gradients import RowGradients
from datassay.engines.training import in_batches, spawned
from datassay.networks.influence import asked_of, log_odds
from datassay.networks.runs import One

AT_ONCE = 1000  # rows in one pass
MOST = 8_000  # rows whose kernel is held
SHARE = 1.0  # of the mean squared length of a gradient
NUMBERS = 4_096  # of a projected gradient


class Steps(NamedTuple):
    step: np.ndarray  #: (n, q) S, of each row asked about, or of their mean: (n, 1)
    error: np.ndarray  #: (n,) by how much the loss pulls at what is said of the row: 1 - p, or the residual
    predictions: np.ndarray  #: (n, outputs)
    damping: float
    numbers: int  #: of a projected gradient; 0: none was projected


def trak_of_run(
    utility: str, query: int | None, code: int, projection: int | None, damping: float | None, each: bool, one: One
) -> Steps:
    """Of the answers for all validation rows, or for one row and a class."""
    p, x, y, n = one.p, one.p.x, one.p.y, len(one.p.data)
    net = one.start(x, y).through(one.tick).eval()
    classes = p.data.task == "classification"
    asked = asked_of(p, utility, query, code)

    def said(outputs: Tensor, y: Tensor) -> Tensor:
        return log_odds(outputs, y) if classes else outputs[:, 0]

    batches = list(in_batches(n, AT_ONCE))
    ours = [RowGradients(net, said, x[rows], y[rows]) for rows in batches]
    theirs = [RowGradients(net, asked.answer, asked.x[rows], asked.y[rows]) for rows in in_batches(len(asked.y), AT_ONCE)]
    outputs = torch.cat([g.outputs for g in ours])
    error = 1 - outputs.softmax(1).gather(1, y[:, None])[:, 0] if classes else y - outputs[:, 0]
    if projection is None and n <= MOST:
        step, damping = _by_kernel(ours, theirs, batches, damping, each)
    else:
        size, seed = projection or NUMBERS, spawned(one.own, 5)
        Phi, phi = (torch.cat([g.projected(size, seed) for g in some]) for some in (ours, theirs))
        step, damping = _by_projection(Phi, phi if each else phi.mean(0, keepdim=True), damping)
        projection = Phi.shape[1]
    one.tick(1)
    return Steps(
        step.double().cpu().numpy() * asked.unit,
        error.double().cpu().numpy(),
        p.probabilities(outputs.double()).cpu().numpy(),
        damping,
        projection or 0,
    )


def _by_kernel(
    ours: list[RowGradients], theirs: list[RowGradients], batches: list[slice], damping: float | None, each: bool
) -> tuple[Tensor, float]:
    n = batches[-1].stop
    K = ours[0].losses.new_empty(n, n)
    for i, g in enumerate(ours):
        for j in range(i + 1):
            K[batches[i], batches[j]] = g.products(ours[j])
            if i != j:
                K[batches[j], batches[i]] = K[batches[i], batches[j]].T
    k = torch.cat([torch.cat([g.products(h) for g in ours]) for h in theirs], 1)
    k = k if each else k.mean(1, keepdim=True)
    if damping is None:
        damping = SHARE * float(K.diagonal().mean())
    K.diagonal().add_(damping)
    L = torch.linalg.cholesky(K)
    return torch.cholesky_solve(k, L), damping


def _by_projection(Phi: Tensor, phi: Tensor, damping: float | None) -> tuple[Tensor, float]:
    if damping is None:
        damping = SHARE * float((Phi * Phi).sum(1).mean())
    A = Phi.T @ Phi
    A.diagonal().add_(damping)
    return Phi @ torch.cholesky_solve(phi.T, torch.linalg.cholesky(A)), damping
