"""The networks that are trained where none is given: a perceptron, an autoencoder, a small ResNet."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Standardise(nn.Module):
    """Inputs less their mean, by their standard deviation: along all axes but ``axis``."""

    mean: Tensor
    std: Tensor

    def __init__(self, x: Tensor) -> None:
        super().__init__()
        axes = [0, *range(2, x.ndim)]
        std, mean = torch.std_mean(x, axes, correction=0, keepdim=True)
        self.register_buffer("mean", mean)
        self.register_buffer("std", torch.where(std > 0, std, 1.0))

    def forward(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std


def mlp(x: Tensor, outputs: int, width: int = 100, dropout: float = 0.0, *, standardise: bool = True) -> nn.Module:
    """Two hidden layers of 100, normalised within the row, for rows of which x (n, ...) are some."""
    x = x.flatten(1)
    layers: list[nn.Module] = [nn.Flatten(), Standardise(x) if standardise else nn.Identity()]
    for d in (x.shape[1], width):
        layers += [nn.Linear(d, width), nn.LayerNorm(width, elementwise_affine=False), nn.Mish()]
        layers += [nn.Dropout(dropout)] if dropout else []
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def autoencoder(x: Tensor, width: int = 64) -> nn.Module:
    """A row down to a third of its numbers, 64 at most, and back: rows like x (n, ...)."""
    d = math.prod(x.shape[1:])
    inner, scale = max(1, min(width, d // 3)), Standardise(x)
    hidden = min(4 * width, max(d, 2))
    layers = [nn.Flatten(), nn.Linear(d, hidden), nn.Mish(), nn.Linear(hidden, inner), nn.Mish()]
    layers += [nn.Linear(inner, hidden), nn.Mish(), nn.Linear(hidden, d), nn.Unflatten(1, x.shape[1:])]
    return nn.Sequential(scale, *layers)


class Block(nn.Module):
    """Two convolutions and a way past them."""

    def __init__(self, i: int, o: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(i, o, 3, stride, 1, bias=False),
            nn.GroupNorm(8, o),
            nn.ReLU(),
            nn.Conv2d(o, o, 3, 1, 1, bias=False),
            nn.GroupNorm(8, o),
        )
        self.past = nn.Identity() if i == o and stride == 1 else nn.Conv2d(i, o, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + self.past(x))


def resnet(x: Tensor, outputs: int, width: int = 32) -> nn.Module:
    """ResNet-8 for images of which x (n, channels, height, width) are some: three blocks, the first on 16 pixels a side or so."""
    stride = max(1, min(x.shape[2:]) // 14)
    return nn.Sequential(
        Standardise(x),
        nn.Conv2d(x.shape[1], width, 3, stride, 1, bias=False),
        nn.GroupNorm(8, width),
        nn.ReLU(),
        Block(width, width, 1),
        Block(width, 2 * width, 2),
        Block(2 * width, 4 * width, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4 * width, outputs),
    )


def last_block(net: nn.Sequential) -> list[str]:
    """Names of the parameters of a `resnet` from its last block on.

    >>> last_block(resnet(torch.zeros(1, 1, 8, 8), 3))[::4]
    ['6.body.0.weight', '6.body.4.weight', '9.bias']
    """
    first = max(int(place) for place, part in net.named_children() if isinstance(part, Block))
    return [name for name, _ in net.named_parameters() if int(name.split(".")[0]) >= first]
