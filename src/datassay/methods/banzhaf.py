"""Data Banzhaf (Wang & Jia, AISTATS 2023): what a row adds to a random half of the other rows.

    phi_i = mean over all S without i of  v(S + i) - v(S)        v(S): utility of the model trained on S
    weighted (Li & Yu, NeurIPS 2023): every other row is in S with probability p instead of 1/2

    msr         mean of v over drawn subsets with row i, less that over those without it: every subset serves every row; here with
                how v grows with the size taken out before
    ridge       regression of v on all rows' presence at once; see engines.semivalues

Differs from the paper: ridge regression by default, with how v grows with the size taken out; in few trainings it finds several times
as much. msr is the paper's, exact when all subsets are drawn.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np

from datassay.checks import Count, Jobs, Number, Positive, Seed, Share
from datassay.data.dataset import Dataset
from datassay.engines.designs import Inclusion
from datassay.engines.semivalues import banzhaf_law
from datassay.methods.definition import SUBSETS, Finding, method
from datassay.subsets.study import semivalue, stop_when, study
from datassay.subsets.utilities import utility_of


@method("banzhaf", SUBSETS)
def banzhaf(
    data: Dataset,
    model: Any = None,
    *,
    n_models: Count = 1000,
    p: Share = 0.5,
    by: Literal["ridge", "msr"] = "ridge",
    standardise: bool = True,
    utility: Any = None,
    antithetic: bool = False,
    budget: str | float | None = None,
    stderr: Positive | None = None,
    settled: Annotated[float, Number(above=0, most=1)] | None = None,
    training: Any = None,
    device: str = "auto",
    store: str | Path | None = None,
    reuse: bool = False,
    seed: Seed = 0,
    n_jobs: Jobs | None = None,
    progress: bool = True,
) -> Finding:
    """Banzhaf value of every row, from trainings on random subsets.

    Parameters
    ----------
    data, model, n_models
        n rows and validation rows; a scikit-learn estimator, torch module, function from a seed to one, or None for logistic or
        ridge regression; trainings. If there are no more than n_models subsets at all, all are trained, and the values are exact.
    p
        Probability with which a row is in a subset.
    by
        "ridge" or "msr", see above.
    standardise
        "ridge" as for `shapley`; at one p it makes little difference.
    utility
        As for `ame`: "margin" (None), "accuracy", "log-likelihood", "probability", "squared-error", or a scikit-learn scorer.
    antithetic, budget, stderr, settled, training, device, store, reuse, seed, n_jobs, progress
        As for `ame`. With reuse=True subsets that were drawn with other p are weighted; ``stats["effective_trainings"]`` says how many
        of p they are worth.

    Returns
    -------
    Values
        scores = the column ``banzhaf`` (n,), high = worth keeping. Flagged: below 0. Suggested label: by models of the other folds.

    Examples
    --------
    >>> import numpy as np, datassay as da
    >>> rng = np.random.default_rng(0)
    >>> X = np.r_[rng.normal(1, 1, (30, 3)), rng.normal(-1, 1, (30, 3))]
    >>> y = np.repeat(["a", "b"], 30); y[3] = "b"                      # one wrong label
    >>> data = da.Dataset(X, y, X_val=[[1, 1, 1], [-1, -1, -1]], y_val=["a", "b"])
    >>> da.value(data, method="banzhaf", n_models=400).suspects(1)["id"].item()
    3
    """
    stop = stop_when("banzhaf", n_models, budget, stderr, settled)
    s = study(
        "banzhaf", data, model, training=training, device=device, store=store, seed=seed, n_jobs=n_jobs, progress=progress
    )
    found = semivalue(
        s,
        Inclusion("grid", (float(p),)),
        lambda n: banzhaf_law(n, p),
        utility_of(data, utility, "banzhaf"),
        stop,
        by="differences" if by == "msr" else by,
        standardise=standardise and by == "ridge",
        reuse=reuse,
        antithetic=antithetic,
    )
    stats = found.stats | {"stderr": found.stderr, "flag_rule": "Banzhaf value below 0: on average the row does harm"}
    suggested = s.suggested()
    value = found.value
    return Finding(value.copy(), np.asarray(value < 0), {"banzhaf": value}, suggested, stats)
