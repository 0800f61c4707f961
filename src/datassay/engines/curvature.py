"""Gauss-Newton matrices of networks, by products alone: (G + damping)^-1 g by conjugate gradients.

    G = mean over rows of J' B J        J: Jacobian of a row's outputs in the parameters; B: Hessian of its loss in the outputs

B = diag(p) - p p' for the cross-entropy, 1 for half a squared error. J v is the derivative in u of (J' u) . v, which needs no forward mode.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from datassay.engines.gradients import _differentiable, _only

Vector = dict[str, Tensor]  #: a tensor for each parameter


def gauss_newton_product(model: nn.Module, x: Tensor, v: Vector, *, classes: bool) -> Vector:
    """G v, mean over these rows; the outputs are logits of classes, or one number a row.

    >>> model = nn.Linear(2, 1, bias=False)
    >>> gauss_newton_product(model, torch.tensor([[1.0, 2.0], [0.0, 2.0]]), {"weight": torch.tensor([[1.0, 0.0]])}, classes=False)
    {'weight': tensor([[0.5000, 1.0000]])}
    """
    everything, names = dict(model.named_parameters()), list(v)
    with torch.enable_grad(), _only(everything, names), _differentiable(model):
        chosen = [everything[name] for name in names]
        outputs = model(x)
        u = torch.zeros_like(outputs, requires_grad=True)
        back = torch.autograd.grad(outputs, chosen, u, create_graph=True, materialize_grads=True)
        along = torch.stack([(b * v[name]).sum() for name, b in zip(names, back, strict=True)]).sum()
        (Jv,) = torch.autograd.grad(along, u, retain_graph=True)
        if classes:
            p = outputs.detach().softmax(1)
            Jv = p * (Jv - (p * Jv).sum(1, keepdim=True))
        found = torch.autograd.grad(outputs, chosen, Jv / len(x), materialize_grads=True)
    return dict(zip(names, found, strict=True))


class Solved(NamedTuple):
    solution: Vector
    steps: int
    residual: float  #: length of what is left, as a share of g's


def solve(product: Callable[[Vector], Vector], g: Vector, damping: float, *, tol: float = 1e-3, steps: int = 100) -> Solved:
    """(G + damping)^-1 g, by conjugate gradients from 0.

    >>> found = solve(lambda v: {"w": torch.tensor([2.0, 4.0]) * v["w"]}, {"w": torch.tensor([3.0, 5.0])}, 1.0)
    >>> found.solution["w"].round(decimals=3).tolist(), found.steps
    ([1.0, 1.0], 2)
    """
    x = {name: torch.zeros_like(a) for name, a in g.items()}
    r = {name: a.clone() for name, a in g.items()}
    d = {name: a.clone() for name, a in g.items()}
    square = first = dot(r, r)
    done = 0
    while done < steps and square > tol**2 * first:
        Hd = product(d)
        for name, a in d.items():
            Hd[name] = Hd[name] + damping * a
        length = square / dot(d, Hd)
        for name in x:
            x[name] += length * d[name]
            r[name] -= length * Hd[name]
        square, before = dot(r, r), square
        d = {name: r[name] + (square / before) * a for name, a in d.items()}
        done += 1
    return Solved(x, done, (square / first) ** 0.5 if first > 0 else 0.0)


def mean_eigenvalue(product: Callable[[Vector], Vector], like: Vector, signs: Sequence[int]) -> float:
    """trace G / parameters, by Hutchinson's estimate from a random vector of signs for each of these seeds.

    >>> mean_eigenvalue(lambda v: {"w": torch.tensor([2.0, 4.0]) * v["w"]}, {"w": torch.zeros(2)}, [0])
    3.0
    """
    total, parameters = 0.0, sum(a.numel() for a in like.values())
    for seed in signs:
        random = torch.Generator().manual_seed(seed)
        v = {name: (2 * torch.randint(2, a.shape, generator=random) - 1).to(a.device, a.dtype) for name, a in like.items()}
        total += dot(v, product(v))
    return total / len(signs) / parameters


def dot(a: Vector, b: Vector) -> float:
    return float(sum(float((a[name].double() * b[name].double()).sum()) for name in a))
