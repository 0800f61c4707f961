"""Networks trained as a stack: equal to a plain loop, one after the other, whatever the stack is made of."""

import copy

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from datassay.engines import stacked
from datassay.engines.stacked import train_stacked
from datassay.engines.training import Recipe
from datassay.networks import cross_entropy, mlp, resnet


def blobs(n=40, shape=(4,), classes=3, seed=0, dtype=torch.float32):
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(classes, (n,), generator=g)
    x = torch.randn(n, *shape, generator=g, dtype=dtype)
    x.flatten(1)[:, :classes] += 2 * F.one_hot(y, classes)
    return x, y


def seeded(build):
    def make(seed):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return build()

    return make


def subsets(b=5, n=40, seed=0, counts=False):
    """A mask or counts a copy; of the last copies one has a single row, one has none."""
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=b) if counts else (rng.random((b, n)) < 0.4).astype(int)
    weights[-2:] = 0
    weights[-2, 3] = 1
    return weights


def plain(net, x, y, weights, seed, loss, recipe):
    """One network by itself, as one would write it down."""
    own = [i for i, w in enumerate(weights) for _ in range(w)]
    if not own:
        return net
    n, B = len(x), recipe.batch_size
    steps = recipe.epochs * -(-n // B)
    rng, order = np.random.default_rng([seed, 0]), []
    while len(order) < steps * B:
        order.extend(rng.permutation(own))
    if recipe.optimiser == "adam":
        optimiser = torch.optim.Adam(net.parameters(), recipe.lr, weight_decay=recipe.weight_decay)
    else:
        optimiser = torch.optim.SGD(net.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay)
    net.train()
    for t in range(steps):
        rows = torch.tensor(np.array(order[t * B : (t + 1) * B]))
        optimiser.param_groups[0]["lr"] = recipe.lr
        if recipe.schedule == "cosine":
            optimiser.param_groups[0]["lr"] = recipe.lr * (1 + np.cos(np.pi * t / steps)) / 2
        losses = loss(net(x[rows]), y[rows])
        w = torch.ones(len(rows), dtype=x.dtype)
        if recipe.balanced:
            w = torch.tensor([1 / np.sum(y.numpy()[own] == y[i].item()) for i in rows.tolist()], dtype=x.dtype)
        optimiser.zero_grad()
        ((w * losses).sum() / w.sum()).backward()
        optimiser.step()
    return net


def everything(net):
    return {name: t.detach().numpy() for name, t in net.state_dict().items()}


SGD = Recipe(epochs=4, batch_size=16, lr=0.1, momentum=0.9, weight_decay=0.01, schedule="cosine")
ADAM = Recipe(epochs=4, batch_size=16, optimiser="adam", lr=0.01, weight_decay=0.1)
CNN = (2, 6, 5)


def small_mlp():
    return nn.Sequential(nn.Linear(4, 16), nn.LayerNorm(16), nn.Mish(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


def cnn():
    return nn.Sequential(
        nn.Conv2d(2, 8, 3, padding=1),
        nn.GroupNorm(2, 8),
        nn.GELU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 4, 2, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8, 3),
    )


def batch_normed():
    return nn.Sequential(nn.Linear(4, 8, bias=False), nn.BatchNorm1d(8), nn.Tanh(), nn.Linear(8, 3))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("counts", [False, True])
@pytest.mark.parametrize("recipe", [SGD, ADAM, Recipe(**{**SGD.__dict__, "balanced": True})])
@pytest.mark.parametrize(("build", "shape"), [(small_mlp, (4,)), (cnn, CNN), (batch_normed, (4,))])
def test_a_stack_is_a_plain_loop(build, shape, recipe, counts, dtype):
    x, y = blobs(shape=shape, dtype=dtype)
    make = seeded(lambda: build().to(dtype))
    weights, seeds = subsets(counts=counts), np.array([3, 1, 4, 1, 5])
    found = train_stacked(make, x, y, weights, seeds, cross_entropy, recipe)
    assert found.how == "stacked"
    rtol = 1e-4 if dtype == torch.float32 else 1e-9
    q, _ = blobs(n=7, shape=shape, dtype=dtype, seed=1)
    outputs = found.outputs(q)
    assert outputs.shape == (5, 7, 3)
    for j, seed in enumerate(seeds):
        expected = plain(make(int(seed)), x, y, weights[j], seed, cross_entropy, recipe)
        moved = max(
            np.abs(a - b).max()
            for a, b in zip(everything(expected).values(), everything(make(int(seed))).values(), strict=True)
        )
        assert moved > 0.05 if weights[j].any() else moved == 0
        one = everything(found.network(j))
        for name, tensor in everything(expected).items():
            np.testing.assert_allclose(one[name], tensor, rtol=rtol, atol=rtol * max(1, np.abs(tensor).max()), err_msg=name)
        said = expected.eval()(q).detach()
        np.testing.assert_allclose(outputs[j], said, rtol=10 * rtol, atol=10 * rtol * float(said.abs().max()))
