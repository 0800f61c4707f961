"""Networks trained as a stack: equal to a plain loop, one after the other, whatever the stack is made of."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from datassay.engines import stacked
from datassay.engines.stacked import block, train_stacked
from datassay.engines.training import Recipe
from datassay.networks.defaults import mlp
from datassay.networks.problem import cross_entropy, reconstruction_error, squared_error


@pytest.fixture(autouse=True)
def one_thread():
    """As the callers train: the bits are those of one thread, and networks this small are slower on more."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


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
    """A mask or counts a copy; the second copy has no rows, the last has one."""
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(n, np.full(n, 1 / n), size=b) if counts else (rng.random((b, n)) < 0.4).astype(int)
    weights[[1, -1]] = 0
    weights[-1, 3] = 1
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


def bits(net):
    return np.concatenate([t.astype(np.float64).ravel() for t in everything(net).values()])


def close(found, make, x, y, weights, seeds, loss, recipe, rtol=1e-4):
    """Every copy is what the plain loop makes of it, and it has moved."""
    outputs = found.outputs(x[:7])
    for j, seed in enumerate(map(int, seeds)):
        start = bits(make(seed))
        alone = plain(make(seed), x, y, weights[j], seed, loss, recipe)
        moved = np.abs(bits(alone) - start).max()
        assert moved > 0.01 if weights[j].any() else moved == 0, moved
        one = everything(found.network(j))
        for name, tensor in everything(alone).items():
            np.testing.assert_allclose(one[name], tensor, rtol=rtol, atol=rtol * max(1, np.abs(tensor).max()), err_msg=name)
        said = alone.eval()(x[:7]).detach()
        np.testing.assert_allclose(outputs[j], said, rtol=10 * rtol, atol=10 * rtol * float(said.abs().max()))


SGD = Recipe(epochs=4, batch_size=16, lr=0.1, momentum=0.9, weight_decay=0.01, schedule="cosine")
ADAM = Recipe(epochs=4, batch_size=16, optimiser="adam", lr=0.01, weight_decay=0.1)
BALANCED = Recipe(**{**SGD.__dict__, "balanced": True})
SEEDS = np.array([3, 1, 4, 1, 5])


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
@pytest.mark.parametrize("recipe", [SGD, ADAM, BALANCED], ids=["sgd", "adam", "balanced"])
@pytest.mark.parametrize(("build", "shape"), [(small_mlp, (4,)), (cnn, (2, 6, 5)), (batch_normed, (4,))])
def test_a_stack_is_a_plain_loop(build, shape, recipe, counts, dtype):
    x, y = blobs(shape=shape, dtype=dtype)
    make, weights = seeded(lambda: build().to(dtype)), subsets(counts=counts)
    found = train_stacked(make, x, y, weights, SEEDS, cross_entropy, recipe)
    assert (found.how, len(found), found.outputs(x).dtype) == ("stacked", 5, dtype)
    close(found, make, x, y, weights, SEEDS, cross_entropy, recipe, 1e-4 if dtype == torch.float32 else 1e-9)


class Parts(nn.Module):
    """No Sequential: a module used twice and registered twice, tied weights, a frozen layer, a token axis."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(2, 6)
        self.twice = nn.Linear(6, 6)
        self.again = self.twice
        self.tied = nn.Linear(6, 6)
        self.tied.weight = self.twice.weight
        self.frozen = nn.Linear(6, 6).requires_grad_(False)
        self.scale = nn.Parameter(torch.ones(6))
        self.same = self.scale
        self.last = nn.Sequential(nn.LayerNorm(6), nn.Flatten(-2), nn.Linear(12, 3))

    def forward(self, x):
        h = self.first(x.unflatten(1, (2, 2))).tanh()
        h = h + self.again(self.twice(h)).tanh() + self.tied(h)
        return self.last(self.frozen(self.scale * h) * self.same)


def hooked():
    net = small_mlp()
    net[0].register_forward_hook(lambda module, given, out: 2 * out)
    return net


def tokens():
    """Linear and LayerNorm on more axes than two."""
    return nn.Sequential(
        nn.Unflatten(1, (2, 1, 2)), nn.Linear(2, 5), nn.LayerNorm((1, 5)), nn.ELU(), nn.Flatten(), nn.Linear(10, 3)
    )


class Turned(nn.Module):
    """Its weight's gradient comes in another order of the axes, which is not its own inverse."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 4, 2))

    def forward(self, x):
        return (x @ self.weight.permute(1, 2, 0).reshape(4, 6)).unflatten(1, (2, 3)).tanh().sum(1)


class Cube(nn.Module):
    def forward(self, w):
        return w + w**3


def parametrised():
    net = small_mlp()
    nn.utils.parametrize.register_parametrization(net[0], "weight", Cube())
    return net


@pytest.mark.parametrize("build", [Parts, hooked, tokens, parametrised, Turned])
def test_other_networks_are_stacked_too(build):
    x, y = blobs()
    make, weights = seeded(lambda: build().double()), subsets()
    found = train_stacked(make, x.double(), y, weights, SEEDS, cross_entropy, SGD)
    assert found.how == "stacked"
    close(found, make, x.double(), y, weights, SEEDS, cross_entropy, SGD, 1e-9)


class Branches(nn.Sequential):
    def forward(self, x):
        return super().forward(-x if x.sum() > 0 else x)


class Table(nn.Module):
    """Random numbers that are no buffer."""

    def __init__(self):
        super().__init__()
        self.linear, self.table = nn.Linear(4, 3), torch.randn(4)

    def forward(self, x):
        return self.linear(x * self.table)


class Counts(nn.Module):
    """A buffer that is put in the place of another."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 3)
        self.register_buffer("mean", torch.zeros(4))

    def forward(self, x):
        if self.training:
            self.mean = 0.9 * self.mean + 0.1 * x.mean(0)
        return self.linear(x - self.mean)


def weight_normed():
    net = small_mlp()
    nn.utils.parametrizations.weight_norm(net[0])
    return net


@pytest.mark.parametrize(
    ("build", "why"),
    [
        (lambda: Branches(nn.Linear(4, 3)), "control flow"),
        (Table, "a network is more than its parameters and buffers"),
        (Counts, "the buffer mean is changed, but not in place"),
        (weight_normed, "There is a performance drop"),  # vmap would do an operation copy by copy
        (lambda: nn.Linear(4, 3), "a step of one is work enough"),
    ],
    ids=["branches", "table", "counts", "weight norm", "large"],
)
def test_what_cannot_be_stacked_is_trained_one_by_one(build, why, monkeypatch):
    if "enough" in why:
        monkeypatch.setattr(stacked, "NUMBERS", 100)
    x, y = blobs()
    make, weights = seeded(build), subsets()
    found = train_stacked(make, x, y, weights, SEEDS, cross_entropy, SGD)
    assert found.how.startswith("one by one: ")
    assert why in found.how
    close(found, make, x, y, weights, SEEDS, cross_entropy, SGD)


@pytest.mark.parametrize(
    "build", [lambda: mlp(blobs()[0], 3), lambda: nn.Sequential(nn.Linear(4, 37), nn.ReLU(), nn.Linear(37, 3))]
)
@pytest.mark.parametrize("recipe", [SGD, ADAM], ids=["sgd", "adam"])
def test_a_copy_has_the_same_bits_in_any_stack(build, recipe):
    x, y = blobs()
    make, weights, seeds = seeded(build), subsets(b=12), np.arange(12)
    recipe = Recipe(**{**recipe.__dict__, "batch_size": 19})  # no multiple of what a processor takes at a time

    def trained(copies):
        found = train_stacked(make, x, y, weights[copies], seeds[copies], cross_entropy, recipe)
        assert found.how == "stacked"
        return {j: (bits(found.network(k)), found.outputs(x)[k].numpy()) for k, j in enumerate(copies)}

    whole = trained(range(12))
    for copies in (range(12), [4], [5, 6], [10, 3, 9, 0, 11]):
        for j, (w, out) in trained(list(copies)).items():
            np.testing.assert_array_equal(w, whole[j][0])
            np.testing.assert_array_equal(out, whole[j][1])


def test_how_far_ahead_rows_are_drawn_does_not_matter(monkeypatch):
    x, y = blobs()
    one = train_stacked(seeded(small_mlp), x, y, subsets(), SEEDS, cross_entropy, SGD)
    monkeypatch.setattr(stacked, "AHEAD", 2 * 16 * 5)  # two steps of four: the rest of a permutation is carried on
    two = train_stacked(seeded(small_mlp), x, y, subsets(), SEEDS, cross_entropy, SGD)
    for j in range(5):
        np.testing.assert_array_equal(bits(one.network(j)), bits(two.network(j)))


def test_dropout_follows_from_the_seeds_and_torch_is_left_as_it_was():
    x, y = blobs()
    drops = seeded(lambda: nn.Sequential(nn.Linear(4, 16), nn.Dropout(0.3), nn.Linear(16, 3)))
    weights = np.ones((3, 40), int)

    def trained(seeds):
        before = torch.get_rng_state()
        found = train_stacked(drops, x, y, weights, np.array(seeds), cross_entropy, SGD)
        assert found.how == "stacked"
        assert torch.get_rng_state().equal(before)
        return [bits(found.network(j)) for j in range(3)]

    one = trained([1, 2, 1])
    torch.rand(5)
    np.testing.assert_array_equal(one, trained([1, 2, 1]))
    assert np.abs(one[0] - one[2]).max() > 1e-3  # of one seed, but each drops numbers of its own
    assert np.abs(one[0] - trained([1, 3, 1])[0]).max() > 1e-3


def test_a_network_that_takes_random_numbers_as_they_come():
    x, y = blobs()
    before, found = torch.get_rng_state(), []
    for _ in range(2):
        found.append(train_stacked(lambda seed: small_mlp(), x, y, subsets(), SEEDS, cross_entropy, SGD))
        assert torch.get_rng_state().equal(before)
        torch.rand(1)
        before = torch.get_rng_state()
    np.testing.assert_array_equal(bits(found[0].network(0)), bits(found[1].network(0)))
    np.testing.assert_array_equal(bits(found[0].network(1)), bits(found[1].network(1)))  # as it was drawn
    drawn = train_stacked(lambda seed: small_mlp(), x, y, subsets(), SEEDS, cross_entropy, Recipe(epochs=0))
    assert np.abs(bits(drawn.network(0)) - bits(drawn.network(1))).max() > 0.1
    np.testing.assert_array_equal(bits(drawn.network(1)), bits(drawn.network(3)))  # of one seed


def test_augmentation_follows_from_a_copys_own_seed():
    x, y = blobs()
    seen = []

    def noisy(batch, generator):
        seen.append((batch.shape, generator.initial_seed()))
        return batch + 0.3 * torch.randn(batch.shape, generator=generator)

    recipe = Recipe(**{**SGD.__dict__, "augment": noisy, "batch_size": 32})
    weights = np.ones((3, 40), int)
    found = train_stacked(seeded(small_mlp), x, y, weights, np.array([1, 2, 1]), cross_entropy, recipe)
    assert (len(seen), {shape for shape, _ in seen}) == (3 * 8, {(32, 4)})
    assert seen[0] == seen[2] != seen[1]
    other = train_stacked(seeded(small_mlp), x, y, weights[:2], np.array([7, 2]), cross_entropy, recipe)
    np.testing.assert_array_equal(bits(found.network(1)), bits(other.network(1)))
    np.testing.assert_array_equal(bits(found.network(0)), bits(found.network(2)))
    without = train_stacked(
        seeded(small_mlp), x, y, weights, np.array([1, 2, 1]), cross_entropy, Recipe(**{**recipe.__dict__, "augment": None})
    )
    assert np.abs(bits(found.network(0)) - bits(without.network(0))).max() > 1e-3


class Lazy:
    """Rows that are no tensor."""

    def __init__(self, x):
        self.x = x

    def __len__(self):
        return len(self.x)

    def __getitem__(self, rows):
        return self.x[rows]


def test_amounts_autoencoders_and_rows_that_are_no_tensor():
    x, _ = blobs(dtype=torch.float64)
    amounts, weights = 0.5 * x[:, 0] - x[:, 1], subsets()
    make = seeded(lambda: nn.Sequential(nn.Linear(4, 6), nn.SiLU(), nn.Linear(6, 1)).double())
    found = train_stacked(make, Lazy(x), amounts, weights, SEEDS, squared_error, BALANCED)  # of amounts nothing is balanced
    close(found, make, x, amounts, weights, SEEDS, squared_error, SGD, 1e-9)
    make = seeded(lambda: nn.Sequential(nn.Linear(4, 2), nn.Linear(2, 4)).double())
    found = train_stacked(make, x, x, weights, SEEDS, reconstruction_error, SGD)
    close(found, make, x, x, weights, SEEDS, reconstruction_error, SGD, 1e-9)


def test_nothing_to_learn():
    x, y = blobs()
    make, ticks = seeded(small_mlp), []
    found = train_stacked(make, x, y, np.zeros((2, 40), bool), SEEDS[:2], cross_entropy, SGD, tick=ticks.append)
    no_epochs = train_stacked(make, x, y, np.ones((2, 40)), SEEDS[:2], cross_entropy, Recipe(epochs=0))
    for stack in (found, no_epochs):
        for j in range(2):
            np.testing.assert_array_equal(bits(stack.network(j)), bits(make(int(SEEDS[j]))))
    assert ticks == []


def test_ticks_count_what_was_trained(monkeypatch):
    x, y = blobs()
    ticks = []
    train_stacked(seeded(small_mlp), x, y, subsets(), SEEDS, cross_entropy, SGD, tick=ticks.append)
    assert ticks == [4]
    monkeypatch.setattr(stacked, "NUMBERS", 1)
    train_stacked(seeded(small_mlp), x, y, subsets(), SEEDS, cross_entropy, SGD, tick=ticks.append)
    assert ticks == [4, 1, 1, 1, 1]


@pytest.mark.parametrize("numbers", [1, stacked.NUMBERS])
def test_a_loss_that_runs_away_is_named(numbers, monkeypatch):
    monkeypatch.setattr(stacked, "NUMBERS", numbers)
    x, y = blobs()
    x[7] = 1e30
    weights = np.ones((3, 40), int)
    weights[[0, 2], 7] = 0
    train_stacked(seeded(small_mlp), x, y, weights[[0, 2]], SEEDS[:2], cross_entropy, SGD)
    with pytest.raises(
        FloatingPointError, match=r"of the copy with seed 1 became (nan|inf) in epoch \d: lower lr \(it is 0.1\)"
    ):
        train_stacked(seeded(lambda: nn.Linear(4, 3)), x, y, weights, SEEDS[:3], cross_entropy, SGD)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"weights": np.full((2, 40), 0.5)}, "weights must be whole numbers from 0 on"),
        ({"weights": -np.ones((2, 40), int)}, "weights must be whole numbers from 0 on"),
        ({"weights": np.full((2, 40), np.nan)}, "weights must be whole numbers from 0 on"),
        ({"weights": np.ones((2, 39), int)}, "2 copies and 39 rows, but there are 2 seeds, 40 rows and 40 targets"),
        ({"recipe": Recipe(mixed_precision=True)}, "set mixed_precision=False"),
    ],
)
def test_what_cannot_be_trained(change, why):
    x, y = blobs()
    given = {"weights": np.ones((2, 40), int), "seeds": SEEDS[:2], "recipe": SGD} | change
    with pytest.raises(ValueError, match=why):
        train_stacked(seeded(small_mlp), x, y, given["weights"], given["seeds"], cross_entropy, given["recipe"])


def test_an_error_of_the_network_is_the_networks():
    x, y = blobs()
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        train_stacked(lambda seed: nn.Linear(5, 3), x, y, subsets(), SEEDS, cross_entropy, SGD)


def test_mish_is_torchs():
    x = torch.cat([torch.linspace(-800, 800, 101), torch.linspace(-8, 8, 1001)]).double().requires_grad_()
    g = torch.linspace(-1, 1, len(x)).double()
    found, expected = stacked._Mish.apply(x), F.mish(x)
    np.testing.assert_allclose(found.detach(), expected.detach(), rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(torch.autograd.grad(found, x, g)[0], torch.autograd.grad(expected, x, g)[0], atol=1e-12)


def test_larger_steps_have_smaller_stacks():
    x = torch.zeros(10, 64)
    sizes = [
        block(mlp(x, 10, width), x, Recipe(batch_size=B)) for width, B in ((10, 32), (100, 32), (100, 128), (1000, 128))
    ]
    assert sizes == [256, 50, 18, 1]
