"""Many copies of one network, each trained on rows of its own, by one set of operations for all of them.

    theta_j <- theta_j - step(g_j),    g_j = d/dtheta_j  1/B sum_{i in batch t of copy j} loss(f(theta_j, x_i), y_i)

Copy j of b has its own start, its own rows and its own order of them; what the b copies share is that every layer is called once
for all, on b batches (b, B, ...) and b weights (b, ...). The sum of the b losses is differentiated in the stacked weights, so that
one backward pass gives every copy its own gradient; SGD and Adam treat each number for itself, so that one optimiser over the
stacked weights is b optimisers.

All copies do the same number of steps, epochs * ceil(n / B) with n all rows, however few rows are theirs: submodels on fewer rows
must not be less trained ones (AME: Lin et al., ICML 2022, trains for iterations, not epochs). A batch of copy j is the next B
rows of one permutation of its own rows after another, where a row of weight k appears k times in each.

What it costs: a step of a small network is mostly the calls of its few dozen operations, which b copies share; the rest is
arithmetic, and moving b times the numbers of a step through the caches. So b has a best value, `block`, and a network whose single
step keeps the processor busy gains nothing: it is trained one copy after the other.

Index letters: j copy, i row, t step; b copies, n rows, B rows of a batch.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Integer, Shaped
from numpy import ndarray
from torch import Tensor, nn
from torch.func import functional_call, vmap

from datassay.engines.gradients import Loss
from datassay.engines.training import Recipe, Rows, Tick, in_batches, random_numbers, spawned

NUMBERS = 2**21  # of one step, all copies together: 8 MB in float32, about what caches hold
ON_CARD = 2**27  # the same for CUDA, where there is memory to fill and no cache to keep to
AHEAD = 2**20  # positions of rows that are drawn at a time, all copies together: 8 MB
VECTOR = 32  # numbers of a stack's weights are a multiple of it: at an odd end the optimisers round differently
MOST = 256  # copies of the smallest networks: beyond, there is nothing left to share
LOOK = 2  # rows by which it is seen what a network does

Forward = Callable[[Tensor], Tensor]  #: (b, B, ...) inputs of b copies to (b, B, ...) outputs
Layer = Callable[[dict[str, Tensor], Tensor], Tensor]  #: the same of one layer, from all stacked tensors and its inputs


@dataclass(frozen=True)
class Stacked:
    """b trained networks; see `train_stacked`."""

    how: str  #: "stacked", or "one by one: " and why
    _nets: list[nn.Module]  #: all of them; of a stack the first, as the form into which the others' tensors are put
    _state: dict[str, Tensor]  #: (b, ...) of a stack

    def __len__(self) -> int:
        return len(next(iter(self._state.values()))) if self._state else len(self._nets)

    @torch.no_grad()
    def outputs(self, q: Rows, size: int = 128) -> Tensor:
        """(b, q, ...) what the networks say of q rows in evaluation mode; so many rows at a time."""
        every = [q[rows] for rows in in_batches(len(q), size)]
        if not self._state:
            return torch.stack([torch.cat([net.eval()(x) for x in every]) for net in self._nets])
        layers = _layers(self._nets[0].eval())
        return torch.cat([_through(layers, self._state, x.expand(len(self), *x.shape)) for x in every], 1)

    def network(self, j: int) -> nn.Module:
        """Copy j alone, in evaluation mode."""
        if not self._state:
            return self._nets[j].eval()
        net = copy.deepcopy(self._nets[0])
        with torch.no_grad():
            for name, tensor in _tensors(net).items():
                tensor.copy_(self._state[name][j])
        return net.eval()


def block(net: nn.Module, x: Rows, recipe: Recipe) -> int:
    """How many copies of this network are trained fastest together; 1: they gain nothing by it.

    A step of one copy writes B numbers for each output of a layer, and reads and writes its parameters: the copies are as many
    as keep to `NUMBERS` in all.

    >>> [block(nn.Linear(20, 10), torch.zeros(5, 20), Recipe(batch_size=B)) for B in (100, 10_000, 1_000_000)]
    [256, 20, 1]
    """
    sizes: list[int] = []
    hooks = [
        module.register_forward_hook(lambda _, given, out: sizes.append(out.numel()) if isinstance(out, Tensor) else None)
        for module in net.modules()
        if not any(True for _ in module.children())
    ]
    some = x[:LOOK]
    try:
        with torch.no_grad():
            net.eval()(some)
    finally:
        for hook in hooks:
            hook.remove()
    a_step = recipe.batch_size * sum(sizes) // len(some) + sum(p.numel() for p in net.parameters())
    return max(1, min(MOST, (ON_CARD if some.is_cuda else NUMBERS) // a_step))


def train_stacked(
    make: Callable[[int], nn.Module],
    x: Rows,
    y: Tensor,
    weights: Shaped[ndarray, "b n"],
    seeds: Integer[ndarray, " b"],
    loss: Loss,
    recipe: Recipe,
    *,
    tick: Tick | None = None,
) -> Stacked:
    """Train b networks, each on its own of the n rows; a copy without rows stays as it was drawn.

    On one thread the same call gives the same bits, and a copy's bits don't depend on the copies beside it. They do where there
    is dropout; and where a layer's outputs, times ``batch_size``, are no multiple of 32 numbers, with sigmoid, SiLU, ELU, Softplus
    and the tanh form of GELU, of which torch rounds the last numbers of a tensor in another way. (Seen with perceptrons and
    small convolutions; `tests/test_stacked.py` has the perceptrons.)

    Parameters
    ----------
    make
        ``make(seed)`` is a freshly drawn network, on the device of x and y; all of one architecture.
    x, y
        n rows and their targets.
    weights
        Whole numbers from 0 on: how often each row counts. A mask, or what a bootstrap drew. Fastest are as many copies a call
        as `block` says.
    seeds
        One a copy, from 0 on: its start, the order of its rows and its augmentation follow from its own. Dropout follows from
        the seeds of all copies together.
    loss
        Outputs and targets of so many rows to their losses, each row's from its own.
    recipe
        As for `training.Run`, but that all batches have ``batch_size`` rows. Classes are balanced within each copy's rows.
    tick
        Hears of each copy that is trained, of all copies of a stack at once.

    Raises
    ------
    ValueError
        Weights that are no whole numbers from 0 on; lengths that don't agree; a recipe with mixed precision.
    FloatingPointError
        The loss of a copy is no number any more.

    Examples
    --------
    >>> x, y = torch.tensor([[1.], [2.], [5.]]), torch.tensor([3., 6., 0.])
    >>> found = train_stacked(lambda seed: nn.Linear(1, 1, bias=False), x, y, np.array([[1, 1, 0], [0, 0, 1]]), np.arange(2),
    ...                       lambda out, y: (out[:, 0] - y) ** 2, Recipe(epochs=200, batch_size=2, lr=0.02, weight_decay=0.0))
    >>> found.how, (found.outputs(torch.tensor([[1.]])).flatten() + 1e-3).round(decimals=2).tolist()      # 3 x, and 0
    ('stacked', [3.0, 0.0])
    """
    b, n = weights.shape
    if not ((weights >= 0) & (weights == np.floor(weights))).all():
        raise ValueError("weights must be whole numbers from 0 on: how often each row counts.")
    if len(x) != n or len(y) != n or len(seeds) != b:
        raise ValueError(
            f"weights are for {b} copies and {n} rows, but there are {len(seeds)} seeds, {len(x)} rows and {len(y)} targets."
        )
    if recipe.mixed_precision:
        raise ValueError("stacked networks are trained in their own precision: set mixed_precision=False.")
    tick = tick or (lambda _: None)
    task = _Task(x, y, loss, recipe, weights.astype(np.int64), tuple(int(seed) for seed in seeds))
    nets = []
    for seed in task.seeds:
        with random_numbers(seed, y.device):  # where make takes torch's random numbers as they come
            nets.append(make(seed))
    some = np.flatnonzero(weights.any(1))  # the others learn nothing
    try:
        stack = _Stack(nets, task)
    except Exception as error:  # whatever can't be stacked; an error of the network's own comes again below
        reason = (str(error).strip() or type(error).__name__).splitlines()[0].split(". ")[0]
        for j in some:
            trained = [p for p in nets[j].parameters() if p.requires_grad]
            _train(_alone(nets[j].train()), trained, task.of([j]))
            tick(1)
        return Stacked(f"one by one: {reason}", nets, {})
    del nets[1:]
    if len(some):
        stack.train(some, task.of(some))
        tick(len(some))
    return Stacked("stacked", nets, stack.state)


@dataclass(frozen=True)
class _Task:
    """What b copies have to learn."""

    x: Rows
    y: Tensor
    loss: Loss
    recipe: Recipe
    weights: ndarray  #: (b, n)
    seeds: tuple[int, ...]  #: (b,)

    def of(self, copies: Any) -> _Task:
        return replace(self, weights=self.weights[copies], seeds=tuple(self.seeds[j] for j in copies))

    @property
    def batches(self) -> int:
        """In an epoch."""
        return max(1, math.ceil(self.weights.shape[1] / self.recipe.batch_size))

    def class_weights(self) -> Tensor | None:
        """(b, classes) of the loss, where it is balanced: mean over a copy's rows 1."""
        if not self.recipe.balanced or self.y.is_floating_point():
            return None
        of_class = np.eye(int(self.y.max()) + 1, dtype=np.int64)[self.y.cpu().numpy()]  # (n, classes)
        counts = self.weights @ of_class
        w = self.weights.sum(1, keepdims=True) / ((counts > 0).sum(1, keepdims=True) * np.maximum(counts, 1))
        return torch.from_numpy(w).to(self.y.device)


class _Order:
    """The rows of one copy, one permutation of them after another."""

    def __init__(self, weights: ndarray, seed: int) -> None:
        self._own, self._random = np.repeat(np.arange(len(weights)), weights), np.random.default_rng([seed, 0])
        self._left = self._own[:0]

    def take(self, k: int) -> ndarray:
        """(k,) the next rows."""
        cycles = max(0, math.ceil((k - len(self._left)) / len(self._own)))
        new = self._random.permuted(np.tile(self._own, (cycles, 1)), axis=1)
        rows = np.concatenate([self._left, new.ravel()])
        self._left = rows[k:]
        return rows[:k]


def _train(forward: Forward, trained: Sequence[Tensor], task: _Task) -> None:
    """All steps of the b copies, whose weights are ``trained``."""
    recipe, device, B, b = task.recipe, task.y.device, task.recipe.batch_size, len(task.seeds)
    optimiser, leaves = recipe.optimise(nn.ParameterList(trained)), list(trained)
    orders = [_Order(w, seed) for w, seed in zip(task.weights, task.seeds, strict=True)]
    noise = [torch.Generator(device).manual_seed(spawned(seed, 1)) for seed in task.seeds] if recipe.augment else []
    class_weights, total = task.class_weights(), recipe.epochs * task.batches
    dropout = int(np.random.SeedSequence([*task.seeds, 2]).generate_state(1, np.uint64)[0] >> 1)
    ahead = min(task.batches, max(1, AHEAD // (b * B)))  # steps whose rows are drawn at a time
    with random_numbers(dropout, device), torch.enable_grad():
        for first in range(0, total, ahead):
            steps = range(first, min(first + ahead, total))
            rows = np.stack([order.take(len(steps) * B) for order in orders]).reshape(b, len(steps), B)
            sums: Any = 0.0
            for step, now in zip(steps, torch.from_numpy(rows).transpose(0, 1).contiguous().to(device), strict=True):
                for group in optimiser.param_groups:
                    group["lr"] = recipe.rate(step / total)
                means = _means(forward, task, now, class_weights, noise)
                for leaf in leaves:
                    leaf.grad = None
                means.sum().backward()
                optimiser.step()
                sums = sums + means.detach()
            if not (finite := torch.isfinite(sums)).all():  # once it is no number it stays so
                j = int(finite.logical_not().nonzero()[0])
                raise FloatingPointError(
                    f"the loss of the copy with seed {task.seeds[j]} became {sums[j].item()} "
                    f"in epoch {steps[-1] // task.batches + 1}: lower lr (it is {recipe.lr:g}), or scale the columns."
                )


def _means(
    forward: Forward, task: _Task, rows: Tensor, class_weights: Tensor | None = None, noise: Sequence[torch.Generator] = ()
) -> Tensor:
    """(b,) mean losses of rows (b, B)."""
    (b, B), flat = rows.shape, rows.flatten()
    x = task.x.index_select(0, flat) if isinstance(task.x, Tensor) else task.x[flat]  # half the time of x[flat]
    x, y = x.unflatten(0, (b, B)), task.y.index_select(0, flat)
    if noise and task.recipe.augment is not None:
        x = torch.stack([task.recipe.augment(batch, generator) for batch, generator in zip(x, noise, strict=True)])
    losses = task.loss(forward(x).flatten(0, 1), y).view(b, B)
    if class_weights is None:
        return losses.mean(1)
    w = class_weights.gather(1, y.view(b, B)).to(losses.dtype)
    return (w * losses).sum(1) / w.sum(1)


def _alone(net: nn.Module) -> Forward:
    """One network as a stack of one."""
    return lambda x: net(x[0])[None]


class _Stack:
    """The tensors of b networks, by name (b, ...) each, and the way through all of them at once.

    Raises
    ------
    Exception
        The reason why they can't be trained so, found before anything is.
    """

    state: dict[str, Tensor]

    def __init__(self, nets: list[nn.Module], task: _Task) -> None:
        if not nets:
            raise ValueError("there are none")
        if task.y.device.type == "cpu" and block(nets[0], task.x, task.recipe) == 1:
            raise ValueError("a step of one is work enough")
        self._net, parts = nets[0], [_tensors(net) for net in nets]
        self._trained = [name for name, p in nets[0].named_parameters() if p.requires_grad]
        self._axes: dict[str, tuple[int, ...]] = {}
        self.state = {name: torch.stack([part[name].detach() for part in parts]) for name in parts[0]}
        with random_numbers(0, task.y.device), warnings.catch_warnings():
            warnings.filterwarnings("error", "There is a performance drop")  # vmap would loop over the copies, op by op
            self._compare(nets, task.x[:LOOK])
            self._try(task)

    def _compare(self, nets: list[nn.Module], x: Tensor) -> None:
        """Does the stack say what its networks say?"""
        with torch.no_grad():
            for net, predictions in zip(nets, Stacked("", nets[:1], self.state).outputs(x), strict=True):
                if not torch.allclose(net.eval()(x), predictions, rtol=1e-3, atol=1e-3 * float(predictions.abs().max())):
                    raise ValueError("a network is more than its parameters and buffers")

    def _try(self, task: _Task) -> None:
        """A step that is thrown away: is everything differentiable, do the same buffers change as in one network alone?"""
        b, n = task.weights.shape
        rows = torch.arange(task.recipe.batch_size, device=task.y.device) % n
        before = dict(self.state)
        self.state = {name: tensor.clone() for name, tensor in before.items()}
        leaves = {name: self.state[name].requires_grad_() for name in self._trained}
        layers = _layers(self._net.train())
        with torch.enable_grad():
            total = _means(lambda x: _through(layers, self.state, x), task, rows.expand(b, -1)).sum()
            gradients = torch.autograd.grad(total, list(leaves.values()), materialize_grads=True)
        if any(True for _ in self._net.buffers()):
            alone = copy.deepcopy(self._net)
            with torch.no_grad():
                alone(task.x[rows])
            for name, tensor in alone.named_buffers():
                if torch.equal(tensor, before[name][0]) != torch.equal(self.state[name][0], before[name][0]):
                    raise ValueError(f"the buffer {name} is changed, but not in place")
        for (name, leaf), gradient in zip(leaves.items(), gradients, strict=True):
            # a weight is kept in the order in which its gradient comes, or each step would bring one into the order of the other
            axes = tuple(int(axis) for axis in np.argsort([-stride for stride in gradient.stride()], kind="stable"))
            self._axes[name] = axes if gradient.permute(axes).is_contiguous() else tuple(range(leaf.dim()))
        self.state = before

    def train(self, some: ndarray, task: _Task) -> None:
        """These copies do all steps."""
        part = {name: tensor[some] for name, tensor in self.state.items()}
        held, way = {}, {}
        for name in self._trained:
            t = part[name].permute(self._axes[name])
            size, odd = t.numel(), -t.numel() % VECTOR
            held[name] = nn.Parameter(F.pad(t.flatten(), (0, odd)) if odd else t.contiguous())
            way[name] = (size, t.shape) if odd else None, tuple(np.argsort(self._axes[name]).tolist())

        def now() -> dict[str, Tensor]:
            found = dict(part)
            for name, (cut, back) in way.items():
                t = held[name] if cut is None else held[name][: cut[0]].view(cut[1])
                found[name] = t.permute(back)
            return found

        layers = _layers(self._net.train())
        _train(lambda x: _through(layers, now(), x), list(held.values()), task)
        with torch.no_grad():
            for name, tensor in now().items():
                self.state[name][some] = tensor


def _tensors(net: nn.Module) -> dict[str, Tensor]:
    """Parameters and buffers, each once."""
    return dict(net.named_parameters()) | dict(net.named_buffers())


def _through(layers: Sequence[Layer], state: dict[str, Tensor], x: Tensor) -> Tensor:
    for layer in layers:
        x = layer(state, x)
    return x


def _layers(net: nn.Module) -> list[Layer]:
    """The network, one layer after another: those that take a stack as it is, and the others by vmap."""
    name_of = {id(tensor): name for name, tensor in _tensors(net).items()}
    layers: list[Layer] = []

    def add(module: nn.Module) -> None:
        hooks = (module._forward_hooks, module._forward_pre_hooks, module._backward_hooks, module._backward_pre_hooks)
        plain = not any(hooks) and "forward" not in vars(module)
        if type(module) is nn.Sequential and plain:
            for child in module:
                add(child)
        elif type(module) in _DIRECT and plain:
            names = {part: name_of[id(p)] for part, p in module.named_parameters(recurse=False)}
            layers.append(_DIRECT[type(module)](module, names))
        else:
            layers.append(_by_vmap(module, name_of))

    add(net)
    return layers


def _by_vmap(module: nn.Module, name_of: dict[int, str]) -> Layer:
    # every place once where a tensor lies: functional_call doesn't restore a module that is registered twice
    places = {
        f"{path}.{part}" if path else part: name_of[id(tensor)]
        for path, inner in module.named_modules()
        for found in (inner.named_parameters, inner.named_buffers)
        for part, tensor in found(recurse=False, remove_duplicate=False)
    }

    def call(own: dict[str, Tensor], x: Tensor) -> Tensor:
        return functional_call(module, own, (x,), tie_weights=False)

    every = vmap(call, randomness="different")
    return lambda state, x: every({place: state[name] for place, name in places.items()}, x)


def _as_it_is(module: nn.Module, names: dict[str, str]) -> Layer:
    return lambda state, x: module(x)


def _flatten(module: Any, names: dict[str, str]) -> Layer:
    start, end = (axis + 1 if axis >= 0 else axis for axis in (module.start_dim, module.end_dim))
    return lambda state, x: x.flatten(start, end)


def _linear(module: nn.Module, names: dict[str, str]) -> Layer:
    def layer(state: dict[str, Tensor], x: Tensor) -> Tensor:
        W = state[names["weight"]].transpose(1, 2)  # (b, i, o)
        a = x.flatten(1, -2) if x.dim() != 3 else x  # (b, rows and whatever is between, i)
        out = torch.baddbmm(state[names["bias"]][:, None], a, W) if "bias" in names else torch.bmm(a, W)
        return out.view(*x.shape[:-1], out.shape[-1])

    return layer


def _layer_norm(module: Any, names: dict[str, str]) -> Layer:
    def layer(state: dict[str, Tensor], x: Tensor) -> Tensor:
        out = F.layer_norm(x, module.normalized_shape, eps=module.eps)
        for part, act in (("weight", torch.mul), ("bias", torch.add)):
            if part in names:
                t = state[names[part]]
                out = act(out, t.reshape(len(t), *[1] * (x.dim() - t.dim()), *t.shape[1:]))
        return out

    return layer


class _Mish(torch.autograd.Function):
    """x tanh(log(1 + e^x)) = x (1 - 2 s), with s = a^2 / (1 + a^2), a = 1 / (1 + e^x); its slope is 1 - 2 s + 4 x (1 - a) s (1 - s).

    torch's takes more than twice as long, forth and back: each of its numbers costs a logarithm, an exponential and a tanh.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        a = x.exp().add_(1).reciprocal_()  # not sigmoid(-x): where it finds no full vector any more it has other bits
        s = a * a
        s.div_(s + 1)
        ctx.save_for_backward(x, a, s)
        return torch.addcmul(x, x, s, value=-2)

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> Tensor:
        x, a, s = ctx.saved_tensors
        w = torch.addcmul(s, s, s, value=-1)
        w.addcmul_(w, a, value=-1).mul_(x).sub_(s, alpha=0.5)
        return torch.addcmul(g, g, w, value=4)


def _mish(module: nn.Module, names: dict[str, str]) -> Layer:
    return lambda state, x: _Mish.apply(x)


_ELEMENTWISE = (nn.Identity, nn.Dropout, nn.ReLU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid, nn.ELU, nn.LeakyReLU, nn.Softplus)
_DIRECT: dict[type[nn.Module], Callable[[nn.Module, dict[str, str]], Layer]] = {
    nn.Linear: _linear,
    nn.LayerNorm: _layer_norm,
    nn.Flatten: _flatten,
    nn.Mish: _mish,
    **dict.fromkeys(_ELEMENTWISE, _as_it_is),
}
