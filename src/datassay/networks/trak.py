"""TRAK of one training: what a step on every row does to an answer, by the kernel of the rows' gradients, or by coordinates of these.

    S = k (K + damping)^-1 = phi_q' (Phi' Phi + damping)^-1 Phi'            K = Phi Phi' (n, n), k = Phi phi_q

Phi (n, parameters): gradients of what is said of each row's own label. The left side needs no coordinates: K comes from the factors of
the layers (engines.gradients), and n rows are n equations. Beyond `MOST` rows, or where the rows are to be kept, the right side is
solved, with Phi by its coordinates of the largest mean squares in the eigenvectors of the layers' Kronecker factors, as a sample of the
rows tells them (engines.kronecker). Of each they are kept in units of its root mean square.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from numpy import ndarray
from scipy.linalg import cho_factor, cho_solve
from torch import Tensor, nn

from datassay.checks import DataError
from datassay.engines.gradients import Loss, RowGradients
from datassay.engines.kronecker import EkFac, Leading
from datassay.engines.row_store import RowStore
from datassay.engines.training import in_batches, spawned
from datassay.files import replacing, save_npy
from datassay.networks.influence import Asked, asked_of, log_odds
from datassay.networks.runs import One

AT_ONCE = 1000  # rows in one pass
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


def trak_of_run(
    utility: str,
    query: int | None,
    code: int,
    projection: int | None,
    damping: float | None,
    each: bool,
    gradients: Path | None,
    precision: str,
    one: One,
) -> Steps:
    """Of the answers for all validation rows, or for one row and a class."""
    p, n = one.p, len(one.p.data)
    classes = p.data.task == "classification"
    asked = asked_of(p, utility, query, code)

    def said(outputs: Tensor, y: Tensor) -> Tensor:
        return log_odds(outputs, y) if classes else outputs[:, 0]

    numbers = 0
    if projection is None and n <= MOST and gradients is None:
        net = one.start(p.x, p.y).through(one.tick).eval()
        step, outputs, damping = _by_kernel(one, net, said, asked, damping, each)
    else:
        step, outputs, damping, numbers = _by_coordinates(
            one, said, asked, projection or NUMBERS, damping, each, gradients, precision
        )
    y = p.y
    error = 1 - outputs.softmax(1).gather(1, y[:, None])[:, 0] if classes else y - outputs[:, 0]
    one.tick(1)
    return Steps(
        step * asked.unit, error.double().cpu().numpy(), p.probabilities(outputs.double()).cpu().numpy(), damping, numbers
    )


def _by_kernel(
    one: One, net: nn.Module, said: Loss, asked: Asked, damping: float | None, each: bool
) -> tuple[ndarray, Tensor, float]:
    """S, what the network says of the rows, and the damping."""
    x, y, n = one.p.x, one.p.y, len(one.p.data)
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


def _by_coordinates(
    one: One, said: Loss, asked: Asked, size: int, damping: float | None, each: bool, gradients: Path | None, precision: str
) -> tuple[ndarray, Tensor, float, int]:
    """S, what the network says of the rows, the damping, and how many coordinates there are; from the folder, what is there."""
    p, n = one.p, len(one.p.data)
    x, y = p.x, p.y
    fresh = one.net()
    folder = None if gradients is None else gradients / _key(one, fresh, size, precision)
    if folder is not None:
        _same_network(fresh, x[: min(n, 8)], folder)
    net = _trained(one, fresh, folder)
    theirs = list(_asked(net, asked))
    basis = _basis(one, net, said, theirs[0], size, folder)
    store = RowStore(None if folder is None else folder / "gradients", n, basis.width, precision, block=AT_ONCE)
    spoken = RowStore(
        None if folder is None else folder / "outputs", n, theirs[0].outputs.shape[1], "float32", block=AT_ONCE
    )
    for b, rows in sorted(dict(store.missing() + spoken.missing()).items()):
        g = RowGradients(net, said, x[rows], y[rows])
        spoken.put(b, g.outputs.cpu().numpy())
        store.put(b, (basis.of(g) / basis.scale).cpu().numpy())
    gram = _gram(store, folder)
    phi = torch.cat([basis.of(g) for g in theirs])
    phi = ((phi if each else phi.mean(0, keepdim=True)) / basis.scale).double().cpu().numpy()
    squares = basis.scale.double().cpu().numpy() ** 2
    if damping is None:
        damping = SHARE * float(squares @ gram.diagonal()) / n
    gram[np.diag_indices_from(gram)] += damping / squares
    step = store.times(cho_solve(cho_factor(gram, lower=True, overwrite_a=True), phi.T)).astype(np.float64)
    return step, torch.from_numpy(np.array(spoken.numbers)).to(p.device), damping, basis.width


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


def _basis(one: One, net: nn.Module, said: Loss, of: RowGradients, size: int, folder: Path | None) -> Leading:
    """The coordinates, chosen by a sample of the rows, or as they were chosen before."""
    file = None if folder is None else folder / "basis.pt"
    if file is not None and file.is_file():
        return Leading.restored(of, torch.load(file, map_location=one.p.device, weights_only=True))
    x, y, n = one.p.x, one.p.y, len(one.p.data)
    some = np.sort(np.random.default_rng(spawned(one.own, 5)).permutation(n)[:SAMPLE])

    def batches() -> Iterator[RowGradients]:
        for part in in_batches(len(some), AT_ONCE):
            rows = torch.from_numpy(some[part])
            yield RowGradients(net, said, x[rows], y[rows])

    basis = Leading(EkFac(batches, len(some)), size)
    if file is not None:
        with replacing(file) as beside:
            torch.save(basis.kept(), beside)
    return basis


def _gram(store: RowStore, folder: Path | None) -> ndarray:
    """Phi' Phi; once it is there it is kept."""
    file = None if folder is None else folder / "products.npy"
    if file is not None and file.is_file():
        return np.array(np.load(file, allow_pickle=False))
    gram = store.gram()
    if file is not None:
        save_npy(gram, file)
    return gram
