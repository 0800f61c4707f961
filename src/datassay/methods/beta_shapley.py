"""Beta Shapley (Kwon & Zou, AISTATS 2022): what a row adds to a subset of the others, small subsets counting more or less.

    phi_i = sum over S without i of  w_|S| (v(S + i) - v(S)),    w_s = B(s + beta, n - s - 1 + alpha) / B(alpha, beta)

that is t ~ Beta(beta, alpha), and every other row in S with probability t. (1, 1) is Shapley's, alpha > beta counts small subsets
more, alpha < beta large ones. By regression on subsets with p ~ Beta(beta, alpha) (engines.semivalues).

Differs from the paper, which permutes: one training serves all rows. Its argument order is kept; other codes have (beta, alpha).
"""

from __future__ import annotations

from typing import Any, Literal, Unpack

from datassay.checks import Count, Positive
from datassay.data.dataset import Dataset
from datassay.engines.designs import Inclusion
from datassay.engines.semivalues import beta_law
from datassay.methods.definition import SEMIVALUES, Finding, method
from datassay.subsets.semivalues import semivalue
from datassay.subsets.study import Drawn
from datassay.subsets.utilities import other_utility, utility_of


@method("beta-shapley", SEMIVALUES, renamed={"by": "estimator"})
def beta_shapley(
    data: Dataset,
    model: Any = None,
    *,
    n_models: Count = 1000,
    alpha: Positive = 4.0,
    beta: Positive = 1.0,
    standardise: bool = True,
    utility: Any = None,
    estimator: Literal["ridge", "differences", "msr-adjusted"] = "ridge",
    **shared: Unpack[Drawn],
) -> Finding:
    """Beta(alpha, beta) Shapley value of every row, from trainings on random subsets.

    Parameters
    ----------
    alpha, beta
        Above 0; the larger alpha is, the smaller are the subsets that count.
    utility
        As for `ame`, but None is "probability".

    Returns
    -------
    Values
        scores = the column ``beta_shapley`` (n,), high = worth keeping. Flagged: below 0. Suggested label: by models of the other
        folds.

    Examples
    --------
    >>> import datassay as da
    >>> data, wrong = da.plant(da.datasets.drawn("wine", train=60, val=60, test=20).data, "uniform", 0.1, seed=1)
    >>> values = da.value(data, method="beta-shapley", n_models=400)
    >>> int(wrong.sum()), int(wrong[values.suspects(6).index].sum())   # wrong labels; those among the six lowest scores
    (6, 6)
    """
    return semivalue(
        "beta-shapley",
        data,
        model,
        n_models,
        utility_of(data, utility, "beta-shapley", default="probability"),
        Inclusion("beta", (float(beta), float(alpha))),
        lambda n: beta_law(n, alpha, beta),
        shared,
        estimator=estimator,
        standardise=standardise,
        others=other_utility(data, utility, "beta-shapley", default="probability"),
    )
