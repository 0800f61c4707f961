"""One network and one training of it, for libraries that are given a trained network: what datassay's tracin does with its defaults.

Initial weights, the order of the rows and the steps are those of datassay with the same seed, so that the same method must give the
same numbers. Runs in the peers' environments: torch and NumPy are all it needs.
"""

import copy

import numpy as np
import torch
from torch import nn

EPOCHS, RATE, CHECKPOINTS = 5, 0.01, 20


class Standardise(nn.Module):
    def __init__(self, x: torch.Tensor) -> None:
        super().__init__()
        std, mean = torch.std_mean(x, 0, correction=0, keepdim=True)
        self.register_buffer("mean", mean)
        self.register_buffer("std", torch.where(std > 0, std, 1.0))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


def mlp(x: torch.Tensor, classes: int) -> nn.Module:
    """Two hidden layers of 100, normalised within the row, on inputs standardised by x (n, d)."""
    layers: list[nn.Module] = [Standardise(x)]
    for d in (x.shape[1], 100):
        layers += [nn.Linear(d, 100), nn.LayerNorm(100, elementwise_affine=False), nn.Mish()]
    return nn.Sequential(*layers, nn.Linear(100, classes))


def trained(x: torch.Tensor, y: torch.Tensor, seed: int) -> tuple[nn.Module, list[dict[str, torch.Tensor]]]:
    """The network after 5 epochs of SGD, and its checkpoints, evenly spaced over the steps; the last is the end."""
    start = int(np.random.SeedSequence([seed, 0]).generate_state(1)[0])
    torch.manual_seed(start)
    net = mlp(x, int(y.max()) + 1)
    optimiser = torch.optim.SGD(net.parameters(), RATE)
    batches = -(-len(x) // min(128, max(16, len(x) // 50)))
    steps, kept = EPOCHS * batches, []
    checkpoints = min(CHECKPOINTS, steps)
    after = {round(k * steps / checkpoints) for k in range(1, checkpoints + 1)}
    for epoch in range(EPOCHS):
        order = torch.from_numpy(np.random.default_rng([start, epoch]).permutation(len(x)))
        for batch, rows in enumerate(torch.tensor_split(order, batches)):
            if epoch * batches + batch in after:
                kept.append(copy.deepcopy(net.state_dict()))
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
            optimiser.step()
    kept.append(copy.deepcopy(net.state_dict()))
    return net.eval(), kept
