"""EK-FAC: a network's Gauss-Newton matrix, layer by layer, in the eigenvectors of its Kronecker factors.

    G = E[g g'],   g = vec(D),   D = sum_s delta_s a_s'             of a layer; expected over labels as the network predicts them
    A = E[sum_s a_s a_s'] = Q_A . Q_A',   S = E[sum_s delta_s delta_s'] = Q_S . Q_S'
    G ~= Q diag(Lambda) Q',   Q = Q_S x Q_A,   Lambda_oi = E[(Q_S' D Q_A)_oi^2]
    (G + damping)^-1 V = Q_S ((Q_S' V Q_A) / (Lambda + damping)) Q_A'

A and S are those of Martens & Grosse (ICML 2015) and, for convolutions, Grosse & Martens (ICML 2016), up to scales that don't matter
here; Lambda is that of George et al. (NeurIPS 2018). a (i): what enters a layer, with a 1 for its bias; delta (o): the gradient in what
leaves it; s: a position, n: a row, k: a group of a convolution.

Layers are those of which engines.gradients knows the factors. Of an embedding a is one token, so that A is diagonal as it is. What is
left, scales and shifts and what goes through torch.func, is a block without factors. A side of more than `WIDEST` numbers, of which no
eigenvectors can be had in reasonable time, keeps its own axes.

The coordinates of a gradient along the columns of Q with the largest Lambda, of all layers together, are what its products lose least by
(`Leading`).
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from datassay.engines.curvature import Vector
from datassay.engines.gradients import CHUNK, Formed, Lookup, RowGradients

WIDEST = 4096  # numbers of a side that has eigenvectors
NOTHING = 1e-8  # of the largest mean square: what is below is rounding, or what the rows of the matrix say nothing of
SHARES = [10.0**k for k in range(6, -4, -1)]  # of the mean eigenvalue, between which a damping is looked for


class EkFac:
    """The matrix, from two passes over gradients whose outer products add up to it.

    Parameters
    ----------
    batches
        Goes over the gradients, and is called twice; of each row there are ``repeats``, one behind the other.
    rows
        How many rows there are: the outer products of all gradients add up to so many times the matrix.

    Raises
    ------
    ValueError
        The batches don't use the same parameters.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> x, y = torch.tensor([[1.0, 2.0], [0.0, 2.0]]), torch.zeros(2)
    >>> of = RowGradients(model, lambda out, y: out[:, 0], x, y)      # the gradient of a row is the row
    >>> matrix = EkFac(lambda: [of], 2)                                # of [[0.5, 1], [1, 4]]
    >>> matrix.mean_eigenvalue, matrix.own_axes
    (2.25, [])
    >>> matrix.solve({"weight": torch.tensor([[1.5, 5.0]])}, 1e-6)["weight"].round(decimals=3)
    tensor([[1., 1.]])
    """

    mean_eigenvalue: float  #: trace / parameters, that of the Gauss-Newton matrix itself
    own_axes: list[str]  #: parameters of which a side keeps its own axes

    def __init__(self, batches: Callable[[], Iterable[RowGradients]], rows: int, repeats: int = 1) -> None:
        self._blocks: list[_Layer | _Table | _Whole] = []
        self._kinds: dict[str, type] = {}
        self._parameters = 1
        for of in batches():
            if not self._blocks:
                self._shaped(of)
            self._same(of)
            for block in self._blocks:
                block.add_factors(of, repeats)
        for block in self._blocks:
            block.turn()
        for of in batches():
            for block in self._blocks:
                block.add_values(of, repeats)
        for block in self._blocks:
            block.values /= rows
        self._measured()

    @classmethod
    def restored(cls, of: RowGradients, kept: Mapping[str, Tensor]) -> EkFac:
        """What `kept` gave, from gradients of the same parameters: eigenvectors of equal values are only the same if they are kept."""
        matrix = cls.__new__(cls)
        matrix._shaped(of)
        for number, block in enumerate(matrix._blocks):
            for name in block.HELD:
                setattr(block, name, kept.get(f"{number} {name}"))  # None: its own axes
            if not isinstance(block, _Table):
                block._turned = True
        matrix._measured()
        return matrix

    def kept(self) -> dict[str, Tensor]:
        """All of it, as tensors by name."""
        held = {f"{i} {name}": getattr(block, name) for i, block in enumerate(self._blocks) for name in block.HELD}
        return {name: tensor for name, tensor in held.items() if tensor is not None}

    def _shaped(self, of: RowGradients) -> None:
        """Blocks for these parameters."""
        self._blocks, self._kinds = _blocks(of), _kinds(of)
        everything = dict(of.model.named_parameters())
        self._parameters = sum(everything[name].numel() for name in of.names)

    def _measured(self) -> None:
        self.mean_eigenvalue = sum(float(block.values.sum()) for block in self._blocks) / self._parameters
        self.own_axes = [name for block in self._blocks if block.stays for name in block.names]

    def solve(self, v: Vector, damping: float) -> Vector:
        """(G + damping)^-1 v."""
        found = {name: a / damping for name, a in v.items()}  # where no block is, G is 0
        for block in self._blocks:
            found |= block.solve(v, damping)
        return found

    def squares(self, of: RowGradients, damping: float) -> Float[Tensor, " n"]:
        """g_n' (G + damping)^-1 g_n"""
        return self._squares(of, lambda values: 1 / (values + damping))

    def resolved(self, of: RowGradients, damping: float) -> Float[Tensor, " n"]:
        """The share of these that is G's, not the damping's: g_n' R G R g_n / g_n' R g_n with R = (G + damping)^-1; nan where g_n is 0."""
        return self._squares(of, lambda values: values / (values + damping) ** 2) / self.squares(of, damping)

    def balanced(self, of: RowGradients) -> float | None:
        """The largest damping, to a twentieth, at which `resolved` is a half on average over these rows; None: there is none."""

        def enough(share: float) -> bool:
            return float(self.resolved(of, share * self.mean_eigenvalue).nanmean()) >= 0.5

        low = next((share for share in SHARES if enough(share)), None)
        if low is None:
            return None
        high = 10 * low
        while high > 1.05 * low:
            middle = math.sqrt(low * high)
            low, high = (middle, high) if enough(middle) else (low, middle)
        return low * self.mean_eigenvalue

    def _squares(self, of: RowGradients, weights: Callable[[Tensor], Tensor]) -> Tensor:
        self._same(of)
        result = of.losses.new_zeros(len(of))
        for block in self._blocks:
            result += block.squares(of, weights(block.values))
        return result

    def products(self, of: RowGradients, others: RowGradients, damping: float) -> Float[Tensor, "n m"]:
        """g_n' (G + damping)^-1 h_m for all rows of both."""
        self._same(of)
        self._same(others)
        result = of.losses.new_zeros(len(of), len(others))
        for block in self._blocks:
            result += block.products(of, others, damping)
        return result

    def _same(self, of: RowGradients) -> None:
        if _kinds(of) != self._kinds:
            raise ValueError("the curvature needs gradients of the same parameters for all rows.")


class Leading:
    """Gradients by so many of their coordinates, those whose squares are largest on average; products stay nearly what they are.

    Examples
    --------
    >>> model = torch.nn.Linear(2, 1, bias=False)
    >>> x, y = torch.tensor([[3.0, 3.0], [1.0, -1.0]]), torch.zeros(2)
    >>> of = RowGradients(model, lambda out, y: out[:, 0], x, y)      # the gradient of a row is the row
    >>> Leading(EkFac(lambda: [of], 2), 1).of(of).abs().round(decimals=3)
    tensor([[4.2430],
            [0.0000]])
    """

    width: int  #: coordinates: as many as were asked for, or there are
    scale: Float[Tensor, " width"]  #: root of the mean square of each, over the rows of the matrix

    def __init__(self, matrix: EkFac, size: int) -> None:
        values = torch.cat([block.values.flatten() for block in matrix._blocks])
        # a stable order: the same coordinates wherever values are equal
        first = torch.argsort(values, descending=True, stable=True)[:size]
        self._set(matrix, values, first[values[first] > NOTHING * values.max()].sort().values)

    @classmethod
    def restored(cls, of: RowGradients, kept: Mapping[str, Tensor]) -> Leading:
        """What `kept` gave, for gradients of the same parameters."""
        leading, matrix = cls.__new__(cls), EkFac.restored(of, kept)
        leading._set(matrix, torch.cat([block.values.flatten() for block in matrix._blocks]), kept["chosen"])
        return leading

    def kept(self) -> dict[str, Tensor]:
        """All of it, as tensors by name."""
        return self._matrix.kept() | {"chosen": self._places}

    def _set(self, matrix: EkFac, values: Tensor, places: Tensor) -> None:
        self._matrix, self._places, self.width = matrix, places, len(places)
        self.scale = values[places].sqrt()
        self._chosen, start = [], 0
        for block in matrix._blocks:
            stop = start + block.values.numel()
            self._chosen.append(places[(places >= start) & (places < stop)] - start)
            start = stop

    def of(self, of: RowGradients) -> Float[Tensor, "n width"]:
        """The coordinates of rows."""
        self._matrix._same(of)
        parts = [
            block.coordinates(of, chosen)
            for block, chosen in zip(self._matrix._blocks, self._chosen, strict=True)
            if len(chosen)
        ]
        return torch.cat(parts, 1) if parts else of.losses.new_zeros(len(of), 0)


def _kinds(of: RowGradients) -> dict[str, type]:
    """How the gradient of each parameter is at hand."""
    return {name: type(factor) for name, factor in of.factors.items()} | dict.fromkeys(of.through_func, type(None))


def _blocks(of: RowGradients) -> list[_Layer | _Table | _Whole]:
    found: list[_Layer | _Table | _Whole] = []
    biases = set(of.bias_of.values())
    for name, factor in of.factors.items():
        names = [name, of.bias_of[name]] if name in of.bias_of else [name]
        if isinstance(factor, Lookup):
            found.append(_Table(name, factor))
        elif not isinstance(factor, Formed):
            found.append(_Layer(names, factor))
        elif name not in biases:
            found.append(_Whole(names, sum(of.factors[part].g.shape[1] for part in names), factor.g))
    if of.through_func:
        everything = dict(of.model.named_parameters())
        found.append(_Whole(of.through_func, sum(everything[name].numel() for name in of.through_func), of.losses))
    return found


def _square(side: int, like: Tensor, k: int | None = None) -> Tensor | None:
    """Room for a factor, unless it is too wide."""
    shape = (side, side) if k is None else (k, side, side)
    return None if side > WIDEST else torch.zeros(shape, dtype=torch.float64, device=like.device)


def _eigenvectors(factor: Tensor | None, like: Tensor) -> Tensor | None:
    return None if factor is None else torch.linalg.eigh(factor).eigenvectors.to(like.dtype)


class _Layer:
    """Linear layers and convolutions; the bias is the weight of an input that is always 1."""

    HELD = ("_A", "_S", "values")

    def __init__(self, names: list[str], factor: Any) -> None:
        self.names = names
        self._k, self._o, self._i = factor.k, factor.o, factor.i + len(names) - 1
        like = factor.delta
        self.stays = max(self._o, self._i) > WIDEST
        self._A, self._S = _square(self._i, like, self._k), _square(self._o, like, self._k)
        self._turned = False
        self.values = torch.zeros(self._k, self._o, self._i, dtype=like.dtype, device=like.device)

    def _sides(self, of: RowGradients, repeats: int = 1) -> Iterator[tuple[slice, Tensor, Tensor]]:
        """Chunks of a (n, k, i, s) and delta (n, k, o, s), in the eigenvectors once these are there; whole groups of repeats."""
        factor = of.factors[self.names[0]]
        numbers = (self._o + self._i) * factor.s if factor.s == 1 else max(self._o * self._i, (self._o + self._i) * factor.s)
        step = max(1, CHUNK // (self._k * numbers * repeats)) * repeats
        for start in range(0, factor.n, step):
            rows = slice(start, min(start + step, factor.n))
            a, d = factor.a(rows), factor.d(rows)
            if len(self.names) > 1:
                a = torch.cat([a, a.new_ones(len(a), self._k, 1, factor.s)], 2)
            yield rows, self._turn(a, self._A), self._turn(d, self._S)

    def _turn(self, side: Tensor, Q: Tensor | None) -> Tensor:
        return side if Q is None or not self._turned else torch.einsum("nkis,kij->nkjs", side, Q)

    def add_factors(self, of: RowGradients, repeats: int) -> None:
        for _, a, d in self._sides(of, repeats):
            for factor, side in ((self._A, a[::repeats]), (self._S, d)):  # of a row's repeats the inputs are equal
                if factor is not None:
                    columns = side.permute(1, 2, 0, 3).flatten(2)
                    factor += columns @ columns.mT

    def turn(self) -> None:
        self._A, self._S = (_eigenvectors(factor, self.values) for factor in (self._A, self._S))
        self._turned = True

    def add_values(self, of: RowGradients, repeats: int) -> None:
        for _, a, d in self._sides(of, repeats):
            if a.shape[3] == 1:
                squares = (d * d).squeeze(3).unflatten(0, (-1, repeats)).sum(1)
                self.values += torch.einsum("nko,nki->koi", squares, (a * a)[::repeats].squeeze(3))
            else:
                D = d @ a.mT
                self.values += (D * D).sum(0)

    def solve(self, v: Vector, damping: float) -> Vector:
        weight = self.names[0]
        V = v[weight].reshape(self._k, self._o, -1)
        if len(self.names) > 1:
            V = torch.cat([V, v[self.names[1]].reshape(self._k, self._o, 1)], 2)
        V = V if self._S is None else self._S.mT @ V
        V = (V if self._A is None else V @ self._A) / (self.values + damping)
        V = V if self._S is None else self._S @ V
        V = V if self._A is None else V @ self._A.mT
        if len(self.names) == 1:
            return {weight: V.reshape(v[weight].shape)}
        return {weight: V[..., :-1].reshape(v[weight].shape), self.names[1]: V[..., -1].flatten()}

    def squares(self, of: RowGradients, weights: Tensor) -> Tensor:
        result = of.losses.new_empty(len(of))
        for rows, a, d in self._sides(of):
            if a.shape[3] == 1:
                by_outputs = torch.einsum("nki,koi->nko", (a * a).squeeze(3), weights)
                result[rows] = (by_outputs * (d * d).squeeze(3)).flatten(1).sum(1)
            else:
                D = d @ a.mT
                result[rows] = (D * D * weights).flatten(1).sum(1)
        return result

    def coordinates(self, of: RowGradients, chosen: Tensor) -> Tensor:
        """(n, chosen) of the gradients, at these places of `values`."""
        result = of.losses.new_empty(len(of), len(chosen))
        k, o, i = torch.unravel_index(chosen, self.values.shape)
        for rows, a, d in self._sides(of):
            result[rows] = d[:, k, o, 0] * a[:, k, i, 0] if a.shape[3] == 1 else (d @ a.mT)[:, k, o, i]
        return result

    def products(self, of: RowGradients, others: RowGradients, damping: float) -> Tensor:
        """Of rows at one position the layer once more, with what is solved of every other gradient for its weight; of several positions
        the gradients themselves."""
        result, weights = of.losses.new_zeros(len(of), len(others)), 1 / (self.values + damping)
        flat = of.factors[self.names[0]].s == 1
        ours = list(self._sides(of)) if flat else []
        size = max(1, CHUNK // max(weights.numel(), flat * len(of) * self._k * min(self._o, self._i)))
        for columns, b, e in self._sides(others):
            for first in range(0, len(b), size):
                some = slice(first, first + size)
                solved = weights * (e[some] @ b[some].mT)  # (m, k, o, i)
                at = slice(columns.start + first, columns.start + first + len(solved))
                for rows, a, d in ours or self._sides(of):
                    if not flat:
                        result[rows, at] += (d @ a.mT).flatten(1) @ solved.flatten(1).T
                    elif self._i >= self._o:
                        once_more = torch.einsum("nkis,mkoi->nmko", a, solved)
                        result[rows, at] += torch.einsum("nmko,nkos->nm", once_more, d)
                    else:
                        once_more = torch.einsum("nkos,mkoi->nmki", d, solved)
                        result[rows, at] += torch.einsum("nmki,nkis->nm", once_more, a)
        return result


class _Table:
    """An embedding: a row's gradient is 0 but at the lines of its tokens."""

    HELD = ("_S", "values")

    def __init__(self, weight: str, factor: Lookup) -> None:
        self.names, width, like = [weight], factor.delta.shape[2], factor.delta
        self.stays = width > WIDEST
        self._S = _square(width, like)
        self.values = torch.zeros(factor.lines, width, dtype=like.dtype, device=like.device)

    def _lookup(self, of: RowGradients) -> Lookup:
        factor: Lookup = of.factors[self.names[0]]
        return factor

    def _turn(self, of: RowGradients) -> Tensor:
        delta = self._lookup(of).delta
        return delta if self._S is None else delta @ self._S

    def _lines(self, of: RowGradients) -> tuple[Tensor, Tensor, Tensor]:
        """Of every line that a row looks up: the row, the line, and the row's gradient there."""
        tokens, delta = self._lookup(of).tokens, self._turn(of)
        n = torch.arange(len(tokens), device=tokens.device)[:, None].expand_as(tokens)
        pairs, which = torch.unique(n * len(self.values) + tokens, return_inverse=True)
        D = delta.new_zeros(len(pairs), delta.shape[2]).index_add_(0, which.flatten(), delta.flatten(0, 1))
        return pairs // len(self.values), pairs % len(self.values), D

    def add_factors(self, of: RowGradients, repeats: int) -> None:
        if self._S is not None:
            delta = self._lookup(of).delta.flatten(0, 1)
            self._S += delta.T @ delta

    def turn(self) -> None:
        self._S = _eigenvectors(self._S, self.values)

    def add_values(self, of: RowGradients, repeats: int) -> None:
        _, lines, D = self._lines(of)
        self.values.index_add_(0, lines, D * D)

    def solve(self, v: Vector, damping: float) -> Vector:
        V = v[self.names[0]]
        V = (V if self._S is None else V @ self._S) / (self.values + damping)
        return {self.names[0]: V if self._S is None else V @ self._S.T}

    def squares(self, of: RowGradients, weights: Tensor) -> Tensor:
        rows, lines, D = self._lines(of)
        return of.losses.new_zeros(len(of)).index_add_(0, rows, (D * D * weights[lines]).sum(1))

    def coordinates(self, of: RowGradients, chosen: Tensor) -> Tensor:
        rows, lines, D = self._lines(of)
        line, width = torch.unravel_index(chosen, self.values.shape)  # lines rise
        line = line.contiguous()
        first, last = torch.searchsorted(line, lines), torch.searchsorted(line, lines, right=True)
        count = last - first
        pair = torch.repeat_interleave(torch.arange(len(lines), device=lines.device), count)
        at = (
            torch.arange(len(pair), device=lines.device)
            - torch.repeat_interleave(count.cumsum(0) - count, count)
            + first[pair]
        )
        result = of.losses.new_zeros(len(of), len(chosen))
        result[rows[pair], at] = D[pair, width[at]]
        return result

    def products(self, of: RowGradients, others: RowGradients, damping: float) -> Tensor:
        """What is solved is a gradient of the same tokens again."""
        ours, theirs = copy.copy(self._lookup(of)), copy.copy(self._lookup(others))
        ours.delta = self._turn(of)
        theirs.delta = self._turn(others) / (self.values[theirs.tokens] + damping)
        return ours.products(theirs)


class _Whole:
    """Parameters without factors, as one block: its own eigenvectors, or where it is too wide its diagonal."""

    HELD = ("_Q", "values")

    def __init__(self, names: list[str], size: int, like: Tensor) -> None:
        self.names, self.stays, self._Q = names, size > WIDEST, _square(size, like)
        self.values = torch.zeros(size, dtype=like.dtype, device=like.device)
        self._turned = False

    def _gradients(self, of: RowGradients) -> Iterator[tuple[slice, Tensor]]:
        """Chunks (n, parameters), in the eigenvectors once these are there."""
        if self.names == of.through_func:
            parts: Iterable[tuple[slice, Tensor]] = of.formed()
        else:
            parts = [(slice(0, len(of)), torch.cat([of.factors[name].g for name in self.names], 1))]
        for rows, g in parts:
            yield rows, self._turn(g)

    def _turn(self, g: Tensor) -> Tensor:
        return g if self._Q is None or not self._turned else g @ self._Q

    def add_factors(self, of: RowGradients, repeats: int) -> None:
        for _, g in self._gradients(of) if self._Q is not None else ():
            self._Q += g.T @ g

    def turn(self) -> None:
        self._Q, self._turned = _eigenvectors(self._Q, self.values), True

    def add_values(self, of: RowGradients, repeats: int) -> None:
        for _, g in self._gradients(of):
            self.values += (g * g).sum(0)

    def solve(self, v: Vector, damping: float) -> Vector:
        V = self._turn(torch.cat([v[name].flatten() for name in self.names])) / (self.values + damping)
        V = V if self._Q is None else self._Q @ V
        parts = V.split([v[name].numel() for name in self.names])
        return {name: part.reshape(v[name].shape) for name, part in zip(self.names, parts, strict=True)}

    def squares(self, of: RowGradients, weights: Tensor) -> Tensor:
        result = of.losses.new_empty(len(of))
        for rows, g in self._gradients(of):
            result[rows] = (g * g) @ weights
        return result

    def coordinates(self, of: RowGradients, chosen: Tensor) -> Tensor:
        result = of.losses.new_empty(len(of), len(chosen))
        for rows, g in self._gradients(of):
            result[rows] = g[:, chosen]
        return result

    def products(self, of: RowGradients, others: RowGradients, damping: float) -> Tensor:
        result = of.losses.new_empty(len(of), len(others))
        for columns, h in self._gradients(others):
            solved = h / (self.values + damping)
            for rows, g in self._gradients(of):
                result[rows, columns] = g @ solved.T
        return result
