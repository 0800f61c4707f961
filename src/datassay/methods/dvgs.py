"""DVGS (Evans et al., arXiv 2405.08217): does a row's gradient point where the gradient of the validation rows points?

    value_i = mean over steps t and runs r of sim(g, g_i),   g = grad L_val(theta_t^r),   g_i = grad l(x_i, y_i; theta_t^r)
    centred:  value_i - (1 - B) o_c,   o_c = mean over t, r of o_ct,   o_ct = mean of sim over the rows with i's label c, less that of all
              B = max(0, 1 - (mean over c of var_t o_ct / T) / mean over c of o_c^2)       (James & Stein; T looks over all runs)

theta follows the validation rows alone (the target), so no row is learned by heart. sim: cosine; dot product g . g_i; scalar
projection g . g_i / |g|; distance -|g - g_i|. All follow from g . g_i and |g_i|, and these from one backward pass.

Differs from the released code: dropout is off, in the training as in both gradients, unless ``dropout=True``; no file for each step; the
default network normalises within a row. Of images the gradients of that network's last block count, g is that of all validation rows
instead of a batch, once an epoch, and values are centred. ``faithful=True`` takes the network, the recipe and the dropout of its
experiment 1.
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, Unpack, cast

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
    target: Literal["batch", "all"] | None = None,
    centred: bool | None = None,
    every: Count | None = None,
    runs: Count | None = None,
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
    target
        g is the gradient of the step's "batch" of validation rows, or of "all". None: "batch"; for images, where similarities are taken
        seldom, "all".
    centred
        Which class the network says too often at a look moves all rows of a class, whatever their labels are worth. Their offset is
        shrunk by as much of its spread over classes as its change from look to look explains; ``stats["class_offset_kept"]`` is
        the share B that stays. None: True for images in classes, else False.
    every
        Similarities are taken every so many steps (T). None: at every step; for images once an epoch.
    runs
        Trainings from other first weights. None: 3; for images 2.
    balanced
        Every class has the same weight in the validation rows' loss.
    grad_params
        Names of the parameters whose gradients count. None: all; of the default network for images the last block and what follows,
        which find as much in less time.
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
    classes = data.task == "classification" and not unsupervised
    if centred and not classes:
        raise DataError("dvgs: centred=True is about classes: leave it out in regression and with unsupervised=True.")
    centred = images and classes if centred is None else centred
    target = target or ("all" if images else "batch")
    runs = runs or (2 if images else 3)
    default = replace(IMAGES if images else DEFAULT, balanced=faithful or balanced)
    used = chosen(shared, default, len(data), exact=True)
    used = replace(used, balanced=used.balanced or balanced)
    if grad_params is not None and (
        unknown := set(grad_params) - {name for name, _ in p.make(0, shared["seed"]).named_parameters()}
    ):
        raise DataError(f"dvgs: the model has no parameter {sorted(unknown)[0]!r}, which grad_params names.")
    if images and model is None and grad_params is None and not unsupervised:
        grad_params = last_block(cast(nn.Sequential, p.make(0, shared["seed"])))
    an_epoch = math.ceil(len(p.y_val) / used.batch_size)
    steps = max(1, min(every or (an_epoch if images else 1), used.epochs * an_epoch))
    options = options_of(call, used) | {"every": steps, "target": target, "centred": centred, "runs": runs}
    how = _How(similarity, aggregate == "quantile", target == "all", steps, grad_params, pretrain, dropout or faithful)
    work = partial(_run, how)
    results = run_all(work, call, p, used, options, runs=runs, units=used.epochs + 1)
    stats: dict[str, Any] = {}
    each = [r.value for r in results]
    if centred:
        kept = stats["class_offset_kept"] = _kept(np.concatenate([r.offsets for r in results])[:, np.unique(data.codes)])
        each = [r.value - (1 - kept) * r.offsets.mean(0)[data.codes] for r in results] if kept < 1 else each
    scores, stderr = averaged(each)
    cosine = np.mean([r.cosine for r in results], axis=0)
    stats |= {
        "flag_rule": "mean cosine of the row's gradient with that of the validation rows below 0",
        "seconds_training": sum(r.seconds[0] for r in results),
        "seconds_similarity": sum(r.seconds[1] for r in results),
        "device": p.device,
        "through_torch_func": results[0].through_func,
    } | stderr
    columns = {"dvgs": scores.copy(), "cosine": cosine} | {f"restart_{r}": one for r, one in enumerate(each)}
    suggested = None if unsupervised else p.suggested(np.mean([r.predictions for r in results], axis=0))
    return Finding(scores, cosine < 0, columns, suggested, stats, options)


class _How(NamedTuple):
    """The options of a run."""

    similarity: str
    quantile: bool
    all_rows: bool  # g is that of all validation rows
    every: int
    grad_params: list[str] | None
    pretrain: int
    dropout: bool


class _Run(NamedTuple):
    value: np.ndarray  # (n,)
    cosine: np.ndarray  # (n,)
    offsets: np.ndarray  # (looks, classes) mean similarity of each class less that of all rows
    predictions: np.ndarray  # (n, outputs) class probabilities, or targets, mean over the steps
    seconds: tuple[float, float]  # training, similarities
    through_func: list[str]


def _run(how: _How, one: One) -> _Run:
    p, net, n, own = one.p, one.net(), len(one.p.data), (one.seed, one.number)
    x, y, x_val, y_val = p.x, p.y, p.x_val, p.y_val
    began = time.perf_counter()
    if how.pretrain and not (one.file and one.file.exists()):
        Run(net, p.loss, x, y, replace(one.recipe, epochs=how.pretrain, balanced=False), seed=spawned(*own, 1)).through()
    predictions = 0 if p.autoencodes else p.outputs
    state = {"value": torch.zeros(n, dtype=torch.float64), "cosine": torch.zeros(n, dtype=torch.float64)}
    state |= {"said": torch.zeros(n, predictions, dtype=torch.float64), "steps": torch.zeros(1), "seconds": torch.zeros(1)}
    codes = torch.from_numpy(p.data.codes.astype(np.int64)) if p.data.classes else torch.zeros(n, dtype=torch.int64)
    looks = one.recipe.epochs * math.ceil(len(y_val) / one.recipe.batch_size) // how.every
    state["offsets"] = torch.zeros(looks, max(1, len(p.data.classes)), dtype=torch.float64)
    run = one.start(x_val, y_val, net, state=state, dropout=how.dropout)
    names = how.grad_params or [name for name, q in net.named_parameters() if q.requires_grad]
    at_once = 256 if len(p.shape) > 1 else max(1, AT_ONCE // p.data.X.shape[1])
    parts = in_batches(n, at_once)
    through_func: list[str] = []
    one.tick(run.epoch)
    for step in run:
        if (step.step + 1) % how.every == 0:  # not at the first weights: what they say is chance
            now = time.perf_counter()
            set_mode(net, dropout=how.dropout, batch_norm=False)
            with random_numbers(spawned(*own, 2, step.step), y.device):  # of dropout
                g = _target_gradient(run, in_batches(len(y_val), at_once) if how.all_rows else [step.rows], names)
                length = torch.stack([(v * v).sum() for v in g.values()]).sum().sqrt()
                dots, squares = torch.empty(n, device=length.device), torch.empty(n, device=length.device)
                for rows in parts:
                    of_rows = RowGradients(net, p.loss, x[rows], y[rows], names)
                    dots[rows], squares[rows] = of_rows.dots_and_squared_norms(g)
                    if predictions:
                        state["said"][rows] += p.probabilities(of_rows.outputs).double().cpu()
                    through_func = of_rows.through_func
            sim = _similarity(dots, squares, length, how.similarity).double().cpu()
            sim = torch.from_numpy((rankdata(sim) - 1) / max(1, n - 1)) if how.quantile else sim
            state["value"] += sim
            state["offsets"][step.step // how.every] = _offsets(sim, codes, len(state["offsets"][0]))
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
        state["offsets"].numpy(),
        (state["said"] / steps).numpy(),
        (time.perf_counter() - began - spent, spent),
        through_func,
    )


def _target_gradient(run: Run, parts: Sequence[Any], names: list[str]) -> dict[str, Tensor]:
    """Of the mean loss of the validation rows in these parts; with weights of classes, of their weighted mean."""
    total: dict[str, Tensor] = {}
    mass = 0.0
    for rows in parts:
        x, y = run.x[rows], run.y[rows]
        weights = None if run.weights is None else run.weights[y]
        own = float(len(y) if weights is None else weights.sum())
        mass += own
        for name, g in mean_gradient(run.net, run.loss, x, y, names, weights).items():
            total[name] = g if len(parts) == 1 else own * g + total.get(name, 0.0)
    return total if len(parts) == 1 else {name: g / mass for name, g in total.items()}


def _offsets(sim: Tensor, codes: Tensor, classes: int) -> Tensor:
    """(classes,) mean of each class less that of all; 0 of a class without rows.

    >>> _offsets(torch.tensor([1.0, 3.0, 5.0]), torch.tensor([0, 0, 1]), 3).tolist()
    [-1.0, 2.0, 0.0]
    """
    counts = torch.bincount(codes, minlength=classes)
    means = torch.zeros(len(counts), dtype=sim.dtype).index_add(0, codes, sim) / counts.clamp(min=1)
    return torch.where(counts > 0, means - sim.mean(), 0.0)


def _kept(offsets: np.ndarray) -> float:
    """B, of offsets (looks, classes): near 0 where they change from look to look so much that chance alone would let their means
    differ as they do. One look tells nothing of chance: 1.

    >>> _kept(np.array([[1.0, -1.0], [1.0, -1.0]])), _kept(np.array([[1.0, -1.0], [-0.9, 0.9]])), _kept(np.array([[1.0, -1.0]]))
    (1.0, 0.0, 1.0)
    """
    if len(offsets) < 2 or (spread := float((offsets.mean(0) ** 2).mean())) == 0:
        return 1.0
    return max(0.0, 1 - float(offsets.var(0, ddof=1).mean()) / len(offsets) / spread)


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
