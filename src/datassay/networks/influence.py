"""Influence functions of a trained network: what an answer would lose without a row, by its Gauss-Newton matrix.

    f(theta) - f(theta_-i)      ~=  - grad f' (G + weight decay + damping)^-1 grad l_i / n
    l_i(theta_-i) - l_i(theta)  ~=  grad l_i' (G + weight decay + damping)^-1 grad l_i / n  >= 0

f: what is asked of the network; l: the loss; G: the Gauss-Newton matrix of the mean loss. For the cross-entropy that is the Fisher
matrix, the mean of gradients' outer products with labels as the network predicts them: all classes by their probabilities, or draws
where there are many. By EK-FAC (engines.kronecker) one inverse serves all answers; with G itself every answer is a system of its own,
which conjugate gradients solve (engines.curvature). Where the network is not at a minimum this is the change of the minimum of the loss
that is quadratic about it (Bae et al., NeurIPS 2022).

Damping, unless it is given. EK-FAC: with it half of the rows' influence on themselves comes from G and half from what is added,

    mean over i of  g_i' R G R g_i / g_i' R g_i  =  1/2,    R = (G + weight decay + damping)^-1,   g_i = grad l_i

and of several the largest. G itself: `SHARE` of its mean eigenvalue. Both by what linear datamodelling scores say, see the manual.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from datassay.checks import DataError
from datassay.engines.curvature import Vector, dot, gauss_newton_product, mean_eigenvalue, solve
from datassay.engines.gradients import Loss, RowGradients, mean_gradient
from datassay.engines.kronecker import EkFac
from datassay.engines.training import Rows, in_batches, outputs, spawned
from datassay.networks.problem import Problem, cross_entropy, mean_over
from datassay.networks.runs import One

AT_ONCE = 512  # rows in one pass
SAMPLE = 4096  # rows by which the curvature is measured, at most
SHARE = 30.0  # of the mean eigenvalue is the damping of G itself
TRACES = 4  # random vectors for it
BALANCED = 512  # rows whose influence on themselves is looked at, at most
UNBALANCED = 0.1  # of the mean eigenvalue is the damping, where none balances (Grosse et al., arXiv 2308.03296)
LABELS = 10  # of each row: all classes, or of more so many draws


class Asked(NamedTuple):
    """What a network is asked, of each of these rows."""

    answer: Loss  #: of outputs and targets
    x: Rows
    y: Tensor
    unit: float  #: the answer's, in that of what the network says


class Influence(NamedTuple):
    value: np.ndarray  #: (n,) what the answers lose without the row, on average
    each: np.ndarray | None  #: (n, m) what every answer loses
    predictions: np.ndarray  #: (n, outputs) of the network, which has seen the rows
    damping: float
    solved: dict[str, Any]  #: with what curvature, and how well


def asked_of(p: Problem, utility: str, query: int | None, code: int) -> Asked:
    """A utility of all validation rows, or one row's log-odds of a class (regression: its prediction)."""
    classes = p.data.task == "classification"
    rows = slice(0, len(p.x_val)) if query is None else slice(query, query + 1)
    x, y = p.x_val[rows], p.y_val[rows]
    if classes and query is not None:
        y = torch.full_like(y, code)

    def answer(outputs: Tensor, y: Tensor) -> Tensor:
        if not classes:
            return outputs[:, 0] if query is not None else -((outputs[:, 0] - y) ** 2)
        return -p.loss(outputs, y) if utility == "log-likelihood" and query is None else log_odds(outputs, y)

    # a network sees targets in standard deviations
    return Asked(answer, x, y, float(p.data.codes.std()) if query is not None and not classes else 1.0)


def influence_of_run(
    utility: str, query: int | None, code: int, itself: bool, each: bool, hessian: str, damping: float | None, one: One
) -> Influence:
    """Of one training: on what is asked of validation rows, on average or ``each``; or of every row on its own label (``itself``)."""
    p, x, y = one.p, one.p.x, one.p.y
    net = one.start(x, y).through(one.tick).eval()
    of = _Network(net, p, None if itself else asked_of(p, utility, query, code))
    some = torch.from_numpy(np.linspace(0, of.n - 1, min(of.n, SAMPLE)).astype(np.int64)).to(y.device)
    by = (_EkFac if hessian == "ek-fac" else _Exact)(of, some, damping, one)
    if by.added <= 0:
        raise DataError(
            f"{p.method}: the network is certain of all rows, so that its curvature is 0: train fewer epochs, or give damping."
        )
    found = by.own() if itself else by.each() if each else by.mean()
    said = torch.cat([p.probabilities(outputs(net, x[rows]).double()).cpu() for rows in in_batches(of.n, AT_ONCE)])
    value = (found.mean(1) if found.ndim == 2 else found).numpy()
    return Influence(value, found.numpy() if each else None, said.numpy(), by.damping, by.solved)


class _Network:
    """A trained network, its rows, and what it is asked."""

    def __init__(self, net: nn.Module, p: Problem, asked: Asked | None) -> None:
        self.net, self.p, self.n = net, p, len(p.data)
        self.names = [name for name, w in net.named_parameters() if w.requires_grad]
        self.classes = p.data.task == "classification"
        self.asked = (
            Asked(p.loss, p.x, p.y, 1.0 if self.classes else float(p.data.codes.std()) ** 2) if asked is None else asked
        )
        self.scale = self.asked.unit / self.n * (1 if asked is None else -1)

    def batches(self) -> Iterator[tuple[slice, RowGradients]]:
        """Gradients of the rows' losses."""
        x, y = self.p.x, self.p.y
        for rows in in_batches(self.n, AT_ONCE):
            yield rows, RowGradients(self.net, self.p.loss, x[rows], y[rows], self.names)

    def gradient(self, rows: slice) -> Vector:
        """Of the mean answer for these rows."""
        _, x, y, _ = self.asked

        def of(part: slice) -> Vector:
            at = slice(rows.start + part.start, rows.start + part.stop)
            return mean_gradient(self.net, self.asked.answer, x[at], y[at], self.names)

        return mean_over(rows.stop - rows.start, AT_ONCE, of)

    def lost(self, u: Vector) -> Tensor:
        """(n,) by an answer whose gradient was solved to u."""
        found = torch.empty(self.n, dtype=torch.float64)
        for rows, of in self.batches():
            found[rows] = self.scale * of.dots(u).double().cpu()
        return found


class _EkFac:
    """By the approximate inverse, which is there for all answers."""

    def __init__(self, of: _Network, some: Tensor, damping: float | None, one: One) -> None:
        self._of, self._some = of, some
        self._labels = self._as_predicted(spawned(one.own, 6))
        self._matrix = EkFac(self._predicted, len(some), self._labels.shape[1])
        self.damping = self._balanced(one.recipe.weight_decay) if damping is None else damping
        self.added = self.damping + one.recipe.weight_decay
        self._done = one.tick
        self.solved: dict[str, Any] = {
            "mean_eigenvalue": self._matrix.mean_eigenvalue,
            "own_axes": self._matrix.own_axes,
        }

    def _balanced(self, weight_decay: float) -> float:
        """What is to be added to the weight decay."""
        of = self._of
        rows = torch.from_numpy(np.linspace(0, of.n - 1, min(of.n, BALANCED)).astype(np.int64)).to(self._some.device)
        found = self._matrix.balanced(RowGradients(of.net, of.p.loss, of.p.x[rows], of.p.y[rows], of.names))
        return UNBALANCED * self._matrix.mean_eigenvalue if found is None else max(0.0, found - weight_decay)

    def _as_predicted(self, seed: int) -> Tensor:
        """(rows, labels) of the rows by which the curvature is measured; of regression there is one, whatever it be."""
        of, classes = self._of, self._of.p.outputs
        if classes <= LABELS:
            return torch.arange(classes).expand(len(self._some), -1)
        draw = torch.Generator().manual_seed(seed)
        said = [outputs(of.net, of.p.x[self._some[rows]]).cpu() for rows in in_batches(len(self._some), AT_ONCE)]
        return torch.multinomial(torch.cat(said).double().softmax(1), LABELS, replacement=True, generator=draw)

    def _predicted(self) -> Iterator[RowGradients]:
        """Gradients whose outer products add up to G, row by row."""
        of, repeats = self._of, self._labels.shape[1]
        drawn = of.p.outputs > LABELS

        def loss(outputs: Tensor, label: Tensor) -> Tensor:
            if not of.classes:
                return outputs[:, 0]
            p = outputs.detach().softmax(1).gather(1, label[:, None])[:, 0]
            return (torch.full_like(p, 1 / repeats) if drawn else p).sqrt() * cross_entropy(outputs, label)

        for rows in in_batches(len(self._some), max(1, AT_ONCE // repeats)):
            x = of.p.x[self._some[rows]].repeat_interleave(repeats, 0)
            yield RowGradients(of.net, loss, x, self._labels[rows].flatten().to(x.device), of.names)

    def mean(self) -> Tensor:
        """(n,)"""
        of = self._of
        found = of.lost(self._matrix.solve(of.gradient(slice(0, len(of.asked.y))), self.added))
        self._done(1)
        return found

    def each(self) -> Tensor:
        """(n, m)"""
        of, (answer, x, y, _) = self._of, self._of.asked
        theirs = [RowGradients(of.net, answer, x[rows], y[rows], of.names) for rows in in_batches(len(y), AT_ONCE)]
        found = torch.empty(of.n, len(y), dtype=torch.float64)
        for rows, ours in of.batches():
            products = torch.cat([self._matrix.products(ours, other, self.added) for other in theirs], 1)
            found[rows] = of.scale * products.double().cpu()
            self._done(len(ours) / of.n)
        return found

    def own(self) -> Tensor:
        """(n,)"""
        of = self._of
        found = torch.empty(of.n, dtype=torch.float64)
        for rows, ours in of.batches():
            found[rows] = of.scale * self._matrix.squares(ours, self.added).double().cpu()
            self._done(len(ours) / of.n)
        return found


class _Exact:
    """By the matrix itself: a system for every answer."""

    def __init__(self, of: _Network, some: Tensor, damping: float | None, one: One) -> None:
        self._of, self._some = of, some
        like = {name: w.detach() for name, w in of.net.named_parameters() if name in of.names}
        seeds = [spawned(one.own, 4, k) for k in range(TRACES)]
        mean = mean_eigenvalue(self._product, like, seeds)
        self.damping = SHARE * mean if damping is None else damping
        self.added = self.damping + one.recipe.weight_decay
        self._done = one.tick
        self.solved: dict[str, Any] = {"mean_eigenvalue": mean, "steps": 0, "residual": 0.0}

    def _product(self, v: Vector) -> Vector:
        of = self._of

        def product(rows: slice) -> Vector:
            return gauss_newton_product(of.net, of.p.x[self._some[rows]], v, classes=of.classes)

        return mean_over(len(self._some), AT_ONCE, product)

    def _solve(self, g: Vector, share: float) -> Vector:
        found = solve(self._product, g, self.added)
        self.solved["steps"] = max(self.solved["steps"], found.steps)
        self.solved["residual"] = max(self.solved["residual"], found.residual)
        self._done(share)
        return found.solution

    def mean(self) -> Tensor:
        """(n,)"""
        return self._of.lost(self._solve(self._of.gradient(slice(0, len(self._of.asked.y))), 1.0))

    def each(self) -> Tensor:
        """(n, m)"""
        of, m = self._of, len(self._of.asked.y)
        return torch.stack([of.lost(self._solve(of.gradient(slice(q, q + 1)), 1 / m)) for q in range(m)], 1)

    def own(self) -> Tensor:
        """(n,)"""
        of = self._of
        gradients = (of.gradient(slice(i, i + 1)) for i in range(of.n))
        return of.scale * torch.tensor([dot(g, self._solve(g, 1 / of.n)) for g in gradients], dtype=torch.float64)


def log_odds(outputs: Tensor, y: Tensor) -> Tensor:
    """(n,) of each row's class.

    >>> log_odds(torch.log(torch.tensor([[0.2, 0.2, 0.6]])), torch.tensor([2])).round(decimals=4)
    tensor([0.4055])
    """
    log_p = outputs.log_softmax(1)
    own = log_p.gather(1, y[:, None])[:, 0]
    return own - log_p.scatter(1, y[:, None], -torch.inf).logsumexp(1)
