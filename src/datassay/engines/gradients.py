"""Products of the rows' gradients from one ordinary backward pass, without forming the gradients.

A layer o = W a with inputs a (n, s, i) at s positions and delta = d loss / d o (n, s, o) gives row n the gradient
sum_s delta_ns a_ns' (o, i) of W. Hence

    g_n . G     = sum_s delta_ns . (G a_ns)                                  the layer once more, with G for its weight
    |g_n|^2     = sum_st (delta_ns . delta_nt) (a_ns . a_nt)                 (t a position); or from sum_s delta_ns a_ns', in chunks
    g_n . h_m   = sum_st (delta_ns . delta'_mt) (a_ns . a'_mt)               whichever takes fewer operations

for linear layers, for convolutions (a = patches) and for embeddings (a = one-hot). What belongs to a single output, biases and
the scales of normalisation, has gradients that are no larger than the layer's output: those are formed. Parameters of any other
module, and those that are used more than once, go through `torch.func`, a chunk of rows at a time: `RowGradients.through_func`; row
by row where `torch.func` can't (recurrent layers, a forward that looks at its numbers).

Index letters: n row, s position, i input, o output of a layer. The batch is the first axis of the model's inputs and outputs.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

try:
    import torch
except ImportError as error:
    raise ImportError("methods that train networks need torch: pip install 'datassay[torch]'") from error
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import get_gradient_edge
from torch.func import functional_call, grad, vmap

Loss = Callable[[Tensor, Tensor], Tensor]  #: outputs and targets of n rows to n losses

CHUNK = 2**22  # numbers that are formed at a time: 16 MB in float32


class RowGradients:
    """The gradients of n rows' losses at one point, as factors. Put the model in evaluation mode first: dropout is noise here.

    Parameters
    ----------
    model, loss
        ``loss(model(x), y)`` are the n losses.
    x, y
        n rows and their targets, on the model's device.
    names
        The parameters that count; default: all that are trained.

    Raises
    ------
    ValueError
        Unknown names, batch normalisation in training mode (a row has no gradient of its own there), an activation that is
        changed in place after a layer has read it.

    Examples
    --------
    >>> model = nn.Linear(2, 1, bias=False)
    >>> x, y = torch.tensor([[1., 2.], [0., 1.]]), torch.zeros(2)
    >>> rows = RowGradients(model, lambda out, y: out[:, 0] - y, x, y)      # so the gradient of a row is the row
    >>> rows.squared_norms().tolist(), rows.dots({"weight": torch.tensor([[10., 1.]])}).tolist()
    ([5.0, 1.0], [12.0, 1.0])
    """

    outputs: Tensor  #: (n, ...) what the model says
    losses: Tensor  #: (n,)
    factors: dict[str, _Factor]  #: of parameters whose gradients come from what enters their layer and what comes back to it
    bias_of: dict[str, str]  #: the biases of weights, where both have factors
    through_func: list[str]  #: parameters whose gradients were formed by torch.func

    def __init__(self, model: nn.Module, loss: Loss, x: Tensor, y: Tensor, names: Sequence[str] | None = None) -> None:
        self.model, self._loss, self._x, self._y = model, loss, x, y
        everything = dict(model.named_parameters())
        if names is not None and (unknown := [n for n in names if n not in everything]):
            raise ValueError(f"the model has no parameter {unknown[0]!r}; it has: {', '.join(everything)}.")
        self.names = [n for n, p in everything.items() if p.requires_grad] if names is None else list(names)
        for name, module in model.named_modules():
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and (module.training or module.running_mean is None):
                raise ValueError(f"{name or 'the model'} mixes rows in training mode: call model.eval() before.")
        self.factors, self.bias_of = {}, {}
        with torch.enable_grad(), _only(everything, self.names), _differentiable(model):
            self._trace({n: everything[n] for n in self.names}, len(x))

    def __len__(self) -> int:
        return len(self._x)

    def _trace(self, chosen: dict[str, Any], n: int) -> None:
        name_of = {id(p): name for name, p in chosen.items()}
        calls: list[tuple[nn.Module, Tensor, int, Any]] = []

        def seen(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            if inputs:  # given by name its parameters are those of any other module
                calls.append((module, inputs[0].detach(), inputs[0]._version, get_gradient_edge(output)))

        layers = [m for m in _known(self.model) if any(id(p) in name_of for p in m.parameters(recurse=False))]
        hooks = [m.register_forward_hook(seen) for m in layers]
        try:
            self.outputs = self.model(self._x)
        finally:
            for hook in hooks:
                hook.remove()
        losses = self._loss(self.outputs, self._y)
        if losses.shape != (n,):
            raise ValueError(f"the loss must be one number for each of the {n} rows, got shape {tuple(losses.shape)}.")
        self.losses, self.outputs = losses.detach(), self.outputs.detach()
        uses = _uses(losses) if n and losses.requires_grad else {}
        once = {key for key in name_of if uses.get(key) == 1}  # of what is used twice, a layer sees a part only
        for module, a, version, _ in calls:
            if a._version != version:
                raise ValueError(f"the input of {module} is changed in place after it was read: set inplace=False there.")
        calls = [c for c in calls if len(c[1]) == n and any(id(p) in once for p in c[0].parameters(recurse=False))]
        if n and calls:
            deltas = torch.autograd.grad(losses.sum(), [edge for *_, edge in calls], allow_unused=True)
            for (module, a, _, _), delta in zip(calls, deltas, strict=True):
                found = {} if delta is None else _factors(module, a, delta)
                parts = {part: name_of[id(p)] for part, p in module.named_parameters(recurse=False) if id(p) in once}
                self.factors |= {name: found[part] for part, name in parts.items() if part in found}
                if {"weight", "bias"} <= parts.keys() and found:
                    self.bias_of[parts["weight"]] = parts["bias"]
        # what has neither factors nor a use here has no influence on the loss
        self.through_func = [name for name, p in chosen.items() if name not in self.factors and uses.get(id(p))]

    def dots(self, direction: dict[str, Tensor]) -> Float[Tensor, " n"]:
        """g_n . direction, which maps every name to a tensor of the parameter's shape."""
        result = self.losses.new_zeros(len(self))
        for name, factor in self.factors.items():
            result += factor.dots(direction[name])
        for rows, g in self.formed():
            result[rows] += g @ torch.cat([direction[name].flatten() for name in self.through_func])
        return result

    def squared_norms(self) -> Float[Tensor, " n"]:
        """|g_n|^2"""
        result = self.losses.new_zeros(len(self))
        for factor in self.factors.values():
            result += factor.squares()
        for rows, g in self.formed():
            result[rows] += (g * g).sum(1)
        return result

    def dots_and_squared_norms(self, direction: dict[str, Tensor]) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Both, for less than twice the price."""
        dots, squares = self.losses.new_zeros(len(self)), self.losses.new_zeros(len(self))
        for name, factor in self.factors.items():
            d, s = factor.both(direction[name])
            dots += d
            squares += s
        for rows, g in self.formed():
            dots[rows] += g @ torch.cat([direction[name].flatten() for name in self.through_func])
            squares[rows] += (g * g).sum(1)
        return dots, squares

    def products(self, others: RowGradients) -> Float[Tensor, "n m"]:
        """g_n . h_m for all rows of both, which are of one model with the same names."""
        result = self.losses.new_zeros(len(self), len(others))
        if result.numel() == 0:
            return result
        if set(self.factors) != set(others.factors) or self.through_func != others.through_func:
            raise ValueError("products need gradients of the same parameters of one model.")
        for name, factor in self.factors.items():
            result += factor.products(others.factors[name])
        for rows, g in self.formed():
            for columns, h in others.formed():
                result[rows, columns] += g @ h.T
        return result

    def formed(self) -> Iterator[tuple[slice, Tensor]]:
        """Gradients (rows, parameters) of what no layer's factors give."""
        if not self.through_func:
            return
        # every place once where a parameter lies: functional_call doesn't restore a module that is registered twice
        places = {
            f"{path}.{part}" if path else part: p
            for path, module in self.model.named_modules()
            for part, p in module.named_parameters(recurse=False, remove_duplicate=False)
        }
        everything = dict(self.model.named_parameters())
        chosen = {name: everything[name].detach() for name in self.through_func}
        name_of = {id(everything[name]): name for name in chosen}

        def one(theta: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
            there = {at: theta[name_of[id(p)]] if id(p) in name_of else p.detach() for at, p in places.items()}
            return self._loss(functional_call(self.model, there, (x[None],), tie_weights=False), y[None])[0]

        step = max(1, CHUNK // sum(p.numel() for p in chosen.values()))
        together = not any(isinstance(module, nn.RNNBase) for module in self.model.modules())
        for start in range(0, len(self), step):
            rows = slice(start, min(start + step, len(self)))
            if together:
                try:
                    g = vmap(grad(one), in_dims=(None, 0, 0), randomness="different")(chosen, self._x[rows], self._y[rows])
                except torch.OutOfMemoryError:
                    raise
                except Exception:  # what it can't do has many names; an error of the model's own comes again below
                    together = False
                else:
                    yield rows, torch.cat([g[name].flatten(1) for name in self.through_func], 1)
            if not together:
                yield rows, torch.stack([self._of_row(row, everything) for row in range(rows.start, rows.stop)])

    def _of_row(self, row: int, everything: dict[str, Any]) -> Tensor:
        """(parameters,) one row's gradient of what no layer's factors give, by a pass of its own."""
        with torch.enable_grad(), _only(everything, self.through_func), _differentiable(self.model):
            (loss,) = self._loss(self.model(self._x[row : row + 1]), self._y[row : row + 1])
            found = torch.autograd.grad(loss, [everything[name] for name in self.through_func], materialize_grads=True)
        return torch.cat([g.flatten() for g in found])


def mean_gradient(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, names: Sequence[str], weights: Tensor | None = None
) -> dict[str, Tensor]:
    """Gradient of the mean loss; with weights (n,), of sum(weights * losses) / sum(weights)."""
    everything = dict(model.named_parameters())
    with torch.enable_grad(), _only(everything, names), _differentiable(model):
        losses = loss(model(x), y)
        total = losses.mean() if weights is None else (weights * losses).sum() / weights.sum()
        found = torch.autograd.grad(total, [everything[name] for name in names], materialize_grads=True)
    return dict(zip(names, found, strict=True))


def hessian_product(
    model: nn.Module, loss: Loss, x: Tensor, y: Tensor, direction: dict[str, Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Gradient of the mean loss, and its Hessian times the direction, by differentiating g . direction once more."""
    everything, names = dict(model.named_parameters()), list(direction)
    with torch.enable_grad(), _only(everything, names), _differentiable(model):
        chosen = [everything[name] for name in names]
        g = torch.autograd.grad(loss(model(x), y).mean(), chosen, create_graph=True, materialize_grads=True)
        along = torch.stack([(a * direction[name]).sum() for name, a in zip(names, g, strict=True)]).sum()
        Hv = torch.autograd.grad(along, chosen, materialize_grads=True)
    return {name: a.detach() for name, a in zip(names, g, strict=True)}, dict(zip(names, Hv, strict=True))


@contextmanager
def _only(everything: dict[str, Any], names: Sequence[str]) -> Iterator[None]:
    """Just these parameters are differentiated, until the end of the block."""
    before = {name: p.requires_grad for name, p in everything.items()}
    try:
        for name, p in everything.items():
            p.requires_grad_(name in names)
        yield
    finally:
        for name, p in everything.items():
            p.requires_grad_(before[name])


def _differentiable(model: nn.Module) -> AbstractContextManager[Any]:
    """cuDNN has no gradients of recurrent layers in evaluation mode, and no second ones; torch itself has."""
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    return torch.backends.cudnn.flags(enabled=False) if recurrent else nullcontext()


def _known(model: nn.Module) -> list[nn.Module]:
    """Layers with factors of their own. The exact type: a subclass may do something else. Where a module has the batch on its
    second axis, nothing in it counts."""
    other = {id(m) for top in model.modules() if getattr(top, "batch_first", True) is False for m in top.modules()}
    return [m for m in model.modules() if type(m) in _LAYERS and id(m) not in other and _plain(m)]


def _plain(m: nn.Module) -> bool:
    return not isinstance(m, nn.Embedding) or (m.max_norm is None and not m.scale_grad_by_freq and not m.sparse)


def _uses(losses: Tensor) -> dict[int, int]:
    """How often each parameter enters the graph of the losses, by its id()."""
    count: dict[int, int] = {}
    waiting, visited = [losses.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        for after, _ in node.next_functions:
            if after is not None and hasattr(after, "variable"):
                count[id(after.variable)] = count.get(id(after.variable), 0) + 1
            waiting.append(after)
    return count


# ------------------------------------------------------------------------------------------------ one parameter of one layer


class Formed:
    """A parameter whose gradients (n, parameters) are small: they are at hand."""

    def __init__(self, g: Tensor) -> None:
        self.g = g

    def dots(self, G: Tensor) -> Tensor:
        return self.g @ G.flatten()

    def squares(self) -> Tensor:
        return (self.g * self.g).sum(1)

    def both(self, G: Tensor) -> tuple[Tensor, Tensor]:
        return self.dots(G), self.squares()

    def products(self, other: Formed) -> Tensor:
        return self.g @ other.g.T


class _Flat:
    """Weight of a linear layer on one position: g_n = delta_n a_n'."""

    k = s = 1

    def __init__(self, a: Tensor, delta: Tensor) -> None:
        self.x, self.delta = a, delta  # (n, i), (n, o)
        (self.n, self.i), self.o = a.shape, delta.shape[1]

    def a(self, rows: slice) -> Tensor:
        """(rows, 1, i, 1)"""
        return self.x[rows, None, :, None]

    def d(self, rows: slice) -> Tensor:
        """(rows, 1, o, 1)"""
        return self.delta[rows, None, :, None]

    def dots(self, G: Tensor) -> Tensor:
        return torch.linalg.vecdot(self.x @ G.T, self.delta)

    def squares(self) -> Tensor:
        return _squares(self.x) * _squares(self.delta)

    def both(self, G: Tensor) -> tuple[Tensor, Tensor]:
        return self.dots(G), self.squares()

    def products(self, other: _Flat) -> Tensor:
        return (self.x @ other.x.T) * (self.delta @ other.delta.T)


class _Outer:
    """Weight of a layer that is applied at s positions, in k groups: g_n = sum_s delta_ns a_ns' in each group."""

    k: int

    def a(self, rows: slice) -> Tensor:
        """(rows, k, i, s)"""
        raise NotImplementedError

    def apply(self, G: Tensor) -> Tensor:
        """The layer with weight G: what `delta` is like."""
        raise NotImplementedError

    delta: Tensor  # as the layer's output

    def d(self, rows: slice) -> Tensor:
        """(rows, k, o, s)"""
        raise NotImplementedError

    n: int
    i: int
    o: int
    s: int
    pairs: int  # numbers that `inner` forms of a row in a group

    def formed(self) -> Iterator[tuple[slice, Tensor]]:
        """Gradients (rows, k o i), in chunks."""
        step = max(1, CHUNK // (self.k * max(self.o * self.i, (self.o + self.i) * self.s)))
        for start in range(0, self.n, step):
            rows = slice(start, min(start + step, self.n))
            yield rows, (self.d(rows) @ self.a(rows).transpose(2, 3)).flatten(1)

    def dots(self, G: Tensor) -> Tensor:
        return (self.apply(G) * self.delta).flatten(1).sum(1)

    def squares(self) -> Tensor:
        if self.s * (self.o + self.i) > self.o * self.i:
            return torch.cat([_squares(g) for _, g in self.formed()])
        result = self.delta.new_empty(self.n)
        step = max(1, CHUNK // (self.k * ((self.o + self.i) * self.s + self.pairs)))
        for start in range(0, self.n, step):
            rows = slice(start, min(start + step, self.n))
            d = self.d(rows)
            result[rows] = (self.inner(rows) * (d.transpose(2, 3) @ d)).flatten(1).sum(1)
        return result

    def inner(self, rows: slice) -> Tensor:
        """a_ns . a_nt for all positions s, t: (rows, k, s, s)"""
        a = self.a(rows)
        return a.transpose(2, 3) @ a

    def both(self, G: Tensor) -> tuple[Tensor, Tensor]:
        if self.s * (self.o + self.i) <= self.o * self.i:
            return self.dots(G), self.squares()
        parts = [(g @ G.flatten(), _squares(g)) for _, g in self.formed()]
        return torch.cat([p[0] for p in parts]), torch.cat([p[1] for p in parts])

    def products(self, other: _Outer) -> Tensor:
        result = self.delta.new_zeros(self.n, other.n)
        if self.s * other.s * (self.o + self.i) > self.o * self.i:
            for rows, g in self.formed():
                for columns, h in other.formed():
                    result[rows, columns] = g @ h.T
            return result
        m = max(1, math.isqrt(CHUNK // (self.k * self.s * other.s)))
        for first in range(0, self.n, m):
            rows = slice(first, min(first + m, self.n))
            a, d = self.a(rows), self.d(rows)
            for second in range(0, other.n, m):
                columns = slice(second, min(second + m, other.n))
                b, e = other.a(columns), other.d(columns)
                aa = torch.einsum("nkis,mkit->nmkst", a, b)
                result[rows, columns] = (aa * torch.einsum("nkos,mkot->nmkst", d, e)).flatten(2).sum(2)
        return result


class _Linear(_Outer):
    """A linear layer on sequences: inputs (n, ..., i)."""

    def __init__(self, a: Tensor, delta: Tensor) -> None:
        self.x, self.delta = a.flatten(1, -2), delta.flatten(1, -2)
        self.n, self.s, self.i = self.x.shape
        self.k, self.o, self.pairs = 1, delta.shape[-1], self.s**2

    def a(self, rows: slice) -> Tensor:
        return self.x[rows, None].transpose(2, 3)

    def d(self, rows: slice) -> Tensor:
        return self.delta[rows, None].transpose(2, 3)

    def apply(self, G: Tensor) -> Tensor:
        return F.linear(self.x, G)


class _Conv(_Outer):
    """A convolution over one or two axes, the former as one of height 1."""

    def __init__(self, layer: nn.Conv1d | nn.Conv2d, a: Tensor, delta: Tensor) -> None:
        mode = "constant" if layer.padding_mode == "zeros" else layer.padding_mode
        self.x = F.pad(a, layer._reversed_padding_repeated_twice, mode=mode)
        self.delta, self.k = delta, layer.groups
        self.kernel, self.stride, self.dilation = layer.kernel_size, layer.stride, layer.dilation
        self.n, self.s = len(a), math.prod(delta.shape[2:])
        self.i = a.shape[1] // self.k * math.prod(self.kernel)
        self.o = delta.shape[1] // self.k
        pixels = math.prod(self.x.shape[2:])
        self.by_pixels = pixels**2 <= 3 * math.prod(self.kernel) * self.s**2
        self.pairs = pixels**2 if self.by_pixels else self.s**2

    def a(self, rows: slice) -> Tensor:
        x, one = self.x[rows], (1,) * (2 - len(self.kernel))
        x = x.unsqueeze(2) if one else x
        patches = F.unfold(x, one + self.kernel, one + self.dilation, 0, one + self.stride)
        return patches.reshape(len(x), self.k, self.i, self.s)

    def d(self, rows: slice) -> Tensor:
        return self.delta[rows].reshape(-1, self.k, self.o, self.s)

    def inner(self, rows: slice) -> Tensor:
        """Products of patches are sums of products of pixels: over the kernel's places, both patches at the same one. So each pair of
        pixels is multiplied once, where patches that overlap would do so again; unless pixels are far more than positions."""
        if not self.by_pixels:
            return super().inner(rows)
        x = self.x[rows]
        flat = x.reshape(len(x), self.k, -1, math.prod(x.shape[2:]))
        of_pixels = (flat.transpose(2, 3) @ flat).reshape(len(x), self.k, *x.shape[2:], *x.shape[2:])
        ends = [(size - 1) * step + 1 for size, step in zip(self.delta.shape[2:], self.stride, strict=True)]
        total: Tensor | None = None
        for place in itertools.product(*(range(size) for size in self.kernel)):
            starts = [at * step for at, step in zip(place, self.dilation, strict=True)]
            taken = [slice(a, a + e, step) for a, e, step in zip(starts, ends, self.stride, strict=True)]
            part = of_pixels[(slice(None), slice(None), *taken, *taken)]
            total = part.clone() if total is None else total.add_(part)
        assert total is not None
        return total.reshape(len(x), self.k, self.s, self.s)

    def apply(self, G: Tensor) -> Tensor:
        convolve = F.conv1d if len(self.kernel) == 1 else F.conv2d
        return convolve(self.x, G, None, self.stride, 0, self.dilation, self.k)


class Lookup:
    """Weight of an embedding: g_n has delta_ns added to the line of its token a_ns."""

    def __init__(self, layer: nn.Embedding, a: Tensor, delta: Tensor) -> None:
        self.lines = layer.num_embeddings
        self.tokens, self.delta = a.reshape(len(a), -1), delta.reshape(len(a), -1, delta.shape[-1])
        if layer.padding_idx is not None:
            self.delta = self.delta * (self.tokens != layer.padding_idx)[..., None]

    def dots(self, G: Tensor) -> Tensor:
        return (G[self.tokens] * self.delta).flatten(1).sum(1)

    def squares(self) -> Tensor:
        n, s, o = self.delta.shape
        step, parts = max(1, CHUNK // (s * (s + o))), []
        for start in range(0, n, step):
            rows = slice(start, start + step)
            same = self.tokens[rows, :, None] == self.tokens[rows, None, :]
            parts.append(((self.delta[rows] @ self.delta[rows].transpose(1, 2)) * same).flatten(1).sum(1))
        return torch.cat(parts)

    def both(self, G: Tensor) -> tuple[Tensor, Tensor]:
        return self.dots(G), self.squares()

    def products(self, other: Lookup) -> Tensor:
        m = max(1, math.isqrt(CHUNK // (self.delta.shape[1] * other.delta.shape[1])))
        result = self.delta.new_zeros(len(self.delta), len(other.delta))
        for first in range(0, len(self.delta), m):
            rows = slice(first, first + m)
            for second in range(0, len(other.delta), m):
                columns = slice(second, second + m)
                same = self.tokens[rows, None, :, None] == other.tokens[columns][None, :, None, :]
                inner = torch.einsum("nso,mto->nmst", self.delta[rows], other.delta[columns])
                result[rows, columns] = (inner * same).flatten(2).sum(2)
        return result


_Factor = Any  # one of the above: dots, squares, both, products


def _squares(g: Tensor) -> Tensor:
    g = g.flatten(1)
    return torch.linalg.vecdot(g, g)


def _factors(layer: nn.Module, a: Tensor, delta: Tensor) -> dict[str, _Factor]:
    """A factor for each of the layer's own parameters, by its name there."""
    return _LAYERS[type(layer)](layer, a, delta)


def _linear(layer: nn.Linear, a: Tensor, delta: Tensor) -> dict[str, _Factor]:
    if a.ndim == 2:
        return {"weight": _Flat(a, delta), "bias": Formed(delta)}
    return {"weight": _Linear(a, delta), "bias": Formed(delta.flatten(1, -2).sum(1))}


def _convolution(layer: nn.Conv1d | nn.Conv2d, a: Tensor, delta: Tensor) -> dict[str, _Factor]:
    return {"weight": _Conv(layer, a, delta), "bias": Formed(delta.flatten(2).sum(2))}


def _embedding(layer: nn.Embedding, a: Tensor, delta: Tensor) -> dict[str, _Factor]:
    return {"weight": Lookup(layer, a, delta)}


def _layer_norm(layer: nn.LayerNorm, a: Tensor, delta: Tensor) -> dict[str, _Factor]:
    return _scaled(F.layer_norm(a, layer.normalized_shape, eps=layer.eps), delta, len(layer.normalized_shape))


def _group_norm(layer: nn.GroupNorm, a: Tensor, delta: Tensor) -> dict[str, _Factor]:
    normal = F.group_norm(a, layer.num_groups, eps=layer.eps)
    return _scaled(normal.transpose(1, -1), delta.transpose(1, -1), 1)


def _batch_norm(layer: nn.BatchNorm1d | nn.BatchNorm2d, a: Tensor, delta: Tensor) -> dict[str, _Factor]:
    normal = F.batch_norm(a, layer.running_mean, layer.running_var, eps=layer.eps)
    return _scaled(normal.transpose(1, -1), delta.transpose(1, -1), 1)


def _scaled(normal: Tensor, delta: Tensor, axes: int) -> dict[str, _Factor]:
    """Scale and shift on the last axes: sums over all axes between them and the rows."""
    shape = (len(delta), -1, math.prod(delta.shape[-axes:]))
    return {
        "weight": Formed((normal * delta).reshape(shape).sum(1)),
        "bias": Formed(delta.reshape(shape).sum(1)),
    }


_LAYERS: dict[type, Callable[..., dict[str, _Factor]]] = {
    nn.Linear: _linear,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Embedding: _embedding,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
    nn.BatchNorm1d: _batch_norm,
    nn.BatchNorm2d: _batch_norm,
}
