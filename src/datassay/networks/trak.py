"""TRAK of one training: what a step on every row does to an answer, by the kernel of the rows' gradients, or by coordinates of these.

    S = k (K + damping)^-1 = phi_q' (Phi' Phi + damping)^-1 Phi'            K = Phi Phi' (n, n), k = Phi phi_q

Phi (n, parameters): gradients of what is said of each row's own label. The left side needs no coordinates: K comes from the factors of
the layers (engines.gradients), and n rows are n equations. Beyond `MOST` rows, or where the rows are to be kept, the right side is
solved, with Phi by its coordinates of the largest mean squares in the eigenvectors of the layers' Kronecker factors, as a sample of the
rows tells them (engines.kronecker). Of each they are kept in units of its root mean square.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from scipy.linalg import LinAlgError, cho_factor, cho_solve
from torch import Tensor, nn

from datassay.checks import DataError
from datassay.engines import machine
from datassay.engines.gradients import Loss, RowGradients
from datassay.engines.kronecker import EkFac, Leading
from datassay.engines.row_store import RowStore
from datassay.engines.training import Tick, in_batches, on_one_thread, one_thread, spawned
from datassay.files import replacing, save_npy
from datassay.networks.influence import Asked, asked_of, log_odds
from datassay.networks.problem import Problem
from datassay.networks.runs import One

AT_ONCE = 1000  # rows in one pass, and in one task
IN_TASK = 250  # of these in one pass
MOST = 8_000  # rows whose kernel is held
SHARE = 1.0  # of the mean squared length of a gradient
NUMBERS = 2_048  # coordinates of a gradient
SAMPLE = 4_096  # rows by which the coordinates are chosen, at most


class Steps(NamedTuple):
    step: np.ndarray  #: (n, q) S, of each row asked about, or of their mean: (n, 1)
    error: np.ndarray  #: (n,) by how much the loss pulls at what is said of the row: 1 - p, or the residual
    predictions: np.ndarray  #: (n, outputs)
    damping: float
    numbers: int  #: coordinates of a gradient; 0: all of it


class Trained(NamedTuple):
    """What the coordinates of any row's gradient follow from."""

    weights: dict[str, Tensor]
    basis: dict[str, Tensor]
    folder: Path | None  #: of this training


def kernel_fits(n: int) -> bool:
    """Whether the products of so many rows' gradients are held."""
    return n <= MOST


def by_kernel(utility: str, query: int | None, code: int, damping: float | None, each: bool, one: One) -> Steps:
    """Of one training, of the answers for all validation rows, or for one row and a class."""
    asked, net = asked_of(one.p, utility, query, code), one.start(one.p.x, one.p.y).through(one.tick).eval()
    step, outputs, damping = _by_kernel(one.p, net, asked, damping, each)
    return _steps(one.p, step * asked.unit, outputs, damping, 0)


def trained(size: int, gradients: Path | None, precision: str, one: One) -> Trained:
    """The network, and by which of the coordinates of its gradients; from the folder, what is there."""
    x, fresh = one.p.x, one.net()
    folder = None if gradients is None else gradients / _key(one, fresh, size, precision)
    if folder is not None:
        _same_network(fresh, x[: min(len(x), 8)], folder)
    net = _trained(one, fresh, folder)
    return Trained(dict(net.state_dict()), _basis(one, net, size, folder), folder)


def by_coordinates(
    p: Problem,
    net: nn.Module,
    of: Trained,
    asked: Asked,
    precision: str,
    damping: float | None,
    each: bool,
    n_jobs: int | None,
    tick: Tick,
) -> Steps:
    """Of one training; ``net`` takes its weights. ``tick`` moves by each row whose gradient is there."""
    net.load_state_dict(of.weights)
    net.eval()
    n, theirs = len(p.data), list(_asked(net, asked))
    basis = Leading.restored(theirs[0], of.basis)
    store = RowStore(None if of.folder is None else of.folder / "gradients", n, basis.width, precision, block=AT_ONCE)
    outputs = None if of.folder is None else of.folder / "outputs"
    spoken = RowStore(outputs, n, theirs[0].outputs.shape[1], "float32", block=AT_ONCE)
    _fill(p, net, basis, store, spoken, n_jobs, tick)
    gram = _gram(store, of.folder)
    phi = torch.cat([basis.of(g) for g in theirs])
    phi = ((phi if each else phi.mean(0, keepdim=True)) / basis.scale).double().cpu().numpy()
    squares = basis.scale.double().cpu().numpy() ** 2
    if damping is None:
        damping = SHARE * float(squares @ gram.diagonal()) / n
    gram[np.diag_indices_from(gram)] += damping / squares
    try:
        factor = cho_factor(gram, lower=True, overwrite_a=True)
    except LinAlgError as error:
        raise DataError(f"{p.method}: the gradients' products are singular ({error}): give a larger damping.") from error
    step = store.times(cho_solve(factor, phi.T)).astype(np.float64)
    return _steps(p, step * asked.unit, torch.from_numpy(np.array(spoken.numbers)).to(p.device), damping, basis.width)


def _steps(p: Problem, step: ndarray, outputs: Tensor, damping: float, numbers: int) -> Steps:
    y = p.y
    error = 1 - outputs.softmax(1).gather(1, y[:, None])[:, 0] if p.data.task == "classification" else y - outputs[:, 0]
    predictions = p.probabilities(outputs.double()).cpu().numpy()
    return Steps(step, error.double().cpu().numpy(), predictions, damping, numbers)


def _said(p: Problem) -> Loss:
    """Of a row and its own label."""
    return log_odds if p.data.task == "classification" else prediction


def prediction(outputs: Tensor, _: Tensor) -> Tensor:
    return outputs[:, 0]


def _fill(
    p: Problem, net: nn.Module, basis: Leading, store: RowStore, spoken: RowStore, n_jobs: int | None, tick: Tick
) -> None:
    """What is missing in both stores, block by block, each on one thread, wherever joblib has it: the same bits anywhere. The stores
    are written here alone, so that no other machine needs their folder."""
    x, y, said = p.x, p.y, _said(p)
    blocks = sorted(dict(store.missing() + spoken.missing()).items())
    tick(len(p.data) - sum(rows.stop - rows.start for _, rows in blocks))
    if p.device == "cpu":
        # clones: a view travels with all rows of the tensor
        tasks = (
            machine.task(on_one_thread, _block, net, said, basis, x[rows].clone(), y[rows].clone()) for _, rows in blocks
        )
        named = machine.spread(n_jobs, tasks, lambda k: f"gradients of rows {blocks[k][1].start} on")
        with one_thread(), closing(named) as found:  # closed first: it sets all threads to what it saw
            _put(blocks, found, store, spoken, tick)
    else:
        _put(blocks, (_block(net, said, basis, x[rows], y[rows]) for _, rows in blocks), store, spoken, tick)


def _put(
    blocks: list[tuple[int, slice]], found: Iterable[tuple[ndarray, ndarray]], store: RowStore, spoken: RowStore, tick: Tick
) -> None:
    for (b, rows), (outputs, numbers) in zip(blocks, found, strict=True):
        spoken.put(b, outputs)
        store.put(b, numbers)
        tick(rows.stop - rows.start)


def _block(net: nn.Module, said: Loss, basis: Leading, x: Tensor, y: Tensor) -> tuple[ndarray, ndarray]:
    """What the network says of these rows, and their gradients' coordinates; some rows at a time, since every thread has its own."""
    net, outputs, numbers = copy.deepcopy(net), [], []  # a module in several threads would hear the others' passes
    for rows in in_batches(len(x), IN_TASK):
        g = RowGradients(net, said, x[rows], y[rows])
        outputs.append(g.outputs.cpu().numpy())
        numbers.append((basis.of(g) / basis.scale).cpu().numpy())
    return np.concatenate(outputs), np.concatenate(numbers)


def _by_kernel(p: Problem, net: nn.Module, asked: Asked, damping: float | None, each: bool) -> tuple[ndarray, Tensor, float]:
    """S, what the network says of the rows, and the damping."""
    x, y, n, said = p.x, p.y, len(p.data), _said(p)
    batches = list(in_batches(n, AT_ONCE))
    ours, theirs = [RowGradients(net, said, x[rows], y[rows]) for rows in batches], list(_asked(net, asked))
    K = ours[0].losses.new_empty(n, n)
    for i, g in enumerate(ours):
        for j in range(i + 1):
            K[batches[i], batches[j]] = g.products(ours[j])
            if i != j:
                K[batches[j], batches[i]] = K[batches[i], batches[j]].T
    k = torch.cat([torch.cat([g.products(h) for g in ours]) for h in theirs], 1)
    k = k if each else k.mean(1, keepdim=True)
    if damping is None:
        damping = SHARE * float(K.diagonal().mean())
    K.diagonal().add_(damping)
    step = torch.cholesky_solve(k, torch.linalg.cholesky(K))
    return step.double().cpu().numpy(), torch.cat([g.outputs for g in ours]), damping


def _asked(net: nn.Module, asked: Asked) -> Iterator[RowGradients]:
    for rows in in_batches(len(asked.y), AT_ONCE):
        yield RowGradients(net, asked.answer, asked.x[rows], asked.y[rows])


def _key(one: One, fresh: nn.Module, size: int, precision: str) -> str:
    """The name of the folder of this training: by the rows without those they are judged by, the network before it, and the recipe."""
    digest, x = hashlib.blake2b(digest_size=12), one.p.x
    for rows in in_batches(len(x), AT_ONCE):
        digest.update(x[rows].cpu().numpy().tobytes())
    digest.update(one.p.y.cpu().numpy().tobytes())
    for name, tensor in fresh.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    digest.update(f"{type(fresh).__qualname__} {fresh} {one.recipe!r} {one.own} {size} {precision}".encode())
    return f"training-{one.number}-{digest.hexdigest()}"


def _same_network(fresh: nn.Module, x: Tensor, folder: Path) -> None:
    """Layers and weights are in the name of the folder; that they are put together in the same way, what an untrained one says.

    Raises
    ------
    DataError
        They are not.
    """
    was = fresh.training
    with torch.no_grad():
        says = fresh.eval()(x).cpu().numpy()
    fresh.train(was)
    file = folder / "before.npy"
    if not file.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        save_npy(says, file)
        return
    said = np.load(file, allow_pickle=False)
    if said.shape != says.shape or not np.allclose(said, says, rtol=1e-3, atol=1e-4 * max(1e-6, float(abs(said).max()))):
        raise DataError(
            f"trak: {folder} holds the gradients of another network, which has the same layers and says other things before its "
            "training: give gradients= another folder."
        )


def _trained(one: One, fresh: nn.Module, folder: Path | None) -> nn.Module:
    """The network after its training, of this call or of one before."""
    if folder is None:
        return one.start(one.p.x, one.p.y, fresh).through(one.tick).eval()
    file = folder / "network.pt"
    if file.is_file():
        fresh.load_state_dict(torch.load(file, map_location=one.p.device, weights_only=True))
        one.tick(one.recipe.epochs)
        return fresh.eval()
    net = one.start(one.p.x, one.p.y, fresh).through(one.tick).eval()
    folder.mkdir(parents=True, exist_ok=True)
    with replacing(file) as beside:
        torch.save(net.state_dict(), beside)
    return net


def _basis(one: One, net: nn.Module, size: int, folder: Path | None) -> dict[str, Tensor]:
    """The coordinates, chosen by a sample of the rows, or as they were chosen before."""
    file = None if folder is None else folder / "basis.pt"
    if file is not None and file.is_file():
        kept: dict[str, Tensor] = torch.load(file, map_location=one.p.device, weights_only=True)
        return kept
    x, y, n, said = one.p.x, one.p.y, len(one.p.data), _said(one.p)
    some = np.sort(np.random.default_rng(spawned(one.own, 5)).permutation(n)[:SAMPLE])

    def batches() -> Iterator[RowGradients]:
        for part in in_batches(len(some), AT_ONCE):
            rows = torch.from_numpy(some[part])
            yield RowGradients(net, said, x[rows], y[rows])

    kept = Leading(EkFac(batches, len(some)), size).kept()
    if file is not None:
        with replacing(file) as beside:
            torch.save(kept, beside)
    return kept


def _gram(store: RowStore, folder: Path | None) -> ndarray:
    """Phi' Phi; once it is there it is kept."""
    file = None if folder is None else folder / "products.npy"
    if file is not None and file.is_file():
        return np.array(np.load(file, allow_pickle=False))
    gram = store.gram()
    if file is not None:
        save_npy(gram, file)
    return gram
