"""TRAK (Park et al., ICML 2023, arXiv 2303.14186): what a network's answers owe to each row, by a linear model in its gradients.

    f(z) = log p / (1 - p)        p: of z's label by the trained network, phi(z) = gradient of f(z) in the weights
    tau_i(z) = mean over trainings of phi(z)' (Phi' Phi + damping)^-1 phi(x_i)  x  mean over trainings of (1 - p_i)

Regression: f the prediction, and the residual in the place of 1 - p. By how much f(z) would fall without row i, if the network
were its own tangent.

Differs from the paper: the gradients are not projected as long as the n x n kernel of their products fits, which is exact and costs
less, since products of gradients need no gradients (engines.gradients); beyond, not at random, but to the leading eigenvectors of the
layers' Kronecker factors (after LoGra, Choe et al., arXiv 2405.13954), which keeps more with fewer numbers; the matrix is damped, by
the mean squared length of a gradient, where the paper relies on the projection to regularise it; trainings on all rows, where the
paper's are on halves.
"""

from __future__ import annotations

from collections import deque
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

import numpy as np

from datassay.checks import Call, Count, DataError, Positive, Whole
from datassay.data.dataset import Dataset
from datassay.engines.progress import progress_bar
from datassay.engines.training import Recipe
from datassay.files import made_folder, save_npy
from datassay.methods.definition import Finding, network_method
from datassay.networks.influence import asked_of
from datassay.networks.problem import Model, problem
from datassay.networks.runs import Trainings, averaged, chosen, options_of, run_all
from datassay.networks.trak import NUMBERS, by_coordinates, by_kernel, kernel_fits, trained
from datassay.subsets.utilities import as_question

NAME = "trak"


@network_method("trak")
def trak(
    call: Call,
    data: Dataset,
    model: Model | None = None,
    *,
    utility: Literal["margin", "log-likelihood", "squared-error"] | None = None,
    query: Annotated[int, Whole(0)] | None = None,
    label: Any = None,
    runs: Count = 3,
    projection: Count | None = None,
    damping: Positive | None = None,
    matrix: str | Path | None = None,
    gradients: str | Path | None = None,
    precision: Literal["float32", "float16"] = "float32",
    **shared: Unpack[Trainings],
) -> Finding:
    """What a network's answers for the validation rows owe to each row, by the kernel of its gradients.

    Parameters
    ----------
    data
        n rows; m validation rows.
    utility
        What is asked of the validation rows: "margin" (None), the log-odds of their labels, or their "log-likelihood"; regression:
        "squared-error", minus that, in variances of the training labels.
    query, label
        One validation row by its position, and a class (None: its own label), in place of all rows and their labels. If ``label`` is
        another than its own, rows that speak for it have low scores.
    projection
        Numbers that are kept of each gradient: coordinates along the leading eigenvectors of the layers' Kronecker factors. None: all
        of it up to 8,000 rows, whose kernel is exact; 2,048 beyond, or with ``gradients``.
    damping
        Added to the kernel. None: the mean squared length of a gradient.
    matrix
        A .npy file to write tau to: (n, m), or (n, 1) with ``query``.
    gradients
        A folder for the trained networks and the rows' gradients, ``projection`` numbers of each. What is asked later, of other
        validation rows too, is answered from there without a training; a call that was killed goes on where it was.
    precision
        Of the numbers that are kept: "float16" takes half of the disk.
    epochs, lr, batch_size, training
        None: 20 epochs by SGD with momentum.

    Returns
    -------
    Values
        Column ``trak`` (n,): by how much the mean log-odds of the validation rows' labels (or ``utility``) would fall without the row
        (regression: their mean squared error, in variances, would rise; of one row the prediction, in the labels' unit). scores (n,), high
        = worth keeping: the column. Flagged: below 0. Suggested label: what the networks say. ``stats``: ``damping``, ``numbers`` that
        were kept of a gradient (0: all of it).

    Examples
    --------
    >>> import datassay as da
    >>> data, wrong = da.plant(da.datasets.drawn("wine", train=60, val=60, test=20).data, "uniform", 0.1, seed=1)
    >>> values = da.value(data, method="trak")
    >>> int(wrong.sum()), int(wrong[values.suspects(6).index].sum())   # wrong labels; those among the six lowest scores
    (6, 5)
    """
    if precision != "float32" and gradients is None:
        raise DataError(f"{NAME}: precision is that of what gradients= keeps: name a folder, or leave it out.")
    folder = None if gradients is None else made_folder(NAME, "gradients", gradients)
    q = as_question(data, NAME, utility=utility, query=query, label=label, matrix=matrix)
    p = problem(data, model, shared["device"], NAME)
    used = chosen(shared, Recipe(), len(data))
    options = options_of(call, used)
    if projection is None and folder is None and kernel_fits(len(data)):
        results = run_all(
            partial(by_kernel, q.utility, q.query, q.code, damping, matrix is not None), call, p, used, options, runs=runs
        )
    else:
        work = partial(trained, projection or NUMBERS, folder, precision)
        results, asked = [], asked_of(p, q.utility, q.query, q.code)
        nets = deque(run_all(work, call, p, used, options, runs=runs))
        with progress_bar(
            f"{NAME}, {len(data)} rows, gradients", runs * len(data), progress=bool(call.given["progress"])
        ) as bar:
            for number in range(runs):
                untrained = p.make(number, shared["seed"])
                results.append(
                    by_coordinates(
                        p,
                        untrained,
                        nets.popleft(),
                        asked,
                        precision,
                        damping,
                        matrix is not None,
                        shared["n_jobs"],
                        bar.update,
                    )
                )
    error = np.mean([r.error for r in results], axis=0)
    if matrix is not None:
        save_npy(np.mean([r.step for r in results], axis=0) * error[:, None], Path(matrix))
    value = np.mean([r.step.mean(1) for r in results], axis=0) * error
    _, stderr = averaged([r.step.mean(1) * r.error for r in results])
    says = "lowers" if q.own else "raises"
    stats = {
        "flag_rule": "score below 0: the row " + (f"{says} the answer that was asked for" if query is not None else
                                                  "lowers what the networks say for the validation rows' labels"),
        "damping": [r.damping for r in results],
        "numbers": results[0].numbers,
        "device": p.device,
    } | stderr  # fmt: skip
    suggested = p.suggested(np.mean([r.predictions for r in results], axis=0))
    return Finding(value.copy() if q.own else -value, (value < 0) == q.own, {NAME: value}, suggested, stats, options)
