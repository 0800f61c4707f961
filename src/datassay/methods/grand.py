"""GraNd (Paul, Ganguli & Dziugaite, NeurIPS 2021): how hard a row pulls at the weights, early in training.

    GraNd_i = mean over runs r of |g_i|,   g_i = grad l(f_theta(x_i), y_i)        theta: initialisation r after t epochs

High = hard, so the score is -GraNd. The norms of all rows come from one backward pass, and no gradient is formed.

Differs from the paper: t is that of EL2N here (2 epochs for tables, 5 for images), Adam instead of SGD, 5 runs instead of 10;
evaluation mode; regression too, with squared error. What the paper says of GraNd at initialisation (``epochs=0``) does not
reproduce: Kirsch (2023, arXiv 2303.14753) finds it no better than chance, and an error in how the first code loaded its networks.
"""

from __future__ import annotations

from functools import partial
from typing import Literal, NamedTuple, Unpack

import numpy as np
import torch

from datassay.checks import Call, Count
from datassay.data.dataset import Dataset
from datassay.engines.gradients import RowGradients
from datassay.engines.training import in_batches
from datassay.methods.definition import Finding, network_method
from datassay.networks.problem import Model, last_layer, problem
from datassay.networks.recipes import early
from datassay.networks.runs import One, Trainings, averaged, chosen, options_of, run_all

AT_ONCE = 512  # rows in one pass


@network_method("grand")
def grand(
    call: Call,
    data: Dataset,
    model: Model | None = None,
    *,
    layers: Literal["all", "last"] = "all",
    runs: Count = 5,
    **shared: Unpack[Trainings],
) -> Finding:
    """Norm of the gradient of each row's loss, early in training, averaged over initialisations.

    Parameters
    ----------
    data
        n rows; classification or regression.
    layers
        "all" parameters, or those of the "last" layer alone, which takes a fraction of the time.
    epochs
        When to look; None: after 2 epochs for tables, 5 for images. 0, before training, says little about a row.

    Returns
    -------
    Values
        scores (n,) = minus the column ``grand`` (n,), which is 0 or more and high for hard rows. ``stats``: ``stderr`` (n,) over
        the runs, where there are several. Suggested label: what the networks say on average. Flagged: another class than the
        given one; in regression a residual that is 3 robust standard deviations or more from their median.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(2, 1, (30, 3)), rng.normal(-2, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> da.value(da.Dataset(X, y), method="grand", runs=2, epochs=5).suspects(1)[["id", "given_label", "suggested_label"]]
       id given_label suggested_label
    3   3           b               a
    """
    p = problem(data, model, shared["device"], "grand")
    used = chosen(shared, early(p), len(data))
    options = options_of(call, used)
    results = run_all(partial(_run, layers == "last"), call, p, used, options, runs=runs, units=used.epochs + 1)
    value, stderr = averaged([r.value for r in results])
    predictions = np.mean([r.predictions for r in results], axis=0)
    flagged, rule = p.disagreeing(predictions, "the class with the largest mean probability is not the given one")
    stats = {"flag_rule": rule, "device": p.device, "through_torch_func": results[0].through_func} | stderr
    return Finding(-value, flagged, {"grand": value}, p.suggested(predictions), stats, options)


class _Run(NamedTuple):
    value: np.ndarray  # (n,)
    predictions: np.ndarray  # (n, outputs) class probabilities, or targets
    through_func: list[str]


def _run(last: bool, one: One) -> _Run:
    p, x, y, n = one.p, one.p.x, one.p.y, len(one.p.data)
    net = one.start(x, y).through(one.tick).eval()
    value, predictions = torch.empty(n, dtype=torch.float64), torch.empty(n, p.outputs, dtype=torch.float64)
    through_func: list[str] = []
    for rows in in_batches(n, AT_ONCE):
        of_rows = RowGradients(net, p.loss, x[rows], y[rows], last_layer(net) if last else None)
        value[rows] = of_rows.squared_norms().double().sqrt().cpu()
        predictions[rows] = p.probabilities(of_rows.outputs.double()).cpu()
        through_func = of_rows.through_func
    one.tick(1)
    return _Run(value.numpy(), predictions.numpy(), through_func)
