"""DVGS (Evans et al., arXiv 2405.08217): does a row's gradient point where the gradient of the validation rows points?

    value_i = mean over steps t and runs r of sim(g, g_i),   g = grad L_val(theta_t^r),   g_i = grad l(x_i, y_i; theta_t^r)

theta follows the validation rows alone (the target), so no row is learned by heart. sim: cosine; dot product g . g_i; scalar
projection g . g_i / |g|; distance -|g - g_i|. All follow from g . g_i and |g_i|, and these from one backward pass.

Differs from the released code: dropout is off, in the training as in both gradients, unless ``dropout=True``; no file for each step;
the default network normalises within a row; of that for images the gradients of the last block count. ``faithful=True`` takes the
network, the recipe and the dropout of its experiment 1.
"""

from __future__ import annotations

import math
import time
from dataclasses import replace
from functools import partial
from typing import Annotated, Literal, NamedTuple, Unpack, cast

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor, nn

from datassay.checks import Call, Count, DataError, Whole
from datassay.data.dataset import Dataset
from datassay.engines.gradients import RowGradients, mean_gradient
from datassay.engines.training import Recipe, Run, in_batches, random_numbers, set_mode, spawned
from datassay.methods.definition import Finding, network_method
from datassay.networks.defaults import last_block, mlp
from datassay.networks.problem import Model, Problem, problem
from datassay.networks.runs import One, Trainings, averaged, chosen, options_of, run_all

DEFAULT = Recipe(epochs=100, batch_size=500, optimiser="adam", lr=1e-3, weight_decay=0.0)
IMAGES = replace(DEFAULT, epochs=30, batch_size=128)
AT_ONCE = 2**22  # numbers of a table's rows in one pass; of images 256 rows


@network_method("dvgs", renamed={"restarts": "runs"})
def dvgs(
    call: Call,
    data: Dataset,
    model: Model | None = None,
    *,
    similarity: Literal["cosine", "dot", "scalar", "distance"] = "cosine",
    aggregate: Literal["mean", "quantile"] = "mean",
    every: Count | None = None,
    runs: Count = 3,
    balanced: bool = False,
    grad_params: list[str] | None = None,
    pretrain: Annotated[int, Whole(0)] = 0,
    unsupervised: bool = False,
    dropout: bool = False,
    faithful: bool = False,
    **shared: Unpack[Trainings],
) -> Finding:
    """Similarity of each row's gradient with that of the validation rows, along a training on the validation rows.

    Parameters
    ----------
    data
        n rows and m validation rows; classification or regression.
    similarity
        "cosine", "dot", "scalar" (projection) or "distance" (its negative).
    aggregate
        "mean" of the similarities; "quantile": of their ranks, from 0 to 1, at each step.
    every
        Similarities are taken every so many steps (T). None: at every step; for images once an epoch.
    balanced
        Every class has the same weight in the validation rows' loss.
    grad_params
        Names of the parameters whose gradients count. None: all; of the default network for images the last block and what follows,
        which find nearly as much in a third of the time.
    pretrain
        Epochs on the rows to be valued before the validation rows are followed.
    unsupervised
        The model is an autoencoder and the loss its mean squared error: labels, of rows and validation rows, are not looked at.
    dropout
        True: dropout layers of the model are active, in the training and in both gradients, with a mask for each row. They must not
        be so in the training alone: what is minimised and what is compared would be two functions.
    faithful
        The network (2 x 100 Mish, dropout .5, each layer normalised within the row) and the recipe (Adam 1e-3, 100 epochs, batches
        of 500, balanced) of the released experiment 1, where they are not given, and its dropout in all gradients.
    epochs
        Passes over the validation rows. None: 100; for images 30.

    Returns
    -------
    Values
        scores = the column ``dvgs`` (n,), high = worth keeping, as in the paper; a column ``restart_0``, ... for each. ``stats``:
        ``stderr`` (n,) over the runs, where there are several; seconds of training and of similarities. Suggested label: what
        the networks say, on average over the steps. Flagged: mean cosine below 0.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> data = da.Dataset(X[:50], y[:50], X_val=X[[20, 21, 50, 51, 52]], y_val=y[[20, 21, 50, 51, 52]])
    >>> da.value(data, method="dvgs", epochs=20).suspects(1)[["id", "given_label", "suggested_label"]]
       id given_label suggested_label
    3   3           b               a
    """
    p = problem(data, model, shared["device"], "dvgs", autoencodes=unsupervised)
    if faithful and model is None:
        p = replace(p, model=partial(_published, p))
    images = len(p.shape) > 1 and not faithful
    default = replace(IMAGES if images else DEFAULT, balanced=faithful or balanced)
    used = chosen(shared, default, len(data), exact=True)
    used = replace(used, balanced=used.balanced or balanced)
    if grad_params is not None and (
        unknown := set(grad_params) - {name for name, _ in p.make(0, shared["seed"]).named_parameters()}
    ):
        raise DataError(f"dvgs: the model has no parameter {sorted(unknown)[0]!r}, which grad_params names.")
    if images and model is None and grad_params is None:
        grad_params = last_block(cast(nn.Sequential, p.make(0, shared["seed"])))
    steps = every or (max(1, math.ceil(len(p.y_val) / used.batch_size)) if images else 1)
    options = options_of(call, used) | {"every": steps}
    work = partial(_run, similarity, aggregate == "quantile", steps, grad_params, pretrain, dropout or faithful)
    results = run_all(work, call, p, used, options, runs=runs, units=used.epochs + 1)
    scores, stderr = averaged([r.value for r in results])
    cosine = np.mean([r.cosine for r in results], axis=0)
    stats = {
        "flag_rule": "mean cosine of the row's gradient with that of the validation rows below 0",
        "seconds_training": sum(r.seconds[0] for r in results),
        "seconds_similarity": sum(r.seconds[1] for r in results),
        "device": p.device,
        "through_torch_func": results[0].through_func,
    } | stderr
    columns = {"dvgs": scores.copy(), "cosine": cosine} | {f"restart_{r}": one.value for r, one in enumerate(results)}
    suggested = None if unsupervised else p.suggested(np.mean([r.predictions for r in results], axis=0))
    return Finding(scores, cosine < 0, columns, suggested, stats, options)


class _Run(NamedTuple):
    value: np.ndarray  # (n,)
    cosine: np.ndarray  # (n,)
    predictions: np.ndarray  # (n, outputs) class probabilities, or targets, mean over the steps
    seconds: tuple[float, float]  # training, similarities
    through_func: list[str]


def _run(
    similarity: str,
    quantile: bool,
    every: int,
    grad_params: list[str] | None,
    pretrain: int,
    dropout: bool,
    one: One,
) -> _Run:
    p, net, n, own = one.p, one.net(), len(one.p.data), (one.seed, one.number)
    x, y, x_val, y_val = p.x, p.y, p.x_val, p.y_val
    began = time.perf_counter()
    if pretrain and not (one.file and one.file.exists()):
        Run(net, p.loss, x, y, replace(one.recipe, epochs=pretrain, balanced=False), seed=spawned(*own, 1)).through()
    predictions = 0 if p.autoencodes else p.outputs
    state = {"value": torch.zeros(n, dtype=torch.float64), "cosine": torch.zeros(n, dtype=torch.float64)}
    state |= {"said": torch.zeros(n, predictions, dtype=torch.float64), "steps": torch.zeros(1), "seconds": torch.zeros(1)}
    run = one.start(x_val, y_val, net, state=state, dropout=dropout)
    names = grad_params or [name for name, q in net.named_parameters() if q.requires_grad]
    parts = in_batches(n, 256 if len(p.shape) > 1 else max(1, AT_ONCE // p.data.X.shape[1]))
    through_func: list[str] = []
    one.tick(run.epoch)
    for step in run:
        if step.step % every == 0:
            now = time.perf_counter()
            set_mode(net, dropout=dropout, batch_norm=False)
            with random_numbers(spawned(*own, 2, step.step), y.device):  # of dropout
                weights = None if run.weights is None else run.weights[y_val[step.rows]]
                g = mean_gradient(net, p.loss, x_val[step.rows], y_val[step.rows], names, weights)
                length = torch.stack([(v * v).sum() for v in g.values()]).sum().sqrt()
                dots, squares = torch.empty(n, device=length.device), torch.empty(n, device=length.device)
                for rows in parts:
                    of_rows = RowGradients(net, p.loss, x[rows], y[rows], names)
                    dots[rows], squares[rows] = of_rows.dots_and_squared_norms(g)
                    if predictions:
                        state["said"][rows] += p.probabilities(of_rows.outputs).double().cpu()
                    through_func = of_rows.through_func
            sim = _similarity(dots, squares, length, similarity).double().cpu()
            state["value"] += torch.from_numpy((rankdata(sim) - 1) / max(1, n - 1)) if quantile else sim
            state["cosine"] += _similarity(dots, squares, length, "cosine").double().cpu()
            state["steps"] += 1
            state["seconds"] += time.perf_counter() - now
        if step.batch == run.batches - 1:
            one.tick(1)
    one.tick(1)
    steps, spent = state["steps"].clamp(min=1), float(state["seconds"])
    return _Run(
        (state["value"] / steps).numpy(),
        (state["cosine"] / steps).numpy(),
        (state["said"] / steps).numpy(),
        (time.perf_counter() - began - spent, spent),
        through_func,
    )


def _similarity(dots: Tensor, squares: Tensor, length: Tensor, kind: str) -> Tensor:
    """(n,) from g . g_i, |g_i|^2 and |g|; a row without gradient has cosine 0."""
    if kind == "dot":
        return dots
    if kind == "scalar":
        return torch.where(length > 0, dots / length, 0.0)
    if kind == "distance":
        return -(squares - 2 * dots + length**2).clamp(min=0).sqrt()
    both = squares.sqrt() * length
    return torch.where(both > 0, (dots / both).clamp(-1, 1), 0.0)


def _published(p: Problem, seed: int) -> nn.Module:
    """Released experiment 1: 2 x 100, Mish, dropout .5, each layer normalised within the row."""
    return mlp(p.sample(), p.outputs, dropout=0.5, standardise=not p.data.standardised)
