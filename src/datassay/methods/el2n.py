"""EL2N (Paul, Ganguli & Dziugaite, NeurIPS 2021): how far from its label a row is said to be, early in training.

    EL2N_i = mean over runs r of |softmax(f_t^r(x_i)) - onehot(y_i)|        f_t^r: the network of initialisation r after t epochs

From 0 (sure and right) to sqrt 2 (sure and wrong); sqrt(1 - 1/c) where nothing is known. High = hard, so the score is -EL2N.
p - y is the gradient of the loss in the logits: EL2N is GraNd without what the network does before its last sum.

Differs from the paper: t is smaller, for small networks on some thousand rows: there wrong labels stand out after 2 epochs
(tables) or 5 (images), and after 20 they are learned by heart. Adam instead of SGD, 5 runs instead of 10.
"""

from __future__ import annotations

from typing import NamedTuple, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from datassay.checks import Call, Count
from datassay.data.dataset import Dataset
from datassay.engines.training import outputs
from datassay.methods.definition import Finding, network_method
from datassay.networks.problem import Model, problem
from datassay.networks.recipes import early
from datassay.networks.runs import One, Trainings, averaged, chosen, options_of, run_all


@network_method("el2n")
def el2n(call: Call, data: Dataset, model: Model | None = None, *, runs: Count = 5, **shared: Unpack[Trainings]) -> Finding:
    """Distance of the class probabilities from the given label, early in training, averaged over initialisations.

    Parameters
    ----------
    data
        n rows of c classes.
    epochs
        When to look; None: after 2 epochs for tables, 5 for images. 0: before training.

    Returns
    -------
    Values
        scores (n,) = minus the column ``el2n`` (n,), which is high for hard rows, from 0 to sqrt 2. ``stats``: ``stderr`` (n,)
        over the runs, where there are several. Suggested label: the class with the largest mean probability. Flagged: that is
        not the given one.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> da.value(da.Dataset(X, y), method="el2n", runs=2, epochs=5).suspects(1)[["id", "given_label", "suggested_label"]]
       id given_label suggested_label
    3   3           b               a
    """
    p = problem(data, model, shared["device"], "el2n")
    used = chosen(shared, early(p), len(data))
    options = options_of(call, used)
    results = run_all(_run, call, p, used, options, runs=runs, units=used.epochs + 1)
    value, stderr = averaged([r.value for r in results])
    predictions = np.mean([r.predictions for r in results], axis=0)
    flagged, rule = p.disagreeing(predictions, "the class with the largest mean probability is not the given one")
    stats = {"flag_rule": rule, "device": p.device} | stderr
    return Finding(-value, flagged, {"el2n": value}, p.suggested(predictions), stats, options)


class _Run(NamedTuple):
    value: np.ndarray  # (n,)
    predictions: np.ndarray  # (n, c) class probabilities


def _run(one: One) -> _Run:
    p, x, y = one.p, one.p.x, one.p.y
    predictions = p.probabilities(outputs(one.start(x, y).through(one.tick), x).double())
    one.tick(1)
    return _Run(distance(predictions, y).cpu().numpy(), predictions.cpu().numpy())


def distance(predictions: Tensor, y: Tensor) -> Tensor:
    """(n,) |p - onehot(y)| of probabilities (n, c).

    >>> distance(torch.tensor([[0.6, 0.4], [0.0, 1.0]]), torch.tensor([0, 0])).tolist()
    [0.565..., 1.414...]
    """
    return torch.linalg.vector_norm(predictions - F.one_hot(y, predictions.shape[1]), dim=1)
