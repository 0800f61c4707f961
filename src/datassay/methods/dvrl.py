"""DVRL (Yoon, Arik & Pfister, ICML 2020, arXiv 1909.11671): a network that selects rows, rewarded by what is trained on its selection.

    w_i = h_phi(x_i, y_i, |y_i - f_val(x_i)|)  in (0, 1)       f_val: a network trained on the validation rows; y one-hot
    s_i ~ Bernoulli(w_i);   train the predictor on the rows with s_i = 1;   r = utility of the predictor - baseline
    loss(phi) = -r sum_i [s_i log w_i + (1 - s_i) log(1 - w_i)] + 1000 (max(0, mean w - .9) + max(0, .1 - mean w))

The mean over all s of the first term's gradient is minus the gradient of the expected utility (REINFORCE), whatever the baseline.
Baseline: moving average of the utility, b <- b + (U - b) / T with T = 20, or the utility of a predictor trained on all rows, as
released. The value of a row is its w at the end. f_val's difference enters in the training and in the valuation alike.

Differs from the paper: the utility is the mean probability of the validation rows' labels, as accuracy moves in steps of one row; the
moving average starts from the utility of all rows, not from 0; the predictor is a linear layer that starts from 0 at every iteration and
does ten steps, so that utilities differ by the selection alone; the selector has tanh, a weight decay, half of the learning rate and
starts from w = 1/2 for all rows, since otherwise more of them end where every w is near 0 or 1 and learn no more; a row's value is the
mean of its w over the last quarter of the iterations, since where a selector ends is as noisy as where it was before, and over several
selectors; rows come in the order of their ids, so that the order of the rows does not matter. Rows to flag are no part of the paper.
"""

from __future__ import annotations

import copy
import itertools
import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Annotated, Any, Literal, NamedTuple, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from numpy import ndarray
from torch import Tensor, nn

from datassay.checks import Call, Count, Number, Positive, whole
from datassay.data.dataset import Dataset
from datassay.engines import training as loop
from datassay.engines.linear_descent import descend
from datassay.engines.training import Recipe, Run, in_batches, load_state, outputs, random_numbers, save_state, spawned
from datassay.engines.two_means import suspicious
from datassay.methods.definition import Finding, network_method
from datassay.networks.defaults import Standardise
from datassay.networks.problem import Model, Problem, problem
from datassay.networks.recipes import recipe
from datassay.networks.runs import One, Trainings, averaged, chosen, options_of, run_all
from datassay.subsets.utilities import Scorer, utility_of

DEFAULT = Recipe(epochs=10, batch_size=2000, lr=0.1, weight_decay=0.0)
PUBLISHED = Recipe(epochs=100, batch_size=256, optimiser="adam", lr=1e-3, weight_decay=0.0)
VALIDATION = Recipe(epochs=30, batch_size=128, optimiser="adam", lr=1e-3, weight_decay=0.0)
PENALTY = 1e3
DECAY = 0.1  # of the selector's weights: this times its learning rate at each step
LEAST = 1000  # iterations
BATCH = (200, 0.4, 2000)  # rows of which an iteration selects: at least, share of all rows, at most
DRAWS = 100  # batches that a row is in, on average, at least
LAST = 0.25  # share of the iterations over which w is averaged
AT_ONCE = 2**22  # numbers of the rows that are valued in one pass


@network_method("dvrl", renamed={"batch": "selector_batch"})
def dvrl(
    call: Call,
    data: Dataset,
    model: Model | None = None,
    *,
    iterations: Count | None = None,
    selector_batch: Count | None = None,
    selector_lr: Positive | None = None,
    threshold: Annotated[float, Number(above=0.5, most=1)] = 0.9,
    baseline: Literal["moving", "all"] | None = None,
    window: Count = 20,
    utility: str | Scorer | None = None,
    runs: Count | None = None,
    faithful: bool = False,
    **shared: Unpack[Trainings],
) -> Finding:
    """Probability with which a network that was rewarded for good selections selects each row.

    Parameters
    ----------
    data
        n rows and m validation rows; classification or regression.
    model
        The predictor, and the network that is trained on the validation rows: a torch `nn.Module`, drawn anew for each run (all that
        has ``reset_parameters``), or a function from a seed to one, which is used as it comes. None: the predictor is a linear
        layer; on the validation rows a perceptron is trained for tables, a small ResNet for images.
    iterations
        Selections, each of which is a training of the predictor. None: 1000, or as many as bring each row into 100 batches on average;
        faithful: 2000.
    selector_batch
        Rows of which an iteration selects, drawn anew each time. None: four tenths of all, 200 at least and 2,000 at most; faithful:
        2,000.
    selector_lr
        Learning rate of the selector (Adam, with weight decay). None: .005; faithful: .01.
    threshold
        From .5 to 1: above this mean of w, and below 1 minus it, the selector is penalised.
    baseline
        "moving" average of the utility, or the utility of a predictor trained on "all" rows. Default "moving"; faithful: "all".
    window
        T, the length of the moving average in iterations.
    utility
        What a predictor is worth on the validation rows. Classification: "probability" (default), "log-likelihood", "accuracy"
        (faithful), "margin"; regression: "squared-error". Or any scikit-learn scorer, by name or as scorer(model, X, y).
    runs
        Selectors with other initial weights and selections; w is their mean. None: 2; faithful: 1.
    faithful
        2000 iterations, one selector with ReLU and no weight decay, accuracy, the baseline "all", and the released recipe (100 epochs in
        batches of 256, Adam 1e-3) for a perceptron as predictor, where they are not given. Takes many times as long.
    epochs
        Passes of the predictor over the selection. None: 10, of one step each.

    Returns
    -------
    Values
        scores = the column ``probability`` (n,), w from 0 to 1, high = worth keeping, as in the paper; a column ``run_0``, ... for
        each run. ``difference`` (n,): the largest number of \\|y - f_val(x)\\|, in regression in the labels' unit. ``stats``:
        ``utility`` of the last selections and of all rows, for each run; ``stderr`` (n,) over the runs, where there are several.
        Suggested label: what f_val says. Flagged: the lower of the two groups into which 2-means splits the scores.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (40, 3)), rng.normal(-2, 1, (40, 3))]
    >>> y = np.repeat(["a", "b"], 40)
    >>> wrong = y.copy(); wrong[:8] = "b"                              # eight wrong labels
    >>> train, val = np.arange(80) % 4 != 0, np.arange(80) % 4 == 0
    >>> data = da.Dataset(X[train], wrong[train], X[val], y[val])
    >>> values = da.value(data, method="dvrl", iterations=200)
    >>> bool(values.scores[:6].mean() < values.scores[6:].mean())
    True
    """
    if selector_batch is None:
        selector_batch = min(len(data), BATCH[2] if faithful else min(max(BATCH[0], int(BATCH[1] * len(data))), BATCH[2]))
    if iterations is None:
        iterations = 2000 if faithful else max(LEAST, math.ceil(DRAWS * len(data) / selector_batch))
    runs = runs if runs is not None else 1 if faithful else 2
    p = problem(data, model, shared["device"], "dvrl")
    if utility is None and faithful and data.task == "classification":
        utility = "accuracy"
    training_utility = utility_of(data, utility, "dvrl", default="probability")
    used = chosen(shared, PUBLISHED if faithful else DEFAULT, len(data), exact=True)
    whole("dvrl", 1, epochs=used.epochs)
    selector_lr = selector_lr if selector_lr is not None else 0.01 if faithful else 0.005
    average = None if (baseline or ("all" if faithful else "moving")) == "all" else window
    settings = Settings(
        iterations, selector_batch, selector_lr, threshold, average, model is None and not faithful, faithful
    )
    default = "squared-error" if data.task == "regression" else "probability"
    options = options_of(call, used) | {
        "iterations": iterations,
        "runs": runs,
        "baseline": "all" if average is None else "moving",
        "selector_lr": selector_lr,
        "selector_batch": selector_batch,
        "utility": (utility or default) if not callable(utility) else getattr(utility, "__name__", type(utility).__name__),
    }
    order = np.argsort(data.ids if data.ids.dtype.kind in "iu" else data.ids.astype(str), kind="stable")
    p = replace(p, data=data.take(order))
    results = run_all(partial(_run, settings, training_utility), call, p, used, options, runs=runs, units=iterations)
    back = np.argsort(order)
    each = np.stack([r.probability for r in results])[:, back]
    scores, stderr = averaged(each)
    flagged, rule = suspicious(scores)
    stats = {
        "flag_rule": rule,
        "utility": [r.utility for r in results],
        "utility_of_all_rows": [r.of_all for r in results],
        "device": p.device,
    } | stderr
    columns = {"probability": scores.copy(), "difference": np.mean([r.difference for r in results], axis=0)[back]}
    columns |= {f"run_{r}": w for r, w in enumerate(each)}
    suggested = p.suggested(np.mean([r.predictions for r in results], axis=0))[back]
    return Finding(scores, flagged, columns, suggested, stats, options)


class Settings(NamedTuple):
    iterations: int
    batch: int
    lr: float
    threshold: float
    window: int | None  # None: the baseline is the utility of all rows
    linear: bool  # the predictor
    faithful: bool  # the selector: ReLU, no weight decay


class _Result(NamedTuple):
    probability: ndarray  # (n,)
    difference: ndarray  # (n,)
    predictions: ndarray  # (n, outputs) of the network that was trained on the validation rows
    utility: float  # mean over the last selections
    of_all: float


class Selector(nn.Module):
    """Five layers: three of ``hidden`` and one of ``combine`` on x and y, where the k differences join in, one of ``combine``, logit.

    >>> Selector(4, 2)(torch.zeros(3, 4), torch.zeros(3, 2)).shape
    torch.Size([3])
    """

    def __init__(self, d: int, k: int, hidden: int = 100, combine: int = 10, activation: type[nn.Module] = nn.Tanh) -> None:
        super().__init__()
        widths = [d, hidden, hidden, hidden, combine]
        self.rows = nn.Sequential(*(part for i, o in itertools.pairwise(widths) for part in (nn.Linear(i, o), activation())))
        self.joined = nn.Sequential(nn.Linear(combine + k, combine), activation(), nn.Linear(combine, 1))

    def undecided(self) -> Selector:
        """Itself, with w = 1/2 for any row."""
        last = self.joined[-1]
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        return self

    def forward(self, rows: Tensor, difference: Tensor) -> Tensor:
        """(b,) logits of w, from rows (b, d) and differences (b, k)."""
        logits: Tensor = self.joined(torch.cat([self.rows(rows), difference], 1))[:, 0]
        return logits


def objective(logits: Tensor, s: Tensor, reward: float, threshold: float) -> Tensor:
    """What the selector minimises: -r log P(s), and the penalty on a mean of w beyond the threshold.

    >>> round(objective(torch.zeros(3), torch.ones(3), 2.0, 0.9).item(), 3)         # 2 x 3 log 2
    4.159
    """
    log_p = -F.binary_cross_entropy_with_logits(logits, s, reduction="sum")
    mean = logits.sigmoid().mean()
    return -reward * log_p + PENALTY * (F.relu(mean - threshold) + F.relu(1 - threshold - mean))


class _Seen:
    """What the selector sees of a row, in training and valuation alike: x, y and its difference from the validation network."""

    def __init__(self, p: Problem, net: nn.Module) -> None:
        self.x, self.y, self.k = p.x, p.y, p.outputs
        sample = p.sample().flatten(1)
        self.scale = Standardise(sample).to(p.device) if not p.data.standardised else nn.Identity()
        self.d = sample.shape[1] + self.k
        self.predictions = p.probabilities(outputs(net, self.x))  # (n, k)
        self.difference = (self.targets(slice(None)) - self.predictions).abs()

    def with_ones(self, x: Tensor) -> Tensor:
        """(b, d + 1) rows as a linear predictor takes them."""
        return F.pad(self.scale(x.flatten(1)), (0, 1), value=1.0)

    def targets(self, rows: Any) -> Tensor:
        y = self.y[rows]
        return y[:, None].to(torch.float32) if y.is_floating_point() else F.one_hot(y, self.k).to(torch.float32)

    def __call__(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        return torch.cat([self.scale(self.x[rows].flatten(1)), self.targets(rows)], 1), self.difference[rows]


def _linear(p: Problem) -> nn.Module:
    """Softmax or linear regression on standardised columns, from 0."""
    sample = p.sample().flatten(1)
    layer = nn.Linear(sample.shape[1], p.outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return nn.Sequential(nn.Flatten(), Standardise(sample) if not p.data.standardised else nn.Identity(), layer).to(p.device)


def _run(settings: Settings, training_utility: Callable[[ndarray], ndarray], one: One) -> _Result:
    p, used, own = one.p, one.recipe, one.own
    n, x, y, x_val = len(p.data), p.x, p.y, p.x_val
    everything = torch.arange(n, device=y.device)
    on_val = recipe(None, VALIDATION, len(p.y_val))
    seen = _Seen(p, Run(one.net(), p.loss, x_val, p.y_val, on_val, seed=own).through())
    drawn = _linear(p) if settings.linear else one.net()
    at_once = settings.linear and used.optimiser == "sgd" and used.augment is None and not used.mixed_precision
    z_val = seen.with_ones(x_val[:]) if at_once else None

    def utility(rows: Tensor, number: int) -> float:
        """Of a predictor that is trained on these rows, always from the same initial weights."""
        said = None
        if z_val is not None and len(rows) <= used.batch_size:
            W = descend(seen.with_ones(x[rows]), y[rows], p.outputs, used.rates(), momentum=used.momentum,
                        weight_decay=used.weight_decay, balanced=used.balanced)  # fmt: skip
            said = z_val @ W
        if said is None or not said.isfinite().all():  # the loop says in which epoch
            net = copy.deepcopy(drawn)
            if len(rows):
                Run(net, p.loss, x[rows], y[rows], used, seed=spawned(own, 1, number)).through()
            said = outputs(net, x_val)
        return float(training_utility(p.log_probabilities(said.double())[None])[0])

    with random_numbers(spawned(own, 2), y.device):
        selector = Selector(seen.d, seen.k, activation=nn.ReLU if settings.faithful else nn.Tanh).to(p.device)
    selector = selector if settings.faithful else selector.undecided()
    decay = 0.0 if settings.faithful else DECAY
    optimiser = torch.optim.AdamW(selector.parameters(), settings.lr, weight_decay=decay, fused=True)
    first = utility(everything, 0)
    state = {"baseline": torch.tensor(first).double(), "last": torch.zeros(20, dtype=torch.float64)}
    state |= {"of_all": state["baseline"].clone(), "done": torch.tensor(0)}
    total, times = torch.zeros(n, dtype=torch.float64, device=y.device), torch.zeros(n, device=y.device)
    state |= {"total": total, "times": times}
    key = f"{one.key} {drawn}" + ("" if settings.faithful else " mean of w")  # earlier versions took the last w
    if one.file is not None and one.file.exists():
        content = load_state(one.file, key, "cpu")
        selector.load_state_dict(content["selector"])
        optimiser.load_state_dict(content["optimiser"])
        for name, tensor in content["state"].items():
            state[name].copy_(tensor)
    done, saved = int(state["done"]), time.monotonic()
    all_seen = seen(everything) if n <= settings.batch else None
    from_here = settings.iterations if settings.faithful else int(settings.iterations * (1 - LAST))
    one.tick(done)
    for t in range(done, settings.iterations):
        rng = np.random.default_rng([own, 3, t])
        rows = everything
        if all_seen is None:
            rows = torch.from_numpy(np.sort(rng.choice(n, settings.batch, replace=False))).to(y.device)
        logits = selector(*(all_seen or seen(rows)))
        probability = logits.detach().sigmoid()
        if t >= from_here:
            total[rows] += probability
            times[rows] += 1
        w = probability.cpu().numpy()
        s = torch.from_numpy((rng.random(len(w)) < w).astype(np.float32)).to(y.device)
        utility_of_selection = utility(rows[s > 0], t + 1)
        loss = objective(logits, s, utility_of_selection - float(state["baseline"]), settings.threshold)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if settings.window is not None:
            state["baseline"] += (utility_of_selection - state["baseline"]) / settings.window
        state["last"][t % 20] = utility_of_selection
        state["done"] += 1
        if one.file is not None and (t + 1 == settings.iterations or time.monotonic() - saved > loop.SAVE_EVERY):
            save_state(
                {"selector": selector.state_dict(), "optimiser": optimiser.state_dict(), "state": state}, one.file, key
            )
            saved = time.monotonic()
        one.tick(1)
    parts = in_batches(n, max(1, AT_ONCE // seen.d))
    with torch.no_grad():
        last_w = torch.cat([selector(*seen(everything[rows])).double().sigmoid() for rows in parts])
    w = torch.where(times > 0, total / times.clamp(min=1), last_w).cpu().numpy()
    spread = float(p.data.codes.std()) if p.data.task == "regression" else 1.0
    difference = seen.difference.amax(1).double().cpu().numpy() * spread
    last = float(state["last"][: min(20, settings.iterations)].mean())
    return _Result(w, difference, seen.predictions.double().cpu().numpy(), last, float(state["of_all"]))
