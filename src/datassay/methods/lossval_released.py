"""The released LossVal, where it differs from `methods.lossval`: transport within a batch, Adam, its networks and losses."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from datassay.engines import transport
from datassay.engines.training import Recipe
from datassay.networks.problem import Problem

PUBLISHED = Recipe(epochs=30, batch_size=32, optimiser="adam", lr=0.01, weight_decay=0.0, rest=True)
BLUR = 0.05  # root of eps
BETAS = (0.9, 0.999)  # of Adam on the weights


class BatchTransport:
    """The distance of a batch to the validation rows: its weights divided by their sum, or "raw", against 1 for each validation row."""

    def __init__(self, x: Tensor, x_val: Tensor, *, raw: bool) -> None:
        self.x, self.raw = x, raw
        self.C, self.C_val = transport.half_squared_distances(x, x_val), transport.half_squared_distances(x_val, x_val)
        self.b = x.new_full((len(x_val),), 1.0 if raw else 1 / len(x_val))

    def __call__(self, rows: Tensor, w: Tensor) -> tuple[float, Tensor]:
        """S, and (b,) dS/dw / S of a batch with weights w; if not raw, times their sum."""
        x, C = self.x[rows], self.C[rows]
        a = w if self.raw else w / w.sum()
        diameter = max(1.1 * math.sqrt(2 * float(C.max())), BLUR)  # all rows may be one point
        clouds = (C, transport.half_squared_distances(x, x), self.C_val, a.to(C.dtype), self.b)
        if C.device.type == "cpu":  # so small matrices are numpy's: four times as fast
            clouds = tuple(t.numpy() for t in clouds)
        divergence = annealed(*clouds, diameter=diameter, blur=BLUR)
        da = torch.as_tensor(divergence.da, device=w.device)
        value = float(divergence.value)
        pull = da if self.raw else da - (a * da).sum()
        return abs(value), pull / math.copysign(max(abs(value), 1e-12), value)


class Adam:
    """Adam on weights of which only some come in a batch: the others drift on, or "lazy", stay where they are.

    >>> u = torch.ones(3, dtype=torch.float64)
    >>> Adam(3, u.device).step(u, torch.tensor([1]), torch.tensor([5.0], dtype=torch.float64), lr=0.5, lazy=True); u.round(decimals=3)
    tensor([1.0000, 0.5000, 1.0000], dtype=torch.float64)
    """

    def __init__(self, n: int, device: torch.device) -> None:
        self.first, self.second, self.count = (  # moments, and steps
            torch.zeros(n, dtype=torch.float64, device=device) for _ in range(3)
        )

    def step(self, u: Tensor, rows: Tensor, gradient: Tensor, *, lr: float, lazy: bool) -> None:
        """Down the gradient (b,) of these rows, in place."""
        touched: Tensor | slice = rows if lazy else slice(None)
        if not lazy:
            gradient = torch.zeros_like(u).index_copy_(0, rows, gradient)
        self.count[touched] += 1
        k = self.count[touched]
        self.first[touched] = BETAS[0] * self.first[touched] + (1 - BETAS[0]) * gradient
        self.second[touched] = BETAS[1] * self.second[touched] + (1 - BETAS[1]) * gradient**2
        first, second = self.first[touched] / (1 - BETAS[0] ** k), self.second[touched] / (1 - BETAS[1] ** k)
        u[touched] -= lr * first / (second.sqrt() + 1e-8)


def annealed(
    C_xy: transport.Array,
    C_xx: transport.Array,
    C_yy: transport.Array,
    a: transport.Array,
    b: transport.Array,
    *,
    diameter: float,
    blur: float = 0.05,
    scaling: float = 0.5,
    reach: float | None = None,
) -> transport.Divergence:
    """S(a, b) after one averaged step at each eps from diameter^2 down to blur^2: quick, and not to convergence.

    This is what geomloss's `SamplesLoss("sinkhorn")` computes, also where a and b don't have the same mass, or some a is 0 or less:
    such a mass takes no part in a softmin and yet counts in <a, f>.

    Parameters
    ----------
    C_xy, C_xx, C_yy
        (..., n, m), (..., n, n), (..., m, m) costs.
    a, b
        (..., n) and (..., m) masses.
    diameter, blur, scaling
        eps goes from the square of the first to that of the second; its root shrinks by the third each time.
    reach
        As in `solve`.

    Examples
    --------
    >>> import numpy as np
    >>> x, y = np.array([[0.0], [1.0]]), np.array([[0.0], [3.0]])
    >>> Cs = [transport.half_squared_distances(*two) for two in ((x, y), (x, x), (y, y))]
    >>> round(float(annealed(*Cs, np.full(2, 0.5), np.full(2, 0.5), diameter=3.0).value), 3)
    1.0
    >>> round(float(annealed(*Cs, np.full(2, 0.5), np.full(2, 1.5), diameter=3.0).value), 1)
    23.5
    """
    la, lb = transport.log_masses(a), transport.log_masses(b)
    C_yx = transport.turned(C_xy)
    all_eps = transport.schedule(diameter, blur, scaling)
    e, k = all_eps[0], transport.damping_of(all_eps[0], reach)
    f, g = k * transport.softmin_of(C_xy, e, lb), k * transport.softmin_of(C_yx, e, la)
    f_aa, g_bb = k * transport.softmin_of(C_xx, e, la), k * transport.softmin_of(C_yy, e, lb)
    for e in all_eps:
        k = transport.damping_of(e, reach)
        f_new, g_new = k * transport.softmin_of(C_xy, e, lb + g / e), k * transport.softmin_of(C_yx, e, la + f / e)
        f_aa = (f_aa + k * transport.softmin_of(C_xx, e, la + f_aa / e)) / 2
        g_bb = (g_bb + k * transport.softmin_of(C_yy, e, lb + g_bb / e)) / 2
        f, g = (f + f_new) / 2, (g + g_new) / 2
    f, g = k * transport.softmin_of(C_xy, e, lb + g / e), k * transport.softmin_of(C_yx, e, la + f / e)
    f_aa, g_bb = k * transport.softmin_of(C_xx, e, la + f_aa / e), k * transport.softmin_of(C_yy, e, lb + g_bb / e)
    return transport.joined(a, b, f, g, f_aa, g_bb, all_eps[-1], reach)


def cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    """(n,) -log(p + 1e-8)"""
    return -torch.log(outputs.softmax(1) + 1e-8).gather(1, y[:, None])[:, 0]


def squares(outputs: Tensor, y: Tensor) -> Tensor:
    """(n,) (output - y)^2"""
    return (outputs[:, 0] - y) ** 2


def network(p: Problem, seed: int) -> nn.Module:
    """Released networks: 5 layers of 100 with ReLU for classes, 3 of 90 with tanh for regression."""
    depth, width = (5, 100) if p.data.task == "classification" else (3, 90)
    act: type[nn.Module] = nn.ReLU if p.data.task == "classification" else nn.Tanh
    layers: list[nn.Module] = [nn.Flatten()]
    for d in [math.prod(p.shape)] + [width] * (depth - 2):
        layers += [nn.Linear(d, width), act()]
    return nn.Sequential(*layers, nn.Linear(width, p.outputs))
