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

import math
import time
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple, Unpack

import numpy as np
import torch
from numpy import ndarray
from torch import Tensor

from datassay.checks import Call, DataError, FromZero, Positive, Share, whole
from datassay.data.dataset import Dataset
from datassay.engines import transport
from datassay.engines.gradients import Loss
from datassay.engines.training import Recipe, outputs, save_state
from datassay.engines.two_means import suspicious
from datassay.methods import lossval_released as released
from datassay.methods.definition import Finding, network_method
from datassay.networks.problem import Model, fingerprint, problem
from datassay.networks.runs import One, OneTraining, chosen, options_of, run_all
from datassay.networks.saved import model_file

DEFAULT = Recipe(epochs=10, batch_size=32, optimiser="adam", lr=1e-3, weight_decay=0.0)
STEPS = 300  # at least, or the network of a small table would know nothing at the end
FAR = (2.0, 0.2)  # epochs times weight_lr: of logistic weights; of others, which are at 0 soon
SAMPLE = 1000  # rows on which the first transport is begun
HISTORY = 30  # epochs whose weights become columns, at most


@network_method("lossval")
def lossval(
    call: Call,
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
    loss: Loss | None = None,
    flag: Share | None = None,
    save_model: str | Path | None = None,
    **shared: Unpack[OneTraining],
) -> Finding:
    """Weights of the rows that are trained with the network, in one run.

    Parameters
    ----------
    data
        n rows and m validation rows, of which only the features count; classification or regression.
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
    epochs
        Passes over the rows. None: 10 and 300 steps at least, of 32 rows at most, with Adam.
    save_model
        File for the trained network's state. None: in the checkpoint folder; without one, a folder that goes when Python ends.

    Returns
    -------
    Values
        scores = the column ``log_weight`` (n,), log w above; where weights are not logistic, the weight itself. High = worth keeping,
        as in the paper. Columns: ``weight``; ``weighted_loss_term`` and ``transport_term``, the sums over the steps of the two parts
        of a weight's gradient (high = suspicious; with the default's kind of weights and steps u = -weight_lr times their sum);
        ``weight_after_1``, ... one an epoch, 30 at most.
        ``stats["model_file"]``: path of the trained network's state, for ``load_state_dict(torch.load(path, weights_only=True))``;
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
    target = model_file("lossval", save_model, shared["checkpoint"])
    p = problem(data, model, shared["device"], "lossval")
    if faithful and model is None:
        p = replace(p, model=partial(released.network, p))
    fingerprint_of_loss = None if loss is None else fingerprint(p, loss)
    used = chosen(shared, released.PUBLISHED if faithful else DEFAULT, len(data), exact=faithful)
    if shared["epochs"] is None and shared["training"] is None and not faithful:
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
    default_loss = p.loss
    if faithful:
        default_loss = released.cross_entropy if data.task == "classification" else released.squares
    settings = Settings(
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
        loss=loss or default_loss,
        standardise=not faithful and len(p.shape) == 1 and not data.standardised,
    )
    options = options_of(call, used) | {
        "transport_power": settings.power,
        "clip": clip if objective == "log" else None,
        "objective": objective,
        "masses": settings.masses,
        "weights": settings.weights,
        "weight_steps": steps,
        "weight_lr": settings.lr,
        "loss": None if loss is None else getattr(loss, "__qualname__", type(loss).__name__),
    }
    del options["save_model"]  # a path: `Values.options` has it as a text
    run = {name: value for name, value in options.items() if name != "flag"} | {
        "device": p.device,
        "loss": fingerprint_of_loss,
    }
    (result,) = run_all(partial(_run, settings, target), call, p, used, run)
    scores = math.log(2) - np.logaddexp(0, -result.u) if settings.weights == "logistic" else result.u
    low, rule = suspicious(scores, flag)
    shown = np.unique(np.linspace(0, used.epochs - 1, min(used.epochs, HISTORY)).round().astype(int))
    columns = {
        "weight": result.weight,
        "log_weight" if settings.weights == "logistic" else "score": scores.copy(),
        "weighted_loss_term": result.loss_term,
        "transport_term": result.transport_term,
    } | {f"weight_after_{e + 1}": result.history[e] for e in shown}
    stats = {
        "flag_rule": rule,
        "model": result.model,
        "model_file": str(target),
        "distance": result.distance,
        "eps": result.eps,
        "seconds_training": result.seconds_training,
        "seconds_transport": result.seconds_transport,
        "device": p.device,
    }
    return Finding(scores, low, columns, p.suggested(result.predictions), stats, options)


class Settings(NamedTuple):
    power: float
    clip: float
    product: bool
    masses: str
    weights: str
    steps: str
    lr: float
    eps: float | None
    loss: Loss
    standardise: bool


class _Result(NamedTuple):
    u: ndarray  # (n,)
    weight: ndarray  # (n,)
    loss_term: ndarray  # (n,)
    transport_term: ndarray  # (n,)
    history: ndarray  # (epochs, n)
    predictions: ndarray  # (n, outputs)
    distance: float
    eps: float | None
    seconds_training: float  # with the transport
    seconds_transport: float
    model: str  # the network in words


class Weights:
    """The rows' weights: what is minimised of a batch, and a step on the weights of its rows.

    Examples
    --------
    >>> plain = Settings(0.0, math.inf, True, "all", "free", "gradient", 0.1, None, lambda out, y: out, False)
    >>> w = Weights(plain, 3, 1, None, None)
    >>> w.reduce(torch.tensor([0, 2]), torch.tensor([1.0, 5.0])).item(), w.w.tolist()
    (6.0, [0.9, 1.0, 0.5])
    """

    def __init__(self, settings: Settings, n: int, epochs: int, x: Tensor | None, x_val: Tensor | None) -> None:
        self.settings, self.x, self.x_val = settings, x, x_val
        self.device = torch.device("cpu") if x is None else x.device
        m = 0 if x_val is None else len(x_val)

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=self.device)

        self.u = zeros(n) if settings.weights == "logistic" else zeros(n) + 1
        self.adam = released.Adam(n, self.device)
        self.loss_term, self.transport_term = zeros(n), zeros(n)
        self.f, self.g = zeros(n), zeros(m)
        self.history, self.distance = zeros(epochs, n), zeros(2)  # distance: now, at first
        self.seconds, self.pull = 0.0, torch.zeros(n, device=self.device)
        if x is None or x_val is None or settings.power == 0:
            return
        if settings.masses == "all":
            self.C = transport.Cost(x, x_val).held()
            self.b = x.new_full((m,), 1 / m)
            self.eps = settings.eps or _eps(x, x_val)
        else:
            self.of_batch = released.BatchTransport(x, x_val, raw=settings.masses == "raw")

    @property
    def state(self) -> dict[str, Tensor]:
        own = {name: getattr(self, name) for name in ("u", "loss_term", "transport_term", "f", "g", "history", "distance")}
        return own | {name: getattr(self.adam, name) for name in ("first", "second", "count")}

    @property
    def w(self) -> Tensor:
        return 2 * torch.sigmoid(self.u) if self.settings.weights == "logistic" else self.u

    def epoch(self, epoch: int) -> None:
        """Before an epoch: with masses "all", the pull of the transport on each row."""
        if epoch:
            self.history[epoch - 1] = self.w
        if self.settings.power == 0 or self.settings.masses != "all":
            return
        began = time.perf_counter()
        a = self.w.clamp(min=1e-12).to(self.b.dtype)
        a /= a.sum()
        warm: Any = (self.f.to(a.dtype), self.g.to(a.dtype))
        if epoch == 0:  # some rows tell nearly what all do: on these eps falls
            some = torch.linspace(0, len(a) - 1, min(len(a), SAMPLE)).long()
            few = a.new_full((len(some),), 1 / len(some))
            warm = transport.solve(self.C[some], few, self.b, self.eps, tol=0.01, steps=200).g
        f, g, _, _ = transport.solve(self.C, a, self.b, self.eps, start=warm, tol=0.01, steps=200)
        mean = a @ f
        S = mean + self.b @ g
        self.distance[0] = S
        if epoch == 0:
            self.distance[1] = S
        S = torch.maximum(S, self.distance[1] / 4).clamp(min=1e-12)  # weights that pile up on copies would leave none
        self.f.copy_(f)
        self.g.copy_(g)
        self.pull = (f - mean) / S
        self.seconds += time.perf_counter() - began

    def reduce(self, rows: Tensor, losses: Tensor) -> Tensor:
        """What the network minimises of a batch, (b,) losses; the weights of its rows do a step at once."""
        settings, each, u = self.settings, losses.detach(), self.u[rows]
        w = (2 * torch.sigmoid(u) if settings.weights == "logistic" else u).to(losses.dtype)
        if not settings.product:  # a mean has no room for weights below 0, nor for losses
            if float(each.min()) < 0:
                raise ValueError(f"with objective 'log' losses must not be below 0, got {float(each.min()):g}.")
            w = w.clamp(min=1e-12)
        S, pull, mass = 1.0, self.pull[rows].to(each.dtype), w.sum()
        if settings.power and settings.masses != "all":
            began = time.perf_counter()
            S, pull = self.of_batch(rows, w)
            self.distance[0] = S
            self.seconds += time.perf_counter() - began
        weighted = (w * losses).sum()
        mean = weighted.detach() / mass
        if settings.product:
            if settings.masses == "all" and settings.power:
                S = float(self.distance[0])
            # with masses "all" a row gets here, once an epoch, what all batches would pull at it: therefore the mass of a batch
            per = 1.0 if settings.masses == "raw" else mass
            factor = S**settings.power
            loss_part, pull_part = factor * each, factor * settings.power * mean * mass * pull / per
            total = weighted * factor
        else:
            per = mass if settings.masses == "raw" else 1.0
            times = each / mean.clamp(min=1e-12)
            loss_part = (times if settings.clip == math.inf else times.clamp(max=settings.clip)) - 1
            pull_part, total = pull * (settings.power * per), weighted / mass
        self._step(rows, loss_part.double(), pull_part.double())
        return total

    def _step(self, rows: Tensor, loss_part: Tensor, pull_part: Tensor) -> None:
        settings, gradient = self.settings, loss_part + pull_part
        self.loss_term.index_add_(0, rows, loss_part)
        self.transport_term.index_add_(0, rows, pull_part)
        if settings.steps == "gradient":
            self.u.index_add_(0, rows, gradient, alpha=-settings.lr)
        else:
            self.adam.step(self.u, rows, gradient, lr=settings.lr, lazy=settings.steps == "lazy-adam")
        if settings.weights == "positive":
            self.u.clamp_(min=0)


def _run(settings: Settings, target: Path, one: One) -> _Result:
    p, used, net = one.p, one.recipe, one.net()
    x, n = p.x, len(p.data)
    began = time.perf_counter()
    flat, flat_val = None, None
    if settings.power:
        flat, flat_val = x[:].flatten(1), p.x_val[:].flatten(1)
        std, mean = torch.std_mean(flat, 0, correction=0)
        flat, flat_val = flat - mean, flat_val - mean  # a common offset would cost the distances digits
        if settings.standardise:
            std = torch.where(std > 0, std, 1.0)
            flat, flat_val = flat / std, flat_val / std
    w = Weights(settings, n, used.epochs, flat, flat_val)
    run = one.start(x, p.y, net, loss=settings.loss, state=w.state, reduce=w.reduce)
    one.tick(run.epoch)
    for step in run:
        if step.batch == 0:
            w.epoch(step.epoch)
        if step.batch == run.batches - 1:
            one.tick(1)
    w.history[used.epochs - 1] = w.w
    training = time.perf_counter() - began
    save_state({name: t.cpu() for name, t in net.state_dict().items()}, target)
    predictions = p.probabilities(outputs(net, x)).double().cpu().numpy()
    u, weight, of_loss, of_transport, history = (
        t.cpu().numpy() for t in (w.u, w.w, w.loss_term, w.transport_term, w.history)
    )
    eps = (w.eps if settings.masses == "all" else released.BLUR**2) if settings.power else None
    return _Result(
        u, weight, of_loss, of_transport, history, predictions, float(w.distance[0]), eps, training, w.seconds, str(net)
    )


def _eps(x: Tensor, x_val: Tensor) -> float:
    """Half of the median half squared distance to the next validation row; where most rows are copies, .0005 of the mean one."""
    sample = transport.half_squared_distances(x[torch.linspace(0, len(x) - 1, min(len(x), 1000)).long()], x_val)
    return max(0.5 * float(sample.amin(1).median()), 5e-4 * float(sample.mean()), 1e-12)
