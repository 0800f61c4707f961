"""LossVal (Wibiral et al., arXiv 2412.04158): weights of the rows, trained with the network, and tied to the validation features.

    minimise over theta and w    L_w(theta) S(w)^p       L_w = sum_i w_i l_i(theta),  S(w) = OT from masses w at x_i to equal ones at x_val
    d/dw_i  =  S^p l_i + p S^(p-1) L_w f_i               f: dual potential of S in w; nothing is differentiated through its iterations

A low weight = the row's loss stays high, or it lies far from the validation rows. Here the logarithm of the *mean* loss is minimised,

    J = log(L_w / sum w) + p log S(w / sum w),   W dJ/dw_i = l_i / mean_w(l) - 1 + p (f_i - mean_w(f)) / S       (W = sum w)
    u_i <- u_i - weight_lr (min(l_i / mean_w(l), clip) - 1 + p (f_i - mean_w(f)) / S),   w_i = 2 / (1 + exp(-u_i)),   u_i = 0 at first

so that a row has to lose against the mean of its time, however far training is. The released procedure (``faithful=True``) takes
L_w S^2 as it stands, with the masses of a batch, 32, against 100: their S is mostly what the missing mass costs, f_i is about the same
large negative number for all rows, and its pull on all weights upwards is what the loss of a wrong row has to be larger than. That is
what the -1 does here, without a distance that is none.

Differs from the paper further: S is that of all rows, from one solution an epoch, and no Sinkhorn loop a batch; p = 1; weights stay
between 0 and 2 and change only when their row comes; columns of a table are standardised for the distances.
"""

from __future__ import annotations

import atexit
import math
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor, nn

from datassay.checks import Count, DataError, FromZero, Positive, Seed, Share, whole
from datassay.data.dataset import Dataset
from datassay.engines import transport
from datassay.engines.training import Recipe, Run, Tick, keep, outputs, spawned
from datassay.engines.two_means import suspicious
from datassay.files import check_target
from datassay.methods.definition import NETWORKS, Finding, method
from datassay.networks.problem import Model, Problem, problem
from datassay.networks.runs import Place, do, options_of, recipe

DEFAULT = Recipe(epochs=10, batch_size=32, optimiser="adam", lr=1e-3, weight_decay=0.0)
PUBLISHED = Recipe(epochs=30, batch_size=32, optimiser="adam", lr=0.01, weight_decay=0.0, rest=True)
STEPS = 300  # at least, or the network of a small table would know nothing at the end
FAR = (2.0, 0.2)  # epochs times weight_lr: of logistic weights; of others, which are at 0 soon
HISTORY = 30  # epochs whose weights become columns, at most
BLUR = 0.05  # released: root of eps
BETAS = (0.9, 0.999)  # of Adam on the weights

RowLoss = Callable[[Tensor, Tensor], Tensor]


@method("lossval", NETWORKS)
def lossval(
    data: Dataset,
    model: Model | None = None,
    *,
    faithful: bool = False,
    transport_power: FromZero | None = None,
    clip: Positive | None = 4.0,
    objective: Literal["log", "product"] | None = None,
    masses: Literal["all", "batch", "raw"] | None = None,
    weights: Literal["logistic", "positive", "free"] | None = None,
    weight_steps: Literal["gradient", "adam", "lazy-adam"] | None = None,
    weight_lr: Positive | None = None,
    eps: Positive | None = None,
    loss: RowLoss | None = None,
    flag: Share | None = None,
    epochs: Count | None = None,
    batch_size: Count | None = None,
    lr: Positive | None = None,
    training: Recipe | None = None,
    save_model: str | Path | None = None,
    device: str = "auto",
    checkpoint: str | Path | None = None,
    seed: Seed = 0,
    progress: bool = True,
) -> Finding:
    """Weights of the rows that are trained with the network, in one run.

    Parameters
    ----------
    data
        n rows and m validation rows, of which only the features count; classification or regression.
    model
        A torch `nn.Module`, drawn anew (all that has ``reset_parameters``), or a function from a seed to one, which is used as it
        comes. None: a perceptron for tables, a small ResNet for images; faithful: 5 x 100 with ReLU, regression 3 x 90 with tanh.
    faithful
        The released procedure, LossVal-30; ``epochs=5`` is LossVal-5. Each of the following options can be changed alone.
    transport_power
        p, the power of the distance; 0: none. Default 1; faithful: 2.
    clip
        With objective "log": a row's loss counts as so many times the mean loss at most. None: as it is.
    objective
        "log" of the mean loss and of the distance, or the "product" of the sum and the distance. Default "log"; faithful: "product".
    masses
        "all": weights of all rows, divided by their sum, once an epoch. "batch": those of the batch, divided by their sum, at each
        step. "raw": those of the batch as they are, against 1 for each validation row. Default "all"; faithful: "raw".
    weights
        "logistic": between 0 and 2. "positive": not below 0. "free". Default "logistic"; faithful: "free".
    weight_steps
        "gradient"; "adam", in which weights of absent rows drift on; "lazy-adam", in which they don't. Default "gradient"; faithful:
        "adam".
    weight_lr
        Length of the weights' steps. Default 2 / epochs, of weights that are not logistic a tenth of that; with Adam, or the product,
        whose derivatives have other units, the network's lr.
    eps
        With masses "all": blur of the transport, in half squared distances. None: half of what the median row is away from the
        validation row next to it.
    loss
        A function from outputs and targets to (b,) losses, with objective "log" not below 0. None: cross-entropy, or half the squared
        error in standard deviations; faithful: -log(p + 1e-8), or the whole square.
    flag
        None: the lower of the two groups into which 2-means splits the scores. A number: this share of the rows, the lowest.
    epochs, batch_size, lr, training
        Of the network (Adam, batches of 32 at most, 10 epochs and 300 steps at least); ``training`` is a whole `Recipe`, in which
        the others change what they name.
    save_model
        File for the trained network's state. None: in the checkpoint folder; without one, a folder that goes when Python ends.

    Returns
    -------
    Values
        scores = the column ``log_weight`` (n,), log w above; where weights are not logistic, the weight itself. High = worth keeping,
        as in the paper. Columns: ``weight``; ``weighted_loss_term`` and ``transport_term``, the sums over the steps of the two parts
        of a weight's gradient (high = suspicious; with the default's kind of weights and steps u = -weight_lr times their sum);
        ``weight_after_1``, ... one an epoch, 30 at most.
        ``stats["model"]``: path of the trained network's state, for ``load_state_dict(torch.load(path, weights_only=True))``;
        ``stats["distance"]``: S before the last epoch (or of the last batch). Suggested label: what the trained network says.

    Examples
    --------
    >>> import datassay as da
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> y[:300:10] = (y[:300:10] + 1) % 10                             # wrong labels
    >>> data = da.Dataset(X[:300], y[:300], X[300:500], y[300:500])
    >>> values = da.value(data, method="lossval")
    >>> bool(values.flagged[:300:10].mean() > 0.9 > 0.4 > values.flagged.mean())
    True
    """
    given = dict(locals())
    target = _model_file(save_model, checkpoint)
    p = problem(data, model, device, "lossval", validation=True)
    if faithful and model is None:
        p = replace(p, model=partial(_published, p))
    fingerprint = None if loss is None else _fingerprint(p, loss)
    used = recipe(
        training or (PUBLISHED if faithful else None), DEFAULT, len(data), epochs=epochs, batch_size=batch_size, lr=lr
    )
    if epochs is None and training is None and not faithful:
        used = replace(used, epochs=max(used.epochs, math.ceil(STEPS * used.batch_size / len(data))))
    whole("lossval", 1, epochs=used.epochs)
    if used.balanced:
        raise DataError("lossval weighs the rows itself: a recipe with balanced=True is none for it.")
    objective = objective or ("product" if faithful else "log")
    n, b = len(data), used.batch_size
    smallest = n % b or b if used.rest else n // math.ceil(n / b)
    if objective == "log" and smallest < 2:
        raise DataError(
            f"lossval: a row is compared with the others of its batch, and batches of {b} of {n} rows leave one with a single row: "
            "pass another batch_size."
        )
    steps = weight_steps or ("adam" if faithful else "gradient")
    weights = weights or ("free" if faithful else "logistic")
    how = _How(
        power=float(transport_power if transport_power is not None else 2.0 if faithful else 1.0),
        clip=math.inf if clip is None else float(clip),
        product=objective == "product",
        masses=masses or ("raw" if faithful else "all"),
        weights=weights,
        steps=steps,
        lr=float(
            weight_lr
            or (used.lr if steps != "gradient" or objective == "product" else FAR[weights != "logistic"] / used.epochs)
        ),
        eps=eps,
        loss=loss
        or ((_released_cross_entropy if data.task == "classification" else _released_squares) if faithful else p.loss),
        standardise=not faithful and len(p.shape) == 1 and not data.standardised,
    )
    options = options_of(given, used) | {
        "transport_power": how.power,
        "clip": clip if objective == "log" else None,
        "objective": objective,
        "masses": how.masses,
        "weights": how.weights,
        "weight_steps": steps,
        "weight_lr": how.lr,
        "loss": None if loss is None else getattr(loss, "__qualname__", type(loss).__name__),
    }
    del options["save_model"]
    run = {name: value for name, value in options.items() if name != "flag"} | {"device": p.device, "loss": fingerprint}
    (found,) = do(
        partial(_run, p, used, how, seed, target),
        1,
        p,
        run,
        units=used.epochs,
        checkpoint=checkpoint,
        n_jobs=None,
        progress=progress,
    )
    scores = math.log(2) - np.logaddexp(0, -found.u) if how.weights == "logistic" else found.u
    low, rule = suspicious(scores, flag)
    shown = np.unique(np.linspace(0, used.epochs - 1, min(used.epochs, HISTORY)).round().astype(int))
    columns = {
        "weight": found.weight,
        "log_weight" if how.weights == "logistic" else "score": scores.copy(),
        "weighted_loss_term": found.loss_term,
        "transport_term": found.transport_term,
    } | {f"weight_after_{e + 1}": found.history[e] for e in shown}
    stats = {
        "flag_rule": rule,
        "model": str(target),
        "distance": found.distance,
        "eps": found.eps,
        "seconds_training": found.seconds_training,
        "seconds_transport": found.seconds_transport,
        "device": p.device,
    }
    return Finding(scores, low, columns, p.suggested(found.said), stats, options)


class _How(NamedTuple):
    power: float
    clip: float
    product: bool
    masses: str
    weights: str
    steps: str
    lr: float
    eps: float | None
    loss: RowLoss
    standardise: bool


class _Found(NamedTuple):
    u: ndarray  # (n,)
    weight: ndarray  # (n,)
    loss_term: ndarray  # (n,)
    transport_term: ndarray  # (n,)
    history: ndarray  # (epochs, n)
    said: ndarray  # (n, outputs)
    distance: float
    eps: float | None
    seconds_training: float  # with the transport
    seconds_transport: float


class Weights:
    """The rows' weights: what is minimised of a batch, and a step on the weights of its rows.

    Examples
    --------
    >>> plain = _How(0.0, math.inf, True, "all", "free", "gradient", 0.1, None, lambda out, y: out, False)
    >>> w = Weights(plain, 3, 1, None, None)
    >>> w.reduce(torch.tensor([0, 2]), torch.tensor([1.0, 5.0])).item(), w.w.tolist()
    (6.0, [0.9, 1.0, 0.5])
    """

    def __init__(self, how: _How, n: int, epochs: int, x: Tensor | None, x_val: Tensor | None) -> None:
        self.how, self.x, self.x_val = how, x, x_val
        self.device = torch.device("cpu") if x is None else x.device
        m = 0 if x_val is None else len(x_val)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=self.device)

        self.u = zeros(n) if how.weights == "logistic" else zeros(n) + 1
        self.first, self.second, self.count = zeros(n), zeros(n), zeros(n)  # Adam's moments, and steps
        self.loss_term, self.transport_term = zeros(n), zeros(n)
        self.g, self.history, self.distance = zeros(m), zeros(epochs, n), zeros(2)  # distance: now, at first
        self.seconds, self.pull = 0.0, torch.zeros(n, device=self.device)
        if x is None or x_val is None or how.power == 0:
            return
        if how.masses == "all":
            self.C = transport.Cost(x, x_val).held()
            self.b = x.new_full((m,), 1 / m)
            self.eps = how.eps or _eps(x, x_val)
        else:
            self.C, self.C_val = transport.half_squared_distances(x, x_val), transport.half_squared_distances(x_val, x_val)
            self.b = x.new_full((m,), 1.0 if how.masses == "raw" else 1 / m)

    @property
    def state(self) -> dict[str, Tensor]:
        names = ("u", "first", "second", "count", "loss_term", "transport_term", "g", "history", "distance")
        return {name: getattr(self, name) for name in names}

    @property
    def w(self) -> Tensor:
        return 2 * torch.sigmoid(self.u) if self.how.weights == "logistic" else self.u

    def epoch(self, epoch: int) -> None:
        """Before an epoch: with masses "all", the pull of the transport on each row."""
        if epoch:
            self.history[epoch - 1] = self.w
        if self.how.power == 0 or self.how.masses != "all":
            return
        began = time.perf_counter()
        a = self.w.clamp(min=1e-12).to(self.b.dtype)
        a /= a.sum()
        warm = self.g.to(a.dtype) if epoch else None
        f, g, _, _ = transport.solve(self.C, a, self.b, self.eps, start=warm, tol=0.01, steps=200)
        mean = a @ f
        S = mean + self.b @ g
        self.distance[0] = S
        if epoch == 0:
            self.distance[1] = S
        S = torch.maximum(S, self.distance[1] / 4).clamp(min=1e-12)  # weights that pile up on copies would leave none
        self.g.copy_(g)
        self.pull = (f - mean) / S
        self.seconds += time.perf_counter() - began

    def reduce(self, rows: Tensor, losses: Tensor) -> Tensor:
        """What the network minimises of a batch, (b,) losses; the weights of its rows do a step at once."""
        how, each, u = self.how, losses.detach(), self.u[rows]
        w = (2 * torch.sigmoid(u) if how.weights == "logistic" else u).to(losses.dtype)
        if not how.product:  # a mean has no room for weights below 0, nor for losses
            if float(each.min()) < 0:
                raise ValueError(f"with objective 'log' losses must not be below 0, got {float(each.min()):g}.")
            w = w.clamp(min=1e-12)
        S, pull, mass = 1.0, self.pull[rows].to(each.dtype), w.sum()
        if how.power and how.masses != "all":
            S, pull = self._of_batch(rows, w)  # pull: dS/dw / S, for "batch" times the mass
        mean = (w * each).sum() / mass
        if how.product:
            if how.masses == "all" and how.power:
                S = float(self.distance[0])
            # with masses "all" a row gets here, once an epoch, what all batches would pull at it: therefore the mass of a batch
            per = 1.0 if how.masses == "raw" else mass
            factor = S**how.power
            loss_part, pull_part = factor * each, factor * how.power * mean * mass * pull / per
            total = (w * losses).sum() * factor
        else:
            per = mass if how.masses == "raw" else 1.0
            loss_part, pull_part = (each / mean.clamp(min=1e-12)).clamp(max=how.clip) - 1, how.power * pull * per
            total = (w * losses).sum() / mass
        self._step(rows, loss_part.double(), pull_part.double())
        return total

    def _of_batch(self, rows: Tensor, w: Tensor) -> tuple[float, Tensor]:
        began = time.perf_counter()
        assert self.x is not None
        x, C = self.x[rows], self.C[rows]
        a = w if self.how.masses == "raw" else w / w.sum()
        diameter = max(1.1 * math.sqrt(2 * float(C.max())), BLUR)  # all rows may be one point
        clouds = (C, transport.half_squared_distances(x, x), self.C_val, a.to(C.dtype), self.b)
        if C.device.type == "cpu":  # so small matrices are numpy's: four times as fast
            clouds = tuple(t.numpy() for t in clouds)
        found = transport.annealed(*clouds, diameter=diameter, blur=BLUR)
        da = torch.as_tensor(found.da, device=w.device)
        value = float(found.value)
        pull = da if self.how.masses == "raw" else da - (a * da).sum()
        self.distance[0] = abs(value)
        self.seconds += time.perf_counter() - began
        size = math.copysign(max(abs(value), 1e-12), value)
        return abs(value), pull / size

    def _step(self, rows: Tensor, loss_part: Tensor, pull_part: Tensor) -> None:
        how, gradient = self.how, loss_part + pull_part
        self.loss_term.index_add_(0, rows, loss_part)
        self.transport_term.index_add_(0, rows, pull_part)
        if how.steps == "gradient":
            self.u.index_add_(0, rows, gradient, alpha=-how.lr)
        else:
            some: Tensor | slice = slice(None) if how.steps == "adam" else rows  # all drift on, or those that came
            if how.steps == "adam":
                gradient = torch.zeros_like(self.u).index_copy_(0, rows, gradient)
            self.count[some] += 1
            k = self.count[some]
            self.first[some] = BETAS[0] * self.first[some] + (1 - BETAS[0]) * gradient
            self.second[some] = BETAS[1] * self.second[some] + (1 - BETAS[1]) * gradient**2
            first, second = self.first[some] / (1 - BETAS[0] ** k), self.second[some] / (1 - BETAS[1] ** k)
            self.u[some] -= how.lr * first / (second.sqrt() + 1e-8)
        if how.weights == "positive":
            self.u.clamp_(min=0)


def _run(p: Problem, used: Recipe, how: _How, seed: int, target: Path, r: int, tick: Tick, place: Place) -> _Found:
    net, x, n = p.make(r, seed), p.x, len(p.data)
    began = time.perf_counter()
    flat, flat_val = None, None
    if how.power:
        flat, flat_val = x[:].flatten(1), p.x_val[:].flatten(1)
        std, mean = torch.std_mean(flat, 0, correction=0)
        flat, flat_val = flat - mean, flat_val - mean  # a common offset would cost the distances digits
        if how.standardise:
            std = torch.where(std > 0, std, 1.0)
            flat, flat_val = flat / std, flat_val / std
    w = Weights(how, n, used.epochs, flat, flat_val)
    run = Run(
        net,
        how.loss,
        x,
        p.y,
        used,
        seed=spawned(seed, r),
        state=w.state,
        checkpoint=place.file,
        key=place.key,
        reduce=w.reduce,
    )
    tick(run.epoch)
    for step in run:
        if step.batch == 0:
            w.epoch(step.epoch)
        if step.batch == run.batches - 1:
            tick(1)
    w.history[used.epochs - 1] = w.w
    training = time.perf_counter() - began
    keep({name: t.cpu() for name, t in net.state_dict().items()}, target)
    said = p.says(outputs(net, x)).double().cpu().numpy()
    u, weight, of_loss, of_transport, history = (
        t.cpu().numpy() for t in (w.u, w.w, w.loss_term, w.transport_term, w.history)
    )
    eps = (w.eps if how.masses == "all" else BLUR**2) if how.power else None
    return _Found(u, weight, of_loss, of_transport, history, said, float(w.distance[0]), eps, training, w.seconds)


def _eps(x: Tensor, x_val: Tensor) -> float:
    """Half of the median half squared distance to the next validation row; where most rows are copies, .0005 of the mean one."""
    some = transport.half_squared_distances(x[torch.linspace(0, len(x) - 1, min(len(x), 1000)).long()], x_val)
    return max(0.5 * float(some.amin(1).median()), 5e-4 * float(some.mean()), 1e-12)


def _model_file(save_model: str | Path | None, checkpoint: str | Path | None) -> Path:
    """Where the network goes; that it can be written there is found out before the training."""
    if save_model is None:
        return (
            Path(_temporary() if checkpoint is None else checkpoint) / f"model{'' if checkpoint else time.monotonic_ns()}.pt"
        )
    needed = "lossval: save_model must be a file that can be written"
    if not isinstance(save_model, (str, Path)) or not str(save_model) or Path(save_model).is_dir():
        raise DataError(f"{needed}, got {save_model!r}.")
    target = Path(save_model)
    check_target(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=target.parent):
            return target
    except OSError as error:
        raise DataError(f"{needed}, and {str(target)!r} is none ({error.strerror}).") from error


@cache
def _temporary() -> str:
    """One folder for this process, which goes with it."""
    folder = tempfile.mkdtemp(prefix="datassay-lossval-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _fingerprint(p: Problem, loss: RowLoss) -> str:
    """What a function says of a few rows: names don't tell two losses apart. A DataError if it is no loss."""
    if not callable(loss):
        raise DataError(f"lossval: loss must be a function from outputs and targets to a loss for each row, got {loss!r}.")
    y = p.y[:16]
    random = torch.Generator().manual_seed(0)
    some = torch.randn(len(y), p.outputs, generator=random).to(y.device)
    try:
        found = loss(some, y)
    except (RuntimeError, ValueError, TypeError, IndexError) as error:
        raise DataError(
            f"lossval: loss failed on outputs {tuple(some.shape)} and targets {tuple(y.shape)} ({error})."
        ) from error
    if not isinstance(found, Tensor) or found.shape != (len(y),):
        came = f"shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        raise DataError(
            f"lossval: loss must give a number for each row (reduction='none'), for {len(y)} rows it gave {came}."
        )
    return f"{loss!r} {found.tolist()}" if isinstance(loss, nn.Module) else str(found.tolist())


def _released_cross_entropy(outputs: Tensor, y: Tensor) -> Tensor:
    return -torch.log(outputs.softmax(1) + 1e-8).gather(1, y[:, None])[:, 0]


def _released_squares(outputs: Tensor, y: Tensor) -> Tensor:
    return (outputs[:, 0] - y) ** 2


def _published(p: Problem, seed: int) -> nn.Module:
    """Released networks: 5 layers of 100 with ReLU for classes, 3 of 90 with tanh for amounts."""
    depth, width = (5, 100) if p.data.task == "classification" else (3, 90)
    act: type[nn.Module] = nn.ReLU if p.data.task == "classification" else nn.Tanh
    layers: list[nn.Module] = [nn.Flatten()]
    for d in [math.prod(p.shape)] + [width] * (depth - 2):
        layers += [nn.Linear(d, width), act()]
    return nn.Sequential(*layers, nn.Linear(width, p.outputs))
